"""Edge cases of sizes (F51): 0, one byte, a part plus or minus one byte, 10,000 parts, and too large."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import s3po
from s3po.config import GIB, MAX_OBJECT_BYTES, MAX_PARTS, MIB
from s3po.errors import ConfigurationError
from s3po.plan import plan_upload
from tests.conftest import BUCKET
from tests.support.servers import Store

Connect = Callable[..., s3po.Connection]

PART = 5 * MIB
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
SIZES = [0, 1, PART - 1, PART, PART + 1, 2 * PART - 1, 2 * PART, 2 * PART + 1]


@pytest.fixture
def conn(store: Store, connect: Connect) -> s3po.Connection:
    """A connection with the smallest parts that S3 accepts; the bucket exists."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    store.create_bucket(BUCKET)
    return connection


@pytest.mark.fault('F51')
@pytest.mark.parametrize('size', SIZES)
def test_round_trip(conn: s3po.Connection, store: Store, tmp_path: Path, size: int) -> None:
    """An object of every size is uploaded and downloaded with the expected number of parts."""
    data = os.urandom(size)
    source, target = tmp_path / 'source', tmp_path / 'target'
    source.write_bytes(data)

    uploaded = conn.upload(BUCKET, 'key', source)
    downloaded = conn.download(BUCKET, 'key', target)

    parts = max(1, -(-size // PART))
    assert (uploaded.parts, uploaded.size_bytes, downloaded.parts) == (parts, size, parts)
    assert target.read_bytes() == data
    assert conn.download(BUCKET, 'key') == data
    assert len(store.log('PutObject')) == (1 if parts == 1 else 0)
    sizes = [seen['body_bytes'] for seen in sorted(store.log('UploadPart'), key=lambda seen: int(seen['query']['partNumber']))]
    assert sizes == ([] if parts == 1 else [PART] * (parts - 1) + [size - PART * (parts - 1)])
    if size == 0:
        assert all('range' not in seen['headers'] for seen in store.log('GetObject'))


@pytest.mark.fault('F51')
def test_ten_thousand_parts() -> None:
    """An object of one byte more than 10,000 of the smallest parts gets larger parts, not more of them."""
    whole = MAX_PARTS * PART

    assert len(plan_upload(whole, IN_PARTS)) == MAX_PARTS
    grown = plan_upload(whole + 1, IN_PARTS)
    assert len(grown) <= MAX_PARTS
    assert grown.part_bytes == 6 * MIB
    assert sum(part.size_bytes for part in grown) == whole + 1


@pytest.mark.fault('F51')
@pytest.mark.parametrize('size', [MAX_OBJECT_BYTES + 1, 60_000 * GIB])
def test_too_large(conn: s3po.Connection, store: Store, tmp_path: Path, size: int) -> None:
    """An object that is larger than S3's limit is rejected before any request."""
    before = len(store.log())

    with pytest.raises(ConfigurationError, match='larger than the limit of S3'):
        plan_upload(size, IN_PARTS)

    huge = tmp_path / 'huge'
    with huge.open('wb') as file:
        try:
            file.truncate(size)
        except OSError:
            file.truncate(0)
    if huge.stat().st_size == size:
        with pytest.raises(ConfigurationError, match='larger than the limit of S3'):
            conn.upload(BUCKET, 'key', huge)
    assert len(store.log()) == before
