"""The limits of a connection at a real store: slots, throttling, rates."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable

import gevent
import pytest
import tenacity

import s3po
from s3po.config import MIB
from s3po.connection import wiring
from s3po.http import HTTPClient
from tests.conftest import BUCKET
from tests.support.servers import Store


@pytest.mark.slow
@pytest.mark.parametrize('max_requests', [1, None])
def test_upload_of_a_large_reader(store: Store, connect: Callable[..., s3po.Connection], max_requests: int | None) -> None:
    """An object of 120 MiB is copied over one connection: an upload in parts from a reader."""
    store.create_bucket(BUCKET)
    conn = connect(store.endpoint_url, config=s3po.TransferConfig(max_requests=max_requests))
    data = os.urandom(120 * MIB)
    conn.upload(BUCKET, 'key', data)

    with gevent.Timeout(120), conn.open(BUCKET, 'key') as reader:
        conn.upload(BUCKET, 'copy', reader)

    assert conn.download(BUCKET, 'copy') == data


@pytest.mark.slow
def test_uploads_of_readers_in_a_batch(conn: s3po.Connection) -> None:
    """A batch of 50 uploads from readers of the same connection ends, and its callbacks open readers too."""
    data = os.urandom(9 * MIB)
    conn.upload(BUCKET, 'key', data)

    def last(result: s3po.TransferResult) -> bytes:
        with conn.open(BUCKET, result.key) as reader:
            reader.seek(-10, os.SEEK_END)
            return reader.read()

    with gevent.Timeout(120), conn.batch(50) as batch:
        for number in range(50):
            batch.upload(BUCKET, f'copy{number}', conn.open(BUCKET, 'key'), callback=last)

    assert batch.results() == [data[-10:]] * 50


@pytest.mark.slow
def test_store_with_twenty_places(store: Store, connect: Callable[..., s3po.Connection]) -> None:
    """At a store that allows 20 requests in flight, 50 workers settle within 20 % of its best throughput; few are refused."""
    store.create_bucket(BUCKET)
    conn = connect(store.endpoint_url, retry=s3po.RetryPolicy())
    conn.upload(BUCKET, 'key', b'data')
    store.script(
        {'operation': 'GetObject', 'above': 20, 'times': None, 'action': {'status': 503, 'code': 'SlowDown'}},
        {'operation': 'GetObject', 'times': None, 'action': {'delay_s': 0.1}},
    )

    widths: list[int] = []

    def download_for(seconds: float, width: int) -> tuple[float, float]:
        """The successes per second after the first 5 s, and the share of refused requests."""
        already, until = len(store.log('GetObject')), time.monotonic() + seconds
        with conn.batch(width, keep_results=False) as batch:
            while time.monotonic() < until:
                batch.download(BUCKET, 'key')
            widths.append(batch.report().width)
        seen = [each for each in store.log('GetObject')[already:] if each['time'] > until - seconds + 5.0]
        done = sum(each['status'] == 200 and each['time'] < until for each in seen)
        return done / (seconds - 5.0), sum(each['status'] == 503 for each in seen) / len(seen)

    # The best throughput on this machine: 20 workers, of which none is refused.
    best, _ = download_for(10.0, 19)
    throughput, refused = download_for(20.0, 50)

    assert throughput > 0.8 * best * 20 / 19
    assert refused < 0.05
    assert widths[0] == 19
    assert 10 <= widths[1] <= 24
    assert f'throttled={conn._wiring.governor().throttled}' in repr(conn)


@pytest.mark.slow
@pytest.mark.parametrize('transport', ['wire', 'boto'])
def test_bandwidth(store: Store, connect: Callable[..., s3po.Connection], transport: str) -> None:
    """The bytes per second hold over 10 s, for both directions together, and for parts of large objects too."""
    rate = 4 * MIB
    store.create_bucket(BUCKET)
    conn = connect(
        store.endpoint_url,
        transport=transport,
        # The limit holds the data up for longer than the minimum speed is measured.
        config=s3po.TransferConfig(bandwidth_bytes_per_s=rate, min_bytes_per_s=rate),
    )
    data = os.urandom(10 * MIB)
    began = time.monotonic()
    with conn.batch(8) as batch:
        for number in range(10):
            batch.upload(BUCKET, f'small{number}', data[:MIB])
        batch.upload(BUCKET, 'large', data)
        batch.wait()
        batch.download(BUCKET, 'large')
        for number in range(10):
            batch.download(BUCKET, f'small{number}')
    seconds = time.monotonic() - began

    assert seconds == pytest.approx(10.0, rel=0.1)
    assert batch.results()[11] == data


@pytest.mark.slow
def test_requests_per_second(store: Store, connect: Callable[..., s3po.Connection]) -> None:
    """The requests per second hold over 10 s; half of them after share(0.5)."""
    store.create_bucket(BUCKET)
    conn = connect(store.endpoint_url, config=s3po.TransferConfig(requests_per_s=30))
    conn.upload(BUCKET, 'key', b'data')
    for share in (1.0, 0.5):
        conn._wiring.governor().share(share)
        already, until = len(store.log('HeadObject')), time.monotonic() + 10.0
        with conn.batch(20, keep_results=False) as batch:
            while time.monotonic() < until:
                batch.head(BUCKET, 'key')
        seen = [each for each in store.log('HeadObject')[already:] if each['time'] < until]

        assert len(seen) == pytest.approx(300 * share, rel=0.1)


@pytest.mark.parametrize('limit', ['requests', 'bandwidth', 'retry-after', 'budget'])
def test_deadlines_during_waits(store: Store, connect: Callable[..., s3po.Connection], limit: str) -> None:
    """The time limits of calls and batches end them within 0.3 s, whatever limit of the connection they wait for."""
    store.create_bucket(BUCKET)
    config = {
        'requests': s3po.TransferConfig(requests_per_s=0.01),
        'bandwidth': s3po.TransferConfig(bandwidth_bytes_per_s=10),
    }.get(limit)
    conn = connect(store.endpoint_url, config=config, retry=s3po.RetryPolicy(retries=1000, wait=tenacity.wait_none()))
    if limit == 'retry-after':
        store.script({'times': None, 'action': {'status': 503, 'code': 'SlowDown', 'headers': {'Retry-After': '30'}}})
    elif limit == 'budget':
        store.script({'times': None, 'action': {'status': 500}})
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(s3po.DeadlineExceeded):
            conn.upload(BUCKET, 'key', b'x' * 10_000, timeout_s=0.5)
            conn.upload(BUCKET, 'key', b'x' * 10_000, timeout_s=0.5)
        assert time.monotonic() - began < 1.3
    began = time.monotonic()
    with conn.batch(10, timeout_s=0.5, on_error='collect') as batch:
        for number in range(20):
            batch.upload(BUCKET, f'key{number}', b'x' * 10_000)
    assert time.monotonic() - began < 0.8
    assert {type(job.error) for job in batch.failed} == {s3po.DeadlineExceeded}


def test_no_waits_without_retries(store: Store, connect: Callable[..., s3po.Connection]) -> None:
    """With retries=0 a refusal is raised at once, and the next call does not wait for the store's Retry-After."""
    store.create_bucket(BUCKET)
    conn = connect(store.endpoint_url, retry=None, retries=0)
    store.script({'times': 3, 'action': {'status': 503, 'code': 'SlowDown', 'headers': {'Retry-After': '30'}}})
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(s3po.UploadError, match='gave up after 1 attempt'):
            conn.upload(BUCKET, 'key', b'data')
    conn.upload(BUCKET, 'key', b'data')

    assert time.monotonic() - began < 10
    assert len(store.log('PutObject')) == 4


def test_pause_of_a_batch(conn: s3po.Connection, store: Store) -> None:
    """After a refusal with Retry-After, no request to the bucket begins before that time; others go on."""
    store.create_bucket('other')
    refusal = {'status': 503, 'code': 'SlowDown', 'headers': {'Retry-After': '1'}}
    store.script({'bucket': BUCKET, 'key': 'key0', 'times': 1, 'action': refusal})
    with conn.batch(2) as batch:
        for number in range(20):
            batch.upload(BUCKET, f'key{number}', b'data')
            batch.upload('other', f'key{number}', b'data')

    seen = store.log('PutObject')
    refused = next(each for each in seen if each['status'] == 503)
    later = [each['time'] - refused['time'] for each in seen if each['bucket'] == BUCKET and each['time'] > refused['ended']]
    # One other request may have begun before the refusal arrived.
    assert sorted(later)[1] > 0.9
    assert batch.report().throttled == 1
    assert ', 1 throttled (width ' in str(batch.report())


def test_bandwidth_and_the_minimum_speed(
    store: Store, connect: Callable[..., s3po.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data that the limit holds up are not too slow for min_bytes_per_s."""
    monkeypatch.setattr(wiring, 'HTTPClient', functools.partial(HTTPClient, speed_window_s=0.2))
    store.create_bucket(BUCKET)
    config = s3po.TransferConfig(bandwidth_bytes_per_s=MIB, min_bytes_per_s=100 * MIB)
    conn = connect(store.endpoint_url, config=config, transport='wire')

    assert conn.upload(BUCKET, 'key', bytes(MIB)).attempts == 1
    assert conn.download(BUCKET, 'key') == bytes(MIB)
    assert len(store.log()) == 3


def test_rates_of_all_threads(store: Store, connect: Callable[..., s3po.Connection]) -> None:
    """A rate holds for the requests of all native threads together."""
    store.create_bucket(BUCKET)
    conn = connect(store.endpoint_url, config=s3po.TransferConfig(requests_per_s=20))

    def put() -> None:
        for number in range(10):
            conn.upload(BUCKET, f'key{number}', b'data')

    began = time.monotonic()
    threads = [threading.Thread(target=put) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # The first few at once.
    assert time.monotonic() - began > (30 - 4) / 20
    assert len(store.log('PutObject')) == 30


def test_abort_during_a_pause(conn: s3po.Connection, store: Store) -> None:
    """An upload that ends during the store's Retry-After is aborted at once."""
    refusal = {'status': 503, 'code': 'SlowDown', 'headers': {'Retry-After': '60'}}
    store.script({'operation': 'UploadPart', 'times': None, 'action': refusal})
    began = time.monotonic()
    with pytest.raises(s3po.DeadlineExceeded):
        conn.upload(BUCKET, 'key', bytes(20 * MIB), timeout_s=2.0)
    with gevent.Timeout(20):
        while not store.log('ListParts'):
            gevent.sleep(0.05)

    assert time.monotonic() - began < 20
    assert [each['status'] for each in store.log('AbortMultipartUpload')] == [204]
