"""Objects, parts, uploads and conditions of the store, and its errors.

Error codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = [
    'COMPOSITE',
    'FULL_OBJECT',
    'Checksum',
    'Conditions',
    'Listing',
    'Part',
    'StoreError',
    'StoredObject',
    'Upload',
    'check_key',
    'check_tags',
    'md5',
]

# The input of an object's checksum: all its bytes, or its parts' checksums.
FULL_OBJECT = 'FULL_OBJECT'
COMPOSITE = 'COMPOSITE'

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html and object-tagging.html
MAX_KEY_BYTES = 1024
MAX_TAGS = 10


class StoreError(Exception):
    """A refusal.

    Args:
        status: The HTTP status.
        code: S3's error code.
        message: The message.
        headers: Headers of this response, such as Content-Range.
    """

    def __init__(self, status: int, code: str, message: str = '', headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message or code
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum in S3's form: `algorithm` in capitals, `value` in base64 (with '-N' if COMPOSITE), and its type."""

    algorithm: str
    value: str
    kind: str = FULL_OBJECT

    @property
    def header(self) -> dict[str, str]:
        """The header with the checksum; S3 sends no type for a part."""
        return {f'x-amz-checksum-{self.algorithm.lower()}': self.value}

    @property
    def headers(self) -> dict[str, str]:
        """The headers for the checksum of an object."""
        return {**self.header, 'x-amz-checksum-type': self.kind}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One version of one object.

    Attributes:
        body: The bytes.
        etag: The ETag without quotes.
        headers: Content-Type and similar headers, and x-amz-meta-*, as the client sent them; names in lower case.
        tags: The tags.
        checksum: The checksum with which it was written, returned on request; None if there is none.
        modified: Seconds since the epoch.
    """

    body: bytes
    etag: str
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    checksum: Checksum | None = None
    modified: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an upload that is not complete yet; its ETag has no quotes."""

    body: bytes
    etag: str
    checksum: Checksum | None = None
    modified: float = field(default_factory=time.time)


@dataclass(slots=True)
class Upload:
    """A multipart upload that is neither complete nor aborted; `algorithm` and `kind` of its checksum may be empty."""

    upload_id: str
    key: str
    headers: Mapping[str, str]
    tags: Mapping[str, str]
    algorithm: str = ''
    kind: str = ''
    parts: dict[int, Part] = field(default_factory=dict)
    initiated: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Conditions:
    """If-Match and If-None-Match, of a request or for a copy's source; None if the header is absent."""

    if_match: str | None = None
    if_none_match: str | None = None

    def check_write(self, present: StoredObject | None) -> None:
        """Raise unless the object at the key may be replaced.

        Raises:
            StoreError: 412 if the condition fails, 404 for If-Match on a missing key, 501 for conditions that S3 does not
                support.
        """
        if self.if_none_match not in (None, '*'):
            raise StoreError(501, 'NotImplemented', 'If-None-Match of a write must be *')
        if self.if_none_match is not None and present is not None:
            raise _precondition_failed('If-None-Match')
        if self.if_match is not None:
            if present is None:
                raise StoreError(404, 'NoSuchKey', 'The specified key does not exist.')
            if not _matches(self.if_match, present.etag):
                raise _precondition_failed('If-Match')

    def check_read(self, present: StoredObject) -> None:
        """Raise unless the object may be read.

        Raises:
            StoreError: 412 for If-Match, 304 for If-None-Match.
        """
        if self.if_match is not None and not _matches(self.if_match, present.etag):
            raise _precondition_failed('If-Match')
        if self.if_none_match is not None and _matches(self.if_none_match, present.etag):
            raise StoreError(304, 'NotModified', headers={'ETag': f'"{present.etag}"'})

    def check_copy(self, source: StoredObject) -> None:
        """Raise unless the object may be copied from: here both conditions are 412."""
        try:
            self.check_read(source)
        except StoreError as error:
            raise _precondition_failed('x-amz-copy-source-if') from error


@dataclass(frozen=True, slots=True)
class Listing:
    """One page: `items` in order, each a (key, object) or a (common prefix, None); `next` is None on the last page."""

    items: Sequence[tuple[str, StoredObject | None]]
    next: str | None


def md5(data: bytes) -> str:
    """The MD5 in hex, which is the ETag of an object stored with one request."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def check_key(key: str) -> None:
    """Raise for a key longer than S3's 1,024 bytes of UTF-8."""
    if len(key.encode()) > MAX_KEY_BYTES:
        raise StoreError(400, 'KeyTooLongError', 'Your key is too long')


def check_tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    """The tags, unless there are more than S3 allows."""
    if len(tags) > MAX_TAGS:
        raise StoreError(400, 'BadRequest', f'Object tags cannot be greater than {MAX_TAGS}')
    return dict(tags)


def _matches(header: str, etag: str) -> bool:
    return any(each.strip().strip('"') in ('*', etag) for each in header.split(','))


def _precondition_failed(condition: str) -> StoreError:
    return StoreError(412, 'PreconditionFailed', f'At least one of the pre-conditions you specified did not hold ({condition})')
