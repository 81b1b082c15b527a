"""Credentials, certificates and connections, over both transports: refreshed once, verified, no more than needed."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from typing import Any

import botocore.exceptions
import botocore.session
import gevent
import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials

import s3po
from s3po.errors import AccessDenied, BatchError, CertificateError, CredentialsError, CredentialsExpired, UploadError
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.canaries import SESSION_TOKEN as TOKEN
from tests.support.kinds import KINDS, Kind
from tests.support.servers import Authority, Store

BUCKET = 'bucket'
Connect = Callable[..., s3po.Connection]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


def make_bucket(store: Store) -> int:
    """Make the bucket. Returns the number of connections that the store has accepted by then, all of them closed."""
    store.create_bucket(BUCKET)
    until = time.monotonic() + 10
    while store.stats()['open'] and time.monotonic() < until:
        time.sleep(0.005)
    return store.stats()['connections']


class Role:
    """Temporary keys that the store rejects as expired before their expiry time.

    Attributes:
        issued: How often the keys were refreshed.
        error: The exception that the next refresh raises, or None.
    """

    def __init__(self) -> None:
        self.issued = 0
        self.error: Exception | None = None

    def keys(self) -> dict[str, str]:
        """The current keys."""
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
        token = {'access_key': 'key', 'secret_key': SECRET_ACCESS_KEY, 'token': f'{TOKEN}{self.issued}'}
        return {**token, 'expiry_time': expiry.isoformat()}

    def refresh(self) -> dict[str, str]:
        """New keys, after a short sleep in which other greenlets run."""
        gevent.sleep(0.01)
        if self.error is not None:
            raise self.error
        self.issued += 1
        return self.keys()

    def session(self) -> botocore.session.Session:
        """A botocore session with these keys."""
        session = botocore.session.get_session()
        session._credentials = RefreshableCredentials.create_from_metadata(self.keys(), self.refresh, 'test')
        return session


@pytest.fixture
def role() -> Role:
    """Temporary keys."""
    return Role()


@pytest.fixture
def role_conn(store: Store, connect: Connect, role: Role) -> s3po.Connection:
    """A connection with temporary keys, and a bucket; from now on the store rejects the first keys as expired."""
    connection = connect(store.endpoint_url, session=role.session())
    connection.create_bucket(BUCKET)
    refuse(store, f'{TOKEN}0')
    return connection


def refuse(store: Store, token: str, *, key: str | None = None, delay_s: float = 0.0) -> None:
    action = {'status': 400, 'code': 'ExpiredToken', 'message': 'The provided token has expired.', 'delay_s': delay_s}
    store.script({'headers': {'x-amz-security-token': token}, 'key': key, 'action': action})


def test_expired_token(role_conn: s3po.Connection, store: Store, role: Role) -> None:
    """A request with expired keys is sent again with new ones, even if retries are off."""
    result = role_conn.upload(BUCKET, 'key', b'data', retries=1)

    assert (result.attempts, role.issued) == (2, 1)
    assert [seen['headers']['x-amz-security-token'] for seen in store.log('PutObject')] == [f'{TOKEN}0', f'{TOKEN}1']
    assert role_conn.download(BUCKET, 'key') == b'data'


@pytest.mark.slow
def test_expired_under_many_jobs(role_conn: s3po.Connection, store: Store, role: Role) -> None:
    """If 50 requests are rejected at once, the keys are refreshed once."""
    with role_conn.batch(50) as batch:
        for number in range(200):
            batch.upload(BUCKET, str(number), b'')

    assert role.issued == 1
    assert batch.report().retries == len(store.log('PutObject')) - 200 <= 50


def test_refusal_that_comes_late(store: Store, connect: Connect, role: Role) -> None:
    """A late rejection concerns the keys that signed its request, not the newer ones."""
    connection = connect(store.endpoint_url, session=role.session())
    connection.create_bucket(BUCKET)
    refuse(store, f'{TOKEN}0', key='late', delay_s=0.5)
    refuse(store, f'{TOKEN}0')
    late = gevent.spawn(connection.upload, BUCKET, 'late', b'')
    while not store.log('PutObject'):
        gevent.sleep(0.01)
    assert connection.upload(BUCKET, 'early', b'').attempts == 2
    assert not late.ready()

    assert late.get().attempts == 2
    assert role.issued == 1


def test_expired_again(role_conn: s3po.Connection, store: Store, role: Role, kind: Kind) -> None:
    """If the new keys are expired, too, the request fails: one request causes only one refresh."""
    refuse(store, f'{TOKEN}1')
    with pytest.raises(CredentialsExpired, match=r'ExpiredToken.*get new credentials.*\(after 2 attempts\)'):
        role_conn.upload(BUCKET, 'key', b'data')

    assert len(store.log('PutObject')) == 2
    assert role_conn.upload(BUCKET, 'key', b'data').attempts == (1 if kind.renews_at_once else 2)
    assert role.issued == 2


def test_refresh_that_fails(role_conn: s3po.Connection, store: Store, role: Role) -> None:
    """If a refresh fails, each job reports its cause, and no request is sent with keys that are known to be expired."""
    role.error = botocore.exceptions.CredentialRetrievalError(provider='test', error_msg='the role is gone')
    with pytest.raises(BatchError, match='the role is gone'), role_conn.batch(10) as batch:
        for number in range(20):
            batch.upload(BUCKET, str(number), b'')

    assert {type(failed.error) for failed in batch.failed} == {CredentialsError}
    assert len(store.log('PutObject')) <= 10
    role.error = None
    with role_conn.retry_failed(batch.failed) as again:
        assert again.success()


def test_expired_keys_that_cannot_be_refreshed(store: Store, connect: Connect) -> None:
    """Expired keys that cannot be refreshed are rejected without a retry."""
    connection = connect(
        store.endpoint_url, access_key_id='key', secret_access_key=SECRET_ACCESS_KEY, session_token=f'{TOKEN}0'
    )
    store.create_bucket(BUCKET)
    refuse(store, f'{TOKEN}0')
    with pytest.raises(AccessDenied, match='ExpiredToken: .*; get new credentials') as caught:
        connection.upload(BUCKET, 'key', b'')

    assert type(caught.value) is AccessDenied
    assert len(store.log('PutObject')) == 1


def test_client_of_the_callers(store: Store, connect: Connect, role: Role) -> None:
    """The credentials of the caller's client are refreshed; the client itself is not changed."""
    theirs = connect(store.endpoint_url, session=role.session()).conn
    connection = connect(client=theirs)
    connection.create_bucket(BUCKET)
    refuse(store, f'{TOKEN}0')

    assert connection.upload(BUCKET, 'key', b'').attempts == 2
    assert connection.conn is not theirs
    assert theirs.list_buckets()['Buckets'][0]['Name'] == BUCKET


def test_anonymous(store: Store, connect: Connect) -> None:
    """An anonymous connection signs no request, and cannot presign URLs."""
    connection = connect(store.endpoint_url, anonymous=True)
    store.create_bucket(BUCKET)
    connection.upload(BUCKET, 'key', b'data')

    assert connection.download(BUCKET, 'key') == b'data'
    assert all('authorization' not in seen['headers'] for seen in store.log())
    with pytest.raises(s3po.ConfigurationError, match=r'presign\(\) needs credentials'):
        connection.presign('GET', BUCKET, 'key')


@pytest.fixture(scope='module')
def _tls_server(authority: Authority) -> Iterator[Store]:
    with Store(authority) as server:
        yield server


@pytest.fixture
def tls_store(_tls_server: Store) -> Store:
    """A store with a TLS certificate of an unknown authority."""
    _tls_server.reset()
    return _tls_server


def test_certificate_that_is_not_trusted(
    tls_store: Store, connect: Connect, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrusted certificate is detected with one connection, without a retry, and the message names `verify`."""
    for name in ('REQUESTS_CA_BUNDLE', 'SSL_CERT_FILE'):
        monkeypatch.delenv(name, raising=False)
    text = f'{kind.certificate_error}.*; give verify= the path of the authority that signed it'
    with pytest.raises(CertificateError, match=text) as caught:
        connect(tls_store.endpoint_url).upload(BUCKET, 'key', b'x')

    assert caught.value.attempts == 1
    assert tls_store.stats()['connections'] == 1
    assert tls_store.log() == []


@pytest.mark.parametrize('how', ['path', 'environment', 'nothing'])
def test_certificate_that_is_trusted(
    tls_store: Store, connect: Connect, authority: Authority, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A certificate is accepted by verify=PATH, by AWS_CA_BUNDLE, or with verify=False."""
    verify: Any = {'path': authority.ca_pem, 'environment': True, 'nothing': False}[how]
    if how == 'environment':
        monkeypatch.setenv('AWS_CA_BUNDLE', str(authority.ca_pem))
    monkeypatch.setattr('warnings.warn', lambda *_, **__: None)
    others = make_bucket(tls_store)
    connection = connect(tls_store.endpoint_url, verify=verify)
    connection.upload(BUCKET, 'key', b'data')

    assert connection.download(BUCKET, 'key') == b'data'
    assert tls_store.stats()['connections'] == others + 1


@pytest.mark.slow
def test_no_more_connections_than_jobs(own_store: Store, connect: Connect) -> None:
    """50 workers open at most 50 connections, and reuse them."""
    others = make_bucket(own_store)
    connection = connect(own_store.endpoint_url)
    with connection.batch(50, keep_results=False) as batch:
        for number in range(1000):
            batch.upload(BUCKET, str(number), b'data', callback=lambda result: batch.download(BUCKET, result.key))

    assert batch.report().succeeded == 2000
    assert own_store.stats()['connections'] <= others + 50
    assert own_store.stats()['peak_open'] <= 50
    assert len(own_store.log()) == 2001


@pytest.mark.slow
def test_parts_count_too(own_store: Store, connect: Connect) -> None:
    """Objects and their parts share one limit of requests, and all slots are released."""
    config = s3po.TransferConfig(multipart_chunksize=5 << 20, multipart_threshold=5 << 20, max_requests=3)
    make_bucket(own_store)
    connection = connect(own_store.endpoint_url, config=config)
    with connection.batch(8) as batch:
        for number in range(8):
            batch.upload(BUCKET, str(number), b'x' * (11 << 20))
    assert own_store.stats()['peak_open'] <= 3
    with connection.batch(8) as batch:
        for number in range(8):
            batch.download(BUCKET, str(number), callback=len)

    assert batch.results() == [11 << 20] * 8
    # Each of these drops a connection while most of the object is in flight; the store notices that later.
    assert own_store.stats()['peak_open'] <= 2 * 3


def test_close(own_store: Store, connect: Connect) -> None:
    """close() closes idle connections; the next call opens a new one."""
    others = make_bucket(own_store)
    connection = connect(own_store.endpoint_url, client_config=Config(tcp_keepalive=False))
    with connection:
        connection.upload(BUCKET, 'key', b'data')
        connection.head(BUCKET, 'key')
        assert own_store.stats()['connections'] == others + 1
    assert connection.download(BUCKET, 'key') == b'data'

    assert own_store.stats()['connections'] == others + 2


def test_connection_that_was_closed_meanwhile(own_store: Store, connect: Connect, kind: Kind) -> None:
    """If the store closes idle connections, a request costs at most one retry."""
    connection = connect(own_store.endpoint_url)
    own_store.create_bucket(BUCKET)
    connection.upload(BUCKET, 'key', b'')
    own_store.script({'operation': 'PutObject', 'times': 1, 'action': {'close': True}})
    result = connection.upload(BUCKET, 'key', b'data')

    assert result.attempts == (1 if kind.resends else 2)
    assert len(own_store.log('PutObject')) == 3
    own_store.script({'operation': 'PutObject', 'times': None, 'action': {'close': True}})
    with pytest.raises(UploadError, match='gave up after 4 attempts'):
        connection.upload(BUCKET, 'key', b'data')
