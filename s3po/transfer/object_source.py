"""An object of another store as the source of an upload: its parts are fetched when they are sent.

Invariants:
- A part is fetched before its upload takes a slot, so that no transfer holds slots of both stores.
- All parts are of one version: each range carries If-Match, and its response is compared with the first one.
- If a digest needs the parts in order, a part waits for the one before it, without a slot. That one was begun earlier, so it is
  fetched, or the transfer has failed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from gevent.event import Event

from s3po.body import BytesChunk, Chunk, SizedSource
from s3po.config import MIB, TransferConfig
from s3po.errors import NetworkError, PreconditionFailed, SourceChanged
from s3po.memory import UNCOUNTED_BYTES, Room
from s3po.plan import Plan, plan_upload
from s3po.runtime import offload
from s3po.s3 import Answer
from s3po.s3.expected import is_strong
from s3po.transfer.fetching import check_size
from s3po.transfer.integrity import Check, Mismatch, source_check
from s3po.transfer.open_responses import READ_BYTES, read_exactly
from s3po.transfer.requesting import ObjectDownload

__all__ = ['Differs', 'ObjectSource', 'Replaced', 'open_object']


class Replaced(SourceChanged):
    """The source was replaced by another version."""


class Differs(SourceChanged):
    """The copied bytes are not the source's. (A SourceChanged, so that no journal keeps the upload.)

    Attributes:
        mismatch: What differs.
    """

    def __init__(self, mismatch: Mismatch) -> None:
        super().__init__(str(mismatch))
        self.mismatch = mismatch


def open_object(download: ObjectDownload, config: TransferConfig, room: Room, *, is_new: bool) -> ObjectSource:
    """Request an object. Blocks until all bytes of a small one have arrived, or the first part of a large one.

    Args:
        download: What to request; its sink is not used.
        config: The settings of the upload.
        room: The memory of the transfer. It is taken when the size is known, and before the bytes are read.
        is_new: False if an earlier run may have sent the first part; it is not read then.
    """
    opening = _Opening(download, config, room, is_new=is_new).attempt
    while True:
        source = download.attempts.run_without_slot('GetObject', opening)
        # None: there was no room in memory for a long time. There is now.
        if source is not None:
            return source


class _Opening:
    """The attempts at the first request."""

    def __init__(self, download: ObjectDownload, config: TransferConfig, room: Room, *, is_new: bool) -> None:
        self._download = download
        self._config = config
        self._room = room
        self._is_new = is_new

    def attempt(self) -> ObjectSource | None:
        """One attempt. The wait for room holds no slot; after a long one the response is closed, and None is returned."""
        attempts = self._download.attempts
        with attempts.governor.slot(attempts.bucket) as slot:
            answer = self._download.get_all()
            try:
                needed = self._needed_bytes(answer.size_bytes)
                if needed <= UNCOUNTED_BYTES or self._room.try_fit(needed):
                    return self._read(answer)
                # The store has answered; the wait is not part of the attempt.
                slot.end()
                if self._room.fit(needed, answer.close):
                    return None
                with attempts.governor.slot(attempts.bucket):
                    return self._read(answer)
            finally:
                answer.close()

    def _needed_bytes(self, size_bytes: int) -> int:
        if size_bytes < 0:
            return self._config.multipart_chunksize
        plan = plan_upload(size_bytes, self._config)
        return plan.part_bytes if plan.is_multipart else size_bytes

    def _read(self, answer: Answer) -> ObjectSource:
        download, config = self._download, self._config
        data = b'' if answer.size_bytes >= 0 else _read_unsized(download, answer, config)
        size_bytes = answer.size_bytes if answer.size_bytes >= 0 else len(data)
        plan = plan_upload(size_bytes, config)
        check = source_check(download.checksum, answer)
        if check is not None and check.is_streamed and plan.is_multipart and not self._is_new:
            # It needs all parts, and some may have been sent.
            check = None
        if not plan.is_multipart:
            data = data or read_exactly(answer, size_bytes)
            if check is not None and check.is_streamed and size_bytes > MIB:
                offload(check.verify_whole, download, data)
            elif check is not None:
                check.verify_whole(download, data)
        elif self._is_new:
            data = read_exactly(answer, plan.part_bytes)
        if download.attempts.observer is not None:
            download.attempts.moved('GetObject', len(data))
        return ObjectSource(download, answer, plan, check, data, config)


def _read_unsized(download: ObjectDownload, answer: Answer, config: TransferConfig) -> bytes:
    """Read a chunked response of unknown length; only an object that fits into one part can be copied from it."""
    pieces, size_bytes = list[bytes](), 0
    while data := answer.read(READ_BYTES):
        pieces.append(data)
        size_bytes += len(data)
        if size_bytes > config.multipart_chunksize:
            raise NetworkError(f'{download}: the response has no Content-Length, so the object cannot be read in parts')
    check_size(download, size_bytes)
    return b''.join(pieces)


class ObjectSource(SizedSource):
    """One version of an object, as the source of an upload to another store.

    Attributes:
        info: The store's description of it.
        config: The settings of the upload.
        is_compared: Whether all bytes were compared with the source's checksum.
    """

    is_held = True

    def __init__(
        self, download: ObjectDownload, answer: Answer, plan: Plan, check: Check | None, data: bytes, config: TransferConfig
    ) -> None:
        """
        Args:
            download: Requests the bytes.
            answer: The first response, for its headers.
            plan: The parts.
            check: Compares the parts; None if there is nothing to compare them with.
            data: All bytes of a small object, or those of the first part.
            config: The settings of the other connection.
        """
        self.name = f's3://{download.attempts.bucket}/{download.attempts.key}'
        info = answer.info
        self.info = info if info.size_bytes == plan.size_bytes else dataclasses.replace(info, size_bytes=plan.size_bytes)
        self.size_bytes = plan.size_bytes
        self.config = config
        self._download = download
        self._version = _version_of(answer)
        self._is_pinned = is_strong(answer.etag)
        self._plan = plan
        self._check = check
        self._state: Any = None
        # For a digest: set when it is the turn of the part with this number.
        self._turns = defaultdict[int, Event](Event)
        self._data = data
        self._chunks: dict[int, _RangeChunk] = {}
        self._seen: set[int] = set()
        self.is_compared = check is not None and not plan.is_multipart

    @property
    def trusts_etag(self) -> bool:
        """Whether an ETag in the form of an MD5 is one: not if only a checksum has proved the bytes."""
        is_proved = self._check is not None and self.is_compared and not self._check.expected.startswith('MD5:')
        return not is_proved and self._download.checksum != 'none'

    def chunk(self, offset: int, size_bytes: int) -> Chunk:
        if size_bytes == self.size_bytes:
            return BytesChunk(self._data)
        number = offset // self._plan.part_bytes + 1
        self._chunks[number] = chunk = _RangeChunk(self, number, offset, size_bytes)
        return chunk

    def version(self) -> str:
        """The version of the object; '' if nothing identifies it."""
        etag, version_id = self.info.etag, self.info.version_id
        return f'{self.name} {version_id} {etag} {self.size_bytes}' if self._is_pinned else ''

    @contextlib.contextmanager
    def holding(self, number: int) -> Iterator[None]:
        """Fetch a part, and keep its bytes while it is sent."""
        chunk = self._chunks[number]
        data, self._data = (self._data, b'') if number == 1 and self._data else (self.fetch(number, chunk), self._data)
        if self._check is not None:
            self._take(self._check, number, data)
        chunk.hold(data)
        del data
        try:
            yield
        finally:
            chunk.hold(None)

    def check_unchanged(self) -> None:
        """Compare the parts with the source's checksum, before the upload is completed. (Not if some were sent earlier.)"""
        self._turns.clear()
        if self._check is None or len(self._seen) != len(self._plan):
            return
        try:
            self._check.verify(self._download)
        except Mismatch as error:
            raise Differs(error) from error
        self.is_compared = True

    def fetch(self, number: int, chunk: _RangeChunk) -> bytes:
        """Fetch the bytes of a part.

        Raises:
            SourceChanged: The object was replaced by another version.
        """
        get = functools.partial(self._get, number, chunk.offset, chunk.size_bytes)
        try:
            return self._download.attempts.run('GetObject', get, part_number=number)
        except PreconditionFailed as error:
            raise Replaced(f'{self.name} was replaced while it was copied') from error

    def _get(self, number: int, offset: int, size_bytes: int) -> bytes:
        """One attempt at the bytes of a part."""
        download = self._download
        answer = download.get((offset, offset + size_bytes), self.info.etag if self._is_pinned else None)
        try:
            if _version_of(answer) != self._version:
                raise Replaced(f'{self.name} was replaced while it was copied')
            if (answer.offset, answer.size_bytes) != (offset, size_bytes):
                raise download.wrong_range(answer, f'bytes {offset:,} to {offset + size_bytes:,} of {self.info.etag}')
            data = read_exactly(answer, size_bytes)
        finally:
            answer.close()
        if download.attempts.observer is not None:
            download.attempts.moved('GetObject', size_bytes, number)
        return data

    def _take(self, check: Check, number: int, data: bytes) -> None:
        """Pass the bytes of a part to the check."""
        if not check.is_streamed:
            check.end(number, check.update(check.start(), data), len(data))
        else:
            if number == 1:
                self._state = check.start()
            else:
                self._turns[number].wait()
            self._state = offload(check.update, self._state, data)
            check.end(1, self._state, len(data))
            self._turns[number + 1].set()
        self._seen.add(number)


class _RangeChunk:
    """A `Chunk` of a range of an object. Its bytes are in memory while it is sent; before and after, each call fetches them."""

    needs_buffer = False

    def __init__(self, source: ObjectSource, number: int, offset: int, size_bytes: int) -> None:
        self._source = source
        self._number = number
        self._held: BytesChunk | None = None
        self.offset = offset
        self.size_bytes = size_bytes

    def hold(self, data: bytes | None) -> None:
        """Keep the bytes; None releases them."""
        self._held = None if data is None else BytesChunk(data)

    def read(self) -> bytes:
        return self._bytes().read()

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        return self._bytes().pieces(buffer)

    def sha256(self) -> str:
        return self._bytes().sha256()

    def checksum(self, algorithm: str, *, with_sha256: bool = False) -> str:
        return self._bytes().checksum(algorithm, with_sha256=with_sha256)

    def _bytes(self) -> BytesChunk:
        return self._held or BytesChunk(self._source.fetch(self._number, self))


def _version_of(answer: Answer) -> tuple[object, ...]:
    """What two responses about the same version of an object have in common, also if the ETag is missing or weak."""
    return answer.etag, answer.whole_bytes, answer.version_id, answer.header('last-modified')
