"""Connections that fail before, during and after a response (F01 to F11, F18 to F20)."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.server
import gevent.socket
import pytest
import tenacity

import s3po
from s3po.config import MIB
from s3po.connection import wiring
from s3po.errors import CertificateError, DownloadError, NetworkError, UploadError
from s3po.http import HTTPClient
from tests.conftest import BUCKET, impatient
from tests.support.kinds import Kind
from tests.support.relay import LOOPBACK, Relay, free_port
from tests.support.servers import Authority, Store

Connect = Callable[..., s3po.Connection]

DATA = os.urandom(40)
LARGE = os.urandom(3 * MIB)


def once(operation: str, times: int | None = 1, **action: Any) -> dict[str, Any]:
    """A rule for the next requests of one operation."""
    return {'operation': operation, 'times': times, 'action': action}


@pytest.fixture
def relay(store: Store) -> Iterator[Relay]:
    """A relay to the store that accepts no connections at first."""
    made = Relay(store.port)
    yield made
    made.close()


@pytest.mark.fault('F01')
def test_refused_then_up(relay: Relay, conn: s3po.Connection, connect: Connect) -> None:
    """An upload succeeds if the store comes up while the upload waits for its next attempt."""
    policy = s3po.RetryPolicy(retries=5, wait=tenacity.wait_fixed(0.25))
    connection = connect(relay.endpoint_url, retry=policy)
    opening = gevent.spawn_later(0.6, relay.open)

    result = connection.upload(BUCKET, 'key', DATA)

    opening.join()
    assert result.attempts >= 2
    assert conn.download(BUCKET, 'key') == DATA
    connection.close()
    relay.close()


@pytest.mark.fault('F02')
def test_refused_for_ever(connect: Connect) -> None:
    """After all attempts the error contains the host and port."""
    port = free_port()

    with pytest.raises(UploadError, match=f'{LOOPBACK}.{port}.*gave up after 4 attempts') as caught:
        connect(f'http://{LOOPBACK}:{port}').upload(BUCKET, 'key', DATA)

    assert isinstance(caught.value.__cause__, NetworkError)
    assert caught.value.attempts == 4


@pytest.mark.fault('F03')
def test_unknown_host_name(connect: Connect) -> None:
    """An unknown host name is an error after three attempts."""
    began = time.monotonic()

    with pytest.raises(UploadError, match=r'x\.invalid.*gave up after 3 attempts'):
        connect('http://x.invalid').upload(BUCKET, 'key', DATA)

    assert time.monotonic() - began < 5


@pytest.mark.fault('F04')
@pytest.mark.parametrize('operation', ['PutObject', 'GetObject', 'HeadObject'])
def test_reset_before_the_status(conn: s3po.Connection, store: Store, operation: str) -> None:
    """A request whose connection is reset before the status line is sent again."""
    conn.upload(BUCKET, 'key', DATA)
    store.script(once(operation, reset=True))
    before = len(store.log(operation))
    calls: dict[str, Callable[[], object]] = {
        'PutObject': lambda: conn.upload(BUCKET, 'key', DATA),
        'GetObject': lambda: conn.download(BUCKET, 'key'),
        'HeadObject': lambda: conn.head(BUCKET, 'key'),
    }

    calls[operation]()

    assert len(store.log(operation)) - before == 2
    assert conn.download(BUCKET, 'key') == DATA


@pytest.mark.fault('F05')
def test_idle_connection_that_ended(conn: s3po.Connection, store: Store, kind: Kind) -> None:
    """If the store closes a kept-alive connection after a response, the next request does not fail."""
    store.script(once('PutObject', add_headers={'Connection': 'close'}))
    conn.upload(BUCKET, 'first', DATA)

    result = conn.upload(BUCKET, 'second', DATA)

    assert result.attempts == 1
    assert len(store.log('PutObject')) == 2


@pytest.mark.fault('F06')
def test_reset_on_reuse(conn: s3po.Connection, connect: Connect, store: Store) -> None:
    """If the store resets every connection at its second request, each job repeats at most one request."""
    # Over boto, an attempt may get one used connection after another.
    conn = connect(store.endpoint_url, retry=impatient(50))
    store.script({'operation': 'PutObject', 'nth': 2, 'times': None, 'action': {'reset': True}})

    with conn.batch(10) as batch:
        for number in range(100):
            batch.upload(BUCKET, f'key{number}', DATA)

    assert len(batch.results()) == 100
    assert len(store.log('PutObject')) <= 200


@pytest.mark.fault('F07')
def test_silence_before_the_status(store: Store, conn: s3po.Connection, connect: Connect) -> None:
    """A request that gets no response is given up after the read timeout; the next attempt succeeds."""
    connection = connect(store.endpoint_url, config=s3po.TransferConfig(read_timeout_s=0.5))
    conn.upload(BUCKET, 'key', DATA)
    store.script(once('GetObject', hang_s=5.0))
    began = time.monotonic()

    assert connection.download(BUCKET, 'key') == DATA
    assert time.monotonic() - began < 4
    assert len(store.log('GetObject')) == 2


@pytest.mark.fault('F08')
@pytest.mark.parametrize('target', ['path', 'bytes'])
def test_stall_within_the_body(
    store: Store, conn: s3po.Connection, connect: Connect, kind: Kind, tmp_path: Path, target: str
) -> None:
    """A body that stalls is given up after the read timeout, and continued from its last byte in the same version."""
    connection = connect(store.endpoint_url, config=s3po.TransferConfig(read_timeout_s=0.5))
    etag = conn.upload(BUCKET, 'key', LARGE).etag
    store.script(once('GetObject', hang_s=5.0, cut_body_at=2 * MIB))

    found = connection.download(BUCKET, 'key', tmp_path / 'file' if target == 'path' else None)

    assert ((tmp_path / 'file').read_bytes() if target == 'path' else found) == LARGE
    first, second = store.log('GetObject')
    assert second['headers']['if-match'] == f'"{etag}"'
    if kind.resumes:
        assert (first['headers'].get('range'), second['headers']['range']) == (None, f'bytes={2 * MIB}-{3 * MIB - 1}')


@pytest.mark.fault('F09', only='wire')
def test_drip(store: Store, conn: s3po.Connection, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body below the minimum speed is given up, although each read is in time; after all attempts this is the error."""
    # The time window of 30 s, scaled down.
    monkeypatch.setattr(wiring, 'HTTPClient', functools.partial(HTTPClient, speed_window_s=0.5))
    connection = connect(store.endpoint_url, config=s3po.TransferConfig(read_timeout_s=2.0))
    conn.upload(BUCKET, 'key', DATA)
    store.script(once('GetObject', None, drip={'bytes': 1, 'every_s': 0.1}))

    with pytest.raises(DownloadError, match=r'gave up after 2 attempts') as caught:
        connection.download(BUCKET, 'key', retries=1)

    assert 'less than min_bytes_per_s=1024' in str(caught.value.__cause__)


@pytest.mark.fault('F09', only='wire')
def test_no_drip_of_ours(store: Store, conn: s3po.Connection, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time during which s3po itself delays reading does not count as slowness of the store."""
    monkeypatch.setattr(wiring, 'HTTPClient', functools.partial(HTTPClient, speed_window_s=0.3))
    connection = connect(store.endpoint_url, config=s3po.TransferConfig(max_requests=1, min_bytes_per_s=100_000))
    conn.upload(BUCKET, 'key', LARGE)

    class SlowFile:
        """A target whose write() is slow."""

        def write(self, data: bytes | memoryview) -> int:
            gevent.sleep(0.5)
            return len(data)

    with connection.batch(4) as batch:
        jobs = [batch.download(BUCKET, 'key', SlowFile()) for _ in range(3)]

    assert all(job.value.attempts == 1 for job in jobs)


@pytest.mark.fault('F10')
def test_garbage(conn: s3po.Connection, store: Store) -> None:
    """A response that is not HTTP fails the attempt; the next attempt uses a new connection."""
    conn.upload(BUCKET, 'key', DATA)
    store.script(once('GetObject', raw='\x00\x01garbage\r\n'))

    assert conn.download(BUCKET, 'key') == DATA
    assert len(store.log('GetObject')) == 2


ODD_ANSWERS = {
    'cut chunks': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "e"\r\n\r\n5\r\nab',
    'long head': 'HTTP/1.1 200 OK\r\nx-long: ' + 'x' * 200 * 1024 + '\r\nContent-Length: 0\r\n\r\n',
}


@pytest.mark.fault('F11')
@pytest.mark.parametrize('answer', ODD_ANSWERS)
def test_odd_answers(conn: s3po.Connection, store: Store, answer: str) -> None:
    """A body without its last chunk, or a head without an end, fails the attempt; the next one succeeds."""
    conn.upload(BUCKET, 'key', DATA)
    store.script(once('GetObject', raw=ODD_ANSWERS[answer]))

    assert conn.download(BUCKET, 'key') == DATA
    assert len(store.log('GetObject')) == 2


@pytest.mark.fault('F18')
def test_untrusted(authority: Authority, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrusted certificate fails the transfer after one connection, and nothing is sent."""
    monkeypatch.delenv('SSL_CERT_FILE', raising=False)
    monkeypatch.delenv('REQUESTS_CA_BUNDLE', raising=False)
    with Store(authority) as tls_store:
        with pytest.raises(CertificateError) as caught:
            connect(tls_store.endpoint_url).upload(BUCKET, 'key', DATA)

        assert caught.value.attempts == 1
        assert tls_store.stats()['connections'] == 1
        assert tls_store.log() == []


@pytest.mark.fault('F19')
def test_no_handshake(connect: Connect) -> None:
    """A server that closes during the TLS handshake is retried like any network error, and the message describes it."""
    met: list[int] = []

    def hang_up(client: gevent.socket.socket, _: Any) -> None:
        met.append(len(client.recv(65536)))
        client.close()

    server = gevent.server.StreamServer((LOOPBACK, 0), hang_up)
    server.start()
    try:
        with pytest.raises(UploadError, match='gave up after 4 attempts') as caught:
            connect(f'https://{LOOPBACK}:{server.server_port}').upload(BUCKET, 'key', DATA)
    finally:
        server.stop()

    assert isinstance(caught.value.__cause__, NetworkError)
    assert len(met) == 4


@pytest.mark.fault('F20')
def test_page_of_a_proxy(conn: s3po.Connection, store: Store) -> None:
    """A gateway's error page (502) is retried."""
    conn.upload(BUCKET, 'key', DATA)
    page = '<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>'
    store.script(once('GetObject', status=502, headers={'Content-Type': 'text/html'}, body=page))

    assert conn.download(BUCKET, 'key') == DATA
    assert len(store.log('GetObject')) == 2
