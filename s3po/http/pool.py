"""The connections to one origin: kept alive, reused last in first out; and the exchange of a request and its response.

A request is sent once. Only if it failed on a reused connection, before the first byte of a response, is it sent a second time,
on a new connection: the server may have closed the idle connection at the same moment.

Invariants: a connection is in use by one greenlet, or idle in the pool, or closed; a greenlet that is killed in an exchange
closes it.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator
from typing import Final, Protocol

from s3po.errors import NetworkError, ReadTimeout, TransportError
from s3po.http.connection import Connection, ConnectionLost, State, monotonic
from s3po.http.outbox import Outbox
from s3po.http.response import Response

__all__ = ['Body', 'Opener', 'Pool']

log = logging.getLogger(__name__)

# Servers close idle connections: nginx after 75 s, S3 after about 20 s. Connections that were idle for longer are not reused.
MAX_IDLE_S: Final = 18.0
# The outbox checks each connection just before it sends. One that was idle for longer than this is checked when it is taken
# from the pool, when there are others to choose from.
UNCHECKED_IDLE_S: Final = 0.02
MAX_IDLE_CONNECTIONS: Final = 1024

# A request with a body up to this size is sent by the outbox, together with others. It fits into the empty buffer of a socket.
OUTBOX_BYTES: Final = 16 * 1024
# A larger body is announced, so that a server can refuse before it is sent (RFC 9110, section 10.1.1).
EXPECT_BYTES: Final = 1024 * 1024
# A server that does not respond to the announcement within this time does not support it; further requests have none.
CONTINUE_WAIT_S: Final = 1.0
# The size of the buffer for bodies that are not in memory.
SEND_BYTES: Final = 1024 * 1024
NO_BUFFER: Final = memoryview(b'')


class Body(Protocol):
    """The body of a request that is sent piece by piece.

    Attributes:
        size_bytes: Its length, the value of Content-Length.
        needs_buffer: Whether pieces() uses the buffer; bytes that are in memory need none.
    """

    size_bytes: int
    needs_buffer: bool

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        """Yield the bytes in order. A piece is valid until the next one is requested.

        Args:
            buffer: Memory for the body's pieces; empty unless needs_buffer.
        """
        ...


class _ExpectationRefused(Exception):
    """The server rejects announcements of bodies (417)."""


class Opener(Protocol):
    """Opens connections to one origin."""

    def open(self) -> Connection:
        """Open a new connection.

        Raises:
            TransportError: It could not be opened.
        """
        ...


class Pool:
    """Connections to one origin. Belongs to one hub."""

    def __init__(self, opener: Opener, outbox: Outbox) -> None:
        """
        Args:
            opener: Opens its connections.
            outbox: Sends small requests.
        """
        self._opener = opener
        self._outbox = outbox
        self._idle: list[Connection] = []
        # Buffers that are not in use, and how many of them were not used since the last call of close_idle().
        self._buffers: list[memoryview] = []
        self._unused_buffers = 0
        self._max_idle = MAX_IDLE_CONNECTIONS
        self._announces = True
        # Only for __repr__. References to connections are in the responses and in the list of idle ones.
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()

    def __repr__(self) -> str:
        states = [connection.state for connection in self._connections]
        waiting, closed = states.count(State.WAITING), states.count(State.CLOSED)
        busy = len(states) - len(self._idle) - waiting - closed
        return f'<Pool {self._opener!r} idle={len(self._idle)} busy={busy} waiting={waiting}>'

    def exchange(self, head: bytes, body: bytes | Body = b'', *, has_body: bool = True, is_idempotent: bool = True) -> Response:
        """Send one request, and wait for the head of its response. The caller reads the response and closes it.

        Args:
            head: The request's head, including the empty line.
            body: Its body, as bytes or as a Body that is sent piece by piece.
            has_body: False for a HEAD, whose response has no body.
            is_idempotent: Whether it may be sent again if its outcome is unknown (RFC 9110, section 9.2.2).

        Raises:
            TransportError: There was no response.
        """
        # A head and a small body take one system call and one packet.
        small = (head + body if body else head) if isinstance(body, bytes) and len(body) <= OUTBOX_BYTES else None
        connection = self._take(is_checked=small is None or not is_idempotent) or self._open()
        while True:
            response = Response(connection, self._release)
            try:
                if small is None:
                    self._perform_large(connection, response, head, body, has_body=has_body)
                else:
                    connection.begin(small)
                    self._outbox.put(connection)
                    response.receive_head(has_body=has_body)
                    if connection.unsent:
                        self._check_unsent(connection, response)
            except TransportError as error:
                connection.close()
                if not _was_lost_before(error, connection, response, is_idempotent=is_idempotent):
                    raise
                log.debug('%s; it had been used before, so the request is sent on a new one', error)
            except _ExpectationRefused:
                # At most once: from now on no body is announced.
                connection.close()
            except BaseException:
                connection.close()
                raise
            else:
                return response
            connection = self._open()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they are released. The pool may be used again."""
        self._max_idle = 0
        self._buffers.clear()
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close_idle(self) -> None:
        """Close the connections that were idle for too long, and free buffers that were not used since the last call."""
        del self._buffers[: self._unused_buffers]
        self._unused_buffers = len(self._buffers)
        oldest = monotonic() - MAX_IDLE_S
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.pop(0).close()

    def _take(self, *, is_checked: bool) -> Connection | None:
        """Remove and return the idle connection that was used last; None if none can be reused.

        Args:
            is_checked: Whether to check it even if it was used a moment ago.
        """
        idle = self._idle
        while idle:
            connection = idle.pop()
            age_s = monotonic() - connection.idle_since
            is_fresh = age_s < UNCHECKED_IDLE_S and not is_checked
            if is_fresh or (age_s < MAX_IDLE_S and not connection.is_stale()):
                return connection
            connection.close()
        return None

    def _open(self) -> Connection:
        self._max_idle = MAX_IDLE_CONNECTIONS
        connection = self._opener.open()
        self._connections.add(connection)
        return connection

    def _release(self, connection: Connection) -> None:
        if len(self._idle) < self._max_idle and connection.rest():
            self._idle.append(connection)
        else:
            connection.close()

    def _perform_large(
        self, connection: Connection, response: Response, head: bytes, body: bytes | Body, *, has_body: bool
    ) -> None:
        connection.begin()
        try:
            if isinstance(body, bytes):
                is_answered = self._send_on(connection, response, memoryview(head + body))
            else:
                is_answered = self._send_body(connection, response, head, body)
        except ConnectionLost:
            # The server may have responded, and closed the connection without reading the rest.
            response.receive_head(has_body=has_body)
            is_answered = True
        if is_answered:
            self._check_early(response)
        else:
            # From now on only the read timeout applies.
            connection.end_request()
            response.receive_head(has_body=has_body)

    def _send_body(self, connection: Connection, response: Response, head: bytes, body: Body) -> bool:
        """Send a head, and a body piece by piece. Returns True if the response arrived before its end."""
        if body.size_bytes > EXPECT_BYTES and self._announces:
            if self._announce(connection, response, head):
                return True
        elif self._send_on(connection, response, memoryview(head)):
            return True
        connection.begin_body()
        if not body.needs_buffer:
            return any(self._send_on(connection, response, piece) for piece in body.pieces(NO_BUFFER))
        buffer = self._buffers.pop() if self._buffers else memoryview(bytearray(SEND_BYTES))
        self._unused_buffers = min(self._unused_buffers, len(self._buffers))
        try:
            return any(self._send_on(connection, response, piece) for piece in body.pieces(buffer))
        finally:
            self._buffers.append(buffer)

    def _announce(self, connection: Connection, response: Response, head: bytes) -> bool:
        """Send a head, and wait for 100 Continue. Returns True if the server refused the request."""
        if self._send_on(connection, response, memoryview(head[:-2] + b'expect: 100-continue\r\n\r\n')):
            return True
        if not connection.wait_readable_for(CONTINUE_WAIT_S):
            self._announces = False
            return False
        is_answered = response.receive_head(is_final=False)
        if is_answered and response.status == 417:
            # RFC 9110, section 15.5.18.
            self._announces = False
            raise _ExpectationRefused
        return is_answered

    def _send_on(self, connection: Connection, response: Response, data: memoryview) -> bool:
        """Send all of the data, unless the final response arrives first. Returns True if it did."""
        while data:
            sent = connection.send(data)
            if sent:
                data = data[sent:]
            elif (response.has_more or connection.wait_for_room()) and response.receive_head(is_final=False):
                return True
        return False

    def _check_unsent(self, connection: Connection, response: Response) -> None:
        """Handle a response that arrived before the outbox has sent the request."""
        if connection.requests > 1:
            raise NetworkError(f'{connection.peer} sent bytes that belong to no request')
        self._check_early(response)

    def _check_early(self, response: Response) -> None:
        """Check a response that arrived before the whole request was sent: it must be a refusal.

        The connection is not reused: nothing can be sent after half a body.
        """
        response.is_reusable = False
        if response.status < 300:
            raise NetworkError(f'{response!r}: the server reports success before it has the whole body')


def _was_lost_before(error: TransportError, connection: Connection, response: Response, *, is_idempotent: bool) -> bool:
    """Whether the cause of a failure is a reused connection, so that the request may be sent again on a new one.

    Either the request was never sent, because the connection had ended or had bytes that belong to no request. Or the
    connection was lost before the first byte of a response, and the request may be carried out twice.
    """
    if connection.requests == 1:
        return False
    if connection.unsent:
        return not isinstance(error, ReadTimeout)
    return isinstance(error, ConnectionLost) and not response.has_begun and is_idempotent
