"""fsspec's caches on top of S3poFileSystem: no bytes of another version, of another place, or of a failed request."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

import s3po
from s3po.interfaces.filesystem import S3poFileSystem
from tests.conftest import BUCKET
from tests.functional.test_filesystem import storage_options
from tests.support.servers import Store

# fsspec does not close the file of a block cache.
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')

BLOCK = 65_536
PATH = f'{BUCKET}/object'


@pytest.fixture
def files(store: Store, conn: s3po.Connection) -> Iterator[S3poFileSystem]:
    found = S3poFileSystem(**storage_options(store))
    yield found
    found.connection.close()


def cached(files: S3poFileSystem, tmp_path: Path) -> fsspec.AbstractFileSystem:
    return fsspec.filesystem('blockcache', fs=files, cache_storage=str(tmp_path), skip_instance_cache=True)


def test_reads_with_the_background_cache(files: S3poFileSystem) -> None:
    """cache_type='background' fetches from two threads at once; each gets its own bytes."""
    numbers = random.Random(1)
    data = numbers.randbytes(32 * BLOCK)
    files.pipe_file(PATH, data)
    options = {'block_size': BLOCK, 'cache_type': 'background', 'cache_options': {'maxblocks': 4}}
    for _ in range(4):
        with files.open(PATH, **options) as file:
            for _ in range(20):
                start, size = numbers.randrange(len(data)), numbers.randrange(1, 3 * BLOCK)
                file.seek(start)
                assert file.read(size) == data[start : start + size]


def test_a_block_cache_mixes_no_versions(files: S3poFileSystem, tmp_path: Path) -> None:
    """If the object is replaced while it is open, reads of bytes that are not in the cache raise SourceChanged."""
    files.pipe_file(PATH, b'1' * 16 * BLOCK)
    with cached(files, tmp_path).open(PATH, block_size=BLOCK) as file:
        assert file.read(BLOCK) == b'1' * BLOCK
        files.pipe_file(PATH, b'2' * 16 * BLOCK)
        for _ in range(2):
            file.seek(8 * BLOCK)
            with pytest.raises(s3po.SourceChanged):
                file.read(BLOCK)
        file.seek(0)
        assert file.read(BLOCK) == b'1' * BLOCK


def test_a_block_cache_keeps_no_failed_block(
    files: S3poFileSystem, conn: s3po.Connection, store: Store, tmp_path: Path
) -> None:
    """A block whose request failed is fetched again, also by a later open()."""
    data = random.Random(2).randbytes(16 * BLOCK)
    files.pipe_file(PATH, data)
    through = cached(files, tmp_path)
    with through.open(PATH, block_size=BLOCK) as file:
        assert file.read(BLOCK) == data[:BLOCK]
        conn.delete(BUCKET, 'object')
        file.seek(8 * BLOCK)
        with pytest.raises(FileNotFoundError):
            file.read(BLOCK)
        files.pipe_file(PATH, data)
        file.seek(8 * BLOCK)
        assert file.read(BLOCK) == data[8 * BLOCK : 9 * BLOCK]
        conn.delete(BUCKET, 'object')
        file.seek(12 * BLOCK)
        with pytest.raises(FileNotFoundError):
            file.read(BLOCK)
    files.pipe_file(PATH, data)
    with through.open(PATH, block_size=BLOCK) as file:
        assert file.read() == data


def test_a_block_cache_of_an_object_of_another_size(files: S3poFileSystem, tmp_path: Path) -> None:
    """An object that has another size than its bytes in the cache is not mixed with them."""
    files.pipe_file(PATH, b'1' * 16 * BLOCK)
    through = cached(files, tmp_path)
    with through.open(PATH, block_size=BLOCK) as file:
        file.read(BLOCK)
    files.pipe_file(PATH, b'2' * 20 * BLOCK)
    with through.open(PATH, block_size=BLOCK) as file, pytest.raises(s3po.SourceChanged):
        file.read()
