"""The calls on one object: their signatures, which are also those of a batch's calls, and what they promise."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from s3po.errors import AccessDenied, ConfigurationError, NotFound, S3poError
from s3po.model import ObjectInfo, ObjectRef, Outcome, TransferResult

__all__ = ['ObjectCalls']

log = logging.getLogger(__name__)


class ObjectCalls:
    """Connection's calls on one object.

    Attributes:
        silent: What `silent=None` means.
    """

    silent: bool

    def perform(self, operation: str, ref: ObjectRef, options: Mapping[str, Any]) -> Outcome:
        """Carry out one of them; raises whatever happens."""
        raise NotImplementedError

    def upload(
        self,
        bucket: str,
        key: str,
        source: Any,
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        extra: Mapping[str, Any] | None = None,
        compress: str | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        retries: int | None = None,
        delete: bool | None = None,
        silent: bool | None = None,
        timeout_s: float | None = None,
    ) -> TransferResult:
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
        options = {
            'source': source,
            'headers': headers,
            'metadata': metadata,
            'content_type': content_type,
            'extra': extra,
            'compress': compress,
            'if_none_match': if_none_match,
            'if_match': if_match,
            'retries': retries,
            'delete': delete,
            'timeout_s': timeout_s,
        }
        result: TransferResult = self._call('upload', _ref(bucket, key), options, silent, False)
        return result

    def upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        extra: Mapping[str, Any] | None = None,
        compress: str | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        retries: int | None = None,
        delete: bool | None = None,
        silent: bool | None = None,
        timeout_s: float | None = None,
    ) -> TransferResult:
        """Upload the file at a path; as upload(), but a str is a path too."""
        options = {
            'path': path,
            'headers': headers,
            'metadata': metadata,
            'content_type': content_type,
            'extra': extra,
            'compress': compress,
            'if_none_match': if_none_match,
            'if_match': if_match,
            'retries': retries,
            'delete': delete,
            'timeout_s': timeout_s,
        }
        result: TransferResult = self._call('upload_file', _ref(bucket, key), options, silent, False)
        return result

    def download(
        self,
        bucket: str,
        key: str,
        target: Any = None,
        *,
        encoding: str | None = None,
        decompress: str | bool = 'auto',
        max_decompressed_size: int | None = None,
        version_id: str | None = None,
        byte_range: tuple[int, int | None] | None = None,
        if_match: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        silent: bool | None = None,
        timeout_s: float | None = None,
    ) -> Any:
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
        options = {
            'target': target,
            'encoding': encoding,
            'decompress': decompress,
            'max_decompressed_size': max_decompressed_size,
            'byte_range': byte_range,
            'if_match': if_match,
            'extra': extra,
            'retries': retries,
            'timeout_s': timeout_s,
        }
        return self._call('download', _ref(bucket, key, version_id), options, silent, None)

    def download_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        decompress: str | bool = 'auto',
        max_decompressed_size: int | None = None,
        version_id: str | None = None,
        byte_range: tuple[int, int | None] | None = None,
        if_match: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        silent: bool | None = None,
        timeout_s: float | None = None,
    ) -> TransferResult:
        """Download an object to a path; as download() with that target."""
        options = {
            'path': path,
            'decompress': decompress,
            'max_decompressed_size': max_decompressed_size,
            'byte_range': byte_range,
            'if_match': if_match,
            'extra': extra,
            'retries': retries,
            'timeout_s': timeout_s,
        }
        result: TransferResult = self._call('download_file', _ref(bucket, key, version_id), options, silent, None)
        return result

    def head(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
    ) -> ObjectInfo:
        """What the store says of an object: size, ETag, metadata, headers.

        Raises:
            NotFound: There is none. (An answer to a HEAD does not tell whether it is the bucket that is missing.)
        """
        options = {'extra': extra, 'retries': retries, 'timeout_s': timeout_s}
        info: ObjectInfo = self._call('head', _ref(bucket, key, version_id), options)
        return info

    def exists(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
    ) -> bool:
        """Whether there is such an object.

        Raises:
            AccessDenied: The credentials do not permit it to be known: S3 answers 403 for a missing key too, unless they may
                list the bucket.
        """
        try:
            self.head(bucket, key, version_id=version_id, extra=extra, retries=retries, timeout_s=timeout_s)
        except NotFound:
            return False
        except AccessDenied as error:
            error.args = (f'{error.args[0]}; without the permission s3:ListBucket, S3 answers so for a missing key too',)
            raise
        return True

    def delete(
        self,
        bucket: str,
        key: str,
        *,
        missing_ok: bool = True,
        version_id: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
    ) -> None:
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
        options = {'missing_ok': missing_ok, 'extra': extra, 'retries': retries, 'timeout_s': timeout_s}
        self._call('delete', _ref(bucket, key, version_id), options)

    def copy(
        self,
        bucket: str,
        key: str,
        to_bucket: str,
        to_key: str,
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        version_id: str | None = None,
        if_match: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
    ) -> TransferResult:
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
        options = {
            'to_bucket': to_bucket,
            'to_key': to_key,
            'headers': headers,
            'metadata': metadata,
            'content_type': content_type,
            'if_match': if_match,
            'extra': extra,
            'retries': retries,
            'timeout_s': timeout_s,
        }
        result: TransferResult = self._call('copy', _ref(bucket, key, version_id), options)
        return result

    def move(
        self,
        bucket: str,
        key: str,
        to_bucket: str,
        to_key: str,
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        version_id: str | None = None,
        if_match: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
    ) -> TransferResult:
        """Copy an object, then delete the source, if it is still what was copied. Arguments and errors are copy()'s.

        Raises:
            SourceChanged: The source was replaced meanwhile: it is copied, and was not deleted.
        """
        options = {
            'to_bucket': to_bucket,
            'to_key': to_key,
            'headers': headers,
            'metadata': metadata,
            'content_type': content_type,
            'if_match': if_match,
            'extra': extra,
            'retries': retries,
            'timeout_s': timeout_s,
        }
        result: TransferResult = self._call('move', _ref(bucket, key, version_id), options)
        return result

    def _call(
        self,
        operation: str,
        ref: ObjectRef,
        options: Mapping[str, Any],
        silent: bool | None = False,  # noqa: FBT001, FBT002  (private, and called with names in view)
        silent_value: object = None,
    ) -> Any:
        if not (self.silent if silent is None else silent):
            return self.perform(operation, ref, options).value
        try:
            return self.perform(operation, ref, options).value
        except ConfigurationError:
            # A mistake in the call is not a failed transfer.
            raise
        except S3poError as error:
            log.info('%s %s failed, silently: %s', operation, ref, error)
            return silent_value


def _ref(bucket: str, key: str, version_id: str | None = None) -> ObjectRef:
    return ObjectRef(bucket=bucket, key=key, version_id=version_id)
