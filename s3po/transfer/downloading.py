"""One object down: its bytes are fetched into a sink, and published when all are there; otherwise nothing is left."""

from __future__ import annotations

from s3po.model import TransferResult
from s3po.transfer.attempts import Attempts
from s3po.transfer.fetching import fetch
from s3po.transfer.requesting import Fetched, ObjectDownload

__all__ = ['download', 'result_of']


def download(what: ObjectDownload) -> Fetched:
    """Fetch an object into a sink, and commit it. Blocks until it is complete.

    Args:
        what: What to fetch, and an open sink. It is committed when all bytes are there, and rolled back on every other way
            out.

    Raises:
        DownloadError: The retries ran out.
        SourceChanged: The object was replaced again and again while it was read.
        IntegrityError: The bytes that came were not those that are stored, again and again.
        TransportError: The store refused, or its response was not what was asked for.
        LocalError: The target cannot be written.
    """
    try:
        fetched = fetch(what)
        what.sink.commit()
    except BaseException as error:
        if what.attempts.governor.is_parents:
            # The target is the parent's, too.
            raise
        # The first error matters more than one of the clean-up.
        try:
            what.sink.rollback()
        except Exception as failure:  # noqa: BLE001  (whatever it is, it is noted)
            error.add_note(str(failure))
        raise
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
