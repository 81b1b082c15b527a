"""The files of S3Storage, on top of Connection.open(), and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

from s3po.config import MIB
from s3po.connection import Connection
from s3po.errors import ConfigurationError, LocalError, NotFound, S3poError
from s3po.files import S3Reader as ObjectReader
from s3po.files import S3Writer as ObjectWriter
from s3po.interfaces.storage_base import FileMode, NotFoundInStorage, RemoteFile

__all__ = ['FileNotFoundInStorageError', 'LocalFileNotFound', 'S3FileBase', 'S3Reader', 'S3Writer', 'upload_options']

# keg_storage's default size of a part.
PART_BYTES: Final = 10 * MIB
# The type of an object without one: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
NO_TYPE: Final = 'binary/octet-stream'


class FileNotFoundInStorageError(S3poError, FileNotFoundError, NotFoundInStorage):
    """The file does not exist in the storage (`storage_type`; after unpickling only its name)."""

    def __init__(self, storage_type: object, filename: str) -> None:
        super().__init__(f'File {filename} not found in {storage_type}.')
        self.storage_type = storage_type
        self.filename = filename

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (str(self.storage_type), self.filename))


class LocalFileNotFound(LocalError, FileNotFoundError):
    """A local file, or the directory of one, does not exist."""


class WrongDirection(OSError, NotImplementedError):
    """A file that is open for writing was read, or the other way around."""


class S3FileBase(RemoteFile):
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
        super().__init__(FileMode.as_mode(mode))
        self.bucket = bucket
        self.filename = filename
        self._connection = client if isinstance(client, Connection) else Connection(client=client)

    @property
    def s3(self) -> Any:
        """The boto3 client."""
        return self._connection.conn

    def close(self) -> None:
        """Close the file, which publishes a written object; further calls do nothing."""
        self._file.close()

    def read(self, size: int) -> bytes:
        """Raise OSError: the file is open for writing."""
        raise self._refused('reading')

    def write(self, data: bytes) -> None:
        """Raise OSError: the file is open for reading."""
        raise self._refused('writing')

    def _refused(self, doing: str) -> WrongDirection:
        return WrongDirection(f's3://{self.bucket}/{self.filename} is not open for {doing}')

    def __del__(self) -> None:
        """Do nothing: a writer that is not closed publishes nothing. (keg_storage's base class closes it.)"""


class S3Reader(S3FileBase):
    """A file open for reading, iterable in pieces of 5 MiB. `reader` is the file object of Connection.open()."""

    def __init__(self, bucket: str, filename: str, client: Any) -> None:
        """Open the object; the arguments are those of S3FileBase.

        Raises:
            FileNotFoundInStorageError: The object does not exist.
        """
        super().__init__(FileMode.read, bucket, filename, client)
        try:
            self._file = self.reader = self._connection.open(bucket, filename, 'rb')
        except NotFound as error:
            raise FileNotFoundInStorageError('s3', filename) from error

    def read(self, size: int = -1) -> bytes:
        """Return up to size bytes; b'' at the end."""
        return self.reader.read(size)


class S3Writer(S3FileBase):
    """A file open for writing. Data is sent in parts of chunk_size; the first full part begins the upload."""

    def __init__(
        self,
        bucket: str,
        filename: str,
        client: Any,
        chunk_size: int = PART_BYTES,
        extra_args: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            bucket: As for S3FileBase, like filename and client.
            filename: See bucket.
            client: See bucket.
            chunk_size: The size of a part in bytes, 5 MiB to 5 GiB.
            extra_args: Further parameters of the upload by boto3's names (ContentType, Metadata, …).

        Raises:
            ConfigurationError: chunk_size is not a valid size of a part, or S3 has no such parameter.
        """
        super().__init__(FileMode.write, bucket, filename, client)
        self.chunk_size, self.extra_args = chunk_size, extra_args or {}
        options = upload_options(extra_args)
        try:
            self._file: ObjectWriter = self._connection.open(bucket, filename, 'wb', block_size=chunk_size, **options)
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


def upload_options(extra_args: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options of an upload. Like keg_storage, and unlike Connection, it does not guess the content type."""
    has_type = extra_args is not None and 'ContentType' in extra_args
    return {'extra': extra_args, 'content_type': None if has_type else NO_TYPE}
