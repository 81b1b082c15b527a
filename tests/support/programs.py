"""Runs scripts and commands, each in its own process with a clean environment.

They import the package of this checkout, and find a server of tests.support.servers in their environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.support.canaries import SECRET_ACCESS_KEY, secrets_in
from tests.support.servers import CHECKOUT, Authority

__all__ = ['CLIENT', 'NATIVE_THREAD', 'Program', 'Runner', 'run_command']

# Far more than any of them takes, also on a busy machine where a process gets a tenth of a processor.
LIMIT_S = 150
# How long a process may take to write its stacks.
LAST_WORDS_S = 10
KEPT = ('PATH', 'LANG', 'TMPDIR', 'LD_LIBRARY_PATH')

# Helpers for all scripts. They import nothing, so that each script decides on the order of its imports.
CLIENT = """
    import os
    endpoint, ca, secret = os.environ['ENDPOINT'], os.environ['CA'], os.environ['SECRET']

    def make_client():
        import boto3
        client = boto3.client('s3', endpoint_url=endpoint, verify=ca, region_name='us-east-1',
                              aws_access_key_id='a', aws_secret_access_key=secret)
        return client

    def is_patched(name):
        from gevent import monkey
        return monkey.is_module_patched(name)

    def get_side_by_side(get, count=20):
        import gevent
        bodies = [gevent.spawn(get) for _ in range(count)]
        gevent.joinall(bodies, raise_error=True)
        assert [body.value for body in bodies] == [b'data'] * count
"""

NATIVE_THREAD = """
    import threading
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


class Program:
    """The output of a process that has ended."""

    def __init__(self, out: str, err: str) -> None:
        self.out = out
        self.err = err

    @property
    def warnings(self) -> list[str]:
        """The lines about a late import."""
        return [line for line in self.err.splitlines() if 'LateImportWarning' in line]


def run_command(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> Program:
    """Run a command in a clean environment; it must end with exit code 0 within the time limit."""
    # Only these variables: certificate bundles, proxies, credentials and warning filters would affect the results.
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith('COVERAGE_')}
    paths = {'PYTHONPATH': str(CHECKOUT), 'HOME': str(directory), 'PYTHONDONTWRITEBYTECODE': '1'}
    # Python writes the stack of every thread when it gets SIGABRT.
    environment = {**kept, **paths, 'PYTHONFAULTHANDLER': '1', **environment}
    with subprocess.Popen(command, env=environment, cwd=directory, stdout=PIPE, stderr=PIPE, text=True) as process:
        try:
            out, err = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            out, err = _last_words(process)
            pytest.fail(f'no end after {LIMIT_S} s\nstdout: {out}\nstderr: {err}')
    if process.returncode:
        pytest.fail(f'exit code {process.returncode}\nstdout: {out}\nstderr: {err}')
    program = Program(out, err)
    assert not secrets_in(program.out + program.err), 'secrets were printed'
    assert 'MonkeyPatchWarning' not in program.err
    return program


def _last_words(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The output of a process that got SIGABRT. A process that does not end is killed."""
    try:
        return process.communicate(timeout=LAST_WORDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()


class Runner:
    """Runs scripts against one store."""

    def __init__(self, authority: Authority, endpoint_url: str, directory: Path) -> None:
        self.environment = {'CA': str(authority.ca_pem), 'ENDPOINT': endpoint_url, 'SECRET': SECRET_ACCESS_KEY}
        self.directory = directory

    def __call__(self, *pieces: str, **environment: str) -> Program:
        script = ''.join(textwrap.dedent(piece) for piece in (CLIENT, *pieces))
        (self.directory / 'script.py').write_text(script)
        command = [sys.executable, '-W', 'always', 'script.py']
        return run_command(command, {**self.environment, **environment}, self.directory)
