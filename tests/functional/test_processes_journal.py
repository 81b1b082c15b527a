"""A batch with worker processes and a journal: what a lost worker process had done counts."""

from __future__ import annotations

import os
import pathlib
import signal
from collections.abc import Callable
from typing import Any

import pytest

import s3po
from s3po.journal import Journal
from tests.conftest import BUCKET
from tests.support.servers import Store


def lose_the_first_answer(batch: s3po.Batch) -> None:
    """Kill the worker process that is the first to complete a job, before its answer is read."""
    pool: Any = batch._processes
    receive, lost = pool._receive, []

    def received(worker: Any, messages: list[Any]) -> None:
        if not lost and any(message[0] == 'done' for message in messages):
            lost.append(worker)
            os.kill(worker.pid, signal.SIGKILL)
            messages = [message for message in messages if message[0] != 'done']
        receive(worker, messages)

    pool._receive = received


@pytest.mark.slow
@pytest.mark.parametrize('has_callback', [False, True])
@pytest.mark.parametrize('operation', ['upload', 'move'])
def test_source_that_a_lost_worker_has_deleted(
    own_store: Store,
    connect: Callable[..., s3po.Connection],
    tmp_path: pathlib.Path,
    operation: str,
    has_callback: bool,
) -> None:
    """The transfer is recorded, and its source is gone: the job succeeds, and is done."""
    own_store.create_bucket(BUCKET)
    conn, source, seen = connect(own_store.endpoint_url), tmp_path / 'source', []
    callback = seen.append if has_callback else None
    source.write_bytes(b'data')
    conn.upload(BUCKET, 'source', b'data')

    with conn.batch(2, processes=2, journal=tmp_path / 'journal', receipts=True) as batch:
        lose_the_first_answer(batch)
        if operation == 'upload':
            job = batch.upload(BUCKET, 'key', source, delete=True, callback=callback)
        else:
            job = batch.move(BUCKET, 'source', BUCKET, 'key', callback=callback)

    assert job.successful()
    assert conn.download(BUCKET, 'key') == b'data'
    assert not (source.exists() if operation == 'upload' else conn.exists(BUCKET, 'source'))
    assert Journal(tmp_path / 'journal').report().done == 1
    assert [result.key for result in seen] == ['key'] * has_callback
    if not has_callback:
        assert (job.value.key, job.value.size_bytes) == ('key', 4)
