"""An HTTP response: its head, and its body with a length, in chunks, or to the end of the connection (RFC 9112, section 6.3).

llhttp parses heads and chunked bodies. A body with a Content-Length bypasses the parser: it is read from the socket
directly into its target.

Invariants: a head above MAX_HEAD_BYTES, or one that llhttp rejects, is an error; a body that ends early is an error; a
connection is reused only if its response was read completely and no further bytes were received.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import httptools

from s3po.errors import NetworkError
from s3po.http.chunks import Chunks
from s3po.http.connection import Connection, ConnectionLost

__all__ = ['Response', 'text_of']

MAX_HEAD_BYTES: Final = 64 * 1024
# Interim responses precede the final one (RFC 9110, section 15.2). More than 16: treat the server as hostile.
MAX_INTERIM_HEADS: Final = 16
READ_BYTES: Final = 64 * 1024
# The beginning of a TLS alert, the response of a TLS server to plain HTTP (RFC 8446, section 5.1).
TLS_ALERT: Final = b'\x15\x03'
# Statuses whose responses have no body, whatever their headers (RFC 9112, section 6.3).
BODILESS: Final = (204, 304)


class Response:
    """The response to one request.

    Attributes:
        status: The HTTP status; 0 before the head is complete.
        headers: By name in lower case, as bytes; values of repeated headers are joined by ', '.
        size_bytes: The length of the body; -1 if it is not known before the end of the body.
        is_chunked: Whether the body is sent in chunks.
        is_reusable: Whether the connection may be reused once the body was read.
    """

    __slots__ = (
        '_chunks',
        '_connection',
        '_data',
        '_interim',
        '_left',
        '_parser',
        '_release',
        'headers',
        'is_chunked',
        'is_reusable',
        'on_header',
        'size_bytes',
        'status',
    )

    def __init__(self, connection: Connection, release: Callable[[Connection], None]) -> None:
        """
        Args:
            connection: The connection of the request. The response owns it until close().
            release: Called with the connection if it can be reused.
        """
        self._connection = connection
        self._release: Callable[[Connection], None] | None = release
        # Received bytes that were not used yet.
        self._data = b''
        self._left = 0
        self._interim = 0
        self._chunks: Chunks | None = None
        self._parser: Any = None
        self.status = 0
        self.size_bytes = -1
        self.headers: dict[bytes, bytes] = {}
        self.is_chunked = False
        self.is_reusable = False

    def __repr__(self) -> str:
        return f'<Response {self.status} size_bytes={self.size_bytes} left={self._left} {self._connection!r}>'

    # --- the head

    def receive_head(self, *, has_body: bool = True, is_final: bool = True) -> bool:
        """Wait for a head. Returns True if it is the head of the final response.

        Args:
            has_body: False for the response to a HEAD.
            is_final: True to skip interim responses; False to return after the first head.

        Raises:
            ConnectionLost: The connection ended before the first byte of a response (or later, if has_begun).
            NetworkError: The received bytes are not a response.
            ReadTimeout: A time limit was exceeded.
        """
        while True:
            head = self._receive_one_head()
            if self.status >= 200:
                self._frame(head, has_body=has_body)
                return True
            self._interim += 1
            if self.status < 100 or self.status == 101 or self._interim > MAX_INTERIM_HEADS:
                raise NetworkError(f'{self._connection.peer} sent interim responses ({self.status}) instead of a final one')
            self.status = 0
            if not is_final:
                return False

    @property
    def has_begun(self) -> bool:
        """Whether any byte of a response was received."""
        return bool(self.status or self._interim or self._data)

    @property
    def has_more(self) -> bool:
        """Whether more bytes were received after an interim response: the next head, or a part of it."""
        return bool(self._data)

    def _receive_one_head(self) -> bytes:
        """Receive, parse and return one head. Bytes after it are kept."""
        connection, received = self._connection, self._data
        if not received:
            # The response is never there yet, so reading first would waste a system call.
            received = self._data = connection.receive(waits_first=True)
            if not received:
                raise self._lost()
        end = received.find(b'\r\n\r\n')
        if end < 0:
            with connection.in_head():
                received, end = self._rest_of_head(received)
        end += 4
        if end > MAX_HEAD_BYTES:
            raise self._too_long()
        head = received[:end]
        self._parse(head)
        if not self.status or not head.startswith(b'HTTP/1.'):
            # llhttp accepts other versions and protocols, and empty lines before the head.
            raise NetworkError(f'{connection.peer} sent no HTTP response: {head[:40]!r}')
        self._data = received[end:]
        return head

    def _rest_of_head(self, received: bytes) -> tuple[bytes, int]:
        """Receive the rest of a head. Returns all received bytes, and the offset of the head's last line end."""
        connection = self._connection
        searched, end = 0, -1
        while end < 0:
            if len(received) > MAX_HEAD_BYTES:
                raise self._too_long()
            # Bytes that cannot become a head are rejected at once: a complete head may never arrive.
            if not received.startswith(b'HTTP/1.'[: len(received)]) or received.find(b'\n\n', searched) >= 0:
                hint = connection.tls_hint() if received.startswith(TLS_ALERT) else ''
                raise NetworkError(f'{connection.peer} sent no HTTP response: {received[:40]!r}{hint}')
            searched = max(0, len(received) - 3)
            # For has_begun, if nothing more is received.
            self._data = received
            data = connection.receive()
            if not data:
                raise self._lost()
            received += data
            end = received.find(b'\r\n\r\n', searched)
        return received, end

    def _parse(self, head: bytes) -> None:
        found: dict[bytes, bytes] = {}
        # llhttp calls it for each header; a method of dict runs no Python code.
        self.on_header: Callable[[bytes, bytes], object] = found.setdefault
        self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(head)
            self.headers = dict(zip(map(bytes.lower, found), found.values(), strict=True))
            # One line is the status, one is empty, each other one is a header.
            if len(self.headers) != head.count(b'\r\n') - 2:
                self.headers = _joined_headers(head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise self._malformed(error) from error
        finally:
            # It refers to this object: a cycle, which only the garbage collector would free.
            self._parser = None

    def on_headers_complete(self) -> None:
        """Called by llhttp."""
        self.status = self._parser.get_status_code()
        # False also for a body without a length, which ends with the connection.
        self.is_reusable = self._parser.should_keep_alive()

    def _frame(self, head: bytes, *, has_body: bool) -> None:
        """Determine how the body ends."""
        headers = self.headers
        if not has_body or self.status in BODILESS:
            self.size_bytes = 0
            # Without a length, llhttp expects a body that ends with the connection; the response to a HEAD has no body.
            if not has_body and not self.is_reusable:
                is_new = head.startswith(b'HTTP/1.1')
                self.is_reusable = is_new and b'close' not in headers.get(b'connection', b'').lower()
        elif b'transfer-encoding' in headers:
            # llhttp rejects it together with a Content-Length, but accepts encodings that s3po cannot decode.
            encoding = headers[b'transfer-encoding']
            if encoding.strip().lower() != b'chunked':
                raise NetworkError(f'{self._connection.peer} sent Transfer-Encoding: {encoding[:40]!r}')
            self.is_chunked = True
            self._chunks = Chunks(head)
            return
        else:
            length = headers.get(b'content-length')
            if length is None:
                return
            # llhttp has checked that these are digits; the sizes of S3's objects have at most 14.
            if len(length) > 18:
                raise NetworkError(f'{self._connection.peer} sent Content-Length: {length[:40]!r}')
            self.size_bytes = int(length)
        self._left = self.size_bytes
        if len(self._data) > self._left:
            # Bytes that belong to no request: nothing after them can be trusted.
            self.is_reusable = False
            self._data = self._data[: self._left]

    # --- errors

    def _lost(self) -> ConnectionLost:
        where = 'within the head of its response' if self._data else 'without a response'
        return ConnectionLost(f'{self._connection.peer} closed the connection {where}{self._connection.tls_hint()}')

    def _too_long(self) -> NetworkError:
        return NetworkError(f'{self._connection.peer} sent a head of more than {MAX_HEAD_BYTES:,} bytes')

    def _malformed(self, error: Exception) -> NetworkError:
        return NetworkError(f'{self._connection.peer} sent a malformed response: {error}')

    def _too_large(self, limit_bytes: int) -> NetworkError:
        return NetworkError(f'{self._connection.peer} sent a body of more than {limit_bytes:,} bytes where none is expected')

    # --- the body

    def read(self, size_bytes: int) -> bytes:
        """Read this many bytes of a body with a length, or the rest of it if that is less."""
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
        """Read at least one byte of a body with a length into a buffer. Returns the number of bytes; 0 only at its end.

        It may wait before it writes to the buffer, never after.

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
        """Read the whole body, of any kind.

        Args:
            limit_bytes: The largest accepted body.
            is_patient: Whether only the read timeout applies to a body without a length, not the minimum speed: a store that is
                still assembling an object sends a blank from time to time.

        Raises:
            NetworkError: The body is larger than the limit, malformed, or ended early.
        """
        if self.size_bytes >= 0:
            if self._left > limit_bytes:
                raise self._too_large(limit_bytes)
            return self.read(self._left)
        if self._chunks is not None:
            return self._read_chunks(self._chunks, limit_bytes, is_patient=is_patient)
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
            # A server that refuses a request without reading all of it resets the connection (RFC 9112, section 9.6).
            if self.status < 300:
                raise
            return b''

    def _read_chunks(self, chunks: Chunks, limit_bytes: int, *, is_patient: bool) -> bytes:
        # The framing counts too, to limit a body that consists of framing only.
        received = len(self._data)
        data, self._data = self._data, b''
        while True:
            self._decode(chunks, data)
            if received > 2 * limit_bytes + MAX_HEAD_BYTES or chunks.body_bytes > limit_bytes:
                raise self._too_large(limit_bytes)
            if chunks.has_ended:
                return b''.join(chunks.pieces)
            data = self._receive_chunks(is_patient=is_patient)
            received += len(data)

    def read_chunked(self, size_bytes: int) -> bytes:
        """Read up to this many bytes of a chunked body; b'' only after its last chunk.

        Raises:
            NetworkError: The body is malformed, or ended before its last chunk.
        """
        chunks = self._chunks
        assert chunks is not None
        data, self._data = self._data, b''
        self._decode(chunks, data)
        while not (chunks.pieces or chunks.has_ended):
            self._decode(chunks, self._receive_chunks())
        found = b''.join(chunks.pieces)
        chunks.pieces = [found[size_bytes:]] if len(found) > size_bytes else []
        return found[:size_bytes]

    def _receive_chunks(self, *, is_patient: bool = False) -> bytes:
        data = self._connection.receive_body(READ_BYTES, is_patient=is_patient)
        if not data:
            raise NetworkError('the chunked body ended before its last chunk')
        return data

    def _decode(self, chunks: Chunks, data: bytes) -> None:
        if not data:
            return
        try:
            chunks.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise self._malformed(error) from error
        if chunks.has_extra:
            # The response is valid, but the connection cannot be reused.
            self.is_reusable = False

    def close(self) -> None:
        """Release the connection if the body was read completely; close it otherwise. May be called twice."""
        release, self._release = self._release, None
        if release is None:
            return
        chunks = self._chunks
        if chunks is None:
            is_at_end = self.size_bytes >= 0 and not self._left
        else:
            is_at_end = chunks.has_ended
            chunks.close()
        if self.is_reusable and is_at_end:
            release(self._connection)
        else:
            self._connection.close()

    def text(self, name: bytes) -> str | None:
        """A header as text; None if it is missing."""
        value = self.headers.get(name)
        return None if value is None else text_of(value)


def text_of(value: bytes) -> str:
    """The text of a header: UTF-8, or else Latin-1, which can decode any bytes (RFC 9110, section 5.5)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode('latin-1')


class _JoinedHeaders:
    """Collects headers, and joins the values of repeated ones."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        before = self.headers.get(name)
        self.headers[name] = value if before is None else before + b', ' + value


def _joined_headers(head: bytes) -> dict[bytes, bytes]:
    joined = _JoinedHeaders()
    httptools.HttpResponseParser(joined).feed_data(head)
    return joined.headers
