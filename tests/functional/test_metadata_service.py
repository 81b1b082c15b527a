"""Keys from EC2's metadata service, if no others are passed: requests are safe, and the log names the source of the keys."""

from __future__ import annotations

import logging
import pathlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import s3po
from s3po.endpoints.boto_client import build_client, keys_of_client
from s3po.endpoints.settings import ClientSettings
from s3po.errors import CredentialsError
from tests.support.canaries import SECRET_ACCESS_KEY, SESSION_TOKEN
from tests.support.kinds import KINDS, Kind
from tests.support.metadata import LIMIT_S, MetadataService
from tests.support.servers import Store

BUCKET = 'bucket'
Connect = Callable[..., s3po.Connection]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetadataService]:
    """The metadata service, configured in the environment."""
    found = MetadataService()
    found.start()
    monkeypatch.delenv('AWS_EC2_METADATA_DISABLED')
    monkeypatch.setenv('AWS_EC2_METADATA_SERVICE_ENDPOINT', found.url)
    yield found
    found.stop()


@pytest.fixture
def proxy() -> Iterator[MetadataService]:
    """A proxy that records its requests."""
    found = MetadataService()
    found.start()
    yield found
    found.stop()


def without_keys(store: Store, kind: Kind) -> s3po.Connection:
    """A connection without keys, which looks for credentials."""
    return s3po.Connection(endpoint_url=store.endpoint_url, region='us-east-1', transport=kind.name, retries=0)


# ---------------------------------------------------------------------- the metadata service


@pytest.mark.security('S08')
def test_version_2(service: MetadataService, conn: s3po.Connection, store: Store, kind: Kind) -> None:
    """A token is requested first, and sent with all further requests."""
    with without_keys(store, kind) as connection:
        connection.upload(BUCKET, 'key', b'data')

    assert store.log('PutObject')[0]['headers']['x-amz-security-token'] == SESSION_TOKEN
    where = '/latest/meta-data/iam/security-credentials/'
    assert service.asked == [('PUT', '/latest/api/token', False), ('GET', where, True), ('GET', f'{where}role', True)]


@pytest.mark.security('S08')
@pytest.mark.parametrize('status', [403, 404, 405, 400, 500])
def test_version_1_is_not_used(service: MetadataService, store: Store, kind: Kind, status: int) -> None:
    """Without a token no keys are requested, even if the service would return them; the error contains advice."""
    service.token_status = status
    with without_keys(store, kind) as connection, pytest.raises(CredentialsError, match='no credentials found: .*Give access_'):
        connection.upload(BUCKET, 'key', b'data')

    assert service.asked == [('PUT', '/latest/api/token', False)]
    assert store.log() == []


@pytest.mark.security('S08')
def test_service_that_hangs(service: MetadataService, store: Store, kind: Kind) -> None:
    """The token request is given up after a second, without a retry; other greenlets run meanwhile."""
    service.token_status = None
    begun = time.monotonic()
    with without_keys(store, kind) as connection, pytest.raises(CredentialsError, match='no credentials found'):
        connection.upload(BUCKET, 'key', b'data')

    assert time.monotonic() - begun < LIMIT_S / 3
    assert len(service.asked) == 1


@pytest.mark.security('S08')
def test_service_that_is_not_there(service: MetadataService, store: Store, kind: Kind) -> None:
    """If there is no service, as outside of EC2, the error contains advice and does not mention the missing token."""
    service.stop()
    with (
        without_keys(store, kind) as connection,
        pytest.raises(CredentialsError, match='^no credentials found: .*Give access_'),
    ):
        connection.upload(BUCKET, 'key', b'data')


@pytest.mark.security('S08')
def test_service_that_is_off(service: MetadataService, store: Store, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_EC2_METADATA_DISABLED is respected."""
    monkeypatch.setenv('AWS_EC2_METADATA_DISABLED', 'true')
    with without_keys(store, kind) as connection, pytest.raises(CredentialsError, match='no credentials found'):
        connection.upload(BUCKET, 'key', b'data')

    assert service.asked == []


@pytest.mark.security('S08')
def test_unused_with_keys(service: MetadataService, conn: s3po.Connection, store: Store, connect: Connect) -> None:
    """The service is not used by a connection that has keys, or that is anonymous."""
    conn.upload(BUCKET, 'key', b'data')
    connect(store.endpoint_url, anonymous=True).download(BUCKET, 'key')

    assert service.asked == []


# ---------------------------------------------------------------------- proxies


@pytest.mark.security('S19')
@pytest.mark.parametrize('names', [('HTTP_PROXY',), ('http_proxy', 'https_proxy'), ('HTTPS_PROXY', 'http_proxy', 'all_proxy')])
def test_never_through_a_proxy(
    service: MetadataService, proxy: MetadataService, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    """Requests to the metadata service use no proxy, which would see the role's keys."""
    for name in names:
        monkeypatch.setenv(name, proxy.url)
    credentials = keys_of_client(build_client(ClientSettings(region='us-east-1')))
    assert credentials is not None

    assert credentials.get_frozen_credentials().token == SESSION_TOKEN
    assert proxy.asked == []
    assert len(service.asked) == 3


@pytest.mark.security('S19')
def test_containers_neither(service: MetadataService, proxy: MetadataService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to a container's credentials service use no proxy either."""
    monkeypatch.setenv('HTTP_PROXY', proxy.url)
    monkeypatch.setenv('AWS_CONTAINER_CREDENTIALS_FULL_URI', f'{service.url}/container')
    credentials = keys_of_client(build_client(ClientSettings(region='us-east-1')))
    assert credentials is not None

    assert credentials.get_frozen_credentials().token == SESSION_TOKEN
    assert (proxy.asked, service.asked) == ([], [('GET', '/container', False)])


@pytest.mark.security('S19')
def test_role_by_the_service(
    service: MetadataService, proxy: MetadataService, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """A role that is assumed with the machine's keys gets them without a proxy; STS is called in the connection's region."""
    (tmp_path / 'config').write_text(
        '[profile other]\nrole_arn = arn:aws:iam::123456789012:role/x\ncredential_source = Ec2InstanceMetadata\n'
        f'services = there\n[services there]\nsts =\n  endpoint_url = {proxy.url}\n'
    )
    monkeypatch.setenv('AWS_CONFIG_FILE', str(tmp_path / 'config'))
    client = build_client(ClientSettings(region='eu-west-1', profile='other'))
    credentials = keys_of_client(client)
    assert credentials is not None
    with pytest.raises(s3po.S3poError), s3po.Connection(region='eu-west-1', profile='other', retries=0) as connection:
        connection.head(BUCKET, 'key')

    # One lookup for each client, always with the token and never through the proxy.
    assert {(method, bears_token) for method, _, bears_token in service.asked} == {('PUT', False), ('GET', True)}
    assert {target for _, target, _ in proxy.asked} == {'/'}


# ---------------------------------------------------------------------- logging of the source and the endpoint


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """A function that returns s3po's log messages that start with a text."""
    caplog.set_level(logging.DEBUG)
    ours = lambda: (each.getMessage() for each in caplog.records if each.name.startswith('s3po'))  # noqa: E731
    return lambda begin: [each for each in ours() if each.startswith(begin)]


@pytest.mark.security('S19')
@pytest.mark.parametrize('source', ['the arguments', 'env', 'shared-credentials-file', 'iam-role'])
def test_source_is_logged(
    service: MetadataService,
    conn: s3po.Connection,
    store: Store,
    kind: Kind,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    told: Callable[[str], list[str]],
    source: str,
) -> None:
    """The source of the keys is logged once per connection, by its name. (The check for secrets covers the values.)"""
    before = len(told('credentials come from'))
    given: dict[str, Any] = {}
    if source == 'the arguments':
        given = {'access_key_id': 'key', 'secret_access_key': SECRET_ACCESS_KEY}
    elif source == 'env':
        monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'key')
        monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', SECRET_ACCESS_KEY)
    elif source == 'shared-credentials-file':
        (tmp_path / 'keys').write_text(f'[mine]\naws_access_key_id = key\naws_secret_access_key = {SECRET_ACCESS_KEY}\n')
        monkeypatch.setenv('AWS_SHARED_CREDENTIALS_FILE', str(tmp_path / 'keys'))
        given = {'profile': 'mine'}
    with s3po.Connection(endpoint_url=store.endpoint_url, region='us-east-1', transport=kind.name, **given) as connection:
        for number in range(3):
            connection.upload(BUCKET, str(number), b'')
        assert connection.conn.meta.region_name == 'us-east-1'

    assert told('credentials come from')[before:] == [f'credentials come from {source}']


@pytest.mark.security('S19')
@pytest.mark.parametrize(
    ('variables', 'is_honoured'),
    [
        ({'AWS_ENDPOINT_URL': 'store'}, True),
        ({'AWS_ENDPOINT_URL_S3': 'store'}, True),
        ({'AWS_ENDPOINT_URL_S3': 'store', 'AWS_ENDPOINT_URL': 'http://127.0.0.1:9'}, True),
        ({'AWS_ENDPOINT_URL_SQS': 'store', 'AWS_ENDPOINT_URL': 'http://127.0.0.1:9'}, False),
        ({'AWS_ENDPOINT_URL_S3': 'store', 'AWS_IGNORE_CONFIGURED_ENDPOINT_URLS': 'true'}, False),
    ],
)
def test_endpoint_of_the_environment(
    store: Store,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    told: Callable[[str], list[str]],
    variables: dict[str, str],
    *,
    is_honoured: bool,
) -> None:
    """An endpoint in the environment is used and logged, unless another is passed or the environment disables it."""
    for name, value in variables.items():
        monkeypatch.setenv(name, store.endpoint_url if value == 'store' else value)
    connection = connect(None)

    assert (connection.conn.meta.endpoint_url == store.endpoint_url) is is_honoured
    assert told('the endpoint is') == [f'the endpoint is {connection.conn.meta.endpoint_url}']
    if is_honoured:
        connection.create_bucket(BUCKET)
        connection.upload(BUCKET, 'key', b'data')
        assert connection.download(BUCKET, 'key') == b'data'
        url = connection.presign('GET', BUCKET, 'key')
        assert re.match(f'{store.endpoint_url}/{BUCKET}/key', url)
    monkeypatch.setenv('AWS_ENDPOINT_URL_S3', 'http://127.0.0.1:9')
    assert connect(store.endpoint_url).conn.meta.endpoint_url == store.endpoint_url
