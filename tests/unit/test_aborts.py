"""Multipart uploads whose abort failed are aborted later: those of this connection, and no others."""

from __future__ import annotations

import logging

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.errors import AccessDenied, NetworkError, S3poError
from s3po.runtime import CleanUps, WorkKilled
from tests.conftest import BUCKET
from tests.support.memory import MemoryTransport
from tests.support.noise import noise

DATA = noise(11 * MIB + 7)


def down(operation: str, key: str, part: int | None) -> None:
    """Makes all requests fail once the multipart upload exists."""
    if operation != 'CreateMultipartUpload':
        raise NetworkError('nobody answers')


def fail(memory: MemoryTransport, conn: s3po.Connection, key: str) -> None:
    memory.fault = down
    with pytest.raises(S3poError) as caught:
        conn.upload(BUCKET, key, DATA)
    assert 'was not aborted' in caught.value.__notes__[0]
    memory.fault = None


def test_with_the_next_upload(memory: MemoryTransport, memory_conn: s3po.Connection) -> None:
    """The next multipart upload to the bucket aborts it first."""
    fail(memory, memory_conn, 'key')
    foreign = memory.store.create_upload(BUCKET, 'key', {}, {})

    memory_conn.upload(BUCKET, 'other', DATA)

    assert [upload.upload_id for upload in memory.store.uploads(BUCKET)] == [foreign]


def test_with_the_connection(memory: MemoryTransport, memory_conn: s3po.Connection) -> None:
    """close() aborts all of them."""
    for key in ('a', 'b'):
        fail(memory, memory_conn, key)
    memory_conn.close()

    assert memory.store.uploads(BUCKET) == []


@pytest.mark.parametrize('error', [NetworkError('still down'), AccessDenied('no', status=403)])
def test_still_down(
    memory: MemoryTransport, memory_conn: s3po.Connection, error: S3poError, caplog: pytest.LogCaptureFixture
) -> None:
    """If the abort fails again, it is logged and kept for later, and close() raises nothing."""
    fail(memory, memory_conn, 'key')

    def refuse(operation: str, key: str, part: int | None) -> None:
        raise error

    memory.fault = refuse
    with caplog.at_level(logging.WARNING):
        memory_conn.close()
    assert '1 multipart uploads to s3://bucket are still not aborted' in caplog.text

    memory.fault = None
    memory_conn.close()
    assert memory.store.uploads(BUCKET) == []


def test_killed_meanwhile(memory: MemoryTransport, memory_conn: s3po.Connection) -> None:
    """If close() is killed during an abort, the upload is kept for later."""
    fail(memory, memory_conn, 'key')
    memory.fault = lambda *_: gevent.sleep(60)
    closing = gevent.spawn(memory_conn.close)
    gevent.sleep(0.01)
    closing.kill()

    memory.fault = None
    memory_conn.close()
    assert memory.store.uploads(BUCKET) == []


def test_creation_that_is_killed_before_it_begins(memory_conn: s3po.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the greenlet of CreateMultipartUpload is killed before it starts, nothing is sent and its slot is released."""

    def killed(*_: object) -> str:
        raise WorkKilled('other code killed it')

    monkeypatch.setattr(CleanUps, 'shielded', killed)
    with pytest.raises(S3poError, match='other code killed it'):
        memory_conn.upload(BUCKET, 'key', DATA)

    assert repr(memory_conn._wiring.governor()) == '<Governor width=8 free=8>'
