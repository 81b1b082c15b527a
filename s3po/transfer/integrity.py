"""Checksums of uploads, proofs of what was stored, and checks of downloads.

No requests are sent here, and no sinks are written.

Three things prove an upload, the strongest first: a checksum in the response; an id of s3po's in the metadata; an ETag that is
the MD5 of the bytes, or of the parts' MD5s.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import os
from typing import Any, Final, Protocol

from s3po.body import Chunk
from s3po.checksum import (
    CRC_BYTES,
    combined_text,
    crc_function,
    has_md5_form,
    multipart_etag,
    text_of_crc,
)
from s3po.errors import IntegrityError, ResponseError
from s3po.model import ObjectInfo
from s3po.s3 import Answer, Extra, Headers
from s3po.s3.status import has_own_key

__all__ = [
    'INVALID_DIGEST',
    'Check',
    'Guard',
    'Mismatch',
    'check_echo',
    'check_etag',
    'check_for',
    'check_of',
    'has_bytes',
    'is_encrypted',
    'is_of',
    'kind_of',
    'new_id',
    'source_check',
    'wants_id',
]

ALGORITHMS: Final = {
    'auto': 'CRC64NVME',
    'none': None,
    'crc64nvme': 'CRC64NVME',
    'crc32c': 'CRC32C',
    'crc32': 'CRC32',
    'sha256': 'SHA256',
    'md5': 'MD5',
}
DIGEST_BYTES: Final = {'SHA256': 32, 'SHA1': 20}
# S3's code for an invalid digest; Garage's also for one that does not match ('Failed to validate checksum').
INVALID_DIGEST: Final = 'InvalidDigest'
# How many different warnings are logged; the results have all of them.
MAX_LOGGED: Final = 1000
CONDITIONS: Final = frozenset({'if-match', 'if-none-match', 'ifmatch', 'ifnonematch'})
ENCRYPTION: Final = ('x-amz-server-side-encryption', 'serversideencryption', 'ssecustomer', 'ssekms')
ENCRYPTION_HEADERS: Final = ('x-amz-server-side-encryption', 'x-amz-server-side-encryption-customer-algorithm')


# --- uploads


class Guard:
    """The checksum that the uploads of a connection carry, for each bucket. Any thread may use it.

    Attributes:
        refusing: The buckets whose store refuses checksums: it refused one twice, and accepted the same bytes with an MD5.
        taking: The buckets whose store has accepted a checksum; so a later refusal is not a refusal of all checksums.
        default: The algorithm of the checksums, for stores that accept checksums; None for no checksums.
        is_off: Whether nothing is compared.
        is_required: Whether an upload fails without the checksum.
    """

    def __init__(self, checksum: str) -> None:
        """
        Args:
            checksum: TransferConfig.checksum.
        """
        self.default = ALGORITHMS[checksum]
        self.refusing: set[str] = set()
        self.taking: set[str] = set()
        self._logged: set[tuple[str, str]] = set()
        self.is_off = checksum == 'none'
        self.is_required = checksum != 'auto'

    def algorithm(self, bucket: str) -> str | None:
        """The algorithm of the checksums that uploads to a bucket carry; None for no checksum."""
        return None if bucket in self.refusing else self.default

    def is_refusal(self, error: ResponseError) -> bool:
        """Whether a store may have refused a request for its checksum: it supports none, or it does not match."""
        if error.status == http.client.NOT_IMPLEMENTED or error.code == INVALID_DIGEST:
            return True
        return error.status == http.client.BAD_REQUEST and 'checksum' in str(error).lower()

    def is_new_warning(self, bucket: str, text: str) -> bool:
        """Whether this is the first such warning for the bucket; from now on it is not."""
        is_new = (bucket, text) not in self._logged and len(self._logged) < MAX_LOGGED
        self._logged.add((bucket, text))
        return is_new


def check_echo(doing: str, sent: str | None, stored: str | None) -> None:
    """Compare the checksum in the response to an upload with the one that was sent.

    Raises:
        IntegrityError: They are of one algorithm, and differ.
    """
    if sent is not None and stored is not None and sent != stored and kind_of(sent) == kind_of(stored):
        raise IntegrityError(f'{doing}: the stored bytes are not those that were sent: the store has {stored}, sent was {sent}')


def check_etag(doing: str, chunk: Chunk, etag: str) -> bool:
    """Compare an ETag with the MD5 of the bytes that were sent. Returns False if the ETag is not an MD5.

    Raises:
        IntegrityError: The ETag is another MD5.
    """
    if not has_md5_form(etag):
        return False
    expected = _md5_of(chunk)
    if etag != expected:
        raise IntegrityError(
            f'{doing}: the stored object differs from what was sent: its ETag is {etag}, the MD5 of the data {expected}'
        )
    return True


def is_of(chunk: Chunk, info: ObjectInfo) -> bool:
    """Whether an object has the bytes of a chunk, by its checksum or by an ETag that is its MD5; False without either."""
    return has_bytes(chunk, info.checksum, info.etag, is_encrypted=is_encrypted(info))


def has_bytes(chunk: Chunk, checksum: str | None, etag: str, *, is_encrypted: bool) -> bool:
    """Whether an object or part with this checksum and ETag has the bytes of a chunk; False if neither can tell."""
    algorithm, _, value = (checksum or '').partition(':')
    if algorithm in ALGORITHMS.values() and '-' not in value:
        return checksum == chunk.checksum(algorithm)
    return has_md5_form(etag) and not is_encrypted and etag == _md5_of(chunk)


def _md5_of(chunk: Chunk) -> str:
    """The MD5 of a chunk, in hex."""
    return base64.b64decode(chunk.checksum('MD5').partition(':')[2]).hex()


def wants_id(headers: Headers, extra: Extra, *, is_multipart: bool) -> bool:
    """Whether an upload needs its own id, to distinguish it from another client's write if its response is lost.

    It does if a condition refuses the second attempt whichever client wrote, or if encryption makes unpredictable ETags.
    """
    names = [name.lower() for name in (*headers, *extra)]
    if not CONDITIONS.isdisjoint(names):
        return True
    return is_multipart and any(name.startswith(ENCRYPTION) for name in names)


def new_id() -> str:
    """An id for one upload."""
    return os.urandom(8).hex()


def is_encrypted(info: ObjectInfo) -> bool:
    """Whether an object is encrypted with a key of the customer's or of KMS, so that its ETag is not an MD5."""
    return has_own_key(*map(info.headers.get, ENCRYPTION_HEADERS))


def kind_of(checksum: str | None) -> str:
    """The algorithm of a checksum, with a '-' if it is one of the parts' checksums; only equal kinds can be compared."""
    if checksum is None:
        return ''
    return checksum.partition(':')[0] + ('-' if '-' in checksum else '')


# --- downloads


class Mismatch(IntegrityError):
    """The downloaded bytes differ from the stored ones."""


class Check(Protocol):
    """Compares the bytes of a download with a checksum of the object.

    Each part calls start(), then update() for each piece of it in order, then end(). Parts may be fetched at the same time, and
    more than once.

    Attributes:
        expected: The object's checksum, as 'ALGORITHM:base64'.
        is_streamed: Whether all bytes must be passed in order, as one part.
        is_guess: Whether `expected` may be of parts of other sizes, so that it proves nothing.
    """

    expected: str
    is_streamed: bool
    is_guess: bool

    def start(self) -> Any:
        """The state of a part at its beginning."""
        ...

    def update(self, state: Any, data: bytes | memoryview) -> Any:
        """The state of a part after its next bytes."""
        ...

    def end(self, number: int, state: Any, size_bytes: int) -> None:
        """Store the state of a complete part; replaces that of an earlier fetch."""
        ...

    def seen(self, number: int) -> str:
        """The checksum of a complete part. If it differs between two fetches, one of them was wrong."""
        ...

    def verify(self, doing: object) -> None:
        """Compare the parts.

        Raises:
            Mismatch: The bytes have another checksum.
        """
        ...

    def verify_whole(self, doing: object, data: bytes) -> None:
        """Compare all bytes at once; in place of all other calls."""
        ...


class CRCCheck:
    """A Check by a CRC of the whole object, combined from those of its parts."""

    is_streamed = False
    is_guess = False

    def __init__(self, expected: str) -> None:
        self.expected = expected
        self._algorithm = expected.partition(':')[0]
        self._compute = crc_function(self._algorithm)
        self._parts: dict[int, tuple[str, int]] = {}

    def start(self) -> int:
        return 0

    def update(self, state: int, data: bytes | memoryview) -> int:
        return int(self._compute(data, state))

    def end(self, number: int, state: int, size_bytes: int) -> None:
        self._parts[number] = (text_of_crc(self._algorithm, state), size_bytes)

    def seen(self, number: int) -> str:
        return self._parts[number][0]

    def verify(self, doing: object) -> None:
        parts = [part for _, part in sorted(self._parts.items())]
        _compare(doing, self.expected, parts[0][0] if len(parts) == 1 else combined_text(self._algorithm, parts))

    def verify_whole(self, doing: object, data: bytes) -> None:
        computed = text_of_crc(self._algorithm, self._compute(data, 0))
        if computed != self.expected:
            _compare(doing, self.expected, computed)


class DigestCheck:
    """A Check by a digest of the whole object, computed from its first byte to its last."""

    is_streamed = True
    is_guess = False

    def __init__(self, expected: str) -> None:
        self.expected = expected
        self._algorithm = expected.partition(':')[0]
        self._digest = b''

    def start(self) -> Any:
        return hashlib.new(self._algorithm, usedforsecurity=False)

    def update(self, state: Any, data: bytes | memoryview) -> Any:
        state.update(data)
        return state

    def end(self, number: int, state: Any, size_bytes: int) -> None:
        self._digest = state.digest()

    def seen(self, number: int) -> str:
        return self._digest.hex()

    def verify(self, doing: object) -> None:
        _compare(doing, self.expected, f'{self._algorithm}:{base64.b64encode(self._digest).decode()}')

    def verify_whole(self, doing: object, data: bytes) -> None:
        self.end(1, self.update(self.start(), data), len(data))
        self.verify(doing)


class PartsCheck(DigestCheck):
    """A Check by the ETag of a multipart upload (of its parts' MD5s), if the ranges have the sizes of the parts."""

    is_streamed = False
    is_guess = True

    def __init__(self, etag: str) -> None:
        super().__init__(self._of_etag(etag))
        self._etags: dict[int, str] = {}

    def end(self, number: int, state: Any, size_bytes: int) -> None:
        self._etags[number] = state.hexdigest()

    def seen(self, number: int) -> str:
        return self._etags[number]

    def verify(self, doing: object) -> None:
        etag = multipart_etag(etag for _, etag in sorted(self._etags.items())) or ''
        _compare(doing, self.expected, self._of_etag(etag))

    @staticmethod
    def _of_etag(etag: str) -> str:
        digest, _, count = etag.partition('-')
        return f'MD5:{base64.b64encode(bytes.fromhex(digest)).decode()}-{count}'


def check_for(checksum: str, answer: Answer, parts: int = 1) -> Check | None:
    """The check of a download; None if there is nothing to compare it with.

    Args:
        checksum: TransferConfig.checksum.
        answer: The response with the object.
        parts: The number of parts in which it is fetched.
    """
    if checksum == 'none':
        return None
    expected = answer.checksum
    algorithm = None if expected is None else _algorithm_of(expected)
    if expected is not None and algorithm in CRC_BYTES:
        return CRCCheck(expected)
    if expected is not None and algorithm in DIGEST_BYTES and (parts == 1 or checksum == algorithm.lower()):
        return DigestCheck(expected)
    return _etag_check(answer, parts) if checksum == 'md5' else None


def source_check(checksum: str, answer: Answer) -> Check | None:
    """The check of the source of a copy; None if there is nothing to compare it with.

    It is strict: what a copy publishes may be the only copy soon. So an ETag that is an MD5 counts if there is no checksum.

    Args:
        checksum: TransferConfig.checksum.
        answer: The response with the object, or with its first part.
    """
    return check_for(checksum, answer) or (None if checksum == 'none' else _etag_check(answer, 1))


def check_of(checksum: str, expected: str | None) -> Check | None:
    """The check of a download that continues an earlier one.

    Args:
        checksum: TransferConfig.checksum.
        expected: Check.expected of the earlier one; None for none.
    """
    if expected is None or checksum == 'none':
        return None
    algorithm, _, value = expected.partition(':')
    if algorithm in CRC_BYTES:
        return CRCCheck(expected)
    digest, _, count = value.partition('-')
    return PartsCheck(f'{base64.b64decode(digest).hex()}-{count}') if count else DigestCheck(expected)


def _etag_check(answer: Answer, parts: int) -> Check | None:
    """A comparison with an ETag that is made of MD5s."""
    etag = answer.etag
    if has_md5_form(etag) and not has_own_key(*map(answer.header, ENCRYPTION_HEADERS)):
        return DigestCheck(f'MD5:{base64.b64encode(bytes.fromhex(etag)).decode()}')
    if parts > 1 and etag.endswith(f'-{parts}') and has_md5_form(etag.partition('-')[0]):
        return PartsCheck(etag)
    return None


def _algorithm_of(expected: str) -> str:
    """The algorithm of a checksum of all bytes; '' for a checksum of the parts' checksums ('…-N'), and for unknown ones."""
    algorithm, _, value = expected.partition(':')
    length = CRC_BYTES.get(algorithm) or DIGEST_BYTES.get(algorithm)
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return ''
    return algorithm if len(raw) == length else ''


def _compare(doing: object, expected: str, computed: str) -> None:
    if computed != expected:
        raise Mismatch(
            f'{doing}: the received bytes are not the stored ones: they have {computed}, but the store has {expected}'
        )
