"""The file of a journal: whole records only, one writer, private, and of one store."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import pathlib
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest

import s3po
from s3po.body.kept import PREFIX, SUFFIX
from s3po.errors import ConfigurationError, LocalError
from s3po.jobs import Call
from s3po.jobs.notes import DownloadNote, PartNote, RangeNote, UploadNote
from s3po.journal import Entry, JobNotes, Journal, JournalReport, Ledger
from s3po.journal.identity import Identity
from s3po.journal.lines import (
    ALIGNMENT,
    HEADER_BYTES,
    done_line,
    has_valid_crc,
    head_of,
    header_line,
    line_of,
    result_text,
    tail_of,
)
from s3po.journal.notes import is_kept_after
from s3po.model import ObjectRef, TransferResult

BUCKET = 'bucket'


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / 'job.s3po'


def upload(key: str, data: bytes = b'data') -> Call:
    return Call('upload', ObjectRef(bucket=BUCKET, key=key), {'source': data})


def result(key: str, size_bytes: int = 4) -> TransferResult:
    return TransferResult(
        bucket=BUCKET,
        key=key,
        size_bytes=size_bytes,
        etag='"caf\u00e9"',
        version_id='v',
        checksum='CRC64NVME:AAAAAAAAAAA=',
        parts=1,
        attempts=1,
        seconds=0.1,
    )


def write(path: pathlib.Path, *keys: str, fsync: bool = False) -> None:
    """One run that does these uploads."""
    ledger = Journal(path).open(None, fsync=fsync)
    for key in keys:
        do(ledger, upload(key))
    ledger.close()


def do(ledger: Ledger, call: Call) -> Entry:
    entry = Entry(ledger, call)
    entry.result = result(call.ref.key)
    ledger.done(entry)
    return entry


def is_done(path: pathlib.Path, *keys: str) -> list[bool]:
    ledger = Journal(path).open(None)
    try:
        return [(ledger.found(Entry(ledger, upload(key))) or {}).get('state') == 'done' for key in keys]
    finally:
        ledger.close()


def test_comes_back(path: pathlib.Path) -> None:
    """What was recorded is found by the next opening, and only by it."""
    ledger = Journal(path).open(None)
    entry = do(ledger, upload('a'))
    assert ledger.found(entry) is None
    ledger.close()

    ledger = Journal(path).open(None)
    found = ledger.found(Entry(ledger, upload('a')))
    assert found is not None
    assert found['result'] == {
        'etag': '"caf\u00e9"',
        'version_id': 'v',
        'checksum': 'CRC64NVME:AAAAAAAAAAA=',
        'parts': 1,
        'size_bytes': 4,
    }
    assert ledger.found(Entry(ledger, upload('a'))) is None
    assert ledger.found(Entry(ledger, upload('a', b'DATA'))) is None
    ledger.close()


@pytest.mark.parametrize('key', ['key', 'a/b "c" \\', 'ключ'])
@pytest.mark.parametrize('data', [b'', b'data', bytes(5000)])
def test_brief_call(key: str, data: bytes) -> None:
    """An upload of bytes is identified and written in a shorter way, and is the same as an upload of a memoryview."""
    brief, other = Identity(upload(key, data)), Identity(Call('upload', upload(key).ref, {'source': memoryview(data)}))

    assert brief.is_brief
    assert not other.is_brief
    names = ('hash', 'on', 'also', 'reads', 'can_skip', 'path', 'data_bytes', 'options', 'to_endpoint')
    assert [getattr(brief, name) for name in names] == [getattr(other, name) for name in names]
    for found in (
        result(key),
        dataclasses.replace(result(key), version_id='v"1', checksum=None, parts=3),
        dataclasses.replace(result(key), version_id=None, checksum='CRC64NVME:AAAAAAAAAAA='),
    ):
        assert done_line(brief, 7, found) == line_of(head_of(other) + result_text(found), 'done', other, 7)


@pytest.mark.parametrize('options', [{'content_type': 'text/plain'}, {'if_none_match': '*'}])
def test_options_are_not_brief(options: dict[str, Any]) -> None:
    """Options are part of the identity."""
    plain = upload('key')
    found = Identity(Call('upload', plain.ref, {**plain.options, **options}))

    assert not found.is_brief
    assert found.hash != Identity(plain).hash


def test_lines(path: pathlib.Path) -> None:
    """Each line is a JSON object with a CRC, and as long as a multiple of ALIGNMENT."""
    write(path, 'a', 'caf\u00e9', '"x"\\')
    lines = path.read_bytes().splitlines(keepends=True)

    assert len(lines[0]) == HEADER_BYTES
    assert [json.loads(line)['key'] for line in lines[1:]] == ['a', 'caf\u00e9', '"x"\\']
    for line in lines:
        assert len(line) % ALIGNMENT == 0
        body, _, crc = line.rstrip()[:-2].rpartition(b',"crc":"')
        assert int(crc, 16) == zlib.crc32(body)
        check = has_valid_crc if line is lines[0] else tail_of
        assert check(line)
        assert not check(line[:-1])
        assert not check(line.replace(b'"', b"'", 1))
        assert not check(line.replace(b'"crc":"', b'"crc":"1')[1:])


@pytest.mark.parametrize('cut', [1, 5, 20, 100])
def test_torn_record(path: pathlib.Path, caplog: pytest.LogCaptureFixture, cut: int) -> None:
    """A last record that is not complete is dropped, with a warning, and the next one takes its place."""
    write(path, 'a', 'b')
    with path.open('r+b') as file:
        file.truncate(path.stat().st_size - cut)
    write(path, 'c')

    assert 'the last record of the journal' in caplog.text
    assert is_done(path, 'a', 'b', 'c') == [True, False, True]


def test_garbage_at_the_end(path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a power cut a file may end with zeros: they are dropped."""
    write(path, 'a')
    with path.open('ab') as file:
        file.write(b'\0' * 5_000)
    write(path, 'c')

    assert is_done(path, 'a', 'c') == [True, True]


def test_damaged_record(path: pathlib.Path) -> None:
    """A damaged record before the last one is an error that names its offset; the file is not changed."""
    write(path, 'a', 'b')
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 10] ^= 1
    path.write_bytes(data)

    for read in (lambda: Journal(path).open(None), lambda: Journal(path).report(), lambda: list(Journal(path).records())):
        with pytest.raises(
            LocalError, match=f'is damaged at offset {HEADER_BYTES}; restore it from a copy, or remove it'
        ) as caught:
            read()
        assert caught.value.filename == str(path)
    assert path.read_bytes() == data


def test_damaged_header(path: pathlib.Path) -> None:
    """A damaged header is an error; one that was cut off when the file was created begins a new journal."""
    write(path, 'a')
    data = path.read_bytes()
    path.write_bytes(b'{"s3po_journal": 1, ' + b' ' * 492 + data[512:])
    with pytest.raises(LocalError, match='is damaged at offset 0'):
        Journal(path).open(None)
    for begun in (b'', data[:1], data[:100]):
        path.write_bytes(begun)
        write(path, 'b')
        assert is_done(path, 'a', 'b') == [False, True]


@pytest.mark.parametrize('content', [b'hello', b'{"op": "upload"}\n', b'x' * 4096])
def test_something_else(path: pathlib.Path, content: bytes) -> None:
    """A file that is no journal is refused, and not changed."""
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match='exists and is not a journal of s3po; choose another path'):
        Journal(path).open(None)
    assert path.read_bytes() == content


def test_directory(tmp_path: pathlib.Path) -> None:
    """A directory, and a file in a directory that does not exist, are errors with advice."""
    with pytest.raises(LocalError, match='cannot open the journal'):
        Journal(tmp_path).open(None)
    with pytest.raises(LocalError, match='No such file or directory'):
        Journal(tmp_path / 'missing' / 'job').open(None)
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(ConfigurationError, match='is not a regular file'):
        Journal(tmp_path / 'pipe').open(None)


def test_newer_version(path: pathlib.Path) -> None:
    """A journal of a newer version is refused."""
    body = b'{"s3po_journal": 2, "endpoint": null'
    line = b'%b,"crc":"%08x"}' % (body, zlib.crc32(body))
    path.write_bytes(line.ljust(HEADER_BYTES - 1) + b'\n')

    with pytest.raises(ConfigurationError, match='has version 2 of the format, and this s3po reads version 1'):
        Journal(path).open(None)


def test_other_endpoint(path: pathlib.Path) -> None:
    """A journal of another store is refused."""
    Journal(path).open('https://one.test').close()
    Journal(path).open('https://one.test').close()

    with pytest.raises(
        ConfigurationError, match=r'is of the store https://one\.test, and this connection is to AWS; use another'
    ):
        Journal(path).open(None)
    Journal(path).discard()


def test_in_use(path: pathlib.Path) -> None:
    """A journal in use is refused, with the pid of its process; reading it is possible."""
    ledger = Journal(path).open(None)
    do(ledger, upload('a'))
    with pytest.raises(ConfigurationError, match=f'is in use by process {os.getpid()}; wait for its end'):
        Journal(path).open(None)
    assert Journal(path).report() == JournalReport(done=1, size_bytes=4)
    with pytest.raises(ConfigurationError, match='is in use by process'):
        Journal(path).discard()
    ledger.close()
    ledger.close()
    Journal(path).open(None).close()


def test_in_use_by_another_process(path: pathlib.Path) -> None:
    """The lock of a process that was killed is free."""
    script = (
        'import sys, time; from s3po.journal import Journal; ledger = Journal(sys.argv[1]).open(None)\n'
        'print("open", flush=True); time.sleep(60)'
    )
    with subprocess.Popen([sys.executable, '-c', script, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ConfigurationError, match=f'is in use by process {process.pid};'):
            Journal(path).open(None)
        process.kill()
    Journal(path).open(None).close()


def test_is_private(path: pathlib.Path) -> None:
    """Only the user can read the file, also one that was not private."""
    write(path, 'a')
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    write(path, 'b')
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_other_owner(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another user is refused."""
    write(path, 'a')
    monkeypatch.setattr(os, 'geteuid', lambda: path.stat().st_uid + 1)

    with pytest.raises(ConfigurationError, match='belongs to the user'):
        Journal(path).open(None)


def test_symbolic_link(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A link leads to one journal, which stays at its place when it is compacted."""
    link = tmp_path / 'link'
    link.symlink_to(path)
    ledger = Journal(link).open(None)
    with pytest.raises(ConfigurationError, match='is in use'):
        Journal(path).open(None)
    ledger.close()
    ledger = Journal(link).open(None)
    for number in range(4_000):
        do(ledger, upload('a', b'%d' % number))
    ledger.close()
    write(link, 'b')

    assert link.is_symlink()
    assert path.stat().st_size < 100_000


# --- errors of the disk


def full_after(count: int, monkeypatch: pytest.MonkeyPatch, *, error: int = errno.ENOSPC) -> list[int]:
    """Make writes fail after `count` of them, the first failing one after half of its bytes."""
    pwrite, calls = os.pwrite, list[int]()

    def fail(descriptor: int, data: bytes, offset: int) -> int:
        calls.append(len(data))
        if len(calls) <= count:
            return pwrite(descriptor, data, offset)
        if len(calls) == count + 1:
            return pwrite(descriptor, data[: len(data) // 2], offset)
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, 'pwrite', fail)
    return calls


def test_full_disk(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that cannot be written is not in the file, and nothing more is written."""
    ledger = Journal(path).open(None)
    with monkeypatch.context() as patch:
        calls = full_after(2, patch)
        do(ledger, upload('a'))
        do(ledger, upload('b'))
        for _ in range(2):
            with pytest.raises(LocalError, match=f'cannot write the journal {path}: No space left') as caught:
                do(ledger, upload('c'))
            assert caught.value.errno == errno.ENOSPC
        assert len(calls) == 4
    assert ledger.is_broken
    ledger.close()

    assert path.read_bytes().count(b'\n') == 3
    assert is_done(path, 'a', 'b', 'c') == [True, True, False]


@pytest.mark.parametrize('size', [1, 5])
def test_batch_on_a_full_disk(
    memory_conn: s3po.Connection, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The batch stops: what was recorded succeeded, what was not has failed, and the rest never begins."""
    batch = memory_conn.batch(size, journal=path, on_error='collect')
    full_after(3, monkeypatch)
    jobs = []
    with pytest.raises(LocalError, match='the batch stopped, because its journal'), batch:
        # What was appended before the error stays.
        jobs.extend(batch.upload(BUCKET, f'{number}', b'data') for number in range(100))
    monkeypatch.undo()

    done = [job for job in jobs if job.successful()]
    assert len(done) == 3
    assert is_done(path, *(job.ref.key for job in done)) == [True] * 3
    unrecorded = batch.failed[0].error
    assert isinstance(unrecorded, LocalError)
    assert 'was carried out, but not recorded: cannot write the journal' in str(unrecorded)
    assert batch.pending == 0


def test_read_only(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that cannot be opened for writing is an error before any job."""
    open_file = os.open

    def refuse(name: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return open_file(name, flags, *arguments, **options)

    monkeypatch.setattr(os, 'open', refuse)
    with pytest.raises(LocalError, match='Read-only file system'):
        Journal(path).open(None)


def test_fsync(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fsync=True each record is on the disk before its job is reported; after an error nothing is."""
    fsync, synced = os.fsync, list[int]()
    monkeypatch.setattr(os, 'fsync', lambda descriptor: (synced.append(descriptor), fsync(descriptor)))
    ledger = Journal(path).open(None, fsync=True)
    synced.clear()
    do(ledger, upload('a'))
    assert len(synced) == 1

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(LocalError, match='cannot synchronise the journal'):
        do(ledger, upload('b'))
    monkeypatch.setattr(os, 'fsync', fsync)
    with pytest.raises(LocalError):
        do(ledger, upload('b'))
    assert ledger.is_broken
    ledger.close()


def test_fsync_is_shared(memory_conn: s3po.Connection, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that end at the same time share a synchronisation."""
    fsync, synced = os.fsync, list[int]()
    monkeypatch.setattr(os, 'fsync', lambda descriptor: (synced.append(descriptor), fsync(descriptor)))
    with memory_conn.batch(20, journal=path, fsync=True) as batch:
        for number in range(200):
            batch.upload(BUCKET, f'{number}', b'data')

    assert len(synced) < 150
    assert Journal(path).report().done == 200


# --- compaction


def test_compaction(path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """A journal with many superseded records is compacted when it is opened; what it says stays the same."""
    caplog.set_level(logging.INFO, 's3po.journal')
    ledger = Journal(path).open(None)
    for number in range(1_500):
        do(ledger, upload('a', b'%d' % number))
        do(ledger, upload('b'))
    do(ledger, upload('a'))
    do(ledger, upload('a'))
    do(ledger, Call('delete', ObjectRef(bucket=BUCKET, key='b'), {}))
    notes = JobNotes(Entry(ledger, upload('c')))
    notes.created(UploadNote(upload_id='1', source='s', part_bytes=5))
    notes.confirmed(PartNote(number=1, size_bytes=5, etag='e', checksum=None))
    ledger.close()
    before, size = Journal(path).report(), path.stat().st_size

    write(path, 'd')

    assert 'compacted the journal' in caplog.text
    assert path.stat().st_size < size / 100
    after = Journal(path).report()
    assert (after.done, after.kept) == (before.done + 1, before.kept)
    assert is_done(path, 'a', 'b', 'd') == [True, False, True]
    assert not list(path.parent.glob('*.compacted'))


def test_compaction_without_room(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """If there is no room for the new file, the old one is used."""
    for _ in range(2):
        ledger = Journal(path).open(None)
        for number in range(2_500):
            do(ledger, upload('a', b'%d' % number))
        ledger.close()
    (path.parent / 'job.s3po.compacted').write_bytes(b'left by a killed process')
    rename = os.rename

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'rename', fail)
    Journal(path).open(None).close()
    assert 'could not be compacted' in caplog.text
    assert not list(path.parent.glob('*.compacted'))
    monkeypatch.setattr(os, 'rename', rename)
    size = path.stat().st_size
    Journal(path).open(None).close()
    assert path.stat().st_size < size / 100


# --- notes


def kept(path: pathlib.Path, call: Call) -> Any:
    ledger = Journal(path).open(None)
    try:
        return ledger.take_kept(Entry(ledger, call))
    finally:
        ledger.close()


def noted(path: pathlib.Path, call: Call, record: Callable[[JobNotes], object]) -> Any:
    """What the next run finds after notes were recorded."""
    ledger = Journal(path).open(None)
    record(JobNotes(Entry(ledger, call)))
    ledger.close()
    return kept(path, call)


def test_notes_of_an_upload(path: pathlib.Path) -> None:
    """The upload and its parts come back; an intent without an id has the time."""
    upload_note = UploadNote(upload_id='1', source='s', part_bytes=5, own_id='i', created_at=7.5)
    part = PartNote(number=2, size_bytes=5, etag='e', checksum='CRC32:x', is_encrypted=True)
    found = noted(path, upload('a'), lambda notes: notes.intend())
    assert found.upload is None
    assert abs(found.intent_at - path.stat().st_mtime) < 60

    def record(notes: JobNotes) -> None:
        notes.created(upload_note)
        notes.confirmed(part)
        assert notes.upload is not None
        assert notes.upload.parts == {2: part}
        assert notes.has_kept

    found = noted(path, upload('a'), record)
    assert found.upload == dataclasses.replace(upload_note, parts={2: part})
    assert (found.bucket, found.key, found.intent_at) == (BUCKET, 'a', None)
    assert kept(path, upload('a', b'other')) is None
    assert Journal(path).report() == JournalReport(pending=1, kept=1)


def test_notes_of_a_download(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The partial file and its ranges come back, in the order in which they arrived."""
    call = Call('download_file', ObjectRef(bucket=BUCKET, key='a'), {'path': tmp_path / 'caf\udce9'})
    ranges = (RangeNote(offset=5, size_bytes=5, crc=2**64 - 1), RangeNote(offset=0, size_bytes=5, crc=0))

    def record(notes: JobNotes) -> None:
        notes.opened(DownloadNote(path=str(tmp_path / 'part'), etag='e', size_bytes=10, version_id='v'))
        for each in ranges:
            notes.received(each)

    found = noted(path, call, record)
    assert found.download == DownloadNote(path=str(tmp_path / 'part'), etag='e', size_bytes=10, version_id='v', ranges=ranges)


@pytest.mark.parametrize('end', ['discarded', 'stored', 'done'])
def test_notes_end(path: pathlib.Path, end: str) -> None:
    """Nothing is kept of a job that is complete, or whose upload was discarded."""
    ledger = Journal(path).open(None)
    entry = Entry(ledger, upload('a'))
    entry.wants_stored = True
    notes = JobNotes(entry)
    notes.created(UploadNote(upload_id='1', source='s', part_bytes=5))
    if end == 'discarded':
        notes.discarded()
        assert not notes.has_kept
    elif end == 'stored':
        notes.stored(result('a'))
    else:
        entry.result = result('a')
        ledger.done(entry)
    ledger.close()

    assert kept(path, upload('a')) is None


def test_what_is_kept() -> None:
    """Interruptions, time limits and what may succeed later keep an upload; permanent errors do not."""
    failed = s3po.UploadError('gave up', bucket=BUCKET, key='a', attempts=4)
    failed.__cause__ = s3po.ServerError('down')
    refused = s3po.UploadError('gave up', bucket=BUCKET, key='a', attempts=4)
    refused.__cause__ = s3po.AccessDenied('no')
    for error in (
        failed,
        s3po.Cancelled('x'),
        s3po.DeadlineExceeded('x'),
        s3po.Throttled('x'),
        s3po.CredentialsExpired('x'),
        KeyboardInterrupt(),
    ):
        assert is_kept_after(error)
    for other in (refused, s3po.NotFound('x'), s3po.SourceChanged('x'), ConfigurationError('x'), LocalError('x'), ValueError()):
        assert not is_kept_after(other)
    ledger: Any = None
    assert not JobNotes(ledger, can_resume=False).keeps(failed)


def test_header_fits() -> None:
    """The header has the same size whatever the pid, and is written in place."""
    assert len(header_line('https://s3.test', 1)) == len(header_line(None, 9_999_999)) == HEADER_BYTES


def test_note_lines_are_not_about_a_destination(path: pathlib.Path) -> None:
    """A part belongs to the job, so that it does not supersede the record that began the upload."""
    ledger = Journal(path).open(None)
    line = line_of('{"note":{}', 'part', Entry(ledger, upload('a')), 0, on=False)
    assert b'"on":""' in line
    ledger.close()


def test_discard_of_a_partial_file(path: pathlib.Path, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """discard() removes partial files, without a connection; one that is gone is no error."""
    caplog.set_level(logging.INFO, 's3po.journal')
    ledger = Journal(path).open('https://one.test')
    for name in 'ab':
        call = Call('download_file', ObjectRef(bucket=BUCKET, key=name), {'path': tmp_path / name})
        JobNotes(Entry(ledger, call)).opened(
            DownloadNote(path=str(tmp_path / f'{PREFIX}{name}{SUFFIX}'), etag='e', size_bytes=1)
        )
    ledger.close()
    (tmp_path / f'{PREFIX}a{SUFFIX}').write_bytes(b'1')
    assert Journal(path).report() == JournalReport(pending=2, kept=2)
    Journal(path).discard()

    assert not list(tmp_path.iterdir())
    assert 'aborted 0 uploads, removed 2 partial files' in caplog.text


def test_clean_up_on_a_full_disk(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload can be aborted although that cannot be recorded."""
    ledger = Journal(path).open(None)
    notes = JobNotes(Entry(ledger, upload('a')))
    notes.created(UploadNote(upload_id='1', source='s', part_bytes=5))
    with monkeypatch.context() as patch:
        full_after(0, patch)
        with pytest.raises(LocalError):
            notes.confirmed(PartNote(number=1, size_bytes=5, etag='e', checksum=None))
        notes.discarded()
    ledger.close()

    assert not notes.has_kept
    assert kept(path, upload('a')).upload.upload_id == '1'
