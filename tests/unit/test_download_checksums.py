"""What came is compared with the checksum that the store keeps of the whole object, and never published when it differs."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import pathlib
from typing import Any

import pytest

import s3po
from s3po.checksum import crc64nvme
from s3po.config import MIB
from s3po.errors import IntegrityError
from tests.conftest import BUCKET, impatient
from tests.support.faults import stored
from tests.support.memory import MemoryTransport


class Keeping(MemoryTransport):
    """Tells a checksum with whole objects, and spoils a byte of some answers.

    Attributes:
        checksum: What it tells.
        asked: Whether each GET asked for it.
        spoil: How many answers it spoils.
    """

    checksum: str | None = None
    spoil = 0

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bool] = []

    def get_object(self, bucket: str, key: str, **arguments: Any) -> Any:
        """As the memory's, with the checksum where it was asked for."""
        self.asked.append(bool(arguments.get('wants_checksum')))
        answer = super().get_object(bucket, key, **arguments)
        if arguments.get('wants_checksum') and arguments.get('byte_range') is None:
            answer.checksum = self.checksum
        if self.spoil:
            self.spoil -= 1
            body = bytearray(answer._body)
            body[-1] ^= 1
            answer._body = memoryview(bytes(body))
        return answer


@pytest.fixture
def keeping() -> Keeping:
    """The transport, with a bucket."""
    transport = Keeping()
    transport.store.create_bucket(BUCKET)
    return transport


@pytest.fixture
def conn(keeping: Keeping) -> s3po.Connection:
    """A connection over it."""
    return s3po.Connection(transport=keeping, retry=impatient())


def text(data: bytes) -> str:
    return 'CRC64NVME:' + base64.b64encode(crc64nvme(data).to_bytes(8)).decode()


SIZES = [1, MIB, MIB + 1, 8 * MIB, 20 * MIB]


@pytest.mark.parametrize('size_bytes', SIZES)
@pytest.mark.parametrize('kind', ['path', 'bytes', 'file'])
def test_right(conn: s3po.Connection, keeping: Keeping, tmp_path: pathlib.Path, size_bytes: int, kind: str) -> None:
    """It is told in the result, and asked for once, with the request for the whole."""
    data = stored(keeping, 'key', os.urandom(size_bytes))
    keeping.checksum = text(data)
    target: Any = {'path': tmp_path / 'target', 'bytes': None, 'file': io.BytesIO()}[kind]
    result = conn.download(BUCKET, 'key', target)

    if kind == 'bytes':
        assert result == data
    else:
        assert (target.read_bytes() if kind == 'path' else target.getvalue()) == data
        assert result.checksum == keeping.checksum
    assert keeping.asked == [True] + [False] * (len(keeping.asked) - 1)


@pytest.mark.parametrize('size_bytes', SIZES)
@pytest.mark.parametrize('kind', ['path', 'bytes', 'file'])
def test_wrong(conn: s3po.Connection, keeping: Keeping, tmp_path: pathlib.Path, size_bytes: int, kind: str) -> None:
    """A byte that is wrong in every attempt ends in IntegrityError, and the old file stays."""
    data = stored(keeping, 'key', os.urandom(size_bytes))
    keeping.checksum = text(data)
    keeping.spoil = 100
    (tmp_path / 'target').write_bytes(b'old')
    target: Any = {'path': tmp_path / 'target', 'bytes': None, 'file': io.BytesIO()}[kind]
    with pytest.raises(IntegrityError, match=r'GetObject s3://bucket/key: what came is not what was stored'):
        conn.download(BUCKET, 'key', target)

    assert [path.name for path in tmp_path.iterdir()] == ['target']
    assert (tmp_path / 'target').read_bytes() == b'old'
    assert kind != 'file' or target.getvalue() == b''


@pytest.mark.parametrize('size_bytes', [1, 8 * MIB])
def test_wrong_once(conn: s3po.Connection, keeping: Keeping, tmp_path: pathlib.Path, size_bytes: int) -> None:
    """An object of one request is read afresh."""
    data = stored(keeping, 'key', os.urandom(size_bytes))
    keeping.checksum = text(data)
    keeping.spoil = 1
    result = conn.download_file(BUCKET, 'key', tmp_path / 'target')

    assert (tmp_path / 'target').read_bytes() == data
    assert result.attempts == 2


@pytest.mark.parametrize('checksum', [None, 'CRC32:AAAAAA==', 'CRC64NVME:AAAAAAAAAAA=-2', 'CRC64NVME:garbage'])
def test_nothing_to_compare_with(conn: s3po.Connection, keeping: Keeping, tmp_path: pathlib.Path, checksum: str | None) -> None:
    """What the store does not say is not claimed."""
    stored(keeping, 'key', b'data')
    keeping.checksum = checksum

    assert conn.download_file(BUCKET, 'key', tmp_path / 'target').checksum is None


def test_range(conn: s3po.Connection, keeping: Keeping) -> None:
    """The checksum of the whole says nothing of a range, so it is not asked for."""
    stored(keeping, 'key', b'0123456789')
    keeping.checksum = 'CRC64NVME:AAAAAAAAAAA='

    assert conn.download(BUCKET, 'key', byte_range=(2, 5)) == b'234'
    assert keeping.asked == [False]


def test_turned_off(keeping: Keeping) -> None:
    """checksum='none' asks for none."""
    stored(keeping, 'key', b'data')
    keeping.checksum = 'CRC64NVME:AAAAAAAAAAA='
    config = dataclasses.replace(s3po.TransferConfig(), checksum='none')

    assert s3po.Connection(transport=keeping, config=config).download(BUCKET, 'key') == b'data'
    assert keeping.asked == [False]
