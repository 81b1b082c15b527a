"""s3po: a batch for many objects, a plain call for a large one."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from job import ACCESS_KEY, REGION, SECRET_KEY, Job
from objects import LARGE_KEY, keys, read_all, write_all

import s3po  # it patches the standard library, so it comes before modules that open sockets


class S3po:
    """s3po's public calls, as a user makes them."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.conn = s3po.Connection(
            endpoint_url=job.endpoint,
            region=REGION,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            verify=job.ca or True,
            config=_config(job),
        )
        if job.verb.endswith('_tree'):
            # Imports fsspec before the measurement.
            self._files()
        self.body = os.urandom(job.size_bytes) if job.verb == 'put' else b''

    def warm_up(self) -> None:
        names = keys(2 * self.job.width)
        if self.job.verb in {'put', 'put_directory', 'put_tree'}:
            self._uploaded(names, b'warm')
        elif self.job.verb in {'get', 'get_directory', 'get_tree'}:
            self._downloaded(names[: self.job.count])
        else:
            self.conn.exists(self.job.bucket, LARGE_KEY)

    def put(self) -> list:
        return self._uploaded(keys(self.job.count), self.body)

    def get(self) -> list:
        return self._downloaded(keys(self.job.count))

    def put_directory(self) -> list:
        with self.conn.batch(self.job.width) as batch:
            for name in keys(self.job.count):
                batch.upload_file(self.job.bucket, name, os.path.join(self.job.path, name))
        return batch.results()

    def get_directory(self) -> list:
        with self.conn.batch(self.job.width) as batch:
            for name in keys(self.job.count):
                batch.download_file(self.job.bucket, name, os.path.join(self.job.path, name))
        return batch.results()

    def put_file(self) -> None:
        self.conn.upload_file(self.job.bucket, LARGE_KEY, Path(self.job.path))

    def get_file(self) -> None:
        self.conn.download_file(self.job.bucket, LARGE_KEY, Path(self.job.path))

    def read_file(self) -> int:
        with self.conn.open(self.job.bucket, LARGE_KEY) as file:
            return int(read_all(file) == self.job.size_bytes)

    def write_file(self) -> None:
        with self.conn.open(self.job.bucket, LARGE_KEY, 'wb') as file:
            write_all(file, self.job.size_bytes)

    def put_tree(self) -> None:
        self._files().put(self._local(), self._remote())

    def get_tree(self) -> None:
        self._files().get(self._remote(), self._local())

    def list(self) -> int:
        return sum(1 for _ in self.conn.list(self.job.bucket))

    def delete(self) -> int:
        report = self.conn.delete_many(self.job.bucket, keys(self.job.count))
        return report.deleted

    def _files(self) -> object:
        from s3po.interfaces.filesystem import S3poFileSystem

        return S3poFileSystem(connection=self.conn, batch_size=self.job.width)

    def _local(self) -> list[str]:
        return [os.path.join(self.job.path, name) for name in keys(self.job.count)]

    def _remote(self) -> list[str]:
        return [f'{self.job.bucket}/{name}' for name in keys(self.job.count)]

    def _uploaded(self, names: list[str], body: bytes) -> list:
        with self.conn.batch(self.job.width) as batch:
            for name in names:
                batch.upload(self.job.bucket, name, body)
        return batch.results()

    def _downloaded(self, names: list[str]) -> list:
        with self.conn.batch(self.job.width) as batch:
            for name in names:
                batch.download(self.job.bucket, name)
        return batch.results()


def _config(job: Job) -> s3po.TransferConfig:
    options: dict[str, object] = {}
    if not job.is_default:
        options.update(multipart_threshold=job.part_bytes, multipart_chunksize=job.part_bytes)
        if job.verb in {'put_file', 'get_file'}:
            options.update(max_concurrency=job.width)
    if job.payload and 'payload_signing' in {field.name for field in dataclasses.fields(s3po.TransferConfig)}:
        options.update(payload_signing=job.payload)
    return s3po.TransferConfig(**options)
