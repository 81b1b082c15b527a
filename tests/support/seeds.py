"""The examples of the documents on which the project is based: each is a function that runs it and checks the result.

They are unchanged except for hosts, paths, bucket names, and the changes noted at each. The tests run them against moto's
server, and against a real one in `make integration`.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import boto3
import pytest

import s3po
from s3po.credentials import (
    ConfigCredentials,
    EnvironmentCredentials,
    StaticCredentials,
    URLCredentials,
    merge_credentials,
)
from s3po.interfaces import legacy
from s3po.interfaces.client import S3Client
from s3po.interfaces.storage import (
    FileMode,
    FileNotFoundInStorageError,
    ListEntry,
    S3FileBase,
    S3Reader,
    S3Storage,
    S3Writer,
)
from s3po.interfaces.streaming import S3StreamingUpload, upload_generator

__all__ = ['EXAMPLES', 'Place']


class Place:
    """Where the examples run.

    Attributes:
        endpoint_url: The server.
        bucket: An empty bucket.
        directory: An empty directory.
        key_id: The access key, which the environment has too.
        secret: Its secret.
    """

    def __init__(self, endpoint_url: str, bucket: str, directory: pathlib.Path, key_id: str, secret: str) -> None:
        self.endpoint_url = endpoint_url
        self.bucket = bucket
        self.directory = directory
        self.key_id = key_id
        self.secret = secret
        self.conn = s3po.Connection(
            endpoint_url=endpoint_url, region='us-east-1', access_key_id=key_id, secret_access_key=secret
        )

    def file(self, name: str, data: bytes) -> str:
        """The path of a new file."""
        path = self.directory / name
        path.write_bytes(data)
        return str(path)


# ---------------------------------------------------------------------- handtruck


class AsyncClient:
    """A replacement for httpx.AsyncClient, which is accepted and not used."""


def handtruck_usage(place: Place) -> None:
    """`await` in a coroutine; client= causes a warning."""
    path_to_file = place.file('path_to_file', b'in a file')
    bucket = place.bucket
    seen: list[Any] = []
    do_work = seen.append

    async def usage() -> None:
        client = S3Client(
            url=place.endpoint_url,
            client=AsyncClient(),
            access_key_id=place.key_id,
            secret_access_key=place.secret,
            region='us-east-1',
        )

        # Upload str object to bucket "bucket" and key "str"
        resp = await client.put(f'{bucket}/str', 'hello, world')
        assert resp.status_code == HTTPStatus.OK

        # Upload bytes object to bucket "bucket" and key "bytes"
        resp = await client.put(f'{bucket}/bytes', b'hello, world')
        assert resp.status_code == HTTPStatus.OK

        # Upload AsyncIterable to bucket "bucket" and key "iterable"
        async def gen() -> AsyncIterator[bytes]:
            await asyncio.sleep(0.01)
            yield b'some bytes'

        resp = await client.put(f'{bucket}/file', gen())
        assert resp.status_code == HTTPStatus.OK
        assert (await client.get(f'{bucket}/file')).content == b'some bytes'

        # Upload file to bucket "bucket" and key "file"
        resp = await client.put_file(f'{bucket}/file', path_to_file)
        assert resp.status_code == HTTPStatus.OK

        # Check object exists using bucket+key
        resp = await client.head(f'{bucket}/file')
        assert resp.status_code == HTTPStatus.OK

        # Get object by bucket+key
        resp = await client.get(f'{bucket}/file')
        data = resp.content
        assert data == b'in a file'

        # Delete object using bucket+key
        resp = await client.delete(f'{bucket}/file')
        assert resp == HTTPStatus.NO_CONTENT
        assert (await client.head(f'{bucket}/file')) == HTTPStatus.NOT_FOUND
        assert (await client.get(f'{bucket}/file')).status_code == 404

        # List objects by prefix
        async for result in client.list_objects_v2(f'{bucket}/', prefix='b'):
            # Each result is a list of metadata objects representing an object
            # stored in the bucket.
            do_work(result)

    asyncio.run(usage())
    assert [[found.key for found in page] for page in seen] == [['bytes']]
    assert seen[0][0].size == 12


def handtruck_bucket_in_the_path(place: Place) -> None:
    """The bucket in the path of the URL, or in the name. (In the host name: see test_client.py, as it needs a resolver.)"""
    client = S3Client(url=place.endpoint_url)
    assert client.put(f'{place.bucket}/key', iter([b'a', b'b'])) == 200

    client = S3Client(url=f'{place.endpoint_url}/{place.bucket}')
    assert client.get('key').content == b'ab'
    assert client.put('other/key', b'c') == HTTPStatus.OK
    assert place.conn.download(place.bucket, 'other/key') == b'c'


def handtruck_auth(place: Place) -> None:
    """Credentials as keywords, or in the URL."""
    client_credentials_as_kw = S3Client(
        url=place.endpoint_url,
        access_key_id=place.key_id,
        secret_access_key=place.secret,
    )
    with_keys = place.endpoint_url.replace('://', f'://{place.key_id}:{quote(place.secret, safe="")}@')
    client_credentials_in_url = S3Client(url=with_keys)
    for client in (client_credentials_as_kw, client_credentials_in_url):
        assert client.put(f'{place.bucket}/key', b'x') == 200
        assert place.secret not in repr(client)


def handtruck_credentials(place: Place) -> None:
    """All sources. (The URL in the document, "http://key@hack-me:your-s3-host", has @ and : exchanged.)"""
    config = place.file('my-custom-aws-credentials', b'')
    pathlib.Path(config).write_text(f'[default]\naws_access_key_id = {place.key_id}\naws_secret_access_key = {place.secret}\n')
    for credentials in (
        StaticCredentials(access_key_id=place.key_id, secret_access_key=place.secret, region='us-east-1'),
        URLCredentials(f'http://{place.key_id}:{quote(place.secret, safe="")}@your-s3-host', region='us-east-1'),
        EnvironmentCredentials(region='us-east-1'),
        ConfigCredentials(config),
        merge_credentials(EnvironmentCredentials(), ConfigCredentials()),
    ):
        assert credentials
        client = S3Client(url=place.endpoint_url, credentials=credentials)
        assert client.put(f'{place.bucket}/key', b'x') == 200


def handtruck_large_files(place: Place) -> None:
    """Uploads in parts and downloads in ranges. (The document omits the file's path.)"""
    data = os.urandom(17 * 1024 * 1024)
    path = place.file('bigfile.csv', data)
    target = place.directory / 'back.csv'

    async def usage() -> None:
        client = S3Client(url=place.endpoint_url)
        resp = await client.put_file_multipart(
            f'{place.bucket}/bigfile.csv',
            path,
            headers={
                'Content-Type': 'text/csv',
            },
            workers_count=8,
        )
        assert resp == 200
        assert resp.etag.endswith('-4')
        await client.get_file_parallel(
            f'{place.bucket}/bigfile.csv',
            target,
            workers_count=8,
        )
        resp = await client.head(f'{place.bucket}/bigfile.csv')
        assert resp.headers['content-type'] == 'text/csv'

    asyncio.run(usage())
    assert target.read_bytes() == data


# ---------------------------------------------------------------------- S3StreamingTransfer


def simulated_network_iterator(fname: str) -> Iterator[bytes]:
    """As in the document."""
    with open(fname, 'rb') as f:
        for chunk in f:  # noqa: UP028  (as it stands there)
            yield chunk


def streaming_simple(place: Place) -> None:
    """With plain boto3. (The document lacks a comma after `Callback=file_obj.prune`; its ACL is left out.)"""
    data = b''.join(b'%d line\n' % number for number in range(200_000)) + os.urandom(9 * 1024 * 1024)
    upload_item = place.file('upload_item', data)
    file_size = os.stat(upload_item).st_size  # Or whatever is appropriate
    file_obj = S3StreamingUpload(file_size)
    extra_args = {'ContentType': 'application/octet-stream'}

    def process(file_obj: Any, extra_args: Any = None) -> None:
        client = boto3.client('s3', region_name='us-east-1')
        config = boto3.s3.transfer.TransferConfig(use_threads=False)
        client.upload_fileobj(
            file_obj,
            place.bucket,  # bucket
            'OBJECT_NAME',  # key or filename
            ExtraArgs=extra_args,
            Callback=file_obj.prune,
            Config=config,
        )

    t = threading.Thread(target=process, args=(file_obj, extra_args), daemon=True)
    t.start()
    for chunk in simulated_network_iterator(upload_item):
        assert file_obj.write(chunk) == len(chunk)
    file_obj.close()
    t.join()

    assert file_obj.error is None
    assert place.conn.download(place.bucket, 'OBJECT_NAME') == data


def streaming_generator(place: Place) -> None:
    """The enhanced generator. (Its connection, bucket and key are arguments; print() is left out.)"""
    data = b''.join(b'%d line\n' % number for number in range(200_000))
    upload_item = place.file('upload_item', data)
    file_size = os.stat(upload_item).st_size
    called: list[str] = []
    processed = 0
    upload = upload_generator(place.conn, place.bucket, 'OBJECT_NAME', file_size=file_size, callback=lambda: called.append('x'))
    upload.send(None)
    for chunk in simulated_network_iterator(upload_item):
        if written_amount := upload.send(chunk):
            processed += written_amount
    written_amount = upload.send(None)
    processed += written_amount
    upload.close()

    assert processed == file_size
    assert called == ['x']
    assert place.conn.download(place.bucket, 'OBJECT_NAME') == data


# ---------------------------------------------------------------------- S3-PO


def legacy_connection(place: Place, **arguments: Any) -> legacy.Connection:
    return legacy.Connection(endpoint_url=place.endpoint_url, region='us-east-1', **arguments)


def legacy_auto_deletion(place: Place) -> None:
    """(`async` is a keyword of Python now.)"""
    # Now by default we won't delete uploaded files
    conn = legacy_connection(place, delete=False, **{'async': False})
    foo, bar = place.file('foo.txt', b'foo'), place.file('bar.txt', b'bar')
    # This won't get deleted
    conn.uploadFile(place.bucket, 'my-key', foo)
    # But this one will!
    conn.uploadFile(place.bucket, 'my-key', bar, delete=True)

    assert os.path.exists(foo)
    assert not os.path.exists(bar)
    assert conn.downloadString(place.bucket, 'my-key') == b'bar'


def legacy_synchronous(place: Place) -> None:
    """With `async: False`, uploads are synchronous by default; one with background=True returns at once."""
    conn = legacy_connection(place, **{'async': False})
    foo, bar = place.file('foo.txt', b'foo'), place.file('bar.txt', b'bar')
    # This will wait until the file has uploaded
    conn.uploadFile(place.bucket, 'my-key', foo)
    assert place.conn.download(place.bucket, 'my-key') == b'foo'
    # This will return right away
    queued = conn.uploadFile(place.bucket, 'my-key', bar, **{'async': True})
    assert not queued.ready()
    conn.stopLoop()
    assert queued.get().size_bytes == 3
    assert place.conn.download(place.bucket, 'my-key') == b'bar'
    assert not os.path.exists(foo)
    assert not os.path.exists(bar)


def legacy_headers_and_compression(place: Place) -> None:
    """Headers and compression; the retries are not needed here."""
    conn = legacy_connection(place, background=False, delete=False)
    foo = place.file('foo.txt', b'foo' * 1000)
    conn.uploadFile(place.bucket, 'my-key', foo, retries=10)
    conn.uploadFile(place.bucket, 'my-key', foo, headers={'Content-Type': 'text/plain'})
    assert place.conn.head(place.bucket, 'my-key').content_type == 'text/plain'

    conn.uploadFile(place.bucket, 'my-key', foo, compress='gzip')
    info = place.conn.head(place.bucket, 'my-key')
    assert info.headers['content-encoding'] == 'gzip'
    assert info.size_bytes < 100
    assert conn.downloadString(place.bucket, 'my-key') == b'foo' * 1000


def legacy_background(place: Place) -> None:
    """The loop in the background."""
    connection = legacy_connection(place, **{'async': True})
    # Now it will go off in the background and upload files
    connection.runLoop()
    # Add requests to upload files; each of these returns
    # immediately, and s3po will upload them when it can
    for name in ('foo.txt', 'bar.txt', 'yes.txt'):
        connection.uploadFile(place.bucket, f'my-key/{name}', place.file(name, name.encode()))
    connection.stopLoop()

    for name in ('foo.txt', 'bar.txt', 'yes.txt'):
        assert connection.downloadString(place.bucket, f'my-key/{name}') == name.encode()
        assert not (place.directory / name).exists()


# ---------------------------------------------------------------------- keg_storage


def storage_all(place: Place) -> None:
    """The document has signatures only: each is called."""
    storage = S3Storage(place.bucket, 'us-east-1', place.key_id, place.secret, None, 's3')
    assert storage.name == 's3'
    client = place.conn.conn
    with storage.open('a/file', FileMode.write) as file:
        file.write(b'0123456789')
    assert [(entry.name, entry.size) for entry in storage.list('a/')] == [('a/file', 10)]
    assert isinstance(storage.list('a/')[0], ListEntry)
    reader = S3Reader(place.bucket, 'a/file', client)
    assert isinstance(reader, S3FileBase)
    assert (reader.read(4), reader.read(100), reader.read(1)) == (b'0123', b'456789', b'')
    reader.close()
    reader.close()
    writer = S3Writer(place.bucket, 'a/large', client, chunk_size=10485760)
    data = os.urandom(21 * 1024 * 1024)
    for offset in range(0, len(data), 1_000_003):
        writer.write(data[offset : offset + 1_000_003])
    writer.close()
    writer.close()
    with storage.open('a/large', 'rb') as file:
        assert b''.join(file.iter_chunks()) == data
    discarded = S3Writer(place.bucket, 'a/discarded', client)
    discarded.write(data)
    discarded.abort()
    with pytest.raises(FileNotFoundInStorageError):
        storage.open('a/discarded', 'r')
    storage.delete('a/file')
    assert [entry.name for entry in storage.list('')] == ['a/large']


EXAMPLES: list[Callable[[Place], None]] = [
    handtruck_usage,
    handtruck_bucket_in_the_path,
    handtruck_auth,
    handtruck_credentials,
    handtruck_large_files,
    streaming_simple,
    streaming_generator,
    legacy_auto_deletion,
    legacy_synchronous,
    legacy_headers_and_compression,
    legacy_background,
    storage_all,
]
