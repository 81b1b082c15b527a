"""Keys, and how they are read from what a function or a service returns.

Keys are never changed and never put together from two sources, so an id is never combined with another id's secret.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from s3po.errors import CredentialsError

__all__ = ['Keys', 'keys_from', 'keys_of']

# The names of each field in s3po and obstore, in botocore, and in the responses of AWS's services.
ID_NAMES: Final = ('access_key_id', 'access_key', 'AccessKeyId')
SECRET_NAMES: Final = ('secret_access_key', 'secret_key', 'SecretAccessKey')
TOKEN_NAMES: Final = ('session_token', 'token', 'SessionToken', 'Token')
EXPIRY_NAMES: Final = ('expires_at', 'expiry_time', 'Expiration')


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """An access key with its secret and, for temporary keys, its token and expiry. Neither repr nor pickle shows a secret.

    A source returns the same object as long as the keys are the same, so that a signer can be kept with them.

    Attributes:
        access_key_id: The id.
        secret_access_key: The secret.
        session_token: The token of temporary keys; None for others.
        expires_at: When they expire, with its time zone; None for never.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError('keys cannot be pickled')

    def seconds_left(self) -> float:
        """How long they are still valid; negative for expired keys, infinite for keys that never expire."""
        return float('inf') if self.expires_at is None else (self.expires_at - datetime.now(UTC)).total_seconds()


def keys_from(function: Callable[[], object]) -> Keys:
    """The keys that the caller's function returns.

    Raises:
        CredentialsError: It returned something else.
        BaseException: What the function raised.
    """
    returned = function()
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            # Else it warns that it was never awaited.
            returned.close()
        raise CredentialsError('the function given as credentials is an async one; give one that returns the keys')
    return keys_of(returned, 'the function given as credentials')


def keys_of(given: object, giver: str) -> Keys:
    """The keys in a mapping or in an object's attributes, by the names of s3po, obstore, botocore or AWS.

    Args:
        given: The mapping or object.
        giver: Its source, for messages.

    Raises:
        CredentialsError: A field is missing or invalid. The message shows no value.
    """
    freeze = getattr(given, 'get_frozen_credentials', None)
    if callable(freeze):
        # Credentials of botocore's may be refreshed between the reading of one attribute and the next.
        given = freeze()
    if given is None or isinstance(given, str | bytes | int | float | list):
        raise CredentialsError(f'{giver} returned {_kind(given)}, not a mapping or an object with keys')
    access_key_id = _text(given, ID_NAMES, giver)
    secret_access_key = _text(given, SECRET_NAMES, giver)
    missing = [names[0] for names, found in ((ID_NAMES, access_key_id), (SECRET_NAMES, secret_access_key)) if not found]
    if not access_key_id or not secret_access_key:
        raise CredentialsError(f'{giver} returned no {" and no ".join(missing)}')
    token = _text(given, TOKEN_NAMES, giver)
    return Keys(
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        session_token=token or None,
        expires_at=_expiry(_first(given, EXPIRY_NAMES), giver),
    )


def _first(given: object, names: tuple[str, ...]) -> Any:
    """The first of the names that has a value."""
    for name in names:
        found = given.get(name) if isinstance(given, Mapping) else getattr(given, name, None)
        if found is not None:
            return found
    return None


def _text(given: object, names: tuple[str, ...], giver: str) -> str | None:
    found = _first(given, names)
    if found is not None and not isinstance(found, str):
        raise CredentialsError(f'{giver} returned {_kind(found)} as {names[0]}, not a str')
    return found


def _expiry(found: object, giver: str) -> datetime | None:
    if found is None:
        return None
    expiry = found
    if isinstance(found, str):
        try:
            expiry = datetime.fromisoformat(found)
        except ValueError:
            expiry = None
    if not isinstance(expiry, datetime):
        what = 'a text that is not a time in ISO 8601' if isinstance(found, str) else _kind(found)
        raise CredentialsError(f'{giver} returned {what} as expires_at, not a datetime or 2030-12-31T23:59:59Z')
    if expiry.tzinfo is None or expiry.utcoffset() is None:
        raise CredentialsError(f'{giver} returned an expires_at without a time zone: {expiry.isoformat()}')
    return expiry


def _kind(value: object) -> str:
    """The type of a value, for a message that must not show it."""
    return 'None' if value is None else f'a value of type {type(value).__name__}'
