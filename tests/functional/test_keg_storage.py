"""S3Storage returns and raises what keg_storage does: the expected results are those of keg_storage 0.5.12 with the same calls.

Each call runs in an empty bucket. The calls that differ from keg_storage have a comment with keg_storage's result.
"""

from __future__ import annotations

import datetime
import io
import pathlib
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import s3po
from s3po.compat import keg_storage
from s3po.compat.keg_storage import backends
from s3po.compat.keg_storage.backends import FileMode, FileNotFoundInStorageError, S3Storage, ShareLinkOperation
from s3po.compat.keg_storage.backends.base import ListEntry
from s3po.compat.keg_storage.backends.s3 import S3FileBase, S3Reader, S3Writer
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.noise import noise
from tests.support.servers import MotoServer

DATA = noise(12 * MIB)
ROOT = pathlib.Path(__file__).parents[2]
TYPES = {'ContentType': 'a/b', 'Metadata': {'k': 'v'}, 'CacheControl': 'no-cache', 'ContentEncoding': 'x'}


class ArrowLike:
    """Like an arrow.Arrow, which is no datetime."""

    def __init__(self, moment: datetime.datetime) -> None:
        self.datetime = moment


@dataclass
class Place:
    """A storage in an empty bucket, and a local directory."""

    storage: S3Storage
    directory: pathlib.Path
    progress: list[int] = field(default_factory=list)

    def put(self, name: str, data: bytes = b'data') -> S3Storage:
        self.storage.client.put_object(Bucket=BUCKET, Key=name, Body=data)
        return self.storage

    def local(self, data: bytes) -> pathlib.Path:
        (self.directory / 'local.txt').write_bytes(data)
        return self.directory / 'local.txt'

    def write(self, name: str, data: bytes, **options: Any) -> Any:
        with self.storage.open(name, 'wb', **options) as file:
            assert isinstance(file, S3Writer)
            file.write(data)
        return self.stored(name)

    def read(self, name: str, mode: Any = 'rb', size: int = 99) -> bytes:
        with self.storage.open(name, mode) as file:
            return file.read(size)

    def stored(self, name: str) -> Any:
        found = self.storage.client.get_object(Bucket=BUCKET, Key=name)
        return (found['Body'].read(), found['ContentType'], found['Metadata'])

    def names(self) -> list[str]:
        return [entry.name for entry in self.storage.list('')]

    def upload(self, data: bytes, name: str, **options: Any) -> Any:
        self.storage.upload(io.BytesIO(data), name, progress_callback=self.progress.append, **options)
        return (self.progress, self.stored(name))

    def download(self, name: str) -> Any:
        back = io.BytesIO(b'12345')
        back.seek(2)
        self.storage.download(name, back, progress_callback=self.progress.append)
        return (self.progress, back.getvalue())

    def get(self, name: str) -> bytes:
        assert self.storage.get(path=name, dest=str(self.directory / 'got')) is None  # type: ignore[func-returns-value]
        return (self.directory / 'got').read_bytes()

    def link(self, operation: Any, method: str = 'GET', headers: Any = None, data: bytes | None = None, **options: Any) -> Any:
        url = self.storage.link_to(path='a', operation=operation, expire=soon(), **options)
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}, method=method)) as answer:
                return [answer.status, answer.read(), answer.headers]
        except urllib.error.HTTPError as error:
            return [error.code]


def soon(hours: float = 1) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)


def aborted(place: Place, data: bytes) -> list[str]:
    with place.storage.open('a', 'w') as file:
        assert isinstance(file, S3Writer)
        file.write(data)
        file.abort()
    return place.names()


def reads(place: Place, *sizes: int) -> list[bytes]:
    with place.put('a').open('a', 'r') as file:
        return [file.read(size) for size in sizes]


def with_closed(place: Place, mode: str, use: Callable[[Any], object]) -> object:
    file = place.put('a').open('a', mode)
    file.close()
    file.close()
    return use(file)


def with_writer(place: Place, use: Callable[[S3Writer], object]) -> object:
    with place.storage.open('a', 'w') as file:
        assert isinstance(file, S3Writer)
        return use(file)


def entry_of(place: Place) -> Any:
    (entry,) = place.put('a').list(path='a')
    assert entry.last_modified is not None
    assert entry.last_modified.tzinfo is not None
    assert (entry[0], entry[2], len(entry)) == (entry.name, entry.size, 3)
    return (isinstance(entry, ListEntry), entry.name, entry.size)


def attributes(file: Any) -> Any:
    with file:
        return (file.bucket, file.filename, str(file.mode), file.iter_chunk_size, isinstance(file, S3FileBase))


def written(place: Place, data: bytes, **options: Any) -> Any:
    with S3Writer(BUCKET, 'a', place.storage.client, **options) as file:
        file.write(data)
    return place.stored('a')


BLANK = 'binary/octet-stream'
# A call, and its result; an exception class if it raises.
CALLS: dict[str, tuple[Callable[[Place], Any], Any]] = {
    'names': (lambda at: (at.storage.name, at.storage.bucket, str(at.storage)), ('s3', BUCKET, 'S3Storage')),
    'list nothing': (lambda at: at.storage.list(''), []),
    'list entry': (entry_of, (True, 'a', 4)),
    'list prefix': (lambda at: (at.put('a/1'), at.put('b'), at.storage.list('a')[0].name)[2], 'a/1'),
    'list slash': (lambda at: (at.put('a'), at.put('/b'), [entry.name for entry in at.storage.list('/')])[2], ['/b']),
    'list odd names': (lambda at: (at.put('a b+%20'), at.put('ü&<'), at.names())[2], ['a b+%20', 'ü&<']),
    'open missing': (lambda at: at.storage.open('a', 'r'), FileNotFoundInStorageError),
    'open both': (lambda at: at.storage.open('a', FileMode.read | FileMode.write), NotImplementedError),
    'open rw': (lambda at: at.storage.open('a', 'rw'), NotImplementedError),
    'open neither': (lambda at: at.storage.open('a', FileMode(0)), ValueError),
    'open no letter': (lambda at: at.storage.open('a', 'xb'), ValueError),
    'open wrong type': (lambda at: at.storage.open('a', 3), ValueError),  # type: ignore[arg-type]
    'open other letters': (lambda at: (at.put('a'), at.read('a', 'r+t'))[1], b'data'),
    'open keywords': (lambda at: at.put('a').open(path='a', mode='r', extra_args=TYPES).read(9), b'data'),
    'open slash': (lambda at: (at.put('/a', b'slash'), at.put('a'), at.read('/a'))[2], b'slash'),
    'read parts': (
        lambda at: reads(at, 1, 2, 9, 9),
        [b'd', b'at', b'a', b''],
    ),
    'read nothing': (lambda at: at.put('a').open('a', 'r').read(0), b''),
    'read empty': (lambda at: at.put('a', b'').open('a', 'r').read(9), b''),
    # There an error of urllib3.
    'read closed': (lambda at: with_closed(at, 'r', lambda file: file.read(1)), ValueError),
    'reader writes': (lambda at: at.put('a').open('a', 'r').write(b''), NotImplementedError),
    'reader iterates': (lambda at: [len(x) for x in at.put('a', DATA).open('a', 'r')], [5 * MIB, 5 * MIB, 2 * MIB]),
    'reader in chunks': (lambda at: list(at.put('a').open('a', 'r').iter_chunks(chunk_size=3)), [b'dat', b'a']),
    'reader attributes': (lambda at: attributes(at.put('a').open('a', 'r')), (BUCKET, 'a', 'rb', 5 * MIB, True)),
    'reader of client': (lambda at: S3Reader(bucket=BUCKET, filename='a', client=at.put('a').client).read(9), b'data'),
    # There a NoSuchKey of botocore.
    'reader of nothing': (lambda at: S3Reader(BUCKET, 'a', at.storage.client), FileNotFoundInStorageError),
    'write': (lambda at: at.write('a', b'x'), (b'x', BLANK, {})),
    'write slash': (lambda at: (at.write('/a', b'x'), at.write('a', b'y'), at.stored('/a')[0])[2], b'x'),
    'write parts': (lambda at: at.write('a', DATA)[0] == DATA, True),
    'write without a type': (lambda at: at.write('page.html', b'x')[1], BLANK),
    'write a type': (lambda at: at.write('a', b'x', extra_args=TYPES), (b'x', 'a/b', {'k': 'v'})),
    'write parts of a type': (lambda at: at.write('a', DATA, extra_args=TYPES)[1:], ('a/b', {'k': 'v'})),
    'write memory': (lambda at: at.write('a', memoryview(b'x'))[0], b'x'),  # type: ignore[arg-type]
    'write text': (lambda at: at.write('a', 'text'), TypeError),  # type: ignore[arg-type]
    # There no object.
    'write nothing': (lambda at: at.write('a', b''), (b'', BLANK, {})),
    # There a ParamValidationError of botocore.
    'write unknown option': (lambda at: at.write('a', b'x', extra_args={'Nonsense': 'x'}), s3po.ConfigurationError),
    # There it begins another object.
    'write closed': (lambda at: with_closed(at, 'w', lambda file: file.write(b'x')), ValueError),
    'writer returns': (lambda at: with_writer(at, lambda file: file.write(b'')), None),
    'writer aborts': (lambda at: aborted(at, b'x'), []),
    'writer aborts parts': (lambda at: aborted(at, DATA), []),
    'writer reads': (lambda at: with_writer(at, lambda file: file.read(1)), NotImplementedError),
    'writer iterates': (lambda at: with_writer(at, list), NotImplementedError),
    'writer attributes': (lambda at: attributes(at.storage.open('a', 'w')), (BUCKET, 'a', 'wb', 5 * MIB, True)),
    'writer of client': (lambda at: written(at, b'x', chunk_size=6 * MIB, extra_args=TYPES), (b'x', 'a/b', {'k': 'v'})),
    # There parts that S3 refuses.
    'writer of small chunks': (lambda at: written(at, b'x', chunk_size=100), s3po.ConfigurationError),
    'delete': (lambda at: (at.put('a'), at.put('/a').delete('a'), at.names())[1:], (None, ['/a'])),
    'delete missing': (lambda at: at.storage.delete(path='a'), None),  # type: ignore[func-returns-value]
    'copy': (lambda at: (at.put('/a').copy(current_file='/a', new_file='/b'), at.stored('/b')[0]), (None, b'data')),
    'copy odd names': (lambda at: (at.put('a b+ü').copy('a b+ü', 'c %20'), at.stored('c %20')[0]), (None, b'data')),
    # There a NoSuchKey of botocore.
    'copy missing': (lambda at: at.storage.copy('a', 'b'), FileNotFoundInStorageError),
    'get': (lambda at: (at.put('/a'), at.get('/a'))[1], b'data'),
    'get missing': (lambda at: at.get('a'), FileNotFoundInStorageError),
    'get into no directory': (lambda at: at.put('a').get('a', at.directory / 'no' / 'a'), FileNotFoundError),
    'put': (lambda at: (at.storage.put(path=at.local(b'x'), dest='a'), at.stored('a')), (None, (b'x', BLANK, {}))),
    'put missing': (lambda at: at.storage.put(at.directory / 'no', 'a'), FileNotFoundError),
    'upload': (lambda at: at.upload(b'x', 'a'), ([1], (b'x', BLANK, {}))),
    'upload pieces': (lambda at: at.upload(DATA, 'a')[0], [5 * MIB, 10 * MIB, 12 * MIB]),
    'upload a type': (lambda at: at.upload(b'x', 'a.txt', extra_args=TYPES), ([1], (b'x', 'a/b', {'k': 'v'}))),
    'upload keywords': (lambda at: (at.storage.upload(file_obj=io.BytesIO(b'x'), path='a'), at.names()), (None, ['a'])),
    # There a TypeError.
    'upload text': (lambda at: at.storage.upload(io.StringIO('text'), 'a'), s3po.ConfigurationError),  # type: ignore[arg-type]
    'download': (lambda at: (at.put('/a'), at.download('/a'))[1], ([4], b'12data')),
    'download pieces': (lambda at: (at.put('a', DATA), at.download('a')[0])[1], [5 * MIB, 10 * MIB, 12 * MIB]),
    'download empty': (lambda at: (at.put('a', b''), at.download('a'))[1], ([], b'12345')),
    'download missing': (lambda at: at.storage.download(path='a', file_obj=io.BytesIO()), FileNotFoundInStorageError),
    'link': (lambda at: (at.put('a'), at.link(ShareLinkOperation.download)[:2])[1], [200, b'data']),
    'link letter': (lambda at: (at.put('a'), at.link('d')[1])[1], b'data'),
    'link upload': (
        lambda at: (
            at.link(ShareLinkOperation.upload, 'PUT', {'Content-Type': 'application/octet-stream'}, b'x')[0],
            at.stored('a'),
        ),
        (200, (b'x', 'application/octet-stream', {})),
    ),
    'link upload of a type': (
        lambda at: (at.link('u', 'PUT', {'Content-Type': 'a/b'}, b'x', content_type='a/b')[0], at.stored('a')),
        (200, (b'x', 'a/b', {})),
    ),
    'link remove': (lambda at: (at.put('a'), at.link('r', 'DELETE')[0], at.names())[1:], (204, [])),
    'link two': (lambda at: at.link(ShareLinkOperation.download | ShareLinkOperation.upload), ValueError),
    'link none': (lambda at: at.link(ShareLinkOperation(0)), NotImplementedError),
    'link wrong type': (lambda at: at.link(3), ValueError),
    'link past': (lambda at: at.storage.link_to('a', 'd', soon(-1)), ValueError),
    'link arrow': (lambda at: 'X-Amz-Expires=3' in at.storage.link_to('a', 'd', ArrowLike(soon())), True),  # type: ignore[arg-type]
    # There a link that S3 refuses.
    'link too long': (lambda at: at.storage.link_to('a', 'd', soon(200)), s3po.ConfigurationError),
    'modes': (lambda at: [str(FileMode.as_mode(x)) for x in ('r', 'w', 'rw', 'rb', 'q')], ['rb', 'wb', 'rwb', 'rb', 'b']),
    'operations': (lambda at: [str(ShareLinkOperation.as_operation(x)) for x in ('d', 'rud', 'q')], ['d', 'dur', '']),
}


@pytest.mark.parametrize('name', CALLS)
def test_calls(conn: s3po.Connection, tmp_path: pathlib.Path, name: str) -> None:
    """Each call has its result, or raises its error; no multipart upload is left."""
    call, expected = CALLS[name]
    place = Place(S3Storage(BUCKET, connection=conn), tmp_path)
    if isinstance(expected, type):
        with pytest.raises(expected):
            call(place)
    else:
        assert call(place) == expected
    assert not conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads')


def test_link_headers(moto_server: MotoServer, connect: Callable[..., s3po.Connection]) -> None:
    """A download link has the file name, the type and the encoding of the response."""
    storage = S3Storage(BUCKET, connection=connect(moto_server.endpoint_url))
    storage.client.create_bucket(Bucket=BUCKET)
    storage.upload(io.BytesIO(b'x'), 'a')
    url = storage.link_to('a', 'd', soon(), output_path='f.txt', content_type='a/b', content_encoding='x')

    with urllib.request.urlopen(url) as answer:
        assert answer.headers['content-disposition'] == 'attachment;filename=f.txt'
        assert (answer.headers['content-type'], answer.headers['content-encoding']) == ('a/b', 'x')


def test_error_names_the_storage(conn: s3po.Connection) -> None:
    """The error has the storage and the name; its text has both."""
    storage = S3Storage(BUCKET, connection=conn)
    with pytest.raises(FileNotFoundInStorageError) as caught:
        storage.open('a/b', 'r')

    assert caught.value.storage_type is storage
    assert caught.value.filename == 'a/b'
    assert str(caught.value) == str(FileNotFoundInStorageError('S3Storage', 'a/b')) == 'File a/b not found in S3Storage.'


STUB = """
import enum, typing
class arrow:
    @staticmethod
    def get(moment): return ('arrow', moment)
class ListEntry(typing.NamedTuple):
    name: str
    last_modified: object
    size: int
class FileMode(enum.Flag):
    read = enum.auto()
    write = enum.auto()
    @classmethod
    def as_mode(cls, obj): return obj if isinstance(obj, cls) else cls.read if 'r' in obj else cls.write
class ShareLinkOperation(enum.Flag):
    download = enum.auto()
    upload = enum.auto()
    remove = enum.auto()
    @classmethod
    def as_operation(cls, obj): return obj
class RemoteFile:
    iter_chunk_size = 5
    def __init__(self, mode): self.mode = mode
    def __del__(self): self.close()
    def __enter__(self): return self
class StorageBackend:
    def __init__(self, name): self.name = name
class FileNotFoundInStorageError(Exception):
    def __init__(self, storage_type, filename): self.storage_type = storage_type
"""
PROGRAM = """
import gc, pickle
import s3po, s3po.compat.keg_storage
from keg_storage.backends import base
from s3po.interfaces.storage import S3Storage, S3Reader
from tests.support.memory import MemoryTransport

memory = MemoryTransport()
memory.store.create_bucket('bucket')
storage = S3Storage('bucket', connection=s3po.Connection(transport=memory))
assert isinstance(storage, base.StorageBackend) and storage.name == 's3'
with storage.open('a', base.FileMode.write) as file:
    assert isinstance(file, base.RemoteFile)
    file.write(b'x')
(entry,) = storage.list('')
assert type(entry) is base.ListEntry and entry.last_modified[0] == 'arrow'
try:
    storage.open('missing', base.FileMode.read)
except base.FileNotFoundInStorageError as error:
    assert error.storage_type is storage and isinstance(error, (s3po.S3poError, FileNotFoundError))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
else:
    raise AssertionError('not raised')
storage.open('lost', base.FileMode.write).write(b'x')
gc.collect()
assert [entry.name for entry in storage.list('')] == ['a']
print(storage.connection.exists('bucket', 'a'))
"""


def ran(program: str, path: pathlib.Path) -> str:
    """The output of a program that can import the modules in a directory."""
    environment = {'PYTHONPATH': f'{path}:{ROOT}', 'AWS_EC2_METADATA_DISABLED': 'true'}
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(program)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_where_keg_storage_is_installed(tmp_path: pathlib.Path) -> None:
    """S3Storage is a subclass of its StorageBackend, takes its values, returns them, and raises errors of its class."""
    package = tmp_path / 'keg_storage' / 'backends'
    package.mkdir(parents=True)
    (tmp_path / 'keg_storage' / '__init__.py').touch()
    (package / '__init__.py').touch()
    (package / 'base.py').write_text(STUB)

    assert ran(PROGRAM, tmp_path) == 'True'


def test_keg_storage_is_not_imported_by_s3po(tmp_path: pathlib.Path) -> None:
    """`import s3po` and `import s3po.compat` do not import keg_storage, nor its replacement."""
    (tmp_path / 'keg_storage.py').write_text('raise ZeroDivisionError')
    program = "import sys, s3po, s3po.compat; print([name for name in sys.modules if 'storage' in name])"

    assert ran(program, tmp_path) == '[]'


def test_import_lines() -> None:
    """The import lines of keg_storage work with `s3po.compat` before them."""
    assert backends.s3.S3Storage is S3Storage
    assert backends.base.FileMode is FileMode
    for name in ('FileMode', 'FileNotFoundInStorageError', 'RemoteFile', 'S3Storage', 'ShareLinkOperation', 'StorageBackend'):
        assert hasattr(backends, name)
        assert hasattr(keg_storage, name)
