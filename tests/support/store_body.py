"""Reads request bodies: by length, chunked, aws-chunked, with their trailers.

Their checksums are verified in store_checksums. Sources: RFC 9112 section 7.1 for chunked,
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html for aws-chunked.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Protocol

from tests.support.store_values import StoreError

__all__ = ['decode_aws_chunked', 'is_aws_chunked', 'read_body']


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def readline(self, limit: int, /) -> bytes: ...


def read_body(source: _Readable, headers: Mapping[str, str]) -> bytes:
    """The request's body as it was sent, without HTTP's chunked encoding.

    Raises:
        StoreError: It ended before its length, or its chunks are invalid.
    """
    if 'chunked' in headers.get('transfer-encoding', '').lower():
        body, _ = _read_chunks(source)
        return body
    return _read_exactly(source, int(headers.get('content-length') or 0))


def is_aws_chunked(headers: Mapping[str, str]) -> bool:
    """Whether the body has AWS's own chunked encoding."""
    signed = headers.get('x-amz-content-sha256', '')
    return signed.startswith('STREAMING-') or 'aws-chunked' in headers.get('content-encoding', '')


def decode_aws_chunked(body: bytes, headers: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
    """The payload of an aws-chunked body, and its trailers by name in lower case.

    Raises:
        StoreError: IncompleteBody if the length differs from x-amz-decoded-content-length, MalformedTrailerError if a trailer
            of x-amz-trailer is missing.
    """
    payload, trailers = _read_chunks(io.BytesIO(body))
    if str(len(payload)) != headers.get('x-amz-decoded-content-length', str(len(payload))):
        raise _incomplete('The request body is not as long as x-amz-decoded-content-length says')
    announced = {name.strip().lower() for name in headers.get('x-amz-trailer', '').split(',')} - {''}
    if not announced <= trailers.keys():
        message = 'The request contained trailing data that was not well-formed or did not conform to our published schema.'
        raise StoreError(400, 'MalformedTrailerError', message)
    return payload, trailers


def _read_chunks(source: _Readable) -> tuple[bytes, dict[str, str]]:
    # AWS's chunks are HTTP's with a signature as extension.
    pieces: list[bytes] = []
    while True:
        try:
            size = int(source.readline(1024).partition(b';')[0], 16)
        except ValueError:
            raise _incomplete('A chunk does not begin with its size') from None
        if size == 0:
            return b''.join(pieces), _read_trailers(source)
        pieces.append(_read_exactly(source, size))
        if source.readline(3) != b'\r\n':
            raise _incomplete('A chunk does not end where it should')


def _read_trailers(source: _Readable) -> dict[str, str]:
    trailers: dict[str, str] = {}
    while line := source.readline(65536).strip():
        name, _, value = line.decode('latin-1').partition(':')
        trailers[name.strip().lower()] = value.strip()
    return trailers


def _read_exactly(source: _Readable, size: int) -> bytes:
    body = source.read(size) if size else b''
    if len(body) != size:
        raise _incomplete('You did not provide the number of bytes specified by the Content-Length HTTP header')
    return body


def _incomplete(message: str) -> StoreError:
    return StoreError(400, 'IncompleteBody', message)
