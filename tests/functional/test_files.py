"""Open files over HTTP: dropped connections, waiting parts, ending processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig

import s3po
from s3po.config import MIB
from s3po.errors import SourceChanged
from s3po.interfaces.streaming import S3StreamingUpload
from tests.conftest import BUCKET
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.kinds import KINDS, Kind
from tests.support.servers import Store


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


def test_dropped_connections(conn: s3po.Connection, store: Store, kind: Kind) -> None:
    """After a dropped connection, a reader continues at the next byte and requests the same version."""
    data = os.urandom(9 * MIB)
    etag = conn.upload(BUCKET, 'key', data).etag
    cut = {'cut_body_at': 300_000, 'reset': True}
    store.script({'operation': 'GetObject', 'times': 2, 'headers': {'if-match': f'"{etag}"'}, 'action': cut})

    with conn.open(BUCKET, 'key') as file:
        assert b''.join(iter(lambda: file.read(100_000), b'')) == data

    asked = [seen['headers'] for seen in store.log('GetObject')]
    assert 'if-match' not in asked[0]
    assert all(headers['if-match'] == f'"{etag}"' for headers in asked[1:])
    ranges = [headers['range'].removeprefix('bytes=').split('-') for headers in asked]
    begins_by_end: dict[str, list[int]] = {}
    for begin, end in ranges:
        begins_by_end.setdefault(end, []).append(int(begin))
    resumed = [begins for begins in begins_by_end.values() if len(begins) > 1]
    assert resumed
    # A reset may discard bytes that had arrived.
    assert all(0 <= begins[1] - begins[0] <= (300_000 if kind.resumes else 0) for begins in resumed)


def test_replaced_while_it_is_read(conn: s3po.Connection) -> None:
    """If the object is replaced while it is read, the reader raises an error instead of mixing two versions."""
    conn.upload(BUCKET, 'key', b'a' * 9 * MIB)
    with conn.open(BUCKET, 'key', read_ahead=0) as file:
        file.read(10)
        conn.upload(BUCKET, 'key', b'b' * 9 * MIB)
        with pytest.raises(SourceChanged):
            file.read()


def test_parts_go_up_meanwhile_and_wait(connect: Callable[..., s3po.Connection], conn: s3po.Connection, store: Store) -> None:
    """Parts are sent while more is written; write() waits if the store is slower."""
    config = s3po.TransferConfig(multipart_chunksize=5 * MIB, max_concurrency=2)
    slow = connect(store.endpoint_url, config=config)
    store.script({'operation': 'UploadPart', 'times': None, 'action': {'delay_s': 0.2}})
    piece = os.urandom(5 * MIB)
    began = time.monotonic()
    with slow.open(BUCKET, 'key', 'wb') as file:
        for _ in range(12):
            file.write(piece)
        # At most six parts are in flight, in the queue, or in the buffer.
        sent = len(store.log('UploadPart'))
    assert sent >= 6
    assert time.monotonic() - began > 6 * 0.2
    with conn.open(BUCKET, 'key') as file:
        assert all(file.read(len(piece)) == piece for _ in range(12))
        assert file.read() == b''


PROGRAM = """
import os, sys, time
import s3po
conn = s3po.Connection(endpoint_url=sys.argv[1], region='us-east-1', access_key_id='key', secret_access_key=sys.argv[2])
with conn.open('bucket', 'key', 'wb') as file:
    print('begun', flush=True)
    while True:
        file.write(os.urandom(1024 * 1024))
        time.sleep(0.001)
"""


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGKILL])
@pytest.mark.leaves_upload('SIGKILL leaves no time to abort')
@pytest.mark.slow
def test_process_that_ends(store: Store, conn: s3po.Connection, how: signal.Signals) -> None:
    """If the process is interrupted or killed, the object is unchanged; after Ctrl-C the upload is aborted, too."""
    conn.upload(BUCKET, 'key', b'old')
    command = [sys.executable, '-c', PROGRAM, store.endpoint_url, SECRET_ACCESS_KEY]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509  (no threads here)
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        while not store.log('UploadPart'):
            time.sleep(0.02)
        program.send_signal(how)
        program.wait(60)
    assert conn.download(BUCKET, 'key') == b'old'
    left = conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads', [])
    assert len(left) == (how == signal.SIGKILL)


def test_producer_that_fails_publishes_nothing(store: Store, conn: s3po.Connection) -> None:
    """If a producer writes too little, boto3's read() raises, and boto3 aborts the upload."""
    stream = S3StreamingUpload(30 * MIB)

    def produce() -> None:
        stream.write(b'x' * 20 * MIB)
        stream.close()

    threading.Thread(target=produce, daemon=True).start()
    keys: dict[str, Any] = {'aws_access_key_id': 'key', 'aws_secret_access_key': SECRET_ACCESS_KEY}
    client = boto3.client('s3', endpoint_url=store.endpoint_url, region_name='us-east-1', **keys)
    with pytest.raises(SourceChanged, match='closed after'):
        client.upload_fileobj(stream, BUCKET, 'key', Config=TransferConfig(use_threads=False))
    assert not conn.exists(BUCKET, 'key')
    assert not client.list_multipart_uploads(Bucket=BUCKET).get('Uploads')
