"""Objects of all sizes around that of a part, from every kind of source to every kind of target, byte by byte."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import s3po
from s3po.config import MIB

PART_BYTES = s3po.TransferConfig().multipart_chunksize
SIZES = [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 20 * MIB]
# Up to one part an object is sent with one request; larger ones are sent in parts.
PARTS = {PART_BYTES + 1: 2, 20 * MIB: 3}

pytestmark = pytest.mark.parametrize('size_bytes', SIZES)


def data_of(size_bytes: int) -> bytes:
    """Bytes without repetitions."""
    return random.Random(size_bytes).randbytes(size_bytes)


def text_of(size_bytes: int) -> bytes:
    """Text with two-byte characters and both kinds of line ends. A cut may be within a character."""
    rows = (f'Zeile {number} äöü\r\nand so on\n'.encode() for number in range(size_bytes // 30 + 1))
    return b''.join(rows)[:size_bytes]


def pieces_of(data: bytes) -> Iterator[bytes]:
    """The data in pieces of odd sizes, some of them empty."""
    sizes = random.Random(len(data))
    offset = 0
    while offset < len(data):
        size = sizes.choice([0, 1, 1000, MIB + 1, 3 * MIB])
        yield data[offset : offset + size]
        offset += size


def stored(conn: s3po.Connection, bucket: str) -> bytes:
    """The stored object, read without s3po."""
    return conn.conn.get_object(Bucket=bucket, Key='key')['Body'].read()


def store(conn: s3po.Connection, bucket: str, data: bytes) -> None:
    """Store the object without s3po."""
    conn.conn.put_object(Bucket=bucket, Key='key', Body=data)


def check_result(result: object, data: bytes) -> None:
    assert isinstance(result, s3po.TransferResult)
    assert (result.key, result.size_bytes, result.parts) == ('key', len(data), PARTS.get(len(data), 1))
    assert result.attempts == result.parts


def test_upload_of_bytes(conn: s3po.Connection, bucket: str, size_bytes: int) -> None:
    """Data in memory is uploaded unchanged, and the result has the object's ETag."""
    data = data_of(size_bytes)

    result = conn.upload(bucket, 'key', data)

    check_result(result, data)
    assert stored(conn, bucket) == data
    assert result.etag == conn.head(bucket, 'key').etag != ''


def test_upload_from_a_path(conn: s3po.Connection, bucket: str, size_bytes: int, tmp_path: Path) -> None:
    """A file is uploaded unchanged."""
    data = data_of(size_bytes)
    (tmp_path / 'source').write_bytes(data)

    check_result(conn.upload(bucket, 'key', tmp_path / 'source'), data)

    assert stored(conn, bucket) == data


def test_upload_from_a_text_file(conn: s3po.Connection, bucket: str, size_bytes: int, tmp_path: Path) -> None:
    """A file in text mode is sent as its bytes."""
    data = text_of(size_bytes)
    (tmp_path / 'source').write_bytes(data)

    with open(tmp_path / 'source', encoding='utf-8') as file:
        check_result(conn.upload(bucket, 'key', file), data)

    assert stored(conn, bucket) == data


def test_upload_of_a_stream(conn: s3po.Connection, bucket: str, size_bytes: int) -> None:
    """A stream of unknown length is sent to its end."""
    data = data_of(size_bytes)

    check_result(conn.upload(bucket, 'key', pieces_of(data)), data)

    assert stored(conn, bucket) == data


def test_download_of_bytes(conn: s3po.Connection, bucket: str, size_bytes: int) -> None:
    """Without a target the data is returned."""
    data = data_of(size_bytes)
    store(conn, bucket, data)

    assert conn.download(bucket, 'key') == data


def test_download_to_a_path(conn: s3po.Connection, bucket: str, size_bytes: int, tmp_path: Path) -> None:
    """A file is replaced, and no temporary file is left."""
    data = data_of(size_bytes)
    store(conn, bucket, data)
    (tmp_path / 'target').write_bytes(b'old' * 1000)

    check_result(conn.download(bucket, 'key', tmp_path / 'target'), data)

    assert (tmp_path / 'target').read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ['target']


def test_download_to_a_file_object(conn: s3po.Connection, bucket: str, size_bytes: int, tmp_path: Path) -> None:
    """A file object is written from its position, in order."""
    data = data_of(size_bytes)
    store(conn, bucket, data)

    with open(tmp_path / 'target', 'wb') as file:
        file.write(b'before')
        check_result(conn.download(bucket, 'key', file), data)
        file.write(b'behind')

    assert (tmp_path / 'target').read_bytes() == b'before' + data + b'behind'


def test_download_to_a_text_file(conn: s3po.Connection, bucket: str, size_bytes: int, tmp_path: Path) -> None:
    """A file in text mode gets the bytes unchanged."""
    data = text_of(size_bytes)
    store(conn, bucket, data)

    with open(tmp_path / 'target', 'w', encoding='utf-8') as file:
        check_result(conn.download(bucket, 'key', file), data)

    assert (tmp_path / 'target').read_bytes() == data
