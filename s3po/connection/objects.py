"""Connection's methods for one object, and their documentation. Their options are defined in s3po/jobs/options.py."""

from __future__ import annotations

import logging
import os
from typing import Any, Literal, Unpack, overload

from s3po.connection.operations import Operations
from s3po.connection.tracebacks import shortened
from s3po.errors import ConfigurationError, S3poError
from s3po.jobs import Call
from s3po.jobs.options import (
    NAMES,
    CopyOptions,
    DeleteOptions,
    DownloadFileOptions,
    DownloadOptions,
    HeadOptions,
    Key,
    LoudBinary,
    LoudDownload,
    LoudText,
    LoudUpload,
    QuietBinary,
    QuietDownload,
    QuietText,
    QuietUpload,
    StrPath,
    Target,
    UploadOptions,
    shows,
    unknown_option,
)
from s3po.model import ListEntry, ObjectInfo, ObjectRef, Outcome, TransferResult, key_of
from s3po.progress import shown

__all__ = ['ObjectCalls']

log = logging.getLogger(__name__)


class ObjectCalls:
    """Connection's calls on one object.

    Attributes:
        silent: The meaning of `silent=None`.
    """

    silent: bool
    _operations: Operations

    @overload
    def upload(self, bucket: str, key: Key, source: Any, **options: Unpack[LoudUpload]) -> TransferResult: ...
    @overload
    def upload(self, bucket: str, key: Key, source: Any, **options: Unpack[QuietUpload]) -> TransferResult | Literal[False]: ...
    @shows(UploadOptions)
    def upload(
        self, bucket: str, key: str | ListEntry, source: Any, **options: Unpack[UploadOptions]
    ) -> TransferResult | Literal[False]:
        """Upload an object; blocks until the store has confirmed it.

        Args:
            bucket: The bucket.
            key: The key, 1 to 1,024 bytes of UTF-8; or an entry of a listing, for its key.
            source: Bytes-like data; a str (data too, sent as UTF-8); a pathlib.Path; a binary or text file object, from
                its current position; or an iterable of bytes of any length. Above `multipart_threshold` it is sent in parts.
            headers: HTTP headers of the object (Cache-Control, x-amz-acl, …).
            metadata: The user-defined metadata of the object.
            content_type: None: guessed from the path or key.
            extra: Further parameters by boto3's names.
            compress: 'gzip', 'zlib' or 'zstd': compress the data while they are read. The Content-Encoding and the metadata
                `s3po-compress` name the compression. The source is not changed.
            if_none_match: '*': write only if the object does not exist.
            if_match: An ETag: replace only the object that has it.
            retries: Retries per request; None for the connection's.
            delete: Delete the file at a path after the store has confirmed the upload; None for the connection's default.
            silent: Return False instead of raising if the transfer fails; None for the connection's default.
            timeout_s: The time limit for all of it; None for no limit.
            progress: A function that is called with a ProgressEvent, at most ten times a second and once at the end; True for a
                bar or lines on standard error.

        Returns:
            Size, ETag, version and checksum of the stored object. (False, if silent and failed.)

        Raises:
            ConfigurationError: An argument is wrong.
            UploadError: The retries ran out.
            NoSuchBucket, AccessDenied, PreconditionFailed, InvalidRequest: The store refused.
            SourceChanged: The source changed while it was sent.
            LocalError: The source cannot be read.
            DeadlineExceeded: timeout_s ran out.
        """
        result: TransferResult | Literal[False] = self._call('upload', bucket, key, {'source': source, **options})
        return result

    @overload
    def upload_file(self, bucket: str, key: Key, path: StrPath, **options: Unpack[LoudUpload]) -> TransferResult: ...
    @overload
    def upload_file(
        self, bucket: str, key: Key, path: StrPath, **options: Unpack[QuietUpload]
    ) -> TransferResult | Literal[False]: ...
    @shows(UploadOptions)
    def upload_file(
        self, bucket: str, key: str | ListEntry, path: str | os.PathLike[str], **options: Unpack[UploadOptions]
    ) -> TransferResult | Literal[False]:
        """Upload the file at a path. Like upload(), but a str is a path too."""
        result: TransferResult | Literal[False] = self._call('upload_file', bucket, key, {'path': path, **options})
        return result

    @overload
    def download(self, bucket: str, key: Key, target: None = None, **options: Unpack[LoudBinary]) -> bytes: ...
    @overload
    def download(self, bucket: str, key: Key, target: None = None, **options: Unpack[LoudText]) -> str: ...
    @overload
    def download(self, bucket: str, key: Key, target: Target, **options: Unpack[LoudBinary]) -> TransferResult: ...
    @overload
    def download(self, bucket: str, key: Key, target: None = None, **options: Unpack[QuietBinary]) -> bytes | None: ...
    @overload
    def download(self, bucket: str, key: Key, target: None = None, **options: Unpack[QuietText]) -> str | None: ...
    @overload
    def download(self, bucket: str, key: Key, target: Target, **options: Unpack[QuietBinary]) -> TransferResult | None: ...
    @shows(DownloadOptions)
    def download(self, bucket: str, key: str | ListEntry, target: Any = None, **options: Unpack[DownloadOptions]) -> Any:
        """Download an object; blocks until it is complete.

        Args:
            bucket: The bucket.
            key: The key.
            target: None: return the bytes. A path: the file there is absent, old or complete, whatever happens. A file object,
                binary or text: written from its current position, never closed, and truncated after a failure if it can seek.
            encoding: Without a target: return a str, decoded with it.
            decompress: 'auto' decompresses objects that `compress` has compressed; True also those with a Content-Encoding of
                gzip, deflate or zstd, and refuses other encodings; 'known' returns these as stored; False returns the stored
                bytes. A byte_range always counts stored bytes.
            max_decompressed_size: The limit for a decompressed object in bytes; None for 1,000 times its stored size and
                64 MiB.
            version_id: A version; None for the current one.
            byte_range: (start, stop), half-open; stop None means to the end.
            if_match: An ETag: download only the object that has it.
            extra: Further parameters by boto3's names.
            retries: Retries per request; None for the connection's.
            silent: Return None instead of raising if the transfer fails; None for the connection's default.
            timeout_s: The time limit for all of it; None for no limit.
            progress: A function that is called with a ProgressEvent, at most ten times a second and once at the end; True for a
                bar or lines on standard error.

        Returns:
            bytes, or with an encoding a str; with a target a TransferResult. (None, if silent and failed.)

        Raises:
            ConfigurationError: An argument is wrong.
            NotFound, NoSuchBucket, AccessDenied, PreconditionFailed, InvalidRequest: The store refused.
            DownloadError: The retries ran out, or the object cannot be decompressed.
            SourceChanged: The object was replaced repeatedly while it was read.
            LocalError: The target cannot be written.
            DeadlineExceeded: timeout_s ran out.
        """
        return self._call('download', bucket, key, {'target': target, **options})

    @overload
    def download_file(self, bucket: str, key: Key, path: StrPath, **options: Unpack[LoudDownload]) -> TransferResult: ...
    @overload
    def download_file(
        self, bucket: str, key: Key, path: StrPath, **options: Unpack[QuietDownload]
    ) -> TransferResult | None: ...
    @shows(DownloadFileOptions)
    def download_file(
        self, bucket: str, key: str | ListEntry, path: str | os.PathLike[str], **options: Unpack[DownloadFileOptions]
    ) -> TransferResult | None:
        """Download an object to a path. Like download() with that target."""
        result: TransferResult | None = self._call('download_file', bucket, key, {'path': path, **options})
        return result

    @shows(HeadOptions)
    def head(self, bucket: str, key: str | ListEntry, **options: Unpack[HeadOptions]) -> ObjectInfo:
        """The size, ETag, metadata and headers of an object.

        Raises:
            NotFound: The object does not exist. (Or the bucket: the response to a HEAD is the same.)
        """
        info: ObjectInfo = self._call('head', bucket, key, options)
        return info

    @shows(HeadOptions)
    def exists(self, bucket: str, key: str | ListEntry, **options: Unpack[HeadOptions]) -> bool:
        """Whether there is such an object.

        Raises:
            AccessDenied: The credentials do not permit an answer. S3 sends 403 also for a missing key, unless they permit
                listing the bucket.
        """
        is_there: bool = self._call('exists', bucket, key, options)
        return is_there

    @shows(DeleteOptions)
    def delete(self, bucket: str, key: str | ListEntry, **options: Unpack[DeleteOptions]) -> None:
        """Delete an object. As on S3, deleting a missing key succeeds.

        Args:
            bucket: The bucket.
            key: The key.
            missing_ok: False sends a HEAD first, and raises NotFound for a missing key. (Not atomic: another client may delete
                the object between the two.)
            version_id: A version; None leaves a delete marker in a bucket with versions.
            extra: Further parameters by boto3's names.
            retries: Retries per request; None for the connection's.
            timeout_s: The time limit for all of it; None for no limit.
        """
        self._call('delete', bucket, key, options)

    @shows(CopyOptions)
    def copy(
        self, bucket: str, key: str | ListEntry, to_bucket: str, to_key: str | ListEntry, **options: Unpack[CopyOptions]
    ) -> TransferResult:
        """Copy an object within the store, which moves no data; above 5 GiB it is copied in parts. Or copy it to another store.

        To another store, the data pass through this process part by part, with a checksum for each part. They are compared
        with the source's checksum, or with its ETag if that is an MD5. If the source is replaced meanwhile, the copy begins
        again.

        Args:
            bucket: The source's bucket.
            key: The source's key.
            to_bucket: The copy's bucket.
            to_key: The copy's key.
            to: The connection of the other store; its configuration applies to the upload. None: the copy is in the same store.
            headers: The copy's headers. If headers, metadata or content_type is given, nothing of these is copied.
            metadata: The copy's metadata.
            content_type: The copy's content type.
            version_id: A version of the source; None for the current one.
            if_match: An ETag: copy only the source that has it.
            if_none_match: '*', only with `to`: copy only if the other store has no object at to_key.
            extra: Further parameters by boto3's names. With `to`, they are for the upload, and ExpectedSourceBucketOwner,
                CopySourceSSECustomerKey and its siblings for the source.
            retries: Retries per request; None for the connection's.
            timeout_s: The time limit for all of it; None for no limit.
            progress: A function that is called with a ProgressEvent, at most ten times a second and once at the end; True for a
                bar or lines on standard error. Bytes that the store copies itself are counted at the end.

        Returns:
            The result. Its `warnings` name what was not copied: tags that a store does not have, or that the credentials do not
            permit.

        Raises:
            NotFound: The source does not exist.
            PreconditionFailed: The source has another ETag, or the other store has such an object.
            UploadError, DownloadError: The retries ran out. (DownloadError only with `to`.)
            SourceChanged: The source was replaced during each of three attempts; only with `to`.
            IntegrityError: The copied bytes differed from the source's in each attempt.
        """
        result: TransferResult = self._call('copy', bucket, key, {'to_bucket': to_bucket, 'to_key': key_of(to_key), **options})
        return result

    @shows(CopyOptions)
    def move(
        self, bucket: str, key: str | ListEntry, to_bucket: str, to_key: str | ListEntry, **options: Unpack[CopyOptions]
    ) -> TransferResult:
        """Copy an object, compare the copy by a HEAD, then delete the source if it has not changed.

        Arguments and errors are those of copy().

        Raises:
            SourceChanged: The source was replaced during the copy. It was not deleted.
            CopyIncomplete: The copy exists, but lacks tags of the source, which was not deleted.
        """
        result: TransferResult = self._call('move', bucket, key, {'to_bucket': to_bucket, 'to_key': key_of(to_key), **options})
        return result

    def perform(self, call: Call) -> Outcome:
        """Carry out a call, for a batch too. Returns its value and figures. Raises its errors; `silent` has no effect here."""
        operations = self._operations
        try:
            if 'progress' in call.options:
                return shown(call, self.perform, operations.width)
            if call.options.get('timeout_s') is None:
                return operations.by_name[call.operation](call.ref, call.options)
            return operations.perform_within(call)
        except S3poError as error:
            raise shortened(error) from error.__cause__

    def _call(self, operation: str, bucket: str, key: str | ListEntry, options: Any) -> Any:
        """Carry out one call. options: One of the dicts of s3po.jobs, created for this call."""
        names = NAMES[operation]
        if not options.keys() <= names:
            raise unknown_option(operation, options, names)
        silent = options.pop('silent', None) if 'silent' in names else False
        ref = ObjectRef(bucket=bucket, key=key, version_id=options.pop('version_id', None))
        call = Call(operation, ref, options)
        if not (self.silent if silent is None else silent):
            return self.perform(call).value
        try:
            return self.perform(call).value
        except ConfigurationError:
            # A mistake in the call is not a failed transfer.
            raise
        except S3poError as error:
            log.info('%s failed, silently: %s', call, error)
            return call.silent_value
