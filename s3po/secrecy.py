"""What must not be seen: a guard around values, and what takes secrets out of text.

What may live here: Secret, the rule of what in a text is secret, and the filter that applies it to what botocore and urllib3
log. Nothing here knows of requests or files. No handler is attached anywhere: a filter says nothing by itself.
"""

from __future__ import annotations

import logging
import re
from typing import Final, Generic, NoReturn, TypeVar

__all__ = ['HIDDEN', 'REDACTING', 'Secret', 'guard_logs', 'is_secret_name', 'redacted', 'revealed']

# What stands in the place of a secret.
HIDDEN: Final = '***'

T = TypeVar('T')
T_co = TypeVar('T_co', covariant=True)


class Secret(Generic[T_co]):
    """A value that is seen only by who asks for it: not in a repr, a text, a dump of variables, a pickle or JSON."""

    __slots__ = ('_value',)

    def __init__(self, value: T_co) -> None:
        self._value = value

    def reveal(self) -> T_co:
        """The value itself."""
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
        raise TypeError('a secret goes into no pickle by itself; a Connection may be pickled, whose bytes are a secret then')


def revealed(value: T | Secret[T]) -> T:
    """A value, whether it is guarded or not."""
    return value.reveal() if isinstance(value, Secret) else value


# Names of secrets as they stand in headers, queries, documents of AWS's services, and parameters of boto3. What botocore prints
# of them at DEBUG, and will not mend: https://github.com/boto/botocore/issues/2626 and /2945.
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
    # The metadata service's and the container's name for it. Many other things are a token as well.
    r"""(?<=["'])token(?=\\*["'])""",
)
_NAMES: Final = '|'.join(_PARTS)
# Between a name and its value: an equals sign or colon, the end of an element's tag, or the comma of a pair.
_LINK: Final = r"""\\*["']?\s*[:=>]\s*|\\*["']\s*,\s*"""
# A text or bytes in Python's form; one that is escaped, or has no end; or what has no quotes, to the next delimiter. AWS's
# secrets have no quotes in them, and are shorter than this.
_QUOTED: Final = r"""b?(?P<{0}>["'])(?:\\.|(?!(?P={0})).){{0,8192}}(?P={0})|b?\\*["'][^"'\\]*"""
_BARE: Final = r"""[^\s&,;<>"'\\)\]}]+"""
_FIELD: Final = re.compile(
    rf'(?P<name>(?<![a-z0-9])(?:{_NAMES}))(?P<link>{_LINK})(?!\*\*\*)(?:{_QUOTED.format("quote")}|{_BARE})',
    re.IGNORECASE | re.DOTALL,
)
# This one has blanks and commas in it, so its value goes on to the end of the line.
_AUTHORIZATION: Final = re.compile(
    rf'(?P<name>(?<![a-z0-9])authorization)(?P<link>{_LINK})(?!\*\*\*)(?:{_QUOTED.format("quote")}|\S[^\r\n]*)',
    re.IGNORECASE | re.DOTALL,
)
_USERINFO: Final = re.compile(r'://[^/?#\s"\'<>]*@')

_SECRET_NAME: Final = re.compile(rf'(?:(?:proxy-)?authorization|{_NAMES})', re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether what is called so is a secret: a header, or a parameter of boto3."""
    return _SECRET_NAME.fullmatch(name) is not None


def redacted(text: str) -> str:
    """A text without the secrets that stand in it under their names, and without the users and passwords of URLs."""
    text = _AUTHORIZATION.sub(rf'\g<name>\g<link>{HIDDEN}', text)
    text = _FIELD.sub(rf'\g<name>\g<link>{HIDDEN}', text)
    return _USERINFO.sub(f'://{HIDDEN}@', text)


class _Redacting(logging.Filter):
    """Takes the secrets out of records; lets all of them pass. Called only for records that somebody is to get."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  (whatever an argument's own str() raises; a handler would print the arguments)
            record.msg, record.args = 'a message that cannot be formatted', ()
            return True
        shown = redacted(message)
        if shown != message:
            record.msg, record.args = shown, ()
        if record.exc_info and not record.exc_text:
            told = _FORMATTER.formatException(record.exc_info)
            shown = redacted(told)
            if shown != told:
                # Formatters print the text, and never see the exception.
                record.exc_info, record.exc_text = None, shown
        return True


_FORMATTER: Final = logging.Formatter()
REDACTING: Final = _Redacting()

# Whose records have secrets in them. A filter of a logger does not see what is logged by the loggers below it, so each has it.
_FAMILIES: Final = ('boto3', 'botocore', 's3transfer', 'urllib3')
# The loggers that come into being only after a client has been made, if at all.
_LATE: Final = (
    'boto3.dynamodb.table',
    's3transfer.processpool',
    'urllib3.contrib.emscripten.response',
    'urllib3.contrib.pyopenssl',
    'urllib3.http2.connection',
)


def guard_logs() -> None:
    """Keep secrets out of what boto3, botocore and urllib3 log; a second time, it sees to loggers that are new."""
    known = [name for name in list(logging.root.manager.loggerDict) if name.partition('.')[0] in _FAMILIES]
    for name in (*known, *_LATE):
        logging.getLogger(name).addFilter(REDACTING)
