"""Local files that mislead (F74 to F76): wrong sizes, mappings that change, kills that leave a file behind."""

from __future__ import annotations

import functools
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.kinds import Kind
from tests.support.servers import CHECKOUT, Store

Connect = Callable[..., s3po.Connection]

PART = 5 * MIB
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=1)
WAIT_S = 30.0


@pytest.fixture
def conn(store: Store, connect: Connect) -> s3po.Connection:
    """A connection that sends one part after the other, with a bucket."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    connection.create_bucket(BUCKET)
    return connection


# ---------------------------------------------------------------------- files whose size is unknown

# Always the same text, and longer than nothing; its size is reported as 0.
UNSIZED = '/proc/version'


class Wrapper(io.FileIO):
    """A file object of another class, which can seek."""


@pytest.mark.fault('F74')
@pytest.mark.parametrize(
    'opened',
    [
        functools.partial(open, UNSIZED, 'rb'),
        functools.partial(open, UNSIZED),
        functools.partial(open, UNSIZED, 'rb', buffering=0),
        functools.partial(Wrapper, UNSIZED),
        functools.partial(Path, UNSIZED),
    ],
    ids=['binary', 'text', 'raw', 'wrapper', 'path'],
)
@pytest.mark.parametrize('compress', [None, 'gzip'])
def test_size_of_zero(conn: s3po.Connection, opened: Callable[[], Any], compress: str | None) -> None:
    """A file that reports a size of 0 and has more is read to its end, in whatever form it is given."""
    source = opened()

    result = conn.upload(BUCKET, 'key', source, compress=compress)

    expected = Path(UNSIZED).read_bytes()
    assert conn.download(BUCKET, 'key') == expected
    assert result.size_bytes == len(expected) or compress
    if hasattr(source, 'close'):
        assert source.read() in (b'', '')
        source.close()


@pytest.mark.fault('F74')
def test_size_of_zero_from_a_position(conn: s3po.Connection) -> None:
    """It is read from where it stands."""
    with open(UNSIZED, 'rb') as file:
        file.read(6)
        conn.upload(BUCKET, 'key', file)

    assert conn.download(BUCKET, 'key') == Path(UNSIZED).read_bytes()[6:]


@pytest.mark.fault('F74')
def test_empty_files(conn: s3po.Connection, tmp_path: Path) -> None:
    """What is empty is stored empty."""
    (tmp_path / 'empty').touch()
    with open(tmp_path / 'empty', 'rb') as file, open('/dev/null', 'rb') as null:
        for source in (file, null, io.BytesIO(), tmp_path / 'empty'):
            assert conn.upload(BUCKET, 'key', source).size_bytes == 0
            assert conn.download(BUCKET, 'key') == b''


@pytest.mark.fault('F74')
def test_device(conn: s3po.Connection) -> None:
    """A device that can seek has no size either: it is read as a stream."""

    class Zeros(io.FileIO):
        """So many zeros of /dev/zero."""

        left = 3 * PART + 1

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            data = super().read(min(size, self.left)) if self.left else b''
            self.left -= len(data)
            return data

    with Zeros('/dev/zero') as file:
        conn.upload(BUCKET, 'key', file)

    assert conn.head(BUCKET, 'key').size_bytes == 3 * PART + 1


# ---------------------------------------------------------------------- killed while a path is written itself

PROGRAM = """
import sys
import s3po
endpoint, kind, target = sys.argv[1:]
config = s3po.TransferConfig(multipart_chunksize=5 << 20, max_concurrency=4, use_tmp_file=False)
conn = s3po.Connection(
    endpoint_url=endpoint, access_key_id='key', secret_access_key='secret', region='us-east-1', transport=kind, config=config
)
conn.download_file('bucket', 'key', target)
"""


@pytest.mark.fault('F76')
@pytest.mark.parametrize('old', [None, b'old' * MIB])
def test_kill_without_temporary_file(
    conn: s3po.Connection, store: Store, kind: Kind, tmp_path: Path, old: bytes | None
) -> None:
    """What is left begins as the object does, and is shorter: no zeros, and not its full length.

    The last part comes at once and the second one late, so a file that is written as the parts come would have a hole.
    """
    data = os.urandom(4 * PART)
    conn.upload(BUCKET, 'key', data)
    target = tmp_path / 'target'
    if old is not None:
        target.write_bytes(old)
    second = {'range': f'bytes={PART}-{2 * PART - 1}'}
    store.script({'operation': 'GetObject', 'headers': second, 'times': 1, 'action': {'hang_s': 60}})
    command = [sys.executable, '-c', PROGRAM, store.endpoint_url, kind.name, str(target)]
    process = subprocess.Popen(command, cwd=CHECKOUT)
    try:
        wait_until(lambda: len(store.log('GetObject')) >= 4 and target.exists() and target.stat().st_size == PART)
        gevent.sleep(0.3)
    finally:
        process.kill()
        process.wait(WAIT_S)

    assert target.read_bytes() == data[:PART]
    assert conn.download_file(BUCKET, 'key', target).size_bytes == len(data)
    assert target.read_bytes() == data


def wait_until(has_come: Callable[[], bool]) -> None:
    """Wait for something that is on its way."""
    until = time.monotonic() + WAIT_S
    while not has_come():
        assert time.monotonic() < until, 'it did not come'
        gevent.sleep(0.02)
