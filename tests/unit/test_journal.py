"""A batch with a journal skips what earlier runs have done, and carries out everything else."""

from __future__ import annotations

import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

import s3po
from s3po.config import MIB
from s3po.errors import CallbackError, ConfigurationError, LocalError, NotFound, ServerError
from s3po.journal import Journal, JournalReport
from s3po.journal.ledger import Ledger
from s3po.model import ObjectRef, TransferResult
from tests.conftest import impatient
from tests.support.memory import MemoryTransport
from tests.support.noise import noise

BUCKET = 'bucket'


class Runs:
    """Runs batches with one journal."""

    def __init__(self, conn: s3po.Connection, memory: MemoryTransport, path: pathlib.Path) -> None:
        self.conn = conn
        self.memory = memory
        self.path = path

    def __call__(self, submit: Callable[[s3po.Batch], object], **options: Any) -> s3po.Batch:
        """One run, which collects its failures. The requests of earlier runs are forgotten."""
        self.memory.calls.clear()
        with self.conn.batch(1, journal=self.path, on_error='collect', **options) as batch:
            submit(batch)
        # Unread failures are reported when the batch is collected.
        assert batch.failed is not None
        return batch

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _, _ in self.memory.calls]


@pytest.fixture
def run(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> Runs:
    return Runs(memory_conn, memory, tmp_path / 'job.s3po')


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / 'source'
    path.write_bytes(b'data')
    return path


def killed(monkeypatch: pytest.MonkeyPatch, *states: str) -> Any:
    """A context in which records of these states are not written: a process that was killed just before."""

    class Context:
        def __enter__(self) -> None:
            append = Ledger.append

            def lost(ledger: Ledger, entry: Any, line: bytes, state: str, *rest: Any) -> None:
                if state not in states:
                    append(ledger, entry, line, state, *rest)

            monkeypatch.setattr(Ledger, 'append', lost)

        def __exit__(self, *_: object) -> None:
            monkeypatch.undo()

    return Context()


# --- what is skipped


def test_what_is_done_is_skipped(run: Runs, source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A second run sends nothing; its jobs succeed with the results of the first one, marked as skipped."""
    run.conn.upload(BUCKET, 'there', b'12345')

    def submit(batch: s3po.Batch) -> None:
        batch.upload(BUCKET, 'bytes', b'data')
        batch.upload(BUCKET, 'text', 'data')
        batch.upload(BUCKET, 'view', memoryview(b'data'))
        batch.upload(BUCKET, 'path', source)
        batch.upload_file(BUCKET, 'file', source)
        batch.download_file(BUCKET, 'there', tmp_path / 'one')
        batch.download(BUCKET, 'there', tmp_path / 'two')
        batch.delete(BUCKET, 'old')
        batch.copy(BUCKET, 'there', BUCKET, 'copied')
        batch.move(BUCKET, 'there', BUCKET, 'moved')

    first = run(submit)
    assert first.success()
    second = run(submit)

    assert run.operations == []
    assert second.success()
    assert second.report().skipped == 10
    result = second.results()[0]
    assert isinstance(result, TransferResult)
    assert (result.skipped, result.size_bytes, result.key) == (True, 4, 'bytes')
    assert result.etag == first.results()[0].etag


def test_reordered_and_grown(run: Runs) -> None:
    """The order of the calls does not matter, and new ones are carried out."""
    run(lambda batch: [batch.upload(BUCKET, key, b'data') for key in 'abc'])
    again = run(lambda batch: [batch.upload(BUCKET, key, b'data') for key in 'dcba'])

    assert again.report().skipped == 3
    assert run.memory.calls == [('PutObject', 'd', None)]


@pytest.mark.parametrize(
    'change',
    [
        lambda batch: batch.upload(BUCKET, 'key', b'other'),
        lambda batch: batch.upload(BUCKET, 'other', b'data'),
        lambda batch: batch.upload(BUCKET, 'key', b'data', metadata={'a': '1'}),
        lambda batch: batch.upload(BUCKET, 'key', bytearray(b'data'), headers={'Cache-Control': 'no-cache'}),
    ],
)
def test_other_call(run: Runs, change: Callable[[s3po.Batch], object]) -> None:
    """Calls with other data, another object or other options are other calls."""
    run(lambda batch: batch.upload(BUCKET, 'key', b'data'))
    run(change)

    assert run.operations == ['PutObject']


@pytest.mark.parametrize('options', [{'retries': 1}, {'timeout_s': 5.0}, {'silent': True}, {'metadata': None}])
def test_same_call(run: Runs, options: dict[str, Any]) -> None:
    """Limits, and options at their defaults, do not matter."""
    run(lambda batch: batch.upload(BUCKET, 'key', b'data'))
    run(lambda batch: batch.upload(BUCKET, 'key', bytearray(b'data'), **options))

    assert run.operations == []


def test_changed_source(run: Runs, source: pathlib.Path) -> None:
    """A file that has changed is sent again, also if its size has not."""
    run(lambda batch: batch.upload_file(BUCKET, 'key', source))
    source.write_bytes(b'DATA')
    os.utime(source, ns=(1, 1))
    run(lambda batch: batch.upload_file(BUCKET, 'key', source))
    assert run.operations == ['PutObject']
    run(lambda batch: batch.upload_file(BUCKET, 'key', source))
    assert run.operations == []
    source.unlink()
    gone = run(lambda batch: batch.upload_file(BUCKET, 'key', source))
    assert isinstance(gone.failed[0].error, LocalError)


@pytest.mark.parametrize('change', ['missing', 'shorter', 'touched', 'replaced'])
def test_changed_target(run: Runs, tmp_path: pathlib.Path, change: str) -> None:
    """A target that is not as it was left is downloaded again."""
    run.conn.upload(BUCKET, 'key', b'data')
    target = tmp_path / 'target'
    run(lambda batch: batch.download_file(BUCKET, 'key', target))
    found = target.stat()
    if change == 'missing':
        target.unlink()
    elif change == 'shorter':
        target.write_bytes(b'dat')
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
    elif change == 'touched':
        os.utime(target, ns=(1, 1))
    else:
        (tmp_path / 'new').write_bytes(b'atad')
        os.utime(tmp_path / 'new', ns=(found.st_atime_ns, found.st_mtime_ns))
        (tmp_path / 'new').rename(target)
    run(lambda batch: batch.download_file(BUCKET, 'key', target))

    assert run.operations == ['GetObject']
    assert target.read_bytes() == b'data'


def test_relative_paths(run: Runs, source: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is that of the working directory."""
    monkeypatch.chdir(source.parent)
    run(lambda batch: batch.upload_file(BUCKET, 'key', 'source'))
    run(lambda batch: batch.upload_file(BUCKET, 'key', source))

    assert run.operations == []


def test_what_always_runs(run: Runs, source: pathlib.Path) -> None:
    """Streams, file objects, downloads into memory, and calls that only look, run each time."""
    run.conn.upload(BUCKET, 'there', b'data')

    def submit(batch: s3po.Batch) -> None:
        batch.upload(BUCKET, 'a', iter([b'data']))
        with source.open('rb') as file:
            batch.upload(BUCKET, 'b', file)
            batch.wait()
        batch.download(BUCKET, 'there')
        batch.head(BUCKET, 'there')
        batch.exists(BUCKET, 'there')
        batch.list(BUCKET)
        batch.delete_many(BUCKET, (key for key in ['x', 'y']))

    run(submit)
    expected = run.operations
    again = run(submit)

    assert run.operations == expected
    assert again.success()
    assert again.report().skipped == 0
    assert again.results()[2] == b'data'


def test_nth_equal_call(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nth equal call matches the nth of the run before."""
    told: list[int] = []

    def submit(batch: s3po.Batch) -> None:
        for number in range(3):
            batch.upload(BUCKET, 'key', b'data', callback=lambda _, number=number: told.append(number))

    run(submit)
    assert told == [0, 1, 2]
    run(submit)
    assert run.operations == []

    def one_more(batch: s3po.Batch) -> None:
        submit(batch)
        batch.upload(BUCKET, 'key', b'data', callback=lambda _: told.append(3))

    run(one_more)
    assert told == [0, 1, 2, 3]
    assert run.operations == ['PutObject']
    run(one_more)
    assert run.operations == []


def test_superseded(run: Runs) -> None:
    """A later write or delete of a key supersedes the earlier record, within a run and across runs."""
    run(lambda batch: batch.upload(BUCKET, 'key', b'one'))
    run(lambda batch: batch.delete(BUCKET, 'key'))
    run(lambda batch: batch.upload(BUCKET, 'key', b'one'))
    assert run.operations == ['PutObject']

    def submit(batch: s3po.Batch) -> None:
        batch.upload(BUCKET, 'two', b'one')
        batch.delete(BUCKET, 'two')
        batch.upload(BUCKET, 'two', b'one')

    run(submit)
    run(submit)
    assert run.operations[-1] == 'PutObject'
    assert run.conn.exists(BUCKET, 'two')


@pytest.mark.parametrize(
    'change',
    [
        lambda batch: batch.delete_many(BUCKET, ['a', 'key']),
        lambda batch: batch.delete_many(BUCKET, iter(['key'])),
        lambda batch: batch.copy(BUCKET, 'there', BUCKET, 'key'),
        lambda batch: batch.move(BUCKET, 'key', BUCKET, 'moved'),
        lambda batch: batch.delete(BUCKET, 'key', version_id='1'),
        lambda batch: batch.upload(BUCKET, 'key', iter([b'other'])),
    ],
)
def test_every_change_supersedes(run: Runs, change: Callable[[s3po.Batch], object]) -> None:
    """Whatever changes a key, its upload is no longer done."""
    run.conn.upload(BUCKET, 'there', b'data')
    run(lambda batch: batch.upload(BUCKET, 'key', b'one'))
    assert run(change).success()
    run(lambda batch: batch.upload(BUCKET, 'key', b'one'))

    assert run.operations == ['PutObject']


def test_sources_of_copies_and_downloads(run: Runs, tmp_path: pathlib.Path) -> None:
    """A copy or a download is repeated after the same run has written its source."""

    def submit(batch: s3po.Batch, data: bytes) -> None:
        batch.upload(BUCKET, 'key', data)
        batch.copy(BUCKET, 'key', BUCKET, 'copy')
        batch.download_file(BUCKET, 'key', tmp_path / 'target')

    run(lambda batch: submit(batch, b'one'))
    assert run(lambda batch: submit(batch, b'one')).report().skipped == 3
    assert run(lambda batch: submit(batch, b'two')).report().skipped == 0

    assert run.conn.download(BUCKET, 'copy') == b'two'
    assert (tmp_path / 'target').read_bytes() == b'two'


def test_copy_of_the_old_object(run: Runs) -> None:
    """A copy is not repeated because its source was replaced afterwards: the old object is only in the copy."""

    def submit(batch: s3po.Batch) -> None:
        batch.copy(BUCKET, 'key', BUCKET, 'old')
        batch.upload(BUCKET, 'key', b'new')

    run.conn.upload(BUCKET, 'key', b'old')
    run(submit)
    assert run(submit).report().skipped == 2

    assert run.conn.download(BUCKET, 'old') == b'old'


def test_source_that_is_deleted_afterwards(run: Runs, tmp_path: pathlib.Path) -> None:
    """A download after which the object is deleted is done, although it could not be repeated."""

    def submit(batch: s3po.Batch) -> None:
        batch.download_file(BUCKET, 'key', tmp_path / 'target', callback=lambda _: batch.delete(BUCKET, 'key'))
        batch.copy(BUCKET, 'other', BUCKET, 'copy')
        batch.wait()
        batch.delete_many(BUCKET, ['other'])

    run.conn.upload(BUCKET, 'key', b'data')
    run.conn.upload(BUCKET, 'other', b'data')
    assert run(submit).success()
    again = run(submit)

    assert again.success()
    assert again.report().skipped == 2


def test_only_earlier_runs_count(run: Runs) -> None:
    """An equal call in the same run is carried out."""
    run(lambda batch: [batch.upload(BUCKET, 'key', b'data') for _ in range(2)])

    assert run.operations == ['PutObject', 'PutObject']


def test_interrupted_overwrite(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that was killed before its record makes the earlier record of the key invalid."""
    run(lambda batch: batch.upload(BUCKET, 'key', b'one'))
    with killed(monkeypatch, 'done'):
        run(lambda batch: batch.upload(BUCKET, 'key', b'two'))
    run(lambda batch: batch.upload(BUCKET, 'key', b'one'))

    assert run.conn.download(BUCKET, 'key') == b'one'


def test_changed_in_memory(run: Runs) -> None:
    """Data that change after the submission are sent as they are then, and the record is not of the old ones."""
    data = bytearray(b'one')

    def submit(batch: s3po.Batch) -> None:
        batch.upload(BUCKET, 'first', b'', callback=lambda _: data.__setitem__(slice(None), b'two'))
        batch.upload(BUCKET, 'key', data)

    run(submit)
    assert run.conn.download(BUCKET, 'key') == b'two'
    run(lambda batch: batch.upload(BUCKET, 'key', b'one'))

    assert run.conn.download(BUCKET, 'key') == b'one'


# --- callbacks


def test_callbacks(run: Runs) -> None:
    """The callback of a skipped job runs only with replay_callbacks=True."""
    told: list[Any] = []

    def submit(batch: s3po.Batch) -> None:
        batch.upload(BUCKET, 'key', b'data', callback=told.append)

    run(submit)
    run(submit)
    assert len(told) == 1
    batch = run(submit, replay_callbacks=True)

    assert [result.skipped for result in told] == [False, True]
    assert batch.report().skipped == 1
    assert run.operations == []


@pytest.mark.parametrize('kind', ['upload', 'download', 'copy', 'delete'])
def test_killed_in_the_callback(run: Runs, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A transfer that is complete is not repeated, but its callback is: callbacks run at least once."""
    run.conn.upload(BUCKET, 'there', b'data')
    told: list[Any] = []

    def submit(batch: s3po.Batch) -> None:
        if kind == 'upload':
            batch.upload(BUCKET, 'key', b'data', callback=told.append)
        elif kind == 'download':
            batch.download_file(BUCKET, 'there', tmp_path / 'target', callback=told.append)
        elif kind == 'copy':
            batch.copy(BUCKET, 'there', BUCKET, 'copy', callback=told.append)
        else:
            batch.delete(BUCKET, 'there', callback=told.append)

    with killed(monkeypatch, 'done'):
        run(submit)
    assert len(told) == 1
    assert Journal(run.path).report().pending == 1
    again = run(submit)

    assert len(told) == 2
    assert run.operations == []
    assert again.report().skipped == 0
    run(submit)
    assert len(told) == 2


def test_failed_callback(run: Runs) -> None:
    """After a callback that raised, the next run calls it again, without the transfer."""
    told: list[Any] = []

    def fail(_: object) -> None:
        raise ValueError('not yet')

    first = run(lambda batch: batch.upload(BUCKET, 'key', b'data', callback=fail))
    again = run(lambda batch: batch.upload(BUCKET, 'key', b'data', callback=told.append))

    assert isinstance(first.failed[0].error, CallbackError)
    assert run.operations == []
    assert again.success()
    assert told[0].skipped


# --- sources that are deleted


def test_deleted_source(run: Runs, source: pathlib.Path) -> None:
    """An upload whose source was deleted is done; a new file at the path is another source."""
    run(lambda batch: batch.upload_file(BUCKET, 'key', source, delete=True))
    assert not source.exists()
    again = run(lambda batch: batch.upload_file(BUCKET, 'key', source, delete=True))
    assert again.report().skipped == 1
    source.write_bytes(b'new')
    run(lambda batch: batch.upload_file(BUCKET, 'key', source, delete=True))

    assert run.operations == ['PutObject']
    assert not source.exists()


def test_killed_before_the_deletion(run: Runs, source: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rerun deletes the source of a complete upload, and sends nothing."""

    def submit(batch: s3po.Batch) -> None:
        batch.upload_file(BUCKET, 'key', source, delete=True)

    with killed(monkeypatch, 'done'):
        monkeypatch.setattr('s3po.connection.operations.delete_original', lambda _: None)
        run(submit)
    assert source.exists()
    again = run(submit)
    assert again.success()
    assert run.operations == []
    assert not source.exists()
    assert run(submit).report().skipped == 1


def test_killed_after_the_deletion(run: Runs, source: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rerun succeeds without the source, and calls the callback."""
    told: list[Any] = []

    def submit(batch: s3po.Batch) -> None:
        batch.upload_file(BUCKET, 'key', source, delete=True, callback=told.append)

    with killed(monkeypatch, 'done'):
        run(submit)
    assert not source.exists()
    again = run(submit)

    assert again.success()
    assert run.operations == []
    assert len(told) == 2


def test_deletion_that_failed(run: Runs, source: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a deletion that failed, the next run repeats only that."""

    def refuse(_: object) -> None:
        raise LocalError('no')

    def submit(batch: s3po.Batch) -> None:
        batch.upload_file(BUCKET, 'key', source, delete=True)

    with monkeypatch.context() as patch:
        patch.setattr('s3po.connection.operations.delete_original', refuse)
        assert len(run(submit).failed) == 1
    again = run(submit)

    assert again.success()
    assert run.operations == []
    assert not source.exists()


# --- calls that were done, but not recorded


@pytest.mark.parametrize('kind', ['bytes', 'file'])
def test_upload_of_a_new_object_again(run: Runs, source: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The object that if_none_match='*' finds may be that of the run before."""

    def submit(batch: s3po.Batch) -> None:
        if kind == 'bytes':
            batch.upload(BUCKET, 'key', b'data', if_none_match='*')
        else:
            batch.upload_file(BUCKET, 'key', source, if_none_match='*')

    with killed(monkeypatch, 'done'):
        run(submit)
    again = run(submit)

    assert again.success()
    assert again.results()[0].skipped
    assert run(submit).report().skipped == 1


def test_upload_of_a_new_object_that_is_not_ours(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object with other data fails the upload, as without a journal; without an earlier run, any object does."""
    run.conn.upload(BUCKET, 'key', b'data')
    first = run(lambda batch: batch.upload(BUCKET, 'key', b'data', if_none_match='*'))
    assert isinstance(first.failed[0].error, s3po.PreconditionFailed)
    with killed(monkeypatch, 'done'):
        run(lambda batch: batch.upload(BUCKET, 'two', b'data', if_none_match='*'))
    run.conn.upload(BUCKET, 'two', b'other')
    again = run(lambda batch: batch.upload(BUCKET, 'two', b'data', if_none_match='*'))

    assert isinstance(again.failed[0].error, s3po.PreconditionFailed)


def test_delete_again(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that delete(missing_ok=False) does not find was deleted by the run before."""
    run.conn.upload(BUCKET, 'key', b'data')

    def submit(batch: s3po.Batch) -> None:
        batch.delete(BUCKET, 'key', missing_ok=False)

    with killed(monkeypatch, 'done'):
        run(submit)
    assert run(submit).success()
    assert run(submit).report().skipped == 1
    missing = run(lambda batch: batch.delete(BUCKET, 'other', missing_ok=False))
    assert isinstance(missing.failed[0].error, NotFound)
    still = run(lambda batch: batch.delete(BUCKET, 'other', missing_ok=False))
    assert isinstance(still.failed[0].error, NotFound)


# --- failures


def test_failed_jobs_run_again(run: Runs) -> None:
    """A job that failed is repeated by the next run, and the journal reports it until then."""

    def refuse(operation: str, key: str, part: int | None) -> None:
        raise ServerError('down')

    run.memory.fault = refuse
    first = run(lambda batch: batch.upload(BUCKET, 'key', b'data', retries=0))
    assert len(first.failed) == 1
    assert Journal(run.path).report() == JournalReport(failed=1)
    run.memory.fault = None
    assert run(lambda batch: batch.upload(BUCKET, 'key', b'data')).success()

    assert Journal(run.path).report() == JournalReport(done=1, size_bytes=4)


def test_verify_skipped(run: Runs) -> None:
    """verify_skipped=True looks at the object before a job is skipped."""

    def submit(batch: s3po.Batch) -> None:
        batch.upload(BUCKET, 'a', b'data')
        batch.upload(BUCKET, 'b', b'data')
        batch.upload(BUCKET, 'c', b'data')
        batch.delete(BUCKET, 'd')

    run(submit)
    run.conn.upload(BUCKET, 'b', b'DATA')
    run.conn.delete(BUCKET, 'c')
    run.conn.upload(BUCKET, 'd', b'')
    again = run(submit, verify_skipped=True)

    assert again.report().skipped == 1
    assert run.operations == ['HeadObject', 'HeadObject', 'PutObject', 'HeadObject', 'PutObject', 'HeadObject', 'DeleteObject']


def test_without_a_journal(memory_conn: s3po.Connection) -> None:
    """The options of a journal need one."""
    for name in ('verify_skipped', 'replay_callbacks', 'fsync'):
        with pytest.raises(ConfigurationError, match=f'{name} is for a batch with a journal'):
            memory_conn.batch(1, **{name: True})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match='journal must be a path or a Journal, not 5'):
        memory_conn.batch(1, journal=5)  # type: ignore[arg-type]


def test_records(run: Runs, source: pathlib.Path) -> None:
    """The journal's records are those of jobs; secrets are not in the file."""
    run(lambda batch: batch.upload_file(BUCKET, 'key', source, metadata={'a': '1'}, extra={'SSECustomerKey': 'hidden'}))
    run(lambda batch: batch.head(BUCKET, 'key'))
    (record,) = Journal(run.path).records()

    assert record.call.ref == ObjectRef(bucket=BUCKET, key='key')
    assert record.call.operation == 'upload_file'
    assert (record.call.options['path'], record.call.options['metadata']) == (source, {'a': '1'})
    assert b'hidden' not in run.path.read_bytes()


def test_retry_failed(run: Runs, source: pathlib.Path) -> None:
    """retry_failed() repeats the jobs of a journal whose last attempt failed."""

    def refuse(operation: str, key: str, part: int | None) -> None:
        if key in 'ab':
            raise ServerError('down')

    run.memory.fault = refuse
    run(lambda batch: [batch.upload_file(BUCKET, key, source, retries=0) for key in 'abc'])
    run.memory.fault = None
    run(lambda batch: batch.upload_file(BUCKET, 'a', source))
    run.memory.calls.clear()
    again = run.conn.retry_failed(run.path)

    assert again.success()
    assert run.memory.calls == [('PutObject', 'b', None)]


def test_retry_failed_under_a_journal(run: Runs, source: pathlib.Path) -> None:
    """retry_failed() takes a journal, also the one whose failed jobs it repeats: afterwards they are done there."""

    def refuse(operation: str, key: str, part: int | None) -> None:
        raise ServerError('down')

    run.memory.fault = refuse
    run(lambda batch: [batch.upload_file(BUCKET, key, source, retries=0) for key in 'ab'])
    run.memory.fault = None
    again = run.conn.retry_failed(run.path, journal=run.path, fsync=True)

    assert again.success()
    assert (Journal(run.path).report().done, Journal(run.path).report().failed) == (2, 0)
    run.memory.calls.clear()
    assert len(run.conn.retry_failed(run.path, journal=run.path).results()) == 0
    run(lambda batch: [batch.upload_file(BUCKET, key, source, retries=0) for key in 'ab'])
    assert run.memory.calls == []


def test_removed_journal(run: Runs, caplog: pytest.LogCaptureFixture) -> None:
    """A journal that is removed while it is in use is an error in the log."""
    run(lambda batch: batch.upload(BUCKET, 'key', b'data', callback=lambda _: run.path.unlink()))

    assert 'was removed or replaced while it was in use' in caplog.text


def test_discard(run: Runs, caplog: pytest.LogCaptureFixture) -> None:
    """discard() removes the file; a journal that does not exist is discarded already."""
    caplog.set_level(logging.INFO, 's3po.journal')
    run(lambda batch: batch.upload(BUCKET, 'key', b'data'))
    Journal(run.path).discard()
    assert not run.path.exists()
    Journal(run.path).discard()

    assert 'aborted 0 uploads, removed 0 partial files' in caplog.text
    assert Journal(run.path).report() == JournalReport()


def test_move_again(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A move whose source is gone was done by the run before; without its record of the copy it fails."""
    told: list[Any] = []
    run.conn.upload(BUCKET, 'key', b'data')

    def submit(batch: s3po.Batch) -> None:
        batch.move(BUCKET, 'key', BUCKET, 'moved', callback=told.append)

    with killed(monkeypatch, 'done'):
        assert run(submit).success()
    assert run(submit).success()
    assert [result.skipped for result in told] == [False, True]
    assert run(submit).report().skipped == 1
    run.conn.upload(BUCKET, 'other', b'data')
    with killed(monkeypatch, 'stored', 'done'):
        run(lambda batch: batch.move(BUCKET, 'other', BUCKET, 'there'))
    assert len(run(lambda batch: batch.move(BUCKET, 'other', BUCKET, 'there')).failed) == 1


def test_copy_of_a_new_object_again(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy with if_none_match='*' succeeds if the object has the bytes of the source."""
    other = MemoryTransport()
    other.store.create_bucket(BUCKET)
    to = s3po.Connection(transport=other, endpoint_url='https://other.test')
    run.conn.upload(BUCKET, 'key', b'data')

    def submit(batch: s3po.Batch) -> None:
        batch.copy(BUCKET, 'key', BUCKET, 'copy', to=to, if_none_match='*')

    with killed(monkeypatch, 'done'):
        assert run(submit).success()
    assert run(submit).success()
    assert run(submit, verify_skipped=True).report().skipped == 1
    to.delete(BUCKET, 'copy')
    assert run(submit, verify_skipped=True).report().skipped == 0
    assert to.download(BUCKET, 'copy') == b'data'
    assert '"to":{"endpoint":"https://other.test","bucket"' in run.path.read_text()


@pytest.mark.parametrize('endpoint_url', [None, 'https://s3.test'])
def test_copy_by_another_connection_to_the_same_store(
    memory: MemoryTransport, tmp_path: pathlib.Path, endpoint_url: Any
) -> None:
    """A later deletion or upload of its destination supersedes it, and it supersedes an earlier one."""
    conn, to = (s3po.Connection(transport=memory, endpoint_url=endpoint_url) for _ in range(2))
    conn.upload(BUCKET, 'key', b'data')

    def skips(submit: Callable[[s3po.Batch], object]) -> bool:
        with conn.batch(1, journal=tmp_path / 'journal') as batch:
            submit(batch)
        return batch.report().skipped == 1

    def copy(batch: s3po.Batch) -> object:
        return batch.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    def upload(batch: s3po.Batch) -> object:
        return batch.upload(BUCKET, 'copy', b'other')

    assert [skips(copy), skips(copy)] == [False, True]
    assert not skips(lambda batch: batch.delete(BUCKET, 'copy'))
    assert not skips(copy)
    assert conn.download(BUCKET, 'copy') == b'data'
    assert [skips(upload), skips(copy), skips(upload)] == [False, False, False]
    assert conn.download(BUCKET, 'copy') == b'other'


def fails_after_parts(run: Runs, parts: int, error: Exception) -> None:
    """Let each UploadPart fail from this one on."""

    def fault(operation: str, key: str, part: int | None) -> None:
        if operation == 'UploadPart' and part is not None and part > parts:
            raise error

    run.memory.fault = fault


@pytest.fixture
def large(run: Runs, tmp_path: pathlib.Path) -> pathlib.Path:
    """A file of three parts."""
    path = tmp_path / 'large'
    path.write_bytes(noise(13 * MIB))
    os.utime(path, (1, 1))
    small_parts = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=1)
    run.conn = s3po.Connection(transport=run.memory, retry=impatient(), config=small_parts)
    return path


def test_kept_upload(run: Runs, large: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """After failures that may not last, the next run sends only the missing parts; the log says how to go on."""
    fails_after_parts(run, 1, ServerError('down'))
    first = run(lambda batch: batch.upload_file(BUCKET, 'key', large))
    assert len(first.failed) == 1
    assert f'1 unfinished transfers are kept: run again with journal={str(run.path)!r}' in caplog.text
    assert Journal(run.path).report() == JournalReport(failed=1, kept=1)
    run.memory.fault = None
    again = run(lambda batch: batch.upload_file(BUCKET, 'key', large))

    assert again.success()
    assert [part for operation, _, part in run.memory.calls if operation == 'UploadPart'] == [2, 3]
    assert 'CreateMultipartUpload' not in run.operations
    assert run.conn.download(BUCKET, 'key') == large.read_bytes()
    assert Journal(run.path).report().kept == 0


def test_upload_that_is_not_kept(run: Runs, large: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """A permanent error removes the upload."""
    fails_after_parts(run, 1, s3po.AccessDenied('no', status=403))
    run(lambda batch: batch.upload_file(BUCKET, 'key', large))

    assert 'AbortMultipartUpload' in run.operations
    assert 'are kept' not in caplog.text
    assert Journal(run.path).report() == JournalReport(failed=1)


def test_discard_of_uploads(run: Runs, large: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """discard() aborts what was kept; it needs the connection for that."""
    caplog.set_level(logging.INFO, 's3po.journal')
    fails_after_parts(run, 1, ServerError('down'))
    run(lambda batch: [batch.upload_file(BUCKET, f'{number}', large) for number in range(2)])
    journal = Journal(run.path)
    with pytest.raises(ConfigurationError, match=r'2 uploads are still at the store: give the connection'):
        journal.discard()
    with pytest.raises(ConfigurationError, match='is of the store AWS'):
        journal.discard(s3po.Connection(endpoint_url='https://other.test'))
    assert journal.report().kept == 2
    run.memory.fault = None
    run.memory.calls.clear()
    journal.discard(run.conn)

    assert run.operations.count('AbortMultipartUpload') == 2
    assert 'aborted 2 uploads, removed 0 partial files' in caplog.text
    assert not run.path.exists()


def test_stream_under_a_journal(run: Runs, large: pathlib.Path) -> None:
    """The upload of a stream is not kept: it cannot be continued."""
    fails_after_parts(run, 1, ServerError('down'))
    run(lambda batch: batch.upload(BUCKET, 'key', iter([large.read_bytes()])))

    assert 'AbortMultipartUpload' in run.operations
    assert Journal(run.path).report() == JournalReport(failed=1)


def test_equal_uploads_are_kept_apart(run: Runs, large: pathlib.Path) -> None:
    """Each of several equal calls continues its own upload."""

    def submit(batch: s3po.Batch) -> None:
        for _ in range(2):
            batch.upload_file(BUCKET, 'key', large)

    fails_after_parts(run, 1, ServerError('down'))
    run(submit)
    assert Journal(run.path).report().kept == 2
    run.memory.fault = None
    assert run(submit).success()

    assert run.operations.count('UploadPart') == 4
    assert 'CreateMultipartUpload' not in run.operations
