"""Answers that are still to be read, with the slot that they occupy."""

from __future__ import annotations

from s3po.body import UNWAITING_BYTES
from s3po.governor import Governor
from s3po.runtime import PerHub
from s3po.s3 import Answer
from s3po.s3.status import has_own_key

__all__ = ['READ_BYTES', 'HeldAnswer', 'buffers', 'has_plain_etag', 'read_exactly', 'skip']

# How much is read from a connection at a time: what a sink takes without a wait, as all greenlets of a thread have one buffer.
READ_BYTES = UNWAITING_BYTES

buffers = PerHub(lambda: memoryview(bytearray(READ_BYTES)))


class HeldAnswer:
    """An answer together with the governor's slot that it occupies until it is closed."""

    def __init__(self, answer: Answer, governor: Governor) -> None:
        self._answer = answer
        self._governor: Governor | None = governor
        self.read = answer.read
        self.read_into = answer.read_into

    def close(self) -> None:
        governor, self._governor = self._governor, None
        if governor is not None:
            try:
                self._answer.close()
            finally:
                governor.give_back()


def has_plain_etag(answer: Answer) -> bool:
    """Whether an ETag that looks like an MD5 is one."""
    headers = answer.info.headers
    return not has_own_key(
        headers.get('x-amz-server-side-encryption'), headers.get('x-amz-server-side-encryption-customer-algorithm')
    )


def skip(answer: HeldAnswer, size_bytes: int) -> None:
    """Read what is there already, and forget it."""
    buffer = buffers.get()
    while size_bytes:
        size_bytes -= answer.read_into(buffer[:size_bytes])


def read_exactly(answer: Answer | HeldAnswer, size_bytes: int) -> bytes:
    data = answer.read(size_bytes)
    # Only a transport of the caller's gives less than there is.
    while len(data) < size_bytes:
        data += answer.read(size_bytes - len(data))
    return data
