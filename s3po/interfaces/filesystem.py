"""fsspec's file system on top of a Connection: 's3po://bucket/key' for pandas, pyarrow, dask and zarr.

S3 has only keys: a directory exists while an object is below it. Nothing is cached, so listings are current. Bytes are
transferred as stored.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final

from s3po.connection import Connection
from s3po.errors import ConfigurationError, InvalidRequest, LocalError, NotFound, SourceChanged
from s3po.files import Compressed, S3TextReader, S3TextWriter, Uncommitted, file_errors
from s3po.interfaces import keywords
from s3po.interfaces.entries import (
    NotAFile,
    directory,
    file_entry,
    has_any,
    listed,
    missing,
    outermost,
    split,
    with_parents,
)
from s3po.interfaces.moves import Moves, is_behind_the_end, is_plain, moving, planned
from s3po.jobs import Call
from s3po.model import ObjectRef, ref_of

try:
    import fsspec.spec
    from fsspec.callbacks import DEFAULT_CALLBACK, NoOpCallback
    from fsspec.compression import compr
    from fsspec.core import get_compression

    from s3po.interfaces.opened import Cached
except ImportError as error:
    raise ConfigurationError("fsspec is not installed; install it with: pip install 's3po[fsspec]'") from error

__all__ = ['S3poFileSystem']

# How many objects are transferred in parallel, unless batch_size is given.
BATCH_SIZE: Final = 50
# Arguments of fsspec's own __init__.
OF_FSSPEC: Final = ('use_listings_cache', 'listings_expiry_time', 'max_paths', 'asynchronous', 'loop', 'batch_size')
# Arguments for text files only.
TEXT: Final = ('encoding', 'errors', 'newline')
# Arguments for files with a cache of fsspec; they do not concern writers.
CACHING: Final = ('cache_type', 'cache_options', 'size')
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
            storage_options: Arguments of Connection; default_block_size and default_cache_type for open().

        Raises:
            ConfigurationError: As for Connection.
        """
        self.default_block_size = storage_options.pop('default_block_size', None)
        self.default_cache_type = storage_options.pop('default_cache_type', None)
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

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """List a directory; for a file, return the file itself."""
        found: list[dict[str, Any]]
        chosen = self._options('ls', options, keywords.LISTING)
        path = self._strip_protocol(path).rstrip('/')
        bucket, key = split(path)
        if not bucket:
            with file_errors('s3://'):
                found = [directory(name) for name in self.connection.list_buckets(retries=chosen.get('retries'))]
        else:
            found = list(listed(self.connection, bucket, f'{key}/' if key else '', delimiter='/', options=chosen))
            if not found and key:
                entry = self.info(path)
                # A directory can be empty: then it has a marker only.
                found = [entry] if entry['type'] == 'file' else []
        return found if detail else [entry['name'] for entry in found]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Describe a file or directory: name, size and type; for a file also ETag, LastModified, ContentType and metadata."""
        chosen = self._options('info', options, keywords.DESCRIBING)
        path = self._strip_protocol(path)
        bucket, key = split(path.rstrip('/'))
        if key and not path.endswith('/'):
            with contextlib.suppress(FileNotFoundError), file_errors(path):
                return file_entry(bucket, self.connection.head(bucket, key, **chosen))
        is_there = not bucket or (not key and has_any(self.connection, bucket, '') is not None)
        if chosen.get('version_id') is None and (is_there or has_any(self.connection, bucket, f'{key}/')):
            return directory(path.rstrip('/'))
        raise missing(path)

    def find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **options: Any) -> Any:
        """List all files below a directory, by one listing of all keys; with `withdirs` also the directories.

        With `prefix`, only names are listed that begin with it below the directory.
        """
        prefix = options.pop('prefix', None) or ''
        if maxdepth is not None and maxdepth < 1:
            raise ValueError('maxdepth must be at least 1')
        chosen = self._options('find', options, keywords.LISTING)
        path = self._strip_protocol(path).rstrip('/')
        bucket, key = split(path)
        found: dict[str, dict[str, Any]] = {}
        if not bucket:
            for entry in self.ls('', detail=True, **options):
                if not entry['name'].startswith(prefix):
                    continue
                found |= {entry['name']: entry} if withdirs else {}
                if maxdepth is None or maxdepth > 1:
                    below = None if maxdepth is None else maxdepth - 1
                    found |= self.find(entry['name'], below, withdirs, detail=True, **options)
        else:
            start = f'{key}/' if key else ''
            for entry in listed(self.connection, bucket, f'{start}{prefix}', options=chosen):
                found |= with_parents(entry, path, maxdepth, is_with=withdirs)
            if key and not prefix and (withdirs or not found):
                with contextlib.suppress(FileNotFoundError):
                    entry = directory(path) if found else self.info(path)
                    found |= {path: entry} if withdirs or entry['type'] == 'file' else {}
        names = sorted(found)
        return {name: found[name] for name in names} if detail else names

    def exists(self, path: str, **options: Any) -> bool:
        """Whether the file or directory exists. Raises errors other than FileNotFoundError."""
        try:
            self.info(path, **options)
        except FileNotFoundError:
            return False
        return True

    lexists = exists

    def checksum(self, path: str, **options: Any) -> str:
        """Return the ETag, which changes with the content."""
        return str(self.info(path, **options).get('ETag', ''))

    def modified(self, path: str, **options: Any) -> Any:
        """Return the time of the last write of a file, with its time zone. A directory is an IsADirectoryError."""
        entry = self.info(path, **options)
        if entry['type'] != 'file':
            raise NotAFile(path, 'a directory has no time')
        return entry['LastModified']

    created = modified

    def sign(self, path: str, expiration: int = 100, **options: Any) -> str:
        """Return a URL that allows anyone to read the file, for `expiration` seconds."""
        chosen = self._options('sign', options, ('version_id', 'extra'))
        return self.connection.presign('GET', *self._object(path), expires_s=expiration, **chosen)

    # --- reading and writing

    def open(self, path: str, mode: str = 'rb', block_size: Any = None, **options: Any) -> Any:
        """Open a file, like Connection.open(), with its options and fsspec's `compression`, `cache_type` and `autocommit`."""
        compression = get_compression(path, options.pop('compression', None))
        if 'b' not in mode:
            # Not fsspec's io.TextIOWrapper, which would publish after an exception.
            text = {name: options.pop(name, None) for name in TEXT}
            text['encoding'] = text['encoding'] or 'utf-8'
            file = self.open(path, f'{mode.replace("t", "")}b', block_size=block_size, compression=compression, **options)
            return (S3TextReader if 'r' in mode else S3TextWriter)(file, **text)
        if compression is not None and 'r' not in mode:
            return Compressed(self.open(path, mode, block_size=block_size, **options), compr[compression], path, mode)
        return super().open(path, mode, block_size=block_size, compression=compression, **options)

    def _open(self, path: str, mode: str = 'rb', block_size: Any = None, autocommit: bool = True, **options: Any) -> Any:
        if 'a' in mode:
            raise NotImplementedError(f'{path}: objects do not support appending; read the object and write it again')
        if 'x' in mode and self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        # `blocksize` is s3fs's other name of it, and 'default' fsspec's word.
        block_size = options.pop('blocksize', block_size) or self.default_block_size
        block_size = None if block_size == 'default' else block_size
        caching = {name: options.pop(name, None) for name in CACHING}
        caching['cache_type'] = caching['cache_type'] or self.default_cache_type
        chosen = self._options('open', options, keywords.OPENING)
        if 'r' in mode and any(value is not None for value in caching.values()):
            caching['cache_type'] = caching['cache_type'] or 'readahead'
            reader = functools.partial(self.connection.open, *self._object(path), 'rb', **{'read_ahead': 0, **chosen})
            return Cached(self, self._strip_protocol(path), reader, block_size=block_size, **caching, **options)
        with file_errors(path):
            file = self.connection.open(*self._object(path), mode, block_size=block_size, **chosen)
        return file if autocommit or 'r' in mode else Uncommitted(file)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """Return a file's bytes from start to end; negative values count from the file's end."""
        first, last = start or 0, end
        chosen = self._options('cat_file', options, keywords.READING)
        if first < 0 or (last is not None and last < 0):
            return self._cat_from_the_end(path, start, end, chosen)
        if last is not None and last <= first:
            return b''
        byte_range = None if not first and last is None else (first, last)
        try:
            return bytes(self._perform('download', path, {**chosen, 'byte_range': byte_range, 'decompress': False}))
        except InvalidRequest as error:
            if not is_behind_the_end(error):
                raise
            return b''

    def _cat_from_the_end(self, path: str, start: int | None, end: int | None, chosen: dict[str, Any]) -> bytes:
        opening: Any = {name: value for name, value in chosen.items() if name in keywords.OPENING}
        with file_errors(path), self.connection.open(*self._object(path), **opening) as file:
            first, last, _step = slice(start, end).indices(file.size)
            file.seek(first)
            return bytes(file.read(max(0, last - first)))

    def cat(self, path: Any, recursive: bool = False, on_error: str = 'raise', **options: Any) -> Any:
        """Return the bytes of one file; for several, which are fetched in parallel, a dict by name."""
        paths = self.expand_path(path, recursive=recursive)
        if isinstance(path, str) and not recursive and paths == [self._strip_protocol(path)]:
            return self.cat_file(paths[0], **options)
        names = [name for name in paths if not recursive or not self.isdir(name)]
        found = self._download_all('cat', [(name, None) for name in names], on_error, options)
        pairs = zip(names, found, strict=True)
        return {name: data for name, data in pairs if on_error != 'omit' or not isinstance(data, Exception)}

    def cat_ranges(
        self, paths: Sequence[str], starts: Any, ends: Any, max_gap: Any = None, on_error: str = 'return', **options: Any
    ) -> list[Any]:
        """Fetch ranges of files in parallel. A failed range returns its error, or raises it with on_error='raise'."""
        first = starts if isinstance(starts, Sequence) else [starts] * len(paths)
        last = ends if isinstance(ends, Sequence) else [ends] * len(paths)
        if not len(paths) == len(first) == len(last):
            raise ValueError('paths, starts and ends must have the same length')
        wanted = [(path, (start or 0, end)) for path, start, end in zip(paths, first, last, strict=True)]
        return self._download_all('cat_ranges', wanted, on_error, options)

    def pipe_file(self, path: str, value: bytes, mode: str = 'overwrite', **options: Any) -> None:
        """Write a file; with mode='create' only if it does not exist."""
        chosen = self._options('pipe_file', options, keywords.WRITING)
        self._perform('upload', path, {**chosen, **_condition(mode), 'source': value})

    # --- copying

    def get(self, rpath: Any, lpath: Any, recursive: bool = False, callback: Any = DEFAULT_CALLBACK, **options: Any) -> None:
        """Copy files, or a whole directory, to local paths. Options are maxdepth, batch_size and those of get_file().

        The callback counts files, and its branches the bytes of each file.
        """
        with self._many('get', options, keywords.READING, callback) as (moves, maxdepth):
            super().get(rpath, lpath, recursive=recursive, callback=moves, maxdepth=maxdepth)

    def put(self, lpath: Any, rpath: Any, recursive: bool = False, callback: Any = DEFAULT_CALLBACK, **options: Any) -> None:
        """Copy local files, or a whole directory, to the store; like get(), with the options of put_file()."""
        options |= _condition(options.pop('mode', 'overwrite'))
        with self._many('put', options, keywords.WRITING, callback) as (moves, maxdepth):
            super().put(lpath, rpath, recursive=recursive, callback=moves, maxdepth=maxdepth)

    def copy(self, path1: Any, path2: Any, recursive: bool = False, on_error: str | None = None, **options: Any) -> None:
        """Copy within the store; the data is not downloaded. Options are maxdepth, batch_size and those of cp_file().

        With on_error='ignore', the default if recursive, missing files are skipped.
        """
        if on_error not in (None, 'raise', 'ignore'):
            raise ValueError(f"on_error must be 'raise' or 'ignore', not {on_error!r}")
        with self._many('copy', options, keywords.COPYING) as (moves, maxdepth):
            moves.is_missing_ok = on_error == 'ignore' or (recursive and on_error is None)
            super().copy(path1, path2, recursive=recursive, maxdepth=maxdepth)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **options: Any) -> None:
        """Copy within the store, then delete what was copied. Options are those of copy(), without version_id.

        Files that are replaced meanwhile are not deleted: SourceChanged. If one file would replace another: OSError.
        """
        if isinstance(path1, str) and isinstance(path2, str) and self._strip_protocol(path1) == self._strip_protocol(path2):
            return
        batch_size = options.pop('batch_size', None) or self.batch_size
        chosen = self._options('mv', options, keywords.COPYING - {'version_id'})
        found = planned(self, path1, path2, recursive=recursive, maxdepth=maxdepth)
        planning = {(self._strip_protocol(source), self._strip_protocol(target)) for source, target in found}
        sources = dict(sorted(planning))
        before = self._versions(sources, chosen)
        directories = [name for name in sources if name not in before]
        # Two lists are not expanded.
        if not (recursive and (isinstance(path1, str) or isinstance(path2, str))) and (directories or not sources):
            self._check_files(directories or self.expand_path(path1))
        # The markers of directories are moved too.
        markers = {f'{name}/': f'{sources[name]}/' for name in directories if split(name)[1]}
        before |= self._versions(markers, chosen)
        pairs = {name: target for name, target in {**sources, **markers}.items() if name in before}
        if len(sources) < len(planning) or len({*pairs, *pairs.values()}) < 2 * len(pairs):
            raise OSError(errno.EINVAL, 'a file would be lost: a path is given twice, or is that of another one', path1)
        with moving(self.connection, batch_size, options=chosen) as moves:
            for name, target in pairs.items():
                to_bucket, to_key = self._object(target, is_marker=target.endswith('/'))
                moves.add('copy', name, split(name), {'to_bucket': to_bucket, 'to_key': to_key})
        after = self._versions(pairs, chosen)
        self._delete([name for name in after if after[name] == before[name]])
        if changed := [name for name in after if after[name] != before[name]]:
            raise SourceChanged(f'{changed[0]} was copied, but not deleted: it was replaced during the copy. Move it again')
        for bucket in {*directories} - {name[:-1] for name in markers}:
            self._delete_bucket(bucket)

    @contextlib.contextmanager
    def _many(self, method: str, options: Any, known: Collection[str], files: Any = None) -> Iterator[tuple[Moves, Any]]:
        """A batch for the transfers of the method of that name, and its maxdepth."""
        maxdepth, batch_size = options.pop('maxdepth', None), options.pop('batch_size', None) or self.batch_size
        with moving(self.connection, batch_size, files, self._options(method, options, known)) as moves:
            yield moves, maxdepth

    def get_file(
        self, rpath: str, lpath: Any = None, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **options: Any
    ) -> None:
        """Copy a file to a local path or file object. The callback counts bytes; with one, a HEAD is sent for their number.

        Options are version_id, chunksize, max_concurrency, retries and parameters of GetObject.
        """
        chosen = self._options('get_file', options, keywords.READING)
        name = self._object(rpath)
        target = outfile or lpath
        is_path = not hasattr(target, 'write')
        if is_path:
            os.makedirs(os.path.dirname(target) or '.', exist_ok=True)

        def is_no_failure(failure: BaseException) -> bool:
            """Whether the failed name is a directory: then create it locally; the failure is ignored."""
            is_directory = is_path and isinstance(failure, NotFound | LocalError) and self.isdir(rpath)
            if is_directory:
                os.makedirs(target, exist_ok=True)
            return is_directory

        with moving(self.connection, self.batch_size) as moves:
            if is_path and os.path.isdir(target):
                moves.skip()
                return
            progress = _progress(callback)
            if progress is not None:
                version = chosen.get('version_id')
                moves.batch.head(*name, version_id=version, callback=lambda info: progress.set_size(info.size_bytes))
            given = {**chosen, 'target': target, 'decompress': False}
            moves.add('download', rpath, name, given, progress=progress, is_no_failure=is_no_failure)

    def put_file(
        self, lpath: str, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = 'overwrite', **options: Any
    ) -> None:
        """Copy a local file to the store; with mode='create' only if it does not exist.

        Options are metadata, content_type, headers, acl, chunksize, max_concurrency, retries and parameters of PutObject.
        """
        chosen = self._options('put_file', options, keywords.WRITING) | _condition(mode)
        with moving(self.connection, self.batch_size) as moves:
            if os.path.isdir(lpath):
                moves.skip()
                self.makedirs(rpath, exist_ok=True)
                return
            progress = _progress(callback)
            if progress is not None:
                progress.set_size(os.path.getsize(lpath))
            moves.add('upload_file', rpath, self._object(rpath), {**chosen, 'path': lpath}, progress=progress)

    def cp_file(self, path1: str, path2: str, **options: Any) -> None:
        """Copy a file within the store."""
        chosen = self._options('cp_file', options, keywords.COPYING)
        to_bucket, to_key = self._object(path2)

        def is_no_failure(failure: BaseException) -> bool:
            return isinstance(failure, NotFound) and (moves.is_missing_ok or self.isdir(path1))

        with moving(self.connection, self.batch_size) as moves:
            given = {**chosen, 'to_bucket': to_bucket, 'to_key': to_key}
            moves.add('copy', path1, self._object(path1), given, is_no_failure=is_no_failure)

    # --- making and removing

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> list[str]:
        """Delete files; with recursive=True also directories and buckets, with their contents. Returns the deleted paths.

        A missing path is a FileNotFoundError; a directory, without recursive=True, an IsADirectoryError.
        """
        names = self.expand_path(path, recursive=recursive and maxdepth is not None, maxdepth=maxdepth)
        # With a trailing slash, which expanded names lack, the directory is meant, not a file of the same name.
        given = [path] if isinstance(path, str | os.PathLike) else path
        slashed = {self._strip_protocol(one) for one in given if str(one).endswith('/')}
        if recursive and maxdepth is None:
            return [removed for name in outermost(names) for removed in self._rm_tree(name, is_with_file=name not in slashed)]
        if recursive:
            names = [name for name in names if name not in slashed and self.isfile(name)]
        else:
            self._check_files([f'{name}/' if name in slashed else name for name in names])
        return self._delete(names)

    def _rm_tree(self, path: str, *, is_with_file: bool) -> list[str]:
        """Delete what is below a path, the markers of directories too, and the file or bucket at it. Returns the paths."""
        bucket, key = split(path)
        with file_errors(path):
            names = [f'{bucket}/{entry}' for entry in self.connection.list(bucket, f'{key}/' if key else '')]
            if key and is_with_file and self.connection.exists(bucket, key):
                names.append(path)
        if key and not names:
            raise missing(path)
        removed = self._delete(names)
        if not key:
            self._delete_bucket(bucket)
            removed.append(bucket)
        return removed

    def _delete_bucket(self, bucket: str) -> None:
        try:
            with file_errors(bucket):
                self.connection.delete_bucket(bucket)
        except InvalidRequest as error:
            if error.code != 'BucketNotEmpty':
                raise
            raise OSError(errno.ENOTEMPTY, 'the bucket is not empty', bucket) from error

    def _delete(self, names: Iterable[str]) -> list[str]:
        removed: list[str] = []
        for bucket, group in itertools.groupby(names, lambda name: split(name)[0]):
            found = [*group]
            with file_errors(bucket):
                for failure in self.connection.delete_many(bucket, [split(name)[1] for name in found]):
                    raise failure.error
            removed += found
        return removed

    def _versions(self, names: Iterable[str], options: Mapping[str, Any] = MappingProxyType({})) -> dict[str, tuple[Any, ...]]:
        """The fields that identify the version of each file, by name, without directories. options: Those of the copies."""
        given = {name.removeprefix('CopySource'): value for name, value in (options.get('extra') or {}).items()}
        extra = {name: value for name, value in given.items() if name.startswith('SSECustomer') or name == 'RequestPayer'}
        with self.connection.batch(self.batch_size, on_error='collect') as batch:
            jobs = {name: batch.head(*split(name), extra=extra) for name in names if split(name)[1]}
        batch.success()
        found = {}
        for name, job in jobs.items():
            with contextlib.suppress(NotFound), file_errors(name):
                info = job.get()
                found[name] = (info.etag, info.last_modified, info.size_bytes)
        return found

    def _check_files(self, names: Sequence[str]) -> None:
        """Raise the error for the first name that is not that of a file."""
        found = self._versions(names)
        for name in names:
            if name.endswith('/') and not has_any(self.connection, *split(name)):
                raise missing(name)
            if name not in found or name.endswith('/'):
                self.info(name)
                raise NotAFile(name, 'a directory needs recursive=True')

    def rm_file(self, path: str) -> None:
        """Delete a file; a missing file is no error. A path with a trailing slash is that of a directory's marker."""
        with file_errors(path):
            self.connection.delete(*self._object(path, is_marker=path.endswith('/')))

    _rm = rm_file

    def mkdir(self, path: str, create_parents: bool = True, **options: Any) -> None:
        """Create a bucket. Directories need not be created; with create_parents=False their bucket must exist.

        Options are acl, region_name and parameters of CreateBucket.
        """
        if region := options.pop('region_name', None):
            options['CreateBucketConfiguration'] = {'LocationConstraint': region}
        chosen = self._options('mkdir', options, ('retries', 'extra'))
        bucket, key = split(self._strip_protocol(path).rstrip('/'))
        if not bucket:
            raise ValueError(f'{path!r} names no bucket')
        if self.exists(bucket):
            if not key:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        elif key and not create_parents:
            raise missing(bucket)
        else:
            with file_errors(path):
                self.connection.create_bucket(bucket, **chosen)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Create a bucket, like mkdir()."""
        try:
            self.mkdir(path)
        except FileExistsError:
            if not exist_ok:
                raise

    def rmdir(self, path: str) -> None:
        """Delete an empty bucket, or the marker of an empty directory. If it is not empty, an OSError is raised."""
        bucket, key = split(self._strip_protocol(path).rstrip('/'))
        if not key:
            self._delete_bucket(bucket)
            return
        with file_errors(path):
            found = [*itertools.islice(self.connection.list(bucket, f'{key}/', page_size=2), 2)]
        if not found and not self.exists(path):
            raise missing(path)
        if [(entry.key, entry.size_bytes) for entry in found] != [(f'{key}/', 0)]:
            raise FileExistsError(errno.EEXIST, 'a directory exists while it has files; rm(recursive=True) deletes them', path)
        self.rm_file(f'{path.rstrip("/")}/')

    def touch(self, path: str, truncate: bool = True, **options: Any) -> None:
        """Write an empty file; for a path with a trailing slash, the marker of a directory.

        An object's time cannot be set: truncate=False is a ValueError if the file exists.
        """
        if not truncate and self.exists(path):
            raise ValueError(f'{path}: the time of an object cannot be set; use truncate=True to replace it by an empty one')
        chosen = self._options('touch', options, keywords.WRITING)
        self._perform('upload', path, {**chosen, 'source': b''}, is_marker=path.endswith('/'))

    # --- internals

    def _options(self, method: str, options: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
        return keywords.translated(method, options, known, self.connection.config)

    def _object(self, path: str, *, is_marker: bool = False) -> tuple[str, str]:
        bucket, key = split(self._strip_protocol(path))
        if not key:
            raise NotAFile(path)
        return bucket, f'{key}/' if is_marker else key

    def _perform(self, operation: str, path: str, options: dict[str, Any], *, is_marker: bool = False) -> Any:
        """Carry out a call on the object at a path, whose failure is never silent."""
        bucket, key = self._object(path, is_marker=is_marker)
        ref = ObjectRef(bucket=bucket, key=key, version_id=options.pop('version_id', None))
        with file_errors(path, is_new=options.get('if_none_match') is not None):
            return self.connection.perform(Call(operation, ref, options)).value

    def _download_all(
        self, method: str, wanted: Sequence[tuple[str, tuple[int, int | None] | None]], on_error: str, options: dict[str, Any]
    ) -> list[Any]:
        """The bytes, or errors, of many files or ranges."""
        batch_size = options.pop('batch_size', None) or self.batch_size
        chosen = self._options(method, options, keywords.READING) | {'decompress': False}
        version_id = chosen.pop('version_id', None)
        with self.connection.batch(batch_size, on_error='collect') as batch:

            def submit(path: str, found: Any) -> Any:
                given = {**chosen, 'byte_range': None if found == (0, None) else found}
                return batch.submit(Call('download', ref_of(*self._object(path), version_id), given), None, None, silent=False)

            jobs = [submit(path, found) if is_plain(found) else None for path, found in wanted]
        # Marks the failures as read; each is reported below.
        batch.success()
        pairs = zip(wanted, jobs, strict=True)
        return [self._answer(path, found, job, on_error, options) for (path, found), job in pairs]

    def _answer(self, path: str, found: Any, job: Any, on_error: str, options: dict[str, Any]) -> Any:
        try:
            if job is None:
                return self.cat_file(path, *found, **options)
            if job.exception is None:
                return job.value
            if is_behind_the_end(job.exception):
                return b''
            with file_errors(path):
                raise job.exception
        except Exception as failure:
            if on_error == 'raise':
                raise
            return failure


def _condition(mode: str) -> dict[str, Any]:
    """The option for fsspec's mode of a write."""
    if mode not in ('create', 'overwrite'):
        raise ValueError(f"mode must be 'create' or 'overwrite', not {mode!r}")
    return {'if_none_match': '*'} if mode == 'create' else {}


def _progress(callback: Any) -> Any:
    """The callback, or None for fsspec's callback that does nothing."""
    return None if isinstance(callback, NoOpCallback) else callback
