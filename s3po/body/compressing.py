"""Sources that compress another source while it is read. The other source keeps its own checks.

Invariants: at most one piece of the source is in memory, besides the compressed bytes to send. Calls of check_unchanged() and
finish() are passed on to the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from s3po.body.chunks import Chunk
from s3po.body.coding import new_encoder
from s3po.body.sources import BytesSource, SizedSource, Source
from s3po.body.streams import StreamSource
from s3po.config import KIB, MIB
from s3po.runtime import offload

__all__ = ['compressed']

# Bytes of the source that are read and compressed at a time. A source of at most this size is compressed at once.
PIECE_BYTES: Final = MIB
# Compressing less than this takes a millisecond at most, even with the standard library.
INLINE_BYTES: Final = 32 * KIB


def compressed(source: SizedSource | StreamSource, coding: str) -> SizedSource | StreamSource:
    """Return a source of another source's bytes, compressed. The caller closes the other source.

    Args:
        source: An open source.
        coding: One of s3po.body.coding.CODINGS.

    Raises:
        ConfigurationError: The library of the coding is not installed.
        SourceChanged, LocalError: A short source cannot be read, or changed.
    """
    made: SizedSource | StreamSource
    if isinstance(source, SizedSource) and source.size_bytes <= PIECE_BYTES:
        made = BytesSource(b''.join(_encoded(source, coding)))
        made.name = source.name
    else:
        made = StreamSource(_encoded(source, coding), source.name)
    made.path = source.path
    made.check_unchanged = source.check_unchanged  # type: ignore[method-assign]  # the source's own check
    made.finish = source.finish  # type: ignore[method-assign]  # likewise
    return made


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
            # read() checks each chunk against its first reading before it is compressed.
            yield chunk.read()
    elif isinstance(source, StreamSource):
        while data := source.next_chunk(PIECE_BYTES).read():
            yield data
