"""Programs whose batches have worker processes: how they end, are interrupted, killed and forked."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from tests.conftest import BUCKET
from tests.support.canaries import SECRET_ACCESS_KEY, secrets_in
from tests.support.servers import CHECKOUT, Store

pytestmark = pytest.mark.slow

LIMIT_S = 60.0

# Without a `__main__` guard: it must not be run by the worker processes too.
# A shell's background job ignores SIGINT, and so do its children.
PRELUDE = """
    import os
    import signal
    import sys
    import time

    signal.signal(signal.SIGINT, signal.default_int_handler)

    print('started', os.getpid(), flush=True)
    import s3po
    from s3po.config import MIB

    config = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    conn = s3po.Connection(
        endpoint_url=sys.argv[1], region='us-east-1', access_key_id='a', secret_access_key=os.environ['SECRET'], config=config
    )
    data = bytes(12 * MIB)
"""
LARGE_UPLOADS = """
    with conn.batch(4, processes=2, **OPTIONS) as batch:
        for number in range(4):
            batch.upload('bucket', f'key-{number}', data)
        while len(batch._processes._workers) < 2:
            time.sleep(0.01)
        print('pids', *[worker.pid for worker in batch._processes._workers], flush=True)
"""
FORKING = """
    def fork(result):
        if os.fork() == 0:
            # The child has a connection of its own, and cannot use the batch.
            conn.upload('bucket', 'of the child', b'data')
            try:
                batch.upload('bucket', 'not by the child', b'data')
            except s3po.ConfigurationError:
                conn.upload('bucket', 'refused', b'')
            os._exit(0)

    with conn.batch(4, processes=2) as batch:
        batch.upload('bucket', 'first', b'data', callback=fork)
        for number in range(40):
            batch.upload('bucket', f'key-{number}', b'data')
    os.wait()
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    print(batch.report())
"""
NOT_CLOSED = """
    batch = conn.batch(4, processes=2)
    batch.upload('bucket', 'key', b'data')
    batch.wait()
    print('pids', *[worker.pid for worker in batch._processes._workers], flush=True)
"""
PATCHED = """
    from gevent import monkey
    monkey.patch_all()
    with conn.batch(4, processes=2) as batch:
        for number in range(40):
            batch.upload('bucket', f'key-{number}', b'data')
    print(batch.report())
"""


class Started:
    """A program in its own process."""

    def __init__(self, store: Store, directory: Path, script: str, terminal: int | None, **environment: str) -> None:
        script = textwrap.dedent(PRELUDE) + textwrap.dedent(script).replace('**OPTIONS', environment.pop('OPTIONS', ''))
        (directory / 'script.py').write_text(script)
        # Without coverage, which sometimes loses exceptions that a signal handler raises in coverage's own callbacks.
        kept = {name: value for name, value in os.environ.items() if not name.startswith('COVERAGE_')}

        def control_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [sys.executable, 'script.py', store.endpoint_url],
            cwd=directory,
            env={**kept, 'PYTHONPATH': str(CHECKOUT), 'SECRET': SECRET_ACCESS_KEY, **environment},
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Nothing else runs in the tests' process at this moment.
            preexec_fn=None if terminal is None else control_terminal,  # noqa: PLW1509
        )
        self.err = self.out = ''

    def pids(self) -> list[int]:
        """The worker processes, when the program has printed them."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith('pids'):
                return [int(word) for word in line.split()[1:]]
        raise AssertionError(self.wait())

    def wait(self) -> int:
        """The exit code; negative for a signal."""
        self.out, self.err = self.process.communicate(timeout=LIMIT_S)
        assert not secrets_in(self.err)
        return self.process.returncode


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def start(store: Store, tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts a program."""
    started: list[Started] = []

    def begin(script: str, terminal: int | None = None, **environment: str) -> Started:
        started.append(Started(store, tmp_path, script, terminal, **environment))
        return started[-1]

    yield begin
    for program in started:
        if program.process.poll() is None:
            program.process.kill()
            program.process.communicate()


def wait_until(is_done: Callable[[], Any]) -> bool:
    until = time.monotonic() + LIMIT_S
    while not is_done() and time.monotonic() < until:
        gevent.sleep(0.05)
    return bool(is_done())


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_killed_parent(start: Callable[..., Started], store: Store) -> None:
    """If the program is killed, its worker processes abort their uploads and end."""
    store.script({'operation': 'UploadPart', 'times': None, 'action': {'delay_s': 5.0}})
    program = start(LARGE_UPLOADS)
    pids = program.pids()
    assert wait_until(lambda: len(store.log('CreateMultipartUpload')) == 4 and len(store.log('UploadPart')) >= 4)
    program.process.kill()
    program.wait()

    assert wait_until(lambda: not any(map(exists, pids)))
    assert len(store.log('AbortMultipartUpload')) >= 4


def test_interrupt_in_a_terminal(start: Callable[..., Started], store: Store) -> None:
    """Ctrl-C in a terminal ends the program with KeyboardInterrupt; no upload and no worker process is left."""
    store.script({'operation': 'UploadPart', 'times': None, 'action': {'delay_s': 5.0}})
    terminal, slave = pty.openpty()
    program = start(LARGE_UPLOADS, slave)
    os.close(slave)
    pids = program.pids()
    assert wait_until(lambda: len(store.log('CreateMultipartUpload')) == 4 and len(store.log('UploadPart')) >= 4)
    os.write(terminal, b'\x03')
    status = program.wait()
    os.close(terminal)

    assert status == -signal.SIGINT
    assert program.err.count('Traceback (most recent call last)') == 1
    assert program.err.rstrip().endswith('KeyboardInterrupt')
    assert wait_until(lambda: not any(map(exists, pids)))
    assert len(store.log('AbortMultipartUpload')) >= 4


@pytest.mark.parametrize('handles', [True, False])
def test_all_terminated(start: Callable[..., Started], store: Store, handles: bool) -> None:
    """SIGTERM to all processes at once, as a service manager sends it: no upload and no worker process is left."""
    store.script({'operation': 'UploadPart', 'times': None, 'action': {'delay_s': 5.0}})
    program = start('    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n' * handles + LARGE_UPLOADS)
    pids = program.pids()
    assert wait_until(lambda: len(store.log('CreateMultipartUpload')) == 4 and len(store.log('UploadPart')) >= 4)
    for pid in (*pids, program.process.pid):
        os.kill(pid, signal.SIGTERM)

    assert program.wait() == (7 if handles else -signal.SIGTERM)
    assert wait_until(lambda: not any(map(exists, pids)))
    assert len(store.log('AbortMultipartUpload')) >= 4


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_worker(start: Callable[..., Started], store: Store, number: signal.Signals) -> None:
    """SIGINT or SIGTERM to a worker process alone has no effect."""
    store.script({'operation': 'UploadPart', 'times': 4, 'action': {'delay_s': 2.0}})
    program = start(LARGE_UPLOADS)
    for pid in program.pids():
        os.kill(pid, number)

    assert program.wait() == 0
    assert program.err == ''


def test_fork(start: Callable[..., Started], store: Store) -> None:
    """A child that a callback forks uses neither the batch nor its worker processes; the parent is not affected."""
    program = start(FORKING)

    assert program.wait() == 0, program.err
    assert '41 of 41 jobs done' in program.out
    keys = {seen['key'] for seen in store.log('PutObject')}
    assert {'of the child', 'refused'} <= keys
    assert 'not by the child' not in keys


def test_batch_that_is_not_closed(start: Callable[..., Started]) -> None:
    """The worker processes of a batch that is not closed end with the program."""
    program = start(NOT_CLOSED)
    pids = program.pids()

    assert program.wait() == 0
    assert wait_until(lambda: not any(map(exists, pids)))
    assert program.err == ''


@pytest.mark.parametrize('environment', [{}, {'S3PO_PATCH': 'all'}, {'S3PO_PATCH': '0'}], ids=str)
def test_patches(start: Callable[..., Started], environment: dict[str, str]) -> None:
    """A program that is patched by gevent, fully or not at all, has worker processes too. They do not run it again."""
    program = start(
        PATCHED if environment.get('S3PO_PATCH') == 'all' else PATCHED.replace('monkey.patch_all()', ''), **environment
    )

    assert program.wait() == 0, program.err
    assert '40 of 40 jobs done' in program.out
    assert program.out.count('started') == 1
    assert program.err == ''


def test_journal(start: Callable[..., Started], store: Store) -> None:
    """With a journal, an upload of a killed program is continued: what worker processes have sent is recorded in the parent."""
    store.script({'operation': 'UploadPart', 'query': {'partNumber': '3'}, 'times': 4, 'action': {'delay_s': 60.0}})
    program = start(LARGE_UPLOADS, OPTIONS="journal='journal'")
    program.pids()
    assert wait_until(lambda: len(store.log('UploadPart')) == 12)
    time.sleep(0.5)
    # All at once, so that no upload is aborted.
    for pid in program_processes(program):
        os.kill(pid, signal.SIGKILL)
    program.wait()
    again = start(LARGE_UPLOADS, OPTIONS="journal='journal'")

    assert again.wait() == 0, again.err
    assert len(store.log('CreateMultipartUpload')) == 4
    # The store has stored the last parts, too.
    assert len(store.log('UploadPart')) == 12
    assert len(store.log('CompleteMultipartUpload')) == 4


def program_processes(program: Started) -> list[int]:
    """The program and its children."""
    parent = program.process.pid
    found = subprocess.run(['ps', '-o', 'pid=', '--ppid', str(parent)], capture_output=True, text=True, check=True)
    return [parent, *map(int, found.stdout.split())]
