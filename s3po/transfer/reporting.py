"""Reports the bytes of uploads to an observer, as they are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from s3po.body import Chunk
from s3po.transfer.attempts import Attempts

__all__ = ['ReportedChunk']

P = ParamSpec('P')
T = TypeVar('T')


class ReportedChunk:
    """A Chunk that reports how much of it was sent.

    For a transport that reads all of it at once (boto), the bytes are reported when the request has succeeded.
    """

    def __init__(self, chunk: Chunk, attempts: Attempts, operation: str, part_number: int | None = None) -> None:
        """
        Args:
            chunk: The bytes.
            attempts: Reports to the observer.
            operation: S3's name of the request.
            part_number: The part; None for a whole object.
        """
        self._chunk = chunk
        self._attempts = attempts
        self._operation = operation
        self._part_number = part_number
        self._sent_bytes = 0
        self.size_bytes = chunk.size_bytes
        self.needs_buffer = chunk.needs_buffer
        self.read = chunk.read
        self.sha256 = chunk.sha256
        self.checksum = chunk.checksum

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        self._report(0)
        for piece in self._chunk.pieces(buffer):
            yield piece
            self._report(self._sent_bytes + len(piece))

    def attempt(self, send: Callable[P, T]) -> Callable[P, T]:
        """Wrap an attempt: on failure it takes back what it has reported, on success it reports the rest."""

        def send_and_report(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                value = send(*args, **kwargs)
            except BaseException:
                self._report(0)
                raise
            self._report(self.size_bytes)
            return value

        return send_and_report

    def _report(self, sent_bytes: int) -> None:
        moved, self._sent_bytes = sent_bytes - self._sent_bytes, sent_bytes
        self._attempts.moved(self._operation, moved, self._part_number)
