"""Responses that ask for a wait, and early responses (F21 to F25, F30, F31)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

import s3po
from s3po.config import MIB
from s3po.errors import AccessDenied
from tests.conftest import BUCKET
from tests.support.servers import Store

Connect = Callable[..., s3po.Connection]

DATA = os.urandom(1000)


def once(operation: str, times: int | None = 1, **action: Any) -> dict[str, Any]:
    """A rule for the next requests of one operation."""
    return {'operation': operation, 'times': times, 'action': action}


@pytest.mark.fault('F22')
def test_retry_after(store: Store, connect: Connect) -> None:
    """A retry waits for the Retry-After of the response, and not much longer."""
    conn = connect(store.endpoint_url, retry=s3po.RetryPolicy())
    store.create_bucket(BUCKET)
    conn.upload(BUCKET, 'key', DATA)
    store.script(once('GetObject', status=503, code='SlowDown', headers={'Retry-After': '1'}))

    assert conn.download(BUCKET, 'key') == DATA

    first, second = (each['time'] for each in store.log('GetObject'))
    assert 1.0 <= second - first < 2.5


@pytest.mark.fault('F23')
def test_errors_then_fine(conn: s3po.Connection, store: Store) -> None:
    """After two errors 500, the third request succeeds."""
    conn.upload(BUCKET, 'key', DATA)
    store.script(once('GetObject', 2, status=500))

    assert conn.download(BUCKET, 'key') == DATA
    assert len(store.log('GetObject')) == 3


@pytest.mark.fault('F25')
def test_head_that_is_throttled(conn: s3po.Connection, store: Store) -> None:
    """A 503 to a HEAD, which has no body, is retried because of its status."""
    conn.upload(BUCKET, 'key', DATA)
    store.script(once('HeadObject', status=503, body=''))

    assert conn.head(BUCKET, 'key').size_bytes == len(DATA)
    assert len(store.log('HeadObject')) == 2


@pytest.mark.fault('F30')
@pytest.mark.parametrize('action', [{'no_continue': True}, {'status': 417, 'early': True}], ids=['silent', '417'])
def test_no_continue(conn: s3po.Connection, store: Store, action: dict[str, Any]) -> None:
    """A store that does not support Expect: 100-continue delays an upload by at most a second, once."""
    data = os.urandom(2 * MIB)
    store.script(once('PutObject', None if 'no_continue' in action else 1, **action))
    began = time.monotonic()

    for number in range(2):
        conn.upload(BUCKET, f'key{number}', data)

    assert time.monotonic() - began < 4
    assert conn.download(BUCKET, 'key1') == data


@pytest.mark.fault('F31')
def test_early_refusal(store: Store, conn: s3po.Connection, connect: Connect) -> None:
    """A refusal that arrives before the body is sent ends the upload at once."""
    connection = connect(store.endpoint_url, config=s3po.TransferConfig(multipart_threshold=100 * MIB))
    store.script(once('PutObject', status=403, code='AccessDenied', early=True, read_bytes=64 * 1024))
    began = time.monotonic()

    with pytest.raises(AccessDenied):
        connection.upload(BUCKET, 'key', bytes(50 * MIB))

    assert time.monotonic() - began < 5
    assert len(store.log('PutObject')) == 1
