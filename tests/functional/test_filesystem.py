"""The fsspec file system: fsspec's own abstract tests, pandas and pyarrow."""

from __future__ import annotations

import gc
import gzip
import os
import pathlib
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests import abstract

import s3po
from s3po.interfaces.filesystem import S3poFileSystem
from tests.conftest import BUCKET, impatient
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.servers import Store


def storage_options(store: Store) -> dict[str, Any]:
    return {
        'endpoint_url': store.endpoint_url,
        'region': 'us-east-1',
        'access_key_id': 'key',
        'secret_access_key': SECRET_ACCESS_KEY,
    }


@pytest.fixture
def files(store: Store, conn: s3po.Connection) -> Iterator[S3poFileSystem]:
    found = S3poFileSystem(**storage_options(store))
    yield found
    found.connection.close()


class Fixtures(abstract.AbstractFixtures):
    """The fixtures that fsspec's tests need."""

    @pytest.fixture
    def fs(self, files: S3poFileSystem) -> S3poFileSystem:
        return files

    @pytest.fixture
    def fs_path(self) -> str:
        return f'{BUCKET}/abstract'

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


class TestCopy(abstract.AbstractCopyTests, Fixtures):
    """Copies within the store."""


class TestGet(abstract.AbstractGetTests, Fixtures):
    """Downloads to local files."""


class TestPut(abstract.AbstractPutTests, Fixtures):
    """Uploads of local files."""


class TestPipe(abstract.AbstractPipeTests, Fixtures):
    """Uploads from memory."""


class TestOpen(abstract.AbstractOpenTests, Fixtures):
    """Open files."""


@pytest.mark.slow
def test_pandas(store: Store, conn: s3po.Connection) -> None:
    """pandas writes and reads CSV, gzipped CSV and Parquet."""
    import pandas  # with pyarrow it takes 90 MiB: only the process that runs this test imports it

    table = pandas.DataFrame({'a': range(1000), 'b': [f'text {number}' for number in range(1000)]})
    for name, write, read in (
        ('table.csv', table.to_csv, pandas.read_csv),
        ('table.csv.gz', table.to_csv, pandas.read_csv),
    ):
        write(f's3po://{BUCKET}/{name}', index=False, storage_options=storage_options(store))
        pandas.testing.assert_frame_equal(read(f's3po://{BUCKET}/{name}', storage_options=storage_options(store)), table)
    table.to_parquet(f's3po://{BUCKET}/table.parquet', storage_options=storage_options(store))
    back = pandas.read_parquet(f's3po://{BUCKET}/table.parquet', storage_options=storage_options(store))
    pandas.testing.assert_frame_equal(back, table)


@pytest.mark.slow
def test_pyarrow(files: S3poFileSystem) -> None:
    """pyarrow writes and reads a partitioned data set in its own threads."""
    import pyarrow  # see test_pandas
    import pyarrow.parquet

    table = pyarrow.table({'part': [1, 1, 2, 3] * 1000, 'value': list(range(4000))})
    pyarrow.parquet.write_to_dataset(table, f'{BUCKET}/dataset', partition_cols=['part'], filesystem=files)

    back = pyarrow.parquet.read_table(f'{BUCKET}/dataset', filesystem=files)

    assert sorted(back['value'].to_pylist()) == list(range(4000))
    assert len(files.ls(f'{BUCKET}/dataset')) == 3


def test_what_there_is(files: S3poFileSystem) -> None:
    """Files and directories are found by all listing methods of fsspec."""
    for name in ('a/1', 'a/2', 'a/b/3', 'ab', 'c'):
        files.pipe(f'{BUCKET}/{name}', name.encode())
    names = [f'{BUCKET}/{name}' for name in ('a/1', 'a/2', 'a/b/3', 'ab', 'c')]
    assert files.ls('', detail=False) == [BUCKET]
    assert files.ls(f's3po://{BUCKET}/', detail=False) == [f'{BUCKET}/a', f'{BUCKET}/ab', f'{BUCKET}/c']
    assert files.ls(f'{BUCKET}/a', detail=False) == [f'{BUCKET}/a/1', f'{BUCKET}/a/2', f'{BUCKET}/a/b']
    assert files.ls(f'{BUCKET}/c', detail=False) == [f'{BUCKET}/c']
    assert files.find(BUCKET) == files.find('') == names
    assert files.find(f'{BUCKET}/a/') == names[:3]
    assert files.find(f'{BUCKET}/c') == [f'{BUCKET}/c']
    assert files.find(f'{BUCKET}/a', maxdepth=1) == names[:2]
    assert files.find(BUCKET, withdirs=True) == sorted([*names, f'{BUCKET}/a', f'{BUCKET}/a/b'])
    assert files.glob(f'{BUCKET}/*/[12]') == names[:2]
    assert files.glob(f'{BUCKET}/**/3') == [names[2]]
    assert [(root, sorted(dirs), sorted(found)) for root, dirs, found in files.walk(f'{BUCKET}/a')] == [
        (f'{BUCKET}/a', ['b'], ['1', '2']),
        (f'{BUCKET}/a/b', [], ['3']),
    ]
    assert files.du(BUCKET) == sum(len(name.removeprefix(f'{BUCKET}/')) for name in names)
    info = files.info(f'{BUCKET}/a/1')
    assert (info['type'], info['size'], info['ContentType']) == ('file', 3, 'binary/octet-stream')
    assert files.info(f'{BUCKET}/a')['type'] == files.info(BUCKET)['type'] == files.info('')['type'] == 'directory'
    assert files.isdir(f'{BUCKET}/a')
    assert not files.isfile(f'{BUCKET}/a')
    assert files.checksum(f'{BUCKET}/c') == info['ETag'] or files.checksum(f'{BUCKET}/c')
    assert files.modified(f'{BUCKET}/c').tzinfo is not None
    assert 'Signature=' in files.sign(f'{BUCKET}/c')
    for path in (f'{BUCKET}/missing', 'nothere/key', 'nothere'):
        assert not files.exists(path)
        with pytest.raises(FileNotFoundError):
            files.info(path)
        with pytest.raises(FileNotFoundError):
            files.ls(path)


def test_bytes(files: S3poFileSystem) -> None:
    """Reading whole files, ranges and several files; missing files raise."""
    a, b = f'{BUCKET}/a', f'{BUCKET}/b'
    files.pipe({a: b'0123456789', b: b'abc'})
    assert files.cat(a) == b'0123456789'
    assert files.cat([a, b]) == {a: b'0123456789', b: b'abc'}
    assert files.cat(f'{BUCKET}/*') == {a: b'0123456789', b: b'abc'}
    for start, end in ((0, 3), (2, None), (-3, None), (2, -2), (None, 4), (5, 5), (20, 30), (0, 100)):
        assert files.cat_file(a, start, end) == b'0123456789'[start:end]
    assert files.cat_ranges([a, a, b], [0, 5, 1], [2, 7, 3]) == [b'01', b'56', b'bc']
    assert files.cat_ranges([a, b], 0, 2) == [b'01', b'ab']
    assert files.cat_ranges([a, b], [-2, 1], [None, 1]) == [b'89', b'']
    assert files.cat_ranges([a, b, a], [20, 2, 5], [30, 1, 7]) == [b'', b'', b'56']
    assert isinstance(files.cat_ranges([f'{BUCKET}/missing'], -2, None)[0], FileNotFoundError)
    assert isinstance(files.cat_ranges([f'{BUCKET}/missing'], 0, 1)[0], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        files.cat_ranges([f'{BUCKET}/missing'], 0, 1, on_error='raise')
    with pytest.raises(FileNotFoundError):
        files.cat(f'{BUCKET}/missing')
    with pytest.raises(FileNotFoundError):
        files.open(f'{BUCKET}/missing')
    with pytest.raises(FileExistsError):
        files.pipe_file(a, b'', mode='create')
    with pytest.raises(FileExistsError):
        files.open(a, 'xb')
    with pytest.raises(IsADirectoryError):
        files.pipe_file(BUCKET, b'')
    with pytest.raises(NotImplementedError, match='do not support appending'):
        files.open(a, 'ab')


def test_files(files: S3poFileSystem) -> None:
    """Binary, text and compressed files; an exception publishes nothing; a transaction publishes at its end."""
    path = f'{BUCKET}/file'
    with files.open(path, 'w', encoding='utf-8') as file:
        file.write('hé')
    with files.open(path, 'r') as file:
        assert file.read() == 'hé'
    with files.open(path, 'wb', compression='gzip') as file:
        file.write(b'x' * 1000)
    with files.open(path, 'rb', compression='gzip') as file:
        assert file.read() == b'x' * 1000
    for mode, data, options in (('w', 'x', {}), ('wb', b'x', {}), ('wb', b'x', {'compression': 'gzip'})):
        with pytest.raises(ZeroDivisionError), files.open(f'{BUCKET}/none', mode, **options) as file:
            file.write(data)
            raise ZeroDivisionError
    assert not files.exists(f'{BUCKET}/none')
    with files.transaction:
        with files.open(f'{BUCKET}/later', 'wb') as file:
            file.write(b'later')
            assert file.tell() == 5
        assert not files.exists(f'{BUCKET}/later')
    assert files.cat(f'{BUCKET}/later') == b'later'
    with pytest.raises(ZeroDivisionError), files.transaction:
        with files.open(f'{BUCKET}/never', 'wb') as file:
            file.write(b'never')
        raise ZeroDivisionError
    assert not files.exists(f'{BUCKET}/never')


@pytest.mark.parametrize('options', [{}, {'compression': 'gzip'}])
@pytest.mark.parametrize('mode', ['w', 'wb'])
def test_transactions(files: S3poFileSystem, mode: str, options: dict[str, Any]) -> None:
    """Files of all kinds are published at the end of their transaction, if neither it nor their `with` has failed."""
    data: Any = b'x' if 'b' in mode else 'x'
    path = f'{BUCKET}/file'

    def write() -> None:
        with files.open(path, mode, **options) as file:
            file.write(data)
        assert not files.exists(path)

    with pytest.raises(ZeroDivisionError), files.transaction:
        write()
        raise ZeroDivisionError
    assert not files.exists(path)
    with files.transaction, pytest.raises(ZeroDivisionError), files.open(path, mode, **options) as file:
        file.write(data)
        raise ZeroDivisionError
    assert not files.exists(path)
    with files.transaction:
        write()
    with files.open(path, 'rb', **options) as file:
        assert file.read() == b'x'


def test_copies(files: S3poFileSystem, tmp_path: pathlib.Path) -> None:
    """Directories are uploaded, downloaded and copied recursively, and failures are raised."""
    source = tmp_path / 'source'
    for name in ('1', 'sub/2', 'sub/deep/3'):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(os.urandom(1000))
    counts = fsspec.callbacks.Callback()
    files.put(str(source), f'{BUCKET}/up/', recursive=True, callback=counts)
    assert files.find(f'{BUCKET}/up') == [f'{BUCKET}/up/source/{name}' for name in ('1', 'sub/2', 'sub/deep/3')]
    assert counts.value == counts.size == 3
    files.copy(f'{BUCKET}/up/source', f'{BUCKET}/copied', recursive=True)
    files.get(f'{BUCKET}/copied', str(tmp_path / 'back'), recursive=True)
    for name in ('1', 'sub/2', 'sub/deep/3'):
        assert (tmp_path / 'back' / name).read_bytes() == (source / name).read_bytes()
    with pytest.raises(FileNotFoundError):
        files.get([f'{BUCKET}/missing', f'{BUCKET}/copied/1'], [str(tmp_path / 'x'), str(tmp_path / 'y')])
    assert not (tmp_path / 'x').exists()
    assert (tmp_path / 'y').exists()
    with (tmp_path / 'open').open('wb') as file:
        files.get_file(f'{BUCKET}/copied/1', file)
    assert (tmp_path / 'open').read_bytes() == (source / '1').read_bytes()
    files.put_file(str(source / '1'), f'{BUCKET}/one')
    with pytest.raises(FileExistsError):
        files.put_file(str(source / '1'), f'{BUCKET}/one', mode='create')
    files.mv(f'{BUCKET}/one', f'{BUCKET}/two')
    assert not files.exists(f'{BUCKET}/one')
    with pytest.raises(IsADirectoryError):
        files.rm(f'{BUCKET}/copied')
    files.rm(f'{BUCKET}/copied', recursive=True)
    files.rm([f'{BUCKET}/two'])
    files.rm_file(f'{BUCKET}/up/source/1')
    assert files.find(BUCKET) == [f'{BUCKET}/up/source/sub/2', f'{BUCKET}/up/source/sub/deep/3']


def test_buckets(files: S3poFileSystem) -> None:
    """Only buckets are directories that can be created and removed."""
    files.mkdir('another')
    files.mkdir('another/directory')
    files.makedirs('another', exist_ok=True)
    with pytest.raises(FileExistsError):
        files.makedirs('another')
    assert files.isdir('another')
    files.touch('another/file')
    assert files.cat('another/file') == b''
    with pytest.raises(ValueError, match='cannot be set'):
        files.touch('another/file', truncate=False)
    with pytest.raises(FileNotFoundError):
        files.rmdir('another/directory')
    files.touch('another/directory/file')
    with pytest.raises(FileExistsError, match='a directory exists while it has files'):
        files.rmdir('another/directory')
    files.rm('another', recursive=True)
    assert files.ls('', detail=False) == [BUCKET]
    files.mkdir('another')
    files.rmdir('another')
    assert not files.exists('another')


def test_markers_of_directories(files: S3poFileSystem) -> None:
    """Keys with a trailing slash are empty directories: listed as such, and removed by rm() and rmdir()."""
    connection = files.connection
    for key in ('a/', 'a/b/', 'a/b/file', 'empty/'):
        connection.upload(BUCKET, key, b'')
    assert files.find(BUCKET) == [f'{BUCKET}/a/b/file']
    assert files.find(f'{BUCKET}/a') == [f'{BUCKET}/a/b/file']
    directories = [f'{BUCKET}/a', f'{BUCKET}/a/b', f'{BUCKET}/a/b/file', f'{BUCKET}/empty']
    assert files.find(BUCKET, withdirs=True) == directories
    assert files.find(BUCKET, withdirs=True, maxdepth=1) == [f'{BUCKET}/a', f'{BUCKET}/empty']
    assert files.ls(f'{BUCKET}/a', detail=False) == [f'{BUCKET}/a/b']
    assert files.ls(f'{BUCKET}/empty') == []
    assert files.isdir(f'{BUCKET}/empty')
    with pytest.raises(FileExistsError):
        files.rmdir(f'{BUCKET}/a')
    files.rmdir(f'{BUCKET}/empty/')
    assert not files.exists(f'{BUCKET}/empty')

    assert sorted(files.rm(f'{BUCKET}/a/', recursive=True)) == [f'{BUCKET}/a/', f'{BUCKET}/a/b/', f'{BUCKET}/a/b/file']
    assert list(connection.list(BUCKET)) == []

    files.touch(f'{BUCKET}/new/')
    assert [entry.key for entry in connection.list(BUCKET)] == ['new/']
    files.rm_file(f'{BUCKET}/new/')
    files.touch(f'{BUCKET}/new/')
    assert files.rm(BUCKET, recursive=True) == [f'{BUCKET}/new/', BUCKET]
    assert not files.exists(BUCKET)


def test_rm(files: S3poFileSystem) -> None:
    """rm() returns the deleted paths and raises for missing and for directories; then it has deleted nothing."""
    one, two, below = f'{BUCKET}/one', f'{BUCKET}/two', f'{BUCKET}/one/below'
    files.pipe({one: b'', two: b'', below: b''})
    for path, error in (
        (f'{BUCKET}/missing', FileNotFoundError),
        ([one, f'{BUCKET}/missing'], FileNotFoundError),
        ('nowhere', FileNotFoundError),
        (['nowhere/key'], FileNotFoundError),
        ([two, BUCKET], IsADirectoryError),
    ):
        with pytest.raises(error):
            files.rm(path)
    for path in (f'{BUCKET}/missing', 'nowhere', 'nowhere/key'):
        with pytest.raises(FileNotFoundError):
            files.rm(path, recursive=True)
    with pytest.raises(FileNotFoundError):
        files.rm_file('nowhere/key')
    files.rm_file(f'{BUCKET}/missing')
    assert files.find(BUCKET) == [one, below, two]

    assert files.rm([two]) == [two]
    files.pipe({two: b''})
    assert files.rm(f'{BUCKET}/t*') == [two]
    files.pipe({two: b'', f'{two}/a/b': b''})
    assert files.rm(two, recursive=True, maxdepth=1) == [two]
    assert files.rm(f'{BUCKET}/**', recursive=True) == [below, one, f'{two}/a/b']


def test_missing_sources_of_copies(files: S3poFileSystem) -> None:
    """copy(on_error='ignore') skips missing files; mv() never does, and deletes only what it has copied."""
    one, missing, copied = f'{BUCKET}/one', f'{BUCKET}/missing', [f'{BUCKET}/to/a', f'{BUCKET}/to/b']
    files.pipe_file(one, b'1')
    for call in (files.copy, files.mv):
        with pytest.raises(FileNotFoundError):
            call([missing, one], copied)
    with pytest.raises(ValueError, match='on_error'):
        files.copy(one, copied[0], on_error='other')
    files.rm(f'{BUCKET}/to', recursive=True)
    files.copy([missing, one], copied, on_error='ignore')
    assert files.find(f'{BUCKET}/to') == [copied[1]]

    files.pipe({f'{BUCKET}/from/{name}': b'' for name in ('a', 'b', 'deep/c')})
    files.mv(f'{BUCKET}/from/', f'{BUCKET}/moved/', recursive=True, maxdepth=1)
    assert files.find(f'{BUCKET}/from') == [f'{BUCKET}/from/deep/c']
    assert files.find(f'{BUCKET}/moved') == [f'{BUCKET}/moved/a', f'{BUCKET}/moved/b']


def test_errors_of_directories(store: Store, files: S3poFileSystem) -> None:
    """Buckets and directories where a file is expected, and what is missing, raise the OSErrors of their kind."""
    files.pipe_file(f'{BUCKET}/directory/file', b'')
    for path in (f'{BUCKET}/directory', BUCKET, ''):
        with pytest.raises(IsADirectoryError):
            files.modified(path)
    for path in ('', BUCKET, 's3po://'):
        with pytest.raises(IsADirectoryError):
            files.open(path)
        with pytest.raises(ValueError, match='the path of a file'):
            files.open(path)
    for path in ('nowhere', f'{BUCKET}/missing'):
        with pytest.raises(FileNotFoundError):
            files.rmdir(path)
    with pytest.raises(OSError, match='not empty'):
        files.rmdir(BUCKET)
    store.script({'operation': 'DeleteBucket', 'times': 1, 'action': {'status': 409, 'code': 'BucketNotEmpty'}})
    with pytest.raises(OSError, match='not empty'):
        files.rm(BUCKET, recursive=True)
    store.script({'operation': 'DeleteBucket', 'times': 1, 'action': {'status': 400, 'code': 'Other'}})
    with pytest.raises(s3po.InvalidRequest):
        files.rmdir(BUCKET)
    files.pipe_file(f'{BUCKET}/directory/file', b'')
    with pytest.raises(FileNotFoundError):
        files.mkdir('nowhere/directory', create_parents=False)
    with pytest.raises(ValueError, match='names no bucket'):
        files.mkdir('/')
    with pytest.raises(FileNotFoundError):
        files.mv(f'{BUCKET}/missing', f'{BUCKET}/other')
    with pytest.raises(ValueError, match='mode must be'):
        files.pipe_file(f'{BUCKET}/key', b'', mode='append')
    info = files.info(f'{BUCKET}/directory/file')
    assert (info['Key'], info['Size'], info['VersionId']) == (f'{BUCKET}/directory/file', 0, None)
    assert 'VersionId' in files.info(BUCKET)


def test_find_with_prefix(files: S3poFileSystem) -> None:
    """find(prefix=) lists only names that begin with it below the path, with directories and to a depth too."""
    names = [f'{BUCKET}/{name}' for name in ('logs/a1', 'logs/a2/x', 'logs/b', 'logs2')]
    files.pipe(dict.fromkeys(names, b''))
    assert files.find(BUCKET, prefix='logs') == names
    assert files.find('', prefix=BUCKET[:2]) == names
    assert files.find('', prefix='other') == []
    assert files.find(f'{BUCKET}/logs', prefix='a') == files.find(f'{BUCKET}/logs/', prefix='a') == names[:2]
    assert files.find(f'{BUCKET}/logs', prefix=None) == files.find(f'{BUCKET}/logs', prefix='') == names[:3]
    assert files.find(f'{BUCKET}/logs', prefix='c') == files.find(f'{BUCKET}/logs/b', prefix='c') == []
    assert files.find(f'{BUCKET}/logs', prefix='a', maxdepth=1) == names[:1]
    assert files.find(f'{BUCKET}/logs', prefix='a', withdirs=True) == [names[0], f'{BUCKET}/logs/a2', names[1]]
    assert files.find(f'{BUCKET}', prefix='logs/a2', withdirs=True) == [f'{BUCKET}/logs', f'{BUCKET}/logs/a2', names[1]]


def test_put_to_a_new_bucket(files: S3poFileSystem, tmp_path: pathlib.Path) -> None:
    """put() of a directory to a missing bucket creates the bucket."""
    (tmp_path / 'up').mkdir()
    (tmp_path / 'up' / 'file').write_bytes(b'x')
    files.put(str(tmp_path / 'up'), 'another', recursive=True)
    assert files.find('another') == ['another/file']


def test_silent_and_deleting_connections(store: Store, connect: Any, tmp_path: pathlib.Path) -> None:
    """A file system has no other way to report failures, so it ignores `silent`."""
    files = S3poFileSystem(connection=connect(store.endpoint_url, retry=impatient(0), silent=True))
    (tmp_path / 'file').write_bytes(b'x')
    store.script({'times': None, 'action': {'status': 500}})
    for call in (
        lambda: files.cat_file(f'{BUCKET}/key'),
        lambda: files.pipe_file(f'{BUCKET}/key', b'x'),
        lambda: files.put_file(str(tmp_path / 'file'), f'{BUCKET}/key'),
        lambda: files.get_file(f'{BUCKET}/key', str(tmp_path / 'target')),
        lambda: files.cat([f'{BUCKET}/key', f'{BUCKET}/other']),
    ):
        with pytest.raises(s3po.S3poError):
            call()


def test_kept_and_pickled(store: Store, conn: s3po.Connection) -> None:
    """fsspec caches an instance by its options, except for options whose text does not identify them."""
    first = fsspec.filesystem('s3po', **storage_options(store))
    assert isinstance(first, S3poFileSystem)
    assert fsspec.filesystem('s3po', **storage_options(store)) is first
    assert S3poFileSystem(connection=conn) is not S3poFileSystem(connection=conn)
    assert pickle.loads(pickle.dumps(first)).find(BUCKET) == []
    with fsspec.open(f's3po://{BUCKET}/key', 'wb', **storage_options(store)) as file:
        file.write(b'by URL')
    assert first.cat(f'{BUCKET}/key') == b'by URL'
    with pytest.raises(s3po.ConfigurationError, match='connection cannot be combined with'):
        S3poFileSystem(connection=conn, region='x')
    first.connection.close()


def test_no_access(store: Store, connect: Any) -> None:
    """Missing access is a PermissionError, not a missing file."""
    files = S3poFileSystem(connection=connect(store.endpoint_url, retry=impatient(0)), batch_size=2)
    store.script({'times': None, 'action': {'status': 403, 'code': 'AccessDenied'}})
    for call in (files.info, files.exists, files.ls, files.cat_file):
        with pytest.raises(PermissionError):
            call(f'{BUCKET}/key')
    assert isinstance(LocalFileSystem(), fsspec.AbstractFileSystem)


@pytest.mark.parametrize('compression', ['bz2', 'gzip', 'xz', 'zstd'])
def test_aborted_compression(files: S3poFileSystem, compression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an exception in the `with`, nothing is published or printed, also by compressors that close the file."""
    printed: list[Any] = []
    monkeypatch.setattr(sys, 'unraisablehook', printed.append)
    path = f'{BUCKET}/aborted-{compression}'
    with pytest.raises(ZeroDivisionError), files.open(path, 'wb', compression=compression) as file:
        file.write(bytes(100_000))
        raise ZeroDivisionError
    del file
    gc.collect()

    assert printed == []
    assert not files.exists(path)


def test_exception_in_compressed_text(files: S3poFileSystem) -> None:
    """Compressed text is published by close() and not after an exception."""
    path = f'{BUCKET}/compressed'
    with pytest.raises(ZeroDivisionError), files.open(path, 'wt', compression='gzip') as file:
        file.write('begun')
        raise ZeroDivisionError
    assert not files.exists(path)

    with files.open(path, 'w', compression='gzip', newline='\r\n') as file:
        file.write('écrit\n')
    assert gzip.decompress(files.cat(path)) == 'écrit\r\n'.encode()
    with files.open(path, 'rt', compression='gzip', encoding='utf-8', newline='') as file:
        assert file.read() == 'écrit\r\n'
