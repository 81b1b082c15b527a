"""A batch carries out the calls on buckets, and on many objects, as the connection does; failed ones are saved and repeated."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import gevent.event
import pytest

import s3po
from s3po import ConfigurationError, DeleteReport, InvalidRequest, JobError, ListEntry, NoSuchBucket, ObjectRef, Prefix
from s3po.batch import FailedJobs
from s3po.errors import DeadlineExceeded, Throttled
from s3po.jobs import Call
from s3po.model import BucketRef
from tests.support.memory import MemoryTransport

BUCKET = 'bucket'


def fill(conn: s3po.Connection, *keys: str) -> None:
    with conn.batch() as batch:
        for key in keys:
            batch.upload(BUCKET, key, b'data')


def throttled(*operations: str) -> Any:
    """A fault that refuses each request of some operations."""

    def fault(operation: str, key: str, number: int | None) -> None:
        if operation in operations:
            raise Throttled('slow down', status=503, code='SlowDown')

    return fault


def test_exists(memory_conn: s3po.Connection) -> None:
    """The value of an exists() job is a bool; a missing key is no failure."""
    fill(memory_conn, 'here')
    with memory_conn.batch() as batch:
        jobs = [batch.exists(BUCKET, key) for key in ('here', 'missing')]

    assert [job.value for job in jobs] == [True, False]


def test_exists_without_permission(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A refused exists() fails its job, and the error names the missing permission, as for the connection."""

    def refuse(operation: str, key: str, number: int | None) -> None:
        raise s3po.AccessDenied('refused', status=403, code='AccessDenied')

    memory.fault = refuse
    with memory_conn.batch(on_error='collect') as batch:
        job = batch.exists(BUCKET, 'key')

    assert isinstance(job.exception, s3po.AccessDenied)
    assert 's3:ListBucket' in str(job.exception)


def test_list(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """The value of a list() job is the list of what Connection.list() yields, from all pages."""
    fill(memory_conn, 'a/1', 'a/2', 'a/3', 'b/1')
    with memory_conn.batch() as batch:
        pages = batch.list(BUCKET, 'a/', page_size=1)
        level = batch.list(BUCKET, delimiter='/')
        all_keys = batch.list(BUCKET, None, callback=lambda entries: [entry.key for entry in entries])

    assert pages.value == list(memory_conn.list(BUCKET, 'a/'))
    assert [type(entry) for entry in pages.value] == [ListEntry] * 3
    assert level.value == [Prefix(prefix='a/'), Prefix(prefix='b/')]
    assert all_keys.value == ['a/1', 'a/2', 'a/3', 'b/1']


def test_delete_many_keys(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A delete_many() job sends 1,000 keys per request, of any iterable."""
    fill(memory_conn, 'kept', *(f'key/{number}' for number in range(2500)))
    with memory_conn.batch() as batch:
        job = batch.delete_many(BUCKET, memory_conn.list(BUCKET, 'key/'))

    assert job.value == DeleteReport(deleted=2500)
    assert memory.count('DeleteObjects') == 3
    assert [entry.key for entry in memory_conn.list(BUCKET)] == ['kept']


def test_keys_that_were_not_deleted(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """Keys that the store refuses are in the report, as for the connection; the job has succeeded."""
    fill(memory_conn, 'a')
    memory.fault = throttled('DeleteObjects')
    with memory_conn.batch() as batch:
        job = batch.delete_many(BUCKET, ['a'], retries=0, callback=lambda report: [failure.key for failure in report])

    assert job.value == ['a']


def test_buckets() -> None:
    """Buckets are created and deleted by jobs; one that is not empty fails its job."""
    conn = s3po.Connection()
    with conn.mock():
        with conn.batch() as batch:
            created = [batch.create_bucket(f'bucket-{number}') for number in range(3)]
        conn.upload('bucket-0', 'key', b'')
        with conn.batch(on_error='collect') as batch:
            deleted = [batch.delete_bucket(f'bucket-{number}') for number in range(3)]
        left = conn.list_buckets()

    assert [job.value for job in created] == [None] * 3
    assert left == ['bucket-0']
    assert isinstance(deleted[0].exception, InvalidRequest)
    assert [str(failed.ref) for failed in batch.failed] == ['s3://bucket-0']


def test_retries_are_counted(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """The report of the batch counts the retried requests of listings and deletions."""
    failing = {'ListObjectsV2', 'DeleteObjects', 'HeadObject'}

    def fault(operation: str, key: str, number: int | None) -> None:
        if operation in failing:
            failing.remove(operation)
            raise Throttled('slow down', status=503, code='SlowDown')

    fill(memory_conn, 'key')
    memory.fault = fault
    with memory_conn.batch() as batch:
        batch.exists(BUCKET, 'key')
        batch.list(BUCKET)
        batch.delete_many(BUCKET, ['key'])

    assert batch.report().retries == 3


def test_time_limit(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """The job_timeout_s of the batch limits these jobs too, and a call's own timeout_s wins."""
    memory.fault = lambda *_: gevent.event.Event().wait()
    with memory_conn.batch(on_error='collect', job_timeout_s=0.001) as batch:
        jobs = [batch.list(BUCKET, 'a/'), batch.delete_many(BUCKET, ['a'], timeout_s=0.002)]

    assert [type(job.exception) for job in jobs] == [DeadlineExceeded] * 2
    assert [str(job.exception) for job in jobs] == [
        'list s3://bucket/a/: not done within its timeout_s of 0.001 s',
        'delete_many s3://bucket: not done within its timeout_s of 0.002 s',
    ]


@pytest.mark.parametrize(
    ('name', 'arguments', 'message'),
    [
        ('list', ('a',), "bucket 'a' is not a valid bucket name"),
        ('list', (BUCKET, 5), 'prefix must be a str, not int'),
        ('delete_many', (BUCKET, 'key'), 'keys must be an iterable of keys'),
        ('delete_many', (BUCKET, [ObjectRef(bucket='other', key='key')]), 'is not in bucket bucket'),
        ('create_bucket', ('',), "bucket '' is not a valid bucket name"),
    ],
)
def test_mistakes(
    memory_conn: s3po.Connection, tmp_path: pathlib.Path, name: str, arguments: tuple[Any, ...], message: str
) -> None:
    """A mistake in one call fails only its job, which can be saved."""
    with memory_conn.batch(on_error='collect') as batch:
        job = getattr(batch, name)(*arguments)
    batch.failed.save(tmp_path / 'failed')
    (again,) = FailedJobs.load(tmp_path / 'failed')

    assert isinstance(job.exception, ConfigurationError)
    assert message in str(job.exception)
    assert str(again.error) == str(job.exception)


def test_failed_listing_is_repeated(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """A failed list() job keeps its prefix and options in a file, and retry_failed() carries it out."""
    fill(memory_conn, 'a/1', 'a/2', 'b/1')
    memory.fault = throttled('ListObjectsV2')
    with memory_conn.batch(on_error='collect') as batch:
        batch.list(BUCKET, 'a/', start_after='a/1', retries=0)
    batch.failed.save(tmp_path / 'failed')
    memory.fault = None

    (failed,) = FailedJobs.load(tmp_path / 'failed')
    again = memory_conn.retry_failed(tmp_path / 'failed', callback=lambda entries, ref: (ref.key, [str(e) for e in entries]))

    assert failed.ref == BucketRef(bucket=BUCKET, key='a/')
    assert str(failed).startswith('list s3://bucket/a/: TransferError: ')
    assert again.results() == [('a/', ['a/2'])]


def test_failed_deletion_is_repeated(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """A failed delete_many() job keeps its keys in a file: texts, entries of listings and versions."""

    def refuse(operation: str, key: str, number: int | None) -> None:
        if operation == 'DeleteObjects':
            raise NoSuchBucket('no such bucket', status=404, code='NoSuchBucket')

    fill(memory_conn, 'a', 'b', 'c', 'd')
    entry = next(memory_conn.list(BUCKET, 'b'))
    memory.fault = refuse
    with memory_conn.batch(on_error='collect') as batch:
        batch.delete_many(BUCKET, ['a', entry, ObjectRef(bucket=BUCKET, key='c', version_id='1')])
    batch.failed.save(tmp_path / 'failed')
    memory.fault = None

    (failed,) = FailedJobs.load(tmp_path / 'failed')
    again = memory_conn.retry_failed(tmp_path / 'failed')

    assert failed.options == {'keys': ('a', 'b', ObjectRef(bucket=BUCKET, key='c', version_id='1'))}
    assert again.results() == [DeleteReport(deleted=3)]
    assert [found.key for found in memory_conn.list(BUCKET)] == ['d']


def test_keys_that_can_be_read_once(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """A failed delete_many() of an iterator is not repeated: its keys have been read."""
    memory.fault = throttled('ListObjectsV2')
    with memory_conn.batch(on_error='collect') as batch:
        batch.delete_many(BUCKET, memory_conn.list(BUCKET, retries=0))
    batch.failed.save(tmp_path / 'failed')

    again = memory_conn.retry_failed(batch.failed, on_error='collect')
    from_file = memory_conn.retry_failed(tmp_path / 'failed', on_error='collect')

    assert [type(job.error) for job in (*again.failed, *from_file.failed)] == [JobError, JobError]
    assert 'its keys can be read only once' in str(again.failed[0].error)
    assert 'its keys were in memory' in str(from_file.failed[0].error)


@pytest.mark.parametrize('keys', [5, [5], [{'bucket': 'bucket'}], [{'bucket': 'bucket', 'key': '', 'version_id': None}]])
def test_keys_in_a_broken_file(keys: Any) -> None:
    """Keys in a file that are no keys are an error of the file, or of the job."""
    text = {'operation': 'delete_many', 'bucket': BUCKET, 'key': '', 'version_id': None, 'options': {'keys': keys}, 'lost': []}
    if keys == [5]:
        call = Call.from_json(json.loads(json.dumps(text)))
        with pytest.raises(ConfigurationError, match='key must be a str'):
            s3po.Connection().perform(call)
    else:
        with pytest.raises(JobError, match='not a valid call'):
            Call.from_json(json.loads(json.dumps(text)))
