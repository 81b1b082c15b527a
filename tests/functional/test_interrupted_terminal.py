"""Ctrl-C in a terminal: the batch queues nothing more, gives running jobs their grace, and leaves no upload open."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

import s3po
from s3po.runtime import offload
from tests.conftest import BUCKET
from tests.support.canaries import SECRET_ACCESS_KEY, secrets_in
from tests.support.servers import CHECKOUT, Store

pytestmark = pytest.mark.slow

LIMIT_S = 30.0
GRACE_S = 2.0

SCRIPT = """
    import os, signal, sys
    import s3po
    from s3po.config import MIB

    # A shell that starts the tests in the background makes them, and this process, ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    conn = s3po.Connection(
        endpoint_url=sys.argv[1], region='us-east-1', access_key_id='a', secret_access_key=os.environ['SECRET'], config=config
    )
    try:
        with conn.batch(4, grace_s=float(sys.argv[2])) as batch:
            batch.map_upload(('bucket', f'key-{number}', bytes(6 * MIB)) for number in range(100_000))
    finally:
        print(f'left {len(batch.failed)} {len(batch.not_started)} {batch.mapped} {batch.report().succeeded}', flush=True)
"""


class Terminal:
    """A script in a pseudo-terminal of its own."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        (directory / 'script.py').write_text(textwrap.dedent(SCRIPT))
        environment = {name: value for name, value in os.environ.items() if not name.startswith('COVERAGE_')}
        self._master, slave = pty.openpty()
        # The new session gets the terminal as its own when the child opens it.
        opener = 'import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv(sys.argv[1], sys.argv[1:])'
        self.process = subprocess.Popen(
            [sys.executable, '-c', opener, sys.executable, 'script.py', *arguments],
            cwd=directory,
            env={**environment, 'PYTHONPATH': str(CHECKOUT), 'SECRET': SECRET_ACCESS_KEY},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._reader = gevent.spawn(self._read)
        self.said = b''

    def _read(self) -> None:
        while piece := offload(self._piece):
            self.said += piece

    def _piece(self) -> bytes:
        try:
            return os.read(self._master, 65536)
        except OSError:
            # The child has closed the terminal.
            return b''

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self._master, b'\x03')

    def wait(self) -> str:
        """Wait for the end. Returns what the terminal shows."""
        with gevent.Timeout(LIMIT_S):
            while self.process.poll() is None:
                gevent.sleep(0.01)
            self._reader.join()
        return self.said.decode(errors='replace')

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._master)


@pytest.fixture
def start(store: Store, conn: s3po.Connection, tmp_path: Path) -> Iterator[Any]:
    started: list[Terminal] = []

    def begin(grace_s: float) -> Terminal:
        started.append(Terminal(tmp_path, store.endpoint_url, str(grace_s)))
        until = time.monotonic() + LIMIT_S
        while len(store.log('UploadPart')) < 4:
            assert started[-1].process.poll() is None, started[-1].said
            assert time.monotonic() < until, started[-1].said
            gevent.sleep(0.02)
        return started[-1]

    yield begin
    for program in started:
        program.close()


def left(text: str) -> list[int]:
    """The numbers of failed, not started, submitted and successful jobs."""
    [line] = [line for line in text.splitlines() if line.startswith('left ')]
    return [int(word) for word in line.split()[1:]]


def check(text: str, conn: s3po.Connection) -> None:
    assert 'a batch was ended by KeyboardInterrupt: ' in text
    assert 'jobs not started: batch.not_started.save(path), then conn.retry_failed(path)' in text
    assert 'KeyboardInterrupt' in text.splitlines()[-1]
    assert not secrets_in(text)
    assert conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads', []) == []


def test_jobs_that_end_within_the_grace(start: Any, store: Store, conn: s3po.Connection) -> None:
    """Running jobs that end within the grace succeed, and the process ends at once then."""
    store.script({'operation': 'UploadPart', 'times': None, 'action': {'delay_s': 0.3}})
    program = start(20.0)
    began = time.monotonic()
    program.interrupt()
    text = program.wait()

    assert time.monotonic() - began < 10
    failed, not_started, submitted, succeeded = left(text)
    # Python raises KeyboardInterrupt in the greenlet that runs just then, perhaps that of a job.
    assert failed <= 1
    assert 0 < not_started == submitted - succeeded - failed
    check(text, conn)


def test_jobs_that_do_not(start: Any, store: Store, conn: s3po.Connection) -> None:
    """Jobs that still run after the grace are interrupted; the process ends within the grace + 1 s."""
    store.script({'operation': 'UploadPart', 'times': None, 'action': {'hang_s': 60.0}})
    program = start(GRACE_S)
    began = time.monotonic()
    program.interrupt()
    text = program.wait()

    assert GRACE_S < time.monotonic() - began < GRACE_S + 1
    failed, not_started, submitted, succeeded = left(text)
    assert (failed, succeeded) == (4, 0)
    assert not_started == submitted - 4
    check(text, conn)


def test_second_interrupt(start: Any, store: Store, conn: s3po.Connection) -> None:
    """A second Ctrl-C ends the grace: the process ends within a second."""
    store.script({'operation': 'UploadPart', 'times': None, 'action': {'hang_s': 60.0}})
    program = start(600.0)
    program.interrupt()
    gevent.sleep(0.5)
    assert program.process.poll() is None
    began = time.monotonic()
    program.interrupt()
    text = program.wait()

    assert time.monotonic() - began < 1
    assert left(text)[0] == 4
    check(text, conn)
