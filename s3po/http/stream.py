"""Byte streams that a connection reads and writes, and the one over a TCP socket.

A stream has the methods of a non-blocking socket. Over TCP the socket's own methods are used, so that no Python function comes
between a connection and the system call. `tls_stream` has the stream over TLS; tests have one in memory.

The sockets are the operating system's own, with watchers of gevent's loop beside them: gevent's socket class costs more than a
small request may. A stream belongs to the hub that it was made under.
"""

from __future__ import annotations

import fcntl
import functools
import select
import socket
import sys
import termios
from collections.abc import Callable
from typing import Any, Final, Protocol

import gevent
from gevent import getcurrent, monkey
from gevent.exceptions import InvalidSwitchError

__all__ = ['SocketStream', 'Stream']

# The system's own, because gevent's waits for the event loop. It is only used to look, which takes no time.
_new_poller = monkey.get_original('select', 'poll')

READ: Final = 1
WRITE: Final = 2


class Stream(Protocol):
    """A connected stream of bytes. Only methods whose names begin with `wait` block.

    `send`, `recv` and `recv_into` raise BlockingIOError where a socket would block, and any other OSError when the stream has
    failed. After a `send` that raised BlockingIOError, the same data must be sent again.
    """

    @property
    def is_tls(self) -> bool:
        """Whether it is encrypted."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Send as much of the data as fits; returns the number of bytes sent."""

    def recv(self, size_bytes: int, /) -> bytes:
        """Read at most so many bytes; b'' at the end of the stream."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Read into a buffer; 0 at the end of the stream."""

    def has_arrived(self) -> object:
        """True if bytes have arrived from the network that were not read from the socket."""

    def is_readable(self) -> object:
        """True if a read would return bytes or the end, or raise an error."""

    def is_stale(self) -> object:
        """True if an idle stream cannot be used again: something has arrived, even only a part of a TLS record, or the end."""

    def wait_readable(self) -> None:
        """Wait until there may be something to read."""

    def wait_for_room(self) -> None:
        """Wait until there is room to send or something to read."""

    def call_when_writable(self, function: Callable[[], object]) -> None:
        """Call a function once, as soon as there is room to send; never, if the stream is closed first."""

    def unacknowledged_bytes(self) -> int:
        """The number of bytes that `send` accepted and the other side has not acknowledged."""

    def shut_down(self) -> None:
        """End it in both directions, which wakes up the greenlet that waits for it."""

    def close(self) -> None:
        """Close it. Sends no close_notify: after a fork the parent may own the socket."""


class SocketStream:
    """A Stream over a TCP socket."""

    is_tls = False

    def __init__(self, sock: socket.socket) -> None:
        """
        Args:
            sock: A connected, non-blocking socket; it is closed with the stream.
        """
        self._socket = sock
        self._hub = gevent.get_hub()
        self._read_event = self._hub.loop.io(sock.fileno(), READ)
        # Both are made the first time that a socket's buffer is full.
        self._either_event: Any = None
        self._write_event: Any = None
        poller = _new_poller()
        poller.register(sock.fileno(), select.POLLIN)
        # Called for each request on a connection that was used before: it takes 0.7 µs, a third of a recv() that finds nothing.
        self.has_arrived: Callable[[], object] = functools.partial(poller.poll, 0)
        self.is_readable = self.is_stale = self.has_arrived
        self.send: Callable[[bytes | memoryview], int] = sock.send
        self.recv: Callable[[int], bytes] = sock.recv
        self.recv_into: Callable[[memoryview], int] = sock.recv_into

    def __repr__(self) -> str:
        return f'<SocketStream {self._socket.fileno()}>'

    def wait_readable(self) -> None:
        # As in hub.wait(), but without making a Waiter.
        event = self._read_event
        event.start(getcurrent().switch, event)
        try:
            if self._hub.switch() is not event:
                raise InvalidSwitchError(f'{self!r} was waited for, and another switch ended the wait')
        finally:
            event.stop()

    def wait_for_room(self) -> None:
        if self._either_event is None:
            self._either_event = self._hub.loop.io(self._socket.fileno(), READ | WRITE)
        self._hub.wait(self._either_event)

    def call_when_writable(self, function: Callable[[], object]) -> None:
        if self._write_event is None:
            self._write_event = self._hub.loop.io(self._socket.fileno(), WRITE)

        def call() -> None:
            self._write_event.stop()
            function()

        self._write_event.start(call)

    def unacknowledged_bytes(self) -> int:
        try:
            # SIOCOUTQ, see tcp(7).
            return int.from_bytes(fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            # Not every system supports it.
            return 0

    def shut_down(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It is no longer connected, so the waiting greenlet wakes up too.
            return

    def close(self) -> None:
        for event in (self._read_event, self._either_event, self._write_event):
            if event is not None:
                event.close()
        self._socket.close()
