"""A batch with worker processes: the same results and errors as without, also when worker processes are killed."""

from __future__ import annotations

import datetime
import io
import logging
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import s3po
from s3po.errors import ConfigurationError, DeadlineExceeded, NotFound, WorkerLost
from s3po.observer import Activity, Progress
from tests.conftest import BUCKET
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.memory import MemoryTransport
from tests.support.servers import Store

LARGE = os.urandom(1 << 20) * 3


@pytest.fixture
def conn(own_store: Store, connect: Callable[..., s3po.Connection]) -> s3po.Connection:
    """A connection to a store of its own."""
    own_store.create_bucket(BUCKET)
    return connect(own_store.endpoint_url)


def pids_of(batch: s3po.Batch) -> list[int]:
    """The worker processes that run."""
    assert batch._processes is not None
    return [worker.pid for worker in batch._processes._workers]


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def have_ended(pids: list[int]) -> bool:
    """Wait until the processes do not exist any more, for some seconds."""
    until = time.monotonic() + 20
    while any(map(exists, pids)) and time.monotonic() < until:
        gevent.sleep(0.02)
    return not any(map(exists, pids))


def carried_out(conn: s3po.Connection, directory: pathlib.Path, prefix: str, **options: Any) -> tuple[list[Any], s3po.Batch]:
    """The results of one job of each kind."""
    directory.mkdir()
    (directory / 'file').write_bytes(b'file')
    os.symlink(directory / 'file', directory / 'link')
    names = [f'{prefix}{name}' for name in ('bytes', 'text', 'path', 'file', 'stream', 'large', 'array')]
    uploaded = [b'bytes', 'tëxt', directory / 'file', io.BytesIO(b'open'), iter([b'a', b'b']), LARGE, bytearray(b'array')]
    found: list[Any] = []
    with conn.batch(4, on_error='collect', **options) as batch:
        for name, source in zip(names, uploaded, strict=True):
            batch.upload(BUCKET, name, source, metadata={'name': 'value'})
        batch.upload_file(BUCKET, f'{prefix}named', str(directory / 'link'), content_type='text/x-own')
        batch.upload(BUCKET, f'{prefix}none', directory / 'missing')
        batch.wait()
        for name in names:
            batch.download(BUCKET, name)
        target = io.BytesIO()
        batch.download(BUCKET, names[0], target)
        batch.download(BUCKET, names[1], encoding='utf-8')
        batch.download(BUCKET, names[0], byte_range=(1, 3), callback=lambda body: (body, os.getpid()))
        batch.download_file(BUCKET, names[5], directory / 'large')
        batch.download(BUCKET, f'{prefix}missing', errback=lambda error: found.append((type(error), os.getpid())))
        batch.head(BUCKET, f'{prefix}named')
        batch.exists(BUCKET, f'{prefix}missing')
        batch.list(BUCKET, prefix)
        batch.wait()
        batch.copy(BUCKET, names[0], BUCKET, f'{prefix}copy')
        batch.wait()
        batch.move(BUCKET, f'{prefix}copy', BUCKET, f'{prefix}moved')
        batch.delete(BUCKET, names[1])
        batch.delete(BUCKET, f'{prefix}missing', missing_ok=False)
        batch.delete_many(BUCKET, names[2:4])
        batch.delete_many(BUCKET, iter(names[4:5]))
        batch.delete_many('no bucket', names)
        batch.create_bucket(f'{prefix[:-1]}-new')
        batch.wait()
        batch.delete_bucket(f'{prefix[:-1]}-new')
    assert target.getvalue() == b'bytes'
    assert (directory / 'large').read_bytes() == LARGE
    assert found == [(NotFound, os.getpid())]
    return batch.results(), batch


def comparable(value: Any, prefix: str) -> str:
    """The text of a result without what differs between two runs."""
    if isinstance(value, list):
        return ', '.join(comparable(each, prefix) for each in value)
    if isinstance(value, s3po.TransferResult):
        return f'{value.key} {value.size_bytes} {value.etag} {value.checksum} {value.parts}'.replace(prefix, '')
    if isinstance(value, s3po.ListEntry):
        return f'{value.key} {value.size_bytes} {value.etag}'.replace(prefix, '')
    if isinstance(value, BaseException):
        return f'{type(value).__name__}: {value} {type(value.__cause__)}'.split('(request')[0].replace(prefix, '')
    return repr(value).replace(prefix, '')


def test_same_results(conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """Each kind of call has the same result, or the same error, as without worker processes; callbacks run in the parent."""
    alone, plain = carried_out(conn, tmp_path / 'one', 'one/')
    spread, batch = carried_out(conn, tmp_path / 'two', 'two/', processes=2)

    assert [comparable(each, 'two/') for each in spread] == [
        comparable(each, 'one/').replace('/one/', '/two/').replace('one-new', 'two-new') for each in alone
    ]
    ours, theirs = batch.report(), plain.report()
    assert (ours.submitted, ours.succeeded, ours.failed) == (theirs.submitted, theirs.succeeded, theirs.failed)
    assert ours.size_bytes == theirs.size_bytes


@pytest.mark.slow
def test_work_is_shared(conn: s3po.Connection, own_store: Store) -> None:
    """All worker processes get jobs; they end with the batch."""
    with conn.batch(8, processes=2) as batch:
        for number in range(40):
            batch.upload(BUCKET, f'key{number}', b'data')
        batch.wait()
        pids = pids_of(batch)

    assert len(set(pids)) == 2
    assert len({seen['connection'] for seen in own_store.log('PutObject')}) > 1
    assert have_ended(pids)


@pytest.mark.slow
def test_no_more_processes_than_jobs_at_once(conn: s3po.Connection) -> None:
    """A batch of size 1 has one worker process."""
    with conn.batch(1, processes=8) as batch:
        batch.upload(BUCKET, 'key', b'data')
        batch.wait()

        assert len(pids_of(batch)) == 1


def test_killed_worker(conn: s3po.Connection, own_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The jobs of a worker process that is killed run again in another one; it is replaced."""
    own_store.script({'operation': 'PutObject', 'times': 4, 'action': {'delay_s': 3}})
    with conn.batch(4, processes=2) as batch:
        for number in range(8):
            batch.upload(BUCKET, f'key{number}', b'data')
        while len(own_store.log('PutObject')) < 4:
            gevent.sleep(0.05)
        killed = pids_of(batch)[0]
        os.kill(killed, signal.SIGKILL)
        batch.wait()
        pids = pids_of(batch)

    assert batch.report().succeeded == 8
    assert len(pids) == 2
    assert killed not in pids
    assert f'worker process {killed} was killed by SIGKILL' in caplog.text


@pytest.mark.slow
def test_two_lost_workers(conn: s3po.Connection, own_store: Store) -> None:
    """A job whose worker process is killed twice fails with WorkerLost, which names both."""
    own_store.script({'operation': 'GetObject', 'action': {'delay_s': 60}})
    killed = []
    with conn.batch(1, processes=2, on_error='collect') as batch:
        job = batch.download(BUCKET, 'key')
        for count in (1, 2):
            while len(own_store.log('GetObject')) < count:
                gevent.sleep(0.05)
            killed += pids_of(batch)
            os.kill(killed[-1], signal.SIGKILL)
        batch.wait()

    assert isinstance(job.exception, WorkerLost)
    assert job.exception.pids == tuple(killed)
    assert all(str(pid) in str(job.exception) for pid in killed)


@pytest.mark.slow
@pytest.mark.parametrize('script', ['echo some words >&2; exit 3', 'kill -9 $$'])
def test_worker_that_cannot_start(
    conn: s3po.Connection, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """The jobs fail with an error that has the standard error of the process. It is not started again and again."""
    program = tmp_path / 'python'
    program.write_text(f'#!/bin/sh\necho x >> {tmp_path}/starts\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(program))
    with conn.batch(4, processes=2, on_error='collect') as batch:
        jobs = [batch.upload(BUCKET, f'key{number}', b'data') for number in range(20)]

    assert {type(job.exception) for job in jobs} == {WorkerLost}
    assert 'could not start: worker process' in str(jobs[-1].exception)
    assert ('ended with status 3: some words' if 'echo' in script else 'killed by SIGKILL') in str(jobs[-1].exception)
    assert (tmp_path / 'starts').read_text().count('x') == 2


@pytest.mark.slow
def test_no_program(conn: s3po.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing Python program fails the jobs."""
    monkeypatch.setattr(sys, 'executable', '/missing/python')
    with conn.batch(4, processes=2, on_error='collect') as batch:
        job = batch.upload(BUCKET, 'key', b'data')

    assert isinstance(job.exception, WorkerLost)
    assert 'cannot be started' in str(job.exception)


@pytest.mark.parametrize('processes', [0, -1, 'x', 10_000, True, 1.5, None])
def test_bad_number(conn: s3po.Connection, processes: Any) -> None:
    """A number of processes that makes no sense is refused."""
    with pytest.raises(ConfigurationError, match='processes must be a whole number from 1 to 256'):
        conn.batch(50, processes=processes)


def test_connection_that_cannot_be_sent(memory: MemoryTransport) -> None:
    """A connection with an object of this process is refused; the error names the argument."""
    import boto3

    session = boto3.session.Session('key', SECRET_ACCESS_KEY, region_name='us-east-1')
    for name, value in (('transport', memory), ('session', session), ('client', session.client('s3'))):
        with pytest.raises(ConfigurationError, match=f'{name} belongs to this process'):
            s3po.Connection(**{name: value}).batch(processes=2)  # type: ignore[arg-type]


def test_mock() -> None:
    """In a mock, all runs in this process, also with a connection that cannot be sent."""
    conn = s3po.Connection()
    with conn.mock(buckets=['bucket']):
        with conn.batch(4, processes=2) as batch:
            batch.upload('bucket', 'key', b'data')
            batch.wait()
            pids = pids_of(batch)
        body = conn.download('bucket', 'key')

    assert body == b'data'
    assert pids == []


@pytest.mark.slow
def test_deadlines(conn: s3po.Connection, own_store: Store) -> None:
    """A timeout_s ends the job in the worker process; its error is the same."""
    own_store.script({'operation': 'GetObject', 'action': {'delay_s': 60}})
    with conn.batch(4, processes=2, on_error='collect') as batch:
        batch.exists(BUCKET, 'warm')
        batch.wait()
        job = batch.download(BUCKET, 'key', timeout_s=0.2)
        batch.wait()

    assert isinstance(job.exception, DeadlineExceeded)
    assert str(job.exception) == 'download s3://bucket/key: not done within its timeout_s of 0.2 s'


@pytest.mark.slow
def test_log_records(conn: s3po.Connection, own_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """What s3po logs in a worker process is logged in this one, by loggers of the same names."""
    own_store.script({'operation': 'GetObject', 'times': 1, 'action': {'status': 500}})
    conn.upload(BUCKET, 'key', b'data')
    with caplog.at_level(logging.INFO, 's3po'), conn.batch(4, processes=2) as batch:
        batch.download(BUCKET, 'key')

    (record,) = (record for record in caplog.records if record.name == 's3po.retry')
    assert record.process != os.getpid()
    assert 'GetObject s3://bucket/key' in record.getMessage()


@pytest.mark.slow
def test_limits_are_shared(own_store: Store, connect: Callable[..., s3po.Connection]) -> None:
    """The limit of requests holds for all processes together, and follows the jobs; the report counts what they have sent."""
    own_store.create_bucket(BUCKET)
    own_store.script({'operation': 'PutObject', 'times': None, 'action': {'delay_s': 0.05}})
    conn = connect(own_store.endpoint_url, config=s3po.TransferConfig(max_requests=4))
    with conn.batch(20, processes=2) as batch:
        for number in range(60):
            batch.upload(BUCKET, f'key{number}', b'data')
        batch.wait()
        width = batch.report().width

    assert width == 4
    assert own_store.stats()['peak_open'] <= 4


@pytest.mark.slow
def test_throttled_requests_are_reported(conn: s3po.Connection, own_store: Store) -> None:
    """The report counts the refusals of the store in all processes."""
    own_store.script({'operation': 'PutObject', 'times': 3, 'action': {'status': 503, 'code': 'SlowDown'}})
    with conn.batch(4, processes=2) as batch:
        for number in range(10):
            batch.upload(BUCKET, f'key{number}', b'data')

    assert batch.report().throttled == 3


class Issued:
    """A function that returns keys, which are valid for a while."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.count = 0

    def __call__(self) -> dict[str, Any]:
        self.count += 1
        expires_at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.seconds)
        return {
            'access_key_id': f'key{self.count}',
            'secret_access_key': SECRET_ACCESS_KEY,
            'session_token': f'token{self.count}',
            'expires_at': expires_at,
        }


def used_keys(store: Store, operation: str) -> list[str]:
    """The ids of the keys that have signed the requests, in order, each once."""
    found = [seen['headers']['authorization'].partition('Credential=')[2].partition('/')[0] for seen in store.log(operation)]
    return list(dict.fromkeys(found))


@pytest.mark.slow
def test_keys_that_the_store_calls_expired(own_store: Store) -> None:
    """The parent calls the caller's function, which the worker processes do not have, and sends them the new keys."""
    own_store.create_bucket(BUCKET)
    own_store.script({'operation': 'PutObject', 'times': 1, 'action': {'status': 400, 'code': 'ExpiredToken'}})
    issued = Issued(36_000)
    conn = s3po.Connection(endpoint_url=own_store.endpoint_url, region='us-east-1', credentials=lambda: issued())  # noqa: PLW0108
    with conn, conn.batch(4, processes=2) as batch:
        for number in range(20):
            batch.upload(BUCKET, f'key{number}', b'data')

    assert issued.count == 2
    assert set(used_keys(own_store, 'PutObject')) == {'key1', 'key2'}


@pytest.mark.slow
def test_keys_that_are_about_to_expire(own_store: Store) -> None:
    """Keys are renewed in worker processes before they expire."""
    own_store.create_bucket(BUCKET)
    issued = Issued(100)
    conn = s3po.Connection(endpoint_url=own_store.endpoint_url, region='us-east-1', credentials=issued)
    with conn, conn.batch(4, processes=2) as batch:
        for number in range(12):
            batch.upload(BUCKET, f'key{number}', b'data')
            gevent.sleep(0.25)

    assert len(used_keys(own_store, 'PutObject')) > 1
    assert issued.count < 20


@pytest.mark.slow
def test_keys_that_cannot_be_renewed(own_store: Store) -> None:
    """The error of the caller's function is the error of the jobs, as without worker processes."""
    own_store.create_bucket(BUCKET)

    def fail() -> None:
        raise ValueError('no keys today')

    conn = s3po.Connection(endpoint_url=own_store.endpoint_url, region='us-east-1', credentials=fail)
    with conn, conn.batch(4, processes=2, on_error='collect') as batch:
        job = batch.upload(BUCKET, 'key', b'data')

    assert isinstance(job.exception, s3po.CredentialsError)
    assert 'no keys today' in str(job.exception)


@pytest.mark.slow
def test_keys_of_the_environment(own_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Keys of the environment and of a profile reach the worker processes by the parent."""
    own_store.create_bucket(BUCKET)
    (tmp_path / 'credentials').write_text(
        f'[mine]\naws_access_key_id = profile\naws_secret_access_key = {SECRET_ACCESS_KEY}\nregion = eu-west-1\n'
    )
    monkeypatch.setenv('AWS_SHARED_CREDENTIALS_FILE', str(tmp_path / 'credentials'))
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'environment')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', SECRET_ACCESS_KEY)
    for arguments in ({'region': 'us-east-1'}, {'profile': 'mine'}, {'anonymous': True, 'region': 'us-east-1'}):
        conn = s3po.Connection(endpoint_url=own_store.endpoint_url, **arguments)  # type: ignore[arg-type]
        with conn, conn.batch(2, processes=2) as batch:
            batch.upload(BUCKET, 'key', b'data')

    headers = [seen['headers'].get('authorization', '') for seen in own_store.log('PutObject')]
    assert 'Credential=environment/' in headers[0]
    assert 'Credential=profile/' in headers[1]
    assert '/eu-west-1/' in headers[1]
    assert headers[2] == ''


@pytest.mark.slow
def test_no_secret_in_the_command_line_or_environment(conn: s3po.Connection) -> None:
    """Keys are sent over the socket only."""
    with conn.batch(2, processes=2) as batch:
        batch.upload(BUCKET, 'key', b'data')
        batch.wait()
        for pid in pids_of(batch):
            shown = pathlib.Path(f'/proc/{pid}/environ').read_bytes() + pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()

            assert SECRET_ACCESS_KEY.encode() not in shown


@pytest.mark.slow
def test_progress_and_receipts(conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """Progress counts the bytes that worker processes move; receipts describe what they have downloaded."""
    conn.upload(BUCKET, 'key', LARGE)
    events: list[Any] = []
    with conn.batch(4, processes=2, progress=events.append, receipts=True) as batch:
        for _ in range(4):
            batch.download(BUCKET, 'key')
    batch.report().save(tmp_path / 'receipts')
    report = conn.verify(tmp_path / 'receipts')

    assert events[-1].bytes_done == 4 * len(LARGE)
    assert events[-1].jobs_done == 4
    assert (report.checked, report.ok) == (1, 1)


@pytest.mark.slow
def test_observer(conn: s3po.Connection) -> None:
    """The observer of a connection gets the events of the requests of worker processes, before the end of the job."""
    events: list[tuple[str, str, str]] = []

    class Recorder(Progress):
        def began(self, activity: Activity) -> None:
            events.append(('began', activity.operation, activity.key))

        def ended(self, activity: Activity, error: BaseException | None) -> None:
            events.append(('ended', activity.operation, activity.key))

    conn.observer = Recorder(lambda _: None)
    with conn.batch(2, processes=2) as batch:
        for number in range(10):
            batch.upload(BUCKET, f'key{number}', b'data')

    of_one = [(event, operation) for event, operation, key in events if key == 'key7']
    assert of_one == [('began', 'upload'), ('began', 'PutObject'), ('ended', 'PutObject'), ('ended', 'upload')]
    assert len(events) == 40


@pytest.mark.slow
def test_stopped_workers(conn: s3po.Connection, own_store: Store) -> None:
    """cancel() and a timeout_s return in time also if a worker process does not respond. It is killed in the background."""
    own_store.script({'operation': 'GetObject', 'times': None, 'action': {'delay_s': 60}})
    with conn.batch(4, processes=2, on_error='collect') as batch:
        jobs = [batch.download(BUCKET, f'key{number}') for number in range(3)]
        late = batch.download(BUCKET, 'late', timeout_s=15)
        while len(own_store.log('GetObject')) < 4:
            gevent.sleep(0.05)
        pids = pids_of(batch)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded):
            late.get()
        began = time.monotonic()
        batch.cancel()
        seconds = time.monotonic() - began
    left_s = time.monotonic() - began

    assert [type(job.exception) for job in jobs] == [s3po.Cancelled] * 3
    # 0.2 s for the clean-up, and for the end of the processes; more on a busy machine.
    assert seconds < 1
    assert left_s < 3
    assert have_ended(pids)
