"""The examples of the documents on which the project is based: each is a function that runs code blocks and checks the results.

The blocks are in tests/data/seeds, as they are in the documents. Before it runs, a block is changed as listed in CHANGES; the
import lines of other tools become those of s3po.compat. The tests run the examples against moto's server, and against real
stores in `make integration`.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import pathlib
import unittest
from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import quote

import pytest

import s3po
from s3po.config import MIB
from tests.support.metadata import MetadataService

__all__ = ['EXAMPLES', 'Place', 'prepare']

BLOCKS: Final = pathlib.Path(__file__).parent.parent / 'data' / 'seeds'

# What is replaced in the blocks of a document, if it occurs. {bucket}, {url}, {key_id} and {secret} are those of the Place.
CHANGES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    'first': (
        # Python 2.
        ("print conn.download('bucket', 'key')", "print(conn.download('bucket', 'key'))"),
        ("print 'Downloaded %s from %s' % (key, value)", "print('Downloaded %s from %s' % (key, value))"),
        # Mistakes of the document.
        ("['key.%i' for key in range(1000)]", "['key.%i' % key for key in range(1000)]"),
        ('Connectino()', 's3po.Connection()'),
        ("'bucket', key", "'{bucket}', key"),
        ("'bucket', 'key'", "'{bucket}', 'key'"),
    ),
    'streaming': (
        ('from s3stream import', 'from s3po.compat.s3stream import'),
        # A comma is missing.
        ('Callback=file_obj.prune\n', 'Callback=file_obj.prune,\n'),
        ("f'/path/to/local_or_networked_file_or_FTP_location'", "'upload_item'"),
        ('BUCKET_NAME', '{bucket}'),
    ),
    'handtruck': (
        ('from handtruck', 'from s3po.compat.handtruck'),
        ('"http://s3-url"', '"{url}"'),
        ('"key-id"', '"{key_id}"'),
        ('"key_id"', '"{key_id}"'),
        ('"hackme"', '"{secret}"'),
        ('access_key="access_key"', 'access_key="{secret}"'),
        ("'aaaa'", "'{key_id}'"),
        ("'bbbb'", "'{secret}'"),
        ('"bucket/', '"{bucket}/'),
        ('/path_to_file', 'path_to_file'),
        # A bucket in the name of the host needs a resolver: see tests/functional/test_client.py.
        ('"http://bucket.your-s3-host"', '"{url}/{bucket}"'),
        ('"http://key_id:access_key@your-s3-host"', '"{url_with_keys}"'),
        # The document has @ and : exchanged.
        ('"http://key@hack-me:your-s3-host"', '"{url_with_keys}"'),
        ('"http://your-s3-host/bucket"', '"{url}/{bucket}"'),
        ('"http://your-s3-host"', '"{url}"'),
        # The document omits the path of the file.
        ('"test/bigfile.csv",', '"{bucket}/bigfile.csv", "bigfile.csv",'),
        ('"dump/bigfile.csv"', '"{bucket}/bigfile.csv"'),
        ('/home/user/bigfile.csv', 'back.csv'),
    ),
    's3_po': (
        # `async` is a keyword of Python today.
        ('async=True', "**{'async': True}"),
        ('async=False', "**{'async': False}"),
        ('my-bucket', '{bucket}'),
    ),
}
# For the examples whose Connection has S3-PO's defaults: deleted after the upload, in the background.
OLD_DEFAULTS: Final = ('import s3po', 'from s3po.compat import legacy as s3po')


class Place:
    """Where the examples run: the current directory, and the environment as prepared by prepare().

    Attributes:
        endpoint_url: The server.
        bucket: An empty bucket.
        key_id: The access key, which the environment has too.
        secret: Its secret.
        conn: A connection for checking the results.
    """

    def __init__(self, endpoint_url: str, bucket: str, key_id: str, secret: str) -> None:
        self.endpoint_url = endpoint_url
        self.bucket = bucket
        self.key_id = key_id
        self.secret = secret
        self.conn = s3po.Connection(
            endpoint_url=endpoint_url, region='us-east-1', access_key_id=key_id, secret_access_key=secret
        )

    def run(self, document: str, *blocks: str, also: tuple[str, str] | None = None, **names: Any) -> dict[str, Any]:
        """Run blocks of a document one after the other, and return their global names.

        Args:
            document: The name of the file of the blocks.
            blocks: The blocks.
            also: A change for this example only.
            names: Names that the blocks need.
        """
        texts = dict(each.split('\n', 1) for each in (BLOCKS / f'{document}.txt').read_text().split('=== ')[1:])
        names['__name__'] = 'example'
        for block in blocks:
            text = texts[block]
            for old, new in (*CHANGES[document], *([also] if also else [])):
                text = text.replace(old, self._filled(new))
            # The blocks of handtruck's document have `await` outside of functions.
            code = compile(text, f'{document}: {block}', 'exec', ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            value = eval(code, names)
            if inspect.iscoroutine(value):
                asyncio.run(value)
        return names

    def _filled(self, text: str) -> str:
        with_keys = self.endpoint_url.replace('://', f'://{self.key_id}:{quote(self.secret, safe="")}@')
        values = {
            'bucket': self.bucket,
            'url': self.endpoint_url,
            'key_id': self.key_id,
            'secret': self.secret,
            'url_with_keys': with_keys,
        }
        for name, value in values.items():
            text = text.replace(f'{{{name}}}', value)
        return text


def prepare(place: Place, directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment and the current directory, as the examples give neither keys nor full paths."""
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', place.key_id)
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', place.secret)
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'us-east-1')
    monkeypatch.setenv('AWS_ENDPOINT_URL_S3', place.endpoint_url)
    monkeypatch.setenv('HOME', str(directory))
    for name in ('AWS_SHARED_CREDENTIALS_FILE', 'AWS_CONFIG_FILE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(directory)


def file(name: str, data: bytes) -> pathlib.Path:
    """A new file in the current directory."""
    path = pathlib.Path(name)
    path.write_bytes(data)
    return path


# ---------------------------------------------------------------------- the first s3po


def first_basic(place: Place) -> None:
    """A str and a file up, bytes and a file down; both files in text mode."""
    file('foo.txt', b'foo in a file')
    printed: list[object] = []
    place.run('first', 'basic', print=printed.append)

    assert printed == [b'foo in a file']
    assert pathlib.Path('foo.txt').read_text() == 'foo in a file'


def first_batch(place: Place) -> None:
    """A thousand uploads are complete when the `with` block ends, and each download calls its callback."""
    printed: list[str] = []
    keys = place.run('first', 'batch', 'callbacks', conn=s3po.Connection(), print=printed.append)['keys']

    assert sorted(str(entry) for entry in place.conn.list(place.bucket)) == sorted(keys)
    assert sorted(printed) == sorted(f"Downloaded {key} from b'hello'" for key in keys)


def first_mock(place: Place) -> None:
    """Within the mock nothing reaches the store."""
    place.run('first', 'mock', conn=s3po.Connection())
    names = place.run('first', 'test_case', s3po=s3po, unittest=unittest)
    case = type('WithTests', (names['MyTest'],), {'test_one': _test, 'test_two': _test})
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)

    assert (result.testsRun, result.errors, result.failures) == (2, [], [])
    assert not place.conn.exists(place.bucket, 'key')


def _test(case: Any) -> None:
    """A test of the document's test case: the bucket is there, and empty at the beginning of each test."""
    assert list(case.s3po.list('bucket')) == []
    case.s3po.upload('bucket', 'key', 'one')


# ---------------------------------------------------------------------- handtruck


async def gen() -> AsyncIterator[bytes]:
    """The generator that some blocks use without defining it."""
    await asyncio.sleep(0.001)
    yield b'some bytes'


def handtruck_usage(place: Place) -> None:
    """The calls for one object, and the listing; `await` outside of functions runs in a coroutine."""
    file('path_to_file', b'in a file')
    place.conn.upload(place.bucket, 'key', b'data')
    place.conn.upload(place.bucket, 'prefix/key', b'data')
    seen: list[Any] = []
    names = place.run('handtruck', 'usage', do_work=seen.append)

    assert names['data'] == b'data'
    assert [[(found.key, found.size) for found in page] for page in seen] == [[('prefix/key', 4)]]
    assert place.conn.download(place.bucket, 'str') == place.conn.download(place.bucket, 'bytes') == b'hello, world'
    assert place.conn.download(place.bucket, 'file') == b'in a file'
    assert not place.conn.exists(place.bucket, 'key')


def handtruck_bucket(place: Place) -> None:
    """The bucket in the URL or in the name of the object."""
    names = place.run('handtruck', 'bucket', gen=gen)

    assert names['resp'].status_code == 200
    assert place.conn.download(place.bucket, 'key') == b'some bytes'


def handtruck_auth(place: Place) -> None:
    """The credentials as keywords, or in the URL."""
    names = place.run('handtruck', 'auth')

    for client in (names['client_credentials_as_kw'], names['client_credentials_in_url']):
        assert client.put(f'{place.bucket}/key', b'x') == 200
        assert place.secret not in repr(client)


def handtruck_credentials(place: Place) -> None:
    """All sources of credentials."""
    config = f'[default]\naws_access_key_id = {place.key_id}\naws_secret_access_key = {place.secret}\nregion = us-east-1\n'
    pathlib.Path('.aws').mkdir()
    for path in ('.aws/credentials', '.my-custom-aws-credentials'):
        pathlib.Path(path).write_text(config)
    for block in ('static', 'url', 'environment', 'config', 'config_file', 'merge'):
        names = place.run('handtruck', block)
        assert names['client'].put(f'{place.bucket}/key', block) == 200
        assert place.conn.download(place.bucket, 'key') == block.encode()


def handtruck_metadata(place: Place) -> None:
    """Credentials of the metadata service, which run while the client is made."""
    service = MetadataService()
    service.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv('AWS_EC2_METADATA_DISABLED', raising=False)
            patch.setenv('AWS_EC2_METADATA_SERVICE_ENDPOINT', service.url)
            names = place.run('handtruck', 'metadata')
    finally:
        service.stop()

    assert any('/security-credentials/' in target for _, target, _ in service.asked)
    assert names['client'].put(f'{place.bucket}/key', b'x') == 200


def handtruck_large_files(place: Place) -> None:
    """Uploads in parts and downloads in ranges."""
    data = os.urandom(17 * MIB)
    file('bigfile.csv', data)
    place.run('handtruck', 'multipart', 'parallel')

    assert pathlib.Path('back.csv').read_bytes() == data
    assert place.conn.head(place.bucket, 'bigfile.csv').content_type == 'text/csv'


# ---------------------------------------------------------------------- S3StreamingTransfer


def streaming_simple(place: Place) -> None:
    """With plain boto3."""
    data = b''.join(b'%d line\n' % number for number in range(200_000)) + os.urandom(9 * MIB)
    file('upload_item', data)
    place.run('streaming', 'simple')['main']()

    assert place.conn.download(place.bucket, 'OBJECT_NAME') == data


def streaming_generator(place: Place) -> None:
    """The enhanced generator of the document itself."""
    data = b''.join(b'%d line\n' % number for number in range(200_000))
    file('upload_item', data)
    printed: list[str] = []
    place.run('streaming', 'simple', 'generator', print=lambda text, **_: printed.append(text))['main']()

    assert printed[-1] == f'Uploaded: {len(data)} (100.0%)'
    assert place.conn.download(place.bucket, 'OBJECT_NAME') == data


# ---------------------------------------------------------------------- S3-PO


def s3_po_auto_deletion(place: Place) -> None:
    """Files are kept with delete=False, and deleted with delete=True, as the connection or the call says."""
    foo, bar = file('foo.txt', b'foo'), file('bar.txt', b'bar')
    # The synchronous defaults of s3po.Connection.
    conn = place.run('s3_po', 'connection', 'keep', 'delete')['conn']

    assert (foo.exists(), bar.exists()) == (True, False)
    assert conn.downloadString(place.bucket, 'my-key') == b'bar'


def s3_po_synchronous(place: Place) -> None:
    """With `async: False`, uploads are synchronous by default; one with `async: True` returns at once."""
    foo, bar = file('foo.txt', b'foo'), file('bar.txt', b'bar')
    conn = place.run('s3_po', 'connection', 'synchronous', also=OLD_DEFAULTS)['conn']

    assert place.conn.download(place.bucket, 'my-key') == b'foo'
    conn.stopLoop()
    assert place.conn.download(place.bucket, 'my-key') == b'bar'
    assert not foo.exists()
    assert not bar.exists()


def s3_po_options(place: Place) -> None:
    """Retries, headers and compression, as methods of s3po.Connection."""
    file('foo.txt', b'foo' * 1000)
    conn = place.run('s3_po', 'connection', 'retries', 'headers')['conn']
    assert place.conn.head(place.bucket, 'my-key').content_type == 'text/plain'

    place.run('s3_po', 'compress', conn=conn)
    info = place.conn.head(place.bucket, 'my-key')
    assert info.headers['content-encoding'] == 'gzip'
    assert info.size_bytes < 100
    assert conn.downloadString(place.bucket, 'my-key') == b'foo' * 1000


def s3_po_background(place: Place) -> None:
    """The loop in the background."""
    files = [file(name, name.encode()) for name in ('foo.txt', 'bar.txt', 'yes.txt')]
    connection = place.run('s3_po', 'background', also=OLD_DEFAULTS)['connection']
    connection.stopLoop()

    assert connection.downloadString(place.bucket, 'my-key') in (b'foo.txt', b'bar.txt', b'yes.txt')
    assert not any(path.exists() for path in files)


# ---------------------------------------------------------------------- keg_storage


def storage_all(place: Place) -> None:
    """The document has signatures only: each is called."""
    from s3po.compat.keg_storage.backends.base import FileMode, FileNotFoundInStorageError, ListEntry
    from s3po.compat.keg_storage.backends.s3 import S3FileBase, S3Reader, S3Storage, S3Writer

    storage = S3Storage(place.bucket, 'us-east-1', place.key_id, place.secret, None, 's3')
    assert storage.name == 's3'
    client = place.conn.conn
    with storage.open('a/file', FileMode.write) as written:
        written.write(b'0123456789')
    assert [(entry.name, entry.size) for entry in storage.list('a/')] == [('a/file', 10)]
    assert isinstance(storage.list('a/')[0], ListEntry)
    reader = S3Reader(place.bucket, 'a/file', client)
    assert isinstance(reader, S3FileBase)
    assert (reader.read(4), reader.read(100), reader.read(1)) == (b'0123', b'456789', b'')
    reader.close()
    reader.close()
    writer = S3Writer(place.bucket, 'a/large', client, chunk_size=10485760)
    data = os.urandom(21 * MIB)
    for offset in range(0, len(data), 1_000_003):
        writer.write(data[offset : offset + 1_000_003])
    writer.close()
    writer.close()
    with storage.open('a/large', 'rb') as opened:
        assert b''.join(opened.iter_chunks()) == data
    discarded = S3Writer(place.bucket, 'a/discarded', client)
    discarded.write(data)
    discarded.abort()
    with pytest.raises(FileNotFoundInStorageError):
        storage.open('a/discarded', 'r')
    storage.delete('a/file')
    assert [entry.name for entry in storage.list('')] == ['a/large']


EXAMPLES: list[Callable[[Place], None]] = [
    first_basic,
    first_batch,
    first_mock,
    handtruck_usage,
    handtruck_bucket,
    handtruck_auth,
    handtruck_credentials,
    handtruck_metadata,
    handtruck_large_files,
    streaming_simple,
    streaming_generator,
    s3_po_auto_deletion,
    s3_po_synchronous,
    s3_po_options,
    s3_po_background,
    storage_all,
]
