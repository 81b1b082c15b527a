"""smart_open: file objects on boto3."""

from __future__ import annotations

import smart_open
from job import Job
from objects import LARGE_KEY, read_all, write_all

from peers.boto3_client import Threads


class SmartOpen:
    """Its open(), with the same boto3 client that is measured alone, and parts of the same size as the others."""

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
        # Its default for reading, one stream, is its quickest way here.
        url = f's3://{self.job.bucket}/{LARGE_KEY}'
        return smart_open.open(url, mode, compression='disable', transport_params={'client': self.boto3.client, **parameters})
