"""Sources whose bytes are compressed as they are read. The source itself stays as it is, and keeps its own guards.

Invariants: never more than one piece of the source is in memory beside what is kept to be sent; what the source says of itself
(that it changed, where a caller's file is to stand) goes on to be asked of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from s3po.body.chunks import Chunk
from s3po.body.coding import new_encoder
from s3po.body.sources import BytesSource, SizedSource, Source, StreamSource
from s3po.config import KIB, MIB
from s3po.runtime import offload

__all__ = ['compressed']

# How much of a source is read and compressed at a time. What is no longer than this becomes bytes of known length.
PIECE_BYTES: Final = MIB
# Compressing less than this is done in a millisecond, even by the standard library.
INLINE_BYTES: Final = 32 * KIB


def compressed(source: SizedSource | StreamSource, coding: str) -> SizedSource | StreamSource:
    """A source of the compressed bytes of another, which stays open, and is for the caller to close.

    Args:
        source: An open source.
        coding: One of s3po.body.coding.CODINGS.

    Raises:
        ConfigurationError: Its library is not installed.
        SourceChanged, LocalError: The source, if it is short, cannot be read as it was.
    """
    if isinstance(source, SizedSource) and source.size_bytes <= PIECE_BYTES:
        return _CompressedBytes(source, coding)
    return _CompressedStream(source, coding)


class _CompressedBytes(BytesSource):
    """Of a short source: compressed at once."""

    def __init__(self, source: Source, coding: str) -> None:
        super().__init__(b''.join(_encoded(source, coding)))
        self.name, self.path = source.name, source.path
        self.check_unchanged = source.check_unchanged  # type: ignore[method-assign]  # it is the source's to say
        self.finish = source.finish  # type: ignore[method-assign]  # likewise


class _CompressedStream(StreamSource):
    """Of a long one, or one of unknown length: compressed as it is sent."""

    def __init__(self, source: Source, coding: str) -> None:
        super().__init__(_encoded(source, coding), source.name)
        self.path = source.path
        self.check_unchanged = source.check_unchanged  # type: ignore[method-assign]  # it is the source's to say
        self.finish = source.finish  # type: ignore[method-assign]  # likewise


def _encoded(source: Source, coding: str) -> Iterator[bytes]:
    encoder = new_encoder(coding)
    for data in _pieces(source):
        yield encoder.compress(data) if len(data) <= INLINE_BYTES else offload(encoder.compress, data)
    yield encoder.flush()


def _pieces(source: Source) -> Iterator[bytes]:
    if isinstance(source, SizedSource):
        offsets = range(0, source.size_bytes, PIECE_BYTES)
        chunks: Iterable[Chunk] = (source.chunk(offset, min(PIECE_BYTES, source.size_bytes - offset)) for offset in offsets)
        if source.can_change_unseen:
            chunks = list(chunks)
            for chunk in chunks:
                chunk.checksum('CRC64NVME')
        for chunk in chunks:
            # Each of them is known to be of the unchanged source before it is compressed.
            yield chunk.read()
    elif isinstance(source, StreamSource):
        while data := source.next_chunk(PIECE_BYTES).read():
            yield data
