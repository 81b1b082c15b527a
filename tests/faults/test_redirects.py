"""Expired credentials, wrong clocks, and buckets in other regions (F32 to F36): corrected once, and logged."""

from __future__ import annotations

import datetime
import email.utils
import logging
from collections.abc import Callable, Iterator
from typing import Any

import boto3.session
import botocore.session
import pytest
from botocore.credentials import RefreshableCredentials

import s3po
from s3po.errors import AccessDenied, BreakerOpen, InvalidRequest, TransportError
from tests.conftest import BUCKET
from tests.support.kinds import Kind
from tests.support.servers import Store

Connect = Callable[..., s3po.Connection]

TOKEN = 'token-that-must-not-travel'
JOBS = 100


def once(operation: str, times: int | None = 1, **action: Any) -> dict[str, Any]:
    """A rule for the next requests of one operation."""
    return {'operation': operation, 'times': times, 'action': action}


def sent(store: Store, operation: str) -> list[dict[str, str]]:
    """The headers of the requests of one operation."""
    return [seen['headers'] for seen in store.log(operation)]


class Issuer:
    """A source of credentials that returns a new token for each call, and counts the calls."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> dict[str, str]:
        self.count += 1
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=6)
        return {'access_key': 'key', 'secret_key': 'secret', 'token': f'token{self.count}', 'expiry_time': expiry.isoformat()}

    def session(self) -> boto3.session.Session:
        inner = botocore.session.Session()
        credentials = RefreshableCredentials.create_from_metadata(self(), refresh_using=self, method='test')
        inner._credentials = credentials  # type: ignore[attr-defined]  # as users of boto3 do
        return boto3.session.Session(botocore_session=inner, region_name='us-east-1')


# ---------------------------------------------------------------------- credentials


@pytest.mark.fault('F32')
def test_expired_token(store: Store, connect: Connect) -> None:
    """For 100 jobs with the same expired token, the credentials are refreshed once, and all jobs succeed."""
    issuer = Issuer()
    conn = connect(store.endpoint_url, session=issuer.session())
    conn.create_bucket(BUCKET)
    assert issuer.count == 1
    expired = {'x-amz-security-token': 'token1'}
    store.script({**once('PutObject', None, status=400, code='ExpiredToken'), 'headers': expired})

    with conn.batch(JOBS) as batch:
        for number in range(JOBS):
            batch.upload(BUCKET, str(number), b'data')

    assert issuer.count == 2
    assert len(list(conn.list(BUCKET))) == JOBS
    assert {each['x-amz-security-token'] for each in sent(store, 'PutObject')} == {'token1', 'token2'}


@pytest.mark.fault('F32')
def test_expired_token_without_refresh(store: Store, connect: Connect) -> None:
    """An expired token that cannot be refreshed is refused at once, and the batch stops after max_failures."""
    conn = connect(store.endpoint_url, access_key_id='key', secret_access_key='secret', session_token=TOKEN)
    store.create_bucket(BUCKET)
    store.script(once('PutObject', None, status=400, code='ExpiredToken'))

    batch = conn.batch(1, on_error='collect', max_failures=5)
    with pytest.raises(BreakerOpen, match='stopped after 5 failures'), batch:
        for number in range(20):
            batch.upload(BUCKET, str(number), b'data')

    assert [type(job.error) for job in batch.failed] == [AccessDenied] * 5
    assert {type(job.error) for job in batch.not_started} == {BreakerOpen}
    assert len(sent(store, 'PutObject')) == 5
    assert all(TOKEN not in str(job.error) for job in batch.failed)


# ---------------------------------------------------------------------- clocks


@pytest.mark.fault('F33')
def test_clock_that_is_off(conn: s3po.Connection, store: Store, kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """A request with a wrong date is sent again with the store's time; if that is impossible, the error has the offset."""
    theirs = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
    headers = {'Date': email.utils.format_datetime(theirs, usegmt=True)}
    store.script(once('PutObject', status=403, code='RequestTimeTooSkewed', headers=headers))

    if kind.corrects_clock:
        with caplog.at_level(logging.WARNING):
            assert conn.upload(BUCKET, 'key', b'data').attempts == 1
        assert "this machine's clock is -7200 s off" in caplog.text.replace('-7199', '-7200').replace('-7201', '-7200')
        assert len(sent(store, 'PutObject')) == 2
        dates = [datetime.datetime.strptime(each['x-amz-date'], '%Y%m%dT%H%M%S%z') for each in sent(store, 'PutObject')]
        assert round((dates[1] - dates[0]).total_seconds() / 60) == 120
    else:
        with pytest.raises(AccessDenied, match=r"clock is 7\d\d\d s behind the store's"):
            conn.upload(BUCKET, 'key', b'data')
        assert len(sent(store, 'PutObject')) == 1


# ---------------------------------------------------------------------- regions


@pytest.mark.fault('F34')
@pytest.mark.parametrize('status', [301, 400])
def test_other_region(store: Store, connect: Connect, status: int) -> None:
    """If a bucket is in another region, the request is signed again for that region, and so are all later requests."""
    conn = connect(store.endpoint_url)
    store.create_bucket(BUCKET)
    code = {301: 'PermanentRedirect', 400: 'AuthorizationHeaderMalformed'}[status]
    body = f'<Error><Code>{code}</Code><Message>There.</Message><Region>eu-west-1</Region></Error>'
    store.script(once('PutObject', status=status, body=body, headers={'x-amz-bucket-region': 'eu-west-1'}))

    result = conn.upload(BUCKET, 'key', b'data')

    assert result.attempts == 1
    assert conn.download(BUCKET, 'key') == b'data'
    regions = [each['authorization'].split('/')[2] for each in sent(store, 'PutObject') + sent(store, 'GetObject')]
    assert regions == ['us-east-1', 'eu-west-1', 'eu-west-1']


@pytest.fixture(scope='module')
def _other_store() -> Iterator[Store]:
    with Store() as other:
        yield other


@pytest.fixture
def elsewhere(_other_store: Store) -> Iterator[Store]:
    """Another store, which must get no request and no connection."""
    _other_store.reset()
    yield _other_store
    assert _other_store.log() == []
    assert _other_store.stats()['connections'] == 0


@pytest.mark.fault('F35')
@pytest.mark.parametrize('code', ['TemporaryRedirect', 'PermanentRedirect', ''])
@pytest.mark.parametrize('status', [301, 302, 307, 308])
@pytest.mark.parametrize('region', ['', 'eu-west-1'])
def test_redirected_for_ever(store: Store, connect: Connect, elsewhere: Store, status: int, code: str, region: str) -> None:
    """A store that always redirects gets at most three requests, and the targets of the redirects get none."""
    conn = connect(store.endpoint_url, access_key_id='key', secret_access_key='secret', session_token=TOKEN)
    store.create_bucket(BUCKET)
    headers = {'Location': f'{elsewhere.endpoint_url}/{BUCKET}/key'}
    if region:
        headers['x-amz-bucket-region'] = region
    body = None if code else ''
    store.script(once('PutObject', None, status=status, code=code, headers=headers, body=body))

    with pytest.raises(InvalidRequest) as caught:
        conn.upload(BUCKET, 'key', b'data')

    assert caught.value.status == status
    assert len(sent(store, 'PutObject')) <= 3


LOCATIONS = ['http://127.0.0.1:{port}/bucket/key', '//127.0.0.1:{port}/bucket/key', 'http://localhost:{port}/']


@pytest.mark.fault('F36')
@pytest.mark.parametrize('location', LOCATIONS)
@pytest.mark.parametrize('operation', ['GetObject', 'HeadObject', 'ListObjectsV2'])
@pytest.mark.parametrize('status', [301, 307])
def test_foreign_host(store: Store, connect: Connect, elsewhere: Store, status: int, operation: str, location: str) -> None:
    """A redirect to another host is never followed, whatever the request: no secret is sent there."""
    conn = connect(store.endpoint_url, access_key_id='key', secret_access_key='secret', session_token=TOKEN)
    store.create_bucket(BUCKET)
    headers = {'Location': location.format(port=elsewhere.port)}
    store.script(once(operation, None, status=status, code='TemporaryRedirect', headers=headers))
    customer = {'SSECustomerAlgorithm': 'AES256', 'SSECustomerKey': 'k' * 32}
    calls: dict[str, Callable[[], object]] = {
        'GetObject': lambda: conn.download(BUCKET, 'key', extra=customer),
        'HeadObject': lambda: conn.head(BUCKET, 'key', extra=customer),
        'ListObjectsV2': lambda: list(conn.list(BUCKET)),
    }

    with pytest.raises(TransportError) as caught:
        calls[operation]()

    assert len(store.log(operation)) <= 3
    assert TOKEN not in str(caught.value)
    assert 'k' * 32 not in str(caught.value)
