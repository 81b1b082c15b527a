"""minio-py."""

from __future__ import annotations

import io
import os
from urllib.parse import urlsplit

import urllib3
from job import ACCESS_KEY, REGION, SECRET_KEY, Job
from minio import Minio as MinioClient
from minio.deleteobjects import DeleteObject
from objects import LARGE_KEY, keys

from peers.spread import in_executor, in_threads


class Threads:
    """One client with `width` connections, from plain threads."""

    spread = staticmethod(in_threads)

    def __init__(self, job: Job) -> None:
        self.job = job
        trust = {'cert_reqs': 'CERT_REQUIRED', 'ca_certs': job.ca} if job.ca else {}
        self.client = MinioClient(
            urlsplit(job.endpoint).netloc,
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            region=REGION,
            secure=job.ca is not None,
            http_client=urllib3.PoolManager(maxsize=max(10, job.width), timeout=300, **trust),
        )
        self.body = os.urandom(job.size_bytes) if job.verb == 'put' else b''

    def warm_up(self) -> None:
        names = keys(2 * self.job.width)
        if self.job.verb in {'put', 'put_directory'}:
            self.spread(lambda name: self._put(name, b'warm'), names, self.job.width)
        elif self.job.verb in {'get', 'get_directory'}:
            self.spread(self._get, names[: self.job.count], self.job.width)
        else:
            self.client.bucket_exists(self.job.bucket)

    def put(self) -> list:
        return self.spread(lambda name: self._put(name, self.body), keys(self.job.count), self.job.width)

    def get(self) -> list:
        return self.spread(self._get, keys(self.job.count), self.job.width)

    def put_directory(self) -> list:
        return self.spread(self._put_file, keys(self.job.count), self.job.width)

    def get_directory(self) -> list:
        return self.spread(self._get_file, keys(self.job.count), self.job.width)

    def put_file(self) -> None:
        parts = {} if self.job.is_default else {'part_size': self.job.part_bytes, 'num_parallel_uploads': self.job.width}
        self.client.fput_object(self.job.bucket, LARGE_KEY, self.job.path, **parts)

    def get_file(self) -> None:
        self.client.fget_object(self.job.bucket, LARGE_KEY, self.job.path)

    def list(self) -> int:
        return sum(1 for _ in self.client.list_objects(self.job.bucket, recursive=True))

    def delete(self) -> int:
        asked = (DeleteObject(name) for name in keys(self.job.count))
        return self.job.count - len(list(self.client.remove_objects(self.job.bucket, asked)))

    def _put(self, name: str, body: bytes) -> object:
        return self.client.put_object(self.job.bucket, name, io.BytesIO(body), len(body))

    def _get(self, name: str) -> bytes:
        answer = self.client.get_object(self.job.bucket, name)
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()

    def _put_file(self, name: str) -> object:
        return self.client.fput_object(self.job.bucket, name, os.path.join(self.job.path, name))

    def _get_file(self, name: str) -> object:
        return self.client.fget_object(self.job.bucket, name, os.path.join(self.job.path, name))


class Executor(Threads):
    """From an executor's threads."""

    spread = staticmethod(in_executor)
