"""Checksums: equal to those of other libraries, piece by piece or at once, and parsed from a store's values."""

from __future__ import annotations

import base64
import hashlib

import hypothesis
import hypothesis.strategies as st
import pytest

from s3po.checksum import (
    ALGORITHMS,
    combined_text,
    crc_function,
    has_md5_form,
    is_combinable,
    multipart_etag,
    text_of,
    text_of_crc,
)


def slow_crc64nvme(data: bytes) -> int:
    """CRC-64/NVME bit by bit, from its definition: polynomial 0xAD93D23594C93659, reflected, inverted at both ends."""
    polynomial, crc = 0x9A6C9329AC4BC9B5, 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
    return crc ^ 0xFFFFFFFFFFFFFFFF


def test_check_value() -> None:
    """The check value of CRC-64/NVME: https://reveng.sourceforge.io/crc-catalogue/all.htm#crc.cat.crc-64-nvme"""
    compute = crc_function('CRC64NVME')

    assert compute(b'123456789', 0) == slow_crc64nvme(b'123456789') == 0xAE8B14860A799888


@hypothesis.given(st.lists(st.binary(max_size=40), max_size=6))
def test_pieces(pieces: list[bytes]) -> None:
    """The CRC of several pieces is that of the whole."""
    crc = 0
    for piece in pieces:
        crc = crc_function('CRC64NVME')(memoryview(piece), crc)

    assert crc == slow_crc64nvme(b''.join(pieces))
    assert text_of_crc('CRC64NVME', crc) == text_of('CRC64NVME', pieces)


# https://reveng.sourceforge.io/crc-catalogue/all.htm (of '123456789'), RFC 1321 (A.5) and FIPS 180-4 (of 'abc').
VECTORS = [
    ('CRC64NVME', b'123456789', 'ae8b14860a799888'),
    ('CRC32C', b'123456789', 'e3069283'),
    ('CRC32', b'123456789', 'cbf43926'),
    ('MD5', b'abc', '900150983cd24fb0d6963f7d28e17f72'),
    ('SHA256', b'abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'),
]


@pytest.mark.parametrize(('algorithm', 'data', 'digits'), VECTORS)
def test_texts(algorithm: str, data: bytes, digits: str) -> None:
    """Each algorithm has its published value, in one piece and in several."""
    text = f'{algorithm}:{base64.b64encode(bytes.fromhex(digits)).decode()}'

    assert text_of(algorithm, [data]) == text_of(algorithm, [data[:2], b'', memoryview(data)[2:]]) == text


@hypothesis.given(st.lists(st.binary(max_size=40), min_size=1, max_size=6))
def test_combined_texts(pieces: list[bytes]) -> None:
    """The CRCs of parts combine to that of the whole; digests combine to S3's digest of digests with the number of parts."""
    for algorithm in ALGORITHMS:
        parts = [(text_of(algorithm, [piece]), len(piece)) for piece in pieces]
        if is_combinable(algorithm):
            assert combined_text(algorithm, parts) == text_of(algorithm, pieces)
    digests = [(text_of('SHA256', [piece]), len(piece)) for piece in pieces]
    raw = b''.join(hashlib.sha256(piece).digest() for piece in pieces)
    assert combined_text('SHA256', digests) == f'{text_of("SHA256", [raw])}-{len(pieces)}'


def test_multipart_etag() -> None:
    """A multipart ETag is the MD5 of the parts' MD5s with their number, if all of them are MD5s."""
    etags = [hashlib.md5(part, usedforsecurity=False).hexdigest() for part in (b'a', b'b')]
    raw = b''.join(map(bytes.fromhex, etags))

    assert multipart_etag(etags) == f'{hashlib.md5(raw, usedforsecurity=False).hexdigest()}-2'
    assert multipart_etag([*etags, 'opaque']) is None
    assert not has_md5_form('0' * 31 + 'G')
