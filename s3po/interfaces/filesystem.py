"""fsspec's file system on top of a Connection: 's3po://bucket/key' for pandas, pyarrow, dask and zarr.

S3 has only keys: a directory exists while an object is below it. Nothing is cached, so listings are current. Bytes are
transferred as stored.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from s3po.connection import Connection
from s3po.errors import ConfigurationError, InvalidRequest, LocalError, NotFound, PreconditionFailed
from s3po.files import S3TextWriter
from s3po.interfaces.entries import directory, file_entry, has_any, listed, split, with_parents
from s3po.interfaces.moves import Compressed, Uncommitted, as_fsspec, is_behind_the_end, is_plain, moving

try:
    import fsspec.spec
    from fsspec.callbacks import DEFAULT_CALLBACK
    from fsspec.compression import compr
    from fsspec.core import get_compression
except ImportError as error:
    raise ConfigurationError("fsspec is not installed; install it with: pip install 's3po[fsspec]'") from error

__all__ = ['S3poFileSystem']

# How many objects are transferred in parallel, unless batch_size is given.
BATCH_SIZE: Final = 50
# Arguments of fsspec's own __init__.
OF_FSSPEC: Final = ('use_listings_cache', 'listings_expiry_time', 'max_paths', 'asynchronous', 'loop', 'batch_size')
# Arguments for text files only.
TEXT: Final = ('encoding', 'errors', 'newline')
# Option types that fsspec can use as a cache key.
PLAIN: Final = (str, int, float, bool, type(None), os.PathLike)


class _Kept(type(fsspec.spec.AbstractFileSystem)):  # type: ignore[misc]  # fsspec has no types
    """Prevents fsspec from caching file systems with options that have no text to identify them: credentials, connections."""

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        if not all(isinstance(value, PLAIN) for value in (*arguments, *options.values())):
            options['skip_instance_cache'] = True
        return super().__call__(*arguments, **options)


class S3poFileSystem(fsspec.spec.AbstractFileSystem, metaclass=_Kept):  # type: ignore[misc]  # fsspec has no types
    """The objects of a store as files and directories."""

    protocol: ClassVar[str] = 's3po'
    root_marker = ''

    def __init__(self, *, batch_size: int = BATCH_SIZE, connection: Connection | None = None, **storage_options: Any) -> None:
        """
        Args:
            batch_size: How many objects are transferred in parallel.
            connection: A Connection, instead of the storage_options.
            storage_options: Arguments of Connection.

        Raises:
            ConfigurationError: As for Connection.
        """
        of_fsspec = {name: storage_options.pop(name) for name in OF_FSSPEC if name in storage_options}
        super().__init__(**of_fsspec)
        if connection is not None and storage_options:
            raise ConfigurationError(f'connection cannot be combined with {", ".join(storage_options)}')
        self.connection = connection or Connection(**storage_options)
        self.batch_size = batch_size

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        return super()._strip_protocol(path).lstrip('/')

    # --- listing

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002  (fsspec's signature)
        """List a directory; for a file, return the file itself."""
        path = self._strip_protocol(path).rstrip('/')
        bucket, key = split(path)
        if not bucket:
            found = [directory(str(one['Name'])) for one in self.connection.conn.list_buckets()['Buckets']]
        else:
            found = list(listed(self.connection, bucket, f'{key}/' if key else '', delimiter='/'))
            if not found and key:
                found = [self.info(path)]
        return found if detail else [entry['name'] for entry in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Describe a file or directory: name, size and type; for a file also ETag, LastModified, ContentType and metadata."""
        path = self._strip_protocol(path)
        bucket, key = split(path.rstrip('/'))
        if key and not path.endswith('/'):
            with contextlib.suppress(FileNotFoundError), as_fsspec(path):
                return file_entry(bucket, self.connection.head(bucket, key))
        is_there = not bucket or (not key and has_any(self.connection, bucket, '') is not None)
        if is_there or has_any(self.connection, bucket, f'{key}/'):
            return directory(path.rstrip('/'))
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002  (fsspec's signature)
        detail: bool = False,  # noqa: FBT001, FBT002
        **_: Any,
    ) -> Any:
        """List all files below a directory, by one listing of all keys; with `withdirs` also the directories."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError('maxdepth must be at least 1')
        path = self._strip_protocol(path).rstrip('/')
        bucket, key = split(path)
        found: dict[str, dict[str, Any]] = {}
        if not bucket:
            for entry in self.ls(''):
                found |= {entry['name']: entry} if withdirs else {}
                if maxdepth is None or maxdepth > 1:
                    below = None if maxdepth is None else maxdepth - 1
                    found |= self.find(entry['name'], below, withdirs, detail=True)
        else:
            for entry in listed(self.connection, bucket, f'{key}/' if key else ''):
                found |= with_parents(entry, path, maxdepth, is_with=withdirs)
            if key and (withdirs or not found):
                with contextlib.suppress(FileNotFoundError):
                    entry = directory(path) if found else self.info(path)
                    found |= {path: entry} if withdirs or entry['type'] == 'file' else {}
        names = sorted(found)
        return {name: found[name] for name in names} if detail else names

    def exists(self, path: str, **_: Any) -> bool:
        """Whether the file or directory exists. Raises errors other than FileNotFoundError."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def checksum(self, path: str) -> str:
        """Return the ETag, which changes with the content."""
        return str(self.info(path).get('ETag', ''))

    def modified(self, path: str) -> Any:
        """Return the time of the last write, with its time zone."""
        return self.info(path)['LastModified']

    created = modified

    def sign(self, path: str, expiration: int = 100, **_: Any) -> str:
        """Return a URL that allows anyone to read the file, for `expiration` seconds."""
        return self.connection.presign('GET', *self._object(path), expires_s=expiration)

    # --- reading and writing

    def open(self, path: str, mode: str = 'rb', block_size: Any = None, **options: Any) -> Any:
        """Open a file, like Connection.open(), but with fsspec's `compression`."""
        compression = get_compression(path, options.pop('compression', None))
        is_later = compression is not None or self._intrans or not options.get('autocommit', True)
        if 'b' not in mode and is_later and 'r' not in mode:
            # Not fsspec's io.TextIOWrapper, which would publish after an exception.
            text = {name: options.pop(name, None) for name in TEXT}
            file = self.open(path, f'{mode.replace("t", "")}b', block_size=block_size, compression=compression, **options)
            return S3TextWriter(file, encoding=text['encoding'] or 'utf-8', errors=text['errors'], newline=text['newline'])
        if compression is not None and 'r' not in mode:
            return Compressed(self.open(path, mode, block_size=block_size, **options), compr[compression], path, mode)
        if 'b' in mode or compression is not None:
            return super().open(path, mode, block_size=block_size, compression=compression, **options)
        text = {name: options[name] for name in TEXT if name in options}
        with as_fsspec(path):
            return self.connection.open(*self._object(path), mode, block_size=block_size, **text)

    def _open(self, path: str, mode: str = 'rb', block_size: Any = None, **options: Any) -> Any:
        if 'a' in mode:
            raise NotImplementedError(f'{path}: objects do not support appending; read the object and write it again')
        if 'x' in mode and self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        with as_fsspec(path):
            file = self.connection.open(*self._object(path), mode, block_size=block_size)
        return file if options.get('autocommit', True) or 'r' in mode else Uncommitted(file)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return a file's bytes from start to end; negative values count from the file's end."""
        first, last = start or 0, end
        bucket, key = self._object(path)
        with as_fsspec(path):
            if first < 0 or (last is not None and last < 0):
                with self.connection.open(bucket, key) as file:
                    first, last, _step = slice(start, end).indices(file.size)
                    file.seek(first)
                    return bytes(file.read(max(0, last - first)))
            if last is not None and last <= first:
                return b''
            byte_range = None if not first and last is None else (first, last)
            try:
                return bytes(self.connection.download(bucket, key, byte_range=byte_range, decompress=False, silent=False))
            except InvalidRequest as error:
                if not is_behind_the_end(error):
                    raise
                return b''

    def cat(self, path: Any, recursive: bool = False, on_error: str = 'raise', **_: Any) -> Any:  # noqa: FBT001, FBT002
        """Return the bytes of one file; for several, which are fetched in parallel, a dict by name."""
        paths = self.expand_path(path, recursive=recursive)
        if isinstance(path, str) and not recursive and paths == [self._strip_protocol(path)]:
            return self.cat_file(paths[0])
        names = [name for name in paths if not recursive or not self.isdir(name)]
        found = self._download_all([(name, None) for name in names], on_error)
        pairs = zip(names, found, strict=True)
        return {name: data for name, data in pairs if on_error != 'omit' or not isinstance(data, Exception)}

    def cat_ranges(
        self, paths: Sequence[str], starts: Any, ends: Any, max_gap: Any = None, on_error: str = 'return', **_: Any
    ) -> list[Any]:
        """Fetch ranges of files in parallel. A failed range returns its error, or raises it with on_error='raise'."""
        first = starts if isinstance(starts, Sequence) else [starts] * len(paths)
        last = ends if isinstance(ends, Sequence) else [ends] * len(paths)
        if not len(paths) == len(first) == len(last):
            raise ValueError('paths, starts and ends must have the same length')
        wanted = [(path, (start or 0, end)) for path, start, end in zip(paths, first, last, strict=True)]
        return self._download_all(wanted, on_error)

    def pipe_file(self, path: str, value: bytes, mode: str = 'overwrite', **_: Any) -> None:
        """Write a file; with mode='create' only if it does not exist."""
        condition = '*' if mode == 'create' else None
        try:
            self.connection.upload(*self._object(path), value, if_none_match=condition, silent=False)
        except PreconditionFailed as error:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from error

    # --- copying

    def get(self, rpath: Any, lpath: Any, recursive: bool = False, callback: Any = DEFAULT_CALLBACK, **options: Any) -> None:  # noqa: FBT001, FBT002
        """Copy files, or a whole directory, to local paths, batch_size of them at a time."""
        with moving(self.connection, self.batch_size, callback):
            super().get(rpath, lpath, recursive=recursive, **options)

    def put(self, lpath: Any, rpath: Any, recursive: bool = False, callback: Any = DEFAULT_CALLBACK, **options: Any) -> None:  # noqa: FBT001, FBT002
        """Copy local files, or a whole directory, to the store, batch_size of them at a time."""
        with moving(self.connection, self.batch_size, callback):
            super().put(lpath, rpath, recursive=recursive, **options)

    def copy(self, path1: Any, path2: Any, recursive: bool = False, **options: Any) -> None:  # noqa: FBT001, FBT002
        """Copy within the store, batch_size files at a time; the data is not downloaded."""
        with moving(self.connection, self.batch_size, DEFAULT_CALLBACK):
            super().copy(path1, path2, recursive=recursive, **options)

    def get_file(self, rpath: str, lpath: Any, outfile: Any = None, **_: Any) -> None:
        """Copy a file to a local path or file object."""
        bucket, key = self._object(rpath)
        target = outfile or lpath
        is_path = not hasattr(target, 'write')
        if is_path:
            os.makedirs(os.path.dirname(target) or '.', exist_ok=True)

        def missing(failure: BaseException) -> bool:
            """Whether the failed name is a directory: then create it locally; the failure is ignored."""
            is_directory = is_path and isinstance(failure, NotFound | LocalError) and self.isdir(rpath)
            if is_directory:
                os.makedirs(target, exist_ok=True)
            return is_directory

        if is_path and os.path.isdir(target):
            return
        with moving(self.connection, self.batch_size, DEFAULT_CALLBACK) as moves:
            moves.add(rpath, moves.batch.download(bucket, key, target, decompress=False, silent=False), missing)

    def put_file(self, lpath: str, rpath: str, mode: str = 'overwrite', **_: Any) -> None:
        """Copy a local file to the store; with mode='create' only if it does not exist."""
        if os.path.isdir(lpath):
            return
        condition = '*' if mode == 'create' else None
        with moving(self.connection, self.batch_size, DEFAULT_CALLBACK) as moves:
            moves.add(rpath, moves.batch.upload_file(*self._object(rpath), lpath, if_none_match=condition, silent=False))

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a file within the store."""

        def missing(failure: BaseException) -> bool:
            return isinstance(failure, NotFound) and self.isdir(path1)

        with moving(self.connection, self.batch_size, DEFAULT_CALLBACK) as moves:
            moves.add(path1, moves.batch.copy(*self._object(path1), *self._object(path2)), missing)

    # --- making and removing

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:  # noqa: FBT001, FBT002
        """Delete files; with recursive=True also directories and buckets, with their contents."""
        paths = self.expand_path(path, recursive=recursive, maxdepth=maxdepth)
        by_bucket: dict[str, list[str]] = {}
        for name in paths:
            bucket, key = split(name)
            by_bucket.setdefault(bucket, [])
            if key and not recursive and not self.isfile(name):
                raise IsADirectoryError(errno.EISDIR, 'a directory needs recursive=True', name)
            by_bucket[bucket] += [key] if key else []
        for bucket, keys in by_bucket.items():
            for failure in self.connection.delete_many(bucket, keys):
                raise failure.error
            if recursive and maxdepth is None and bucket in paths:
                self.connection.delete_bucket(bucket)

    def rm_file(self, path: str) -> None:
        """Delete a file; a missing file is no error."""
        self.connection.delete(*self._object(path))

    _rm = rm_file

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:  # noqa: FBT001, FBT002
        """Create a bucket. Directories need not be created."""
        bucket, key = split(self._strip_protocol(path).rstrip('/'))
        if bucket and not self.exists(bucket) and (create_parents or not key):
            self.connection.create_bucket(bucket)
        elif not key:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002
        """Create a bucket, like mkdir()."""
        try:
            self.mkdir(path)
        except FileExistsError:
            if not exist_ok:
                raise

    def rmdir(self, path: str) -> None:
        """Delete an empty bucket."""
        bucket, key = split(self._strip_protocol(path).rstrip('/'))
        if key:
            raise OSError(errno.ENOTEMPTY, 'a directory exists while it has files; rm(recursive=True) deletes them', path)
        self.connection.delete_bucket(bucket)

    def touch(self, path: str, truncate: bool = True, **_: Any) -> None:  # noqa: FBT001, FBT002
        """Write an empty file.

        Raises:
            ValueError: truncate=False and the file exists: an object's time cannot be set.
        """
        if not truncate and self.exists(path):
            raise ValueError(f'{path}: the time of an object cannot be set; use truncate=True to replace it by an empty one')
        self.pipe_file(path, b'')

    # --- internals

    def _object(self, path: str) -> tuple[str, str]:
        bucket, key = split(self._strip_protocol(path))
        if not key:
            raise IsADirectoryError(errno.EISDIR, "the path of a file is 'bucket/key'", path)
        return bucket, key

    def _download_all(self, wanted: Sequence[tuple[str, tuple[int, int | None] | None]], on_error: str) -> list[Any]:
        """The bytes, or errors, of many files or ranges."""
        with self.connection.batch(self.batch_size, on_error='collect') as batch:
            options: dict[str, Any] = {'decompress': False, 'silent': False}
            jobs = [
                batch.download(*self._object(path), byte_range=None if found == (0, None) else found, **options)
                if is_plain(found)
                else None
                for path, found in wanted
            ]
        # Marks the failures as read; each is reported below.
        batch.success()
        return [self._answer(path, found, job, on_error) for (path, found), job in zip(wanted, jobs, strict=True)]

    def _answer(self, path: str, found: Any, job: Any, on_error: str) -> Any:
        try:
            if job is None:
                return self.cat_file(path, *found)
            if job.exception is None:
                return job.value
            if is_behind_the_end(job.exception):
                return b''
            with as_fsspec(path):
                raise job.exception
        except Exception as failure:
            if on_error == 'raise':
                raise
            return failure
