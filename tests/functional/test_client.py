"""S3Client beyond the examples of its document: names and buckets, responses, parts and ranges, rejected arguments."""

from __future__ import annotations

import asyncio
import os
import pathlib
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Any

import gevent.socket
import pytest

import s3po
from s3po import S3Client
from s3po.config import MIB
from s3po.credentials import StaticCredentials
from s3po.errors import ConfigurationError, CredentialsError, NotFound
from s3po.interfaces.places import Places
from tests.conftest import BUCKET, impatient
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.servers import MotoServer, Store

KEYS = {'access_key_id': 'key', 'secret_access_key': SECRET_ACCESS_KEY, 'region': 'us-east-1'}


@pytest.fixture
def client(store: Store, conn: s3po.Connection) -> Iterator[S3Client]:
    with S3Client(store.endpoint_url, **KEYS, connection={'retry': impatient()}) as found:
        yield found


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ('url', 'name', 'endpoint', 'style', 'bucket', 'key'),
    [
        ('http://s3-url', 'bucket/a/b', 'http://s3-url', 'path', 'bucket', 'a/b'),
        ('http://s3-url/', '/bucket/a', 'http://s3-url', 'path', 'bucket', 'a'),
        ('http://s3-url/bucket', 'a/b', 'http://s3-url', 'path', 'bucket', 'a/b'),
        ('http://s3-url/bucket/pre/fix', 'a', 'http://s3-url', 'path', 'bucket', 'pre/fix/a'),
        ('http://s3-url:9000/bucket', '/a', 'http://s3-url:9000', 'path', 'bucket', 'a'),
        ('http://127.0.0.1:9000', 'bucket/a', 'http://127.0.0.1:9000', 'path', 'bucket', 'a'),
        ('http://[::1]:9000', 'bucket/a', 'http://[::1]:9000', 'path', 'bucket', 'a'),
        ('http://bucket.your-s3-host', 'key', 'http://your-s3-host', 'virtual', 'bucket', 'key'),
        ('http://bucket.localhost:9000', 'a/b', 'http://localhost:9000', 'virtual', 'bucket', 'a/b'),
        ('https://s3.eu-west-1.amazonaws.com', 'bucket/a', 'https://s3.eu-west-1.amazonaws.com', 'path', 'bucket', 'a'),
        (
            'https://my.bucket.s3.eu-west-1.amazonaws.com',
            'a/b',
            'https://s3.eu-west-1.amazonaws.com',
            'virtual',
            'my.bucket',
            'a/b',
        ),
    ],
)
def test_names(url: str, name: str, endpoint: str, style: str, bucket: str, key: str) -> None:
    """The URL and the name together make the request's path; the bucket follows from both."""
    place = S3Client(url, **KEYS)._places.find(name)

    assert (place.bucket, place.key) == (bucket, key)
    assert place.connection._arguments['endpoint_url'] == endpoint
    assert place.connection._arguments['addressing_style'] == style


def test_bucket_in_host(moto_server: MotoServer, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the bucket is in the host name, requests reach it. (Here the name resolves to the loopback address.)"""
    find = gevent.socket.getaddrinfo

    def find_here(host: str, *arguments: Any) -> Any:
        return find('127.0.0.1' if host == 'virtual.localhost' else host, *arguments)

    monkeypatch.setattr(gevent.socket, 'getaddrinfo', find_here)
    conn = connect(moto_server.endpoint_url)
    conn.create_bucket('virtual')
    port = moto_server.endpoint_url.rpartition(':')[2]
    with S3Client(f'http://virtual.localhost:{port}', **KEYS) as client:
        assert client.put('some/key', b'data') == 200
        assert client.put('key', b'x') == 200
        assert client.get('some/key').content == b'data'
        assert [[entry.key for entry in page] for page in client.list_objects_v2()] == [['key', 'some/key']]
        assert client.copy('key', 'copied') == 200
    assert [entry.key for entry in conn.list('virtual')] == ['copied', 'key', 'some/key']


def test_bucket_in_host_by_argument() -> None:
    """The caller can state whether the bucket is in the host name."""
    places = Places('http://data.example.com', KEYS, True)
    assert places.find('a/b')[1:] == ('data', 'a/b')
    assert places.find_bucket('')[1:] == ('data', '')
    assert Places('http://data.example.com', KEYS, False).find('abc/b')[1:] == ('abc', 'b')
    assert Places('http://data.example.com', KEYS, None).find_bucket('')[1:] == ('data', '')
    with pytest.raises(ConfigurationError, match="must be 'bucket/key'"):
        Places('http://data.example.com', KEYS, False).find('key')
    with pytest.raises(ConfigurationError, match='must be the name of a bucket'):
        Places('http://localhost', KEYS, None).find_bucket('')
    with pytest.raises(ConfigurationError, match='is empty'):
        places.find('')
    with pytest.raises(ConfigurationError, match='must be a str'):
        places.find(5)  # type: ignore[arg-type]


@pytest.mark.parametrize('url', ['', 'your-s3-host', 'ftp://host', 'http://', 'http:///bucket', 'http://host:port', None])
def test_urls_that_are_none(url: Any) -> None:
    """The error for an invalid URL shows the expected form."""
    with pytest.raises(ConfigurationError, match='url must begin with http'):
        S3Client(url)


def test_no_part_of_a_secret_is_shown() -> None:
    """A secret that contains a slash ends up where the port should be; the error shows no part of it."""
    with pytest.raises(ConfigurationError) as caught:
        S3Client(f'http://key:{SECRET_ACCESS_KEY}@host')
    assert SECRET_ACCESS_KEY[:6] not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(ConfigurationError, match='it has a query or a fragment'):
        S3Client('http://host/?a=b')


def test_half_a_key_pair(store: Store) -> None:
    """Half a key pair is an error, whether passed as a keyword or in the URL."""
    with pytest.raises((ConfigurationError, CredentialsError), match='secret_access_key'):
        S3Client(store.endpoint_url, access_key_id='key').head('bucket/key')
    with pytest.raises((ConfigurationError, CredentialsError)):
        S3Client(store.endpoint_url.replace('://', '://key@'))


def test_keys_go_before_credentials(store: Store, conn: s3po.Connection) -> None:
    """Keyword arguments precede credentials=, which precede the URL; none is sent as HTTP Basic authentication."""
    url = store.endpoint_url.replace('://', '://inurl:secret@')
    fixed = StaticCredentials(access_key_id='fixed', secret_access_key='secret')
    for arguments, expected in (
        ({}, 'inurl'),
        ({'credentials': fixed}, 'fixed'),
        ({'credentials': fixed, 'access_key_id': 'word', 'secret_access_key': 'secret'}, 'word'),
    ):
        with S3Client(url, region='us-east-1', **arguments) as client:
            client.put(f'{BUCKET}/{expected}', b'')
        sent = store.log('PutObject')[-1]['headers']['authorization']
        assert sent.startswith('AWS4-HMAC-SHA256')
        assert f'Credential={expected}/' in sent


# ---------------------------------------------------------------------- responses


def test_response(client: S3Client) -> None:
    """A response equals its status, can be awaited, and has the store's headers and body."""
    put = client.put(f'{BUCKET}/key', '{"a": 1}', headers={'Content-Type': 'application/json'})
    assert put == 200 == HTTPStatus.OK
    assert put != 404
    assert put != 'text'
    assert hash(put) == hash(200)
    got = client.get(f'{BUCKET}/key')
    assert (got.text, got.json(), got.content) == ('{"a": 1}', {'a': 1}, b'{"a": 1}')
    assert got.etag == put.etag == client.head(f'{BUCKET}/key').etag
    assert got.headers['content-type'] == 'application/json'
    assert repr(got) == '<Response 200, 8 bytes>'
    part = client.get(f'{BUCKET}/key', headers={'Range': 'bytes=1-3', 'If-Match': f'"{got.etag}"'})
    assert (part.status_code, part.content) == (206, b'"a"')
    assert client.get(f'{BUCKET}/key', headers={'range': 'bytes=2-'}).content == b'a": 1}'
    missing = client.get(f'{BUCKET}/missing')
    assert missing == 404
    assert isinstance(missing.error, NotFound)
    assert 'missing' in missing.text
    assert client.head(f'{BUCKET}/missing') == 404
    assert client.get('nobucket/missing') == 404
    assert client.delete(f'{BUCKET}/missing') == 204
    for headers in ({'Range': 'bytes=5'}, {'Range': 'lines=1-2'}, {'Range': 'bytes=5-3'}, {'Range': 'bytes=-'}):
        with pytest.raises(ConfigurationError, match='headers: '):
            client.get(f'{BUCKET}/key', headers=headers)


def test_await_and_pages(client: S3Client) -> None:
    """A response can be awaited in a running event loop; pages can be read with `for` and `async for`."""
    for number in range(7):
        client.put(f'{BUCKET}/a/{number}', b'x')

    async def use() -> list[int]:
        async with client:
            assert (await client.head(f'{BUCKET}/a/1')) == 200
        return [len(page) async for page in client.list_objects_v2(BUCKET, prefix='a/', max_keys=3)]

    assert asyncio.run(use()) == [3, 3, 1]
    pages = list(client.list_objects_v2(f'{BUCKET}/', 'a/', max_keys=4))
    assert [[entry.key for entry in page] for page in pages] == [[f'a/{n}' for n in range(4)], [f'a/{n}' for n in range(4, 7)]]
    assert (pages[0][0].size, pages[0][0].storage_class) == (1, 'STANDARD')
    assert pages[0][0].last_modified.tzinfo is not None
    (page,) = client.list_objects_v2(BUCKET, delimiter='/')
    assert (page, page.prefixes) == ([], ['a/'])
    assert list(client.list_objects_v2(BUCKET, prefix='none')) == []


def test_async_iterables(client: S3Client) -> None:
    """Async iterables are uploaded and closed within the call, with and without a running event loop, also in parts."""
    closed: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            for number in range(3):
                await asyncio.sleep(0.001)
                yield b'%d' % number * 4 * MIB
        finally:
            closed.append('x')

    async def failing() -> AsyncIterator[bytes]:
        yield b'x'
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def use() -> None:
        assert asyncio.get_running_loop().is_running()
        assert (await client.put_multipart(f'{BUCKET}/running', pieces(), part_size=5 * MIB)) == 200
        assert asyncio.get_running_loop().is_running()
        await asyncio.sleep(0)

    asyncio.run(use())
    assert client.put(f'{BUCKET}/plain', pieces()) == 200
    assert client.get(f'{BUCKET}/plain').content == client.get(f'{BUCKET}/running').content
    assert client.head(f'{BUCKET}/running').etag.endswith('-3')
    assert closed == ['x', 'x']
    with pytest.raises(ZeroDivisionError):
        client.put(f'{BUCKET}/never', failing())
    assert client.head(f'{BUCKET}/never') == 404
    assert client.put(f'{BUCKET}/empty', iter(())) == 200
    assert client.get(f'{BUCKET}/empty').content == b''


def test_copy_rename_presign(client: S3Client, conn: s3po.Connection) -> None:
    """copy() and rename() work within the store; presign_url() returns a URL that works without keys."""
    client.put(f'{BUCKET}/a', b'data')
    assert client.copy(f'{BUCKET}/a', f'{BUCKET}/b') == 200
    assert client.rename(f'{BUCKET}/b', f'{BUCKET}/c') == 200
    assert sorted(entry.key for entry in conn.list(BUCKET)) == ['a', 'c']
    assert 'X-Amz-Expires=60' in client.presign_url('get', f'{BUCKET}/a', expires=60)
    assert isinstance(client.copy(f'{BUCKET}/missing', f'{BUCKET}/x').error, NotFound)
    with pytest.raises(NotFound):
        client.rename(f'{BUCKET}/missing', f'{BUCKET}/x')


# ---------------------------------------------------------------------- parts and ranges


@pytest.mark.parametrize('size', [0, 1, 3, 5 * MIB, 12 * MIB + 7])
def test_parallel_download(client: S3Client, conn: s3po.Connection, tmp_path: pathlib.Path, size: int) -> None:
    """Parallel downloads work for empty objects, and for objects smaller than the number of workers."""
    data = os.urandom(size)
    conn.upload(BUCKET, 'key', data)
    assert client.get_file_parallel(f'{BUCKET}/key', tmp_path / 'a', workers_count=8, range_step=1000) == 200
    client.get_file_parallel(f'{BUCKET}/key', tmp_path / 'b', workers_count=4)

    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a', 'b']


def test_parallel_download_of_a_store_without_ranges(client: S3Client, store: Store, tmp_path: pathlib.Path) -> None:
    """If the store responds to a range with 200, the parallel download reads one stream."""
    data = os.urandom(12 * MIB)
    client.put(f'{BUCKET}/key', data)
    store.script({'operation': 'GetObject', 'times': None, 'action': {'ignore_range': True}})
    client.get_file_parallel(f'{BUCKET}/key', tmp_path / 'file', range_step=5 * MIB)

    assert (tmp_path / 'file').read_bytes() == data


def test_replaced_during_a_parallel_download(client: S3Client, store: Store, tmp_path: pathlib.Path) -> None:
    """If the object is replaced again and again, the download fails, and the target is unchanged."""
    client.put(f'{BUCKET}/key', os.urandom(12 * MIB))
    etag = client.head(f'{BUCKET}/key').etag
    gone = {'status': 412, 'code': 'PreconditionFailed'}
    store.script({'operation': 'GetObject', 'times': None, 'headers': {'if-match': f'"{etag}"'}, 'action': gone})
    (tmp_path / 'old').write_bytes(b'old')
    for name in ('new', 'old'):
        with pytest.raises(s3po.SourceChanged):
            client.get_file_parallel(f'{BUCKET}/key', tmp_path / name, range_step=5 * MIB)
    assert [path.name for path in tmp_path.iterdir()] == ['old']
    assert (tmp_path / 'old').read_bytes() == b'old'


def test_settings_of_the_connection(store: Store, conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """Options that are not passed come from the connection; its `silent` has no effect."""
    settings = {'config': s3po.TransferConfig(checksum='sha256'), 'silent': True, 'retry': impatient(0)}
    (tmp_path / 'file').write_bytes(b'x' * 6 * MIB)
    with S3Client(store.endpoint_url, **KEYS, connection=settings) as client:
        client.put_file_multipart(f'{BUCKET}/key', tmp_path / 'file')
        assert 'x-amz-checksum-sha256' in store.log('UploadPart')[0]['headers']
        store.script({'times': None, 'action': {'status': 500}})
        for call in (
            lambda: client.put(f'{BUCKET}/key', b''),
            lambda: client.put_file(f'{BUCKET}/key', tmp_path / 'file'),
            lambda: client.get(f'{BUCKET}/key'),
        ):
            refused = call()
            assert refused == 500
            with pytest.raises(s3po.TransferError):
                refused.raise_for_status()


def test_tries(client: S3Client, store: Store, tmp_path: pathlib.Path) -> None:
    """A part is tried as often as requested."""
    (tmp_path / 'file').write_bytes(b'x' * 11 * MIB)
    store.script({'operation': 'UploadPart', 'times': None, 'action': {'status': 500}})
    with pytest.raises(s3po.UploadError, match='gave up after 2 attempts'):
        client.put_file_multipart(f'{BUCKET}/key', tmp_path / 'file', part_upload_tries=2, workers_count=1)
    assert len(store.log('UploadPart')) == 2


@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        ({'part_size': 5 * MIB - 1}, 'part_size must be 5 MiB to 5 GiB'),
        ({'part_size': True}, 'part_size must be'),
        ({'workers_count': 0}, 'workers_count must be'),
        ({'part_upload_tries': 0}, 'part_upload_tries must be'),
    ],
)
def test_numbers(client: S3Client, arguments: dict[str, Any], match: str) -> None:
    """Each error names its argument."""
    with pytest.raises(ConfigurationError, match=match):
        client.put_multipart(f'{BUCKET}/key', [b'x'], **arguments)
    with pytest.raises(ConfigurationError, match='range_step'):
        client.get_file_parallel(f'{BUCKET}/key', 'file', range_step=0)
    with pytest.raises(ConfigurationError, match='range_get_tries'):
        client.get_file_parallel(f'{BUCKET}/key', 'file', range_get_tries=0)
