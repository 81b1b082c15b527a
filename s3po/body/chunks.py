"""Chunks: the bytes of one request each.

Invariants: every read of a Chunk returns the same bytes or raises SourceChanged. Bytes that are not in memory are read piece by
piece into the caller's buffer.

File times do not show all changes: writing to a page that is mapped and dirty does not change them, and memory has no times. So
the bytes that are read for a checksum are compared with those that are read for sending, and the last piece is held back until
both are known to be equal: a request with other bytes is never complete. A chunk that passed was, between its two readings,
exactly what was sent.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import gevent

from s3po.body.local import local_errors
from s3po.checksum import crc_function, is_combinable, text_of, text_of_crc
from s3po.config import KIB, MIB
from s3po.errors import SourceChanged
from s3po.runtime import offload

__all__ = ['BytesChunk', 'Chunk', 'PiecesChunk', 'ReadChunk', 'ViewChunk', 'changed', 'read_into', 'read_range', 'shrank']

T = TypeVar('T')

# Reading less than this from the page cache takes less time than waking another thread.
OFFLOAD_BYTES = MIB
# Bytes per read for hashing: small enough for a processor's cache, large enough that the GIL is acquired rarely.
HASH_BYTES = 256 * KIB

# The checksum that compares readings; the fastest one.
COMPARED = 'CRC64NVME'

# Unused buffers, shared by all threads. Allocating one (page faults) takes as long as hashing its contents.
_idle_buffers: list[memoryview] = []


class Chunk(Protocol):
    """The bytes of one request. Every attempt reads them again.

    Attributes:
        size_bytes: Their number.
        needs_buffer: Whether pieces() reads into the buffer; False for bytes in memory.
    """

    size_bytes: int
    needs_buffer: bool

    def read(self) -> bytes:
        """Return all bytes of the chunk.

        Raises:
            SourceChanged: The source changed.
            LocalError: The source cannot be read.
        """

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        """Iterate over the bytes of the chunk; each piece is valid until the next one is requested.

        Args:
            buffer: Bytes that are not in memory are read into it, up to its length at a time.

        Raises:
            SourceChanged: The source changed. Raised before the last piece, so the request cannot become complete.
            LocalError: The source cannot be read.
        """

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes, in hex. Large chunks are hashed in other threads; the source is read once.

        Raises:
            SourceChanged, LocalError: As for read().
        """

    def checksum(self, algorithm: str, *, with_sha256: bool = False) -> str:
        """Return the checksum of the bytes as 'ALGORITHM:base64'. Large chunks are hashed in other threads, and once.

        Args:
            algorithm: One of s3po.checksum.ALGORITHMS.
            with_sha256: Whether sha256() will be called next: the source is then read once for both.

        Raises:
            SourceChanged, LocalError: As for read().
        """


class PiecesChunk:
    """A `Chunk` of several immutable pieces in memory, as a stream returned them: joining them would copy all bytes."""

    __slots__ = ('_pieces', 'size_bytes')

    needs_buffer = False

    def __init__(self, pieces: Sequence[bytes | memoryview]) -> None:
        self._pieces = pieces
        self.size_bytes = sum(map(len, pieces))

    def read(self) -> bytes:
        return b''.join(self._pieces)

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        return map(memoryview, self._pieces)

    def sha256(self) -> str:
        return offload(self._hash) if self.size_bytes > OFFLOAD_BYTES else self._hash()

    def checksum(self, algorithm: str, *, with_sha256: bool = False) -> str:
        if self.size_bytes > OFFLOAD_BYTES and not is_combinable(algorithm):
            return offload(text_of, algorithm, self._pieces)
        return text_of(algorithm, self._pieces)

    def _hash(self) -> str:
        digest = hashlib.sha256()
        for piece in self._pieces:
            digest.update(piece)
        return digest.hexdigest()


class BytesChunk(PiecesChunk):
    """A `Chunk` of immutable bytes."""

    __slots__ = ()

    def __init__(self, data: bytes | memoryview) -> None:
        self._pieces = (data,)
        self.size_bytes = len(data)


class ReadChunk:
    """A `Chunk` that is read again each time, and compared with the first reading."""

    __slots__ = ('_crc', '_known', 'name', 'offset', 'size_bytes')

    needs_buffer = True
    # Whether any thread may read the source.
    _is_shared = True

    def __init__(self, name: str, offset: int, size_bytes: int) -> None:
        self.name = name
        self.offset = offset
        self.size_bytes = size_bytes
        # The CRC64NVME of the first reading; None before.
        self._crc: int | None = None
        # Computed values by algorithm; the key '' means the SHA-256 in hex.
        self._known: dict[str, str] = {}

    def _read(self) -> bytes:
        """Read all bytes."""
        raise NotImplementedError

    def _read_pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        """Read the bytes piece by piece."""
        raise NotImplementedError

    def read(self) -> bytes:
        data = self._apart(self._read)
        if self._crc is not None and crc_function(COMPARED)(data, 0) != self._crc:
            raise changed(self.name)
        return data

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        pieces = self._read_pieces(buffer)
        return pieces if self._crc is None else self._compared(pieces, self._crc)

    def sha256(self) -> str:
        if '' not in self._known:
            self._apart(self._learn, None, True)
        return self._known['']

    def checksum(self, algorithm: str, *, with_sha256: bool = False) -> str:
        if algorithm not in self._known:
            self._apart(self._learn, algorithm, with_sha256 and '' not in self._known)
        return self._known[algorithm]

    def _apart(self, function: Callable[..., T], *arguments: object) -> T:
        if self._is_shared and self.size_bytes > OFFLOAD_BYTES:
            return offload(function, *arguments)
        return function(*arguments)

    def _compared(self, pieces: Iterator[memoryview], expected: int) -> Iterator[memoryview]:
        compute, crc, left = crc_function(COMPARED), 0, self.size_bytes
        for piece in pieces:
            crc = compute(piece, crc)
            left -= len(piece)
            if not left and crc != expected:
                raise changed(self.name)
            yield piece

    def _learn(self, algorithm: str | None, with_sha256: bool) -> None:  # noqa: FBT001  (called through offload())
        """Read the chunk and compute the given algorithms."""
        compute, crc, digest = crc_function(COMPARED), 0, hashlib.sha256()
        is_read_once = algorithm == COMPARED and not with_sha256

        def passed(buffer: memoryview) -> Iterator[memoryview]:
            nonlocal crc
            for piece in self._first_pieces(buffer) if is_read_once and self._crc is None else self.pieces(buffer):
                crc = compute(piece, crc)
                if with_sha256:
                    digest.update(piece)
                yield piece
                if not self._is_shared:
                    # Let other greenlets run between the pieces.
                    gevent.sleep(0)

        with _lent_buffer(self.size_bytes) as buffer:
            if algorithm is None or algorithm == COMPARED:
                collections.deque(passed(buffer), maxlen=0)
                self._known[COMPARED] = text_of_crc(COMPARED, crc)
            else:
                self._known[algorithm] = text_of(algorithm, passed(buffer))
        self._crc = crc
        if with_sha256:
            self._known[''] = digest.hexdigest()

    def _first_pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        """The bytes for a reading in which each byte is used only once."""
        return self._read_pieces(buffer)


class ViewChunk(ReadChunk):
    """A range of writable memory, which may change while it is sent: a bytearray, an array, a mapped file."""

    __slots__ = ('_view',)

    def __init__(self, view: memoryview, name: str, offset: int, size_bytes: int) -> None:
        super().__init__(name, offset, size_bytes)
        self._view = view

    def _read(self) -> bytes:
        return bytes(self._view[self.offset : self.offset + self.size_bytes])

    def _read_pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        stop = self.offset + self.size_bytes
        for offset in range(self.offset, stop, len(buffer)):
            window = buffer[: stop - offset]
            # A copy, so that the bytes compared are the bytes sent.
            window[:] = self._view[offset : offset + len(window)]
            yield window

    def _first_pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        stop = self.offset + self.size_bytes
        for offset in range(self.offset, stop, len(buffer)):
            yield self._view[offset : min(offset + len(buffer), stop)]


def read_range(descriptor: int, offset: int, size_bytes: int, name: str) -> bytes:
    """Return up to size_bytes from an offset; fewer only at the end of the file."""
    pieces = []
    with local_errors('read', name):
        while size_bytes:
            piece = os.pread(descriptor, size_bytes, offset)
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            size_bytes -= len(piece)
    return pieces[0] if len(pieces) == 1 else b''.join(pieces)


def read_into(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Read some bytes from an offset into a buffer; returns 0 only at the end of the file."""
    if hasattr(os, 'preadv'):
        return os.preadv(descriptor, [buffer], offset)
    data = os.pread(descriptor, len(buffer), offset)
    buffer[: len(data)] = data
    return len(data)


@contextlib.contextmanager
def _lent_buffer(size_bytes: int) -> Iterator[memoryview]:
    """A buffer for reading size_bytes in pieces. Any thread may call this."""
    if size_bytes < HASH_BYTES:
        yield memoryview(bytearray(size_bytes or 1))
        return
    try:
        buffer = _idle_buffers.pop()
    except IndexError:
        buffer = memoryview(bytearray(HASH_BYTES))
    try:
        yield buffer
    finally:
        _idle_buffers.append(buffer)


def changed(name: str) -> SourceChanged:
    """The error for a source that changed."""
    return SourceChanged(
        f'{name} changed while it was uploaded; nothing was published. Upload it again when the writing is done'
    )


def shrank(name: str) -> SourceChanged:
    """The error for a source that became shorter."""
    return SourceChanged(
        f'{name} became shorter while it was uploaded; nothing was published. Upload it again when the writing is done'
    )
