"""Sources: everything that can be uploaded, with two interfaces.

A SizedSource has a known length, and any range of it can be read any number of times: bytes, text, paths, seekable files. A
StreamSource is read once, in order: pipes, sockets, iterables.

Invariants: a source is read from its position when it is opened. Files of the caller are never closed. Every read of a Chunk
returns the same bytes or raises SourceChanged.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

import gevent.lock

from s3po.body import chunks
from s3po.body.chunks import BytesChunk, Chunk, ReadChunk, ViewChunk
from s3po.body.local import close_file, local_errors
from s3po.checksum import text_of
from s3po.config import GIB
from s3po.errors import ConfigurationError, SourceChanged
from s3po.runtime import offload

__all__ = [
    'NO_SOURCE',
    'BytesSource',
    'FileSource',
    'SeekableSource',
    'SizedSource',
    'Source',
]

# The first write to a clean page of a mapped file updates the file's times; further writes do not, until the page was written
# to disk. Linux does that within 35 s (vm.dirty_expire_centisecs, vm.dirty_writeback_centisecs), so a file whose times are
# older than this cannot change unseen. (On tmpfs, which has no disk, it can.)
SETTLED_S: Final = 60.0
# The largest source that is read before it is sent, if it can change unseen. More would not stay in the page cache.
READ_FIRST_BYTES: Final = 4 * GIB

NOTHING_HELD: Final = contextlib.nullcontext()


class Source:
    """The common part of both interfaces.

    Attributes:
        name: The source's name in messages.
        path: The caller's local path; None for every other kind of source.
        may_request: Whether reading it may need requests of the same connection, as that of an S3Reader does.
        lent: A context manager in which such a source is read; it is entered before any lock is acquired. The transfer sets it,
            to release its slot meanwhile.
    """

    name = 'source'
    path: str | None = None
    may_request = False
    lent: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext

    def check_unchanged(self) -> None:
        """Raise SourceChanged if the source has changed since it was opened."""

    def holding(self, number: int) -> contextlib.AbstractContextManager[object]:
        """Keep the bytes of a part available while it is sent; entered before the part takes a slot.

        Args:
            number: The number of the part, from 1.
        """
        return NOTHING_HELD

    def finish(self) -> None:
        """Set the position of a caller's file after the bytes that were sent, as reading them would have done."""

    def hold(self) -> None:
        """Keep the source open after close(), until let_go(): another thread may still read from it."""

    def let_go(self) -> None:
        """Undo one hold()."""

    def close(self) -> None:
        """Release what open_source() opened; the caller's file stays open."""


NO_SOURCE: Final = Source()


class SizedSource(Source):
    """A source of known length.

    Attributes:
        size_bytes: The number of bytes from its position when it was opened to its end.
        can_change_unseen: Whether it may change without a trace. All its chunks must then be read, for their checksums, before
            the first is sent: each later reading is compared with the first one, so what is sent is the source as it was at one
            moment between the two.
        is_held: Whether a chunk is in memory as a whole while it is sent.
    """

    size_bytes: int
    can_change_unseen = False
    is_held = False

    def chunk(self, offset: int, size_bytes: int) -> Chunk:
        """Return the chunk [offset, offset + size_bytes), relative to the source's position when it was opened."""
        raise NotImplementedError

    def version(self) -> str:
        """Text that identifies these bytes in a later run of the program; '' if a later run cannot have them."""
        return ''

    def touched(self) -> str:
        """Text that differs in a later run if the bytes may have changed in spite of an equal version."""
        return ''


class BytesSource(SizedSource):
    """Bytes-like data, and text as UTF-8."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self.size_bytes = len(data)
        self._is_mutable = isinstance(data, memoryview) and not isinstance(data.obj, bytes)
        self.can_change_unseen = self._is_mutable and self.size_bytes <= READ_FIRST_BYTES

    def chunk(self, offset: int, size_bytes: int) -> Chunk:
        if self._is_mutable:
            assert isinstance(self._data, memoryview)
            return ViewChunk(self._data, self.name, offset, size_bytes)
        if size_bytes == self.size_bytes:
            return BytesChunk(self._data)
        return BytesChunk(memoryview(self._data)[offset : offset + size_bytes])

    def version(self) -> str:
        checksum = functools.partial(text_of, chunks.COMPARED, [self._data])
        return f'{self.size_bytes} {offload(checksum) if self.size_bytes > chunks.OFFLOAD_BYTES else checksum()}'

    def close(self) -> None:
        # Without this, the caller could not resize a bytearray or close an mmap.
        if isinstance(self._data, memoryview):
            self._data.release()


class _HeldSource(SizedSource):
    """A source that stays open until close() and each hold() are matched by let_go()."""

    _holders = 1

    def hold(self) -> None:
        self._holders += 1

    def let_go(self) -> None:
        self._holders -= 1
        if not self._holders:
            self._release()

    # open_source() is the first holder.
    close = let_go

    def _release(self) -> None:
        """Release what open_source() opened."""
        raise NotImplementedError


class FileSource(_HeldSource):
    """A regular file, read by offset: its position is not used, so parts can be read in parallel."""

    def __init__(
        self, descriptor: int, start: int, name: str, *, file: BinaryIO | None = None, path: str | None = None
    ) -> None:
        self.name = name
        self.path = path
        self.descriptor = descriptor
        self._start = start
        self._file = file
        found = os.fstat(descriptor)
        self._identity = _identity(found)
        self._touched_ns = found.st_ctime_ns
        self.size_bytes = max(0, found.st_size - start)
        is_settled = time.time() - max(found.st_mtime, found.st_ctime) > SETTLED_S
        self.can_change_unseen = not is_settled and self.size_bytes <= READ_FIRST_BYTES

    def chunk(self, offset: int, size_bytes: int) -> Chunk:
        return FileChunk(self, self._start + offset, size_bytes)

    def version(self) -> str:
        size_bytes, modified_ns, inode, _ = self._identity
        return '' if self.path is None else f'{size_bytes} {modified_ns} {inode}'

    def touched(self) -> str:
        # Some programs write to a file and set its time of modification back. They cannot set this one.
        return str(self._touched_ns)

    def check_unchanged(self) -> None:
        if _identity(os.fstat(self.descriptor)) != self._identity:
            raise chunks.changed(self.name)

    def is_still_at(self, name: str, directory: int) -> bool:
        """Whether a name still leads to the file that was read, unchanged since it was opened.

        Args:
            name: The name in the directory.
            directory: A descriptor of the directory.
        """
        try:
            found = os.stat(name, dir_fd=directory)
        except OSError:
            return False
        return _identity(found) == self._identity

    def finish(self) -> None:
        if self._file is not None:
            self._file.seek(self._start + self.size_bytes)

    def _release(self) -> None:
        if self._file is None:
            close_file(self.descriptor)


class FileChunk(ReadChunk):
    """A range of a file on disk."""

    __slots__ = ('source',)

    def __init__(self, source: FileSource, offset: int, size_bytes: int) -> None:
        super().__init__(source.name, offset, size_bytes)
        self.source = source

    def _read(self) -> bytes:
        data = chunks.read_range(self.source.descriptor, self.offset, self.size_bytes, self.name)
        if len(data) < self.size_bytes:
            raise chunks.shrank(self.name)
        # Checked after reading and before sending, so that the bytes are those of one moment.
        self.source.check_unchanged()
        return data

    def _read_pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        source, offset, left = self.source, self.offset, self.size_bytes
        while left:
            window = buffer[:left]
            with local_errors('read', source.name):
                size_bytes = chunks.read_into(source.descriptor, window, offset)
            if not size_bytes:
                raise chunks.shrank(source.name)
            offset += size_bytes
            left -= size_bytes
            if not left:
                source.check_unchanged()
            yield window[:size_bytes]


class SeekableSource(_HeldSource):
    """A seekable file object that is not a plain file: BytesIO, a spooled file, a member of an archive."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = file
        self.may_request = type(file) is not io.BytesIO
        # All parts share the file's position.
        self._lock = gevent.lock.RLock()
        with local_errors('read', name):
            self._start = file.tell()
            self.size_bytes = max(0, self._end() - self._start)
            file.seek(self._start)
        # The position in which the file is left: after a failure the original one, so that the same call sends everything
        # again.
        self._rest = self._start

    def chunk(self, offset: int, size_bytes: int) -> Chunk:
        return SeekableChunk(self, self._start + offset, size_bytes)

    def read_at(self, position: int, size_bytes: int) -> bytes:
        """Return size_bytes from an absolute position of the file.

        Raises:
            SourceChanged: The file is too short.
        """
        with self.lent(), self._lock, local_errors('read', self.name):
            self._file.seek(position)
            data = _read_fully(self._file.read, size_bytes)
            if len(data) < size_bytes:
                raise chunks.shrank(self.name)
            self.check_unchanged()
        return data

    def check_unchanged(self) -> None:
        with self._lock, local_errors('read', self.name):
            if self._end() != self._start + self.size_bytes:
                raise SourceChanged(f'{self.name} changed its length while it was uploaded; nothing was published')

    def finish(self) -> None:
        self._rest = self._start + self.size_bytes
        self._file.seek(self._rest)

    def _release(self) -> None:
        # If it cannot seek any more, the caller has closed it, for example.
        with contextlib.suppress(OSError, ValueError):
            self._file.seek(self._rest)

    def _end(self) -> int:
        return self._file.seek(0, os.SEEK_END) or self._file.tell()


class SeekableChunk(ReadChunk):
    """A range of a seekable file object, which is read in the caller's thread only."""

    __slots__ = ('source',)

    _is_shared = False

    def __init__(self, source: SeekableSource, position: int, size_bytes: int) -> None:
        super().__init__(source.name, position, size_bytes)
        self.source = source

    def _read(self) -> bytes:
        return self.source.read_at(self.offset, self.size_bytes)

    def _read_pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        stop = self.offset + self.size_bytes
        for position in range(self.offset, stop, len(buffer)):
            yield memoryview(self.source.read_at(position, min(len(buffer), stop - position)))


def _read_fully(read: Callable[[int], bytes | None], size_bytes: int) -> bytes:
    """Read size_bytes; fewer only at the end. (An unbuffered file may return less per read.)"""
    pieces = []
    while size_bytes:
        piece = read(size_bytes)
        if not piece:
            break
        if isinstance(piece, str):
            raise ConfigurationError("source returns text when it is read; open it with mode 'rb'")
        pieces.append(piece)
        size_bytes -= len(piece)
    return pieces[0] if len(pieces) == 1 else b''.join(pieces)


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return (found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)
