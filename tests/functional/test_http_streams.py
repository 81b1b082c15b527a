"""Streams over TCP, over TLS and in memory follow the same rules."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import gevent.socket
import pytest

from s3po.http import Stream
from s3po.http.connecting import NativeSocket
from s3po.http.stream import SocketStream
from s3po.http.tls_stream import TLSStream
from tests.support.fake_stream import FakeStream
from tests.support.scripted import LIMIT_S, server_context
from tests.support.servers import Authority

RESET = struct.pack('ii', 1, 0)


class SocketEnd:
    """The other end of a stream over a socket."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def feed(self, data: bytes) -> None:
        self._sock.sendall(data)

    def take(self, size_bytes: int) -> bytes:
        return bytes(self._sock.recv(size_bytes))

    def end(self, *, is_reset: bool = False) -> None:
        if is_reset:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._sock.close()


Pair = tuple[Stream, Any]


def sockets() -> tuple[Any, Any]:
    with contextlib.closing(gevent.socket.socket()) as listener:
        listener.bind(('127.0.0.1', 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.listen()
        sock = NativeSocket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.connect(listener.getsockname())
        sock.setblocking(False)
        other = listener.accept()[0]
    other.settimeout(LIMIT_S)
    return sock, other


@pytest.fixture(params=['socket', 'TLS', 'fake'])
def pair(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Pair]:
    """A stream and its other end."""
    with gevent.Timeout(LIMIT_S):
        if request.param == 'fake':
            fake = FakeStream(room_bytes=100_000)
            yield fake, fake
            return
        sock, other = sockets()
        stream: Any = SocketStream(sock)
        if request.param == 'TLS':
            context = ssl.create_default_context(cafile=str(authority.ca_pem))
            stream = TLSStream(stream, context=context, server_hostname='localhost')
            accepting = gevent.spawn(server_context(authority).wrap_socket, other, server_side=True)
            stream.shake_hands()
            other = accepting.get()
        yield stream, SocketEnd(other)
        stream.close()
        other.close()


def until(is_so: Callable[[], object]) -> None:
    while not is_so():
        gevent.sleep(0.001)


def test_read(pair: Pair) -> None:
    """Without data a read raises BlockingIOError; data arrives in order, with both ways of reading, and then the end."""
    stream, other = pair
    buffer = memoryview(bytearray(3))
    for attempt in (lambda: stream.recv(9), lambda: stream.recv_into(buffer)):
        with pytest.raises(BlockingIOError):
            attempt()
    assert not stream.is_readable()
    assert not stream.is_stale()
    other.feed(b'abcdef')
    until(stream.is_readable)
    assert stream.is_stale()
    assert (stream.recv_into(buffer), bytes(buffer), stream.recv(9)) == (3, b'abc', b'def')
    assert not stream.is_readable()
    other.end()
    until(stream.is_readable)

    assert stream.is_stale()
    assert (stream.recv(9), stream.recv_into(buffer)) == (b'', 0)


def test_wait(pair: Pair) -> None:
    """wait_readable() returns when data arrives, and does not read."""
    stream, other = pair
    with pytest.raises(BlockingIOError):
        stream.recv(9)
    gevent.spawn_later(0.01, other.feed, b'x')
    # TLS's own messages end a wait, too.
    while not stream.is_readable():
        stream.wait_readable()

    assert stream.recv(9) == b'x'


def fill(stream: Stream) -> int:
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += stream.send(bytes(1000))
    return sent


def test_room(pair: Pair) -> None:
    """If the buffer is full, send() raises BlockingIOError; a callback is called once when there is room; sent bytes arrive."""
    stream, other = pair
    size_bytes = fill(stream)
    assert size_bytes > 0
    assert stream.unacknowledged_bytes() > 0
    called: list[int] = []
    stream.call_when_writable(lambda: called.append(1))
    gevent.sleep(0.01)
    assert called == []
    received = 0
    while received < size_bytes:
        received += len(other.take(100_000))
        gevent.sleep(0)
    until(lambda: called)
    gevent.sleep(0.01)

    assert called == [1]
    stream.wait_for_room()


def test_wait_for_room(pair: Pair) -> None:
    """wait_for_room() also returns when there is data to read."""
    stream, other = pair
    with pytest.raises(BlockingIOError):
        stream.recv(9)
    fill(stream)
    gevent.spawn_later(0.01, other.feed, b'x')
    while not stream.is_readable():
        stream.wait_for_room()

    assert stream.recv(9) == b'x'


def test_reset(pair: Pair) -> None:
    """After a reset, reads and writes raise an OSError other than BlockingIOError."""
    stream, other = pair
    other.end(is_reset=True)
    until(stream.is_readable)
    for attempt in (lambda: stream.recv(9), lambda: stream.send(b'x')):
        with pytest.raises(OSError, match='reset|Broken pipe') as caught:
            attempt()

        assert not isinstance(caught.value, BlockingIOError)


def test_shut_down(pair: Pair) -> None:
    """shut_down() wakes the waiting greenlet, which then reads the end, or fails if TLS has left a ticket unread."""
    stream, _ = pair

    def wait() -> bytes:
        while True:
            stream.wait_readable()
            try:
                return stream.recv(9)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                return b''

    waiting = gevent.spawn(wait)
    gevent.sleep(0.01)
    stream.shut_down()

    assert waiting.get() == b''
    stream.shut_down()


def test_kill(pair: Pair) -> None:
    """A wait can be killed, and the next wait works."""
    stream, other = pair
    with pytest.raises(BlockingIOError):
        stream.recv(9)
    waiting = gevent.spawn(stream.wait_readable)
    gevent.sleep(0.01)
    waiting.kill()
    test_wait((stream, other))


def test_close(pair: Pair) -> None:
    """After close(), the other end reads the end, and reads and writes of this end fail."""
    stream, other = pair
    stream.close()

    if isinstance(stream, TLSStream):
        # No close_notify is sent, and session tickets that were not read make the kernel send a reset.
        with contextlib.suppress(ConnectionResetError):
            other.take(9)
    else:
        assert other.take(9) == b''
    with pytest.raises(OSError, match='Bad file descriptor'):
        stream.send(b'x')
