"""One connection and its state.

Invariants: only the methods of Connection change its state; a closed connection stays closed; a connection that failed, or
whose greenlet was killed, is closed and not reused. When a time limit is exceeded, the watchdog (watchdog.py) shuts the stream
down, so that the waiting greenlet wakes up and raises ReadTimeout.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import ssl
import time
from collections.abc import Iterator
from typing import Final

import gevent

from s3po.errors import NetworkError, ReadTimeout, TransportError
from s3po.http.stream import Stream
from s3po.runtime import disowned_in_child

__all__ = ['Connection', 'ConnectionLost', 'State']

monotonic = time.monotonic

# How many bytes are read at once until a head is complete: enough for a head together with a small body.
HEAD_BYTES: Final = 16 * 1024


class ConnectionLost(NetworkError):
    """The other side closed or reset the connection."""


class State(enum.Enum):
    """The state of a connection.

    IDLE: No exchange; it is new, or in its pool.
    SENDING: A request is being sent, or waits in the outbox.
    WAITING: The request was sent, and no byte of the response was received; or a body without a minimum speed is received.
    IN_HEAD: A part of the response's head was received. All waits for the rest count as one wait.
    IN_BODY: A body is being sent or received. The minimum speed applies only in this state.
    CLOSED: Cannot be used again.
    """

    IDLE = 'idle'
    SENDING = 'sending'
    WAITING = 'waiting'
    IN_HEAD = 'in head'
    IN_BODY = 'in body'
    CLOSED = 'closed'


# Reading a member from its class takes a function call before Python 3.12.
IDLE: Final = State.IDLE
SENDING: Final = State.SENDING
WAITING: Final = State.WAITING
IN_HEAD: Final = State.IN_HEAD
IN_BODY: Final = State.IN_BODY
CLOSED: Final = State.CLOSED


class Connection:
    """A connection to a server, over any stream.

    Attributes:
        peer: The server's host and port, for messages.
        state: The current state.
        requests: The number of requests that were begun on it.
        unsent: The request, or the rest of it, that the outbox will send; b'' once it was sent.
        idle_since: When it last became idle (monotonic).
        waits_since: When the current wait for the network began (monotonic); 0.0 while no greenlet waits.
        moved_bytes: The bytes of bodies so far, in both directions.
    """

    __slots__ = (
        '__weakref__',
        '_end_reason',
        '_head_since',
        '_is_stale',
        '_recv',
        '_recv_into',
        '_send',
        '_stream',
        '_wait_readable',
        'idle_since',
        'moved_bytes',
        'peer',
        'requests',
        'state',
        'unsent',
        'waits_since',
    )

    def __init__(self, stream: Stream, peer: str) -> None:
        """
        Args:
            stream: Sends and receives the bytes; it is closed with the connection.
            peer: The server's host and port, for messages.
        """
        self._stream = stream
        self._is_stale = stream.is_stale
        self._recv = stream.recv
        self._recv_into = stream.recv_into
        self._send = stream.send
        self._wait_readable = stream.wait_readable
        self.peer = peer
        self.state = IDLE
        self.requests = 0
        self.unsent: bytes | memoryview = b''
        self.idle_since = 0.0
        self.waits_since = 0.0
        self.moved_bytes = 0
        # When the first part of the current head was received; 0.0 for none.
        self._head_since = 0.0
        # The time limit that ended the connection; '' for none.
        self._end_reason = ''
        disowned_in_child(self)

    def __repr__(self) -> str:
        return f'<Connection {self.peer} {self.state.value} requests={self.requests}>'

    # --- its state

    def begin(self, request: bytes = b'') -> None:
        """Begin an exchange.

        Args:
            request: The bytes for send_unsent().
        """
        self.requests += 1
        self.unsent = request
        if self.state is not CLOSED:
            self.state = SENDING

    def begin_body(self) -> None:
        """Note that the body of the request is sent next."""
        self._enter(IN_BODY)

    def end_request(self) -> None:
        """Note that the whole request was sent."""
        self._enter(WAITING)

    @contextlib.contextmanager
    def in_head(self) -> Iterator[None]:
        """A context manager for receiving the rest of a head after its first part."""
        before, self._head_since = self.state, monotonic()
        self._enter(IN_HEAD)
        yield
        self._head_since = 0.0
        self._enter(before)

    def rest(self) -> bool:
        """End an exchange whose response was read completely. Returns False if the connection cannot be reused."""
        # Bytes after a large body were not checked so far; those after a small body were received together with its head.
        if self.state is CLOSED or (self.state is IN_BODY and self._is_stale()):
            return False
        self.state = IDLE
        self.idle_since = monotonic()
        return True

    def close(self) -> None:
        """Close it. May be called twice."""
        if self.state is not CLOSED:
            self.state = CLOSED
            self._stream.close()

    def disown(self) -> None:
        """In a forked child: close this copy. The connection remains open in the parent."""
        self.close()

    def _enter(self, state: State) -> None:
        if self.state is not CLOSED:
            self.state = state

    # --- ended by another greenlet

    def shut_down(self, reason: str) -> None:
        """End the connection because a time limit was exceeded: the waiting greenlet raises ReadTimeout with the reason."""
        self._end_reason = reason
        self._stream.shut_down()

    def break_off(self) -> None:
        """End the connection because it failed: the waiting greenlet reads what was received, and then the end."""
        self._stream.shut_down()

    # --- without waiting

    def has_arrived(self) -> bool:
        """Whether there are unread bytes in the socket: the greenlet that waits for them is about to wake up."""
        return bool(self._stream.has_arrived())

    def is_stale(self) -> bool:
        """Whether an idle connection cannot be reused: it has ended, or bytes were received that belong to no request."""
        return bool(self._is_stale())

    def progress_bytes(self) -> int:
        """The bytes of bodies that were received, or acknowledged by the server.

        The kernel buffers megabytes before it sends them; these do not count.
        """
        return self.moved_bytes - self._stream.unacknowledged_bytes()

    # --- sending

    def send(self, data: bytes | memoryview) -> int:
        """Send as many bytes as the socket accepts without waiting. Returns their number.

        Raises:
            ConnectionLost: The connection has ended.
        """
        try:
            size_bytes = self._send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._lost(error) from error
        self.moved_bytes += size_bytes
        return size_bytes

    def send_unsent(self, *, is_rest: bool = False) -> None:
        """Send a small request without waiting. Bytes that the socket does not accept are sent when it is writable.

        A failure shuts the connection down; the waiting greenlet then sees that the request was not sent.

        Args:
            is_rest: Whether the beginning of the request was sent before.
        """
        if self.state is CLOSED:
            return
        if self.requests > 1 and not is_rest and self._is_stale():
            # The received bytes belong to no request, and would be taken for the response.
            self.break_off()
            return
        try:
            sent = self._send(self.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.break_off()
            return
        if sent < len(self.unsent):
            self.unsent = memoryview(self.unsent)[sent:]
            # Does not conflict with the greenlet of the exchange, which only reads.
            self._stream.call_when_writable(functools.partial(self.send_unsent, is_rest=True))
        else:
            self.unsent = b''
            if self.state is SENDING:
                self.state = WAITING

    def wait_for_room(self) -> bool:
        """Wait until the socket is writable or readable. Returns True if it is readable."""
        self.waits_since = monotonic()
        try:
            self._stream.wait_for_room()
        finally:
            self.waits_since = 0.0
        return bool(self._stream.is_readable())

    # --- receiving

    def _wait(self) -> None:
        self.waits_since = self._head_since or monotonic()
        try:
            self._wait_readable()
        finally:
            self.waits_since = 0.0

    def wait_readable_for(self, seconds: float) -> bool:
        """Wait this long for bytes to read. Returns True if there are any. No other time limit applies meanwhile."""
        with gevent.Timeout(seconds, False):  # type: ignore[arg-type]  # False: it ends the block, and raises nothing
            while not self._stream.is_readable():
                self._wait_readable()
            return True
        return False

    def receive(self, size_bytes: int = HEAD_BYTES, *, waits_first: bool = False) -> bytes:
        """Wait for bytes and return them; b'' at the end of the connection.

        Args:
            size_bytes: The largest number of bytes to read.
            waits_first: Whether to wait before the first read, because no bytes can have been received yet.

        Raises:
            ConnectionLost: The connection was reset.
            NetworkError: TLS failed.
            ReadTimeout: A time limit was exceeded.
        """
        while True:
            if waits_first:
                self.waits_since = self._head_since or monotonic()
                try:
                    self._wait_readable()
                finally:
                    self.waits_since = 0.0
            try:
                data = self._recv(size_bytes)
            except BlockingIOError:
                waits_first = True
                continue
            except OSError as error:
                raise self._unreadable(error) from error
            if not data and self._end_reason:
                raise ReadTimeout(self._end_reason)
            return data

    def receive_body(self, size_bytes: int, *, is_patient: bool = False) -> bytes:
        """Wait for bytes of a body and return them; b'' at the end of the connection. Raises as receive().

        Args:
            size_bytes: The largest number of bytes to read.
            is_patient: Whether no minimum speed applies to the body.
        """
        if not is_patient:
            self._enter(IN_BODY)
        data = self.receive(size_bytes)
        self.moved_bytes += len(data)
        return data

    def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes of a body, and read them into a buffer. Returns their number; 0 at the end of the connection.

        It never waits after the first byte was written, so many connections may share one buffer. Raises as receive().
        """
        self._enter(IN_BODY)
        while True:
            try:
                size_bytes = self._recv_into(buffer)
            except BlockingIOError:
                self._wait()
                continue
            except OSError as error:
                raise self._unreadable(error) from error
            if not size_bytes and self._end_reason:
                raise ReadTimeout(self._end_reason)
            self.moved_bytes += size_bytes
            return size_bytes

    # --- errors

    def tls_hint(self) -> str:
        """A hint for the message about a first request without a response: a TLS server sends none to plain HTTP."""
        is_first = self.requests <= 1 and not self._stream.is_tls
        return '; if it speaks TLS, endpoint_url must begin with https://' if is_first else ''

    def _unreadable(self, error: OSError) -> TransportError:
        if isinstance(error, ssl.SSLError) and not self._end_reason:
            return NetworkError(f'TLS to {self.peer} failed: {error.reason or error}')
        return self._lost(error)

    def _lost(self, error: OSError) -> TransportError:
        if self._end_reason:
            return ReadTimeout(self._end_reason)
        return ConnectionLost(f'the connection to {self.peer} was lost: {error.strerror or error}')
