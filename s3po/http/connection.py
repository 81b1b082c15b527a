"""One connection: bytes in, bytes out, and who waits for how long.

The sockets are the operating system's own, non-blocking, with watchers of gevent's loop beside them: gevent's socket class
costs more than a small request may. A connection belongs to the hub that it was opened under.

Invariants: a connection that failed, or whose user was killed, is closed and never used again; a limit that ran out shuts the
socket down (see `watchdog`), so that whoever waits wakes up, and finds the reason in `expired`.
"""

from __future__ import annotations

import fcntl
import select
import socket
import sys
import termios
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent import monkey

from s3po.errors import NetworkError, ReadTimeout, TransportError
from s3po.runtime import disowned_in_child

__all__ = ['Connection', 'ConnectionLost']

monotonic = time.monotonic
# The system's own: that of gevent waits for the event loop. It is only asked what is there, which takes no time.
_new_poller = monkey.get_original('select', 'poll')

# How much of an answer is read at a time until its head is complete: a head, and with it a whole small body.
HEAD_BYTES: Final = 16 * 1024


class ConnectionLost(NetworkError):
    """The other side closed or reset the connection."""


class Connection:
    """A plain connection. TLSConnection is its other kind.

    Attributes:
        peer: Where it leads, for messages.
        requests: How many requests were sent on it.
        idle_since: When it was last given back (monotonic).
        waits_since: Since when its user waits for the network; 0.0 while nobody does.
        head_since: Since when the head of an answer is there in part; 0.0 while none is.
        has_unsent: Whether the outbox still has its request, or a part of it.
        is_in_body: Whether a body is on its way now; only then a low speed counts.
        moved_bytes: The bytes of bodies so far, in both directions.
        expired: Why the watchdog ended it; '' if it did not.
    """

    __slots__ = (
        '__weakref__',
        '_either_event',
        '_hub',
        '_poll',
        '_read_event',
        '_recv',
        '_recv_into',
        '_room_event',
        '_send',
        '_socket',
        'address',
        'expired',
        'has_unsent',
        'head_since',
        'idle_since',
        'is_in_body',
        'is_open',
        'moved_bytes',
        'peer',
        'requests',
        'waits_since',
        'watched',
    )

    def __init__(self, sock: socket.socket, peer: str, address: Any = None) -> None:
        """
        Args:
            sock: A connected, non-blocking socket; it is closed with the connection.
            peer: Where it leads, for messages.
            address: What the pool knows it by.
        """
        self._socket = sock
        self._hub = gevent.get_hub()
        self._read_event = self._hub.loop.io(sock.fileno(), 1)
        # Something to read, or room to send: only for bodies that fill the socket's buffer.
        self._either_event: Any = None
        # Room to send: only for what does not fit into the socket's buffer while its user waits for the answer.
        self._room_event: Any = None
        poller = _new_poller()
        poller.register(sock.fileno(), select.POLLIN)
        self._poll = poller.poll
        self._recv = sock.recv
        self._recv_into = sock.recv_into
        self._send = sock.send
        self.peer = peer
        self.address = address
        self.requests = 0
        self.idle_since = 0.0
        self.waits_since = 0.0
        self.head_since = 0.0
        self.has_unsent = False
        self.is_in_body = False
        self.is_open = True
        self.moved_bytes = 0
        self.expired = ''
        # The watchdog's own notes.
        self.watched: Any = None
        disowned_in_child(self)

    def __repr__(self) -> str:
        state = 'closed' if not self.is_open else 'waiting' if self.waits_since else 'open'
        return f'<{type(self).__name__} {self.peer} {state} requests={self.requests}>'

    def close(self) -> None:
        """Close it. May be called twice. Says no good-bye: where a process was forked, its parent may still be using it."""
        if self.is_open:
            self.is_open = False
            self._read_event.close()
            for event in (self._either_event, self._room_event):
                if event is not None:
                    event.close()
            self._socket.close()

    def disown(self) -> None:
        """In a forked child: close this copy. The connection stays the parent's, and the other side notices nothing."""
        self.close()

    def shut_down(self, reason: str) -> None:
        """End it from outside: whoever waits for it wakes up, and raises ReadTimeout with the reason."""
        self.expired = reason
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It is no longer connected, which wakes up as well.
            return

    def break_off(self) -> None:
        """End it because it failed: whoever waits for it wakes up, and finds what has come, or the end."""
        self.shut_down(self.expired)

    def has_arrived(self) -> bool:
        """Whether something has come that nobody has taken from the socket: whoever waits to read is about to wake up."""
        # For each request on a connection that was used before: 0.7 µs, a third of what a recv() that finds nothing takes.
        return bool(self._poll(0))

    def is_readable(self) -> bool:
        """Whether bytes, or an end, have come that nobody has read."""
        return self.has_arrived()

    def is_stale(self) -> bool:
        """Whether an idle connection cannot be used again: it has ended, or bytes have come that belong to no request."""
        return bool(self._poll(0))

    def has_leftovers(self) -> bool:
        """Whether bytes were taken from the socket that nobody has read. Only TLS does that."""
        return False

    def wait_readable(self) -> None:
        """Wait until there is something to read."""
        self.waits_since = monotonic()
        try:
            self._hub.wait(self._read_event)
        finally:
            self.waits_since = 0.0

    def wait_readable_for(self, seconds: float) -> bool:
        """Wait so long for something to read; tells whether there is. Has its own limit, so that no other one counts."""
        with gevent.Timeout(seconds, False):  # type: ignore[arg-type]  # False: it ends the block, and raises nothing
            while not self.is_readable():
                self._hub.wait(self._read_event)
            return True
        return False

    def wait_for_room(self) -> bool:
        """Wait until there is room to send, or something to read; tells whether there is something to read."""
        if self._either_event is None:
            self._either_event = self._hub.loop.io(self._socket.fileno(), 3)
        self.waits_since = monotonic()
        try:
            self._hub.wait(self._either_event)
        finally:
            self.waits_since = 0.0
        return self.is_readable()

    def call_when_writable(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have a function called once, as soon as there is room to send; never, if the connection is closed before."""
        if self._room_event is None:
            self._room_event = self._hub.loop.io(self._socket.fileno(), 2)

        def call() -> None:
            self._room_event.stop()
            function(*arguments)

        self._room_event.start(call)

    def progress_bytes(self) -> int:
        """The bytes of bodies that have come, or that the other side has got.

        The system takes megabytes before any of them is on its way: what only waits there has not moved.
        """
        return self.moved_bytes - _waiting_bytes(self._socket.fileno())

    def send(self, data: bytes | memoryview) -> int:
        """Send as much of the data as there is room for, without waiting.

        Raises:
            ConnectionLost: There is no connection any more.
        """
        try:
            return self._send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self.lost(error) from error

    def receive(self, size_bytes: int = HEAD_BYTES) -> bytes:
        """Wait for bytes; b'' at the end of the connection.

        Raises:
            ConnectionLost: The connection was reset.
            ReadTimeout: A limit ran out.
        """
        while True:
            try:
                data = self._recv(size_bytes)
            except BlockingIOError:
                self.wait_readable()
                continue
            except OSError as error:
                raise self.lost(error) from error
            if not data and self.expired:
                raise ReadTimeout(self.expired)
            return data

    def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes, and put them into the buffer; 0 at the end of the connection.

        The wait is over before the first byte is written, and nothing waits after it: one buffer may serve many connections.
        """
        while True:
            try:
                size_bytes = self._recv_into(buffer)
            except BlockingIOError:
                self.wait_readable()
                continue
            except OSError as error:
                raise self.lost(error) from error
            if not size_bytes and self.expired:
                raise ReadTimeout(self.expired)
            return size_bytes

    def tls_hint(self) -> str:
        """What to say when its first request has no answer: a server that speaks TLS gives none to plain HTTP."""
        return '; if it speaks TLS, endpoint_url must begin with https://' if self.requests <= 1 else ''

    def lost(self, error: OSError) -> TransportError:
        """What an error of the socket means."""
        if self.expired:
            return ReadTimeout(self.expired)
        return ConnectionLost(f'the connection to {self.peer} was lost: {error.strerror or error}')


def _waiting_bytes(descriptor: int) -> int:
    """What the system has taken to be sent, and the other side has not acknowledged; 0 where the system does not tell."""
    try:
        # SIOCOUTQ, see tcp(7).
        return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0
