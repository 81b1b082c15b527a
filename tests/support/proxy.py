"""A small HTTP proxy in this process.

It supports CONNECT (RFC 9110, section 9.3.6) and requests in absolute form (RFC 9112, section 3.2.2), one per connection,
without authentication.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import gevent
import gevent.server
import gevent.socket

__all__ = ['Proxy']

LOOPBACK = '127.0.0.1'


class Proxy:
    """Serves within a `with` block.

    Attributes:
        asked: The first lines of all requests so far.
        authorizations: Their Proxy-Authorization headers; '' if there was none.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.authorizations: list[str] = []
        self._server = gevent.server.StreamServer((LOOPBACK, 0), self._serve)

    @property
    def netloc(self) -> str:
        """Host and port."""
        return f'{LOOPBACK}:{self._server.server_port}'

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.stop()

    def _serve(self, client: Any, _: object) -> None:
        received = b''
        while b'\r\n\r\n' not in received:
            data = client.recv(64 * 1024)
            if not data:
                return
            received += data
        head, _, rest = received.partition(b'\r\n\r\n')
        first, *lines = head.decode('latin-1').split('\r\n')
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines)}
        self.asked.append(first)
        self.authorizations.append(headers.get('proxy-authorization', ''))
        method, target, version = first.split()
        parts = urlsplit(target if '://' in target else f'//{target}')
        with gevent.socket.create_connection((parts.hostname, parts.port)) as server:
            if method == 'CONNECT':
                client.sendall(b'HTTP/1.1 200 Connection established\r\n\r\n')
            else:
                path = parts._replace(scheme='', netloc='').geturl()
                kept = [line for line in lines if not line.lower().startswith(('proxy-', 'connection:'))]
                head = '\r\n'.join([f'{method} {path} {version}', *kept, 'Connection: close']).encode('latin-1')
                server.sendall(head + b'\r\n\r\n' + rest)
            there = gevent.spawn(_pass_on, client, server)
            _pass_on(server, client)
            there.kill()


def _pass_on(source: Any, target: Any) -> None:
    try:
        while data := source.recv(256 * 1024):
            target.sendall(data)
        target.shutdown(gevent.socket.SHUT_WR)
    except OSError:
        # One of them has closed its connection.
        return
