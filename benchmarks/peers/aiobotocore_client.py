"""aiobotocore: botocore on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import os

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from job import ACCESS_KEY, REGION, SECRET_KEY, Job
from objects import keys

from peers.spread import in_tasks


class Aiobotocore:
    """One client on one event loop, with `width` tasks."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.runner = asyncio.Runner()
        self.stack = contextlib.AsyncExitStack()
        self.body = os.urandom(job.size_bytes) if job.verb == 'put' else b''
        self.client = self.runner.run(self._open())

    def warm_up(self) -> None:
        names = keys(2 * self.job.width)
        if self.job.verb == 'put':
            self.runner.run(self._all(lambda name: self._put(name, b'warm'), names))
        elif self.job.verb == 'get':
            self.runner.run(self._all(self._get, names[: self.job.count]))
        else:
            self.runner.run(self.client.head_bucket(Bucket=self.job.bucket))

    def put(self) -> list:
        return self.runner.run(self._all(lambda name: self._put(name, self.body), keys(self.job.count)))

    def get(self) -> list:
        return self.runner.run(self._all(self._get, keys(self.job.count)))

    def list(self) -> int:
        return self.runner.run(self._list())

    async def _open(self) -> object:
        config = AioConfig(
            max_pool_connections=self.job.width,
            s3={'addressing_style': 'path'},
            request_checksum_calculation='when_required',
            response_checksum_validation='when_required',
        )
        client = get_session().create_client(
            's3',
            endpoint_url=self.job.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            verify=self.job.ca,
            config=config,
        )
        return await self.stack.enter_async_context(client)

    async def _all(self, function: object, names: list[str]) -> list:
        return await in_tasks(function, names, self.job.width)

    async def _put(self, name: str, body: bytes) -> object:
        return await self.client.put_object(Bucket=self.job.bucket, Key=name, Body=body)

    async def _get(self, name: str) -> bytes:
        answer = await self.client.get_object(Bucket=self.job.bucket, Key=name)
        async with answer['Body'] as body:
            return await body.read()

    async def _list(self) -> int:
        pages = self.client.get_paginator('list_objects_v2').paginate(Bucket=self.job.bucket)
        return sum([len(page['Contents']) async for page in pages])
