"""Converts the headers of responses to values. No I/O, except that a WireAnswer reads its body."""

from __future__ import annotations

from typing import Final

from s3po.errors import NetworkError, TransportError
from s3po.http import ConnectionLost, Response, text_of
from s3po.model import ObjectInfo
from s3po.s3 import CHECKSUM_ALGORITHMS, ID_HEADER, Stored
from s3po.s3.expected import check_match, placed, unquoted
from s3po.s3.status import STORE_SIGNS, check_signs, has_own_key, moment_of

__all__ = [
    'Operation',
    'WireAnswer',
    'check_store',
    'checksum_of',
    'etag_of',
    'headers_of',
    'info_of',
    'is_encrypted',
    'moment_of',
    'stored_of',
]

CHECKSUMS: Final = tuple((f'x-amz-checksum-{name.lower()}'.encode(), name) for name in CHECKSUM_ALGORITHMS)
CHECKSUM_HEADERS: Final = frozenset(header for header, _ in CHECKSUMS)
ENCRYPTION: Final = (b'x-amz-server-side-encryption', b'x-amz-server-side-encryption-customer-algorithm')
VERSION_ID: Final = b'x-amz-version-id'
SIGNS: Final = tuple(sign.encode() for sign in STORE_SIGNS)
METADATA_PREFIX: Final = 'x-amz-meta-'


class WireAnswer:
    """The response to a GET; implements Answer in s3po/s3/protocol.py."""

    __slots__ = (
        '_got_bytes',
        '_info',
        '_key',
        '_operation',
        '_response',
        'close',
        'etag',
        'offset',
        'size_bytes',
        'status',
        'version_id',
        'whole_bytes',
    )

    def __init__(
        self, response: Response, key: str, operation: Operation, *, is_range: bool = False, if_match: str | None = None
    ) -> None:
        self._response = response
        self.close = response.close
        self._key = key
        self._operation = operation
        self._info: ObjectInfo | None = None
        self.status = response.status
        self._got_bytes = 0
        self.etag = etag_of(response)
        headers = response.headers
        # Without a call for each header that is missing.
        self.version_id = response.text(VERSION_ID) if VERSION_ID in headers else None
        try:
            if not self.etag:
                check_store(response, operation)
            if response.size_bytes < 0 and not response.is_chunked:
                raise ValueError('the response has no Content-Length, so a truncated body could not be detected')
            content_range = str(headers.get(b'content-range', b''), 'utf-8', 'replace')
            placing = placed(self.status, content_range, response.size_bytes, is_range=is_range)
            self.offset, self.size_bytes, self.whole_bytes = placing
            if if_match is not None:
                check_match(if_match, self.etag, operation)
        except ValueError as error:
            self.close()
            raise NetworkError(f'{operation}: {error}') from error
        except TransportError:
            self.close()
            raise

    @property
    def checksum(self) -> str | None:
        return checksum_of(self._response)

    @property
    def info(self) -> ObjectInfo:
        # Created on first use: a small download needs only three of the headers.
        if self._info is None:
            self._info = info_of(self._response, self._key, self.whole_bytes)
        return self._info

    def header(self, name: str) -> str | None:
        value = self._response.headers.get(name.encode())
        return None if value is None else text_of(value)

    def read(self, size_bytes: int) -> bytes:
        try:
            if self._response.is_chunked:
                return self._read_chunked(size_bytes)
            return self._response.read(size_bytes)
        except TransportError as error:
            raise self._operation.named(error) from error

    def _read_chunked(self, size_bytes: int) -> bytes:
        data = self._response.read_chunked(size_bytes)
        self._got_bytes += len(data)
        is_at_end = not data or (self._got_bytes == self.size_bytes and not self._response.read_chunked(1))
        if self.size_bytes >= 0 and is_at_end != (self._got_bytes == self.size_bytes):
            raise NetworkError(f'the body does not have the {self.size_bytes:,} bytes of its Content-Range')
        return data

    def read_into(self, buffer: memoryview) -> int:
        if self._response.is_chunked:
            data = self.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        try:
            return self._response.read_into(buffer)
        except TransportError as error:
            raise self._operation.named(error) from error


class Operation:
    """One S3 request: its name and its object. Its text is for error messages, and is created only for them."""

    __slots__ = ('bucket', 'key', 'name', 'part_number')

    def __init__(self, name: str, bucket: str, key: str = '', part_number: int = 0) -> None:
        """
        Args:
            name: S3's name of the request, such as 'GetObject'.
            bucket: The bucket.
            key: The key; '' for a request on the bucket.
            part_number: The part of a multipart upload; 0 for none.
        """
        self.name = name
        self.bucket = bucket
        self.key = key
        self.part_number = part_number

    def __str__(self) -> str:
        part = f' {self.part_number} of' if self.part_number else ''
        return f'{self.name}{part} s3://{self.bucket}' + (f'/{self.key}' if self.key else '')

    def named(self, error: TransportError) -> TransportError:
        """Return the same kind of error, with this request in its message."""
        kind = NetworkError if isinstance(error, ConnectionLost) else type(error)
        named = kind(f'{self}: {error}')
        if isinstance(error, NetworkError) and error.is_unresolved:
            named.is_unresolved = True  # type: ignore[attr-defined]  # it is also a NetworkError
        return named


def check_store(response: Response, operation: Operation) -> None:
    """Check that the response to a GET or HEAD comes from a store; raises NetworkError if not."""
    if b'etag' not in response.headers:
        check_signs(operation, response.headers, SIGNS, response.text(b'content-type') or '')


def etag_of(response: Response) -> str:
    """The ETag of a response, without quotes; '' if there is none."""
    return unquoted(response.headers.get(b'etag', b'').decode('utf-8', 'replace'))


def checksum_of(response: Response) -> str | None:
    """The strongest checksum of a response, as 'ALGORITHM:base64'; None for none."""
    headers = response.headers
    if CHECKSUM_HEADERS.isdisjoint(headers):
        return None
    for header, name in CHECKSUMS:
        value = headers.get(header)
        if value:
            return f'{name}:{value.decode("ascii", "replace")}'
    return None


def stored_of(response: Response) -> Stored:
    """The Stored value of a response."""
    headers = response.headers
    return Stored(
        etag=etag_of(response),
        version_id=response.text(VERSION_ID) if VERSION_ID in headers else None,
        checksum=checksum_of(response),
        is_encrypted=(ENCRYPTION[0] in headers or ENCRYPTION[1] in headers) and is_encrypted(response),
    )


def is_encrypted(response: Response) -> bool:
    """Whether the object is encrypted with a KMS or customer key, so that its ETag is not an MD5."""
    return has_own_key(*map(response.headers.get, ENCRYPTION))


def headers_of(response: Response) -> dict[str, str]:
    """All headers as text."""
    return {str(name, 'latin-1'): text_of(value) for name, value in response.headers.items()}


def info_of(response: Response, key: str, size_bytes: int) -> ObjectInfo:
    """The ObjectInfo of the response to a HEAD or GET.

    Args:
        response: The response.
        key: The object's key.
        size_bytes: The size of the whole object.
    """
    headers = headers_of(response)
    return ObjectInfo(
        key=key,
        size_bytes=size_bytes,
        etag=etag_of(response),
        last_modified=moment_of(headers.get('last-modified', '')),
        storage_class=headers.get('x-amz-storage-class', 'STANDARD'),
        content_type=headers.get('content-type'),
        metadata={
            name.removeprefix(METADATA_PREFIX): value
            for name, value in headers.items()
            if name.startswith(METADATA_PREFIX) and name != ID_HEADER
        },
        headers=headers,
        checksum=checksum_of(response),
        version_id=headers.get('x-amz-version-id'),
    )
