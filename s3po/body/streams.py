"""Sources of unknown length: pipes, sockets, iterables."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Final

from s3po.body.chunks import BytesChunk, Chunk, PiecesChunk
from s3po.body.sources import Source
from s3po.config import KIB

__all__ = ['StreamSource']

# Pieces of a stream smaller than SMALL_BYTES are joined, up to GATHERED_BYTES: sending a few large pieces costs less than many
# small ones, and copying a large one does not pay.
SMALL_BYTES: Final = 64 * KIB
GATHERED_BYTES: Final = 256 * KIB


class StreamSource(Source):
    """A source of unknown length that is read once, in order.

    Attributes:
        is_written: Whether it is what the caller writes to an open file, and not read from the caller.
    """

    is_written = False

    def __init__(self, pieces: Iterator[bytes], name: str, *, close: Callable[[], None] | None = None) -> None:
        self.name = name
        self._pieces = pieces
        self._close = close
        self._held: collections.deque[bytes | memoryview] = collections.deque()
        self._held_bytes = 0
        # Small pieces that will be joined into one: each piece is sent on its own.
        self._small: list[bytes] = []
        self._small_bytes = 0

    def next_chunk(self, size_bytes: int) -> Chunk:
        """Return the next size_bytes of the stream; fewer, or none, only at its end."""
        self.fill(size_bytes)
        self._gather()
        taken: list[bytes | memoryview] = []
        while size_bytes and self._held:
            held = self._held.popleft()
            if len(held) > size_bytes:
                view = memoryview(held)
                self._held.appendleft(view[size_bytes:])
                held = view[:size_bytes]
            taken.append(held)
            size_bytes -= len(held)
            self._held_bytes -= len(held)
        return PiecesChunk(taken) if len(taken) > 1 else BytesChunk(taken[0] if taken else b'')

    @property
    def held_bytes(self) -> int:
        """The bytes that were read, and not returned yet."""
        return self._held_bytes + self._small_bytes

    def fill(self, size_bytes: int) -> bool:
        """Read until this many bytes are in memory. Returns False if the stream ends before."""
        while self._held_bytes + self._small_bytes < size_bytes:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._hold(piece)
        return True

    def _hold(self, piece: bytes) -> None:
        if len(piece) < SMALL_BYTES:
            self._small.append(piece)
            self._small_bytes += len(piece)
            if self._small_bytes >= GATHERED_BYTES:
                self._gather()
            return
        self._gather()
        self._held.append(piece)
        self._held_bytes += len(piece)

    def _gather(self) -> None:
        if self._small:
            self._held.append(self._small[0] if len(self._small) == 1 else b''.join(self._small))
            self._held_bytes += self._small_bytes
            self._small, self._small_bytes = [], 0

    def close(self) -> None:
        if self._close is not None:
            self._close()
