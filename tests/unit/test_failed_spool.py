"""Beyond 10,000 jobs, failed jobs are in a temporary file, and everything works as before."""

from __future__ import annotations

import errno
import gc
import io
import os
import pathlib
import pickle
import stat
import tempfile
import tracemalloc
from typing import Any

import pytest

import s3po
from s3po.batch import Batch, FailedJob, FailedJobs, failed
from s3po.batch.spool import Spool
from s3po.config import MIB
from s3po.errors import Cancelled, ConfigurationError, JobError, NetworkError, NotFound, UploadError
from s3po.model import ObjectRef
from tests.support.memory import MemoryTransport
from tests.support.performer import Performer

BUCKET = 'bucket'


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed, 'MAX_IN_MEMORY', 3)


def job(number: int, operation: str = 'upload', **options: Any) -> FailedJob:
    error = UploadError(f'{number} failed', bucket=BUCKET, key=f'key{number}', attempts=4)
    error.__cause__ = NetworkError('reset')
    options = options or {'source': f'data{number}'.encode()}
    return FailedJob(operation, ObjectRef(bucket=BUCKET, key=f'key{number}'), options, error)


def test_as_a_sequence() -> None:
    """Length, iteration, indexes, slices and membership work as with a list."""
    jobs = FailedJobs(map(job, range(8)))
    keys = [f'key{number}' for number in range(8)]

    assert len(jobs) == 8
    assert [each.key for each in jobs] == keys
    assert [jobs[index].key for index in range(-8, 8)] == keys * 2
    assert [each.key for each in jobs[2:7:2]] == keys[2:7:2]
    assert isinstance(jobs[2:], FailedJobs)
    assert [each.key for each in reversed(jobs)] == keys[::-1]
    assert jobs[0] in jobs
    for index in (8, -9):
        with pytest.raises(IndexError):
            jobs[index]


def test_nothing_is_lost() -> None:
    """A job from the file has its data, options, error and cause."""
    jobs = FailedJobs(map(job, range(3)))
    jobs.add(job(3, source='text', metadata={'a': '1'}))
    jobs.add(job(4, source=bytearray(b'data')))
    jobs.add(job(5, 'upload_file', path=pathlib.Path('/tmp/x')))
    cancelled = FailedJob('head', ObjectRef(bucket=BUCKET, key='key6'), {}, Cancelled('x'), is_cancelled=True, has_begun=False)
    jobs.add(cancelled)

    assert jobs[3].options == {'source': 'text', 'metadata': {'a': '1'}}
    assert jobs[4].options == {'source': b'data'}
    assert jobs[5].options == {'path': pathlib.Path('/tmp/x')}
    assert all(each.refusal() is None for each in jobs)
    assert (str(jobs[3].error), type(jobs[3].error), type(jobs[3].cause)) == ('3 failed', UploadError, NetworkError)
    assert (jobs[6].is_cancelled, jobs[6].has_begun) == (True, False)


def test_objects_stay_in_memory() -> None:
    """A job with an open file, a secret, or another object is kept as it is."""
    file, secret = io.BytesIO(b'data'), {'SSECustomerKey': 'secret', 'SSECustomerAlgorithm': 'AES256'}
    jobs = FailedJobs(map(job, range(5)))
    jobs.add(job(5, source=file))
    jobs.add(job(6, source=b'data', extra=secret))
    jobs.add(job(7))

    assert jobs[5].options['source'] is file
    assert jobs[6].options['extra'] is secret
    assert [each.key for each in jobs] == [f'key{number}' for number in range(8)]
    assert b'secret' not in b''.join(jobs._spool[index] for index in range(len(jobs._spool)))  # type: ignore[union-attr,arg-type]


def test_saved_and_loaded(tmp_path: pathlib.Path) -> None:
    """save() and load() handle all jobs; pickling too."""
    jobs = FailedJobs(job(number, 'upload_file', path=tmp_path / f'{number}') for number in range(9))
    jobs.save(tmp_path / 'failed')

    assert [each.key for each in FailedJobs.load(tmp_path / 'failed')] == [each.key for each in jobs]
    assert [each.key for each in pickle.loads(pickle.dumps(jobs))] == [each.key for each in jobs]


def test_repeated(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """retry_failed() repeats all jobs, with data in memory too."""

    def refuse(operation: str, key: str, part: int | None) -> None:
        raise NotFound('not now')

    memory.fault = refuse
    with pytest.raises(s3po.BatchError, match=r'9 of 9 jobs failed: .*; and 6 more \(see failed\)') as caught:
        with memory_conn.batch(2) as batch:
            for number in range(9):
                batch.upload(BUCKET, f'key{number}', f'data{number}'.encode())
    memory.fault = None

    again = memory_conn.retry_failed(caught.value)

    assert again.success()
    assert memory_conn.download(BUCKET, 'key8') == b'data8'


def test_jobs_that_never_began(memory_conn: s3po.Connection) -> None:
    """not_started spills too; a source that can be read only once was not read, so the job can be repeated."""
    batch = memory_conn.batch(9)
    for number in range(8):
        batch.upload(BUCKET, f'key{number}', iter([b'data']))
    batch.cancel()
    batch.close()
    again = memory_conn.retry_failed(batch.not_started)

    assert len(batch.not_started) == 8
    assert again.success()
    assert memory_conn.download(BUCKET, 'key7') == b'data'


def test_retry_of_something_else(memory_conn: s3po.Connection) -> None:
    """The items are checked as they are read."""
    with pytest.raises(ConfigurationError, match='failed must be'):
        memory_conn.retry_failed([*map(job, range(5)), 7])  # type: ignore[list-item]


def test_private_file() -> None:
    """The file has no name, and only the user can read it; it is closed with the list."""
    spool = Spool()
    spool.append(b'data')
    found = os.fstat(spool._file)
    descriptor = spool._file

    assert (stat.S_IMODE(found.st_mode), found.st_nlink) == (0o600, 0)
    del spool
    with pytest.raises(OSError, match='Bad file descriptor'):
        os.fstat(descriptor)


@pytest.mark.parametrize('call', ['mkstemp', 'pwrite'])
def test_full_disk(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str) -> None:
    """If the temporary file cannot be written, the jobs stay in memory, and that is logged once."""
    jobs = FailedJobs(map(job, range(5 if call == 'pwrite' else 3)))

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(tempfile if call == 'mkstemp' else os, call, refuse)
        for number in range(len(jobs), 8):
            jobs.add(job(number))
    for number in range(8, 11):
        jobs.add(job(number))

    assert [each.key for each in jobs] == [f'key{number}' for number in range(11)]
    assert jobs[6].options == {'source': b'data6'}
    assert [record.message for record in caplog.records] == [
        'failed jobs are kept in memory, because the temporary file cannot be written: [Errno 28] No space left on device'
    ]


def test_bounded_memory() -> None:
    """Of a batch that keeps no results, each further failed job uses a few bytes."""
    performer = Performer()

    def used(count: int) -> int:
        tracemalloc.start()
        with Batch(performer, 4, keep_results=False, on_error='collect') as batch:
            for number in range(count):
                batch.upload(BUCKET, f'fail{number}', bytes(1000))
        gc.collect()
        found, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(batch.failed) == count
        return found

    # The first 1,000 failures stay in memory, as long as nothing has read them; of the others, 16 bytes.
    assert used(10_000) - used(2_000) < MIB


def test_broken_line(tmp_path: pathlib.Path) -> None:
    """Of a long file with a broken line, the other lines can be read."""
    FailedJobs(job(number, 'head', retries=1) for number in range(9)).save(tmp_path / 'f')
    with (tmp_path / 'f').open('a') as file:
        file.write('nonsense\n')

    with pytest.raises(JobError, match='line 10'):
        FailedJobs.load(tmp_path / 'f')
    found = FailedJobs.load(tmp_path / 'f', on_error='collect')
    assert len(found) == 9
    assert len(found.broken) == 1
