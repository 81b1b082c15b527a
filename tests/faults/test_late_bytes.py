"""Bytes that belong to no request are never read as the next response (F73)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import gevent
import pytest

import s3po
from tests.conftest import BUCKET
from tests.support.answering import Answering, Asked, Reply
from tests.support.kinds import Kind
from tests.support.scripted import server_context
from tests.support.servers import Authority

Connect = Callable[..., s3po.Connection]

# How long the bytes have been in the socket when the connection is used again: more than 1 ms.
IDLE_S: Final = 0.002
OBJECTS: Final = {f'key{number}': os.urandom(4096) for number in range(10)}
WRONG: Final = os.urandom(4096)


def ok(body: bytes) -> bytes:
    return Reply(headers={'Content-Length': str(len(body)), 'ETag': '"e"'}, body=body).data()


def asked_for(asked: Asked) -> bytes:
    return ok(OBJECTS[asked.target.rpartition('/')[2]])


def at_once(asked: Asked) -> Sequence[bytes]:
    return [asked_for(asked) + ok(WRONG)]


def behind(asked: Asked) -> Sequence[bytes]:
    return [asked_for(asked), ok(WRONG)]


def in_halves(asked: Asked) -> Sequence[bytes]:
    late = ok(WRONG)
    return [asked_for(asked) + late[:7], late[7:]]


def one_byte(asked: Asked) -> Sequence[bytes]:
    return [asked_for(asked) + b'H', ok(WRONG)[1:]]


def chunked(asked: Asked) -> Sequence[bytes]:
    """A chunked response with a second response after its last chunk, which only the parser can detect."""
    body = OBJECTS[asked.target.rpartition('/')[2]]
    headers = {'Transfer-Encoding': 'chunked', 'ETag': '"e"'}
    return [Reply(headers=headers, body=b'%x\r\n%b\r\n0\r\n\r\n' % (len(body), body)).data() + ok(WRONG)]


TWICE: Final = {each.__name__: each for each in (at_once, behind, in_halves, one_byte, chunked)}


def wrong_ones(conn: s3po.Connection, server: Answering, count: int) -> int:
    """The number of downloads, out of `count`, that return another object's content."""
    wrong = 0
    for number in range(count):
        key = f'key{number % len(OBJECTS)}'
        wrong += conn.download(BUCKET, key) != OBJECTS[key]
        gevent.sleep(IDLE_S)
    assert len(server.asked) >= count
    return wrong


@pytest.mark.fault('F73')
@pytest.mark.parametrize('way', TWICE)
def test_two_answers(connect: Connect, kind: Kind, way: str) -> None:
    """If a server sends two responses to every request, no download returns another object. (Fewer downloads over boto.)"""
    with Answering(TWICE[way]) as server:
        count = 1000 if (kind.name, way) == ('wire', 'behind') else 50
        assert wrong_ones(connect(server.endpoint_url), server, count) == 0


@pytest.mark.fault('F73')
@pytest.mark.parametrize('way', TWICE)
@pytest.mark.parametrize('version', ['TLSv1_2', 'TLSv1_3'])
def test_two_answers_over_tls(connect: Connect, authority: Authority, way: str, version: str) -> None:
    """The same holds over TLS, where OpenSSL may have read the extra bytes from the socket already."""
    import ssl

    context = server_context(authority, maximum_version=ssl.TLSVersion[version])
    with Answering(TWICE[way], context=context) as server:
        conn = connect(server.endpoint_url, verify=str(authority.ca_pem))
        assert wrong_ones(conn, server, 30) == 0


@pytest.mark.fault('F73')
@pytest.mark.parametrize('splits', [False, True], ids=['together', 'apart'])
def test_bodies_where_none_is(connect: Connect, splits: bool) -> None:
    """A body after a response to HEAD, or after a 204, is not read as the next response."""
    late = ok(WRONG)

    def answer(asked: Asked) -> Sequence[bytes]:
        if asked.method == 'GET':
            return [asked_for(asked)]
        head = b'HTTP/1.1 204 No Content\r\n\r\n'
        if asked.method == 'HEAD':
            head = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: %d\r\n\r\n' % len(late)
        return [head, late] if splits else [head + late]

    with Answering(answer) as server:
        conn = connect(server.endpoint_url)
        calls: list[Callable[[], Any]] = [lambda: conn.head(BUCKET, 'key0'), lambda: conn.delete(BUCKET, 'key0')]
        for number in range(20):
            calls[number % 2]()
            gevent.sleep(IDLE_S)
            assert conn.download(BUCKET, 'key1') == OBJECTS['key1']
            gevent.sleep(IDLE_S)


@pytest.mark.fault('F73')
def test_connections_that_are_kept(connect: Connect, authority: Authority) -> None:
    """The check for stray bytes costs no connections: one serves all requests, also with late TLS 1.3 session tickets."""
    for context in (None, server_context(authority)):
        with Answering(lambda asked: [asked_for(asked)], context=context) as server:
            conn = connect(server.endpoint_url, verify=str(authority.ca_pem))
            for _ in range(20):
                conn.download(BUCKET, 'key0')
                gevent.sleep(IDLE_S)
            assert server.connections <= 2
