"""The files, directories and errors that fsspec expects, made from those of S3."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

from s3po.connection import Batch
from s3po.errors import S3poError
from s3po.files import S3Writer, as_file_error
from s3po.model import ListEntry, ObjectInfo

__all__ = ['Compressed', 'Moves', 'Uncommitted', 'as_fsspec', 'directory', 'file_entry', 'split', 'with_parents']


class Moves:
    """The batch jobs of one get(), put() or copy()."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.jobs: list[tuple[str, Any, Callable[[BaseException], bool]]] = []

    def add(self, path: str, job: Any, is_no_failure: Callable[[BaseException], bool] = lambda _: False) -> None:
        """Add a job; `is_no_failure` selects its errors to ignore."""
        self.jobs.append((path, job, is_no_failure))

    def check(self, callback: Any) -> None:
        """Raise the first failure."""
        for path, job, is_no_failure in self.jobs:
            if job.exception is not None and not is_no_failure(job.exception):
                with as_fsspec(path):
                    raise job.exception
            callback.relative_update(1)


class Uncommitted(io.BufferedIOBase):
    """A file in a transaction: published by the transaction's end, not by close(); never after an exception in its `with`."""

    def __init__(self, writer: S3Writer) -> None:
        super().__init__()
        self.name, self.mode = writer.name, writer.mode
        self._writer = writer
        self.write = writer.write  # type: ignore[method-assign]

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._writer.tell()

    def commit(self) -> None:
        """Publish it."""
        self._writer.close()

    def discard(self) -> None:
        """Discard the data; commit() has no effect then."""
        self._writer.abort()

    def abort(self) -> None:
        """Close and discard the data."""
        self.discard()
        super().close()

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class Compressed(io.BufferedIOBase):
    """A file that is compressed while it is written. (GzipFile and others do not close the file below them.)"""

    def __init__(self, file: Any, compress: Any, path: str, mode: str) -> None:
        super().__init__()
        self.name, self.mode = path, mode
        self._file = file
        self._compressing = compress(file, mode='w')
        self.write = self._compressing.write  # type: ignore[method-assign]

    def writable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Write the end of the compressed data and close the file below, which publishes the object."""
        if not self.closed:
            try:
                self._compressing.close()
                self._file.close()
            except BaseException:
                self.abort()
                raise
        super().close()

    def abort(self) -> None:
        """Close without publishing."""
        getattr(self._file, 'abort', self._file.close)()
        super().close()

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        # Not IOBase's __del__, which calls close(): the file below logs that it was not closed.
        pass


@contextlib.contextmanager
def as_fsspec(path: str) -> Iterator[None]:
    """Raise errors about files as the OSErrors that fsspec's users expect."""
    try:
        yield
    except S3poError as error:
        raise as_file_error(error, path, is_new=True) from error.__cause__


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
