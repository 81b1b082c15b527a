"""One object down: one GET, or a GET whose rest is fetched in ranges; and what becomes of the target.

`fetching` gets the bytes of one version. Here is decided when that is begun anew, and what is published.
"""

from __future__ import annotations

import time

from s3po.body import Sink
from s3po.config import TransferConfig
from s3po.errors import PreconditionFailed, SourceChanged
from s3po.model import TransferResult
from s3po.transfer.attempts import Attempts
from s3po.transfer.fetching import DownloadRequest, Fetch, RangesIgnored

__all__ = ['DownloadRequest', 'download']

# How often an object that is replaced while it is read is begun anew.
RESTARTS = 2


def download(attempts: Attempts, sink: Sink, config: TransferConfig, request: DownloadRequest) -> TransferResult:
    """Fetch an object into a sink, and commit it. Blocks until it is complete.

    Args:
        attempts: Makes the requests; names the object.
        sink: An open sink. It is committed when all bytes are there, and rolled back on every other way out.
        config: How large the ranges are and how many are fetched at once.
        request: What to fetch.

    Raises:
        DownloadError: The retries ran out.
        SourceChanged: The object was replaced again and again while it was read.
        IntegrityError: What came was not what was stored, again and again.
        TransportError: The store refused, or what came was not what was asked for.
        LocalError: The target cannot be written.
    """
    began = time.monotonic()
    try:
        fetch = _fetch(attempts, sink, config, request)
        sink.commit()
    except BaseException as error:
        if attempts.governor.is_parents:
            # The target is the parent's, too.
            raise
        # What happened counts for more than what its clean-up has to say.
        try:
            sink.rollback()
        except Exception as failure:  # noqa: BLE001  (whatever it is, it is told)
            error.add_note(str(failure))
        raise
    return TransferResult(
        bucket=attempts.bucket,
        key=attempts.key,
        size_bytes=fetch.size_bytes,
        etag=fetch.etag,
        version_id=fetch.version_id,
        checksum=fetch.checksum,
        parts=fetch.parts,
        attempts=fetch.parts + attempts.retried,
        seconds=time.monotonic() - began,
        warnings=attempts.warnings,
    )


def _fetch(attempts: Attempts, sink: Sink, config: TransferConfig, request: DownloadRequest) -> Fetch:
    """Fetch one version of the object, and no other's bytes."""
    replaced, is_one_stream = 0, False
    while True:
        fetch = Fetch(attempts, sink, config, request, is_one_stream=is_one_stream)
        try:
            fetch.run()
        except RangesIgnored as error:
            attempts.warn(f'{error}; it is read from one answer')
            is_one_stream = True
        except PreconditionFailed as error:
            if not fetch.is_pinned:
                raise
            replaced += 1
            if replaced > RESTARTS:
                raise SourceChanged(
                    f's3://{attempts.bucket}/{attempts.key} was replaced {replaced} times while it was downloaded'
                ) from error
        else:
            return fetch
