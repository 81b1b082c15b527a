"""The state of a connection during an exchange, and the pool's view of it."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from s3po.body import BytesChunk
from s3po.errors import ReadTimeout
from s3po.http import Connection, ConnectionLost, Pool, State
from s3po.http.outbox import Outbox
from tests.support.fake_stream import FakeStream

HEAD = b'GET / HTTP/1.1\r\nhost: here\r\n\r\n'
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'


class Network:
    """Opens connections over streams in memory.

    Attributes:
        streams: The streams so far.
        connections: The connections over them.
    """

    def __init__(self, room_bytes: int | None = None) -> None:
        self.streams: list[FakeStream] = []
        self.connections: list[Connection] = []
        self._room_bytes = room_bytes

    def __repr__(self) -> str:
        return 'network'

    def open(self) -> Connection:
        self.streams.append(FakeStream(room_bytes=self._room_bytes))
        self.connections.append(Connection(self.streams[-1], 'fake'))
        return self.connections[-1]

    @property
    def states(self) -> list[State]:
        return [connection.state for connection in self.connections]


@pytest.fixture
def network() -> Iterator[Network]:
    with gevent.Timeout(10):
        yield Network()


def let_others_run() -> None:
    for _ in range(3):
        gevent.sleep(0)


def test_states_of_a_small_exchange(network: Network) -> None:
    """During a small exchange the connection is waiting, in the head, in the body, and then idle."""
    pool = Pool(network, Outbox())
    user = gevent.spawn(pool.exchange, HEAD)
    let_others_run()
    assert network.states == [State.WAITING]
    network.streams[0].feed(OK[:20])
    let_others_run()
    assert network.states == [State.IN_HEAD]
    network.streams[0].feed(OK[20:], b'hello')
    response = user.get()
    assert (response.status, network.states) == (200, [State.WAITING])
    assert (response.read(5), network.states) == (b'hello', [State.IN_BODY])
    response.close()

    assert network.states == [State.IDLE]


def test_states_of_a_large_exchange() -> None:
    """During a large exchange the connection is in the body while it is sent, and then waiting."""
    network = Network(room_bytes=100_000)
    user = gevent.spawn(Pool(network, Outbox()).exchange, HEAD, BytesChunk(bytes(300_000)))
    let_others_run()
    assert network.states == [State.IN_BODY]
    while network.states == [State.IN_BODY]:
        network.streams[0].take(100_000)
        gevent.sleep(0)
    assert network.states == [State.WAITING]
    network.streams[0].feed(OK + b'hello')
    user.get().close()

    # The body was not read.
    assert network.states == [State.CLOSED]


def test_pool(network: Network) -> None:
    """repr(pool) shows how many connections are idle, busy, and waiting for a response."""
    pool = Pool(network, Outbox())
    assert repr(pool) == '<Pool network idle=0 busy=0 waiting=0>'
    users = [gevent.spawn(pool.exchange, HEAD) for _ in range(6)]
    let_others_run()
    assert repr(pool) == '<Pool network idle=0 busy=0 waiting=6>'
    for stream in network.streams[:5]:
        stream.feed(OK, b'hel', b'lo')
    responses = [user.get() for user in users[:5]]
    for response in responses[:4]:
        response.read(3)
    for response in responses[:3]:
        response.read(2)
        response.close()
    responses[4].close()

    assert repr(pool) == '<Pool network idle=3 busy=1 waiting=1>'
    assert len(network.connections) == 6


def test_closed_for_ever(network: Network) -> None:
    """A closed connection stays closed, and sends nothing."""
    connection = network.open()
    connection.begin(HEAD)
    connection.close()
    connection.close()
    connection.send_unsent()
    connection.begin(HEAD)
    connection.end_request()
    for receive in (connection.receive, lambda: connection.receive_into(memoryview(bytearray(9)))):
        with pytest.raises(ConnectionLost, match='the connection to fake was lost'):
            receive()

    assert not connection.rest()
    assert repr(connection) == '<Connection fake closed requests=2>'
    assert network.streams[0].sent == b''


def test_rest_with_bytes_after_a_body(network: Network) -> None:
    """Bytes after a body belong to no request: the connection is not reused."""
    pool = Pool(network, Outbox())
    user = gevent.spawn(pool.exchange, HEAD)
    let_others_run()
    network.streams[0].feed(OK, b'hello', b'more')
    response = user.get()
    response.read(5)
    response.close()

    assert network.states == [State.CLOSED]


def test_shut_down(network: Network) -> None:
    """After shut_down() the waiting greenlet and all later calls raise ReadTimeout with the reason."""
    connection = network.open()
    user = gevent.spawn(connection.receive)
    let_others_run()
    assert connection.waits_since > 0
    connection.shut_down('too slow')
    with pytest.raises(ReadTimeout, match='too slow'):
        user.get()

    assert connection.waits_since == 0
    with pytest.raises(ReadTimeout, match='too slow'):
        connection.receive()
