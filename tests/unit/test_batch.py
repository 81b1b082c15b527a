"""The batch: each job ends exactly once, no job is lost, no failure is silent, nothing deadlocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest

from s3po.batch import Batch
from s3po.errors import (
    BatchError,
    CallbackError,
    ConfigurationError,
    DeadlineExceeded,
    NotFound,
    UploadError,
)
from tests.support.performer import Performer, settle


@pytest.fixture
def performer() -> Performer:
    return Performer()


def test_results_in_order_of_submission(performer: Performer) -> None:
    """A place each, in order, with the value, or the exception of what failed."""
    with Batch(performer, 3, on_error='collect') as batch:
        for key in ('a', 'fail', 'b'):
            batch.delete('bucket', key)

    results = batch.results()
    assert results[0][:2] == ('delete', 'a')
    assert isinstance(results[1], UploadError)
    assert results[2][1] == 'b'
    assert not batch.success()
    assert batch.pending == 0


def test_never_more_than_its_size_at_once(performer: Performer) -> None:
    """A bounded pool."""
    with Batch(performer, 4) as batch:
        for number in range(100):
            batch.head('bucket', f'key{number}')

    assert performer.peak == 4
    assert len(performer.performed) == 100
    assert batch.success()


def test_full_queue_blocks_the_producer(performer: Performer) -> None:
    """As many wait as run, and who wants to submit more waits too."""
    with Batch(performer, 2) as batch:
        submitted: list[int] = []

        def produce() -> None:
            for number in range(10):
                batch.head('bucket', f'wait{number}')
                submitted.append(number)

        producer = gevent.spawn(produce)
        settle()
        assert len(submitted) == 4
        performer.gate.set()
        producer.join()
    assert len(performer.performed) == 10


def test_options_are_handed_on(performer: Performer) -> None:
    """What the call was given is what the connection gets."""
    with Batch(performer, 1, job_timeout_s=7) as batch:
        one = batch.upload('bucket', 'key', b'data', metadata={'a': '1'})
        two = batch.upload('bucket', 'key', b'data', timeout_s=3)

    assert one.get()[2]['source'] == b'data'
    assert one.get()[2]['metadata'] == {'a': '1'}
    assert one.get()[2]['timeout_s'] == 7
    assert two.get()[2]['timeout_s'] == 3


def test_callback_gets_the_value_and_gives_the_jobs(performer: Performer) -> None:
    """With a callback the value is what it returns, so that bodies are not kept."""
    with Batch(performer, 2) as batch:
        job = batch.download('bucket', 'key', callback=lambda value: value[1].upper())

    assert job.value == job.get() == 'KEY'
    assert job.successful()


def test_failure_is_raised_on_leaving(performer: Performer) -> None:
    """The error names what failed and why, and holds it."""
    with pytest.raises(BatchError, match=r'2 of 3 jobs failed: upload s3://bucket/fail1: UploadError') as caught:
        with Batch(performer, 2) as batch:
            batch.upload('bucket', 'fail1', b'')
            batch.upload('bucket', 'good', b'')
            batch.upload('bucket', 'fail2', b'')

    assert caught.value.failed is batch.failed
    assert [(job.bucket, job.key) for job in batch.failed] == [('bucket', 'fail1'), ('bucket', 'fail2')]
    assert caught.value.__cause__ is batch.failed[0].error


def test_many_failures_are_not_all_told(performer: Performer) -> None:
    """The message stays readable."""
    with Batch(performer, 2, on_error='collect') as batch:
        for number in range(9):
            batch.delete('bucket', f'fail{number}')

    with pytest.raises(BatchError, match='and 6 more'):
        batch.raise_for_errors()


def test_errback(performer: Performer) -> None:
    """It gets the error, and the job has failed nevertheless."""
    told: list[BaseException] = []
    with Batch(performer, 2, on_error='collect') as batch:
        job = batch.delete('bucket', 'fail', errback=told.append)
        batch.delete('bucket', 'good', errback=told.append)

    assert told == [job.exception]
    assert len(batch.failed) == 1
    with pytest.raises(UploadError):
        job.get()


def test_callback_that_raises(performer: Performer) -> None:
    """The job fails, with a message that the transfer itself succeeded."""

    def broken(value: object) -> None:
        raise KeyError('oops')

    with Batch(performer, 2, on_error='collect') as batch:
        job = batch.delete('bucket', 'key', callback=broken)
        batch.delete('bucket', 'other')

    assert isinstance(job.exception, CallbackError)
    assert "raised KeyError('oops'); the transfer itself succeeded" in str(job.exception)
    assert isinstance(job.exception.__cause__, KeyError)
    assert performer.performed == ['key', 'other']


def test_errback_that_raises(performer: Performer) -> None:
    """Both failures are in the message."""

    def broken(error: BaseException) -> None:
        raise KeyError('oops')

    with Batch(performer, 2, on_error='collect') as batch:
        job = batch.delete('bucket', 'fail', errback=broken)

    assert 'it was called because the transfer failed: s3://bucket/fail failed' in str(job.exception)


@pytest.mark.parametrize('size', [1, 4])
def test_callbacks_that_submit_never_deadlock(performer: Performer, size: int) -> None:
    """Two jobs from each callback, three levels deep, from 100 roots: all done, and the `with` waits for them."""

    def spread(depth: int) -> Callable[[object], None]:
        def callback(value: object) -> None:
            if depth:
                for number in range(2):
                    batch.head('bucket', f'{depth}-{number}', callback=spread(depth - 1))

        return callback

    with gevent.Timeout(20), Batch(performer, size) as batch:
        for number in range(100):
            batch.head('bucket', f'root{number}', callback=spread(3))

    assert len(performer.performed) == 100 * (1 + 2 + 4 + 8)
    assert batch.report().succeeded == 1500


def test_greenlets_of_callbacks_never_block_either(performer: Performer) -> None:
    """A callback may wait for a greenlet that submits."""

    def callback(value: object) -> None:
        gevent.spawn(lambda: [batch.head('bucket', f'child{number}') for number in range(9)]).join()

    with gevent.Timeout(20), Batch(performer, 1) as batch:
        batch.head('bucket', 'root', callback=callback)

    assert len(performer.performed) == 10


def test_silent_jobs(performer: Performer) -> None:
    """They are among what failed, but raise nothing."""
    with Batch(performer, 2) as batch:
        up = batch.upload('bucket', 'fail1', b'', silent=True)
        down = batch.download('bucket', 'fail2', silent=True)

    assert (up.get(), down.get()) == (False, None)
    assert not up.successful()
    assert [job.is_silent for job in batch.failed] == [True, True]
    assert not batch.success()


def test_silent_by_default(performer: Performer) -> None:
    """A connection may be silent, and a call not."""
    performer.silent = True
    with Batch(performer, 2) as batch:
        batch.upload('bucket', 'fail1', b'')
    with pytest.raises(BatchError), Batch(performer, 2) as batch:
        batch.upload('bucket', 'fail1', b'', silent=False)


def test_mistakes_are_never_silent(performer: Performer) -> None:
    """Silent is what happens to a transfer, not what is wrong with the call."""
    with pytest.raises(BatchError, match='source must be'), Batch(performer, 2) as batch:
        batch.upload('bucket', 'wrong', b'', silent=True)


def test_get_waits(performer: Performer) -> None:
    """At most for the given time."""
    with Batch(performer, 2) as batch:
        job = batch.head('bucket', 'wait')
        with pytest.raises(DeadlineExceeded, match=r'head s3://bucket/wait has not ended within 0.01 s'):
            job.get(timeout_s=0.01)
        assert not job.ready()
        assert not batch.wait(timeout_s=0.01)
        performer.gate.set()
        assert job.get()[1] == 'wait'
        assert batch.wait()


def test_as_completed(performer: Performer) -> None:
    """Jobs come as they end, those that callbacks submit too."""
    with Batch(performer, 3) as batch:
        batch.head('bucket', 'wait')
        batch.head('bucket', 'a', callback=lambda _: batch.head('bucket', 'child'))
        seen = []
        for job in batch.as_completed():
            seen.append(job.ref.key)
            if job.ref.key == 'child':
                performer.gate.set()

    assert seen == ['a', 'child', 'wait']


def test_results_that_are_not_kept(performer: Performer) -> None:
    """Results that were not kept cannot be read; failures are always kept."""
    with Batch(performer, 3, keep_results=False, on_error='collect') as batch:
        batch.head('bucket', 'fail')
    with pytest.raises(ConfigurationError, match='keep_results=False'):
        batch.results()
    with pytest.raises(ConfigurationError, match='keep_results=False'):
        next(batch.as_completed())
    assert [job.key for job in batch.failed] == ['fail']


def test_report(performer: Performer) -> None:
    """Counts, bytes, seconds, rates, retries."""
    with Batch(performer, 3, on_error='collect') as batch:
        assert batch.report().seconds == 0
        for key in ('a', 'b', 'fail'):
            batch.head('bucket', key)
        assert batch.report().pending == 3

    report = batch.report()
    assert (report.submitted, report.succeeded, report.failed, report.cancelled, report.pending) == (3, 2, 1, 0, 0)
    assert report.size_bytes == 20
    assert report.retries == 2 + 3
    assert report.jobs_per_s == 2 / report.seconds
    assert report.bytes_per_s == 20 / report.seconds
    assert str(report).startswith('2 of 3 jobs done, 1 failed, 0 cancelled, 0 pending')


def test_without_a_with(performer: Performer) -> None:
    """wait() and close() do what leaving it does."""
    batch = Batch(performer, 3)
    batch.head('bucket', 'a')
    assert batch.wait()
    batch.head('bucket', 'b')
    batch.raise_for_errors()
    batch.close()
    batch.close()

    assert performer.demands == []
    with pytest.raises(ConfigurationError, match='closed'):
        batch.head('bucket', 'c')


def test_wait_inside_a_job(performer: Performer) -> None:
    """A callback cannot wait for itself."""
    with Batch(performer, 3, on_error='collect') as batch:
        job = batch.head('bucket', 'a', callback=lambda _: batch.wait())

    assert 'in a callback of the same batch' in str(job.exception)


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        ({'size': 0}, 'size must be'),
        ({'size': 2.5}, 'size must be'),
        ({'size': True}, 'size must be'),
        ({'on_error': 'ignore'}, "on_error must be 'raise' or 'collect'"),
        ({'timeout_s': 0}, 'timeout_s must be'),
        ({'job_timeout_s': '1'}, 'job_timeout_s must be'),
        ({'max_failures': 0}, 'max_failures must be'),
    ],
)
def test_bad_arguments(performer: Performer, arguments: dict[str, Any], named: str) -> None:
    """The message names the argument."""
    with pytest.raises(ConfigurationError, match=named):
        Batch(performer, **{'size': 5, **arguments})


def test_bad_names_fail_their_jobs(performer: Performer) -> None:
    """In their turn, with what is wrong and the name as it was given; the batch goes on."""
    told: list[BaseException] = []
    bad: list[tuple[Any, Any]] = [('bucket', ''), ('', 'key'), ('bucket', None), ('bucket', b'key'), ('bucket', 'caf\udce9')]
    with Batch(performer, 1, on_error='collect') as batch:
        jobs = [batch.head(bucket, key, errback=told.append) for bucket, key in bad]
        good = batch.head('bucket', 'key')

    assert good.successful()
    assert [type(job.exception) for job in jobs] == [ConfigurationError] * len(bad)
    assert told == [job.exception for job in jobs]
    assert [(job.ref.bucket, job.ref.key) for job in jobs] == bad
    assert performer.performed == ['key']
    assert 'key is empty' in str(jobs[0].exception)
    # Such a text can be printed anywhere.
    assert str(batch.failed[4]).isascii()


def test_bad_name_and_bad_errback(performer: Performer) -> None:
    """The job fails with the first mistake, and the errback is not called."""
    with Batch(performer, 1, on_error='collect') as batch:
        job = batch.head('bucket', '', errback=7)  # type: ignore[arg-type]

    assert type(job.exception) is ConfigurationError
    assert 'key is empty' in str(job.exception)


def test_representations(performer: Performer) -> None:
    """State shows."""
    with Batch(performer, 1, on_error='collect') as batch:
        job = batch.head('bucket', 'a')
        failing = batch.head('bucket', 'fail')
        assert repr(job) == '<Job head s3://bucket/a pending>'
        assert repr(batch) == '<Batch size=1 submitted=2 pending=2 failed=0>'
        assert 'size=1' in repr(batch._workers)
    assert repr(job) == '<Job head s3://bucket/a done>'
    assert repr(failing).startswith('<Job head s3://bucket/fail failed:')
    assert not failing.successful()
    assert isinstance(NotFound('x'), Exception)
