"""Copies one object within a store: one CopyObject, or a multipart upload of ranges of the source."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from typing import Final

from s3po.checksum import has_md5_form
from s3po.config import TransferConfig
from s3po.errors import IntegrityError
from s3po.jobs.notes import Notes
from s3po.model import CompletedPart, ObjectInfo, ObjectRef, TransferResult
from s3po.plan import Plan, plan_copy
from s3po.s3 import Extra, Headers, Stored
from s3po.s3.expected import version_to_read
from s3po.transfer.attempts import Attempts
from s3po.transfer.integrity import is_encrypted
from s3po.transfer.multipart import MultipartUpload, Piece
from s3po.transfer.resuming import Begun, UploadRecord, begun_upload, forget_uploads, source_of
from s3po.transfer.tags import ensure_tags

__all__ = ['carried', 'check_copy', 'copy_object']

# Headers that CopyObject copies from the source itself; a multipart upload must set them.
CARRIED_HEADERS: Final = (
    'content-type',
    'cache-control',
    'content-disposition',
    'content-encoding',
    'content-language',
    'expires',
    'x-amz-website-redirect-location',
)


def copy_object(
    attempts: Attempts,
    source: ObjectRef,
    info: ObjectInfo,
    config: TransferConfig,
    *,
    headers: Headers,
    tagging: str,
    extra: Extra,
    notes: Notes | None = None,
) -> TransferResult:
    """Copy an object within the store; the data is not downloaded. Blocks until the store has confirmed it.

    Args:
        attempts: Makes the requests; has the new object's name.
        source: The object to copy.
        info: The source, from a HEAD; the copy is pinned to its ETag.
        config: The size above which it is copied in parts, and the size of the parts.
        headers: Headers of the new object in place of the source's; none keeps the source's.
        tagging: The source's tags as a query string, for a copy in parts; '' for none.
        extra: The caller's further parameters.
        notes: The journal's notes about the job; as for upload().

    Raises:
        UploadError: The retries were used up. Nothing is published and no multipart upload is left.
        TransportError: The store refused the request; PreconditionFailed if the source was replaced meanwhile.
    """
    began = time.monotonic()
    plan = plan_copy(info.size_bytes, config)
    if notes is not None and not plan.is_multipart:
        forget_uploads(notes, attempts, extra)
    name = (source.bucket, source.key, source.version_id)
    if plan.is_multipart:
        sent = carried(info, headers, tagging)
        stored = _copy_parts(attempts, name, info, plan, config, sent, extra, notes)
        if tagging and sent.get('x-amz-tagging') == tagging and 'Tagging' not in extra:
            ensure_tags(attempts, tagging, version_to_read(stored.version_id), extra)
    else:
        copy = functools.partial(
            attempts.transport.copy_object,
            name,
            attempts.bucket,
            attempts.key,
            if_match=info.etag,
            headers=headers,
            extra=extra,
        )
        stored = attempts.run('CopyObject', copy)
    return TransferResult(
        bucket=attempts.bucket,
        key=attempts.key,
        size_bytes=info.size_bytes,
        etag=stored.etag,
        version_id=stored.version_id,
        checksum=stored.checksum,
        parts=len(plan),
        attempts=len(plan) + attempts.retried,
        seconds=time.monotonic() - began,
        warnings=attempts.warnings,
    )


def check_copy(source: ObjectInfo, copy: ObjectInfo, doing: str) -> None:
    """Compare a copy with its source: some stores ignore x-amz-copy-source-range, or x-amz-copy-source altogether.

    Args:
        source: The source, from a HEAD before the copy.
        copy: The copy, from a HEAD.
        doing: The operation, for the message.

    Raises:
        IntegrityError: The copy has another size or, if both ETags are MD5s, another MD5.
    """
    if source.size_bytes != copy.size_bytes:
        raise IntegrityError(f'{doing}: the copy has {copy.size_bytes:,} bytes, but its source has {source.size_bytes:,}')
    are_md5 = all(has_md5_form(each.etag) and not is_encrypted(each) for each in (source, copy))
    if are_md5 and source.etag != copy.etag:
        raise IntegrityError(f'{doing}: the copy has the ETag {copy.etag}, but its source has {source.etag}')


def _copy_parts(
    attempts: Attempts,
    name: tuple[str, str, str | None],
    info: ObjectInfo,
    plan: Plan,
    config: TransferConfig,
    headers: Mapping[str, str],
    extra: Extra,
    notes: Notes | None,
) -> Stored:
    record: UploadRecord | None = None
    begun: Begun | None = None
    if notes is not None:
        version = f'copy of {name[0]}/{name[1]} {name[2]} {info.etag} {info.size_bytes}'
        record = UploadRecord(notes, source_of(version, attempts, headers, extra), plan.part_bytes)
        # Of the source's bytes nothing is known here.
        found = begun_upload(notes, attempts, extra, record, [part.size_bytes for part in plan], lambda _: False)
        if isinstance(found, Stored):
            return found
        begun = found

    def pieces() -> Iterator[Piece]:
        for part in plan:
            yield part.number, part.size_bytes, functools.partial(send, part.number, (part.offset, part.stop))

    def send(number: int, byte_range: tuple[int, int], upload_id: str) -> CompletedPart:
        return attempts.transport.upload_part_copy(
            name,
            byte_range,
            attempts.bucket,
            attempts.key,
            upload_id=upload_id,
            part_number=number,
            if_match=info.etag,
            extra=extra,
        )

    upload = MultipartUpload(attempts, headers, extra, operation='UploadPartCopy', record=record, begun=begun)
    stored, _ = upload.run(pieces(), width=lambda: config.max_concurrency, before_complete=lambda: None)
    return stored


def carried(info: ObjectInfo, headers: Headers, tagging: str) -> dict[str, str]:
    """The headers of a copy that the store does not make itself: the given ones, or the source's; and its tags.

    Args:
        info: The source.
        headers: Headers of the copy in place of the source's; none keeps the source's.
        tagging: The source's tags as a query string; '' for none.
    """
    found = dict(headers) or _headers_of(info)
    if tagging and not any(name.lower() == 'x-amz-tagging' for name in headers):
        found['x-amz-tagging'] = tagging
    return found


def _headers_of(info: ObjectInfo) -> dict[str, str]:
    """The headers of a source that its copy keeps."""
    found = {name: info.headers[name] for name in CARRIED_HEADERS if name in info.headers}
    # The framing of an earlier upload, which some stores keep in the object.
    codings = [each for each in map(str.strip, found.pop('content-encoding', '').split(',')) if each.lower() != 'aws-chunked']
    if any(codings):
        found['content-encoding'] = ', '.join(codings)
    found.update((f'x-amz-meta-{name}', value) for name, value in info.metadata.items())
    return found
