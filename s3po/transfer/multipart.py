"""One multipart upload, from its creation to its completion or its abort. Uploads and copies share it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Final

from s3po.body import NO_SOURCE, Source
from s3po.errors import (
    NetworkError,
    ReadTimeout,
    ResponseError,
    S3poError,
)
from s3po.governor import Slot
from s3po.model import CompletedPart
from s3po.runtime import GRACE_S, WorkKilled
from s3po.s3 import Extra, Headers, Stored
from s3po.transfer.aborting import abort_pending_in_time, clean_up
from s3po.transfer.attempts import Attempts
from s3po.transfer.completing import Completion, ExpectedUpload
from s3po.transfer.parts import PartGroup

__all__ = ['MultipartUpload', 'Piece']

# How long a caller whose transfer failed by itself waits for the abort. (One that was interrupted waits for GRACE_S.)
PATIENCE_S: Final = 5.0

# One part: its number, its length, and what sends it once, given the upload id.
Piece = tuple[int, int, Callable[[str], CompletedPart]]


class MultipartUpload:
    """Creates an upload, sends its parts side by side, and completes it; or aborts it."""

    def __init__(
        self,
        attempts: Attempts,
        headers: Headers,
        extra: Extra,
        *,
        own_id: str | None = None,
        has_checksums: bool = False,
        operation: str = 'UploadPart',
    ) -> None:
        """
        Args:
            attempts: Makes the requests.
            headers: Headers of the object.
            extra: The caller's further parameters.
            own_id: The id among the headers by which the object is known as ours; None where there is none.
            has_checksums: Whether the parts carry the checksums that the connection's uploads carry.
            operation: S3's name of the request that sends a part.
        """
        self._attempts = attempts
        self._headers = headers
        self._extra = extra
        self._id = own_id
        self._has_checksums = has_checksums
        self._operation = operation
        self._upload_id = ''

    def run(
        self,
        pieces: Iterator[Piece],
        *,
        width: Callable[[], int],
        before_complete: Callable[[], None],
        source: Source = NO_SOURCE,
    ) -> tuple[Stored, int]:
        """Carry it out.

        Args:
            pieces: The parts in order. The next one is only asked for when there is room for it.
            width: How many parts may be under way when the next one is asked for.
            before_complete: Called when all parts are stored; what it raises stops the upload.
            source: What the parts are read from; held until the last of them has ended.

        Returns:
            The store's response to the completion, and the number of parts.

        Raises:
            UploadVanished: It was gone when it was to be completed, and the object is not there.
        """
        attempts = self._attempts
        cleanups = attempts.pending_aborts.cleanups
        if attempts.pending_aborts.count(attempts.bucket):
            again = functools.partial(abort_pending_in_time, attempts)
            cleanups.run(again, f'the abort of earlier uploads to s3://{attempts.bucket}')
        self._upload_id = self._create()
        group = PartGroup()
        try:
            parts = self._send_parts(pieces, group, width)
            before_complete()
            stored = self._complete(parts)
        except BaseException as error:
            if attempts.governor.is_parents:
                # So is the upload, which goes on there.
                raise
            # In a greenlet of its own: further kills, and Ctrl-C too, do not cut the clean-up short.
            source.hold()
            clean_up_now = functools.partial(clean_up, attempts, self._upload_id, group, self._extra, error, source)
            doing = f'the abort of the multipart upload {self._upload_id} of s3://{attempts.bucket}/{attempts.key}'
            cleanups.run(clean_up_now, doing, patience_s=PATIENCE_S if isinstance(error, S3poError) else GRACE_S)
            raise
        return stored, len(parts)

    def _create(self) -> str:
        """The id of a new upload.

        Each attempt is shielded: a kill while the answer is on its way would lose the id, but not the upload. An answer that
        comes after the caller has gone is aborted in the background. The greenlet that sends the request ends the slot:
        otherwise the abort of a late upload could find no free slot, and killed uploads that occupy all slots would wait for
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
                    # Killed before it began, it has not ended the slot.
                    slot.end(error)
                    raise

        return attempts.run_without_slot('CreateMultipartUpload', attempt)

    def _create_in(self, slot: Slot) -> str:
        """One attempt, which ends the slot."""
        try:
            return self._create_once()
        finally:
            slot.end(sys.exception())

    def _create_once(self) -> str:
        """One attempt; without checksums where the store does not take them."""
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
            # An MD5 is for each request, and not for the object.
            return create(algorithm=None if algorithm == 'MD5' else algorithm)
        except ResponseError as error:
            if algorithm is None or guard.is_required or not guard.is_refusal(error):
                raise
            upload_id = create()
            guard.refusing.add(attempts.bucket)
            return upload_id
        except (NetworkError, ReadTimeout):
            # There is no way to ask for the id of an upload that may be there now, and many may be under way for one key.
            attempts.warn(
                f'an answer to CreateMultipartUpload s3://{attempts.bucket}/{attempts.key} was lost: the store may keep an '
                'upload that nobody will complete; list_multipart_uploads() shows it'
            )
            raise

    def _send_parts(self, pieces: Iterator[Piece], group: PartGroup, width: Callable[[], int]) -> list[CompletedPart]:
        attempts, done, sizes = self._attempts, list[CompletedPart](), dict[int, int]()

        def send(number: int, send_once: Callable[[str], CompletedPart]) -> None:
            done.append(attempts.run(self._operation, lambda: send_once(self._upload_id), part_number=number))

        while True:
            group.wait_below(width())
            piece = next(pieces, None)
            if piece is None:
                break
            number, size_bytes, send_once = piece
            sizes[number] = size_bytes
            group.spawn(send, number, send_once)
        group.join()
        parts = sorted(done, key=lambda part: part.number)
        # (-1: the transport does not know it.)
        if [part.number for part in parts] != list(sizes) or any(
            part.size_bytes not in (-1, sizes[part.number]) for part in parts
        ):
            raise S3poError(f'{len(parts)} parts of {len(sizes)} were stored; the upload is not completed')
        return parts

    def _complete(self, parts: list[CompletedPart]) -> Stored:
        expected = ExpectedUpload(parts, self._id, has_checksums=self._has_checksums)
        completion = Completion(self._attempts, self._upload_id, parts, expected, self._headers, self._extra)
        return self._attempts.run('CompleteMultipartUpload', completion.send)
