"""The files in which AWS's tools keep keys: ~/.aws/credentials and ~/.aws/config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from s3po.errors import CredentialsError

__all__ = ['Profile', 'default_paths', 'profile_name', 'read_profile']

DEFAULT_PROFILE: Final = 'default'


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One section of a file.

    Attributes:
        path: The file.
        values: The settings, by their names in the file.
    """

    path: str
    values: Mapping[str, str] = field(repr=False)


def default_paths() -> tuple[str, str]:
    """The credentials file first, then the config file."""
    return (
        os.environ.get('AWS_SHARED_CREDENTIALS_FILE') or '~/.aws/credentials',
        os.environ.get('AWS_CONFIG_FILE') or '~/.aws/config',
    )


def profile_name() -> str:
    """The profile that the environment names; in botocore's order, so that both read the same one."""
    return os.environ.get('AWS_DEFAULT_PROFILE') or os.environ.get('AWS_PROFILE') or DEFAULT_PROFILE


def read_profile(path: str, name: str) -> list[Profile]:
    """Read the sections [x] and [profile x] of a file; each is a Profile of its own.

    Raises:
        CredentialsError: The file exists and cannot be read.
    """
    # As botocore does.
    path = os.path.expanduser(os.path.expandvars(path))
    sections = _sections(path)
    # The credentials file has [x], the config file [profile x]; the caller's own file may have either.
    named = [each for each in sections if each == name] + [each for each in sections if _is_profile(each, name)]
    return [Profile(path=path, values=sections[each]) for each in named]


def _is_profile(section: str, name: str) -> bool:
    """Whether a section is that of a profile; its name may be quoted."""
    kind, _, rest = section.partition(' ')
    return kind == 'profile' and rest.strip().strip('"\'') == name


def _sections(path: str) -> Mapping[str, Mapping[str, Any]]:
    from botocore.configloader import raw_config_parse
    from botocore.exceptions import ConfigNotFound, ConfigParseError

    try:
        # botocore treats a file that it cannot read as an empty one.
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise CredentialsError(f'the credentials file {path} cannot be read: {error.strerror}') from error
    if os.path.isdir(path):
        raise CredentialsError(f'the credentials file {path} is a directory')
    # Raised without the cause: its text quotes the line, which may hold a secret.
    try:
        return raw_config_parse(path, parse_subsections=False)
    except ConfigNotFound:
        # Neither a file nor a directory, such as /dev/null.
        return {}
    except ConfigParseError as error:
        where = _line_of(error.kwargs.get('error'))
    raise CredentialsError(f'the credentials file {path} cannot be parsed{where}; it must have sections like [default]')


def _line_of(error: Any) -> str:
    """The line of a parse error, for a message."""
    errors = getattr(error, 'errors', None)
    number = errors[0][0] if errors else getattr(error, 'lineno', None)
    return '' if number is None else f' (line {number})'
