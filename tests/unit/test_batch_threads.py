"""A batch and its jobs used from other native threads: calls work, or raise ConfigurationError."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gevent
import pytest
from gevent import monkey

from s3po.batch import Batch
from s3po.errors import BatchError, Cancelled, ConfigurationError, DeadlineExceeded, UploadError
from s3po.runtime import Captured
from tests.support.performer import Performer, settle

T = TypeVar('T')

_start_native: Any = monkey.get_original('_thread', 'start_new_thread')


@pytest.fixture
def performer() -> Performer:
    return Performer()


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    with gevent.Timeout(20):
        yield


def from_another_thread(function: Callable[[], T]) -> T:
    """Call a function in a native thread without greenlets, while the greenlets of this thread run."""
    outcome: Captured[T] = Captured()
    done: list[bool] = []

    def run() -> None:
        outcome.capture(function)
        done.append(True)

    _start_native(run, ())
    while not done:
        gevent.sleep(0.002)
    return outcome.unwrap()


def from_another_hub(function: Callable[[], T]) -> T:
    """Call a function in a native thread that has greenlets of its own."""

    def run() -> T:
        try:
            return gevent.spawn(function).get()
        finally:
            gevent.get_hub().destroy(destroy_loop=True)

    return from_another_thread(run)


@pytest.fixture(params=[from_another_thread, from_another_hub])
def elsewhere(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_job_cancel_of_one_that_runs(performer: Performer, elsewhere: Any) -> None:
    with Batch(performer, 2, on_error='collect') as batch:
        job = batch.head('bucket', 'wait')
        settle()

        assert elsewhere(job.cancel)

    assert isinstance(job.exception, Cancelled)
    assert performer.cleaned == ['wait']


def test_job_cancel_of_one_that_has_not_begun(performer: Performer, elsewhere: Any) -> None:
    with Batch(performer, 1, on_error='collect') as batch:
        batch.head('bucket', 'wait')
        job = batch.head('bucket', 'key')
        settle()

        assert elsewhere(job.cancel)
        assert isinstance(job.exception, Cancelled)
        performer.gate.set()

    assert performer.performed == ['wait']


def test_job_cancel_of_one_that_has_ended(performer: Performer, elsewhere: Any) -> None:
    with Batch(performer, 1) as batch:
        job = batch.head('bucket', 'key')
        batch.wait()

        assert not elsewhere(job.cancel)


def test_cancel_of_the_batch(performer: Performer, elsewhere: Any) -> None:
    with Batch(performer, 2) as batch:
        jobs = [batch.head('bucket', f'wait{number}') for number in range(4)]
        settle()

        elsewhere(batch.cancel)
        assert [type(job.exception) for job in jobs] == [Cancelled] * 4

    assert performer.cleaned == ['wait0', 'wait1']


def test_wait(performer: Performer, elsewhere: Any) -> None:
    with Batch(performer, 2) as batch:
        batch.head('bucket', 'wait')

        assert not elsewhere(lambda: batch.wait(0.01))
        gevent.spawn_later(0.02, performer.gate.set)
        assert elsewhere(batch.wait)
        assert batch.pending == 0


def test_results_and_errors(performer: Performer, elsewhere: Any) -> None:
    with Batch(performer, 2, on_error='collect') as batch:
        for key in ('wait', 'fail'):
            batch.head('bucket', key)
        gevent.spawn_later(0.02, performer.gate.set)

        assert [type(result) for result in elsewhere(batch.results)] == [tuple, UploadError]
        assert not elsewhere(batch.success)
        with pytest.raises(BatchError):
            elsewhere(batch.raise_for_errors)


def test_job_get(performer: Performer, elsewhere: Any) -> None:
    with Batch(performer, 2, on_error='collect') as batch:
        good, bad = batch.head('bucket', 'wait'), batch.head('bucket', 'fail')

        with pytest.raises(DeadlineExceeded):
            elsewhere(lambda: good.get(0.01))
        with pytest.raises(UploadError):
            elsewhere(bad.get)
        gevent.spawn_later(0.02, performer.gate.set)
        assert elsewhere(good.get)[1] == 'wait'


def test_as_completed(performer: Performer, elsewhere: Any) -> None:
    with Batch(performer, 2) as batch:
        jobs = [batch.head('bucket', key) for key in ('wait', 'key')]
        gevent.spawn_later(0.02, performer.gate.set)

        assert elsewhere(lambda: list(batch.as_completed())) == jobs[::-1]


def test_close(performer: Performer, elsewhere: Any) -> None:
    batch = Batch(performer, 2, timeout_s=1000)
    batch.head('bucket', 'key')
    batch.wait()

    elsewhere(batch.close)
    assert performer.demands == []


def test_submitting_is_refused(performer: Performer, elsewhere: Any) -> None:
    """Submitting from another thread is refused, since gevent queues lose items if they are used by several threads."""
    with Batch(performer, 3) as batch:
        with pytest.raises(ConfigurationError, match='thread and process that made it'):
            elsewhere(lambda: batch.head('bucket', 'key'))

    assert batch.report().submitted == 0


def test_leaving_the_with_is_refused(performer: Performer, elsewhere: Any) -> None:
    """Another thread cannot leave the `with` block, as it would not receive Ctrl-C. An exception of the block is kept."""
    with Batch(performer, 3) as batch:
        batch.head('bucket', 'key')
        with pytest.raises(ConfigurationError, match='thread and process that made it'):
            elsewhere(lambda: batch.__exit__(None, None, None))
        elsewhere(lambda: batch.__exit__(ValueError, ValueError(), None))

    assert batch.success()


def test_waiting_for_the_batch_of_an_ended_thread_raises(performer: Performer) -> None:
    """Waiting for a batch whose thread has ended raises an error, since its greenlets never run again."""
    left: list[Any] = []

    def leave() -> None:
        batch = Batch(performer, 1)
        left.extend([batch, batch.head('bucket', 'wait')])
        settle()

    from_another_thread(leave)
    batch, job = left
    for call in (batch.wait, batch.cancel, batch.success, job.get, job.cancel, lambda: list(batch.as_completed())):
        with pytest.raises(ConfigurationError, match='thread that made the batch has ended'):
            call()


@pytest.mark.parametrize('count', [1, 20])
def test_a_batch_is_freed_after_its_thread_has_ended(performer: Performer, count: int) -> None:
    """Its workers and timers end in the `with` statement: later, the event loop of the thread never runs."""

    def work() -> weakref.ref[Batch]:
        with Batch(performer, 3) as batch:
            for number in range(count):
                batch.head('bucket', f'{number}')
        return weakref.ref(batch)

    batch = from_another_thread(work)
    gc.collect()

    assert batch() is None
