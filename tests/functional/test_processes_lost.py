"""What a worker process leaves, inherits and learns: its uploads are aborted, it closes descriptors, it gets renewed keys."""

from __future__ import annotations

import os
import pathlib
import signal
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.servers import Store

pytestmark = pytest.mark.slow


def pids_of(batch: s3po.Batch) -> list[int]:
    """The worker processes that run."""
    assert batch._processes is not None
    return [worker.pid for worker in batch._processes._workers]


def test_uploads_of_a_killed_worker_are_aborted(own_store: Store, connect: Callable[..., s3po.Connection]) -> None:
    """Without a journal, the parent aborts the multipart uploads of a process that was killed; the job runs again."""
    own_store.create_bucket(BUCKET)
    own_store.script({'operation': 'UploadPart', 'times': 2, 'action': {'delay_s': 3}})
    conn = connect(own_store.endpoint_url, config=s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB))
    with conn, conn.batch(1, processes=2) as batch:
        batch.upload(BUCKET, 'key', bytes(12 * MIB))
        while not own_store.log('UploadPart'):
            gevent.sleep(0.05)
        os.kill(pids_of(batch)[0], signal.SIGKILL)
        batch.wait()

        assert batch._processes is not None
        assert [worker.uploads for worker in batch._processes._workers] == [{}]

    created = own_store.log('CreateMultipartUpload')
    assert len(created) == 2
    assert batch.report().succeeded == 1
    assert 'Uploads' not in connect(own_store.endpoint_url).conn.list_multipart_uploads(Bucket=BUCKET)


def test_start_does_not_count(own_store: Store, connect: Callable[..., s3po.Connection]) -> None:
    """The start of a worker process, which takes longer than this timeout_s, is no part of the job's time."""
    own_store.create_bucket(BUCKET)
    with connect(own_store.endpoint_url) as conn, conn.batch(1, processes=2, on_error='collect') as batch:
        assert batch._processes is not None
        job = batch.exists(BUCKET, 'key', timeout_s=0.2)
        batch.wait()

    assert 'not done within' not in str(job.exception)


def test_inherited_descriptors(own_store: Store, connect: Callable[..., s3po.Connection], tmp_path: pathlib.Path) -> None:
    """A file that another library has left open and inheritable is closed in the worker processes."""
    own_store.create_bucket(BUCKET)
    path = tmp_path / 'left open'
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.set_inheritable(descriptor, True)
    try:
        with connect(own_store.endpoint_url) as conn, conn.batch(2, processes=2) as batch:
            batch.upload(BUCKET, 'key', b'data')
            batch.wait()
            opened = [os.readlink(each) for each in pathlib.Path(f'/proc/{pids_of(batch)[0]}/fd').iterdir()]
    finally:
        os.close(descriptor)

    assert opened
    assert str(path) not in opened


def test_renewed_keys_reach_the_workers(own_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """The breaker reads rejected keys again from their file; the worker processes sign with the new ones."""
    own_store.create_bucket(BUCKET)
    own_store.script({'operation': 'PutObject', 'times': 5, 'action': {'status': 403, 'code': 'InvalidAccessKeyId'}})
    file = tmp_path / 'credentials'
    monkeypatch.setenv('AWS_SHARED_CREDENTIALS_FILE', str(file))

    def write(key: str) -> None:
        file.write_text(f'[mine]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET_ACCESS_KEY}\n')

    def renew(_: Any) -> None:
        write('new')

    write('old')
    with (
        s3po.Connection(endpoint_url=own_store.endpoint_url, region='us-east-1', profile='mine') as conn,
        conn.batch(1, processes=2, on_error='collect') as batch,
    ):
        jobs = [batch.upload(BUCKET, f'key{number}', b'data', errback=renew) for number in range(12)]
        batch.wait()

    used = [
        seen['headers']['authorization'].partition('Credential=')[2].partition('/')[0] for seen in own_store.log('PutObject')
    ]
    assert used[:5] == ['old'] * 5
    assert set(used[5:]) == {'new'}
    assert jobs[-1].successful()
