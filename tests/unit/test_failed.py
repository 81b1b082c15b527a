"""Failed jobs can be saved in a file and retried; a job whose data was in memory cannot be retried."""

from __future__ import annotations

import codecs
import errno
import functools
import io
import json
import os
import pathlib
import pickle
from typing import Any

import gevent
import pytest

import s3po
from s3po import errors
from s3po.batch import FailedJob, FailedJobs
from s3po.config import MIB
from s3po.errors import ConfigurationError, JobError, LocalError, NetworkError, NotFound, S3poError, UploadError
from s3po.model import ObjectRef
from tests.support.memory import MemoryTransport

BUCKET = 'bucket'


def failed(operation: str = 'upload_file', **options: Any) -> FailedJob:
    error = UploadError('reset (gave up after 4 attempts)', bucket=BUCKET, key='key', attempts=4, part_number=2)
    error.__cause__ = NetworkError('reset', attempts=1)
    return FailedJob(operation, ObjectRef(bucket=BUCKET, key='key'), options, error)


def round_trip(job: FailedJob, path: pathlib.Path) -> FailedJob:
    FailedJobs([job]).save(path)
    (found,) = FailedJobs.load(path)
    return found


def test_round_trip(tmp_path: pathlib.Path) -> None:
    """The call, the error with its fields, and the cause are restored."""
    job = failed(path=tmp_path / 'source', metadata={'a': '1'}, byte_range=(1, None), retries=None)

    found = round_trip(job, tmp_path / 'failed.jsonl')

    assert (found.operation, found.bucket, found.key) == ('upload_file', BUCKET, 'key')
    assert found.options == {'path': tmp_path / 'source', 'metadata': {'a': '1'}, 'byte_range': (1, None)}
    assert isinstance(found.error, UploadError)
    assert (found.error.attempts, found.error.part_number, str(found.error)) == (4, 2, str(job.error))
    assert isinstance(found.cause, NetworkError)
    assert str(found) == 'upload_file s3://bucket/key: UploadError: reset (gave up after 4 attempts)'
    assert not (tmp_path / 'failed.jsonl.part').exists()
    found.check_repeatable()


def test_one_line_each(tmp_path: pathlib.Path) -> None:
    """The file has one JSON object per line, for other programs."""
    FailedJobs([failed(), failed('delete')]).save(tmp_path / 'f')

    lines = [json.loads(line) for line in (tmp_path / 'f').read_text().splitlines()]
    assert [line['op'] for line in lines] == ['upload_file', 'delete']
    assert lines[0]['error']['class'] == 'UploadError'


@pytest.mark.parametrize(
    ('operation', 'options'),
    [('upload', {'source': b'data'}), ('upload', {'source': 'text'}), ('download', {'target': io.BytesIO()})],
)
def test_data_in_memory_are_not_kept(tmp_path: pathlib.Path, operation: str, options: dict[str, Any]) -> None:
    """Data in memory is not saved, and a retry of its job is an error."""
    found = round_trip(failed(operation, **options), tmp_path / 'f')

    with pytest.raises(JobError, match=f'its {next(iter(options))} was in memory or an open file'):
        found.check_repeatable()


def test_target_that_is_a_path(tmp_path: pathlib.Path) -> None:
    """A target given as str is restored as a path."""
    found = round_trip(failed('download', target=str(tmp_path / 'x')), tmp_path / 'f')

    assert found.options == {'target': tmp_path / 'x'}


def test_foreign_error(tmp_path: pathlib.Path) -> None:
    """An exception that is not s3po's is restored as an S3poError with its text."""
    job = FailedJob('delete', ObjectRef(bucket=BUCKET, key='key'), {}, ZeroDivisionError('by zero'))

    found = round_trip(job, tmp_path / 'f')

    assert type(found.error) is S3poError
    assert str(found.error) == 'by zero'


@pytest.mark.parametrize('line', ['nonsense', '[]', '{}', '{"operation": "upload", "bucket": "b"}'])
def test_something_else_in_the_file(tmp_path: pathlib.Path, line: str) -> None:
    """The message for an invalid line contains the file and the line number."""
    (tmp_path / 'f').write_text(json.dumps(failed().to_json()) + '\n' + line + '\n')

    with pytest.raises(JobError, match=r'f, line 2: '):
        FailedJobs.load(tmp_path / 'f')


def test_broken_line(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """retry_failed() refuses a file with a broken line, and names it; load() can read the others."""
    lines = [json.dumps(failed('delete').to_json()), '{"op": "del', json.dumps(failed('head').to_json())]
    (tmp_path / 'f').write_text('\n'.join(lines))

    with pytest.raises(JobError, match=r"f, line 2: .*on_error='collect'\) reads the other lines"):
        memory_conn.retry_failed(tmp_path / 'f')
    found = FailedJobs.load(tmp_path / 'f', on_error='collect')

    assert memory.calls == []
    assert [job.operation for job in found] == ['delete', 'head']
    (broken,) = found.broken
    assert 'f, line 2: ' in str(broken)
    with pytest.raises(ConfigurationError, match='on_error must be'):
        FailedJobs.load(tmp_path / 'f', on_error='ignore')  # type: ignore[arg-type]


def test_other_store(memory_conn: s3po.Connection, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """The record names the store, without user name and password; a repetition at another store is logged."""
    job = FailedJob('delete', ObjectRef(bucket=BUCKET, key='key'), {}, NotFound('x'), endpoint='https://me:secret@s3.test/')

    found = round_trip(job, tmp_path / 'f')
    memory_conn.retry_failed(tmp_path / 'f')

    assert found.endpoint == 'https://s3.test'
    assert 'delete s3://bucket/key failed at https://s3.test, and is repeated at AWS' in caplog.text


def test_endpoint_of_a_batch(tmp_path: pathlib.Path) -> None:
    """Failed jobs have the endpoint of their connection."""
    transport = MemoryTransport()
    conn = s3po.Connection(endpoint_url='http://127.0.0.1:9', transport=transport, retries=0)
    with conn.batch(1, on_error='collect') as batch:
        batch.head(BUCKET, 'missing')
    batch.failed.save(tmp_path / 'f')

    assert json.loads((tmp_path / 'f').read_text())['endpoint'] == 'http://127.0.0.1:9'


def test_pickles() -> None:
    """A BatchError pickles with all failed jobs."""
    error = s3po.BatchError('1 of 1 jobs failed', FailedJobs([failed('download', target=io.BytesIO())]))

    copy = pickle.loads(pickle.dumps(error))

    assert copy.failed[0].key == 'key'
    assert isinstance(copy.failed[0].error, UploadError)


def test_sequence() -> None:
    """FailedJobs is a sequence, and its slices are FailedJobs."""
    jobs = FailedJobs([failed('delete'), failed('head')])

    assert [job.operation for job in jobs] == ['delete', 'head']
    assert jobs[1].operation == 'head'
    assert [job.operation for job in jobs[:1]] == ['delete']
    assert isinstance(jobs[:1], FailedJobs)
    assert repr(jobs).startswith('FailedJobs([<FailedJob delete')


@pytest.mark.parametrize('kind', ['jobs', 'error', 'path', 'text', 'list'])
def test_retry_failed(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, kind: str) -> None:
    """Failed jobs can be retried from any form in which they are kept."""
    (tmp_path / 'source').write_bytes(b'data')

    def refuse(operation: str, key: str, part: int | None) -> None:
        raise NotFound('not now')

    memory.fault = refuse
    with pytest.raises(s3po.BatchError) as caught, memory_conn.batch(5) as batch:
        batch.upload_file(BUCKET, 'key', tmp_path / 'source', metadata={'a': '1'})
    batch.failed.save(tmp_path / 'failed')
    forms: dict[str, Any] = {
        'jobs': batch.failed,
        'error': caught.value,
        'path': tmp_path / 'failed',
        'text': str(tmp_path / 'failed'),
        'list': list(batch.failed),
    }
    memory.fault = None
    told: list[Any] = []

    again = memory_conn.retry_failed(forms[kind], callback=told.append)

    assert again.success()
    assert told[0].size_bytes == 4
    assert memory.store.get(BUCKET, 'key').headers['x-amz-meta-a'] == '1'


def test_retry_failed_fails_again(memory_conn: s3po.Connection) -> None:
    """If a retry fails, it raises as any batch does, or collects."""
    jobs = FailedJobs(
        [FailedJob('head', ObjectRef(bucket=BUCKET, key='missing'), {'extra': None, 'retries': None}, NotFound('x'))]
    )

    with pytest.raises(s3po.BatchError):
        memory_conn.retry_failed(jobs)
    assert len(memory_conn.retry_failed(jobs, on_error='collect').failed) == 1


def test_odd_names(tmp_path: pathlib.Path) -> None:
    """Keys and paths with line ends, control characters and bytes that are not UTF-8 keep their lines apart; so does a pipe.

    The file may have a name of bytes.
    """
    keys = ['a\nb', 'c\r', '\u2028\u0085', '\x00']
    path = os.fsdecode(b'/tmp/\xff\n')
    jobs = [FailedJob('upload_file', ObjectRef(bucket=BUCKET, key=key), {'path': path}, NotFound('\udcff\n')) for key in keys]
    name = os.fsencode(tmp_path) + b'/\xff\n'
    FailedJobs(jobs).save(os.fsdecode(name))
    FailedJobs(jobs).save(name)  # type: ignore[arg-type]
    reading, writing = os.pipe()
    with open(name, 'rb') as file, open(writing, 'wb') as pipe:
        pipe.write(file.read())

    for found in (FailedJobs.load(os.fsdecode(name)), FailedJobs.load(f'/dev/fd/{reading}')):
        assert [(job.key, os.fspath(job.options['path']), str(job.error)) for job in found] == [
            (key, path, '\udcff\n') for key in keys
        ]
    assert os.listdir(tmp_path) == [os.fsdecode(b'\xff\n')]
    os.close(reading)


def test_empty_file(tmp_path: pathlib.Path) -> None:
    """An empty file has no jobs."""
    (tmp_path / 'empty').touch()

    assert list(FailedJobs.load(tmp_path / 'empty')) == []


def test_retry_failed_has_the_options_of_a_batch(memory_conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """retry_failed() makes a batch with these options; unknown ones, and those out of their range, are refused at once."""
    events: list[Any] = []
    again = memory_conn.retry_failed(
        [failed('delete')], 2, receipts=True, max_memory=64 * MIB, keep_results=False, progress=events.append
    )
    again.report().save(tmp_path / 'receipt')

    assert again.report().succeeded == 1
    assert len((tmp_path / 'receipt').read_text().splitlines()) == 1
    assert events[-1].jobs_done == 1
    with pytest.raises(ConfigurationError, match='processes must be a whole number'):
        memory_conn.retry_failed([failed('delete')], processes=0)
    with pytest.raises(TypeError, match=r"retry_failed\(\) got an unexpected keyword argument 'jurnal'"):
        memory_conn.retry_failed([failed('delete')], jurnal='job')  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"batch\(\) got an unexpected keyword argument 'jurnal'"):
        memory_conn.batch(jurnal='job')  # type: ignore[call-arg]


def test_retry_failed_with_data_that_are_gone(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A job whose data is gone fails again, and can be saved again; the others are done."""
    gone = FailedJob.from_json(failed('upload', source=b'x').to_json())
    told: list[Any] = []

    again = memory_conn.retry_failed(
        FailedJobs([failed('delete'), gone, failed('delete')]), on_error='collect', errback=told.append
    )

    assert [call[0] for call in memory.calls] == ['DeleteObject', 'DeleteObject']
    (job,) = again.failed
    assert isinstance(job.error, JobError)
    assert told == [job.error]
    assert FailedJob.from_json(job.to_json()).refusal() is not None
    with pytest.raises(s3po.BatchError, match='its source was in memory') as caught:
        memory_conn.retry_failed([gone])
    assert isinstance(caught.value.__cause__, JobError)


def test_retry_failed_with_an_unknown_option(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A job with an unknown option, as a newer version might save, fails; the others are done."""
    jobs = [failed('delete', sauce=1), failed('remove'), failed('delete')]

    again = memory_conn.retry_failed(jobs, on_error='collect')

    assert [call[0] for call in memory.calls] == ['DeleteObject']
    assert [str(job.error) for job in again.failed] == ["delete has no option 'sauce'", "there is no operation 'remove'"]


@pytest.mark.parametrize('callback', [lambda body, ref: (ref.key, body), functools.partial(lambda body, ref: (ref.key, body))])
def test_retry_failed_passes_the_object(memory_conn: s3po.Connection, callback: Any) -> None:
    """Callbacks and errbacks that need two arguments get the ObjectRef as well."""
    told: list[Any] = []
    memory_conn.upload(BUCKET, 'one', b'1')
    jobs = [FailedJob('download', ObjectRef(bucket=BUCKET, key=key), {}, NotFound('not yet')) for key in ('one', 'missing')]

    again = memory_conn.retry_failed(
        jobs, on_error='collect', callback=callback, errback=lambda error, ref: told.append((type(error), ref.key))
    )

    assert again.results()[0] == ('one', b'1')
    assert told == [(NotFound, 'missing')]


@pytest.mark.parametrize('callback', [len, lambda body, more=None: len(body)])
def test_callbacks_of_one_argument(memory_conn: s3po.Connection, callback: Any) -> None:
    """Callbacks of one argument get only the result."""
    memory_conn.upload(BUCKET, 'one', b'123')
    job = FailedJob('download', ObjectRef(bucket=BUCKET, key='one'), {}, NotFound('not yet'))

    assert memory_conn.retry_failed([job], callback=callback).results() == [3]


def all_errors() -> list[S3poError]:
    """One error of each class."""
    found = []
    for name in errors.__all__:
        kind = getattr(errors, name)
        error = kind(f'the message of {name}')
        for field, value in (('status', 404), ('code', 'Code'), ('attempts', 3), ('part_number', 2), ('retry_after_s', 1.5)):
            if hasattr(error, field):
                setattr(error, field, value)
        found.append(error)
    return found


@pytest.mark.parametrize('error', all_errors(), ids=lambda error: type(error).__name__)
def test_every_error(tmp_path: pathlib.Path, error: S3poError) -> None:
    """The class, text and fields of every error are restored."""
    found = round_trip(FailedJob('delete', ObjectRef(bucket=BUCKET, key='key'), {}, error), tmp_path / 'f').error

    assert type(found) is type(error)
    assert str(found) == str(error)
    for name, value in vars(error).items():
        assert getattr(found, name) == value


def test_local_error(tmp_path: pathlib.Path) -> None:
    """A LocalError is restored with its errno and path."""
    error = LocalError('cannot write', errno=errno.ENOSPC, filename='/a/b')

    found = round_trip(FailedJob('download', ObjectRef(bucket=BUCKET, key='key'), {}, error), tmp_path / 'f').error

    assert isinstance(found, LocalError)
    assert (found.errno, found.filename, str(found)) == (errno.ENOSPC, '/a/b', 'cannot write')


def test_private_class(tmp_path: pathlib.Path) -> None:
    """A private subclass is restored as its public base class."""

    class Vanished(NotFound):
        pass

    found = round_trip(
        FailedJob('delete', ObjectRef(bucket=BUCKET, key='key'), {}, Vanished('gone', status=404)), tmp_path / 'f'
    )

    assert type(found.error) is NotFound
    assert found.error.status == 404


def test_circle_of_causes(tmp_path: pathlib.Path) -> None:
    """A cycle of causes is cut."""
    error = S3poError('first')
    error.__cause__ = second = ValueError('second')
    second.__cause__ = error

    found = round_trip(FailedJob('delete', ObjectRef(bucket=BUCKET, key='key'), {}, error), tmp_path / 'f')

    assert str(found.cause) == 'second'


@pytest.mark.parametrize('key', ['caf\udce9', '', b'bytes', None])
def test_bad_names(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, key: Any) -> None:
    """A job with an invalid name can be saved, loaded and retried; it fails again."""
    with memory_conn.batch(2, on_error='collect') as batch:
        batch.delete(BUCKET, key)
    batch.failed.save(tmp_path / 'f')

    again = memory_conn.retry_failed(tmp_path / 'f', on_error='collect')

    assert len(again.failed) == 1
    assert isinstance(again.failed[0].error, ConfigurationError | JobError)
    assert memory.calls == []


@pytest.mark.parametrize('given', [7, [1, 2], None])
def test_retry_of_something_else(memory_conn: s3po.Connection, given: Any) -> None:
    """The message names the argument."""
    with pytest.raises(ConfigurationError, match='failed must be'):
        memory_conn.retry_failed(given)


def test_text_that_cannot_be_encoded(memory_conn: s3po.Connection) -> None:
    """A text in memory is set back after a failure of any kind: repeated, the job fails again."""
    with memory_conn.batch(1, on_error='collect') as batch:
        batch.upload(BUCKET, 'key', io.StringIO('\ud800'))
    again = memory_conn.retry_failed(batch.failed, on_error='collect')

    assert isinstance(again.failed[0].error, ConfigurationError)


@pytest.mark.parametrize('kind', ['generator', 'pipe', 'text reader', 'seekable', 'text', 'list'])
def test_source_that_was_read(memory_conn: s3po.Connection, memory: MemoryTransport, kind: str) -> None:
    """A stream that was read cannot be retried, since only its rest is left; a seekable source can."""
    pieces = [b'a' * MIB for _ in range(12)]

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    sources: dict[str, Any] = {
        'generator': iter(pieces),
        'pipe': Pipe(b''.join(pieces)),
        'text reader': codecs.getreader('utf-8')(io.BytesIO(b''.join(pieces))),
        'seekable': io.BytesIO(b'before' + b''.join(pieces)),
        'text': io.StringIO('before' + b''.join(pieces).decode()),
        'list': pieces,
    }
    source = sources[kind]
    if kind in ('seekable', 'text'):
        source.seek(6)

    def refuse(operation: str, key: str, part: int | None) -> None:
        if operation == 'UploadPart' and part == 2:
            raise NotFound('not now')

    memory.fault = refuse
    with memory_conn.batch(1, on_error='collect') as batch:
        batch.upload(BUCKET, 'key', source)
    assert len(batch.failed) == 1
    memory.fault = None

    again = memory_conn.retry_failed(batch.failed, on_error='collect')

    if kind in ('seekable', 'text', 'list'):
        assert again.success()
        assert memory_conn.download(BUCKET, 'key') == b''.join(pieces)
    else:
        assert isinstance(again.failed[0].error, JobError)
        assert not memory_conn.exists(BUCKET, 'key')


@pytest.mark.parametrize('is_seekable', [False, True])
def test_target_that_was_written(memory_conn: s3po.Connection, memory: MemoryTransport, *, is_seekable: bool) -> None:
    """A stream that was written to cannot be retried: the object would follow its own beginning. A seekable file can."""
    data = b'a' * 20 * MIB

    class Target(io.BytesIO):
        def seekable(self) -> bool:
            return is_seekable

    target = Target()

    def refuse(operation: str, key: str, part: int | None) -> None:
        if operation == 'GetObject' and memory.count('GetObject') >= 3:
            while not target.getvalue():
                gevent.sleep(0.01)
            raise NotFound('not now')

    memory_conn.upload(BUCKET, 'key', data)
    memory.fault = refuse
    with memory_conn.batch(1, on_error='collect') as batch:
        batch.download(BUCKET, 'key', target)
    assert len(batch.failed) == 1
    memory.fault = None

    again = memory_conn.retry_failed(batch.failed, on_error='collect')

    if is_seekable:
        assert again.success()
        assert target.getvalue() == data
    else:
        assert isinstance(again.failed[0].error, JobError)
