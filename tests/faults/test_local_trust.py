"""Local files that mislead (F74 to F76): wrong sizes, mappings that change, kills that leave a file behind."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.servers import Store

Connect = Callable[..., s3po.Connection]

PART = 5 * MIB
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=1)
WAIT_S = 30.0


@pytest.fixture
def conn(store: Store, connect: Connect) -> s3po.Connection:
    """A connection that sends one part after the other, with a bucket."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    connection.create_bucket(BUCKET)
    return connection


# ---------------------------------------------------------------------- files whose size is unknown

# Always the same text, and longer than nothing; its size is reported as 0.
UNSIZED = '/proc/version'


class Wrapper(io.FileIO):
    """A file object of another class, which can seek."""


@pytest.mark.fault('F74')
@pytest.mark.parametrize(
    'opened',
    [
        functools.partial(open, UNSIZED, 'rb'),
        functools.partial(open, UNSIZED),
        functools.partial(open, UNSIZED, 'rb', buffering=0),
        functools.partial(Wrapper, UNSIZED),
        functools.partial(Path, UNSIZED),
    ],
    ids=['binary', 'text', 'raw', 'wrapper', 'path'],
)
@pytest.mark.parametrize('compress', [None, 'gzip'])
def test_size_of_zero(conn: s3po.Connection, opened: Callable[[], Any], compress: str | None) -> None:
    """A file that reports a size of 0 and has more is read to its end, in whatever form it is given."""
    source = opened()

    result = conn.upload(BUCKET, 'key', source, compress=compress)

    expected = Path(UNSIZED).read_bytes()
    assert conn.download(BUCKET, 'key') == expected
    assert result.size_bytes == len(expected) or compress
    if hasattr(source, 'close'):
        assert source.read() in (b'', '')
        source.close()


@pytest.mark.fault('F74')
def test_size_of_zero_from_a_position(conn: s3po.Connection) -> None:
    """It is read from where it stands."""
    with open(UNSIZED, 'rb') as file:
        file.read(6)
        conn.upload(BUCKET, 'key', file)

    assert conn.download(BUCKET, 'key') == Path(UNSIZED).read_bytes()[6:]


@pytest.mark.fault('F74')
def test_empty_files(conn: s3po.Connection, tmp_path: Path) -> None:
    """What is empty is stored empty."""
    (tmp_path / 'empty').touch()
    with open(tmp_path / 'empty', 'rb') as file, open('/dev/null', 'rb') as null:
        for source in (file, null, io.BytesIO(), tmp_path / 'empty'):
            assert conn.upload(BUCKET, 'key', source).size_bytes == 0
            assert conn.download(BUCKET, 'key') == b''


@pytest.mark.fault('F74')
def test_device(conn: s3po.Connection) -> None:
    """A device that can seek has no size either: it is read as a stream."""

    class Zeros(io.FileIO):
        """So many zeros of /dev/zero."""

        left = 3 * PART + 1

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            data = super().read(min(size, self.left)) if self.left else b''
            self.left -= len(data)
            return data

    with Zeros('/dev/zero') as file:
        conn.upload(BUCKET, 'key', file)

    assert conn.head(BUCKET, 'key').size_bytes == 3 * PART + 1
