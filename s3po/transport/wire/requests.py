"""How a request is addressed, dated, signed and sent.

A request that was addressed to the wrong region, or dated by a clock that is wrong, is corrected and sent once more, and the
correction is remembered: that is no retry, the store has not looked at what it asks for.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import time
from collections.abc import Mapping
from typing import Final, Protocol

from s3po.body import Chunk
from s3po.config import __version__
from s3po.endpoints.resolver import Place
from s3po.endpoints.signing_keys import Keys, KeySource
from s3po.errors import ConfigurationError, TransportError
from s3po.http import HTTPClient, Origin, Pool, Response
from s3po.s3.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, Signer, canonical_headers, canonical_query, quoted_key
from s3po.s3.status import EXPIRED_CODES, error_for
from s3po.s3.xml import ErrorBody, error_of
from s3po.transport.wire.response_headers import Operation, headers_of, moment_of

__all__ = ['NO_HEADERS', 'NO_QUERY', 'PlaceFinder', 'Requester']

log = logging.getLogger(__name__)

NO_HEADERS: Final[Mapping[str, str]] = {}
NO_QUERY: Final[Mapping[str, str]] = {}
USER_AGENT: Final = f's3po/{__version__}'

# What uploads carry by default.
CHECKSUM_HEADER: Final = 'x-amz-checksum-crc64nvme'
# A document that says why a request failed is short.
MAX_ERROR_BYTES: Final = 1024 * 1024
# What is smaller goes out together with its head; what is larger, piece by piece.
AT_ONCE_BYTES: Final = 256 * 1024
# All other requests name a key, and mean the bucket itself without one: to delete it, for example.
ON_BUCKETS: Final = frozenset({'DeleteObjects', 'ListMultipartUploads', 'ListObjectsV2'})
# Stores refuse what is dated more than 15 minutes off: RequestTimeTooSkewed in the list of S3's errors.
TOLERATED_SKEW_S: Final = 15 * 60
# How many buckets are remembered before all are forgotten.
MAX_TARGETS: Final = 10_000
# These may mean that the bucket is in another region.
ASTRAY_CODES: Final = frozenset(
    {'AuthorizationHeaderMalformed', 'IllegalLocationConstraintException', 'PermanentRedirect', 'TemporaryRedirect', 'Redirect'}
)
ASTRAY_STATUSES: Final = frozenset({301, 302, 307, 400})


class PlaceFinder(Protocol):
    """Says where buckets are."""

    def find(self, bucket: str) -> Place:
        """Where a bucket is."""
        ...

    def relearn(self, bucket: str, region: str) -> Place:
        """Where it is, now that it is known to be in that region; remembered."""
        ...


class _Target:
    """A bucket, with all that is the same for every request to it."""

    __slots__ = ('host_header', 'is_secure', 'is_signed', 'keys', 'path', 'place', 'pool', 'signer')

    def __init__(self, place: Place, pool: Pool) -> None:
        self.place = place
        self.pool = pool
        self.host_header = place.host_header
        self.path = place.path
        self.is_secure = place.scheme == 'https'
        self.is_signed = place.auth != 'none'
        self.keys: Keys | None = None
        self.signer: Signer | None = None


class Requester:
    """Sends requests to buckets. Belongs to one hub."""

    def __init__(
        self, places: PlaceFinder, keys: KeySource, client: HTTPClient, *, payload_signing: str = 'auto', user_agent: str = ''
    ) -> None:
        """
        Args:
            places: Where buckets are.
            keys: What to sign with.
            client: The connections.
            payload_signing: 'signed', 'unsigned', or 'auto': signed where TLS does not guard it.
            user_agent: Added to our own.
        """
        self._places = places
        self._keys = keys
        self._client = client
        self._payload_signing = payload_signing
        self._agent = f'user-agent:{f"{USER_AGENT} {user_agent}".rstrip()}\r\n'
        self._targets: dict[str, _Target] = {}
        # How far the store's clock is ahead of ours.
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
        """Send one request, and give its answer, whose status is below 300. The caller closes it.

        Args:
            operation: The request, with its bucket and key.
            method: HTTP's.
            query: The query parameters, unescaped.
            headers: By name in lower case.
            body: The request's body.
            is_object_data: Whether the body is an object's, which may go unsigned, and not a document.

        Raises:
            TransportError: There was no answer, or it is a refusal.
            ConfigurationError: What is asked for cannot be written as a request.
        """
        for is_last in (False, True):
            target = self._targets.get(operation.bucket) or self._aim(operation.bucket)
            # Kept for this request: while it is under way, others may give the target new ones.
            keys = self._keys.current if target.is_signed else None
            offset_s = self._clock_offset_s
            try:
                head = self._head(target, keys, operation, method, query, headers, body, is_object_data)
            except UnicodeError as error:
                raise ConfigurationError(f'{operation}: a name or a value has no UTF-8 form: {error}') from error
            try:
                response = target.pool.exchange(
                    head, body, has_body=method != 'HEAD', is_idempotent=_is_idempotent(method, headers)
                )
            except TransportError as error:
                raise operation.named(error) from error
            if response.status < 300:
                return response
            said = self._read_error(response, operation, has_body=method != 'HEAD')
            if is_last or not self._correct(operation.bucket, target, offset_s, response, said):
                break
        raise self.refusal(operation, response, said, keys)

    def presigned_url(
        self, operation: Operation, method: str, *, query: Mapping[str, str], headers: Mapping[str, str], expires_s: int
    ) -> str:
        """A URL that allows one request. Whoever makes it has to send these headers with it.

        Args:
            operation: The request that the URL allows.
            method: HTTP's.
            query: The query parameters, unescaped.
            headers: By name in lower case.
            expires_s: For how many seconds.

        Raises:
            ConfigurationError: There are no keys to sign with.
        """
        target = self._targets.get(operation.bucket) or self._aim(operation.bucket)
        keys = self._keys.current if target.is_signed else None
        if keys is None:
            raise ConfigurationError('presign() needs credentials to sign with, and this connection does not sign')
        signer = target.signer if target.keys is keys else self._new_signer(target, keys)
        assert signer is not None
        path = target.path + quoted_key(operation.key)
        timestamp = signer.timestamp(time.time() + self._clock_offset_s)
        signed = {'host': target.host_header, **headers}
        asked = signer.presigned_query(method, path, query, signed, expires_s, timestamp)
        return f'{target.place.scheme}://{target.host_header}{path}?{asked}'

    def guards_bodies(self, bucket: str) -> bool:
        """Whether the data of uploads are guarded by TLS, or signed."""
        target = self._targets.get(bucket) or self._aim(bucket)
        return target.is_secure or (target.is_signed and self._payload_signing != 'unsigned')

    def signs_bodies(self, bucket: str) -> bool:
        """Whether the data of uploads are part of the signature."""
        target = self._targets.get(bucket) or self._aim(bucket)
        if not target.is_signed or self._payload_signing == 'unsigned':
            return False
        return self._payload_signing == 'signed' or not target.is_secure

    def close(self) -> None:
        """Close what is idle, and forget where buckets are."""
        self._targets.clear()
        self._client.close()

    # --- the head

    def _head(
        self,
        target: _Target,
        keys: Keys | None,
        operation: Operation,
        method: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | Chunk,
        is_object_data: bool,  # noqa: FBT001  (the hot path)
    ) -> bytes:
        path = target.path + quoted_key(operation.key) if operation.key else _bucket_path(target, operation)
        asked = canonical_query(query) if query else ''
        length = len(body) if isinstance(body, bytes) else body.size_bytes
        # A GET or DELETE has no body, and says nothing of it (RFC 9110, section 8.6).
        content_length = f'content-length:{length}\r\n' if length or method in ('PUT', 'POST') else ''
        agent = '' if 'user-agent' in headers else self._agent
        # Without it, a proxy may compress what it passes on (RFC 9110, section 12.5.3).
        coding = 'accept-encoding:identity\r\n' if method in ('GET', 'HEAD') else ''
        payload = '' if keys is None else self._payload(target, body, is_object_data)
        text = self._signed(target, keys, method, path, asked, headers, payload)
        line = f'{path}?{asked}' if asked else path
        return f'{method} {line} HTTP/1.1\r\n{text}\r\n{content_length}{coding}{agent}\r\n'.encode()

    def _signed(
        self,
        target: _Target,
        keys: Keys | None,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        payload: str,
    ) -> str:
        """The lines of all headers that are signed, with the signature; or, without keys, of all that would be."""
        if keys is None:
            return '\r\n'.join([f'host:{target.host_header}', *(f'{name}:{value}' for name, value in headers.items())])
        signer = target.signer if target.keys is keys else self._new_signer(target, keys)
        assert signer is not None
        timestamp = signer.timestamp(time.time() + self._clock_offset_s)
        if keys.session_token is None and (not headers or (len(headers) == 1 and CHECKSUM_HEADER in headers)):
            # Most requests of a batch: what follows would come to the same.
            lines = [f'host:{target.host_header}', f'x-amz-content-sha256:{payload}', f'x-amz-date:{timestamp}']
            names = 'host;x-amz-content-sha256;x-amz-date'
            if headers:
                lines.insert(1, f'{CHECKSUM_HEADER}:{headers[CHECKSUM_HEADER]}')
                names = f'host;{CHECKSUM_HEADER};x-amz-content-sha256;x-amz-date'
            canonical = lines
        else:
            sent = {'host': target.host_header, 'x-amz-content-sha256': payload, 'x-amz-date': timestamp}
            if keys.session_token:
                sent['x-amz-security-token'] = keys.session_token
            sent.update(headers)
            canonical, names = canonical_headers(sent)
            # What is sent is what the caller gave, blanks included; only the signature is of the canonical form.
            lines = [f'{name}:{value}' for name, value in sent.items()]
        authorization = signer.authorization(method, path, query, canonical, names, payload, timestamp)
        return '\r\n'.join([*lines, f'authorization:{authorization}'])

    def _payload(self, target: _Target, body: bytes | Chunk, is_object_data: bool) -> str:  # noqa: FBT001  (the hot path)
        if is_object_data:
            signing = self._payload_signing
            if signing == 'unsigned' or (signing == 'auto' and target.is_secure):
                return UNSIGNED_PAYLOAD
        if isinstance(body, bytes):
            return hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        return body.sha256()

    def _new_signer(self, target: _Target, keys: Keys) -> Signer:
        place = target.place
        if not f'{keys.access_key_id}{keys.session_token}'.isprintable():
            # They stand in headers, and may come from a file whose last line has an end.
            raise ConfigurationError('access_key_id and session_token must not have line ends or other control characters')
        target.keys = keys
        target.signer = Signer(keys.access_key_id, keys.secret_access_key, keys.session_token, place.region, place.service)
        return target.signer

    # --- where to

    def _aim(self, bucket: str) -> _Target:
        return self._take_aim(bucket, self._places.find(bucket))

    def _take_aim(self, bucket: str, place: Place) -> _Target:
        if len(self._targets) >= MAX_TARGETS:
            self._targets.clear()
        origin = Origin(place.scheme, place.host, place.port, place.proxy)
        target = self._targets[bucket] = _Target(place, self._client.pool(origin))
        return target

    # --- refusals

    def _read_error(self, response: Response, operation: Operation, *, has_body: bool) -> ErrorBody:
        try:
            said = error_of(response.read_all(MAX_ERROR_BYTES) if has_body else b'')
        except TransportError as error:
            # Of a body that was cut the status is left, which tells enough, but for 400: that may mean anything.
            if response.status == http.client.BAD_REQUEST:
                raise operation.named(error) from error
            said = ErrorBody()
        finally:
            response.close()
        return said

    def _correct(self, bucket: str, target: _Target, offset_s: float, response: Response, said: ErrorBody) -> bool:
        """Learn from a refusal; tells whether the request is worth sending once more.

        It was addressed and dated by what was known when it was sent, which others may have corrected since.
        """
        code = said.code
        if code in ASTRAY_CODES or response.status in ASTRAY_STATUSES:
            region = response.text(b'x-amz-bucket-region') or said.region
            place = self._places.relearn(bucket, region) if region else target.place
            if place != target.place:
                log.info('s3://%s is in region %s; its requests go there from now on', bucket, place.region)
                self._take_aim(bucket, place)
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
            log.warning("this machine's clock is %.0f s off the store's; requests are dated by that from now on", -offset_s)
        return True

    def refusal(self, operation: Operation, response: Response, said: ErrorBody, keys: Keys | None = None) -> TransportError:
        """The error that an answer tells of.

        Args:
            operation: The request that was refused.
            response: The answer.
            said: What its body says.
            keys: What the request was signed with; None for what is current.
        """
        can_refresh = self._keys.can_refresh
        if said.code in EXPIRED_CODES and can_refresh:
            self._keys.expire(keys or self._keys.current)
        headers, target = headers_of(response), self._targets.get(operation.bucket)
        if said.request_id:
            headers.setdefault('x-amz-request-id', said.request_id)
        return error_for(
            str(operation),
            status=response.status,
            code=said.code or str(response.status),
            message=said.message or ('' if said.code else http.client.responses.get(response.status, '')),
            headers=headers,
            can_refresh=can_refresh,
            region=said.region,
            endpoint='' if target is None else f'{target.place.scheme}://{target.host_header}',
        )


def _is_idempotent(method: str, headers: Mapping[str, str]) -> bool:
    """Whether carrying a request out twice comes to the same as once: no upload is begun twice, no condition of ours broken."""
    if method == 'PUT':
        return not headers or ('if-none-match' not in headers and 'if-match' not in headers)
    return method != 'POST'


def _bucket_path(target: _Target, operation: Operation) -> str:
    if operation.name not in ON_BUCKETS:
        raise ConfigurationError(f'{operation}: the key is empty; S3 needs at least one character')
    return target.place.bucket_path
