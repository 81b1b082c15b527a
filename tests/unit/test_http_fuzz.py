"""Ten thousand random responses; tests/fuzz has more."""

from __future__ import annotations

import itertools
from typing import Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.answers import ASKS, Case, Outcome, check

LINES: Final = [
    b'HTTP/1.1 200 OK',
    b'HTTP/1.1 206 Partial Content',
    b'HTTP/1.1 204 No Content',
    b'HTTP/1.1 304 Not Modified',
    b'HTTP/1.1 403 Forbidden',
    b'HTTP/1.1 503 Slow Down',
    b'HTTP/1.1 417 Expectation Failed',
    b'HTTP/1.0 200 OK',
    b'HTTP/1.1 100 Continue',
    b'HTTP/1.1 103 Early Hints',
    b'HTTP/1.1 101 Switching Protocols',
    b'HTTP/2 200',
    b'HTTP/1.1 099',
    b'',
]
HEADERS: Final = [
    b'Content-Length: 5',
    b'Content-Length: 0',
    b'Content-Length: 40',
    b'Content-Length: 3000',
    b'Transfer-Encoding: chunked',
    b'Transfer-Encoding: gzip, chunked',
    b'Connection: close',
    b'Connection: keep-alive',
    b'Upgrade: h2c',
    b'ETag: "x"',
    b'X-Empty:',
    b' folded',
    b'X: ' + b'y' * 300,
    b'X: ' + b'y' * 70_000,
]
BODIES: Final = [
    b'',
    b'hello',
    b'hello world',
    b'x' * 3000,
    b'5\r\nhello\r\n0\r\n\r\n',
    b'5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n',
    b'3\r\nabc\r\n' * 100 + b'0\r\n\r\n',
    b'5\r\nhello\r\n',
    b'0\r\n\r\n',
    b'ffffffffffffffff\r\n',
    b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
]
WHOLE: Final = settings(max_examples=settings().max_examples ** 2 // 4, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Responses made of parts that are valid by themselves."""
    data = b''
    for _ in range(draw(st.integers(1, 3))):
        lines = [draw(st.sampled_from(LINES)), *draw(st.lists(st.sampled_from(HEADERS), max_size=3)), b'', b'']
        data += b'\r\n'.join(lines)
    return data + draw(st.sampled_from(BODIES))


# Mutations: the offset, the number of bytes removed, and the bytes inserted.
MUTATIONS: Final = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.integers(0, 3),
        st.sampled_from([b'', b'\r', b'\n', b'\r\n', b'\r\n\r\n', b'\0', b' ', b':', b',', b'0', b'9', b'-', b';', b'\xff']),
    ),
    min_size=1,
    max_size=4,
)
CUTS: Final = st.lists(st.integers(0, 500), max_size=6)
ASKED: Final = st.sampled_from(ASKS)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


@WHOLE
@given(data=answers(), cuts=CUTS, is_reset=st.booleans(), ask=ASKED)
def test_parts(data: bytes, cuts: list[int], is_reset: bool, ask: str) -> None:
    """Random combinations of parts of responses are parsed or rejected."""
    check(Case(pieces=split(data, cuts), is_reset=is_reset, ask=ask))


@WHOLE
@given(data=answers(), mutations=MUTATIONS, cuts=CUTS, is_reset=st.booleans(), ask=ASKED)
def test_mutations(data: bytes, mutations: list[tuple[int, int, bytes]], cuts: list[int], is_reset: bool, ask: str) -> None:
    """Random combinations with some bytes changed are parsed or rejected."""
    for offset, size_bytes, replacement in mutations:
        data = data[:offset] + replacement + data[offset + size_bytes :]
    check(Case(pieces=split(data, cuts), is_reset=is_reset, ask=ask))


@WHOLE
@given(data=st.binary(max_size=300), is_begun=st.booleans(), cuts=CUTS, is_reset=st.booleans(), ask=ASKED)
def test_garbage(data: bytes, is_begun: bool, cuts: list[int], is_reset: bool, ask: str) -> None:
    """Random bytes, also after a valid status line, are parsed or rejected."""
    begin = b'HTTP/1.1 200 OK\r\n' if is_begun else b''
    check(Case(pieces=split(begin + data, cuts), is_reset=is_reset, ask=ask))


@WHOLE
@example(body=b'', is_reset=False, ask='put stuck', size_bytes=0)
@given(body=st.binary(max_size=100), size_bytes=st.integers(0, 100), is_reset=st.booleans(), ask=ASKED)
def test_lengths(body: bytes, size_bytes: int, is_reset: bool, ask: str) -> None:
    """A body is as long as its headers state, or an error."""
    head = b'HTTP/1.1 503 Slow Down\r\nContent-Length: %d\r\n\r\n' % size_bytes
    outcome = check(Case(pieces=[head, body], is_reset=is_reset, ask=ask))

    if ask == 'HEAD':
        assert (outcome.status, outcome.body) == (503, b'')
    else:
        assert outcome.is_failure == (len(body) < size_bytes)
        assert outcome.body == (b'' if outcome.is_failure else body[:size_bytes])


@pytest.mark.parametrize('ask', ASKS)
def test_the_judgement(ask: str) -> None:
    """A valid response is accepted; otherwise these tests would prove nothing."""
    status = 403 if ask == 'put stuck' else 200
    data = b'HTTP/1.1 100 Continue\r\n\r\n' * (ask == 'put announced')
    data += b'HTTP/1.1 %d OK\r\nContent-Length: 5\r\n\r\n' % status + b'hello' * (ask != 'HEAD')
    outcome = check(Case(pieces=[data], ask=ask))

    assert (outcome.status, outcome.body) == (status, b'' if ask == 'HEAD' else b'hello')
    assert check(Case(pieces=[data[:-1]], ask=ask)) == Outcome(is_failure=True)
