"""Request bodies off the wire: by length, chunked, aws-chunked; and the checksums that came with them.

What may live here: reading and checking bodies. Sources: RFC 9112 section 7.1 for chunked,
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html for aws-chunked,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html for checksums.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

from tests.support.store_values import StoreError

__all__ = ['checksum_headers', 'decode_aws_chunked', 'is_aws_chunked', 'read_body', 'verify']

# The CRCs that the standard library lacks go through a table here, byte by byte: some 5 MB/s. A longer body's value is
# believed, as the stores believe it that check nothing.
SLOW_CRC_BYTES = 256 * 1024


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def readline(self, limit: int, /) -> bytes: ...


def read_body(source: _Readable, headers: Mapping[str, str]) -> bytes:
    """The request's body as it was sent, without HTTP's own chunks.

    Raises:
        StoreError: It ended before its length, or its chunks are no chunks.
    """
    if 'chunked' in headers.get('transfer-encoding', '').lower():
        body, _ = _read_chunks(source)
        return body
    return _read_exactly(source, int(headers.get('content-length') or 0))


def is_aws_chunked(headers: Mapping[str, str]) -> bool:
    """Whether the body has chunks of AWS's kind inside."""
    signed = headers.get('x-amz-content-sha256', '')
    return signed.startswith('STREAMING-') or 'aws-chunked' in headers.get('content-encoding', '')


def decode_aws_chunked(body: bytes, headers: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
    """The payload of an aws-chunked body, and its trailers by name in lower case.

    Raises:
        StoreError: IncompleteBody where the length is not the one of x-amz-decoded-content-length.
    """
    payload, trailers = _read_chunks(io.BytesIO(body))
    if str(len(payload)) != headers.get('x-amz-decoded-content-length', str(len(payload))):
        raise _incomplete('The request body is not as long as x-amz-decoded-content-length says')
    return payload, trailers


def _read_chunks(source: _Readable) -> tuple[bytes, dict[str, str]]:
    # AWS's chunks are HTTP's with a signature for an extension.
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


# ---------------------------------------------------------------------- checksums


def checksum_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of the headers that hold a checksum of the body."""
    return {
        f'x-amz-checksum-{name}': headers[f'x-amz-checksum-{name}'] for name in _SUMS if f'x-amz-checksum-{name}' in headers
    }


def verify(body: bytes, headers: Mapping[str, str]) -> None:
    """Compare a body with the checksums that came with it.

    Raises:
        StoreError: BadDigest where one of them is another's.
    """
    given = headers.get('content-md5')
    if given is not None and given != _base64(hashlib.md5(body, usedforsecurity=False).digest()):
        raise StoreError(400, 'BadDigest', 'The Content-MD5 you specified did not match what we received.')
    for header, value in checksum_headers(headers).items():
        name = header.removeprefix('x-amz-checksum-')
        if name in _SLOW_CRCS and len(body) > SLOW_CRC_BYTES:
            continue
        if value != _base64(_SUMS[name](body)):
            raise StoreError(400, 'BadDigest', f'The {name.upper()} you specified did not match the calculated checksum.')


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _crc(body: bytes, polynomial: int, width_bytes: int) -> bytes:
    """A reflected CRC with all ones before and after, which CRC32C and CRC64NVME both are."""
    table = _crc_table(polynomial)
    ones = (1 << 8 * width_bytes) - 1
    register = ones
    for byte in body:
        register = table[(register ^ byte) & 0xFF] ^ register >> 8
    return (register ^ ones).to_bytes(width_bytes, 'big')


@functools.cache
def _crc_table(polynomial: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        table.append(value)
    return tuple(table)


_SLOW_CRCS = ('crc32c', 'crc64nvme')
# The polynomials bit-reversed, from https://reveng.sourceforge.io/crc-catalogue/ (CRC-32/ISCSI and CRC-64/NVME).
_SUMS: Mapping[str, Callable[[bytes], bytes]] = {
    'crc32': lambda body: zlib.crc32(body).to_bytes(4, 'big'),
    'crc32c': lambda body: _crc(body, 0x82F63B78, 4),
    'crc64nvme': lambda body: _crc(body, 0x9A6C9329AC4BC9B5, 8),
    'sha1': lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    'sha256': lambda body: hashlib.sha256(body).digest(),
}
