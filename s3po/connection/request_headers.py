"""The headers of GET and HEAD requests, as options of calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from s3po.errors import ConfigurationError, InvalidRequest
from s3po.jobs import Call
from s3po.model import ObjectRef

if TYPE_CHECKING:
    from s3po.connection.facade import Connection

__all__ = ['Reading', 'get_call', 'only_version', 'reading']

# Headers of GET and HEAD requests that every transport and mock can send, and boto3's names for them.
EXTRA: Final = {
    'if-none-match': 'IfNoneMatch',
    'if-modified-since': 'IfModifiedSince',
    'if-unmodified-since': 'IfUnmodifiedSince',
    'x-amz-checksum-mode': 'ChecksumMode',
    'x-amz-expected-bucket-owner': 'ExpectedBucketOwner',
    'x-amz-request-payer': 'RequestPayer',
    'x-amz-server-side-encryption-customer-algorithm': 'SSECustomerAlgorithm',
    'x-amz-server-side-encryption-customer-key': 'SSECustomerKey',
    'x-amz-server-side-encryption-customer-key-md5': 'SSECustomerKeyMD5',
}


class Reading(NamedTuple):
    """The headers of a GET or HEAD request.

    Attributes:
        extra: The parameters of `extra=`.
        if_match: The ETag of If-Match; None without one.
        byte_range: The range, as (first, stop); (-n, None) for the last n bytes. None without one.
        is_plain: Whether these are all headers. False: there are others, which only request() can send.
    """

    extra: dict[str, Any]
    if_match: str | None
    byte_range: tuple[int, int | None] | None
    is_plain: bool

    @property
    def head_extra(self) -> dict[str, Any]:
        """The parameters of a HEAD: `extra` with the condition."""
        return self.extra if self.if_match is None else {**self.extra, 'IfMatch': self.if_match}


def reading(headers: Mapping[str, str] | None) -> Reading:
    """Read the headers of a GET or HEAD request."""
    extra: dict[str, Any] = {}
    if_match, byte_range, is_plain = None, None, True
    for name, value in (headers or {}).items():
        lowered = name.lower()
        if lowered == 'range':
            byte_range = _byte_range(value)
        elif lowered == 'if-match':
            if_match = value
        elif lowered in EXTRA:
            extra[EXTRA[lowered]] = value
        else:
            is_plain = False
    # As a parameter, a key without its MD5 would be encoded once more.
    return Reading(extra, if_match, byte_range, is_plain and ('SSECustomerKey' in extra) == ('SSECustomerKeyMD5' in extra))


def only_version(params: object) -> str | None:
    """The versionId of the parameters of a query, if it is the only one; else None."""
    if isinstance(params, Mapping) and params.keys() == {'versionId'} and isinstance(params['versionId'], str):
        return params['versionId'] or None
    return None


def get_call(connection: Connection, ref: ObjectRef, asked: Reading, decompress: str | bool) -> Call:  # noqa: FBT001
    """The download into memory for a GET request with these headers.

    A range from the end is counted from the size of the object, by a HEAD, and pinned to that version.

    Raises:
        S3poError: The HEAD failed, or the object has no last bytes.
    """
    options: dict[str, Any] = {'extra': asked.extra, 'decompress': decompress}
    byte_range, if_match = asked.byte_range, asked.if_match
    if byte_range is not None and byte_range[0] < 0:
        info = connection.head(ref.bucket, ref.key, version_id=ref.version_id, extra=asked.head_extra)
        if not info.size_bytes:
            raise InvalidRequest(f'GetObject {ref}: 416 the object is empty', status=416, code='InvalidRange')
        byte_range, if_match = (max(0, info.size_bytes + byte_range[0]), None), info.etag
    if byte_range is not None:
        options |= {'byte_range': byte_range, 'decompress': False}
    if if_match is not None:
        options['if_match'] = if_match.strip('"')
    return Call('download', ref, options)


def _byte_range(text: str) -> tuple[int, int | None]:
    """Parse one range of RFC 9110, section 14.1.2; returns it half-open."""
    unit, _, numbers = text.partition('=')
    first, dash, last = numbers.strip().partition('-')
    is_range = unit.strip() == 'bytes' and dash and (first or last) and (not last or last.isdecimal())
    if is_range and first.isdecimal() and (not last or int(last) >= int(first)):
        return int(first), int(last) + 1 if last else None
    if is_range and not first and int(last):
        return -int(last), None
    raise ConfigurationError(f"headers: Range must be 'bytes=FIRST-LAST', 'bytes=FIRST-' or 'bytes=-COUNT', not {text!r}")
