"""The batch: each job ends exactly once, no job is lost, no failure is silent, nothing deadlocks."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest

from s3po.batch import Batch, Job
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
    """Results are in the order of submission: the value, or the exception of a job that failed."""
    with Batch(performer, 3, on_error='collect') as batch:
        for key in ('a', 'fail', 'b'):
            batch.delete('bucket', key)

    results = batch.results()
    assert results[0][:2] == ('delete', 'a')
    assert isinstance(results[1], UploadError)
    assert results[2][1] == 'b'
    assert not batch.success()
    assert batch.pending == 0


def test_type_of_a_job() -> None:
    """`Job[bytes]` can be written in annotations that are evaluated, and jobs have no __dict__."""
    assert typing.get_args(Job[bytes]) == (bytes,)
    assert '__dict__' not in dir(Job)


def test_results_of_some_jobs(performer: Performer) -> None:
    """results(jobs) returns the values of these jobs in their order, also if the batch does not keep its jobs."""
    with Batch(performer, 3, keep_results=False, on_error='collect') as batch:
        jobs = [batch.delete('bucket', key) for key in ('a', 'fail', 'b')]
    results = batch.results(reversed(jobs))

    assert [type(result) for result in results] == [tuple, UploadError, tuple]
    assert [results[0], results[2]] == [('delete', 'b', {}), ('delete', 'a', {})]


def test_results_of_a_job_of_another_batch(performer: Performer) -> None:
    """A pending job of another batch is refused: results() does not wait for it."""
    with Batch(performer, 1) as other, Batch(performer, 1) as batch:
        job = other.head('bucket', 'wait')
        with pytest.raises(ConfigurationError, match='another batch'):
            batch.results([job])
        performer.gate.set()


def test_never_more_than_its_size_at_once(performer: Performer) -> None:
    """Never more jobs run at once than the batch has workers."""
    with Batch(performer, 4) as batch:
        for number in range(100):
            batch.head('bucket', f'key{number}')

    assert performer.peak == 4
    assert len(performer.performed) == 100
    assert batch.success()


def test_full_queue_blocks_the_producer(performer: Performer) -> None:
    """The queue holds as many jobs as there are workers; further submissions block."""
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
    """The options of a job reach the connection; job_timeout_s is the default of its timeout_s."""
    with Batch(performer, 1, job_timeout_s=7) as batch:
        one = batch.upload('bucket', 'key', b'data', metadata={'a': '1'})
        two = batch.upload('bucket', 'key', b'data', timeout_s=3)

    assert one.get()[2]['source'] == b'data'
    assert one.get()[2]['metadata'] == {'a': '1'}
    assert one.get()[2]['timeout_s'] == 7
    assert two.get()[2]['timeout_s'] == 3


def test_value_of_a_job_with_a_callback(performer: Performer) -> None:
    """With a callback, the value of a job is what the callback returns, so that bodies need not be kept."""
    with Batch(performer, 2) as batch:
        job = batch.download('bucket', 'key', callback=lambda value: value[1].upper())

    assert job.value == job.get() == 'KEY'
    assert job.successful()


def test_failure_is_raised_on_leaving(performer: Performer) -> None:
    """The error raised at the end of the `with` block names the failed jobs with their errors, and contains them."""
    with pytest.raises(BatchError, match=r'2 of 3 jobs failed: upload s3://bucket/fail1: UploadError') as caught:
        with Batch(performer, 2) as batch:
            batch.upload('bucket', 'fail1', b'')
            batch.upload('bucket', 'good', b'')
            batch.upload('bucket', 'fail2', b'')

    assert caught.value.failed is batch.failed
    assert [(job.bucket, job.key) for job in batch.failed] == [('bucket', 'fail1'), ('bucket', 'fail2')]
    assert caught.value.__cause__ is batch.failed[0].error


def test_message_lists_only_the_first_failures(performer: Performer) -> None:
    """The message lists only the first failures."""
    with Batch(performer, 2, on_error='collect') as batch:
        for number in range(9):
            batch.delete('bucket', f'fail{number}')

    with pytest.raises(BatchError, match='and 6 more'):
        batch.raise_for_errors()


def test_errback(performer: Performer) -> None:
    """An errback is called with the error, and the job counts as failed all the same."""
    told: list[BaseException] = []
    with Batch(performer, 2, on_error='collect') as batch:
        job = batch.delete('bucket', 'fail', errback=told.append)
        batch.delete('bucket', 'good', errback=told.append)

    assert told == [job.exception]
    assert len(batch.failed) == 1
    with pytest.raises(UploadError):
        job.get()


def test_callback_that_raises(performer: Performer) -> None:
    """If a callback raises, the job fails, with a message that the transfer itself succeeded."""

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
    """If an errback raises, the message contains both failures."""

    def broken(error: BaseException) -> None:
        raise KeyError('oops')

    with Batch(performer, 2, on_error='collect') as batch:
        job = batch.delete('bucket', 'fail', errback=broken)

    assert 'it was called because the transfer failed: s3://bucket/fail failed' in str(job.exception)


@pytest.mark.parametrize('size', [1, 4])
def test_callbacks_that_submit_never_deadlock(performer: Performer, size: int) -> None:
    """Callbacks that submit jobs, three levels deep, cannot deadlock, and the `with` block waits for all jobs."""

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
    """A callback can wait for a greenlet that submits jobs."""

    def callback(value: object) -> None:
        gevent.spawn(lambda: [batch.head('bucket', f'child{number}') for number in range(9)]).join()

    with gevent.Timeout(20), Batch(performer, 1) as batch:
        batch.head('bucket', 'root', callback=callback)

    assert len(performer.performed) == 10


def test_failed_jobs_without_the_limit_of_their_batch(performer: Performer) -> None:
    """A failed job keeps its own time limit, but not job_timeout_s: repeated, it has the limit of its new batch."""
    with Batch(performer, 1, on_error='collect', job_timeout_s=7) as batch:
        batch.upload('bucket', 'fail1', b'')
        batch.upload('bucket', 'fail2', b'', timeout_s=3)

    assert [job.options.get('timeout_s') for job in batch.failed] == [None, 3]


def test_silent_jobs(performer: Performer) -> None:
    """Failures of silent jobs are in `failed`, but raise nothing."""
    with Batch(performer, 2) as batch:
        up = batch.upload('bucket', 'fail1', b'', silent=True)
        down = batch.download('bucket', 'fail2', silent=True)

    assert (up.get(), down.get()) == (False, None)
    assert not up.successful()
    assert [job.is_silent for job in batch.failed] == [True, True]
    assert not batch.success()


def test_silent_by_default(performer: Performer) -> None:
    """silent=False of a call overrides a silent connection."""
    performer.silent = True
    with Batch(performer, 2) as batch:
        batch.upload('bucket', 'fail1', b'')
    with pytest.raises(BatchError), Batch(performer, 2) as batch:
        batch.upload('bucket', 'fail1', b'', silent=False)


@pytest.mark.parametrize('call', ['head', 'delete', 'copy', 'move'])
def test_only_transfers_are_silent(performer: Performer, call: str) -> None:
    """A silent connection hides no other failures, in a batch as without one."""
    performer.silent = True
    place = ('to', 'key') if call in ('copy', 'move') else ()
    with pytest.raises(BatchError, match='1 of 1 jobs failed'), Batch(performer, 2) as batch:
        getattr(batch, call)('bucket', 'fail', *place)


def test_mistakes_are_never_silent(performer: Performer) -> None:
    """silent=True does not hide invalid arguments."""
    with pytest.raises(BatchError, match='source must be'), Batch(performer, 2) as batch:
        batch.upload('bucket', 'wrong', b'', silent=True)


def test_get_waits(performer: Performer) -> None:
    """get() and wait() wait at most for the given time."""
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
    """as_completed() returns jobs as they end, also those that callbacks submit."""
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
    """With keep_results=False results cannot be read; failures are kept all the same."""
    with Batch(performer, 3, keep_results=False, on_error='collect') as batch:
        batch.head('bucket', 'fail')
    with pytest.raises(ConfigurationError, match='keep_results=False'):
        batch.results()
    with pytest.raises(ConfigurationError, match='keep_results=False'):
        next(batch.as_completed())
    assert [job.key for job in batch.failed] == ['fail']


def test_report(performer: Performer) -> None:
    """The report has the counts, bytes, seconds, rates and retries."""
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
    """wait() and close() work without a `with` block."""
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
    """A callback that waits for its batch raises an error."""
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
    """The message for an invalid argument names it."""
    with pytest.raises(ConfigurationError, match=named):
        Batch(performer, **{'size': 5, **arguments})


def test_bad_names_fail_their_jobs(performer: Performer) -> None:
    """A job with an invalid name fails with the name as it was passed; the other jobs are done."""
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
    # The text can be encoded and printed.
    assert str(batch.failed[4]).isascii()


def test_bad_name_and_bad_errback(performer: Performer) -> None:
    """A job with two invalid arguments fails with the first error, and the errback is not called."""
    with Batch(performer, 1, on_error='collect') as batch:
        job = batch.head('bucket', '', errback=7)  # type: ignore[arg-type]

    assert type(job.exception) is ConfigurationError
    assert 'key is empty' in str(job.exception)


def test_representations(performer: Performer) -> None:
    """repr() shows the state."""
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
