"""Programs with a journal that are interrupted, killed or forked: the next run continues, and callbacks run at least once."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

import s3po
from s3po.config import MIB
from s3po.journal import Journal
from tests.conftest import BUCKET
from tests.support.noise import noise
from tests.support.servers import CHECKOUT, Store

CONFIG = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=1)
LIMIT_S = 60

PROGRAM = """
import logging, pathlib, signal, sys, s3po
# A shell's background job ignores SIGINT, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
logging.basicConfig(level=logging.WARNING)
endpoint_url, journal, source, doing = sys.argv[1:]
conn = s3po.Connection(access_key_id='key', secret_access_key='secret', endpoint_url=endpoint_url, region='us-east-1',
    config=s3po.TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=1))
called = open(source + '.called', 'a', buffering=1)
print('ready', flush=True)
with conn.batch(4, journal=journal) as batch:
    if doing == 'large':
        batch.upload_file('bucket', 'large', source)
    else:
        for number in range(300):
            batch.upload('bucket', f'{number}', b'data', callback=lambda result: print(result.key, file=called))
print('done', batch.report().skipped)
"""


class Program:
    """A program in a process of its own."""

    def __init__(self, store: Store, journal: pathlib.Path, source: pathlib.Path, doing: str) -> None:
        command = [sys.executable, '-c', PROGRAM, store.endpoint_url, str(journal), str(source), doing]
        self._process = subprocess.Popen(
            # Unbuffered: communicate() does not return what readline() has read ahead.
            command,
            bufsize=0,
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def end(self, sign: int | None = None) -> tuple[str, str]:
        """Send a signal, and return what it has printed."""
        if sign is not None:
            self._process.send_signal(sign)
        out, err = self._process.communicate(timeout=LIMIT_S)
        return out.decode(), err.decode()


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / 'source'
    path.write_bytes(noise(17 * MIB))
    os.utime(path, (1, 1))
    return path


def wait_until(has_come: Callable[[], object]) -> None:
    for _ in range(LIMIT_S * 20):
        if has_come():
            return
        time.sleep(0.05)
    raise AssertionError('it did not happen')


@pytest.mark.slow
@pytest.mark.parametrize('sign', [signal.SIGINT, signal.SIGKILL])
def test_interrupted_upload(own_store: Store, tmp_path: pathlib.Path, source: pathlib.Path, sign: int) -> None:
    """Ctrl-C keeps the upload and says so; after it, as after SIGKILL, the next run sends only what is missing."""
    own_store.create_bucket(BUCKET)
    own_store.script({'operation': 'UploadPart', 'action': {'delay_s': 0.5}})
    journal = tmp_path / 'job.s3po'
    program = Program(own_store, journal, source, 'large')
    wait_until(lambda: len(own_store.log('UploadPart')) >= 2)
    _, err = program.end(sign)
    if sign == signal.SIGINT:
        assert 'KeyboardInterrupt' in err
        assert '1 unfinished transfers are kept: run again with journal=' in err
    assert Journal(journal).report().kept == 1
    out, _ = Program(own_store, journal, source, 'large').end()

    assert out == 'done 0\n'
    assert len(own_store.log('CreateMultipartUpload')) == 1
    assert own_store.log('AbortMultipartUpload') == []
    done = [each['query']['partNumber'] for each in own_store.log('UploadPart') if each['status'] == 200]
    assert len(done) == len(set(done)) == 4
    assert Program(own_store, journal, source, 'large').end()[0] == 'done 1\n'


@pytest.mark.slow
def test_callbacks_of_a_killed_program(own_store: Store, tmp_path: pathlib.Path, source: pathlib.Path) -> None:
    """Each callback has run at least once, and no object that was recorded was sent again."""
    own_store.create_bucket(BUCKET)
    own_store.script({'operation': 'PutObject', 'action': {'delay_s': 0.02}})
    journal = tmp_path / 'job.s3po'
    kills = 4
    for number in range(kills):
        program = Program(own_store, journal, source, 'small')
        wait_until(lambda least=50 * (number + 1): len(own_store.log('PutObject')) >= least)
        program.end(signal.SIGKILL)
    out, _ = Program(own_store, journal, source, 'small').end()

    assert out.startswith('done ')
    called = pathlib.Path(f'{source}.called').read_text().split()
    assert set(called) == {f'{number}' for number in range(300)}
    assert len(called) <= 300 + 4 * kills
    assert len(own_store.log('PutObject')) <= 300 + 4 * kills
    assert Journal(journal).report().done == 300


@pytest.mark.slow
def test_deadline(
    own_store: Store, connect: Callable[..., s3po.Connection], tmp_path: pathlib.Path, source: pathlib.Path
) -> None:
    """The deadline of the batch keeps the upload, too."""
    own_store.create_bucket(BUCKET)
    own_store.script({'operation': 'UploadPart', 'query': {'partNumber': '2'}, 'action': {'hang_s': 30}, 'times': 1})
    conn = connect(own_store.endpoint_url, config=CONFIG)
    journal = tmp_path / 'job.s3po'
    with conn.batch(1, journal=journal, timeout_s=3, on_error='collect') as batch:
        batch.upload_file(BUCKET, 'large', source)
    assert isinstance(batch.failed[0].error, s3po.DeadlineExceeded)
    with conn.batch(1, journal=journal) as batch:
        batch.upload_file(BUCKET, 'large', source)

    assert len(own_store.log('CreateMultipartUpload')) == 1
    assert conn.download(BUCKET, 'large') == source.read_bytes()


def test_buckets_again(
    own_store: Store, connect: Callable[..., s3po.Connection], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buckets that the run before has created or deleted are no error."""
    from s3po.journal import Ledger

    conn, journal = connect(own_store.endpoint_url), tmp_path / 'job.s3po'
    own_store.create_bucket('old')
    for _ in range(2):
        with monkeypatch.context() as patch:
            # As if the process had been killed before the record.
            patch.setattr(Ledger, 'done', lambda *_: None)
            with conn.batch(1, journal=journal) as batch:
                batch.create_bucket('new')
                batch.delete_bucket('old')
    with conn.batch(1, journal=journal) as batch:
        batch.create_bucket('new')
    with conn.batch(1, journal=journal) as batch:
        batch.create_bucket('new')
    assert batch.report().skipped == 1


def test_forked_child(own_store: Store, connect: Callable[..., s3po.Connection], tmp_path: pathlib.Path) -> None:
    """A child that was forked in a callback writes nothing to the parent's journal."""
    own_store.create_bucket(BUCKET)
    conn, journal = connect(own_store.endpoint_url), tmp_path / 'job.s3po'

    def fork(_: object) -> None:
        child = os.fork()
        if child:
            os.waitpid(child, 0)

    with conn.batch(1, journal=journal) as batch:
        for number in range(3):
            batch.upload(BUCKET, f'{number}', b'data', callback=fork)

    assert Journal(journal).report().done == 3
    assert journal.read_text().count('"state":"done"') == 3


def test_in_a_mock(tmp_path: pathlib.Path) -> None:
    """In a mock, a batch with a journal needs no credentials and no endpoint."""
    conn = s3po.Connection()
    with conn.mock(buckets=[BUCKET]):
        for _ in range(2):
            with conn.batch(1, journal=tmp_path / 'job.s3po') as batch:
                batch.upload(BUCKET, 'key', b'data')

    assert batch.report().skipped == 1


def test_endpoint(
    own_store: Store, connect: Callable[..., s3po.Connection], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint of a journal is that of the connection, wherever it is set; a slash at its end does not matter."""
    url, journal = own_store.endpoint_url, tmp_path / 'job.s3po'
    connect(url).batch(1, journal=journal).close()
    connect(f'{url}/').batch(1, journal=journal).close()
    with pytest.raises(s3po.ConfigurationError, match=f'is of the store {url}, and this connection is to AWS'):
        connect().batch(1, journal=journal)
    monkeypatch.setenv('AWS_ENDPOINT_URL', url)
    connect().batch(1, journal=journal).close()
