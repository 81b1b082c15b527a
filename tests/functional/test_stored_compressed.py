"""Only objects that s3po has compressed are decompressed by default, and only up to the size limit."""

from __future__ import annotations

import gzip
import io
import pathlib
import tracemalloc

import pytest

import s3po
from s3po.config import MIB
from tests.support.kinds import KINDS, Kind
from tests.support.servers import Store

BUCKET = 'bucket'
UNPACKED_BYTES = 64 * MIB

pytestmark = pytest.mark.security('S17')


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture(scope='module')
def bomb() -> bytes:
    """64 KiB that decompress to a thousand times as much."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode='wb', mtime=0) as file:
        for _ in range(UNPACKED_BYTES // MIB):
            file.write(bytes(MIB))
    assert len(packed.getvalue()) < MIB
    return packed.getvalue()


@pytest.mark.parametrize('coding', ['gzip', 'deflate, gzip', 'x-gzip', 'br', 'zstd'])
def test_bomb(conn: s3po.Connection, store: Store, bomb: bytes, tmp_path: pathlib.Path, coding: str) -> None:
    """Another client's compressed object is downloaded as stored, to memory, a path or a file, with little memory."""
    conn.upload(BUCKET, 'key', bomb, headers={'Content-Encoding': coding})
    target = io.BytesIO()
    conn.download(BUCKET, 'key')
    tracemalloc.start()
    try:
        data = conn.download(BUCKET, 'key')
        conn.download_file(BUCKET, 'key', tmp_path / 'file')
        conn.download(BUCKET, 'key', target)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert data == target.getvalue() == (tmp_path / 'file').read_bytes() == bomb
    assert peak < 16 * MIB
    assert {seen['headers'].get('accept-encoding', 'identity') for seen in store.log('GetObject')} == {'identity'}


@pytest.mark.parametrize('how', ['marked', 'asked for'])
def test_bomb_that_is_decompressed(conn: s3po.Connection, store: Store, bomb: bytes, tmp_path: pathlib.Path, how: str) -> None:
    """A forged compression mark is harmless: beyond the limit the download fails, writes nothing, and is not retried."""
    metadata = {'s3po-compress': 'gzip'} if how == 'marked' else None
    conn.upload(BUCKET, 'key', bomb, headers={'Content-Encoding': 'gzip'}, metadata=metadata)
    target = io.BytesIO()
    decompress = 'auto' if how == 'marked' else True
    tracemalloc.start()
    try:
        for each in (None, tmp_path / 'file', target):
            with pytest.raises(s3po.DownloadError, match='raise max_decompressed_size'):
                conn.download(BUCKET, 'key', each, decompress=decompress, max_decompressed_size=4 * MIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 24 * MIB
    assert target.getvalue() == b''
    assert list(tmp_path.iterdir()) == []
    assert len(store.log('GetObject')) == 3
    conn.download_file(BUCKET, 'key', tmp_path / 'file', decompress=True)
    assert (tmp_path / 'file').stat().st_size == UNPACKED_BYTES
