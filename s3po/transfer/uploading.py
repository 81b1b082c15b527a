"""One object up: one PUT, or a multipart upload."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterator

from s3po.body import BytesChunk, Chunk, SizedSource, StreamSource
from s3po.config import MAX_PARTS, TransferConfig
from s3po.model import CompletedPart, TransferResult
from s3po.plan import Plan, plan_upload, stream_concurrency, stream_part_bytes
from s3po.transfer.attempts import Attempts
from s3po.transfer.multipart import Piece, run_multipart
from s3po.transport import Extra, Headers, Stored

__all__ = ['upload']


def upload(
    attempts: Attempts, source: SizedSource | StreamSource, config: TransferConfig, headers: Headers, extra: Extra
) -> TransferResult:
    """Send a source to where `attempts` points. Blocks until the store has confirmed it.

    Args:
        attempts: Makes the requests; names the object.
        source: An open source; it stays open.
        config: How large the parts are and how many are sent at once.
        headers: Headers of the object.
        extra: The caller's further parameters.

    Raises:
        UploadError: The retries ran out. Nothing is published and no multipart upload is left.
        SourceChanged: The source changed while it was sent; likewise.
        TransportError: The store refused.
    """
    began = time.monotonic()
    if isinstance(source, SizedSource):
        stored, size_bytes, parts = _upload_sized(attempts, source, config, headers, extra)
    else:
        stored, size_bytes, parts = _upload_stream(attempts, source, config, headers, extra)
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
    )


def _upload_sized(
    attempts: Attempts, source: SizedSource, config: TransferConfig, headers: Headers, extra: Extra
) -> tuple[Stored, int, int]:
    plan = plan_upload(source.size_bytes, config)
    if not plan.is_multipart:
        return _put(attempts, source.chunk(0, source.size_bytes), headers, extra), source.size_bytes, 1
    stored, parts = run_multipart(
        attempts,
        _sized_pieces(attempts, source, plan, extra),
        width=lambda: config.max_concurrency,
        headers=headers,
        extra=extra,
        before_complete=source.check_unchanged,
    )
    return stored, source.size_bytes, parts


def _upload_stream(
    attempts: Attempts, source: StreamSource, config: TransferConfig, headers: Headers, extra: Extra
) -> tuple[Stored, int, int]:
    first = source.next_chunk(stream_part_bytes(1, config))
    second = source.next_chunk(stream_part_bytes(2, config)) if first.size_bytes else first
    if not second.size_bytes:
        return _put(attempts, first, headers, extra), first.size_bytes, 1
    stream = _Stream(source, config, [first, second])
    stored, parts = run_multipart(
        attempts,
        stream.pieces(attempts, extra),
        width=stream.width,
        headers=headers,
        extra=extra,
        before_complete=source.check_unchanged,
    )
    return stored, stream.size_bytes, parts


def _put(attempts: Attempts, chunk: Chunk, headers: Headers, extra: Extra) -> Stored:
    put = attempts.transport.put_object
    return attempts.run('PutObject', lambda: put(attempts.bucket, attempts.key, chunk, headers=headers, extra=extra))


def _sized_pieces(attempts: Attempts, source: SizedSource, plan: Plan, extra: Extra) -> Iterator[Piece]:
    for part in plan:
        chunk = source.chunk(part.offset, part.size_bytes)
        yield part.number, functools.partial(_send, attempts, extra, part.number, chunk)


class _Stream:
    """The parts of a stream, as they come."""

    def __init__(self, source: StreamSource, config: TransferConfig, begun: list[BytesChunk]) -> None:
        self._source = source
        self._config = config
        self._begun = begun
        self._number = 0
        self.size_bytes = 0

    def width(self) -> int:
        """How many parts may be in memory when the next one is read: fewer as the parts grow."""
        return stream_concurrency(stream_part_bytes(max(1, self._number), self._config), self._config)

    def pieces(self, attempts: Attempts, extra: Extra) -> Iterator[Piece]:
        for number in itertools.count(1):
            self._number = number
            chunk = self._next_chunk(number)
            if not chunk.size_bytes:
                return
            self.size_bytes += chunk.size_bytes
            yield number, functools.partial(_send, attempts, extra, number, chunk)

    def _next_chunk(self, number: int) -> BytesChunk:
        if self._begun:
            return self._begun.pop(0)
        if number > MAX_PARTS:
            # A stream may end with its last part; only what comes behind that is too much.
            behind = self._source.next_chunk(1)
            if not behind.size_bytes:
                return behind
        return self._source.next_chunk(stream_part_bytes(number, self._config))


def _send(attempts: Attempts, extra: Extra, number: int, chunk: Chunk, upload_id: str) -> CompletedPart:
    return attempts.transport.upload_part(
        attempts.bucket, attempts.key, chunk, upload_id=upload_id, part_number=number, extra=extra
    )
