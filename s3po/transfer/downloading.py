"""One object down: one GET, or a GET whose rest is fetched in ranges.

The first GET asks for everything. Its headers tell the size and the ETag, so no HEAD is needed. What is no larger than one
part is read to its end. Of a larger object the first part is read from that answer; meanwhile the others come by ranges that
carry If-Match, so that all of them are of one version of the object.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Iterator
from dataclasses import dataclass

import gevent.event

from s3po.body import UNWAITING_BYTES, Sink
from s3po.checksum import combined, crc64nvme, stated_crc64nvme
from s3po.config import TransferConfig
from s3po.errors import IntegrityError, InvalidRequest, PreconditionFailed, SourceChanged
from s3po.governor import Governor
from s3po.model import Part, TransferResult
from s3po.plan import Plan, plan_download
from s3po.runtime import PerHub, shielded
from s3po.transfer.attempts import Attempts
from s3po.transfer.parts import PartGroup
from s3po.transport import Answer, Extra

__all__ = ['DownloadRequest', 'download']

# How much is read from a connection at a time: what a sink takes without a wait, as all greenlets of a thread have one buffer.
READ_BYTES = UNWAITING_BYTES
# How often an object that is replaced while it is read is begun anew.
RESTARTS = 2
NO_PLAN = Plan(0, 1, is_multipart=False)

_buffers = PerHub(lambda: memoryview(bytearray(READ_BYTES)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRequest:
    """What to fetch of an object.

    Attributes:
        byte_range: (start, stop), half-open, stop None for the end; None for the whole object.
        if_match: Only if the object has this ETag.
        version_id: One version.
        extra: The caller's further parameters.
    """

    byte_range: tuple[int, int | None] | None = None
    if_match: str | None = None
    version_id: str | None = None
    extra: Extra


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
        TransportError: The store refused, or what came was not what was asked for.
        LocalError: The target cannot be written.
    """
    began = time.monotonic()
    try:
        fetch = _fetch(attempts, sink, config, request)
        sink.commit()
    except BaseException as error:
        # What happened counts for more than what its clean-up has to say.
        try:
            sink.rollback()
        except Exception as failure:  # noqa: BLE001  (whatever it is, it is told)
            error.add_note(str(failure))
        raise
    return TransferResult(
        bucket=attempts.bucket,
        key=attempts.key,
        size_bytes=fetch.size_bytes,
        etag=fetch.etag,
        version_id=fetch.version_id,
        checksum=fetch.checksum,
        parts=fetch.parts,
        attempts=fetch.parts + attempts.retried,
        seconds=time.monotonic() - began,
    )


def _fetch(attempts: Attempts, sink: Sink, config: TransferConfig, request: DownloadRequest) -> _Fetch:
    """Fetch one version of the object, and no other's bytes."""
    for restart in range(RESTARTS + 1):
        fetch = _Fetch(attempts, sink, config, request)
        try:
            fetch.run()
        except PreconditionFailed as error:
            if not fetch.is_pinned:
                raise
            if restart == RESTARTS:
                raise SourceChanged(
                    f's3://{attempts.bucket}/{attempts.key} was replaced {RESTARTS + 1} times while it was downloaded'
                ) from error
        else:
            return fetch
    raise AssertionError('unreachable')


class _Fetch:
    """One go at fetching one version of an object.

    Attributes:
        etag: Its ETag.
        version_id: Its version.
        checksum: The checksum of it that was compared with what came; None where there was none to compare with.
        is_pinned: Whether its parts are asked for by its ETag.
    """

    def __init__(self, attempts: Attempts, sink: Sink, config: TransferConfig, request: DownloadRequest) -> None:
        self._attempts = attempts
        self._sink = sink
        self._config = config
        self._request = request
        self._plan = NO_PLAN
        self._wants_checksum = config.checksum == 'auto' and request.byte_range in (None, (0, None))
        self._offset = 0
        self._whole_bytes = 0
        # What the store says the CRC64NVME of all of it is; and that of each part that has come, with its length.
        self._expected: int | None = None
        self._crcs: dict[int, tuple[int, int]] = {}
        self.etag = ''
        self.version_id: str | None = None
        self.checksum: str | None = None
        self.is_pinned = False

    @property
    def size_bytes(self) -> int:
        """The bytes that were asked for."""
        return self._plan.size_bytes

    @property
    def parts(self) -> int:
        """The requests that carried them."""
        return len(self._plan)

    def run(self) -> None:
        first = self._attempts.run_without_slot('GetObject', self._open)
        if first is not None:
            self.is_pinned = True
            self._fetch_parts(first)
            if self._expected is not None:
                self._verify(combined(self._crcs))

    def _open(self) -> _HeldAnswer | None:
        """One attempt at the first request: reads a small object to its end; gives the answer of a large one."""
        governor = self._attempts.governor
        governor.take()
        answer: Answer | None = None
        try:
            answer = self._ask_for_all()
            self._check_range(answer)
            self._learn(answer)
            self._sink.identify(self._attempts.bucket, self._attempts.key, answer.etag)
            if self._plan.is_multipart:
                self._sink.begin(answer.size_bytes)
                return _HeldAnswer(answer, governor)
            self._receive_whole(answer)
        except BaseException:
            if answer is not None:
                answer.close()
            governor.give_back()
            raise
        answer.close()
        governor.give_back()
        return None

    def _learn(self, answer: Answer) -> None:
        """Remember what the first answer tells of the object, and plan the rest by it."""
        self.version_id, self.etag, self._offset = answer.version_id, answer.etag, answer.offset
        self._plan = plan_download(answer.size_bytes, self._config)
        if self._wants_checksum:
            checksum = answer.checksum
            self._expected = stated_crc64nvme(checksum)
            self.checksum = None if self._expected is None else checksum
        if self._plan.is_multipart:
            self._whole_bytes = answer.info.size_bytes
            if not answer.etag:
                # Nothing could hold the ranges together, so it is read as one stream.
                self._plan = Plan(answer.size_bytes, answer.size_bytes, is_multipart=False)

    def _ask_for_all(self) -> Answer:
        byte_range = self._request.byte_range
        if byte_range == (0, None):
            # The same bytes, and S3 refuses every range of an empty object.
            byte_range = None
        try:
            return self._ask(byte_range, self._request.if_match)
        except InvalidRequest as error:
            if byte_range is None or byte_range[0] != 0 or error.status != 416:
                raise
        # The object is empty, and its first bytes were asked for: they are none.
        return self._ask(None, self._request.if_match)

    def _ask(self, byte_range: tuple[int, int | None] | None, if_match: str | None) -> Answer:
        attempts, request = self._attempts, self._request
        return attempts.transport.get_object(
            attempts.bucket,
            attempts.key,
            byte_range=byte_range,
            if_match=if_match,
            version_id=request.version_id,
            # Stores keep the checksum of the whole object, and tell it with no range.
            wants_checksum=self._wants_checksum and byte_range is None,
            extra=request.extra,
        )

    def _check_range(self, answer: Answer) -> None:
        wanted = self._request.byte_range
        if wanted is None:
            return
        start, stop = wanted
        is_too_long = stop is not None and answer.size_bytes > stop - start
        if answer.offset != start or is_too_long:
            raise self._wrong_range(answer, f'bytes from {start:,}' + ('' if stop is None else f' to {stop:,}'))

    def _wrong_range(self, answer: Answer, wanted: str) -> IntegrityError:
        return IntegrityError(
            f'GetObject s3://{self._attempts.bucket}/{self._attempts.key}: asked for {wanted}, and the store sent '
            f'{answer.size_bytes:,} bytes from {answer.offset:,} with status {answer.status}'
        )

    def _receive_whole(self, answer: Answer) -> None:
        """Read one answer to its end, into the sink."""
        size_bytes, sink = answer.size_bytes, self._sink
        if size_bytes <= READ_BYTES or sink.is_ordered:
            data = _read_exactly(answer, size_bytes)
            if self._expected is not None:
                self._verify(crc64nvme(data))
            sink.write_whole(data)
            return
        sink.begin(size_bytes)
        self._receive(answer, Part(number=1, offset=0, size_bytes=size_bytes))
        if self._expected is not None:
            self._verify(combined(self._crcs))

    def _verify(self, crc: int) -> None:
        if crc != self._expected:
            raise IntegrityError(
                f'GetObject s3://{self._attempts.bucket}/{self._attempts.key}: what came is not what was stored: '
                f'its CRC64NVME is {crc:016x}, and the store says {self._expected:016x}'
            )

    def _receive(self, answer: Answer | _HeldAnswer, part: Part) -> bytes:
        """Read a part from an answer: into the sink as it comes, or, for an ordered sink, give it whole.

        An ordered sink cannot take a byte twice, as it would have to when the attempt fails half-way.
        """
        sink, crc, data = self._sink, 0, b''
        is_checked = self._expected is not None
        window = None if sink.is_ordered else sink.window(part.offset, part.size_bytes)
        if sink.is_ordered:
            data = _read_exactly(answer, part.size_bytes)
            crc = crc64nvme(data) if is_checked else 0
        elif window is not None:
            while window:
                size_bytes = answer.read_into(window)
                crc = crc64nvme(window[:size_bytes], crc) if is_checked else 0
                window = window[size_bytes:]
        else:
            buffer, offset = _buffers.get(), part.offset
            while offset < part.stop:
                # No other greenlet runs between these, so one buffer serves them all, and stays in the processor's cache.
                size_bytes = answer.read_into(buffer[: part.stop - offset])
                crc = crc64nvme(buffer[:size_bytes], crc) if is_checked else 0
                sink.write_at(offset, buffer[:size_bytes])
                offset += size_bytes
        self._crcs[part.number] = (crc, part.size_bytes)
        return data

    def _fetch_parts(self, first: _HeldAnswer) -> None:
        group = PartGroup()
        try:
            if self._sink.is_ordered:
                self._fetch_in_order(group, first)
            else:
                for part in self._plan:
                    group.wait_below(self._config.max_concurrency)
                    group.spawn(self._fetch_part, part, first)
                group.join()
        finally:
            # Shielded: a part that goes on after its sink was closed would write who knows where.
            try:
                shielded(group.kill, on_late=lambda _: None)
            finally:
                # A first part that was killed before it began has not closed it.
                first.close()

    def _fetch_in_order(self, group: PartGroup, first: _HeldAnswer) -> None:
        """Fetch ahead, hold what comes early, write in order."""
        ahead: collections.deque[tuple[Part, gevent.event.AsyncResult[bytes]]] = collections.deque()
        parts: Iterator[Part] = iter(self._plan)
        while True:
            while len(ahead) < self._config.max_concurrency:
                part = next(parts, None)
                if part is None:
                    break
                result: gevent.event.AsyncResult[bytes] = gevent.event.AsyncResult()
                group.spawn(self._fetch_ahead, part, first, result)
                ahead.append((part, result))
            if not ahead:
                return
            part, result = ahead.popleft()
            data: bytes = result.get()  # type: ignore[assignment]  # its stubs allow None, which is never set
            # Where one part failed the others were killed, and their results say only that.
            group.check()
            self._sink.write_at(part.offset, data)

    def _fetch_ahead(self, part: Part, first: _HeldAnswer, result: gevent.event.AsyncResult[bytes]) -> None:
        data = b''
        try:
            data = self._fetch_part(part, first)
        finally:
            result.set(data)

    def _fetch_part(self, part: Part, first: _HeldAnswer) -> bytes:
        """Fetch one part: the first attempt at the first one reads on in the first answer, all others ask for their range."""
        begun = [first] if part.number == 1 else []

        def attempt() -> bytes:
            answer = begun.pop() if begun else self._ask_for(part)
            try:
                return self._receive(answer, part)
            finally:
                answer.close()

        return self._attempts.run_without_slot('GetObject', attempt, part_number=part.number)

    def _ask_for(self, part: Part) -> _HeldAnswer:
        start = self._offset + part.offset
        governor = self._attempts.governor
        governor.take()
        try:
            answer = self._ask((start, start + part.size_bytes), self.etag)
        except BaseException:
            governor.give_back()
            raise
        is_same = answer.etag == self.etag and answer.info.size_bytes == self._whole_bytes
        if (answer.offset, answer.size_bytes) != (start, part.size_bytes) or not is_same:
            answer.close()
            governor.give_back()
            raise self._wrong_range(answer, f'bytes {start:,} to {start + part.size_bytes:,} of {self.etag}')
        return _HeldAnswer(answer, governor)


class _HeldAnswer:
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


def _read_exactly(answer: Answer | _HeldAnswer, size_bytes: int) -> bytes:
    data = answer.read(size_bytes)
    # Only a transport of the caller's gives less than there is.
    while len(data) < size_bytes:
        data += answer.read(size_bytes - len(data))
    return data
