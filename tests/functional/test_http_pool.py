"""Pools over sockets: killed exchanges leave no descriptor open, and each greenlet gets its own response."""

from __future__ import annotations

import gc
import os
import random
from typing import Any

import gevent
import gevent.event
import pytest

from s3po.body import BytesChunk
from s3po.http import HTTPClient, Pool, Timeouts, TLSOptions
from tests.support.scripted import Close, Peer, Receive, ReceiveAll, ScriptedServer, Send, Step, Wait, pool_to

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
    # Descriptors that earlier tests have dropped do not count.
    gc.collect()
    return set(os.listdir('/proc/self/fd'))


def test_one_connection_for_consecutive_requests() -> None:
    """A connection that was released is reused."""
    with ScriptedServer([*ONCE] * 5) as server, pool_to(server) as pool:
        assert [fetch(pool) for _ in range(5)] == [b'hello'] * 5

    assert server.received == [REQUEST * 5]


@pytest.mark.parametrize('how', ['kill', 'timeout'])
@pytest.mark.parametrize('stage', ['head', 'half a head', 'body', 'announcing', 'sending'])
def test_killed_within_an_exchange(stage: str, how: str) -> None:
    """A kill during an exchange closes the connection, and no descriptor is left."""
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
    """Respond to each request with its path, sometimes slowly, and sometimes close the connection."""
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
    """Each greenlet gets the response to its own request, although others are killed."""
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
    """When a client is garbage collected, its connections are closed, also without close()."""
    before = descriptors()
    with ScriptedServer([*ONCE, ReceiveAll()]) as server:
        client = HTTPClient(Timeouts(), TLSOptions())
        fetch(client.pool(server.origin))
        del client
        gc.collect()

        server.ended()
    assert descriptors() == before
