"""A key pair, with the token and the expiry that belong to it.

What may live here: the value, and the one place that reads it from what others return. A pair is never changed and never put
together from two sources, so an id is never signed with another one's secret.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from s3po.errors import CredentialsError
from s3po.secrecy import Secret

__all__ = ['KeyPair', 'issued_by', 'pair_of']

# What each field is called by us and obstore, by botocore, and in the answers of AWS's services.
ID_NAMES: Final = ('access_key_id', 'access_key', 'AccessKeyId')
SECRET_NAMES: Final = ('secret_access_key', 'secret_key', 'SecretAccessKey')
TOKEN_NAMES: Final = ('session_token', 'token', 'SessionToken', 'Token')
EXPIRY_NAMES: Final = ('expires_at', 'expiry_time', 'Expiration')


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """Keys that belong together.

    Attributes:
        access_key_id: The id.
        secret_access_key: The secret.
        session_token: The token of temporary keys; None for others.
        expires_at: When they expire, with its time zone; None for never.
    """

    access_key_id: str
    secret_access_key: Secret[str]
    session_token: Secret[str] | None = None
    expires_at: datetime | None = None

    @property
    def token(self) -> str | None:
        """The token itself: do not show it."""
        return None if self.session_token is None else self.session_token.reveal()

    def seconds_left(self) -> float:
        """For how long they hold; negative when they have expired, infinite for keys that never do."""
        return float('inf') if self.expires_at is None else (self.expires_at - datetime.now(UTC)).total_seconds()


def issued_by(function: Callable[[], object]) -> KeyPair:
    """The keys that a function of the caller's returns.

    Raises:
        CredentialsError: What it returned are no keys.
        BaseException: What the function raised.
    """
    returned = function()
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            # It would warn that it was never awaited.
            returned.close()
        raise CredentialsError('the function given as credentials is an async one; give one that returns the keys')
    return pair_of(returned, 'the function given as credentials')


def pair_of(given: object, giver: str) -> KeyPair:
    """The keys in a mapping or in an object's attributes, by our, obstore's, botocore's or AWS's names.

    Args:
        given: The mapping or object.
        giver: Who gave it, for messages.

    Raises:
        CredentialsError: Something is missing, or is of no use. No value is told.
    """
    freeze = getattr(given, 'get_frozen_credentials', None)
    if callable(freeze):
        # botocore's own may be refreshed between the reading of one attribute and the next.
        given = freeze()
    if given is None or isinstance(given, str | bytes | int | float | list):
        raise CredentialsError(f'{giver} returned {_kind(given)}, not a mapping or an object with keys')
    access_key_id = _text(given, ID_NAMES, giver)
    secret_access_key = _text(given, SECRET_NAMES, giver)
    missing = [names[0] for names, found in ((ID_NAMES, access_key_id), (SECRET_NAMES, secret_access_key)) if not found]
    if not access_key_id or not secret_access_key:
        raise CredentialsError(f'{giver} returned no {" and no ".join(missing)}')
    token = _text(given, TOKEN_NAMES, giver)
    return KeyPair(
        access_key_id=access_key_id,
        secret_access_key=Secret(secret_access_key),
        session_token=Secret(token) if token else None,
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
        told = 'a text that is no time of ISO 8601' if isinstance(found, str) else _kind(found)
        raise CredentialsError(f'{giver} returned {told} as expires_at, not a datetime or 2030-12-31T23:59:59Z')
    if expiry.tzinfo is None or expiry.utcoffset() is None:
        raise CredentialsError(f'{giver} returned an expires_at without a time zone: {expiry.isoformat()}')
    return expiry


def _kind(value: object) -> str:
    """What a value is, without telling it."""
    return 'None' if value is None else f'a value of type {type(value).__name__}'
