"""Checksums of objects: computed piece by piece, combined, and compared with what a store says.

What may live here: arithmetic, and S3's way of writing it ('CRC64NVME:base64 of the big-endian bytes'). No I/O.

CRC64NVME is S3's own choice for whole objects: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
awscrt computes it at 57 GB/s, so that it costs nothing beside a transfer; MD5 makes 0.8.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

__all__ = ['combined', 'crc64nvme', 'load', 'stated_crc64nvme']

PREFIX: Final = 'CRC64NVME:'


def load() -> None:
    """Import awscrt: it takes 30 ms and 5 MiB, which who checks nothing does not pay, and no transfer should wait for."""
    import awscrt.checksums  # noqa: F401


def crc64nvme(data: bytes | memoryview, previous: int = 0) -> int:
    """The CRC64NVME of the data, or of all that came before and the data.

    Args:
        data: The next bytes.
        previous: What this function gave for those before.
    """
    from awscrt.checksums import crc64nvme as compute

    return int(compute(data, previous))


def combined(parts: Mapping[int, tuple[int, int]]) -> int:
    """The CRC64NVME of parts that stand one behind the other.

    Args:
        parts: By part number: (CRC64NVME, length in bytes).
    """
    from awscrt.checksums import combine_crc64nvme

    total = 0
    for _, (crc, size_bytes) in sorted(parts.items()):
        total = int(combine_crc64nvme(total, crc, size_bytes))
    return total


def stated_crc64nvme(checksum: str | None) -> int | None:
    """The CRC64NVME of a whole object in what a store says of it; None when it says none, or one that is no number of ours.

    Args:
        checksum: 'ALGORITHM:base64'. What ends in '-N' was made of the parts' checksums, and says nothing of the bytes.
    """
    if checksum is None or not checksum.startswith(PREFIX):
        return None
    try:
        raw = base64.b64decode(checksum.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return int.from_bytes(raw) if len(raw) == 8 else None
