"""rclone: a program in Go."""

from __future__ import annotations

import os

from job import ACCESS_KEY, REGION, SECRET_KEY, Job
from objects import LARGE_KEY

from peers import program_path
from peers.program import run


class Rclone:
    """`rclone copy` of a directory, `rclone copyto` of one object; without the requests and checks that it can omit."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.program = program_path('rclone')
        self.rss_bytes = 0

    def warm_up(self) -> None:
        """Nothing: each run is a new process."""

    def put_directory(self) -> None:
        self._run('copy', self.job.path, f':s3:{self.job.bucket}')

    def get_directory(self) -> None:
        self._run('copy', f':s3:{self.job.bucket}', self.job.path)

    def put_file(self) -> None:
        self._run('copyto', self.job.path, f':s3:{self.job.bucket}/{LARGE_KEY}')

    def get_file(self) -> None:
        self._run('copyto', f':s3:{self.job.bucket}/{LARGE_KEY}', self.job.path)

    def _run(self, *command: str) -> None:
        store = {
            'provider': 'Other',
            'endpoint': self.job.endpoint,
            'region': REGION,
            'access-key-id': ACCESS_KEY,
            'secret-access-key': SECRET_KEY,
            'no-check-bucket': 'true',
        }
        options = [f'--s3-{name}={value}' for name, value in store.items()]
        options += ['--config', os.devnull, '--log-level', 'ERROR', '--retries', '1', '--ignore-checksum', '--no-check-dest']
        if self.job.ca:
            options += ['--ca-cert', self.job.ca]
        if not self.job.is_default:
            options += self._tuned()
        self.rss_bytes = run(self.job, self.program, *options, *command)

    def _tuned(self) -> list[str]:
        """Without HEAD requests, modification times and MD5, where possible; parts and concurrency as the job has them."""
        options = ['--s3-no-head', '--s3-disable-checksum', '--use-server-modtime', '--no-update-modtime']
        options += ['--transfers', str(self.job.width), '--checkers', str(self.job.width)]
        if self.job.verb in {'put_file', 'get_file'}:
            part = f'{self.job.part_bytes}B'
            options += ['--s3-chunk-size', part, '--s3-upload-cutoff', part, '--s3-upload-concurrency', str(self.job.width)]
            # Its multi-thread uploads would look for the object afterwards; the measuring store has only the parts.
            streams = self.job.width if self.job.verb == 'get_file' else 0
            options += [
                '--multi-thread-streams',
                str(streams),
                '--multi-thread-cutoff',
                part,
                '--multi-thread-chunk-size',
                part,
            ]
            options += ['--multi-thread-write-buffer-size', '1Mi', '--buffer-size', '0']
        else:
            # `copyto` of one object does not find it without a HEAD.
            options += ['--s3-no-head-object']
        if self.job.payload == 'unsigned':
            options += ['--s3-use-unsigned-payload=true', '--s3-use-data-integrity-protections=false']
        return options
