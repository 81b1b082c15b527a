"""Names of objects and buckets, checked on creation."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from s3po.checks import slot_setters
from s3po.errors import ConfigurationError
from s3po.model.entries import ListEntry

__all__ = ['BucketRef', 'ObjectRef', 'UnusableRef', 'bucket_ref_of', 'check_bucket', 'check_name', 'key_of', 'ref_of']

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
