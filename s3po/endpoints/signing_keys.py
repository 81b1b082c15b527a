"""The keys that requests are signed with, now.

What may live here: the two sources of keys that a transport of our own has: what the caller gave, and what a boto3 client finds
and refreshes. The first must not import botocore, and is read for every request, so it is a plain attribute.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from s3po.endpoints.settings import ClientSettings
from s3po.runtime import isolated
from s3po.secrecy import revealed

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from s3po.endpoints.boto_client import GuardedCredentials

__all__ = ['ClientKeys', 'FixedKeys', 'KeySource', 'Keys', 'key_source']

log = logging.getLogger(__name__)

# How long keys that may change are used without asking for them again, in seconds. Asking costs 20 µs, and botocore refreshes
# keys ten minutes before they expire, so a second more or less does not count.
ASK_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Keys:
    """What a request is signed with. The same keys are the same object, so that what is derived from them can be kept.

    Attributes:
        access_key_id: The id.
        secret_access_key: The secret.
        session_token: The token of temporary keys; None for others.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError('keys go into no pickle')


class KeySource(Protocol):
    """Where keys come from."""

    @property
    def current(self) -> Keys | None:
        """The keys to sign with; None to send requests unsigned. May block while keys are refreshed.

        Raises:
            CredentialsError: There are none, or they could not be refreshed.
            TransportError: The service that issues them could not be reached.
        """
        ...

    @property
    def can_refresh(self) -> bool:
        """Whether expired keys can be replaced by new ones."""
        ...

    def expire(self, keys: Keys | None) -> None:
        """Say that the store calls keys expired: they are refreshed before the next use, if they are still the current ones."""
        ...


class FixedKeys:
    """Keys that never change."""

    __slots__ = ('current',)

    can_refresh: Final = False

    def __init__(self, keys: Keys | None) -> None:
        self.current: Final = keys

    def expire(self, keys: Keys | None) -> None:
        """There are no others."""


class ClientKeys:
    """The keys of a boto3 client, as it finds and refreshes them. May be used by any greenlet and any native thread."""

    def __init__(self, client: Callable[[], S3Client], *, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            client: Gives a client that session.build_client() made; asked once, when the first keys are needed.
            clock: Seconds since whenever.
        """
        self._client = client
        self._clock = clock
        self._credentials: GuardedCredentials | None = None
        self._has_credentials = False
        self._keys: Keys | None = None
        # What the keys were made of, and which of the credentials' generations that is.
        self._frozen: Any = None
        self._generation = 0
        self._good_until = float('-inf')

    @property
    def current(self) -> Keys | None:
        return self._keys if self._clock() < self._good_until else self._ask()

    @property
    def can_refresh(self) -> bool:
        credentials = self._found()
        return credentials is not None and credentials.can_refresh

    def expire(self, keys: Keys | None) -> None:
        if keys is None or keys is not self._keys or self._credentials is None:
            return
        self._credentials.expire(self._generation)
        self._good_until = float('-inf')

    def _found(self) -> GuardedCredentials | None:
        if not self._has_credentials:
            from s3po.endpoints.boto_client import credentials_of

            self._credentials = credentials_of(self._client())
            self._has_credentials = True
        return self._credentials

    def _ask(self) -> Keys | None:
        from s3po.endpoints.boto_errors import translated

        credentials = self._found()
        if credentials is None:
            self._good_until = float('inf')
            return None
        # Before the refresh, which may take a while, so that it counts.
        asked_at = self._clock()

        def refreshed() -> Any:
            with translated('getting credentials'):
                return credentials.get_frozen_credentials()

        # A refresh goes through botocore, which takes the caller's own timeout error for one of the network.
        frozen = isolated(refreshed)
        # What a refresh brought is new even where it is the same: refusals of what was there before must not expire it.
        if frozen != self._frozen or credentials.generation != self._generation:
            self._keys = Keys(access_key_id=frozen.access_key, secret_access_key=frozen.secret_key, session_token=frozen.token)
            self._frozen, self._generation = frozen, credentials.generation
        self._good_until = asked_at + ASK_EVERY_S
        return self._keys


def key_source(settings: ClientSettings, client: Callable[[], S3Client]) -> KeySource:
    """Where the keys of a connection come from.

    Args:
        settings: What clients are made from.
        client: Gives a client that is made from them; only called where the settings name no keys themselves.
    """
    if settings.anonymous:
        return FixedKeys(None)
    secret, token = revealed(settings.secret_access_key), revealed(settings.session_token)
    if settings.access_key_id is not None and secret is not None:
        if settings.is_first('credentials'):
            given = settings.credentials
            log.debug('credentials come from %s', 'the arguments' if given is None else given.name)
        return FixedKeys(Keys(access_key_id=settings.access_key_id, secret_access_key=secret, session_token=token))
    return ClientKeys(client)
