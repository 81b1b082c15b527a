"""One connection over a pair of sockets: full buffers, closing by another greenlet, bytes in flight."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import pytest

from s3po.errors import NetworkError, ReadTimeout
from s3po.http import Pool
from s3po.http.connecting import NativeSocket
from s3po.http.connection import Connection, ConnectionLost, State
from s3po.http.outbox import Outbox
from s3po.http.stream import SocketStream
from s3po.http.watchdog import Watchdog
from tests.support.scripted import LIMIT_S

HEAD = b'PUT / HTTP/1.1\r\nhost: here\r\n\r\n'
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
REFUSED = b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n'
# A body that is sent through the outbox and is larger than the smallest socket buffer.
SMALL = bytes(range(256)) * 64


class Pair:
    """A connection and the socket at its other end. It cannot open further connections.

    Attributes:
        connection: The connection.
        other: The socket at the other end.
    """

    def __init__(self) -> None:
        listener = gevent.socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen()
        sock = NativeSocket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(listener.getsockname())
        sock.setblocking(False)
        self.other = listener.accept()[0]
        self.other.settimeout(LIMIT_S)
        listener.close()
        self.connection = Connection(SocketStream(sock), 'pair')

    def open(self) -> Connection:
        return self.connection

    def receive(self, size_bytes: int) -> bytes:
        data = b''
        while len(data) < size_bytes:
            data += self.other.recv(1000)
        return data


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    with gevent.Timeout(LIMIT_S):
        yield pair
    pair.connection.close()
    pair.other.close()


def small_request(pair: Pair) -> Any:
    """A greenlet that exchanges a small request, of which only a part has been sent."""
    user = gevent.spawn(Pool(pair, Outbox()).exchange, HEAD, SMALL)
    while not pair.connection.waits_since:
        gevent.sleep(0)
    gevent.sleep(0)
    assert (pair.connection.state, len(pair.connection.unsent) > 0) == (State.SENDING, True)
    return user


def test_small_request_without_room(pair: Pair) -> None:
    """If the buffer is full, the rest of a small request is sent while its greenlet waits for the response."""
    user = small_request(pair)
    assert pair.receive(len(HEAD + SMALL)) == HEAD + SMALL
    pair.other.sendall(OK)
    response = user.get()

    assert (response.status, response.is_reusable, pair.connection.unsent) == (200, True, b'')


def test_refusal_of_a_small_request_without_room(pair: Pair) -> None:
    """A refusal may arrive before the request is sent completely; then the connection is not reused."""
    user = small_request(pair)
    pair.other.sendall(REFUSED)
    response = user.get()

    assert (response.status, response.is_reusable) == (403, False)


def test_success_of_a_small_request_without_room(pair: Pair) -> None:
    """A success must not arrive before the request is sent completely."""
    user = small_request(pair)
    pair.other.sendall(OK)
    with pytest.raises(NetworkError, match='success before it has the whole body'):
        user.get()

    assert pair.connection.state is State.CLOSED


def test_end_of_a_small_request_without_room(pair: Pair) -> None:
    """If the peer closes before the request is sent completely, the call fails."""
    user = small_request(pair)
    pair.other.close()
    with pytest.raises(ConnectionLost):
        user.get()

    assert pair.connection.state is State.CLOSED


def test_kill_of_a_small_request_without_room(pair: Pair) -> None:
    """If the greenlet is killed, the rest of the request is not sent."""
    user = small_request(pair)
    user.kill()
    assert pair.connection.state is State.CLOSED
    received = b''
    while data := pair.other.recv(100_000):
        received += data

    assert HEAD + SMALL != received == (HEAD + SMALL)[: len(received)]


def test_read_timeout_of_a_small_request_without_room(pair: Pair) -> None:
    """A peer that neither reads nor responds causes a read timeout."""
    watchdog = Watchdog(0.1, 0.0)
    watchdog.watch(pair.connection)
    user = small_request(pair)
    with pytest.raises(ReadTimeout, match='pair sent and took nothing for 0.1 s'):
        user.get()
    watchdog.close()


def test_progress(pair: Pair) -> None:
    """Bytes in the system's buffer count as progress only when the peer has acknowledged them."""
    connection = pair.connection
    while connection.send(bytes(1000)):
        pass
    before = connection.progress_bytes()
    assert before < connection.moved_bytes
    pair.receive(connection.moved_bytes)
    while connection.progress_bytes() < connection.moved_bytes:
        # The acknowledgement is still in flight.
        gevent.sleep(0.001)

    assert connection.progress_bytes() == connection.moved_bytes


def test_ended_from_outside(pair: Pair) -> None:
    """After shut_down(), a waiting call and all later calls raise the reason."""
    connection = pair.connection
    user = gevent.spawn(connection.receive)
    gevent.sleep(0)
    assert repr(connection) == '<Connection pair idle requests=0>'
    connection.shut_down('for fun')
    for attempt in (user.get, connection.receive, lambda: connection.receive_into(memoryview(bytearray(9)))):
        with pytest.raises(ReadTimeout, match='for fun'):
            attempt()
    with pytest.raises(ReadTimeout, match='for fun'):
        connection.send(b'x')
    connection.shut_down('for fun')
    connection.close()
    connection.close()

    assert repr(connection) == '<Connection pair closed requests=0>'


@pytest.mark.parametrize('is_sent', [True, False])
def test_short_wait(pair: Pair, is_sent: bool) -> None:
    """wait_readable_for() ends when data has arrived or the time is over, and does not read."""
    if is_sent:
        pair.other.sendall(b'x')
    connection = pair.connection

    assert connection.wait_readable_for(LIMIT_S if is_sent else 0.01) == connection.has_arrived() == is_sent
    if is_sent:
        assert connection.receive() == b'x'
    assert not connection.is_stale()
    pair.other.close()
    assert connection.wait_readable_for(LIMIT_S)
    assert connection.is_stale()
