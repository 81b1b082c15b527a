"""The settings of clients and transports, checked without an import of boto3."""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import os
import sys
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Final

from s3po.credentials import Credentials
from s3po.errors import ConfigurationError
from s3po.http import Timeouts
from s3po.secrecy import Secret, redacted

__all__ = ['ClientSettings', 'check_endpoint']

log = logging.getLogger(__name__)

ADDRESSING_STYLES: Final = ('auto', 'path', 'virtual')


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What clients are made from; the names are Connection's. None means: as boto3 finds it.

    Raises:
        ConfigurationError: A setting is invalid, or two contradict each other.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | Secret[str] | None = field(default=None, repr=False)
    session_token: str | Secret[str] | None = field(default=None, repr=False)
    # Credentials, or a function. A session is moved to `session`, and fixed keys are moved to the three fields above.
    credentials: Any = field(default=None, repr=False)
    anonymous: bool = False
    session: Any = field(default=None, repr=False)
    client: Any = field(default=None, repr=False)
    client_config: Any = field(default=None, repr=False)
    addressing_style: str = 'auto'
    verify: bool | str = True
    timeouts: Timeouts = field(default_factory=Timeouts)
    payload_signing: str = 'auto'
    # The warnings that were logged, and are not logged again.
    _logged: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    # botocore's form of credentials that refresh, by process id; see boto_keys.refreshable().
    refreshable: dict[int, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ('endpoint_url', 'region', 'profile', 'access_key_id'):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigurationError(f'{name} must be a str that is not empty, or None, not {value!r}')
        for name in ('secret_access_key', 'session_token'):
            value = getattr(self, name)
            if value is None or isinstance(value, Secret):
                continue
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f'{name} must be a str that is not empty, or None')
            # Shown only by reveal().
            object.__setattr__(self, name, Secret(value))
        if self.addressing_style not in ADDRESSING_STYLES:
            raise ConfigurationError(f"addressing_style must be 'auto', 'path' or 'virtual', not {self.addressing_style!r}")
        if self.endpoint_url is not None:
            check_endpoint(self.endpoint_url)
        if not isinstance(self.verify, bool | str):
            raise ConfigurationError(f'verify must be True, False or a path, not {type(self.verify).__name__}')
        if isinstance(self.verify, str) and not os.path.exists(self.verify):
            raise ConfigurationError(
                f'verify: the file or directory {self.verify} does not exist; give the authorities to trust, as PEM'
            )
        self._check_keys()
        self._check_sources()
        self._resolve_credentials()

    @property
    def names_keys(self) -> bool:
        """Whether the source of keys is given, or none are needed, so that botocore does not search for keys."""
        return self.access_key_id is not None or self.credentials is not None or self.anonymous

    def read_again(self) -> ClientSettings:
        """The same settings, with the keys of `credentials` read again from their source (the environment, files).

        Raises:
            CredentialsError: They cannot be read.
        """
        given = self.credentials
        if not isinstance(given, Credentials) or given.can_refresh:
            return self
        fresh = given.packed().unpack()
        return dataclasses.replace(self, credentials=fresh, access_key_id=None, secret_access_key=None, session_token=None)

    def is_first(self, what: str) -> bool:
        """Whether this is the first call with this argument: to log something once for each connection."""
        if what in self._logged:
            return False
        self._logged.add(what)
        return True

    def warn_of_risks(self, endpoint_url: str, verify: bool | str) -> None:  # noqa: FBT001  (boto3's name and shape)
        """Log a warning if certificates are not verified or requests are not encrypted; once each.

        Args:
            endpoint_url: The endpoint.
            verify: Whether certificates are verified, or the path of the trusted authorities.
        """
        if verify is False and self.is_first('verify'):
            log.warning(
                'certificates are not verified (verify=False): anybody on the way to %s can read and change what is sent; '
                'give verify= the path of the authority that signed its certificate',
                endpoint_url,
            )
        parts = urllib.parse.urlsplit(endpoint_url)
        if parts.scheme == 'http' and not is_loopback(parts.hostname or '') and self.is_first('http'):
            log.warning(
                'requests to %s are not encrypted: anybody on the way can read and change what is sent; use https://',
                endpoint_url,
            )

    def _check_keys(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            missing = 'secret_access_key' if self.secret_access_key is None else 'access_key_id'
            raise ConfigurationError(f'{missing} is missing: access_key_id and secret_access_key go together')
        if self.session_token is not None and self.access_key_id is None:
            raise ConfigurationError('session_token needs access_key_id and secret_access_key')

    def _check_sources(self) -> None:
        """Check that at most one source of credentials is given."""
        given = {
            'access_key_id': self.access_key_id is not None,
            'credentials': self.credentials is not None,
            'anonymous': self.anonymous,
            'profile': self.profile is not None,
            'session': self.session is not None,
            'client': self.client is not None,
        }
        names = [name for name, is_given in given.items() if is_given]
        if len(names) > 1:
            raise ConfigurationError(f'{" and ".join(names)} exclude each other: each selects the credentials')
        if self.client is None:
            return
        if getattr(getattr(getattr(self.client, 'meta', None), 'service_model', None), 'service_name', None) != 's3':
            raise ConfigurationError(f"client must be a boto3 client for 's3', not {type(self.client).__name__}")
        for name in ('endpoint_url', 'region', 'client_config'):
            if getattr(self, name) is not None:
                raise ConfigurationError(f'{name} and client exclude each other: the client has one already')

    def _resolve_credentials(self) -> None:
        """Move the value of `credentials` to the other fields, if they can hold it."""
        given = self.credentials
        if given is None:
            return
        if _is_session(given):
            object.__setattr__(self, 'session', given)
            object.__setattr__(self, 'credentials', None)
            return
        if not isinstance(given, Credentials):
            if not callable(given):
                raise ConfigurationError(
                    'credentials must be of s3po.credentials, a boto3 or botocore Session, or a function that returns keys, '
                    f'not {type(given).__name__}'
                )
            return
        if self.region is None:
            object.__setattr__(self, 'region', given.region)
        keys = None if given.can_refresh else given.keys()
        if keys is not None:
            object.__setattr__(self, 'access_key_id', keys.access_key_id)
            object.__setattr__(self, 'secret_access_key', keys.secret_access_key)
            object.__setattr__(self, 'session_token', keys.session_token)


def _is_session(given: object) -> bool:
    """Whether it is a Session of boto3 or botocore. Without an import of theirs it is none."""
    modules = (sys.modules.get(name) for name in ('boto3.session', 'botocore.session'))
    return isinstance(given, tuple(module.Session for module in modules if module is not None))


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's loopback. No name is looked up."""
    if host == 'localhost' or host.endswith('.localhost'):
        # RFC 6761, section 6.3
        return True
    try:
        address = ipaddress.ip_address(host.partition('%')[0])
    except ValueError:
        return False
    mapped = getattr(address, 'ipv4_mapped', None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def check_endpoint(url: str, name: str = 'endpoint_url') -> None:
    """Check the URL of an endpoint.

    Args:
        url: The URL.
        name: Its name in messages.

    Raises:
        ConfigurationError: It has no scheme or host, or has a user name, a query or a fragment.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        has_host, has_user = bool(parts.hostname), '@' in parts.netloc
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(f'{name} is not a URL: {error}') from error
    if parts.scheme not in ('http', 'https') or not has_host:
        raise ConfigurationError(
            f"{name} must begin with http:// or https:// and name a host: 'https://s3.example.com', not {redacted(url)!r}"
        )
    if has_user:
        # Not shown: it may hold a password.
        raise ConfigurationError(f'{name} must not hold a user name or password; give access_key_id and secret_access_key')
    if parts.query or parts.fragment:
        raise ConfigurationError(
            f'{name} must end with the host, port or path, not with a query: {parts.scheme}://{parts.netloc}'
        )
