"""Ctrl-C during multipart uploads: the process ends soon, as other Python programs do, and leaves no open upload."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.canaries import SECRET_ACCESS_KEY, secrets_in
from tests.support.kinds import KINDS, Kind
from tests.support.servers import CHECKOUT, Store

pytestmark = pytest.mark.slow

LIMIT_S = 20.0

PRELUDE = """
    import os
    import signal
    import sys
    import s3po

    # A shell that starts the tests in the background makes them, and this process, ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from s3po.config import MIB

    config = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    conn = s3po.Connection(
        endpoint_url=sys.argv[1],
        transport=sys.argv[2],
        region='us-east-1',
        access_key_id='a',
        secret_access_key=os.environ['SECRET'],
        config=config,
    )
    data = bytes(12 * MIB)
"""
WHILE_SUBMITTING = """
    with conn.batch(4) as batch:
        for number in range(100):
            batch.upload('bucket', f'key-{number}', data)
"""
AT_THE_END = """
    with conn.batch(4) as batch:
        for number in range(4):
            batch.upload('bucket', f'key-{number}', data)
"""
IN_AN_UPLOAD = """
    conn.upload('bucket', 'key', data)
"""
IN_A_STREAM = """
    def endless():
        while True:
            yield bytes(MIB)

    conn.upload('bucket', 'key', endless())
"""
IN_A_CALLBACK = """
    import time

    def busy(result):
        # Once the others are under way, no other greenlet runs any more.
        time.sleep(0.4)
        conn.upload('bucket', 'marker', b'')
        while True:
            time.time()

    with conn.batch(4) as batch:
        batch.upload('bucket', 'small', b'data', callback=busy)
        for number in range(3):
            batch.upload('bucket', f'key-{number}', data)
"""


class Interrupted:
    """A script in its own process, which can be interrupted."""

    def __init__(self, store: Store, kind: Kind, directory: Path, script: str) -> None:
        # Without coverage, which sometimes loses exceptions that a signal handler raises in coverage's own callbacks.
        environment = {name: value for name, value in os.environ.items() if not name.startswith('COVERAGE_')}
        (directory / 'script.py').write_text(textwrap.dedent(PRELUDE) + textwrap.dedent(script))
        self._process = subprocess.Popen(
            [sys.executable, 'script.py', store.endpoint_url, kind.name],
            cwd=directory,
            env={**environment, 'PYTHONPATH': str(CHECKOUT), 'SECRET': SECRET_ACCESS_KEY},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.err = ''

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """The exit code; negative for a signal."""
        _, self.err = self._process.communicate(timeout=LIMIT_S)
        assert not secrets_in(self.err)
        return self._process.returncode

    def kill(self) -> None:
        if self.is_running:
            self._process.kill()
            self._process.communicate()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def start(store: Store, conn: s3po.Connection, kind: Kind, tmp_path: Path) -> Iterator[Any]:
    """Starts a script that uses the store; the bucket exists."""
    started: list[Interrupted] = []

    def begin(script: str) -> Interrupted:
        started.append(Interrupted(store, kind, tmp_path, script))
        return started[-1]

    yield begin
    for program in started:
        program.kill()


def wait_for(program: Interrupted, store: Store, operation: str, count: int) -> None:
    """Wait until the store has received `count` requests of one operation."""
    until = time.monotonic() + LIMIT_S
    while len(store.log(operation)) < count:
        assert program.is_running, program.wait()
        assert time.monotonic() < until, f'no {count} of {operation}'
        time.sleep(0.02)


@pytest.mark.parametrize(
    ('script', 'begun'),
    [(WHILE_SUBMITTING, 4), (AT_THE_END, 4), (IN_AN_UPLOAD, 1), (IN_A_STREAM, 1), (IN_A_CALLBACK, 3)],
    ids=['while jobs are submitted', 'while the batch ends', 'in an upload', 'in a stream', 'in a callback'],
)
def test_one_interrupt(start: Any, store: Store, conn: s3po.Connection, script: str, begun: int) -> None:
    """The process ends with KeyboardInterrupt, and every multipart upload was aborted or completed."""
    store.script({'operation': 'UploadPart', 'times': None, 'action': {'delay_s': 5.0}})
    program = start(script)
    wait_for(program, store, 'UploadPart', begun)
    wait_for(program, store, 'CreateMultipartUpload', begun)
    if script is IN_A_CALLBACK:
        wait_for(program, store, 'PutObject', 2)

    program.interrupt()

    assert program.wait() == -signal.SIGINT
    assert program.err.rstrip().endswith('KeyboardInterrupt')
    assert conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads', []) == []
    created = {seen['key'] for seen in store.log('CreateMultipartUpload')}
    aborted = {seen['key'] for seen in store.log('AbortMultipartUpload')}
    # An upload whose completion had been sent is complete.
    whole = {entry.key for entry in conn.list(BUCKET) if isinstance(entry, s3po.ListEntry) and entry.size_bytes == 12 * MIB}
    assert created <= aborted | whole
    assert created & {entry.key for entry in conn.list(BUCKET)} <= whole


def test_interrupt_while_an_upload_is_created(start: Any, store: Store, conn: s3po.Connection) -> None:
    """If the response to CreateMultipartUpload is outstanding, Ctrl-C waits for the upload id and aborts the upload."""
    store.script({'operation': 'CreateMultipartUpload', 'action': {'delay_s': 1.0}})
    program = start(AT_THE_END)
    wait_for(program, store, 'CreateMultipartUpload', 4)

    program.interrupt()

    assert program.wait() == -signal.SIGINT
    assert conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads', []) == []
    assert len(store.log('AbortMultipartUpload')) == 4


def test_further_interrupts(start: Any, store: Store) -> None:
    """A second Ctrl-C ends the process even if aborting hangs."""
    store.script({'operation': 'UploadPart', 'times': None, 'action': {'delay_s': 5.0}})
    store.script({'operation': 'AbortMultipartUpload', 'action': {'hang_s': 4 * LIMIT_S}})
    program = start(IN_AN_UPLOAD)
    wait_for(program, store, 'UploadPart', 1)

    program.interrupt()
    wait_for(program, store, 'AbortMultipartUpload', 1)
    for _ in range(2):
        program.interrupt()
        time.sleep(0.2)

    assert program.wait() == -signal.SIGINT
    assert 'KeyboardInterrupt' in program.err
    assert program.err.rstrip().endswith('abort what is left in the store by hand')
