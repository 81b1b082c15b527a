"""The GETs of a download: what they request, and whether the response is exactly that."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from s3po.body import Sink
from s3po.config import TransferConfig
from s3po.errors import IntegrityError, InvalidRequest
from s3po.memory import MemoryBudget, Room
from s3po.s3 import Answer, Extra
from s3po.transfer.attempts import Attempts
from s3po.transfer.continuing import DownloadRecord

__all__ = ['Fetched', 'ObjectDownload']


class Fetched(NamedTuple):
    """The result of a download. (Not a dataclass: one is made for each small object.)

    Attributes:
        size_bytes: The number of bytes.
        etag: The object's ETag.
        version_id: The object's version.
        checksum: The checksum that the bytes were compared with; None for none.
        parts: The number of requests that carried the bytes.
    """

    size_bytes: int
    etag: str
    version_id: str | None
    checksum: str | None
    parts: int


class ObjectDownload:
    """One download: which bytes of an object to fetch, and where they go. (Not a dataclass, like Fetched.)

    Attributes:
        attempts: Makes the requests; names the object.
        target: The target of the download.
        sink: Takes the bytes: the target, or the sink that it selects once the object is known.
        config: The size of the ranges, and how many are fetched at once.
        byte_range: (start, stop), half-open, stop None for the end; None for the whole object.
        if_match: The ETag that the object must have; None for any.
        version_id: The version to fetch; None for the current one.
        extra: The caller's further parameters.
        memory: Returns the budget that counts the bytes; None if the caller counts them.
        room: Their memory, while the download runs; None for none.
        checksum: TransferConfig.checksum; 'none' for a part of the object.
        record: Records the download in a journal; None for none.
    """

    __slots__ = (
        'attempts',
        'byte_range',
        'checksum',
        'config',
        'extra',
        'if_match',
        'memory',
        'record',
        'room',
        'sink',
        'target',
        'version_id',
    )

    def __init__(
        self,
        attempts: Attempts,
        target: Sink,
        config: TransferConfig,
        *,
        byte_range: tuple[int, int | None] | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
        extra: Extra,
        record: DownloadRecord | None = None,
        memory: Callable[[], MemoryBudget] | None = None,
    ) -> None:
        self.attempts = attempts
        self.target = self.sink = target
        self.config = config
        # The range from 0 to the end is the whole object; and S3 refuses every range of an empty object.
        self.byte_range = None if byte_range == (0, None) else byte_range
        self.if_match = if_match
        self.version_id = version_id
        self.extra = extra
        self.record = record
        self.memory = memory
        self.room: Room | None = None
        self.checksum = config.checksum if self.byte_range is None else 'none'

    def __str__(self) -> str:
        return f'GetObject s3://{self.attempts.bucket}/{self.attempts.key}'

    def memory_room(self) -> Room | None:
        """Its room in the budget, new at the first call; None if the caller counts the bytes."""
        if self.room is None and self.memory is not None:
            self.room = Room(self.memory())
            if self.sink.is_ordered:
                # Writing runs code of the caller.
                self.room.lend()
        return self.room

    def get_all(self) -> Answer:
        """Request all bytes of the download.

        Raises:
            IntegrityError: The response has other bytes.
        """
        if self.byte_range is None:
            attempts = self.attempts
            # As get(), without that call.
            answer = attempts.transport.get_object(
                attempts.bucket,
                attempts.key,
                if_match=self.if_match,
                version_id=self.version_id,
                wants_checksum=self.checksum != 'none',
                extra=self.extra,
            )
            if answer.offset == 0 and answer.size_bytes == answer.whole_bytes:
                # The usual case; this saves the call below.
                return answer
        else:
            answer = self._get_first_range(self.byte_range)
        try:
            self._check_range(answer)
        except IntegrityError:
            answer.close()
            raise
        return answer

    def get(self, byte_range: tuple[int, int | None] | None, if_match: str | None) -> Answer:
        """Send one GET."""
        attempts = self.attempts
        return attempts.transport.get_object(
            attempts.bucket,
            attempts.key,
            byte_range=byte_range,
            if_match=if_match,
            version_id=self.version_id,
            # Stores have the checksum of the whole object only, and send it with no range.
            wants_checksum=byte_range is None and self.checksum != 'none',
            extra=self.extra,
        )

    def wrong_range(self, answer: Answer, wanted: str) -> IntegrityError:
        """The error for a response of other bytes than the wanted ones."""
        return IntegrityError(
            f'{self}: asked for {wanted}, and the store sent {answer.size_bytes:,} bytes from {answer.offset:,} of '
            f'{answer.whole_bytes:,} with status {answer.status}'
        )

    def _get_first_range(self, byte_range: tuple[int, int | None]) -> Answer:
        try:
            return self.get(byte_range, self.if_match)
        except InvalidRequest as error:
            if byte_range[0] != 0 or error.status != 416:
                raise
        # The object is empty, and so are its first bytes.
        return self.get(None, self.if_match)

    def _check_range(self, answer: Answer) -> None:
        whole, byte_range = answer.whole_bytes, self.byte_range
        start, stop = byte_range or (0, None)
        # A range that ends after the object's end has the bytes to the object's end.
        end = whole if stop is None else min(stop, whole)
        # A chunked response without a size may be the whole object, but does not prove that it is the requested range.
        is_unknown = whole < 0 and (start, stop) != (0, None)
        if is_unknown or answer.offset != start or answer.size_bytes != end - start:
            raise self.wrong_range(answer, f'bytes from {start:,}' + ('' if stop is None else f' to {stop:,}'))
