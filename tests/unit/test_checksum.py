"""Checksums: as others compute them, piece by piece or at once, and read from what a store says."""

from __future__ import annotations

import base64
import itertools

import hypothesis
import hypothesis.strategies as st
import pytest

from s3po.checksum import combined, crc64nvme, stated_crc64nvme


def slow_crc64nvme(data: bytes) -> int:
    """Bit by bit, from the definition: polynomial 0xAD93D23594C93659, reflected, both ends inverted."""
    polynomial, crc = 0x9A6C9329AC4BC9B5, 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
    return crc ^ 0xFFFFFFFFFFFFFFFF


def test_check_value() -> None:
    """The catalogue's check value of CRC-64/NVME: https://reveng.sourceforge.io/crc-catalogue/all.htm#crc.cat.crc-64-nvme"""
    assert crc64nvme(b'123456789') == slow_crc64nvme(b'123456789') == 0xAE8B14860A799888


@hypothesis.given(st.lists(st.binary(max_size=40), max_size=6))
def test_pieces(pieces: list[bytes]) -> None:
    """In pieces, or of parts that are combined in the order of their numbers, it is that of the whole."""
    crc = 0
    for piece in pieces:
        crc = crc64nvme(memoryview(piece), crc)
    parts = {number: (crc64nvme(piece), len(piece)) for number, piece in enumerate(pieces, 1)}

    assert crc == slow_crc64nvme(b''.join(pieces))
    assert combined(dict(reversed(parts.items()))) == crc


def test_stated() -> None:
    """The one form that says something of the bytes is understood."""
    text = base64.b64encode((0xAE8B14860A799888).to_bytes(8)).decode()

    assert stated_crc64nvme(f'CRC64NVME:{text}') == 0xAE8B14860A799888


@pytest.mark.parametrize(
    'checksum',
    [
        None,
        '',
        'CRC32:AAAAAA==',
        'CRC64NVME:',
        'CRC64NVME:AAAA',
        'CRC64NVME:!',
        'CRC64NVME:AAAAAAAAAAA=-3',
        'CRC64NVME:AAAAAAAAAAAA',
        'CRC64NVME:ä',
    ],
)
def test_stated_otherwise(checksum: str | None) -> None:
    """Other algorithms, checksums of checksums and what is garbled say nothing."""
    assert stated_crc64nvme(checksum) is None


def test_order_counts() -> None:
    """Parts that changed places are noticed."""
    sums = [
        combined({1: first, 2: second})
        for first, second in itertools.permutations([(crc64nvme(b'a'), 1), (crc64nvme(b'b'), 1)])
    ]

    assert len(set(sums)) == 2
