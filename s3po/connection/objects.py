"""Connection's methods for one object, and their documentation. Their options stand in s3po/jobs/options.py."""

from __future__ import annotations

import logging
import os
from typing import Any, Unpack

from s3po.errors import AccessDenied, ConfigurationError, NotFound, S3poError
from s3po.jobs import (
    NAMES,
    Call,
    CopyOptions,
    DeleteOptions,
    DownloadFileOptions,
    DownloadOptions,
    HeadOptions,
    UploadOptions,
    shows,
    unknown_option,
)
from s3po.model import ObjectInfo, ObjectRef, Outcome, TransferResult

__all__ = ['ObjectCalls']

log = logging.getLogger(__name__)


class ObjectCalls:
    """Connection's calls on one object.

    Attributes:
        silent: What `silent=None` means.
    """

    silent: bool

    def perform(self, call: Call) -> Outcome:
        """Carry out a call. Raises what it raises when it is not silent."""
        raise NotImplementedError

    @shows(UploadOptions)
    def upload(self, bucket: str, key: str, source: Any, **options: Unpack[UploadOptions]) -> TransferResult:
        """Upload an object; blocks until the store has confirmed it.

        Args:
            bucket: The bucket.
            key: The key, 1 to 1,024 bytes of UTF-8.
            source: Bytes-like data; a str (data too, sent as UTF-8); a pathlib.Path; a binary or text file object, from
                its present position; or an iterable of bytes of any length. Above `multipart_threshold` it goes in parts.
            headers: HTTP headers of the object (Cache-Control, x-amz-acl, …).
            metadata: The object's own metadata.
            content_type: None guesses it from the path or key.
            extra: Further parameters by boto3's names.
            compress: 'gzip', 'zlib' or 'zstd': compress the data as they are read, and say so in Content-Encoding and in the
                metadata `s3po-compress`. The source stays as it is.
            if_none_match: '*' writes only where there is no object yet.
            if_match: An ETag: writes only over that.
            retries: In place of the connection's.
            delete: Delete the file behind a path once the store has confirmed it; None for the connection's default.
            silent: Return False in place of raising when the transfer fails; None for the connection's default.
            timeout_s: How long all of it may take; None for ever.

        Returns:
            What was stored. (False, when silent and failed.)

        Raises:
            ConfigurationError: An argument is wrong.
            UploadError: The retries ran out.
            NoSuchBucket, AccessDenied, PreconditionFailed, InvalidRequest: The store refused.
            SourceChanged: The source changed while it was sent.
            LocalError: The source cannot be read.
            DeadlineExceeded: timeout_s ran out.
        """
        result: TransferResult = self._call('upload', bucket, key, {'source': source, **options})
        return result

    @shows(UploadOptions)
    def upload_file(
        self, bucket: str, key: str, path: str | os.PathLike[str], **options: Unpack[UploadOptions]
    ) -> TransferResult:
        """Upload the file at a path; as upload(), but a str is a path too."""
        result: TransferResult = self._call('upload_file', bucket, key, {'path': path, **options})
        return result

    @shows(DownloadOptions)
    def download(self, bucket: str, key: str, target: Any = None, **options: Unpack[DownloadOptions]) -> Any:
        """Download an object; blocks until it is complete.

        Args:
            bucket: The bucket.
            key: The key.
            target: None gives the bytes; a path is absent, old or complete, whatever happens; a file object, binary or
                text, is written from its present position, never closed, and truncated back after a failure if it can seek.
            encoding: Without a target: give a str, decoded so.
            decompress: 'auto' decompresses what `compress` has compressed; True also whatever has a Content-Encoding of gzip,
                deflate or zstd, and refuses others; False gives what is stored. A byte_range is always of what is stored.
            max_decompressed_size: How many bytes a decompressed object may have; None for 1,000 times its stored size and
                64 MiB.
            version_id: One version.
            byte_range: (start, stop), half-open; stop None means to the end.
            if_match: An ETag: only if the object still has it.
            extra: Further parameters by boto3's names.
            retries: In place of the connection's.
            silent: Return None in place of raising when the transfer fails; None for the connection's default.
            timeout_s: How long all of it may take; None for ever.

        Returns:
            bytes, or str with an encoding; with a target a TransferResult. (None, when silent and failed.)

        Raises:
            ConfigurationError: An argument is wrong.
            NotFound, NoSuchBucket, AccessDenied, PreconditionFailed, InvalidRequest: The store refused.
            DownloadError: The retries ran out, or what is stored cannot be decompressed.
            SourceChanged: The object was replaced again and again while it was read.
            LocalError: The target cannot be written.
            DeadlineExceeded: timeout_s ran out.
        """
        return self._call('download', bucket, key, {'target': target, **options})

    @shows(DownloadFileOptions)
    def download_file(
        self, bucket: str, key: str, path: str | os.PathLike[str], **options: Unpack[DownloadFileOptions]
    ) -> TransferResult:
        """Download an object to a path; as download() with that target."""
        result: TransferResult = self._call('download_file', bucket, key, {'path': path, **options})
        return result

    @shows(HeadOptions)
    def head(self, bucket: str, key: str, **options: Unpack[HeadOptions]) -> ObjectInfo:
        """What the store says of an object: size, ETag, metadata, headers.

        Raises:
            NotFound: There is none. (An answer to a HEAD does not tell whether it is the bucket that is missing.)
        """
        info: ObjectInfo = self._call('head', bucket, key, options)
        return info

    @shows(HeadOptions)
    def exists(self, bucket: str, key: str, **options: Unpack[HeadOptions]) -> bool:
        """Whether there is such an object.

        Raises:
            AccessDenied: The credentials do not permit it to be known: S3 answers 403 for a missing key too, unless they may
                list the bucket.
        """
        try:
            self.head(bucket, key, **options)
        except NotFound:
            return False
        except AccessDenied as error:
            error.args = (f'{error.args[0]}; without the permission s3:ListBucket, S3 answers so for a missing key too',)
            raise
        return True

    @shows(DeleteOptions)
    def delete(self, bucket: str, key: str, **options: Unpack[DeleteOptions]) -> None:
        """Delete an object. As on S3, a key that is not there is deleted as well as one that is.

        Args:
            bucket: The bucket.
            key: The key.
            missing_ok: False asks first, by a HEAD, and raises NotFound for a missing key. (Somebody else may come between.)
            version_id: One version; None leaves a delete marker where the bucket has versions.
            extra: Further parameters by boto3's names.
            retries: In place of the connection's.
            timeout_s: How long all of it may take; None for ever.
        """
        self._call('delete', bucket, key, options)

    @shows(CopyOptions)
    def copy(self, bucket: str, key: str, to_bucket: str, to_key: str, **options: Unpack[CopyOptions]) -> TransferResult:
        """Copy an object within the store; its data do not come here. Above 5 GiB it is copied in parts.

        Args:
            bucket: The source's bucket.
            key: The source's key.
            to_bucket: The copy's bucket.
            to_key: The copy's key.
            headers: The copy's headers. Any of these three replaces all headers and metadata of the source.
            metadata: The copy's metadata.
            content_type: The copy's content type.
            version_id: One version of the source.
            if_match: An ETag: only if the source still has it.
            extra: Further parameters by boto3's names.
            retries: In place of the connection's.
            timeout_s: How long all of it may take; None for ever.

        Raises:
            NotFound: There is no such source.
            PreconditionFailed: The source is another one by now.
            UploadError: The retries ran out.
        """
        result: TransferResult = self._call('copy', bucket, key, {'to_bucket': to_bucket, 'to_key': to_key, **options})
        return result

    @shows(CopyOptions)
    def move(self, bucket: str, key: str, to_bucket: str, to_key: str, **options: Unpack[CopyOptions]) -> TransferResult:
        """Copy an object, then delete the source, if it is still what was copied. Arguments and errors are copy()'s.

        Raises:
            SourceChanged: The source was replaced meanwhile: it is copied, and was not deleted.
        """
        result: TransferResult = self._call('move', bucket, key, {'to_bucket': to_bucket, 'to_key': to_key, **options})
        return result

    def _call(self, operation: str, bucket: str, key: str, options: Any) -> Any:
        """Carry out one call. options: One of the dicts of s3po.jobs, made for this call."""
        names = NAMES[operation]
        if not options.keys() <= names:
            raise unknown_option(operation, options)
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
