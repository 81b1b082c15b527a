"""The limits of a connection at a real store: slots, throttling, rates."""

from __future__ import annotations

import os
from collections.abc import Callable

import gevent
import pytest

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.servers import Store


@pytest.mark.slow
@pytest.mark.parametrize('max_requests', [1, None])
def test_upload_of_a_large_reader(store: Store, connect: Callable[..., s3po.Connection], max_requests: int | None) -> None:
    """An object of 120 MiB is copied over one connection: an upload in parts from a reader."""
    store.create_bucket(BUCKET)
    conn = connect(store.endpoint_url, config=s3po.TransferConfig(max_requests=max_requests))
    data = os.urandom(120 * MIB)
    conn.upload(BUCKET, 'key', data)

    with gevent.Timeout(120), conn.open(BUCKET, 'key') as reader:
        conn.upload(BUCKET, 'copy', reader)

    assert conn.download(BUCKET, 'copy') == data


@pytest.mark.slow
def test_uploads_of_readers_in_a_batch(conn: s3po.Connection) -> None:
    """A batch of 50 uploads from readers of the same connection ends, and its callbacks open readers too."""
    data = os.urandom(9 * MIB)
    conn.upload(BUCKET, 'key', data)

    def last(result: s3po.TransferResult) -> bytes:
        with conn.open(BUCKET, result.key) as reader:
            reader.seek(-10, os.SEEK_END)
            return reader.read()

    with gevent.Timeout(120), conn.batch(50) as batch:
        for number in range(50):
            batch.upload(BUCKET, f'copy{number}', conn.open(BUCKET, 'key'), callback=last)

    assert batch.results() == [data[-10:]] * 50
