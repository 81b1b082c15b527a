"""Open files whose calls are interrupted or that are never closed: no bytes are missing, and no loss is silent."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.errors import S3poError, SourceChanged
from tests.conftest import BUCKET
from tests.support.answering import Answering, Asked, Reply
from tests.support.kinds import Kind
from tests.support.servers import CHECKOUT, Store

Connect = Callable[..., s3po.Connection]

PART = 5 * MIB


@pytest.fixture
def conn(store: Store, connect: Connect) -> s3po.Connection:
    """A connection that does not retry; the bucket exists."""
    config = s3po.TransferConfig(multipart_chunksize=PART, multipart_threshold=PART, max_concurrency=1)
    connection = connect(store.endpoint_url, config=config, retry=s3po.RetryPolicy(retries=0))
    store.create_bucket(BUCKET)
    return connection


@pytest.mark.parametrize('mode', ['wb', 'w'])
def test_write_that_is_interrupted(conn: s3po.Connection, store: Store, mode: str) -> None:
    """A write() that was interrupted by a time limit of the caller may have lost bytes, so nothing is published."""
    store.script({'operation': 'UploadPart', 'times': None, 'action': {'delay_s': 0.5}})
    file: Any = conn.open(BUCKET, 'key', mode)
    piece = 'x' * PART if mode == 'w' else b'x' * PART
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
        for _ in range(8):
            file.write(piece)

    with pytest.raises(S3poError, match='interrupted by'):
        file.write(piece)
    with pytest.raises(S3poError, match=r'key: a write\(\) was interrupted by .*; nothing is published'):
        file.close()

    assert file.closed
    assert not conn.exists(BUCKET, 'key')


def pieces_of(file: Any, how: str) -> list[bytes]:
    """The result of one call that reads bytes of several blocks."""
    if how == 'readinto':
        buffer = bytearray(3_000_000)
        return [bytes(buffer[: file.readinto(buffer)])]
    return [getattr(file, how)(3_000_000)]


@pytest.mark.parametrize('how', ['read', 'readinto', 'readline'])
def test_read_that_fails(conn: s3po.Connection, store: Store, how: str) -> None:
    """A read that fails keeps the position, so that a caller who reads again gets the same bytes."""
    data = os.urandom(12 * MIB).replace(b'\n', b' ')
    conn.upload(BUCKET, 'key', data)
    with conn.open(BUCKET, 'key') as file:
        found = [file.read(1000)]
        store.script({'operation': 'GetObject', 'skip': 1, 'times': 2, 'action': {'status': 500}})
        failures = 0
        while len(b''.join(found)) < len(data):
            position = file.tell()
            try:
                found += pieces_of(file, how)
            except S3poError:
                failures += 1
                assert file.tell() == position

    assert failures
    assert b''.join(found) == data


def test_read_that_is_interrupted(conn: s3po.Connection, store: Store) -> None:
    """A read() that is interrupted by a time limit of the caller keeps the position, too."""
    data = os.urandom(12 * MIB)
    conn.upload(BUCKET, 'key', data)
    with conn.open(BUCKET, 'key') as file:
        first = file.read(1000)
        store.script({'operation': 'GetObject', 'skip': 1, 'times': 1, 'action': {'delay_s': 1}})
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.3):
            file.read(5_000_000)

        assert file.tell() == 1000
        assert first + file.read() == data


@pytest.mark.parametrize('differing', ['Last-Modified', 'x-amz-version-id'])
def test_replaced_at_a_store_without_etags(connect: Connect, differing: str) -> None:
    """If ETags do not distinguish two versions, Last-Modified or the version id does."""
    count = itertools.count()

    def answer(asked: Asked) -> Reply:
        is_first = not next(count)
        start, _, end = asked.headers['range'].removeprefix('bytes=').partition('-')
        body = (b'a' if is_first else b'b') * (min(int(end), MIB - 1) - int(start) + 1)
        headers = {
            'Content-Length': str(len(body)),
            'Content-Range': f'bytes {start}-{int(start) + len(body) - 1}/{MIB}',
            'Last-Modified': 'Fri, 27 Nov 2026 00:00:00 GMT',
        }
        if not is_first:
            headers[differing] = {'Last-Modified': 'Fri, 27 Nov 2026 00:00:05 GMT'}.get(differing, 'other')
        return Reply(status=206, headers=headers, body=body)

    with Answering(answer) as server, connect(server.endpoint_url).open(BUCKET, 'key', read_ahead=0) as file:
        assert file.read(10) == b'a' * 10
        with pytest.raises(SourceChanged):
            file.read()


PROGRAM = """
import sys
import s3po
endpoint, kind = sys.argv[1:]
conn = s3po.Connection(
    endpoint_url=endpoint, access_key_id='key', secret_access_key='secret', region='us-east-1', transport=kind
)
small, large = conn.open('bucket', 'small', 'w'), conn.open('bucket', 'large', 'wb')
small.write('text')
large.write(bytes(11 << 20))
reader = conn.open('bucket', 'stored')
reader.read(10)
"""


@pytest.mark.slow
def test_open_at_the_end_of_the_program(conn: s3po.Connection, store: Store, kind: Kind) -> None:
    """Each writer left open is logged as an ERROR and aborted at the end of the program; nothing else is printed."""
    conn.upload(BUCKET, 'stored', bytes(9 * MIB))
    command = [sys.executable, '-c', PROGRAM, store.endpoint_url, kind.name]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)

    lines = sorted(ended.stderr.splitlines())
    assert ended.returncode == 0
    assert len(lines) == 2, ended.stderr
    assert all('was never closed: its object was not published' in line for line in lines)
    assert 'bucket/large' in lines[0]
    assert 'bucket/small' in lines[1]
    assert not conn.exists(BUCKET, 'large')
