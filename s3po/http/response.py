"""One answer: its head, and its body in whichever of HTTP's three ways it ends (RFC 9112, section 6.3).

llhttp parses heads and chunked bodies. A body with a Content-Length never goes through the parser: it is read from the socket
straight to where it is wanted.

Invariants: a head above MAX_HEAD_BYTES, or one that llhttp refuses, is an error; a body that ends early is an error; a
connection is only used again when its answer was read to the very end and nothing came behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import httptools

from s3po.errors import NetworkError
from s3po.http.connection import Connection, ConnectionLost

__all__ = ['Response']

MAX_HEAD_BYTES: Final = 64 * 1024
# An answer may be preceded by others that only say that it is coming (RFC 9110, section 15.2); more than these are mischief.
MAX_INTERIM_HEADS: Final = 16
READ_BYTES: Final = 64 * 1024
# How TLS answers a request that is none of its own (RFC 8446, section 5.1).
TLS_ALERT: Final = b'\x15\x03'
# The statuses whose answers have no body, whatever their headers say (RFC 9112, section 6.3).
BODILESS: Final = (204, 304)


class Response:
    """An answer, from the moment that its head is complete.

    Attributes:
        status: The HTTP status.
        headers: By name in lower case, as bytes; what came several times is joined by ', '.
        size_bytes: The length of the body; -1 when it only shows at its end.
        is_chunked: Whether it is sent in chunks, of which the last one shows the end.
        is_reusable: Whether the connection may be used again once the body is read.
    """

    __slots__ = (
        '_body_bytes',
        '_connection',
        '_data',
        '_has_ended',
        '_interim',
        '_is_head_done',
        '_left',
        '_parser',
        '_pieces',
        '_release',
        'headers',
        'is_chunked',
        'is_reusable',
        'size_bytes',
        'status',
    )

    def __init__(self, connection: Connection, release: Callable[[Connection], None]) -> None:
        """
        Args:
            connection: Where it comes from. It is the answer's until close().
            release: Takes the connection back when it can be used again.
        """
        self._connection = connection
        self._release: Callable[[Connection], None] | None = release
        # What was received and has not been used.
        self._data = b''
        self._left = 0
        self._interim = 0
        self._pieces: list[bytes] = []
        self._body_bytes = 0
        self.is_chunked = False
        self.is_reusable = False
        self._parser: Any
        self._begin()

    def __repr__(self) -> str:
        return f'<Response {self.status} size_bytes={self.size_bytes} left={self._left} {self._connection!r}>'

    # --- the head

    def receive_head(self, *, has_body: bool = True) -> None:
        """Wait for the head of the final answer.

        Args:
            has_body: False for the answer to a HEAD.

        Raises:
            ConnectionLost: The connection ended before the first byte of an answer (or later, if has_begun).
            NetworkError: What came is no answer.
            ReadTimeout: A limit ran out.
        """
        while not self.receive_one_head(has_body=has_body):
            pass

    def receive_one_head(self, *, has_body: bool = True) -> bool:
        """Wait for one head, be it the final one's or that of an interim answer; tells which. Raises as receive_head()."""
        self._data = self._parse_one_head(self._data)
        if self.status >= 200:
            self._frame(has_body=has_body)
            return True
        self._interim += 1
        if self.status < 100 or self.status == 101 or self._interim > MAX_INTERIM_HEADS:
            raise NetworkError(f'{self._connection.peer} sent interim answers ({self.status}) in place of a final one')
        self._begin()
        return False

    @property
    def has_begun(self) -> bool:
        """Whether anything of an answer has come."""
        return bool(self.status or self._interim or self._data)

    @property
    def has_more(self) -> bool:
        """Whether bytes came behind an interim answer: the next head, or a part of it, has been received."""
        return bool(self._data)

    def _begin(self) -> None:
        self.status = 0
        self.size_bytes = -1
        self.headers: dict[bytes, bytes] = {}
        self._is_head_done = self._has_ended = False
        self._parser = httptools.HttpResponseParser(self)

    def _parse_one_head(self, received: bytes) -> bytes:
        """Receive and parse one head; gives what came behind it."""
        connection = self._connection
        if not received:
            # The answer is never there yet: asking for it first would be a system call in vain.
            connection.wait_readable()
            received = self._more(b'')
        end = received.find(b'\r\n\r\n')
        if end < 0:
            with connection.in_head():
                received, end = self._rest_of_head(received)
        end += 4
        if end > MAX_HEAD_BYTES:
            raise NetworkError(f'{connection.peer} sent a head of more than {MAX_HEAD_BYTES:,} bytes')
        head = received if end == len(received) else received[:end]
        self._feed(head)
        if not self._is_head_done or not head.startswith(b'HTTP/1.'):
            # llhttp takes other versions and protocols, and empty lines first.
            raise NetworkError(f'{connection.peer} sent no HTTP answer: {head[:40]!r}')
        return received[end:]

    def _rest_of_head(self, received: bytes) -> tuple[bytes, int]:
        """Receive what is missing of a head; gives all that was received, and where the head's last line ends."""
        connection = self._connection
        searched, end = 0, -1
        while end < 0:
            if len(received) > MAX_HEAD_BYTES:
                raise NetworkError(f'{connection.peer} sent a head of more than {MAX_HEAD_BYTES:,} bytes')
            # What will never be a head is refused before it is complete, which it may never be.
            if not received.startswith(b'HTTP/1.'[: len(received)]) or received.find(b'\n\n', searched) >= 0:
                hint = connection.tls_hint() if received.startswith(TLS_ALERT) else ''
                raise NetworkError(f'{connection.peer} sent no HTTP answer: {received[:40]!r}{hint}')
            searched = max(0, len(received) - 3)
            received += self._more(received)
            end = received.find(b'\r\n\r\n', searched)
        return received, end

    def _more(self, received: bytes) -> bytes:
        # Seen by has_begun, should this be all that comes.
        self._data = received
        data = self._connection.receive()
        if not data:
            where = 'within the head of its answer' if received else 'without an answer'
            raise ConnectionLost(f'{self._connection.peer} closed the connection {where}{self._connection.tls_hint()}')
        return data

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise NetworkError(f'{self._connection.peer} sent a malformed answer: {error}') from error

    def _frame(self, *, has_body: bool) -> None:
        """Find out how the body ends."""
        headers = self.headers
        if not has_body or self.status in BODILESS:
            self.size_bytes = 0
            # What llhttp says counts on a body where no length is told; the answer to a HEAD has none.
            if not has_body and not self.is_reusable:
                is_new = self._parser.get_http_version() == '1.1'
                self.is_reusable = is_new and b'close' not in headers.get(b'connection', b'').lower()
        elif b'transfer-encoding' in headers:
            # llhttp refuses one beside a Content-Length, but none of those that we could not decode.
            encoding = headers[b'transfer-encoding']
            if encoding.strip().lower() != b'chunked':
                raise NetworkError(f'{self._connection.peer} says Transfer-Encoding: {encoding[:40]!r}')
            self.is_chunked = True
            return
        else:
            length = headers.get(b'content-length')
            if length is None:
                return
            # llhttp has seen that these are digits; S3's objects need 14 of them.
            if len(length) > 18:
                raise NetworkError(f'{self._connection.peer} says Content-Length: {length[:40]!r}')
            self.size_bytes = int(length)
        self._left = self.size_bytes
        # llhttp calls back into this object, which holds it: a cycle that would wait for the garbage collector.
        self._parser = None
        if len(self._data) > self._left:
            # Bytes that belong to no request: whatever they are, nothing that follows can be trusted.
            self.is_reusable = False
            self._data = self._data[: self._left]

    # --- what llhttp calls

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_head_done:
            # The trailer of a chunked body.
            return
        name = name.lower()
        headers = self.headers
        if name in headers:
            value = headers[name] + b', ' + value
        headers[name] = value

    def on_message_begin(self) -> None:
        if self._has_ended:
            # Another answer behind this one, which nobody has asked for.
            self.is_reusable = False

    def on_headers_complete(self) -> None:
        if self._has_ended:
            return
        self._is_head_done = True
        parser = self._parser
        self.status = parser.get_status_code()
        # False also for a body without a length: its end is that of the connection.
        self.is_reusable = parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        if not self._has_ended:
            self._pieces.append(data)
            self._body_bytes += len(data)

    def on_message_complete(self) -> None:
        self._has_ended = True

    # --- the body

    def read(self, size_bytes: int) -> bytes:
        """Exactly so many bytes of a body with a length, or what is left of it."""
        wanted = min(size_bytes, self._left)
        if wanted <= len(self._data):
            data, self._data = self._data[:wanted], self._data[wanted:]
            self._left -= wanted
            return data
        buffer = bytearray(wanted)
        view = memoryview(buffer)
        while view:
            view = view[self.read_into(view) :]
        return bytes(buffer)

    def read_into(self, buffer: memoryview) -> int:
        """Some bytes of a body with a length, at least one; 0 only at its end. It waits before it writes, never after.

        Raises:
            NetworkError: The connection ended before the body.
        """
        left = self._left
        if not left:
            return 0
        if self._data:
            size_bytes = min(len(buffer), len(self._data))
            buffer[:size_bytes] = self._data[:size_bytes]
            self._data = self._data[size_bytes:]
        else:
            size_bytes = self._connection.receive_into(buffer[:left] if len(buffer) > left else buffer)
            if not size_bytes:
                got = self.size_bytes - left
                raise NetworkError(f'the body ended after {got:,} of {self.size_bytes:,} bytes')
        self._left = left - size_bytes
        return size_bytes

    def read_all(self, limit_bytes: int, *, is_patient: bool = False) -> bytes:
        """The whole body, of whichever kind, decoded from its chunks.

        Args:
            limit_bytes: The longest body that is taken.
            is_patient: Whether one without a length may be as slow as it likes, within the read timeout: a store that is still
                putting an object together sends a blank from time to time.

        Raises:
            NetworkError: It is larger than the limit, is malformed, or ended early.
        """
        if self.size_bytes >= 0:
            if self._left > limit_bytes:
                raise self._too_large(limit_bytes)
            return self.read(self._left)
        if self.is_chunked:
            return self._read_chunks(limit_bytes, is_patient=is_patient)
        pieces, size_bytes = [self._data], len(self._data)
        self._data = b''
        while size_bytes <= limit_bytes:
            data = self._receive_to_the_end(is_patient=is_patient)
            if not data:
                return b''.join(pieces)
            pieces.append(data)
            size_bytes += len(data)
        raise self._too_large(limit_bytes)

    def _receive_to_the_end(self, *, is_patient: bool) -> bytes:
        try:
            return self._connection.receive_body(READ_BYTES, is_patient=is_patient)
        except ConnectionLost:
            # Who refuses a request and does not read on resets the connection as it is closed (RFC 9112, section 9.6).
            if self.status < 300:
                raise
            return b''

    def _read_chunks(self, limit_bytes: int, *, is_patient: bool) -> bytes:
        # What frames the chunks counts too: a body of empty space is no shorter than one of bytes.
        received = len(self._data)
        data, self._data = self._data, b''
        while True:
            self._feed_chunks(data)
            if received > 2 * limit_bytes + MAX_HEAD_BYTES or self._body_bytes > limit_bytes:
                raise self._too_large(limit_bytes)
            if self._has_ended:
                return b''.join(self._pieces)
            data = self._receive_chunks(is_patient=is_patient)
            received += len(data)

    def read_chunked(self, size_bytes: int) -> bytes:
        """Up to so many bytes of a chunked body; b'' only behind its last chunk.

        Raises:
            NetworkError: It is malformed, or ended before its last chunk.
        """
        data, self._data = self._data, b''
        self._feed_chunks(data)
        while not (self._pieces or self._has_ended):
            self._feed_chunks(self._receive_chunks())
        found = b''.join(self._pieces)
        self._pieces = [found[size_bytes:]] if len(found) > size_bytes else []
        return found[:size_bytes]

    def _receive_chunks(self, *, is_patient: bool = False) -> bytes:
        data = self._connection.receive_body(READ_BYTES, is_patient=is_patient)
        if not data:
            raise NetworkError('the chunked body ended before its last chunk')
        return data

    def _feed_chunks(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._feed(data)
        except NetworkError:
            # What follows the end of an answer is no answer of ours; the connection is of no further use.
            if not self._has_ended:
                raise
            self.is_reusable = False

    def _too_large(self, limit_bytes: int) -> NetworkError:
        return NetworkError(f'{self._connection.peer} sent a body of more than {limit_bytes:,} bytes where none is expected')

    def close(self) -> None:
        """Give the connection back if the body was read to its end; close it otherwise. May be called twice."""
        release, self._release = self._release, None
        if release is None:
            return
        is_at_end = self._has_ended if self.is_chunked else self.size_bytes >= 0 and not self._left
        self._parser = None
        if self.is_reusable and is_at_end:
            release(self._connection)
        else:
            self._connection.close()

    def text(self, name: bytes) -> str | None:
        """One header as text; None when it is missing."""
        value: Any = self.headers.get(name)
        return None if value is None else str(value, 'utf-8', 'replace')
