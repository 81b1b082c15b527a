"""Requests and presigned URLs of the caller's own, for interfaces: sent or signed as they are."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from s3po.checks import is_whole
from s3po.config import GIB, MAX_PRESIGN_S
from s3po.errors import ConfigurationError
from s3po.s3.parameters import check_headers
from s3po.s3.sigv4 import UNSIGNED_PAYLOAD, Signer, quoted_key
from s3po.transport.wire import Operation, headers_of

if TYPE_CHECKING:
    from s3po.connection.facade import Connection

__all__ = ['RawResponse', 'send_raw', 'sign_url']

# The longest body of a response, which is S3's limit for one PUT.
MAX_BODY_BYTES: Final = 5 * GIB
# Some clients put this into the query of presigned URLs too, and some stores look for it there.
PAYLOAD: Final = {'X-Amz-Content-Sha256': UNSIGNED_PAYLOAD}


class RawResponse(NamedTuple):
    """The response to a request with a status below 300."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def send_raw(
    connection: Connection,
    method: str,
    bucket: str,
    key: str,
    *,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
) -> RawResponse:
    """Send one signed request, and return its response with the body in memory. Only a POST is never retried.

    Args:
        connection: The connection.
        method: The HTTP method.
        bucket: The bucket.
        key: The key; '' for a request to the bucket. PUT and DELETE without a key need a query: they would create or delete
            the bucket.
        query: The query parameters, unescaped.
        headers: The headers.
        body: The body.

    Raises:
        ResponseError, TransferError: The store refused the request; the retries were used up.
        ConfigurationError: The request cannot be sent.
    """
    check_headers(headers)
    if not bucket or (not key and method in ('PUT', 'DELETE') and not query):
        raise ConfigurationError(
            f'a {method} request needs a bucket and a key; for buckets there are create_bucket() and others'
        )
    operation = Operation('Request', bucket, key)
    sent = {name.lower(): value for name, value in headers.items()}
    # (Interfaces belong to the connection: its parts are private to users.)
    requester = connection._wiring.requester(bucket)  # noqa: SLF001

    def attempt() -> RawResponse:
        response = requester.send(operation, method, query=query, headers=sent, body=body, is_object_data=True)
        try:
            content = b'' if method == 'HEAD' else response.read_all(MAX_BODY_BYTES)
            return RawResponse(response.status, headers_of(response), content)
        finally:
            response.close()

    attempts = connection._operations.attempts(bucket, key, 0 if method == 'POST' else None)  # noqa: SLF001
    return attempts.run('Request', attempt)


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
