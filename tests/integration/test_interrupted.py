"""Transfers that are interrupted half-way, or whose object changes meanwhile."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

import s3po
from s3po.config import MIB
from tests.integration.conftest import uploads, uploads_left

SMALL_PARTS = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
Connect = Callable[..., s3po.Connection]

# If a greenlet is killed while a socket connects, urllib3 drops the socket without closing it; it is garbage collected unused.
pytestmark = pytest.mark.filterwarnings('ignore:unclosed <.*socket:ResourceWarning')


@pytest.fixture(autouse=True)
def _nothing_stays_for_the_next_test() -> Iterator[None]:
    yield
    gc.collect()


def endless() -> Iterator[bytes]:
    while True:
        gevent.sleep(0)
        yield bytes(MIB)


def test_killed_upload(conn: s3po.Connection, bucket: str) -> None:
    """An upload whose greenlet is killed leaves no multipart upload and no object."""
    upload = gevent.spawn(conn.upload, bucket, 'key', endless())
    while not upload.dead and not uploads(conn, bucket):
        gevent.sleep(0.01)

    upload.kill()

    assert uploads_left(conn, bucket) == []
    assert not conn.exists(bucket, 'key')


def test_upload_whose_source_fails(conn: s3po.Connection, bucket: str) -> None:
    """An upload whose source raises after some parts were stored leaves no multipart upload and no object."""

    def failing() -> Iterator[bytes]:
        yield bytes(20 * MIB)
        assert len(uploads(conn, bucket)) == 1
        raise OSError('the tape is torn')

    with pytest.raises(OSError, match='the tape is torn'):
        conn.upload(bucket, 'key', failing())

    assert uploads_left(conn, bucket) == []
    assert not conn.exists(bucket, 'key')


def test_upload_that_takes_too_long(conn: s3po.Connection, bucket: str) -> None:
    """An upload that exceeds timeout_s leaves no multipart upload and no object."""
    with pytest.raises(s3po.DeadlineExceeded):
        conn.upload(bucket, 'key', endless(), timeout_s=0.5)

    assert uploads_left(conn, bucket) == []
    assert not conn.exists(bucket, 'key')


@pytest.mark.parametrize('seed', range(8))
def test_killed_at_any_time(connect: Connect, bucket: str, tmp_path: Path, seed: int) -> None:
    """A kill at any time leaves the object and the file complete or absent, and no temporary file."""
    conn = connect(config=SMALL_PARTS)
    data = random.Random(seed).randbytes(16 * MIB)
    conn.upload(bucket, 'down', data)
    (tmp_path / 'source').write_bytes(data)
    transfers = [
        gevent.spawn(conn.upload, bucket, 'up', tmp_path / 'source'),
        gevent.spawn(conn.download, bucket, 'down', tmp_path / 'target'),
    ]

    gevent.sleep(random.Random(seed).uniform(0, 0.2))
    gevent.killall(transfers)

    assert uploads_left(conn, bucket) == []
    assert not conn.exists(bucket, 'up') or conn.download(bucket, 'up') == data
    assert {path.name for path in tmp_path.iterdir()} <= {'source', 'target'}
    assert not (tmp_path / 'target').exists() or (tmp_path / 'target').read_bytes() == data


def test_cancelled_batch(connect: Connect, bucket: str) -> None:
    """A batch that is cancelled aborts its running uploads."""
    conn = connect(config=SMALL_PARTS)

    with conn.batch(4, on_error='collect') as batch:
        for number in range(8):
            batch.upload(bucket, f'key-{number}', endless())
            if number == 3:
                # Further jobs would wait until one of these ends.
                while len(uploads(conn, bucket)) < 4:
                    gevent.sleep(0.01)
        batch.cancel()

    assert (len(batch.failed), len(batch.not_started)) == (4, 4)
    assert uploads_left(conn, bucket) == []
    assert list(conn.list(bucket)) == []


def test_object_that_is_replaced_while_it_is_read(connect: Connect, bucket: str) -> None:
    """The downloaded bytes are those of one version, or SourceChanged is raised."""
    conn = connect(config=s3po.TransferConfig(multipart_threshold=64 * MIB, multipart_chunksize=5 * MIB))
    versions = [letter * 16 * MIB for letter in (b'a', b'b')]
    conn.upload(bucket, 'key', versions[0])
    is_done = False

    def replace() -> int:
        count = 0
        while not is_done:
            conn.upload(bucket, 'key', versions[count % 2])
            count += 1
        return count

    replacing = gevent.spawn(replace)
    came = []
    for _ in range(10):
        try:
            came.append(conn.download(bucket, 'key'))
        except s3po.SourceChanged:
            continue
    is_done = True

    assert replacing.get() > 1
    assert all(data in versions for data in came)
