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
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self, TypeVar

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


F = TypeVar('F', bound=enum.Flag)


def _flags(kind: type[F], given: F | str) -> F:
    """Convert the first letters of flags; other letters are ignored."""
    if isinstance(given, str):
        return functools.reduce(operator.or_, (flag for flag in kind if str(flag.name)[0] in given), kind(0))
    if isinstance(given, kind):
        return given
    raise ValueError(f'a {kind.__name__} or a str is required, not {given!r}')


def _letters(flags: enum.Flag) -> str:
    return ''.join(str(flag.name)[0] for flag in flags)


class FileMode(enum.Flag):
    """The directions of a file: read, write, or both."""

    read = enum.auto()
    write = enum.auto()

    @classmethod
    def as_mode(cls, obj: FileMode | str) -> FileMode:
        """Convert a mode of open(): the letters 'r' and 'w' count."""
        return _flags(cls, obj)

    def __str__(self) -> str:
        return f'{_letters(self)}b'


class ShareLinkOperation(enum.Flag):
    """What a presigned URL allows."""

    download = enum.auto()
    upload = enum.auto()
    remove = enum.auto()

    @classmethod
    def as_operation(cls, obj: ShareLinkOperation | str) -> ShareLinkOperation:
        """Convert the letters 'd', 'u' and 'r'."""
        return _flags(cls, obj)

    def __str__(self) -> str:
        return _letters(self)


class ListEntry(NamedTuple):
    """One object of a listing: its key, the time of its last write, and its size in bytes."""

    name: str
    last_modified: datetime.datetime | None
    size: int


class RemoteFile:
    """An open file of a storage. iter_chunk_size is the default length of the pieces of iter_chunks()."""

    iter_chunk_size: ClassVar[int] = 5 * MIB

    def __init__(self, mode: FileMode) -> None:
        self.mode = mode

    def read(self, size: int) -> bytes:
        """Return up to size bytes; b'' at the end."""
        raise NotImplementedError

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

    def close(self) -> None:
        """Close the file; further calls do nothing."""


class StorageBackend:
    """The base class of storages."""

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
