"""A stream over TLS.

OpenSSL works in memory here, and this module moves the bytes between that memory and the stream below. On a socket of its own,
OpenSSL would make two system calls for every record of 16 KiB.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Final

from s3po.http.stream import Stream

__all__ = ['TLSStream']

# The most that one read of the socket takes: 16 records.
READ_BYTES: Final = 256 * 1024
# The most that is encrypted before it is sent.
SEND_BYTES: Final = 128 * 1024
# The most that is decrypted to see whether there is anything.
PEEK_BYTES: Final = 16 * 1024


class TLSStream:
    """A Stream over TLS, on top of another Stream.

    Attributes:
        on_session: Called once with a session that later connections can resume.
    """

    is_tls = True

    def __init__(
        self,
        stream: Stream,
        *,
        context: ssl.SSLContext,
        server_hostname: str,
        session: ssl.SSLSession | None = None,
        on_session: Callable[[ssl.SSLSession], None] | None = None,
        buffer: memoryview | None = None,
    ) -> None:
        """
        Args:
            stream: Carries the encrypted bytes; it is closed with this one.
            context: The trusted certificates.
            server_hostname: The name that the certificate must have.
            session: A session of an earlier connection to resume; None for none.
            on_session: Called once with a session that later connections can resume.
            buffer: Memory for READ_BYTES. Streams of one hub may share it: nothing stays in it. None for memory of its own.
        """
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname, session=session)
        self._buffer = memoryview(bytearray(READ_BYTES)) if buffer is None else buffer
        # The encrypted bytes that were not sent yet, their number at first, and the number of the caller's bytes in them.
        self._encrypted = memoryview(b'')
        self._encrypted_bytes = 0
        self._taken_bytes = 0
        # The bytes that is_readable() has decrypted.
        self._peeked = b''
        self._is_at_end = False
        # The error that is_readable() has found; the next read raises it.
        self._failure: OSError | None = None
        self.on_session = on_session
        self.call_when_writable = stream.call_when_writable
        self.close = stream.close
        self.has_arrived = stream.has_arrived
        self.shut_down = stream.shut_down
        self.wait_for_room = stream.wait_for_room

    def __repr__(self) -> str:
        return f'<TLSStream {self._stream!r}>'

    def shake_hands(self) -> None:
        """Agree on keys, and check the certificate. Blocks.

        Raises:
            OSError: TLS failed (ssl.SSLError; SSLEOFError if the other side closed the stream), or the stream below.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send_encrypted()
                if not self._pump():
                    self._stream.wait_readable()
            except ssl.SSLEOFError:
                raise
            except ssl.SSLZeroReturnError as error:
                # Python 3.11.2 with OpenSSL 3 raises this error instead.
                raise ssl.SSLEOFError(*error.args) from error
            except ssl.SSLError:
                # Tell the other side the reason, if possible.
                with contextlib.suppress(OSError):
                    self._send_encrypted()
                raise
            else:
                self._send_encrypted()
                return

    def is_readable(self) -> bool:
        # Much of what TLS sends is its own: new sessions, new keys. Only bytes that can be decrypted for the caller count.
        if not self._peeked:
            try:
                self._pump()
                self._peeked = self._decrypt(PEEK_BYTES)
            except OSError as error:
                self._failure, self._is_at_end = error, True
        return bool(self._peeked) or self._is_at_end

    def is_stale(self) -> bool:
        if not (self._has_read_ahead() or self.has_arrived()):
            return False
        # The bytes that remain encrypted are a part of a record, and the rest of it is on its way.
        return self.is_readable() or bool(self._incoming.pending)

    def _has_read_ahead(self) -> bool:
        return bool(self._peeked or self._is_at_end or self._tls.pending() or self._incoming.pending)

    def wait_readable(self) -> None:
        if not self._has_read_ahead():
            self._stream.wait_readable()

    def unacknowledged_bytes(self) -> int:
        # The caller counts a piece when all of it is sent, but a part of it may have been sent before.
        sent = self._encrypted_bytes - len(self._encrypted) if self._encrypted else 0
        return self._stream.unacknowledged_bytes() - sent

    def send(self, data: bytes | memoryview) -> int:
        if not self._encrypted:
            window = data if len(data) <= SEND_BYTES else memoryview(data)[:SEND_BYTES]
            self._taken_bytes = self._tls.write(window)
            self._encrypted = memoryview(self._outgoing.read())
            self._encrypted_bytes = len(self._encrypted)
        while self._encrypted:
            self._encrypted = self._encrypted[self._stream.send(self._encrypted) :]
        return self._taken_bytes

    def recv(self, size_bytes: int) -> bytes:
        while True:
            data, self._peeked = self._peeked or self._decrypt(size_bytes), b''
            if data or self._is_at_end:
                return self._checked(data)
            if not self._pump():
                raise BlockingIOError

    def recv_into(self, buffer: memoryview) -> int:
        if self._peeked:
            size_bytes = min(len(buffer), len(self._peeked))
            buffer[:size_bytes] = self._peeked[:size_bytes]
            self._peeked = self._peeked[size_bytes:]
            return size_bytes
        size_bytes = self._decrypt_into(buffer)
        if size_bytes:
            return size_bytes
        if not self._is_at_end:
            raise BlockingIOError
        self._checked(b'')
        return 0

    def _checked(self, data: bytes) -> bytes:
        if not data and self._failure is not None:
            raise self._failure
        if data and self.on_session is not None and self._tls.session is not None:
            # With TLS 1.3 the session arrives with the first data, not with the handshake.
            self.on_session(self._tls.session)
            self.on_session = None
        return data

    def _decrypt(self, size_bytes: int) -> bytes:
        """Decrypt at most so many of the received bytes."""
        try:
            data = self._tls.read(size_bytes)
        except ssl.SSLWantReadError:
            return b''
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            data = b''
        # Python reports a close_notify as an empty read, not as an error.
        self._is_at_end = not data
        return data

    def _decrypt_into(self, buffer: memoryview) -> int:
        """Decrypt as many of the received bytes as fit into the buffer."""
        read, offset, size_bytes = self._tls.read, 0, len(buffer)
        try:
            while offset < size_bytes:
                try:
                    got: Any = read(size_bytes - offset, buffer[offset:])
                except ssl.SSLWantReadError:
                    if not self._pump():
                        break
                    continue
                if not got:
                    self._is_at_end = True
                    break
                offset += got
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._is_at_end = True
        return offset

    def _pump(self) -> bool:
        """Pass received bytes to OpenSSL; returns whether there were any, or the end."""
        if self._is_at_end:
            return False
        try:
            size_bytes = self._stream.recv_into(self._buffer)
        except BlockingIOError:
            return False
        if size_bytes:
            self._incoming.write(self._buffer[:size_bytes])
        else:
            self._incoming.write_eof()
        return True

    def _send_encrypted(self) -> None:
        """Send TLS's own records. If they do not fit into the socket's buffer, the stream is unusable."""
        while data := self._outgoing.read():
            self._stream.send(data)
