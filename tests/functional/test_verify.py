"""verify() over HTTP: the checksums of HEADs decide, whatever the ETags are."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.kinds import KINDS, Kind
from tests.support.noise import noise
from tests.support.servers import Store

PARTS = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
LARGE = noise(6 * MIB)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.mark.parametrize('etags', ['md5', 'opaque'])
def test_checksums(store: Store, connect: Callable[..., s3po.Connection], tmp_path: pathlib.Path, etags: str) -> None:
    """Objects that were written again with the same bytes are as recorded; one flipped byte is found."""
    store.create_bucket(BUCKET)
    store.mode(etags=etags)
    conn = connect(store.endpoint_url, config=PARTS)
    with conn.batch(4, receipts=True) as batch:
        for number in range(4):
            batch.upload(BUCKET, f'a/{number}', b'data %d' % number)
        batch.upload(BUCKET, 'a/large', LARGE)
    batch.report().save(tmp_path / 'receipt.jsonl')
    conn.upload(BUCKET, 'a/1', b'data 1')
    conn.upload(BUCKET, 'a/2', b'Data 2')
    # In one part, so with another ETag.
    connect(store.endpoint_url).upload(BUCKET, 'a/large', LARGE)

    report = conn.verify(tmp_path / 'receipt.jsonl')

    assert [(each.kind, each.key) for each in report] == [('changed', 'a/2')]
    assert 'checksum' in report.changed[0].reason
    assert 'GetObject' not in {seen['operation'] for seen in store.log()}


def test_copies_between_stores(
    store: Store, own_store: Store, connect: Callable[..., s3po.Connection], tmp_path: pathlib.Path
) -> None:
    """The receipt of copies to another store is verified by the connection to that store."""
    store.create_bucket(BUCKET)
    own_store.create_bucket(BUCKET)
    conn, to = connect(store.endpoint_url, config=PARTS), connect(own_store.endpoint_url, config=PARTS)
    conn.upload(BUCKET, 'a/large', LARGE)
    conn.upload(BUCKET, 'a/small', b'data')
    with conn.batch(4, receipts=True) as batch:
        for entry in conn.list(BUCKET):
            batch.copy(BUCKET, entry, BUCKET, entry, to=to)
    batch.report().save(tmp_path / 'receipt.jsonl')

    report = to.verify(tmp_path / 'receipt.jsonl')

    assert (report.checked, report.ok, list(report)) == (2, 2, [])
