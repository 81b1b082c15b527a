"""Copies one object to another store: its bytes are fetched part by part, and uploaded.

Invariants:
- A copy holds a slot of one of the stores at a time: a part is fetched before its upload takes a slot. So copies in opposite
  directions, or within one connection, cannot wait for each other's slots.
- At most `max_concurrency` parts are in memory.
- All parts are of one version of the source: each range carries If-Match, and its response is compared with the first one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from s3po.body import BytesChunk, Chunk, SizedSource
from s3po.checksum import has_md5_form
from s3po.config import TransferConfig
from s3po.errors import AccessDenied, InvalidRequest, NetworkError, PreconditionFailed, SourceChanged, TransportError
from s3po.jobs.notes import Notes
from s3po.model import ObjectInfo, TransferResult
from s3po.plan import Plan, plan_upload
from s3po.s3 import Answer, Extra, Headers
from s3po.s3.expected import is_strong, version_to_read
from s3po.transfer.attempts import Attempts
from s3po.transfer.copying import carried
from s3po.transfer.fetching import RESTARTS, check_size
from s3po.transfer.integrity import Check, Mismatch, check_for, is_encrypted, kind_of
from s3po.transfer.open_responses import READ_BYTES, read_exactly
from s3po.transfer.requesting import ObjectDownload
from s3po.transfer.uploading import upload

__all__ = ['Description', 'copy_between']


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The headers of a copy.

    Attributes:
        headers: Its headers in place of the source's; none keeps the source's.
        conditions: If-None-Match and the like.
        has_tags: Whether the caller passes the tags of the copy, so that the source's are not kept.
    """

    headers: Headers
    conditions: Headers
    has_tags: bool

    def of(self, info: ObjectInfo, tagging: str) -> dict[str, str]:
        """All headers of the copy of a source with these tags."""
        return {**carried(info, self.headers, tagging), **self.conditions}


def copy_between(
    download: ObjectDownload,
    attempts: Attempts,
    config: TransferConfig,
    description: Description,
    extra: Extra,
    notes: Notes | None = None,
) -> tuple[TransferResult, ObjectInfo]:
    """Copy an object to another store. Blocks until that store has confirmed it.

    Args:
        download: The source; its sink is not used.
        attempts: Makes the requests to the other store; has the new object's name.
        config: The settings of the other connection: the size of the parts, and how many are sent in parallel.
        description: The headers and tags of the new object.
        extra: The caller's further parameters for the upload.
        notes: The journal's notes about the job; see upload().

    Returns:
        The result, and the description of the version that was copied.

    Raises:
        DownloadError, UploadError: The retries were used up. Nothing is published and no multipart upload is left.
        SourceChanged: The source was replaced during each attempt; likewise.
        IntegrityError: The bytes differed from the source's in each attempt.
        TransportError: One of the stores refused the request.
    """
    began, replaced, mismatched = time.monotonic(), 0, 0
    while True:
        is_new = notes is None or notes.upload is None
        source = download.attempts.run('GetObject', functools.partial(_open, download, config, is_new=is_new))
        try:
            tagging = _tags(download, source.info, description)
            result = _upload(attempts, source, description, tagging, extra, notes)
            _compare(source, result, attempts, extra)
        except _Replaced as error:
            replaced += 1
            if replaced > RESTARTS:
                raise SourceChanged(f'{source.name} was replaced {replaced} times while it was copied') from error.__cause__
        except _Differs as error:
            mismatched += 1
            # With a condition, the wrong copy would refuse the right one.
            if description.conditions or mismatched > download.attempts.integrity_retries:
                error.mismatch.attempts = mismatched
                raise error.mismatch from None
            download.attempts.retried += 1
        else:
            return _result(result, download.attempts, attempts, time.monotonic() - began), source.info


def _result(result: TransferResult, source: Attempts, target: Attempts, seconds: float) -> TransferResult:
    return dataclasses.replace(
        result,
        attempts=result.parts + source.retried + target.retried,
        seconds=seconds,
        warnings=source.warnings + target.warnings,
    )


def _tags(download: ObjectDownload, info: ObjectInfo, description: Description) -> str:
    """The source's tags as a query string; '' for none."""
    # S3 sends the header if the credentials permit reading the tags.
    if description.has_tags or info.headers.get('x-amz-tagging-count', '0') == '0':
        return ''
    attempts, version_id = download.attempts, download.version_id or version_to_read(info.version_id)
    look = functools.partial(
        attempts.transport.get_object_tagging, attempts.bucket, attempts.key, version_id=version_id, extra=download.extra
    )
    try:
        return attempts.run('GetObjectTagging', look)
    except (AccessDenied, InvalidRequest) as error:
        attempts.warn(f'the tags of the source are not copied: {error}')
        return ''


def _upload(
    attempts: Attempts, source: ObjectSource, description: Description, tagging: str, extra: Extra, notes: Notes | None
) -> TransferResult:
    """Upload the source; without its tags if the other store does not accept them."""
    try:
        return upload(attempts, source, source.config, description.of(source.info, tagging), extra, notes)
    except (AccessDenied, InvalidRequest) as error:
        if not tagging or (isinstance(error, InvalidRequest) and error.status != http.client.NOT_IMPLEMENTED):
            raise
        refusal = error
    result = upload(attempts, source, source.config, description.of(source.info, ''), extra, notes)
    attempts.warn(f'the tags of the source are not copied: {refusal}')
    return result


def _open(download: ObjectDownload, config: TransferConfig, *, is_new: bool) -> ObjectSource:
    """One attempt at the first request: reads a small object to its end, and of a large one the first part.

    Args:
        download: The source.
        config: The settings of the other connection.
        is_new: False if an earlier run may have copied the first part.
    """
    answer = download.get_all()
    try:
        data = b'' if answer.size_bytes >= 0 else _read_unsized(download, answer, config)
        size_bytes = answer.size_bytes if answer.size_bytes >= 0 else len(data)
        plan = plan_upload(size_bytes, config)
        check = check_for(download.checksum, answer, len(plan))
        if not plan.is_multipart:
            data = data or read_exactly(answer, size_bytes)
            if check is not None:
                check.verify_whole(download, data)
        elif is_new:
            data = read_exactly(answer, plan.part_bytes)
        if download.attempts.observer is not None:
            download.attempts.moved('GetObject', len(data))
        return ObjectSource(download, answer, plan, check, data, config)
    finally:
        answer.close()


def _read_unsized(download: ObjectDownload, answer: Answer, config: TransferConfig) -> bytes:
    """Read a chunked response of unknown length; only an object that fits into one part can be copied from it."""
    pieces, size_bytes = list[bytes](), 0
    while data := answer.read(READ_BYTES):
        pieces.append(data)
        size_bytes += len(data)
        if size_bytes > config.multipart_chunksize:
            raise NetworkError(f'{download}: the response has no Content-Length, so the object cannot be read in parts')
    check_size(download, size_bytes)
    return b''.join(pieces)


class _Replaced(SourceChanged):
    """The source was replaced by another version."""


class _Differs(SourceChanged):
    """The copied bytes are not the source's. (A SourceChanged, so that no journal keeps the upload.)

    Attributes:
        mismatch: What differs.
    """

    def __init__(self, mismatch: Mismatch) -> None:
        super().__init__(str(mismatch))
        self.mismatch = mismatch


class ObjectSource(SizedSource):
    """One version of an object, as the source of an upload to another store.

    Attributes:
        info: The store's description of it.
        config: The settings of the upload.
        is_compared: Whether all bytes were compared with the source's checksum.
    """

    def __init__(
        self, download: ObjectDownload, answer: Answer, plan: Plan, check: Check | None, data: bytes, config: TransferConfig
    ) -> None:
        """
        Args:
            download: Requests the bytes.
            answer: The first response, for its headers.
            plan: The parts.
            check: Compares the parts; None if there is nothing to compare them with.
            data: All bytes of a small object, or those of the first part.
            config: The settings of the other connection.
        """
        self.name = f's3://{download.attempts.bucket}/{download.attempts.key}'
        self.info = dataclasses.replace(answer.info, size_bytes=plan.size_bytes)
        self.size_bytes = plan.size_bytes
        # A digest needs the parts in order, one after the other.
        is_streamed = check is not None and check.is_streamed
        self.config = dataclasses.replace(config, max_concurrency=1) if is_streamed else config
        self._download = download
        self._version = _version_of(answer)
        self._is_pinned = is_strong(answer.etag)
        self._plan = plan
        self._check = check
        self._state: Any = None
        self._data = data
        self._chunks: dict[int, _RangeChunk] = {}
        self._seen: set[int] = set()
        self.is_compared = check is not None and not plan.is_multipart

    def chunk(self, offset: int, size_bytes: int) -> Chunk:
        if size_bytes == self.size_bytes:
            return BytesChunk(self._data)
        number = offset // self._plan.part_bytes + 1
        self._chunks[number] = chunk = _RangeChunk(self, number, offset, size_bytes)
        return chunk

    def version(self) -> str:
        """The version of the object; '' if nothing identifies it."""
        etag, version_id = self.info.etag, self.info.version_id
        return f'{self.name} {version_id} {etag} {self.size_bytes}' if self._is_pinned else ''

    @contextlib.contextmanager
    def holding(self, number: int) -> Iterator[None]:
        """Fetch a part, and keep its bytes while it is sent."""
        chunk = self._chunks[number]
        data, self._data = (self._data, b'') if number == 1 and self._data else (self.fetch(number, chunk), self._data)
        if self._check is not None:
            self._take(self._check, number, data)
        chunk.hold(data)
        del data
        try:
            yield
        finally:
            chunk.hold(None)

    def check_unchanged(self) -> None:
        """Compare the parts with the source's checksum, before the upload is completed. (Not if some were sent earlier.)"""
        if self._check is None or len(self._seen) != len(self._plan):
            return
        try:
            self._check.verify(self._download)
        except Mismatch as error:
            raise _Differs(error) from error
        self.is_compared = True

    def fetch(self, number: int, chunk: _RangeChunk) -> bytes:
        """Fetch the bytes of a part.

        Raises:
            SourceChanged: The object was replaced by another version.
        """
        get = functools.partial(self._get, number, chunk.offset, chunk.size_bytes)
        try:
            return self._download.attempts.run('GetObject', get, part_number=number)
        except PreconditionFailed as error:
            raise _Replaced(f'{self.name} was replaced while it was copied') from error

    def _get(self, number: int, offset: int, size_bytes: int) -> bytes:
        """One attempt at the bytes of a part."""
        download = self._download
        answer = download.get((offset, offset + size_bytes), self.info.etag if self._is_pinned else None)
        try:
            if _version_of(answer) != self._version:
                raise _Replaced(f'{self.name} was replaced while it was copied')
            if (answer.offset, answer.size_bytes) != (offset, size_bytes):
                raise download.wrong_range(answer, f'bytes {offset:,} to {offset + size_bytes:,} of {self.info.etag}')
            data = read_exactly(answer, size_bytes)
        finally:
            answer.close()
        if download.attempts.observer is not None:
            download.attempts.moved('GetObject', size_bytes, number)
        return data

    def _take(self, check: Check, number: int, data: bytes) -> None:
        """Pass the bytes of a part to the check."""
        is_first = number == 1 or not check.is_streamed
        state = check.update(check.start() if is_first else self._state, data)
        self._state = state
        self._seen.add(number)
        check.end(1 if check.is_streamed else number, state, len(data))


class _RangeChunk:
    """A `Chunk` of a range of an object. Its bytes are in memory while it is sent; before and after, each call fetches them."""

    def __init__(self, source: ObjectSource, number: int, offset: int, size_bytes: int) -> None:
        self._source = source
        self._number = number
        self._held: BytesChunk | None = None
        self.offset = offset
        self.size_bytes = size_bytes

    def hold(self, data: bytes | None) -> None:
        """Keep the bytes; None releases them."""
        self._held = None if data is None else BytesChunk(data)

    def read(self) -> bytes:
        return self._bytes().read()

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        return self._bytes().pieces(buffer)

    def sha256(self) -> str:
        return self._bytes().sha256()

    def checksum(self, algorithm: str, *, with_sha256: bool = False) -> str:
        return self._bytes().checksum(algorithm, with_sha256=with_sha256)

    def _bytes(self) -> BytesChunk:
        return self._held or BytesChunk(self._source.fetch(self._number, self))


def _version_of(answer: Answer) -> tuple[object, ...]:
    """What two responses about the same version of an object have in common, also if the ETag is missing or weak."""
    return answer.etag, answer.whole_bytes, answer.version_id, answer.header('last-modified')


def _compare(source: ObjectSource, result: TransferResult, attempts: Attempts, extra: Extra) -> None:
    """Compare the copy with its source, where their checksums or ETags prove their bytes.

    Raises:
        _Differs: They differ.
    """
    info, doing = source.info, f'copy to s3://{attempts.bucket}/{attempts.key}'
    kind = kind_of(result.checksum)
    if kind and kind == kind_of(info.checksum) and '-' not in kind:
        if result.checksum != info.checksum:
            raise _Differs(
                Mismatch(f'{doing}: the copy has the checksum {result.checksum}, but its source has {info.checksum}')
            )
        return
    are_md5 = has_md5_form(info.etag) and has_md5_form(result.etag) and not is_encrypted(info)
    if not source.is_compared and are_md5 and info.etag != result.etag and not _may_differ(result, attempts, extra):
        raise _Differs(Mismatch(f'{doing}: the copy has the ETag {result.etag}, but its source has {info.etag}'))


def _may_differ(result: TransferResult, attempts: Attempts, extra: Extra) -> bool:
    """Whether the ETag of a copy is perhaps no MD5. Only a HEAD tells whether the copy is encrypted."""
    reading = {name: value for name, value in extra.items() if name not in ('IfMatch', 'IfNoneMatch')}
    version_id = version_to_read(result.version_id)
    look = functools.partial(
        attempts.transport.head_object, attempts.bucket, attempts.key, version_id=version_id, extra=reading
    )
    try:
        copy = attempts.run('HeadObject', look)
    except TransportError:
        # A copy may be forbidden to be read, or replaced by now.
        return True
    return copy.etag != result.etag or is_encrypted(copy)
