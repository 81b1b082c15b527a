"""The keys that requests are signed with now. `current` is read for every request, so it does no I/O as long as it can."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from s3po.credentials.keys import Keys
from s3po.endpoints.settings import ClientSettings
from s3po.secrecy import revealed

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from s3po.endpoints.boto_keys import BotoKeys

__all__ = ['FixedKeys', 'KeySource', 'fixed_keys', 'key_source']

log = logging.getLogger(__name__)


class KeySource(Protocol):
    """Where keys come from: FixedKeys, or boto_keys.BotoKeys."""

    @property
    def current(self) -> Keys | None:
        """The keys to sign with; None to send requests unsigned. May block while keys are refreshed.

        Raises:
            CredentialsError: There are none, or they could not be refreshed.
            TransportError: The service that issues them could not be reached.
        """

    @property
    def can_refresh(self) -> bool:
        """Whether expired keys can be replaced by new ones."""

    @property
    def expires_at(self) -> datetime | None:
        """When the current keys expire; None for never. No I/O."""

    def expire(self, keys: Keys | None) -> None:
        """Refresh before the next use, if these are still the current keys: the store calls them expired."""


class FixedKeys:
    """Keys that change only with renew()."""

    __slots__ = ('current',)

    can_refresh: Final = False
    expires_at: Final = None

    def __init__(self, keys: Keys | None) -> None:
        """
        Args:
            keys: The keys; None to send requests unsigned.
        """
        self.current = keys

    def expire(self, keys: Keys | None) -> None:
        """Do nothing: there are no others."""

    def renew(self, keys: Keys | None) -> None:
        """Replace the keys by those that were read again from their source."""
        self.current = keys


def fixed_keys(settings: ClientSettings) -> FixedKeys | None:
    """The keys of a connection, if the settings have them or it does not sign; None if a client has to find them."""
    if settings.anonymous:
        return FixedKeys(None)
    secret, token = revealed(settings.secret_access_key), revealed(settings.session_token)
    if settings.access_key_id is not None and secret is not None:
        if settings.is_first('credentials'):
            given = settings.credentials
            log.debug('credentials come from %s', 'the arguments' if given is None else given.name)
        return FixedKeys(Keys(access_key_id=settings.access_key_id, secret_access_key=secret, session_token=token))
    return None


def key_source(settings: ClientSettings, client: Callable[[], S3Client]) -> FixedKeys | BotoKeys:
    """The source of a connection's keys.

    Args:
        settings: What clients are made from.
        client: Makes a client from them. Called, and botocore imported, only if the settings have no keys.
    """
    fixed = fixed_keys(settings)
    if fixed is not None:
        return fixed
    from s3po.endpoints.boto_client import keys_of_client

    return keys_of_client(client()) or FixedKeys(None)
