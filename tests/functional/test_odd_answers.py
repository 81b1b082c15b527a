"""A response that is not S3's never counts as success, whatever its status, headers and length, for each reading call.

The writing calls have their own file. Both use the responses of tests/support/answering.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings

import s3po
from s3po.errors import S3poError
from tests.conftest import BUCKET
from tests.support.answering import PAGE, Answering, Reply, replies
from tests.support.kinds import KINDS, Kind

Connect = Callable[..., s3po.Connection]

MANY: Final = settings(
    max_examples=max(10, settings().max_examples * 6 // 10), deadline=None, suppress_health_check=list(HealthCheck)
)
OLD: Final = b'what was there before'


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def opened(conn: s3po.Connection) -> bytes:
    with conn.open(BUCKET, 'key') as file:
        return file.read()


# The calls, and the statuses with which S3 responds to them.
WHOLE: Final[dict[str, Callable[[s3po.Connection], bytes]]] = {
    'download': lambda conn: conn.download(BUCKET, 'key'),
    'open': opened,
}
RANGES: Final = {
    'part': lambda conn: conn.download(BUCKET, 'key', byte_range=(0, 4)),
    'inside': lambda conn: conn.download(BUCKET, 'key', byte_range=(1, 4)),
    'rest': lambda conn: conn.download(BUCKET, 'key', byte_range=(1, None)),
}


def outcome(call: Callable[[s3po.Connection], Any], conn: s3po.Connection) -> Any:
    """The result of the call, or None if it raises an S3poError."""
    try:
        return call(conn)
    except S3poError:
        return None


def decoded(reply: Reply) -> bytes:
    """The body without its chunked encoding."""
    if 'Transfer-Encoding' not in reply.headers:
        return reply.body
    return reply.body.partition(b'\r\n')[2][: -len(b'\r\n0\r\n\r\n')] if not reply.body.startswith(b'0') else b''


def is_whole(reply: Reply) -> bool:
    """Whether the response has an end, and its body is complete."""
    length = reply.headers.get('Content-Length', '')
    return 'Transfer-Encoding' in reply.headers or length == str(len(reply.body))


@pytest.mark.fault('F68')
@pytest.mark.parametrize('name', ['download', 'open'])
def test_whole_objects(connect: Connect, name: str) -> None:
    """A GET returns the body of a complete 200, or raises an error. (open() requests a range, so it may accept a 206.)"""
    statuses = (200, 206) if name == 'open' else (200,)
    with Answering(lambda _: Reply()) as server:
        conn = connect(server.endpoint_url, retry=s3po.RetryPolicy(retries=0))

        @MANY
        @given(reply=replies())
        def check(reply: Reply) -> None:
            server.answer = lambda _: reply
            value = outcome(WHOLE[name], conn)
            if value is not None:
                assert reply.status in statuses
                assert is_whole(reply)
                assert value == decoded(reply)

        check()


@pytest.mark.fault('F67')
@pytest.mark.parametrize('name', RANGES)
def test_ranges(connect: Connect, name: str) -> None:
    """A range is exactly the requested one, or ends with the object."""
    start, stop = {'part': (0, 4), 'inside': (1, 4), 'rest': (1, None)}[name]
    with Answering(lambda _: Reply()) as server:
        conn = connect(server.endpoint_url, retry=s3po.RetryPolicy(retries=0))

        @MANY
        @given(reply=replies())
        def check(reply: Reply) -> None:
            server.answer = lambda _: reply
            value = outcome(RANGES[name], conn)
            if value is not None:
                said = reply.headers.get('Content-Range', '')
                assert reply.status == 206 or (reply.status == 200 and (said or start == 0))
                assert value == decoded(reply)
                if said:
                    span, whole = said.removeprefix('bytes ').split('/')
                    assert span == f'{start}-{min(int(whole), stop or int(whole)) - 1}'
                else:
                    assert stop is not None
                    assert len(value) <= stop

        check()


@pytest.mark.fault('F68')
def test_files(connect: Connect, tmp_path: Path) -> None:
    """A file is unchanged unless the response is S3's."""
    path = tmp_path / 'file'
    with Answering(lambda _: Reply()) as server:
        conn = connect(server.endpoint_url, retry=s3po.RetryPolicy(retries=0))

        @MANY
        @given(reply=replies())
        def check(reply: Reply) -> None:
            path.write_bytes(OLD)
            server.answer = lambda _: reply
            result = outcome(lambda conn: conn.download_file(BUCKET, 'key', path), conn)
            if result is None:
                assert path.read_bytes() == OLD
            else:
                assert reply.status == 200
                assert is_whole(reply)
                assert path.read_bytes() == decoded(reply)

        check()


@pytest.mark.fault('F68')
def test_heads(connect: Connect) -> None:
    """A HEAD needs a 200, and a missing size is never reported as 0."""
    with Answering(lambda _: Reply()) as server:
        conn = connect(server.endpoint_url, retry=s3po.RetryPolicy(retries=0))

        @MANY
        @given(reply=replies())
        def check(reply: Reply) -> None:
            server.answer = lambda _: reply
            info = outcome(lambda conn: conn.head(BUCKET, 'key'), conn)
            if info is not None:
                assert reply.status == 200
                assert info.size_bytes == int(reply.headers.get('Content-Length', info.size_bytes))
                if 'Content-Length' not in reply.headers:
                    # A GET of the first byte returned the size.
                    assert reply.headers['Content-Range'].startswith('bytes 0-')
                    assert reply.headers['Content-Range'].endswith(f'/{info.size_bytes}')

        check()


@pytest.mark.fault('F68')
def test_documents(connect: Connect) -> None:
    """A listing needs a 200 with a listing document; otherwise it is an error, never an empty bucket."""
    document = b'<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>'
    with Answering(lambda _: Reply()) as server:
        conn = connect(server.endpoint_url, retry=s3po.RetryPolicy(retries=0))

        @MANY
        @given(reply=replies(bodies=(b'', PAGE, document, document[:40], b'<Error><Code>SlowDown</Code></Error>')))
        def check(reply: Reply) -> None:
            server.answer = lambda _: reply
            found = outcome(lambda conn: list(conn.list(BUCKET)), conn)
            if found is not None:
                assert reply.status == 200
                assert decoded(reply) == document

        check()
