"""Progress over real connections: bytes of repeated requests go back, also over boto3; the interfaces' own callbacks agree."""

from __future__ import annotations

import os
import pathlib
import pty
import subprocess
import sys
from collections.abc import Callable

import pytest

import s3po
from s3po.config import MIB
from s3po.model import ProgressEvent
from tests.conftest import BUCKET
from tests.support.kinds import KINDS, Kind
from tests.support.noise import noise
from tests.support.servers import CHECKOUT, Store

Connect = Callable[..., s3po.Connection]

PART = 5 * MIB
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
LARGE = noise(11 * MIB + 7)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def conn(store: Store, connect: Connect) -> s3po.Connection:
    store.create_bucket(BUCKET)
    return connect(store.endpoint_url, config=IN_PARTS)


def test_bytes_of_a_repeated_part_go_back(conn: s3po.Connection, store: Store) -> None:
    events: list[ProgressEvent] = []
    store.script({'operation': 'UploadPart', 'times': 1, 'action': {'status': 503, 'code': 'SlowDown'}})
    conn.upload(BUCKET, 'key', LARGE, progress=events.append)
    store.script({'operation': 'GetObject', 'times': 1, 'skip': 1, 'action': {'cut_body_at': 100_000}})
    assert conn.download(BUCKET, 'key', progress=events.append) == LARGE

    for event in events:
        assert 0 <= event.bytes_done <= len(LARGE)
        assert event.is_last == (event.bytes_done == len(LARGE) and event.jobs_done == 1)
    assert [event.bytes_total for event in events if event.is_last] == [len(LARGE)] * 2


def test_batch(conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    events: list[ProgressEvent] = []
    with conn.batch(4, progress=events.append) as batch:
        for number in range(20):
            batch.upload(BUCKET, f'key{number}', b'12345')
        batch.wait()
        for entry in conn.list(BUCKET):
            batch.download_file(BUCKET, entry, tmp_path / entry.key)

    last = events[-1]
    assert (last.jobs_done, last.jobs_total, last.bytes_done, last.bytes_total, last.failed) == (40, 40, 200, 200, 0)


@pytest.mark.slow
def test_batch_with_processes(store: Store, connect: Connect, tmp_path: pathlib.Path) -> None:
    """Parts that worker processes send count while they are sent; a job with a function of its own has it called here."""
    store.create_bucket(BUCKET)
    conn = connect(store.endpoint_url, config=IN_PARTS)
    (tmp_path / 'large').write_bytes(LARGE)
    events: list[ProgressEvent] = []
    own: list[ProgressEvent] = []
    with conn.batch(4, processes=2, progress=events.append) as batch:
        batch.upload_file(BUCKET, 'large', tmp_path / 'large')
        batch.upload_file(BUCKET, 'own', tmp_path / 'large', progress=own.append)
        for number in range(20):
            batch.upload(BUCKET, f'key{number}', b'12345')

    whole = 2 * len(LARGE) + 100
    assert (events[-1].jobs_done, events[-1].bytes_done, events[-1].bytes_total) == (22, whole, whole)
    assert max(event.bytes_done for event in events) == whole
    assert own[-1].bytes_done == len(LARGE)


PROGRAM = """
import sys, s3po
conn = s3po.Connection(endpoint_url=sys.argv[1], access_key_id='a', secret_access_key='b', region='us-east-1')
with conn.batch(4, progress=True) as batch:
    for number in range(10):
        batch.upload('bucket', str(number), b'12345')
"""


@pytest.mark.parametrize('where', ['terminal', 'log'])
def test_display(store: Store, where: str) -> None:
    """On a terminal it is a bar of rich; in a log, one line at the end."""
    store.create_bucket('bucket')
    parent, child = pty.openpty()
    command = [sys.executable, '-c', PROGRAM, store.endpoint_url]
    environment = {'PATH': os.environ['PATH'], 'PYTHONPATH': str(CHECKOUT), 'TERM': 'xterm', 'COLUMNS': '120'}
    try:
        if where == 'terminal':
            subprocess.run(command, env=environment, stderr=child, check=True)
            shown = os.read(parent, 100_000).decode()
        else:
            done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, check=True, text=True)
            shown = done.stderr
    finally:
        os.close(parent)
        os.close(child)

    assert '10 of 10 jobs' in shown
    assert ('\x1b[' in shown) == (where == 'terminal')
    assert shown.startswith('s3po: 10 of 10 jobs, 50 bytes of 50 bytes') == (where == 'log')
