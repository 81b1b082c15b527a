"""Checksums of objects: computed piece by piece, combined, and written in S3's form ('CRC64NVME:base64'). No I/O.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html and, for multipart objects,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/tutorial-s3-mpu-additional-checksums.html. The CRCs of an object's parts
can be combined into that of the object (FULL_OBJECT). For digests, only the digest of the parts' digests is known (COMPOSITE),
which cannot be compared with the bytes without knowing the size of the parts.

awscrt computes a CRC64NVME at 57 GB/s, which is negligible in a transfer; MD5 reaches 0.8 GB/s and SHA-256 1.8.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

__all__ = [
    'ALGORITHMS',
    'CRC_BYTES',
    'combined_text',
    'crc_function',
    'has_md5_form',
    'is_combinable',
    'load',
    'multipart_count',
    'multipart_etag',
    'text_of',
    'text_of_crc',
]

# The checksums of uploads; MD5 is sent as Content-MD5, which stores verify but do not keep.
ALGORITHMS: Final = ('CRC64NVME', 'CRC32C', 'CRC32', 'SHA256', 'MD5')
# The length (bytes) of the CRCs; the other algorithms are digests.
CRC_BYTES: Final[Mapping[str, int]] = {'CRC64NVME': 8, 'CRC32C': 4, 'CRC32': 4}

_MD5: Final = re.compile('[0-9a-f]{32}')


def load() -> None:
    """Import awscrt (30 ms, 5 MiB) at start-up, so that no transfer waits for it; not called when checksums are off."""
    import awscrt.checksums  # noqa: F401


@functools.cache
def crc_function(algorithm: str) -> Callable[[bytes | memoryview, int], int]:
    """Return the function that computes a CRC: it takes the next bytes, and its result for the bytes before (0 at first)."""
    from awscrt import checksums

    found: Callable[[bytes | memoryview, int], int] = getattr(checksums, algorithm.lower())
    return found


def text_of_crc(algorithm: str, crc: int) -> str:
    """A CRC as 'ALGORITHM:base64'."""
    return f'{algorithm}:{binascii.b2a_base64(crc.to_bytes(CRC_BYTES[algorithm]), newline=False).decode()}'


def text_of(algorithm: str, pieces: Iterable[bytes | memoryview]) -> str:
    """The checksum of the concatenated pieces, as 'ALGORITHM:base64'."""
    if algorithm in CRC_BYTES:
        compute, crc = crc_function(algorithm), 0
        for piece in pieces:
            crc = compute(piece, crc)
        return text_of_crc(algorithm, crc)
    digest: Any = hashlib.md5(usedforsecurity=False) if algorithm == 'MD5' else hashlib.new(algorithm)
    for piece in pieces:
        digest.update(piece)
    return f'{algorithm}:{base64.b64encode(digest.digest()).decode()}'


def is_combinable(algorithm: str) -> bool:
    """Whether the checksum of an object can be computed from those of its parts."""
    return algorithm in CRC_BYTES


def combined_text(algorithm: str, parts: Iterable[tuple[str, int]]) -> str:
    """The checksum of an object from those of its parts: for a CRC that of all bytes, for a digest that of the digests ('…-N').

    Args:
        algorithm: One of ALGORITHMS.
        parts: In order, each part's checksum as returned by text_of(), and its length (bytes).
    """
    parts = list(parts)
    raws = [(base64.b64decode(text.partition(':')[2]), size_bytes) for text, size_bytes in parts]
    if not is_combinable(algorithm):
        whole = text_of(algorithm, (raw for raw, _ in raws))
        return f'{whole}-{len(raws)}'
    combine, total = _combine_function(algorithm), 0
    for raw, size_bytes in raws:
        total = int(combine(total, int.from_bytes(raw), size_bytes))
    return text_of_crc(algorithm, total)


def has_md5_form(etag: str) -> bool:
    """Whether an ETag may be the MD5 of the bytes: 32 hex digits. (With KMS encryption it has this form, but is no MD5.)"""
    return _MD5.fullmatch(etag) is not None


def multipart_count(etag: str) -> int | None:
    """The number of parts in an ETag of the form 'MD5-N'; None for another form."""
    md5, _, count = etag.partition('-')
    return int(count) if has_md5_form(md5) and count.isascii() and count.isdigit() and len(count) < 6 else None


def multipart_etag(etags: Iterable[str]) -> str | None:
    """The ETag that S3 gives an object of these parts; None if it cannot be computed, because a part's ETag is not an MD5."""
    etags = list(etags)
    if not all(map(has_md5_form, etags)):
        return None
    digest = hashlib.md5(b''.join(map(bytes.fromhex, etags)), usedforsecurity=False)
    return f'{digest.hexdigest()}-{len(etags)}'


def _combine_function(algorithm: str) -> Any:
    from awscrt import checksums

    return getattr(checksums, f'combine_{algorithm.lower()}')
