"""What guards an upload: the checksum that it carries, what the store's answer says of it, and whose the object is.

What may live here: which checksum goes with a request, and the comparison of what was sent with what a store tells. Sources are
read from here; no request is sent.

What counts as proof, strongest first: a checksum that the store tells; an id of ours in the metadata; an ETag that is the MD5
of the bytes, or of the parts' MD5s.
"""

from __future__ import annotations

import base64
import http.client
import os
from typing import Final

from s3po.body import Chunk
from s3po.checksum import has_md5_form, multipart_count, multipart_etag
from s3po.errors import IntegrityError, ResponseError
from s3po.model import CompletedPart, ObjectInfo
from s3po.s3 import ID_HEADER, Extra, Headers, Stored
from s3po.s3.expected import is_proof
from s3po.s3.status import has_own_key

__all__ = ['INVALID_DIGEST', 'Expected', 'Guard', 'check_echo', 'check_etag', 'is_encrypted', 'is_of', 'new_id', 'wants_id']

ALGORITHMS: Final = {
    'auto': 'CRC64NVME',
    'none': None,
    'crc64nvme': 'CRC64NVME',
    'crc32c': 'CRC32C',
    'crc32': 'CRC32',
    'sha256': 'SHA256',
    'md5': 'MD5',
}
# S3 says that of a digest that is no digest, Garage also of one that does not match ('Failed to validate checksum').
INVALID_DIGEST: Final = 'InvalidDigest'
# How many different warnings are logged; all are told with the results.
MAX_TOLD: Final = 1000
CONDITIONS: Final = frozenset({'if-match', 'if-none-match', 'ifmatch', 'ifnonematch'})
ENCRYPTION: Final = ('x-amz-server-side-encryption', 'serversideencryption', 'ssecustomer', 'ssekms')


class Guard:
    """Which checksum the uploads of a connection carry, bucket by bucket. Any thread may use it."""

    def __init__(self, checksum: str) -> None:
        """
        Args:
            checksum: TransferConfig.checksum.
        """
        self._algorithm = ALGORITHMS[checksum]
        # The buckets whose store takes no checksums, and those whose store has taken one.
        self._refusing: set[str] = set()
        self._taking: set[str] = set()
        self._told: set[tuple[str, str]] = set()
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

    def is_taken(self, bucket: str) -> bool:
        """Whether the store has taken a checksum of the bucket's: then it refuses none for being one."""
        return bucket in self._taking

    def remember_success(self, bucket: str) -> None:
        """The store has taken a request with a checksum."""
        if bucket not in self._taking:
            self._taking.add(bucket)

    def is_new_warning(self, bucket: str, text: str) -> bool:
        """Whether this has not been told of the bucket yet; it counts as told from now on."""
        is_new = (bucket, text) not in self._told and len(self._told) < MAX_TOLD
        self._told.add((bucket, text))
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


def _algorithm(checksum: str | None) -> str:
    """The algorithm of a checksum, and whether it is made of the parts'."""
    if checksum is None:
        return ''
    return checksum.partition(':')[0] + ('-' if '-' in checksum else '')


def is_encrypted(info: ObjectInfo) -> bool:
    """Whether an object is encrypted with a key of somebody's, so that its ETag is no MD5."""
    headers = info.headers
    return has_own_key(
        headers.get('x-amz-server-side-encryption'), headers.get('x-amz-server-side-encryption-customer-algorithm')
    )
