"""The names of handtruck and aiohttp-s3-client in s3po.compat: positional arguments, responses, pairs, errors."""

from __future__ import annotations

import asyncio
import os
import pathlib
import types
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import s3po
from s3po.compat import aiohttp_s3_client, handtruck
from s3po.compat.handtruck import credentials
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.servers import Store

KEY = f'{BUCKET}/key'
PLAIN = types.SimpleNamespace(auto_decompress=False)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(main(), 20)

    asyncio.run(limited())


def test_handtruck(store: Store, conn: s3po.Connection) -> None:
    """The first argument, an HTTP client, is ignored; the others have handtruck's order and names."""
    keys = credentials.StaticCredentials(access_key_id='key', secret_access_key=SECRET_ACCESS_KEY, region='us-east-1')

    async def use() -> None:
        async with handtruck.S3Client(object(), store.endpoint_url, SECRET_ACCESS_KEY, 'key', None, 'us-east-1') as client:
            assert (await client.put(KEY, b'data')).status_code == 200
            pages = [page async for page in client.list_objects_v2(f'{BUCKET}/', prefix='k')]
            assert isinstance(pages[0][0], handtruck.AwsObjectMeta)
        async with handtruck.S3Client(client=object(), url=store.endpoint_url, credentials=keys) as client:
            assert (await client.get(KEY)).content == b'data'

    run(use)


def test_aiohttp_s3_client(store: Store, conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """Responses have aiohttp's names, listings are pairs, and calls work as tasks and with `async with`."""

    async def use() -> None:
        client = aiohttp_s3_client.S3Client(PLAIN, store.endpoint_url, SECRET_ACCESS_KEY, 'key', None, 'us-east-1')
        assert (await client.put(KEY, data='{"a": 1}')).status == 200
        async with client.get(KEY) as response:
            assert (response.status, await response.read(), await response.text(), await response.json()) == (
                200,
                b'{"a": 1}',
                '{"a": 1}',
                {'a': 1},
            )
            assert response.headers['ETag'] == response.headers['etag']
        task = asyncio.create_task(client.head(f'{BUCKET}/none'))
        assert (await task).status == 404
        assert [(len(metas), prefixes) async for metas, prefixes in client.list_objects_v2(bucket=BUCKET)] == [(1, [])]
        await client.put(KEY, b'data', compress='gzip')
        assert (await (await client.get(KEY)).read())[:2] == b'\x1f\x8b'
        await client.get_file_parallel(KEY, tmp_path / 'file', workers_count=2)
        await client.__aexit__(None, None, None)
        with pytest.raises(AttributeError):
            client.get(KEY)._missing  # noqa: B018
        client.close()

    run(use)


def test_errors_of_aiohttp_s3_client(store: Store, conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """Calls that send several requests raise AwsUploadError or AwsDownloadError; a replaced object is such an error."""
    client: Any = aiohttp_s3_client.S3Client(None, store.endpoint_url, SECRET_ACCESS_KEY, 'key', None, 'us-east-1')
    client.put(KEY, os.urandom(12 * MIB))
    etag = client.head(KEY).headers['etag']

    async def use() -> None:
        with pytest.raises(aiohttp_s3_client.AwsUploadError) as copied:
            await client.rename(f'{BUCKET}/none', KEY)
        assert copied.value.status == 404
        with pytest.raises(aiohttp_s3_client.AwsDownloadError, match=f'404 on range download of {BUCKET}/none'):
            await client.get_file_parallel(f'{BUCKET}/none', tmp_path / 'file')
        gone = {'status': 412, 'code': 'PreconditionFailed'}
        store.script({'operation': 'GetObject', 'times': None, 'headers': {'if-match': etag}, 'action': gone})
        with pytest.raises(aiohttp_s3_client.AwsError, match=f'412 on range download of {KEY}') as replaced:
            await client.get_file_parallel(KEY, tmp_path / 'file', range_step=5 * MIB)
        assert isinstance(replaced.value, aiohttp_s3_client.AwsDownloadError)
        assert replaced.value.message.startswith('Got wrong status code 412')

    run(use)
    assert list(tmp_path.iterdir()) == []
    client.close()
