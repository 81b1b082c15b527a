"""Pools: which connection a request uses, how often it is sent, and the state of the connection afterwards."""

from __future__ import annotations

import os
from typing import Any

import pytest

from s3po.body import BytesChunk
from s3po.errors import NetworkError
from s3po.http import ConnectionLost, Pool
from s3po.http import pool as room
from tests.support.scripted import (
    LIMIT_S,
    Close,
    FakeServer,
    Receive,
    ReceiveAll,
    Reset,
    Send,
    Step,
    Wait,
    pool_to,
)

REQUEST = b'GET / HTTP/1.1\r\nhost: here\r\n\r\n'
HELLO = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'
ONCE = (Receive(), Send(HELLO))


def fetch(pool: Pool, request: bytes = REQUEST) -> bytes:
    response = pool.exchange(request)
    try:
        return response.read_all(1000)
    finally:
        response.close()


def test_one_connection_for_consecutive_requests() -> None:
    """A connection that was released is reused."""
    with FakeServer([*ONCE] * 5) as server, pool_to(server) as pool:
        assert [fetch(pool) for _ in range(5)] == [b'hello'] * 5

    assert server.received == [REQUEST * 5]


def test_last_in_first_out() -> None:
    """The connection that was released last is used first, so that the others become idle and can be closed."""
    with FakeServer(*[[*ONCE] * 9] * 3) as server, pool_to(server) as pool:
        held = [pool.exchange(REQUEST) for _ in range(3)]
        for number in (0, 2, 1):
            held[number].read_all(1000)
            held[number].close()
        for _ in range(3):
            fetch(pool)
        again = [pool.exchange(REQUEST) for _ in range(3)]

        assert [len(received) // len(REQUEST) for received in server.received] == [2, 5, 2]
        assert 'idle=0' in repr(pool)
        for response in again:
            response.close()


@pytest.mark.parametrize('end', [Close(), Reset(), Send(b'HTTP/1.1 408 Request Timeout\r\n\r\n')])
def test_stale_connection(end: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that ended while it was idle, or has unrequested bytes, is not reused."""
    monkeypatch.setattr(room, 'UNCHECKED_IDLE_S', 0.0)
    with FakeServer([*ONCE, end], ONCE) as server, pool_to(server) as pool:
        fetch(pool)
        server.ended()

        assert fetch(pool) == b'hello'
    assert server.received == [REQUEST] * 2


@pytest.mark.parametrize('end', [Close(), Reset()])
def test_stale_connection_that_is_not_looked_at(end: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that became idle just now is used without a check; if it has ended, the request is sent again."""
    monkeypatch.setattr(room, 'UNCHECKED_IDLE_S', LIMIT_S)
    with FakeServer([*ONCE, end], ONCE) as server, pool_to(server) as pool:
        fetch(pool)
        server.ended()

        assert fetch(pool) == b'hello'
    assert server.received == [REQUEST] * 2


@pytest.mark.parametrize('size_bytes', [-1, 100, 100_000, 3_000_000])
@pytest.mark.parametrize('end', [Close(), Reset()])
def test_request_that_crossed_the_end(end: Step, size_bytes: int) -> None:
    """If a reused connection ends before any byte of the response, the request is sent again on a new connection."""
    content = os.urandom(max(size_bytes, 0))
    body: Any = b'' if size_bytes < 0 else content if size_bytes == 100 else BytesChunk(content)
    end_of_body = Receive(size_bytes) if size_bytes > 0 else Wait(0.0)
    asked = size_bytes > 1_000_000
    go_ahead = Send(b'HTTP/1.1 100 Continue\r\n\r\n' if asked else b'')
    with (
        FakeServer([*ONCE, Receive(), end], [Receive(), go_ahead, end_of_body, Send(HELLO)]) as server,
        pool_to(server) as pool,
    ):
        fetch(pool)

        assert pool.exchange(REQUEST, body).read(5) == b'hello'
        assert server.peers[0].received.startswith(REQUEST + REQUEST[:-2])
    head, _, sent = server.received[1].partition(b'\r\n\r\n')
    assert head == REQUEST[:-4] + (b'\r\nexpect: 100-continue' if asked else b'')
    assert sent == content


def test_request_that_dies_twice() -> None:
    """If the second connection ends, too, the request fails."""
    script = [Receive(), Close()]
    with FakeServer([*ONCE, *script], script, default=script) as server, pool_to(server) as pool:
        fetch(pool)
        with pytest.raises(ConnectionLost, match='without a response'):
            pool.exchange(REQUEST)

    assert server.received == [REQUEST * 2, REQUEST]


@pytest.mark.parametrize('end', [Close(), Reset()])
@pytest.mark.parametrize('begin', [b'H', b'HTTP/1.1 200 OK\r\n', b'HTTP/1.1 102 Processing\r\n\r\n'])
def test_request_that_dies_in_its_answer(begin: bytes, end: Step) -> None:
    """After one byte of the response the request is not sent again."""
    with FakeServer([*ONCE, Receive(), Send(begin), end]) as server, pool_to(server) as pool:
        fetch(pool)
        with pytest.raises(ConnectionLost):
            pool.exchange(REQUEST)

    assert server.received == [REQUEST * 2]


def test_garbage_on_a_used_connection() -> None:
    """After an invalid response the request is not sent again."""
    with FakeServer([*ONCE, Receive(), Send(b'garbage')]) as server, pool_to(server) as pool:
        fetch(pool)
        with pytest.raises(NetworkError, match='no HTTP response'):
            pool.exchange(REQUEST)

    assert server.received == [REQUEST * 2]


def test_idle_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was idle for too long is not reused, even if it seems open."""
    monkeypatch.setattr(room, 'UNCHECKED_IDLE_S', 0.0)
    monkeypatch.setattr(room, 'MAX_IDLE_S', 0.0)
    with FakeServer([*ONCE, ReceiveAll()], ONCE) as server, pool_to(server) as pool:
        fetch(pool)

        assert fetch(pool) == b'hello'
        server.ended()
    assert server.received == [REQUEST] * 2


def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that were idle for too long are closed, also without further requests."""
    monkeypatch.setattr(room, 'MAX_IDLE_S', 0.0)
    with FakeServer([*ONCE, ReceiveAll()]) as server, pool_to(server, read_timeout_s=0.2) as pool:
        fetch(pool)
        server.ended()

        assert 'idle=0' in repr(pool)


def test_number_of_idle_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of idle connections is limited; further ones are closed."""
    monkeypatch.setattr(room, 'MAX_IDLE_CONNECTIONS', 1)
    with FakeServer(default=[*ONCE, ReceiveAll()]) as server, pool_to(server) as pool:
        for response in [pool.exchange(REQUEST) for _ in range(3)]:
            response.read_all(1000)
            response.close()

        assert 'idle=1' in repr(pool)
        server.ended(1)
        server.ended(2)
        assert not server.peers[0].ended.is_set()


def test_closed_pool() -> None:
    """close() closes idle connections, and busy ones when they are released; then the pool can be used again."""
    with FakeServer(default=[*ONCE, ReceiveAll()]) as server, pool_to(server) as pool:
        idle, used = pool.exchange(REQUEST), pool.exchange(REQUEST)
        idle.read_all(1000)
        idle.close()
        pool.close()
        server.ended()
        used.read_all(1000)
        used.close()
        server.ended(1)
        fetch(pool)

        assert 'idle=1' in repr(pool)
