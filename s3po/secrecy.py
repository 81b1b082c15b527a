"""Hides secrets: a wrapper for values, and a filter for texts and log records.

The filter is added to the loggers of botocore and urllib3. No handler is attached to any logger.
"""

from __future__ import annotations

import logging
import re
from typing import Final, Generic, NoReturn, TypeVar

__all__ = ['HIDDEN', 'REDACTING', 'Secret', 'guard_logs', 'is_secret_name', 'redacted', 'revealed']

# Shown instead of a secret.
HIDDEN: Final = '***'

T = TypeVar('T')
T_co = TypeVar('T_co', covariant=True)


class Secret(Generic[T_co]):
    """A value that only reveal() returns: it is not in a repr, a text, a dump of variables, a pickle or JSON."""

    __slots__ = ('_value',)

    def __init__(self, value: T_co) -> None:
        self._value = value

    def reveal(self) -> T_co:
        """Return the value."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and bool(self._value == other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Secret[T_co]:
        return self

    def __deepcopy__(self, memo: object) -> Secret[T_co]:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError('a Secret cannot be pickled on its own; a Connection can be pickled, and its bytes are a secret')


def revealed(value: T | Secret[T]) -> T:
    """Return a value, whether it is wrapped in a Secret or not."""
    return value.reveal() if isinstance(value, Secret) else value


# Names of secrets in headers, queries, documents of AWS's services, and parameters of boto3. botocore logs some of them at
# DEBUG, which will not be fixed: https://github.com/boto/botocore/issues/2626 and /2945.
_PARTS: Final = (
    r'x-amz-(?:security-token|s3session-token|signature|credential|sso_bearer_token)',
    r'x-aws-ec2-metadata-token',
    r'signature',
    r'x-amz-(?:copy-source-)?server-side-encryption-customer-key',
    r'(?:copysource)?ssecustomerkey',
    r'secret[_-]?(?:access[_-]?)?key',
    r'(?:session|security|access|refresh|id|web[_-]?identity)[_-]?token',
    r'client[_-]?secret',
    r'samlassertion',
    # The metadata service's and the container's name for it. Only between quotes: many other things are called token too.
    r"""(?<=["'])token(?=\\*["'])""",
)
_NAMES: Final = '|'.join(_PARTS)
# Between a name and its value: an equals sign or colon, the end of a tag, or the comma of a pair.
_LINK: Final = r"""\\*["']?\s*[:=>]\s*|\\*["']\s*,\s*"""
# A str or bytes literal; an escaped or unterminated one; or unquoted text up to the next delimiter. AWS's secrets contain no
# quotes, and are shorter than this.
_QUOTED: Final = r"""b?(?P<{0}>["'])(?:\\.|(?!(?P={0})).){{0,8192}}(?P={0})|b?\\*["'][^"'\\]*"""
_BARE: Final = r"""[^\s&,;<>"'\\)\]}]+"""
_FIELD: Final = re.compile(
    rf'(?P<name>(?<![a-z0-9])(?:{_NAMES}))(?P<link>{_LINK})(?!\*\*\*)(?:{_QUOTED.format("quote")}|{_BARE})',
    re.IGNORECASE | re.DOTALL,
)
# This value contains blanks and commas, so it extends to the end of the line.
_AUTHORIZATION: Final = re.compile(
    rf'(?P<name>(?<![a-z0-9])authorization)(?P<link>{_LINK})(?!\*\*\*)(?:{_QUOTED.format("quote")}|\S[^\r\n]*)',
    re.IGNORECASE | re.DOTALL,
)
_USERINFO: Final = re.compile(r'://[^/?#\s"\'<>]*@')

_SECRET_NAME: Final = re.compile(rf'(?:(?:proxy-)?authorization|{_NAMES})', re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether a header or a boto3 parameter of this name contains a secret."""
    return _SECRET_NAME.fullmatch(name) is not None


def redacted(text: str) -> str:
    """Remove secrets from a text: values after names of secrets, and user names and passwords in URLs."""
    text = _AUTHORIZATION.sub(rf'\g<name>\g<link>{HIDDEN}', text)
    text = _FIELD.sub(rf'\g<name>\g<link>{HIDDEN}', text)
    return _USERINFO.sub(f'://{HIDDEN}@', text)


class _Redacting(logging.Filter):
    """Removes secrets from log records; drops none. Called only for records that are handled."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  (an argument's own str() may raise anything; a handler would print the arguments)
            record.msg, record.args = 'a message that cannot be formatted', ()
            return True
        shown = redacted(message)
        if shown != message:
            record.msg, record.args = shown, ()
        if record.exc_info and not record.exc_text:
            trace = _FORMATTER.formatException(record.exc_info)
            shown = redacted(trace)
            if shown != trace:
                # Formatters print exc_text, and then do not use exc_info.
                record.exc_info, record.exc_text = None, shown
        return True


_FORMATTER: Final = logging.Formatter()
REDACTING: Final = _Redacting()

# Loggers whose records may contain secrets. Filters are not inherited by child loggers, so each logger gets one.
_FAMILIES: Final = ('boto3', 'botocore', 's3transfer', 'urllib3')
# Loggers that are created only after a client was created, if at all.
_LATE: Final = (
    'boto3.dynamodb.table',
    's3transfer.processpool',
    'urllib3.contrib.emscripten.response',
    'urllib3.contrib.pyopenssl',
    'urllib3.http2.connection',
)


def guard_logs() -> None:
    """Remove secrets from the logs of boto3, botocore and urllib3; further calls cover loggers that are new."""
    known = [name for name in list(logging.root.manager.loggerDict) if name.partition('.')[0] in _FAMILIES]
    for name in (*known, *_LATE):
        logging.getLogger(name).addFilter(REDACTING)
