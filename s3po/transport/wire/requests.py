"""Resolves the endpoint of a request, signs it (SigV4) and sends it.

A request with the wrong region or date is corrected and sent once more, and the correction is remembered. That is not a retry:
the store refused it before processing it.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import time
from collections.abc import Mapping
from typing import Final

from s3po.body import Chunk
from s3po.config import __version__
from s3po.credentials.keys import Keys
from s3po.endpoints.routes import Route, Routes
from s3po.endpoints.signing_keys import KeySource
from s3po.errors import ConfigurationError, TransportError
from s3po.http import Response
from s3po.s3 import CHECKSUM_ALGORITHMS
from s3po.s3.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, canonical_headers, canonical_query, quoted_key
from s3po.s3.status import EXPIRED_CODES, error_for
from s3po.s3.xml import ErrorBody, error_of
from s3po.transport.wire.response_headers import Operation, headers_of, moment_of

__all__ = ['NO_HEADERS', 'NO_QUERY', 'Requester']

log = logging.getLogger(__name__)

NO_HEADERS: Final[Mapping[str, str]] = {}
NO_QUERY: Final[Mapping[str, str]] = {}
USER_AGENT: Final = f's3po/{__version__}'

# Headers that sort between host and x-amz-content-sha256. Most requests of a batch have at most one header, one of these.
SHORT_WAY: Final = frozenset(
    {'range', 'x-amz-checksum-mode', *(f'x-amz-checksum-{name.lower()}' for name in CHECKSUM_ALGORITHMS)}
)
CONDITIONS: Final = frozenset({'if-match', 'if-none-match'})
# Limit for error documents.
MAX_ERROR_BYTES: Final = 1024 * 1024
# A smaller body is sent together with its head, a larger one piece by piece.
AT_ONCE_BYTES: Final = 256 * 1024
# Requests without a key. For others an empty key is an error: they would act on the bucket itself, and might delete it.
ON_BUCKETS: Final = frozenset({'DeleteObjects', 'ListMultipartUploads', 'ListObjectsV2', 'Request'})
# S3 refuses requests dated more than 15 minutes off (RequestTimeTooSkewed).
TOLERATED_SKEW_S: Final = 15 * 60
# Error codes and statuses that may mean that the bucket is in another region.
ASTRAY_CODES: Final = frozenset(
    {'AuthorizationHeaderMalformed', 'IllegalLocationConstraintException', 'PermanentRedirect', 'TemporaryRedirect', 'Redirect'}
)
ASTRAY_STATUSES: Final = frozenset({301, 302, 307, 400})


class Requester:
    """Sends requests to buckets. Belongs to one hub.

    Attributes:
        routes: The route of each bucket.
    """

    def __init__(self, routes: Routes, keys: KeySource, *, user_agent: str = '') -> None:
        """
        Args:
            routes: The route of each bucket.
            keys: The source of the keys that sign.
            user_agent: Appended to s3po's own.
        """
        self.routes = routes
        self._keys = keys
        self._agent = f'user-agent:{f"{USER_AGENT} {user_agent}".rstrip()}\r\n'
        # How far the store's clock is ahead of this machine's.
        self._clock_offset_s = 0.0

    def send(
        self,
        operation: Operation,
        method: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        headers: Mapping[str, str] = NO_HEADERS,
        body: bytes | Chunk = b'',
        is_object_data: bool = False,
    ) -> Response:
        """Send one request and return its response, with a status below 300. The caller closes it.

        Args:
            operation: The request, with its bucket and key.
            method: The HTTP method.
            query: The query parameters, unescaped.
            headers: The headers, with lower-case names.
            body: The request's body.
            is_object_data: Whether the body is an object's data, which may be sent unsigned, not a document.

        Raises:
            TransportError: There was no response, or the store refused the request.
            ConfigurationError: A name or value cannot be encoded in a request.
        """
        # Carried out twice, it creates no second upload, and has no condition that its first run makes false.
        is_idempotent = method != 'POST' and (method != 'PUT' or CONDITIONS.isdisjoint(headers))
        for is_last in (False, True):
            route = self.routes[operation.bucket]
            keys = self._keys.current if route.is_signed else None
            offset_s = self._clock_offset_s
            try:
                head = self._head(route, keys, operation, method, query, headers, body, is_object_data)
            except UnicodeError as error:
                raise ConfigurationError(f'{operation}: a name or a value cannot be encoded as UTF-8: {error}') from error
            try:
                response = route.pool.exchange(head, body, has_body=method != 'HEAD', is_idempotent=is_idempotent)
            except TransportError as error:
                raise operation.named(error) from error
            if response.status < 300:
                return response
            error_body = self._read_error(response, operation, has_body=method != 'HEAD')
            if is_last or not self._correct(operation.bucket, route, offset_s, response, error_body):
                break
        raise self.refusal(operation, response, error_body, keys)

    def presigned_url(
        self, operation: Operation, method: str, *, query: Mapping[str, str], headers: Mapping[str, str], expires_s: int
    ) -> str:
        """A URL that allows one request, which must have these headers.

        Args:
            operation: The request that the URL allows.
            method: The HTTP method.
            query: The query parameters, unescaped.
            headers: The headers, with lower-case names.
            expires_s: The validity in seconds.

        Raises:
            ConfigurationError: There are no keys to sign with.
        """
        route = self.routes[operation.bucket]
        keys = self._keys.current if route.is_signed else None
        if keys is None:
            raise ConfigurationError('presign() needs credentials, but this connection does not sign requests')
        path = route.path + quoted_key(operation.key)
        dated = route.sign_with(keys).at(time.time() + self._clock_offset_s)
        signed = dated.presigned_query(method, path, query, {'host': route.host_header, **headers}, expires_s)
        return f'{route.endpoint}{path}?{signed}'

    def close(self) -> None:
        """Close the idle connections and drop the addresses of buckets."""
        self.routes.close()

    # --- the head

    def _head(
        self,
        route: Route,
        keys: Keys | None,
        operation: Operation,
        method: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | Chunk,
        is_object_data: bool,  # noqa: FBT001  (the hot path)
    ) -> bytes:
        path = route.path + quoted_key(operation.key) if operation.key else _bucket_path(route, operation)
        asked = canonical_query(query) if query else ''
        if keys is None:
            signed = '\r\n'.join([f'host:{route.host_header}', *[f'{name}:{value}' for name, value in headers.items()]])
        else:
            if is_object_data and not route.signs_bodies:
                payload = UNSIGNED_PAYLOAD
            elif isinstance(body, bytes):
                payload = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
            else:
                payload = body.sha256()
            signed = self._signed(route, keys, method, path, asked, headers, payload)
        # Without a body, GET and DELETE have no Content-Length (RFC 9110, section 8.6). Without Accept-Encoding, a proxy may
        # compress a response (section 12.5.3).
        if method in ('GET', 'HEAD'):
            framing = 'accept-encoding:identity\r\n'
        else:
            length = len(body) if isinstance(body, bytes) else body.size_bytes
            framing = f'content-length:{length}\r\n' if length or method != 'DELETE' else ''
        agent = '' if 'user-agent' in headers else self._agent
        line = f'{path}?{asked}' if asked else path
        return f'{method} {line} HTTP/1.1\r\n{signed}\r\n{framing}{agent}\r\n'.encode()

    def _signed(
        self,
        route: Route,
        keys: Keys,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        payload: str,
    ) -> str:
        """The lines of the signed headers, with the signature."""
        signer = route.signer if route.keys is keys and route.signer is not None else route.sign_with(keys)
        dated = signer.at(time.time() + self._clock_offset_s)
        token = dated.token
        line, name, is_short = '', '', len(headers) < 2 and not (token and ' ' in token)
        if headers and is_short:
            [(name, value)] = headers.items()
            line, is_short = f'{name}:{value}\n', name in SHORT_WAY and ' ' not in value and value.isprintable()
            name += ';'
        if is_short:
            # Other headers are sorted and normalised by canonical_headers(), which takes 3 µs more.
            canonical = f'host:{route.host_header}\n{line}x-amz-content-sha256:{payload}\nx-amz-date:{dated.timestamp}'
            names = f'host;{name}x-amz-content-sha256;x-amz-date'
            if token:
                canonical, names = f'{canonical}\nx-amz-security-token:{token}', f'{names};x-amz-security-token'
            lines = canonical.replace('\n', '\r\n')
        else:
            sent = {'host': route.host_header, 'x-amz-content-sha256': payload, 'x-amz-date': dated.timestamp}
            if token:
                sent['x-amz-security-token'] = token
            sent.update(headers)
            canonical, names = canonical_headers(sent)
            lines = '\r\n'.join([f'{name}:{value}' for name, value in sent.items()])
        # Values are sent as the caller passed them, blanks included; only the signature uses the canonical form.
        authorization = dated.authorization(method, path, query, canonical, names, payload)
        return f'{lines}\r\nauthorization:{authorization}'

    # --- refusals

    def _read_error(self, response: Response, operation: Operation, *, has_body: bool) -> ErrorBody:
        try:
            error_body = error_of(response.read_all(MAX_ERROR_BYTES) if has_body else b'')
        except TransportError as error:
            # Without its body, the status is enough, except for 400, which has many meanings.
            if response.status == http.client.BAD_REQUEST:
                raise operation.named(error) from error
            error_body = ErrorBody()
        finally:
            response.close()
        return error_body

    def _correct(self, bucket: str, route: Route, offset_s: float, response: Response, error_body: ErrorBody) -> bool:
        """Correct the region or the clock after a refusal. Returns True if the request should be sent again.

        Args:
            bucket: The bucket.
            route: The route of the request; other requests may have moved the bucket since.
            offset_s: The clock offset that the request was dated with.
            response: The refusal.
            error_body: The error in its body.
        """
        code = error_body.code
        if code in ASTRAY_CODES or response.status in ASTRAY_STATUSES:
            region = response.text(b'x-amz-bucket-region') or error_body.region
            place = self.routes.move(bucket, region).place if region else route.place
            if place != route.place:
                log.info('s3://%s is in region %s; further requests go there', bucket, place.region)
                return True
        if code == 'RequestTimeTooSkewed' or (response.status == 403 and not code):
            return self._correct_clock(offset_s, response)
        return False

    def _correct_clock(self, dated_by_s: float, response: Response) -> bool:
        theirs = moment_of(response.text(b'date') or '')
        if theirs is None:
            return False
        offset_s = theirs.timestamp() - time.time()
        if abs(offset_s - dated_by_s) < TOLERATED_SKEW_S / 2:
            return False
        if abs(offset_s - self._clock_offset_s) >= TOLERATED_SKEW_S / 2:
            self._clock_offset_s = offset_s
            log.warning("this machine's clock is %.0f s off the store's; requests use the store's time from now on", -offset_s)
        return True

    def refusal(
        self, operation: Operation, response: Response, error_body: ErrorBody, keys: Keys | None = None
    ) -> TransportError:
        """The error for a refusal.

        Args:
            operation: The request that was refused.
            response: The refusal.
            error_body: The error in its body.
            keys: The keys that the request was signed with; None for the current ones.
        """
        can_refresh = self._keys.can_refresh
        if error_body.code in EXPIRED_CODES and can_refresh:
            self._keys.expire(keys or self._keys.current)
        headers = headers_of(response)
        if error_body.request_id:
            headers.setdefault('x-amz-request-id', error_body.request_id)
        return error_for(
            str(operation),
            status=response.status,
            code=error_body.code or str(response.status),
            message=error_body.message or ('' if error_body.code else http.client.responses.get(response.status, '')),
            headers=headers,
            can_refresh=can_refresh,
            region=error_body.region,
            endpoint=self.routes[operation.bucket].endpoint,
        )


def _bucket_path(route: Route, operation: Operation) -> str:
    if operation.name not in ON_BUCKETS:
        raise ConfigurationError(f'{operation}: the key is empty; S3 needs at least one character')
    return route.place.bucket_path
