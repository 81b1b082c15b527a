"""What the calls of a connection do: from checked arguments to requests and back."""

from __future__ import annotations

import codecs
import functools
import mimetypes
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import gevent

from s3po.body import Source, open_sink, open_source
from s3po.body.originals import delete_original
from s3po.body.sources import FileSource
from s3po.config import TransferConfig
from s3po.connection.wiring import Wiring
from s3po.errors import (
    ConfigurationError,
    DeadlineExceeded,
    DownloadError,
    PreconditionFailed,
    SourceChanged,
    TransferError,
    UploadError,
)
from s3po.model import ObjectInfo, ObjectRef, Outcome, TransferResult, check_name
from s3po.retry import RetryPolicy, check_retries
from s3po.transfer import Attempts, DownloadRequest, copy_object, download, upload
from s3po.transport import Extra
from s3po.transport.parameters import check_extra, check_headers, known_extra, metadata_headers

__all__ = ['Operations']

T = TypeVar('T')

# S3's requests that one call may make: their parameters may stand in `extra`.
UPLOADS: Final = ('PutObject', 'CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload')
COPIES: Final = ('CopyObject', 'CreateMultipartUpload', 'UploadPartCopy', 'CompleteMultipartUpload')
# The parameters of a copy that concern the reading of its source, by what a HEAD of it calls them.
OF_THE_SOURCE: Final = {
    'ExpectedSourceBucketOwner': 'ExpectedBucketOwner',
    'CopySourceSSECustomerAlgorithm': 'SSECustomerAlgorithm',
    'CopySourceSSECustomerKey': 'SSECustomerKey',
    'CopySourceSSECustomerKeyMD5': 'SSECustomerKeyMD5',
    'RequestPayer': 'RequestPayer',
}
# mimetypes tells 'backup.tar.gz' as a tar archive that is encoded; sent as it is stored, it is a gzip file.
ENCODED_TYPES: Final = {
    'gzip': 'application/gzip',
    'bzip2': 'application/x-bzip2',
    'xz': 'application/x-xz',
    'compress': 'application/x-compress',
    'br': 'application/x-brotli',
}


class Operations:
    """The calls on one object, with the connection's defaults."""

    def __init__(
        self, wiring: Wiring, config: TransferConfig, policy: RetryPolicy, *, delete: bool, default_extra: Extra
    ) -> None:
        self._wiring = wiring
        self._config = config
        self._policy = policy
        self._delete = delete
        if default_extra:
            check_extra(default_extra, None, 'default_extra')
        self._default_extra = dict(default_extra)
        self._by_name: dict[str, Callable[..., Outcome]] = {
            'upload': self._upload,
            'upload_file': self._upload_file,
            'download': self._download,
            'download_file': self._download_file,
            'head': self._head,
            'delete': self._delete_object,
            'copy': self._copy,
            'move': self._move,
        }

    def perform(self, operation: str, ref: ObjectRef, options: Mapping[str, Any]) -> Outcome:
        """Carry out one call, within its `timeout_s`."""
        given = dict(options)
        timeout_s = given.pop('timeout_s', None)
        function = self._by_name[operation]
        if timeout_s is None:
            return function(ref, **given)
        return within(timeout_s, functools.partial(function, ref, **given), f'{operation} {ref}')

    def attempts(self, bucket: str, key: str, retries: int | None, failure: type[TransferError] = TransferError) -> Attempts:
        """The attempts for one object, or (with key '') for a bucket."""
        if retries is not None:
            check_retries(retries)
        wiring = self._wiring
        return Attempts(
            wiring.transport(bucket),
            wiring.governor(),
            self._policy,
            bucket=bucket,
            key=key,
            retries=retries,
            failure=failure,
        )

    def extra(self, given: Extra | None, *operations: str) -> dict[str, Any]:
        """The caller's parameters on top of the connection's."""
        if given is None:
            return self._default_extra
        check_extra(given, operations)
        return {**self._default_extra, **given}

    def known_extra(self, operation: str, extra: Extra) -> dict[str, Any]:
        """Those of the parameters that one request knows."""
        return known_extra(operation, extra) if extra else {}

    def _upload_file(self, ref: ObjectRef, *, path: Any, **options: Any) -> Outcome:
        return self._upload(ref, source=pathlib.Path(path_of(path)), **options)

    def _upload(
        self,
        ref: ObjectRef,
        *,
        source: Any,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        extra: Extra | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        retries: int | None = None,
        delete: bool | None = None,
    ) -> Outcome:
        extra = self.extra(extra, *UPLOADS)
        sent = object_headers(headers, metadata, content_type)
        add_conditions(sent, if_none_match=if_none_match, if_match=if_match)
        opened = open_source(source)
        try:
            is_to_delete = self._is_to_delete(opened, delete=delete)
            if 'ContentType' not in extra:
                add_content_type(sent, opened.path or ref.key)
            attempts = self.attempts(ref.bucket, ref.key, retries, UploadError)
            result = upload(attempts, opened, self._config, sent, extra)
            if is_to_delete:
                assert isinstance(opened, FileSource)
                delete_original(opened)
        finally:
            opened.close()
        return _outcome(result)

    def _is_to_delete(self, opened: Source, *, delete: bool | None) -> bool:
        is_file = isinstance(opened, FileSource) and opened.path is not None
        if delete and not is_file:
            raise ConfigurationError('delete=True is for paths: what was given as source is no file that could be deleted')
        return is_file and (self._delete if delete is None else delete)

    def _download_file(self, ref: ObjectRef, *, path: Any, **options: Any) -> Outcome:
        return self._download(ref, target=path_of(path), encoding=None, **options)

    def _download(
        self,
        ref: ObjectRef,
        *,
        target: Any = None,
        encoding: str | None = None,
        byte_range: tuple[int, int | None] | None = None,
        if_match: str | None = None,
        extra: Extra | None = None,
        retries: int | None = None,
    ) -> Outcome:
        check_encoding(encoding, target)
        check_byte_range(byte_range)
        request = DownloadRequest(
            byte_range=byte_range, if_match=if_match, version_id=ref.version_id, extra=self.extra(extra, 'GetObject')
        )
        sink = open_sink(target, use_tmp_file=self._config.use_tmp_file, fsync=self._config.fsync)
        result = download(self.attempts(ref.bucket, ref.key, retries, DownloadError), sink, self._config, request)
        if target is not None:
            return _outcome(result)
        data = sink.value
        assert data is not None
        value = data if encoding is None else decode(data, encoding, ref)
        return Outcome(value=value, size_bytes=result.size_bytes, retries=result.attempts - result.parts)

    def _head(self, ref: ObjectRef, *, extra: Extra | None = None, retries: int | None = None) -> Outcome:
        attempts = self.attempts(ref.bucket, ref.key, retries)
        info = head(attempts, ref, self.extra(extra, 'HeadObject'))
        return Outcome(value=info, retries=attempts.retried)

    def _delete_object(
        self, ref: ObjectRef, *, missing_ok: bool = True, extra: Extra | None = None, retries: int | None = None
    ) -> Outcome:
        extra = self.extra(extra, 'DeleteObject', 'HeadObject')
        attempts = self.attempts(ref.bucket, ref.key, retries)
        if not missing_ok:
            head(attempts, ref, extra)
        remove(attempts, ref, extra)
        return Outcome(value=None, retries=attempts.retried)

    def _copy(
        self,
        ref: ObjectRef,
        *,
        to_bucket: str,
        to_key: str,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        if_match: str | None = None,
        extra: Extra | None = None,
        retries: int | None = None,
    ) -> Outcome:
        check_name(to_bucket, to_key, prefix='to_')
        extra = self.extra(extra, *COPIES)
        sent = object_headers(headers, metadata, content_type)
        info, tagging = self._look_at_source(ref, if_match, extra, retries)
        attempts = self.attempts(to_bucket, to_key, retries, UploadError)
        result = copy_object(attempts, ref, info, self._config, headers=sent, tagging=tagging, extra=extra)
        return _outcome(result)

    def _look_at_source(
        self, ref: ObjectRef, if_match: str | None, extra: Extra, retries: int | None
    ) -> tuple[ObjectInfo, str]:
        """What is to be copied; its tags only where they have to be copied by hand."""
        reading = {theirs: extra[ours] for ours, theirs in OF_THE_SOURCE.items() if ours in extra}
        attempts = self.attempts(ref.bucket, ref.key, retries)
        info = head(attempts, ref, reading, if_match)
        tagging = ''
        if info.size_bytes > self._config.multipart_copy_threshold and info.headers.get('x-amz-tagging-count', '0') != '0':
            look = functools.partial(
                attempts.transport.get_object_tagging, ref.bucket, ref.key, version_id=ref.version_id, extra=reading
            )
            tagging = attempts.run('GetObjectTagging', look)
        return info, tagging

    def _move(self, ref: ObjectRef, *, to_bucket: str, to_key: str, if_match: str | None = None, **options: Any) -> Outcome:
        if (ref.bucket, ref.key) == (to_bucket, to_key):
            raise ConfigurationError(f'to_key: {ref} would be moved onto itself, and then deleted')
        extra, retries = options.get('extra'), options.get('retries')
        given = {**self._default_extra, **(extra or {})}
        reading = {theirs: given[ours] for ours, theirs in OF_THE_SOURCE.items() if ours in given}
        attempts = self.attempts(ref.bucket, ref.key, retries)
        before = head(attempts, ref, reading, if_match)
        copied = self._copy(ref, to_bucket=to_bucket, to_key=to_key, if_match=before.etag, **options)
        try:
            # What was written to the source meanwhile is not in the copy, and must not go with it.
            head(attempts, ref, reading, before.etag)
        except PreconditionFailed as error:
            raise SourceChanged(
                f'{ref} was copied to s3://{to_bucket}/{to_key}, but not deleted: it was replaced meanwhile. Move it again'
            ) from error
        remove(attempts, ref, reading)
        return Outcome(value=copied.value, size_bytes=copied.size_bytes, retries=copied.retries + attempts.retried)


def _outcome(result: TransferResult) -> Outcome:
    return Outcome(value=result, size_bytes=result.size_bytes, retries=result.attempts - result.parts)


def within(timeout_s: float, function: Callable[[], T], doing: str) -> T:
    """Call a function, and end it when its time is up.

    Raises:
        DeadlineExceeded: Its time was up. It has cleaned up behind itself.
    """
    # Not `<= 0`: nothing compares with NaN.
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not timeout_s > 0:
        raise ConfigurationError(f'timeout_s must be a number of seconds above 0, or None, not {timeout_s!r}')
    timeout = gevent.Timeout.start_new(timeout_s)
    try:
        return function()
    except gevent.Timeout as fired:
        if fired is not timeout:
            raise
        raise DeadlineExceeded(f'{doing}: not done within its timeout_s of {timeout_s} s') from None
    finally:
        timeout.close()


def head(attempts: Attempts, ref: ObjectRef, extra: Extra, if_match: str | None = None) -> ObjectInfo:
    """One HEAD, retried."""
    look = functools.partial(
        attempts.transport.head_object, ref.bucket, ref.key, if_match=if_match, version_id=ref.version_id, extra=extra
    )
    return attempts.run('HeadObject', look)


def remove(attempts: Attempts, ref: ObjectRef, extra: Extra) -> None:
    """One DELETE, retried: deleting twice is deleting once."""
    delete = functools.partial(attempts.transport.delete_object, ref.bucket, ref.key, version_id=ref.version_id, extra=extra)
    attempts.run('DeleteObject', delete)


def object_headers(
    headers: Mapping[str, str] | None, metadata: Mapping[str, str] | None, content_type: str | None
) -> dict[str, str]:
    """The headers of a new object, checked: those given, the metadata, and the content type."""
    sent: dict[str, str] = {}
    if headers:
        check_headers(headers)
        sent.update(headers)
    if metadata:
        sent.update(metadata_headers(metadata))
    if content_type is not None:
        check_headers({'Content-Type': content_type})
        for name in [name for name in sent if name.lower() == 'content-type']:
            del sent[name]
        sent['Content-Type'] = content_type
    return sent


def add_conditions(sent: dict[str, str], *, if_none_match: str | None, if_match: str | None) -> None:
    """Add If-None-Match and If-Match: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"""
    if if_none_match is None and if_match is None:
        return
    if if_none_match is not None and if_match is not None:
        raise ConfigurationError('if_none_match and if_match exclude each other; give one of them')
    for name, argument, value in (
        ('If-None-Match', 'if_none_match', if_none_match),
        ('If-Match', 'if_match', if_match),
    ):
        if value is None:
            continue
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{argument} must be an ETag, or '*', not {value!r}")
        quoted = value if value == '*' or value.endswith('"') else f'"{value}"'
        check_headers({name: quoted})
        sent[name] = quoted


def add_content_type(sent: dict[str, str], name: str) -> None:
    """Guess the content type from a file name or key, where none was given; an unknown one is left to the store."""
    if any(header.lower() == 'content-type' for header in sent):
        return
    # Only the last segment: mimetypes takes the whole for a URL, and keys may look like one.
    stem, *suffixes = name.rpartition('/')[2].rsplit('.', 2)
    kind = content_type_of(stem and 'stem', *suffixes) if suffixes else None
    if kind is not None:
        sent['Content-Type'] = kind


@functools.lru_cache(maxsize=1024)
def content_type_of(*name: str) -> str | None:
    """The content type of a file name, given between its dots. Kept: looking it up costs as much as signing a request."""
    kind, encoding = mimetypes.guess_type('.'.join(name), strict=False)
    return kind if encoding is None else ENCODED_TYPES.get(encoding)


def path_of(path: object) -> str:
    """A path from what the caller gave as `path`, as text: a slash at its end is still there."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(f'path must be a str or pathlib.Path, not {type(path).__name__}')
    text = os.fsdecode(path)
    if not text or '\0' in text:
        raise ConfigurationError(f'path {text!r} is no path')
    return text


def check_encoding(encoding: str | None, target: object) -> None:
    """Refuse an encoding that is unknown, or has nothing to decode."""
    if encoding is None:
        return
    if target is not None:
        raise ConfigurationError('encoding is for downloads into memory; a target takes the bytes as they are')
    try:
        codecs.lookup(encoding)
    except (LookupError, TypeError) as error:
        raise ConfigurationError(f'encoding {encoding!r} is unknown') from error


def check_byte_range(byte_range: object) -> None:
    """Refuse what is no half-open range."""
    if byte_range is None:
        return
    if isinstance(byte_range, tuple) and len(byte_range) == 2:
        start, stop = byte_range
        is_start = isinstance(start, int) and not isinstance(start, bool) and start >= 0
        if is_start and (stop is None or (isinstance(stop, int) and not isinstance(stop, bool) and stop > start)):
            return
    raise ConfigurationError(
        f'byte_range must be (start, stop) with 0 <= start < stop, or (start, None) for all that follows, not {byte_range!r}'
    )


def decode(data: bytes, encoding: str, ref: ObjectRef) -> str:
    """The object as text."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f'encoding: {ref} is not {encoding} ({error}); leave it out to get the bytes') from error
