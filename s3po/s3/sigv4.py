"""Signature version 4, as S3 takes it: of request headers, and of presigned URLs.

What may live here: pure functions of a request, keys and a time. No I/O, no clock.

S3 differs from other services: a key is escaped once, and its path is never normalised ('a//b', '.' and '..' stay as they are).

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and sigv4-query-string-auth.html there.
tests/unit/test_sigv4.py compares every kind of request with botocore's signer.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NoReturn
from urllib.parse import quote

__all__ = ['EMPTY_SHA256', 'UNSIGNED_PAYLOAD', 'Signer', 'canonical_query', 'quoted_key']

# What stands in place of the body's SHA-256 where the body is not signed.
UNSIGNED_PAYLOAD: Final = 'UNSIGNED-PAYLOAD'
EMPTY_SHA256: Final = hashlib.sha256().hexdigest()

# Headers that proxies may change or add, and that are therefore not signed. The list is botocore's.
UNSIGNED_HEADERS: Final = frozenset(
    {
        'baggage',
        'connection',
        'expect',
        'keep-alive',
        'proxy-authenticate',
        'proxy-authorization',
        'te',
        'traceparent',
        'tracestate',
        'trailer',
        'transfer-encoding',
        'upgrade',
        'user-agent',
        'x-amzn-trace-id',
    }
)


def quoted_key(key: str) -> str:
    """A key as it stands in a URL's path: every byte of its UTF-8 escaped but letters, digits and '-._~/'."""
    return quote(key, safe='/~')


def canonical_query(query: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    """A query string in the order and form in which it is signed; it is sent in this form too."""
    pairs = query.items() if isinstance(query, Mapping) else query
    return '&'.join(f'{name}={value}' for name, value in sorted((quote(n, safe='~'), quote(v, safe='~')) for n, v in pairs))


class Signer:
    """Signs requests with one set of keys, for one region and service.

    It may be used by any thread: what it remembers is replaced as a whole.
    """

    __slots__ = ('_access_key_id', '_day', '_region', '_second', '_secret', '_service', 'session_token')

    def __init__(
        self, access_key_id: str, secret_access_key: str, session_token: str | None, region: str, service: str = 's3'
    ) -> None:
        """
        Args:
            access_key_id: The access key.
            secret_access_key: Its secret.
            session_token: The token of temporary keys; None for others.
            region: The region that the request is for.
            service: The service's name in signatures.
        """
        self.session_token = session_token
        self._access_key_id = access_key_id
        self._secret = secret_access_key
        self._region = region
        self._service = service
        # (day, scope, signing key): deriving the key takes four HMACs, and it holds for a day.
        self._day: tuple[str, str, bytes] = ('', '', b'')
        # (second, timestamp): formatting a time costs as much as an HMAC.
        self._second = (-1, '')

    def __repr__(self) -> str:
        return f'<Signer {self._access_key_id} {self._region}/{self._service}>'

    def __reduce__(self) -> NoReturn:
        raise TypeError('keys go into no pickle')

    def timestamp(self, seconds: float) -> str:
        """A time since the epoch in the form that is signed: '20261121T030540Z'."""
        whole = int(seconds)
        second, text = self._second
        if second != whole:
            text = time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(whole))
            self._second = (whole, text)
        return text

    def authorization(
        self, method: str, path: str, query: str, lines: Sequence[str], names: str, payload: str, timestamp: str
    ) -> str:
        """The value of the header Authorization.

        Args:
            method: Such as 'GET'.
            path: The escaped path, from its first slash.
            query: The canonical query, without a question mark.
            lines: The canonical headers in order: 'name:value', the name in lower case; see canonical_headers().
            names: Their names, joined by semicolons.
            payload: The body's SHA-256 in hex, or UNSIGNED_PAYLOAD; the same as in x-amz-content-sha256.
            timestamp: The same as in x-amz-date.
        """
        scope, signature = self._signature(method, path, query, '\n'.join(lines), names, payload, timestamp)
        return f'AWS4-HMAC-SHA256 Credential={self._access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}'

    def presigned_query(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], expires_s: int, timestamp: str
    ) -> str:
        """The query of a presigned URL, signature included. Whoever has the URL may make that one request.

        Args:
            method: Such as 'GET'.
            path: The escaped path.
            query: The request's own query parameters.
            headers: The headers that the request will have to bear, `host` among them.
            expires_s: For how many seconds from the timestamp it holds.
            timestamp: When it was signed.
        """
        lines, names = canonical_headers(headers)
        given = {
            **query,
            'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
            'X-Amz-Credential': f'{self._access_key_id}/{self._scope_of(timestamp[:8])[0]}',
            'X-Amz-Date': timestamp,
            'X-Amz-Expires': str(expires_s),
            'X-Amz-SignedHeaders': names,
        }
        if self.session_token is not None:
            given['X-Amz-Security-Token'] = self.session_token
        signed = canonical_query(given)
        signature = self._signature(method, path, signed, '\n'.join(lines), names, UNSIGNED_PAYLOAD, timestamp)[1]
        return f'{signed}&X-Amz-Signature={signature}'

    def _signature(
        self, method: str, path: str, query: str, headers: str, names: str, payload: str, timestamp: str
    ) -> tuple[str, str]:
        scope, key = self._scope_of(timestamp[:8])
        request = f'{method}\n{path}\n{query}\n{headers}\n\n{names}\n{payload}'
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f'AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}'
        return scope, hmac.digest(key, text.encode(), 'sha256').hex()

    def _scope_of(self, day: str) -> tuple[str, bytes]:
        known, scope, key = self._day
        if known != day:
            scope = f'{day}/{self._region}/{self._service}/aws4_request'
            key = f'AWS4{self._secret}'.encode()
            for step in (day, self._region, self._service, 'aws4_request'):
                key = hmac.digest(key, step.encode(), 'sha256')
            self._day = (day, scope, key)
        return scope, key


def canonical_headers(headers: Mapping[str, str]) -> tuple[list[str], str]:
    """Headers in the form that is signed: the lines in order, and the names joined by semicolons.

    Args:
        headers: All headers of the request; those that are not signed are left out here.
    """
    named = sorted((name.lower(), value) for name, value in headers.items())
    signed = [(name, value) for name, value in named if name not in UNSIGNED_HEADERS]
    # White space within a value counts as one blank, around it as none.
    return [f'{name}:{" ".join(value.split())}' for name, value in signed], ';'.join(name for name, _ in signed)
