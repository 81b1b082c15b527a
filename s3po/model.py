"""The values that go in and out: what an object is called, what the store said of it, how a transfer ended.

What may live here: frozen values, validated on creation. No I/O, no behaviour beyond their own text.
"""

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
    'check_bucket',
    'check_name',
    'ref_of',
]


# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html: the length of the key's UTF-8.
MAX_KEY_BYTES: Final = 1024
# What boto3 sends as well: the letters of bucket names that any store has, or the ARN of an access point.
_BUCKET: Final = re.compile(r'[A-Za-z0-9._-]{3,255}|arn:[a-z0-9-]+:(?:s3|s3-object-lambda|s3-outposts):[^\s/?#]*:[0-9]{12}:\S+')


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class ObjectRef:
    """The name of one object, or of one version of it.

    Attributes:
        bucket: The bucket's name, or an access point's ARN.
        key: The key, unescaped.
        version_id: One version; None means the current one.
    """

    bucket: str
    key: str
    version_id: str | None = None

    def __init__(self, *, bucket: str, key: str, version_id: str | None = None) -> None:
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
    """A name that no object can have, as a call of a batch gave it: the job fails, and the batch goes on."""

    def __init__(self, *, bucket: str, key: str, version_id: str | None = None) -> None:
        # Nothing is checked.
        _ref_bucket(self, bucket)
        _ref_key(self, key)
        _ref_version_id(self, version_id)

    def __str__(self) -> str:
        # It may have no form in UTF-8, and is to be printed and logged all the same.
        return f's3://{self.bucket}/{self.key}'.encode('ascii', 'backslashreplace').decode()

    def refusal(self) -> ConfigurationError:
        """What is wrong with it."""
        try:
            check_name(self.bucket, self.key)
        except ConfigurationError as error:
            return error
        return ConfigurationError(f'{self} was no name of an object')


def ref_of(bucket: str, key: str, version_id: str | None = None) -> ObjectRef:
    """The name of an object; an UnusableRef if no object can have it. Faster than ObjectRef() for ASCII keys."""
    is_text = bucket.__class__ is key.__class__ is str
    if not (is_text and _is_bucket(bucket) and 0 < len(key) <= MAX_KEY_BYTES and key.isascii()):
        try:
            return ObjectRef(bucket=bucket, key=key, version_id=version_id)
        except ConfigurationError:
            return UnusableRef(bucket=bucket, key=key, version_id=version_id)
    ref = _new_ref(ObjectRef)
    _ref_bucket(ref, bucket)
    _ref_key(ref, key)
    _ref_version_id(ref, version_id)
    return ref


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """One object of a listing.

    Attributes:
        key: The key, unescaped.
        size_bytes: The object's size.
        etag: The ETag without its quotes; '' when the store sent none.
        last_modified: When the object was written, with its time zone; None when the store does not say.
        storage_class: Such as 'STANDARD'.
    """

    key: str
    size_bytes: int
    etag: str = ''
    last_modified: datetime.datetime | None = None
    storage_class: str = 'STANDARD'


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """What a listing with a delimiter gives in place of all keys that begin alike.

    Attributes:
        prefix: The common beginning, up to and including the delimiter.
    """

    prefix: str

    def __str__(self) -> str:
        return self.prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo(ListEntry):
    """What a HEAD or a GET tells of one object.

    Attributes:
        content_type: The object's Content-Type; None when it has none.
        metadata: The user's own metadata, names without `x-amz-meta-`, in lower case.
        headers: All headers of the answer, names in lower case.
        checksum: The store's checksum of the object as 'ALGORITHM:base64' ('CRC64NVME:…'; of one made of its parts'
            checksums the value ends in '-N'); None when the store keeps none or sent none.
        version_id: The version; None in a bucket without versions.
    """

    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    checksum: str | None = None
    version_id: str | None = None


class Described(Protocol):
    """What the store says of an object whose bytes are to come.

    Attributes:
        etag: Its ETag without quotes; '' when the store sent none.
    """

    etag: str

    @property
    def info(self) -> ObjectInfo:
        """All of it. Costs some time when it is asked for."""
        ...

    def header(self, name: str) -> str | None:
        """One header of the answer, by its name in lower case; None when it is missing. Costs next to nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One contiguous piece of an object, moved by one request.

    Attributes:
        number: From 1, as S3 counts.
        offset: Where it begins in the object, in bytes.
        size_bytes: Its length; 0 only for the single part of an empty object.
    """

    number: int
    offset: int
    size_bytes: int

    def __post_init__(self) -> None:
        if self.number < 1 or self.offset < 0 or self.size_bytes < 0:
            raise ConfigurationError(f'a part has a number from 1 and no negative offset or size: {self!r}')

    @property
    def stop(self) -> int:
        """The offset of the first byte behind the part."""
        return self.offset + self.size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedPart:
    """A part that the store has, as CompleteMultipartUpload names it.

    Attributes:
        number: From 1.
        etag: The ETag that the store gave the part, without quotes.
        size_bytes: Its length; -1 where it is not known.
        checksum: The checksum that the store confirmed, as 'ALGORITHM:base64'; None when it confirmed none.
        is_encrypted: Whether the store says that it encrypts with a key of somebody's, so that the ETag is no MD5.
    """

    number: int
    etag: str
    size_bytes: int = -1
    checksum: str | None = None
    is_encrypted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class TransferResult:
    """How an upload, a download or a copy ended: well, or there would be none.

    Attributes:
        bucket: The object's bucket; of a copy, that of the new object.
        key: The object's key; of a copy, that of the new object.
        size_bytes: The bytes of the object as it is stored (compressed, where it is), or of the range that was asked for.
        etag: The ETag without its quotes.
        version_id: The version written or read; None in a bucket without versions.
        checksum: The checksum that the store confirmed, as 'ALGORITHM:base64'; None when it confirmed none.
        parts: The requests that carried the data; 1 for an object moved in one piece.
        attempts: `parts`, and one more for every request of the transfer that had to be sent again.
        seconds: How long it took, waiting included.
        skipped: True when nothing had to be moved.
        warnings: What went well and should still be known, as sentences: an upload that nothing guarded, a multipart upload
            that a lost answer may have left behind.
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
        error: Why: the error that a single delete would have raised.
        version_id: The version asked for; None for the current one.
    """

    key: str
    error: TransportError
    version_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteReport:
    """How `delete_many` ended.

    Attributes:
        deleted: How many keys are gone; one that was not there before counts as gone.
        failed: What is still there, and why.
    """

    deleted: int
    failed: tuple[DeleteFailure, ...] = ()

    def __iter__(self) -> Iterator[DeleteFailure]:
        return iter(self.failed)


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Outcome:
    """What one call gives to a batch: the caller's value, and the figures for its report.

    Attributes:
        value: What the method of Connection returns.
        size_bytes: The bytes moved.
        retries: The requests that had to be sent again.
        described: What the store said of an object that was downloaded into memory; None of all other calls.
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
    """Refuse what cannot be the name of an object, before anything is sent.

    Args:
        bucket: The bucket's name, or an access point's ARN.
        key: The key.
        prefix: Of the arguments' names, for the message ('to_').

    Raises:
        ConfigurationError: One of them is of the wrong type, empty or too long.
    """
    check_bucket(bucket, prefix=prefix)
    if not isinstance(key, str):
        raise ConfigurationError(f'{prefix}key must be a str, not {type(key).__name__}')
    if not key:
        raise ConfigurationError(f'{prefix}key is empty; S3 needs at least one character')
    # UTF-8 takes at most four bytes a character, so short keys need no encoding.
    if len(key) * 4 > MAX_KEY_BYTES or not key.isascii():
        try:
            size_bytes = len(key.encode())
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f'{prefix}key {key!r} has no UTF-8 form ({error.reason}), and S3 takes nothing else. For the name of a file, '
                f"os.fsencode(name).decode('utf-8', 'backslashreplace') is a key"
            ) from error
        if size_bytes > MAX_KEY_BYTES:
            raise ConfigurationError(f'{prefix}key is {size_bytes:,} bytes long in UTF-8; S3 takes at most {MAX_KEY_BYTES:,}')


def check_bucket(bucket: object, *, prefix: str = '') -> None:
    """Refuse what cannot be the name of a bucket.

    Raises:
        ConfigurationError: It is of the wrong type, empty, or has characters that no bucket's name has.
    """
    if not isinstance(bucket, str):
        raise ConfigurationError(f'{prefix}bucket must be a str, not {type(bucket).__name__}')
    if not _is_bucket(bucket):
        raise ConfigurationError(
            f'{prefix}bucket {bucket!r} is no name of a bucket: 3 to 255 letters, digits, dots, dashes, or an ARN'
        )


@functools.lru_cache(maxsize=256)
def _is_bucket(bucket: str) -> bool:
    return _BUCKET.fullmatch(bucket) is not None
