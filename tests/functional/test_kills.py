"""Transfers that are killed or time out, at every stage: nothing is left, in the store or locally."""

from __future__ import annotations

import dataclasses
import gc
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET, impatient
from tests.support.kinds import KINDS, Kind
from tests.support.memory import MemoryTransport
from tests.support.noise import noise
from tests.support.servers import Store

SMALL_PARTS = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)
DATA = noise(20 * MIB + 11)  # five parts, so that some wait for a slot
DELAY_S = 0.6
KILLS = 200
MANY_STEPS = 300
PAUSE_S = 0.0005

# If a greenlet is killed while a socket connects, urllib3 drops the socket without closing it; it is garbage collected unused.
pytestmark = pytest.mark.filterwarnings('ignore:unclosed <.*socket:ResourceWarning')

End = Callable[[Callable[[], object], Callable[[], bool]], None]


@pytest.fixture(autouse=True)
def _nothing_stays_for_the_next_test() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def conn(store: Store, connect: Callable[..., s3po.Connection]) -> s3po.Connection:
    """A connection with small parts; the bucket exists."""
    connection = connect(store.endpoint_url, config=SMALL_PARTS)
    store.create_bucket(BUCKET)
    return connection


# --- ways to end a transfer: each starts it, and ends it as soon as it has made enough progress


def kill(transfer: Callable[[], object], has_come: Callable[[], bool]) -> None:
    greenlet = gevent.spawn(transfer)
    wait_until(has_come)
    greenlet.kill()
    assert isinstance(greenlet.value, gevent.GreenletExit)


def kill_twice(transfer: Callable[[], object], has_come: Callable[[], bool]) -> None:
    greenlet = gevent.spawn(transfer)
    wait_until(has_come)
    greenlet.kill(block=False)
    gevent.sleep(0.01)
    greenlet.kill()
    assert isinstance(greenlet.value, gevent.GreenletExit)


def time_out(transfer: Callable[[], object], has_come: Callable[[], bool]) -> None:
    timeout = gevent.Timeout()
    caller = gevent.getcurrent()

    def watch() -> None:
        wait_until(has_come)
        # Thrown by the hub, as a timer does.
        gevent.get_hub().loop.run_callback(caller.throw, timeout)

    watching = gevent.spawn(watch)
    with pytest.raises(gevent.Timeout) as caught:
        transfer()
    assert caught.value is timeout
    watching.get()


ENDS = pytest.mark.parametrize('end', [kill, kill_twice, time_out])


def wait_until(has_come: Callable[[], bool]) -> None:
    with gevent.Timeout(20, RuntimeError('it never came so far')):
        while not has_come():
            gevent.sleep(0.005)


def uploads(conn: s3po.Connection) -> list[Any]:
    """The open multipart uploads in the store."""
    return conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads', [])


def clean(conn: s3po.Connection) -> bool:
    """True if no multipart upload is left after the aborts in the background have ended."""
    conn.close()
    return uploads(conn) == []


def check_slots(conn: s3po.Connection) -> None:
    """Assert that all slots of the governor are free, and can be used."""
    assert repr(conn._wiring.governor()) == '<Governor width=3 free=3>'
    with conn.batch(5) as batch:
        jobs = [batch.upload(BUCKET, f'after-{number}', b'x') for number in range(10)]
    assert all(job.successful() for job in jobs)
    assert repr(conn._wiring.governor()) == '<Governor width=3 free=3>'


@ENDS
@pytest.mark.parametrize('stage', ['CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload'])
def test_upload(conn: s3po.Connection, store: Store, stage: str, end: End) -> None:
    """An upload that ends while a response is outstanding leaves no multipart upload, and either no object or all of it."""
    store.script({'operation': stage, 'skip': 1 if stage == 'UploadPart' else 0, 'action': {'delay_s': DELAY_S}})

    end(lambda: conn.upload(BUCKET, 'key', DATA), lambda: len(store.log(stage)) > (stage == 'UploadPart'))

    assert clean(conn)
    assert not conn.exists(BUCKET, 'key') or conn.download(BUCKET, 'key') == DATA
    check_slots(conn)


@pytest.mark.parametrize('stage', ['CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload'])
def test_upload_with_a_time_limit(conn: s3po.Connection, store: Store, stage: str) -> None:
    """An upload that exceeds timeout_s raises DeadlineExceeded; a gevent.Timeout of the caller is raised unchanged."""
    store.script({'operation': stage, 'action': {'delay_s': DELAY_S}})

    with pytest.raises(s3po.DeadlineExceeded, match=f's3://{BUCKET}/key: not done within its timeout_s of 0.4 s'):
        conn.upload(BUCKET, 'key', DATA, timeout_s=0.4)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.4):
        conn.upload(BUCKET, 'key', DATA)

    assert clean(conn)
    assert not conn.exists(BUCKET, 'key') or conn.download(BUCKET, 'key') == DATA
    check_slots(conn)


@pytest.mark.parametrize('stage', ['CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload'])
def test_all_that_may_run(store: Store, connect: Callable[..., s3po.Connection], stage: str) -> None:
    """If uploads are killed that hold all slots, their aborts do not wait for one another's slots."""
    conn = connect(store.endpoint_url, config=dataclasses.replace(SMALL_PARTS, max_requests=2))
    store.create_bucket(BUCKET)
    store.script({'operation': stage, 'action': {'delay_s': DELAY_S}})
    started = [gevent.spawn(conn.upload, BUCKET, f'key-{number}', DATA[: 6 * MIB]) for number in range(2)]
    wait_until(lambda: len(store.log(stage)) == 2)

    gevent.killall(started, timeout=20)

    assert all(upload.dead for upload in started)
    assert clean(conn)
    assert repr(conn._wiring.governor()) == '<Governor width=2 free=2>'


def test_upload_killed_while_it_is_aborted(conn: s3po.Connection, store: Store) -> None:
    """A second kill does not interrupt the clean-up of the first one."""
    store.script({'operation': 'UploadPart', 'action': {'delay_s': DELAY_S}})
    store.script({'operation': 'AbortMultipartUpload', 'action': {'delay_s': DELAY_S}, 'times': 1})
    upload = gevent.spawn(conn.upload, BUCKET, 'key', DATA)
    wait_until(lambda: store.log('UploadPart') != [])

    upload.kill(block=False)
    wait_until(lambda: store.log('AbortMultipartUpload') != [])
    upload.kill()

    assert upload.dead
    assert clean(conn)
    assert store.log('ListParts') != []
    check_slots(conn)


def test_abort_that_fails_at_first(conn: s3po.Connection, store: Store) -> None:
    """An abort is retried like any other request."""
    store.script({'operation': 'UploadPart', 'action': {'delay_s': DELAY_S}})
    store.script({'operation': 'AbortMultipartUpload', 'action': {'status': 500}, 'times': 2})

    kill(lambda: conn.upload(BUCKET, 'key', DATA), lambda: store.log('UploadPart') != [])

    assert clean(conn)
    assert len(store.log('AbortMultipartUpload')) == 3


def test_abort_that_fails(conn: s3po.Connection, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """If an abort fails, the log and the error name the upload."""
    store.script({'operation': 'UploadPart', 'action': {'status': 403, 'code': 'AccessDenied'}})
    store.script({'operation': 'AbortMultipartUpload', 'action': {'status': 403, 'code': 'AccessDenied'}})

    with pytest.raises(s3po.AccessDenied) as caught:
        conn.upload(BUCKET, 'key', DATA)

    (left,) = uploads(conn)
    assert left['UploadId'] in caught.value.__notes__[0]
    assert left['UploadId'] in caplog.text
    check_slots(conn)


@ENDS
def test_copy(conn: s3po.Connection, store: Store, connect: Callable[..., s3po.Connection], end: End) -> None:
    """A copy in parts that ends is aborted, too."""
    config = s3po.TransferConfig(multipart_copy_threshold=5 * MIB, multipart_copy_chunksize=5 * MIB, max_concurrency=3)
    copying = connect(store.endpoint_url, config=config)
    conn.upload(BUCKET, 'from', DATA)
    store.script({'operation': 'UploadPartCopy', 'action': {'delay_s': DELAY_S}})

    end(lambda: copying.copy(BUCKET, 'from', BUCKET, 'to'), lambda: store.log('UploadPartCopy') != [])

    assert clean(conn)
    assert not conn.exists(BUCKET, 'to')
    check_slots(copying)


@ENDS
@pytest.mark.parametrize('is_slow', ['the first answer', 'a later answer', 'the bodies'])
def test_download_to_a_path(conn: s3po.Connection, store: Store, tmp_path: Path, is_slow: str, end: End) -> None:
    """A download that ends leaves the older file unchanged, and no other file."""
    conn.upload(BUCKET, 'key', DATA)
    (tmp_path / 'target').write_bytes(b'old')
    drip = {'drip': {'bytes': MIB, 'every_s': DELAY_S}}
    action = drip if is_slow == 'the bodies' else {'delay_s': DELAY_S}
    is_later = is_slow == 'a later answer'
    store.script({'operation': 'GetObject', 'skip': int(is_later), 'action': action})

    end(lambda: conn.download(BUCKET, 'key', tmp_path / 'target'), lambda: len(store.log('GetObject')) > is_later)

    assert [path.name for path in tmp_path.iterdir()] == ['target']
    assert (tmp_path / 'target').read_bytes() == b'old'
    check_slots(conn)


@ENDS
def test_download_to_a_file_object(conn: s3po.Connection, store: Store, tmp_path: Path, end: End) -> None:
    """A download that ends leaves a file object as it was."""
    conn.upload(BUCKET, 'key', DATA)
    store.script({'operation': 'GetObject', 'skip': 3, 'action': {'delay_s': DELAY_S}})

    with open(tmp_path / 'target', 'wb') as file:
        file.write(b'before')
        end(lambda: conn.download(BUCKET, 'key', file), lambda: len(store.log('GetObject')) > 3)

    assert (tmp_path / 'target').read_bytes() == b'before'
    check_slots(conn)


def test_download_with_a_time_limit(conn: s3po.Connection, store: Store, tmp_path: Path) -> None:
    """A download that exceeds its time limit leaves the older file unchanged, and no other file."""
    conn.upload(BUCKET, 'key', DATA)
    (tmp_path / 'target').write_bytes(b'old')
    store.script({'operation': 'GetObject', 'action': {'drip': {'bytes': MIB, 'every_s': 0.3}}})

    with pytest.raises(s3po.DeadlineExceeded, match=f'download s3://{BUCKET}/key'):
        conn.download(BUCKET, 'key', tmp_path / 'target', timeout_s=0.5)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.5):
        conn.download(BUCKET, 'key', tmp_path / 'target')

    assert [path.name for path in tmp_path.iterdir()] == ['target']
    assert (tmp_path / 'target').read_bytes() == b'old'
    check_slots(conn)


def steps_of(transfer: Callable[[], object], pause_s: float = 0.0) -> tuple[int, float]:
    """How many turns other greenlets get while a transfer runs, and the length of each turn in seconds.

    If native threads read or write files there would be thousands of turns, which keep the threads from running; then the
    turns are longer.
    """
    greenlet = gevent.spawn(transfer)
    steps = 0
    while not greenlet.dead:
        gevent.sleep(pause_s)
        steps += 1
    greenlet.get()
    return (steps, pause_s) if steps < MANY_STEPS or pause_s else steps_of(transfer, PAUSE_S)


@pytest.mark.slow
def test_at_any_time(memory: MemoryTransport, tmp_path: Path) -> None:
    """A kill at any time leaves no multipart upload, no temporary file and no occupied slot, and takes effect soon."""
    config = dataclasses.replace(SMALL_PARTS, multipart_copy_threshold=5 * MIB, multipart_copy_chunksize=5 * MIB)
    conn = s3po.Connection(transport=memory, retry=impatient(), config=config)
    chance = random.Random(2)
    data, target = DATA[: 16 * MIB], tmp_path / 'target'
    memory.is_logging = False
    conn.upload(BUCKET, 'down', data)
    (tmp_path / 'source').write_bytes(data)
    transfers: list[Callable[[], object]] = [
        lambda: conn.upload(BUCKET, 'up', data),
        lambda: conn.upload(BUCKET, 'up', tmp_path / 'source'),
        lambda: conn.upload(BUCKET, 'up', iter([data])),
        lambda: conn.copy(BUCKET, 'down', BUCKET, 'up'),
        lambda: conn.download(BUCKET, 'down', target),
        lambda: conn.download(BUCKET, 'down'),
    ]
    steps = [steps_of(transfer) for transfer in transfers]
    killed = 0

    for _ in range(KILLS):
        chosen = chance.randrange(len(transfers))
        transfer = gevent.spawn(transfers[chosen])
        count, pause_s = steps[chosen]
        for _ in range(chance.randrange(1, max(2, count))):
            gevent.sleep(pause_s)
        for _ in range(chance.randrange(3)):
            transfer.kill(block=False)
            if chance.random() < 0.5:
                gevent.sleep(0)
        transfer.kill(timeout=20)
        assert transfer.dead
        conn.close()
        killed += isinstance(transfer.value, gevent.GreenletExit)
        assert memory.store.uploads(BUCKET) == []
        assert memory.in_flight == 0
        assert {path.name for path in tmp_path.iterdir()} <= {'source', 'target'}
        assert not target.exists() or target.read_bytes() == data
        assert not conn.exists(BUCKET, 'up') or conn.download(BUCKET, 'up') == data
        assert repr(conn._wiring.governor()) == '<Governor width=3 free=3>'

    # The other transfers succeeded: an upload that is being completed is not interrupted.
    assert killed > KILLS * 2 / 3
