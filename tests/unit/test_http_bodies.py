"""Bodies of responses are complete or an error, and never larger than allowed; bytes after them are not read as a response."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from s3po.errors import NetworkError
from s3po.http import Response
from tests.support.scripted import Close, FakeServer, Receive, ReceiveAll, Reset, Send, SendSlowly, Step, pool_to

REQUEST = b'GET / HTTP/1.1\r\nhost: here\r\n\r\n'
OK = b'HTTP/1.1 200 OK\r\n'
CHUNKED = OK + b'Transfer-Encoding: chunked\r\n\r\n'
HELLO = OK + b'Content-Length: 5\r\n\r\nhello'
KIB = 1024
LIMIT = 64 * KIB


def with_length(body: bytes) -> bytes:
    return OK + b'Content-Length: %d\r\n\r\n' % len(body) + body


def read(response: Response) -> bytes:
    return response.read(1 << 20)


def read_by_threes(response: Response) -> bytes:
    body = b''
    while piece := response.read(3):
        body += piece
    return body


def read_into(response: Response) -> bytes:
    buffer = memoryview(bytearray(2 * LIMIT))
    end = 0
    while size_bytes := response.read_into(buffer[end:]):
        end += size_bytes
    return bytes(buffer[:end])


def read_into_small(response: Response) -> bytes:
    buffer, body = memoryview(bytearray(4)), b''
    while size_bytes := response.read_into(buffer):
        body += buffer[:size_bytes]
    return body


def read_all(response: Response) -> bytes:
    return response.read_all(LIMIT)


READERS = [read, read_by_threes, read_into, read_into_small, read_all]


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('size_bytes', [0, 1, 3, 5, 20 * KIB])
def test_body_with_a_length(size_bytes: int, reader: Any) -> None:
    """The body is returned unchanged, whichever way it is read and however it arrives; then the connection is reused."""
    data = bytes(range(256)) * 80
    answer = with_length(data[:size_bytes])
    script = [Receive(), Send(answer), Receive(), SendSlowly(answer, 1 + len(answer) // 9), Receive(), Send(HELLO)]
    with FakeServer(script) as server, pool_to(server) as pool:
        for _ in range(2):
            response = pool.exchange(REQUEST)
            assert (response.size_bytes, reader(response)) == (size_bytes, data[:size_bytes])
            response.close()

        assert pool.exchange(REQUEST).read(5) == b'hello'
    assert server.received == [REQUEST * 3]


@pytest.mark.parametrize('end', [Close(), Reset()])
@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('sent_bytes', [0, 1, 4, 5])
def test_body_cut_short(sent_bytes: int, reader: Any, end: Step) -> None:
    """A body that ends before its length is an error."""
    answer = OK + b'Content-Length: 6\r\n\r\n' + b'hello'[:sent_bytes]
    with FakeServer([Receive(), Send(answer), end]) as server, pool_to(server) as pool:
        response = pool.exchange(REQUEST)
        with pytest.raises(NetworkError, match=f'ended after {sent_bytes} of 6 bytes' if end == Close() else 'lost'):
            reader(response)
        response.close()

        assert 'idle=0' in repr(pool)


CHUNKS = b'5\r\nhello\r\n0\r\nX: y\r\n\r\n'


@pytest.mark.parametrize('end', [Close(), Reset()])
@pytest.mark.parametrize('sent_bytes', range(len(CHUNKS)))
def test_chunks_cut_short(sent_bytes: int, end: Step) -> None:
    """A chunked body that ends before its last chunk is an error."""
    with FakeServer([Receive(), Send(CHUNKED + CHUNKS[:sent_bytes]), end]) as server, pool_to(server) as pool:
        response = pool.exchange(REQUEST)
        with pytest.raises(NetworkError, match='chunked body ended before its last chunk|lost'):
            response.read_all(LIMIT)
        response.close()

        assert 'idle=0' in repr(pool)


def test_reset_of_a_body_without_a_length() -> None:
    """A reset does not end a body without a length: it is an error."""
    with FakeServer([Receive(), Send(OK + b'\r\nhello'), Reset()]) as server, pool_to(server) as pool:
        response = pool.exchange(REQUEST)
        with pytest.raises(NetworkError, match='lost'):
            response.read_all(LIMIT)


@pytest.mark.parametrize(
    'body',
    [
        b'x\r\n',
        b'-5\r\nhello\r\n0\r\n\r\n',
        b'+5\r\nhello\r\n0\r\n\r\n',
        b'5hello\r\n0\r\n\r\n',
        b'5\nhello\n0\n\n',
        b'4\r\nhello\r\n0\r\n\r\n',
        b'6\r\nhello\r\n0\r\n\r\n',
        b'fffffffffffffffff\r\n',
        b'0' * 100 + b'x\r\n',
        b'0\r\nX\0: y\r\n\r\n',
        b'0\r\nX: y\r\n folded\r\n\r\n',
    ],
)
def test_malformed_chunks(body: bytes) -> None:
    """Invalid chunks are an error at once, and the connection is not reused."""
    with FakeServer([Receive(), Send(CHUNKED + body)]) as server, pool_to(server) as pool:
        response = pool.exchange(REQUEST)
        with pytest.raises(NetworkError, match='malformed response'):
            response.read_all(LIMIT)
        response.close()

        assert 'idle=0' in repr(pool)


def repeat(data: bytes) -> Step:
    def send(peer: Any) -> None:
        while True:
            Send(data)(peer)

    return send


@pytest.mark.parametrize(
    ('head', 'repeated'),
    [
        (OK + b'\r\n', b'x' * 1000),
        (CHUNKED, b'3e8\r\n' + b'x' * 1000 + b'\r\n'),
        (CHUNKED, b'1\r\nx\r\n' * 100),
        (CHUNKED + b'ffffffff\r\n', b'x' * 1000),
        (CHUNKED + b'1', b';ext=' + b'x' * 1000),
        (CHUNKED, b'0' * 1000),
        (CHUNKED + b'0\r\n', b'X: ' + b'y' * 1000 + b'\r\n'),
        (CHUNKED + b'0\r\nX: ', b'y' * 1000),
    ],
)
def test_endless_bodies(head: bytes, repeated: bytes) -> None:
    """A body that does not end is given up soon after the limit."""
    with FakeServer([Receive(), Send(head), repeat(repeated)]) as server, pool_to(server) as pool:
        response = pool.exchange(REQUEST)
        with pytest.raises(NetworkError, match='sent a body of more than 65,536 bytes where none is expected'):
            response.read_all(LIMIT)
        assert sum(map(len, response._chunks.pieces if response._chunks else [])) < 2 * LIMIT + 1
        response.close()
        server.ended()

        assert 'idle=0' in repr(pool)
    assert isinstance(server.peers[0].failure, ConnectionError)


@pytest.mark.parametrize(
    'answer',
    [
        with_length(b'x' * (LIMIT + 1)),
        OK + b'\r\n' + b'x' * (LIMIT + 1),
        CHUNKED + b'10001\r\n' + b'x' * (LIMIT + 1) + b'\r\n0\r\n\r\n',
        OK + b'Content-Length: 999999999999999999\r\n\r\n',
    ],
)
def test_bodies_above_the_limit(answer: bytes) -> None:
    """A body of one byte more than the limit is an error."""
    with FakeServer([Receive(), Send(answer), Close()]) as server, pool_to(server) as pool:
        response = pool.exchange(REQUEST)
        with pytest.raises(NetworkError, match='sent a body of more than 65,536 bytes where none is expected'):
            response.read_all(LIMIT)


@pytest.mark.parametrize(
    'answer',
    [with_length(b'x' * LIMIT), OK + b'\r\n' + b'x' * LIMIT, CHUNKED + b'10000\r\n' + b'x' * LIMIT + b'\r\n0\r\n\r\n'],
)
def test_bodies_of_the_limit(answer: bytes) -> None:
    """A body of the limit's size is accepted."""
    with FakeServer([Receive(), Send(answer), Close()]) as server, pool_to(server) as pool:
        assert pool.exchange(REQUEST).read_all(LIMIT) == b'x' * LIMIT


EXTRA = {
    'length': (HELLO, True),
    'long': (with_length(b'hello' + b'x' * 40 * KIB), True),
    'chunked': (CHUNKED + b'5\r\nhello\r\n0\r\n\r\n', True),
    'chunked, last': (OK + b'Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n', True),
    'empty': (OK + b'Content-Length: 0\r\n\r\n', True),
    'HEAD': (OK + b'Content-Length: 5\r\n\r\n', False),
    '204': (b'HTTP/1.1 204 No Content\r\n\r\n', True),
    '304': (b'HTTP/1.1 304 Not Modified\r\n\r\n', True),
}


@pytest.mark.parametrize('extra', [b'x', b'hello', HELLO, b'\0' * 30 * KIB])
@pytest.mark.parametrize('name', EXTRA)
def test_bytes_after_the_response(name: str, extra: bytes) -> None:
    """Bytes after the response belong to no request: the response is valid, and the next request uses a new connection."""
    answer, has_body = EXTRA[name]
    with FakeServer([Receive(), Send(answer + extra)], [Receive(), Send(HELLO)]) as server, pool_to(server) as pool:
        response = pool.exchange(REQUEST, has_body=has_body)
        body = response.read_all(LIMIT)
        assert body[:5] == (b'hello' if b'hello' in answer else b'')
        response.close()

        assert 'idle=0' in repr(pool)
        assert pool.exchange(REQUEST).read(5) == b'hello'


@pytest.mark.parametrize('answer', [HELLO, CHUNKED + b'5\r\nhello\r\n0\r\n\r\n'])
def test_empty_line_after_the_response(answer: bytes) -> None:
    """An empty line after the response, as some servers send it, does no harm."""
    script = [Receive(), Send(answer + b'\r\n'), Receive(), Send(HELLO)]
    with FakeServer(script, [Receive(), Send(HELLO)]) as server, pool_to(server) as pool:
        for _ in range(2):
            response = pool.exchange(REQUEST)
            assert response.read_all(LIMIT) == b'hello'
            response.close()


@pytest.mark.parametrize('answer', [HELLO, CHUNKED + b'5\r\nhello\r\n0\r\n\r\n', OK + b'\r\nhello'])
def test_answer_that_is_not_read(answer: bytes) -> None:
    """A response that is not read completely closes its connection. close() can be called twice."""
    with FakeServer([Receive(), Send(answer), ReceiveAll()]) as server, pool_to(server) as pool:
        response = pool.exchange(REQUEST)
        response.close()
        response.close()
        server.ended()

        assert 'idle=0' in repr(pool)


def test_answer_without_a_body_that_is_not_read() -> None:
    """A response without a body needs no reading, so its connection is reused."""
    with FakeServer([Receive(), Send(OK + b'Content-Length: 0\r\n\r\n')]) as server, pool_to(server) as pool:
        pool.exchange(REQUEST).close()

        assert 'idle=1' in repr(pool)


@pytest.mark.parametrize('answer', [HELLO, CHUNKED + b'5\r\nhello\r\n0\r\n\r\n', OK + b'\r\nhello'])
def test_answers_are_no_cycles(answer: bytes) -> None:
    """A response is freed with its last reference, without the garbage collector."""
    with FakeServer([Receive(), Send(answer), Close()]) as server, pool_to(server) as pool:
        gc.disable()
        try:
            response = pool.exchange(REQUEST)
            watched = weakref.ref(Witness(response))
            assert response.read_all(LIMIT) == b'hello'
            response.close()
            assert watched() is not None
            del response

            assert watched() is None
        finally:
            gc.enable()


class Witness:
    """An object that lives as long as a response, which supports no weak references."""

    def __init__(self, response: Response) -> None:
        response.headers[b''] = self  # type: ignore[assignment]
