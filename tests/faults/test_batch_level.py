"""Faults that many jobs meet at the same store (F21, F24, F61 to F63)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import s3po
from s3po.errors import Cancelled, UploadError
from tests.conftest import BUCKET
from tests.faults.conftest import jobs_ended
from tests.support.servers import Store

DATA = os.urandom(1000)


@pytest.mark.slow
@pytest.mark.fault('F21')
def test_slowdown_burst(conn: s3po.Connection, store: Store) -> None:
    """While the store responds with SlowDown, the batch sends fewer requests at once, and no job fails."""
    # More than three per job on average: they do not count against the retries.
    store.script({'operation': 'PutObject', 'times': 700, 'action': {'status': 503, 'code': 'SlowDown'}})

    with conn.batch(20) as batch:
        for number in range(200):
            batch.upload(BUCKET, f'key{number}', DATA)

    jobs_ended(batch, 200)
    report = batch.report()
    assert (report.succeeded, report.throttled) == (200, 700)
    refused = [each for each in store.log('PutObject') if each['status'] == 503]
    assert max(each['in_flight'] for each in refused[100:]) <= 3


@pytest.mark.slow
@pytest.mark.fault('F24')
def test_outage(connect: Callable[..., s3po.Connection], store: Store) -> None:
    """During an outage of 10 s only a few requests are sent; when it is over, all jobs succeed."""
    store.create_bucket(BUCKET)
    conn = connect(store.endpoint_url, retry=s3po.RetryPolicy())
    store.script({'operation': 'PutObject', 'for_s': 10.0, 'action': {'status': 500}})

    with conn.batch(50, on_error='collect') as batch:
        for number in range(500):
            batch.upload(BUCKET, f'key{number}', DATA)

    assert list(batch.failed) == []
    jobs_ended(batch, 500)
    # The first attempts of 50 workers, and the budget of retries for 50: half of them at once, then 10 % per second.
    assert len([each for each in store.log('PutObject') if each['status'] == 500]) <= 50 + 25 + 50 + 5


@pytest.mark.slow
@pytest.mark.fault('F61')
def test_one_that_never_works(conn: s3po.Connection, store: Store) -> None:
    """A job that always fails ends after the attempts of its two turns; the other jobs succeed and do not wait for it."""
    store.script({'operation': 'PutObject', 'key': 'key500', 'times': None, 'action': {'status': 500}})

    with conn.batch(20, on_error='collect') as batch:
        for number in range(1000):
            batch.upload(BUCKET, f'key{number}', DATA)

    jobs_ended(batch, 1000)
    assert [type(each) for each in batch.results() if isinstance(each, BaseException)] == [UploadError]
    assert len([each for each in store.log('PutObject') if each['key'] == 'key500']) == 2 * 4


@pytest.mark.fault('F62')
def test_all_cancelled(conn: s3po.Connection, store: Store) -> None:
    """After cancel(), a batch whose store does not respond has all results within a second."""
    store.script({'operation': 'PutObject', 'skip': 50, 'times': None, 'action': {'hang_s': 20.0}})

    with conn.batch(10, on_error='collect') as batch:
        for number in range(100):
            batch.upload(BUCKET, f'key{number}', DATA)
            if number == 60:
                with gevent.Timeout(20):
                    while batch.report().succeeded < 50:
                        gevent.sleep(0.01)
                began = time.monotonic()
                batch.cancel()
                break

    assert time.monotonic() - began < 2
    results = batch.results()
    assert len(results) == 61
    assert {type(each) for each in results if isinstance(each, BaseException)} == {Cancelled}
    assert len([each for each in results if not isinstance(each, BaseException)]) == 50


FEW_DESCRIPTORS = """
import logging, resource, sys
import s3po
logging.basicConfig(level=logging.WARNING)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
conn = s3po.Connection(endpoint_url=sys.argv[1], region='us-east-1', access_key_id='key', secret_access_key='secret-key')
with conn.batch(200, on_error='collect') as batch:
    for number in range(400):
        batch.upload('bucket', f'key{number}', b'data')
print(len(batch.failed))
"""


@pytest.mark.slow
@pytest.mark.fault('F63', only='wire')
def test_few_descriptors(conn: s3po.Connection, store: Store) -> None:
    """A batch with more workers than the process may have descriptors is refused at its start, or gets fewer workers."""
    store.script({'operation': 'PutObject', 'times': None, 'action': {'delay_s': 0.1}})
    command: Any = [sys.executable, '-c', FEW_DESCRIPTORS, store.endpoint_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert 'Too many open files' not in done.stderr
    assert done.stdout == '0\n' or 'ConfigurationError' in done.stderr
