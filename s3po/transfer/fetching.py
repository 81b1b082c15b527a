"""The bytes of one version of an object: the requests, and where their answers go.

The first GET asks for everything. Its headers tell the size and the ETag, so no HEAD is needed. What is no larger than one
part is read to its end. Of a larger object the first part is read from that answer; meanwhile the others come by ranges that
carry If-Match, so that all of them are of one version of the object. A part that is cut short goes on where it ended.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import gevent.event

from s3po.body import Sink
from s3po.config import TransferConfig
from s3po.errors import IntegrityError, InvalidRequest, NetworkError, S3poError, TransportError
from s3po.model import Part
from s3po.plan import Plan, plan_download
from s3po.runtime import GRACE_S
from s3po.s3 import Answer, Extra
from s3po.s3.expected import is_strong
from s3po.transfer.attempts import Attempts
from s3po.transfer.open_responses import READ_BYTES, HeldAnswer, buffers, has_plain_etag, read_exactly, skip
from s3po.transfer.parts import PartGroup
from s3po.transfer.verifying import Check, Mismatch, check_for

__all__ = ['DownloadRequest', 'Fetch', 'RangesIgnored']

UNGUARDED = (
    'nothing guards what was downloaded: twice the same bytes came, and the ETag is not that of parts of multipart_chunksize; '
    'the object was uploaded in others'
)
NO_PLAN = Plan(0, 1, is_multipart=False)


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


class RangesIgnored(TransportError):
    """The store sends the whole object, whatever is asked of it."""


class Fetch:
    """One go at fetching one version of an object.

    Attributes:
        etag: Its ETag.
        version_id: Its version.
        checksum: The checksum of it that was compared with what came; None where there was none to compare with.
        is_pinned: Whether its parts are asked for by its ETag.
    """

    def __init__(
        self,
        attempts: Attempts,
        sink: Sink,
        config: TransferConfig,
        request: DownloadRequest,
        *,
        is_one_stream: bool = False,
    ) -> None:
        """
        Args:
            attempts: Makes the requests; names the object.
            sink: Takes the bytes.
            config: How large the ranges are and how many are fetched at once.
            request: What to fetch.
            is_one_stream: Whether to read it all from one answer.
        """
        self._attempts = attempts
        self._is_one_stream = is_one_stream
        self._sink = sink
        self._config = config
        self._request = request
        self._plan = NO_PLAN
        self._wants_checksum = config.checksum != 'none' and request.byte_range in (None, (0, None))
        self._offset = 0
        self._whole_bytes = 0
        self._check: Check | None = None
        # The parts of one round that have come whole, by number, with their lengths.
        self._fetched: dict[int, int] = {}
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
        """Fetch it, and compare.

        Raises:
            Mismatch: Of an object in parts, it came whole, and is not what was stored.
        """
        first = self._attempts.run_without_slot('GetObject', self._open)
        if first is not None:
            self.is_pinned = True
            self._fetch_parts(first, self._plan)
            if self._check is not None:
                self._fetch_until_right(self._check)

    def _fetch_until_right(self, check: Check) -> None:
        """Compare; and while it differs, fetch again what may be wrong.

        Nothing tells at first which part is wrong, so all of them come once more. From then on it can only be among those that
        came differently.
        """
        suspects, budget = list(self._plan), self._attempts.integrity_retries
        for again in range(budget + 1):
            try:
                check.verify(str(self))
            except Mismatch as error:
                if again == budget:
                    error.attempts = budget + 1
                    raise
            else:
                return
            before = {part.number: check.seen(part.number) for part in suspects}
            if self._sink.is_ordered:
                self._sink.begin(self.size_bytes)
            self._attempts.retried += len(suspects)
            self._fetch_parts(None, suspects)
            differing = [part for part in suspects if check.seen(part.number) != before[part.number]]
            if not differing and check.is_guess:
                # Twice the same bytes: it is the guess that is wrong.
                self._attempts.warn(UNGUARDED)
                self.checksum = None
                return
            if differing and not self._sink.is_ordered:
                suspects = differing

    def __str__(self) -> str:
        return f'GetObject s3://{self._attempts.bucket}/{self._attempts.key}'

    def _open(self) -> HeldAnswer | None:
        """One attempt at the first request: reads a small object to its end; gives the answer of a large one."""
        governor = self._attempts.governor
        governor.take()
        answer: Answer | None = None
        try:
            answer = self._ask_for_all()
            self._check_range(answer)
            self._sink.identify(self._attempts.bucket, self._attempts.key, answer)
            if answer.size_bytes < 0:
                self._receive_unsized(answer)
            else:
                self._learn(answer)
                if self._is_resumable(answer):
                    self._sink.begin(answer.size_bytes)
                    return HeldAnswer(answer, governor)
                self._receive_whole(answer)
        except BaseException:
            if answer is not None:
                answer.close()
            governor.give_back()
            raise
        answer.close()
        governor.give_back()
        return None

    def _is_resumable(self, answer: Answer) -> bool:
        """Whether the rest is asked for by ranges: of what has several parts, or is long enough to be cut on its way."""
        if self._plan.is_multipart:
            return True
        return answer.size_bytes > READ_BYTES and is_strong(answer.etag) and not self._sink.is_ordered

    def _learn(self, answer: Answer) -> None:
        """Remember what the first answer tells of the object, and plan the rest by it."""
        size_bytes = answer.size_bytes
        self.version_id, self.etag, self._offset = answer.version_id, answer.etag, answer.offset
        self._plan = plan_download(size_bytes, self._config)
        if self._wants_checksum:
            self._choose_check(answer)
        if size_bytes > READ_BYTES:
            self._whole_bytes = answer.whole_bytes
            is_streamed = self._check is not None and self._check.is_streamed
            if self._plan.is_multipart and (self._is_one_stream or not is_strong(answer.etag) or is_streamed):
                # Nothing could hold the ranges together, or compare them one by one, so it is read as one stream.
                self._plan = Plan(size_bytes, size_bytes, is_multipart=False)

    def _choose_check(self, answer: Answer) -> None:
        told, checksum = answer.checksum, self._config.checksum
        if told is None and checksum != 'md5':
            self._check = None
        else:
            self._check = check_for(checksum, told, answer.etag, is_etag_md5=has_plain_etag(answer), parts=len(self._plan))
        self.checksum = None if self._check is None else self._check.told

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
        start, stop = self._request.byte_range or (0, None)
        whole = answer.whole_bytes
        # A range that ends behind the object ends with it.
        end = whole if stop is None else min(stop, whole)
        # An answer in chunks that does not tell the size may be the whole object, but is no proof of a range.
        is_unknown = whole < 0 and (start, stop) != (0, None)
        if is_unknown or (answer.offset, answer.size_bytes) != (start, end - start):
            raise self._wrong_range(answer, f'bytes from {start:,}' + ('' if stop is None else f' to {stop:,}'))

    def _wrong_range(self, answer: Answer, wanted: str) -> IntegrityError:
        return IntegrityError(
            f'GetObject s3://{self._attempts.bucket}/{self._attempts.key}: asked for {wanted}, and the store sent '
            f'{answer.size_bytes:,} bytes from {answer.offset:,} of {answer.whole_bytes:,} with status {answer.status}'
        )

    def _receive_whole(self, answer: Answer) -> None:
        """Read one answer to its end, and give it to the sink when it has been compared."""
        data, check = read_exactly(answer, answer.size_bytes), self._check
        if check is not None:
            check.end(1, check.update(check.start(), data), len(data))
            check.verify(str(self))
        self._sink.write_whole(data)

    def _receive_unsized(self, answer: Answer) -> None:
        """Read an answer in chunks, whose length shows at its end: into the sink as it comes; for an ordered one, whole."""
        sink, pieces, offset = self._sink, list[bytes](), 0
        self.version_id, self.etag, self._plan = answer.version_id, answer.etag, NO_PLAN
        if self._wants_checksum:
            self._choose_check(answer)
        check = self._check
        state = None if check is None else check.start()
        if not sink.is_ordered:
            sink.begin(None)
        while data := answer.read(READ_BYTES):
            state = None if check is None else check.update(state, data)
            if sink.is_ordered:
                pieces.append(data)
            else:
                sink.write_at(offset, data)
            offset += len(data)
        if check is not None:
            check.end(1, state, offset)
            check.verify(str(self))
        else:
            self._check_size(offset)
        self._plan = Plan(offset, max(offset, 1), is_multipart=False)
        if sink.is_ordered:
            sink.write_whole(b''.join(pieces))

    def _check_size(self, size_bytes: int) -> None:
        """Compare the length of an answer in chunks that nothing else guards with the size that a HEAD tells, if it does.

        Raises:
            NetworkError: They differ: a proxy may unpack what is stored compressed.
        """
        attempts, request = self._attempts, self._request
        try:
            info = attempts.transport.head_object(
                attempts.bucket, attempts.key, version_id=request.version_id, extra=request.extra
            )
        except TransportError:
            # Downloads need no permission for a HEAD, and a store that cannot answer one proves nothing.
            return
        if info.size_bytes not in (-1, size_bytes):
            raise NetworkError(
                f'{self}: the answer has no Content-Length, and its {size_bytes:,} bytes are not the {info.size_bytes:,} that '
                'HEAD tells; does a proxy unpack or change what is stored?'
            )

    def _receive(self, answer: HeldAnswer, begun: _Begun) -> bytes:
        """Read the rest of a part from an answer: into the sink as it comes, or, for an ordered sink, give it whole.

        An ordered sink cannot take a byte twice, as it would have to when the attempt fails half-way.
        """
        sink, part, check = self._sink, begun.part, self._check
        data = b''
        if sink.is_ordered:
            data = read_exactly(answer, part.size_bytes)
            begun.state = None if check is None else check.update(check.start(), data)
        else:
            self._receive_into_sink(answer, begun)
        if check is not None:
            check.end(part.number, begun.state, part.size_bytes)
        return data

    def _receive_into_sink(self, answer: HeldAnswer, begun: _Begun) -> None:
        sink, stop, check = self._sink, begun.part.stop, self._check
        window = sink.window(begun.part.offset, begun.part.size_bytes)
        buffer = buffers.get() if window is None else window[begun.offset - begun.part.offset :]
        while begun.offset < stop:
            # Without a window, no other greenlet runs between these, so one buffer serves them all, and stays in the
            # processor's cache.
            size_bytes = answer.read_into(buffer[: stop - begun.offset])
            if check is not None:
                begun.state = check.update(begun.state, buffer[:size_bytes])
            if window is None:
                sink.write_at(begun.offset, buffer[:size_bytes])
            else:
                buffer = buffer[size_bytes:]
            begun.offset += size_bytes

    def _fetch_parts(self, first: HeldAnswer | None, parts: Iterable[Part]) -> None:
        group, parts = PartGroup(), list(parts)
        self._fetched.clear()
        try:
            if self._sink.is_ordered:
                self._fetch_in_order(group, first, iter(parts))
            else:
                for part in parts:
                    group.wait_below(self._config.max_concurrency)
                    group.spawn(self._fetch_part, part, first)
                group.join()
            if self._fetched != {part.number: part.size_bytes for part in parts}:
                raise S3poError(f'{self}: {len(self._fetched)} parts of {len(parts)} came')
        except BaseException as error:
            if not self._attempts.governor.is_parents:
                self._end_parts(group, error)
            raise
        finally:
            # A first part that was killed before it began has not closed it.
            if first is not None:
                first.close()

    def _end_parts(self, group: PartGroup, error: BaseException) -> None:
        """End the other parts. One that writes to a slow disk ends when it has written; until then the sink stays open."""

        def end() -> None:
            group.kill()
            self._sink.let_go()

        self._sink.hold()
        # What failed by itself may be begun anew, and then nothing old may still be written.
        patience_s = math.inf if isinstance(error, S3poError) else GRACE_S
        self._attempts.leftovers.cleanups.run(end, f'the end of the parts of {self}', patience_s=patience_s)

    def _fetch_in_order(self, group: PartGroup, first: HeldAnswer | None, parts: Iterator[Part]) -> None:
        """Fetch ahead, hold what comes early, write in order."""
        ahead: collections.deque[tuple[Part, gevent.event.AsyncResult[bytes]]] = collections.deque()
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
            group.check()
            data: bytes = result.get()  # type: ignore[assignment]  # its stubs allow None, which is never set
            # Where one part failed the others were killed, and their results say only that.
            group.check()
            self._sink.write_at(part.offset, data)

    def _fetch_ahead(self, part: Part, first: HeldAnswer | None, result: gevent.event.AsyncResult[bytes]) -> None:
        data = b''
        try:
            data = self._fetch_part(part, first)
        finally:
            result.set(data)

    def _fetch_part(self, part: Part, first: HeldAnswer | None) -> bytes:
        """Fetch one part: the first attempt at the first one reads on in the first answer, all others ask for what lacks."""
        answers = [first] if part.number == 1 and first is not None else []
        begun = _Begun(part, None if self._check is None else self._check.start())

        def attempt() -> bytes:
            answer = answers.pop() if answers else self._ask_for(part, begun.offset)
            try:
                return self._receive(answer, begun)
            finally:
                answer.close()

        data = self._attempts.run_without_slot('GetObject', attempt, part_number=part.number)
        self._fetched[part.number] = begun.offset - part.offset if not self._sink.is_ordered else len(data)
        return data

    def _ask_for(self, part: Part, offset: int) -> HeldAnswer:
        """What a part has from an offset on (of what was asked for altogether)."""
        start, size_bytes = self._offset + offset, part.stop - offset
        governor = self._attempts.governor
        governor.take()
        try:
            answer = self._ask((start, start + size_bytes), self.etag)
        except BaseException:
            governor.give_back()
            raise
        is_same = answer.etag == self.etag and answer.whole_bytes == self._whole_bytes
        if is_same and (answer.offset, answer.size_bytes) == (start, size_bytes):
            return HeldAnswer(answer, governor)
        held = HeldAnswer(answer, governor)
        try:
            if not is_same or (answer.offset, answer.size_bytes) != (0, self._whole_bytes):
                raise self._wrong_range(answer, f'bytes {start:,} to {start + size_bytes:,} of {self.etag}')
            if not self._is_one_stream:
                raise RangesIgnored(f'{self}: the store answers the request for a range with the whole object')
            skip(held, start)
        except BaseException:
            held.close()
            raise
        return held


class _Begun:
    """How far a part has come.

    Attributes:
        part: The part.
        offset: Where its next byte belongs.
        state: The check's, of the bytes so far.
    """

    __slots__ = ('offset', 'part', 'state')

    def __init__(self, part: Part, state: Any) -> None:
        self.part = part
        self.offset = part.offset
        self.state = state
