"""S3-PO's Connection beyond the examples of its document: no queued upload is lost, and failures are kept, not just logged."""

from __future__ import annotations

import gzip
import os
import pathlib
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import tenacity
from gevent import monkey

import s3po
from s3po.config import MIB
from s3po.errors import BatchError, ConfigurationError, DeadlineExceeded, UploadError
from s3po.interfaces import legacy
from tests.conftest import BUCKET, impatient
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.noise import noise
from tests.support.servers import Store


def old(conn: s3po.Connection, **arguments: Any) -> legacy.Connection:
    return legacy.Connection(connection=conn, **arguments)


def test_waits_are_minutes() -> None:
    """The waits between attempts are 1, 2 and 4 minutes; the third retry is the last."""
    made = legacy.Connection('key', 'secret')
    policy = made.connection._operations._policy
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    waits = []
    for number in (1, 2, 3):
        state.attempt_number = number
        waits.append(policy.wait(state))
    assert waits == [60, 120, 240]
    assert policy.retries == 3


def test_deleted_only_after_success(conn: s3po.Connection, store: Store, tmp_path: pathlib.Path) -> None:
    """A file whose upload failed is not deleted; stopLoop() raises the failure once."""
    file = tmp_path / 'file'
    file.write_bytes(b'data')
    made = old(conn)
    store.script({'operation': 'PutObject', 'times': None, 'action': {'status': 500}})
    made.runLoop()
    made.runLoop()
    queued = made.uploadFile(BUCKET, 'key', file, retries=0)
    with pytest.raises(UploadError):
        queued.get(timeout_s=20)
    assert queued.ready()
    assert [str(job.ref) for job in made.failed] == ['s3://bucket/key']
    with pytest.raises(BatchError, match='1 uploads in the background failed; the first: s3://bucket/key'):
        made.stopLoop()
    made.stopLoop()
    assert made.failed == []
    assert file.exists()


def test_silent(conn: s3po.Connection, store: Store) -> None:
    """With silent=True a failure is the return value, or, in the background, an entry of `failed`."""
    store.script({'times': None, 'action': {'status': 500}})
    made = old(conn, silent=True, retries=0)
    assert made.uploadString(BUCKET, 'key', 'x', background=False) is False
    assert made.downloadString(BUCKET, 'key') is None
    made.uploadString(BUCKET, 'key', 'x')
    made.runLoop()
    made.stopLoop()


def test_while_the_program_computes(conn: s3po.Connection) -> None:
    """Uploads in the background continue while the main thread computes without yielding."""
    made = old(conn, delete=False)
    made.runLoop()
    queued = [made.uploadString(BUCKET, f'key{number}', b'x') for number in range(20)]
    until = time.monotonic() + 20
    while not all(one.ready() for one in queued) and time.monotonic() < until:
        sum(range(1000))
    assert all(one.ready() for one in queued)
    made.stopLoop()
    assert repr(queued[0]) == '<Queued s3://bucket/key0 done>'


def test_from_many_threads(conn: s3po.Connection) -> None:
    """Of 1,000 uploads from eight native threads, none is lost."""
    made = old(conn)
    made.runLoop()
    start: Callable[..., Any] = monkey.get_original('_thread', 'start_new_thread')
    ended: list[int] = []

    def work(thread: int) -> None:
        for number in range(125):
            made.uploadString(BUCKET, f'{thread}/{number}', b'x')
        ended.append(thread)

    for thread in range(8):
        start(work, (thread,))
    until = time.monotonic() + 30
    while len(ended) < 8 and time.monotonic() < until:
        time.sleep(0.01)
    made.stopLoop()
    assert sum(1 for _ in conn.list(BUCKET)) == 1000


PROGRAM = """
import sys
from s3po.interfaces import legacy
made = legacy.Connection('key', sys.argv[2], endpoint_url=sys.argv[1], region='us-east-1', retries=0)
made.uploadFile('bucket', 'first', sys.argv[3])
if sys.argv[4] == 'run':
    made.runLoop()
made.uploadString('bucket', 'second', 'x')
"""


@pytest.mark.parametrize('how', ['run', 'never'])
@pytest.mark.sampled(1)
def test_drained_at_exit(conn: s3po.Connection, store: Store, tmp_path: pathlib.Path, how: str) -> None:
    """Uploads that are queued when the program ends are carried out, with and without runLoop()."""
    file = tmp_path / 'file'
    file.write_bytes(b'data' * 250_000)
    command = [sys.executable, '-c', PROGRAM, store.endpoint_url, SECRET_ACCESS_KEY, str(file), how]
    subprocess.run(command, check=True, timeout=60)

    assert (conn.download(BUCKET, 'first'), conn.download(BUCKET, 'second')) == (b'data' * 250_000, b'x')
    assert not file.exists()


def test_failure_at_exit_is_logged(store: Store, conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """A failure at the end of the program is logged, since it cannot be raised."""
    file = tmp_path / 'file'
    file.write_bytes(b'data')
    store.script({'operation': 'PutObject', 'times': None, 'action': {'status': 403, 'code': 'AccessDenied'}})
    command = [sys.executable, '-c', PROGRAM, store.endpoint_url, SECRET_ACCESS_KEY, str(file), 'never']
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)

    assert 'the upload to s3://bucket/first in the background failed' in done.stderr
    assert file.exists()


def test_child_has_no_queue(conn: s3po.Connection) -> None:
    """A forked child neither carries out its parent's queue nor waits for its parent's thread."""
    made = old(conn)
    made.uploadString(BUCKET, 'key', b'x')
    child = os.fork()
    if not child:
        code = 1
        try:
            made.stopLoop()
            code = 0 if made.failed == [] else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert not conn.exists(BUCKET, 'key')
    made.stopLoop()
    assert conn.exists(BUCKET, 'key')


def test_downloads_wait(conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """Downloads block, and return or write bytes or text."""
    made = old(conn, **{'async': False})
    made.uploadString(BUCKET, 'key', 'hé')
    made.downloadFile(BUCKET, 'key', tmp_path / 'file')
    assert (tmp_path / 'file').read_text('utf-8') == 'hé'
    assert made.downloadString(BUCKET, 'key') == 'hé'.encode()
    assert made.downloadString(BUCKET, 'key', encoding='utf-8') == 'hé'


def test_download_file(conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """downloadFile() returns the path; without one, it makes a file in `tempdir`."""
    made = old(conn, tempdir=tmp_path / 'new', background=False)
    made.uploadString(BUCKET, 'key', 'data')
    assert made.downloadFile(BUCKET, 'key', str(tmp_path / 'file')) == str(tmp_path / 'file')
    path = made.downloadFile(BUCKET, 'key', 3)
    assert os.path.dirname(path) == str(tmp_path / 'new')
    assert pathlib.Path(path).read_bytes() == b'data'


def test_positional_headers(conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """headers, compress and retries are positional, also in the background and in a batch."""
    file = tmp_path / 'file'
    file.write_bytes(b'data')
    made = old(conn, delete=False)
    made.uploadFile(BUCKET, 'background', file, {'Cache-Control': 'no-store'}, 'gzip', 1)
    made.stopLoop()
    with made.batch() as batch:
        batch.uploadFile(BUCKET, 'batch', file, {'Cache-Control': 'no-store'}, 'gzip', 1)
        batch.uploadString(BUCKET, 'string', 'data', {'Cache-Control': 'no-store'}, 'gzip', 1)
    assert made.listNames(BUCKET) == ['background', 'batch', 'string']
    for key in made.listNames(BUCKET):
        headers = conn.head(BUCKET, key).headers
        assert (headers['cache-control'], headers['content-encoding']) == ('no-store', 'gzip')
        assert made.downloadString(BUCKET, key) == b'data'


def test_batch(conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """A batch has the uploads and downloads, with callbacks and with the connection's default for `delete`."""
    made = old(conn, tempdir=tmp_path)
    file = tmp_path / 'file'
    file.write_bytes(b'from a file')
    with made.batch(10) as batch:
        jobs = [batch.uploadString(BUCKET, f'key{number}', 'hello') for number in range(10)]
        batch.uploadFile(BUCKET, 'file', str(file))
    assert all(job.value.size_bytes == 5 for job in jobs)
    assert not file.exists()

    seen: list[Any] = []
    with made.batch(10) as batch:
        downloads = {f'key{number}': batch.downloadString(BUCKET, f'key{number}') for number in range(10)}
        for number in range(10):
            batch.downloadString(BUCKET, f'key{number}', callback=seen.append)
        path = batch.downloadFile(BUCKET, 'file', str(file))
        called = batch.downloadFile(BUCKET, 'file', callback=lambda name: pathlib.Path(name).read_bytes())
        names, count = batch.listNames(BUCKET, 'key', 1), batch.listNames(BUCKET, callback=len)
    assert [job.value for job in downloads.values()] == seen == [b'hello'] * 10
    assert (path.value, file.read_bytes(), called.value) == (str(file), b'from a file', b'from a file')
    assert (names.value, count.value) == (sorted(downloads), 11)


def test_batch_decompresses(conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """The downloads of a batch decompress objects of S3-PO, also those uploaded in parts, and leave others as stored."""
    data = noise(6 * MIB)
    made, bodies = old(conn), {'gzip': gzip.compress(data), 'zlib': zlib.compress(data), 'br': data}
    for encoding, body in bodies.items():
        conn.upload(BUCKET, encoding, body, headers={'Content-Encoding': encoding})
    parts = conn.conn.create_multipart_upload(Bucket=BUCKET, Key='parts', ContentEncoding='gzip')
    where: dict[str, Any] = {'Bucket': BUCKET, 'Key': 'parts', 'UploadId': parts['UploadId']}
    pieces = bodies['gzip'][: 5 * MIB], bodies['gzip'][5 * MIB :]
    etags = [conn.conn.upload_part(**where, PartNumber=at, Body=piece)['ETag'] for at, piece in enumerate(pieces, 1)]
    listed = [{'PartNumber': at, 'ETag': etag} for at, etag in enumerate(etags, 1)]
    conn.conn.complete_multipart_upload(**where, MultipartUpload={'Parts': listed})

    with made.batch() as batch:
        strings = [batch.downloadString(BUCKET, key) for key in (*bodies, 'parts')]
        files = [batch.downloadFile(BUCKET, key, tmp_path / key) for key in (*bodies, 'parts')]

    assert all(job.value == data for job in strings)
    assert all(pathlib.Path(job.value).read_bytes() == data for job in files)


def test_batch_failures(conn: s3po.Connection) -> None:
    """A batch raises its failures, unless they are silent or it collects them; async is refused."""
    made = old(conn, retries=0)
    with pytest.raises(BatchError, match='NoSuchKey'), made.batch() as batch:
        batch.downloadString(BUCKET, 'missing')
    with made.batch(on_error='collect') as batch:
        batch.downloadFile(BUCKET, 'missing')
    assert len(batch.failed) == 1
    with old(conn, silent=True).batch() as batch:
        batch.downloadString(BUCKET, 'missing')
    assert not batch.success()
    with made.batch() as batch:
        with pytest.raises(TypeError, match='leave out background and async'):
            batch.uploadString(BUCKET, 'key', 'x', **{'async': True})


def test_import_of_the_document() -> None:
    """s3po.compat.legacy has the names of S3-PO's module."""
    from s3po.compat import legacy as module

    assert module.Connection is legacy.Connection
    assert module.logger.name == 's3po'
    assert module.logger.handlers == []


def test_bad_input(conn: s3po.Connection) -> None:
    """Invalid arguments raise at once in the calling thread; errors found by the upload are failures."""
    made = old(conn)
    with pytest.raises(ConfigurationError, match='key is empty'):
        made.uploadFile(BUCKET, '', 'file')
    with pytest.raises(TypeError, match="'asynchronous'"):
        made.uploadFile(BUCKET, 'key', 'file', asynchronous=True)
    with pytest.raises(ConfigurationError, match='connection cannot be combined with'):
        old(conn, region='x')
    queued = made.uploadFile(BUCKET, 'key', '/no/such/file')
    with pytest.raises(DeadlineExceeded):
        queued.get(timeout_s=0.02)
    with pytest.raises(BatchError, match='/no/such/file'):
        made.stopLoop()
    with pytest.raises(ConfigurationError, match='compress'):
        made.uploadString(BUCKET, 'key', b'', compress='rar', background=False)
    assert impatient().retries == 3
