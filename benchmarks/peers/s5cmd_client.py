"""s5cmd: a program in Go."""

from __future__ import annotations

from job import Job
from objects import LARGE_KEY, MIB

from peers import program_path
from peers.program import run


class S5cmd:
    """`s5cmd cp` of a directory or of one object."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.program = program_path('s5cmd')
        self.rss_bytes = 0

    def warm_up(self) -> None:
        """Nothing: each run is a new process."""

    def put_directory(self) -> None:
        self._run('cp', f'{self.job.path}/', f's3://{self.job.bucket}/')

    def get_directory(self) -> None:
        self._run('cp', f's3://{self.job.bucket}/*', f'{self.job.path}/')

    def put_file(self) -> None:
        self._run('cp', *self._parts(), self.job.path, f's3://{self.job.bucket}/{LARGE_KEY}')

    def get_file(self) -> None:
        self._run('cp', *self._parts(), f's3://{self.job.bucket}/{LARGE_KEY}', self.job.path)

    def _parts(self) -> list[str]:
        if self.job.is_default:
            return []
        return ['--part-size', str(self.job.part_bytes // MIB), '--concurrency', str(self.job.width)]

    def _run(self, *command: str) -> None:
        workers = [] if self.job.is_default else ['--numworkers', str(self.job.width)]
        options = ['--endpoint-url', self.job.endpoint, '--log', 'error', *workers]
        self.rss_bytes = run(self.job, self.program, *options, *command)
