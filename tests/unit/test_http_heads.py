"""Heads of responses are parsed alike however they arrive; anything else is an error at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from s3po.errors import NetworkError
from s3po.http import ConnectionLost
from tests.support.scripted import Close, FakeServer, Receive, Reset, Send, Wait, pool_to

REQUEST = b'GET / HTTP/1.1\r\nhost: here\r\n\r\n'
OK = b'HTTP/1.1 200 OK\r\n'
KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response, and the expected result."""

    data: bytes
    status: int = 200
    body: bytes = b''
    size_bytes: int = 0
    is_reusable: bool = True
    has_body: bool = True
    headers: dict[bytes, bytes] = field(default_factory=dict)


ANSWERS = {
    'length': Answer(data=OK + b'Content-Length: 5\r\n\r\nhello', body=b'hello', size_bytes=5),
    'empty': Answer(data=OK + b'Content-Length: 0\r\n\r\n'),
    'bare': Answer(data=b'HTTP/1.1 200\r\nContent-Length:0\r\n\r\n'),
    'headers': Answer(
        data=OK + b'ETag: "x"\r\nX-Empty:\r\nX-Twice: 1\r\nx-twice: 2\r\nContent-Length: 1 \r\n\r\n!',
        body=b'!',
        size_bytes=1,
        headers={b'etag': b'"x"', b'x-empty': b'', b'x-twice': b'1, 2'},
    ),
    'chunked': Answer(
        data=OK + b'Transfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: 1\r\nX-More: 2\r\n\r\n',
        body=b'hello world',
        size_bytes=-1,
    ),
    'to the end': Answer(data=OK + b'ETag: x\r\n\r\nhello', body=b'hello', size_bytes=-1, is_reusable=False),
    'old': Answer(data=b'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi', body=b'hi', size_bytes=2, is_reusable=False),
    'old, kept': Answer(
        data=b'HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi', body=b'hi', size_bytes=2
    ),
    'last': Answer(data=OK + b'Connection: Close\r\nContent-Length: 2\r\n\r\nhi', body=b'hi', size_bytes=2, is_reusable=False),
    '204': Answer(data=b'HTTP/1.1 204 No Content\r\n\r\n', status=204),
    '304': Answer(data=b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n', status=304),
    'HEAD': Answer(data=OK + b'Content-Length: 5\r\n\r\n', has_body=False, headers={b'content-length': b'5'}),
    'HEAD of chunks': Answer(data=OK + b'Transfer-Encoding: chunked\r\n\r\n', has_body=False),
    'HEAD without a length': Answer(data=OK + b'\r\n', has_body=False),
    'interim': Answer(
        data=b'HTTP/1.1 100 Continue\r\n\r\n'
        b'HTTP/1.1 102 Processing\r\nX-A: b\r\n\r\n'
        b'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n'
        b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi',
        body=b'hi',
        size_bytes=2,
    ),
    'no upgrade': Answer(
        data=OK + b'Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nhi', body=b'hi', size_bytes=2
    ),
}


@pytest.mark.parametrize('name', ANSWERS)
def test_split_anywhere(name: str) -> None:
    """A response is parsed alike wherever it is split in two."""
    answer = ANSWERS[name]
    cuts = range(len(answer.data))
    with FakeServer(*([Receive(), Send(answer.data[:cut]), Send(answer.data[cut:]), Close()] for cut in cuts)) as server:
        for _ in cuts:
            with pool_to(server) as pool:
                response = pool.exchange(REQUEST, has_body=answer.has_body)
                body = response.read_all(1000)

                assert (response.status, response.size_bytes, body) == (answer.status, answer.size_bytes, answer.body)
                assert response.is_reusable == answer.is_reusable
                assert answer.headers.items() <= response.headers.items()
                response.close()
    assert server.received == [REQUEST] * len(answer.data)


INTERIM = b'HTTP/1.1 102 Processing\r\n\r\n'
STAGES = {
    'before anything': b'',
    'in the version': b'HTT',
    'in the status line': b'HTTP/1.1 20',
    'behind the status line': OK,
    'in a header': OK + b'Content-Le',
    'before the empty line': OK + b'Content-Length: 0\r\n\r',
    'behind an interim answer': INTERIM,
    'behind an interim answer, in the next': INTERIM + b'HTTP/1.1 200',
}


@pytest.mark.parametrize('end', [Close(), Reset()])
@pytest.mark.parametrize('stage', STAGES)
def test_lost_in_the_head(stage: str, end: Close | Reset) -> None:
    """A connection that ends before the end of the head is lost; the request is not sent again."""
    with FakeServer([Receive(), Send(STAGES[stage]), end]) as server, pool_to(server) as pool:
        with pytest.raises(ConnectionLost, match=f'{server.origin.peer}'):
            pool.exchange(REQUEST)

    assert server.received == [REQUEST]


@pytest.mark.parametrize('end', [Close(), Reset()])
def test_lost_before_the_request(end: Close | Reset) -> None:
    """A new connection that ends before the request is lost, too."""
    with FakeServer([end]) as server, pool_to(server) as pool, pytest.raises(ConnectionLost):
        pool.exchange(REQUEST)

    assert len(server.peers) == 1


LENGTHS = [
    b'-5',
    b'+5',
    b'5, 5',
    b'5 5',
    b'0x5',
    b'5.0',
    b'',
    b'5\r\nContent-Length: 5',
    b'5\r\nContent-Length: 6',
    b'9' * 19,
    b'9' * 99,
]
MALFORMED = {
    **{f'Content-Length: {length!r}': OK + b'Content-Length: ' + length + b'\r\n\r\nhello' for length in LENGTHS},
    'two lengths': OK + b'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'two lengths, turned': OK + b'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n',
    'packed': OK + b'Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    'packed to the end': OK + b'Transfer-Encoding: gzip\r\n\r\nhello',
    'chunked twice': OK + b'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'folded': OK + b'X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n',
    'NUL in a value': OK + b'X-A: b\0c\r\nContent-Length: 0\r\n\r\n',
    'NUL in a name': OK + b'X\0A: b\r\nContent-Length: 0\r\n\r\n',
    'blank behind a name': OK + b'Content-Length : 0\r\n\r\n',
    'no name': OK + b': b\r\n\r\n',
    'no colon': OK + b'Content-Length\r\n\r\n',
    'bare LF': b'HTTP/1.1 200 OK\nContent-Length: 0\n\n',
    'bare LF in the status line': b'HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n',
    'bare LF in the headers': OK + b'Content-Length: 0\n\r\n\r\n',
    'bare CR': OK + b'Content-Length: 0\rX: y\r\n\r\n',
    'empty line first': b'\r\n' + OK + b'Content-Length: 0\r\n\r\n',
    'empty lines only': b'\r\n\r\n',
    'HTTP/0.9': b'<html>hello</html>',
    'HTTP/0.9, numbered': b'HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.2': b'HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n',
    'HTTP/2': b'\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x80',
    'HTTP/2, preface': b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'HTTP/2, in words': b'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n',
    'ICY': b'ICY 200 OK\r\nContent-Length: 0\r\n\r\n',
    'RTSP': b'RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n',
    'small letters': b'http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    'a request': b'GET / HTTP/1.1\r\nHost: here\r\n\r\n',
    'SSH': b'SSH-2.0-OpenSSH_9.9\r\n',
    'no status': b'HTTP/1.1 \r\n\r\n',
    'status 0': b'HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n',
    'status 99': b'HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n',
    'status of two digits': b'HTTP/1.1 99 No\r\nContent-Length: 0\r\n\r\n',
    'status of four digits': b'HTTP/1.1 2000 No\r\nContent-Length: 0\r\n\r\n',
    'status of letters': b'HTTP/1.1 abc No\r\nContent-Length: 0\r\n\r\n',
    '101': b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n',
    '101, bare': b'HTTP/1.1 101 Switching Protocols\r\n\r\n',
    'endless interim answers': INTERIM * 1000,
}


@pytest.mark.parametrize('pause_s', [None, 0.0005])
@pytest.mark.parametrize('name', MALFORMED)
def test_malformed(name: str, pause_s: float | None) -> None:
    """An invalid head is an error at once, whole or in pieces, and the connection is not reused."""
    data = MALFORMED[name]
    cut = len(data) // 2 if pause_s else 0
    script = [Receive(), Send(data[:cut]), Wait(pause_s or 0.0), Send(data[cut:])]
    with FakeServer(script) as server, pool_to(server) as pool:
        with pytest.raises(NetworkError, match=f'{server.origin.peer} (sent|says)'):
            pool.exchange(REQUEST)

        assert 'idle=0' in repr(pool)
        server.ended()
    assert server.received == [REQUEST]


PADDING = b'X: ' + b'y' * 1000 + b'\r\n'
LONG = {
    'one header': OK + b'X: ' + b'y' * (80 * KIB) + b'\r\n\r\n',
    'many headers': OK + PADDING * 80 + b'\r\n',
    'no end': OK + PADDING * 80,
    'a long status line': b'HTTP/1.1 200 ' + b'y' * (80 * KIB) + b'\r\n\r\n',
    'behind an interim answer': INTERIM + OK + PADDING * 80 + b'\r\n',
}


@pytest.mark.parametrize('name', LONG)
def test_long_heads(name: str) -> None:
    """A head of more than 64 KiB is an error."""
    with FakeServer([Receive(), Send(LONG[name])]) as server, pool_to(server) as pool:
        with pytest.raises(NetworkError, match='sent a head of more than 65,536 bytes'):
            pool.exchange(REQUEST)


def test_head_just_short_enough() -> None:
    """A head of 64 KiB is accepted."""
    head = OK + b'Content-Length: 2\r\nX: '
    head += b'y' * (64 * KIB - len(head) - 4) + b'\r\n\r\n'
    with FakeServer([Receive(), Send(head + b'hi')]) as server, pool_to(server) as pool:
        response = pool.exchange(REQUEST)

        assert response.read_all(2) == b'hi'


def test_endless_head() -> None:
    """A head without an end is given up."""

    def send_for_ever(peer: object) -> None:
        while True:
            Send(PADDING)(peer)  # type: ignore[arg-type]

    with FakeServer([Receive(), Send(OK), send_for_ever]) as server, pool_to(server) as pool:
        with pytest.raises(NetworkError, match='sent a head of more than 65,536 bytes'):
            pool.exchange(REQUEST)
        server.ended()

    assert isinstance(server.peers[0].failure, ConnectionError)
