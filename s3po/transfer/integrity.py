"""Checksums of uploads, proofs of what was stored, and checks of downloads.

No requests are sent here, and no sinks are written.

What proves an upload, strongest first: a checksum in the response; an id of ours in the metadata; an ETag that is the MD5 of
the bytes, or of the parts' MD5s.
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
    multipart_count,
    multipart_etag,
    text_of_crc,
)
from s3po.errors import IntegrityError, ResponseError
from s3po.model import CompletedPart, ObjectInfo
from s3po.s3 import ID_HEADER, Answer, Extra, Headers, Stored
from s3po.s3.expected import is_proof
from s3po.s3.status import has_own_key

__all__ = [
    'INVALID_DIGEST',
    'Check',
    'Expected',
    'Guard',
    'Mismatch',
    'check_echo',
    'check_etag',
    'check_for',
    'is_encrypted',
    'is_of',
    'new_id',
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
# S3's code for a digest that is no digest; Garage's also for one that does not match ('Failed to validate checksum').
INVALID_DIGEST: Final = 'InvalidDigest'
# How many different warnings are logged; the results have all of them.
MAX_LOGGED: Final = 1000
CONDITIONS: Final = frozenset({'if-match', 'if-none-match', 'ifmatch', 'ifnonematch'})
ENCRYPTION: Final = ('x-amz-server-side-encryption', 'serversideencryption', 'ssecustomer', 'ssekms')
ENCRYPTION_HEADERS: Final = ('x-amz-server-side-encryption', 'x-amz-server-side-encryption-customer-algorithm')


# --- uploads


class Guard:
    """Which checksum the uploads of a connection carry, bucket by bucket. Any thread may use it.

    Attributes:
        taking: The buckets whose store has accepted a checksum; it refuses none just for being one.
        is_off: Whether nothing is compared.
        is_required: Whether an upload fails without the checksum.
    """

    def __init__(self, checksum: str) -> None:
        """
        Args:
            checksum: TransferConfig.checksum.
        """
        self._algorithm = ALGORITHMS[checksum]
        # The buckets whose store refuses checksums.
        self._refusing: set[str] = set()
        self.taking: set[str] = set()
        self._logged: set[tuple[str, str]] = set()
        self.is_off = checksum == 'none'
        self.is_required = checksum != 'auto'

    def algorithm(self, bucket: str) -> str | None:
        """The algorithm of the checksums that uploads to a bucket carry; None for no checksum."""
        return None if bucket in self._refusing else self._algorithm

    def is_refusal(self, error: ResponseError) -> bool:
        """Whether a store may have refused a request for its checksum: because it takes none, or because it does not match."""
        if error.status == http.client.NOT_IMPLEMENTED or error.code == INVALID_DIGEST:
            return True
        return error.status == http.client.BAD_REQUEST and 'checksum' in str(error).lower()

    def is_new_warning(self, bucket: str, text: str) -> bool:
        """Whether this is the first such warning for the bucket; from now on it is not."""
        is_new = (bucket, text) not in self._logged and len(self._logged) < MAX_LOGGED
        self._logged.add((bucket, text))
        return is_new

    def remember_refusal(self, bucket: str) -> None:
        """Send no more checksums to this bucket: what was refused twice with one was taken with an MD5."""
        self._refusing.add(bucket)


class Expected:
    """What a multipart upload that was completed looks like.

    Attributes:
        checksum: Of the whole object, as 'ALGORITHM:base64'; None where the store has not confirmed each part's.
    """

    def __init__(self, parts: list[CompletedPart], checksum: str | None, own_id: str | None) -> None:
        sizes = [part.size_bytes for part in parts]
        self._size_bytes = None if -1 in sizes else sum(sizes)
        self._etag = multipart_etag(part.etag for part in parts)
        self._is_encrypted = any(part.is_encrypted for part in parts)
        self._count = len(parts)
        self._id = own_id
        self.checksum = checksum

    def is_proved_by(self, stored: Stored) -> bool:
        """Whether the answer to the completion is enough: nobody but a store gives such a checksum or ETag."""
        if not is_proof(stored.etag):
            return False
        if self._is_encrypted or stored.is_encrypted or (self.checksum is not None and self.checksum == stored.checksum):
            return True
        # An ETag of another form can be right.
        return stored.etag == self._etag or self._etag is None or multipart_count(stored.etag) is None

    def is_met_by(self, info: ObjectInfo, told: str = '') -> bool | None:
        """Whether an object is the one that was uploaded; None where nothing tells.

        Args:
            info: What a HEAD says of the object.
            told: The ETag that the completion told; '' for none.
        """
        if self._size_bytes is not None and info.size_bytes != self._size_bytes:
            return False
        if self.checksum is not None and _algorithm(info.checksum) == _algorithm(self.checksum):
            return info.checksum == self.checksum
        if self._id is not None:
            return info.headers.get(ID_HEADER) == self._id
        if self._etag is None or info.etag == self._etag:
            return None if self._etag is None else True
        if info.etag == told and multipart_count(told) == self._count:
            # Some stores make ETags in ways of their own.
            return True
        return None if is_encrypted(info) or '-' not in info.etag else False


def check_echo(doing: str, sent: str | None, told: str | None) -> None:
    """Compare the checksum that a store tells of what it has taken with the one that was sent.

    Raises:
        IntegrityError: They are of one algorithm, and differ.
    """
    if sent is not None and told is not None and sent != told and _algorithm(sent) == _algorithm(told):
        raise IntegrityError(f'{doing}: what was stored is not what was sent: the store tells {told}, sent was {sent}')


def check_etag(doing: str, chunk: Chunk, etag: str) -> bool:
    """Compare an ETag with the MD5 of what was sent; tells whether the ETag can be one.

    Raises:
        IntegrityError: It is another.
    """
    if not has_md5_form(etag):
        return False
    expected = base64.b64decode(chunk.checksum('MD5').partition(':')[2]).hex()
    if etag != expected:
        raise IntegrityError(
            f'{doing}: what was stored is not what was sent: its ETag is {etag}, the MD5 of the data {expected}'
        )
    return True


def is_of(chunk: Chunk, info: ObjectInfo) -> bool:
    """Whether an object has the bytes of a chunk, by its checksum or by an ETag that is its MD5; False where neither tells."""
    algorithm, _, value = (info.checksum or '').partition(':')
    if algorithm in ALGORITHMS.values() and '-' not in value:
        return info.checksum == chunk.checksum(algorithm)
    if is_encrypted(info) or not has_md5_form(info.etag):
        return False
    return info.etag == base64.b64decode(chunk.checksum('MD5').partition(':')[2]).hex()


def wants_id(headers: Headers, extra: Extra, *, is_multipart: bool) -> bool:
    """Whether only an id of our own can tell this upload from another's write when its answer is lost.

    Either a condition refuses the second attempt, whoever wrote; or a key for encryption makes ETags that nobody can foretell.
    """
    names = [name.lower() for name in (*headers, *extra)]
    if not CONDITIONS.isdisjoint(names):
        return True
    return is_multipart and any(name.startswith(ENCRYPTION) for name in names)


def new_id() -> str:
    """An id for one upload."""
    return os.urandom(8).hex()


def is_encrypted(info: ObjectInfo) -> bool:
    """Whether an object is encrypted with a key of the customer's or of KMS, so that its ETag is no MD5."""
    return has_own_key(*map(info.headers.get, ENCRYPTION_HEADERS))


def _algorithm(checksum: str | None) -> str:
    """The algorithm of a checksum, and whether it is made of the parts'."""
    if checksum is None:
        return ''
    return checksum.partition(':')[0] + ('-' if '-' in checksum else '')


# --- downloads


class Mismatch(IntegrityError):
    """What came is not what was stored."""


class Check(Protocol):
    """Compares an object with what is told of it.

    Attributes:
        told: What it is compared with, as 'ALGORITHM:base64'.
        is_streamed: Whether it has to get all bytes in order, as one part.
        is_guess: Whether `told` may be of parts that were cut in another way.
    """

    told: str
    is_streamed: bool
    is_guess: bool

    def start(self) -> Any:
        """The state of a part of which nothing has come."""
        ...

    def update(self, state: Any, data: bytes | memoryview) -> Any:
        """The state behind the next bytes of the part."""
        ...

    def end(self, number: int, state: Any, size_bytes: int) -> None:
        """A part has come whole; in place of what came of it before."""
        ...

    def seen(self, number: int) -> str:
        """The checksum of a part that has come; two that differ are not both right."""
        ...

    def verify(self, doing: object) -> None:
        """Compare.

        Raises:
            Mismatch: What came is something else.
        """
        ...


class CRCCheck:
    """By a CRC of the whole object, which is combined of its parts'."""

    is_streamed = False
    is_guess = False

    def __init__(self, told: str) -> None:
        self.told = told
        self._algorithm = told.partition(':')[0]
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
        _compare(doing, self.told, parts[0][0] if len(parts) == 1 else combined_text(self._algorithm, parts))


class DigestCheck:
    """By a digest of the whole object, which is computed from its first byte to its last."""

    is_streamed = True
    is_guess = False

    def __init__(self, told: str) -> None:
        self.told = told
        self._algorithm = told.partition(':')[0]
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
        _compare(doing, self.told, f'{self._algorithm}:{base64.b64encode(self._digest).decode()}')


class PartsCheck:
    """By the ETag of an object in parts, which is made of their MD5s: if it was uploaded in parts as it comes now."""

    is_streamed = False
    is_guess = True

    def __init__(self, etag: str) -> None:
        digest, _, count = etag.partition('-')
        self.told = f'MD5:{base64.b64encode(bytes.fromhex(digest)).decode()}-{count}'
        self._etags: dict[int, str] = {}

    def start(self) -> Any:
        return hashlib.md5(usedforsecurity=False)

    def update(self, state: Any, data: bytes | memoryview) -> Any:
        state.update(data)
        return state

    def end(self, number: int, state: Any, size_bytes: int) -> None:
        self._etags[number] = state.hexdigest()

    def seen(self, number: int) -> str:
        return self._etags[number]

    def verify(self, doing: object) -> None:
        etag = multipart_etag(etag for _, etag in sorted(self._etags.items())) or ''
        digest, _, count = etag.partition('-')
        _compare(doing, self.told, f'MD5:{base64.b64encode(bytes.fromhex(digest)).decode()}-{count}')


def check_for(checksum: str, answer: Answer, parts: int = 1) -> Check | None:
    """How a download is compared; None where there is nothing to compare it with.

    Args:
        checksum: TransferConfig.checksum.
        answer: The response with the object.
        parts: How many parts it comes in.
    """
    if checksum == 'none':
        return None
    told = answer.checksum
    algorithm = None if told is None else _algorithm_of(told)
    if told is not None and algorithm in CRC_BYTES:
        return CRCCheck(told)
    if told is not None and algorithm in DIGEST_BYTES and (parts == 1 or checksum == algorithm.lower()):
        return DigestCheck(told)
    return _etag_check(answer, parts) if checksum == 'md5' else None


def _etag_check(answer: Answer, parts: int) -> Check | None:
    """A comparison with an ETag that is made of MD5s."""
    etag = answer.etag
    if has_md5_form(etag) and not has_own_key(*map(answer.header, ENCRYPTION_HEADERS)):
        return DigestCheck(f'MD5:{base64.b64encode(bytes.fromhex(etag)).decode()}')
    if parts > 1 and etag.endswith(f'-{parts}') and has_md5_form(etag.partition('-')[0]):
        return PartsCheck(etag)
    return None


def _algorithm_of(told: str) -> str:
    """The algorithm of a checksum of the bytes; '' for one of the parts' checksums ('…-N'), and for what is none of ours."""
    algorithm, _, value = told.partition(':')
    length = CRC_BYTES.get(algorithm) or DIGEST_BYTES.get(algorithm)
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return ''
    return algorithm if len(raw) == length else ''


def _compare(doing: object, told: str, computed: str) -> None:
    if computed != told:
        raise Mismatch(f'{doing}: what came is not what was stored: it has {computed}, and the store tells {told}')
