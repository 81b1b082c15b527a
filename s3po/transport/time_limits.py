"""How long a whole answer may take, where its speed says nothing, or is not known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import gevent

from s3po.errors import ReadTimeout

__all__ = ['DOCUMENT_S', 'UNLIMITED', 'WORKING', 'answered_within', 'limit_s']

# S3 answers these with 200, and sends blanks until it is done; that may take minutes:
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
WORKING: Final = frozenset({'CompleteMultipartUpload', 'CopyObject', 'UploadPartCopy'})
WORKING_S: Final = 900.0
# Any other answer, where there is no low-speed limit (boto).
DOCUMENT_S: Final = 300.0
# These take as long as their bodies take to be sent.
UNLIMITED: Final = frozenset({'PutObject', 'UploadPart'})


def limit_s(operation: str) -> float | None:
    """How long the answer to one of S3's requests may take; None for no limit."""
    if operation in UNLIMITED:
        return None
    return WORKING_S if operation in WORKING else DOCUMENT_S


@contextmanager
def answered_within(seconds: float | None, doing: object) -> Iterator[None]:
    """Raise ReadTimeout when the body takes longer.

    Args:
        seconds: How long it may take; None for no limit.
        doing: What is done, for the message.
    """
    timeout = gevent.Timeout.start_new(seconds)
    try:
        yield
    except gevent.Timeout as fired:
        if fired is not timeout:
            raise
        raise ReadTimeout(f'{doing}: the answer was not complete within {seconds:g} s') from None
    finally:
        timeout.close()
