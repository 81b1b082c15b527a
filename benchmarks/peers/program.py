"""Runs a client that is a separate program. The measurement includes its start."""

from __future__ import annotations

import os
import subprocess
import tempfile

from job import ACCESS_KEY, REGION, SECRET_KEY, Job


def run(job: Job, *command: str) -> int:
    """Runs the command with the job's credentials and waits for its end.

    Returns:
        The program's peak of resident memory in bytes.

    Raises:
        RuntimeError: It failed; the message has its output.
    """
    environment = {
        **os.environ,
        'AWS_ACCESS_KEY_ID': ACCESS_KEY,
        'AWS_SECRET_ACCESS_KEY': SECRET_KEY,
        'AWS_REGION': REGION,
        **({'SSL_CERT_FILE': job.ca} if job.ca else {}),
    }
    with tempfile.TemporaryFile() as errors:
        program = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        _, status, usage = os.wait4(program.pid, 0)
        program.returncode = os.waitstatus_to_exitcode(status)
        if program.returncode:
            errors.seek(0)
            raise RuntimeError(f'{os.path.basename(command[0])} ended with {program.returncode}: {errors.read(2000).decode()}')
    return usage.ru_maxrss * 1024
