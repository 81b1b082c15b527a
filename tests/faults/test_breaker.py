"""What would fail as a whole stops after a few requests (F32, F52), and deadlines hold against servers that stall or drip."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

import s3po
from s3po.body import sinks
from s3po.errors import AccessDenied, BreakerOpen, Cancelled, DeadlineExceeded, LocalError, NoSuchBucket
from tests.conftest import BUCKET
from tests.faults.conftest import jobs_ended
from tests.support.servers import Store

Connect = Callable[..., s3po.Connection]

WIDTH = 8
# A deadline returns the control within this time.
PROMPT_S = 0.3
# More on a machine with other load.
SLACK_S = 1.0


def sent(store: Store, operation: str) -> int:
    return len(store.log(operation))


@pytest.mark.fault('F32')
def test_rejected_keys(store: Store, connect: Connect) -> None:
    """Static keys that the store rejects end the batch after 5 failures and a probe, not after all jobs."""
    conn = connect(store.endpoint_url, access_key_id='key', secret_access_key='secret')
    store.create_bucket(BUCKET)
    store.script({'operation': 'PutObject', 'times': None, 'action': {'status': 403, 'code': 'InvalidAccessKeyId'}})

    with pytest.raises(BreakerOpen, match='the credentials of the connection: stopped after') as caught:
        with conn.batch(WIDTH, keep_results=False) as batch:
            batch.map_upload((BUCKET, str(number), b'data') for number in itertools.count())

    assert sent(store, 'PutObject') <= 5 + WIDTH
    assert {type(job.error) for job in batch.failed} == {AccessDenied}
    assert batch.mapped == len(batch.failed) + len(batch.not_started)
    assert isinstance(caught.value.__cause__, AccessDenied)


@pytest.mark.fault('F32')
def test_keys_in_a_file_that_was_renewed(
    store: Store, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expired keys of a credentials file are read again from it, and the batch goes on with the new ones."""
    file = tmp_path / 'keys' / 'credentials'
    file.parent.mkdir()
    form = '[default]\naws_access_key_id = {0}\naws_secret_access_key = secret\naws_session_token = {0}-token\n'
    file.write_text(form.format('old'))
    monkeypatch.setenv('AWS_SHARED_CREDENTIALS_FILE', str(file))
    monkeypatch.setenv('AWS_CONFIG_FILE', '/dev/null')
    for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_PROFILE', 'AWS_DEFAULT_PROFILE'):
        monkeypatch.delenv(name, raising=False)
    conn = connect(store.endpoint_url, access_key_id=None, secret_access_key=None)
    store.create_bucket(BUCKET)
    expired = {'x-amz-security-token': 'old-token'}
    store.script(
        {'operation': 'PutObject', 'times': None, 'headers': expired, 'action': {'status': 400, 'code': 'ExpiredToken'}}
    )

    def upload(number: int) -> None:
        if number == 30:
            file.write_text(form.format('new'))
        batch.upload(BUCKET, str(number), b'data')

    with conn.batch(WIDTH, on_error='collect') as batch:
        for number in range(100):
            upload(number)

    assert 5 <= len(batch.failed) <= 5 + WIDTH
    assert list(batch.not_started) == []
    assert batch.report().succeeded == 100 - len(batch.failed)


@pytest.mark.fault('F52')
@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_ends_the_downloads(
    conn: s3po.Connection, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """On a full disk the downloads to it stop after 5 failures and a probe; the uploads of the batch are done."""
    conn.upload(BUCKET, 'key', b'data')

    def refuse(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(sinks.os, 'pwrite', refuse)
        with conn.batch(WIDTH, on_error='collect') as batch:
            for index in range(60):
                batch.download_file(BUCKET, 'key', tmp_path / str(index))
                batch.upload(BUCKET, str(index), b'data')

    jobs_ended(batch, 120)
    assert sent(store, 'GetObject') <= 5 + WIDTH
    assert {type(job.error) for job in batch.failed} == {LocalError}
    assert len(batch.failed) + len(batch.not_started) == 60
    assert batch.report().succeeded == 60
    again = conn.retry_failed(batch.not_started)
    assert again.success()


def test_missing_bucket(conn: s3po.Connection, store: Store) -> None:
    """After NoSuchBucket at most 5 + width requests are sent, and the jobs of another bucket are done."""
    with conn.batch(WIDTH, on_error='collect') as batch:
        for number in range(100):
            batch.upload('no-such-bucket', f'{number}', b'data')
            batch.upload(BUCKET, f'{number}', b'data')

    assert sent(store, 'PutObject') <= 100 + 5 + WIDTH
    assert {type(job.error) for job in batch.failed} == {NoSuchBucket}
    assert {type(job.error) for job in batch.not_started} == {BreakerOpen}
    assert batch.report().succeeded == 100


STALLED = {'stalled': {'hang_s': 60.0}, 'dripping': {'drip': {'bytes': 1, 'every_s': 0.2}}}


@pytest.mark.parametrize('kind_of_server', STALLED)
@pytest.mark.parametrize('end', ['deadline', 'job deadline', 'cancel', 'grace'])
def test_control_returns(conn: s3po.Connection, store: Store, tmp_path: Path, kind_of_server: str, end: str) -> None:
    """Control returns within 0.3 s of a deadline or cancellation, while the server sends nothing, or a byte now and then."""
    conn.upload(BUCKET, 'key', b'x' * 100_000)
    store.script({'operation': 'GetObject', 'times': None, 'action': STALLED[kind_of_server]})
    limits: dict[str, Any] = {'deadline': {'timeout_s': 0.5}, 'job deadline': {'job_timeout_s': 0.5}}.get(end, {})

    began = time.monotonic()
    with conn.batch(4, on_error='collect', **limits) as batch:
        jobs = [batch.download_file(BUCKET, 'key', tmp_path / f'{number}', retries=0) for number in range(8 if limits else 4)]
        if not limits:
            gevent.sleep(0.5)
            batch.cancel(grace_s=0.2 if end == 'grace' else 0.0)
    seconds = time.monotonic() - began

    rounds = 2 if end == 'job deadline' else 1
    assert seconds < rounds * (0.5 + PROMPT_S) + (0.2 if end == 'grace' else 0.0) + SLACK_S
    error = DeadlineExceeded if limits else Cancelled
    assert {type(job.exception) for job in jobs} == {error}
    assert len(batch.not_started) == (4 if end == 'deadline' else 0)
