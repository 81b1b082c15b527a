"""Responses whose bodies are not read yet, with their slots."""

from __future__ import annotations

from typing import Self

from s3po.body import UNWAITING_BYTES
from s3po.governor import Slot
from s3po.runtime import PerHub
from s3po.s3 import Answer

__all__ = ['READ_BYTES', 'OpenResponse', 'buffers', 'read_exactly', 'skip']

# Bytes per read from a connection: as much as a sink writes without waiting, because all greenlets of a thread share one
# buffer.
READ_BYTES = UNWAITING_BYTES

buffers = PerHub(lambda: memoryview(bytearray(READ_BYTES)))


class OpenResponse:
    """A response with the slot that it occupies until it is closed. Use it in a `with`."""

    def __init__(self, answer: Answer, slot: Slot) -> None:
        self._answer = answer
        self._slot: Slot | None = slot
        slot.is_kept = True
        self.read = answer.read
        self.read_into = answer.read_into

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.close(error)

    def close(self, error: BaseException | None = None) -> None:
        """Close the response and release the slot. May be called twice.

        Args:
            error: What its attempt raised; None if it succeeded.
        """
        slot, self._slot = self._slot, None
        if slot is not None:
            try:
                self._answer.close()
            finally:
                slot.end(error)


def skip(response: OpenResponse, size_bytes: int) -> None:
    """Read some bytes and discard them."""
    buffer = buffers.get()
    while size_bytes:
        size_bytes -= response.read_into(buffer[:size_bytes])


def read_exactly(response: Answer | OpenResponse, size_bytes: int) -> bytes:
    """Read exactly this many bytes."""
    data = response.read(size_bytes)
    # Only a transport of the caller returns fewer.
    while len(data) < size_bytes:
        data += response.read(size_bytes - len(data))
    return data
