"""One case: a request is sent, the bytes of a case arrive in pieces, and the client's result is checked.

hypothesis (tests/unit/test_http_fuzz.py) and atheris (fuzz_answers.py) generate the bytes.

A case ends with a complete response, or with one of s3po's transport errors. The client never waits after the end of the bytes,
never buffers more than its limit, and has the same result however the bytes are split.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from s3po.body import BytesChunk
from s3po.errors import ConnectTimeout, TransportError
from s3po.http import Connection, Pool, Response, State
from tests.support.fake_stream import FakeStream

__all__ = ['ASKS', 'LIMIT_BYTES', 'Case', 'Outcome', 'check', 'play']

# The limit of a body: small, so that random bytes exceed it.
LIMIT_BYTES: Final = 2048
# How often the client may read after the end. It reads again to find an early response if sending fails.
MOST_READS_AT_END: Final = 4
HEAD: Final = b'GET / HTTP/1.1\r\nhost: here\r\n\r\n'
SMALL: Final = b'x' * 100
ANNOUNCED: Final = BytesChunk(bytes(1024 * 1024 + 1))
# The ways to send a request and to read its response.
ASKS: Final = ('read all', 'read', 'read into', 'HEAD', 'put', 'put announced', 'put stuck')
# RFC 9112, section 7.1, as strict as llhttp.
CHUNK: Final = re.compile(rb'([0-9A-Fa-f]+)[ \t]*(?:;[^\r\n]*)?\r\n')


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case.

    Attributes:
        pieces: The bytes that the server sends.
        is_reset: Whether they end with a reset.
        ask: One of ASKS.
    """

    pieces: Sequence[bytes]
    is_reset: bool = False
    ask: str = 'read all'

    @property
    def data(self) -> bytes:
        return b''.join(self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The client's result, without whether the connection is reused, which depends on the bytes that had arrived by then."""

    status: int = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    size_bytes: int = 0
    body: bytes = b''
    is_failure: bool = False


class _Stream(FakeStream):
    """A stream with all bytes of the case.

    Attributes:
        reads_at_end: How often the client read after the end.
    """

    def __init__(self, case: Case) -> None:
        pieces = [piece for piece in case.pieces if piece]
        super().__init__(*pieces, room_bytes=1000 if case.ask == 'put stuck' else None)
        self.end(is_reset=case.is_reset)
        self.reads_at_end = 0

    def recv(self, size_bytes: int) -> bytes:
        if not self._pieces:
            self.reads_at_end += 1
            assert self.reads_at_end <= MOST_READS_AT_END, 'it goes on reading behind the end'
        return super().recv(size_bytes)


class _Network:
    """Opens a single connection, and sends at once."""

    def __init__(self, connection: Connection) -> None:
        self._connections = [connection]

    def open(self) -> Connection:
        if not self._connections:
            raise ConnectTimeout('there are no others')
        return self._connections.pop()

    def put(self, connection: Connection) -> None:
        connection.send_unsent()


def play(case: Case) -> Outcome:
    """Send a request, and read the response of the case."""
    connection = Connection(_Stream(case), 'fed')
    network: Any = _Network(connection)
    pool = Pool(network, network)
    try:
        response = pool.exchange(HEAD, _body(case), has_body=case.ask != 'HEAD')
    except TransportError:
        assert connection.state is State.CLOSED, 'a connection that failed stays open'
        return Outcome(is_failure=True)
    try:
        body = _read(response, case)
    except TransportError:
        return Outcome(is_failure=True)
    finally:
        response.close()
        assert not response.is_reusable or response.size_bytes or connection.state is State.IDLE
        is_kept = 'idle=1' in repr(pool)
        assert is_kept == (connection.state is State.IDLE), 'a connection is neither kept nor closed'
    headers = tuple(sorted(response.headers.items()))
    return Outcome(status=response.status, headers=headers, size_bytes=response.size_bytes, body=body)


def _body(case: Case) -> Any:
    if not case.ask.startswith('put'):
        return b''
    return SMALL if case.ask == 'put' else ANNOUNCED


def _read(response: Response, case: Case) -> bytes:
    if response.size_bytes < 0 or case.ask not in ('read', 'read into'):
        return response.read_all(LIMIT_BYTES)
    if response.size_bytes > LIMIT_BYTES:
        # A caller with a buffer of that size would be part of the case.
        return response.read(1)
    if case.ask == 'read':
        return response.read(LIMIT_BYTES)
    buffer, body = memoryview(bytearray(7)), b''
    while size_bytes := response.read_into(buffer):
        body += buffer[:size_bytes]
    return body


def check(case: Case) -> Outcome:
    """Play a case, and check the result.

    Raises:
        AssertionError: The result is wrong.
    """
    outcome = play(case)
    whole = Case(pieces=[case.data], is_reset=case.is_reset, ask=case.ask)
    other = play(whole)
    # A success before the whole body was sent is a failure, and the pieces decide when a reset ends the sending.
    is_timing = case.is_reset and case.ask == 'put announced' and outcome.is_failure != other.is_failure
    assert is_timing or other == outcome, 'it depends on how the bytes were split'
    if not outcome.is_failure:
        _judge(case, outcome)
    return outcome


def _judge(case: Case, outcome: Outcome) -> None:
    data, body = case.data, outcome.body
    assert 200 <= outcome.status <= 999
    assert b'HTTP/1.' in data
    assert b'%d' % outcome.status in data
    assert len(body) <= LIMIT_BYTES
    for name, value in outcome.headers:
        assert name == name.lower()
        assert b'\r' not in name + value
        assert b'\n' not in name + value
    if case.ask == 'put stuck':
        assert outcome.status >= 300
    if case.ask == 'HEAD' or outcome.status in (204, 304):
        assert body == b''
    elif outcome.size_bytes >= 0:
        assert len(body) == outcome.size_bytes or outcome.size_bytes > LIMIT_BYTES
        assert b'\r\n\r\n' + body in data
    elif dict(outcome.headers).get(b'transfer-encoding'):
        assert any(_unchunked(data[found.end() :]) == body for found in re.finditer(rb'\r\n\r\n', data))
    else:
        assert data.endswith(b'\r\n\r\n' + body)


def _unchunked(data: bytes) -> bytes | None:
    """The decoded chunked body, or None if it is invalid."""
    body, offset = b'', 0
    while found := CHUNK.match(data, offset):
        size_bytes, offset = int(found[1], 16), found.end()
        if not size_bytes:
            return body if b'\r\n\r\n' in data[offset - 2 :] else None
        end = offset + size_bytes
        if data[end : end + 2] != b'\r\n':
            return None
        body += data[offset:end]
        offset = end + 2
    return None
