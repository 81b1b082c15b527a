"""Which request takes which of an object's headers.

These facts of S3's model are copied here so that an upload need not import botocore (60 MiB, 0.3 s).
tests/unit/test_wire_headers.py compares them with botocore's model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from s3po.s3.protocol import CHECKSUM_ALGORITHMS

__all__ = ['checksum_header', 'taken_by']

# CreateMultipartUpload takes neither conditions nor a digest of the data; CompleteMultipartUpload takes the conditions.
NOT_FOR_CREATE: Final = frozenset({'content-md5', 'if-match', 'if-none-match', 'x-amz-sdk-checksum-algorithm'})
NOT_FOR_COPY: Final = frozenset({'content-md5', 'x-amz-sdk-checksum-algorithm'})
FOR_COMPLETE: Final = frozenset(
    {
        'if-match',
        'if-none-match',
        'x-amz-expected-bucket-owner',
        'x-amz-request-payer',
        'x-amz-server-side-encryption-customer-algorithm',
        'x-amz-server-side-encryption-customer-key',
        'x-amz-server-side-encryption-customer-key-md5',
    }
)
# These are for CopyObject only.
ONLY_FOR_COPY: Final = frozenset(
    {
        'x-amz-copy-source',
        'x-amz-copy-source-if-match',
        'x-amz-copy-source-if-none-match',
        'x-amz-copy-source-server-side-encryption-customer-algorithm',
        'x-amz-copy-source-server-side-encryption-customer-key',
        'x-amz-copy-source-server-side-encryption-customer-key-md5',
        'x-amz-metadata-directive',
        'x-amz-object-annotation-directive',
        'x-amz-source-expected-bucket-owner',
        'x-amz-tagging-directive',
    }
)


CHECKSUM_NAMES: Final = {
    **{name: f'x-amz-checksum-{name.lower()}' for name in CHECKSUM_ALGORITHMS},
    'MD5': 'content-md5',
}


def checksum_header(checksum: str) -> tuple[str, str]:
    """The header that carries a checksum, 'ALGORITHM:base64', with its value."""
    algorithm, _, value = checksum.partition(':')
    return CHECKSUM_NAMES[algorithm], value


def taken_by(operation: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an object that a request takes, with lower-case names."""
    is_taken = _TAKEN[operation]
    named = ((name.lower(), value) for name, value in headers.items())
    return {name: value for name, value in named if is_taken(name)}


_TAKEN: Final[Mapping[str, Callable[[str], bool]]] = {
    'PutObject': lambda name: name not in ONLY_FOR_COPY,
    'CreateMultipartUpload': lambda name: name not in ONLY_FOR_COPY and name not in NOT_FOR_CREATE,
    'CopyObject': lambda name: name not in NOT_FOR_COPY,
    'CompleteMultipartUpload': FOR_COMPLETE.__contains__,
}
