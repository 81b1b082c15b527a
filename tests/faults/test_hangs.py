"""Nothing hangs: control returns soon after a deadline, a cancel, a kill or Ctrl-C, even if the store never responds.

Each test prints how late control returned, and asserts a bound that holds on a busy machine. The promise is 0.3 s.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.connection import wiring
from s3po.errors import BatchError, DeadlineExceeded, ListingError
from s3po.http import HTTPClient
from tests.conftest import BUCKET
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.kinds import Kind
from tests.support.noise import noise
from tests.support.servers import CHECKOUT, Store

PART = 5 * MIB
DATA = noise(11 * MIB + 7)
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=2)
SILENT_S = 60.0
AFTER_S = 0.5
# On a machine with a high load.
BOUND_S = 2.0

SILENT = 'the store is silent until the test is over'


class MyError(Exception):
    """An error class of the caller."""


class MyTimeout(TimeoutError):
    """An error class of the caller that is an OSError, which libraries treat as a network error."""


@pytest.fixture(autouse=True)
def _close_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the wait of close(), since the store does not respond at the end of each test."""
    monkeypatch.setattr('s3po.connection.operations.CLOSE_S', 0.6)


@pytest.fixture
def conn(store: Store, connect: Callable[..., s3po.Connection]) -> s3po.Connection:
    """A connection that uploads in parts, with the default timeouts; the bucket exists."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    store.create_bucket(BUCKET)
    return connection


def silence(store: Store, *operations: str) -> None:
    """Script the store not to respond to these operations."""
    store.script(*({'operation': each, 'action': {'hang_s': SILENT_S}} for each in operations))


# --- ways to end a transfer after AFTER_S


def by_deadline(conn: s3po.Connection, transfer: str, *arguments: Any) -> None:
    with pytest.raises(DeadlineExceeded):
        getattr(conn, transfer)(*arguments, timeout_s=AFTER_S)


def by_kill(conn: s3po.Connection, transfer: str, *arguments: Any) -> None:
    greenlet = gevent.spawn(getattr(conn, transfer), *arguments)
    gevent.sleep(AFTER_S)
    greenlet.kill()


def by_timeout(conn: s3po.Connection, transfer: str, *arguments: Any) -> None:
    with pytest.raises(gevent.Timeout), gevent.Timeout(AFTER_S):
        getattr(conn, transfer)(*arguments)


def by_own_error(conn: s3po.Connection, transfer: str, *arguments: Any) -> None:
    mine = MyError()
    with pytest.raises(MyError) as caught, gevent.Timeout(AFTER_S, mine):
        getattr(conn, transfer)(*arguments)
    assert caught.value is mine


def by_own_os_error(conn: s3po.Connection, transfer: str, *arguments: Any) -> None:
    mine = MyTimeout('mine')
    with pytest.raises(MyTimeout) as caught, gevent.Timeout(AFTER_S, mine):
        getattr(conn, transfer)(*arguments)
    assert caught.value is mine


def by_batch_timeout(conn: s3po.Connection, transfer: str, *arguments: Any) -> None:
    with pytest.raises(BatchError), conn.batch(2, timeout_s=AFTER_S) as batch:
        getattr(batch, transfer)(*arguments)


def by_batch_cancel(conn: s3po.Connection, transfer: str, *arguments: Any) -> None:
    with conn.batch(2) as batch:
        getattr(batch, transfer)(*arguments)
        gevent.sleep(AFTER_S)
        batch.cancel()


def by_job_cancel(conn: s3po.Connection, transfer: str, *arguments: Any) -> None:
    with conn.batch(2) as batch:
        job = getattr(batch, transfer)(*arguments)
        gevent.sleep(AFTER_S)
        assert job.cancel()


ENDS = [by_deadline, by_kill, by_timeout, by_own_error, by_own_os_error, by_batch_timeout, by_batch_cancel, by_job_cancel]


def late_s(end: Callable[..., None], *arguments: Any) -> float:
    """Seconds between the end of AFTER_S and the return of control."""
    began = time.monotonic()
    end(*arguments)
    late = time.monotonic() - began - AFTER_S
    print(f'{end.__name__}: control came back {late:.3f} s late')
    return late


@pytest.mark.fault('F78')
@pytest.mark.leaves_upload(SILENT)
@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('stage', ['CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload'])
def test_silent_in_an_upload(conn: s3po.Connection, store: Store, stage: str, end: Callable[..., None]) -> None:
    """Control returns at once from an upload that gets no response, whichever request it waits for."""
    silence(store, stage, 'AbortMultipartUpload')

    assert late_s(end, conn, 'upload', BUCKET, 'key', DATA) < BOUND_S


@pytest.mark.slow
@pytest.mark.fault('F78')
@pytest.mark.leaves_upload(SILENT)
def test_close_reports(
    conn: s3po.Connection, store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """close() takes a bounded time, and reports the id of the upload that could not be aborted."""
    monkeypatch.undo()
    silence(store, 'UploadPart', 'AbortMultipartUpload')
    by_deadline(conn, 'upload', BUCKET, 'key', DATA)

    began = time.monotonic()
    conn.close()
    seconds = time.monotonic() - began

    (upload,) = conn.conn.list_multipart_uploads(Bucket=BUCKET)['Uploads']
    assert seconds < 5 + BOUND_S
    assert f'1 multipart uploads to s3://{BUCKET} are still not aborted' in caplog.text
    assert upload['UploadId'] in caplog.text


@pytest.mark.fault('F78')
def test_abort_in_the_background(conn: s3po.Connection, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow AbortMultipartUpload runs after control has returned, and close() waits for it."""
    monkeypatch.undo()
    silence(store, 'UploadPart')
    store.script({'operation': 'AbortMultipartUpload', 'action': {'delay_s': 1.0}})

    assert late_s(by_deadline, conn, 'upload', BUCKET, 'key', DATA) < 0.9
    conn.close()

    assert conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads', []) == []


@pytest.mark.fault('F78')
def test_late_upload_id(conn: s3po.Connection, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload whose id arrives after the call has ended is aborted."""
    monkeypatch.undo()
    store.script({'operation': 'CreateMultipartUpload', 'action': {'delay_s': 1.5}})

    assert late_s(by_kill, conn, 'upload', BUCKET, 'key', DATA) < 0.9
    conn.close()

    assert store.log('AbortMultipartUpload') != []
    assert conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads', []) == []


@pytest.mark.fault('F78')
@pytest.mark.leaves_upload(SILENT)
@pytest.mark.parametrize('end', [by_deadline, by_kill, by_own_error])
def test_silent_in_a_stream(conn: s3po.Connection, store: Store, end: Callable[..., None]) -> None:
    """Control returns at once from an upload of a stream, too."""
    silence(store, 'UploadPart', 'AbortMultipartUpload')

    assert late_s(end, conn, 'upload', BUCKET, 'key', iter([DATA])) < BOUND_S


@pytest.mark.fault('F78')
@pytest.mark.leaves_upload(SILENT)
@pytest.mark.parametrize('end', [by_timeout, by_own_os_error])
@pytest.mark.parametrize('leaving', ['close', 'exception'])
def test_silent_in_a_writer(conn: s3po.Connection, store: Store, leaving: str, end: Callable[..., None]) -> None:
    """Control returns at once from a writer, both from close() and from a `with` block that raises."""
    silence(store, 'UploadPart', 'AbortMultipartUpload')

    class Writing:
        def upload(self, bucket: str, key: str, data: bytes) -> None:
            with conn.open(bucket, key, 'wb') as file:
                file.write(data)
                if leaving == 'exception':
                    gevent.sleep(SILENT_S)

    assert late_s(end, Writing(), 'upload', BUCKET, 'key', DATA) < BOUND_S


@pytest.mark.fault('F78')
@pytest.mark.leaves_upload(SILENT)
@pytest.mark.parametrize('end', [by_kill, by_timeout])
def test_silent_in_a_copy(
    conn: s3po.Connection, store: Store, connect: Callable[..., s3po.Connection], end: Callable[..., None]
) -> None:
    """Control returns at once from a copy in parts, too."""
    config = s3po.TransferConfig(multipart_copy_threshold=PART, multipart_copy_chunksize=PART)
    copying = connect(store.endpoint_url, config=config)
    conn.upload(BUCKET, 'from', DATA)
    silence(store, 'UploadPartCopy', 'AbortMultipartUpload')

    assert late_s(end, copying, 'copy', BUCKET, 'from', BUCKET, 'to') < BOUND_S


@pytest.mark.fault('F78')
@pytest.mark.parametrize('end', ENDS)
def test_silent_in_a_download(conn: s3po.Connection, store: Store, tmp_path: Any, end: Callable[..., None]) -> None:
    """Control returns at once from a download, and no temporary file is left."""
    conn.upload(BUCKET, 'key', DATA)
    store.script({'operation': 'GetObject', 'skip': 1, 'action': {'hang_s': SILENT_S}})

    assert late_s(end, conn, 'download', BUCKET, 'key', tmp_path / 'target') < BOUND_S
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault('F78')
@pytest.mark.leaves_upload(SILENT)
def test_silent_when_a_lost_answer_is_looked_up(conn: s3po.Connection, store: Store) -> None:
    """The HEAD that follows a lost response to CompleteMultipartUpload ends with the call, too."""
    store.script({'operation': 'CompleteMultipartUpload', 'action': {'status': 200, 'body': ''}})
    silence(store, 'HeadObject', 'AbortMultipartUpload')

    assert late_s(by_deadline, conn, 'upload', BUCKET, 'key', DATA) < BOUND_S


@pytest.mark.fault('F78')
@pytest.mark.leaves_upload(SILENT)
def test_next_upload_does_not_wait_for_earlier_ones(conn: s3po.Connection, store: Store) -> None:
    """The next upload does not wait for the retries of earlier aborts."""
    silence(store, 'AbortMultipartUpload')
    store.script({'operation': 'UploadPart', 'times': 1, 'action': {'hang_s': SILENT_S}})
    by_deadline(conn, 'upload', BUCKET, 'key', DATA)
    conn.close()

    began = time.monotonic()
    conn.upload(BUCKET, 'key', DATA)

    assert time.monotonic() - began < BOUND_S
    assert conn.download(BUCKET, 'key') == DATA


PROGRAM = """
    import os, signal, sys, threading, time
    import s3po
    from s3po.config import MIB

    signal.signal(signal.SIGINT, signal.default_int_handler)
    conn = s3po.Connection(
        endpoint_url=sys.argv[1], transport=sys.argv[2], region='us-east-1', access_key_id='a',
        secret_access_key=os.environ['SECRET'],
        config=s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB),
    )
    conn.exists('bucket', 'key')
    if sys.argv[3] == 'deadline':
        try:
            conn.upload('bucket', 'key', bytes(12 * MIB), timeout_s=3.0)
        except s3po.DeadlineExceeded:
            print('control', flush=True)
    else:
        print('begun', flush=True)
        try:
            conn.upload('bucket', 'key', bytes(12 * MIB))
        except KeyboardInterrupt:
            print('control', time.time(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.fault('F78')
@pytest.mark.leaves_upload(SILENT)
@pytest.mark.parametrize('end', ['deadline', 'ctrl-c'])
def test_end_of_the_program(conn: s3po.Connection, store: Store, kind: Kind, tmp_path: Any, end: str) -> None:
    """A program that never calls close() ends within seconds, and logs the uploads that are left."""
    silence(store, 'UploadPart', 'AbortMultipartUpload')
    environment = {name: value for name, value in os.environ.items() if not name.startswith('COVERAGE_')}
    (tmp_path / 'program.py').write_text(textwrap.dedent(PROGRAM))
    program = subprocess.Popen(
        [sys.executable, 'program.py', store.endpoint_url, kind.name, end],
        cwd=tmp_path,
        env={**environment, 'PYTHONPATH': str(CHECKOUT), 'SECRET': SECRET_ACCESS_KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        interrupted_at = 0.0
        if end == 'ctrl-c':
            until = time.monotonic() + 20
            while not store.log('UploadPart') and time.monotonic() < until:
                time.sleep(0.02)
            program.send_signal(2)
            interrupted_at = time.time()
        out, err = program.communicate(timeout=30)
    finally:
        program.kill()
        program.wait()
    (tmp_path / 'program.py').unlink()

    (upload,) = conn.conn.list_multipart_uploads(Bucket=BUCKET)['Uploads']
    assert program.returncode == 0
    assert re.search(f'the program ended before its clean-up: .*{upload["UploadId"]}', err)
    if end == 'ctrl-c':
        assert float(out.split()[-1]) - interrupted_at < BOUND_S


@pytest.mark.fault('F83')
@pytest.mark.parametrize('end', [by_own_error, by_own_os_error])
@pytest.mark.parametrize(
    'stage', ['PutObject', 'GetObject', 'HeadObject', 'DeleteObject', 'ListObjectsV2', 'the body', 'connect']
)
def test_own_timeout_error(
    conn: s3po.Connection,
    store: Store,
    connect: Callable[..., s3po.Connection],
    stage: str,
    end: Callable[..., None],
) -> None:
    """The caller's own error is raised unchanged, and no request is sent again."""
    conn.upload(BUCKET, 'key', DATA[:PART])
    if stage == 'the body':
        store.script({'operation': 'GetObject', 'action': {'stall_at': 100}})
    elif stage != 'connect':
        silence(store, stage)
    # Accepts connections, and never responds to the TLS handshake.
    listener = socket.create_server(('127.0.0.1', 0))
    calls: dict[str, tuple[Any, ...]] = {
        'PutObject': (conn, 'upload', BUCKET, 'key', b'x'),
        'GetObject': (conn, 'download', BUCKET, 'key'),
        'the body': (conn, 'download', BUCKET, 'key'),
        'HeadObject': (conn, 'head', BUCKET, 'key'),
        'DeleteObject': (conn, 'delete', BUCKET, 'key'),
        'ListObjectsV2': (Listed(conn), 'list', BUCKET),
        'connect': (connect(f'https://127.0.0.1:{listener.getsockname()[1]}'), 'head', BUCKET, 'key'),
    }
    before = len(store.log())

    with listener:
        assert late_s(end, *calls[stage]) < BOUND_S
    assert len(store.log()) - before == (stage != 'connect')


class Listed:
    """A connection whose list() reads the listing to its end."""

    def __init__(self, conn: s3po.Connection) -> None:
        self._conn = conn

    def list(self, *arguments: Any) -> list[Any]:
        return list(self._conn.list(*arguments))


PAGE = (
    '<?xml version="1.0"?>\n<ListBucketResult><Name>bucket</Name><IsTruncated>true</IsTruncated>'
    '<NextContinuationToken>{next}</NextContinuationToken>{keys}</ListBucketResult>'
)
KEYS = ''.join(f'<Contents><Key>{key}</Key><Size>1</Size><ETag>"e"</ETag></Contents>' for key in ('{0}', '{0}-last'))


@pytest.mark.fault('F81')
@pytest.mark.parametrize('names', [['a'], ['a', 'b'], ['z', 'b', 'c']], ids=['one', 'two', 'three'])
def test_listing_that_repeats_a_page(conn: s3po.Connection, store: Store, names: list[str]) -> None:
    """A listing that repeats a page is an error, even if each continuation token is new."""
    pages = [PAGE.format(next=number + 1, keys=KEYS.format(names[number % len(names)])) for number in range(60)]
    store.script(*(once('ListObjectsV2', status=200, body=body) for body in pages))

    with pytest.raises(ListingError, match='repeats a page'):
        list(conn.list(BUCKET))

    assert len(store.log('ListObjectsV2')) < 20


@pytest.mark.fault('F81')
def test_unsorted_listing(conn: s3po.Connection, store: Store) -> None:
    """A listing need not be sorted: directory buckets do not sort their keys."""
    pages = [PAGE.format(next=number + 1, keys=KEYS.format(name)) for number, name in enumerate('zbya')]
    pages[-1] = pages[-1].replace('<IsTruncated>true', '<IsTruncated>false')
    store.script(*(once('ListObjectsV2', status=200, body=body) for body in pages))

    found = [entry.key for entry in conn.list(BUCKET)]  # type: ignore[union-attr]  # no delimiter, no prefixes

    assert found == ['z', 'z-last', 'b', 'b-last', 'y', 'y-last', 'a', 'a-last']


@pytest.mark.fault('F81')
def test_listing_with_a_time_limit(conn: s3po.Connection, store: Store) -> None:
    """The timeout_s of list() covers all its pages together, without the caller's own time between them."""
    pages = [PAGE.format(next=number + 1, keys=KEYS.format(number)) for number in range(100)]
    store.script(*(once('ListObjectsV2', status=200, body=body, delay_s=0.2) for body in pages))
    listing = conn.list(BUCKET, timeout_s=1.0)
    next(listing)
    gevent.sleep(1.2)

    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=f'list s3://{BUCKET}/: not done within its timeout_s of 1.0 s'):
        list(listing)

    assert time.monotonic() - began < 1 + BOUND_S
    with pytest.raises(s3po.ConfigurationError, match='timeout_s'):
        conn.list(BUCKET, timeout_s=float('nan'))


def once(operation: str, **action: Any) -> dict[str, Any]:
    return {'operation': operation, 'times': 1, 'action': action}


DRIP = {'drip': {'bytes': 1, 'every_s': 0.1}}
ERROR = '<Error><Code>InternalError</Code><Message>' + 'x' * 2000 + '</Message></Error>'


@pytest.fixture
def hasty(store: Store, connect: Callable[..., s3po.Connection], monkeypatch: pytest.MonkeyPatch) -> s3po.Connection:
    """A connection whose minimum speed, and time limit over boto, are checked sooner than by default."""
    monkeypatch.setattr(wiring, 'HTTPClient', functools.partial(HTTPClient, speed_window_s=0.5))
    monkeypatch.setattr('s3po.transport.time_limits.DOCUMENT_S', 0.8)
    connection = connect(store.endpoint_url, config=s3po.TransferConfig(read_timeout_s=5.0))
    store.create_bucket(BUCKET)
    connection.upload(BUCKET, 'key', b'x')
    return connection


@pytest.mark.fault('F82')
@pytest.mark.parametrize('body', ['chunked', 'with a length'])
def test_dripping_page(hasty: s3po.Connection, store: Store, body: str) -> None:
    """A page of a listing that arrives too slowly is given up and requested again."""
    page = PAGE.format(next=1, keys=KEYS.format('a') + ' ' * 5000)
    chunks = ''.join(f'1\r\n{each}\r\n' for each in page)
    action = {
        'raw': f'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n',
        'drip': {'bytes': 60, 'every_s': 0.1},
    }
    store.script(once('ListObjectsV2', **(action if body == 'chunked' else {'status': 200, 'body': page, **DRIP})))

    began = time.monotonic()
    found = list(hasty.list(BUCKET))

    assert time.monotonic() - began < 1 + BOUND_S
    assert [entry.key for entry in found] == ['key']  # type: ignore[union-attr]  # no delimiter, no prefixes
    assert len(store.log('ListObjectsV2')) == 2


@pytest.mark.fault('F82')
@pytest.mark.parametrize('operation', ['GetObject', 'DeleteObject', 'DeleteObjects', 'ListObjectsV2'])
def test_dripping_error(hasty: s3po.Connection, store: Store, operation: str) -> None:
    """The body of an error that arrives too slowly is given up, too."""
    store.script(once(operation, status=500, body=ERROR, **DRIP))
    calls: dict[str, Callable[[], object]] = {
        'GetObject': lambda: hasty.download(BUCKET, 'key'),
        'DeleteObject': lambda: hasty.delete(BUCKET, 'key'),
        'DeleteObjects': lambda: hasty.delete_many(BUCKET, ['key']),
        'ListObjectsV2': lambda: list(hasty.list(BUCKET)),
    }

    began = time.monotonic()
    calls[operation]()

    assert time.monotonic() - began < 1 + BOUND_S
    assert len(store.log(operation)) == 2


@pytest.mark.slow
@pytest.mark.fault('F82')
def test_blanks_while_an_object_is_put_together(
    hasty: s3po.Connection, store: Store, connect: Callable[..., s3po.Connection]
) -> None:
    """A CompleteMultipartUpload response that sends blanks for a long time is waited for, beyond any minimum speed."""
    conn = connect(store.endpoint_url, config=IN_PARTS)
    body = ' ' * 20 + (
        '<CompleteMultipartUploadResult><ETag>"0123456789abcdef0123456789abcdef-3"</ETag></CompleteMultipartUploadResult>'
    )
    chunks = ''.join(f'1\r\n{each}\r\n' for each in body)
    raw = f'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n'
    store.script(once('CompleteMultipartUpload', work=True, raw=raw, drip={'bytes': 20, 'every_s': 0.1}))

    assert conn.upload(BUCKET, 'key', DATA).parts == 3
    # Its ETag proves nothing, so a HEAD follows. Over boto the HEAD is lost with the connection, and the completion is
    # repeated.
    assert len(store.log('CompleteMultipartUpload')) <= 2


FEW = """
    import logging, os, resource, sys
    import s3po

    logging.basicConfig(level=logging.WARNING, format='%(message)s')
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    conn = s3po.Connection(
        endpoint_url=sys.argv[1], transport=sys.argv[2], region='us-east-1', access_key_id='a',
        secret_access_key=os.environ['SECRET'],
    )
    for number in range(100):
        with open(f'up-{number}', 'wb') as file:
            file.write(b'%d' % number * 1000)
    held = [os.open('/dev/null', os.O_RDONLY) for _ in range(int(sys.argv[3]))]
    with conn.batch(200) as batch:
        for number in range(100):
            batch.upload_file('bucket', f'key-{number}', f'up-{number}')
        # Such as a program opens for itself while the batch runs.
        held += [os.open('/dev/null', os.O_RDONLY) for _ in range(int(sys.argv[4]))]
    for descriptor in held[5:]:
        os.close(descriptor)
    with conn.batch(200) as batch:
        for number in range(100):
            batch.download_file('bucket', f'key-{number}', f'down-{number}')
    for number in range(100):
        assert open(f'down-{number}', 'rb').read() == b'%d' % number * 1000
    files = [open(os.devnull) for _ in range(10)]
    print('done', flush=True)
"""


@pytest.mark.slow
@pytest.mark.fault('F84')
@pytest.mark.parametrize(('before', 'during'), [(0, 0), (28, 0), (5, 28)], ids=['few', 'fewer', 'fewer later'])
def test_few_descriptors(conn: s3po.Connection, store: Store, kind: Kind, tmp_path: Any, before: int, during: int) -> None:
    """A batch that is wider than `ulimit -n` allows gets fewer workers, warns once, and leaves descriptors to the program."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith('COVERAGE_')}
    (tmp_path / 'few.py').write_text(textwrap.dedent(FEW))
    ended = subprocess.run(
        [sys.executable, 'few.py', store.endpoint_url, kind.name, str(before), str(during)],
        cwd=tmp_path,
        env={**environment, 'PYTHONPATH': str(CHECKOUT), 'SECRET': SECRET_ACCESS_KEY},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (0, 'done\n'), ended.stderr
    assert ended.stderr.count('this process may have only 64 open files') == 1
    assert 'failed, next attempt' not in ended.stderr
