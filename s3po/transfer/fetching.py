"""The bytes of one version of an object, in stages: request, then whole or in ranges, then verify.

1. Request: one GET for the whole object. Its headers have size and ETag, so no HEAD is needed.
2. Whole (here): a small body is read to its end, compared, and written to the sink.
   In ranges (ranges.py): the first part of a larger object is read from that response, and the others are fetched meanwhile.
3. Verify (ranges.py): the parts are compared with the object's checksum, and fetched again if they differ.
"""

from __future__ import annotations

import functools
from typing import Final

from s3po.errors import NetworkError, SourceChanged, TransportError
from s3po.governor import Slot
from s3po.memory import UNCOUNTED_BYTES
from s3po.model import ObjectInfo
from s3po.plan import Plan, plan_download
from s3po.retry import is_retryable
from s3po.s3 import Answer
from s3po.s3.expected import is_strong
from s3po.transfer.integrity import Check, check_for
from s3po.transfer.open_responses import READ_BYTES, OpenResponse, read_exactly
from s3po.transfer.ranges import Ranges, RangesIgnored, Replaced, kept_ranges
from s3po.transfer.requesting import Fetched, ObjectDownload

__all__ = ['READ_BYTES', 'RESTARTS', 'check_size', 'fetch']

# How often a download is restarted because the object was replaced meanwhile.
RESTARTS: Final = 2


def fetch(download: ObjectDownload) -> Fetched:
    """Fetch all bytes of one version of an object into the sink of a download, and compare them.

    Raises:
        SourceChanged: The object was replaced during each attempt.
        Mismatch: The bytes of an object in parts differ from the stored ones.
    """
    attempts, replaced, is_one_stream = download.attempts, 0, False
    kept = None if download.record is None else kept_ranges(download, download.record)
    while True:
        request = functools.partial(_request, download, is_one_stream=is_one_stream)
        found = attempts.run_without_slot('GetObject', request) if kept is None else kept
        kept = None
        if isinstance(found, Fetched):
            return found
        if found is None:
            # There is room now.
            continue
        try:
            return found.fetch()
        except RangesIgnored as error:
            attempts.warn(f'{error}; the object is read from one response')
            is_one_stream = True
        except Replaced as error:
            replaced += 1
            if replaced > RESTARTS:
                raise SourceChanged(
                    f's3://{attempts.bucket}/{attempts.key} was replaced {replaced} times while it was downloaded'
                ) from error.__cause__


def _request(download: ObjectDownload, *, is_one_stream: bool) -> Fetched | Ranges | None:
    """One attempt at the first request: reads a small object to its end; the response of a large one stays open.

    Returns None if the response was closed, because there was no room in memory for a long time. There is now.
    """
    attempts = download.attempts
    with attempts.governor.slot(attempts.bucket) as slot:
        answer = download.get_all()
        try:
            download.sink = download.target.identify(attempts.bucket, attempts.key, answer)
            size_bytes = answer.size_bytes
            if attempts.observer is not None and size_bytes >= 0:
                attempts.sized('GetObject', size_bytes)
            if 0 <= size_bytes <= UNCOUNTED_BYTES:
                return _read_whole(download, answer, check_for(download.checksum, answer))
            if size_bytes < 0:
                return _read_unsized(download, answer)
            large = _Large(download, answer, is_one_stream=is_one_stream)
            room, needed = download.memory_room(), large.memory_bytes()
            if room is None or room.try_fit(needed):
                return large.receive(slot)
            # The store has answered; the wait is not part of the attempt.
            slot.end()
            if room.fit(needed, answer.close):
                return None
            with attempts.governor.slot(attempts.bucket) as later:
                received = large.receive(later)
                slot.is_kept = later.is_kept
                return received
        finally:
            if not slot.is_kept:
                answer.close()


class _Large:
    """The response to the first request for an object that counts in the budget of memory."""

    __slots__ = ('_answer', '_check', '_download', '_is_one_stream', '_is_ranged', '_plan')

    def __init__(self, download: ObjectDownload, answer: Answer, *, is_one_stream: bool) -> None:
        self._download = download
        self._answer = answer
        self._is_one_stream = is_one_stream
        self._plan, self._check = _plan(download, answer, is_one_stream=is_one_stream)
        # In ranges, the download can continue after a lost connection.
        can_continue = answer.size_bytes > READ_BYTES and is_strong(answer.etag) and not download.sink.is_ordered
        self._is_ranged = self._plan.is_multipart or can_continue

    def memory_bytes(self) -> int:
        """The memory that receiving it takes: for the whole, for one part of an ordered sink, or none beside the sink."""
        sink = self._download.sink
        if sink.is_in_memory or not self._is_ranged:
            return self._plan.size_bytes
        return min(self._plan.part_bytes, self._plan.size_bytes) if sink.is_ordered else 0

    def receive(self, slot: Slot) -> Fetched | Ranges:
        """Read it to its end; one that is received in ranges stays open, with its slot."""
        download, answer, plan = self._download, self._answer, self._plan
        if not self._is_ranged:
            window = download.sink.window(0, plan.size_bytes) if self._check is None else None
            if window is not None:
                return _read_into(download, answer, window)
            return _read_whole(download, answer, self._check)
        download.sink.begin(plan.size_bytes)
        return Ranges(download, OpenResponse(answer, slot), plan, self._check, answer, is_one_stream=self._is_one_stream)


def _plan(download: ObjectDownload, answer: Answer, *, is_one_stream: bool) -> tuple[Plan, Check | None]:
    """The parts of a large object, and the check that compares them."""
    size_bytes = answer.size_bytes
    plan = plan_download(size_bytes, download.config)
    check = check_for(download.checksum, answer, len(plan))
    is_streamed = check is not None and check.is_streamed
    if plan.is_multipart and (is_one_stream or is_streamed or not is_strong(answer.etag)):
        # Without an ETag, ranges could be of different versions; and a digest needs all bytes in order.
        plan = Plan(size_bytes, size_bytes, is_multipart=False)
    return plan, check


def _read_whole(download: ObjectDownload, answer: Answer, check: Check | None) -> Fetched:
    """Read a response to its end, compare it, and write it to the sink."""
    size_bytes = answer.size_bytes
    data = answer.read(size_bytes)
    if len(data) < size_bytes:
        data += read_exactly(answer, size_bytes - len(data))
    if check is not None:
        check.verify_whole(download, data)
    if download.sink.is_ordered:
        _write_lent(download, data)
    else:
        download.sink.write_whole(data)
    if download.attempts.observer is not None:
        download.attempts.moved('GetObject', size_bytes)
    return Fetched(size_bytes, answer.etag, answer.version_id, None if check is None else check.expected, 1)


def _read_into(download: ObjectDownload, answer: Answer, window: memoryview) -> Fetched:
    """Read a response that is not to be compared into a buffer."""
    while window:
        window = window[answer.read_into(window) :]
    if download.attempts.observer is not None:
        download.attempts.moved('GetObject', answer.size_bytes)
    return Fetched(answer.size_bytes, answer.etag, answer.version_id, None, 1)


def _read_unsized(download: ObjectDownload, answer: Answer) -> Fetched:
    """Read a chunked response of unknown length, and write it to the sink: as it arrives, or as a whole if it is ordered."""
    sink, attempts, check = download.sink, download.attempts, check_for(download.checksum, answer)
    state, pieces, offset = None if check is None else check.start(), list[bytes](), 0
    room = download.memory_room() if sink.is_ordered or sink.is_in_memory else None
    if room is not None:
        # The bytes of an attempt before are gone.
        room.shrink(0)
    if not sink.is_ordered:
        sink.begin(None)
    while data := answer.read(READ_BYTES):
        state = None if check is None else check.update(state, data)
        if sink.is_ordered:
            pieces.append(data)
        else:
            sink.write_at(offset, data)
        offset += len(data)
        if room is not None:
            # Of a body whose length is not known, only what has arrived can be counted.
            room.grow(len(data))
    if check is None:
        check_size(download, offset)
    else:
        check.end(1, state, offset)
        check.verify(download)
    if sink.is_ordered:
        _write_lent(download, b''.join(pieces))
    if attempts.observer is not None:
        attempts.moved('GetObject', offset)
    return Fetched(offset, answer.etag, answer.version_id, None if check is None else check.expected, 1)


def _write_lent(download: ObjectDownload, data: bytes) -> None:
    """Write the whole object to an ordered sink, which may be a file of the caller that sends requests, such as an S3Writer."""
    attempts = download.attempts
    with attempts.governor.lent(attempts.bucket, is_last=True):
        download.sink.write_whole(data)


def check_size(download: ObjectDownload, size_bytes: int) -> None:
    """Compare the length of a chunked response without a checksum with the size from a HEAD, if that has one.

    Raises:
        NetworkError: They differ: a proxy may decompress objects that are stored compressed.
        TransportError: The HEAD failed, and may succeed later.
    """
    try:
        info = _head(download)
    except TransportError as error:
        if is_retryable(error):
            # A dropped connection is no refusal: the attempt is repeated, with its HEAD.
            raise
        # A download does not need permission for a HEAD, and a store that refuses one proves nothing.
        return
    if info.size_bytes not in (-1, size_bytes):
        raise NetworkError(
            f'{download}: the response has no Content-Length, and its {size_bytes:,} bytes are not the {info.size_bytes:,} of '
            'a HEAD; does a proxy decompress or change the data?'
        )


def _head(download: ObjectDownload) -> ObjectInfo:
    """Send a HEAD. If it fails for the moment, it is sent once more: the connection may have been closed meanwhile."""
    attempts = download.attempts
    head = functools.partial(
        attempts.transport.head_object, attempts.bucket, attempts.key, version_id=download.version_id, extra=download.extra
    )
    try:
        return head()
    except TransportError as error:
        if not is_retryable(error):
            raise
    return head()
