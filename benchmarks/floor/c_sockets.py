"""The floor in C: compiles requests.c and runs it as a child process."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from job import Job

_SOURCE = Path(__file__).with_name('requests.c')


def compiler() -> str | None:
    """The path of the C compiler, or None."""
    return shutil.which('cc')


class C:
    """One process with `width` connections and one epoll loop. Its CPU time is that of the child."""

    def __init__(self, job: Job) -> None:
        self.job = job
        directory = tempfile.mkdtemp(prefix='s3po-floor-')
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        self.program = Path(directory, 'requests')
        subprocess.run([str(compiler()), '-O2', '-o', str(self.program), str(_SOURCE)], check=True)

    def warm_up(self) -> None:
        """Nothing: the child connects during the measurement, which takes a millisecond."""

    def put(self) -> None:
        self._run('PUT')

    def get(self) -> None:
        self._run('GET')

    def _run(self, method: str) -> None:
        job, where = self.job, urlsplit(self.job.endpoint)
        arguments = [str(where.port), method, job.bucket, job.count, job.size_bytes, job.width]
        done = subprocess.run([str(self.program), *map(str, arguments)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
