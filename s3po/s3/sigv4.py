"""AWS Signature Version 4 for S3: signs request headers and presigned URLs. No I/O, no clock.

S3 differs from other services: a key is escaped once, and its path is never normalised ('a//b', '.' and '..' stay as they are).

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and sigv4-query-string-auth.html there.
tests/unit/test_sigv4.py compares every kind of request with botocore's signer.

What several requests share is computed once: the signing key for a day, its HMAC with the text that is the same for all
requests of one second for that second, the order of headers for each set of names.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import quote

__all__ = ['EMPTY_SHA256', 'UNSIGNED_PAYLOAD', 'DatedSigner', 'Signer', 'canonical_headers', 'canonical_query', 'quoted_key']

# The value in place of the body's SHA-256 if the body is not signed.
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
# Matches a key that needs no escapes, as most keys. quote() takes 0.4 µs more.
_is_plain: Final = re.compile(r'[A-Za-z0-9._~/-]*').fullmatch
# HMAC-SHA256 (RFC 2104): the block size, and the two constants that the key is combined with.
_BLOCK_BYTES: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


def quoted_key(key: str) -> str:
    """A key in the form of a URL's path: all bytes of its UTF-8 escaped except letters, digits and '-._~/'."""
    return key if _is_plain(key) else quote(key, safe='/~')


def canonical_query(query: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    """A query string in the order and form in which it is signed and sent."""
    pairs = query.items() if isinstance(query, Mapping) else query
    return '&'.join(f'{name}={value}' for name, value in sorted((quote(n, safe='~'), quote(v, safe='~')) for n, v in pairs))


class Signer:
    """Signs requests with one set of keys, for one region and service.

    Any thread may use it: its caches are replaced as a whole.
    """

    __slots__ = ('_access_key_id', '_dated', '_day', '_region', '_secret', '_service', 'session_token')

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
        # (day, scope, signing key): deriving the key takes four HMACs.
        self._day: tuple[str, str, bytes] = ('', '', b'')
        self._dated: tuple[int, DatedSigner | None] = (-1, None)

    def __repr__(self) -> str:
        return f'<Signer {self._access_key_id} {self._region}/{self._service}>'

    def __reduce__(self) -> NoReturn:
        raise TypeError('a Signer has keys and cannot be pickled')

    def at(self, seconds: float) -> DatedSigner:
        """The signer for requests of one second.

        Args:
            seconds: The time of the request, in seconds since the epoch.
        """
        whole = int(seconds)
        second, dated = self._dated
        if second != whole or dated is None:
            dated = self._new_dated(time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(whole)))
            self._dated = (whole, dated)
        return dated

    def _new_dated(self, timestamp: str) -> DatedSigner:
        day = timestamp[:8]
        known, scope, key = self._day
        if known != day:
            scope = f'{day}/{self._region}/{self._service}/aws4_request'
            key = f'AWS4{self._secret}'.encode()
            for step in (day, self._region, self._service, 'aws4_request'):
                key = hmac.digest(key, step.encode(), 'sha256')
            self._day = (day, scope, key)
        return DatedSigner(timestamp, f'{self._access_key_id}/{scope}', scope, key, self.session_token)


class DatedSigner:
    """Signs the requests of one second.

    Attributes:
        timestamp: The second in the form that is signed: '20261121T030540Z'.
        token: The token of temporary keys; None for others.
    """

    __slots__ = ('_credential', '_inner', '_outer', 'timestamp', 'token')

    def __init__(self, timestamp: str, credential: str, scope: str, key: bytes, token: str | None) -> None:
        """
        Args:
            timestamp: The second.
            credential: The access key and the scope.
            scope: Day, region and service.
            key: The signing key of that scope.
            token: The token of temporary keys; None for others.
        """
        self.timestamp = timestamp
        self._credential = credential
        self.token = token
        # The two hashes of an HMAC after the key and the text that all these requests share: hmac.digest() takes 1.5 µs more.
        padded = key.ljust(_BLOCK_BYTES, b'\0')
        self._inner: Any = hashlib.sha256(padded.translate(_INNER) + f'AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n'.encode())
        self._outer: Any = hashlib.sha256(padded.translate(_OUTER))

    def __repr__(self) -> str:
        return f'<DatedSigner {self._credential} {self.timestamp}>'

    def authorization(self, method: str, path: str, query: str, headers: str, names: str, payload: str) -> str:
        """The value of the header Authorization.

        Args:
            method: Such as 'GET'.
            path: The escaped path, from its first slash.
            query: The canonical query, without a question mark.
            headers: The canonical headers, x-amz-date with this timestamp among them; see canonical_headers().
            names: Their names, joined by semicolons.
            payload: The body's SHA-256 in hex, or UNSIGNED_PAYLOAD; the same as in x-amz-content-sha256.
        """
        signature = self._signature(f'{method}\n{path}\n{query}\n{headers}\n\n{names}\n{payload}')
        return f'AWS4-HMAC-SHA256 Credential={self._credential}, SignedHeaders={names}, Signature={signature}'

    def presigned_query(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], expires_s: int
    ) -> str:
        """The query of a presigned URL, signature included. Anyone who has the URL may make that one request.

        Args:
            method: Such as 'GET'.
            path: The escaped path.
            query: The request's own query parameters.
            headers: The headers that the request must have, `host` among them.
            expires_s: The number of seconds, from the timestamp, for which the URL is valid.
        """
        canonical, names = canonical_headers(headers)
        given = {
            **query,
            'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
            'X-Amz-Credential': self._credential,
            'X-Amz-Date': self.timestamp,
            'X-Amz-Expires': str(expires_s),
            'X-Amz-SignedHeaders': names,
        }
        if self.token is not None:
            given['X-Amz-Security-Token'] = self.token
        signed = canonical_query(given)
        signature = self._signature(f'{method}\n{path}\n{signed}\n{canonical}\n\n{names}\n{UNSIGNED_PAYLOAD}')
        return f'{signed}&X-Amz-Signature={signature}'

    def _signature(self, canonical_request: str) -> str:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(hashlib.sha256(canonical_request.encode()).hexdigest().encode())
        outer.update(inner.digest())
        signature: str = outer.hexdigest()
        return signature


def canonical_headers(headers: Mapping[str, str]) -> tuple[str, str]:
    """Headers in the form that is signed: their lines in order, and their names joined by semicolons.

    Args:
        headers: All headers of the request; those that are not signed are left out here.
    """
    order, names = _order_of(tuple(headers))
    # White space within a value counts as one blank, around it as none.
    return '\n'.join([f'{signed}:{" ".join(headers[name].split())}' for signed, name in order]), names


@functools.lru_cache(maxsize=1024)
def _order_of(names: tuple[str, ...]) -> tuple[list[tuple[str, str]], str]:
    """The headers that are signed, in order, as (name in lower case, name as given); and the names joined by semicolons."""
    order = sorted((name.lower(), name) for name in names)
    order = [each for each in order if each[0] not in UNSIGNED_HEADERS]
    return order, ';'.join(name for name, _ in order)
