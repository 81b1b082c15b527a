"""Requests and presigned URLs of the caller's own, for interfaces: sent or signed as they are."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.parse
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from s3po.checks import is_whole
from s3po.config import GIB, MAX_PRESIGN_S
from s3po.connection.compression import decompressed
from s3po.errors import ConfigurationError
from s3po.model import ObjectRef
from s3po.s3.parameters import check_headers
from s3po.s3.sigv4 import UNSIGNED_PAYLOAD, Signer, quoted_key
from s3po.transport.wire import Operation, headers_of

if TYPE_CHECKING:
    from s3po.connection.facade import Connection

__all__ = ['Headers', 'RawResponse', 'check_sha256', 'send_raw', 'sign_url']

# The longest body of a response, which is S3's limit for one PUT.
MAX_BODY_BYTES: Final = 5 * GIB
# Some clients put this into the query of presigned URLs too, and some stores look for it there.
PAYLOAD: Final = {'X-Amz-Content-Sha256': UNSIGNED_PAYLOAD}


class Headers(dict[str, str]):
    """The headers of a response. Their names are in lower case, and are found in any case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a header; the default without it."""
        return super().get(name.lower(), default)


class RawResponse(NamedTuple):
    """The response to a request with a status below 300."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """A header, by its name in any case; None if it is missing."""
        found: str | None = self.headers.get(name)
        return found

    @property
    def info(self) -> Any:
        """The part of an ObjectInfo that decompression needs."""
        return SimpleNamespace(size_bytes=len(self.body))


def send_raw(
    connection: Connection,
    method: str,
    bucket: str,
    key: str,
    *,
    params: object,
    headers: Mapping[str, str] | None,
    content: Any,
    decompress: bool = False,
) -> RawResponse:
    """Send one signed request, and return its response with the body in memory. Only a POST is never retried.

    Args:
        connection: The connection.
        method: The HTTP method.
        bucket: The bucket.
        key: The key; '' for a request to the bucket. PUT and DELETE without a key need a query: they would create or delete
            the bucket.
        params: The query parameters, unescaped: a mapping, pairs, or 'name=value&…'.
        headers: The headers.
        content: The body: a str, bytes, a path, a file object or an iterable of bytes. It is read into memory.
        decompress: Decompress the body of a whole object that has a known Content-Encoding.

    Raises:
        ResponseError, TransferError: The store refused the request; the retries were used up.
        ConfigurationError: The request cannot be sent.
    """
    query, headers = _query_of(params), headers or {}
    check_headers(headers)
    if not (method.isascii() and method.isalpha()):
        raise ConfigurationError(f'method must be an HTTP method, not {method!r}')
    if not bucket or (not key and method in ('PUT', 'DELETE') and not query):
        raise ConfigurationError(
            f'a {method} request needs a bucket and a key; for buckets there are create_bucket() and others'
        )
    operation = Operation('Request', bucket, key)
    sent = {name.lower(): value for name, value in headers.items()}
    # (Interfaces belong to the connection: its parts are private to users.)
    requester = connection._wiring.requester(bucket)  # noqa: SLF001
    body = _body_of(content)

    def attempt() -> RawResponse:
        response = requester.send(operation, method, query=query, headers=sent, body=body, is_object_data=True)
        try:
            received = b'' if method == 'HEAD' else response.read_all(MAX_BODY_BYTES)
            return RawResponse(response.status, Headers(headers_of(response)), received)
        finally:
            response.close()

    attempts = connection._operations.attempts(bucket, key, 0 if method == 'POST' else None)  # noqa: SLF001
    received = attempts.run('Request', attempt)
    if decompress and received.status == HTTPStatus.OK:
        described: Any = received
        return received._replace(body=decompressed(received.body, ObjectRef(bucket=bucket, key=key), described))
    return received


def check_sha256(digest: str | None, content: object = b'') -> None:
    """Check the argument content_sha256: it is needless, and must be right.

    Raises:
        ConfigurationError: It is not the SHA-256 of the content, or the content is neither bytes nor a str.
    """
    if digest in (None, UNSIGNED_PAYLOAD):
        return
    if not isinstance(content, bytes | str):
        raise ConfigurationError('content_sha256 is only for bytes and str; leave it out, s3po computes checksums itself')
    data = content.encode() if isinstance(content, str) else content
    if hashlib.sha256(data).hexdigest() != digest.lower():
        raise ConfigurationError('content_sha256 is not the SHA-256 of the content, in hex')


def sign_url(
    connection: Connection, method: str, target: str | tuple[str, str], *, headers: Mapping[str, str], expires_s: int
) -> str:
    """A presigned URL for any method.

    Args:
        connection: The connection whose keys sign.
        method: The HTTP method.
        target: Bucket and key; or an absolute URL of any host, which is signed for the connection's region.
        headers: The headers that the request must have.
        expires_s: The validity in seconds.

    Raises:
        ConfigurationError: There are no keys, or the connection does not use s3po's HTTP client.
    """
    check_headers(headers)
    if not is_whole(expires_s, 1, MAX_PRESIGN_S):
        raise ConfigurationError(f'expires must be 1 to {MAX_PRESIGN_S:,} seconds (seven days), not {expires_s!r}')
    lowered = {name.lower(): value for name, value in headers.items()}
    wiring = connection._wiring  # noqa: SLF001
    if not isinstance(target, str):
        operation = Operation('Request', *target)
        requester = wiring.requester(operation.bucket)
        return requester.presigned_url(operation, method, query=PAYLOAD, headers=lowered, expires_s=expires_s)
    parts = urllib.parse.urlsplit(target)
    host, path = parts.netloc.rpartition('@')[2], quoted_key(urllib.parse.unquote(parts.path or '/'))
    query = {**dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True)), **PAYLOAD}
    keys, region = wiring.signing()
    if keys is None:
        raise ConfigurationError('presign_url() needs credentials, but this connection does not sign requests')
    dated = Signer(keys.access_key_id, keys.secret_access_key, keys.session_token, region).at(time.time())
    signed = dated.presigned_query(method, path, query, {'host': host, **lowered}, expires_s)
    return f'{parts.scheme}://{host}{path}?{signed}'


def _query_of(params: object) -> dict[str, str]:
    if isinstance(params, str | bytes):
        return dict(urllib.parse.parse_qsl(params if isinstance(params, str) else params.decode(), keep_blank_values=True))
    pairs: Any = params.items() if isinstance(params, Mapping) else params or ()
    return {str(name): '' if value is None else str(value) for name, value in pairs}


def _body_of(content: Any) -> bytes:
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
