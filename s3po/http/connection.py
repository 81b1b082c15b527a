"""One connection and its state.

Invariants: only the methods of Connection change its state; a closed connection stays closed; a connection that failed, or
whose user was killed, is closed and not used again. A limit that runs out (see `watchdog`) shuts the stream down, so that the
greenlet that waits for it wakes up and raises ReadTimeout.
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

# The most that one read takes until a head is complete: enough for a head together with a small body.
HEAD_BYTES: Final = 16 * 1024


class ConnectionLost(NetworkError):
    """The other side closed or reset the connection."""


class State(enum.Enum):
    """What a connection is doing.

    IDLE: Nothing; it is new, or in its pool.
    SENDING: A request is being sent, or waits in the outbox.
    WAITING: The request has been sent and no byte of the response has arrived; or the response's body may be slow.
    IN_HEAD: A part of a response's head has arrived. All waits for the rest of it count as one.
    IN_BODY: A body is being sent or received. Only in this state does a low speed count.
    CLOSED: It can no longer be used.
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
        state: What the connection is doing.
        requests: The number of requests begun on it.
        unsent: The request, or the rest of it, that the outbox has to send; b'' when all of it was sent.
        idle_since: When it last became idle (monotonic).
        waits_since: When the present wait for the network began; 0.0 while its user does not wait.
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
            stream: Carries the bytes; it is closed with the connection.
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
        # When the first bytes of the present head arrived; 0.0 if none have.
        self._head_since = 0.0
        # Why the watchdog shut the connection down; '' if it did not.
        self._end_reason = ''
        disowned_in_child(self)

    def __repr__(self) -> str:
        return f'<Connection {self.peer} {self.state.value} requests={self.requests}>'

    # --- state

    def begin(self, request: bytes = b'') -> None:
        """Begin an exchange.

        Args:
            request: The bytes for send_unsent() to send.
        """
        self.requests += 1
        self.unsent = request
        if self.state is not CLOSED:
            self.state = SENDING

    def begin_body(self) -> None:
        """Note that the body of the request is sent next."""
        self._enter(IN_BODY)

    def end_request(self) -> None:
        """Note that the whole request has been sent."""
        self._enter(WAITING)

    @contextlib.contextmanager
    def in_head(self) -> Iterator[None]:
        """The state while the rest of a head is received: a context manager, entered when a part of the head has arrived."""
        before, self._head_since = self.state, monotonic()
        self._enter(IN_HEAD)
        yield
        self._head_since = 0.0
        self._enter(before)

    def rest(self) -> bool:
        """End an exchange whose response was read to its end; returns False if the connection cannot be used again."""
        # Bytes after a large body have not been looked for yet; bytes after a small body were received with its head.
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
        """In a forked child: close this copy. The connection remains the parent's, and the other side notices nothing."""
        self.close()

    def _enter(self, state: State) -> None:
        if self.state is not CLOSED:
            self.state = state

    # --- closing by others

    def shut_down(self, reason: str) -> None:
        """Shut it down because a limit was exceeded: the greenlet that waits for it raises ReadTimeout with the reason."""
        self._end_reason = reason
        self._stream.shut_down()

    def break_off(self) -> None:
        """Shut it down because it failed: the greenlet that waits for it reads what has arrived, and then the end."""
        self._stream.shut_down()

    # --- bytes in transit, without waiting

    def has_arrived(self) -> bool:
        """Whether bytes have arrived that were not read from the socket: a greenlet that waits to read is about to wake up."""
        return bool(self._stream.has_arrived())

    def is_stale(self) -> bool:
        """Whether an idle connection cannot be used again: it has ended, or bytes have arrived that belong to no request."""
        return bool(self._is_stale())

    def progress_bytes(self) -> int:
        """The number of bytes of bodies that were received, or that the other side has acknowledged.

        The system accepts megabytes before it sends them; bytes that are still in its buffer do not count.
        """
        return self.moved_bytes - self._stream.unacknowledged_bytes()

    # --- sending

    def send(self, data: bytes | memoryview) -> int:
        """Send as much of the data as the socket accepts, without waiting.

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
        """Send a small request without waiting. Bytes that the socket does not accept yet are sent as soon as it does.

        A failure shuts the connection down, and its user finds that the request was not sent.

        Args:
            is_rest: Whether the beginning of the request was sent before.
        """
        if self.state is CLOSED:
            return
        if self.requests > 1 and not is_rest and self._is_stale():
            # The bytes that have arrived belong to no request, and would be mistaken for the response.
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
            # The connection's user only reads, so this does not disturb it.
            self._stream.call_when_writable(functools.partial(self.send_unsent, is_rest=True))
        else:
            self.unsent = b''
            if self.state is SENDING:
                self.state = WAITING

    def wait_for_room(self) -> bool:
        """Wait until the socket accepts bytes or has some to read; returns whether it has some to read."""
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
        """Wait at most so long for bytes to read; returns whether there are any. No other limit applies meanwhile."""
        with gevent.Timeout(seconds, False):  # type: ignore[arg-type]  # False: it ends the block, and raises nothing
            while not self._stream.is_readable():
                self._wait_readable()
            return True
        return False

    def receive(self, size_bytes: int = HEAD_BYTES, *, waits_first: bool = False) -> bytes:
        """Wait for bytes; b'' at the end of the connection.

        Args:
            size_bytes: The most bytes to read.
            waits_first: Whether to wait before the first read, because nothing can have arrived yet.

        Raises:
            ConnectionLost: The connection was reset.
            NetworkError: TLS failed.
            ReadTimeout: A limit ran out.
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
        """Wait for bytes of a body; b'' at the end of the connection. Raises as receive().

        Args:
            size_bytes: The most bytes to read.
            is_patient: Whether the body may be slower than the least speed.
        """
        if not is_patient:
            self._enter(IN_BODY)
        data = self.receive(size_bytes)
        self.moved_bytes += len(data)
        return data

    def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes of a body, and write them to the buffer; 0 at the end of the connection. Raises as receive().

        The wait ends before the first byte is written, and nothing waits afterwards, so many connections may share one buffer.
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
        """The end of the message if a first request has no response: a server that expects TLS sends none to plain HTTP."""
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
