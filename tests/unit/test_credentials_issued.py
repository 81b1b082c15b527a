"""The results of a function that is passed as credentials: all accepted names, and the errors for anything else."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

import boto3.session
import botocore.session
import pytest
from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials

import s3po
from s3po.credentials import EnvironmentCredentials, MetadataCredentials, StaticCredentials
from s3po.credentials.keys import Keys, keys_from
from s3po.endpoints.boto_client import build_client
from s3po.endpoints.settings import ClientSettings
from s3po.endpoints.signing_keys import FixedKeys, key_source
from s3po.errors import ConfigurationError, CredentialsError
from tests.support.canaries import SECRET_ACCESS_KEY, secrets_in

EXPIRY = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
WHOLE = Keys(access_key_id='k', secret_access_key='s', session_token='t', expires_at=EXPIRY)
LASTING = Keys(access_key_id='k', secret_access_key='s')


@pytest.mark.parametrize(
    ('returned', 'expected'),
    [
        ({'access_key_id': 'k', 'secret_access_key': 's', 'token': 't', 'expires_at': EXPIRY}, WHOLE),
        ({'access_key': 'k', 'secret_key': 's', 'token': 't', 'expiry_time': '2100-01-01T00:00:00Z'}, WHOLE),
        (
            {'access_key_id': 'k', 'secret_access_key': 's', 'session_token': 't', 'expires_at': '2100-01-01T01:00:00+01:00'},
            WHOLE,
        ),
        ({'AccessKeyId': 'k', 'SecretAccessKey': 's', 'SessionToken': 't', 'Expiration': EXPIRY}, WHOLE),
        (SimpleNamespace(access_key_id='k', secret_access_key='s', session_token='t', expires_at=EXPIRY), WHOLE),
        ({'access_key_id': 'k', 'secret_access_key': 's', 'token': None, 'expires_at': None}, LASTING),
        ({'access_key_id': 'k', 'secret_access_key': 's', 'token': ''}, LASTING),
        (ReadOnlyCredentials('k', 's', None), LASTING),
        (Credentials('k', 's'), LASTING),
        (StaticCredentials('k', 's'), LASTING),
    ],
)
def test_names(returned: object, expected: Keys) -> None:
    """The names of s3po, obstore, botocore and AWS are accepted, as items of a mapping or as attributes."""
    assert keys_from(lambda: returned) == expected


def test_botocores_own() -> None:
    """Attributes that may be refreshed between two reads are read at once."""
    numbers = iter(range(9))

    def refresh() -> dict[str, str]:
        number = next(numbers)
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=5)
        return {
            'access_key': str(number),
            'secret_key': str(number),
            'token': str(number),
            'expiry_time': expiry.isoformat(),
        }

    theirs = RefreshableCredentials.create_from_metadata(refresh(), refresh, 'test')
    found = keys_from(lambda: theirs)

    assert found.access_key_id == found.secret_access_key == found.session_token


@pytest.mark.parametrize(
    ('returned', 'said'),
    [
        (None, 'returned None'),
        (SECRET_ACCESS_KEY, 'returned a value of type str'),
        (['k', 's'], 'returned a value of type list'),
        ({}, 'returned no access_key_id and no secret_access_key'),
        ({'access_key_id': 'k'}, 'returned no secret_access_key'),
        ({'access_key_id': '', 'secret_access_key': SECRET_ACCESS_KEY}, 'returned no access_key_id'),
        ({'access_key_id': 'k', 'secret_access_key': SECRET_ACCESS_KEY.encode()}, 'of type bytes as secret_access_key'),
        ({'access_key_id': 'k', 'secret_access_key': SECRET_ACCESS_KEY, 'expires_at': 'tomorrow'}, 'not a time in ISO 8601'),
        ({'access_key_id': 'k', 'secret_access_key': SECRET_ACCESS_KEY, 'expires_at': 1e9}, 'type float as expires_at'),
        ({'access_key_id': 'k', 'secret_access_key': SECRET_ACCESS_KEY, 'expires_at': '2100-01-01'}, 'without a time zone'),
        (
            {'access_key_id': 'k', 'secret_access_key': 's', 'expires_at': datetime.datetime(2100, 1, 1)},  # noqa: DTZ001
            'without a time zone',
        ),
    ],
)
def test_nonsense(returned: object, said: str) -> None:
    """The error explains the problem, and contains no value."""
    with pytest.raises(CredentialsError, match=said) as caught:
        keys_from(lambda: returned)

    assert secrets_in(str(caught.value)) == []


def test_async_function() -> None:
    """An async function is rejected, without a warning about an unawaited coroutine."""

    async def function() -> dict[str, str]:
        return {}

    with pytest.raises(CredentialsError, match='is an async one'):
        keys_from(function)


# ---------------------------------------------------------------------- as settings


@pytest.mark.parametrize(
    'other',
    [
        {'access_key_id': 'k', 'secret_access_key': 's'},
        {'anonymous': True},
        {'profile': 'p'},
        {'session': boto3.session.Session()},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_sources(other: dict[str, Any]) -> None:
    """Credentials cannot be combined with other sources of keys."""
    with pytest.raises(ConfigurationError, match='exclude each other: each selects the credentials'):
        s3po.Connection(credentials=StaticCredentials('key', 'secret'), **other)


def test_token_beside() -> None:
    """session_token cannot be combined with credentials, which have their own."""
    with pytest.raises(ConfigurationError, match='session_token needs'):
        s3po.Connection(credentials=StaticCredentials('key', 'secret'), session_token='token')


@pytest.mark.parametrize('given', [1, 'key:secret', {'access_key_id': 'k'}, Credentials('k', 's')])
def test_other_objects(given: Any) -> None:
    """The error for other objects names what is accepted."""
    with pytest.raises(
        ConfigurationError, match='credentials must be of s3po.credentials, a boto3 or botocore Session, or a fun'
    ):
        s3po.Connection(credentials=given)


def test_regions() -> None:
    """The region of the credentials is used if no other one is passed."""
    credentials = StaticCredentials('key', 'secret', region='eu-west-1')

    assert ClientSettings(credentials=credentials).region == 'eu-west-1'
    assert ClientSettings(credentials=credentials, region='eu-west-2').region == 'eu-west-2'
    assert s3po.Connection(credentials=credentials).conn.meta.region_name == 'eu-west-1'
    assert ClientSettings(credentials=MetadataCredentials('eu-west-3')).region == 'eu-west-3'
    assert ClientSettings(credentials=EnvironmentCredentials()).region is None


def test_kinds_of_key_sources() -> None:
    """Fixed keys need no client; others are obtained through one."""
    session = botocore.session.get_session()
    fixed = key_source(ClientSettings(credentials=StaticCredentials('key', 'secret', 'token')), pytest.fail)
    assert isinstance(fixed, FixedKeys)
    assert fixed.current is not None
    assert (fixed.current.access_key_id, fixed.current.session_token) == ('key', 'token')
    for changing in (lambda: None, MetadataCredentials(), session, boto3.session.Session(), StaticCredentials()):
        with pytest.raises(pytest.fail.Exception, match='a client was made'):
            key_source(ClientSettings(credentials=changing), lambda: pytest.fail('a client was made'))
    assert ClientSettings(credentials=session).session is session


def test_one_source_for_all_clients() -> None:
    """The function is called once, also with clients in many native threads."""
    asked: list[None] = []

    def function() -> dict[str, str]:
        asked.append(None)
        return {'access_key': 'k', 'secret_key': 's'}

    settings = ClientSettings(credentials=function, region='us-east-1')
    for _ in range(3):
        client: Any = build_client(settings)
        assert client._request_signer._credentials.get_frozen_credentials().secret_key == 's'

    assert len(asked) == 1


def test_profile_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_PROFILE is not used if credentials are passed."""
    monkeypatch.setenv('AWS_PROFILE', 'no-such-profile')

    assert build_client(ClientSettings(credentials=lambda: None, region='us-east-1')).meta.region_name == 'us-east-1'
