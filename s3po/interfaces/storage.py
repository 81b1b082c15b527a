"""keg_storage's S3 backend: S3Storage and its two file classes, with keg_storage's names and signatures.

The files are those of Connection.open().
"""

from __future__ import annotations

import datetime
import enum
import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Any, Final, NamedTuple, Self

from s3po.config import MIB
from s3po.connection import Connection
from s3po.errors import ConfigurationError, NotFound, S3poError
from s3po.files import S3Reader as ObjectReader
from s3po.files import S3Writer as ObjectWriter
from s3po.files import write_all
from s3po.model import ListEntry as Listed

__all__ = [
    'FileMode',
    'FileNotFoundInStorageError',
    'ListEntry',
    'S3FileBase',
    'S3Reader',
    'S3Storage',
    'S3Writer',
    'ShareLinkOperation',
]

# keg_storage's default size of a part, and of the pieces of a copy.
CHUNK_BYTES: Final = 10 * MIB

Progress = Callable[[int], object]


class FileMode(enum.Flag):
    """The directions of a file: read, write, or both."""

    read = enum.auto()
    write = enum.auto()

    @classmethod
    def as_mode(cls, mode: FileMode | str) -> FileMode:
        """Convert one of open()'s modes: 'r', 'rb', 'w', 'wb', 'rw'. All files are binary.

        Raises:
            ValueError: The mode has neither 'r' nor 'w'.
        """
        found = mode if isinstance(mode, cls) else cls(0)
        if isinstance(mode, str) and not set(mode) - set('rwb'):
            for letter, flag in (('r', cls.read), ('w', cls.write)):
                found |= flag if letter in mode else cls(0)
        if not found:
            raise ValueError(f"mode must have 'r' or 'w' (FileMode.read or FileMode.write), not {mode!r}")
        return found

    def __str__(self) -> str:
        letters = ('r' if FileMode.read in self else '') + ('w' if FileMode.write in self else '')
        return f'{letters}b'


class ShareLinkOperation(enum.Flag):
    """What a presigned URL allows."""

    download = enum.auto()
    upload = enum.auto()
    remove = enum.auto()


METHODS: Final = {
    ShareLinkOperation.download: 'GET',
    ShareLinkOperation.upload: 'PUT',
    ShareLinkOperation.remove: 'DELETE',
}


class ListEntry(NamedTuple):
    """One object of a listing.

    Attributes:
        name: The key.
        last_modified: The time of its last write, with its time zone.
        size: The size in bytes.
    """

    name: str
    last_modified: datetime.datetime | None
    size: int


class FileNotFoundInStorageError(S3poError, FileNotFoundError):
    """The file does not exist in the storage.

    Attributes:
        storage_type: The storage's name.
        filename: The path.
    """

    def __init__(self, storage_type: str, filename: str) -> None:
        super().__init__(f'the file {filename} does not exist in the storage {storage_type}')
        self.storage_type = storage_type
        self.filename = filename

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.storage_type, self.filename))


class S3FileBase:
    """The common part of both files. A file is read or written, never both."""

    _file: ObjectReader | ObjectWriter

    def __init__(self, mode: FileMode | str, bucket: str, filename: str, client: Any) -> None:
        """
        Args:
            mode: FileMode.read or FileMode.write, or one of open()'s modes.
            bucket: The bucket.
            filename: The key.
            client: A boto3 S3 client, or an s3po Connection.
        """
        self.mode = FileMode.as_mode(mode)
        self.bucket = bucket
        self.filename = filename
        self._connection = client if isinstance(client, Connection) else Connection(client=client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, which publishes a written object; further calls do nothing."""
        self._file.close()

    def read(self, size: int) -> bytes:
        """Raise OSError: the file is open for writing."""
        raise _refused(self, 'reading')

    def write(self, data: bytes) -> None:
        """Raise OSError: the file is open for reading."""
        raise _refused(self, 'writing')


def _refused(file: S3FileBase, doing: str) -> OSError:
    return OSError(f's3://{file.bucket}/{file.filename} is not open for {doing}')


class S3Reader(S3FileBase):
    """A file open for reading."""

    def __init__(self, bucket: str, filename: str, client: Any) -> None:
        """
        Args:
            bucket: The bucket.
            filename: The key.
            client: A boto3 S3 client, or an s3po Connection.

        Raises:
            FileNotFoundInStorageError: The object does not exist.
        """
        super().__init__(FileMode.read, bucket, filename, client)
        try:
            self._file: ObjectReader = self._connection.open(bucket, filename, 'rb')
        except NotFound as error:
            raise FileNotFoundInStorageError('s3', filename) from error

    def read(self, size: int = -1) -> bytes:
        """Return up to size bytes; b'' at the end."""
        return self._file.read(size)

    def iter_chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Iterate over the remaining bytes in pieces of chunk_size; None for pieces as they arrive."""
        return self._file.iter_chunks(chunk_size)


class S3Writer(S3FileBase):
    """A file open for writing. Data is sent in parts of chunk_size; the first full part begins the upload."""

    def __init__(self, bucket: str, filename: str, client: Any, chunk_size: int = CHUNK_BYTES) -> None:
        """
        Args:
            bucket: The bucket.
            filename: The key.
            client: A boto3 S3 client, or an s3po Connection.
            chunk_size: The size of a part in bytes, 5 MiB to 5 GiB.

        Raises:
            ConfigurationError: chunk_size is not a valid size of a part.
        """
        super().__init__(FileMode.write, bucket, filename, client)
        try:
            self._file: ObjectWriter = self._connection.open(bucket, filename, 'wb', block_size=chunk_size)
        except ConfigurationError as error:
            if 'block_size' not in str(error):
                raise
            raise ConfigurationError(f'chunk_size must be 5 MiB to 5 GiB, in bytes, not {chunk_size!r}') from error

    def write(self, data: bytes) -> None:
        """Write all of the data.

        Raises:
            ValueError: The file is closed.
            S3poError: The upload has failed.
        """
        self._file.write(data)

    def abort(self) -> None:
        """Discard the data; no object is created."""
        self._file.abort()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._file.__exit__(kind, error, traceback)


class S3Storage:
    """The objects of one bucket, as files."""

    def __init__(
        self,
        bucket: str,
        aws_region: str | None = None,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        aws_profile: str | None = None,
        name: str = 's3',
        *,
        connection: Connection | None = None,
    ) -> None:
        """
        Args:
            bucket: The bucket.
            aws_region: The region.
            aws_access_key_id: The access key; None for what boto3 finds.
            aws_secret_access_key: The secret key.
            aws_profile: A profile of the configuration files.
            name: The storage's name in errors.
            connection: An s3po Connection, instead of region, keys and profile.
        """
        given = (aws_region, aws_access_key_id, aws_secret_access_key, aws_profile)
        if connection is not None and any(value is not None for value in given):
            raise ConfigurationError(
                'connection cannot be combined with aws_region, aws_access_key_id, aws_secret_access_key and aws_profile'
            )
        self.name = name
        self.bucket = bucket
        self.connection = connection or Connection(
            region=aws_region,
            access_key_id=aws_access_key_id,
            secret_access_key=aws_secret_access_key,
            profile=aws_profile,
        )

    def __repr__(self) -> str:
        return f'<S3Storage {self.name} s3://{self.bucket}>'

    def list(self, path: str) -> list[ListEntry]:
        """Return all files whose names begin with the path; for the files of a directory, end it with a slash."""
        found = self.connection.list(self.bucket, path)
        return [ListEntry(entry.key, entry.last_modified, entry.size_bytes) for entry in found if isinstance(entry, Listed)]

    def open(self, path: str, mode: FileMode | str) -> S3Reader | S3Writer:
        """Open a file for reading or for writing.

        Raises:
            NotImplementedError: The mode has both.
            ValueError: The mode has neither.
            FileNotFoundInStorageError: The file to read does not exist.
        """
        wanted = FileMode.as_mode(mode)
        if wanted == FileMode.read | FileMode.write:
            raise NotImplementedError("an object is opened either for reading or for writing: use 'rb' or 'wb'")
        if wanted == FileMode.write:
            return S3Writer(self.bucket, path, self.connection)
        try:
            return S3Reader(self.bucket, path, self.connection)
        except FileNotFoundInStorageError as error:
            raise FileNotFoundInStorageError(self.name, path) from error

    def delete(self, path: str) -> None:
        """Delete a file; a missing file is no error."""
        self.connection.delete(self.bucket, path)

    def get(self, path: str, dest: str | os.PathLike[str]) -> None:
        """Download a file to a local path, which is unchanged or complete, whatever happens."""
        self._found(path, lambda: self.connection.download_file(self.bucket, path, dest, silent=False))

    def put(self, path: str | os.PathLike[str], dest: str) -> None:
        """Upload the file at a local path."""
        self.connection.upload_file(self.bucket, dest, path, silent=False)

    def upload(
        self, file: IO[bytes], path: str, *, buffer_size: int | None = None, progress_callback: Progress | None = None
    ) -> None:
        """Upload a file object, from its current position.

        Args:
            file: Read to its end; stays open.
            path: The name in the storage.
            buffer_size: Bytes per read; None for 10 MiB.
            progress_callback: Called with the number of bytes read so far, after each read.
        """
        pieces = _pieces(file, buffer_size or CHUNK_BYTES, progress_callback)
        self.connection.upload(self.bucket, path, pieces, silent=False)

    def download(
        self, path: str, file: IO[bytes], *, buffer_size: int | None = None, progress_callback: Progress | None = None
    ) -> None:
        """Download a file into a file object, from its current position.

        Args:
            path: The name in the storage.
            file: Written in order; stays open.
            buffer_size: Bytes per write; None for pieces as they arrive.
            progress_callback: Called with the number of bytes written so far, after each write.
        """
        with self._found(path, lambda: self.connection.open(self.bucket, path, 'rb')) as reader:
            written = 0
            for piece in reader.iter_chunks(buffer_size):
                write_all(file, piece, _name_of(file))
                written += len(piece)
                if progress_callback is not None:
                    progress_callback(written)

    def copy(self, current_path: str, new_path: str) -> None:
        """Copy a file within the storage; the data is not downloaded."""
        self._found(current_path, lambda: self.connection.copy(self.bucket, current_path, self.bucket, new_path))

    def link_to(self, path: str, operation: ShareLinkOperation, expire: datetime.datetime) -> str:
        """Return a URL that allows anyone one operation on a file, until it expires. Keep it secret.

        Args:
            path: The name in the storage.
            operation: One ShareLinkOperation.
            expire: The time of expiry, at most in seven days; UTC if it has no time zone.

        Raises:
            ValueError: More than one operation, or a time in the past.
        """
        method = METHODS.get(operation)
        if method is None:
            raise ValueError(f'operation must be one of {", ".join(map(str, METHODS))}, not {operation!r}')
        if expire.tzinfo is None:
            expire = expire.replace(tzinfo=datetime.UTC)
        left_s = int((expire - datetime.datetime.now(datetime.UTC)).total_seconds())
        if left_s < 1:
            raise ValueError(f'expire: {expire.isoformat()} is in the past; a link must be valid for at least a second')
        return self.connection.presign(method, self.bucket, path, expires_s=left_s)

    def _found(self, path: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except NotFound as error:
            raise FileNotFoundInStorageError(self.name, path) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return (_storage, (self.bucket, self.name, self.connection))


def _storage(bucket: str, name: str, connection: Connection) -> S3Storage:
    return S3Storage(bucket, name=name, connection=connection)


def _name_of(file: IO[bytes]) -> str:
    return f'the file object {getattr(file, "name", None) or type(file).__name__}'


def _pieces(file: IO[bytes], size: int, progress_callback: Progress | None) -> Iterator[bytes]:
    read = 0
    while True:
        piece: bytes | None = file.read(size)
        if piece is None:
            raise ConfigurationError(
                f'source: {_name_of(file)} is non-blocking and has no data now; give a blocking file object'
            )
        if not piece:
            return
        read += len(piece)
        yield piece
        if progress_callback is not None:
            progress_callback(read)
