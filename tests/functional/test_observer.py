"""The observer: its events of jobs and requests, over both transports. An observer cannot make a transfer fail."""

from __future__ import annotations

import collections
import os
import pathlib
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.errors import Throttled, TransferError
from s3po.jobs import Call
from s3po.model import ObjectRef
from s3po.observer import Activity, Progress
from tests.conftest import BUCKET
from tests.support.kinds import KINDS, Kind
from tests.support.memory import MemoryTransport
from tests.support.noise import noise
from tests.support.servers import Store

Connect = Callable[..., s3po.Connection]

PART = 5 * MIB
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
# Large enough for the faults to occur in each part.
LARGE = noise(11 * MIB + 7)
SMALL = os.urandom(1000)


class Recorder:
    """An observer that records the events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int | None]] = []
        self.numbers: list[int] = []
        self.sizes: list[int] = []
        self.errors: list[BaseException | None] = []

    def _record(self, event: str, activity: Activity) -> None:
        assert (activity.bucket, activity.key) == (BUCKET, 'key')
        self.events.append((event, activity.operation, activity.part_number))

    def began(self, activity: Activity) -> None:
        self._record('began', activity)

    def sized(self, activity: Activity, size_bytes: int) -> None:
        self.sizes.append(size_bytes)

    def moved(self, activity: Activity, size_bytes: int) -> None:
        self._record('moved', activity)
        self.numbers.append(size_bytes)

    def retried(self, activity: Activity, error: Exception) -> None:
        self._record('retried', activity)
        self.errors.append(error)

    def throttled(self, activity: Activity) -> None:
        self._record('throttled', activity)

    def ended(self, activity: Activity, error: BaseException | None) -> None:
        self._record('ended', activity)
        if error is not None:
            self.errors.append(error)

    def of(self, operation: str, part_number: int | None = None) -> list[str]:
        """The names of the events of one activity, without repetitions."""
        names = [name for name, *activity in self.events if activity == [operation, part_number]]
        return [name for name, before in zip(names, ['', *names], strict=False) if name != before]

    @property
    def least_bytes(self) -> int:
        """The smallest number of bytes in a `moved` event."""
        return min(self.numbers)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def observer() -> Recorder:
    return Recorder()


@pytest.fixture
def conn(store: Store, connect: Connect, observer: Recorder) -> s3po.Connection:
    """A connection with an observer; the bucket has two objects."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    store.create_bucket(BUCKET)
    connection.upload(BUCKET, 'large', LARGE)
    connection.upload(BUCKET, 'small', SMALL)
    connection.observer = observer
    return connection


def once(operation: str, times: int = 1, skip: int = 0, **action: Any) -> dict[str, Any]:
    return {'operation': operation, 'times': times, 'skip': skip, 'action': action}


def test_upload_in_parts(conn: s3po.Connection, observer: Recorder, tmp_path: pathlib.Path) -> None:
    """Each request begins and ends; the bytes of the parts add up to those of the object."""
    (tmp_path / 'file').write_bytes(LARGE)
    conn.upload_file(BUCKET, 'key', tmp_path / 'file')

    assert observer.of('CreateMultipartUpload') == observer.of('CompleteMultipartUpload') == ['began', 'ended']
    for number in (1, 2, 3):
        assert observer.of('UploadPart', number) == ['began', 'moved', 'ended']
    assert sum(observer.numbers) == len(LARGE)
    assert observer.least_bytes > 0
    assert observer.errors == []


@pytest.mark.parametrize('fault', [{'status': 500, 'work': True}, {'status': 503, 'code': 'SlowDown'}], ids=['500', '503'])
def test_part_that_is_sent_again(
    conn: s3po.Connection, store: Store, observer: Recorder, tmp_path: pathlib.Path, kind: Kind, fault: dict[str, Any]
) -> None:
    """Bytes of a failed attempt are subtracted again, so that the sum is right; a SlowDown is also reported as throttled."""
    (tmp_path / 'file').write_bytes(LARGE)
    store.script(once('UploadPart', **fault))
    conn.upload_file(BUCKET, 'key', tmp_path / 'file')

    counts = collections.Counter(name for name, *_ in observer.events)
    assert counts['retried'] == len(observer.errors) == 1
    assert counts['throttled'] == ('code' in fault) == isinstance(observer.errors[0], Throttled)
    assert counts['began'] == counts['ended'] == 5
    assert sum(observer.numbers) == len(LARGE)
    # boto3 sends a part from memory, so its bytes are reported when it is stored.
    if kind.name == 'wire' and 'work' in fault:
        assert observer.least_bytes < 0


def test_download_in_ranges(conn: s3po.Connection, store: Store, observer: Recorder) -> None:
    """The first request and each part are activities of their own."""
    conn.observer = None
    conn.upload(BUCKET, 'key', LARGE)
    conn.observer = observer

    assert conn.download(BUCKET, 'key') == LARGE
    assert observer.of('GetObject') == ['began', 'ended']
    for number in (1, 2, 3):
        assert observer.of('GetObject', number) == ['began', 'moved', 'ended']
    assert sum(observer.numbers) == len(LARGE)
    assert observer.least_bytes > 0


@pytest.mark.parametrize('fault', [{'cut_body_at': 1000}, {'flip_byte_at': 1000}], ids=['cut', 'spoiled'])
def test_range_that_comes_again(conn: s3po.Connection, store: Store, observer: Recorder, fault: dict[str, Any]) -> None:
    """A truncated part continues; parts that do not match the checksum are subtracted, and downloaded again."""
    conn.observer = None
    conn.upload(BUCKET, 'key', LARGE)
    conn.observer = observer
    store.script(once('GetObject', skip=1, **fault))

    assert conn.download(BUCKET, 'key') == LARGE
    assert sum(observer.numbers) == len(LARGE)
    assert ('flip_byte_at' in fault) == (observer.least_bytes < 0)
    assert ('cut_body_at' in fault) == any(name == 'retried' for name, *_ in observer.events)


def test_replaced_while_it_is_read(conn: s3po.Connection, store: Store, observer: Recorder) -> None:
    """The bytes of an old version are subtracted."""
    conn.observer = None
    conn.upload(BUCKET, 'key', LARGE)
    conn.observer = observer
    store.script(once('GetObject', skip=1, status=412, code='PreconditionFailed'))

    assert conn.download(BUCKET, 'key') == LARGE
    assert sum(observer.numbers) == len(LARGE)


def test_small_objects_in_a_batch(conn: s3po.Connection, observer: Recorder) -> None:
    """The events of a job: the job begins, its request begins, the bytes move, both end."""
    with conn.batch(1) as batch:
        batch.upload(BUCKET, 'key', SMALL)
        batch.download(BUCKET, 'key')

    assert observer.events == [
        ('began', 'upload', None),
        ('began', 'PutObject', None),
        ('moved', 'PutObject', None),
        ('ended', 'PutObject', None),
        ('ended', 'upload', None),
        ('began', 'download', None),
        ('began', 'GetObject', None),
        ('moved', 'GetObject', None),
        ('ended', 'GetObject', None),
        ('ended', 'download', None),
    ]
    assert observer.numbers == [len(SMALL)] * 2


def test_throttled_for_good(store: Store, connect: Callable[..., s3po.Connection], observer: Recorder) -> None:
    """Each SlowDown is reported, also in the last turn of the job, and both the request and the job end with the error."""
    store.create_bucket(BUCKET)
    conn = connect(store.endpoint_url, config=s3po.TransferConfig(throttle_timeout_s=0))
    conn.observer = observer
    store.script(once('PutObject', times=10, status=503, code='SlowDown'))
    with conn.batch(1, on_error='collect') as batch:
        job = batch.upload(BUCKET, 'key', SMALL)
        batch.wait()

    names = [name for name, *_ in observer.events]
    turn = ['began', *['throttled', 'retried'] * 3, 'throttled', 'ended']
    assert names == ['began', *turn, *turn, 'ended']
    assert observer.numbers == []
    assert isinstance(observer.errors[-1], TransferError)
    assert observer.errors[-1] is job.exception
    assert conn._wiring.governor().throttled == 8


def test_observer_of_a_call(conn: s3po.Connection, store: Store, observer: Recorder) -> None:
    """The internal option `observer` of a call receives the events of this call, beside the connection's observer."""
    moved: list[int] = []
    confirmed: list[int] = []
    call = Call('upload', ObjectRef(bucket=BUCKET, key='key'), {'source': LARGE, 'observer': Progress(moved.append)})
    store.script(once('UploadPart', status=500, work=True))
    conn.perform(call)

    assert sum(moved) == sum(observer.numbers) == len(LARGE)
    assert moved == observer.numbers

    counting = Progress(confirmed.append, is_confirmed=True)
    store.script(once('UploadPart', status=500, work=True))
    with conn.batch(1) as batch:
        batch.submit(Call('upload', call.ref, {**call.options, 'observer': counting}), None, None)
    assert sorted(confirmed) == [1 * MIB + 7, PART, PART]

    conn.observer = None
    confirmed.clear()
    conn.perform(Call('download', call.ref, {'observer': counting}))
    assert sum(confirmed) == len(LARGE)


def test_cancelled_job(conn: s3po.Connection, observer: Recorder) -> None:
    """A job that is cancelled before it starts has an `ended` event only."""
    batch = conn.batch(1, on_error='collect')
    batch.upload(BUCKET, 'key', SMALL)
    batch.cancel()
    batch.close()

    assert [name for name, operation, _ in observer.events if operation == 'upload'] == ['ended']


def test_failing_observer(memory: MemoryTransport, caplog: pytest.LogCaptureFixture) -> None:
    """An exception of the observer is logged and changes nothing else; a kill passes through it."""

    class Failing(Recorder):
        def _record(self, event: str, activity: Activity) -> None:
            raise ValueError(event)

    connection = s3po.Connection(transport=memory)
    connection.observer = Failing()
    with connection.batch(2) as batch:
        batch.upload(BUCKET, 'key', SMALL)
    assert connection.download(BUCKET, 'key') == SMALL
    assert caplog.text.count('an observer failed') == 8

    connection.observer.began = lambda activity: gevent.sleep(10)  # type: ignore[method-assign, union-attr]
    killed = gevent.spawn(connection.download, BUCKET, 'key')
    gevent.sleep(0)
    killed.kill()
    assert isinstance(killed.value, gevent.GreenletExit)


def test_no_observer(memory: MemoryTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an observer, nothing is reported."""
    for module in ('s3po.transfer.attempts', 's3po.batch.running', 's3po.batch.counting'):
        monkeypatch.delattr(f'{module}.report')
    connection = s3po.Connection(transport=memory, config=IN_PARTS)
    with connection.batch(2) as batch:
        for data in (SMALL, LARGE):
            batch.upload(BUCKET, 'key', data)
            batch.wait()
            batch.download(BUCKET, 'key')

    assert batch.results()[1::2] == [SMALL, LARGE]
