"""Keys that never change: from arguments, a URL, the environment or files, read once."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Iterable
from typing import Any, Final

from s3po.credentials.base import Credentials, Packed, checked_text
from s3po.credentials.files import default_paths, profile_name, read_profile
from s3po.credentials.keys import Keys
from s3po.errors import ConfigurationError, CredentialsError, S3poError

__all__ = ['ConfigCredentials', 'EnvironmentCredentials', 'FixedCredentials', 'StaticCredentials', 'URLCredentials']

URL_FORM: Final = "'http://key:secret@host'"


class FixedCredentials(Credentials):
    """Keys that were found when this was made, or None."""

    __slots__ = ('_keys',)

    def __init__(self, keys: Keys | None, region: str | None) -> None:
        super().__init__(region)
        self._keys: Final = keys

    def keys(self) -> Keys | None:
        return self._keys

    def packed(self) -> Packed:
        """The keys, without the place where they were found, for a pickle."""
        return Packed(
            StaticCredentials,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            session_token=self.session_token,
            region=self.region,
        )


class StaticCredentials(FixedCredentials):
    """Keys given as arguments."""

    __slots__ = ()

    def __init__(
        self,
        access_key_id: str = '',
        secret_access_key: str = '',
        session_token: str | None = None,
        region: str | None = None,
    ) -> None:
        """
        Args:
            access_key_id: The access key; '' for none.
            secret_access_key: Its secret; '' for none.
            session_token: The token of temporary keys; None for others.
            region: The region of the keys; None if it is found elsewhere.

        Raises:
            ConfigurationError: One of id and secret is missing, or there is only a token.
        """
        keys = _keys_in((access_key_id, secret_access_key, session_token))
        if keys is None and session_token:
            raise ConfigurationError('session_token needs access_key_id and secret_access_key')
        super().__init__(keys, region)

    @property
    def reason(self) -> str:
        """The reason for missing keys."""
        return 'access_key_id and secret_access_key are blank; give both'


class URLCredentials(FixedCredentials):
    """Keys from the user name and password of a URL: 'http://key:secret@host', percent-encoded.

    Nothing else of the URL is used: requests go to `endpoint_url`.
    """

    __slots__ = ()

    def __init__(self, url: str, region: str | None = None) -> None:
        """
        Args:
            url: The URL. In a secret, write '/' as %2F; '+' and '=' need no escape.
            region: The region of the keys; None if it is found elsewhere.

        Raises:
            ConfigurationError: It is not such a URL, or has only one of user name and password. The message does not show it.
        """
        user, password = map(urllib.parse.unquote, _userinfo(url))
        where = f' (the user name or the password of a URL of the form {URL_FORM})'
        super().__init__(_keys_in((user, password, None), where=where), region)

    @property
    def reason(self) -> str:
        """The reason for missing keys."""
        return f'the URL has no user name and password; give one of the form {URL_FORM}'


class EnvironmentCredentials(FixedCredentials):
    """Keys of the environment, read when this is made."""

    __slots__ = ('_given_region',)

    def __init__(self, region: str | None = None) -> None:
        """
        Args:
            region: The region of the keys; None for AWS_REGION or AWS_DEFAULT_REGION.

        Raises:
            CredentialsError: Only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set.
        """
        self._given_region: Final = region
        given = map(os.environ.get, ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'))
        keys = _keys_in(given, CredentialsError, ' (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither)')
        super().__init__(keys, region or os.environ.get('AWS_REGION') or os.environ.get('AWS_DEFAULT_REGION'))

    def __reduce__(self) -> tuple[Any, ...]:  # type: ignore[override]  # there is no secret in it
        return EnvironmentCredentials, (self._given_region,)

    @property
    def reason(self) -> str:
        """The reason for missing keys."""
        return 'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set; set both'

    def packed(self) -> Packed:
        """No keys: the environment is read again where the pickle is loaded."""
        return Packed(EnvironmentCredentials, region=self._given_region)


class ConfigCredentials(FixedCredentials):
    """Keys of AWS's credentials and config files, read when this is made."""

    __slots__ = ('_arguments', '_profile')

    def __init__(
        self, path: str | os.PathLike[str] | None = None, profile: str | None = None, region: str | None = None
    ) -> None:
        """
        Args:
            path: A file; '~' is expanded. None for AWS_SHARED_CREDENTIALS_FILE (else ~/.aws/credentials), and then
                AWS_CONFIG_FILE (else ~/.aws/config).
            profile: The profile; None for AWS_DEFAULT_PROFILE or AWS_PROFILE, in boto3's order, else 'default'.
            region: The region of the keys; None for the one in the files.

        Raises:
            ConfigurationError: An argument is of the wrong type.
            CredentialsError: A file cannot be read, or has only one of id and secret. A missing file has no keys.
        """
        if path is not None and not isinstance(path, str | os.PathLike):
            raise ConfigurationError(f'path must be a str, a PathLike or None, not {type(path).__name__}')
        given = None if path is None else os.fsdecode(path)
        self._arguments: Final = (given, profile, region)
        self._profile: Final = checked_text('profile', profile) or profile_name()
        keys: Keys | None = None
        paths = default_paths() if given is None else (given,)
        found = [each for each_path in paths for each in read_profile(each_path, self._profile)]
        for each in found:
            # The first section that has keys provides all of them.
            values = map(each.values.get, ('aws_access_key_id', 'aws_secret_access_key', 'aws_session_token'))
            keys = keys or _keys_in(values, CredentialsError, f' (profile {self._profile!r} of {each.path})')
        regions = (each.values.get('region') for each in found)
        super().__init__(keys, region or next((each for each in regions if each), None))

    def __reduce__(self) -> tuple[Any, ...]:  # type: ignore[override]  # there is no secret in it
        return ConfigCredentials, self._arguments

    @property
    def reason(self) -> str:
        """The reason for missing keys."""
        path = self._arguments[0]
        where = 'the shared credentials and config file' if path is None else path
        return f'{where} has no aws_access_key_id and aws_secret_access_key for profile {self._profile!r}; add them'

    def packed(self) -> Packed:
        """No keys: the files are read again where the pickle is loaded."""
        path, profile, region = self._arguments
        return Packed(ConfigCredentials, path=path, profile=profile, region=region)


def _keys_in(given: Iterable[object], kind: type[S3poError] = ConfigurationError, where: str = '') -> Keys | None:
    """The keys among the values that were found; None if there are none.

    Args:
        given: The values of id, secret and token; None or '' for a missing one.
        kind: The error to raise if only one of id and secret is there.
        where: The place of the values, for the message.
    """
    names = ('access_key_id', 'secret_access_key', 'session_token')
    access_key_id, secret, token = (checked_text(name, value) for name, value in zip(names, given, strict=True))
    if bool(access_key_id) != bool(secret):
        missing = 'secret_access_key' if access_key_id else 'access_key_id'
        raise kind(f'{missing} is missing: access_key_id and secret_access_key go together{where}')
    if not access_key_id:
        return None
    return Keys(access_key_id=access_key_id, secret_access_key=secret, session_token=token or None)


def _userinfo(url: object) -> tuple[str, str]:
    """The user name and password of a URL, percent-encoded; blank if there are none."""
    if not isinstance(url, str):
        raise ConfigurationError(f'url must be a str, not {type(url).__name__}')
    # Raised outside of the try block: errors of urllib quote parts of the URL, which may be parts of a secret.
    found: tuple[str, str] | None = None
    try:
        parts = urllib.parse.urlsplit(url)
        # A '/' in a secret ends the host; the rest is then read as the port.
        _ = parts.port if '@' not in parts.netloc else None
        if parts.scheme in ('http', 'https') and parts.hostname:
            found = parts.username or '', parts.password or ''
    except ValueError:
        pass
    if found is None:
        raise ConfigurationError(f"url must be of the form {URL_FORM}; in a secret, write '/' as %2F")
    return found
