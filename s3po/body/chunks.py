"""Chunks: the bytes of one request each.

Invariants: a Chunk gives the same bytes on every read, or raises SourceChanged; what does not lie in memory goes through the
buffer of whoever asks, piece by piece.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Protocol

import gevent

from s3po.body.local import local_errors
from s3po.checksum import is_combinable, text_of
from s3po.config import KIB, MIB
from s3po.errors import SourceChanged
from s3po.runtime import offload

__all__ = ['BytesChunk', 'Chunk', 'FileChunk', 'PiecesChunk', 'SeekableChunk', 'read_range', 'shrank']

# Reading less than this from the page cache is done sooner than another thread is woken.
OFFLOAD_BYTES = MIB
# How much is read at a time to be hashed: little enough to stay in a processor's cache, and much enough not to ask for the
# interpreter too often.
HASH_BYTES = 256 * KIB

# Buffers that no thread is using now. A new one costs as much as the hash of what goes through it: its pages have to be had.
_idle_buffers: list[memoryview] = []


class Chunk(Protocol):
    """The bytes of one request. Every attempt reads them afresh."""

    size_bytes: int

    def read(self) -> bytes:
        """All bytes of the chunk, in memory.

        Raises:
            SourceChanged: The source no longer has them.
            LocalError: The source cannot be read.
        """
        ...

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        """The bytes of the chunk one after the other, each piece good until the next is asked for.

        Args:
            buffer: What is not in memory is read into it, as much at a time as it holds.

        Raises:
            SourceChanged: The source no longer has them; before the last piece is given, so no request can be complete.
            LocalError: The source cannot be read.
        """
        ...

    def sha256(self) -> str:
        """The SHA-256 of the bytes, in hex. Large chunks are hashed in other threads.

        Raises:
            SourceChanged, LocalError: As of read().
        """
        ...

    def checksum(self, algorithm: str, *, with_sha256: bool = False) -> str:
        """The checksum of the bytes as 'ALGORITHM:base64'. Large chunks are hashed in other threads.

        Args:
            algorithm: One of s3po.checksum.ALGORITHMS.
            with_sha256: Whether sha256() will be asked for next: what has to be read for both is read once.

        Raises:
            SourceChanged, LocalError: As of read().
        """
        ...


class BytesChunk:
    """A chunk that lies in memory."""

    __slots__ = ('_data', 'size_bytes')

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self.size_bytes = len(data)

    def read(self) -> bytes:
        return bytes(self._data)

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        yield memoryview(self._data)

    def sha256(self) -> str:
        if self.size_bytes > OFFLOAD_BYTES:
            return offload(_sha256_of, self._data)
        return hashlib.sha256(self._data).hexdigest()

    def checksum(self, algorithm: str, *, with_sha256: bool = False) -> str:
        if self.size_bytes > OFFLOAD_BYTES and not is_combinable(algorithm):
            return offload(text_of, algorithm, (self._data,))
        return text_of(algorithm, (self._data,))


class PiecesChunk:
    """A chunk that lies in memory in several pieces, as a stream gave them: putting them together would copy all of them."""

    __slots__ = ('_pieces', 'size_bytes')

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


class OpenFile(Protocol):
    """What a FileChunk needs of its source."""

    descriptor: int
    name: str

    def check_unchanged(self) -> None:
        """Raise SourceChanged when the file is not what it was when it was opened."""
        ...


class Positioned(Protocol):
    """What a SeekableChunk needs of its source."""

    def read_at(self, position: int, size_bytes: int) -> bytes:
        """The bytes at an absolute position of the file."""
        ...


class FileChunk:
    """A range of a file on disk."""

    __slots__ = ('_sha256', 'offset', 'size_bytes', 'source')

    def __init__(self, source: OpenFile, offset: int, size_bytes: int) -> None:
        # What checksum() has computed for the next sha256(), which is to be of the same reading.
        self._sha256 = ''
        self.source = source
        self.offset = offset
        self.size_bytes = size_bytes

    def read(self) -> bytes:
        read = read_range
        if self.size_bytes > OFFLOAD_BYTES:
            data = offload(read, self.source.descriptor, self.offset, self.size_bytes, self.source.name)
        else:
            data = read(self.source.descriptor, self.offset, self.size_bytes, self.source.name)
        if len(data) < self.size_bytes:
            raise shrank(self.source.name)
        # Looked at after reading and before sending: what is sent is the file as it was at one moment.
        self.source.check_unchanged()
        return data

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        source, offset, left = self.source, self.offset, self.size_bytes
        while left:
            window = buffer[:left]
            with local_errors('read', source.name):
                size_bytes = read_into(source.descriptor, window, offset)
            if not size_bytes:
                raise shrank(source.name)
            offset += size_bytes
            left -= size_bytes
            if not left:
                source.check_unchanged()
            yield window[:size_bytes]

    def sha256(self) -> str:
        known, self._sha256 = self._sha256, ''
        if known:
            return known
        if self.size_bytes > OFFLOAD_BYTES:
            return offload(self._hash)
        return self._hash()

    def checksum(self, algorithm: str, *, with_sha256: bool = False) -> str:
        if with_sha256:
            return offload(self._hash_both, algorithm) if self.size_bytes > OFFLOAD_BYTES else self._hash_both(algorithm)
        if self.size_bytes > OFFLOAD_BYTES:
            return offload(self._checksum, algorithm)
        return self._checksum(algorithm)

    def _hash(self) -> str:
        digest = hashlib.sha256()
        with _lent_buffer(self.size_bytes) as buffer:
            for piece in self.pieces(buffer):
                digest.update(piece)
        return digest.hexdigest()

    def _hash_both(self, algorithm: str) -> str:
        digest = hashlib.sha256()

        def pieces(buffer: memoryview) -> Iterator[memoryview]:
            for piece in self.pieces(buffer):
                digest.update(piece)
                yield piece

        with _lent_buffer(self.size_bytes) as buffer:
            checksum = text_of(algorithm, pieces(buffer))
        self._sha256 = digest.hexdigest()
        return checksum

    def _checksum(self, algorithm: str) -> str:
        with _lent_buffer(self.size_bytes) as buffer:
            return text_of(algorithm, self.pieces(buffer))


class SeekableChunk:
    """A range of a file object that can seek."""

    __slots__ = ('position', 'size_bytes', 'source')

    def __init__(self, source: Positioned, position: int, size_bytes: int) -> None:
        self.source = source
        self.position = position
        self.size_bytes = size_bytes

    def read(self) -> bytes:
        return self.source.read_at(self.position, self.size_bytes)

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        stop = self.position + self.size_bytes
        for position in range(self.position, stop, len(buffer)):
            yield memoryview(self.source.read_at(position, min(len(buffer), stop - position)))

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self._pieces_apart():
            digest.update(piece)
        return digest.hexdigest()

    def checksum(self, algorithm: str, *, with_sha256: bool = False) -> str:
        return text_of(algorithm, self._pieces_apart())

    def _pieces_apart(self) -> Iterator[memoryview]:
        # The file is the caller's, and only read in the caller's thread: others run between the pieces.
        for piece in self.pieces(memoryview(bytearray(min(self.size_bytes or 1, HASH_BYTES)))):
            yield piece
            gevent.sleep(0)


def read_range(descriptor: int, offset: int, size_bytes: int, name: str) -> bytes:
    """Up to size_bytes from an offset; fewer only at the end of the file."""
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
    """Read some bytes from an offset into a buffer; 0 only at the end of the file."""
    if hasattr(os, 'preadv'):
        return os.preadv(descriptor, [buffer], offset)
    data = os.pread(descriptor, len(buffer), offset)
    buffer[: len(data)] = data
    return len(data)


@contextlib.contextmanager
def _lent_buffer(size_bytes: int) -> Iterator[memoryview]:
    """A buffer for pieces of so many bytes. Any thread may ask for one."""
    if size_bytes < HASH_BYTES:
        yield memoryview(bytearray(size_bytes))
        return
    try:
        buffer = _idle_buffers.pop()
    except IndexError:
        buffer = memoryview(bytearray(HASH_BYTES))
    try:
        yield buffer
    finally:
        _idle_buffers.append(buffer)


def _sha256_of(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def shrank(name: str) -> SourceChanged:
    """What is raised for a source that ends before it should."""
    return SourceChanged(
        f'{name} became shorter while it was uploaded; nothing was published. Upload it again when it is at rest'
    )
