"""One multipart upload, from its creation to its completion or abort, for uploads and copies."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from s3po.body import NO_SOURCE, Source
from s3po.errors import (
    NetworkError,
    ReadTimeout,
    ResponseError,
    S3poError,
    UploadError,
)
from s3po.governor import Slot
from s3po.model import CompletedPart
from s3po.runtime import GRACE_S, WorkKilled
from s3po.s3 import Extra, Headers, Stored
from s3po.transfer.aborting import abort_pending_in_time, clean_up
from s3po.transfer.attempts import Attempts
from s3po.transfer.completing import Completion, ExpectedUpload
from s3po.transfer.parts import PartGroup
from s3po.transfer.resuming import Begun, UploadRecord, abort_orphans

__all__ = ['MultipartUpload', 'Piece']

# How long the caller waits for the abort after a failed transfer. (An interrupted caller waits for GRACE_S.)
PATIENCE_S: Final = 5.0

# One part: its number, its length, and a function that sends it once, given the upload id.
Piece = tuple[int, int, Callable[[str], CompletedPart]]


class MultipartUpload:
    """Creates an upload, sends its parts in parallel, and completes or aborts it."""

    def __init__(
        self,
        attempts: Attempts,
        headers: Headers,
        extra: Extra,
        *,
        own_id: str | None = None,
        has_checksums: bool = False,
        operation: str = 'UploadPart',
        record: UploadRecord | None = None,
        begun: Begun | None = None,
    ) -> None:
        """
        Args:
            attempts: Makes the requests.
            headers: Headers of the object.
            extra: The caller's further parameters.
            own_id: The id in the headers that identifies the object as ours; None for none.
            has_checksums: Whether the parts carry checksums.
            operation: S3's name of the request that sends a part.
            record: Records the upload in a journal; None for none.
            begun: An upload to continue; None to create one.
        """
        self._attempts = attempts
        self._headers = headers
        self._extra = extra
        self._id = own_id if begun is None else begun.own_id
        self._has_checksums = has_checksums
        self._operation = operation
        self._record = record
        self._begun = begun
        self._upload_id = ''

    def run(
        self,
        pieces: Iterator[Piece],
        *,
        width: Callable[[], int],
        before_complete: Callable[[], None],
        source: Source = NO_SOURCE,
    ) -> tuple[Stored, int]:
        """Create, send and complete the upload.

        Args:
            pieces: The parts in order. The next one is requested when there is room for it.
            width: Returns how many parts may be in flight when the next one is requested; at least one.
            before_complete: Called when all parts are stored; an error that it raises aborts the upload.
            source: The source of the parts; held until the last one has ended.

        Returns:
            The store's response to the completion, and the number of parts.

        Raises:
            UploadVanished: The upload did not exist when it was to be completed, and the object does not exist.
        """
        attempts = self._attempts
        cleanups = attempts.pending_aborts.cleanups
        if attempts.pending_aborts.count(attempts.bucket):
            again = functools.partial(abort_pending_in_time, attempts)
            cleanups.run(again, f'the abort of earlier uploads to s3://{attempts.bucket}')
        began = time.time()
        self._upload_id = self._created() if self._begun is None else self._begun.upload_id
        group = PartGroup()
        attempts.pending_aborts.live.add(self._upload_id)
        if self._record is None:
            attempts.pending_aborts.opened(attempts.bucket, attempts.key, self._upload_id, self._extra)
        try:
            if self._record is not None and self._begun is None:
                self._note(self._record, began)
            parts = self._send_parts(pieces, group, width, source)
            before_complete()
            stored = self._complete(parts)
            attempts.pending_aborts.closed(attempts.bucket, attempts.key, self._upload_id)
        except BaseException as error:
            if attempts.governor.is_parents:
                # A forked child: the parent owns the upload and continues it.
                raise
            self._end(error, group, source)
            raise
        finally:
            attempts.pending_aborts.live.discard(self._upload_id)
        return stored, len(parts)

    def _end(self, error: BaseException, group: PartGroup, source: Source) -> None:
        """Stop the parts after an error, and abort the upload or keep it for the next run."""
        attempts, record = self._attempts, self._record
        name = f'the multipart upload {self._upload_id} of s3://{attempts.bucket}/{attempts.key}'
        source.hold()
        if record is not None and record.keeps(error):
            error.add_note(f'{name} is kept; the next run with this journal continues it')
            end, doing = functools.partial(_stop, group, source), f'the end of the parts of {name}'
        else:
            then = None if record is None else record.discarded
            end = functools.partial(clean_up, attempts, self._upload_id, group, self._extra, error, source, then)
            doing = f'the abort of {name}'
        # In its own greenlet, so that further kills and Ctrl-C do not interrupt the clean-up.
        patience_s = PATIENCE_S if isinstance(error, S3poError) else GRACE_S
        attempts.pending_aborts.cleanups.run(end, doing, patience_s=patience_s)

    def _created(self) -> str:
        """Create the upload, and record it; returns its id."""
        record, attempts = self._record, self._attempts
        if record is None:
            return self._create()
        retried = attempts.retried
        with attempts.pending_aborts.creation(attempts.bucket, attempts.key):
            record.intend()
            try:
                upload_id = self._create()
            except ResponseError:
                if attempts.retried == retried:
                    record.discarded()
                raise
            attempts.pending_aborts.live.add(upload_id)
            return upload_id

    def _note(self, record: UploadRecord, began: float) -> None:
        """Record the new upload; then abort those whose responses were lost."""
        attempts = self._attempts
        record.created(self._upload_id, self._id)
        if attempts.retried:
            try:
                abort_orphans(attempts, began, self._extra)
            except UploadError as error:
                attempts.warn(f'{error}; a lost response may have left an incomplete upload')

    def _create(self) -> str:
        """Create the upload; returns its id.

        Each attempt is shielded: a kill during the response would lose the id, but not the upload. If the response arrives
        after the caller was killed, the upload is aborted in the background. The greenlet that sends the request ends the slot:
        otherwise the abort of a late upload might find no free slot, and killed uploads that occupy all slots would wait for
        ever.
        """
        attempts = self._attempts
        cleanups = attempts.pending_aborts.cleanups

        def abort_late(upload_id: str) -> None:
            clean_up(attempts, upload_id, PartGroup(), self._extra, None)

        def attempt() -> str:
            with attempts.governor.slot(attempts.bucket) as slot:
                slot.is_kept = True
                create = functools.partial(self._create_in, slot)
                doing = f'CreateMultipartUpload s3://{attempts.bucket}/{attempts.key}'
                try:
                    return cleanups.shielded(create, abort_late, doing)
                except WorkKilled as error:
                    # Killed before the greenlet began, so it has not ended the slot.
                    slot.end(error)
                    raise

        return attempts.run_without_slot('CreateMultipartUpload', attempt)

    def _create_in(self, slot: Slot) -> str:
        """One attempt, which ends the slot afterwards."""
        try:
            return self._create_once()
        finally:
            slot.end(sys.exception())

    def _create_once(self) -> str:
        """One attempt; without checksums if the store does not accept them."""
        attempts = self._attempts
        guard = attempts.guard
        algorithm = guard.algorithm(attempts.bucket) if self._has_checksums else None
        create = functools.partial(
            attempts.transport.create_multipart_upload,
            attempts.bucket,
            attempts.key,
            headers=self._headers,
            extra=self._extra,
        )
        try:
            # MD5 is a checksum per request, not of the object.
            return create(algorithm=None if algorithm == 'MD5' else algorithm)
        except ResponseError as error:
            if algorithm is None or guard.is_required or not guard.is_refusal(error):
                raise
            upload_id = create()
            guard.refusing.add(attempts.bucket)
            return upload_id
        except (NetworkError, ReadTimeout):
            # S3 has no request for the id of such an upload, and several uploads may exist for one key.
            attempts.warn(
                f'a response to CreateMultipartUpload s3://{attempts.bucket}/{attempts.key} was lost: the store may keep an '
                'incomplete upload; list_multipart_uploads() lists it'
            )
            raise

    def _send_parts(
        self, pieces: Iterator[Piece], group: PartGroup, width: Callable[[], int], source: Source
    ) -> list[CompletedPart]:
        attempts, done, sizes, record = self._attempts, list[CompletedPart](), dict[int, int](), self._record
        kept = {} if self._begun is None else self._begun.parts

        def send(number: int, send_once: Callable[[str], CompletedPart]) -> None:
            with source.holding(number):
                part = attempts.run(self._operation, lambda: send_once(self._upload_id), part_number=number)
            if record is not None:
                record.confirmed(part, sizes[number])
            done.append(part)

        while True:
            group.check()
            while len(group) >= width():
                group.wait_below(len(group))
            piece = next(pieces, None)
            if piece is None:
                break
            number, size_bytes, send_once = piece
            sizes[number] = size_bytes
            if number in kept:
                done.append(kept[number])
            else:
                group.spawn(send, number, send_once)
            # They refer to the bytes of the part, which are freed when it was sent.
            del piece, send_once
        group.join()
        parts = sorted(done, key=lambda part: part.number)
        # (-1: the transport does not know the size.)
        if [part.number for part in parts] != list(sizes) or any(
            part.size_bytes not in (-1, sizes[part.number]) for part in parts
        ):
            raise S3poError(f'only {len(parts)} parts of {len(sizes)} were stored; the upload is not completed')
        return parts

    def _complete(self, parts: list[CompletedPart]) -> Stored:
        expected = ExpectedUpload(parts, self._id, has_checksums=self._has_checksums)
        completion = Completion(
            self._attempts,
            self._upload_id,
            parts,
            expected,
            self._headers,
            self._extra,
            is_unsure=self._begun is not None,
        )
        return self._attempts.run('CompleteMultipartUpload', completion.send)


def _stop(group: PartGroup, source: Source) -> None:
    group.kill()
    source.let_go()
