"""Uploads under a journal: after a failure or a kill, the next run continues them, and sends no part that the store has."""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.errors import AccessDenied, NetworkError, PreconditionFailed, ServerError, UploadError
from s3po.jobs import Call
from s3po.model import ref_of
from tests.conftest import BUCKET, impatient
from tests.support.faults import Faults, stored
from tests.support.memory import MemoryTransport
from tests.support.noise import noise
from tests.support.notes import MemoryNotes

PART = 5 * MIB
COUNT = 5
DATA = noise(4 * PART + 11)
CONFIG = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=1)


class Killed(BaseException):
    """Ends a run as a SIGKILL would: nothing is cleaned up."""


BOTH = pytest.mark.parametrize('memory', [False, True], ids=['ETags', 'checksums'], indirect=True)


@pytest.fixture
def memory(memory: MemoryTransport, request: pytest.FixtureRequest) -> MemoryTransport:
    memory.keeps_checksums = getattr(request, 'param', True)
    return memory


@pytest.fixture
def notes(tmp_path: pathlib.Path) -> MemoryNotes:
    return MemoryNotes(tmp_path / 'notes')


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """An old source."""
    source = tmp_path / 'source'
    source.write_bytes(DATA)
    return source


def send(memory: MemoryTransport, source: Any, notes: MemoryNotes | None, *, config: Any = CONFIG, **options: Any) -> Any:
    """One run: a new connection and the notes as the last run left them."""
    notes = None if notes is None else MemoryNotes(notes.file)
    conn = s3po.Connection(transport=memory, config=config, retry=impatient())
    try:
        return conn.perform(Call('upload', ref_of(BUCKET, 'key'), {'source': source, 'notes': notes, **options})).value
    finally:
        conn.close()


def fails(memory: MemoryTransport, source: Any, notes: MemoryNotes, part: int = 4, **options: Any) -> None:
    """A run that fails at a part, retryably."""
    memory.fault = Faults('UploadPart', part, *[ServerError('500')] * 4)
    with pytest.raises(UploadError) as caught:
        send(memory, source, notes, **options)
    assert 'is kept; the next run' in caught.value.__notes__[0]
    memory.fault = None


def sent(memory: MemoryTransport) -> list[int]:
    """The parts that were sent since the last call."""
    parts = [part for operation, _, part in memory.calls if operation == 'UploadPart' and part is not None]
    memory.calls.clear()
    return parts


def check(memory: MemoryTransport, data: bytes = DATA) -> None:
    assert memory.store.get(BUCKET, 'key').body == data
    assert memory.store.uploads(BUCKET) == []


@BOTH
@pytest.mark.parametrize('kind', ['bytes', 'path', 'bytearray'])
def test_parts_are_not_sent_again(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path, kind: str) -> None:
    """The next run sends only what the store does not have, and the whole object is verified."""
    source = {'bytes': DATA, 'path': path, 'bytearray': bytearray(DATA)}[kind]
    fails(memory, source, notes)
    assert len(memory.store.uploads(BUCKET)) == 1
    sent(memory)

    result = send(memory, source, notes)

    assert sent(memory) == [4, 5]
    check(memory)
    assert (result.parts, result.size_bytes) == (COUNT, len(DATA))
    assert (result.checksum is not None) == memory.keeps_checksums
    assert MemoryNotes(notes.file).upload is None


@BOTH
def test_part_that_was_in_flight(
    memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that the store has and the notes have not is compared, and not sent again."""
    fails(memory, path, notes)
    noted = MemoryNotes(notes.file)
    assert noted.upload is not None
    del noted.upload.parts[2]  # type: ignore[attr-defined]
    noted._write('torn')
    sent(memory)

    with monkeypatch.context() as patch:
        # It is noted then, so that a completion after it is recognised.
        die_at_the_end(patch, memory, path, notes)
    assert sent(memory) == [4, 5]
    send(memory, path, notes)

    assert sent(memory) == []
    check(memory)


@BOTH
def test_store_that_forgets_a_part(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path) -> None:
    """The notes alone are not trusted: a part that the store does not list, or lists otherwise, is sent again."""
    fails(memory, path, notes)
    (upload,) = memory.store.uploads(BUCKET)
    del upload.parts[1]
    memory.store.upload_part(BUCKET, 'key', upload.upload_id, 3, b'other')
    sent(memory)

    send(memory, path, notes)

    assert sent(memory) == [1, 3, 4, 5]
    check(memory)


def change_bytes(path: pathlib.Path, options: dict[str, Any]) -> None:
    path.write_bytes(DATA[::-1])


def change_size(path: pathlib.Path, options: dict[str, Any]) -> None:
    path.write_bytes(DATA + b'more')


def change_part_size(path: pathlib.Path, options: dict[str, Any]) -> None:
    options['config'] = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=6 * MIB)


def change_algorithm(path: pathlib.Path, options: dict[str, Any]) -> None:
    options['config'] = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, checksum='crc32')


def change_headers(path: pathlib.Path, options: dict[str, Any]) -> None:
    options['metadata'] = {'a': 'b'}


def change_to_one_request(path: pathlib.Path, options: dict[str, Any]) -> None:
    path.write_bytes(b'small')


CHANGES = [change_bytes, change_size, change_part_size, change_algorithm, change_headers, change_to_one_request]


@pytest.mark.parametrize('change', CHANGES)
def test_changes(
    memory: MemoryTransport,
    notes: MemoryNotes,
    path: pathlib.Path,
    change: Callable[[pathlib.Path, dict[str, Any]], None],
) -> None:
    """If the source or the request has changed, the old upload is aborted, and everything is sent."""
    fails(memory, path, notes)
    options: dict[str, Any] = {}
    change(path, options)
    sent(memory)

    result = send(memory, path, notes, **options)

    assert sorted(sent(memory)) == ([] if result.parts == 1 else list(range(1, result.parts + 1)))
    check(memory, path.read_bytes())


def test_bytes_that_changed(memory: MemoryTransport, notes: MemoryNotes) -> None:
    """Bytes in memory are identified by their checksum."""
    fails(memory, DATA, notes)
    changed = DATA[:-1] + b'x'
    send(memory, changed, notes)

    check(memory, changed)


def test_time_that_was_set_back(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path) -> None:
    """A file whose time of modification was set back is compared: only parts that differ are sent again."""
    found = path.stat()
    fails(memory, path, notes)
    changed = DATA[: PART + 5] + b'changed' + DATA[PART + 12 :]
    with path.open('r+b') as file:
        file.write(changed)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert path.stat().st_mtime_ns == found.st_mtime_ns
    sent(memory)

    send(memory, path, notes)

    assert sent(memory) == [2, 4, 5]
    check(memory, changed)


def test_settled_file(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of a file that has not changed for long are not read again."""
    monkeypatch.setattr('s3po.body.sources.SETTLED_S', -60.0)
    fails(memory, path, notes)
    assert 'unsettled' not in str(MemoryNotes(notes.file).upload)
    read = []
    real = s3po.body.chunks.read_into
    monkeypatch.setattr(s3po.body.chunks, 'read_into', lambda *arguments: read.append(arguments[2]) or real(*arguments))

    send(memory, path, notes)

    assert read
    assert all(offset >= 3 * PART for offset in read)
    check(memory)


@pytest.mark.parametrize('kind', ['iterator', 'stream', 'open file'])
def test_streams_start_again(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path, kind: str) -> None:
    """What a later run cannot have is aborted after a failure."""
    memory.fault = Faults('UploadPart', 3, *[ServerError('500')] * 4)
    with path.open('rb') as file, pytest.raises(UploadError):
        send(memory, file if kind == 'open file' else iter([DATA]), notes)

    assert memory.store.uploads(BUCKET) == []
    assert MemoryNotes(notes.file).upload is None


def test_stream_after_a_kill(memory: MemoryTransport, notes: MemoryNotes) -> None:
    """The upload of a stream that was killed is aborted by the next run."""
    noted = MemoryNotes(notes.file)
    upload_id = memory.store.create_upload(BUCKET, 'key', {}, {})
    noted.created(s3po.jobs.notes.UploadNote(upload_id=upload_id, source='', part_bytes=0))

    send(memory, iter([DATA]), notes)

    check(memory)


def test_permanent_error(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path) -> None:
    """After an error that no later run can change, the upload is aborted, and the notes say so."""
    memory.fault = Faults('UploadPart', 3, AccessDenied('no', status=403))
    with pytest.raises(AccessDenied):
        send(memory, path, notes)

    assert memory.store.uploads(BUCKET) == []
    assert MemoryNotes(notes.file).upload is None


def test_refused_creation(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path) -> None:
    """No intent is left if the store refuses to create an upload."""
    memory.fault = Faults('CreateMultipartUpload', None, AccessDenied('no', status=403))
    with pytest.raises(AccessDenied):
        send(memory, path, notes)

    assert MemoryNotes(notes.file).intent_at is None


def test_lost_creation(
    memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload of a creation whose response was lost is aborted in the same run."""
    real, lost = memory.create_multipart_upload, []

    def create(*arguments: Any, **options: Any) -> str:
        upload_id = real(*arguments, **options)
        if not lost:
            lost.append(upload_id)
            raise NetworkError('reset')
        return upload_id

    monkeypatch.setattr(memory, 'create_multipart_upload', create)

    send(memory, path, notes)

    assert lost
    check(memory)


def test_killed_greenlet(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path) -> None:
    """A transfer that is killed keeps its upload."""
    running = gevent.spawn(send, memory, path, notes)
    while memory.count('UploadPart') < 3:
        gevent.sleep(0.001)
    running.kill()
    assert len(memory.store.uploads(BUCKET)) == 1
    first = sent(memory)

    send(memory, path, notes)

    assert len(first + sent(memory)) <= COUNT + 1
    check(memory)


def test_upload_aborted_by_another_client(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path) -> None:
    """If the upload is gone and the object is not ours, everything is sent."""
    stored(memory, 'key', b'older')
    fails(memory, path, notes, part=5)
    (upload,) = memory.store.uploads(BUCKET)
    memory.store.abort_upload(BUCKET, 'key', upload.upload_id)
    sent(memory)

    send(memory, path, notes)

    assert sent(memory) == [1, 2, 3, 4, 5]
    check(memory)


def die_at_the_end(
    monkeypatch: pytest.MonkeyPatch, memory: MemoryTransport, path: pathlib.Path, notes: MemoryNotes, **options: Any
) -> None:
    """A run that is killed after the completion of the upload, before this is noted."""

    def die(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(MemoryNotes, 'stored', die)
        send(memory, path, notes, **options)
    assert memory.store.uploads(BUCKET) == []


@BOTH
def test_completed_before_the_kill(
    memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload that was completed and not noted as such is not sent again."""
    die_at_the_end(monkeypatch, memory, path, notes)
    etag = memory.store.get(BUCKET, 'key').etag
    sent(memory)

    result = send(memory, path, notes)

    assert sent(memory) == []
    assert (result.etag, result.parts, result.size_bytes) == (etag, COUNT, len(DATA))
    check(memory)


def test_completed_and_replaced(
    memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another object has replaced it, the upload starts anew."""
    die_at_the_end(monkeypatch, memory, path, notes)
    send(memory, DATA[::-1], None)

    send(memory, path, notes)

    check(memory)


def test_older_object_with_the_same_bytes(
    memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that is older than the upload is not the result of it, even if its bytes are equal."""
    send(memory, path, None)
    older = memory.store.get(BUCKET, 'key')
    memory.store.put(BUCKET, 'key', dataclasses.replace(older, modified=time.time() - 10_000))
    memory.fault = Faults('CompleteMultipartUpload', None, *[ServerError('500')] * 4)
    with pytest.raises(UploadError):
        send(memory, path, notes)
    (upload,) = memory.store.uploads(BUCKET)
    memory.store.abort_upload(BUCKET, 'key', upload.upload_id)
    sent(memory)

    send(memory, path, notes)

    assert len(sent(memory)) == COUNT
    check(memory)


def test_conditional_upload_that_was_completed(
    memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With if_none_match, s3po's id tells whether the object is this upload's or another client's."""

    die_at_the_end(monkeypatch, memory, path, notes, if_none_match='*')
    sent(memory)

    assert send(memory, path, notes, if_none_match='*').parts == COUNT
    assert sent(memory) == []

    other = MemoryNotes(notes.file)
    assert other.upload is None
    with pytest.raises(PreconditionFailed):
        send(memory, path, notes, if_none_match='*')
    assert memory.store.uploads(BUCKET) == []


def test_completed_while_the_next_run_looks(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path) -> None:
    """A completion that the store carries out after the kill is not an error of the next run."""
    memory.fault = Faults('CompleteMultipartUpload', None, *[NetworkError('reset')] * 4)
    with pytest.raises(UploadError):
        send(memory, path, notes)
    (upload,) = memory.store.uploads(BUCKET)
    parts = [(number, part.etag) for number, part in memory.store.parts(BUCKET, 'key', upload.upload_id)]

    def complete(operation: str, key: str, part: int | None) -> None:
        if operation == 'CompleteMultipartUpload':
            memory.fault = None
            stored = memory.store.assemble(BUCKET, 'key', upload.upload_id, parts)
            memory.store.complete_upload(BUCKET, upload.upload_id, 'key', stored, None)  # type: ignore[arg-type]

    memory.fault = complete
    sent(memory)

    send(memory, path, notes)

    assert sent(memory) == []
    check(memory)


# --- an intent without an id


def test_orphan(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path) -> None:
    """An upload that was created, and whose id was not noted, is aborted. Older ones, and those of other keys, stay."""
    older = memory.store.create_upload(BUCKET, 'key', {}, {})
    memory.store.upload(BUCKET, 'key', older).initiated -= 60  # type: ignore[misc]
    MemoryNotes(notes.file).intend()
    memory.store.create_upload(BUCKET, 'key', {}, {})
    other = memory.store.create_upload(BUCKET, 'key-of-others', {}, {})

    send(memory, path, notes)

    assert sorted(upload.upload_id for upload in memory.store.uploads(BUCKET)) == sorted([older, other])
    assert memory.store.get(BUCKET, 'key').body == DATA


def test_clock_of_the_store(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path, monkeypatch: Any) -> None:
    """The age of an upload is measured by the store's clock, which may differ from this machine's."""
    MemoryNotes(notes.file).intend()
    orphan = memory.store.create_upload(BUCKET, 'key', {}, {})
    real, hour_s = memory.list_multipart_uploads, 3600

    def shifted(*arguments: Any, **options: Any) -> Any:
        return [s3po.s3.protocol.listed_upload(u.key, u.upload_id, *shift(u)) for u in real(*arguments, **options)]

    def shift(upload: Any) -> tuple[Any, Any]:
        ago = datetime.timedelta(seconds=hour_s)
        return upload.initiated - ago, datetime.datetime.now(datetime.UTC) - ago

    monkeypatch.setattr(memory, 'list_multipart_uploads', shifted)
    send(memory, path, notes)

    assert orphan not in [upload.upload_id for upload in memory.store.uploads(BUCKET)]
    check(memory)


def test_listing_that_is_refused(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path) -> None:
    """Without the permission to list uploads, the upload begins, and the result has a warning."""
    MemoryNotes(notes.file).intend()
    memory.fault = Faults('ListMultipartUploads', None, AccessDenied('no', status=403))

    result = send(memory, path, notes)

    assert any('may have left an incomplete upload' in warning for warning in result.warnings)
    check(memory)


def test_parts_that_may_not_be_listed(memory: MemoryTransport, notes: MemoryNotes, path: pathlib.Path) -> None:
    """Without the permission to list parts, the upload starts anew."""
    fails(memory, path, notes)
    memory.fault = Faults('ListParts', None, AccessDenied('no', status=403))
    sent(memory)

    result = send(memory, path, notes)

    assert sent(memory) == [1, 2, 3, 4, 5]
    assert any('starts anew' in warning for warning in result.warnings)
    check(memory)


def test_two_jobs_of_one_key(memory: MemoryTransport, tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    """A job that looks for uploads without ids does not abort the upload of another job of this run."""
    first, second = MemoryNotes(tmp_path / 'first'), MemoryNotes(tmp_path / 'second')
    first.intend()
    second.intend()
    conn = s3po.Connection(transport=memory, config=CONFIG, retry=impatient())
    calls = [
        Call('upload', ref_of(BUCKET, 'key'), {'source': path, 'notes': MemoryNotes(notes.file)}) for notes in (first, second)
    ]

    for each in [gevent.spawn(conn.perform, call) for call in calls]:
        each.get()

    check(memory)


def test_without_a_journal(memory: MemoryTransport, path: pathlib.Path) -> None:
    """Without notes the upload is aborted, and nothing is listed before an upload."""
    memory.fault = Faults('UploadPart', 3, *[ServerError('500')] * 4)
    with pytest.raises(UploadError):
        send(memory, path, None)
    assert memory.store.uploads(BUCKET) == []
    memory.calls.clear()

    send(memory, path, None)

    assert memory.count('ListParts') == memory.count('ListMultipartUploads') == 0


def test_copy_in_parts(memory: MemoryTransport, notes: MemoryNotes) -> None:
    """A copy in parts is continued too."""
    config = s3po.TransferConfig(multipart_copy_threshold=PART, multipart_copy_chunksize=PART, max_concurrency=1)
    conn = s3po.Connection(transport=memory, config=config, retry=impatient())
    conn.upload(BUCKET, 'from', DATA)

    def copy() -> Any:
        options = {'to_bucket': BUCKET, 'to_key': 'key', 'notes': MemoryNotes(notes.file)}
        return conn.perform(Call('copy', ref_of(BUCKET, 'from'), options)).value

    memory.fault = Faults('UploadPartCopy', 4, *[ServerError('500')] * 4)
    with pytest.raises(UploadError):
        copy()
    memory.calls.clear()

    copy()

    assert [part for operation, _, part in memory.calls if operation == 'UploadPartCopy'] == [4, 5]
    check(memory)
