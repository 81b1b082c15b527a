"""Downloads are compared with the store's checksum of the whole object, and never published if they differ."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import pathlib
from typing import Any

import pytest

import s3po
from s3po.checksum import text_of
from s3po.config import MIB
from s3po.errors import IntegrityError, NetworkError
from tests.conftest import BUCKET, impatient
from tests.support.faults import stored
from tests.support.memory import MemoryTransport
from tests.support.store_values import StoredObject


class Keeping(MemoryTransport):
    """A transport that returns a checksum with whole objects, and changes a byte of some responses.

    Attributes:
        checksum: The checksum that it returns.
        asked: For each GET, whether it requested the checksum.
        spoil: How many responses it changes.
    """

    checksum: str | None = None
    spoil = 0

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bool] = []

    def get_object(self, bucket: str, key: str, **arguments: Any) -> Any:
        """The response of the base class, with the checksum if it was requested."""
        self.asked.append(bool(arguments.get('wants_checksum')))
        answer = super().get_object(bucket, key, **arguments)
        if arguments.get('wants_checksum') and arguments.get('byte_range') is None:
            answer.checksum = self.checksum
        if self.spoil and answer.size_bytes:
            self.spoil -= 1
            body = bytearray(answer._body)
            body[0] ^= 1
            answer._body = memoryview(bytes(body))
        return answer


@pytest.fixture
def keeping() -> Keeping:
    """The transport; the bucket exists."""
    transport = Keeping()
    transport.store.create_bucket(BUCKET)
    return transport


@pytest.fixture
def conn(keeping: Keeping) -> s3po.Connection:
    """A connection with this transport."""
    return s3po.Connection(transport=keeping, retry=impatient())


def connected(transport: MemoryTransport, **config: Any) -> s3po.Connection:
    return s3po.Connection(transport=transport, retry=impatient(), config=s3po.TransferConfig(**config))


def text(data: bytes) -> str:
    return text_of('CRC64NVME', [data])


SIZES = [1, MIB, MIB + 1, 8 * MIB, 20 * MIB]


@pytest.mark.parametrize('size_bytes', SIZES)
@pytest.mark.parametrize('kind', ['path', 'bytes', 'file'])
@pytest.mark.sampled(5)
def test_right(conn: s3po.Connection, keeping: Keeping, tmp_path: pathlib.Path, size_bytes: int, kind: str) -> None:
    """A right checksum is in the result, and is requested once, with the request for the whole object."""
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
@pytest.mark.sampled(5)
def test_wrong(conn: s3po.Connection, keeping: Keeping, tmp_path: pathlib.Path, size_bytes: int, kind: str) -> None:
    """If a byte is wrong in every attempt, the download raises IntegrityError, and the old file is unchanged."""
    data = stored(keeping, 'key', os.urandom(size_bytes))
    keeping.checksum = text(data)
    keeping.spoil = 100
    (tmp_path / 'target').write_bytes(b'old')
    target: Any = {'path': tmp_path / 'target', 'bytes': None, 'file': io.BytesIO()}[kind]
    with pytest.raises(IntegrityError, match=r'GetObject s3://bucket/key: the received bytes are not the stored ones'):
        conn.download(BUCKET, 'key', target)

    assert [path.name for path in tmp_path.iterdir()] == ['target']
    assert (tmp_path / 'target').read_bytes() == b'old'
    assert kind != 'file' or target.getvalue() == b''


@pytest.mark.parametrize('size_bytes', [1, 8 * MIB, 20 * MIB])
@pytest.mark.parametrize('kind', ['path', 'bytes', 'file'])
@pytest.mark.sampled(3)
def test_wrong_once(conn: s3po.Connection, keeping: Keeping, tmp_path: pathlib.Path, size_bytes: int, kind: str) -> None:
    """If a byte is wrong once, the whole object is downloaded again, since the wrong part is unknown."""
    data = stored(keeping, 'key', os.urandom(size_bytes))
    keeping.checksum = text(data)
    keeping.spoil = 1
    target: Any = {'path': tmp_path / 'target', 'bytes': None, 'file': io.BytesIO()}[kind]
    result = conn.download(BUCKET, 'key', target)

    if kind == 'bytes':
        assert result == data
    else:
        assert (target.read_bytes() if kind == 'path' else target.getvalue()) == data
        assert result.attempts == 2 * result.parts


@pytest.mark.parametrize('size_bytes', [0, 1, MIB, 20 * MIB])
@pytest.mark.parametrize('algorithm', ['CRC32C', 'CRC32', 'SHA256'])
@pytest.mark.sampled(4)
def test_other_algorithms(keeping: Keeping, tmp_path: pathlib.Path, size_bytes: int, algorithm: str) -> None:
    """CRCs are always compared; the digest of a large object only on request, with one stream."""
    data = stored(keeping, 'key', os.urandom(size_bytes))
    keeping.checksum = text_of(algorithm, [data])
    connection = connected(keeping)

    result = connection.download_file(BUCKET, 'key', tmp_path / 'target')

    is_compared = algorithm != 'SHA256' or size_bytes <= MIB
    assert result.checksum == (keeping.checksum if is_compared else None)
    streamed = connected(keeping, checksum=algorithm.lower()).download_file(BUCKET, 'key', tmp_path / 'target')
    assert (streamed.checksum, streamed.parts) == (keeping.checksum, 1 if algorithm == 'SHA256' else result.parts)
    keeping.checksum = text_of(algorithm, [data + b'more'])
    with pytest.raises(IntegrityError, match=f'they have {algorithm}:.*, but the store has {algorithm}:'):
        connected(keeping, checksum=algorithm.lower()).download_file(BUCKET, 'key', tmp_path / 'target')


@pytest.mark.parametrize('size_bytes', [0, 1, MIB, 20 * MIB])
def test_etag(keeping: Keeping, tmp_path: pathlib.Path, size_bytes: int) -> None:
    """Without a stored checksum, and with checksum='md5', an ETag that is an MD5 is compared."""
    data = stored(keeping, 'key', os.urandom(size_bytes))
    connection = connected(keeping, checksum='md5')

    result = connection.download_file(BUCKET, 'key', tmp_path / 'target')

    assert (result.checksum, result.parts) == (text_of('MD5', [data]), 1)
    assert connected(keeping).download_file(BUCKET, 'key', tmp_path / 'target').checksum is None
    if size_bytes:
        keeping.spoil = 100
        with pytest.raises(IntegrityError, match='they have MD5:'):
            connection.download_file(BUCKET, 'key', tmp_path / 'target')
        assert (tmp_path / 'target').read_bytes() == data


def test_etag_that_is_not_an_md5(keeping: Keeping) -> None:
    """With KMS encryption the ETag is not an MD5, although it looks like one."""
    found = StoredObject(body=b'data', etag='0' * 32, headers={'x-amz-server-side-encryption': 'aws:kms'})
    keeping.store.put(BUCKET, 'key', found)

    assert connected(keeping, checksum='md5').download(BUCKET, 'key') == b'data'


def test_etag_of_parts(keeping: Keeping, tmp_path: pathlib.Path) -> None:
    """The ETag of a multipart object is compared with the parts of the download."""
    data = os.urandom(20 * MIB)
    connection = connected(keeping, checksum='md5')
    connection.upload(BUCKET, 'key', data)

    result = connection.download_file(BUCKET, 'key', tmp_path / 'target')

    etag = keeping.store.get(BUCKET, 'key').etag
    assert result.checksum == f'MD5:{base64.b64encode(bytes.fromhex(etag.partition("-")[0])).decode()}-3'
    keeping.spoil = 1
    again = connection.download_file(BUCKET, 'key', tmp_path / 'target')
    assert (again.checksum, again.attempts) == (result.checksum, 6)
    assert (tmp_path / 'target').read_bytes() == data


def test_etag_of_other_parts(keeping: Keeping, tmp_path: pathlib.Path) -> None:
    """If two downloads have the same bytes but not the ETag, the object had other parts, and no checksum is reported."""
    data = os.urandom(20 * MIB)
    connected(keeping, multipart_chunksize=9 * MIB).upload(BUCKET, 'key', data)

    result = connected(keeping, checksum='md5').download_file(BUCKET, 'key', tmp_path / 'target')

    assert result.checksum is None
    assert 'the downloaded bytes are not verified' in result.warnings[0]
    assert (tmp_path / 'target').read_bytes() == data


class Cutting(Keeping):
    """A transport that truncates bodies after some bytes.

    Attributes:
        after_bytes: The number of bytes that arrive.
        cuts: How many responses are truncated.
        ranges: The requested ranges.
    """

    after_bytes = 0
    cuts = 0

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[Any] = []
        self.store.create_bucket(BUCKET)

    def get_object(self, bucket: str, key: str, **arguments: Any) -> Any:
        """The response of the base class, truncated."""
        self.ranges.append((arguments.get('byte_range'), arguments.get('if_match')))
        answer = super().get_object(bucket, key, **arguments)
        if self.cuts and len(answer._body) > self.after_bytes:
            self.cuts -= 1
            answer._body = answer._body[: self.after_bytes]
            read = answer.read

            def read_or_fail(size_bytes: int) -> bytes:
                data = read(size_bytes)
                if not data:
                    raise NetworkError('the body ended early')
                return data

            answer.read = read_or_fail
        return answer


@pytest.mark.parametrize('size_bytes', [3 * MIB, 20 * MIB])
@pytest.mark.parametrize('kind', ['path', 'bytes'])
def test_resumed(tmp_path: pathlib.Path, size_bytes: int, kind: str) -> None:
    """A truncated part continues with the next byte of the same version, and the checksum covers all of it."""
    cutting = Cutting()
    data = stored(cutting, 'key', os.urandom(size_bytes))
    etag = cutting.store.get(BUCKET, 'key').etag
    cutting.checksum, cutting.after_bytes, cutting.cuts = text(data), 2 * MIB + 7, 2
    connection = connected(cutting, max_concurrency=1)

    found = connection.download(BUCKET, 'key', tmp_path / 'target' if kind == 'path' else None)

    assert ((tmp_path / 'target').read_bytes() if kind == 'path' else found) == data
    stop = min(size_bytes, 8 * MIB)
    assert cutting.ranges[:2] == [(None, None), ((2 * MIB + 7, stop), etag)]


@pytest.mark.parametrize('checksum', [None, 'CRC32:AAAAAA==-2', 'CRC32:AAAA', 'CRC64NVME:AAAAAAAAAAA=-2', 'CRC64NVME:garbage'])
def test_nothing_to_compare_with(conn: s3po.Connection, keeping: Keeping, tmp_path: pathlib.Path, checksum: str | None) -> None:
    """Without a usable checksum of the store, the result has none."""
    stored(keeping, 'key', b'data')
    keeping.checksum = checksum

    assert conn.download_file(BUCKET, 'key', tmp_path / 'target').checksum is None


def test_range(conn: s3po.Connection, keeping: Keeping) -> None:
    """The checksum of the whole object cannot verify a range, so it is not requested."""
    stored(keeping, 'key', b'0123456789')
    keeping.checksum = 'CRC64NVME:AAAAAAAAAAA='

    assert conn.download(BUCKET, 'key', byte_range=(2, 5)) == b'234'
    assert keeping.asked == [False]


def test_turned_off(keeping: Keeping) -> None:
    """With checksum='none' no checksum is requested."""
    stored(keeping, 'key', b'data')
    keeping.checksum = 'CRC64NVME:AAAAAAAAAAA='
    config = dataclasses.replace(s3po.TransferConfig(), checksum='none')

    assert s3po.Connection(transport=keeping, config=config).download(BUCKET, 'key') == b'data'
    assert keeping.asked == [False]
