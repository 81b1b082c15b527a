"""The keys that sign requests: the caller's fixed ones, or those that the client finds and refreshes."""

from __future__ import annotations

import datetime
from typing import Any

import botocore.session
import pytest
from botocore.credentials import Credentials, RefreshableCredentials

from s3po.endpoints.boto_client import build_client, keys_of_client
from s3po.endpoints.boto_keys import ASK_EVERY_S, BotoKeys
from s3po.endpoints.settings import ClientSettings
from s3po.endpoints.signing_keys import FixedKeys, key_source
from s3po.errors import CredentialsError

FRESH_S, EXPIRED_S = 60 * 60, -60


def no_client() -> Any:
    pytest.fail('the client was asked for')


class Issuer:
    """A source of temporary keys, with a fake clock.

    Attributes:
        issued: The number of refreshes.
        reissues: Whether it returns the same keys again, as metadata services do until they have new ones.
        error: The exception that it raises, or None.
        now_s: The time of the clock.
    """

    def __init__(self, lifetime_s: int) -> None:
        self.issued = 0
        self.reissues = False
        self.error: Exception | None = None
        self.now_s = 0.0
        self.inner: Any = RefreshableCredentials.create_from_metadata(self.keys(lifetime_s), self.refresh, 'test')
        self.source = BotoKeys(self.inner, clock=lambda: self.now_s)

    def keys(self, lifetime_s: int) -> dict[str, str]:
        """Keys in the form of botocore's metadata."""
        number = 0 if self.reissues else self.issued
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=lifetime_s)
        return {
            'access_key': f'key{number}',
            'secret_key': 'secret',
            'token': f'token{number}',
            'expiry_time': expiry.isoformat(),
        }

    def refresh(self) -> dict[str, str]:
        """Issue new keys."""
        if self.error is not None:
            raise self.error
        self.issued += 1
        return self.keys(FRESH_S)

    @property
    def token(self) -> str | None:
        """The token of the current keys."""
        keys = self.source.current
        assert keys is not None
        return keys.session_token


def test_given_keys() -> None:
    """Keys that are passed never change, need no client, and are in no repr."""
    source = key_source(ClientSettings(access_key_id='key', secret_access_key='hidden', session_token='unseen'), no_client)
    keys = source.current
    assert keys is not None
    source.expire(keys)

    assert (keys.access_key_id, keys.secret_access_key, keys.session_token) == ('key', 'hidden', 'unseen')
    assert source.current is keys
    assert not source.can_refresh
    assert 'hidden' not in repr(keys)
    assert 'unseen' not in repr(keys)


def test_anonymous() -> None:
    """An anonymous connection has no keys, with and without a client."""
    client = build_client(ClientSettings(anonymous=True, region='us-east-1'))
    for source in (
        key_source(ClientSettings(anonymous=True), no_client),
        key_source(ClientSettings(client=client), lambda: client),
    ):
        source.expire(source.current)

        assert source.current is None
        assert not source.can_refresh


def test_found_keys() -> None:
    """As long as the client's keys are the same, `current` is the same object."""
    now_s = [0.0]
    source = BotoKeys(Credentials('key', 'secret', 'token'), clock=lambda: now_s[0])
    keys = source.current
    assert keys is not None
    source.expire(keys)
    now_s[0] += 10 * ASK_EVERY_S

    assert (keys.access_key_id, keys.secret_access_key, keys.session_token) == ('key', 'secret', 'token')
    assert source.current is keys
    assert not source.can_refresh


def test_kind_of_source() -> None:
    """A client is made only if no keys are passed; then its keys are used."""
    core = botocore.session.get_session()
    core._credentials = Credentials('key', 'secret')
    client = build_client(ClientSettings(session=core, region='us-east-1'))
    found = key_source(ClientSettings(session=core), lambda: client)

    assert isinstance(key_source(ClientSettings(anonymous=True), no_client), FixedKeys)
    assert isinstance(found, BotoKeys)
    assert found is keys_of_client(client)


def test_refresh() -> None:
    """Expired keys are replaced; valid ones are checked once a second."""
    issuer = Issuer(EXPIRED_S)
    assert issuer.source.can_refresh
    assert issuer.token == 'token1'

    issuer.inner._expiry_time = datetime.datetime.now(datetime.UTC)
    issuer.now_s += ASK_EVERY_S / 2
    assert issuer.token == 'token1'
    issuer.now_s += ASK_EVERY_S / 2
    assert issuer.token == 'token2'


def test_expire() -> None:
    """Keys that the store refuses as expired are refreshed at once, and only once, however many requests are refused."""
    issuer = Issuer(FRESH_S)
    keys = issuer.source.current
    for _ in range(3):
        issuer.source.expire(keys)
    assert issuer.token == 'token1'

    issuer.source.expire(keys)
    assert issuer.token == 'token1'
    assert issuer.issued == 1


def test_keys_that_were_replaced_meanwhile() -> None:
    """Keys that were replaced already are not refreshed again."""
    issuer = Issuer(FRESH_S)
    keys = issuer.source.current
    issuer.source.expire(keys)
    issuer.source.get_frozen_credentials()
    issuer.source.expire(keys)

    assert issuer.token == 'token1'
    assert issuer.issued == 1


def test_keys_that_are_issued_again() -> None:
    """If a refresh returns equal keys, refusals of earlier requests do not cause another one."""
    issuer = Issuer(FRESH_S)
    issuer.reissues = True
    keys = issuer.source.current
    issuer.source.expire(keys)
    assert issuer.token == 'token0'
    issuer.source.expire(keys)

    assert issuer.token == 'token0'
    assert issuer.issued == 1


def test_failed_refresh() -> None:
    """A failed refresh raises CredentialsError; the next request tries again."""
    issuer = Issuer(EXPIRED_S)
    issuer.error = LookupError('no keys today')
    with pytest.raises(CredentialsError, match='no keys today'):
        _ = issuer.source.current
    issuer.error = botocore.exceptions.CredentialRetrievalError(provider='test', error_msg='not now')
    with pytest.raises(CredentialsError, match='getting credentials: .*not now'):
        _ = issuer.source.current

    issuer.error = None
    assert issuer.token == 'token1'
