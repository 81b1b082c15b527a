"""The parts of a large object: fetched side by side in ranges, then compared with the object's checksum.

All ranges carry If-Match with the ETag of the first response, so that they are of one version.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import gevent.event

from s3po.errors import PreconditionFailed, S3poError, TransportError
from s3po.model import Part
from s3po.plan import Plan, plan_download
from s3po.runtime import GRACE_S
from s3po.s3 import Answer
from s3po.transfer.continuing import DownloadRecord, Version
from s3po.transfer.integrity import Check, Mismatch, check_of
from s3po.transfer.open_responses import OpenResponse, buffers, read_exactly, skip
from s3po.transfer.parts import PartGroup
from s3po.transfer.requesting import Fetched, ObjectDownload

__all__ = ['Ranges', 'RangesIgnored', 'Replaced', 'kept_ranges']

UNGUARDED = (
    'the downloaded bytes are not verified: two downloads are equal, but the ETag is not that of parts of multipart_chunksize; '
    'the object was uploaded in parts of another size'
)


class RangesIgnored(TransportError):
    """The store sends the whole object in place of a range."""


class Replaced(Exception):
    """The object was replaced by another version; `__cause__` is the store's refusal of the range."""


class PartProgress:
    """The bytes of a part that have arrived.

    Attributes:
        part: The part.
        offset: The offset of its next byte in the object.
        state: The check's state after the bytes so far.
        crc: The CRC64NVME of the bytes so far, for the record.
    """

    __slots__ = ('crc', 'offset', 'part', 'state')

    def __init__(self, part: Part, state: Any) -> None:
        self.part = part
        self.offset = part.offset
        self.state = state
        self.crc = 0


class Ranges:
    """Fetches and compares the parts of one version of an object."""

    def __init__(
        self,
        download: ObjectDownload,
        response: OpenResponse | None,
        plan: Plan,
        check: Check | None,
        answer: Answer | Version,
        *,
        is_one_stream: bool,
        kept: Collection[int] = (),
    ) -> None:
        """
        Args:
            download: What to fetch.
            response: The open response to the request for everything; None if the download continues an earlier one.
            plan: The parts.
            check: Compares them; None if there is nothing to compare them with.
            answer: That response's headers, or the version that was downloaded earlier.
            is_one_stream: Whether to accept the whole object as the response to the request for a range.
            kept: The numbers of the parts that are in the sink already.
        """
        self._download = download
        self._response = response
        self._plan = plan
        self._check = check
        self._answer = answer
        self._is_one_stream = is_one_stream
        self._kept = kept
        self._record = download.record if download.record is not None and download.record.sink is download.sink else None
        # By part number.
        self._progress: dict[int, PartProgress] = {}

    def fetch(self) -> Fetched:
        """Fetch all parts, and compare them.

        Raises:
            RangesIgnored: The store sends the whole object in place of a range.
            Replaced: The object was replaced by another version.
            Mismatch: The bytes differ from the stored ones in all attempts.
        """
        answer, check = self._answer, self._check
        try:
            if self._record is not None and self._response is not None:
                self._record.opened(answer.etag, answer.version_id, self._plan.size_bytes, check)
            missing = [part for part in self._plan if part.number not in self._kept]
            if not missing:
                self._check_version()
            self._fetch_parts(missing, self._response)
            is_proved = check is not None and self._verify(check)
        except BaseException as error:
            self._forget(self._plan)
            if isinstance(error, PreconditionFailed):
                raise Replaced from error
            raise
        checksum = check.expected if check is not None and is_proved else None
        return Fetched(self._plan.size_bytes, answer.etag, answer.version_id, checksum, len(self._plan))

    def _check_version(self) -> None:
        """Fetch one byte, because nothing is missing, to see whether the object is still the same."""

        def attempt() -> None:
            with self._get_rest(PartProgress(Part(number=1, offset=0, size_bytes=1), None)) as response:
                response.read(1)

        self._download.attempts.run_without_slot('GetObject', attempt)

    # --- verify

    def _verify(self, check: Check) -> bool:
        """Compare; after a mismatch, re-download the parts that may be wrong. Returns False if the check itself was wrong.

        At first any part may be wrong, so all of them are downloaded again. After that, only parts that differed between two
        downloads can be wrong.
        """
        attempts, sink = self._download.attempts, self._download.sink
        suspects, budget = list(self._plan), attempts.integrity_retries
        for again in range(budget + 1):
            try:
                check.verify(self._download)
            except Mismatch as error:
                if again == budget:
                    error.attempts = budget + 1
                    raise
            else:
                return True
            before = {part.number: check.seen(part.number) for part in suspects}
            if sink.is_ordered:
                sink.begin(self._plan.size_bytes)
            attempts.retried += len(suspects)
            self._fetch_parts(suspects, None)
            differing = [part for part in suspects if check.seen(part.number) != before[part.number]]
            if not differing and check.is_guess:
                # Both downloads returned the same bytes, so the guess is wrong.
                attempts.warn(UNGUARDED)
                return False
            if differing and not sink.is_ordered:
                suspects = differing
        raise AssertionError('the last round returns or raises')

    # --- side by side, or in order

    def _fetch_parts(self, parts: Iterable[Part], first: OpenResponse | None) -> None:
        """Fetch some parts.

        Args:
            parts: The parts.
            first: The open response from which the first attempt reads part 1; None for none.
        """
        group, parts = PartGroup(), list(parts)
        self._forget(parts)
        try:
            if self._download.sink.is_ordered:
                self._fetch_in_order(group, first, iter(parts))
            else:
                for part in parts:
                    group.wait_below(self._download.config.max_concurrency)
                    group.spawn(self._fetch_part, part, first)
                group.join()
            came = sum(part.number in self._progress and self._progress[part.number].offset == part.stop for part in parts)
            if came != len(parts):
                raise S3poError(f'{self._download}: only {came} of {len(parts)} parts were received')
        except BaseException as error:
            if not self._download.attempts.governor.is_parents:
                self._end_parts(group, error)
            raise
        finally:
            # Part 1 does not close the response if it was killed before it began.
            if first is not None:
                first.close()

    def _end_parts(self, group: PartGroup, error: BaseException) -> None:
        """End the other parts. One that writes to a slow disk ends when it has written; until then the sink stays open."""
        download = self._download

        def end() -> None:
            group.kill()
            download.sink.let_go()

        download.sink.hold()
        # A download that failed may be started again, and by then no old greenlet may still write.
        patience_s = math.inf if isinstance(error, S3poError) else GRACE_S
        download.attempts.pending_aborts.cleanups.run(end, f'the end of the parts of {download}', patience_s=patience_s)

    def _fetch_in_order(self, group: PartGroup, first: OpenResponse | None, parts: Iterator[Part]) -> None:
        """Fetch several parts at once, hold back those that arrive early, and write all in order."""
        sink, width, room = self._download.sink, self._download.config.max_concurrency, self._download.room
        part_bytes = self._plan.part_bytes
        ahead: collections.deque[tuple[Part, gevent.event.AsyncResult[bytes]]] = collections.deque()
        while True:
            # There is room for the first missing part; others are fetched if there is more.
            while len(ahead) < width and (not ahead or room is None or room.try_fit((len(ahead) + 1) * part_bytes)):
                part = next(parts, None)
                if part is None:
                    break
                result: gevent.event.AsyncResult[bytes] = gevent.event.AsyncResult()
                group.spawn(self._fetch_ahead, part, first, result)
                ahead.append((part, result))
            if not ahead:
                return
            part, result = ahead.popleft()
            group.check()
            data: bytes = result.get()  # type: ignore[assignment]  # its stubs allow None, which is never set
            # If one part failed, the others were killed, and their results show only that.
            group.check()
            sink.write_at(part.offset, data)
            del data, result
            if room is not None:
                room.shrink(max(1, len(ahead)) * part_bytes)

    def _fetch_ahead(self, part: Part, first: OpenResponse | None, result: gevent.event.AsyncResult[bytes]) -> None:
        data = b''
        try:
            data = self._fetch_part(part, first)
        finally:
            result.set(data)

    # --- one part

    def _fetch_part(self, part: Part, first: OpenResponse | None) -> bytes:
        """Fetch one part. Returns its bytes for an ordered sink, else b''.

        The first attempt at part 1 continues to read the first response; all other attempts request the missing bytes.
        """
        responses = [first] if part.number == 1 and first is not None else []
        progress = PartProgress(part, None if self._check is None else self._check.start())
        self._progress[part.number] = progress

        def attempt() -> bytes:
            with responses.pop() if responses else self._get_rest(progress) as response:
                return self._receive(response, progress)

        return self._download.attempts.run_without_slot('GetObject', attempt, part_number=part.number)

    def _get_rest(self, progress: PartProgress) -> OpenResponse:
        """Request the bytes of a part that are missing."""
        download, etag, whole_bytes = self._download, self._answer.etag, self._answer.whole_bytes
        start, size_bytes = self._answer.offset + progress.offset, progress.part.stop - progress.offset
        attempts = download.attempts
        with attempts.governor.slot(attempts.bucket) as slot:
            answer = download.get((start, start + size_bytes), etag)
            response = OpenResponse(answer, slot)
        is_same = answer.etag == etag and answer.whole_bytes == whole_bytes
        if is_same and (answer.offset, answer.size_bytes) == (start, size_bytes):
            return response
        try:
            if not is_same or (answer.offset, answer.size_bytes) != (0, whole_bytes):
                raise download.wrong_range(answer, f'bytes {start:,} to {start + size_bytes:,} of {etag}')
            if not self._is_one_stream:
                raise RangesIgnored(f'{download}: the store sends the whole object in response to the request for a range')
            skip(response, start)
        except BaseException as error:
            response.close(error)
            raise
        return response

    def _receive(self, response: OpenResponse, progress: PartProgress) -> bytes:
        """Read the rest of a part: write it to the sink as it arrives, or, for an ordered sink, return it as a whole.

        An ordered sink accepts no byte twice, which would be necessary after an attempt that failed half-way.
        """
        part, check, data = progress.part, self._check, b''
        if self._download.sink.is_ordered:
            data = read_exactly(response, part.size_bytes)
            progress.state = None if check is None else check.update(check.start(), data)
            self._advance(progress, part.size_bytes)
        else:
            self._receive_into_sink(response, progress)
            if self._record is not None:
                self._record.received(part, progress.crc)
        if check is not None:
            check.end(part.number, progress.state, part.size_bytes)
        return data

    def _receive_into_sink(self, response: OpenResponse, progress: PartProgress) -> None:
        sink, part, check, record = self._download.sink, progress.part, self._check, self._record
        window = sink.window(part.offset, part.size_bytes)
        buffer = buffers.get() if window is None else window[progress.offset - part.offset :]
        while progress.offset < part.stop:
            # Without a window, no other greenlet runs between these, so one buffer serves them all, and stays in the
            # processor's cache.
            size_bytes = response.read_into(buffer[: part.stop - progress.offset])
            if check is not None:
                progress.state = check.update(progress.state, buffer[:size_bytes])
            if record is not None:
                progress.crc = record.crc(buffer[:size_bytes], progress.crc)
            if window is None:
                sink.write_at(progress.offset, buffer[:size_bytes])
            else:
                buffer = buffer[size_bytes:]
            self._advance(progress, size_bytes)

    def _advance(self, progress: PartProgress, size_bytes: int) -> None:
        progress.offset += size_bytes
        if self._download.attempts.observer is not None:
            self._download.attempts.moved('GetObject', size_bytes, progress.part.number)

    def _forget(self, parts: Iterable[Part]) -> None:
        """Set the progress of parts back to nothing."""
        attempts = self._download.attempts
        for part in parts:
            progress = self._progress.pop(part.number, None)
            if progress is not None and attempts.observer is not None:
                attempts.moved('GetObject', progress.part.offset - progress.offset, part.number)


def kept_ranges(download: ObjectDownload, record: DownloadRecord) -> Ranges | None:
    """The download that an earlier attempt began, with its target open; None to start anew."""
    note = record.found(download.if_match)
    if note is None:
        return None
    download.sink = record.sink
    plan = plan_download(note.size_bytes, download.config)
    check = check_of(download.checksum, note.checksum)
    if check is not None and check.is_streamed:
        plan = Plan(note.size_bytes, note.size_bytes, is_multipart=False)
    kept = record.kept_parts(note, plan, check)
    if record.sink.is_published and len(kept) < len(plan):
        # An older file, or one that was changed.
        record.sink.close_published()
        return None
    return Ranges(
        download, None, plan, check, Version(note.etag, note.version_id, note.size_bytes), is_one_stream=False, kept=kept
    )
