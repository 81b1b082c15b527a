"""smart_open: file objects on boto3."""

from __future__ import annotations

import smart_open
from job import Job
from objects import LARGE_KEY, read_all, write_all

from peers.boto3_client import Threads


class SmartOpen:
    """Its open(), with a client as it is measured by itself; parts of the size that all have."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.boto3 = Threads(job)

    def warm_up(self) -> None:
        self.boto3.warm_up()

    def read_file(self) -> int:
        with self._open('rb') as file:
            return int(read_all(file) == self.job.size_bytes)

    def write_file(self) -> None:
        with self._open('wb', min_part_size=self.job.part_bytes or 50 * 1024 * 1024) as file:
            write_all(file, self.job.size_bytes)

    def _open(self, mode: str, **parameters: object) -> object:
        # Of what it has for reading, the one stream that is its default is the quickest here.
        url = f's3://{self.job.bucket}/{LARGE_KEY}'
        return smart_open.open(url, mode, compression='disable', transport_params={'client': self.boto3.client, **parameters})
