"""Bodies of requests are sent completely, or an early response is returned."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from s3po.body import BytesChunk
from s3po.errors import NetworkError, SourceChanged
from s3po.http import pool as room
from tests.support.scripted import (
    Close,
    FakeServer,
    Peer,
    Receive,
    ReceiveAll,
    Reset,
    Send,
    Step,
    Wait,
    pool_to,
)

HEAD = b'PUT / HTTP/1.1\r\nhost: here\r\n\r\n'
ANNOUNCED = HEAD[:-2] + b'expect: 100-continue\r\n\r\n'
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'
REFUSED = b'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'
BUSY = b'HTTP/1.1 503 Slow Down\r\nConnection: close\r\n\r\nno'
MIB = 1 << 20
# More than the socket buffers of both sides hold.
LARGE = BytesChunk(bytes(64 * MIB))
MEDIUM = BytesChunk(bytes(2 * MIB))


class Pieces:
    """A body that is read into the buffer in small pieces."""

    needs_buffer = True

    def __init__(self, data: bytes, piece_bytes: int = 100_000) -> None:
        self.size_bytes = len(data)
        self._data = data
        self._piece_bytes = piece_bytes

    def read(self) -> bytes:
        return self._data

    def sha256(self) -> str:
        return hashlib.sha256(self._data).hexdigest()

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        for offset in range(0, self.size_bytes, self._piece_bytes):
            piece = self._data[offset : offset + self._piece_bytes]
            buffer[: len(piece)] = piece
            yield buffer[: len(piece)]


@pytest.fixture
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, 'CONTINUE_WAIT_S', 0.05)


@pytest.fixture
def _no_announcement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, 'EXPECT_BYTES', 1 << 40)


@pytest.mark.parametrize('kind', ['bytes', 'chunk', 'pieces'])
@pytest.mark.parametrize('size_bytes', [0, 1, 16 * 1024, 16 * 1024 + 1, 256 * 1024, MIB, MIB + 1, 5 * MIB])
def test_bodies(size_bytes: int, kind: str) -> None:
    """Bodies of all kinds arrive unchanged; a body of more than 1 MiB is announced with Expect: 100-continue."""
    content = os.urandom(size_bytes)
    body: Any = {'bytes': bytes, 'chunk': BytesChunk, 'pieces': Pieces}[kind](content)
    is_announced = size_bytes > MIB and kind != 'bytes'
    script = [Receive(), Send(CONTINUE if is_announced else b''), Receive(size_bytes), Send(OK)]
    with FakeServer(script * 2) as server, pool_to(server) as pool:
        for _ in range(2):
            response = pool.exchange(HEAD, body)
            assert (response.status, response.is_reusable) == (200, True)
            response.close()

    assert server.received == [((ANNOUNCED if is_announced else HEAD) + content) * 2]


def test_idle_buffers_are_freed() -> None:
    """A buffer that was not used between two rounds of the watchdog is freed; bytes in memory need none."""
    script = [Receive(), Receive(256 * 1024), Send(OK)]
    with FakeServer(script * 3) as server, pool_to(server) as pool:
        pool.exchange(HEAD, BytesChunk(bytes(256 * 1024))).close()
        assert len(pool._buffers) == 0
        pool.exchange(HEAD, Pieces(bytes(256 * 1024))).close()
        pool.close_idle()
        pool.exchange(HEAD, Pieces(bytes(256 * 1024))).close()
        pool.close_idle()
        assert len(pool._buffers) == 1

        pool.close_idle()
        assert len(pool._buffers) == 0


@pytest.mark.parametrize('body', [bytes(256 * 1024), BytesChunk(bytes(20 * MIB)), Pieces(bytes(20 * MIB))])
def test_body_that_is_taken_slowly(body: Any) -> None:
    """A server may read a body slowly."""

    def receive_slowly(peer: Peer) -> None:
        while True:
            gevent.sleep(0.001)
            peer.more()
            if len(peer.received) == len(HEAD) + size_bytes:
                return

    size_bytes = len(body) if isinstance(body, bytes) else body.size_bytes
    with FakeServer([receive_slowly, Send(OK)]) as server, pool_to(server) as pool:
        pool._announces = False

        assert pool.exchange(HEAD, body).status == 200


@pytest.mark.parametrize('answer', [REFUSED, BUSY])
@pytest.mark.parametrize('end', [None, Close(), Reset()])
@pytest.mark.parametrize('taken_bytes', [0, 1000, MIB])
@pytest.mark.usefixtures('_no_announcement')
def test_early_refusal(taken_bytes: int, end: Step | None, answer: bytes) -> None:
    """A refusal that arrives while the body is sent is returned, whether the server then reads on, closes, or resets.

    Closing with unread data in the buffers causes a reset, too (RFC 9112, section 9.6).
    """
    ending = [] if end is None else [Wait(0.01), end]
    with FakeServer([Receive(), Receive(taken_bytes), Send(answer), *ending]) as server, pool_to(server) as pool:
        response = pool.exchange(HEAD, LARGE)
        assert response.status in (403, 503)
        if answer == REFUSED or end == Close():
            assert response.read_all(100) == b'no'
        response.close()

        assert 'idle=0' in repr(pool)
    assert len(server.peers) == 1
    assert len(server.received[0]) < LARGE.size_bytes / 2


@pytest.mark.parametrize('end', [Wait(0.0), Close()])
def test_early_refusal_of_bytes(end: Step) -> None:
    """The same holds for a body of bytes, which is sent with one call."""
    with FakeServer([Receive(), Send(REFUSED), end]) as server, pool_to(server) as pool:
        response = pool.exchange(HEAD, bytes(48 * MIB))

        assert (response.status, response.read_all(100)) == (403, b'no')


@pytest.mark.parametrize('end', [Wait(0.0), Close()])
@pytest.mark.usefixtures('_no_announcement')
def test_early_success(end: Step) -> None:
    """A success that arrives before the whole body was sent is an error: the server cannot have stored the body."""
    with FakeServer([Receive(), Send(OK), end]) as server, pool_to(server) as pool:
        with pytest.raises(NetworkError, match='success before it has the whole body'):
            pool.exchange(HEAD, LARGE)

        assert 'idle=0' in repr(pool)


@pytest.mark.parametrize('end', [Close(), Reset()])
@pytest.mark.parametrize('begin', [b'', b'HTTP/1.1 403 Forb', CONTINUE, CONTINUE + b'HTTP/1.1 2'])
@pytest.mark.usefixtures('_no_announcement')
def test_lost_while_sending(begin: bytes, end: Step) -> None:
    """If the connection ends without a complete response, the request fails and is not sent again."""
    script = [Receive(), Receive(1000), Send(begin), Wait(0.005), end]
    with FakeServer(script) as server, pool_to(server) as pool:
        with pytest.raises(NetworkError, match='closed|lost'):
            pool.exchange(HEAD, LARGE)

    assert len(server.peers) == 1


@pytest.mark.usefixtures('_no_announcement')
def test_interim_answers_while_sending() -> None:
    """Interim responses are ignored."""
    body = BytesChunk(bytes(8 * MIB))
    script = [Receive(), Send(b'HTTP/1.1 102 Processing\r\n\r\n' * 2), Wait(0.01), Receive(body.size_bytes), Send(OK)]
    with FakeServer(script) as server, pool_to(server) as pool:
        response = pool.exchange(HEAD, body)

        assert (response.status, response.is_reusable) == (200, True)


def test_body_waits_for_the_go_ahead() -> None:
    """An announced body is not sent before the server's 100 Continue."""
    before: list[int] = []

    def note(peer: Peer) -> None:
        gevent.sleep(0.02)
        before.append(len(peer.received))

    with FakeServer([Receive(), note, Send(CONTINUE), Receive(MEDIUM.size_bytes), Send(OK)]) as server:
        with pool_to(server) as pool:
            assert pool.exchange(HEAD, MEDIUM).status == 200

    assert before == [len(ANNOUNCED)]
    assert server.received == [ANNOUNCED + bytes(MEDIUM.size_bytes)]


@pytest.mark.parametrize('answer', [REFUSED, BUSY, b'HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n'])
def test_refusal_of_the_announcement(answer: bytes) -> None:
    """If the announcement is refused, the body is not sent."""
    with FakeServer([Receive(), Send(answer), ReceiveAll()]) as server, pool_to(server) as pool:
        response = pool.exchange(HEAD, MEDIUM)
        assert response.status == int(answer[9:12])
        response.close()
        server.ended()

    assert server.received == [ANNOUNCED]


def test_success_of_the_announcement() -> None:
    """A success in response to the announcement is an error: the server has stored nothing."""
    with FakeServer([Receive(), Send(OK), ReceiveAll()]) as server, pool_to(server) as pool:
        with pytest.raises(NetworkError, match='success before it has the whole body'):
            pool.exchange(HEAD, MEDIUM)
        server.ended()

    assert server.received == [ANNOUNCED]


@pytest.mark.parametrize('answer', [CONTINUE + REFUSED, b'HTTP/1.1 102 Processing\r\n\r\n' + CONTINUE + REFUSED])
def test_refusal_right_after_100_continue(answer: bytes) -> None:
    """A refusal that directly follows the 100 Continue is returned, although no more data arrives."""
    with FakeServer([Receive(), Send(answer)]) as server, pool_to(server) as pool:
        response = pool.exchange(HEAD, LARGE)

        assert (response.status, response.read_all(100)) == (403, b'no')


@pytest.mark.usefixtures('_short_wait')
def test_server_that_does_not_know_announcements() -> None:
    """If a server ignores the announcement, the body is sent after a short wait, and later bodies are not announced."""
    script = [Receive(), Receive(MEDIUM.size_bytes), Send(OK)]
    with FakeServer(script * 2) as server, pool_to(server) as pool:
        for _ in range(2):
            response = pool.exchange(HEAD, MEDIUM)
            assert (response.status, response.is_reusable) == (200, True)
            response.close()

    body = bytes(MEDIUM.size_bytes)
    assert server.received == [ANNOUNCED + body + HEAD + body]


@pytest.mark.usefixtures('_short_wait')
def test_go_ahead_that_comes_late() -> None:
    """A late 100 Continue does not count as the response."""
    script = [Receive(), Receive(MEDIUM.size_bytes), Send(CONTINUE + OK)]
    with FakeServer(script) as server, pool_to(server) as pool:
        response = pool.exchange(HEAD, MEDIUM)

        assert (response.status, response.is_reusable) == (200, True)


@pytest.mark.parametrize('is_used', [False, True])
def test_announcement_that_is_not_expected(is_used: bool) -> None:
    """After 417 this and all further requests are sent without Expect (RFC 9110, section 15.5.18)."""
    refusal = [Receive(), Send(b'HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n'), ReceiveAll()]
    first = [Receive(), Send(OK), *refusal] if is_used else refusal
    script = [Receive(), Receive(MEDIUM.size_bytes), Send(OK)]
    with FakeServer(first, script * 2) as server, pool_to(server) as pool:
        if is_used:
            pool.exchange(HEAD).close()
        for _ in range(2):
            response = pool.exchange(HEAD, MEDIUM)
            assert response.status == 200
            response.close()

    body = bytes(MEDIUM.size_bytes)
    assert server.received == [HEAD * is_used + ANNOUNCED, (HEAD + body) * 2]


@pytest.mark.usefixtures('_no_announcement')
def test_417_without_an_announcement() -> None:
    """A 417 to a request without Expect is returned like any other response."""
    script = [Receive(), Send(b'HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n')]
    with FakeServer(script) as server, pool_to(server) as pool:
        assert pool.exchange(HEAD, LARGE).status == 417
    assert len(server.peers) == 1


class Changed(Pieces):
    """A body whose second piece raises."""

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        yield next(super().pieces(buffer))
        raise SourceChanged('it changed')


def test_source_that_changes() -> None:
    """If the source changes, the request is not completed, so that the server discards it; the connection is closed."""
    with FakeServer([Receive(), ReceiveAll()]) as server, pool_to(server) as pool:
        with pytest.raises(SourceChanged):
            pool.exchange(HEAD, Changed(bytes(MIB)))
        server.ended()

        assert 'idle=0' in repr(pool)
    assert server.received == [HEAD + bytes(100_000)]


@pytest.mark.usefixtures('_short_wait')
def test_short_wait_is_not_a_read_timeout() -> None:
    """The wait for 100 Continue is not shortened by the read timeout."""
    room_s = room.CONTINUE_WAIT_S * 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, 'CONTINUE_WAIT_S', room_s)
        script = [Receive(), Receive(MEDIUM.size_bytes), Send(OK)]
        with FakeServer(script) as server, pool_to(server, read_timeout_s=room_s / 4) as pool:
            began = time.monotonic()
            assert pool.exchange(HEAD, MEDIUM).status == 200

            assert time.monotonic() - began >= room_s
