"""Local problems (F53 to F56): changing files, impossible targets, signals, special files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.errors import LocalError, SourceChanged
from tests.conftest import BUCKET
from tests.support.kinds import Kind
from tests.support.noise import noise
from tests.support.permissions import bound_by_permissions
from tests.support.servers import CHECKOUT, Store

Connect = Callable[..., s3po.Connection]

PART = 5 * MIB
DATA = noise(15 * MIB + 7)
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=1)
WAIT_S = 30.0


@pytest.fixture
def conn(store: Store, connect: Connect) -> s3po.Connection:
    """A connection that sends one part at a time; the bucket exists."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    store.create_bucket(BUCKET)
    return connection


def open_uploads(conn: s3po.Connection) -> list[str]:
    """The keys of the open multipart uploads."""
    return [upload['Key'] for upload in conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads', ())]


def wait_until(has_come: Callable[[], bool]) -> None:
    """Wait until the condition is true."""
    until = time.monotonic() + WAIT_S
    while not has_come():
        assert time.monotonic() < until, 'it did not come'
        gevent.sleep(0.02)


# ---------------------------------------------------------------------- sources that change


def shrink(path: Path) -> None:
    os.truncate(path, PART)


def grow(path: Path) -> None:
    with path.open('ab') as file:
        file.write(b'more')


def write_over(path: Path) -> None:
    with path.open('r+b') as file:
        file.write(b'other')
    os.utime(path, (1, 1))


@pytest.mark.fault('F53')
@pytest.mark.parametrize('change', [shrink, grow, write_over])
def test_source_that_changes(conn: s3po.Connection, store: Store, tmp_path: Path, change: Callable[[Path], None]) -> None:
    """If a file changes after its first part was sent, nothing is published, and no multipart upload is left."""
    path = tmp_path / 'source'
    path.write_bytes(DATA)
    store.script({'operation': 'UploadPart', 'times': 1, 'action': {'delay_s': 0.5}})
    uploading = gevent.spawn(conn.upload, BUCKET, 'key', path)
    wait_until(lambda: bool(store.log('UploadPart')))

    change(path)

    with pytest.raises(SourceChanged, match='nothing was published'):
        uploading.get(timeout=WAIT_S)
    assert not conn.exists(BUCKET, 'key')
    assert open_uploads(conn) == []


@pytest.mark.fault('F53')
@pytest.mark.parametrize('how', ['replaced', 'removed'])
def test_source_that_is_replaced_or_removed(conn: s3po.Connection, store: Store, tmp_path: Path, how: str) -> None:
    """A file that is replaced or removed meanwhile is sent as it was opened; delete=True does not delete the new file."""
    path = tmp_path / 'source'
    path.write_bytes(DATA)
    store.script({'operation': 'UploadPart', 'times': 1, 'action': {'delay_s': 0.5}})
    uploading = gevent.spawn(conn.upload, BUCKET, 'key', path)
    wait_until(lambda: bool(store.log('UploadPart')))

    if how == 'replaced':
        (tmp_path / 'other').write_bytes(b'x' * len(DATA))
        os.replace(tmp_path / 'other', path)
    else:
        path.unlink()

    uploading.get(timeout=WAIT_S)
    assert conn.download(BUCKET, 'key') == DATA
    assert open_uploads(conn) == []


# ---------------------------------------------------------------------- impossible targets


@pytest.fixture
def _bound() -> Iterator[None]:
    """Makes permissions apply to the user that runs the tests, even to root."""
    with bound_by_permissions():
        yield


@pytest.mark.fault('F54')
def test_impossible_targets(conn: s3po.Connection, tmp_path: Path) -> None:
    """A download to an impossible target fails with its path; the others succeed, and no temporary file is left."""
    conn.upload(BUCKET, 'key', b'data')
    (tmp_path / 'directory').mkdir()
    (tmp_path / 'file').write_bytes(b'old')
    bad = {
        'is a directory': tmp_path / 'directory',
        'lies in a file': tmp_path / 'file' / 'target',
        'has too long a name': tmp_path / ('n' * 256),
        'has no directory': tmp_path / 'absent' / 'target',
    }
    good = [tmp_path / f'good{number}' for number in range(20)]

    with conn.batch(5, on_error='collect') as batch:
        jobs = {how: batch.download(BUCKET, 'key', path) for how, path in bad.items()}
        for path in good:
            batch.download(BUCKET, 'key', path)

    for how, job in jobs.items():
        assert type(job.exception) is LocalError, how
        assert str(bad[how]) in str(job.exception)
    assert all(path.read_bytes() == b'data' for path in good)
    assert sorted(tmp_path.iterdir()) == sorted([*good, tmp_path / 'directory', tmp_path / 'file'])
    assert list((tmp_path / 'directory').iterdir()) == []
    assert (tmp_path / 'file').read_bytes() == b'old'


@pytest.mark.fault('F54')
def test_key_and_directory_of_one_name(conn: s3po.Connection, tmp_path: Path) -> None:
    """Of the keys `a` and `a/b`, the second download fails: a file is where its directory would be."""
    for key in ('a', 'a/b'):
        conn.upload(BUCKET, key, key.encode())

    conn.download(BUCKET, 'a', tmp_path / 'a')
    with pytest.raises(LocalError, match='a/b'):
        conn.download(BUCKET, 'a/b', tmp_path / 'a/b')

    assert (tmp_path / 'a').read_bytes() == b'a'
    assert list(tmp_path.iterdir()) == [tmp_path / 'a']


@pytest.mark.fault('F54')
@pytest.mark.usefixtures('_bound')
def test_directory_without_permission(conn: s3po.Connection, tmp_path: Path) -> None:
    """Without write permission for the directory, the error contains the path and suggests checking the permissions."""
    conn.upload(BUCKET, 'key', b'data')
    tmp_path.chmod(0o555)

    with pytest.raises(LocalError, match='check the permissions') as caught:
        conn.download(BUCKET, 'key', tmp_path / 'target')

    assert str(tmp_path / 'target') in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- signals

PROGRAM = """
import pathlib, signal, sys
import s3po
import gevent
endpoint, kind, directory = sys.argv[1:]
directory = pathlib.Path(directory)
config = s3po.TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=2)
conn = s3po.Connection(
    endpoint_url=endpoint, access_key_id='key', secret_access_key='secret', region='us-east-1', transport=kind, config=config
)
batch = conn.batch(4, on_error='collect')
gevent.signal_handler(signal.SIGTERM, batch.cancel)
with batch:
    batch.upload('bucket', 'up', directory / 'source')
    batch.download('bucket', 'down', directory / 'target')
    print('begun', flush=True)
print(*sorted(type(job.error).__name__ for job in batch.failed), flush=True)
"""


@pytest.fixture
def program(conn: s3po.Connection, store: Store, kind: Kind, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process in the middle of an upload in parts and of a download to an existing file."""
    conn.upload(BUCKET, 'down', DATA)
    (tmp_path / 'source').write_bytes(DATA)
    (tmp_path / 'target').write_bytes(b'old')
    store.script(
        {'operation': 'UploadPart', 'query': {'partNumber': '3'}, 'action': {'hang_s': 60}},
        {'operation': 'GetObject', 'times': 1, 'action': {'drip': {'bytes': MIB, 'every_s': 1.0}}},
    )
    before = len(store.log('UploadPart'))
    command = [sys.executable, '-c', textwrap.dedent(PROGRAM), store.endpoint_url, kind.name, str(tmp_path)]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE)
    try:
        wait_until(lambda: len(store.log('UploadPart')) >= before + 3 and len(list(tmp_path.iterdir())) == 3)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.fault('F55')
@pytest.mark.slow
def test_sigterm(conn: s3po.Connection, program: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A program that cancels its batch on SIGTERM ends soon: uploads are aborted, targets unchanged, no other files left."""
    program.send_signal(signal.SIGTERM)
    said, _ = program.communicate(timeout=WAIT_S)

    assert said.split() == [b'begun', b'Cancelled', b'Cancelled']
    assert open_uploads(conn) == []
    assert not conn.exists(BUCKET, 'up')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['source', 'target']
    assert (tmp_path / 'target').read_bytes() == b'old'


@pytest.mark.fault('F55')
@pytest.mark.leaves_upload('the killed process has not reported its id')
def test_sigkill(conn: s3po.Connection, store: Store, program: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A killed program leaves one temporary file, recognizable by its name, and its multipart upload, and nothing else.

    The next download to the same target removes the temporary file.
    """
    program.kill()
    program.communicate(timeout=WAIT_S)

    left = {path.name for path in tmp_path.iterdir()} - {'source', 'target'}
    assert len(left) == 1
    assert left.pop().startswith('.s3po-')
    assert (tmp_path / 'target').read_bytes() == b'old'
    assert not conn.exists(BUCKET, 'up')
    assert open_uploads(conn) == ['up']
    conn.download_file(BUCKET, 'down', tmp_path / 'target')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['source', 'target']


# ---------------------------------------------------------------------- special files


@pytest.mark.fault('F56')
def test_special_files(conn: s3po.Connection, store: Store, tmp_path: Path) -> None:
    """Pipes, devices, directories and loops of links are rejected as sources at once, before any request."""
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    (tmp_path / 'directory').mkdir()
    before = len(store.log())

    with gevent.Timeout(WAIT_S):
        for name in (tmp_path / 'pipe', Path('/dev/zero'), tmp_path / 'loop', tmp_path / 'directory', tmp_path / 'absent'):
            with pytest.raises(LocalError) as caught:
                conn.upload(BUCKET, 'key', name)
            assert str(name) in str(caught.value)

    assert len(store.log()) == before


@pytest.mark.fault('F56')
def test_special_targets(conn: s3po.Connection, tmp_path: Path) -> None:
    """A download to a pipe is rejected: it neither writes to the pipe nor replaces it."""
    conn.upload(BUCKET, 'key', b'data')
    os.mkfifo(tmp_path / 'pipe')

    with gevent.Timeout(WAIT_S), pytest.raises(LocalError):
        conn.download(BUCKET, 'key', tmp_path / 'pipe')

    assert (tmp_path / 'pipe').is_fifo()
    assert list(tmp_path.iterdir()) == [tmp_path / 'pipe']


@pytest.mark.fault('F56')
def test_sparse_file(conn: s3po.Connection, tmp_path: Path) -> None:
    """Holes of a sparse file are uploaded as zeros."""
    with (tmp_path / 'sparse').open('wb') as file:
        file.seek(2 * PART)
        file.write(b'end')

    conn.upload(BUCKET, 'key', tmp_path / 'sparse')

    assert conn.download(BUCKET, 'key') == bytes(2 * PART) + b'end'


@pytest.mark.fault('F56')
def test_unreadable_file(conn: s3po.Connection, store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """An unreadable file is reported with its path, before any request."""
    path = tmp_path / 'secret'
    path.write_bytes(b'data')
    path.chmod(0)
    request.getfixturevalue('_bound')
    before = len(store.log())

    with pytest.raises(LocalError, match='check the permissions') as caught:
        conn.upload(BUCKET, 'key', path)

    assert str(path) in str(caught.value)
    assert len(store.log()) == before
