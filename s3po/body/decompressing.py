"""A sink that decompresses an object and writes the result to another sink.

Invariants: the transfer sees only the stored bytes, and verifies those. The other sink gets only the decompressed bytes, in
order, and never more than the limit. At most STEP_BYTES of decompressed data are in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from s3po.body.coding import STEP_BYTES, Decoder, Undecodable
from s3po.body.sinks import Sink
from s3po.config import KIB, MIB
from s3po.errors import DownloadError
from s3po.model import Described
from s3po.runtime import offload

__all__ = ['DecompressingSink']

# Higher ratios are treated as bombs: zlib's own limit is 1,032 (https://zlib.net/zlib_tech.html), for zeros only.
MAX_RATIO: Final = 1000
# Decompressed size that is allowed for every object, however small its stored size.
ALWAYS_ALLOWED_BYTES: Final = 64 * MIB
# Input per call of a decoder, which copies the unused rest of its input each time.
SLICE_BYTES: Final = 256 * KIB
# Decoding less than this usually takes less time than waking another thread.
INLINE_BYTES: Final = 16 * KIB


class DecompressingSink(Sink):
    """Decompresses objects that are found to be compressed. All others go straight to the other sink, see identify()."""

    is_ordered = True
    # Of an object that is found to be compressed. Set here, because most objects are not.
    _name = ('', '')
    _coding: str | None = None
    _decoder: Decoder | None = None
    _failure: Undecodable | None = None
    _stored_bytes = 0
    _written_bytes = 0

    def __init__(self, sink: Sink, coding_of: Callable[[Described], str | None], max_bytes: int | None) -> None:
        """
        Args:
            sink: The sink for the decompressed bytes.
            coding_of: Returns the coding of an object; None if it is to stay as stored.
            max_bytes: Limit of the decompressed size; None for 1,000 times the stored size plus 64 MiB.
        """
        self._sink = sink
        self._coding_of = coding_of
        self._max_bytes = max_bytes

    def identify(self, bucket: str, key: str, described: Described) -> Sink:
        sink = self._sink.identify(bucket, key, described)
        coding = self._coding_of(described)
        if coding is None:
            return sink
        self._coding = coding
        self._name = (bucket, key)
        return self

    def begin(self, size_bytes: int | None) -> None:
        assert self._coding is not None
        self._decoder, self._failure = Decoder(self._coding), None
        self._stored_bytes, self._written_bytes = size_bytes or 0, 0
        self._sink.begin(None)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        assert self._decoder is not None
        if self._failure is None:
            try:
                self._decode(self._decoder, memoryview(data))
            except Undecodable as error:
                # Perhaps the bytes were corrupted on the way: the transfer finds that out at the end, and retries.
                self._failure = error

    def hold(self) -> None:
        self._sink.hold()

    def let_go(self) -> None:
        self._sink.let_go()

    def commit(self) -> None:
        assert self._decoder is not None
        try:
            if self._failure is not None:
                raise self._failure
            self._decoder.finish()
        except Undecodable as error:
            raise self._failed(
                f'the stored data is not valid {self._coding}: {error}. Use decompress=False to get it as stored'
            ) from error
        self._sink.commit()

    def rollback(self) -> None:
        self._sink.rollback()

    def _decode(self, decoder: Decoder, data: memoryview) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            pieces = decoder.pieces(data[start : start + SLICE_BYTES])
            is_inline = len(data) <= INLINE_BYTES
            while (piece := next(pieces, None) if is_inline else offload(next, pieces, None)) is not None:
                # After so much output from so little input, more is likely.
                is_inline = is_inline and len(piece) < STEP_BYTES
                if piece:
                    self._write(piece)

    def _write(self, piece: bytes) -> None:
        limit = self._max_bytes
        if limit is None:
            limit = MAX_RATIO * self._stored_bytes + ALWAYS_ALLOWED_BYTES
        if self._written_bytes + len(piece) > limit:
            raise self._failed(
                f'its {self._stored_bytes:,} bytes of {self._coding} decompress to more than {limit:,} bytes; '
                f'raise max_decompressed_size if you trust the object'
            )
        self._sink.write_at(self._written_bytes, piece)
        self._written_bytes += len(piece)

    def _failed(self, why: str) -> DownloadError:
        bucket, key = self._name
        return DownloadError(f's3://{bucket}/{key}: {why}', bucket=bucket, key=key)
