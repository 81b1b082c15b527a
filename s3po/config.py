"""Settings with their defaults, and the limits of S3.

Limits are from https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html unless another source is named.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from s3po.checks import is_seconds, is_whole
from s3po.errors import ConfigurationError

__all__ = ['GIB', 'KIB', 'MIB', 'TransferConfig', '__version__']

__version__ = '1.0.0.dev0'

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# The smallest part of a multipart upload; the last one may be smaller.
MIN_PART_BYTES = 5 * MIB
# The largest part, and the largest object of one PUT or one CopyObject.
MAX_PART_BYTES = 5 * GIB
MAX_PUT_BYTES = 5 * GIB
MAX_PARTS = 10_000
# 48.8 TiB: 10,000 parts of 5 GiB. A store with a lower limit (5 TiB on many) returns an error.
MAX_OBJECT_BYTES = MAX_PARTS * MAX_PART_BYTES
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
MAX_DELETE_KEYS = 1000
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html (max-keys)
MAX_PAGE_KEYS = 1000
# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html: seven days.
MAX_PRESIGN_S = 7 * 24 * 3600

CHECKSUMS = ('auto', 'none', 'crc64nvme', 'crc32c', 'crc32', 'sha256', 'md5')
PAYLOAD_SIGNING = ('auto', 'signed', 'unsigned')

MAX_MEMORY_BYTES = 256 * MIB
# A smaller limit is a mistake in the unit.
LEAST_MEMORY_BYTES = MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferConfig:
    """Settings of transfers: parts, concurrency, timeouts, checksums.

    Attributes:
        multipart_threshold: Objects above this size (bytes), and above that of one part, are uploaded in parts; at most 5 GiB.
        multipart_chunksize: The size (bytes) of a part of an upload and of a range of a download, 5 MiB to 5 GiB. It is raised
            as far as needed for an object to have at most 10,000 parts.
        multipart_copy_threshold: Objects above this size (bytes) are copied in parts; at most 5 GiB, S3's limit for CopyObject.
        multipart_copy_chunksize: The size (bytes) of a part of a copy, 5 MiB to 5 GiB.
        max_concurrency: How many parts of one object are transferred at once.
        max_requests: How many requests of a connection are in flight at once, over all objects and parts. None: as many as the
            size of the widest open batch, and at least `max_concurrency`.
        max_memory: How many bytes the transfers of a connection hold in memory at once: bodies that are downloaded into memory,
            parts of streams, parts that arrive early, buffers, and what open files read ahead. Transfers wait for room. Data of
            the caller and results do not count. Each native thread that uses the connection has a limit of its own.
        connect_timeout_s: How long to wait for a connection.
        read_timeout_s: How long to wait for the next bytes of a response.
        throttle_timeout_s: How long a request that the store refuses because of the load (SlowDown, 429, or a response with
            Retry-After) is repeated without counting against the retries; 0 to count these too. Without retries
            (`retries=0`) it is never repeated.
        requests_per_s: How many requests of a connection may begin per second; None for no limit.
        bandwidth_bytes_per_s: How many bytes a connection may send and receive per second, together; None for no limit.
        min_bytes_per_s: A slower body, measured over 30 s of waiting for the network, is aborted and retried; 0 for no limit.
            (Not supported by the boto transport.)
        payload_signing: Whether the data of uploads is part of the signature: 'signed', 'unsigned', or 'auto', which signs data
            that TLS does not protect. Signing costs a SHA-256 of all data.
        checksum: The checksum of uploads, which the store verifies: 'auto' is a CRC64NVME of each part and of the whole object,
            and nothing if the store rejects it; 'crc64nvme', 'crc32c', 'crc32', 'sha256' or 'md5' is required, and the upload
            fails if the store rejects it. Downloads of whole objects are compared with the store's checksum, if it has one;
            with 'md5' also with an ETag that is an MD5. 'none' does neither.
        sends_id: Add an id as metadata (`x-amz-meta-s3po-id`) to uploads that need it: if the response is lost, only the id
            distinguishes them from another client's write. These are conditional uploads, and those with an encryption key.
            `ObjectInfo.metadata` omits the id.
        use_tmp_file: Downloads to a path are written to a temporary file in the same directory, which is renamed when it is
            complete. False writes to the path itself (a symbolic link is rejected), for file systems that cannot rename; then a
            failure leaves the path absent, even if a file existed before. The file is written in order, so that a killed
            process (`kill -9`, power failure) leaves the beginning of the object, which is shorter; parts that arrive early
            wait in memory. Of two such downloads to one path at the same time, the second one fails with LocalError.
        fsync: Downloads to a path are synchronised with the disk before they count as done.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    multipart_threshold: int = 8 * MIB
    multipart_chunksize: int = 8 * MIB
    multipart_copy_threshold: int = MAX_PUT_BYTES
    multipart_copy_chunksize: int = 512 * MIB
    max_concurrency: int = 8
    max_requests: int | None = None
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    min_bytes_per_s: int = 1024
    payload_signing: str = 'auto'
    checksum: str = 'auto'
    sends_id: bool = True
    use_tmp_file: bool = True
    fsync: bool = False
    # New fields are added at the end: a pickle has the values in this order.
    max_memory: int = MAX_MEMORY_BYTES
    throttle_timeout_s: float = 900.0
    requests_per_s: float | None = None
    bandwidth_bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        _check_range('multipart_threshold', self.multipart_threshold, 0, MAX_PUT_BYTES)
        _check_range('multipart_copy_threshold', self.multipart_copy_threshold, 0, MAX_PUT_BYTES)
        for name in ('multipart_chunksize', 'multipart_copy_chunksize'):
            _check_range(name, getattr(self, name), MIN_PART_BYTES, MAX_PART_BYTES, hint=' (parts must have 5 MiB to 5 GiB)')
        _check_range('max_concurrency', self.max_concurrency, 1, MAX_PARTS)
        if self.max_requests is not None:
            _check_range('max_requests', self.max_requests, 1, None)
        check_memory(self.max_memory)
        _check_range('min_bytes_per_s', self.min_bytes_per_s, 0, None)
        if self.throttle_timeout_s != 0 and not is_seconds(self.throttle_timeout_s):
            raise ConfigurationError(f'throttle_timeout_s must be a number of seconds from 0, not {self.throttle_timeout_s!r}')
        for name in ('requests_per_s', 'bandwidth_bytes_per_s'):
            value = getattr(self, name)
            if value is not None and not is_seconds(value):
                raise ConfigurationError(f'{name} must be a number above 0, or None for no limit, not {value!r}')
        if self.payload_signing not in PAYLOAD_SIGNING:
            raise ConfigurationError(f"payload_signing must be 'auto', 'signed' or 'unsigned', not {self.payload_signing!r}")
        if self.checksum not in CHECKSUMS:
            raise ConfigurationError(f'checksum must be one of {", ".join(map(repr, CHECKSUMS))}, not {self.checksum!r}')
        for name in ('connect_timeout_s', 'read_timeout_s'):
            value = getattr(self, name)
            if not is_seconds(value):
                raise ConfigurationError(f'{name} must be a number of seconds above 0, not {value!r}')


def check_memory(value: object) -> None:
    """Check the argument `max_memory`.

    Raises:
        ConfigurationError: It is not a number of bytes, or less than a MiB.
    """
    _check_range('max_memory', value, LEAST_MEMORY_BYTES, None, hint=' (it is in bytes)')


def _restore(config: TransferConfig, state: Sequence[object]) -> None:
    """Restore a pickle, also one of an earlier version, which has fewer fields."""
    fields = dataclasses.fields(config)
    added = (each.default for each in fields[len(state) :])
    for each, value in zip(fields, itertools.chain(state, added), strict=True):
        object.__setattr__(config, each.name, value)


# Set here: a dataclass with slots replaces a method of this name in Python 3.11.2.
setattr(TransferConfig, '__setstate__', _restore)  # noqa: B010  (mypy refuses the assignment)


def _check_range(name: str, value: object, lowest: int, highest: int | None, *, hint: str = '') -> None:
    """Check that a value is a whole number from lowest to highest (both included; None: no limit)."""
    if not is_whole(value):
        raise ConfigurationError(f'{name} must be a whole number, not {value!r}')
    if value < lowest or (highest is not None and value > highest):
        upper = '' if highest is None else f' and at most {highest:,}'
        raise ConfigurationError(f'{name} must be at least {lowest:,}{upper}, not {value:,}{hint}')
