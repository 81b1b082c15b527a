"""What a client is made from. Apart from `session`, since it can be made and checked without importing boto3."""

from __future__ import annotations

import os
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Final

from s3po.errors import ConfigurationError

__all__ = ['ClientSettings']

ADDRESSING_STYLES: Final = ('auto', 'path', 'virtual')


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What a client is made from; the names are Connection's. None means: from where boto3 takes it.

    Raises:
        ConfigurationError: Some of them contradict each other, or are of no use by themselves.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    anonymous: bool = False
    session: Any = field(default=None, repr=False)
    client: Any = field(default=None, repr=False)
    client_config: Any = field(default=None, repr=False)
    addressing_style: str = 'auto'
    verify: bool | str = True
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    min_bytes_per_s: int = 0
    payload_signing: str = 'auto'

    def __post_init__(self) -> None:
        for name in ('endpoint_url', 'region', 'profile', 'access_key_id', 'secret_access_key', 'session_token'):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                shown = '' if name.startswith('s') else f', not {value!r}'
                raise ConfigurationError(f'{name} must be a str that is not empty, or None{shown}')
        if self.addressing_style not in ADDRESSING_STYLES:
            raise ConfigurationError(f"addressing_style must be 'auto', 'path' or 'virtual', not {self.addressing_style!r}")
        if self.endpoint_url is not None:
            check_endpoint(self.endpoint_url)
        if not isinstance(self.verify, bool | str):
            raise ConfigurationError(f'verify must be True, False or a path, not {type(self.verify).__name__}')
        if isinstance(self.verify, str) and not os.path.exists(self.verify):
            raise ConfigurationError(
                f'verify: there is no file or directory {self.verify}; give the authorities to trust, as PEM'
            )
        self._check_keys()
        self._check_sources()

    def _check_keys(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            missing = 'secret_access_key' if self.secret_access_key is None else 'access_key_id'
            raise ConfigurationError(f'{missing} is missing: access_key_id and secret_access_key go together')
        if self.session_token is not None and self.access_key_id is None:
            raise ConfigurationError('session_token needs access_key_id and secret_access_key')

    def _check_sources(self) -> None:
        """One of them says who we are, or none does."""
        given = {
            'access_key_id': self.access_key_id is not None,
            'anonymous': self.anonymous,
            'profile': self.profile is not None,
            'session': self.session is not None,
            'client': self.client is not None,
        }
        names = [name for name, is_given in given.items() if is_given]
        if len(names) > 1:
            raise ConfigurationError(f'{" and ".join(names)} exclude each other: each says whose credentials are used')
        if self.client is None:
            return
        if getattr(getattr(getattr(self.client, 'meta', None), 'service_model', None), 'service_name', None) != 's3':
            raise ConfigurationError(f"client must be a boto3 client for 's3', not {type(self.client).__name__}")
        for name in ('endpoint_url', 'region', 'client_config'):
            if getattr(self, name) is not None:
                raise ConfigurationError(f'{name} and client exclude each other: the client has one already')


def check_endpoint(url: str) -> None:
    """Refuse what is no address of a store.

    Raises:
        ConfigurationError: It has no scheme or host, or has something that does not belong there.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        has_host, has_user = bool(parts.hostname), '@' in parts.netloc
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(f'endpoint_url is no URL: {error}') from error
    if parts.scheme not in ('http', 'https') or not has_host:
        raise ConfigurationError(
            f"endpoint_url must begin with http:// or https:// and name a host: 'https://s3.example.com', not {url!r}"
        )
    if has_user:
        # Not shown: it may hold a password.
        raise ConfigurationError('endpoint_url must not hold a user name or password; give access_key_id and secret_access_key')
    if parts.query or parts.fragment:
        raise ConfigurationError(
            f'endpoint_url must end with the host, port or path, not with a query: {parts.scheme}://{parts.netloc}'
        )
