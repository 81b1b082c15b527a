"""Options as JSON values: which are durable, and the lines of a file of calls.

Durable are absolute paths, text, numbers, and functions that can be imported by name. Data in memory, open files and secrets
are not.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import pathlib
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

from s3po.errors import JobError
from s3po.model import ObjectRef, key_of
from s3po.secrecy import is_secret_name

__all__ = ['LOST', 'durable', 'plain_endpoint', 'read_lines', 'restored']

T = TypeVar('T')

# Options that hold the data of an object, or the place of the data.
PLACES: Final = frozenset({'source', 'target', 'path'})
# Options that hold a function of the caller.
FUNCTIONS: Final = frozenset({'callback', 'errback', 'progress'})


class _Lost:
    """The placeholder of an option that a file of calls does not contain."""

    def __repr__(self) -> str:
        return '<not kept>'


LOST: Final = _Lost()


def durable(name: str, value: object) -> Any:
    """An option as a JSON value; LOST for one that is not durable: data, an open file, a secret, a local function.

    Args:
        name: The option.
        value: Its value. A relative path becomes an absolute one.
    """
    if name in PLACES:
        # A str as source is data, and may be large, or secret.
        is_path = isinstance(value, os.PathLike) or (isinstance(value, str) and name != 'source')
        return _absolute(value) if is_path else LOST
    if name in _OF_NAME:
        return _OF_NAME[name](value)
    if isinstance(value, Mapping) and any(is_secret_name(str(each)) for each in value):
        return LOST
    try:
        json.dumps(value, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return LOST
    return list(value) if isinstance(value, tuple) else value


def restored(name: str, value: Any) -> Any:
    """The inverse of durable().

    Raises:
        JobError: A function cannot be imported.
    """
    if name in PLACES and isinstance(value, dict):
        # A target that ends with a slash is a mistake, and pathlib would remove the slash.
        return value['path'] if name != 'source' and value['path'].endswith('/') else pathlib.Path(value['path'])
    if name in FUNCTIONS and isinstance(value, dict):
        return _imported(value['function'])
    if name == 'to':
        return LOST
    if name == 'keys':
        return tuple(ObjectRef(**key) if isinstance(key, dict) else key for key in value)
    return tuple(value) if isinstance(value, list) else value


def read_lines(
    path: str | os.PathLike[str], read: Callable[[Any], T], on_error: Callable[[JobError], object] | None = None
) -> Iterator[T]:
    """Read a file with one JSON value a line, item by item.

    Args:
        path: The file.
        read: Makes an item of each value; raises JobError for a value that it cannot read.
        on_error: Called with the error of each broken line, which is skipped; None: the error is raised.

    Raises:
        JobError: A line is broken; the message names it.
    """
    with open(path, 'rb') as file:
        for number, line in enumerate(file, 1):
            try:
                item = read(json.loads(line))
            except (ValueError, RecursionError, JobError) as error:
                broken = JobError(f'{os.fspath(path)}, line {number}: {error}')
                if on_error is None:
                    raise broken from error
                on_error(broken)
            else:
                yield item


def _absolute(path: Any) -> Any:
    text = os.fsdecode(path)
    try:
        # Not abspath(), which drops a slash at the end.
        return {'path': text if os.path.isabs(text) else os.path.join(os.getcwd(), text)}
    except OSError:
        # The working directory is gone.
        return LOST


def _keys(keys: object) -> Any:
    """The keys of delete_many(): a str each or, for one of a version, the fields of its ObjectRef."""
    # An iterator can be read only once, and the job has read it.
    if isinstance(keys, str | bytes | Iterator) or not isinstance(keys, Iterable):
        return LOST
    try:
        found = [_key(key) for key in keys]
    except Exception:  # noqa: BLE001  (the caller's iterable may raise anything, and the other failed jobs must be saved)
        return LOST
    return LOST if LOST in found else found


def _key(key: Any) -> Any:
    if not isinstance(key, ObjectRef):
        return found if isinstance(found := key_of(key), str) else LOST
    fields = {'bucket': key.bucket, 'key': key.key, 'version_id': key.version_id}
    return fields if isinstance(key.version_id, str | None) else LOST


def _store(connection: object) -> Any:
    """The endpoint of a connection, which has keys too. It is part of the identity of a call."""
    return LOST if connection is LOST else {'endpoint': plain_endpoint(getattr(connection, 'endpoint_url', None))}


def _named(function: object) -> Any:
    """The name of a function, if importing the name returns the function."""
    name = f'{getattr(function, "__module__", None)}:{getattr(function, "__qualname__", None)}'
    try:
        return {'function': name} if _imported(name) is function else LOST
    except JobError:
        return LOST


def _imported(name: str) -> Any:
    module, _, attributes = name.partition(':')
    try:
        return functools.reduce(getattr, attributes.split('.'), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise JobError(f'the function {name} cannot be imported: {error}') from error


def plain_endpoint(url: str | None) -> str | None:
    """A URL without user name, password, default port, and a slash at the end, and with the host in small letters."""
    if url is None:
        return None
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition('@')[2].lower().removesuffix({'http': ':80', 'https': ':443'}.get(parts.scheme, ':'))
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path.rstrip('/'), '', ''))


# The functions of options of their own kinds.
_OF_NAME: Final[Mapping[str, Callable[[Any], Any]]] = {**dict.fromkeys(FUNCTIONS, _named), 'keys': _keys, 'to': _store}
