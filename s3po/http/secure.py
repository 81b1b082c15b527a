"""A TLS connection.

OpenSSL works on memory here, and this file moves the bytes between that and the socket: by itself it would make two system
calls for every record of 16 KiB.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from s3po.errors import NetworkError, ReadTimeout, TransportError
from s3po.http.connection import HEAD_BYTES, Connection, ConnectionLost

__all__ = ['SecureConnection']

# How much is read from the socket at a time: some records.
READ_BYTES: Final = 64 * 1024
# How much is encrypted before it is sent.
SEND_BYTES: Final = 128 * 1024


class SecureConnection(Connection):
    """A connection over TLS.

    Attributes:
        on_session: Called with a session that later connections can resume.
    """

    __slots__ = (
        '_encrypted',
        '_encrypted_bytes',
        '_failure',
        '_held',
        '_incoming',
        '_is_at_end',
        '_outgoing',
        '_raw',
        '_taken_bytes',
        '_tls',
        'on_session',
    )

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        address: Any = None,
        *,
        context: ssl.SSLContext,
        server_hostname: str,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """
        Args:
            sock: A connected, non-blocking socket; it is closed with the connection.
            peer: Where it leads, for messages.
            address: What the pool knows it by.
            context: Whom to trust.
            server_hostname: The name that the certificate has to bear.
            session: One of an earlier connection, to be resumed; None for none.
        """
        super().__init__(sock, peer, address)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname, session=session)
        self._raw = memoryview(bytearray(READ_BYTES))
        # What was encrypted and not yet sent, how many bytes that was at first, and how many of the caller's.
        self._encrypted = memoryview(b'')
        self._encrypted_bytes = 0
        self._taken_bytes = 0
        # What was decrypted only to see whether there is anything.
        self._held = b''
        self._is_at_end = False
        # What was found out when nobody was reading.
        self._failure: TransportError | None = None
        self.on_session: Callable[[ssl.SSLSession], None] | None = None

    def shake_hands(self) -> None:
        """Agree on keys, and check the certificate. Blocks.

        Raises:
            OSError: TLS failed (ssl.SSLError), or the connection.
            ConnectionLost: The other side closed the connection.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send_encrypted()
                if not self._pump():
                    self.wait_readable()
            except ssl.SSLEOFError as error:
                raise ConnectionLost(f'{self.peer} closed the connection before TLS was set up') from error
            except ssl.SSLError:
                # Tells the other side why, where it can.
                with contextlib.suppress(TransportError):
                    self._send_encrypted()
                raise
            else:
                self._send_encrypted()
                return

    def tls_hint(self) -> str:
        return ''

    def is_readable(self) -> bool:
        # Much of what TLS sends is for itself: new sessions, new keys. Only what comes out of it counts.
        if not self._held:
            try:
                self._pump()
                self._held = self._decrypt(HEAD_BYTES)
            except TransportError as error:
                # Whoever reads is told.
                self._failure, self._is_at_end = error, True
        return bool(self._held) or self._is_at_end

    def is_stale(self) -> bool:
        return (self.has_arrived() or self.has_leftovers()) and self._has_more()

    def has_leftovers(self) -> bool:
        return bool(self._held or self._is_at_end or self._tls.pending() or self._incoming.pending) and self._has_more()

    def _has_more(self) -> bool:
        # What is left undecrypted is a part of a record, of which the rest is on its way.
        return self.is_readable() or bool(self._incoming.pending)

    def wait_readable(self) -> None:
        if not (self._held or self._is_at_end or self._tls.pending() or self._incoming.pending):
            super().wait_readable()

    def progress_bytes(self) -> int:
        # Of what was encrypted, some may be on its way; the caller counts it when all of it is.
        sent = self._encrypted_bytes - len(self._encrypted) if self._encrypted else 0
        return super().progress_bytes() + sent

    def send(self, data: bytes | memoryview) -> int:
        """As of Connection. What is given after a 0 must be the same data: it has been encrypted already."""
        if not self._encrypted:
            window = data if len(data) <= SEND_BYTES else memoryview(data)[:SEND_BYTES]
            try:
                self._taken_bytes = self._tls.write(window)
            except ssl.SSLError as error:
                raise self.lost(error) from error
            self._encrypted = memoryview(self._outgoing.read())
            self._encrypted_bytes = len(self._encrypted)
        while self._encrypted:
            sent = super().send(self._encrypted)
            if not sent:
                return 0
            self._encrypted = self._encrypted[sent:]
        return self._taken_bytes

    def receive(self, size_bytes: int = HEAD_BYTES) -> bytes:
        while True:
            data, self._held = self._held or self._decrypt(size_bytes), b''
            if data or self._is_at_end:
                return self._told(data)
            if not self._pump():
                self.wait_readable()

    def receive_into(self, buffer: memoryview) -> int:
        if self._held:
            size_bytes = min(len(buffer), len(self._held))
            buffer[:size_bytes] = self._held[:size_bytes]
            self._held = self._held[size_bytes:]
            return size_bytes
        while True:
            size_bytes = self._decrypt_into(buffer)
            if size_bytes:
                return size_bytes
            if self._is_at_end:
                self._told(b'')
                return 0
            self.wait_readable()
            self._pump()

    def _told(self, data: bytes) -> bytes:
        if not data and self.expired:
            raise ReadTimeout(self.expired)
        if not data and self._failure is not None:
            raise self._failure
        if data and self.on_session is not None and self._tls.session is not None:
            # With TLS 1.3 it comes with the first data, not with the handshake.
            self.on_session(self._tls.session)
            self.on_session = None
        return data

    def _decrypt(self, size_bytes: int) -> bytes:
        """What can be decrypted of what is here."""
        try:
            data = self._tls.read(size_bytes)
        except ssl.SSLWantReadError:
            return b''
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            data = b''
        except ssl.SSLError as error:
            raise NetworkError(f'TLS to {self.peer} failed: {error.reason or error}') from error
        # A good-bye of TLS's own is no error to Python, but an empty answer.
        self._is_at_end = not data
        return data

    def _decrypt_into(self, buffer: memoryview) -> int:
        """Decrypt into a buffer as much as has come and fits."""
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
        except ssl.SSLError as error:
            raise NetworkError(f'TLS to {self.peer} failed: {error.reason or error}') from error
        return offset

    def _pump(self) -> bool:
        """Give TLS what has come; tells whether anything had, an end included."""
        if self._is_at_end:
            return False
        try:
            size_bytes = self._recv_into(self._raw)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self.lost(error) from error
        if size_bytes:
            self._incoming.write(self._raw[:size_bytes])
        else:
            self._incoming.write_eof()
        return True

    def _send_encrypted(self) -> None:
        """Send what TLS has to say by itself. It fits into the socket's buffer, or the connection is of no use."""
        while data := self._outgoing.read():
            super().send(data)
