"""The boto3 client of a connection is configured as s3po needs it, whatever it is made from."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import boto3.session
import botocore.credentials
import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import Credentials, RefreshableCredentials

import s3po
from s3po.endpoints.boto_client import (
    MAX_POOL_CONNECTIONS,
    build_client,
    build_mocked_client,
    find_region,
    keys_of_client,
)
from s3po.endpoints.settings import ClientSettings
from s3po.errors import ConfigurationError, CredentialsError
from s3po.http import Timeouts
from tests.support.servers import Authority

KEYS = {'access_key_id': 'key', 'secret_access_key': 'secret'}


def build(**settings: Any) -> Any:
    return build_client(ClientSettings(**settings))


def config_of(client: Any) -> Any:
    return client.meta.config


def test_client(authority: Authority) -> None:
    """botocore's retries are disabled, the pool holds all connections, and the other settings are the caller's."""
    client = build(
        endpoint_url='https://s3.example.com',
        region='eu-west-1',
        session_token='token',
        verify=str(authority.ca_pem),
        timeouts=Timeouts(connect_timeout_s=1.5, read_timeout_s=2.5),
        **KEYS,
    )
    config = config_of(client)

    assert config.retries == {'total_max_attempts': 1, 'mode': 'standard'}
    assert config.max_pool_connections == MAX_POOL_CONNECTIONS
    assert (config.connect_timeout, config.read_timeout) == (1.5, 2.5)
    assert (config.signature_version, config.tcp_keepalive) == ('s3v4', True)
    assert config.request_checksum_calculation == config.response_checksum_validation == 'when_required'
    assert f's3po/{s3po.__version__}' in config.user_agent
    assert (client.meta.endpoint_url, client.meta.region_name) == ('https://s3.example.com', 'eu-west-1')
    assert client._endpoint.http_session._verify == str(authority.ca_pem)
    assert keys_of_client(client).get_frozen_credentials() == ('key', 'secret', 'token', None)


@pytest.mark.parametrize(
    ('style', 'url'), [('path', 'https://s3.example.com/bucket/key'), ('virtual', 'https://bucket.s3.example.com/key')]
)
def test_addressing_style(style: str, url: str) -> None:
    """The bucket is in the path or in the host name."""
    client = build(endpoint_url='https://s3.example.com', region='us-east-1', addressing_style=style, **KEYS)
    signed = client.generate_presigned_url('get_object', Params={'Bucket': 'bucket', 'Key': 'key'})

    assert signed.partition('?')[0] == url


@pytest.mark.parametrize(('verify', 'bundle', 'expected'), [(True, None, True), (True, 'ca', 'ca'), (False, 'ca', False)])
def test_verify(
    verify: bool, bundle: str | None, expected: object, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """verify=True trusts the authorities of AWS_CA_BUNDLE, if it is set."""
    path = str(authority.ca_pem)
    monkeypatch.delenv('REQUESTS_CA_BUNDLE', raising=False)
    if bundle:
        monkeypatch.setenv('AWS_CA_BUNDLE', path)
    found = build(region='us-east-1', verify=verify, **KEYS)._endpoint.http_session._verify

    assert found == (path if expected == 'ca' else expected)


def test_client_config() -> None:
    """The caller's settings are kept, except for those that s3po needs."""
    given = Config(
        retries={'max_attempts': 9, 'mode': 'adaptive'},
        max_pool_connections=3,
        read_timeout=7,
        s3={'use_accelerate_endpoint': True, 'payload_signing_enabled': False},
        proxies={'https': 'http://127.0.0.1:9'},
    )
    client = build(region='us-east-1', client_config=given, addressing_style='virtual', **KEYS)
    config = config_of(client)

    assert config.retries == {'total_max_attempts': 1, 'mode': 'standard'}
    assert (config.max_pool_connections, config.read_timeout) == (MAX_POOL_CONNECTIONS, 7)
    assert config.s3 == {'use_accelerate_endpoint': True, 'payload_signing_enabled': False, 'addressing_style': 'virtual'}
    assert config.proxies == {'https': 'http://127.0.0.1:9'}
    assert 'max_pool_connections' in given._user_provided_options
    assert given.retries == {'max_attempts': 9, 'mode': 'adaptive'}


def test_client_config_of_another_kind() -> None:
    """The error contains the class of the invalid client_config."""
    with pytest.raises(ConfigurationError, match=r'client_config must be a botocore.config.Config, not dict'):
        build(client_config={'read_timeout': 7}, **KEYS)


def test_derived_client(authority: Authority) -> None:
    """A client derived from the caller's has all its settings except for retries; the caller's client is unchanged."""
    session = botocore.session.get_session()
    session._credentials = Credentials('key', 'secret', 'token')
    given = boto3.session.Session(botocore_session=session).client(
        's3',
        region_name='eu-west-1',
        endpoint_url='https://s3.example.com',
        verify=str(authority.ca_pem),
        config=Config(retries={'max_attempts': 9, 'mode': 'standard'}, read_timeout=7, s3={'addressing_style': 'virtual'}),
    )
    theirs = given._request_signer._credentials
    client = build(client=given)
    config = config_of(client)

    assert (client.meta.endpoint_url, client.meta.region_name) == ('https://s3.example.com', 'eu-west-1')
    assert (config.retries['total_max_attempts'], config.max_pool_connections) == (1, MAX_POOL_CONNECTIONS)
    assert (config.read_timeout, config.s3['addressing_style']) == (7, 'virtual')
    assert client._endpoint.http_session._verify == str(authority.ca_pem)
    assert keys_of_client(client).get_frozen_credentials().token == 'token'
    assert given._request_signer._credentials is theirs
    assert config_of(given).retries['total_max_attempts'] == 10
    assert keys_of_client(given) is None


def test_derived_from_a_connections_client() -> None:
    """The credentials of a derived client are wrapped only once."""
    first = build(region='us-east-1', **KEYS)
    second = build(client=first)

    assert isinstance(keys_of_client(second)._inner, Credentials)
    assert keys_of_client(second).get_frozen_credentials().access_key == 'key'


def test_derived_from_an_anonymous_client() -> None:
    """A client derived from an anonymous one does not sign either."""
    client = build(client=build(region='us-east-1', anonymous=True))

    assert config_of(client).signature_version is UNSIGNED
    assert keys_of_client(client) is None


def test_sessions() -> None:
    """boto3 and botocore sessions provide credentials and region, and can be used for several connections."""
    core = botocore.session.get_session()
    core._credentials = Credentials('key', 'secret', 'token')
    core.set_config_variable('region', 'eu-north-1')
    for find in (lambda: core, lambda: core, lambda: boto3.session.Session(botocore_session=core), lambda: core):
        session = find()
        client = build(session=session)
        assert client.meta.region_name == find_region(ClientSettings(session=session)) == 'eu-north-1'
        assert keys_of_client(client).get_frozen_credentials().token == 'token'
        assert callable(client.upload_file)

    with pytest.raises(ConfigurationError, match='session must be a boto3 or botocore Session, not str'):
        build(session='eu-north-1')


def test_anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    """An anonymous client requests no credentials and signs nothing."""
    monkeypatch.setattr(botocore.credentials.CredentialResolver, 'load_credentials', lambda self: 1 / 0)
    client = build(endpoint_url='https://s3.example.com', region='us-east-1', anonymous=True)

    assert config_of(client).signature_version is UNSIGNED
    assert keys_of_client(client) is None
    assert 'Signature' not in client.generate_presigned_url('get_object', Params={'Bucket': 'bucket', 'Key': 'key'})


def test_no_credentials() -> None:
    """Missing credentials are an error when the client is made, not with its first request."""
    with pytest.raises(CredentialsError, match='no credentials found'):
        build(region='us-east-1')


def test_private_attributes_of_botocore() -> None:
    """The private attributes of botocore that s3po reads exist."""
    client = build(region='us-east-1', **KEYS)

    assert hasattr(client._request_signer, '_credentials')
    assert hasattr(client._endpoint.http_session, '_verify')
    refreshable = RefreshableCredentials('a', 'b', 'c', None, dict, 'test')
    for name in ('_mandatory_refresh_timeout', '_advisory_refresh_timeout', '_refresh_lock', '_protected_refresh'):
        assert hasattr(refreshable, name)
    assert refreshable._mandatory_refresh_timeout == 10 * 60
    assert refreshable._advisory_refresh_timeout == 15 * 60


@pytest.mark.parametrize(
    ('region', 'given', 'sent'),
    [
        ('us-east-1', {}, None),
        ('eu-west-1', {}, {'LocationConstraint': 'eu-west-1'}),
        (
            'eu-west-1',
            {'CreateBucketConfiguration': {'LocationConstraint': 'EU'}},
            {'LocationConstraint': 'EU'},
        ),
    ],
)
def test_create_bucket(region: str, given: dict[str, Any], sent: object) -> None:
    """create_bucket() accepts the name as a positional argument, and adds the region if S3 requires it."""
    client = build(region=region, **KEYS)
    asked: list[dict[str, Any]] = []

    def stop(params: dict[str, Any], **_: Any) -> None:
        asked.append(dict(params))
        raise InterruptedError

    client.meta.events.register('before-parameter-build.s3.CreateBucket', stop)
    for call in (lambda: client.create_bucket('foo', **given), lambda: client.create_bucket(Bucket='foo', **given)):
        with pytest.raises(InterruptedError):
            call()

    assert [(params['Bucket'], params.get('CreateBucketConfiguration')) for params in asked] == [('foo', sent)] * 2
    for call in (lambda: client.create_bucket('foo', 'bar'), lambda: client.create_bucket('foo', Bucket='bar')):
        with pytest.raises(ConfigurationError, match='create_bucket takes one bucket name; everything else by keyword'):
            call()


def test_mocked_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mocked client has AWS's host names and fake keys, whatever the environment contains."""
    for name, value in {
        'AWS_PROFILE': 'no-such-profile',
        'AWS_ENDPOINT_URL': 'http://127.0.0.1:9',
        'AWS_ACCESS_KEY_ID': 'real',
        'AWS_SECRET_ACCESS_KEY': 'real',
        'AWS_USE_FIPS_ENDPOINT': 'true',
    }.items():
        monkeypatch.setenv(name, value)
    client: Any = build_mocked_client(None)

    assert (client.meta.endpoint_url, client.meta.region_name) == ('https://s3.amazonaws.com', 'us-east-1')
    assert client._request_signer._credentials.access_key == 'mocked'
    assert config_of(client).retries['total_max_attempts'] == 1
    assert build_mocked_client('eu-west-1').meta.region_name == 'eu-west-1'


def test_region(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """The region is found without making a client: in the argument, the client, the environment or the profile."""
    assert find_region(ClientSettings(region='eu-west-1')) == 'eu-west-1'
    assert find_region(ClientSettings(client=build(region='eu-west-2', **KEYS))) == 'eu-west-2'
    assert find_region(ClientSettings()) is None
    assert find_region(ClientSettings(profile='no-such-profile')) is None
    (tmp_path / 'config').write_text('[profile there]\nregion = eu-west-3\n')
    monkeypatch.setenv('AWS_CONFIG_FILE', os.fspath(tmp_path / 'config'))
    assert find_region(ClientSettings(profile='there')) == 'eu-west-3'
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'eu-north-1')
    assert find_region(ClientSettings()) == 'eu-north-1'
