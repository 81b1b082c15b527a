"""Misleading local files (F74 to F76): wrong sizes, mappings that change, files left by a kill."""

from __future__ import annotations

import dataclasses
import functools
import io
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.errors import SourceChanged
from tests.conftest import BUCKET
from tests.support.kinds import Kind
from tests.support.servers import CHECKOUT, Store

Connect = Callable[..., s3po.Connection]

PART = 5 * MIB
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=1)
WAIT_S = 30.0


@pytest.fixture
def conn(store: Store, connect: Connect) -> s3po.Connection:
    """A connection that sends one part at a time; the bucket exists."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    store.create_bucket(BUCKET)
    return connection


# ---------------------------------------------------------------------- files whose size is unknown

# A file with constant content that reports a size of 0.
UNSIZED = '/proc/version'


class Wrapper(io.FileIO):
    """A seekable file object of a class that s3po does not know."""


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
    """A file that reports a size of 0 but has content is read to its end, whichever way it is passed."""
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
    """A file object is read from its current position."""
    with open(UNSIZED, 'rb') as file:
        file.read(6)
        conn.upload(BUCKET, 'key', file)

    assert conn.download(BUCKET, 'key') == Path(UNSIZED).read_bytes()[6:]


@pytest.mark.fault('F74')
def test_empty_files(conn: s3po.Connection, tmp_path: Path) -> None:
    """An empty source is stored as an empty object."""
    (tmp_path / 'empty').touch()
    with open(tmp_path / 'empty', 'rb') as file, open('/dev/null', 'rb') as null:
        for source in (file, null, io.BytesIO(), tmp_path / 'empty'):
            assert conn.upload(BUCKET, 'key', source).size_bytes == 0
            assert conn.download(BUCKET, 'key') == b''


@pytest.mark.fault('F74')
def test_device(conn: s3po.Connection) -> None:
    """A seekable device has no size: it is read as a stream."""

    class Zeros(io.FileIO):
        """Reads a fixed number of zeros from /dev/zero."""

        left = 3 * PART + 1

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            data = super().read(min(size, self.left)) if self.left else b''
            self.left -= len(data)
            return data

    with Zeros('/dev/zero') as file:
        conn.upload(BUCKET, 'key', file)

    assert conn.head(BUCKET, 'key').size_bytes == 3 * PART + 1


# ---------------------------------------------------------------------- killed while writing without a temporary file

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


@pytest.mark.slow
@pytest.mark.fault('F76')
@pytest.mark.parametrize('old', [None, b'old' * MIB])
def test_kill_without_temporary_file(
    conn: s3po.Connection, store: Store, kind: Kind, tmp_path: Path, old: bytes | None
) -> None:
    """After a kill the target has the first bytes of the object only: no hole, and not its full length.

    The last part arrives at once and the second one late: a file written in the order of arrival would have a hole.
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
    """Wait until the condition is true."""
    until = time.monotonic() + WAIT_S
    while not has_come():
        assert time.monotonic() < until, 'it did not come'
        gevent.sleep(0.02)


# ---------------------------------------------------------------------- sources that change without new file times


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[mmap.mmap]:
    """A mapped file of three parts. All its pages were just written, so the next write does not change its times."""
    (tmp_path / 'source').write_bytes(bytes(3 * PART))
    with (tmp_path / 'source').open('r+b') as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[:] = b'o' * len(mapping)
        yield mapping


def times(path: Path) -> tuple[int, int]:
    return path.stat().st_mtime_ns, path.stat().st_ctime_ns


@pytest.mark.fault('F75')
@pytest.mark.parametrize('compress', [None, 'gzip'])
@pytest.mark.parametrize('given', ['path', 'file', 'memory'])
def test_mapping_that_changes_between_parts(
    conn: s3po.Connection, store: Store, tmp_path: Path, mapped: mmap.mmap, given: str, compress: str | None
) -> None:
    """If a later part changes while the first one is sent, nothing is published, although the file's times are unchanged."""
    path = tmp_path / 'source'
    if compress:
        mapped[:] = os.urandom(len(mapped))
    before = times(path)
    store.script({'operation': 'UploadPart', 'times': 1, 'action': {'delay_s': 0.5}})
    view = memoryview(mapped)
    with path.open('rb') as file, view:
        sources = {'path': path, 'file': file, 'memory': view}
        uploading = gevent.spawn(conn.upload, BUCKET, 'key', sources[given], compress=compress)
        wait_until(lambda: bool(store.log('UploadPart')))

        mapped[-1:] = b'n'

        assert times(path) == before
        with pytest.raises(SourceChanged, match='nothing was published'):
            uploading.get(timeout=WAIT_S)
    assert not conn.exists(BUCKET, 'key')


@pytest.mark.fault('F75', only='wire')
@pytest.mark.parametrize('given', ['path', 'memory'])
def test_mapping_that_changes_before_it_is_sent(
    conn: s3po.Connection, store: Store, tmp_path: Path, mapped: mmap.mmap, given: str
) -> None:
    """With one request, the bytes sent are compared with their checksum before the last piece is sent.

    (Over boto there is no wait between the checksum and the body.)
    """
    path, size_bytes = tmp_path / 'source', PART
    os.truncate(path, size_bytes)
    mapped[:size_bytes] = b'o' * size_bytes
    before = times(path)
    # The head is sent with the checksum, and the body a second later.
    store.script({'operation': 'PutObject', 'times': 1, 'action': {'no_continue': True}})
    view = memoryview(mapped)[:size_bytes]
    with view:
        uploading = gevent.spawn(conn.upload, BUCKET, 'key', path if given == 'path' else view)
        gevent.sleep(0.5)
        assert not uploading.ready()

        mapped[size_bytes // 2 : size_bytes] = b'n' * (size_bytes - size_bytes // 2)

        assert times(path) == before
        with pytest.raises(SourceChanged, match='nothing was published'):
            uploading.get(timeout=WAIT_S)
    assert not conn.exists(BUCKET, 'key')


@pytest.mark.fault('F75')
def test_mapping_at_rest(conn: s3po.Connection, tmp_path: Path, mapped: mmap.mmap) -> None:
    """A mapped file that does not change is uploaded, whatever the state of its pages."""
    conn.upload(BUCKET, 'key', tmp_path / 'source')

    assert conn.download(BUCKET, 'key') == mapped[:]


class Counting(io.BytesIO):
    """A file object that counts the bytes read from it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


@pytest.mark.parametrize('size_bytes', [PART - 1, 3 * PART])
@pytest.mark.parametrize('checksum', ['auto', 'sha256', 'md5'])
def test_read_twice(store: Store, connect: Connect, size_bytes: int, checksum: str) -> None:
    """Over plain HTTP with a signed body, a file object is read twice: once for checksum and signature, once to be sent."""
    connection = connect(store.endpoint_url, config=dataclasses.replace(IN_PARTS, checksum=checksum))
    store.create_bucket(BUCKET)
    file = Counting(os.urandom(size_bytes))

    connection.upload(BUCKET, 'key', file)

    assert file.count <= 2 * size_bytes
