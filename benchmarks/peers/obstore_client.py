"""obstore: Rust's object_store. Its calls release the interpreter's lock."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

import obstore
from job import ACCESS_KEY, REGION, SECRET_KEY, Job
from objects import LARGE_KEY, keys
from obstore.store import S3Store

from peers.spread import in_executor, in_tasks, in_threads

_WARM_UP = 2


class _Obstore:
    def __init__(self, job: Job) -> None:
        self.job = job
        client_options: dict[str, object] = {'allow_http': True, 'timeout': '300s'}
        if job.ca:
            client_options['root_certificate'] = Path(job.ca).read_bytes()
        options = {'unsigned_payload': job.payload == 'unsigned'} if job.payload else {}
        self.store = S3Store(
            job.bucket,
            endpoint=job.endpoint,
            region=REGION,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            virtual_hosted_style_request=False,
            client_options=client_options,
            **options,
        )
        self.body = os.urandom(job.size_bytes) if job.verb == 'put' else b''

    def warm_up(self) -> None:
        obstore.list(self.store).collect()


class Threads(_Obstore):
    """The synchronous calls from plain threads."""

    spread = staticmethod(in_threads)

    def warm_up(self) -> None:
        names = keys(_WARM_UP * self.job.width)
        if self.job.verb in {'put', 'put_directory'}:
            self.spread(lambda name: obstore.put(self.store, name, b'warm'), names, self.job.width)
        elif self.job.verb in {'get', 'get_directory'}:
            self.spread(self._get, names[: self.job.count], self.job.width)
        else:
            obstore.list(self.store).collect()

    def put(self) -> list:
        return self.spread(self._put, keys(self.job.count), self.job.width)

    def get(self) -> list:
        return self.spread(self._get, keys(self.job.count), self.job.width)

    def put_directory(self) -> list:
        return self.spread(self._put_file, keys(self.job.count), self.job.width)

    def get_directory(self) -> list:
        return self.spread(self._get_file, keys(self.job.count), self.job.width)

    def list(self) -> int:
        return sum(len(page) for page in obstore.list(self.store, chunk_size=1000))

    def delete(self) -> int:
        obstore.delete(self.store, keys(self.job.count))
        return self.job.count

    def _put(self, name: str) -> object:
        return obstore.put(self.store, name, self.body, use_multipart=False)

    def _get(self, name: str) -> object:
        return obstore.get(self.store, name).bytes()

    def _put_file(self, name: str) -> object:
        return obstore.put(self.store, name, Path(self.job.path, name))

    def _get_file(self, name: str) -> object:
        with open(os.path.join(self.job.path, name), 'wb') as file:
            return file.write(obstore.get(self.store, name).bytes())


class Executor(Threads):
    """The synchronous calls from an executor's threads."""

    spread = staticmethod(in_executor)


class Async(_Obstore):
    """The asynchronous calls from `width` tasks."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.runner = asyncio.Runner()

    def warm_up(self) -> None:
        names = keys(_WARM_UP * self.job.width)
        if self.job.verb in {'put', 'put_directory'}:
            self._spread(lambda name: obstore.put_async(self.store, name, b'warm'), names)
        else:
            self._spread(self._get, names[: self.job.count])

    def put(self) -> list:
        return self._spread(self._put, keys(self.job.count))

    def get(self) -> list:
        return self._spread(self._get, keys(self.job.count))

    def put_directory(self) -> list:
        return self._spread(self._put_file, keys(self.job.count))

    def get_directory(self) -> list:
        return self._spread(self._get_file, keys(self.job.count))

    def _spread(self, function: object, names: list[str]) -> list:
        return self.runner.run(in_tasks(function, names, self.job.width))

    async def _put(self, name: str) -> object:
        return await obstore.put_async(self.store, name, self.body, use_multipart=False)

    async def _get(self, name: str) -> object:
        return await (await obstore.get_async(self.store, name)).bytes_async()

    async def _put_file(self, name: str) -> object:
        return await obstore.put_async(self.store, name, Path(self.job.path, name))

    async def _get_file(self, name: str) -> object:
        return Path(self.job.path, name).write_bytes(await self._get(name))


class Stream(_Obstore):
    """A large object, uploaded in parts and downloaded in one stream."""

    def put_file(self) -> None:
        options = {}
        if not self.job.is_default:
            options = {'chunk_size': self.job.part_bytes, 'max_concurrency': self.job.width}
        obstore.put(self.store, LARGE_KEY, Path(self.job.path), **options)

    def get_file(self) -> None:
        with open(self.job.path, 'wb') as file:
            file.writelines(obstore.get(self.store, LARGE_KEY))


class Ranges(_Obstore):
    """A large object, downloaded in ranges, which the caller requests and writes to their places."""

    def get_file(self) -> None:
        part = self.job.part_bytes
        with open(self.job.path, 'wb') as file:
            fetch = partial(self._fetch, file.fileno(), part)
            in_threads(fetch, range(0, self.job.size_bytes, part), self.job.width)

    def _fetch(self, descriptor: int, part: int, start: int) -> None:
        end = min(start + part, self.job.size_bytes)
        os.pwrite(descriptor, obstore.get_range(self.store, LARGE_KEY, start=start, end=end), start)
