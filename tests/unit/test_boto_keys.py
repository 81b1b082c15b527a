"""Keys that botocore refreshes: one greenlet refreshes them, and others continue as long as their keys are valid."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import botocore.exceptions
import gevent
import gevent.event
import gevent.pool
import pytest
from botocore.credentials import Credentials, DeferredRefreshableCredentials, RefreshableCredentials

from s3po.endpoints.boto_errors import translated
from s3po.endpoints.boto_keys import BotoKeys
from s3po.errors import CredentialsError

MINUTE_S = 60
# botocore refreshes keys optionally in their last 15 minutes, and necessarily in their last 10.
FRESH_S, ADVISORY_S, EXPIRED_S = 60 * MINUTE_S, 12 * MINUTE_S, -MINUTE_S


class Issuer:
    """A source of temporary keys.

    Attributes:
        issued: How many times it issued keys.
        error: Raised in place of the next keys; None for no error.
        lifetime_s: How long new keys are valid.
        wait: Called before new keys are issued.
    """

    def __init__(self) -> None:
        self.issued = 0
        self.error: Exception | None = None
        self.lifetime_s = FRESH_S
        self.wait: Callable[[], object] = gevent.sleep

    def keys(self, lifetime_s: int) -> dict[str, str]:
        """Keys in the form of botocore's metadata."""
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=lifetime_s)
        return {
            'access_key': f'key{self.issued}',
            'secret_key': 'secret',
            'token': f'token{self.issued}',
            'expiry_time': expiry.isoformat(),
        }

    def refresh(self) -> dict[str, str]:
        """Issue new keys."""
        self.wait()
        if self.error is not None:
            raise self.error
        self.issued += 1
        return self.keys(self.lifetime_s)

    def credentials(self, lifetime_s: int) -> RefreshableCredentials:
        """botocore's credentials that are valid for this time and are refreshed from this source."""
        return RefreshableCredentials.create_from_metadata(self.keys(lifetime_s), self.refresh, 'test')


@pytest.fixture
def issuer() -> Issuer:
    """A source of temporary keys."""
    return Issuer()


def ask(credentials: BotoKeys, width: int) -> list[str]:
    """The tokens that many concurrent greenlets get."""
    return [keys.token for keys in gevent.pool.Pool(width).map(lambda _: credentials.get_frozen_credentials(), range(width))]


def test_one_refresh_at_a_time(issuer: Issuer) -> None:
    """If many greenlets have expired keys, one refreshes them, and all get the new ones."""
    guarded = BotoKeys(issuer.credentials(EXPIRED_S))

    assert ask(guarded, 50) == ['token1'] * 50
    assert issuer.issued == 1
    assert guarded.can_refresh


def test_refresh_ahead_of_time(issuer: Issuer) -> None:
    """While one greenlet refreshes keys that are still valid, the others use the old ones."""
    may_issue = gevent.event.Event()
    issuer.wait = may_issue.wait
    guarded = BotoKeys(issuer.credentials(ADVISORY_S))
    refreshing = gevent.spawn(guarded.get_frozen_credentials)
    gevent.sleep(0)

    assert guarded.get_frozen_credentials().token == 'token0'
    assert not refreshing.ready()
    may_issue.set()
    assert refreshing.get().token == 'token1'
    assert guarded.get_frozen_credentials().token == 'token1'
    assert issuer.issued == 1


def test_refresh_ahead_of_time_that_fails(issuer: Issuer) -> None:
    """If an early refresh fails, nothing is raised: the old keys are still valid."""
    issuer.error = botocore.exceptions.CredentialRetrievalError(provider='test', error_msg='try later')
    guarded = BotoKeys(issuer.credentials(ADVISORY_S))

    assert ask(guarded, 3) == ['token0'] * 3


def test_one_refresh_for_many_refusals(issuer: Issuer) -> None:
    """expire() causes one refresh, even if many requests with the same keys were refused."""
    guarded = BotoKeys(issuer.credentials(FRESH_S))
    assert ask(guarded, 5) == ['token0'] * 5
    keys = guarded.last
    for _ in range(5):
        guarded.expire(keys)
    assert ask(guarded, 5) == ['token1'] * 5

    assert guarded.last is not keys
    guarded.expire(keys)
    assert ask(guarded, 5) == ['token1'] * 5
    assert issuer.issued == 1


def test_refresh_that_fails(issuer: Issuer) -> None:
    """If a necessary refresh fails, the request raises CredentialsError; the next request tries again."""
    guarded = BotoKeys(issuer.credentials(EXPIRED_S))
    issuer.error = botocore.exceptions.CredentialRetrievalError(provider='test', error_msg='the role is gone')
    with pytest.raises(CredentialsError, match='PutObject s3://b/k: .*the role is gone'), translated('PutObject s3://b/k'):
        guarded.get_frozen_credentials()
    issuer.error = None
    issuer.lifetime_s = EXPIRED_S
    with pytest.raises(CredentialsError, match='refreshed credentials are still expired'), translated('PutObject s3://b/k'):
        guarded.get_frozen_credentials()
    issuer.lifetime_s = FRESH_S

    assert ask(guarded, 2) == ['token2'] * 2


def test_forced_refresh_that_fails(issuer: Issuer) -> None:
    """Keys that the store refuses as expired are not used again, even if their own expiry is later."""
    guarded = BotoKeys(issuer.credentials(FRESH_S))
    guarded.get_frozen_credentials()
    guarded.expire(guarded.last)
    issuer.error = botocore.exceptions.CredentialRetrievalError(provider='test', error_msg='try later')
    for _ in range(2):
        with pytest.raises(CredentialsError), translated('PutObject s3://b/k'):
            guarded.get_frozen_credentials()
    issuer.error = None

    assert ask(guarded, 1) == ['token1']


def test_static_keys() -> None:
    """Static keys never block and never refresh; botocore can read their other attributes."""
    guarded = BotoKeys(Credentials('key', 'secret', 'token', method='test', account_id='123'))
    guarded.expire(guarded.last)

    assert ask(guarded, 2) == ['token'] * 2
    assert not guarded.can_refresh
    assert (guarded.method, guarded.account_id, guarded.access_key) == ('test', '123', 'key')
    assert repr(guarded) == '<BotoKeys from test>'
    assert 'secret' not in repr(guarded)


def test_other_attributes_are_fresh(issuer: Issuer) -> None:
    """Reading a single attribute, as botocore does, refreshes the keys under the same lock."""
    guarded = BotoKeys(issuer.credentials(EXPIRED_S))

    assert guarded.access_key == 'key1'
    assert issuer.issued == 1


def test_expired_first_keys(issuer: Issuer) -> None:
    """A request that began before there were keys was signed with the first ones, so its refusal expires those."""
    guarded = BotoKeys(DeferredRefreshableCredentials(issuer.refresh, 'test'))
    keys = guarded.last
    assert keys is None
    assert ask(guarded, 5) == ['token1'] * 5
    guarded.expire(keys)
    assert ask(guarded, 5) == ['token2'] * 5
    guarded.expire(keys)

    assert ask(guarded, 5) == ['token2'] * 5
