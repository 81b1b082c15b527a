"""Each job ends with one call of its callback or its errback, however it ends; only what Ctrl-C or a kill ends has neither."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from s3po.batch import Batch, Job, breaker
from s3po.errors import (
    BatchError,
    BreakerOpen,
    CallbackError,
    Cancelled,
    ConfigurationError,
    DeadlineExceeded,
    NetworkError,
    NoSuchBucket,
    UploadError,
    WorkerLost,
)
from s3po.jobs import Call
from s3po.model import Outcome
from tests.support.performer import Performer, settle


class Faulty(Performer):
    """A connection whose calls on keys that begin with 'out' fail after retries; bucket 'missing' does not exist."""

    def perform(self, call: Call) -> Outcome:
        if call.ref.key.startswith('out'):
            raise UploadError('failed', attempts=4) from NetworkError('reset')
        if call.ref.key.startswith('lost'):
            raise WorkerLost('the worker processes were lost')
        if call.ref.bucket == 'missing':
            raise NoSuchBucket('no such bucket', status=404)
        return super().perform(call)


class Told:
    """The calls of the callbacks and errbacks of jobs, by their keys."""

    def __init__(self) -> None:
        self.by_key: dict[str, list[Any]] = {}

    def of(self, key: str) -> dict[str, Callable[[Any], None]]:
        """The arguments for a job."""
        calls = self.by_key.setdefault(key, [])
        return {'callback': lambda _: calls.append('value'), 'errback': lambda error: calls.append(type(error))}


@pytest.fixture
def performer() -> Performer:
    return Faulty()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(breaker, 'PAUSE_S', 0.001)
    with gevent.Timeout(20):
        yield


def full(performer: Performer, told: Told, **options: Any) -> tuple[Batch, dict[str, Job]]:
    """A batch with a running job, one that waits for its last turn, and queued ones."""
    batch = Batch(performer, 2, on_error='collect', **options)
    jobs = {}
    for key in ('done', 'wait1', 'out', 'wait2', 'queued1', 'queued2'):
        jobs[key] = batch.upload('bucket', key, b'', **told.of(key))
    settle()
    assert (batch.pending, told.by_key['done']) == (5, ['value'])
    return batch, jobs


@pytest.mark.parametrize('end', ['cancel', 'deadline', 'exception'])
def test_stopped(performer: Performer, told: Told, end: str) -> None:
    """cancel(), the deadline and an exception in the block: all errbacks are called once: of running, waiting, queued jobs."""
    batch, jobs = full(performer, told, timeout_s=0.1 if end == 'deadline' else None)
    error = DeadlineExceeded if end == 'deadline' else Cancelled
    if end == 'cancel':
        batch.cancel()
        assert batch.pending == 0
    elif end == 'exception':
        gevent.spawn_later(0.01, performer.gate.set)
        with pytest.raises(ZeroDivisionError), batch:
            raise ZeroDivisionError
    batch.wait()
    batch.close()

    running = 'value' if end == 'exception' else error
    assert told.by_key == {
        'done': ['value'],
        'out': [UploadError],
        'wait1': [running],
        'wait2': [running],
        'queued1': [error],
        'queued2': [error],
    }
    assert {job.key for job in batch.not_started} == {'queued1', 'queued2'}
    assert batch.report().cancelled == (2 if end == 'cancel' else 0)
    assert all(
        type(job.exception) in (*calls, type(None)) for job, calls in zip(jobs.values(), told.by_key.values(), strict=True)
    )


def test_cancelled_from_a_callback(performer: Performer, told: Told) -> None:
    """A callback that cancels the batch does not wait for the errbacks; they are called after it."""
    with Batch(performer, 1, on_error='collect') as batch:
        batch.upload('bucket', 'a', b'', callback=lambda _: batch.cancel())
        batch.upload('bucket', 'b', b'', **told.of('b'))

    assert told.by_key == {'b': [Cancelled]}


@pytest.mark.parametrize('key', ['out', 'wait1', 'queued1'])
def test_cancelled_job(performer: Performer, told: Told, key: str) -> None:
    """job.cancel() of a waiting, running or queued job: its errback is called with Cancelled, and all others end as usual."""
    batch, jobs = full(performer, told)
    assert jobs[key].cancel()
    performer.gate.set()
    batch.wait()
    batch.close()

    assert told.by_key.pop(key) == [Cancelled]
    assert told.by_key == {name: ['value'] if name != 'out' else [UploadError] for name in told.by_key}
    assert not jobs[key].cancel()
    assert [job.key for job in batch.not_started] == (['queued1'] if key == 'queued1' else [])


def test_breaker(performer: Performer, told: Told) -> None:
    """The jobs of a scope that has stopped: those that were set aside, and those that come later."""
    with Batch(performer, 2, on_error='collect') as batch:
        for number in range(50):
            batch.upload('missing', f'{number}', b'', **told.of(f'{number}'))
        batch.wait()
        batch.upload('missing', 'later', b'', **told.of('later'))

    assert sorted(len(calls) for calls in told.by_key.values()) == [1] * 51
    assert told.by_key['later'] == [BreakerOpen]
    assert len(batch.failed) + len(batch.not_started) == 51


def test_cancelled_job_that_waits_for_a_probe(performer: Performer, told: Told) -> None:
    """job.cancel() of a job that the breaker has set aside."""
    with Batch(performer, 1, on_error='collect') as batch:
        for number in range(5):
            batch.upload('missing', f'{number}', b'')
        batch.wait()
        job = batch.upload('missing', 'aside', b'', **told.of('aside'))
        while job not in batch._workers.aside:
            gevent.sleep(0)
        assert job.cancel()

    assert told.by_key == {'aside': [Cancelled]}
    assert [job.key for job in batch.not_started] == ['aside']


def test_max_failures(performer: Performer, told: Told) -> None:
    """The jobs that do not begin after max_failures."""
    batch = Batch(performer, 1, on_error='collect', max_failures=1)
    for key in ('fail', 'a'):
        batch.upload('bucket', key, b'', **told.of(key))
    batch.wait()
    batch.close()

    assert told.by_key == {'fail': [UploadError], 'a': [BreakerOpen]}


def test_failures_of_their_own(performer: Performer, told: Told) -> None:
    """A mistake in a call, and lost worker processes."""
    with Batch(performer, 1, on_error='collect') as batch:
        batch.upload('bucket', '', b'', **told.of(''))
        batch.upload('bucket', 'lost', b'', **told.of('lost'))

    assert told.by_key == {'': [ConfigurationError], 'lost': [WorkerLost]}
    assert len(batch.failed) == 2


@pytest.mark.parametrize('error', [KeyboardInterrupt, gevent.GreenletExit])
def test_interrupted(performer: Performer, told: Told, error: type[BaseException]) -> None:
    """After Ctrl-C or a kill, no errback is called: the lists have the jobs."""
    batch, _ = full(performer, told)
    with pytest.raises(error), batch:
        raise error

    assert told.by_key.pop('done') == ['value']
    assert all(calls == [] for calls in told.by_key.values())
    assert len(batch.failed) + len(batch.not_started) == 5


def test_grace_after_an_interrupt(performer: Performer, told: Told) -> None:
    """What ends by itself during the grace has its callback called."""
    batch, _ = full(performer, told, grace_s=10.0)
    gevent.spawn_later(0.01, performer.gate.set)
    with pytest.raises(KeyboardInterrupt), batch:
        raise KeyboardInterrupt

    assert (told.by_key['wait1'], told.by_key['queued1']) == (['value'], [])


def test_interrupt_while_errbacks_are_called(performer: Performer) -> None:
    """Ctrl-C does not wait for errbacks that were begun by a cancellation; the rest of them is not called."""
    called: list[Any] = []

    def hang(error: Any) -> None:
        called.append(error)
        gevent.sleep(1000)

    batch = Batch(performer, 1, on_error='collect')
    with pytest.raises(KeyboardInterrupt), batch:
        for number in range(2):
            batch.upload('bucket', f'wait{number}', b'', errback=hang)
            settle()
        gevent.spawn(batch.cancel)
        while not called:
            gevent.sleep(0.001)
        raise KeyboardInterrupt

    assert len(called) == 1
    assert batch.pending == 0
    assert {type(job.error) for job in [*batch.failed, *batch.not_started]} == {Cancelled}


def test_errbacks_that_hang_at_the_deadline(performer: Performer) -> None:
    """Control returns soon after the deadline, although errbacks hang: they are interrupted, and the rest is not called."""
    called: list[Any] = []

    def hang(error: Any) -> None:
        called.append(error)
        gevent.sleep(1000)

    batch = Batch(performer, 2, on_error='collect', timeout_s=0.05)
    with pytest.raises(DeadlineExceeded):
        for number in range(9):
            batch.upload('bucket', f'wait{number}', b'', errback=hang)
    began = time.monotonic()
    batch.wait()
    batch.close()

    assert time.monotonic() - began < 5
    assert len(called) == 2
    assert (len(batch.failed), len(batch.not_started)) == (2, 2)


def test_errback_that_raises(performer: Performer) -> None:
    """An errback that raises for a cancelled job is an error that is raised."""
    batch = Batch(performer, 1)
    job = batch.upload('bucket', 'wait', b'', errback=lambda error: 1 / 0)
    settle()
    batch.cancel()
    batch.close()

    assert isinstance(job.exception, CallbackError)
    with pytest.raises(BatchError, match='errback of upload'):
        batch.raise_for_errors()


def test_item_that_a_map_has_read(performer: Performer, told: Told) -> None:
    """The item that was read when the batch stopped."""
    batch = Batch(performer, 2, on_error='collect')
    errors: list[Any] = []

    def items() -> Iterator[tuple[str, str, bytes]]:
        yield 'bucket', 'a', b''
        batch.cancel()
        yield 'bucket', 'b', b''

    with pytest.raises(Cancelled):
        batch.map_upload(items(), callback=lambda _: None, errback=lambda error, ref: errors.append((ref.key, type(error))))
    batch.wait()
    batch.close()

    assert sorted(errors) == [('a', Cancelled), ('b', Cancelled)]
    assert [job.key for job in batch.not_started] in (['b'], ['a', 'b'])
