"""Pools: which connection a request goes out on, how often, and what becomes of the connection."""

from __future__ import annotations

import gc
import os
import random
from typing import Any

import gevent
import gevent.event
import pytest

from s3po.body import BytesChunk
from s3po.errors import NetworkError
from s3po.http import ConnectionLost, HTTPClient, HTTPOptions, Pool
from s3po.http import pool as room
from tests.support.scripted import (
    LIMIT_S,
    Close,
    Peer,
    Receive,
    ReceiveAll,
    Reset,
    ScriptedServer,
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


def descriptors() -> set[str]:
    # Those that earlier tests have dropped are none of ours.
    gc.collect()
    return set(os.listdir('/proc/self/fd'))


def test_one_connection_for_consecutive_requests() -> None:
    """What is given back is used again."""
    with ScriptedServer([*ONCE] * 5) as server, pool_to(server) as pool:
        assert [fetch(pool) for _ in range(5)] == [b'hello'] * 5

    assert server.received == [REQUEST * 5]


def test_last_in_first_out() -> None:
    """The connection that was given back last is used first, so that the others can be closed for want of use."""
    with ScriptedServer(*[[*ONCE] * 9] * 3) as server, pool_to(server) as pool:
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
    """A connection that ended while it was idle, or says what nobody has asked for, is not used."""
    monkeypatch.setattr(room, 'UNCHECKED_IDLE_S', 0.0)
    with ScriptedServer([*ONCE, Wait(0.001), end], ONCE) as server, pool_to(server) as pool:
        fetch(pool)
        server.ended()

        assert fetch(pool) == b'hello'
    assert server.received == [REQUEST] * 2


@pytest.mark.parametrize('end', [Close(), Reset()])
def test_stale_connection_that_is_not_looked_at(end: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has only just become idle is taken as it is; the request is sent again."""
    monkeypatch.setattr(room, 'UNCHECKED_IDLE_S', LIMIT_S)
    with ScriptedServer([*ONCE, end], ONCE) as server, pool_to(server) as pool:
        fetch(pool)
        server.ended()

        assert fetch(pool) == b'hello'
    assert server.received == [REQUEST] * 2


@pytest.mark.parametrize('size_bytes', [-1, 100, 100_000, 3_000_000])
@pytest.mark.parametrize('end', [Close(), Reset()])
def test_request_that_crossed_the_end(end: Step, size_bytes: int) -> None:
    """A request that dies on a used connection before any answer is sent once more, whole, on a new one."""
    content = os.urandom(max(size_bytes, 0))
    body: Any = b'' if size_bytes < 0 else content if size_bytes == 100 else BytesChunk(content)
    end_of_body = Receive(size_bytes) if size_bytes > 0 else Wait(0.0)
    asked = size_bytes > 1_000_000
    go_ahead = Send(b'HTTP/1.1 100 Continue\r\n\r\n' if asked else b'')
    with (
        ScriptedServer([*ONCE, Receive(), end], [Receive(), go_ahead, end_of_body, Send(HELLO)]) as server,
        pool_to(server) as pool,
    ):
        fetch(pool)

        assert pool.exchange(REQUEST, body).read(5) == b'hello'
        assert server.peers[0].received.startswith(REQUEST + REQUEST[:-2])
    head, _, sent = server.received[1].partition(b'\r\n\r\n')
    assert head == REQUEST[:-4] + (b'\r\nexpect: 100-continue' if asked else b'')
    assert sent == content


def test_request_that_dies_twice() -> None:
    """It is sent once more, and not a third time."""
    script = [Receive(), Close()]
    with ScriptedServer([*ONCE, *script], script, default=script) as server, pool_to(server) as pool:
        fetch(pool)
        with pytest.raises(ConnectionLost, match='without an answer'):
            pool.exchange(REQUEST)

    assert server.received == [REQUEST * 2, REQUEST]


@pytest.mark.parametrize('end', [Close(), Reset()])
@pytest.mark.parametrize('begin', [b'H', b'HTTP/1.1 200 OK\r\n', b'HTTP/1.1 102 Processing\r\n\r\n'])
def test_request_that_dies_in_its_answer(begin: bytes, end: Step) -> None:
    """What has been answered, if only by a byte, is not sent again."""
    with ScriptedServer([*ONCE, Receive(), Send(begin), Wait(0.001), end]) as server, pool_to(server) as pool:
        fetch(pool)
        with pytest.raises(ConnectionLost):
            pool.exchange(REQUEST)

    assert server.received == [REQUEST * 2]


def test_garbage_on_a_used_connection() -> None:
    """Nor is what was answered with garbage."""
    with ScriptedServer([*ONCE, Receive(), Send(b'garbage')]) as server, pool_to(server) as pool:
        fetch(pool)
        with pytest.raises(NetworkError, match='no HTTP answer'):
            pool.exchange(REQUEST)

    assert server.received == [REQUEST * 2]


def test_idle_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was idle for too long is not used, even if it seems to be open."""
    monkeypatch.setattr(room, 'UNCHECKED_IDLE_S', 0.0)
    monkeypatch.setattr(room, 'MAX_IDLE_S', 0.0)
    with ScriptedServer([*ONCE, ReceiveAll()], ONCE) as server, pool_to(server) as pool:
        fetch(pool)

        assert fetch(pool) == b'hello'
        server.ended()
    assert server.received == [REQUEST] * 2


def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was idle for too long is closed, though nobody asks for a connection."""
    monkeypatch.setattr(room, 'MAX_IDLE_S', 0.0)
    with ScriptedServer([*ONCE, ReceiveAll()]) as server, pool_to(server, read_timeout_s=0.2) as pool:
        fetch(pool)
        server.ended()

        assert 'idle=0' in repr(pool)


def test_number_of_idle_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is limited; what is more is closed."""
    monkeypatch.setattr(room, 'MAX_IDLE_CONNECTIONS', 1)
    with ScriptedServer(default=[*ONCE, ReceiveAll()]) as server, pool_to(server) as pool:
        for response in [pool.exchange(REQUEST) for _ in range(3)]:
            response.read_all(1000)
            response.close()

        assert 'idle=1' in repr(pool)
        server.ended(1)
        server.ended(2)
        assert not server.peers[0].ended.is_set()


def test_closed_pool() -> None:
    """What is idle is closed; what is in use is closed as it comes back; then the pool may be used again."""
    with ScriptedServer(default=[*ONCE, ReceiveAll()]) as server, pool_to(server) as pool:
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


@pytest.mark.parametrize('how', ['kill', 'timeout'])
@pytest.mark.parametrize('stage', ['head', 'half a head', 'body', 'announcing', 'sending'])
def test_killed_within_an_exchange(stage: str, how: str) -> None:
    """The connection is closed, and no descriptor is left."""
    at_stage = gevent.event.Event()

    def reach(_: Peer) -> None:
        at_stage.set()

    scripts: dict[str, list[Step]] = {
        'head': [Receive(), reach],
        'half a head': [Receive(), Send(HELLO[:10]), Wait(0.005), reach],
        'body': [Receive(), Send(HELLO[:-1]), Wait(0.005), reach],
        'announcing': [Receive(), reach],
        'sending': [Receive(), Send(b'HTTP/1.1 100 Continue\r\n\r\n'), Wait(0.02), reach],
    }
    body: Any = BytesChunk(bytes(1 << 25)) if stage in ('announcing', 'sending') else b''

    def run(pool: Pool) -> None:
        with gevent.Timeout(0.05 if how == 'timeout' else None, False):
            response = pool.exchange(REQUEST, body)
            try:
                response.read(5)
            finally:
                response.close()

    before = descriptors()
    with ScriptedServer([*scripts[stage], ReceiveAll()]) as server, pool_to(server) as pool:
        user = gevent.spawn(run, pool)
        at_stage.wait()
        if how == 'kill':
            user.kill()
        user.join()
        assert 'idle=0' in repr(pool)
        server.ended()
        assert len(server.peers) == 1
    assert descriptors() == before


def echo(peer: Peer) -> None:
    """Answer each request with its path, some slowly, and end now and then."""
    chance = random.Random(len(peer.received))
    while True:
        start = peer.taken_bytes
        Receive()(peer)
        path = bytes(peer.received[start : peer.taken_bytes]).split()[1]
        answer = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % len(path) + path
        cut = chance.randrange(len(answer))
        Send(answer[:cut])(peer)
        gevent.sleep(chance.random() * 0.002)
        Send(answer[cut:])(peer)
        if chance.random() < 0.02:
            Close()(peer)


def test_many_greenlets_with_kills() -> None:
    """Whoever is answered gets the answer to its own request, whoever else is killed."""
    chance = random.Random(1)
    answered = []
    before = descriptors()

    def run(number: int) -> None:
        for turn in range(8):
            path = b'/%d/%d/' % (number, turn) + b'x' * chance.randrange(300)
            with gevent.Timeout(chance.choice([None, None, 0.0, 0.001, 0.003]), False):
                answer = fetch(pool, b'GET ' + path + b' HTTP/1.1\r\nhost: here\r\n\r\n')
                assert answer == path
                answered.append(path)

    with ScriptedServer(default=[echo]) as server, pool_to(server) as pool:
        users = [gevent.spawn(run, number) for number in range(200)]
        for user in chance.sample(users, 50):
            gevent.spawn_later(chance.random() * 0.2, user.kill)
        gevent.joinall(users)

    assert [user.exception for user in users if not user.successful()] == []
    assert len(set(answered)) == len(answered) > 400
    assert descriptors() == before


def test_client_that_is_dropped() -> None:
    """Its connections go with it, though nobody has closed it."""
    before = descriptors()
    with ScriptedServer([*ONCE, ReceiveAll()]) as server:
        client = HTTPClient(HTTPOptions())
        fetch(client.pool(server.origin))
        del client
        gc.collect()

        server.ended()
    assert descriptors() == before
