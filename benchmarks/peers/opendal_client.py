"""OpenDAL: Apache's library in Rust. Its calls release the interpreter's lock."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import opendal
from job import ACCESS_KEY, REGION, SECRET_KEY, Job
from objects import LARGE_KEY, MIB, keys

from peers.spread import in_executor, in_tasks, in_threads

_WARM_UP = 2


def _settings(job: Job) -> dict[str, str]:
    return {
        'bucket': job.bucket,
        'endpoint': job.endpoint,
        'region': REGION,
        'access_key_id': ACCESS_KEY,
        'secret_access_key': SECRET_KEY,
        'disable_config_load': 'true',
        'disable_ec2_metadata': 'true',
    }


class _Opendal:
    def __init__(self, job: Job) -> None:
        if job.ca:
            os.environ['SSL_CERT_FILE'] = job.ca
        self.job = job
        self.operator = opendal.Operator('s3', **_settings(job))
        self.body = os.urandom(job.size_bytes) if job.verb == 'put' else b''


class Threads(_Opendal):
    """The synchronous calls from plain threads."""

    spread = staticmethod(in_threads)

    def warm_up(self) -> None:
        names = keys(_WARM_UP * self.job.width)
        if self.job.verb in {'put', 'put_directory'}:
            self.spread(lambda name: self.operator.write(name, b'warm'), names, self.job.width)
        elif self.job.verb in {'get', 'get_directory'}:
            self.spread(self.operator.read, names[: self.job.count], self.job.width)
        else:
            self.operator.exists(LARGE_KEY)

    def put(self) -> list:
        return self.spread(lambda name: self.operator.write(name, self.body), keys(self.job.count), self.job.width)

    def get(self) -> list:
        return self.spread(self.operator.read, keys(self.job.count), self.job.width)

    def put_directory(self) -> list:
        return self.spread(self._put_file, keys(self.job.count), self.job.width)

    def get_directory(self) -> list:
        return self.spread(self._get_file, keys(self.job.count), self.job.width)

    def list(self) -> int:
        return sum(1 for _ in self.operator.list('/', recursive=True))

    def _put_file(self, name: str) -> object:
        return self.operator.write(name, Path(self.job.path, name).read_bytes())

    def _get_file(self, name: str) -> object:
        return Path(self.job.path, name).write_bytes(self.operator.read(name))


class Executor(Threads):
    """The synchronous calls from an executor's threads."""

    spread = staticmethod(in_executor)


class Async:
    """The asynchronous calls from `width` tasks."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.runner = asyncio.Runner()
        self.body = os.urandom(job.size_bytes) if job.verb == 'put' else b''
        self.operator = opendal.AsyncOperator('s3', **_settings(job))

    def warm_up(self) -> None:
        names = keys(_WARM_UP * self.job.width)
        if self.job.verb in {'put', 'put_directory'}:
            self._spread(lambda name: self.operator.write(name, b'warm'), names)
        else:
            self._spread(self.operator.read, names[: self.job.count])

    def put(self) -> list:
        return self._spread(lambda name: self.operator.write(name, self.body), keys(self.job.count))

    def get(self) -> list:
        return self._spread(self.operator.read, keys(self.job.count))

    def put_directory(self) -> list:
        return self._spread(self._put_file, keys(self.job.count))

    def get_directory(self) -> list:
        return self._spread(self._get_file, keys(self.job.count))

    def _spread(self, function: object, names: list[str]) -> list:
        return self.runner.run(in_tasks(function, names, self.job.width))

    async def _put_file(self, name: str) -> object:
        return await self.operator.write(name, Path(self.job.path, name).read_bytes())

    async def _get_file(self, name: str) -> object:
        return Path(self.job.path, name).write_bytes(await self.operator.read(name))


class File(_Opendal):
    """A large object as a file object, uploaded in parts and downloaded in one stream."""

    def warm_up(self) -> None:
        self.operator.exists(LARGE_KEY)

    def put_file(self) -> None:
        options = {'chunk': self.job.part_bytes or 8 * MIB, 'concurrent': self.job.width}
        with open(self.job.path, 'rb') as source, self.operator.open(LARGE_KEY, 'wb', **options) as target:
            while piece := source.read(options['chunk']):
                target.write(piece)

    def get_file(self) -> None:
        with open(self.job.path, 'wb') as target, self.operator.open(LARGE_KEY, 'rb') as source:
            while piece := source.read(8 * MIB):
                target.write(piece)


class Ranges(_Opendal):
    """A large object, downloaded in ranges, which the caller requests and writes to their places."""

    def warm_up(self) -> None:
        self.operator.exists(LARGE_KEY)

    def get_file(self) -> None:
        with open(self.job.path, 'wb') as file:
            in_threads(lambda start: self._fetch(file.fileno(), start), self._starts(), self.job.width)

    def _starts(self) -> range:
        return range(0, self.job.size_bytes, self.job.part_bytes)

    def _fetch(self, descriptor: int, start: int) -> None:
        size = min(self.job.part_bytes, self.job.size_bytes - start)
        os.pwrite(descriptor, self.operator.read(LARGE_KEY, offset=start, size=size), start)
