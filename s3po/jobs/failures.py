"""Errors as JSON values, without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3po import errors
from s3po.errors import JobError, LocalError, S3poError
from s3po.secrecy import redacted

__all__ = ['error_from_json', 'error_to_json']

# The types of the fields of errors that are kept.
PLAIN = (str, int, float, bool)
# How many causes of an error are kept.
MAX_CAUSES = 16


def error_to_json(error: BaseException) -> dict[str, Any]:
    """An error in JSON values, with its fields and causes."""
    chain: list[BaseException] = []
    found: BaseException | None = error
    # A program can make a cycle of causes.
    while found is not None and len(chain) < MAX_CAUSES:
        chain.append(found)
        found = found.__cause__
    said: dict[str, Any] = {}
    for each in reversed(chain):
        said = {
            'class': _public_name(type(each)),
            'message': _shown(str(each.args[0] if each.args and isinstance(each, S3poError) else each)),
            'fields': {name: _shown(value) for name, value in _fields(each).items() if isinstance(value, PLAIN)},
            **({'cause': said} if said else {}),
        }
    return said


def error_from_json(said: Mapping[str, Any]) -> S3poError:
    """The inverse of error_to_json(): an error of the same class of s3po, with the same message.

    Raises:
        JobError: The value is not an error.
    """
    try:
        return _error_of(said)
    except (KeyError, TypeError, AttributeError) as error:
        raise JobError(f'not a valid error of a job: {error!r}') from error


def _error_of(said: Mapping[str, Any]) -> S3poError:
    kind = getattr(errors, said['class'], S3poError)
    if not (isinstance(kind, type) and issubclass(kind, S3poError)):
        kind = S3poError
    error = kind(said['message'])
    for name, value in said['fields'].items():
        setattr(error, name, value)
    if 'cause' in said:
        error.__cause__ = _error_of(said['cause'])
    return error


def _public_name(kind: type[BaseException]) -> str:
    """The name of the nearest class in s3po.errors; for other errors, the name of their own class."""
    return next((each.__name__ for each in kind.__mro__ if getattr(errors, each.__name__, None) is each), kind.__name__)


def _fields(error: BaseException) -> dict[str, Any]:
    fields = dict(vars(error))
    if isinstance(error, LocalError):
        # OSError keeps these two outside of its __dict__.
        fields.update(errno=error.errno, filename=error.filename)
    return fields


def _shown(value: Any) -> Any:
    """A field of an error without secrets: errors of other libraries may show anything."""
    return redacted(value) if isinstance(value, str) else value
