"""Downloads one object: fetches its bytes into a sink, and publishes them when all have arrived; else nothing is left."""

from __future__ import annotations

from s3po.model import TransferResult
from s3po.transfer.attempts import Attempts
from s3po.transfer.fetching import fetch
from s3po.transfer.requesting import Fetched, ObjectDownload

__all__ = ['download', 'result_of']


def download(what: ObjectDownload) -> Fetched:
    """Fetch an object into a sink, and commit it. Blocks until it is complete.

    Args:
        what: What to fetch, and an open sink. It is committed when all bytes have arrived, and rolled back in all other cases.

    Raises:
        DownloadError: The retries were used up.
        SourceChanged: The object was replaced during each attempt.
        IntegrityError: The received bytes differed from the stored ones in each attempt.
        TransportError: The store refused, or its response was not the requested one.
        LocalError: The target cannot be written.
    """
    try:
        fetched = fetch(what)
        what.sink.commit()
    except BaseException as error:
        if what.attempts.governor.is_parents:
            # This is a forked child, and the target is the parent's.
            raise
        # The first error matters more than an error of the clean-up.
        try:
            if what.record is not None and what.sink is what.record.sink:
                what.record.end(error)
            else:
                what.sink.rollback()
        except Exception as failure:  # noqa: BLE001  (any error is noted)
            error.add_note(str(failure))
        raise
    finally:
        if what.room is not None:
            what.room.close()
    return fetched


def result_of(attempts: Attempts, fetched: Fetched, seconds: float) -> TransferResult:
    """The result of a download that took so many seconds."""
    return TransferResult(
        bucket=attempts.bucket,
        key=attempts.key,
        size_bytes=fetched.size_bytes,
        etag=fetched.etag,
        version_id=fetched.version_id,
        checksum=fetched.checksum,
        parts=fetched.parts,
        attempts=fetched.parts + attempts.retried,
        seconds=seconds,
        warnings=attempts.warnings,
    )
