"""Data and secrets are protected in transit, or a warning is logged, and they are sent to no other host."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

import s3po
from s3po.endpoints.boto_client import build_client
from s3po.endpoints.resolver import Places
from s3po.endpoints.settings import ClientSettings, is_loopback
from s3po.errors import CertificateError, ConfigurationError, InvalidRequest
from tests.support.canaries import KEYS, PASSWORD, SSE_C
from tests.support.kinds import KINDS, Kind
from tests.support.servers import Authority, Store

BUCKET = 'bucket'
UNVERIFIED = 'certificates are not verified'
PLAIN = 'are not encrypted'
Connect = Callable[..., s3po.Connection]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture(scope='module')
def _tls_server(authority: Authority) -> Iterator[Store]:
    with Store(authority) as server:
        yield server


@pytest.fixture
def tls_store(_tls_server: Store) -> Store:
    """A store over TLS, with a certificate of the tests' authority."""
    _tls_server.reset()
    return _tls_server


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """A function that returns the warnings that s3po has logged so far."""
    return lambda: [each.getMessage() for each in caplog.records if each.name.startswith('s3po') and each.levelno >= 30]


# ---------------------------------------------------------------------- TLS


@pytest.mark.security('S04')
@pytest.mark.parametrize(
    ('verify', 'is_trusted', 'is_warned'), [('default', False, False), ('path', True, False), ('none', True, True)]
)
def test_certificates(
    tls_store: Store,
    connect: Connect,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    warned: Callable[[], list[str]],
    *,
    verify: str,
    is_trusted: bool,
    is_warned: bool,
) -> None:
    """Certificates are verified unless verify=False, which is logged once, for all requests and threads."""
    # urllib3 warns as well, each time.
    monkeypatch.setattr('warnings.warn', lambda *_, **__: None)
    given: Any = {'default': {}, 'path': {'verify': authority.ca_pem}, 'none': {'verify': False}}[verify]
    conn = connect(tls_store.endpoint_url, **given)

    if is_trusted:
        tls_store.create_bucket(BUCKET)
        threads = [threading.Thread(target=conn.upload, args=(BUCKET, str(number), b'')) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        conn.upload(BUCKET, 'key', b'')
        assert len(tls_store.log('PutObject')) == 3
    else:
        with pytest.raises(CertificateError):
            conn.upload(BUCKET, 'key', b'')
        assert tls_store.log() == []
    assert [each for each in warned() if UNVERIFIED in each] == [each for each in warned() if 'not ' in each]
    assert len([each for each in warned() if UNVERIFIED in each]) == is_warned


@pytest.mark.security('S04')
@pytest.mark.parametrize('asks', ['places', 'client', 'environment', 'given client'])
@pytest.mark.parametrize(
    ('url', 'verify', 'expected'),
    [
        ('http://s3.example.com', True, [PLAIN]),
        ('http://192.0.2.1:9000', True, [PLAIN]),
        ('http://[2001:db8::1]', True, [PLAIN]),
        ('http://s3.example.com', False, [UNVERIFIED, PLAIN]),
        ('https://s3.example.com', False, [UNVERIFIED]),
        ('https://s3.example.com', True, []),
        ('http://127.0.0.1:9000', True, []),
        ('http://localhost:9000', True, []),
        ('http://[::1]:9000', True, []),
    ],
)
def test_warnings(
    monkeypatch: pytest.MonkeyPatch, warned: Callable[[], list[str]], url: str, asks: str, expected: list[str], *, verify: bool
) -> None:
    """Plain HTTP to another machine is logged once, wherever the endpoint is configured; to loopback it is not logged."""
    for name in ('AWS_CA_BUNDLE', 'REQUESTS_CA_BUNDLE'):
        monkeypatch.delenv(name, raising=False)
    given: dict[str, Any] = {'endpoint_url': url, 'region': 'us-east-1', 'verify': verify, **KEYS}
    if asks == 'environment':
        monkeypatch.setenv('AWS_ENDPOINT_URL', given.pop('endpoint_url'))
    if asks == 'given client':
        theirs = boto3.client(
            's3',
            endpoint_url=url,
            region_name='us-east-1',
            verify=verify,
            aws_access_key_id='a',
            aws_secret_access_key=PASSWORD,
        )
        given = {'client': theirs}
    settings = ClientSettings(**given)
    for _ in range(3):
        if asks == 'places':
            assert Places(settings, pytest.fail).http.tls.verify == verify
        else:
            build_client(settings)

    assert len(warned()) == len(expected)
    for each, text in zip(warned(), expected, strict=True):
        assert text in each


@pytest.mark.security('S04')
@pytest.mark.parametrize(
    ('host', 'expected'),
    [
        *((each, True) for each in ('localhost', 'a.localhost', '127.0.0.1', '127.8.9.1', '::1', '::ffff:127.0.0.1')),
        *((each, False) for each in ('', '0.0.0.0', '::', 'localhost.example.com', '127.0.0.1.example.com', '169.254.169.254')),
        *((each, False) for each in ('fe80::1%lo', '::ffff:192.0.2.1', '2130706433', 'notlocalhost')),
    ],
)
def test_loopback(host: str, *, expected: bool) -> None:
    """Loopback names and addresses are recognized; a name in doubt counts as another machine."""
    assert is_loopback(host) is expected


@pytest.mark.security('S04')
def test_missing_authorities(tmp_path: Any) -> None:
    """A verify path that does not exist is an error; it does not disable verification."""
    with pytest.raises(ConfigurationError, match='verify: the file or directory'):
        s3po.Connection(verify=tmp_path / 'none.pem')


# ---------------------------------------------------------------------- redirects


@pytest.mark.security('S05')
@pytest.mark.parametrize('where', ['header', 'body'])
@pytest.mark.parametrize('status', [301, 307, 400])
@pytest.mark.parametrize('region', ['evil.example.com', 'a/b', 'us-east-1@evil', '-a', '123', 'us_east', 'x' * 64, 'é', 'a b'])
def test_invalid_region(store: Store, connect: Connect, region: str, where: str, status: int) -> None:
    """An invalid region in a response is not used: the request is not sent again or signed for it, now or later."""
    conn = connect(store.endpoint_url, **KEYS)
    store.create_bucket(BUCKET)
    code = {301: 'PermanentRedirect', 307: 'TemporaryRedirect', 400: 'AuthorizationHeaderMalformed'}[status]
    said = region.encode().decode('latin-1')
    body = f'<Error><Code>{code}</Code><Message>There.</Message>{f"<Region>{said}</Region>" if where == "body" else ""}</Error>'
    headers = {'x-amz-bucket-region': said} if where == 'header' else {}
    store.script({'operation': 'PutObject', 'times': 1, 'action': {'status': status, 'body': body, 'headers': headers}})

    # botocore rejects the name itself, before it sends anything.
    with pytest.raises((InvalidRequest, ConfigurationError)):
        conn.upload(BUCKET, 'key', b'data', extra=SSE_C)

    assert len(store.log('PutObject')) == 1
    conn.upload(BUCKET, 'key', b'data')
    assert {seen['headers']['authorization'].split('/')[2] for seen in store.log() if seen['key']} == {'us-east-1'}


@pytest.fixture
def elsewhere() -> Iterator[Store]:
    """Another store, which must not receive any request."""
    with Store() as other:
        yield other
        assert other.log() == []
        assert other.stats()['connections'] == 0


@pytest.mark.security('S05')
@pytest.mark.parametrize('status', [301, 302, 303, 307, 308])
@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost'])
def test_secrets_stay(
    tls_store: Store, connect: Connect, authority: Authority, elsewhere: Store, status: int, host: str
) -> None:
    """A redirect to another host or to plain HTTP is never followed: neither a token nor an SSE-C key is sent there."""
    conn = connect(tls_store.endpoint_url, verify=authority.ca_pem, **KEYS, default_extra=SSE_C)
    tls_store.create_bucket(BUCKET)
    headers = {'Location': f'http://{host}:{elsewhere.port}/{BUCKET}/key', 'x-amz-bucket-region': 'eu-west-1'}
    for operation in ('PutObject', 'GetObject', 'HeadObject', 'DeleteObject', 'ListObjectsV2'):
        tls_store.script({'operation': operation, 'action': {'status': status, 'code': 'Redirect', 'headers': headers}})
    calls: list[Callable[[], object]] = [
        lambda: conn.upload(BUCKET, 'key', b'data'),
        lambda: conn.download(BUCKET, 'key'),
        lambda: conn.head(BUCKET, 'key'),
        lambda: conn.delete(BUCKET, 'key'),
        lambda: list(conn.list(BUCKET)),
    ]

    for call in calls:
        before = len(tls_store.log())
        with pytest.raises(s3po.S3poError):
            call()
        # All attempts get the 303, which S3 does not send.
        assert len(tls_store.log()) - before <= 4


# ---------------------------------------------------------------------- presigned URLs


@pytest.mark.security('S06')
def test_presigned_url_is_not_logged(store: Store, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """A presigned URL is in no log and no repr. It has a version 4 signature, and is valid for an hour."""
    with caplog.at_level(logging.DEBUG):
        conn = connect(store.endpoint_url, **KEYS)
        url = conn.presign('GET', BUCKET, 'key')
        seen = f'{caplog.text}{conn!r}{vars(conn)!r}{conn.conn!r}{[vars(each) for each in caplog.records]}'

    query = dict(each.split('=') for each in url.partition('?')[2].split('&'))
    assert query['X-Amz-Algorithm'] == 'AWS4-HMAC-SHA256'
    assert query['X-Amz-Expires'] == '3600'
    for name in ('X-Amz-Signature', 'X-Amz-Security-Token'):
        assert query[name] not in seen
        assert f'{name}=' not in seen.replace(f'{name}=***', '')


@pytest.mark.security('S06')
@pytest.mark.parametrize('expires_s', [0, -1, 604_801, 3600.0, '3600', True, None])
def test_life_of_a_presigned_url(connect: Connect, expires_s: Any) -> None:
    """A presigned URL is valid for at most seven days, S3's limit; other values are errors."""
    conn = connect('https://s3.example.com')
    with pytest.raises(ConfigurationError, match='expires_s must be a whole number from 1 to 604,800'):
        conn.presign('GET', BUCKET, 'key', expires_s=expires_s)

    assert 'X-Amz-Expires=604800&' in conn.presign('GET', BUCKET, 'key', expires_s=604_800)


@pytest.mark.security('S06')
@pytest.mark.parametrize('region', ['us-east-1', 'eu-central-1', 'aws-global'])
@pytest.mark.parametrize('endpoint_url', [None, 'https://s3.example.com'])
def test_presigned_by_version_4_only(connect: Connect, region: str, endpoint_url: str | None) -> None:
    """URLs are presigned with version 4 even if botocore would choose version 2 for the client and region."""
    theirs = boto3.client(
        's3', region_name=region, endpoint_url=endpoint_url, aws_access_key_id='a', aws_secret_access_key=PASSWORD
    )
    for given in ({'client': theirs}, {'region': region, 'endpoint_url': endpoint_url}):
        url = connect(**given).presign('GET', BUCKET, 'key')
        assert 'X-Amz-Algorithm=AWS4-HMAC-SHA256' in url
        assert '&Signature=' not in url


@pytest.mark.security('S06')
@pytest.mark.parametrize('signature_version', ['s3', 's3-query', 'v2'])
def test_presigned_by_version_2(connect: Connect, signature_version: str) -> None:
    """presign() never creates a URL with a version 2 signature."""
    config = Config(signature_version=signature_version)
    with pytest.raises(ConfigurationError):
        connect('https://s3.example.com', client_config=config).presign('GET', BUCKET, 'key')
