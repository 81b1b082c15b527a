"""Continues multipart uploads of earlier attempts, by the notes of a journal.

Invariants:

- The notes alone are not trusted: a part is kept only if the store lists it, and either the notes have the same part of the
  same source, or the listed checksum or MD5 is that of the source's bytes.
- An upload that is not continued is aborted before its notes are replaced.
- Only uploads of exactly this key that began after the intent was noted are aborted without an id in the notes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from s3po.errors import NoSuchBucket, NotFound, ResponseError
from s3po.jobs.notes import Notes, PartNote, UploadNote
from s3po.model import CompletedPart, ObjectInfo
from s3po.s3 import ID_HEADER, Extra, Headers, ListedUpload, Stored
from s3po.transfer.aborting import abort_upload
from s3po.transfer.attempts import Attempts
from s3po.transfer.completing import ExpectedUpload
from s3po.transfer.integrity import kind_of

__all__ = ['UNSETTLED', 'Begun', 'UploadRecord', 'abort_orphans', 'begun_upload', 'forget_uploads', 'source_of']

# In place of SizedSource.touched(): the source could change without a trace while it was uploaded.
UNSETTLED: Final = 'unsettled'
# The times of both clocks have whole seconds, and the response takes a moment.
ALLOWANCE_S: Final = 2.0
# How far this machine's clock may differ from the store's: S3 refuses requests beyond it (RequestTimeTooSkewed).
MAX_SKEW_S: Final = 15 * 60.0


class UploadRecord:
    """Writes the notes about one multipart upload.

    Attributes:
        source: UploadNote.source; '' for a source that cannot be read again, whose parts are not noted.
    """

    def __init__(self, notes: Notes, source: str = '', part_bytes: int = 0) -> None:
        self.source = source
        self._notes = notes
        self._part_bytes = part_bytes

    def intend(self) -> None:
        """An upload is going to be created."""
        self._notes.intend()

    def created(self, upload_id: str, own_id: str | None) -> None:
        """An upload was created."""
        self._notes.created(
            UploadNote(
                upload_id=upload_id,
                source=self.source,
                part_bytes=self._part_bytes,
                own_id=own_id,
                created_at=time.time(),
            )
        )

    def confirmed(self, part: CompletedPart, size_bytes: int) -> None:
        """The store has confirmed a part."""
        if self.source:
            self._notes.confirmed(
                PartNote(
                    number=part.number,
                    size_bytes=size_bytes,
                    etag=part.etag,
                    checksum=part.checksum,
                    is_encrypted=part.is_encrypted,
                )
            )

    def keeps(self, error: BaseException) -> bool:
        """Whether the upload stays for the next run."""
        return bool(self.source) and self._notes.keeps(error)

    def discarded(self) -> None:
        """The upload was aborted, or was never created."""
        self._notes.discarded()


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An upload of an earlier attempt that is continued.

    Attributes:
        upload_id: Its id.
        own_id: The id in its headers; None for none.
        parts: The parts that are not sent again, by number.
    """

    upload_id: str
    own_id: str | None = None
    parts: Mapping[int, CompletedPart] = field(default_factory=dict)


def source_of(version: str, attempts: Attempts, headers: Headers, extra: Extra, touched: str = '') -> str:
    """UploadNote.source: the version of the source, and a digest of what else the upload is made of.

    Args:
        version: Identifies the bytes; '' for a source that cannot be read again.
        attempts: Has the checksum algorithm.
        headers: Headers of the object.
        extra: The caller's further parameters.
        touched: SizedSource.touched(), or UNSETTLED. If it differs in a later run, the parts are compared.
    """
    if not version:
        return ''
    sent = [sorted(headers.items()), sorted(extra.items()), attempts.guard.default]
    digest = hashlib.blake2b(json.dumps(sent, default=repr).encode(errors='surrogatepass'), digest_size=12).hexdigest()
    return f'{version} {digest} {touched}'


def begun_upload(
    notes: Notes,
    attempts: Attempts,
    extra: Extra,
    record: UploadRecord,
    sizes: Sequence[int],
    is_equal: Callable[[CompletedPart], bool],
) -> Begun | Stored | None:
    """Find what earlier attempts have left, and abort what cannot be continued.

    Args:
        notes: The notes of the job.
        attempts: Makes the requests; has the object's name.
        extra: The caller's further parameters.
        record: The record of this attempt.
        sizes: The sizes of all parts, in order.
        is_equal: Whether the bytes of the source are those of a part, by its checksum or ETag.

    Returns:
        The upload to continue; what was stored, if an earlier attempt has completed it; None to start anew.
    """
    note = notes.upload
    if note is None or not _is_same(note, record.source, sizes[0]):
        forget_uploads(notes, attempts, extra)
        return None
    is_unsettled = note.source != record.source or record.source.endswith(UNSETTLED)
    try:
        listed = _listed_parts(attempts, note.upload_id, extra, len(sizes))
    except NotFound:
        return _completed(note, attempts, extra, sizes, is_equal if is_unsettled else None)
    except NoSuchBucket:
        raise
    except ResponseError as error:
        attempts.warn(f'{error}; so the upload of an earlier run cannot be continued, and it starts anew')
        _abort(attempts, note.upload_id, extra)
        notes.discarded()
        return None
    kept = {}
    for number, size_bytes in enumerate(sizes, 1):
        if number in listed:
            part = _kept_part(listed[number], note.parts.get(number), size_bytes, is_equal, is_unsettled=is_unsettled)
            if part is not None:
                kept[number] = part
                if number not in note.parts or note.parts[number].etag != part.etag:
                    record.confirmed(part, size_bytes)
    return Begun(upload_id=note.upload_id, own_id=note.own_id, parts=kept)


def forget_uploads(notes: Notes, attempts: Attempts, extra: Extra) -> None:
    """Abort the upload in the notes, or those that an earlier run may have created without noting their ids.

    Raises:
        S3poError: The upload could not be aborted; its note stays.
    """
    if notes.upload is not None:
        abort_upload(attempts, notes.upload.upload_id, extra)
    elif notes.intent_at is not None:
        if not abort_orphans(attempts, notes.intent_at, extra):
            return
    else:
        return
    notes.discarded()


# --- uploads without an id


def abort_orphans(attempts: Attempts, since: float, extra: Extra) -> bool:
    """Abort the uploads of exactly this key that began after the intent. Returns False if the store refuses that.

    Their age is by the store's clock, the time since the intent by this machine's, so the clocks need not agree. An upload of
    another program that began within ALLOWANCE_S before the intent, or after it, counts as one of them.
    """
    transport, bucket, key = attempts.transport, attempts.bucket, attempts.key
    look = functools.partial(transport.list_multipart_uploads, bucket, prefix=key, extra=extra)
    try:
        with attempts.pending_aborts.creation(bucket, key):
            listed = attempts.run('ListMultipartUploads', look)
            orphans = [each for each in listed if each.key == key and each.upload_id not in attempts.pending_aborts.live]
        oldest_s = time.time() - since + ALLOWANCE_S
        for orphan in orphans:
            if _is_younger(orphan, oldest_s, attempts):
                abort_upload(attempts, orphan.upload_id, extra)
    except NoSuchBucket:
        raise
    except ResponseError as error:
        attempts.warn(f'{error}; an earlier run may have left an incomplete upload; list_multipart_uploads() lists it')
        return False
    return True


def _is_younger(upload: ListedUpload, age_s: float, attempts: Attempts) -> bool:
    if upload.age_s is None:
        attempts.warn(
            f'the store does not tell when the upload {upload.upload_id} of s3://{attempts.bucket}/{attempts.key} began; '
            'it may be of an earlier run, and is not aborted'
        )
        return False
    return upload.age_s <= age_s


def _abort(attempts: Attempts, upload_id: str, extra: Extra) -> None:
    """Abort an upload without a look at its parts."""
    transport, bucket, key = attempts.transport, attempts.bucket, attempts.key
    try:
        abort = functools.partial(transport.abort_multipart_upload, bucket, key, upload_id=upload_id, extra=extra)
        attempts.run('AbortMultipartUpload', abort)
    except NotFound:
        pass


# --- an upload with an id


def _is_same(note: UploadNote, source: str, part_bytes: int) -> bool:
    return bool(source) and (_untouched(note.source), note.part_bytes) == (_untouched(source), part_bytes)


def _untouched(source: str) -> str:
    return source.rpartition(' ')[0]


def _listed_parts(attempts: Attempts, upload_id: str, extra: Extra, count: int) -> dict[int, CompletedPart]:
    """All parts of an upload that the store lists, by number."""
    found, after = dict[int, CompletedPart](), 0
    while after < count:
        look = functools.partial(attempts.transport.list_parts, attempts.bucket, attempts.key, upload_id=upload_id, extra=extra)
        page = attempts.run('ListParts', functools.partial(look, after=after) if after else look)
        new = [part for part in page if part.number > after]
        if not new:
            break
        found.update((part.number, part) for part in new)
        after = max(part.number for part in new)
    return found


def _kept_part(
    listed: CompletedPart,
    noted: PartNote | None,
    size_bytes: int,
    is_equal: Callable[[CompletedPart], bool],
    *,
    is_unsettled: bool,
) -> CompletedPart | None:
    """A part that need not be sent again; None for one that must."""
    if listed.size_bytes not in (-1, size_bytes):
        return None
    if noted is not None and _is_noted(listed, noted, size_bytes):
        part = _completed_part(noted)
        return part if not is_unsettled or is_equal(part) else None
    # It was in flight when the earlier run ended.
    part = CompletedPart(number=listed.number, etag=listed.etag, size_bytes=size_bytes, checksum=listed.checksum)
    return part if is_equal(part) else None


def _is_noted(listed: CompletedPart, noted: PartNote, size_bytes: int) -> bool:
    is_same = (listed.etag, size_bytes) == (noted.etag, noted.size_bytes)
    return is_same and (kind_of(listed.checksum) != kind_of(noted.checksum) or listed.checksum == noted.checksum)


def _completed_part(noted: PartNote) -> CompletedPart:
    return CompletedPart(
        number=noted.number,
        etag=noted.etag,
        size_bytes=noted.size_bytes,
        checksum=noted.checksum,
        is_encrypted=noted.is_encrypted,
    )


def _completed(
    note: UploadNote,
    attempts: Attempts,
    extra: Extra,
    sizes: Sequence[int],
    is_equal: Callable[[CompletedPart], bool] | None,
) -> Stored | None:
    """What was stored, if an earlier attempt has completed the upload; None if the upload was aborted."""
    parts = [_completed_part(note.parts[number]) for number in sorted(note.parts)]
    if [(part.number, part.size_bytes) for part in parts] != list(enumerate(sizes, 1)):
        return None
    if is_equal is not None and not all(map(is_equal, parts)):
        return None
    look = functools.partial(attempts.transport.head_object, attempts.bucket, attempts.key, wants_checksum=True, extra=extra)
    try:
        info = attempts.run('HeadObject', look)
    except ResponseError:
        # The object does not exist, or may not be read.
        return None
    if not _is_after(info, note) or (note.own_id is not None and info.headers.get(ID_HEADER) != note.own_id):
        return None
    if not ExpectedUpload(parts, note.own_id, has_checksums=True).is_met_by(info):
        return None
    return Stored(etag=info.etag, version_id=info.version_id, checksum=info.checksum)


def _is_after(info: ObjectInfo, note: UploadNote) -> bool:
    """Whether an object is not older than the upload: an older one may have the same bytes, and other metadata."""
    return info.last_modified is None or info.last_modified.timestamp() >= note.created_at - MAX_SKEW_S
