"""File objects of the caller that read or write less than requested, and two downloads to one path."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.errors import ConfigurationError, LocalError
from s3po.interfaces.storage import S3Storage
from tests.conftest import BUCKET
from tests.support.servers import Store

Connect = Callable[..., s3po.Connection]

DATA = os.urandom(MIB)
IN_PARTS = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, use_tmp_file=False)


@pytest.fixture
def pipe() -> Iterator[tuple[Any, Any]]:
    """Both ends of a pipe, unbuffered and non-blocking."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    with open(ends[0], 'rb', buffering=0) as reader, open(ends[1], 'wb', buffering=0) as writer:
        yield reader, writer


class Short(io.RawIOBase):
    """A raw file whose write() accepts at most 1,000 bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.taken += data[:1000]
        return len(data[:1000])


DOWNLOADS: dict[str, Callable[[s3po.Connection, Any], object]] = {
    'connection': lambda conn, file: conn.download(BUCKET, 'key', file),
    'storage': lambda conn, file: S3Storage(BUCKET, connection=conn).download('key', file),
}
UPLOADS: dict[str, Callable[[s3po.Connection, Any], object]] = {
    'connection': lambda conn, file: conn.upload(BUCKET, 'key', file),
    'storage': lambda conn, file: S3Storage(BUCKET, connection=conn).upload(file, 'key'),
}


@pytest.mark.parametrize('download', DOWNLOADS.values(), ids=DOWNLOADS)
def test_target_that_takes_no_more(conn: s3po.Connection, pipe: tuple[Any, Any], download: Callable[..., object]) -> None:
    """A raw file whose write() returns None fails the download: it has written nothing."""
    conn.upload(BUCKET, 'key', DATA)

    with pytest.raises(ConfigurationError, match='non-blocking and accepts no more'):
        download(conn, pipe[1])


@pytest.mark.parametrize('download', DOWNLOADS.values(), ids=DOWNLOADS)
def test_target_that_takes_less(conn: s3po.Connection, download: Callable[..., object]) -> None:
    """If write() accepts fewer bytes, the rest is written with further calls."""
    conn.upload(BUCKET, 'key', DATA)
    file = Short()

    download(conn, file)

    assert file.taken == DATA


@pytest.mark.parametrize('upload', UPLOADS.values(), ids=UPLOADS)
def test_source_that_has_no_data_now(conn: s3po.Connection, pipe: tuple[Any, Any], upload: Callable[..., object]) -> None:
    """A source whose read() returns None fails the upload: None is not the end of the file."""
    pipe[1].write(b'x' * 5000)

    with pytest.raises(ConfigurationError, match='non-blocking and has no data now'):
        upload(conn, pipe[0])

    assert not conn.exists(BUCKET, 'key')


def test_two_downloads_into_one_path(conn: s3po.Connection, store: Store, connect: Connect, tmp_path: Path) -> None:
    """Without a temporary file, a second download to the same path fails, and leaves the file to the first one."""
    writing = connect(store.endpoint_url, config=IN_PARTS)
    objects = {key: key.encode() * 12 * MIB for key in 'ab'}
    for key, data in objects.items():
        conn.upload(BUCKET, key, data)
    target = tmp_path / 'target'
    store.script({'operation': 'GetObject', 'key': 'a', 'skip': 1, 'times': 1, 'action': {'delay_s': 1.0}})
    first = gevent.spawn(writing.download_file, BUCKET, 'a', target)
    while not target.exists() or not target.stat().st_size:
        gevent.sleep(0.02)

    with pytest.raises(LocalError, match=f'cannot write {target}: it is being written by another download'):
        writing.download_file(BUCKET, 'b', target)

    first.get(timeout=30)
    assert target.read_bytes() == objects['a']
    writing.download_file(BUCKET, 'b', target)
    assert target.read_bytes() == objects['b']
