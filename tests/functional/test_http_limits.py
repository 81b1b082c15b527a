"""Limits of time and speed: slow peers are dropped, others are not."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import gevent.socket
import pytest

from s3po.body import BytesChunk
from s3po.errors import ConnectTimeout, NetworkError, ReadTimeout
from s3po.http import Origin
from s3po.http import pool as pool_room
from tests.support.scripted import LIMIT_S, Peer, Receive, ReceiveAll, ScriptedServer, Send, SendSlowly, Wait, pool_to

REQUEST = b'GET / HTTP/1.1\r\nhost: here\r\n\r\n'
OK = b'HTTP/1.1 200 OK\r\n'
CHUNKED = OK + b'Transfer-Encoding: chunked\r\n\r\n'
INTERIM = b'HTTP/1.1 102 Processing\r\n\r\n'
MIB = 1 << 20
LARGE = BytesChunk(bytes(64 * MIB))
# Limits that are reached, and one that is not.
SHORT_S = 0.1
LONG_S = LIMIT_S


@pytest.fixture(autouse=True)
def _no_announcement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_room, 'EXPECT_BYTES', 1 << 40)


@pytest.mark.parametrize('size_bytes', [0, 1, len(OK), len(OK) + 3])
def test_read_timeout_in_the_head(size_bytes: int) -> None:
    """A response whose head stops arriving causes a read timeout."""
    begin = (OK + b'Content-Length: 0\r\n\r\n')[:size_bytes]
    with ScriptedServer([Receive(), Send(begin), ReceiveAll()]) as server, pool_to(server, read_timeout_s=SHORT_S) as pool:
        with pytest.raises(ReadTimeout, match=f'{server.origin.peer} (sent and took nothing|has sent no more .*) for 0.1 s'):
            pool.exchange(REQUEST)
        server.ended()

        assert 'idle=0' in repr(pool)
    assert server.received == [REQUEST]


@pytest.mark.parametrize(
    'begin',
    [OK + b'Content-Length: 5\r\n\r\n', OK + b'Content-Length: 5\r\n\r\nhell', OK + b'\r\nhell', CHUNKED + b'5\r\nhell'],
)
def test_read_timeout_in_the_body(begin: bytes) -> None:
    """A response whose body stops arriving causes a read timeout."""
    with ScriptedServer([Receive(), Send(begin), ReceiveAll()]) as server, pool_to(server, read_timeout_s=SHORT_S) as pool:
        response = pool.exchange(REQUEST)
        with pytest.raises(ReadTimeout, match='sent and took nothing for 0.1 s'):
            response.read_all(1000)
        response.close()
        server.ended()

        assert 'idle=0' in repr(pool)


@pytest.mark.parametrize('body', [LARGE, bytes(48 * MIB)])
def test_read_timeout_while_sending(body: Any) -> None:
    """A server that stops reading the body causes a read timeout."""
    with ScriptedServer([Receive(), Wait(LONG_S)]) as server, pool_to(server, read_timeout_s=SHORT_S) as pool:
        with pytest.raises(ReadTimeout, match='sent and took nothing for 0.1 s'):
            pool.exchange(REQUEST, body)

        assert 'idle=0' in repr(pool)


def test_read_timeout_on_a_used_connection() -> None:
    """After a read timeout on a reused connection the request is not sent again."""
    with ScriptedServer([Receive(), Send(OK + b'Content-Length: 0\r\n\r\n'), ReceiveAll()]) as server:
        with pool_to(server, read_timeout_s=SHORT_S) as pool:
            pool.exchange(REQUEST).close()
            with pytest.raises(ReadTimeout):
                pool.exchange(REQUEST)

    assert server.received == [REQUEST * 2]


def test_dripping_head() -> None:
    """The whole head must arrive within the read timeout, however often a piece of it arrives."""
    drip = SendSlowly(OK + b'X: ' + b'y' * 100_000, pause_s=0.01)
    with ScriptedServer([Receive(), drip]) as server, pool_to(server, read_timeout_s=0.5) as pool:
        with pytest.raises(ReadTimeout, match='has sent no more than a part of a head for 0.5 s'):
            pool.exchange(REQUEST)

        assert len(server.peers) == 1


def test_many_heads() -> None:
    """Interim responses show that the server is working: the limit starts again with each."""
    script = [Receive(), *[Send(INTERIM), Wait(0.2)] * 4, Send(OK + b'Content-Length: 0\r\n\r\n')]
    with ScriptedServer(script) as server, pool_to(server, read_timeout_s=0.6) as pool:
        assert pool.exchange(REQUEST).status == 200


def test_slow_body_without_a_speed() -> None:
    """Without a minimum speed, a slow body is accepted if each read is in time."""
    body = b'x' * 30
    script = [Receive(), Send(OK + b'Content-Length: 30\r\n\r\n'), SendSlowly(body, pause_s=0.02)]
    with ScriptedServer(script) as server, pool_to(server, read_timeout_s=0.3) as pool:
        assert pool.exchange(REQUEST).read(30) == body


SLOW: dict[str, Any] = {'min_bytes_per_s': 1e6, 'speed_window_s': 0.1}


def test_low_speed() -> None:
    """A body that arrives below the minimum speed is given up."""
    drip = SendSlowly(b'x' * 100_000, 10, pause_s=0.005)
    with (
        ScriptedServer([Receive(), Send(OK + b'Content-Length: 100000\r\n\r\n'), drip]) as server,
        pool_to(server, **SLOW) as pool,
    ):
        response = pool.exchange(REQUEST)
        with pytest.raises(ReadTimeout, match=r'moved [\d,]+ bytes in 0 s of waiting, less than min_bytes_per_s=1e\+06'):
            response.read(100_000)
        response.close()

        assert 'idle=0' in repr(pool)


def test_low_speed_while_sending() -> None:
    """A body that is sent below the minimum speed is given up."""

    def receive_slowly(peer: Peer) -> None:
        while True:
            gevent.sleep(0.005)
            peer.received += peer.sock.recv(100)

    with ScriptedServer([Receive(), receive_slowly]) as server, pool_to(server, **SLOW) as pool:
        with pytest.raises(ReadTimeout, match='less than min_bytes_per_s'):
            pool.exchange(REQUEST, LARGE)

        assert 'idle=0' in repr(pool)


def test_speed_counts_only_waits() -> None:
    """Only time spent waiting for the network counts for the minimum speed."""
    body = bytes(8 * MIB)
    script = [Receive(), Send(OK + b'Content-Length: %d\r\n\r\n' % len(body)), Send(body)]
    with ScriptedServer(script) as server, pool_to(server, read_timeout_s=0.1, **SLOW) as pool:
        response = pool.exchange(REQUEST)
        for _ in range(4):
            assert len(response.read(2 * MIB)) == 2 * MIB
            gevent.sleep(0.15)


def test_speed_while_the_server_works() -> None:
    """After the body has been sent, the response may take longer than the minimum speed allows."""
    body = BytesChunk(bytes(2 * MIB))
    script = [Receive(), Receive(body.size_bytes), Wait(0.4), Send(OK + b'Content-Length: 0\r\n\r\n')]
    with ScriptedServer(script) as server, pool_to(server, **SLOW) as pool:
        assert pool.exchange(REQUEST, body).status == 200


def test_speed_of_a_document_in_the_making() -> None:
    """A completion may send blanks for a long time, as S3 does (CompleteMultipartUpload in its API reference)."""
    script = [Receive(), Send(CHUNKED), SendSlowly(b'1\r\n \r\n' * 100, 60, pause_s=0.04), Send(b'2\r\nOK\r\n0\r\n\r\n')]
    with ScriptedServer(script) as server, pool_to(server, **SLOW) as pool:
        assert pool.exchange(REQUEST).read_all(1000, is_patient=True) == b' ' * 100 + b'OK'


def test_busy_process() -> None:
    """Time in which this process is busy does not count against the server."""
    script = [Receive(), Wait(0.05), Send(OK + b'Content-Length: 10\r\n\r\n'), Wait(0.05), Send(b'x' * 10)]
    with ScriptedServer(script) as server, pool_to(server, read_timeout_s=0.4, speed_window_s=0.4, min_bytes_per_s=1) as pool:
        user = gevent.spawn(lambda: pool.exchange(REQUEST).read(10))
        for _ in range(3):
            gevent.sleep(0.03)
            time.sleep(0.5)  # Blocks all greenlets on purpose.

        assert user.get() == b'x' * 10


@pytest.mark.parametrize('name', ['connect_timeout_s', 'read_timeout_s'])
def test_no_limit(name: str) -> None:
    """Infinity disables a limit."""
    with ScriptedServer([Receive(), Wait(0.01), Send(OK + b'Content-Length: 0\r\n\r\n')]) as server:
        with pool_to(server, **{name: math.inf}) as pool:
            assert pool.exchange(REQUEST).status == 200


@contextmanager
def full_backlog() -> Iterator[Origin]:
    """A server that neither accepts nor refuses connections."""
    listener = gevent.socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(0)
    fillers = []
    for _ in range(4):
        filler = gevent.socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    try:
        yield Origin('http', *listener.getsockname())
    finally:
        for sock in (*fillers, listener):
            sock.close()


def test_connect_timeout() -> None:
    """A connection that is not established in time causes a ConnectTimeout."""
    with full_backlog() as origin, pool_to(origin, connect_timeout_s=SHORT_S) as pool:
        with pytest.raises(ConnectTimeout, match=f'no connection to 127.0.0.1:{origin.port} within 0.1 s'):
            pool.exchange(REQUEST)


def test_timeout_of_the_caller_while_connecting() -> None:
    """A gevent.Timeout of the caller during connecting is raised unchanged."""
    with full_backlog() as origin, pool_to(origin) as pool:
        timeout = gevent.Timeout(0.05)
        with pytest.raises(gevent.Timeout) as caught, timeout:
            pool.exchange(REQUEST)

    assert caught.value is timeout


def test_refused() -> None:
    """A refused connection is a NetworkError."""
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        origin = Origin('http', *unused.getsockname())
        with pool_to(origin) as pool, pytest.raises(NetworkError, match=f'127.0.0.1:{origin.port}: Connection refused'):
            pool.exchange(REQUEST)
