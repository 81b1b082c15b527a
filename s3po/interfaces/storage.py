"""keg_storage's S3 backend: S3Storage, with keg_storage's names and signatures. Its files are in `storage_files`."""

from __future__ import annotations

import datetime
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Final

from s3po.config import MIB
from s3po.connection import Connection
from s3po.errors import ConfigurationError, LocalError, NotFound
from s3po.files import write_all
from s3po.interfaces.storage_base import FileMode, ListEntry, ProgressCallback, ShareLinkOperation, StorageBackend, as_moment
from s3po.interfaces.storage_files import (
    FileNotFoundInStorageError,
    LocalFileNotFound,
    S3FileBase,
    S3Reader,
    S3Writer,
    upload_options,
)
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

# The default length of the pieces of a copy, which is also the interval of progress.
PIECE_BYTES: Final = 5 * MIB

METHODS: Final = {
    ShareLinkOperation.download: 'GET',
    ShareLinkOperation.upload: 'PUT',
    ShareLinkOperation.remove: 'DELETE',
}


class S3Storage(StorageBackend):
    """The objects of one bucket, as files. Names are keys, unchanged: '/a' and 'a' are two objects.

    Where keg_storage is installed, it is a subclass of its StorageBackend.

    Attributes:
        name: The storage's name.
        bucket: The bucket.
        connection: The s3po Connection.
    """

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
            name: The storage's name.
            connection: An s3po Connection, instead of region, keys and profile.
        """
        given = (aws_region, aws_access_key_id, aws_secret_access_key, aws_profile)
        if connection is not None and any(value is not None for value in given):
            raise ConfigurationError(
                'connection cannot be combined with aws_region, aws_access_key_id, aws_secret_access_key and aws_profile'
            )
        super().__init__(name)
        self.bucket = bucket
        self.connection = connection or Connection(
            region=aws_region,
            access_key_id=aws_access_key_id,
            secret_access_key=aws_secret_access_key,
            profile=aws_profile,
        )

    @property
    def client(self) -> Any:
        """The boto3 client."""
        return self.connection.conn

    def __repr__(self) -> str:
        return f'<S3Storage {self.name} s3://{self.bucket}>'

    def list(self, path: str) -> list[ListEntry]:
        """Return all files whose names begin with the path; for the files of a directory, end it with a slash."""
        found = self.connection.list(self.bucket, path)
        return [
            ListEntry(entry.key, entry.last_modified and as_moment(entry.last_modified), entry.size_bytes)
            for entry in found
            if isinstance(entry, Listed)
        ]

    def open(self, path: str, mode: FileMode | str, extra_args: Mapping[str, Any] | None = None) -> S3Reader | S3Writer:
        """Open a file for reading or for writing.

        Args:
            path: The name in the storage.
            mode: FileMode.read or FileMode.write, or a str with 'r' or 'w'. Files are always binary.
            extra_args: Further parameters of the upload by boto3's names (ContentType, Metadata, …); unused for reading.

        Raises:
            NotImplementedError: The mode has both.
            ValueError: The mode has neither.
            FileNotFoundInStorageError: The file to read does not exist.
        """
        wanted = FileMode.as_mode(mode)
        if wanted == FileMode.read | FileMode.write:
            raise NotImplementedError("an object is opened either for reading or for writing: use 'rb' or 'wb'")
        if not wanted:
            raise ValueError(f"mode must have 'r' or 'w' (FileMode.read or FileMode.write), not {mode!r}")
        if wanted == FileMode.write:
            return S3Writer(self.bucket, path, self.connection, extra_args=extra_args)
        try:
            return S3Reader(self.bucket, path, self.connection)
        except FileNotFoundInStorageError as error:
            raise FileNotFoundInStorageError(self, path) from error

    def delete(self, path: str) -> None:
        """Delete a file; a missing file is no error."""
        self.connection.delete(self.bucket, path)

    def get(self, path: str, dest: str | os.PathLike[str]) -> None:
        """Download a file to a local path, which is unchanged or complete, whatever happens."""
        self._found(path, lambda: self.connection.download_file(self.bucket, path, dest, silent=False))

    def put(self, path: str | os.PathLike[str], dest: str) -> None:
        """Upload the file at a local path."""
        self._found(dest, lambda: self.connection.upload_file(self.bucket, dest, path, silent=False, **upload_options(None)))

    def upload(
        self,
        file_obj: IO[bytes],
        path: str,
        *,
        progress_callback: ProgressCallback | None = None,
        extra_args: Mapping[str, Any] | None = None,
        buffer_size: int | None = None,
    ) -> None:
        """Upload a file object, from its current position.

        Args:
            file_obj: Read to its end; stays open.
            path: The name in the storage.
            progress_callback: Called with the number of bytes read so far, after each read.
            extra_args: Further parameters by boto3's names (ContentType, Metadata, …).
            buffer_size: Bytes per read; None for 5 MiB.
        """
        pieces = _pieces(file_obj, buffer_size or PIECE_BYTES, progress_callback)
        self.connection.upload(self.bucket, path, pieces, silent=False, **upload_options(extra_args))

    def download(
        self,
        path: str,
        file_obj: IO[bytes],
        *,
        progress_callback: ProgressCallback | None = None,
        buffer_size: int | None = None,
    ) -> None:
        """Download a file into a file object, from its current position.

        Args:
            path: The name in the storage.
            file_obj: Written in order; stays open.
            progress_callback: Called with the number of bytes written so far, after each write.
            buffer_size: Bytes per write; None for 5 MiB.
        """
        with self.open(path, FileMode.read) as reader:
            written = 0
            for piece in reader.iter_chunks(buffer_size or PIECE_BYTES):
                write_all(file_obj, piece, _name_of(file_obj))
                written += len(piece)
                if progress_callback is not None:
                    progress_callback(written)

    def copy(self, current_file: str, new_file: str) -> None:
        """Copy a file within the storage; the data is not downloaded."""
        self._found(current_file, lambda: self.connection.copy(self.bucket, current_file, self.bucket, new_file))

    def link_to(
        self,
        path: str,
        operation: ShareLinkOperation | str,
        expire: datetime.datetime,
        output_path: str | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
    ) -> str:
        """Return a URL that allows anyone one operation on a file, until it expires. Keep it secret.

        Args:
            path: The name in the storage.
            operation: One ShareLinkOperation, or its first letter.
            expire: The time of expiry, at most in seven days: a datetime (UTC if it has no time zone) or an arrow.Arrow.
            output_path: For a download: the file name that a browser saves it under.
            content_type: For a download the Content-Type of the response. An upload must send it as its Content-Type; None for
                'application/octet-stream'.
            content_encoding: The same for the Content-Encoding; an upload must send it only if it is given here.

        Raises:
            ValueError: More than one operation, or a time in the past.
            NotImplementedError: No operation.
        """
        wanted = ShareLinkOperation.as_operation(operation)
        method = METHODS.get(wanted)
        if method is None:
            # The classes are those that keg_storage raises.
            kind = ValueError if wanted else NotImplementedError
            raise kind(f'operation must be one ShareLinkOperation, not {operation!r}')
        extra: dict[str, str | None] = {}
        if wanted == ShareLinkOperation.download:
            disposition = output_path and f'attachment;filename={output_path}'
            extra = {'ResponseContentDisposition': disposition, 'ResponseContentType': content_type}
            extra['ResponseContentEncoding'] = content_encoding
        elif wanted == ShareLinkOperation.upload:
            extra = {'ContentType': content_type or 'application/octet-stream', 'ContentEncoding': content_encoding}
        given = {name: value for name, value in extra.items() if value}
        return self.connection.presign(method, self.bucket, path, expires_s=_seconds_to(expire), extra=given or None)

    def _found(self, path: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except NotFound as error:
            raise FileNotFoundInStorageError(self, path) from error
        except LocalError as error:
            if error.errno != errno.ENOENT:
                raise
            raise LocalFileNotFound(str(error), errno=error.errno, filename=error.filename) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return (_storage, (self.bucket, self.name, self.connection))


def _storage(bucket: str, name: str, connection: Connection) -> S3Storage:
    return S3Storage(bucket, name=name, connection=connection)


def _seconds_to(expire: datetime.datetime) -> int:
    # An arrow.Arrow is not a datetime, but has one.
    moment: datetime.datetime = getattr(expire, 'datetime', expire)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    left_s = int((moment - datetime.datetime.now(datetime.UTC)).total_seconds())
    if left_s < 1:
        raise ValueError(f'expire: {moment.isoformat()} is in the past; a link must be valid for at least a second')
    return left_s


def _name_of(file: IO[bytes]) -> str:
    return f'the file object {getattr(file, "name", None) or type(file).__name__}'


def _pieces(file: IO[bytes], size: int, progress_callback: ProgressCallback | None) -> Iterator[bytes]:
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
