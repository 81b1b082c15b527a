"""Time limits of whole responses, for those that have no low-speed limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import gevent

from s3po.errors import ReadTimeout

__all__ = ['DOCUMENT_S', 'UNLIMITED', 'WORKING', 'answered_within', 'limit_s']

# S3 sends the headers with status 200 at once, and blanks until it is done, which may take minutes:
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
WORKING: Final = frozenset({'CompleteMultipartUpload', 'CopyObject', 'UploadPartCopy'})
WORKING_S: Final = 900.0
# Every other response, if there is no low-speed limit (boto).
DOCUMENT_S: Final = 300.0
# Requests that take as long as sending their bodies.
UNLIMITED: Final = frozenset({'PutObject', 'UploadPart'})


def limit_s(operation: str) -> float | None:
    """The time limit of the response to an S3 request, in seconds; None for no limit."""
    if operation in UNLIMITED:
        return None
    return WORKING_S if operation in WORKING else DOCUMENT_S


@contextmanager
def answered_within(seconds: float | None, doing: object) -> Iterator[None]:
    """Raise ReadTimeout if the `with` block takes too long.

    Args:
        seconds: The limit; None for no limit.
        doing: The operation, for the message.
    """
    timeout = gevent.Timeout.start_new(seconds)
    try:
        yield
    except gevent.Timeout as fired:
        if fired is not timeout:
            raise
        raise ReadTimeout(f'{doing}: the response was not complete within {seconds:g} s') from None
    finally:
        timeout.close()
