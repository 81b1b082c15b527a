"""Parses a request: its S3 operation, parameters and headers. Does not change the store."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_to_bytes

from tests.support.store_mode import Mode
from tests.support.store_values import Checksum, Conditions, StoreError, check_tags

__all__ = [
    'KEPT_HEADERS',
    'Request',
    'byte_range',
    'conditions',
    'copy_source_of',
    'decode_token',
    'encode_token',
    'flipped',
    'kept_headers',
    'operation_of',
    'page_size',
    'parse_target',
    'part_of',
    'tags_of',
]

KEPT_HEADERS = (
    'content-type',
    'cache-control',
    'content-disposition',
    'content-encoding',
    'content-language',
    'expires',
)
PAGE_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: The HTTP method.
        bucket: The bucket; may be empty.
        key: The key, decoded once and otherwise unchanged.
        query: The parameters, decoded.
        headers: The headers, with names in lower case.
        body: The body; after verification without AWS's chunked encoding.
        checksum: The accepted checksum of the body.
        mode: The kind of store.
        spoil_at: The offset at which one bit of the body is changed when it is stored, or None.
    """

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b''
    checksum: Checksum | None = None
    mode: Mode = field(default_factory=Mode)
    spoil_at: int | None = None

    @property
    def kept_body(self) -> bytes:
        """The body as it is stored."""
        return self.body if self.spoil_at is None else flipped(self.body, self.spoil_at)


def flipped(body: bytes | memoryview, at: int) -> bytes:
    """A body with one bit changed at an offset; IndexError if it is shorter, since the test would prove nothing."""
    changed = bytearray(body)
    changed[at] ^= 1
    return bytes(changed)


def parse_target(target: str) -> tuple[str, str, dict[str, str]]:
    """Bucket, key and query of a request's target, without any normalisation.

    Raises:
        StoreError: The decoded path is not UTF-8.
    """
    path, _, query = target.partition('?')
    try:
        decoded = unquote_to_bytes(path.encode('latin-1')).decode()
    except UnicodeDecodeError as error:
        raise StoreError(400, 'InvalidURI', "Couldn't parse the specified URI.") from error
    bucket, _, key = decoded.removeprefix('/').partition('/')
    return bucket, key, dict(parse_qsl(query, keep_blank_values=True))


# (method, whether there is a key, a required parameter or '') -> operation; the first match counts.
_OPERATIONS: list[tuple[str, bool, str, str]] = [
    ('PUT', True, 'partNumber', 'UploadPart'),
    ('PUT', True, 'tagging', 'PutObjectTagging'),
    ('PUT', True, '', 'PutObject'),
    ('GET', True, 'uploadId', 'ListParts'),
    ('GET', True, 'tagging', 'GetObjectTagging'),
    ('GET', True, '', 'GetObject'),
    ('HEAD', True, '', 'HeadObject'),
    ('POST', True, 'uploads', 'CreateMultipartUpload'),
    ('POST', True, 'uploadId', 'CompleteMultipartUpload'),
    ('DELETE', True, 'uploadId', 'AbortMultipartUpload'),
    ('DELETE', True, 'tagging', 'DeleteObjectTagging'),
    ('DELETE', True, '', 'DeleteObject'),
    ('POST', False, 'delete', 'DeleteObjects'),
    ('GET', False, 'uploads', 'ListMultipartUploads'),
    ('GET', False, 'location', 'GetBucketLocation'),
    ('GET', False, 'list-type', 'ListObjectsV2'),
    ('PUT', False, '', 'CreateBucket'),
    ('HEAD', False, '', 'HeadBucket'),
    ('DELETE', False, '', 'DeleteBucket'),
]
# Parameters that make a request another operation, which this store does not support.
_ELSEWHERE = {
    'acl',
    'attributes',
    'cors',
    'lifecycle',
    'policy',
    'retention',
    'select',
    'torrent',
    'versioning',
    'versionId',
    'versions',
}


def operation_of(method: str, bucket: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """S3's name of the operation; '' if this store does not support it."""
    if not bucket:
        return 'ListBuckets' if method == 'GET' else ''
    if _ELSEWHERE & query.keys():
        return ''
    for of_method, has_key, parameter, operation in _OPERATIONS:
        if of_method == method and has_key == bool(key) and (not parameter or parameter in query):
            is_copy = 'x-amz-copy-source' in headers
            return (
                {'UploadPart': 'UploadPartCopy', 'PutObject': 'CopyObject'}.get(operation, operation) if is_copy else operation
            )
    return ''


def conditions(headers: Mapping[str, str], prefix: str = '') -> Conditions:
    """If-Match and If-None-Match; with a prefix, those for a copy's source."""
    return Conditions(headers.get(f'{prefix}if-match'), headers.get(f'{prefix}if-none-match'))


def copy_source_of(headers: Mapping[str, str]) -> tuple[str, str]:
    """Bucket and key of a copy's source."""
    path, _, version = headers['x-amz-copy-source'].partition('?')
    if version:
        raise StoreError(501, 'NotImplemented', 'This store has no versions.')
    bucket, key, _ = parse_target('/' + path.removeprefix('/'))
    return bucket, key


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are stored with the object."""
    kept = {name: value for name, value in headers.items() if name in KEPT_HEADERS or name.startswith('x-amz-meta-')}
    codings = [each.strip() for each in kept.pop('content-encoding', '').split(',')]
    codings = [each for each in codings if each not in ('', 'aws-chunked')]  # aws-chunked is removed, since the body is decoded
    return {**kept, 'content-encoding': ','.join(codings)} if codings else kept


def tags_of(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The tags of the x-amz-tagging header."""
    return check_tags(dict(parse_qsl(headers.get('x-amz-tagging', ''), keep_blank_values=True)))


def part_of(request: Request) -> tuple[str, int]:
    """Upload id and part number."""
    try:
        return request.query['uploadId'], int(request.query['partNumber'])
    except (KeyError, ValueError) as error:
        raise StoreError(400, 'InvalidArgument', 'A part needs an uploadId and a partNumber') from error


def page_size(query: Mapping[str, str], name: str) -> int:
    """The requested number of items per page, at most 1,000."""
    try:
        return min(PAGE_LIMIT, int(query.get(name) or PAGE_LIMIT))
    except ValueError as error:
        raise StoreError(400, 'InvalidArgument', f'{name} is no number') from error


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of the range; None for the whole object, also if the header is invalid (RFC 9110, 14.2)."""
    match = re.fullmatch(r'bytes=(\d*)-(\d*)', header.strip())
    if match is None or not (match[1] or match[2]) or (match[1] and match[2] and int(match[1]) > int(match[2])):
        return None
    first = int(match[1]) if match[1] else max(0, size - int(match[2]))
    last = min(size - 1, int(match[2])) if match[1] and match[2] else size - 1
    if first > last:
        raise StoreError(416, 'InvalidRange', 'The requested range is not satisfiable', {'Content-Range': f'bytes */{size}'})
    return first, last


def encode_token(key: str) -> str:
    """The continuation token for a page's `next`."""
    return base64.urlsafe_b64encode(key.encode()).decode()


def decode_token(token: str) -> str:
    """The value that was passed to `encode_token`."""
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError as error:
        raise StoreError(400, 'InvalidArgument', 'The continuation token provided is incorrect') from error
