"""One object down: when its download is begun anew, what is published, what is cleaned up. `fetching` gets the bytes."""

from __future__ import annotations

import time

from s3po.body import Sink
from s3po.config import TransferConfig
from s3po.errors import SourceChanged
from s3po.model import TransferResult
from s3po.transfer.attempts import Attempts
from s3po.transfer.fetching import fetch
from s3po.transfer.ranges import RangesIgnored, Replaced
from s3po.transfer.requesting import Download, DownloadRequest, Fetched

__all__ = ['DownloadRequest', 'download']

# How often a download is begun anew because the object was replaced meanwhile.
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
        IntegrityError: The bytes that came were not those that are stored, again and again.
        TransportError: The store refused, or its response was not what was asked for.
        LocalError: The target cannot be written.
    """
    began = time.monotonic()
    try:
        fetched = _fetch_one_version(Download(attempts, sink, config, request))
        sink.commit()
    except BaseException as error:
        if attempts.governor.is_parents:
            # The target is the parent's, too.
            raise
        # The first error matters more than one of the clean-up.
        try:
            sink.rollback()
        except Exception as failure:  # noqa: BLE001  (whatever it is, it is noted)
            error.add_note(str(failure))
        raise
    return TransferResult(
        bucket=attempts.bucket,
        key=attempts.key,
        size_bytes=fetched.size_bytes,
        etag=fetched.etag,
        version_id=fetched.version_id,
        checksum=fetched.checksum,
        parts=fetched.parts,
        attempts=fetched.parts + attempts.retried,
        seconds=time.monotonic() - began,
        warnings=attempts.warnings,
    )


def _fetch_one_version(download: Download) -> Fetched:
    """Fetch all bytes of one version of the object."""
    attempts, replaced, is_one_stream = download.attempts, 0, False
    while True:
        try:
            return fetch(download, is_one_stream=is_one_stream)
        except RangesIgnored as error:
            attempts.warn(f'{error}; it is read from one answer')
            is_one_stream = True
        except Replaced as error:
            replaced += 1
            if replaced > RESTARTS:
                raise SourceChanged(
                    f's3://{attempts.bucket}/{attempts.key} was replaced {replaced} times while it was downloaded'
                ) from error.__cause__
