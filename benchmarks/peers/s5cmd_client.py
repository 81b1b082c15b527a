"""s5cmd: a program of its own, so that its start is part of what it takes."""

from __future__ import annotations

import os
import subprocess
import tempfile

from job import ACCESS_KEY, REGION, SECRET_KEY, Job
from objects import LARGE_KEY, MIB

from peers import s5cmd_path


class S5cmd:
    """`s5cmd cp`, of a directory or of one object."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.rss_bytes = 0

    def warm_up(self) -> None:
        """There is nothing to warm: a process begins anew."""

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
        environment = {
            **os.environ,
            'AWS_ACCESS_KEY_ID': ACCESS_KEY,
            'AWS_SECRET_ACCESS_KEY': SECRET_KEY,
            'AWS_REGION': REGION,
            **({'SSL_CERT_FILE': self.job.ca} if self.job.ca else {}),
        }
        workers = [] if self.job.is_default else ['--numworkers', str(self.job.width)]
        options = ['--endpoint-url', self.job.endpoint, '--log', 'error', *workers]
        with tempfile.TemporaryFile() as errors:
            program = subprocess.Popen(
                [str(s5cmd_path()), *options, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
            _, status, usage = os.wait4(program.pid, 0)
            program.returncode = os.waitstatus_to_exitcode(status)
            self.rss_bytes = usage.ru_maxrss * 1024
            if program.returncode:
                errors.seek(0)
                raise RuntimeError(f's5cmd ended with {program.returncode}: {errors.read(2000).decode()}')
