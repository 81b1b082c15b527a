"""The values and base classes of keg_storage's backends.

Where keg_storage is installed, its own ones replace those defined here, so that programs can mix its storages with S3Storage.
"""

from __future__ import annotations

import contextlib
import datetime
import enum
import functools
import operator
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from s3po.config import MIB

__all__ = [
    'FileMode',
    'ListEntry',
    'NotFoundInStorage',
    'ProgressCallback',
    'RemoteFile',
    'ShareLinkOperation',
    'StorageBackend',
    'as_moment',
]

ProgressCallback = Callable[[int], object]
NotFoundInStorage = Exception


class _Letters(enum.Flag):
    """Flags that are also written as their first letters."""

    @classmethod
    def _of(cls, given: Self | str, name: str) -> Self:
        if isinstance(given, cls):
            return given
        if not isinstance(given, str):
            raise ValueError(f'{name}() takes a {cls.__name__} or a str, not {given!r}')  # noqa: TRY004  the class that keg_storage raises
        return functools.reduce(operator.or_, (flag for flag in cls if _letter(flag) in given), cls(0))

    def __str__(self) -> str:
        return ''.join(_letter(flag) for flag in type(self) if flag in self)


def _letter(flag: enum.Flag) -> str:
    return str(flag.name)[0]


class FileMode(_Letters):
    """The directions of a file: read, write, or both."""

    read = enum.auto()
    write = enum.auto()

    @classmethod
    def as_mode(cls, obj: FileMode | str) -> FileMode:
        """Convert a mode of open(): the letters 'r' and 'w' count, all others are ignored."""
        return cls._of(obj, 'as_mode')

    def __str__(self) -> str:
        return f'{super().__str__()}b'


class ShareLinkOperation(_Letters):
    """What a presigned URL allows. As letters: 'd', 'u', 'r'."""

    download = enum.auto()
    upload = enum.auto()
    remove = enum.auto()

    @classmethod
    def as_operation(cls, obj: ShareLinkOperation | str) -> ShareLinkOperation:
        """Convert letters to flags; letters other than 'd', 'u' and 'r' are ignored."""
        return cls._of(obj, 'as_operation')


class ListEntry(NamedTuple):
    """One object of a listing.

    Attributes:
        name: The key.
        last_modified: The time of its last write, with its time zone. Where keg_storage is installed, an arrow.Arrow.
        size: The size in bytes.
    """

    name: str
    last_modified: datetime.datetime | None
    size: int


class RemoteFile:
    """An open file of a storage.

    Attributes:
        mode: FileMode.read or FileMode.write.
        iter_chunk_size: The default length of the pieces of iter_chunks(), in bytes.
    """

    iter_chunk_size: ClassVar[int] = 5 * MIB

    def __init__(self, mode: FileMode) -> None:
        self.mode = mode

    def read(self, size: int) -> bytes:
        """Return up to size bytes; b'' at the end."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file; further calls do nothing."""

    def iter_chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Iterate over the remaining bytes in pieces of chunk_size; None for iter_chunk_size."""
        while piece := self.read(chunk_size or self.iter_chunk_size):
            yield piece

    def __iter__(self) -> Iterator[bytes]:
        return self.iter_chunks()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


class StorageBackend:
    """The base class of storages.

    Attributes:
        name: The storage's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return type(self).__name__


def as_moment(moment: datetime.datetime) -> datetime.datetime:
    """A time in the form of keg_storage's listings: an arrow.Arrow where it is installed."""
    return moment


if not TYPE_CHECKING:
    with contextlib.suppress(ImportError):
        from keg_storage.backends.base import FileMode, ListEntry, RemoteFile, ShareLinkOperation, StorageBackend, arrow
        from keg_storage.backends.base import FileNotFoundInStorageError as NotFoundInStorage

        as_moment = arrow.get
