"""Frozen values: names of objects, the store's descriptions of them, results of transfers. No I/O."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from s3po.checks import slot_setters
from s3po.errors import ConfigurationError, TransportError

__all__ = [
    'BucketRef',
    'CompletedPart',
    'DeleteFailure',
    'DeleteReport',
    'Described',
    'ListEntry',
    'ObjectInfo',
    'ObjectRef',
    'Outcome',
    'Part',
    'Prefix',
    'TransferResult',
    'UnusableRef',
    'bucket_ref_of',
    'check_bucket',
    'check_name',
    'key_of',
    'ref_of',
]


# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html: the length of the key's UTF-8.
MAX_KEY_BYTES: Final = 1024
# As in boto3: names with the characters that any store allows, or the ARN of an access point.
_BUCKET: Final = re.compile(r'[A-Za-z0-9._-]{3,255}|arn:[a-z0-9-]+:(?:s3|s3-object-lambda|s3-outposts):[^\s/?#]*:[0-9]{12}:\S+')


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class ObjectRef:
    """The name of one object, or of one version of it.

    Attributes:
        bucket: The bucket's name, or an access point's ARN.
        key: The key, unescaped. An entry of a listing may be passed for it.
        version_id: One version; None means the current one.
    """

    bucket: str
    key: str
    version_id: str | None = None

    def __init__(self, *, bucket: str, key: str | ListEntry, version_id: str | None = None) -> None:
        key = key_of(key)
        check_name(bucket, key)
        _ref_bucket(self, bucket)
        _ref_key(self, key)
        _ref_version_id(self, version_id)

    def __str__(self) -> str:
        suffix = '' if self.version_id is None else f'?versionId={self.version_id}'
        return f's3://{self.bucket}/{self.key}{suffix}'


_new_ref: Callable[[type[ObjectRef]], ObjectRef] = object.__new__
_ref_bucket, _ref_key, _ref_version_id = slot_setters(ObjectRef)


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class UnusableRef(ObjectRef):
    """A name that no object can have, from a call of a batch: its job fails, and the batch continues."""

    def __init__(self, *, bucket: str, key: str, version_id: str | None = None) -> None:
        # Nothing is checked.
        _ref_bucket(self, bucket)
        _ref_key(self, key)
        _ref_version_id(self, version_id)

    def __str__(self) -> str:
        # It may not be encodable as UTF-8, but must be printable.
        return f's3://{self.bucket}/{self.key}'.encode('ascii', 'backslashreplace').decode()

    def refusal(self) -> ConfigurationError:
        """The error for this name."""
        try:
            check_name(self.bucket, self.key)
        except ConfigurationError as error:
            return error
        return ConfigurationError(f'{self} is not a valid name of an object')


def key_of(key: str | ListEntry) -> str:
    """The key of an entry of a listing; a key unchanged. (The version of an ObjectInfo is not used.)"""
    return key.key if isinstance(key, ListEntry) else key


def ref_of(bucket: str, key: str | ListEntry, version_id: str | None = None) -> ObjectRef:
    """The name of an object; an UnusableRef if no object can have it. Faster than ObjectRef() for ASCII keys."""
    if not (
        bucket.__class__ is str
        and isinstance(key, str)
        and _is_bucket(bucket)
        and 0 < len(key) <= MAX_KEY_BYTES
        and key.isascii()
    ):
        try:
            return ObjectRef(bucket=bucket, key=key, version_id=version_id)
        except ConfigurationError:
            return UnusableRef(bucket=bucket, key=key_of(key), version_id=version_id)
    ref = _new_ref(ObjectRef)
    _ref_bucket(ref, bucket)
    _ref_key(ref, key)
    _ref_version_id(ref, version_id)
    return ref


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class BucketRef(ObjectRef):
    """The name of a bucket. Of a listing, the key is the prefix; otherwise it is ''."""

    def __init__(self, *, bucket: str, key: str = '') -> None:
        check_bucket(bucket)
        _ref_bucket(self, bucket)
        _ref_key(self, key)
        _ref_version_id(self, None)

    def __str__(self) -> str:
        text = f's3://{self.bucket}/{self.key}' if self.key else f's3://{self.bucket}'
        # A prefix is not checked. It may not be encodable as UTF-8, but must be printable.
        return text.encode('utf-8', 'backslashreplace').decode()


def bucket_ref_of(bucket: str, key: str = '') -> ObjectRef:
    """The name of a bucket; an UnusableRef if no bucket can have it."""
    try:
        return BucketRef(bucket=bucket, key=key)
    except ConfigurationError:
        return UnusableRef(bucket=bucket, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """One object of a listing.

    Attributes:
        key: The key, unescaped.
        size_bytes: The object's size.
        etag: The ETag without its quotes; '' if the store sent none.
        last_modified: The time of the last write, with its time zone; None if the store sent none.
        storage_class: For example 'STANDARD'.
    """

    key: str
    size_bytes: int
    etag: str = ''
    last_modified: datetime.datetime | None = None
    storage_class: str = 'STANDARD'

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """The entry of a listing with a delimiter that stands for all keys with the same beginning.

    Attributes:
        prefix: The common beginning, up to and including the delimiter.
    """

    prefix: str

    def __str__(self) -> str:
        return self.prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo(ListEntry):
    """The description of one object, from a HEAD or a GET.

    Attributes:
        content_type: The object's Content-Type; None if it has none.
        metadata: The user-defined metadata; names in lower case, without `x-amz-meta-`.
        headers: All headers of the response, with lower-case names.
        checksum: The store's checksum of the object as 'ALGORITHM:base64' ('CRC64NVME:…'; if made of the parts' checksums, the
            value ends with '-N'); None if the store has none or sent none.
        version_id: The version; None in a bucket without versions.
    """

    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    checksum: str | None = None
    version_id: str | None = None


class Described(Protocol):
    """The store's description of an object whose body follows.

    Attributes:
        etag: The ETag without quotes; '' if the store sent none.
    """

    etag: str

    @property
    def info(self) -> ObjectInfo:
        """The whole description. Computed on access, so it has a cost. `size_bytes` is that of the object, also for a range."""

    def header(self, name: str) -> str | None:
        """Return a header of the response, by its lower-case name; None if it is missing. Cheap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A contiguous part of an object, transferred by one request.

    Attributes:
        number: The part number, from 1, as in S3.
        offset: The offset in the object, in bytes.
        size_bytes: The length; 0 only for the single part of an empty object.
    """

    number: int
    offset: int
    size_bytes: int

    def __post_init__(self) -> None:
        if self.number < 1 or self.offset < 0 or self.size_bytes < 0:
            raise ConfigurationError(f'a part needs a number from 1, and an offset and size that are not negative: {self!r}')

    @property
    def stop(self) -> int:
        """The offset of the first byte after the part."""
        return self.offset + self.size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedPart:
    """A part that the store has stored, as listed in CompleteMultipartUpload.

    Attributes:
        number: The part number, from 1.
        etag: The ETag of the part, without quotes.
        size_bytes: Its length; -1 if unknown.
        checksum: The checksum that the store confirmed, as 'ALGORITHM:base64'; None if it confirmed none.
        is_encrypted: Whether it is encrypted with a KMS or customer key, so that the ETag is not an MD5.
    """

    number: int
    etag: str
    size_bytes: int = -1
    checksum: str | None = None
    is_encrypted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class TransferResult:
    """The result of a successful upload, download or copy.

    Attributes:
        bucket: The object's bucket; for a copy, that of the new object.
        key: The object's key; for a copy, that of the new object.
        size_bytes: The size of the stored object (of the compressed one, if it is compressed), or of the requested range.
        etag: The ETag without its quotes.
        version_id: The version that was written or read; None in a bucket without versions.
        checksum: The checksum that the store confirmed, as 'ALGORITHM:base64'; None if it confirmed none.
        parts: The number of requests that carried the data; 1 for an object transferred in one piece.
        attempts: `parts`, plus one for every request of the transfer that was retried.
        seconds: The duration, including waits.
        skipped: True if there was nothing to transfer.
        warnings: Warnings as sentences: an upload that could not be verified, a multipart upload that a lost response may have
            left.
    """

    bucket: str
    key: str
    size_bytes: int
    etag: str
    version_id: str | None
    checksum: str | None
    parts: int
    attempts: int
    seconds: float
    skipped: bool = False
    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        bucket: str,
        key: str,
        size_bytes: int,
        etag: str,
        version_id: str | None,
        checksum: str | None,
        parts: int,
        attempts: int,
        seconds: float,
        skipped: bool = False,
        warnings: tuple[str, ...] = (),
    ) -> None:
        _result_bucket(self, bucket)
        _result_key(self, key)
        _result_size_bytes(self, size_bytes)
        _result_etag(self, etag)
        _result_version_id(self, version_id)
        _result_checksum(self, checksum)
        _result_parts(self, parts)
        _result_attempts(self, attempts)
        _result_seconds(self, seconds)
        _result_skipped(self, skipped)
        _result_warnings(self, warnings)


(
    _result_bucket,
    _result_key,
    _result_size_bytes,
    _result_etag,
    _result_version_id,
    _result_checksum,
    _result_parts,
    _result_attempts,
    _result_seconds,
    _result_skipped,
    _result_warnings,
) = slot_setters(TransferResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFailure:
    """One key that DeleteObjects did not delete.

    Attributes:
        key: The key.
        error: The error that deleting this key alone would have raised.
        version_id: The requested version; None for the current one.
    """

    key: str
    error: TransportError
    version_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteReport:
    """The result of `delete_many`.

    Attributes:
        deleted: The number of deleted keys; a missing key counts as deleted.
        failed: The keys that were not deleted, with their errors.
    """

    deleted: int
    failed: tuple[DeleteFailure, ...] = ()

    def __iter__(self) -> Iterator[DeleteFailure]:
        return iter(self.failed)


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Outcome:
    """The result of one call, for a batch: its return value, and figures for the report.

    Attributes:
        value: The return value of the method of Connection.
        size_bytes: The number of bytes transferred.
        retries: The number of retried requests.
        described: The description of an object that was downloaded into memory; None for all other calls.
    """

    value: object
    size_bytes: int = 0
    retries: int = 0
    described: Described | None = None

    def __init__(self, *, value: object, size_bytes: int = 0, retries: int = 0, described: Described | None = None) -> None:
        _outcome_value(self, value)
        _outcome_size_bytes(self, size_bytes)
        _outcome_retries(self, retries)
        _outcome_described(self, described)


_outcome_value, _outcome_size_bytes, _outcome_retries, _outcome_described = slot_setters(Outcome)


def check_name(bucket: object, key: object, *, prefix: str = '') -> None:
    """Check the name of an object, before anything is sent.

    Args:
        bucket: The bucket's name, or an access point's ARN.
        key: The key.
        prefix: The prefix of the arguments' names, for the message ('to_').

    Raises:
        ConfigurationError: One of them has the wrong type, is empty or too long.
    """
    check_bucket(bucket, prefix=prefix)
    if not isinstance(key, str):
        raise ConfigurationError(f'{prefix}key must be a str, not {type(key).__name__}')
    if not key:
        raise ConfigurationError(f'{prefix}key is empty; S3 needs at least one character')
    # UTF-8 has at most four bytes per character, so short keys need not be encoded.
    if len(key) * 4 > MAX_KEY_BYTES or not key.isascii():
        try:
            size_bytes = len(key.encode())
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f'{prefix}key {key!r} cannot be encoded as UTF-8 ({error.reason}), as S3 requires. For the name of a file, use '
                f"os.fsencode(name).decode('utf-8', 'backslashreplace') as the key"
            ) from error
        if size_bytes > MAX_KEY_BYTES:
            raise ConfigurationError(f'{prefix}key is {size_bytes:,} bytes long in UTF-8; S3 allows at most {MAX_KEY_BYTES:,}')


def check_bucket(bucket: object, *, prefix: str = '') -> None:
    """Check the name of a bucket.

    Raises:
        ConfigurationError: It has the wrong type, is empty, or has invalid characters.
    """
    if not isinstance(bucket, str):
        raise ConfigurationError(f'{prefix}bucket must be a str, not {type(bucket).__name__}')
    if not _is_bucket(bucket):
        raise ConfigurationError(
            f'{prefix}bucket {bucket!r} is not a valid bucket name: 3 to 255 letters, digits, dots, dashes, or an ARN'
        )


@functools.lru_cache(maxsize=256)
def _is_bucket(bucket: str) -> bool:
    return _BUCKET.fullmatch(bucket) is not None
