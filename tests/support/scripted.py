"""Servers that play scripts: each connection performs the steps of the test, byte for byte.

ScriptedServer listens on a socket; FakeServer has streams in memory instead of sockets. Both run in greenlets of the test's
process. They do not know HTTP.

No step waits longer than LIMIT_S. At the end of a script the connection stays open until the server stops; a script that fails,
because the client has closed the connection, ends there, with the error in `Peer.failure`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import gevent
import gevent.event
import gevent.pool
import gevent.server
import gevent.socket
import gevent.ssl

from s3po.http import Connection, HTTPClient, Origin, Pool, Timeouts, TLSOptions
from s3po.http.outbox import Outbox
from s3po.http.watchdog import Watchdog
from tests.support.fake_stream import FakeStream
from tests.support.servers import Authority

__all__ = [
    'LIMIT_S',
    'Close',
    'FakeServer',
    'Peer',
    'Receive',
    'ReceiveAll',
    'Reset',
    'ScriptedServer',
    'Secure',
    'Send',
    'SendSlowly',
    'Step',
    'Wait',
    'pool_to',
    'server_context',
]

LIMIT_S: Final = 30.0
LOOPBACK: Final = '127.0.0.1'
READ_BYTES: Final = 256 * 1024
# Close with a reset: SO_LINGER with a timeout of 0.
LINGER: Final = struct.pack('ii', 1, 0)


@dataclass(slots=True, kw_only=True, eq=False)
class Peer:
    """One connection at the server's end.

    Attributes:
        sock: The socket; with TLS, the TLS socket.
        received: All bytes received.
        taken_bytes: The number of bytes that the script has used.
        is_resumed: Whether TLS resumed an earlier session.
        failure: The error that ended the script early, or None.
        ended: Set when the script has ended.
    """

    sock: Any
    received: bytearray = field(default_factory=bytearray)
    taken_bytes: int = 0
    is_resumed: bool = False
    failure: BaseException | None = None
    ended: gevent.event.Event = field(default_factory=gevent.event.Event)

    def more(self) -> None:
        """Wait for bytes.

        Raises:
            EOFError: The client has closed the connection.
        """
        data = self.sock.recv(READ_BYTES)
        if not data:
            raise EOFError
        self.received += data


Step = Callable[[Peer], object]


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for a number of bytes, or until certain bytes arrive; by default for the head of a request."""

    until: bytes | int = b'\r\n\r\n'

    def __call__(self, peer: Peer) -> None:
        while not (end := self._end(peer)):
            peer.more()
        peer.taken_bytes = end

    def _end(self, peer: Peer) -> int:
        if isinstance(self.until, int):
            end = peer.taken_bytes + self.until
            return end if len(peer.received) >= end else 0
        found = peer.received.find(self.until, peer.taken_bytes)
        return found + len(self.until) if found >= 0 else 0


@dataclass(frozen=True, slots=True)
class ReceiveAll:
    """Wait until the client closes the connection."""

    def __call__(self, peer: Peer) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                peer.more()


@dataclass(frozen=True, slots=True)
class Send:
    """Send bytes."""

    data: bytes

    def __call__(self, peer: Peer) -> None:
        peer.sock.sendall(self.data)


@dataclass(frozen=True, slots=True)
class SendSlowly:
    """Send bytes a few at a time."""

    data: bytes
    size_bytes: int = 1
    pause_s: float = 0.001

    def __call__(self, peer: Peer) -> None:
        for offset in range(0, len(self.data), self.size_bytes):
            peer.sock.sendall(self.data[offset : offset + self.size_bytes])
            gevent.sleep(self.pause_s)


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for an event of the test, or for some time."""

    until: gevent.event.Event | float

    def __call__(self, peer: Peer) -> None:
        if isinstance(self.until, float):
            gevent.sleep(self.until)
        else:
            self.until.wait(LIMIT_S)


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection. TLS sends close_notify only on request."""

    says_goodbye: bool = False

    def __call__(self, peer: Peer) -> None:
        if self.says_goodbye:
            peer.sock.settimeout(0.0)
            # unwrap() then waits for the close_notify of the other side.
            with contextlib.suppress(OSError):
                peer.sock.unwrap()
        peer.sock.close()


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection."""

    def __call__(self, peer: Peer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        peer.sock.close()


@dataclass(frozen=True, slots=True)
class Secure:
    """Use TLS from here on."""

    context: Any

    def __call__(self, peer: Peer) -> None:
        peer.sock = self.context.wrap_socket(peer.sock, server_side=True)
        peer.is_resumed = peer.sock.session_reused


class _Server:
    """A server whose first connection plays the first script, and so on.

    Attributes:
        peers: The connections so far.
        origin: Its origin.
    """

    origin: Origin

    def __init__(self, scripts: Sequence[Sequence[Step]], default: Sequence[Step], context: Any = None) -> None:
        self._scripts = scripts
        self._default = default
        self._context = context
        self.peers: list[Peer] = []

    @property
    def received(self) -> list[bytes]:
        """The bytes received on each connection."""
        return [bytes(peer.received) for peer in self.peers]

    def ended(self, number: int = 0) -> Peer:
        """Wait until the script of a connection has ended.

        Args:
            number: The number of the connection, from 0.
        """
        with gevent.Timeout(LIMIT_S):
            while len(self.peers) <= number:
                # It is connected, and not accepted yet.
                gevent.sleep(0.001)
            self.peers[number].ended.wait()
        return self.peers[number]

    def _play(self, sock: Any, _: object = None) -> None:
        peer = Peer(sock=sock)
        number = len(self.peers)
        self.peers.append(peer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(LIMIT_S)
        steps = [] if self._context is None else [Secure(self._context)]
        steps += self._scripts[number] if number < len(self._scripts) else self._default
        try:
            for step in steps:
                step(peer)
        except (OSError, EOFError) as error:
            peer.failure = error
        finally:
            peer.ended.set()
        # The connection is closed when this returns.
        gevent.sleep(LIMIT_S)


class ScriptedServer(_Server):
    """A server that listens on a socket."""

    def __init__(
        self, *scripts: Sequence[Step], default: Sequence[Step] = (Reset(),), context: Any = None, host: str = LOOPBACK
    ) -> None:
        """
        Args:
            *scripts: One for each connection that the test expects.
            default: The script of all others.
            context: With it, the server speaks TLS (see server_context()).
            host: The address to listen at.
        """
        super().__init__(scripts, default, context)
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        listener = gevent.socket.socket(family, socket.SOCK_STREAM)
        listener.bind((host, 0))
        listener.listen(512)
        # With a pool of its own it ends all greenlets when it is stopped.
        self._server = gevent.server.StreamServer(listener, self._play, spawn=gevent.pool.Pool())
        self.origin = Origin('http' if context is None else 'https', host, listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.stop(timeout=0)
        for peer in self.peers:
            peer.sock.close()


class FakeServer(_Server):
    """A server in memory, without a socket or TLS. As an Opener it opens connections to itself.

    The client receives each piece that a script sends separately.
    """

    def __init__(self, *scripts: Sequence[Step], default: Sequence[Step] = (Reset(),)) -> None:
        """
        Args:
            *scripts: One for each connection that the test expects.
            default: The script of all others.
        """
        super().__init__(scripts, default)
        self.origin = Origin('http', 'fake', 80)
        self._players = gevent.pool.Group()
        self.on_open: Callable[[Connection], None] = lambda _: None

    def __repr__(self) -> str:
        return '<FakeServer>'

    def open(self) -> Connection:
        stream = FakeStream(room_bytes=READ_BYTES)
        self._players.start(gevent.Greenlet(self._play, _ServerEnd(stream)))
        connection = Connection(stream, self.origin.peer)
        self.on_open(connection)
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._players.kill()


class _ServerEnd:
    """The server's end of a stream, with the methods of a socket that steps use."""

    def __init__(self, stream: FakeStream) -> None:
        self._stream = stream
        self._lingers = True

    def settimeout(self, _: float) -> None:
        """Do nothing: the test's own limit is enough."""

    def setsockopt(self, _: int, name: int, __: object) -> None:
        if name == socket.SO_LINGER:
            self._lingers = False

    def recv(self, size_bytes: int) -> bytes:
        return self._stream.take(size_bytes)

    def sendall(self, data: bytes) -> None:
        self._stream.feed(data)
        gevent.sleep(0)

    def close(self) -> None:
        self._stream.end(is_reset=not self._lingers)


def server_context(authority: Authority, **attributes: Any) -> Any:
    """A TLS context with the authority's certificate.

    Args:
        authority: The authority with the server's certificate.
        **attributes: Attributes to set on the context.
    """
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server_pem)
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


@contextlib.contextmanager
def pool_to(origin: Origin | ScriptedServer | FakeServer, **options: Any) -> Iterator[Pool]:
    """A pool of a client, closed at the end. A wait of more than LIMIT_S is an error.

    Args:
        origin: The origin or server to connect to.
        **options: Timeouts, and arguments of HTTPClient.
    """
    if isinstance(origin, FakeServer):
        with gevent.Timeout(LIMIT_S):
            yield from _pool_to_fake(origin, **options)
        return
    limits = {'connect_timeout_s': LIMIT_S, 'read_timeout_s': LIMIT_S, 'min_bytes_per_s': 0.0}
    timeouts = Timeouts(**{name: options.pop(name, limit) for name, limit in limits.items()})
    client = HTTPClient(timeouts, options.pop('tls', TLSOptions()), **options)
    try:
        with gevent.Timeout(LIMIT_S):
            yield client.pool(origin.origin if isinstance(origin, ScriptedServer) else origin)
    finally:
        client.close()


def _pool_to_fake(server: FakeServer, *, read_timeout_s: float = LIMIT_S) -> Iterator[Pool]:
    pool = Pool(server, Outbox())
    watchdog = Watchdog(read_timeout_s, 0.0, on_round=pool.close_idle)
    server.on_open = watchdog.watch
    try:
        yield pool
    finally:
        pool.close()
        watchdog.close()
