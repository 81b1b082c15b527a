"""A server whose responses are computed by a function of the test, byte for byte; and random responses.

The server runs in greenlets of the test's process. It knows only enough of HTTP to find the end of a request. Hypothesis's
strategies for responses that S3 never sends are here, too.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import gevent
import gevent.pool
import gevent.server
import gevent.socket
from hypothesis import strategies as st

__all__ = ['STATUSES', 'Answering', 'Asked', 'Reply', 'replies']

LIMIT_S: Final = 10.0
# Between the pieces of a response, so that they arrive one by one.
PAUSE_S: Final = 0.0005
LOOPBACK: Final = '127.0.0.1'
# Statuses below 400 that a client may get, and a few that do not exist. (1xx are not final: see the tests of late bytes.)
STATUSES: Final = (200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 250, 299, 300, 304, 305, 306, 399)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request.

    Attributes:
        method: The HTTP method.
        target: The escaped path and query.
        headers: The headers, with names in lower case.
        body: The body.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response.

    Attributes:
        status: The status.
        headers: The headers; without Content-Length or Transfer-Encoding, the body ends with the connection.
        body: The body, as it is sent; it is not sent in response to a HEAD.
        is_last: Whether the connection is closed after it, as it always is for a body without a length.
        version: The version of HTTP.
        reason: The reason phrase; None for the usual one.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b''
    is_last: bool = False
    version: str = '1.1'
    reason: str | None = None

    def data(self, method: str = 'GET') -> bytes:
        """The bytes of the response to a request with this method."""
        reason = http.client.responses.get(self.status, '') if self.reason is None else self.reason
        lines = [f'HTTP/{self.version} {self.status} {reason}', *(f'{name}: {value}' for name, value in self.headers.items())]
        return '\r\n'.join([*lines, '', '']).encode('latin-1') + (b'' if method == 'HEAD' else self.body)

    def ends_connection(self, method: str) -> bool:
        """Whether the connection is closed after the response to a request with this method."""
        names = {name.lower() for name in self.headers}
        is_framed = names & {'content-length', 'transfer-encoding'} or self.status in (204, 304) or method == 'HEAD'
        return self.is_last or not is_framed


class Answering:
    """The server.

    Attributes:
        asked: The requests so far.
        connections: The number of connections so far.
        endpoint_url: Its URL.
    """

    def __init__(self, answer: Callable[[Asked], Reply | Sequence[bytes]], *, context: Any = None) -> None:
        """
        Args:
            answer: Returns the response to a request. Pieces of bytes are sent one by one, and leave the connection open.
            context: The TLS context; None for plain HTTP.
        """
        self.answer = answer
        self.asked: list[Asked] = []
        self.connections = 0
        self._context = context
        self._open: set[Any] = set()
        listener = gevent.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind((LOOPBACK, 0))
        listener.listen(512)
        self._server = gevent.server.StreamServer(listener, self._serve, spawn=gevent.pool.Pool())
        self.endpoint_url = f'{"http" if context is None else "https"}://{LOOPBACK}:{listener.getsockname()[1]}'

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.stop(timeout=0)
        for sock in self._open:
            sock.close()

    def _serve(self, sock: Any, _: object) -> None:
        self.connections += 1
        sock.settimeout(LIMIT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(sock)
        with contextlib.suppress(OSError, ValueError):
            if self._context is not None:
                self._open.discard(sock)
                sock = self._context.wrap_socket(sock, server_side=True)
                self._open.add(sock)
            file = sock.makefile('rb')
            while (asked := _read(sock, file)) is not None:
                self.asked.append(asked)
                reply = self.answer(asked)
                if not isinstance(reply, Reply):
                    for piece in reply:
                        sock.sendall(piece)
                        gevent.sleep(PAUSE_S)
                    continue
                sock.sendall(reply.data(asked.method))
                if reply.ends_connection(asked.method):
                    break
            file.close()
        self._open.discard(sock)
        sock.close()


def _read(sock: Any, file: Any) -> Asked | None:
    line = file.readline().decode('latin-1')
    if not line:
        return None
    method, target, _ = line.split(' ')
    headers = {}
    while line := file.readline().decode('latin-1').rstrip('\r\n'):
        name, _, value = line.partition(':')
        headers[name.lower()] = value.strip()
    if headers.get('expect') == '100-continue':
        sock.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
    body = file.read(int(headers.get('content-length', 0)))
    return Asked(method=method, target=target, headers=headers, body=body)


PAGE: Final = b'<html><head><title>Sign in</title></head><body>Welcome to the hotel</body></html>'
BODIES: Final = (b'', b'x', b'data', PAGE, b'<?xml version="1.0"?>\n<Other/>', b'{}', bytes(5000))
HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    'ETag': ('"0123456789abcdef0123456789abcdef"', '"other"', 'W/"weak"', '', '""', '"' * 9),
    'Content-Type': ('text/html', 'application/xml', 'multipart/byteranges; boundary=x', ''),
    'Content-Range': ('bytes 0-0/1', 'bytes 0-3/4', 'bytes 0-3/*', 'bytes */4', 'bytes 1-4/5', 'bytes 0-9/10', '9' * 5000, ''),
    'Last-Modified': ('Sun, 06 Nov 1994 08:49:37 GMT', 'yesterday', ''),
    'Location': ('http://127.0.0.1:1/', '/elsewhere'),
    'Retry-After': ('9' * 5000, 'soon', '-1', 'Sun, 06 Nov 1994 08:49:37 GMT'),
    'x-amz-retry-after': ('9' * 5000, 'soon'),
    'x-amz-version-id': ('v', ''),
    'x-amz-checksum-crc32': ('AAAAAA==', 'wrong', ''),
    'x-amz-tagging-count': ('9' * 5000, 'many'),
    'x-amz-missing-meta': ('many',),
    'Content-Encoding': ('gzip', 'identity', ''),
    'Connection': ('close', 'keep-alive'),
}
# The ways to state the length of the body.
FRAMINGS: Final = ('right', 'chunked', 'cut', 'none', 'huge', 'garbage')


@st.composite
def replies(draw: st.DrawFn, *, statuses: tuple[int, ...] = STATUSES, bodies: tuple[bytes, ...] = BODIES) -> Reply:
    """Random responses: any of the statuses, with headers and a body that fit together or not.

    A response may be valid, for example a 200 with the right length: the test has to decide that.
    """
    body = draw(st.sampled_from(bodies))
    names = draw(st.lists(st.sampled_from(sorted(HEADERS)), unique=True, max_size=4))
    headers = {name: draw(st.sampled_from(HEADERS[name])) for name in names}
    framing = draw(st.sampled_from(FRAMINGS))
    if framing == 'chunked':
        headers['Transfer-Encoding'] = 'chunked'
        body = (b'%x\r\n%b\r\n' % (len(body), body) if body else b'') + b'0\r\n\r\n'
    elif framing == 'cut':
        headers['Content-Length'] = str(len(body) + 7)
    elif framing in ('huge', 'garbage'):
        headers['Content-Length'] = '9' * 5000 if framing == 'huge' else '-4'
    elif framing == 'right':
        headers['Content-Length'] = str(len(body))
    is_last = framing in ('cut', 'huge', 'garbage') or 'Connection' in headers
    return Reply(status=draw(st.sampled_from(statuses)), headers=headers, body=body, is_last=is_last)
