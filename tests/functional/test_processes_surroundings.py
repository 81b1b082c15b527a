"""A batch with worker processes in programs with odd names, paths, log handlers and Python programs."""

from __future__ import annotations

import enum
import logging
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import s3po
from s3po import worker
from s3po.batch.processes.channel import Channel, Message
from s3po.batch.processes.shares import divided
from s3po.errors import ConfigurationError
from tests.conftest import BUCKET
from tests.support.servers import Store


@pytest.fixture
def conn(own_store: Store, connect: Callable[..., s3po.Connection]) -> s3po.Connection:
    """A connection to a store of its own."""
    own_store.create_bucket(BUCKET)
    return connect(own_store.endpoint_url)


def workers_of(batch: s3po.Batch) -> list[Any]:
    """The worker processes that run."""
    assert batch._processes is not None
    return batch._processes._workers


@pytest.mark.slow
def test_names_of_own_classes(conn: s3po.Connection) -> None:
    """Buckets, keys and versions may be of subclasses of str, which worker processes cannot import."""

    class Key(str):
        __slots__ = ()

    class Bucket(enum.StrEnum):
        OWN = BUCKET

    with conn.batch(4, processes=2, on_error='collect', timeout_s=60) as batch:
        uploaded = batch.upload(Bucket.OWN, Key('kéy'), b'data')
        # The store does not know versions.
        versioned = batch.delete(BUCKET, 'key', version_id=Key('version'))
        listed = batch.list(Bucket.OWN, Key('none'))
        odd = batch.upload(BUCKET, object(), b'data')  # type: ignore[arg-type]

    assert uploaded.value.key == 'kéy'
    assert isinstance(versioned.exception, s3po.InvalidRequest)
    assert listed.value == []
    assert isinstance(odd.exception, ConfigurationError)


class Failing(logging.Handler):
    """A log handler that raises."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError(record)


class Waiting(logging.Handler):
    """A log handler that waits, as one that sends requests does."""

    def emit(self, record: logging.LogRecord) -> None:
        gevent.sleep(0.001)


@pytest.mark.slow
@pytest.mark.parametrize('handler_class', [Failing, Waiting])
def test_log_handlers(conn: s3po.Connection, own_store: Store, monkeypatch: pytest.MonkeyPatch, handler_class: Any) -> None:
    """A log handler that raises or waits loses no result of a worker process."""
    own_store.script({'operation': 'PutObject', 'times': 2, 'action': {'status': 500}})
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    handler, logger = handler_class(), logging.getLogger('s3po.retry')
    logger.addHandler(handler)
    try:
        with conn.batch(4, processes=2, timeout_s=60) as batch:
            for number in range(20):
                batch.upload(BUCKET, f'key{number}', b'data')
    finally:
        logger.removeHandler(handler)

    assert batch.report().succeeded == 20
    assert batch.report().retries == 2


@pytest.mark.slow
def test_directory_that_is_gone(conn: s3po.Connection, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory may have been deleted."""
    (tmp_path / 'gone').mkdir()
    (tmp_path / 'file').write_bytes(b'data')
    monkeypatch.chdir(tmp_path / 'gone')
    (tmp_path / 'gone').rmdir()
    with conn.batch(4, processes=2, on_error='collect') as batch:
        jobs = [batch.upload(BUCKET, 'key', b'data'), batch.upload_file(BUCKET, 'file', tmp_path / 'file')]
        missing = batch.upload_file(BUCKET, 'missing', 'relative')
        batch.wait()
        count = len(workers_of(batch))

    assert [job.exception for job in jobs] == [None, None]
    assert isinstance(missing.exception, s3po.LocalError)
    assert count == 2


class OwnPath(os.PathLike[str]):
    """A relative path of a class of the caller."""

    def __fspath__(self) -> str:
        return 'file'


@pytest.mark.slow
def test_directory_that_changes(conn: s3po.Connection, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the program's working directory, not that in which the worker processes were started."""
    for name in ('one', 'two'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'file').write_text(name)
    monkeypatch.chdir(tmp_path / 'one')
    with conn.batch(1, processes=2) as batch:
        for name in ('two', 'one'):
            monkeypatch.chdir(tmp_path / name)
            batch.upload(BUCKET, name, OwnPath())
            batch.wait()

    assert conn.download(BUCKET, 'two') == b'two'
    assert conn.download(BUCKET, 'one') == b'one'


@pytest.mark.parametrize(('name', 'value'), [('executable', None), ('executable', ''), ('frozen', True)])
def test_program_without_python(conn: s3po.Connection, monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    """A frozen program would start itself once more; one with Python built in has nothing to start."""
    monkeypatch.setattr(sys, name, value, raising=False)
    with pytest.raises(ConfigurationError, match='processes= starts Python, but'):
        conn.batch(4, processes=2)


@pytest.mark.slow
def test_module_with_the_name_of_one_of_python(
    conn: s3po.Connection, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file beside the program that the program does not import prevents no start."""
    for name in ('types', 'enum', 'signal'):
        (tmp_path / f'{name}.py').write_text('raise SystemExit("not a module of Python")')
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    with conn.batch(4, processes=2) as batch:
        batch.upload(BUCKET, 'key', b'data')
        batch.wait()

        assert len(workers_of(batch)) == 2


@pytest.mark.slow
def test_lost_worker_where_another_could_not_start(
    conn: s3po.Connection, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch continues with the worker processes that could start; one of them that is killed is replaced."""
    program = tmp_path / 'python'
    program.write_text(f'#!/bin/sh\nmkdir {tmp_path}/failed 2>/dev/null && exit 3\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(program))
    with conn.batch(4, processes=2) as batch:
        for number in range(8):
            batch.upload(BUCKET, f'key{number}', b'data')
        batch.wait()
        (worker,) = workers_of(batch)
        os.kill(worker.pid, signal.SIGKILL)
        while workers_of(batch):
            gevent.sleep(0.01)
        batch.upload(BUCKET, 'last', b'data')

    assert batch.report().succeeded == 9


@pytest.mark.slow
def test_more_processes_than_requests(own_store: Store, connect: Callable[..., s3po.Connection]) -> None:
    """The limit of requests holds also if each of so many processes would send one."""
    own_store.create_bucket(BUCKET)
    own_store.script({'operation': 'PutObject', 'times': None, 'action': {'delay_s': 0.05}})
    conn = connect(own_store.endpoint_url, config=s3po.TransferConfig(max_requests=2))
    with conn.batch(20, processes=4) as batch:
        for number in range(40):
            batch.upload(BUCKET, f'key{number}', b'data')
        batch.wait()

        assert len(workers_of(batch)) == 2
    assert max(seen['in_flight'] for seen in own_store.log('PutObject')) <= 2


@pytest.mark.skipif(not hasattr(os, 'SCHED_BATCH'), reason='a policy of Linux')
def test_scheduling(conn: s3po.Connection) -> None:
    """Worker processes do not preempt the program on waking up. The program keeps its own policy."""
    before = os.sched_getscheduler(0)
    with conn.batch(2, processes=2, timeout_s=60) as batch:
        batch.upload(BUCKET, 'key', b'data').get()
        policies = [os.sched_getscheduler(each.pid) for each in workers_of(batch) if each.is_ready]

    assert before == os.SCHED_OTHER
    assert set(policies) == {os.SCHED_BATCH}
    assert os.sched_getscheduler(0) == before


@pytest.mark.skipif(not hasattr(os, 'SCHED_BATCH'), reason='a policy of Linux')
@pytest.mark.parametrize('is_forbidden', [False, True])
def test_scheduling_is_left_alone(is_forbidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lower priority of the program stays, and a sandbox may forbid the change."""
    changes: list[int] = []

    def change(_: int, policy: int, __: object) -> None:
        changes.append(policy)
        raise PermissionError

    monkeypatch.setattr(os, 'sched_getscheduler', lambda _: os.SCHED_OTHER if is_forbidden else os.SCHED_IDLE)
    monkeypatch.setattr(os, 'sched_setscheduler', change)
    worker._schedule_as_batch()

    assert changes == ([os.SCHED_BATCH] if is_forbidden else [])


@pytest.mark.parametrize(
    ('weights', 'whole', 'expected'),
    [
        ([1, 1, 2], None, [0.25, 0.25, 0.5]),
        ([1, 1], 4, [0.5, 0.5]),
        ([10.25, 9.25], 4, [0.5, 0.5]),
        ([1, 1, 1], 5, [0.4, 0.4, 0.2]),
        ([0.25, 100], 4, [0.25, 0.75]),
        ([0.25, 0.25, 0.25, 100], 4, [0.25] * 4),
        ([1, 1, 2], 2, [0.25, 0.25, 0.5]),
    ],
)
def test_shares(weights: list[float], whole: int | None, expected: list[float]) -> None:
    """Shares of a limit of requests are whole numbers of requests, 1 or more, and add up to the limit."""
    assert divided(weights, whole) == expected


def channels(on_messages: Callable[[list[Message]], object], ended: list[str]) -> tuple[Channel, Channel]:
    """Two connected channels. The second one calls `on_messages`; each adds its name to `ended`."""
    from s3po.batch.processes.child import _native, _socket

    ends = [_socket(fileno=end.detach()) for end in _native.socketpair()]
    first = Channel(ends[0], lambda _: None, lambda: ended.append('first'))
    return first, Channel(ends[1], on_messages, lambda: ended.append('second'))


@pytest.mark.parametrize('message', [('text', 'data'), ('function', lambda: None)], ids=['received', 'sent'])
def test_messages_that_are_lost(message: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    """If messages cannot be sent or taken, both ends end: no one waits for them for ever."""

    def fail(_: object) -> None:
        raise ValueError('a signal handler may raise this')

    monkeypatch.setattr(gevent.get_hub(), 'exception_stream', None)
    ended: list[str] = []
    first, _ = channels(fail, ended)
    first.send(message)
    with gevent.Timeout(10):
        while len(ended) < 2:
            gevent.sleep(0.001)

    assert sorted(ended) == ['first', 'second']
