"""After several failures in a row of one scope, its jobs wait for one that probes, and then go on or are not started."""

from __future__ import annotations

import errno
import itertools
import os
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from s3po.batch import Batch, breaker
from s3po.errors import (
    AccessDenied,
    BatchError,
    BreakerOpen,
    CredentialsError,
    CredentialsExpired,
    DownloadError,
    LocalError,
    NoSuchBucket,
    NotFound,
    S3poError,
)
from s3po.jobs import Call
from s3po.model import Outcome
from tests.support.performer import Performer

Fault = Callable[[Call], S3poError | None]

WIDTH = 4


class Faulty(Performer):
    """A connection whose calls fail with what `fault` returns."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.fault = fault
        self.sent: list[str] = []

    def perform(self, call: Call) -> Outcome:
        self.sent.append(call.ref.bucket)
        gevent.sleep(0)
        error = self.fault(call)
        if error is not None:
            raise error
        return super().perform(call)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(breaker, 'PAUSE_S', 0.001)
    with gevent.Timeout(20):
        yield


def no_bucket(call: Call) -> S3poError | None:
    return NoSuchBucket('no such bucket', status=404, code='NoSuchBucket') if call.ref.bucket == 'missing' else None


def refused(code: str) -> AccessDenied:
    return AccessDenied('refused', status=403, code=code)


def test_missing_bucket() -> None:
    """The jobs of a missing bucket stop after 5 failures and a probe, with one error; those of other buckets are done."""
    performer = Faulty(no_bucket)
    with Batch(performer, WIDTH, on_error='collect') as batch:
        for number in range(200):
            batch.upload('missing' if number % 2 else 'bucket', f'{number}', b'')

    assert performer.sent.count('missing') <= 5 + WIDTH
    assert performer.sent.count('bucket') == 100
    assert {type(job.error) for job in batch.failed} == {NoSuchBucket}
    assert len(batch.failed) + len(batch.not_started) == 100
    assert len({id(job.error) for job in batch.not_started}) == 1
    error = batch.not_started[0].error
    assert isinstance(error, BreakerOpen)
    assert isinstance(error.__cause__, NoSuchBucket)
    assert 'bucket missing: stopped after' in str(error)
    assert 'create the bucket, or correct its name' in str(error)
    with pytest.raises(BatchError, match=r'jobs not started \(BreakerOpen: bucket missing: stopped'):
        batch.raise_for_errors()


def test_bucket_that_is_created_meanwhile() -> None:
    """If the probe succeeds, the other jobs follow, and the breaker is off."""
    tries = [0]

    def fault(call: Call) -> S3poError | None:
        tries[0] += 1
        return NoSuchBucket('not yet') if tries[0] <= 6 else None

    performer = Faulty(fault)
    with Batch(performer, WIDTH, on_error='collect') as batch:
        for number in range(100):
            batch.upload('missing', f'{number}', b'')

    assert len(batch.failed) == 6
    assert list(batch.not_started) == []
    assert batch.report().succeeded == 94
    assert batch._runner.breaker is None


def test_only_in_a_row() -> None:
    """A success between the failures resets their number."""
    tries = [0]

    def fault(call: Call) -> S3poError | None:
        tries[0] += 1
        return None if tries[0] % 5 == 0 else NoSuchBucket('not always')

    with Batch(Faulty(fault), 1, on_error='collect') as batch:
        for number in range(100):
            batch.upload('bucket', f'{number}', b'')

    assert (len(batch.failed), len(batch.not_started)) == (80, 0)


@pytest.mark.parametrize(
    'error',
    [
        refused('InvalidAccessKeyId'),
        refused('ExpiredToken'),
        CredentialsExpired('expired', code='ExpiredToken'),
        CredentialsError('none'),
    ],
    ids=lambda error: f'{type(error).__name__} {getattr(error, "code", "")}',
)
def test_rejected_credentials(error: S3poError) -> None:
    """Rejected credentials are read again once; if the probe fails too, the batch stops, and submissions are refused."""
    performer = Faulty(lambda call: error)
    with pytest.raises(BreakerOpen, match='the credentials of the connection: stopped') as caught:
        with Batch(performer, WIDTH) as batch:
            for number in itertools.count():
                batch.upload(f'bucket{number}', 'key', b'')

    assert performer.renewals == 1
    assert len(performer.sent) <= 5 + WIDTH
    assert len(batch.failed) == len(performer.sent)
    assert batch.report().submitted == len(batch.failed) + len(batch.not_started)
    assert caught.value.__cause__ is error


def test_renewed_credentials() -> None:
    """If the credentials that were read again are good, the batch goes on."""
    performer = Faulty(lambda call: refused('ExpiredToken') if performer.renewals == 0 else None)
    with Batch(performer, WIDTH, on_error='collect') as batch:
        for number in range(100):
            batch.upload('bucket', f'{number}', b'')

    assert performer.renewals == 1
    assert 5 <= len(batch.failed) <= 5 + WIDTH
    assert list(batch.not_started) == []


def test_remedy_that_raises() -> None:
    """If the credentials cannot be read again, one job probes all the same."""

    class Broken(Faulty):
        def renew_credentials(self) -> None:
            raise OSError('no file')

    performer = Broken(lambda call: None if len(performer.sent) > 5 else refused('ExpiredToken'))
    with Batch(performer, 1, on_error='collect') as batch:
        for number in range(20):
            batch.upload('bucket', f'{number}', b'')

    assert len(batch.failed) == 5
    assert batch.report().succeeded == 15


def test_access_denied() -> None:
    """AccessDenied stops one operation in one bucket, after 20 in a row."""

    def fault(call: Call) -> S3poError | None:
        return refused('AccessDenied') if (call.operation, call.ref.bucket) == ('download', 'closed') else None

    performer = Faulty(fault)
    with Batch(performer, WIDTH, on_error='collect') as batch:
        for number in range(100):
            batch.download('closed', f'{number}')
            batch.upload('closed', f'{number}', b'')
            batch.download('open', f'{number}')

    assert 21 <= len(batch.failed) <= 20 + WIDTH
    assert len(batch.failed) + len(batch.not_started) == 100
    assert batch.report().succeeded == 200
    assert 'download in bucket closed' in str(batch.not_started[0].error)


def test_missing_keys_without_permission_to_list() -> None:
    """S3 refuses requests for missing keys where listing is not allowed: that alone stops nothing."""
    performer = Faulty(lambda call: None if int(call.ref.key) % 15 == 0 else refused('AccessDenied'))
    with Batch(performer, 1, on_error='collect') as batch:
        for number in range(150):
            batch.download('bucket', f'{number}')

    assert batch.report().not_started == 0
    assert batch.report().succeeded == 10


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A full disk stops the downloads to that file system; other downloads and uploads are done."""
    devices = {str(tmp_path / 'full'): 7, str(tmp_path / 'free'): 8}
    stat = os.stat

    def fake_stat(path: Any, **options: Any) -> Any:
        found = stat(path, **options)
        device = devices.get(str(path))
        return found if device is None else os.stat_result([*found[:2], device, *found[3:]])

    def fault(call: Call) -> S3poError | None:
        path = call.options.get('path')
        if call.operation == 'download_file' and path.parent.name == 'full':
            return LocalError('cannot write', errno=number, filename=str(path))
        return None

    for name in ('full', 'free'):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(breaker.os, 'stat', fake_stat)
    performer = Faulty(fault)
    with Batch(performer, WIDTH, on_error='collect') as batch:
        for index in range(60):
            batch.download_file('bucket', f'{index}', tmp_path / 'full' / f'{index}')
            batch.download_file('bucket', f'{index}', tmp_path / 'free' / f'{index}')
            batch.upload('bucket', f'{index}', b'')

    assert 6 <= len(batch.failed) <= 5 + WIDTH
    assert len(batch.failed) + len(batch.not_started) == 60
    assert batch.report().succeeded == 120
    assert 'free some space' in str(batch.not_started[0].error)


def test_probe_without_a_result() -> None:
    """A probe that fails for another reason, or is cancelled, decides nothing: the next job probes."""

    def fault(call: Call) -> S3poError | None:
        if call.ref.key == 'other' or len(performer.sent) == 6:
            return NotFound('no such key')
        return NoSuchBucket('not yet') if len(performer.sent) < 6 else None

    performer = Faulty(fault)
    with Batch(performer, 1, on_error='collect') as batch:
        for number in range(30):
            batch.download('bucket', f'{number}')

    assert [type(job.error) for job in batch.failed] == [NoSuchBucket] * 5 + [NotFound]
    assert batch.report().succeeded == 24


def test_cancelled_probe() -> None:
    """A probe that is cancelled before or while it runs is replaced by the next job."""
    is_missing = [True]

    def fault(call: Call) -> S3poError | None:
        if call.ref.key == 'wait':
            gevent.sleep(100)
        return NoSuchBucket('not yet') if is_missing[0] else None

    performer = Faulty(fault)
    with Batch(performer, 2, on_error='collect') as batch:
        for number in range(5):
            batch.download('bucket', f'{number}')
        batch.wait()
        is_missing[0] = False
        waiting = batch.download('bucket', 'wait')
        others = [batch.download('bucket', f'more{number}') for number in range(3)]
        while 'wait' not in [job.ref.key for job in batch._workers.running()]:
            gevent.sleep(0.001)
        gevent.sleep(0.01)
        assert batch.pending == 4
        waiting.cancel()

    assert [job.successful() for job in others] == [True] * 3
    assert [job.key for job in batch.failed] == ['0', '1', '2', '3', '4', 'wait']


def test_stopped_while_jobs_wait() -> None:
    """cancel() ends the jobs that wait for a probe: they never began."""

    def fault(call: Call) -> S3poError | None:
        if call.ref.key == 'wait':
            gevent.sleep(100)
        return NoSuchBucket('missing')

    with Batch(Faulty(fault), 2, on_error='collect') as batch:
        for number in range(5):
            batch.download('bucket', f'{number}')
        batch.wait()
        for key in ('wait', 'a', 'b'):
            batch.download('bucket', key)
        gevent.sleep(0.02)
        batch.cancel()

    assert [job.key for job in batch.failed] == ['0', '1', '2', '3', '4', 'wait']
    assert {job.key for job in batch.not_started} == {'a', 'b'}


def test_more_than_are_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many jobs are set aside; then the workers wait, and so does the producer."""
    monkeypatch.setattr(breaker, 'MAX_ASIDE', 3)
    monkeypatch.setattr(breaker, 'PAUSE_S', 0.05)
    performer = Faulty(lambda call: NoSuchBucket('not yet') if len(performer.sent) <= 5 else None)
    with Batch(performer, 1, on_error='collect') as batch:
        for number in range(5):
            batch.download('bucket', f'{number}')
        batch.wait()
        producer = gevent.spawn(lambda: [batch.download('bucket', f'more{number}') for number in range(20)])
        gevent.sleep(0.02)
        assert batch.report().submitted < 5 + 3 + 4
        producer.join()

    assert batch.report().succeeded == 20


def test_failed_retries_count_by_their_cause() -> None:
    """The error of a job whose retries were used up counts by its cause."""

    def fault(call: Call) -> S3poError | None:
        error = DownloadError('gave up', attempts=2)
        error.__cause__ = CredentialsExpired('expired', code='ExpiredToken')
        return error

    performer = Faulty(fault)
    with pytest.raises(BreakerOpen), Batch(performer, 1) as batch:
        for number in itertools.count():
            batch.download('bucket', f'{number}')

    assert len(performer.sent) == 6


def test_costs_nothing_without_failures() -> None:
    """While nothing fails, the breaker is not called."""
    performer = Performer()
    with Batch(performer, 1) as batch:
        batch._breaker.admits = batch._breaker.succeeded = batch._breaker.left = None  # type: ignore[assignment,method-assign]
        batch.head('bucket', 'key')

    assert batch.success()


def test_loop_into_a_bucket_that_has_stopped() -> None:
    """A plain loop ends: after 100 submissions in a row for a scope that has stopped, the next ones raise its error.

    What was submitted is in `failed` or `not_started`, and calls for other buckets are accepted.
    """
    performer = Faulty(no_bucket)
    with Batch(performer, WIDTH, on_error='collect') as batch:
        with pytest.raises(BreakerOpen, match='bucket missing: stopped') as caught:
            for number in itertools.count():
                batch.upload('missing', f'{number}', b'')
        with pytest.raises(BreakerOpen):
            batch.upload('missing', 'once more', b'')
        assert batch.upload('bucket', 'other', b'').get()
        for number in range(100):
            batch.upload('missing', f'again{number}', b'')

    assert number < 300
    assert isinstance(caught.value.__cause__, NoSuchBucket)
    assert performer.sent.count('missing') <= 5 + WIDTH
    refused = [job.key for job in batch.not_started]
    assert len(batch.failed) + len(refused) == batch.report().submitted - 1
    assert len({id(job.error) for job in batch.not_started}) == 1
    assert 'once more' not in refused


def test_raises_at_the_end_of_a_block() -> None:
    """Without a handler in the block, its BreakerOpen is what the program sees."""
    with pytest.raises(BreakerOpen, match='create the bucket, or correct its name'):
        with Batch(Faulty(no_bucket), WIDTH, keep_results=False) as batch:
            for number in itertools.count():
                batch.upload('missing', f'{number}', b'')

    assert batch.pending == 0
    assert batch.report().submitted == len(batch.failed) + len(batch.not_started)


class OtherStore(Performer):
    """The connection of another store.

    Attributes:
        fault: The error of a copy to it, as s3po raises it; None for no error.
    """

    def __init__(self, fault: S3poError | None, endpoint_url: str = 'http://other') -> None:
        super().__init__()
        self.fault = fault
        self.endpoint_url = endpoint_url
        if fault is not None:
            fault.is_of_other_store = True


def fault_of_other_store(call: Call) -> S3poError | None:
    to = call.options.get('to')
    return to.fault if isinstance(to, OtherStore) else None


@pytest.mark.parametrize(
    ('error', 'named', 'limit'),
    [
        (NoSuchBucket('no such bucket', status=404), r'bucket bucket of the other store \(http://other\): stopped', 5),
        (refused('InvalidAccessKeyId'), r'the credentials of the connection of the other store \(http://other\): ', 5),
        (CredentialsError('none'), 'the credentials of the connection of the other store', 5),
        (refused('AccessDenied'), 'copy in bucket bucket of the other store', 20),
    ],
    ids=['bucket', 'rejected', 'none', 'access'],
)
def test_other_store(error: S3poError, named: str, limit: int) -> None:
    """Failures of the other store of a copy stop the copies to it; other copies, and all else in the batch, are done."""
    performer, bad, good = Faulty(fault_of_other_store), OtherStore(error), OtherStore(None)
    with Batch(performer, WIDTH, on_error='collect') as batch:
        for number in range(100):
            batch.copy('bucket', f'{number}', 'bucket', 'a', to=bad)
            batch.copy('bucket', f'{number}', 'bucket', 'b', to=good)
            batch.copy('bucket', f'{number}', 'bucket', 'c')
            batch.upload('bucket', f'{number}', b'')

    assert limit + 1 <= len(batch.failed) <= limit + WIDTH
    assert len(batch.failed) + len(batch.not_started) == 100
    assert batch.report().succeeded == 300
    assert {job.options['to'] for job in batch.not_started} == {bad}
    assert re.search(named, str(batch.not_started[0].error))
    is_about_keys = 'credentials' in named
    assert (performer.renewals, bad.renewals, good.renewals) == (0, int(is_about_keys), 0)


def test_source_of_a_copy_to_another_store() -> None:
    """Failures of the source stop the jobs of the source."""
    performer, to = Faulty(no_bucket), OtherStore(None)
    with Batch(performer, WIDTH, on_error='collect') as batch:
        for number in range(100):
            batch.copy('missing', f'{number}', 'bucket', 'a', to=to)
            batch.copy('bucket', f'{number}', 'missing', 'b', to=to)

    assert {job.bucket for job in batch.not_started} == {'missing'}
    assert 'bucket missing: stopped' in str(batch.not_started[0].error)
    assert batch.report().succeeded == 100
    assert to.renewals == 0


def test_renewed_credentials_of_the_other_store() -> None:
    """The credentials of the other connection are read again, and the copies go on."""
    to = OtherStore(refused('ExpiredToken'))
    performer = Faulty(lambda call: to.fault if to.renewals == 0 else None)
    with Batch(performer, WIDTH, on_error='collect') as batch:
        for number in range(100):
            batch.copy('bucket', f'{number}', 'bucket', 'a', to=to)

    assert (performer.renewals, to.renewals) == (0, 1)
    assert 5 <= len(batch.failed) <= 5 + WIDTH
    assert list(batch.not_started) == []
