"""The base class of all credentials: four attributes, truth, and no secret in a repr or pickle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn, Self

from s3po.credentials.keys import Keys
from s3po.errors import ConfigurationError

__all__ = ['Credentials', 'Packed', 'checked_text']


class Packed:
    """The pickled form of credentials inside a Connection's pickle, whose bytes are a secret."""

    __slots__ = ('_arguments', '_make')

    def __init__(self, make: Callable[..., Credentials], **arguments: Any) -> None:
        self._make: Final = make
        self._arguments: Final = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return _packed, (self._make, self._arguments)

    def unpack(self) -> Credentials:
        """Return the credentials."""
        return self._make(**self._arguments)


def _packed(make: Callable[..., Credentials], arguments: dict[str, Any]) -> Packed:
    """Unpickle Packed. Pickles of earlier versions name this function."""
    return Packed(make, **arguments)


class Credentials:
    """A source of keys. True if there are keys.

    No repr, dump of variables or pickle shows a secret.

    Attributes:
        region: The region of the keys; None if it is found elsewhere.
    """

    __slots__ = ('__weakref__', 'region')

    def __init__(self, region: str | None) -> None:
        self.region: Final = checked_text('region', region) or None

    @property
    def access_key_id(self) -> str:
        """The access key; '' if there is none."""
        keys = self.keys()
        return '' if keys is None else keys.access_key_id

    @property
    def secret_access_key(self) -> str:
        """Its secret in plain text: do not show it; '' if there is none."""
        keys = self.keys()
        return '' if keys is None else keys.secret_access_key

    @property
    def session_token(self) -> str | None:
        """The token of temporary keys in plain text; None for others."""
        keys = self.keys()
        return None if keys is None else keys.session_token

    def __bool__(self) -> bool:
        return self.keys() is not None

    def __repr__(self) -> str:
        return f'<{type(self).__name__} access_key_id={self.access_key_id!r} region={self.region!r}>'

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError('credentials cannot be pickled on their own; a Connection can be pickled, and its bytes are a secret')

    @property
    def can_refresh(self) -> bool:
        """Whether the keys change, so that issue() gets them when they are needed."""
        return False

    @property
    def name(self) -> str:
        """The name in logs and messages."""
        return type(self).__name__

    def keys(self) -> Keys | None:
        """Cached keys, or None. No I/O."""
        raise NotImplementedError

    def issue(self, known: Keys | None) -> Keys:
        """Newer keys than `known`; may send requests. Only for credentials that can refresh.

        Args:
            known: The keys to replace; None if there are none yet.

        Raises:
            CredentialsError: There are none.
        """
        raise NotImplementedError

    @property
    def reason(self) -> str:
        """Why there are no keys and what to do, for a message."""
        raise NotImplementedError

    def packed(self) -> Packed:
        """These credentials for a Connection's pickle."""
        raise NotImplementedError


def checked_text(name: str, value: object) -> str:
    """A string that may be blank; '' for None.

    Raises:
        ConfigurationError: It is not a str. The message does not show its value.
    """
    if value is None:
        return ''
    if not isinstance(value, str):
        raise ConfigurationError(f'{name} must be a str or None, not {type(value).__name__}')
    return value
