"""The entries of files and directories that fsspec expects, made from those of S3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from s3po.connection import Connection
from s3po.errors import NoSuchBucket
from s3po.interfaces.moves import as_fsspec
from s3po.model import ListEntry, ObjectInfo

__all__ = ['directory', 'file_entry', 'has_any', 'listed', 'split', 'with_parents']


def split(path: str) -> tuple[str, str]:
    """Split a path into bucket and key."""
    bucket, _, key = path.partition('/')
    return bucket, key


def directory(name: str) -> dict[str, Any]:
    """The entry of a directory, as fsspec expects it."""
    return {'name': name, 'size': 0, 'type': 'directory'}


def file_entry(bucket: str, entry: ListEntry) -> dict[str, Any]:
    """The entry of an object, as fsspec expects it."""
    found = {
        'name': f'{bucket}/{entry.key}',
        'size': entry.size_bytes,
        'type': 'file',
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
    found = {}
    if is_with:
        for depth in range(1, min(len(steps) - 1, maxdepth or len(steps)) + 1):
            name = f'{root}/{"/".join(steps[:depth])}'
            found[name] = directory(name)
    if maxdepth is None or len(steps) <= maxdepth:
        found[entry['name']] = entry
    return found


def listed(connection: Connection, bucket: str, prefix: str, delimiter: str | None = None) -> Iterator[dict[str, Any]]:
    """The entries of the objects and directories with a prefix."""
    with as_fsspec(bucket):
        for entry in connection.list(bucket, prefix, delimiter=delimiter):
            if not isinstance(entry, ListEntry):
                yield directory(f'{bucket}/{entry.prefix[:-1]}')
            # A key with a trailing slash only marks its directory.
            elif not entry.key.endswith('/'):
                yield file_entry(bucket, entry)


def has_any(connection: Connection, bucket: str, prefix: str) -> bool | None:
    """Whether any key has the prefix; None if the bucket does not exist."""
    try:
        return next(iter(connection.list(bucket, prefix, page_size=1)), None) is not None
    except NoSuchBucket:
        return None
