"""Uploads one object: one PUT, or a multipart upload."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from s3po.body import Chunk, SizedSource, StreamSource
from s3po.config import KIB, MAX_PARTS, TransferConfig
from s3po.errors import UploadError
from s3po.jobs.notes import Notes
from s3po.memory import UNCOUNTED_BYTES, MemoryBudget, Room
from s3po.model import CompletedPart, TransferResult
from s3po.plan import Plan, plan_upload, stream_part_bytes
from s3po.runtime import under_way
from s3po.s3 import ID_HEADER, Extra, Headers, Stored
from s3po.transfer.attempts import Attempts
from s3po.transfer.completing import UploadVanished
from s3po.transfer.integrity import has_bytes, new_id, wants_id
from s3po.transfer.multipart import MultipartUpload, Piece
from s3po.transfer.part_memory import PartsInMemory
from s3po.transfer.parts import PartGroup
from s3po.transfer.resuming import UNSETTLED, Begun, UploadRecord, begun_upload, forget_uploads, source_of
from s3po.transfer.sending import buffer_bytes, part_attempt, put

__all__ = ['upload']

# What a stream has in memory before it counts as a whole part, so that many short streams fit into the budget.
SHORT_STREAM_BYTES: Final = 256 * KIB


def upload(
    attempts: Attempts,
    source: SizedSource | StreamSource,
    config: TransferConfig,
    headers: Headers,
    extra: Extra,
    notes: Notes | None = None,
    memory: Callable[[], MemoryBudget] | None = None,
    room: Room | None = None,
) -> TransferResult:
    """Upload a source to the object of `attempts`. Blocks until the store has confirmed it.

    Args:
        attempts: Makes the requests; has the object's name.
        source: An open source; it stays open.
        config: The size of the parts, and how many are sent in parallel.
        headers: Headers of the object.
        extra: The caller's further parameters.
        notes: The journal's notes about the job: an upload in parts continues that of an earlier run.
        memory: Returns the budget that counts parts of streams, and buffers; None for one of its own, by `config`.
        room: The memory of the transfer, if it has some already; the caller closes it.

    Raises:
        UploadError: The retries were used up. Nothing is published and no multipart upload is left.
        SourceChanged: The source changed while it was sent; likewise.
        IntegrityError: The received bytes repeatedly differed from those sent; likewise.
        TransportError: The store refused the request.
    """
    began = time.monotonic()
    memory = memory or functools.partial(MemoryBudget, config.max_memory)
    if notes is not None and not _is_in_parts(source, config):
        forget_uploads(notes, attempts, extra)
    if source.may_request:
        source.lent = functools.partial(attempts.governor.lent, attempts.bucket)
    small = source if isinstance(source, SizedSource) and source.size_bytes <= UNCOUNTED_BYTES else None
    if small is not None and small.size_bytes <= config.multipart_chunksize:
        # It counts in no budget. Not in a function of its own, to save a call.
        size_bytes, parts = small.size_bytes, 1
        if attempts.observer is not None:
            attempts.sized('PutObject', size_bytes)
        stored = put(attempts, small.chunk(0, size_bytes), headers, extra, sends_id=config.sends_id)
    else:
        stored, size_bytes, parts = _send(attempts, source, config, headers, extra, notes, memory, room)
    source.finish()
    return TransferResult(
        bucket=attempts.bucket,
        key=attempts.key,
        size_bytes=size_bytes,
        etag=stored.etag,
        version_id=stored.version_id,
        checksum=stored.checksum,
        parts=parts,
        attempts=parts + attempts.retried,
        seconds=time.monotonic() - began,
        warnings=attempts.warnings,
    )


def _is_in_parts(source: SizedSource | StreamSource, config: TransferConfig) -> bool:
    """Whether an upload has parts that a later run can continue."""
    return isinstance(source, SizedSource) and plan_upload(source.size_bytes, config).is_multipart


def _send(
    attempts: Attempts,
    source: SizedSource | StreamSource,
    config: TransferConfig,
    headers: Headers,
    extra: Extra,
    notes: Notes | None,
    memory: Callable[[], MemoryBudget],
    room: Room | None,
) -> tuple[Stored, int, int]:
    """Send a source that counts in the budget of memory. Returns what was stored, its size, and the number of parts."""
    if not isinstance(source, SizedSource):
        with under_way(), Room(memory(), is_callers=source.is_written) as opened:
            # Reading a stream runs code of the caller.
            opened.lend()
            return _Upload(attempts, config, headers, extra, notes, opened).stream(source)
    size_bytes = source.size_bytes
    if attempts.observer is not None:
        attempts.sized('PutObject', size_bytes)
    with _opened(room, memory) as opened:
        sending = _Upload(attempts, config, headers, extra, notes, opened)
        if size_bytes <= config.multipart_chunksize:
            # One part at most, so one request, whatever the threshold.
            return sending.whole(source), size_bytes, 1
        stored, parts = sending.sized(source)
        return stored, size_bytes, parts


def _opened(room: Room | None, memory: Callable[[], MemoryBudget]) -> contextlib.AbstractContextManager[Room]:
    return Room(memory()) if room is None else contextlib.nullcontext(room)


class _Upload:
    """The upload of one object that may need parts."""

    __slots__ = ('_attempts', '_config', '_extra', '_headers', '_notes', '_room')

    def __init__(
        self,
        attempts: Attempts,
        config: TransferConfig,
        headers: Headers,
        extra: Extra,
        notes: Notes | None,
        room: Room,
    ) -> None:
        self._attempts = attempts
        self._config = config
        self._headers = headers
        self._extra = extra
        self._notes = notes
        self._room = room

    def whole(self, source: SizedSource) -> Stored:
        """Send a source of known size in one request. Returns what was stored."""
        chunk = source.chunk(0, source.size_bytes)
        if not source.is_held:
            # A file object of the caller may send requests itself when it is read.
            self._room.lend()
        self._room.fit(buffer_bytes(chunk, self._attempts))
        return self._put(chunk)

    def sized(self, source: SizedSource) -> tuple[Stored, int]:
        """Send a source of known size. Returns what was stored, and the number of parts."""
        plan = plan_upload(source.size_bytes, self._config)
        if not plan.is_multipart:
            return self.whole(source), 1
        chunks = [source.chunk(part.offset, part.size_bytes) for part in plan]
        if source.can_change_unseen:
            self._read_first(chunks)
        record, begun = self._begun(source, plan, chunks)
        if isinstance(begun, Stored):
            return begun, len(chunks)
        try:
            return self._in_parts(source, chunks, record, begun)
        except UploadVanished:
            # The parts are gone and the object does not exist: it is safe to start again, once.
            if self._attempts.observer is not None:
                kept = () if begun is None else begun.parts
                for number, chunk in enumerate(chunks, 1):
                    if number not in kept:
                        self._attempts.moved('UploadPart', -chunk.size_bytes, number)
            try:
                return self._in_parts(source, chunks, record)
            except UploadVanished as error:
                raise self._given_up(error, 'so it was in the attempt before') from error

    def stream(self, source: StreamSource) -> tuple[Stored, int, int]:
        """Send a source of unknown size. Returns what was stored, its size, and the number of parts."""
        attempts, config = self._attempts, self._config
        first = self._first_part(source, stream_part_bytes(1, config))
        if not source.fill(1):
            return self._put(first), first.size_bytes, 1
        stream = _Stream(source, config, first, PartsInMemory(self._room, config.max_concurrency))
        # Its bytes are freed when it was sent.
        del first
        multipart = self._multipart(None if self._notes is None else UploadRecord(self._notes))
        try:
            stored, parts = multipart.run(
                stream.pieces(attempts, self._extra), width=stream.width, before_complete=source.check_unchanged, source=source
            )
        except UploadVanished as error:
            raise self._given_up(error, 'a stream cannot be read again') from error
        return stored, stream.size_bytes, parts

    def _first_part(self, source: StreamSource, part_bytes: int) -> Chunk:
        """Read the first part of a stream, which may be all of it."""
        short_bytes = min(SHORT_STREAM_BYTES, part_bytes)
        self._room.fit(short_bytes)
        if source.fill(short_bytes):
            # The first piece may be larger.
            self._room.grow(max(0, min(source.held_bytes, part_bytes) - short_bytes))
            self._room.fit(part_bytes)
        return source.next_chunk(part_bytes)

    def _given_up(self, error: UploadVanished, why: str) -> UploadError:
        attempts = self._attempts
        return UploadError(f'{error}; {why}', bucket=attempts.bucket, key=attempts.key, attempts=error.attempts)

    def _put(self, chunk: Chunk) -> Stored:
        return put(self._attempts, chunk, self._headers, self._extra, sends_id=self._config.sends_id)

    def _read_first(self, chunks: list[Chunk]) -> None:
        """Read all chunks for their checksums before one is sent; see SizedSource.can_change_unseen."""
        attempts = self._attempts
        algorithm = attempts.guard.algorithm(attempts.bucket)
        is_signed = attempts.transport.signs_bodies(attempts.bucket)
        if algorithm is None and not is_signed:
            # Each chunk is read only once, so there is nothing to compare.
            return
        group = PartGroup()
        try:
            for chunk in chunks:
                group.wait_below(self._config.max_concurrency)
                group.spawn(functools.partial(chunk.checksum, algorithm or 'CRC64NVME', with_sha256=is_signed))
            group.join()
        finally:
            group.kill()

    def _begun(self, source: SizedSource, plan: Plan, chunks: list[Chunk]) -> tuple[UploadRecord | None, Begun | Stored | None]:
        """The record of this upload in a journal, and what an earlier attempt has left of it."""
        if self._notes is None:
            return None, None
        touched = UNSETTLED if source.can_change_unseen else source.touched()
        version = source_of(source.version(), self._attempts, self._headers, self._extra, touched)
        record = UploadRecord(self._notes, version, plan.part_bytes)

        def is_equal(part: CompletedPart) -> bool:
            return has_bytes(chunks[part.number - 1], part.checksum, part.etag, is_encrypted=part.is_encrypted)

        sizes = [chunk.size_bytes for chunk in chunks]
        begun = begun_upload(self._notes, self._attempts, self._extra, record, sizes, is_equal)
        return record, _with_checksums(begun, chunks) if isinstance(begun, Begun) else begun

    def _in_parts(
        self, source: SizedSource, chunks: list[Chunk], record: UploadRecord | None, begun: Begun | None = None
    ) -> tuple[Stored, int]:
        needed = chunks[0].size_bytes if source.is_held else buffer_bytes(chunks[0], self._attempts)
        self._room.fit(needed)
        parts = PartsInMemory(self._room, self._config.max_concurrency)

        def pieces() -> Iterator[Piece]:
            for number, chunk in enumerate(chunks, 1):
                send = part_attempt(self._attempts, chunk, self._extra, number)
                if source.may_request:
                    send = functools.partial(_lending, self._room, send)
                is_kept = begun is not None and number in begun.parts
                yield number, chunk.size_bytes, send if is_kept else parts.counted(send, needed)

        return self._multipart(record, begun).run(
            pieces(),
            width=lambda: parts.width(needed),
            before_complete=source.check_unchanged,
            source=source,
        )

    def _multipart(self, record: UploadRecord | None, begun: Begun | None = None) -> MultipartUpload:
        headers, own_id = self._headers, None
        if self._config.sends_id and wants_id(headers, self._extra, is_multipart=True):
            own_id = new_id()
            headers = {**headers, ID_HEADER: own_id}
        return MultipartUpload(
            self._attempts, headers, self._extra, own_id=own_id, has_checksums=True, record=record, begun=begun
        )


def _with_checksums(begun: Begun, chunks: list[Chunk]) -> Begun:
    """If some of the kept parts have a checksum, those without one get that of their bytes, which are equal."""
    parts = begun.parts
    algorithm = next((part.checksum.partition(':')[0] for part in parts.values() if part.checksum is not None), None)
    if algorithm is None:
        return begun
    checked = {
        number: part if part.checksum is not None else replace(part, checksum=chunks[number - 1].checksum(algorithm))
        for number, part in parts.items()
    }
    return replace(begun, parts=checked)


def _lending(room: Room, send: Callable[[str], CompletedPart], upload_id: str) -> CompletedPart:
    """Send a part of a source that runs code of the caller when it is read."""
    with room.lent():
        return send(upload_id)


class _Stream:
    """The parts of a stream, in order."""

    def __init__(self, source: StreamSource, config: TransferConfig, first: Chunk, parts: PartsInMemory) -> None:
        self._source = source
        self._config = config
        self._first: Chunk | None = first
        self._parts = parts
        self._number = 1
        self.size_bytes = 0

    def width(self) -> int:
        """How many parts may be in memory, the next one included."""
        return self._parts.width(stream_part_bytes(min(self._number, MAX_PARTS), self._config))

    def pieces(self, attempts: Attempts, extra: Extra) -> Iterator[Piece]:
        """Read the stream and return its parts one by one."""
        for number in itertools.count(1):
            piece = self._piece(attempts, extra, number)
            if piece is None:
                return
            yield piece
            # Without a reference here, its bytes are freed when it was sent.
            del piece

    def _piece(self, attempts: Attempts, extra: Extra, number: int) -> Piece | None:
        chunk = self._next_chunk(number)
        if not chunk.size_bytes:
            return None
        self._number = number + 1
        self.size_bytes += chunk.size_bytes
        send = self._parts.counted(part_attempt(attempts, chunk, extra, number), chunk.size_bytes)
        return number, chunk.size_bytes, send

    def _next_chunk(self, number: int) -> Chunk:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if number > MAX_PARTS:
            # A stream may end exactly with its last part; only data after it is an error.
            behind = self._source.next_chunk(1)
            if not behind.size_bytes:
                return behind
        return self._source.next_chunk(stream_part_bytes(number, self._config))
