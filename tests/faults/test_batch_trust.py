"""Failures that a batch must report (F71, F77), and waits that would never end (F79, F80)."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

import s3po
from s3po.errors import CallbackError, Cancelled, ConfigurationError, DeadlineExceeded, S3poError
from tests.conftest import BUCKET
from tests.support.programs import Runner
from tests.support.servers import Authority, Store

LONGEST_S = 20.0


@pytest.fixture(autouse=True)
def _no_wait_for_ever() -> Iterator[None]:
    with gevent.Timeout(60, RuntimeError('it waits for ever')):
        yield


def time_out() -> None:
    with gevent.Timeout(0.01):
        gevent.sleep(LONGEST_S)


def cancel() -> None:
    raise asyncio.CancelledError


def leave() -> None:
    raise gevent.GreenletExit


def kill_the_caller() -> None:
    worker: Any = gevent.getcurrent()
    gevent.spawn(worker.kill)
    gevent.sleep(LONGEST_S)


def cancel_as_s3po() -> None:
    raise Cancelled('by the caller')


ENDS = pytest.mark.parametrize('end', [time_out, cancel, leave, kill_the_caller, cancel_as_s3po])
End = Callable[[], None]


@pytest.mark.fault('F71')
@ENDS
def test_callback(conn: s3po.Connection, end: End) -> None:
    """An exception of any kind in a callback fails its job and is reported; the other jobs are done."""
    with pytest.raises(s3po.BatchError, match='1 of 4 jobs failed') as caught, conn.batch(1) as batch:
        batch.upload(BUCKET, 'a', b'x', callback=lambda _: end())
        others = [batch.upload(BUCKET, f'{number}', b'x') for number in range(3)]
    (failed,) = caught.value.failed
    assert isinstance(failed.error, CallbackError)
    assert all(job.successful() for job in others)
    assert batch.report().cancelled == 0


@pytest.mark.fault('F71')
@ENDS
def test_errback(conn: s3po.Connection, store: Store, end: End) -> None:
    """An exception of any kind in an errback is reported by the batch."""
    with pytest.raises(s3po.BatchError, match='1 of 2 jobs failed') as caught, conn.batch(1) as batch:
        batch.download(BUCKET, 'missing', errback=lambda _: end())
        batch.upload(BUCKET, 'a', b'x')
    assert isinstance(caught.value.failed[0].error, CallbackError)


@pytest.mark.fault('F71')
@ENDS
def test_source(conn: s3po.Connection, end: End) -> None:
    """An exception of any kind in a source fails its job, and the errback is called."""

    def source() -> Iterator[bytes]:
        yield b'x' * 1000
        end()

    told: list[BaseException] = []
    with pytest.raises(s3po.BatchError, match='1 of 2 jobs failed') as caught, conn.batch(1) as batch:
        batch.upload(BUCKET, 'a', source(), errback=told.append)
        batch.upload(BUCKET, 'b', b'x')
    (failed,) = caught.value.failed
    assert failed.key == 'a'
    assert told == [failed.error]
    assert isinstance(failed.error, S3poError)
    assert not conn.exists(BUCKET, 'a')


@pytest.mark.fault('F71')
def test_own_cancels_are_quiet(conn: s3po.Connection, store: Store) -> None:
    """Jobs ended by their own cancel() or by the batch's cancel() do not raise a BatchError."""
    store.script({'operation': 'PutObject', 'times': None, 'action': {'delay_s': 0.5}})
    with conn.batch(2) as batch:
        jobs = [batch.upload(BUCKET, f'{number}', b'x') for number in range(4)]
        gevent.sleep(0.1)
        assert jobs[0].cancel()
        assert jobs[3].cancel()
        batch.cancel()
    assert [type(job.exception) for job in jobs] == [Cancelled] * 4
    assert batch.report().cancelled == len(batch.failed)
    assert len(batch.failed) + len(batch.not_started) == 4


@pytest.mark.fault('F77')
def test_never_waited_for(store: Store, authority: Authority, tmp_path: Path, conn: s3po.Connection) -> None:
    """A program that ends without waiting for its batch logs an error, by default."""
    run = Runner(authority, store.endpoint_url, tmp_path)
    program = run("""
        import s3po
        conn = s3po.Connection(endpoint_url=endpoint, region='us-east-1', access_key_id='a', secret_access_key=secret)
        batch = conn.batch(5)
        for number in range(3):
            batch.upload('bucket', f'{number}', b'x')
    """)
    assert '3 of 3 jobs of a batch have not ended: nothing waited for it' in program.err
    assert 'ResourceWarning' in program.err


@pytest.mark.fault('F77')
@pytest.mark.parametrize('reading', ['nothing', 'failed', 'results', 'success', 'report', 'get', 'errback', 'exception'])
def test_failures_that_nothing_read(conn: s3po.Connection, caplog: pytest.LogCaptureFixture, reading: str) -> None:
    """Failures of a batch that nothing has read are logged when the batch is collected; failures that were read are not."""
    told: list[BaseException] = []

    def use() -> None:
        with conn.batch(5, on_error='collect') as batch:
            job = batch.download(BUCKET, 'missing', errback=told.append if reading == 'errback' else None)
            batch.upload(BUCKET, 'a', b'x')
        if reading in ('results', 'success', 'report'):
            getattr(batch, reading)()
        elif reading in ('failed', 'exception'):
            getattr(batch if reading == 'failed' else job, reading)
        elif reading == 'get':
            with pytest.raises(s3po.NotFound):
                job.get()

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        use()
        gevent.sleep(0.01)
        gc.collect()

    texts = [record.getMessage() for record in caplog.records if record.levelname == 'ERROR']
    assert len(texts) == (reading == 'nothing')
    assert [str(each.message) for each in seen if each.category is ResourceWarning] == texts
    assert all('1 of 2 jobs of a batch failed, and nothing read it' in text for text in texts)


@pytest.mark.fault('F79')
@pytest.mark.parametrize('waiting', ['get', 'as_completed', 'results', 'success', 'raise_for_errors', 'wait'])
def test_waits_in_callbacks(conn: s3po.Connection, waiting: str) -> None:
    """A callback that waits for its own batch raises an error at once, instead of waiting forever."""

    def call_back(_: object) -> None:
        if waiting == 'get':
            batch.upload(BUCKET, 'b', b'x').get()
        else:
            list(getattr(batch, waiting)() or ())

    with conn.batch(1, on_error='collect') as batch:
        job = batch.upload(BUCKET, 'a', b'x', callback=call_back)
    assert isinstance(job.exception, CallbackError)
    assert isinstance(job.exception.__cause__, ConfigurationError)
    assert len(batch.failed) == 1


@pytest.mark.fault('F79')
@pytest.mark.parametrize('count', [1, 200])
def test_submissions_that_callbacks_wait_for(conn: s3po.Connection, count: int) -> None:
    """A greenlet that a callback waits for can submit jobs even if the queue is full and all workers are in callbacks."""
    has_submitted, begun = gevent.event.Event(), gevent.event.Event()

    def call_back(_: object) -> None:
        begun.set()
        has_submitted.wait()

    def submit() -> None:
        begun.wait()
        for number in range(count):
            batch.upload(BUCKET, f'more{number}', b'x')
        has_submitted.set()

    submitting = gevent.spawn(submit)
    with conn.batch(2) as batch:
        for number in range(4):
            batch.upload(BUCKET, f'{number}', b'x', callback=call_back)
    submitting.get()
    assert len(batch.results()) == count + 4
    # The limit of the queue holds as before.
    assert batch._workers._room.counter == 2


@pytest.mark.fault('F79')
def test_submission_from_a_thread(conn: s3po.Connection) -> None:
    """Another native thread cannot submit jobs, whatever the workers do."""
    found: list[BaseException] = []

    def submit() -> None:
        try:
            batch.upload(BUCKET, 'b', b'x')
        except ConfigurationError as error:
            found.append(error)

    def call_back(_: object) -> None:
        thread = native_thread(submit)
        while thread.is_alive():
            gevent.sleep(0.01)

    with conn.batch(1) as batch:
        batch.upload(BUCKET, 'a', b'x', callback=call_back)
    assert len(found) == 1


def native_thread(function: Callable[[], None]) -> Any:
    from gevent import monkey

    ended = [False]

    def run() -> None:
        try:
            function()
        finally:
            ended[0] = True

    monkey.get_original('_thread', 'start_new_thread')(run, ())
    thread = threading.Thread()
    thread.is_alive = lambda: not ended[0]  # type: ignore[method-assign]
    return thread


@pytest.mark.fault('F80')
def test_callback_that_never_ends(conn: s3po.Connection) -> None:
    """The time limit of the batch also ends a callback, if the callback yields to the event loop."""

    def call_back(_: object) -> None:
        while True:
            gevent.sleep(0.01)

    began = time.monotonic()
    with conn.batch(1, timeout_s=0.5, on_error='collect') as batch:
        job = batch.upload(BUCKET, 'a', b'x', callback=call_back)
    assert time.monotonic() - began < LONGEST_S
    assert isinstance(job.exception, DeadlineExceeded)
    assert 'the callback of upload s3://bucket/a was ended, the transfer itself succeeded' in str(job.exception)
    assert conn.exists(BUCKET, 'a')


@pytest.mark.parametrize('name', ['timeout_s', 'job_timeout_s'])
def test_no_number(conn: s3po.Connection, name: str) -> None:
    """NaN is rejected as a time limit."""
    with pytest.raises(ConfigurationError, match=f'{name} must be a number of seconds above 0'):
        conn.batch(1, **{name: float('nan')})


class Nameless(Exception):
    """An error of the caller whose str() and repr() fail."""

    def __repr__(self) -> str:
        return str(self.missing)  # type: ignore[attr-defined]

    __str__ = __repr__


@pytest.mark.fault('F71')
def test_error_without_a_text(conn: s3po.Connection) -> None:
    """An error whose text cannot be made ends its own job; the other jobs are done."""

    def fail(_: object) -> None:
        raise Nameless

    with conn.batch(2, on_error='collect') as batch:
        called = batch.upload(BUCKET, 'key', b'data', callback=fail)
        told = batch.download(BUCKET, 'missing', errback=fail)
        other = batch.upload(BUCKET, 'other', b'data')

    assert [type(job.exception) for job in (called, told)] == [CallbackError, CallbackError]
    assert 'Nameless (its repr() failed)' in str(called.exception)
    assert other.successful()
