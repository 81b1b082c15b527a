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

# How much of an answer is read at a time until its head is complete: a head, and with it a whole small body.
HEAD_BYTES: Final = 16 * 1024


class ConnectionLost(NetworkError):
    """The other side closed or reset the connection."""


class State(enum.Enum):
    """What a connection is doing.

    IDLE: Nothing; it is new, or in its pool.
    SENDING: A request is being sent, or waits in the outbox.
    WAITING: The request has been sent, and the answer has not begun; or its body is one that may take its time.
    IN_HEAD: A part of an answer's head has come. All waits for the rest of it count as one.
    IN_BODY: A body is on its way, in either direction. Only here a low speed counts.
    CLOSED: It is of no further use.
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
        requests: How many requests were begun on it.
        unsent: The request, or the rest of it, that the outbox is to send; b'' when all of it was sent.
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
        # When the present head began to come; 0.0 while no part of one is there.
        self._head_since = 0.0
        # Why the watchdog ended it; '' if it did not.
        self._end_reason = ''
        disowned_in_child(self)

    def __repr__(self) -> str:
        return f'<Connection {self.peer} {self.state.value} requests={self.requests}>'

    # --- its state

    def begin(self, request: bytes = b'') -> None:
        """Begin an exchange.

        Args:
            request: What send_unsent() is to send.
        """
        self.requests += 1
        self.unsent = request
        if self.state is not CLOSED:
            self.state = SENDING

    def begin_body(self) -> None:
        """The body of the request comes next."""
        self._enter(IN_BODY)

    def end_request(self) -> None:
        """The whole request has been sent."""
        self._enter(WAITING)

    @contextlib.contextmanager
    def in_head(self) -> Iterator[None]:
        """A part of a head has come; the rest of it is received within this block."""
        before, self._head_since = self.state, monotonic()
        self._enter(IN_HEAD)
        yield
        self._head_since = 0.0
        self._enter(before)

    def rest(self) -> bool:
        """End an exchange whose answer was read to its end; returns False if the connection cannot be used again."""
        # Bytes behind a body were not checked so far; bytes behind a small body were received with its head.
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
        """In a forked child: close this copy. The connection stays the parent's, and the other side notices nothing."""
        self.close()

    def _enter(self, state: State) -> None:
        if self.state is not CLOSED:
            self.state = state

    # --- its end from outside

    def shut_down(self, reason: str) -> None:
        """End it because a limit ran out: the greenlet that waits for it raises ReadTimeout with the reason."""
        self._end_reason = reason
        self._stream.shut_down()

    def break_off(self) -> None:
        """End it because it failed: the greenlet that waits for it reads what has come, and then the end."""
        self._stream.shut_down()

    # --- what has come and gone, without waiting

    def has_arrived(self) -> bool:
        """Whether something has come that was not read from the socket: a greenlet that waits to read is about to wake up."""
        return bool(self._stream.has_arrived())

    def is_stale(self) -> bool:
        """Whether an idle connection cannot be used again: it has ended, or bytes have come that belong to no request."""
        return bool(self._is_stale())

    def progress_bytes(self) -> int:
        """The bytes of bodies that have come, or that the other side has acknowledged.

        The system takes megabytes before any of them is on its way: what only waits there has not moved.
        """
        return self.moved_bytes - self._stream.unacknowledged_bytes()

    # --- sending

    def send(self, data: bytes | memoryview) -> int:
        """Send as much of the data as there is room for, without waiting.

        Raises:
            ConnectionLost: There is no connection any more.
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
        """Send a small request without waiting. What there is no room for follows as soon as there is.

        A failure shuts the connection down, and its user finds that the request was not sent.

        Args:
            is_rest: Whether its beginning was sent before.
        """
        if self.state is CLOSED:
            return
        if self.requests > 1 and not is_rest and self._is_stale():
            # What has come belongs to no request, and would be taken for the answer.
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
            # Beside the connection's user, who only reads.
            self._stream.call_when_writable(functools.partial(self.send_unsent, is_rest=True))
        else:
            self.unsent = b''
            if self.state is SENDING:
                self.state = WAITING

    def wait_for_room(self) -> bool:
        """Wait until there is room to send, or something to read; returns whether there is something to read."""
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
        """Wait so long for something to read; returns whether there is. No other limit counts meanwhile."""
        with gevent.Timeout(seconds, False):  # type: ignore[arg-type]  # False: it ends the block, and raises nothing
            while not self._stream.is_readable():
                self._wait_readable()
            return True
        return False

    def receive(self, size_bytes: int = HEAD_BYTES, *, waits_first: bool = False) -> bytes:
        """Wait for bytes; b'' at the end of the connection.

        Args:
            size_bytes: How many are read at most.
            waits_first: Whether to wait before the first read, because nothing can have come so far.

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
            size_bytes: How many are read at most.
            is_patient: Whether the body may be as slow as it likes.
        """
        if not is_patient:
            self._enter(IN_BODY)
        data = self.receive(size_bytes)
        self.moved_bytes += len(data)
        return data

    def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes of a body, and put them into the buffer; 0 at the end of the connection. Raises as receive().

        The wait is over before the first byte is written, and nothing waits after it: one buffer may serve many connections.
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
        """Ends a message about a first request without an answer: a server that expects TLS gives none to plain HTTP."""
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
