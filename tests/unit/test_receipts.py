"""Receipts: each job of a batch is recorded once, with its state and what the store confirmed."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import pickle
import tracemalloc
from typing import Any

import pytest

import s3po
from s3po.batch import receipts
from s3po.errors import AccessDenied, BatchError, CallbackError, ConfigurationError, LocalError
from s3po.jobs import JobRecord
from tests.conftest import BUCKET
from tests.support.faults import Faults
from tests.support.memory import MemoryTransport


def lines(batch: s3po.Batch, path: pathlib.Path) -> list[dict[str, Any]]:
    """The saved records."""
    batch.report().save(path)
    said = [json.loads(line) for line in path.read_text().splitlines()]
    for line in said:
        JobRecord.from_json(line)
    return said


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / 'receipt.jsonl'


def test_of_each_operation(memory_conn: s3po.Connection, path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A record has the call, the state, and the result with size, ETag, attempts, bytes, duration and time."""
    (tmp_path / 'source').write_bytes(b'data')
    with memory_conn.batch(1, receipts=True) as batch:
        batch.upload_file(BUCKET, 'key', tmp_path / 'source')
        batch.download(BUCKET, 'key', callback=len)
        batch.download_file(BUCKET, 'key', tmp_path / 'target')
        batch.copy(BUCKET, 'key', BUCKET, 'copy')
        batch.head(BUCKET, 'key')
        batch.exists(BUCKET, 'key')
        batch.list(BUCKET)
        batch.delete(BUCKET, 'copy')
        batch.delete_many(BUCKET, ['key', 'other'])

    said = lines(batch, path)

    etag = '8d777f385d3dfec8815d20f7496026dc'
    assert [line['op'] for line in said] == [
        'upload_file',
        'download',
        'download_file',
        'copy',
        'head',
        'exists',
        'list',
        'delete',
        'delete_many',
    ]
    assert {line['state'] for line in said} == {'done'}
    assert all({'ended_at', 'seconds', 'moved_bytes'} <= line['result'].keys() for line in said)
    for line in said[:5]:
        assert (line['result']['size_bytes'], line['result']['etag'], line['result']['attempts']) == (4, etag, 1)
    assert (said[0]['path'], said[2]['path']) == (str(tmp_path / 'source'), str(tmp_path / 'target'))
    assert [line['result']['moved_bytes'] for line in said[:5]] == [4, 4, 4, 4, 0]
    assert said[2]['result']['local_bytes'] == 4
    assert said[3]['to'] == {'bucket': BUCKET, 'key': 'copy'}
    assert said[5]['result']['exists'] is True
    assert said[6]['result']['keys'] == 2
    # One record for the call, with its keys.
    assert said[8]['opts'] == {'keys': ['key', 'other']}
    assert said[8]['result']['deleted'] == 2


def test_checksum(memory_conn: s3po.Connection, memory: MemoryTransport, path: pathlib.Path) -> None:
    """A record has the checksum that the store has confirmed, and the number of attempts."""
    memory.keeps_checksums = True
    memory.fault = Faults('PutObject', None, s3po.ServerError('500'))
    with memory_conn.batch(1, receipts=True) as batch:
        batch.upload(BUCKET, 'key', b'data')

    result = lines(batch, path)[0]['result']

    assert result['checksum'].startswith('CRC64NVME:')
    assert result['attempts'] == 2


def test_failures(memory_conn: s3po.Connection, memory: MemoryTransport, path: pathlib.Path) -> None:
    """Jobs that failed, were cancelled or never began are recorded too."""
    memory.fault = Faults('GetObject', None, AccessDenied('403', status=403, code='AccessDenied'))
    with memory_conn.batch(1, receipts=True, on_error='collect') as batch:
        batch.download(BUCKET, 'key')
        batch.wait()
        waiting = [batch.exists(BUCKET, f'key-{number}') for number in range(2)]
        waiting[-1].cancel()

    said = {line['key']: line for line in lines(batch, path)}

    assert said['key']['state'] == 'failed'
    assert said['key']['error']['class'] == 'AccessDenied'
    assert 'result' not in said['key']
    assert said['key-0']['state'] == 'done'
    assert said['key-1']['state'] == 'not_started'


def test_failed_callback(memory_conn: s3po.Connection, path: pathlib.Path) -> None:
    """A job whose callback failed has failed, and its record has the result of the transfer too."""
    with pytest.raises(BatchError) as caught, memory_conn.batch(1, receipts=True) as batch:
        batch.upload(BUCKET, 'key', b'data', callback=lambda result: 1 / 0)

    (said,) = lines(batch, path)

    assert isinstance(caught.value.failed[0].error, CallbackError)
    assert (said['state'], said['error']['class']) == ('failed', 'CallbackError')
    assert said['result']['size_bytes'] == 4


def test_secrets(memory_conn: s3po.Connection, path: pathlib.Path) -> None:
    """Secrets never stand in a receipt."""
    with memory_conn.batch(1, receipts=True) as batch:
        batch.upload(BUCKET, 'key', b'data', extra={'SSECustomerAlgorithm': 'AES256', 'SSECustomerKey': 'secret' * 5 + 'xx'})

    batch.report().save(path)

    assert 'secretsecret' not in path.read_text()


def test_option_is_needed(memory_conn: s3po.Connection, path: pathlib.Path) -> None:
    """Without receipts=True, save() raises an error that names the option; a path as the option is refused."""
    with memory_conn.batch(1) as batch:
        batch.upload(BUCKET, 'key', b'data')

    with pytest.raises(ConfigurationError, match='receipts=True'):
        batch.report().save(path)
    with pytest.raises(ConfigurationError, match='receipts must be True or False'):
        memory_conn.batch(1, receipts='receipt.jsonl')  # type: ignore[arg-type]


def test_report_pickles(memory_conn: s3po.Connection) -> None:
    """A report is still a value: equal by its figures, and pickled without the receipts."""
    with memory_conn.batch(1, receipts=True) as batch:
        batch.upload(BUCKET, 'key', b'data')

    assert pickle.loads(pickle.dumps(batch.report())) == batch.report()


@pytest.mark.parametrize('count', [10, 3000])
def test_every_job_once(memory_conn: s3po.Connection, path: pathlib.Path, count: int) -> None:
    """Every job is recorded once, whether the records fit into memory or not; save() may be called again."""
    with memory_conn.batch(20, receipts=True, keep_results=False) as batch:
        for number in range(count):
            batch.upload(BUCKET, f'key-{number}', b'data')
        batch.wait()
        assert len(lines(batch, path)) == count
        batch.upload(BUCKET, 'last', b'data')

    said = lines(batch, path)

    assert sorted(line['key'] for line in said) == sorted(['last', *(f'key-{number}' for number in range(count))])


@pytest.mark.slow
def test_memory(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """The records of many jobs are on disk."""
    memory.is_logging = False
    tracemalloc.start()
    try:
        with memory_conn.batch(20, receipts=True, keep_results=False) as batch:
            for _ in range(30_000):
                batch.upload(BUCKET, 'key', b'data')
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert batch.report().succeeded == 30_000
    # Their lines have 8 MiB.
    assert current < 3 << 20


def test_full_disk(memory_conn: s3po.Connection, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs of a batch go on when the temporary file cannot be written; save() raises the error."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(receipts, 'BUFFER_BYTES', 1000)
    monkeypatch.setattr(os, 'pwrite', full)
    with memory_conn.batch(2, receipts=True) as batch:
        for number in range(20):
            batch.upload(BUCKET, f'key-{number}', b'data')

    assert batch.report().succeeded == 20
    with pytest.raises(LocalError, match='receipts are incomplete.*TMPDIR') as caught:
        batch.report().save(path)
    assert caught.value.errno == errno.ENOSPC
    assert not path.exists()


def test_unwritable_path(memory_conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """A path that cannot be written is a LocalError, and the receipts can be saved elsewhere."""
    with memory_conn.batch(1, receipts=True) as batch:
        batch.upload(BUCKET, 'key', b'data')

    with pytest.raises(LocalError):
        batch.report().save(tmp_path / 'missing' / 'receipt.jsonl')
    assert len(lines(batch, tmp_path / 'receipt.jsonl')) == 1


def test_skipped_by_a_journal(memory_conn: s3po.Connection, path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Jobs that a journal has skipped have the state `skipped`, also those without a result."""
    memory_conn.upload(BUCKET, 'key', b'data')

    def states() -> list[str]:
        with memory_conn.batch(1, receipts=True, journal=tmp_path / 'journal') as batch:
            batch.upload(BUCKET, 'other', b'data')
            batch.delete(BUCKET, 'key')
            batch.head(BUCKET, 'other')
        return [line['state'] for line in lines(batch, path)]

    assert states() == ['done', 'done', 'done']
    assert states() == ['skipped', 'skipped', 'done']
