"""Aborts multipart uploads: at once, or later if the store does not respond.

Invariant: an upload that was not aborted is in the connection's pending aborts, and in the log.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Final

import gevent

from s3po.body import NO_SOURCE, Source
from s3po.errors import NotFound, S3poError
from s3po.s3 import Extra
from s3po.transfer.attempts import Attempts
from s3po.transfer.parts import PartGroup
from s3po.transfer.pending_aborts import PendingAbort

__all__ = ['abort_pending', 'abort_pending_in_time', 'abort_upload', 'clean_up']

log = logging.getLogger(__name__)

# A part that was being sent during the abort may be stored after it, and keeps the upload alive
# (https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html). So the abort is repeated until no parts are
# left.
ABORT_ROUNDS = 5

# The time limit of an abort in the background; after it, the next upload or close() tries again.
CLEAN_UP_S: Final = 30.0


def abort_upload(attempts: Attempts, upload_id: str, extra: Extra) -> None:
    """Abort a multipart upload, and verify that no parts are left.

    Raises:
        S3poError: It could not be aborted, or the store still lists its parts.
    """
    transport, bucket, key = attempts.transport, attempts.bucket, attempts.key
    for _ in range(ABORT_ROUNDS):
        abort = functools.partial(transport.abort_multipart_upload, bucket, key, upload_id=upload_id, extra=extra)
        look = functools.partial(transport.list_parts, bucket, key, upload_id=upload_id, extra=extra)
        try:
            with attempts.governor.hurried():
                attempts.run('AbortMultipartUpload', abort)
                attempts.run('ListParts', look)
        except NotFound:
            return
    raise S3poError(f'the multipart upload {upload_id} of s3://{bucket}/{key} is still there after {ABORT_ROUNDS} aborts')


def abort_pending(attempts: Attempts) -> None:
    """Retry the bucket's aborts that failed, once each. Errors of the store are logged, not raised."""
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
    """One attempt to abort an upload; returns False if the store still lists its parts or does not respond."""
    transport, bucket = attempts.transport, attempts.bucket
    key, upload_id, extra = pending.key, pending.upload_id, pending.extra
    try:
        with attempts.governor.hurried(), attempts.governor.slot(bucket):
            transport.abort_multipart_upload(bucket, key, upload_id=upload_id, extra=extra)
            transport.list_parts(bucket, key, upload_id=upload_id, extra=extra)
    except NotFound:
        attempts.pending_aborts.closed(bucket, key, upload_id)
        log.info('the multipart upload %s of s3://%s/%s is aborted now', upload_id, bucket, key)
        return True
    except S3poError as error:
        log.debug('the multipart upload %s is still not aborted: %s', upload_id, error)
    return False


def abort_pending_in_time(attempts: Attempts) -> None:
    """Call abort_pending() with the time limit CLEAN_UP_S."""
    with gevent.Timeout(CLEAN_UP_S, False):  # type: ignore[arg-type]  # False: it ends the block and raises nothing
        abort_pending(attempts)


def clean_up(
    attempts: Attempts,
    upload_id: str,
    group: PartGroup,
    extra: Extra,
    error: BaseException | None,
    source: Source = NO_SOURCE,
    then: Callable[[], None] | None = None,
) -> None:
    """Stop the parts and abort the upload, within CLEAN_UP_S; keep the abort for later if that fails.

    Args:
        attempts: Makes the requests; has the object's name.
        upload_id: The upload.
        group: Its parts.
        extra: The caller's further parameters.
        error: Why the upload failed.
        source: The source that the parts hold.
        then: Called when the upload is aborted.
    """
    group.kill()
    source.let_go()
    why: BaseException | None = None
    timeout = gevent.Timeout.start_new(CLEAN_UP_S)
    try:
        try:
            abort_upload(attempts, upload_id, extra)
        except KeyboardInterrupt:
            # The signal was for the program and reached this greenlet by chance: raise it after the abort.
            abort_upload(attempts, upload_id, extra)
            raise
        attempts.pending_aborts.closed(attempts.bucket, attempts.key, upload_id)
        if then is not None:
            then()
    except S3poError as failure:
        why = failure
    except gevent.Timeout as fired:
        why = S3poError(f'the store did not respond for {CLEAN_UP_S:g} s') if fired is timeout else fired
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
    log.error('%s; it is retried with the next upload to that bucket, and when the connection is closed', text)
    attempts.pending_aborts.add(attempts.bucket, PendingAbort(key=attempts.key, upload_id=upload_id, extra=extra))
    if error is not None:
        error.add_note(text)
