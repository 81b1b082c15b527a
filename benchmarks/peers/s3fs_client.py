"""s3fs: a file system on aiobotocore."""

from __future__ import annotations

import os

from job import ACCESS_KEY, REGION, SECRET_KEY, Job
from objects import LARGE_KEY, keys, read_all, write_all
from s3fs import S3FileSystem


class S3fs:
    """`put` and `get` of lists of files, and `open`."""

    def __init__(self, job: Job) -> None:
        self.job = job
        config = {'s3': {'addressing_style': 'path'}, 'max_pool_connections': max(10, job.width)}
        if not job.is_default:
            config.update(request_checksum_calculation='when_required', response_checksum_validation='when_required')
        self.files = S3FileSystem(
            key=ACCESS_KEY,
            secret=SECRET_KEY,
            endpoint_url=job.endpoint,
            client_kwargs={'region_name': REGION, 'verify': job.ca},
            config_kwargs=config,
            skip_instance_cache=True,
        )

    def warm_up(self) -> None:
        if self.job.verb == 'get_tree':
            self.files.cat([f'{self.job.bucket}/{name}' for name in keys(self.job.width)])
        else:
            self.files.pipe({f'warm/{name}': b'warm' for name in keys(self.job.width)})

    def put_tree(self) -> None:
        self.files.put(self._local(), self._remote(), batch_size=self.job.width)

    def get_tree(self) -> None:
        self.files.get(self._remote(), self._local(), batch_size=self.job.width)

    def read_file(self) -> int:
        with self.files.open(f'{self.job.bucket}/{LARGE_KEY}', 'rb', block_size=self.job.part_bytes) as file:
            return int(read_all(file) == self.job.size_bytes)

    def write_file(self) -> None:
        with self.files.open(f'{self.job.bucket}/{LARGE_KEY}', 'wb', block_size=self.job.part_bytes) as file:
            write_all(file, self.job.size_bytes)

    def _local(self) -> list[str]:
        return [os.path.join(self.job.path, name) for name in keys(self.job.count)]

    def _remote(self) -> list[str]:
        return [f'{self.job.bucket}/{name}' for name in keys(self.job.count)]
