"""The options of the fsspec file system: each is used or refused, none is ignored. Callbacks for files and bytes."""

from __future__ import annotations

import io
import pathlib
import pickle
from collections.abc import Callable
from typing import Any

import fsspec
import pytest
from fsspec.callbacks import Callback

import s3po
from s3po.config import MIB
from s3po.interfaces.filesystem import S3poFileSystem
from tests.conftest import BUCKET, impatient
from tests.support.servers import MotoServer, Store

PATH = f'{BUCKET}/key.json'


@pytest.fixture
def files(store: Store, connect: Callable[..., s3po.Connection]) -> S3poFileSystem:
    store.create_bucket(BUCKET)
    return S3poFileSystem(connection=connect(store.endpoint_url))


def write(files: S3poFileSystem, **options: Any) -> None:
    with files.open(PATH, 'wb', **options) as file:
        file.write(b'data')


def write_text(files: S3poFileSystem, **options: Any) -> None:
    with files.open(PATH, 'w', **options) as file:
        file.write('data')


def write_compressed(files: S3poFileSystem, **options: Any) -> None:
    with files.open(PATH, 'w', compression='gzip', **options) as file:
        file.write('data')


def put(files: S3poFileSystem, **options: Any) -> None:
    with pathlib.Path('source').open('wb') as file:
        file.write(b'data')
    files.put('source', PATH, **options)


def put_file(files: S3poFileSystem, **options: Any) -> None:
    pathlib.Path('source').write_bytes(b'data')
    files.put_file('source', PATH, **options)


WRITES: Any = {
    'open': write,
    'open-text': write_text,
    'open-compressed': write_compressed,
    'pipe': lambda files, **options: files.pipe(PATH, b'data', **options),
    'pipe_file': lambda files, **options: files.pipe_file(PATH, b'data', **options),
    'put': put,
    'put_file': put_file,
    'touch': lambda files, **options: files.touch(PATH, **options),
}
READS: Any = {
    'open': lambda files, **options: files.open(PATH, **options).read(),
    'open-text': lambda files, **options: files.open(PATH, 'r', **options).read().encode(),
    'open-cached': lambda files, **options: files.open(PATH, cache_type='bytes', **options).read(),
    'open-compressed': lambda files, **options: files.open(PATH, compression=None, **options).read(),
    'cat': lambda files, **options: files.cat(PATH, **options),
    'cat-many': lambda files, **options: files.cat([PATH], **options)[PATH],
    'cat_file': lambda files, **options: files.cat_file(PATH, **options),
    'cat_file-from-end': lambda files, **options: files.cat_file(PATH, -100, **options),
    'cat_ranges': lambda files, **options: files.cat_ranges([PATH, PATH], [0, -2], [4, None], on_error='raise', **options)[0],
    'get': lambda files, **options: files.get(PATH, 'target', **options) or pathlib.Path('target').read_bytes(),
    'get_file': lambda files, **options: files.get_file(PATH, 'target', **options) or pathlib.Path('target').read_bytes(),
}
OTHERS: Any = {
    'info': lambda files, **options: files.info(PATH, **options),
    'exists': lambda files, **options: files.exists(PATH, **options),
    'lexists': lambda files, **options: files.lexists(PATH, **options),
    'checksum': lambda files, **options: files.checksum(PATH, **options),
    'modified': lambda files, **options: files.modified(PATH, **options),
    'ls': lambda files, **options: files.ls(BUCKET, **options),
    'find': lambda files, **options: files.find(BUCKET, **options),
    'glob': lambda files, **options: files.glob(f'{BUCKET}/*', **options),
    'walk': lambda files, **options: [*files.walk(BUCKET, **options)],
    'copy': lambda files, **options: files.copy(PATH, f'{BUCKET}/copy', **options),
    'mv': lambda files, **options: files.mv(PATH, f'{BUCKET}/copy', **options),
    'cp_file': lambda files, **options: files.cp_file(PATH, f'{BUCKET}/copy', **options),
    'sign': lambda files, **options: files.sign(PATH, **options),
    'mkdir': lambda files, **options: files.mkdir('another', **options),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('method', WRITES)
def test_options_of_writes(files: S3poFileSystem, store: Store, method: str) -> None:
    """Each method that writes sends ACL, encryption, content type and metadata, by boto3's and by Connection's names."""
    for options, expected in (
        ({'acl': 'public-read'}, {'x-amz-acl': 'public-read'}),
        (
            {'ACL': 'private', 'ServerSideEncryption': 'AES256'},
            {'x-amz-acl': 'private', 'x-amz-server-side-encryption': 'AES256'},
        ),
        ({'ContentType': 'text/css'}, {'content-type': 'text/css'}),
        ({'content_type': 'text/css', 'metadata': {'a': 'b'}}, {'content-type': 'text/css', 'x-amz-meta-a': 'b'}),
        (
            {'Metadata': {'a': 'b'}, 'headers': {'Cache-Control': 'no-cache'}},
            {'x-amz-meta-a': 'b', 'cache-control': 'no-cache'},
        ),
        ({'requester_pays': True}, {'x-amz-request-payer': 'requester'}),
        ({'extra': {'StorageClass': 'GLACIER'}, 'refresh': True}, {'x-amz-storage-class': 'GLACIER'}),
    ):
        WRITES[method](files, **options)
        assert expected.items() <= store.log('PutObject')[-1]['headers'].items()


@pytest.mark.parametrize('method', READS)
def test_options_of_reads(files: S3poFileSystem, store: Store, method: str) -> None:
    """Each method that reads sends its parameters and conditions."""
    files.pipe_file(PATH, b'data')
    etag = files.checksum(PATH)

    assert READS[method](files, requester_pays=True, ExpectedBucketOwner='123456789012', if_match=etag) == b'data'

    for seen in store.log('GetObject'):
        assert seen['headers']['x-amz-request-payer'] == 'requester'
        assert seen['headers']['x-amz-expected-bucket-owner'] == '123456789012'
        assert etag in seen['headers']['if-match']


@pytest.mark.parametrize('method', [*WRITES, *READS, *OTHERS])
def test_refused_options(files: S3poFileSystem, method: str) -> None:
    """An option without a meaning for the method is an error that names it."""
    files.pipe_file(PATH, b'data')
    with pytest.raises(TypeError, match='random_option'):
        {**WRITES, **READS, **OTHERS}[method](files, random_option=1)
    with pytest.raises((s3po.ConfigurationError, TypeError), match='SomeParameter'):
        {**WRITES, **READS, **OTHERS}[method](files, SomeParameter=1)


@pytest.mark.parametrize('method', [*OTHERS])
def test_options_of_other_methods(files: S3poFileSystem, store: Store, method: str) -> None:
    """Parameters of listings, descriptions, copies and new buckets are sent."""
    files.pipe_file(PATH, b'data')
    options = {'sign': {'ResponseContentType': 'text/css'}, 'mkdir': {'acl': 'private'}}
    found = OTHERS[method](files, **options.get(method, {'RequestPayer': 'requester'}))
    sent = (store.log('CopyObject') or store.log())[-1]['headers']
    if method == 'sign':
        assert 'response-content-type=text%2Fcss' in found
    else:
        assert ('x-amz-acl', 'private') in sent.items() or ('x-amz-request-payer', 'requester') in sent.items()


def test_sizes_of_one_transfer(files: S3poFileSystem, store: Store) -> None:
    """chunksize and max_concurrency are those of one transfer; block_size, also called blocksize, that of one file."""
    data = bytes(12 * MIB)
    files.pipe_file(PATH, data, chunksize=5 * MIB, max_concurrency=1)
    with files.open(PATH, 'wb', blocksize=5 * MIB) as file:
        file.write(data)
    assert len(store.log('UploadPart')) == 6
    assert len(files.cat_file(PATH, chunksize=5 * MIB)) == len(data)
    assert files.cat([PATH], chunksize=5 * MIB, batch_size=1) == {PATH: data}
    assert len(store.log('GetObject')) == 6
    files.get_file(PATH, 'target', chunksize=5 * MIB, max_concurrency=4)
    assert pathlib.Path('target').read_bytes() == data
    files.put_file('target', PATH, chunksize=6 * MIB, max_concurrency=None)
    assert len(store.log('UploadPart')) == 8


@pytest.mark.parametrize('method', [*READS, 'info', 'exists', 'checksum', 'modified', 'cp_file'])
def test_version_id(moto_server: MotoServer, connect: Callable[..., s3po.Connection], method: str) -> None:
    """version_id selects a version in every method that reads; a missing one does not exist."""
    conn = connect(moto_server.endpoint_url)
    conn.create_bucket(BUCKET)
    conn.conn.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={'Status': 'Enabled'})
    files = S3poFileSystem(connection=conn)
    old = conn.upload(BUCKET, 'key.json', b'data').version_id
    files.pipe_file(PATH, b'newer data')

    found = {**READS, **OTHERS}[method](files, version_id=old)

    if method in READS:
        assert found == b'data'
    elif method == 'cp_file':
        assert files.cat(f'{BUCKET}/copy') == b'data'
    else:
        assert found != OTHERS[method](files) or method in ('exists', 'modified')
    assert files.info(PATH, version_id=old)['VersionId'] == old
    assert not files.exists(PATH, version_id='missing')


class Branching(Callback):
    """A callback with one child per file, which notes its updates."""

    def __init__(self, noted: list[tuple[int, int]] | None = None) -> None:
        super().__init__()
        self.noted: list[tuple[int, int]] = [] if noted is None else noted
        self.children: dict[str, Branching] = {}
        self.is_closed = False

    def branched(self, path_1: str, path_2: str, **options: Any) -> Callback:
        self.children[path_1] = Branching()
        return self.children[path_1]

    def call(self, *arguments: Any, **options: Any) -> None:
        self.noted.append((self.size, self.value))

    def close(self) -> None:
        self.is_closed = True


def test_callbacks_per_file(files: S3poFileSystem, tmp_path: pathlib.Path) -> None:
    """put() and get() count files, and a branch of the callback the bytes of each file; directories are not counted."""
    for name, size in (('1', 1000), ('sub/2', 0), ('sub/3', 70_000)):
        (tmp_path / 'up' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'up' / name).write_bytes(bytes(size))
    putting, getting = Branching(), Branching()
    files.put(str(tmp_path / 'up'), f'{BUCKET}/up', recursive=True, callback=putting)
    files.get(f'{BUCKET}/up', str(tmp_path / 'down'), recursive=True, callback=getting)
    for callback in (putting, getting):
        assert callback.size == callback.value == 3
        children = {path.rpartition('up/')[2]: child for path, child in callback.children.items()}
        for name, size in (('1', 1000), ('sub/2', 0), ('sub/3', 70_000)):
            assert children[name].size == children[name].value == size
            assert children[name].is_closed
    failing = Branching()
    with pytest.raises(FileNotFoundError):
        files.get([f'{BUCKET}/missing', f'{BUCKET}/up/1'], ['missing', '1'], callback=failing)
    assert (failing.size, failing.value) == (2, 1)
    assert all(child.is_closed for child in failing.children.values())


def test_files_are_counted_as_they_end(files: S3poFileSystem, store: Store) -> None:
    """The count goes up when a transfer ends, while others go on."""
    files.pipe({f'{BUCKET}/slow': b'x', f'{BUCKET}/quick': b'x'})
    log: list[bool] = []

    class Noting(Callback):
        def relative_update(self, inc: int = 1) -> None:
            log.append(any(seen['key'] == 'slow' and seen['ended'] is not None for seen in store.log('GetObject')))

    store.script({'operation': 'GetObject', 'key': 'slow', 'action': {'delay_s': 0.5}})
    files.get([f'{BUCKET}/slow', f'{BUCKET}/quick'], ['slow', 'quick'], callback=Noting())
    assert log == [False, True]


def test_callbacks_of_one_file(files: S3poFileSystem, store: Store) -> None:
    """get_file() and put_file() count bytes; those of a failed attempt are taken back. The size is known before the end."""
    data = bytes(20 * MIB)
    pathlib.Path('source').write_bytes(data)
    noted: list[tuple[int, int]] = []
    putting = Branching(noted)
    files.put_file('source', PATH, callback=putting)
    assert putting.size == putting.value == len(data)
    assert noted[0] == (len(data), 0)

    store.script(
        {'operation': 'GetObject', 'times': 1, 'action': {'delay_s': 0.3}},
        {'operation': 'GetObject', 'times': 1, 'skip': 1, 'action': {'cut_body_at': 100_000}},
    )
    getting = Branching()
    files.get_file(PATH, 'target', callback=getting)
    assert getting.size == getting.value == len(data)
    assert max(value for _, value in getting.noted) == len(data)
    assert (len(data), 0) in getting.noted
    assert not getting.is_closed


def test_callback_that_fails(files: S3poFileSystem) -> None:
    """An error of a callback for files is raised; one of a callback for bytes is logged, and the transfer succeeds."""

    class Failing(Callback):
        def relative_update(self, inc: int = 1) -> None:
            raise ZeroDivisionError

    pathlib.Path('source').write_bytes(b'data')
    files.put_file('source', PATH, callback=Failing())
    assert files.cat(PATH) == b'data'
    with pytest.raises(s3po.CallbackError):
        files.put('source', PATH, callback=Failing())


@pytest.mark.parametrize('cache_type', ['none', 'bytes', 'readahead', 'blockcache', 'all', 'first'])
def test_caches_of_fsspec(files: S3poFileSystem, cache_type: str) -> None:
    """open(cache_type=) reads through that cache of fsspec, of one version; its files pickle."""
    data = bytes(range(256)) * 2000
    files.pipe_file(PATH, data)
    with files.open(PATH, cache_type=cache_type, block_size=100_000) as file:
        assert isinstance(file.cache, fsspec.core.caches[cache_type])
        assert (file.size, file.blocksize, file.info()['size']) == (len(data), 100_000, len(data))
        assert file.read(10) == data[:10]
        file.seek(300_000)
        assert file.read(100) == data[300_000:300_100]
        again = pickle.loads(pickle.dumps(file))
        assert again.read(10) == data[300_100:300_110]
        again.close()
    with files.open(PATH, size=10) as file:
        assert file.read() == data[:10]
    with io.TextIOWrapper(files.open(PATH, cache_type=cache_type), 'latin-1', newline='') as text:
        assert text.read(256) == data[:256].decode('latin-1')


def test_cached_file_of_one_version(files: S3poFileSystem) -> None:
    """A file with a cache of fsspec raises when the object is replaced while it is read."""
    files.pipe_file(PATH, bytes(MIB))
    with files.open(PATH, cache_type='none') as file:
        file.read(10)
        files.pipe_file(PATH, bytes(2 * MIB))
        file.seek(MIB // 2)
        with pytest.raises(s3po.SourceChanged):
            file.read(10)
    with pytest.raises(FileNotFoundError):
        files.open(f'{BUCKET}/missing', cache_type='none')


def test_defaults_of_files(store: Store, connect: Callable[..., s3po.Connection], files: S3poFileSystem) -> None:
    """default_cache_type and default_block_size are open()'s defaults."""
    files.pipe_file(PATH, b'data')
    cached = S3poFileSystem(connection=connect(store.endpoint_url), default_cache_type='bytes', default_block_size=MIB)
    with cached.open(PATH) as file:
        assert (file.cache.name, file.blocksize) == ('bytes', MIB)


# fsspec's MMapCache leaves the closing of its file to the garbage collector.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('chained', ['blockcache', 'filecache', 'simplecache'])
def test_caches_on_disk(files: S3poFileSystem, store: Store, tmp_path: pathlib.Path, chained: str) -> None:
    """fsspec's caches on disk work; the second read of a block sends no GET."""
    data = bytes(range(256)) * 4000
    files.pipe_file(PATH, data)
    options = {'s3po': {'connection': files.connection}, chained: {'cache_storage': str(tmp_path / chained)}}
    if chained == 'blockcache':
        options['s3po']['default_block_size'] = 100_000
    for expected in (None, 0):
        before = len(store.log('GetObject'))
        with fsspec.open(f'{chained}::s3po://{PATH}', 'rb', **options) as file:
            file.seek(300_000)
            assert file.read(1000) == data[300_000:301_000]
        assert expected in (None, len(store.log('GetObject')) - before)


def test_listing_of_buckets(store: Store, connect: Callable[..., s3po.Connection]) -> None:
    """The buckets are listed with retries, and refusals are PermissionErrors."""
    store.create_bucket(BUCKET)
    files = S3poFileSystem(connection=connect(store.endpoint_url, retry=impatient(3)))
    store.script({'operation': 'ListBuckets', 'times': 2, 'action': {'status': 500}})
    assert files.ls('', detail=False) == [BUCKET]
    store.script({'operation': 'ListBuckets', 'times': None, 'action': {'status': 403, 'code': 'AccessDenied'}})
    with pytest.raises(PermissionError):
        files.ls('')
