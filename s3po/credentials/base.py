"""What all sources of keys have in common: four attributes, their truth, and that nobody sees a secret by chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn, Self

from s3po.credentials.pairs import KeyPair
from s3po.errors import ConfigurationError

__all__ = ['Credentials', 'Parcel', 'checked_text']


class Parcel:
    """Credentials on their way into another process, inside a Connection's pickle, whose bytes are a secret."""

    __slots__ = ('_arguments', '_make')

    def __init__(self, make: Callable[..., Credentials], **arguments: Any) -> None:
        self._make: Final = make
        self._arguments: Final = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return _packed, (self._make, self._arguments)

    def unpack(self) -> Credentials:
        """The credentials, made again."""
        return self._make(**self._arguments)


def _packed(make: Callable[..., Credentials], arguments: dict[str, Any]) -> Parcel:
    return Parcel(make, **arguments)


class Credentials:
    """Where keys come from. True where there are keys.

    Every secret is kept so that no repr, dump of variables or pickle shows it.
    """

    __slots__ = ('__weakref__', '_region')

    def __init__(self, region: str | None) -> None:
        self._region: Final = checked_text('region', region) or None

    @property
    def region(self) -> str | None:
        """The region that belongs to the keys; None for one that is found elsewhere."""
        return self._region

    @property
    def access_key_id(self) -> str:
        """The access key; '' where there is none."""
        pair = self.pair()
        return '' if pair is None else pair.access_key_id

    @property
    def secret_access_key(self) -> str:
        """Its secret, as it is: do not show it; '' where there is none."""
        pair = self.pair()
        return '' if pair is None else pair.secret_access_key.reveal()

    @property
    def session_token(self) -> str | None:
        """The token of temporary keys, as it is; None for others."""
        pair = self.pair()
        return None if pair is None else pair.token

    def __bool__(self) -> bool:
        return self.pair() is not None

    def __repr__(self) -> str:
        return f'<{type(self).__name__} access_key_id={self.access_key_id!r} region={self.region!r}>'

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError('credentials go into no pickle by themselves; a Connection may be pickled, and its bytes are a secret')

    @property
    def can_refresh(self) -> bool:
        """Whether the keys change, and are asked for when they are needed."""
        return False

    @property
    def name(self) -> str:
        """What they are called in logs and messages."""
        return type(self).__name__

    def pair(self) -> KeyPair | None:
        """The keys that are at hand, all of one source; None where there are none. Asks nobody."""
        raise NotImplementedError

    def issue(self, known: KeyPair | None) -> KeyPair:
        """Newer keys than these; may ask the network. Only where `can_refresh`.

        Args:
            known: The keys that are of no more use; None for whoever has none yet.

        Raises:
            CredentialsError: There are none.
        """
        raise NotImplementedError

    @property
    def reason(self) -> str:
        """Why there are no keys, and what to do about it, for a message."""
        raise NotImplementedError

    def parcel(self) -> Parcel:
        """What a Connection's pickle takes along."""
        raise NotImplementedError


def checked_text(name: str, value: object) -> str:
    """A text that may be blank; None is blank too.

    Raises:
        ConfigurationError: It is no text; its value is not told.
    """
    if value is None:
        return ''
    if not isinstance(value, str):
        raise ConfigurationError(f'{name} must be a str or None, not {type(value).__name__}')
    return value
