"""The entries of files and directories that fsspec expects, made from those of S3."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from s3po.connection import Connection
from s3po.errors import NoSuchBucket
from s3po.files import file_errors
from s3po.model import ListEntry, ObjectInfo

__all__ = ['NotAFile', 'directory', 'file_entry', 'has_any', 'listed', 'missing', 'outermost', 'split', 'with_parents']


class NotAFile(IsADirectoryError, ValueError):
    """The path is that of a bucket or directory. (s3fs raises a ValueError for some of these paths.)"""

    def __init__(self, path: str, text: str = "the path of a file is 'bucket/key'") -> None:
        super().__init__(errno.EISDIR, text, path)


def missing(path: str) -> FileNotFoundError:
    """The error for a path that does not exist."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def split(path: str) -> tuple[str, str]:
    """Split a path into bucket and key."""
    bucket, _, key = path.partition('/')
    return bucket, key


def directory(name: str) -> dict[str, Any]:
    """The entry of a directory or bucket, as fsspec expects it. (The names with capitals are s3fs's.)"""
    return {'name': name, 'size': 0, 'type': 'directory', 'Key': name, 'Size': 0, 'VersionId': None}


def file_entry(bucket: str, entry: ListEntry) -> dict[str, Any]:
    """The entry of an object, as fsspec expects it."""
    name = f'{bucket}/{entry.key}'
    found = {
        'name': name,
        'size': entry.size_bytes,
        'type': 'file',
        'Key': name,
        'Size': entry.size_bytes,
        'ETag': entry.etag,
        'LastModified': entry.last_modified,
        'StorageClass': entry.storage_class,
    }
    if isinstance(entry, ObjectInfo):
        found |= {'ContentType': entry.content_type, 'metadata': dict(entry.metadata), 'VersionId': entry.version_id}
    return found


def with_parents(entry: dict[str, Any], root: str, maxdepth: int | None, *, is_with: bool) -> dict[str, dict[str, Any]]:
    """The entry of a file below a root and, if is_with, those of the directories between them, at most maxdepth deep."""
    steps = entry['name'][len(root) + 1 :].split('/')
    is_directory = entry['type'] == 'directory'
    found = {}
    if is_with:
        for depth in range(1, min(len(steps) - (not is_directory), maxdepth or len(steps)) + 1):
            name = f'{root}/{"/".join(steps[:depth])}'
            found[name] = directory(name)
    if not is_directory and (maxdepth is None or len(steps) <= maxdepth):
        found[entry['name']] = entry
    return found


def listed(
    connection: Connection,
    bucket: str,
    prefix: str,
    delimiter: str | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[dict[str, Any]]:
    """The entries of the objects and directories with a prefix."""
    with file_errors(bucket):
        for entry in connection.list(bucket, prefix, delimiter=delimiter, **options):
            if not isinstance(entry, ListEntry):
                yield directory(f'{bucket}/{entry.prefix[:-1]}')
            elif not entry.key.endswith('/'):
                yield file_entry(bucket, entry)
            # A key with a trailing slash only marks its directory.
            elif entry.key != prefix:
                yield directory(f'{bucket}/{entry.key[:-1]}')


def has_any(connection: Connection, bucket: str, prefix: str) -> bool | None:
    """Whether any key has the prefix; None if the bucket does not exist."""
    try:
        return next(iter(connection.list(bucket, prefix, page_size=1)), None) is not None
    except NoSuchBucket:
        return None


def outermost(names: Sequence[str]) -> list[str]:
    """The names that are not below another one."""
    found: dict[str, None] = {}
    for name in sorted(names):
        if found.keys().isdisjoint(itertools.accumulate(name.split('/'), '{}/{}'.format)):
            found[name] = None
    return [*found]
