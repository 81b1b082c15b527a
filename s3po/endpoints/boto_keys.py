"""Keys that botocore finds and refreshes, protected by one lock of gevent's.

botocore holds a lock while it refreshes. If `threading` is not patched, the lock is native, and a second greenlet that waits
for it would block the whole thread, including the refreshing greenlet. So greenlets wait here, and only one at a time calls
botocore when the call might wait.

It reads private attributes of botocore; tests/unit/test_boto_client.py fails if they change.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import gevent.lock
from botocore.credentials import DeferredRefreshableCredentials, RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError

from s3po.credentials import Credentials
from s3po.credentials.keys import Keys, keys_from
from s3po.endpoints.boto_errors import translated
from s3po.errors import CredentialsError, S3poError
from s3po.runtime import PerHub, isolated
from s3po.secrecy import Secret, redacted

__all__ = ['BotoKeys', 'refreshable']

log = logging.getLogger(__name__)

# How long keys that may change are used before botocore is called again, in seconds. A call costs 20 µs, and botocore refreshes
# keys ten minutes before they expire, so a second more or less does not matter.
ASK_EVERY_S: Final = 1.0

# Greenlets wait for the refresh of keys that are this many seconds before botocore's mandatory refresh, so that no greenlet
# still calls botocore when the refresh becomes mandatory, where it would wait for botocore's own lock.
REFRESH_MARGIN_S: Final = 60

# botocore has no refreshable keys without an expiry.
NEVER: Final = '9999-01-01T00:00:00+00:00'


class BotoKeys:
    """The keys of a boto3 client: a KeySource, and the credentials that botocore's own signer reads.

    Any greenlet and any native thread may use it.

    Attributes:
        can_refresh: Whether expired keys can be replaced by new ones.
    """

    def __init__(self, inner: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            inner: botocore's credentials.
            clock: Returns the seconds since a fixed moment.
        """
        self.can_refresh = isinstance(inner, RefreshableCredentials)
        self._inner = inner
        self._clock = clock
        self._locks = PerHub(gevent.lock.RLock)
        # (botocore's keys, the same keys as Keys), replaced together; and the first keys.
        self._last: tuple[Secret[Any], Keys | None] = (Secret(None), None)
        self._first: Keys | None = None
        self._is_stale = False
        self._good_until = float('-inf')

    def __repr__(self) -> str:
        return f'<BotoKeys from {getattr(self._inner, "method", "?")}>'

    def __getattr__(self, name: str) -> Any:
        # Every other attribute (method, account_id, …) is that of `inner`; reading some of them refreshes too.
        self.get_frozen_credentials()
        return getattr(self._inner, name)

    @property
    def current(self) -> Keys | None:
        """See KeySource."""
        return self._last[1] if self._clock() < self._good_until else self._ask()

    @property
    def last(self) -> Keys | None:
        """The most recently used keys; None before the first use. No I/O."""
        return self._last[1]

    @property
    def expires_at(self) -> datetime | None:
        """See KeySource."""
        found: datetime | None = getattr(self._inner, '_expiry_time', None)
        # NEVER is botocore's form of no expiry.
        return None if found is None or found.year >= datetime.fromisoformat(NEVER).year else found

    def expire(self, keys: Keys | None) -> None:
        """See KeySource. None: the request began before there were any keys, so it was signed with the first ones."""
        if self.can_refresh and (keys or self._first) is self._last[1]:
            self._is_stale = True
            self._good_until = float('-inf')

    def renew(self, find: Callable[[], Any]) -> None:
        """Read the keys again from their source: the store rejects them. May block.

        Args:
            find: Returns botocore's credentials, read again. Not called for keys that can be refreshed.
        """
        if self.can_refresh:
            self.expire(self.last)
        else:
            self._inner = find()
            self.can_refresh = isinstance(self._inner, RefreshableCredentials)
            self._good_until = float('-inf')

    def get_frozen_credentials(self) -> Any:
        """The keys to sign with, in botocore's form and by its name. May block while they are refreshed."""
        frozen = self._refreshed() if self.can_refresh else self._inner.get_frozen_credentials()
        self._keep(frozen)
        return frozen

    def _ask(self) -> Keys:
        # Taken before the refresh, which may take a while, so that its time counts.
        asked_at = self._clock()

        def refreshed() -> Keys:
            with translated('getting credentials'):
                return self._keep(self.get_frozen_credentials())

        # A refresh calls botocore, which mistakes the caller's own timeout error for a network error.
        keys = isolated(refreshed)
        self._good_until = asked_at + ASK_EVERY_S
        return keys

    def _keep(self, frozen: Any) -> Keys:
        """The keys in s3po's form: the same object for the same keys, and a new object after each refresh, even with equal
        keys.

        So if the store refuses a request that was signed before a refresh, this never expires the refreshed keys.
        """
        known, keys = self._last
        last = known.reveal()
        if keys is None or (frozen is not last and (self.can_refresh or frozen != last)):
            keys = Keys(access_key_id=frozen.access_key, secret_access_key=frozen.secret_key, session_token=frozen.token)
            self._last = (Secret(frozen), keys)
            self._first = self._first or keys
        return keys

    def _refreshed(self) -> Any:
        lock = self._locks.get()
        if not lock.acquire(blocking=self._must_refresh()):
            # Another greenlet refreshes ahead of time; these keys are valid for a while.
            return self._inner.get_frozen_credentials()
        try:
            with _failures_named():
                if self._is_stale:
                    log.info('the store reports expired credentials; refreshing them')
                    with self._inner._refresh_lock:
                        self._inner._protected_refresh(is_mandatory=True)
                    self._is_stale = False
                return self._inner.get_frozen_credentials()
        finally:
            lock.release()

    def _must_refresh(self) -> bool:
        limit = self._inner._mandatory_refresh_timeout + REFRESH_MARGIN_S
        return self._is_stale or self._inner.refresh_needed(limit)


@contextlib.contextmanager
def _failures_named() -> Iterator[None]:
    """Raise errors that are not botocore's as CredentialsError: the caller's function may raise anything."""
    try:
        yield
    except (BotoCoreError, ClientError, OSError, S3poError):
        raise
    except Exception as error:
        raise CredentialsError(f'the credentials could not be refreshed: {redacted(repr(error))}') from error


def refreshable(
    source: Credentials | Callable[[], object], kept: dict[int, DeferredRefreshableCredentials]
) -> DeferredRefreshableCredentials:
    """Credentials of botocore's that get their keys from a source, when they have none or their keys are about to expire.

    Args:
        source: Credentials that refresh, or a function that returns keys and their expiry.
        kept: The credentials by process id, so that all clients of a connection share them. A forked child makes its own: the
            lock of the parent's may be held by a thread that the child does not have.
    """
    found = kept.get(os.getpid())
    if found is None:
        name = source.name if isinstance(source, Credentials) else 'a function'
        made = DeferredRefreshableCredentials(refresh_using=_Refresh(source), method=name)
        found = kept.setdefault(os.getpid(), made)
    return found


class _Refresh:
    """Gets new keys from a source, in botocore's form."""

    def __init__(self, source: Credentials | Callable[[], object]) -> None:
        self._source = source
        # The keys to replace.
        self._known: Keys | None = None

    def __call__(self) -> dict[str, str | None]:
        source = self._source
        keys = self._known = source.issue(self._known) if isinstance(source, Credentials) else keys_from(source)
        return {
            'access_key': keys.access_key_id,
            'secret_key': keys.secret_access_key,
            'token': keys.session_token,
            'expiry_time': NEVER if keys.expires_at is None else keys.expires_at.astimezone(UTC).isoformat(),
        }
