"""Opening connections to an address that responds, through a proxy or directly, with TLS or without."""

from __future__ import annotations

import _socket
import base64
import functools
import math
import os
import socket
import ssl
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import gevent
import gevent.socket

from s3po.errors import CertificateError, ConfigurationError, ConnectTimeout, NetworkError, TransportError
from s3po.governor import Pace
from s3po.http.addresses import Address, Addresses
from s3po.http.connection import Connection, ConnectionLost
from s3po.http.pacing import PacedConnection
from s3po.http.response import Response
from s3po.http.stream import SocketStream, Stream
from s3po.http.tls_stream import READ_BYTES, TLSStream
from s3po.runtime import isolated, patiently, process

__all__ = ['NO_TLS', 'Origin', 'OriginOpener', 'TLSOptions', 'make_context']

# The operating system's sockets, even if gevent or s3po's runtime has replaced the standard library's class.
NativeSocket: Any = _socket.socket

CONNECTING: Final = (11, 36, 115)  # EAGAIN and EINPROGRESS, of Linux and of macOS

# OpenSSL's errors for a response that is not TLS.
NO_TLS: Final = ('WRONG_VERSION_NUMBER', 'HTTP_REQUEST', 'RECORD_LAYER_FAILURE')


class Origin(NamedTuple):
    """Where requests go.

    Attributes:
        scheme: 'http' or 'https'.
        host: A name or an address, without brackets.
        port: The port.
        proxy: The URL of the proxy to go through; None for none. Only https goes through one.
    """

    scheme: str
    host: str
    port: int
    proxy: str | None = None

    def __repr__(self) -> str:
        return f'<Origin {self.scheme}://{self.peer}' + (' through a proxy>' if self.proxy else '>')

    @property
    def peer(self) -> str:
        """The server's name in messages: without the password that a proxy's URL may contain."""
        host = f'[{self.host}]' if ':' in self.host else self.host
        return f'{host}:{self.port}'


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSOptions:
    """How certificates are checked, and the certificate to present.

    Attributes:
        verify: True for the authorities that the system trusts, a path for others, False for no check at all.
        client_cert: The client's certificate: the path of a PEM file, or the paths of the certificate and its key.
    """

    verify: bool | str = True
    client_cert: str | tuple[str, str] | None = None


def make_context(options: TLSOptions) -> ssl.SSLContext:
    """The TLS context that connections with the same options share.

    Raises:
        OSError, ssl.SSLError: A certificate's file cannot be read.
    """
    path = options.verify if isinstance(options.verify, str) else None
    is_directory = path is not None and os.path.isdir(path)
    context = ssl.create_default_context(cafile=None if is_directory else path, capath=path if is_directory else None)
    if options.verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(['http/1.1'])
    if isinstance(options.client_cert, tuple):
        context.load_cert_chain(*options.client_cert)
    elif options.client_cert is not None:
        context.load_cert_chain(options.client_cert)
    return context


class OriginOpener:
    """Opens connections to one origin.

    Attributes:
        origin: The server to connect to.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        connect_timeout_s: float,
        context: Callable[[], ssl.SSLContext],
        on_open: Callable[[Connection], None],
        pace: Pace | None = None,
    ) -> None:
        """
        Args:
            origin: The server to connect to.
            connect_timeout_s: How long opening one connection may take, including TLS and the proxy's response.
            context: Returns the TLS context; called when it is first needed.
            on_open: Called with each connection.
            pace: Limits the bytes per second; None for no limit.
        """
        self._process = process.mark
        self.origin = origin
        self._connect_timeout_s = connect_timeout_s
        self._context = context
        self._on_open = on_open
        self._connection: Callable[[Stream, str], Connection] = (
            Connection if pace is None else functools.partial(PacedConnection, pace=pace)
        )
        self._session: ssl.SSLSession | None = None
        self._tls_buffer = functools.cache(lambda: memoryview(bytearray(READ_BYTES)))
        if origin.proxy is None:
            self._addresses = Addresses(origin.host, origin.port)
        else:
            proxy = urllib.parse.urlsplit(origin.proxy)
            self._addresses = Addresses(proxy.hostname or '', proxy.port or (443 if proxy.scheme == 'https' else 80))

    def __repr__(self) -> str:
        return f'<OriginOpener {self.origin.scheme}://{self.origin.peer}>'

    def open(self) -> Connection:
        """Open one more connection, to the first address that responds.

        Raises:
            ConnectTimeout: No address responded in time.
            CertificateError: The server's certificate cannot be trusted.
            NetworkError: The host does not exist, the connection was refused, or TLS failed.
        """
        if self._process is not process.mark:
            raise ConfigurationError('a forked child cannot go on with a transfer of its parent')
        # The caller's own timeout error may be an OSError, which is not a network error.
        connection = isolated(self._open, on_lost=Connection.close)
        self._on_open(connection)
        return connection

    def _open(self) -> Connection:
        failure: TransportError | None = None
        for address in self._addresses.candidates():
            try:
                connection = self._open_to(address)
            except CertificateError:
                raise
            except TransportError as error:
                self._addresses.failed(address)
                failure = error
                continue
            self._addresses.worked(address)
            return connection
        raise failure or NetworkError(f'the host {self.origin.host} has no address')

    def _open_to(self, address: Address) -> Connection:
        timeout = gevent.Timeout(self._connect_timeout_s if self._connect_timeout_s < math.inf else None)
        try:
            return self._connected(address, timeout)
        except gevent.Timeout as fired:
            if fired is not timeout:
                raise
            raise ConnectTimeout(f'no connection to {self.origin.peer} within {self._connect_timeout_s:g} s') from None
        except ssl.SSLCertVerificationError as error:
            raise CertificateError(
                f'the certificate of {self.origin.peer} cannot be trusted: {error.verify_message or error}; '
                'give verify= the path of the authority that signed it'
            ) from error
        except ssl.SSLEOFError as error:
            raise ConnectionLost(f'{self.origin.peer} closed the connection before TLS was set up') from error
        except ssl.SSLError as error:
            hint = '; it does not speak TLS: should endpoint_url begin with http://?' if error.reason in NO_TLS else ''
            raise NetworkError(f'no connection to {self.origin.peer}: {error.reason or error}{hint}') from error
        except OSError as error:
            raise NetworkError(f'no connection to {self.origin.peer}: {error.strerror or error}') from error

    def _connected(self, address: Address, timeout: gevent.Timeout) -> Connection:
        sock = patiently(NativeSocket, address.family, socket.SOCK_STREAM)
        try:
            with timeout:
                _connect(sock, address)
                return self._connection(self._prepared(sock), self.origin.peer)
        except BaseException:
            sock.close()
            raise

    def _prepared(self, sock: Any) -> Stream:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream = SocketStream(sock)
        origin = self.origin
        if origin.proxy is not None:
            _ask_proxy(stream, origin)
        if origin.scheme != 'https':
            return stream
        secured = TLSStream(
            stream,
            context=self._context(),
            server_hostname=origin.host,
            session=self._session,
            on_session=self._keep_session,
            buffer=self._tls_buffer(),
        )
        secured.shake_hands()
        return secured

    def _keep_session(self, session: ssl.SSLSession) -> None:
        self._session = session


def _connect(sock: Any, address: Address) -> None:
    sock.setblocking(False)
    code = sock.connect_ex(address.sockaddr)
    if code in CONNECTING:
        gevent.socket.wait_write(sock.fileno())
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _ask_proxy(stream: Stream, origin: Origin) -> None:
    """Ask the proxy for a connection to the server (RFC 9110, section 9.3.6)."""
    proxy = urllib.parse.urlsplit(origin.proxy or '')
    lines = [f'CONNECT {origin.peer} HTTP/1.1', f'Host: {origin.peer}']
    if proxy.username is not None:
        user = urllib.parse.unquote(proxy.username)
        password = urllib.parse.unquote(proxy.password or '')
        lines.append('Proxy-Authorization: Basic ' + base64.b64encode(f'{user}:{password}'.encode()).decode())
    connection = Connection(stream, f'the proxy {proxy.hostname}:{proxy.port}')
    response = Response(connection, lambda _: None)
    connection.send('\r\n'.join([*lines, '', '']).encode())
    response.receive_head(has_body=False)
    if not 200 <= response.status < 300:
        raise NetworkError(f'the proxy {proxy.hostname} refused to connect to {origin.peer}: status {response.status}')
