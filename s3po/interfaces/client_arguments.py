"""The arguments of S3Client's methods, converted to those of a Connection."""

from __future__ import annotations

import hashlib
import os
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from s3po.checks import is_whole
from s3po.config import GIB, MIN_PART_BYTES, TransferConfig
from s3po.credentials import URLCredentials
from s3po.errors import ConfigurationError

__all__ = ['Parts', 'Reading', 'body_of', 'check_sha256', 'query_of', 'reading', 'url_without_keys']

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
UNSIGNED: Final = 'UNSIGNED-PAYLOAD'


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


def check_sha256(digest: str | None, content: object = b'') -> None:
    """Check the argument content_sha256: it is needless, and must be right.

    Raises:
        ConfigurationError: It is not the SHA-256 of the content, or the content is neither bytes nor a str.
    """
    if digest in (None, UNSIGNED):
        return
    if not isinstance(content, bytes | str):
        raise ConfigurationError('content_sha256 is only for bytes and str; leave it out, s3po computes checksums itself')
    data = content.encode() if isinstance(content, str) else content
    if hashlib.sha256(data).hexdigest() != digest:
        raise ConfigurationError('content_sha256 is not the SHA-256 of the content, in hex')


def query_of(params: object) -> dict[str, str]:
    """The argument params as names and values of the query."""
    if isinstance(params, str | bytes):
        return dict(urllib.parse.parse_qsl(params if isinstance(params, str) else params.decode(), keep_blank_values=True))
    pairs: Any = params.items() if isinstance(params, Mapping) else params or ()
    return {str(name): '' if value is None else str(value) for name, value in pairs}


def body_of(content: Any) -> bytes:
    """The content of a request, read into memory: a str, bytes, a path, a file object or an iterable of bytes."""
    if content is None:
        return b''
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, os.PathLike):
        with open(content, 'rb') as file:
            return file.read()
    if hasattr(content, 'read'):
        content = content.read()
    if isinstance(content, Iterable) and not isinstance(content, bytes | bytearray | memoryview):
        return b''.join(content)
    return bytes(content)


def url_without_keys(url: str, region: str | None) -> tuple[str, URLCredentials | None]:
    """The URL without the keys, and the keys in it."""
    parts, port = None, None
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except (ValueError, AttributeError, TypeError):
        parts = None
    # Raised outside the `except`, and without the URL: parts of a secret may be in the text of the port.
    if parts is None or parts.scheme not in ('http', 'https') or not parts.hostname:
        raise ConfigurationError(
            "url must begin with http:// or https:// and have a host ('https://s3.example.com'); in keys inside the URL, "
            "write '/' as %2F and '@' as %40"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError('url must end with the host, port or path; it has a query or a fragment')
    keys = URLCredentials(url, region=region) if '@' in parts.netloc else None
    host = f'[{parts.hostname}]' if ':' in parts.hostname else parts.hostname
    netloc = host if port is None else f'{host}:{port}'
    return urllib.parse.urlunsplit((parts.scheme, netloc, parts.path.rstrip('/'), '', '')), keys


class Parts:
    """The checked sizes and numbers of one transfer; errors use the caller's argument names."""

    def __init__(
        self,
        workers: int,
        part_bytes: int,
        tries: int,
        tries_name: str,
        size_name: str = 'part_size',
        *,
        max_size: int | None = None,
    ) -> None:
        width = workers if max_size is None else max_size
        for name, value in (('workers_count', workers), (tries_name, tries), ('max_size', width)):
            if not is_whole(value, 1):
                raise ConfigurationError(f'{name} must be a whole number from 1, not {value!r}')
        if not is_whole(part_bytes, MIN_PART_BYTES, 5 * GIB):
            raise ConfigurationError(f'{size_name} must be 5 MiB to 5 GiB, in bytes, not {part_bytes!r}')
        self.tries = tries
        self._sizes = {
            'multipart_chunksize': part_bytes,
            'multipart_threshold': part_bytes,
            'max_concurrency': min(workers, width),
        }

    def config(self, config: TransferConfig) -> TransferConfig:
        """The connection's settings with these sizes."""
        return replace(config, **self._sizes)  # type: ignore[arg-type]  # each of them is a whole number
