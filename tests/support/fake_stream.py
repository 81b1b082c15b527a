"""A stream in memory, for tests of connections."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import gevent
import gevent.event

__all__ = ['FakeStream']


class FakeStream:
    """A stream in memory, with both of its ends: the client's is a Stream, the server's are feed(), end() and take().

    It keeps packets apart: each piece that the server feeds is read by itself.

    Attributes:
        sent: All bytes that the client sent.
        is_closed: Whether the client has closed it.
    """

    is_tls = False

    def __init__(self, *pieces: bytes, room_bytes: int | None = None) -> None:
        """
        Args:
            *pieces: Bytes that have arrived from the server already.
            room_bytes: The number of bytes that can be sent before the server reads; None for no limit.
        """
        self.sent = bytearray()
        self.is_closed = False
        self._pieces = list(pieces)
        self._room_bytes = room_bytes
        self._taken_bytes = 0
        self._end: OSError | bool = False
        self._changed = gevent.event.Event()

    def __repr__(self) -> str:
        return f'<FakeStream sent={len(self.sent)} pieces={len(self._pieces)} is_closed={self.is_closed}>'

    # --- the server's end

    def feed(self, *pieces: bytes) -> None:
        """Send bytes to the client.

        Raises:
            BrokenPipeError: The client has closed the stream.
        """
        if self.is_closed:
            raise _error(BrokenPipeError, errno.EPIPE)
        self._pieces += [piece for piece in pieces if piece]
        self._change()

    def end(self, *, is_reset: bool = False) -> None:
        """Close the stream at the server's end. The client reads the end, or the reset, after all bytes that were fed.

        As in TCP, the client can still send after the server's end, unless it was a reset.
        """
        self._end = _error(ConnectionResetError, errno.ECONNRESET) if is_reset else True
        self._change()

    def take(self, size_bytes: int) -> bytes:
        """Wait for bytes from the client; returns b'' if it has closed the stream."""
        self._wait_until(lambda: self.is_closed or len(self.sent) > self._taken_bytes)
        data = bytes(self.sent[self._taken_bytes : self._taken_bytes + size_bytes])
        self._taken_bytes += len(data)
        self._change()
        return data

    # --- the client's end

    def send(self, data: bytes | memoryview) -> int:
        self._check_open()
        if isinstance(self._end, OSError) and not self._pieces:
            raise self._end
        room_bytes = len(data) if self._room_bytes is None else self._room_bytes - self.unacknowledged_bytes()
        if data and room_bytes <= 0:
            raise BlockingIOError
        self.sent += data[:room_bytes]
        self._change()
        return min(len(data), room_bytes)

    def recv(self, size_bytes: int) -> bytes:
        self._check_open()
        if not self._pieces:
            if not self._end:
                raise BlockingIOError
            if isinstance(self._end, OSError):
                raise self._end
            return b''
        piece = self._pieces.pop(0)
        if len(piece) > size_bytes:
            self._pieces.insert(0, piece[size_bytes:])
        return piece[:size_bytes]

    def recv_into(self, buffer: memoryview) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def has_arrived(self) -> bool:
        return bool(self._pieces or self._end)

    is_readable = is_stale = has_arrived

    def wait_readable(self) -> None:
        self._wait_until(self.is_readable)

    def wait_for_room(self) -> None:
        self._wait_until(lambda: self.is_readable() or self._has_room())

    def call_when_writable(self, function: Callable[[], object]) -> None:
        def call() -> None:
            self._wait_until(lambda: self.is_closed or self._has_room())
            if not self.is_closed:
                function()

        gevent.spawn(call)

    def unacknowledged_bytes(self) -> int:
        return len(self.sent) - self._taken_bytes

    def shut_down(self) -> None:
        if not self._end:
            self.end()

    def close(self) -> None:
        self.is_closed = True
        self._change()

    # --- both

    def _has_room(self) -> bool:
        return bool(self._end) or self._room_bytes is None or self.unacknowledged_bytes() < self._room_bytes

    def _check_open(self) -> None:
        if self.is_closed:
            raise _error(OSError, errno.EBADF)

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._changed.wait()

    def _change(self) -> None:
        # A new event for each change: an event that one greenlet clears would be lost for another.
        changed, self._changed = self._changed, gevent.event.Event()
        changed.set()


def _error(kind: type[OSError], number: int) -> OSError:
    return kind(number, os.strerror(number))
