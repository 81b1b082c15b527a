"""Plans: the requests for an object of a given size. Pure functions of size and configuration. No I/O, no clock.

Invariants of every plan: the parts cover [0, size) exactly and in order; there are at most 10,000; each has at most 5 GiB and,
except the last, at least 5 MiB. An empty object is one part of 0 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from s3po.config import MAX_OBJECT_BYTES, MAX_PART_BYTES, MAX_PARTS, MIB, TransferConfig
from s3po.errors import ConfigurationError
from s3po.model import Part

__all__ = [
    'Plan',
    'plan_copy',
    'plan_download',
    'plan_upload',
    'stream_part_bytes',
]

# The length of a stream is unknown. Its parts begin with `multipart_chunksize` and double every 1,000 parts, so that 10,000
# parts that begin with 8 MiB hold 8 TiB, while the first 8 GiB are sent in small parts.
STREAM_GROWTH_PARTS = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts of one object.

    Attributes:
        size_bytes: The object's size.
        part_bytes: The size of every part except the last.
        is_multipart: Whether the object needs a multipart upload (or copy) rather than one request.
    """

    size_bytes: int
    part_bytes: int
    is_multipart: bool

    def __len__(self) -> int:
        return max(1, -(-self.size_bytes // self.part_bytes)) if self.is_multipart else 1

    def __iter__(self) -> Iterator[Part]:
        return self.parts_from(1)

    def parts_from(self, number: int) -> Iterator[Part]:
        """The parts in order, beginning with part `number`."""
        if not self.is_multipart:
            yield from [Part(number=1, offset=0, size_bytes=self.size_bytes)][number - 1 :]
            return
        for index in range(number - 1, len(self)):
            offset = index * self.part_bytes
            yield Part(number=index + 1, offset=offset, size_bytes=min(self.part_bytes, self.size_bytes - offset))


def plan_upload(size_bytes: int, config: TransferConfig) -> Plan:
    """Plan an upload: one PUT, or a multipart upload with its parts.

    Raises:
        ConfigurationError: The object is larger than S3's limit.
    """
    return _plan(size_bytes, config.multipart_threshold, config.multipart_chunksize)


def plan_copy(size_bytes: int, config: TransferConfig) -> Plan:
    """Plan a copy: one CopyObject, or a multipart upload of ranges of the source."""
    return _plan(size_bytes, config.multipart_copy_threshold, config.multipart_copy_chunksize)


def plan_download(size_bytes: int, config: TransferConfig) -> Plan:
    """Plan a download: one GET, or a GET and ranges. (S3 has no limit for ranges; their size grows as that of parts does.)"""
    return _plan(size_bytes, config.multipart_chunksize, config.multipart_chunksize)


def stream_part_bytes(number: int, config: TransferConfig) -> int:
    """The size of part `number` (from 1) of a stream of unknown length.

    Raises:
        ConfigurationError: The stream is longer than 10,000 such parts.
    """
    if number > MAX_PARTS:
        raise ConfigurationError(
            f'the stream is longer than {MAX_PARTS:,} growing parts; '
            f'raise multipart_chunksize above {config.multipart_chunksize // MIB} MiB'
        )
    doublings = (number - 1) // STREAM_GROWTH_PARTS
    return min(config.multipart_chunksize << doublings, MAX_PART_BYTES)


def _plan(size_bytes: int, threshold: int, part_bytes: int) -> Plan:
    if size_bytes < 0:
        raise ConfigurationError(f'size_bytes must not be negative: {size_bytes:,}')
    if size_bytes > MAX_OBJECT_BYTES:
        raise ConfigurationError(
            f'an object of {size_bytes:,} bytes is larger than the limit of S3 ({MAX_OBJECT_BYTES:,} bytes); split it'
        )
    part_bytes = _fitting_part_bytes(size_bytes, part_bytes)
    # An object of at most one part is one request, whatever the threshold: a multipart upload needs three.
    return Plan(size_bytes, part_bytes, size_bytes > max(threshold, part_bytes))


def _fitting_part_bytes(size_bytes: int, part_bytes: int) -> int:
    """The smallest whole number of MiB, at least part_bytes, with which 10,000 parts hold the object."""
    needed = -(-size_bytes // MAX_PARTS)
    if needed <= part_bytes:
        return part_bytes
    return min(-(-needed // MIB) * MIB, MAX_PART_BYTES)
