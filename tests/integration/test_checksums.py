"""Checksums of uploads to a real store: only those that it confirms are reported."""

from __future__ import annotations

import os
import pathlib

import pytest

import s3po
from s3po.checksum import is_combinable, text_of
from s3po.config import MIB
from tests.integration.conftest import Place

SMALL = os.urandom(100_000)
LARGE = os.urandom(17 * MIB)


@pytest.mark.parametrize('kind', ['wire', 'boto'])
@pytest.mark.parametrize('algorithm', ['CRC64NVME', 'CRC32C', 'CRC32', 'SHA256', 'MD5'])
@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['one', 'parts'])
def test_checksum(place: Place, bucket: str, kind: str, algorithm: str, data: bytes, tmp_path: pathlib.Path) -> None:
    """The result has only a checksum that the store has confirmed, and the object is downloaded unchanged."""
    config = s3po.TransferConfig(checksum=algorithm.lower())
    with place.connect(transport=kind, config=config) as conn:
        result = conn.upload(bucket, 'key', data)
        conn.download_file(bucket, 'key', tmp_path / 'file')
        info = conn._wiring.resolve(bucket)[0].head_object(bucket, 'key', wants_checksum=True, extra={})

    assert (tmp_path / 'file').read_bytes() == data
    assert result.warnings == ()
    assert info.checksum == result.checksum
    if is_combinable(algorithm):
        assert result.checksum in (None, text_of(algorithm, [data]))
