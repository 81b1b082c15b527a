"""One multipart upload, from its creation to its completion or its abort. Uploads and copies share it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator

from s3po.errors import NotFound, S3poError
from s3po.model import CompletedPart
from s3po.runtime import shielded
from s3po.transfer.attempts import Attempts
from s3po.transfer.parts import PartGroup
from s3po.transport import Extra, Headers, Stored

__all__ = ['Piece', 'abort_upload', 'run_multipart']

log = logging.getLogger(__name__)

# A part that was under way when its upload was aborted may be stored after it, and keeps the upload alive:
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html. So the abort is repeated until nothing is left.
ABORT_ROUNDS = 5

# One part: its number, and what sends it once, given the upload id.
Piece = tuple[int, Callable[[str], CompletedPart]]


def run_multipart(
    attempts: Attempts,
    pieces: Iterator[Piece],
    *,
    width: Callable[[], int],
    headers: Headers,
    extra: Extra,
    before_complete: Callable[[], None],
    operation: str = 'UploadPart',
) -> tuple[Stored, int]:
    """Create the upload, send its parts side by side, complete it.

    Args:
        attempts: Makes the requests.
        pieces: The parts in order. The next one is only asked for when there is room for it.
        width: How many parts may be under way when the next one is asked for.
        headers: Headers of the object.
        extra: The caller's further parameters.
        before_complete: Called when all parts are stored; what it raises stops the upload.
        operation: S3's name of the request that sends a part.

    Returns:
        What the store said, and how many parts there were.
    """
    upload_id = _create(attempts, headers, extra)
    group = PartGroup()
    try:
        parts = _send_parts(attempts, upload_id, pieces, group, width, operation)
        before_complete()
        stored = _complete(attempts, upload_id, parts, headers, extra)
    except BaseException as error:
        # In a greenlet of its own: further kills, and at first Ctrl-C too, do not cut the clean-up short.
        shielded(functools.partial(_clean_up, attempts, upload_id, group, extra, error), on_late=lambda _: None)
        raise
    return stored, len(parts)


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


def _create(attempts: Attempts, headers: Headers, extra: Extra) -> str:
    """The id of a new upload.

    Each attempt is shielded: a kill while the answer is on its way would lose the id, but not the upload. The waits between
    attempts are not, so a kill waits for one answer at the most. The slot goes to the greenlet that sends the request: held
    here, it would be lacking where the late upload is aborted, and killed uploads that hold all slots would wait for ever.
    """
    transport, governor = attempts.transport, attempts.governor

    def create() -> str:
        try:
            return transport.create_multipart_upload(attempts.bucket, attempts.key, headers=headers, extra=extra)
        finally:
            governor.give_back()

    def abort_late(upload_id: str) -> None:
        _clean_up(attempts, upload_id, PartGroup(), extra, None)

    def attempt() -> str:
        governor.take()
        return shielded(create, on_late=abort_late)

    return attempts.run_without_slot('CreateMultipartUpload', attempt)


def _send_parts(
    attempts: Attempts,
    upload_id: str,
    pieces: Iterator[Piece],
    group: PartGroup,
    width: Callable[[], int],
    operation: str,
) -> list[CompletedPart]:
    done: list[CompletedPart] = []

    def send(number: int, send_once: Callable[[str], CompletedPart]) -> None:
        done.append(attempts.run(operation, lambda: send_once(upload_id), part_number=number))

    while True:
        group.wait_below(width())
        piece = next(pieces, None)
        if piece is None:
            break
        group.spawn(send, *piece)
    group.join()
    return sorted(done, key=lambda part: part.number)


def _complete(attempts: Attempts, upload_id: str, parts: list[CompletedPart], headers: Headers, extra: Extra) -> Stored:
    transport, bucket, key = attempts.transport, attempts.bucket, attempts.key
    complete = functools.partial(
        transport.complete_multipart_upload, bucket, key, parts, upload_id=upload_id, headers=headers, extra=extra
    )
    stored = attempts.run('CompleteMultipartUpload', complete)
    if stored.etag:
        return stored
    # Some stores (Ceph's gateway, at first) complete the upload and answer without its ETag.
    look = functools.partial(transport.head_object, bucket, key, version_id=stored.version_id, extra=extra)
    info = attempts.run('HeadObject', look)
    return Stored(etag=info.etag, version_id=info.version_id or stored.version_id, checksum=info.checksum)


def _clean_up(attempts: Attempts, upload_id: str, group: PartGroup, extra: Extra, error: BaseException | None) -> None:
    group.kill()
    try:
        try:
            abort_upload(attempts, upload_id, extra)
        except KeyboardInterrupt:
            # Meant for the program, it hit this greenlet by chance. It is raised once the upload is gone.
            abort_upload(attempts, upload_id, extra)
            raise
    except S3poError as failure:
        text = f'the multipart upload {upload_id} of s3://{attempts.bucket}/{attempts.key} was not aborted: {failure}'
        log.error('%s; abort it, or its parts go on costing', text)
        if error is not None:
            error.add_note(text)
