"""The initial contents of the store: the names of buckets and keys, and functions that write the files.

- bucket `small`: many small objects, all different
- bucket `large`: one large object, `large/object`
- bucket `listed`: keys without objects, for listing and deleting
- bucket `put`: empty, for uploads
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import BinaryIO

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

PAGE_KEYS = 1000
LARGE_KEY = 'object'

_MODIFIED = '2025-01-01T00:00:00.000Z'
# A large file repeats a block of random bytes that is larger than any cache of the processor.
_BLOCK_BYTES = 64 * MIB
# The number of different bodies of small objects.
_BODIES = 1024


def keys(count: int) -> list[str]:
    """The keys of `count` small objects."""
    return [f'{n:08d}' for n in range(count)]


def read_all(file: BinaryIO) -> int:
    """Reads a file object to its end, 1 MiB at a time; returns the number of bytes."""
    size_bytes = 0
    while piece := file.read(MIB):
        size_bytes += len(piece)
    return size_bytes


def write_all(file: BinaryIO, size_bytes: int) -> None:
    """Writes `size_bytes` random bytes to a file object, 1 MiB at a time."""
    piece = os.urandom(MIB)
    file.writelines(piece for _ in range(size_bytes // MIB))


def write_small(directory: Path, count: int, size_bytes: int) -> None:
    """Writes `count` files of `size_bytes` random bytes each, named by their keys."""
    directory.mkdir(parents=True, exist_ok=True)
    bodies = [os.urandom(size_bytes) for _ in range(min(count, _BODIES))]
    for n, key in enumerate(keys(count)):
        (directory / key).write_bytes(bodies[n % _BODIES])


def write_large(path: Path, size_bytes: int) -> str:
    """Writes a file of random bytes.

    Returns:
        Its CRC64NVME as in S3's header, or '' if awscrt is not installed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    block = os.urandom(min(size_bytes, _BLOCK_BYTES))
    with path.open('wb') as file:
        left = size_bytes
        while left > 0:
            left -= file.write(block[:left])
    return crc64nvme(path)


def crc64nvme(path: Path) -> str:
    """The file's CRC64NVME in base64, or '' without awscrt."""
    try:
        from awscrt import checksums
    except ImportError:
        return ''
    value = 0
    with path.open('rb') as file:
        while chunk := file.read(8 * MIB):
            value = checksums.crc64nvme(chunk, value)
    return base64.b64encode(value.to_bytes(8, 'big')).decode()


def write_pages(directory: Path, bucket: str, count: int, size_bytes: int) -> None:
    """Writes the responses of ListObjectsV2, 1,000 keys each, as 0.xml, 1.xml, …; a page's number is its continuation token."""
    target = directory / bucket
    target.mkdir(parents=True, exist_ok=True)
    names = keys(count)
    for number, start in enumerate(range(0, count, PAGE_KEYS)):
        page = names[start : start + PAGE_KEYS]
        following = number + 1 if start + PAGE_KEYS < count else None
        (target / f'{number}.xml').write_text(_page(bucket, page, size_bytes, following))


def _page(bucket: str, names: list[str], size_bytes: int, following: int | None) -> str:
    more = '<IsTruncated>false</IsTruncated>'
    if following is not None:
        more = f'<IsTruncated>true</IsTruncated><NextContinuationToken>{following}</NextContinuationToken>'
    contents = ''.join(
        f'<Contents><Key>{name}</Key><LastModified>{_MODIFIED}</LastModified><ETag>&quot;{int(name):032x}&quot;</ETag>'
        f'<Size>{size_bytes}</Size><StorageClass>STANDARD</StorageClass></Contents>'
        for name in names
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f'<Name>{bucket}</Name><Prefix></Prefix><KeyCount>{len(names)}</KeyCount><MaxKeys>{PAGE_KEYS}</MaxKeys>'
        f'{more}{contents}</ListBucketResult>'
    )
