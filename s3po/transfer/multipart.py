"""One multipart upload, from its creation to its completion or its abort. Uploads and copies share it."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Final

import gevent

from s3po.body import NO_SOURCE, Source
from s3po.checksum import combined_text
from s3po.errors import (
    InvalidRequest,
    NetworkError,
    NotFound,
    PreconditionFailed,
    ReadTimeout,
    ResponseError,
    S3poError,
    TransportError,
)
from s3po.governor import Slot
from s3po.model import CompletedPart, ObjectInfo
from s3po.runtime import GRACE_S
from s3po.s3 import Extra, Headers, Stored
from s3po.transfer.aborts import PendingAbort
from s3po.transfer.attempts import Attempts
from s3po.transfer.integrity import Expected, check_echo
from s3po.transfer.parts import PartGroup

__all__ = ['MultipartUpload', 'Piece', 'UploadVanished', 'abort_pending', 'abort_upload']

log = logging.getLogger(__name__)

# A part that was under way when its upload was aborted may be stored after it, and keeps the upload alive:
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html. So the abort is repeated until nothing is left.
ABORT_ROUNDS = 5

# How long a caller whose transfer failed by itself waits for the abort. (One that was interrupted waits for GRACE_S.)
PATIENCE_S: Final = 5.0
# How long an abort may take in all, in the background; then it is left to the next upload, or to close().
CLEAN_UP_S: Final = 30.0

# One part: its number, its length, and what sends it once, given the upload id.
Piece = tuple[int, int, Callable[[str], CompletedPart]]


class UploadVanished(NotFound):
    """The upload was gone when it was to be completed, and the object is not there, or another's."""


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
            What the store said, and how many parts there were.

        Raises:
            UploadVanished: It was gone when it was to be completed, and the object is not there.
        """
        attempts = self._attempts
        cleanups = attempts.pending_aborts.cleanups
        if attempts.pending_aborts.count(attempts.bucket):
            again = functools.partial(_abort_pending_in_time, attempts)
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
            clean_up = functools.partial(_clean_up, attempts, self._upload_id, group, self._extra, error, source)
            doing = f'the abort of the multipart upload {self._upload_id} of s3://{attempts.bucket}/{attempts.key}'
            cleanups.run(clean_up, doing, patience_s=PATIENCE_S if isinstance(error, S3poError) else GRACE_S)
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
            _clean_up(attempts, upload_id, PartGroup(), self._extra, None)

        def attempt() -> str:
            with attempts.governor.slot(attempts.bucket) as slot:
                slot.is_kept = True
                create = functools.partial(self._create_in, slot)
                return cleanups.shielded(create, abort_late, f'CreateMultipartUpload s3://{attempts.bucket}/{attempts.key}')

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
            guard.remember_refusal(attempts.bucket)
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
        expected = Expected(parts, _whole_checksum(parts) if self._has_checksums else None, self._id)
        completion = _Completion(self._attempts, self._upload_id, parts, expected, self._headers, self._extra)
        return self._attempts.run('CompleteMultipartUpload', completion.send)


class _Completion:
    """The attempts to complete one upload. An answer that was lost, or says nothing, is resolved by a HEAD."""

    def __init__(
        self,
        attempts: Attempts,
        upload_id: str,
        parts: list[CompletedPart],
        expected: Expected,
        headers: Headers,
        extra: Extra,
    ) -> None:
        self._attempts = attempts
        self._upload_id = upload_id
        self._parts = parts
        self._expected = expected
        self._headers = headers
        self._extra = extra
        # Whether an attempt failed that the store may have carried out nevertheless.
        self._is_unsure = False

    def __str__(self) -> str:
        return f'CompleteMultipartUpload s3://{self._attempts.bucket}/{self._attempts.key}'

    def send(self) -> Stored:
        """One attempt."""
        attempts = self._attempts
        try:
            stored = attempts.transport.complete_multipart_upload(
                attempts.bucket,
                attempts.key,
                self._parts,
                upload_id=self._upload_id,
                checksum=self._expected.checksum,
                headers=self._headers,
                extra=self._extra,
            )
        except (NotFound, PreconditionFailed) as error:
            # The upload is gone, or the condition false: perhaps because an earlier attempt succeeded.
            return self._resolved(error)
        except TransportError:
            self._is_unsure = True
            raise
        # What fails from here on fails after the store has answered, so another attempt may find the upload gone.
        self._is_unsure = True
        check_echo(str(self), self._expected.checksum, stored.checksum)
        return stored if self._expected.is_proved_by(stored) else self._looked_up(stored)

    def _resolved(self, error: NotFound | PreconditionFailed) -> Stored:
        if not self._is_unsure:
            raise error
        info = self._look()
        if info is not None and self._expected.is_met_by(info):
            return _stored(info)
        if isinstance(error, PreconditionFailed):
            raise error
        raise UploadVanished(
            f'{error}; its first answer was lost, and the object is not there', status=error.status, code=error.code
        ) from error

    def _looked_up(self, stored: Stored) -> Stored:
        """What is not told in the answer. (Ceph's gateway, at first, completes the upload and answers without its ETag.)"""
        info = self._look(stored.version_id)
        if info is None or not self._expected.is_met_by(info, stored.etag):
            raise NetworkError(f'{self}: the answer has not the right ETag, and a HEAD does not prove that the object is there')
        return _stored(info, stored.version_id)

    def _look(self, version_id: str | None = None) -> ObjectInfo | None:
        """What is stored under the key now; None for nothing, and where the store does not say."""
        attempts = self._attempts
        try:
            return attempts.transport.head_object(
                attempts.bucket, attempts.key, version_id=version_id, wants_checksum=True, extra=self._extra
            )
        except (NotFound, InvalidRequest):
            return None


def abort_upload(attempts: Attempts, upload_id: str, extra: Extra) -> None:
    """Abort a multipart upload, and make sure that nothing of it is left.

    Raises:
        S3poError: It could not be aborted, or the store goes on listing its parts.
    """
    transport, bucket, key = attempts.transport, attempts.bucket, attempts.key
    for _ in range(ABORT_ROUNDS):
        abort = functools.partial(transport.abort_multipart_upload, bucket, key, upload_id=upload_id, extra=extra)
        look = functools.partial(transport.list_parts, bucket, key, upload_id=upload_id, extra=extra)
        try:
            attempts.run('AbortMultipartUpload', abort)
            attempts.run('ListParts', look)
        except NotFound:
            return
    raise S3poError(f'the multipart upload {upload_id} of s3://{bucket}/{key} is still there after {ABORT_ROUNDS} aborts')


def abort_pending(attempts: Attempts) -> None:
    """Try once more to abort the bucket's uploads whose abort failed. An error of the store is logged, and not raised."""
    pending_aborts, bucket = attempts.pending_aborts, attempts.bucket
    for _ in range(pending_aborts.count(bucket)):
        pending = pending_aborts.take(bucket)
        if pending is None:
            return
        is_gone = False
        try:
            is_gone = _abort_once(attempts, pending)
        finally:
            if not is_gone:
                pending_aborts.add(bucket, pending)


def _abort_once(attempts: Attempts, pending: PendingAbort) -> bool:
    """One attempt to abort an upload; returns False while the store still lists its parts, or does not answer."""
    transport, bucket = attempts.transport, attempts.bucket
    key, upload_id, extra = pending.key, pending.upload_id, pending.extra
    try:
        with attempts.governor.slot(bucket):
            transport.abort_multipart_upload(bucket, key, upload_id=upload_id, extra=extra)
            transport.list_parts(bucket, key, upload_id=upload_id, extra=extra)
    except NotFound:
        log.info('the multipart upload %s of s3://%s/%s is aborted now', upload_id, bucket, key)
        return True
    except S3poError as error:
        log.debug('the multipart upload %s is still not aborted: %s', upload_id, error)
    return False


def _abort_pending_in_time(attempts: Attempts) -> None:
    with gevent.Timeout(CLEAN_UP_S, False):  # type: ignore[arg-type]  # False: it ends the block, and raises nothing
        abort_pending(attempts)


def _clean_up(
    attempts: Attempts,
    upload_id: str,
    group: PartGroup,
    extra: Extra,
    error: BaseException | None,
    source: Source = NO_SOURCE,
) -> None:
    """End the parts and abort the upload, within CLEAN_UP_S; keep it for later if that fails."""
    group.kill()
    source.let_go()
    why: BaseException | None = None
    timeout = gevent.Timeout.start_new(CLEAN_UP_S)
    try:
        try:
            abort_upload(attempts, upload_id, extra)
        except KeyboardInterrupt:
            # Meant for the program, it hit this greenlet by chance. It is raised once the upload is gone.
            abort_upload(attempts, upload_id, extra)
            raise
    except S3poError as failure:
        why = failure
    except gevent.Timeout as fired:
        why = S3poError(f'the store was silent for {CLEAN_UP_S:g} s') if fired is timeout else fired
    except BaseException as interruption:
        why = interruption
        raise
    finally:
        timeout.close()
        if why is not None:
            _postpone(attempts, upload_id, extra, error, why)


def _postpone(attempts: Attempts, upload_id: str, extra: Extra, error: BaseException | None, why: BaseException) -> None:
    """Log that an upload was not aborted, and keep it for later."""
    reason = str(why) or type(why).__name__
    text = f'the multipart upload {upload_id} of s3://{attempts.bucket}/{attempts.key} was not aborted: {reason}'
    log.error('%s; it is tried again with the next upload to that bucket, and when the connection is closed', text)
    attempts.pending_aborts.add(attempts.bucket, PendingAbort(key=attempts.key, upload_id=upload_id, extra=extra))
    if error is not None:
        error.add_note(text)


def _whole_checksum(parts: list[CompletedPart]) -> str | None:
    """The object's checksum, made of its parts'; None where the store has not confirmed one of each."""
    algorithms = {'' if part.checksum is None else part.checksum.partition(':')[0] for part in parts}
    if len(algorithms) != 1 or '' in algorithms:
        return None
    return combined_text(algorithms.pop(), [(part.checksum or '', part.size_bytes) for part in parts])


def _stored(info: ObjectInfo, version_id: str | None = None) -> Stored:
    return Stored(etag=info.etag, version_id=info.version_id or version_id, checksum=info.checksum)
