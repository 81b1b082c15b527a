"""Uploads and downloads of a batch with a journal that fail, and are continued by the next batch, over both transports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import s3po
from s3po.config import MIB
from s3po.journal import Journal
from tests.conftest import BUCKET
from tests.support.kinds import KINDS, Kind
from tests.support.noise import noise
from tests.support.servers import Store

PART = 5 * MIB
DATA = noise(3 * PART + 11)
CONFIG = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=1)
# Four of the job, and four of its last turn.
ATTEMPTS = 8


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def new(own_store: Store, connect: Callable[..., s3po.Connection]) -> Callable[[], s3po.Connection]:
    """Makes the connection of the next run."""
    own_store.create_bucket(BUCKET)
    return lambda: connect(own_store.endpoint_url, config=CONFIG)


def parts(store: Store) -> list[str]:
    return [each['query']['partNumber'] for each in store.log('UploadPart') if each['status'] == 200]


def test_upload(new: Callable[[], s3po.Connection], own_store: Store, tmp_path: Path) -> None:
    """The next batch sends the parts that are missing."""
    (tmp_path / 'source').write_bytes(DATA)
    # All attempts of the job and of its last turn.
    own_store.script({'operation': 'UploadPart', 'query': {'partNumber': '3'}, 'times': ATTEMPTS, 'action': {'status': 500}})
    with pytest.raises(s3po.BatchError), new().batch(2, journal=tmp_path / 'journal') as batch:
        batch.upload(BUCKET, 'key', tmp_path / 'source')
    assert Journal(tmp_path / 'journal').report().kept == 1
    assert parts(own_store) == ['1', '2']

    with new().batch(2, journal=tmp_path / 'journal') as batch:
        batch.upload(BUCKET, 'key', tmp_path / 'source')

    assert parts(own_store) == ['1', '2', '3', '4']
    conn = new()
    assert conn.download(BUCKET, 'key') == DATA
    assert 'Uploads' not in conn.conn.list_multipart_uploads(Bucket=BUCKET)
    assert Journal(tmp_path / 'journal').report().kept == 0


def test_download(new: Callable[[], s3po.Connection], own_store: Store, tmp_path: Path) -> None:
    """The next batch fetches the ranges that are missing."""
    new().upload(BUCKET, 'key', DATA)
    broken = {'range': f'bytes={2 * PART}-{3 * PART - 1}'}
    own_store.script({'operation': 'GetObject', 'headers': broken, 'times': ATTEMPTS, 'action': {'status': 500}})
    with pytest.raises(s3po.BatchError), new().batch(2, journal=tmp_path / 'journal') as batch:
        batch.download(BUCKET, 'key', tmp_path / 'target')
    assert Journal(tmp_path / 'journal').report().kept == 1
    before = len(own_store.log('GetObject'))

    with new().batch(2, journal=tmp_path / 'journal') as batch:
        batch.download(BUCKET, 'key', tmp_path / 'target')

    fetched = [each['headers']['range'] for each in own_store.log('GetObject')[before:]]
    assert fetched == [broken['range'], f'bytes={3 * PART}-{len(DATA) - 1}']
    assert (tmp_path / 'target').read_bytes() == DATA
    assert sorted(path.name for path in tmp_path.iterdir()) == ['journal', 'target']


def test_discard(new: Callable[[], s3po.Connection], own_store: Store, tmp_path: Path) -> None:
    """discard() aborts the upload and removes the partial file."""
    conn = new()
    conn.upload(BUCKET, 'down', DATA)
    (tmp_path / 'source').write_bytes(DATA)
    own_store.script({'operation': 'UploadPart', 'query': {'partNumber': '3'}, 'action': {'status': 500}})
    own_store.script(
        {'operation': 'GetObject', 'headers': {'range': f'bytes={2 * PART}-{3 * PART - 1}'}, 'action': {'status': 500}}
    )
    with pytest.raises(s3po.BatchError), conn.batch(2, journal=tmp_path / 'journal') as batch:
        batch.upload(BUCKET, 'up', tmp_path / 'source')
        batch.download(BUCKET, 'down', tmp_path / 'target')
    assert Journal(tmp_path / 'journal').report().kept == 2

    Journal(tmp_path / 'journal').discard(conn)

    assert 'Uploads' not in conn.conn.list_multipart_uploads(Bucket=BUCKET)
    assert [path.name for path in tmp_path.iterdir()] == ['source']
