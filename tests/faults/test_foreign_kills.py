"""Greenlets of s3po killed by user code (F66): an unfinished transfer never counts as finished."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.errors import Cancelled, S3poError
from s3po.files.reader import FIRST_BYTES, GROWTH
from tests.conftest import BUCKET
from tests.support.noise import noise
from tests.support.servers import Store

PART = 5 * MIB
CONFIG = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=3)
DATA = noise(20 * MIB + 11)
SLOW = {'delay_s': 0.5}
LONGEST_S = 120.0
KILLS = 60

Connect = Callable[..., s3po.Connection]
# gevent's stubs require type parameters of Greenlet.
Spawned = list[Any]


@pytest.fixture
def spawned() -> Iterator[Spawned]:
    """A list of all greenlets that are spawned from now on."""
    found: Spawned = []
    gevent.Greenlet.add_spawn_callback(found.append)
    yield found
    gevent.Greenlet.remove_spawn_callback(found.append)
    found.clear()


@pytest.fixture
def conn(store: Store, connect: Connect) -> s3po.Connection:
    """A connection with small parts; the bucket exists."""
    connection = connect(store.endpoint_url, config=CONFIG)
    store.create_bucket(BUCKET)
    return connection


def when(has_come: Callable[[], bool], then: Callable[[], None]) -> Any:
    """Spawn a greenlet that calls `then` as soon as `has_come` returns True; it fails if that takes too long."""

    def wait() -> None:
        with gevent.Timeout(LONGEST_S, RuntimeError('it never came')):
            while not has_come():
                gevent.sleep(0.002)
        then()

    return gevent.spawn(wait)


def kill_at_once(started: Any) -> None:
    started.kill(block=False)


def living(spawned: Spawned) -> Spawned:
    return [each for each in spawned if not each.dead and each is not gevent.getcurrent()]


@pytest.mark.fault('F66')
@pytest.mark.parametrize('is_begun', [True, False])
def test_part_of_a_download(conn: s3po.Connection, store: Store, tmp_path: Path, spawned: Spawned, is_begun: bool) -> None:
    """If a greenlet that downloads a part is killed, the download fails and its target is unchanged."""
    conn.upload(BUCKET, 'key', DATA)
    (tmp_path / 'target').write_bytes(b'old')
    store.script({'operation': 'GetObject', 'skip': 1, 'times': None, 'action': SLOW})
    seen = len(store.log('GetObject'))
    spawned.clear()
    killing = when(
        (lambda: len(store.log('GetObject')) > seen + 2) if is_begun else (lambda: len(living(spawned)) > 1),
        lambda: living(spawned)[-1].kill(block=False),
    )
    spawned.clear()

    found = DATA
    try:
        conn.download(BUCKET, 'key', tmp_path / 'target')
    except S3poError as error:
        found, text = b'old', str(error)
        assert 'killed' in text

    killing.get()
    # If the killed greenlet had not sent its request, it may have been opening a connection, which is retried.
    assert (tmp_path / 'target').read_bytes() == found
    assert found == b'old' or not is_begun


@pytest.mark.fault('F66')
def test_part_of_a_download_in_order(conn: s3po.Connection, store: Store, tmp_path: Path, spawned: Spawned) -> None:
    """If a greenlet that downloads a part into a file object is killed, the download fails."""
    conn.upload(BUCKET, 'key', DATA)
    store.script({'operation': 'GetObject', 'skip': 1, 'times': None, 'action': SLOW})
    seen = len(store.log('GetObject'))
    killing = when(lambda: len(store.log('GetObject')) > seen + 2, lambda: living(spawned)[-1].kill(block=False))
    spawned.clear()

    with open(tmp_path / 'target', 'w+b') as file, pytest.raises(S3poError, match='killed'):
        conn.download(BUCKET, 'key', file)

    killing.get()
    assert (tmp_path / 'target').read_bytes() == b''


@pytest.mark.fault('F66')
@pytest.mark.parametrize('source', ['bytes', 'stream'])
def test_part_of_an_upload(conn: s3po.Connection, store: Store, spawned: Spawned, source: str) -> None:
    """If a greenlet that uploads a part is killed, the upload fails and publishes nothing."""
    store.script({'operation': 'UploadPart', 'times': None, 'action': SLOW})
    killing = when(lambda: len(store.log('UploadPart')) > 2, lambda: living(spawned)[-1].kill(block=False))
    spawned.clear()

    with pytest.raises(S3poError, match='killed'):
        conn.upload(BUCKET, 'key', DATA if source == 'bytes' else iter([DATA]))

    killing.get()
    assert not conn.exists(BUCKET, 'key')
    assert store.log('CompleteMultipartUpload') == []


@pytest.mark.fault('F66')
def test_part_of_a_copy(conn: s3po.Connection, store: Store, connect: Connect, spawned: Spawned) -> None:
    """If a greenlet that copies a part is killed, the copy fails and publishes nothing."""
    config = s3po.TransferConfig(multipart_copy_threshold=PART, multipart_copy_chunksize=PART, max_concurrency=3)
    copying = connect(store.endpoint_url, config=config)
    conn.upload(BUCKET, 'key', DATA)
    store.script({'operation': 'UploadPartCopy', 'times': None, 'action': SLOW})
    killing = when(lambda: len(store.log('UploadPartCopy')) > 2, lambda: living(spawned)[-1].kill(block=False))
    spawned.clear()

    with pytest.raises(S3poError, match='killed'):
        copying.copy(BUCKET, 'key', BUCKET, 'copy')

    killing.get()
    assert not conn.exists(BUCKET, 'copy')


@pytest.mark.fault('F66')
@pytest.mark.parametrize('is_begun', [True, False])
def test_range_of_a_reader(conn: s3po.Connection, store: Store, spawned: Spawned, is_begun: bool) -> None:
    """If the greenlet that fetches a range is killed, read() raises and returns no zeros; the next read() continues."""
    conn.upload(BUCKET, 'key', DATA)
    found = b''
    with conn.open(BUCKET, 'key', block_size=MIB, read_ahead=2) as reader:
        found += reader.read(128 * 1024)
        if is_begun:
            # Three ranges are requested at once. Only the first one, which read() waits for, is sent without a delay.
            wanted = {'range': f'bytes={FIRST_BYTES}-{FIRST_BYTES + FIRST_BYTES * GROWTH - 1}'}
            store.script({'headers': wanted, 'action': {'delay_s': 0}}, {'operation': 'GetObject', 'times': 2, 'action': SLOW})
            spawned.clear()
            found += reader.read(1)
            assert wanted['range'] in [seen['headers'].get('range') for seen in store.log('GetObject')]
            for each in living(spawned):
                each.kill(block=False)
        else:
            gevent.Greenlet.add_spawn_callback(kill_at_once)
            with pytest.raises(S3poError, match='killed'):
                reader.read(1)
            gevent.Greenlet.remove_spawn_callback(kill_at_once)
        failures = 0
        while len(found) < len(DATA):
            # A read() that raises keeps the position, so its bytes are read again.
            reader.seek(len(found))
            try:
                piece = reader.read(MIB)
            except S3poError:
                failures += 1
            else:
                assert piece
                found += piece
    assert failures == is_begun
    assert found == DATA


@pytest.mark.fault('F66')
@pytest.mark.parametrize('is_begun', [True, False])
def test_upload_of_a_writer(conn: s3po.Connection, spawned: Spawned, is_begun: bool) -> None:
    """If the upload of a writer is killed, the writer raises an error, publishes nothing, and does not wait forever."""
    with gevent.Timeout(LONGEST_S, RuntimeError('it waits')), pytest.raises(S3poError, match='killed'):
        writer = conn.open(BUCKET, 'key', 'wb')
        try:
            spawned.clear()
            writer.write(DATA[:PART])
            if is_begun:
                gevent.sleep(0.05)
            for each in living(spawned):
                each.kill(block=False)
            gevent.sleep(0.05)
            writer.write(DATA[PART : 2 * PART])
            writer.write(DATA[2 * PART : 3 * PART])
            writer.close()
        finally:
            writer.abort()

    assert not conn.exists(BUCKET, 'key')


@pytest.mark.fault('F66')
def test_request_for_an_upload_id(conn: s3po.Connection, store: Store, spawned: Spawned) -> None:
    """A kill of the greenlet that creates the multipart upload fails the upload with s3po's own error."""
    store.script({'operation': 'CreateMultipartUpload', 'action': SLOW})
    killing = when(lambda: store.log('CreateMultipartUpload') != [], lambda: living(spawned)[-1].kill(block=False))
    spawned.clear()

    with pytest.raises(S3poError, match='killed'):
        conn.upload(BUCKET, 'key', DATA)

    killing.get()
    assert not conn.exists(BUCKET, 'key')
    # The upload id is unknown to s3po, so it could not be aborted.
    for upload in conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads', []):
        conn.conn.abort_multipart_upload(Bucket=BUCKET, Key=upload['Key'], UploadId=upload['UploadId'])


@pytest.mark.fault('F66')
def test_fed_upload(conn: s3po.Connection, spawned: Spawned) -> None:
    """upload_generator() raises an error if its upload was killed before it started."""
    from s3po.interfaces.streaming import upload_generator

    upload = upload_generator(conn, BUCKET, 'key')
    next(upload)
    for each in living(spawned):
        each.kill(block=False)
    gevent.sleep(0)
    with pytest.raises(S3poError, match='killed'):
        upload.send(b'data')
        upload.send(None)
    upload.close()
    assert not conn.exists(BUCKET, 'key')


@pytest.mark.fault('F66')
def test_worker(conn: s3po.Connection, store: Store, spawned: Spawned) -> None:
    """If a worker is killed, its job fails and is reported; a new worker does the other jobs."""
    store.script({'operation': 'PutObject', 'skip': 1, 'times': 1, 'action': SLOW})
    told: list[BaseException] = []
    with pytest.raises(s3po.BatchError, match='killed') as caught, conn.batch(1) as batch:
        spawned.clear()
        killing = when(lambda: len(store.log('PutObject')) > 1, lambda: living(spawned)[0].kill(block=False))
        spawned.remove(killing)
        for number in range(5):
            batch.upload(BUCKET, f'{number}', b'x', errback=told.append)
    killing.get()
    (failed,) = caught.value.failed
    assert failed.key == '1'
    assert told == [failed.error]
    assert not isinstance(failed.error, Cancelled)
    assert [conn.exists(BUCKET, f'{number}') for number in (0, 2, 3, 4)] == [True] * 4


@pytest.mark.slow
@pytest.mark.fault('F66')
@pytest.mark.leaves_upload('clean-up is killed, too')
@pytest.mark.parametrize('seed', range(2))
def test_any_greenlet(conn: s3po.Connection, tmp_path: Path, spawned: Spawned, seed: int) -> None:
    """Whichever greenlets are killed: jobs reported as done are right, all others are reported as failed, the batch ends."""
    chance = random.Random(seed)
    conn.upload(BUCKET, 'large', DATA)
    bodies = {f'small{number}': os.urandom(2000 + number) for number in range(40)}
    killed: list[Any] = []
    spawned.clear()

    def kill_on() -> None:
        while len(killed) < KILLS:
            gevent.sleep(chance.uniform(0.001, 0.05))
            spawned[:] = found = [each for each in spawned if not each.dead and each is not killer]
            if found:
                killed.append(chance.choice(found))
                killed[-1].kill(block=False)

    killer = gevent.spawn(kill_on)
    with gevent.Timeout(LONGEST_S, RuntimeError('it never ends')):
        rounds = 0
        while not killer.dead:
            rounds += 1
            with conn.batch(6, on_error='collect') as batch:
                ups = {key: batch.upload(BUCKET, key, body) for key, body in bodies.items()}
                large = batch.upload(BUCKET, f'up{rounds}', DATA)
                downs = [batch.download(BUCKET, 'large', tmp_path / f'{rounds}-{number}') for number in range(2)]
                memory = batch.download(BUCKET, 'large')
            assert list(batch.failed) == [failed for failed in batch.failed if not isinstance(failed.error, Cancelled)]
            for key, job in ups.items():
                assert not job.successful() or conn_of(conn, key) == bodies[key]
            assert not large.successful() or conn_of(conn, f'up{rounds}') == DATA
            assert conn_of(conn, f'up{rounds}') in (DATA, None)
            for number, down in enumerate(downs):
                assert down.successful() == (tmp_path / f'{rounds}-{number}').exists()
                assert not down.successful() or (tmp_path / f'{rounds}-{number}').read_bytes() == DATA
            assert not memory.successful() or memory.value == DATA
            read_and_write(conn, rounds)


def conn_of(conn: s3po.Connection, key: str) -> bytes | None:
    """The stored content of a key, or None; retried if a greenlet of the download is killed."""
    while True:
        try:
            data: bytes = conn.download(BUCKET, key)
        except s3po.NotFound:
            return None
        except S3poError:
            continue
        return data


def read_and_write(conn: s3po.Connection, rounds: int) -> None:
    try:
        with conn.open(BUCKET, 'large', block_size=MIB, read_ahead=2) as reader:
            found = b''.join(reader.iter_chunks())
    except S3poError:
        found = DATA
    assert found == DATA
    key = f'written{rounds}'
    try:
        with conn.open(BUCKET, key, 'wb') as writer:
            for start in range(0, len(DATA), MIB):
                writer.write(DATA[start : start + MIB])
    except S3poError:
        assert conn_of(conn, key) in (DATA, None)
    else:
        assert conn_of(conn, key) == DATA
