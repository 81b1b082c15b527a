"""Early ends of a batch: exceptions, kills, cancellation, timeouts, too many failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest

from s3po.batch import Batch
from s3po.errors import (
    BatchError,
    BreakerOpen,
    CallbackError,
    Cancelled,
    ConfigurationError,
    DeadlineExceeded,
)
from tests.support.performer import Performer, settle


@pytest.fixture
def performer() -> Performer:
    return Performer()


def test_exception_in_the_body_wins(performer: Performer) -> None:
    """If the `with` block raises, queued jobs are cancelled and running ones are waited for."""
    with pytest.raises(ZeroDivisionError):
        with Batch(performer, 2) as batch:
            jobs = [batch.head('bucket', f'wait{number}') for number in range(4)]
            settle()
            gevent.spawn_later(0.01, performer.gate.set)
            raise ZeroDivisionError

    assert sorted(performer.performed) == ['wait0', 'wait1']
    assert [type(job.exception) for job in jobs] == [type(None), type(None), Cancelled, Cancelled]
    assert performer.demands == []


def test_kill_in_the_body_interrupts(performer: Performer) -> None:
    """A KeyboardInterrupt in the block kills running jobs, and waits for their clean-up only."""
    with pytest.raises(KeyboardInterrupt):
        with Batch(performer, 2) as batch:
            for number in range(4):
                batch.head('bucket', f'wait{number}')
            settle()
            raise KeyboardInterrupt

    assert performer.cleaned == ['wait0', 'wait1']
    assert [job.key for job in batch.failed] == ['wait0', 'wait1']
    assert [job.key for job in batch.not_started] == ['wait2', 'wait3']


def test_kill_while_it_waits_at_the_end(performer: Performer) -> None:
    """A kill while the block waits at its end kills the jobs, too."""
    ended: list[Batch] = []

    def run() -> None:
        with Batch(performer, 2) as batch:
            ended.append(batch)
            batch.head('bucket', 'wait')

    greenlet = gevent.spawn(run)
    settle()
    greenlet.kill()

    assert performer.cleaned == ['wait']
    assert isinstance(ended[0].failed[0].error, Cancelled)


def test_interrupt_reaches_callbacks_too(performer: Performer) -> None:
    """A callback that hangs does not delay Ctrl-C."""
    with pytest.raises(KeyboardInterrupt):
        with gevent.Timeout(20), Batch(performer, 2) as batch:
            batch.head('bucket', 'key', callback=lambda _: gevent.sleep(1000))
            settle()
            raise KeyboardInterrupt
    assert isinstance(batch.failed[0].error, Cancelled)


def test_cancel(performer: Performer) -> None:
    """cancel() ends all jobs, running ones with their clean-up, and no more jobs are accepted."""
    batch = Batch(performer, 2)
    jobs = [batch.head('bucket', f'wait{number}') for number in range(4)]
    settle()
    batch.cancel()

    assert all(isinstance(job.exception, Cancelled) for job in jobs)
    assert performer.cleaned == ['wait0', 'wait1']
    assert (batch.report().cancelled, batch.report().not_started) == (2, 2)
    batch.raise_for_errors()
    with pytest.raises(Cancelled):
        batch.head('bucket', 'late')
    batch.close()


def test_cancel_with_grace(performer: Performer) -> None:
    """With grace_s, cancel() lets running jobs end by themselves."""
    batch = Batch(performer, 2)
    jobs = [batch.head('bucket', f'wait{number}') for number in range(4)]
    settle()
    gevent.spawn_later(0.01, performer.gate.set)
    batch.cancel(grace_s=5)

    assert [job.successful() for job in jobs] == [True, True, False, False]
    batch.close()


def test_cancel_from_a_callback(performer: Performer) -> None:
    """A job whose callback cancels the batch succeeds; all other jobs end."""
    with Batch(performer, 2, on_error='collect') as batch:
        waiting = batch.head('bucket', 'wait')
        job = batch.head('bucket', 'key', callback=lambda _: batch.cancel())

    assert job.successful()
    assert isinstance(waiting.exception, Cancelled)


def test_cancel_one_job(performer: Performer) -> None:
    """job.cancel() ends a queued or a running job, and does nothing to a job that has ended."""
    with Batch(performer, 1, on_error='collect') as batch:
        running = batch.head('bucket', 'wait')
        settle()
        queued = batch.head('bucket', 'queued')
        assert queued.cancel()
        assert queued.ready()
        assert running.cancel()
        done = batch.head('bucket', 'done')
        done.get()
        assert not done.cancel()

    assert isinstance(running.exception, Cancelled)
    assert performer.performed == ['done']
    assert [type(result) for result in batch.results()] == [Cancelled, Cancelled, tuple]


def test_a_callback_is_not_cancelled(performer: Performer) -> None:
    """job.cancel() does not end a callback, since the transfer has succeeded."""
    may_end = gevent.event.Event()
    with Batch(performer, 1) as batch:
        job = batch.head('bucket', 'key', callback=lambda _: may_end.wait())
        settle()
        assert not job.cancel()
        may_end.set()
    assert job.successful()


def test_timeout_of_the_batch(performer: Performer) -> None:
    """After timeout_s all jobs that have not ended fail, and a blocked submission raises."""
    with pytest.raises(DeadlineExceeded, match='timeout_s of 0.05 s'):
        with Batch(performer, 1, timeout_s=0.05) as batch:
            for number in range(9):
                batch.head('bucket', f'wait{number}')

    assert [job.key for job in batch.failed] == ['wait0']
    assert [job.key for job in batch.not_started] == ['wait1']
    assert all(isinstance(job.error, DeadlineExceeded) for job in [*batch.failed, *batch.not_started])
    assert performer.cleaned == ['wait0']


def test_timeout_while_it_waits_at_the_end(performer: Performer) -> None:
    """A timeout while the block waits at its end is reported as a BatchError."""
    with pytest.raises(BatchError, match='DeadlineExceeded'):
        with Batch(performer, 1, timeout_s=0.05) as batch:
            batch.head('bucket', 'wait')


def test_max_failures(performer: Performer) -> None:
    """After max_failures no more jobs are started."""
    with pytest.raises(BreakerOpen, match='stopped after 2 failures'):
        with Batch(performer, 1, max_failures=2) as batch:
            for number in range(99):
                batch.head('bucket', f'fail{number}')

    assert len(performer.performed) == 0
    assert len(batch.failed) == 2
    assert all(isinstance(job.error, BreakerOpen) for job in batch.not_started)
    assert batch.report().submitted == 2 + len(batch.not_started)


def test_system_exit_in_a_callback(performer: Performer) -> None:
    """SystemExit in a callback ends the program, and its job counts as failed."""
    with pytest.raises(SystemExit):
        with Batch(performer, 3) as batch:

            def leave(value: object) -> None:
                raise SystemExit(3)

            batch.head('bucket', 'a', callback=leave)
    assert isinstance(batch.failed[0].error, CallbackError)


def test_killed_worker_loses_no_job(performer: Performer) -> None:
    """A worker that is killed by user code fails its job; the other jobs are done."""

    def kill(value: object) -> None:
        raise gevent.GreenletExit

    with Batch(performer, 1, on_error='collect') as batch:
        batch.head('bucket', 'a', callback=kill)
        for number in range(5):
            batch.head('bucket', f'b{number}')

    assert len(performer.performed) == 6
    assert [job.key for job in batch.failed] == ['a']


def test_queued_job_that_was_cancelled(performer: Performer) -> None:
    """A job that is cancelled before it begins is not started, as all jobs that never began."""
    with Batch(performer, 1) as batch:
        batch.head('bucket', 'wait')
        settle()
        batch.head('bucket', 'queued').cancel()
        performer.gate.set()

    assert list(batch.failed) == []
    assert [job.key for job in batch.not_started] == ['queued']
    assert not batch.success()


def test_error_names_what_was_not_started(performer: Performer) -> None:
    """A BatchError and the report name the number of jobs that were not started, and how to go on."""
    batch = Batch(performer, 1, timeout_s=0.05)
    jobs = [batch.head('bucket', f'wait{number}') for number in range(2)]
    with pytest.raises(BatchError, match='1 of 2 jobs failed: head s3://bucket/wait0: DeadlineExceeded') as caught:
        batch.raise_for_errors()
    batch.close()

    how = 'batch.not_started.save(path), then conn.retry_failed(path)'
    why = 'DeadlineExceeded: the batch was not done within its timeout_s of 0.05 s'
    assert str(caught.value).endswith(f'; 1 job not started ({why}): {how}')
    assert f'; 1 job not started: {how}' in str(batch.report())
    assert caught.value.not_started is batch.not_started
    assert [job.exception for job in jobs] == [batch.failed[0].error, batch.not_started[0].error]


def test_error_if_nothing_began(performer: Performer) -> None:
    """If no job failed, and some were not started, the text of the BatchError says only that."""
    batch = Batch(performer, 1, max_failures=1, on_error='collect')
    batch.upload('bucket', 'fail', b'', silent=True)
    batch.upload('bucket', 'key', b'')
    with pytest.raises(BatchError, match=r'^1 of 2 jobs were not started: upload s3://bucket/key: BreakerOpen') as caught:
        batch.raise_for_errors()
    batch.close()

    assert 'conn.retry_failed(path)' in str(caught.value)


def interrupt_twice(performer: Performer, grace_s: float, then: Callable[[], object]) -> tuple[Batch, list[str]]:
    """Ctrl-C in the block of a batch with two running and two queued jobs; `then` is called during the grace."""
    with pytest.raises(KeyboardInterrupt):
        with Batch(performer, 2, grace_s=grace_s) as batch:
            for number in range(4):
                batch.head('bucket', f'wait{number}')
            settle()
            gevent.spawn_later(0.01, then)
            raise KeyboardInterrupt
    return batch, [job.key for job in batch.not_started]


def test_grace_after_an_interrupt(performer: Performer, caplog: pytest.LogCaptureFixture) -> None:
    """After Ctrl-C, running jobs may end within grace_s; the others are not started. The log says what is left."""
    batch, not_started = interrupt_twice(performer, 5.0, performer.gate.set)

    assert sorted(performer.performed) == ['wait0', 'wait1']
    assert (list(batch.failed), not_started) == ([], ['wait2', 'wait3'])
    [record] = caplog.records
    assert record.levelname == 'WARNING'
    assert 'a batch was ended by KeyboardInterrupt: 2 of 4 jobs done' in record.message
    assert '2 jobs not started: batch.not_started.save(path), then conn.retry_failed(path)' in record.message


def test_end_of_the_grace(performer: Performer) -> None:
    """After grace_s, running jobs are interrupted."""
    batch, not_started = interrupt_twice(performer, 0.05, lambda: None)

    assert performer.cleaned == ['wait0', 'wait1']
    assert (len(batch.failed), not_started) == (2, ['wait2', 'wait3'])


def test_second_interrupt(performer: Performer) -> None:
    """A second Ctrl-C ends the grace."""
    main = gevent.getcurrent()
    with gevent.Timeout(10):
        batch, _ = interrupt_twice(performer, 1000.0, lambda: gevent.get_hub().loop.run_callback(main.throw, KeyboardInterrupt))

    assert performer.cleaned == ['wait0', 'wait1']
    assert batch.pending == 0


def test_no_grace_after_a_kill(performer: Performer) -> None:
    """A kill does not wait for running jobs."""
    with gevent.Timeout(10), pytest.raises(gevent.GreenletExit):
        with Batch(performer, 2, grace_s=1000.0) as batch:
            batch.head('bucket', 'wait')
            settle()
            raise gevent.GreenletExit

    assert performer.cleaned == ['wait']


@pytest.mark.parametrize('given', [-1, float('nan'), '1', True, None])
def test_bad_times(performer: Performer, given: Any) -> None:
    """A time that is negative, NaN or no number is refused: with NaN an event loop would wait for ever."""
    with pytest.raises(ConfigurationError, match='grace_s must be a number of seconds from 0'):
        Batch(performer, 1, grace_s=given)
    with Batch(performer, 1) as batch:
        job = batch.head('bucket', 'key')
        with pytest.raises(ConfigurationError, match='grace_s must be a number of seconds from 0'):
            batch.cancel(given)
        for wait in () if given is None else (batch.wait, job.get):
            with pytest.raises(ConfigurationError, match='timeout_s must be a number of seconds from 0, or None'):
                wait(given)
        batch.wait(0)

    assert batch.success()


@pytest.mark.parametrize(
    'limits', [{'timeout_s': 1e300}, {'timeout_s': float('inf')}, {'max_failures': 10**30}, {'grace_s': 1e300}]
)
def test_absurd_limits(performer: Performer, limits: dict[str, Any]) -> None:
    """Limits that are never reached do no harm."""
    with gevent.Timeout(10), Batch(performer, 1, **limits) as batch:
        batch.head('bucket', 'key')

    assert batch.success()
