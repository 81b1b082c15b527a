"""A job that failed in a retryable way gets one last turn; only its outcome counts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from s3po.batch import Batch, last_turns
from s3po.errors import BreakerOpen, Cancelled, DeadlineExceeded, NetworkError, NotFound, UploadError
from s3po.jobs import Call
from s3po.model import Outcome
from s3po.observer import Activity
from tests.support.performer import Performer, settle


class Outage(Performer):
    """A connection whose calls fail so many times each, as after all retries of an outage."""

    def __init__(self, failures: int = 1, attempts: int = 4, cause: Exception | None = None) -> None:
        super().__init__()
        self.left: dict[str, int] = {}
        self.failures = failures
        self.attempts = attempts
        self.cause = cause or NetworkError('reset')
        self.seen: list[str] = []

    def perform(self, call: Call) -> Outcome:
        key = call.ref.key
        self.seen.append(key)
        if key.startswith('out'):
            left = self.left.setdefault(key, self.failures)
            self.left[key] -= 1
            if left > 0:
                gevent.sleep(0)
                raise UploadError(f'{key} failed', bucket='bucket', key=key, attempts=self.attempts) from self.cause
        return super().perform(call)


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    with gevent.Timeout(20):
        yield


def test_succeeds_in_its_last_turn() -> None:
    """A job whose last turn succeeds has succeeded: its callback is called, its errback is not. Its retries are counted."""
    performer, told = Outage(), []
    with Batch(performer, 2) as batch:
        job = batch.upload('bucket', 'out', b'', callback=lambda _: 'value', errback=told.append)

    assert (job.value, told) == ('value', [])
    assert list(batch.failed) == []
    assert performer.seen == ['out', 'out']
    assert batch.report().retries == 3 + 1


def test_fails_in_its_last_turn() -> None:
    """There is one last turn; when it fails, the errback is called once, and the job has failed."""
    performer, told = Outage(failures=9), []
    with Batch(performer, 2, on_error='collect') as batch:
        job = batch.upload('bucket', 'out', b'', errback=told.append)

    assert told == [job.exception]
    assert performer.seen == ['out', 'out']
    assert [failed.key for failed in batch.failed] == ['out']


def test_after_the_other_jobs() -> None:
    """The last turns begin when the queue is empty."""
    performer = Outage()
    with Batch(performer, 1) as batch:
        for key in ('out1', 'out2', 'a', 'b'):
            batch.upload('bucket', key, b'')

    assert performer.seen == ['out1', 'out2', 'a', 'b', 'out1', 'out2']


def test_after_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the queue does not run dry, the last turn begins after WAIT_S, before the other jobs."""
    monkeypatch.setattr(last_turns, 'WAIT_S', 0.02)
    performer = Outage()
    with Batch(performer, 1) as batch:
        batch.upload('bucket', 'out', b'')
        number = 0
        while performer.seen.count('out') < 2:
            number += 1
            batch.upload('bucket', f'{number}', b'')
            gevent.sleep(0.001)

    assert batch.success()


@pytest.mark.parametrize(
    ('operation', 'options', 'arguments'),
    [
        ('upload', {'source': b'', 'retries': 0}, {'attempts': 1}),
        ('upload', {'source': b''}, {'cause': NotFound('gone')}),
        ('upload', {'source': b'', 'if_none_match': '*'}, {}),
        ('upload', {'source': iter([b'data'])}, {}),
        ('move', {'to_bucket': 'to', 'to_key': 'key'}, {}),
        ('delete', {'missing_ok': False}, {}),
    ],
)
def test_none(operation: str, options: dict[str, Any], arguments: dict[str, Any]) -> None:
    """No last turn: without retries, for other errors, and where an earlier turn changes the outcome of a later one."""
    performer = Outage(**arguments)
    with Batch(performer, 1, on_error='collect') as batch:
        getattr(batch, operation)('bucket', 'out', **options)

    assert performer.seen == ['out']
    assert len(batch.failed) == 1


def test_source_that_can_seek() -> None:
    """A source that can be read again gets a last turn."""
    performer = Outage()
    with Batch(performer, 1) as batch:
        batch.upload('bucket', 'out', io.BytesIO(b'data'))

    assert batch.success()


def test_at_most_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """If very many jobs wait, further ones fail at once."""
    monkeypatch.setattr(last_turns, 'MAX_WAITING', 2)
    performer = Outage()
    with Batch(performer, 1, on_error='collect') as batch:
        for number in range(4):
            batch.upload('bucket', f'out{number}', b'')

    assert [job.key for job in batch.failed] == ['out2', 'out3']


def waiting(performer: Outage, **options: Any) -> Batch:
    """A batch with a job that waits for its last turn, because another one is always queued."""
    batch = Batch(performer, 1, on_error='collect', **options)
    batch.upload('bucket', 'out', b'', errback=performer.cleaned.append)
    batch.head('bucket', 'wait1')
    settle()
    batch.head('bucket', 'wait2')
    assert performer.seen == ['out', 'wait1']
    assert (batch.pending, len(batch.failed)) == (3, 0)
    return batch


@pytest.mark.parametrize('end', ['cancel', 'deadline', 'block'])
def test_ends_with_its_first_error(end: str) -> None:
    """If the batch is stopped, a waiting job fails with its first error; it is not cancelled. Ctrl-C skips its errback."""
    performer = Outage()
    batch = waiting(performer, timeout_s=0.05 if end == 'deadline' else None)
    if end == 'cancel':
        batch.cancel()
    elif end == 'block':
        with pytest.raises(KeyboardInterrupt), batch:
            raise KeyboardInterrupt
    batch.wait()
    batch.close()

    errors = {job.key: type(job.error) for job in batch.failed}
    assert errors == {'out': UploadError, 'wait1': DeadlineExceeded if end == 'deadline' else Cancelled}
    assert [job.key for job in batch.not_started] == ['wait2']
    assert not batch.failed[[job.key for job in batch.failed].index('out')].is_cancelled
    told = [] if end == 'block' else [UploadError]
    assert [type(each) for each in performer.cleaned if each != 'wait1'] == told


def test_cancelled_while_it_waits() -> None:
    """job.cancel() ends a job that waits for its last turn."""
    performer = Outage()
    batch = waiting(performer)
    [job] = [job for job in batch._counting.open if job.ref.key == 'out']
    assert job.cancel()
    performer.gate.set()
    batch.wait()
    batch.close()

    assert isinstance(job.exception, Cancelled)
    assert performer.seen == ['out', 'wait1', 'wait2']


def test_max_failures_counts_those_that_wait() -> None:
    """A job that waits for its last turn has failed, as far as max_failures is concerned."""
    performer = Outage()
    with pytest.raises(BreakerOpen, match='stopped after 3 failures; the last one: out2 failed'):
        with Batch(performer, 1, max_failures=3) as batch:
            for number in range(99):
                batch.upload('bucket', f'out{number}', b'')

    assert performer.seen == ['out0', 'out1', 'out2']
    assert [job.key for job in batch.failed] == ['out0', 'out1', 'out2']


def test_one_job_for_observers() -> None:
    """A job with a last turn begins and ends once."""
    seen: list[tuple[str, Any]] = []

    class Watching:
        def began(self, activity: Activity) -> None:
            seen.append(('began', activity.key))

        def ended(self, activity: Activity, error: BaseException | None) -> None:
            seen.append(('ended', error))

    performer = Outage()
    performer.observer = Watching()  # type: ignore[assignment]  # the batch calls these two only
    with Batch(performer, 1) as batch:
        batch.upload('bucket', 'out', b'')

    assert seen == [('began', 'out'), ('ended', None)]
