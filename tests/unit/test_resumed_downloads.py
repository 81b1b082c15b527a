"""Downloads to a path under a journal: the next run fetches only what is missing, and verifies the whole."""

from __future__ import annotations

import errno
import os
import pathlib
import stat
import time
from typing import Any

import gevent
import pytest

import s3po
from s3po.body import sweep_stale
from s3po.config import MIB
from s3po.errors import AccessDenied, DownloadError, IntegrityError, LocalError, NotFound, ServerError
from s3po.jobs import Call
from s3po.model import ref_of
from tests.conftest import BUCKET, impatient
from tests.support.faults import stored
from tests.support.memory import MemoryTransport
from tests.support.noise import noise
from tests.support.notes import MemoryNotes

PART = 5 * MIB
COUNT = 5
DATA = noise(4 * PART + 11)
CONFIG = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=1)


BOTH = pytest.mark.parametrize('memory', [False, True], ids=['ETags', 'checksums'], indirect=True)


@pytest.fixture
def memory(memory: MemoryTransport, request: pytest.FixtureRequest) -> MemoryTransport:
    memory.keeps_checksums = getattr(request, 'param', True)
    with s3po.Connection(transport=memory, config=CONFIG) as conn:
        conn.upload(BUCKET, 'key', DATA)
    memory.calls.clear()
    return memory


@pytest.fixture
def notes(tmp_path: pathlib.Path) -> MemoryNotes:
    (tmp_path / 'journal').mkdir()
    return MemoryNotes(tmp_path / 'journal/notes')


@pytest.fixture
def target(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / 'here').mkdir()
    return tmp_path / 'here/target'


class Fetches:
    """Records the ranges of all GETs; those after the first `good` ones fail."""

    def __init__(self, memory: MemoryTransport, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ranges: list[tuple[int, int | None] | None] = []
        self.good = 1000
        self.error: Exception | None = ServerError('500')
        real = memory.get_object

        def get_object(*arguments: Any, **options: Any) -> Any:
            if len(self.ranges) >= self.good:
                if self.error is None:
                    gevent.sleep(60)
                raise self.error
            self.ranges.append(options.get('byte_range'))
            return real(*arguments, **options)

        monkeypatch.setattr(memory, 'get_object', get_object)

    def taken(self) -> list[Any]:
        """The parts that were fetched since the last call; 'all' for the whole object."""
        found = [1 + each[0] // PART if each is not None else 'all' for each in self.ranges]
        self.ranges.clear()
        return found


@pytest.fixture
def fetches(memory: MemoryTransport, monkeypatch: pytest.MonkeyPatch) -> Fetches:
    return Fetches(memory, monkeypatch)


def fetch(
    memory: MemoryTransport, target: pathlib.Path, notes: MemoryNotes | None, *, config: Any = CONFIG, **options: Any
) -> Any:
    """One run: a new connection and the notes as the last run left them."""
    notes = None if notes is None else MemoryNotes(notes.file)
    conn = s3po.Connection(transport=memory, config=config, retry=impatient(1))
    try:
        return conn.perform(Call('download', ref_of(BUCKET, 'key'), {'target': target, 'notes': notes, **options})).value
    finally:
        conn.close()


def fails(memory: MemoryTransport, fetches: Fetches, target: pathlib.Path, notes: MemoryNotes, **options: Any) -> None:
    """A run that fails after three parts, retryably."""
    fetches.good = 3
    with pytest.raises(DownloadError) as caught:
        fetch(memory, target, notes, **options)
    assert 'is kept; the next run' in caught.value.__notes__[0]
    fetches.taken()
    fetches.good = 1000


def names(target: pathlib.Path) -> list[str]:
    return sorted(each.name for each in target.parent.iterdir())


def kept(target: pathlib.Path) -> pathlib.Path:
    (name,) = [name for name in names(target) if name.endswith('.kept')]
    return target.parent / name


def check(target: pathlib.Path, notes: MemoryNotes, data: bytes = DATA) -> None:
    assert target.read_bytes() == data
    assert names(target) == ['target']
    assert MemoryNotes(notes.file).download is None


@BOTH
def test_only_what_is_missing(memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path) -> None:
    """The next run fetches the missing parts, without a request for the whole object."""
    fails(memory, fetches, target, notes)
    assert not target.exists()
    assert stat.S_IMODE(kept(target).stat().st_mode) == 0o600

    result = fetch(memory, target, notes)

    assert fetches.taken() == [4, 5]
    check(target, notes)
    assert (result.parts, result.size_bytes) == (COUNT, len(DATA))
    assert (result.checksum is not None) == memory.keeps_checksums
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


def test_existing_target(memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path) -> None:
    """An existing file stays until the new one is complete, and its permissions stay."""
    target.write_bytes(b'old')
    target.chmod(0o640)
    fails(memory, fetches, target, notes)
    assert target.read_bytes() == b'old'

    fetch(memory, target, notes)

    check(target, notes)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_not_swept(memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path) -> None:
    """A sweep does not remove the partial file of a journal."""
    fails(memory, fetches, target, notes)
    os.utime(kept(target), times=(0, 0))

    assert sweep_stale(str(target.parent)) == 0
    assert kept(target).exists()


def damage(path: pathlib.Path, offset: int) -> None:
    with path.open('r+b') as file:
        file.seek(offset)
        file.write(b'damage')


def test_wrong_bytes(memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path) -> None:
    """A range whose bytes differ from its noted checksum is fetched again."""
    fails(memory, fetches, target, notes)
    damage(kept(target), PART + 1)

    fetch(memory, target, notes)

    assert fetches.taken() == [2, 4, 5]
    check(target, notes)


@pytest.mark.parametrize('how', ['removed', 'shorter', 'a link', 'a directory', 'another path', 'another name'])
def test_file_that_is_not_ours(
    memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path, how: str, tmp_path: pathlib.Path
) -> None:
    """If the partial file is missing or was replaced, the download starts anew, and no other file is touched."""
    fails(memory, fetches, target, notes)
    path, other = kept(target), tmp_path / 'other'
    other.write_bytes(b'of somebody')
    if how == 'shorter':
        os.truncate(path, 100)
    else:
        path.unlink()
    if how == 'a link':
        path.symlink_to(other)
    elif how == 'a directory':
        path.mkdir()
    elif how.startswith('another'):
        noted = MemoryNotes(notes.file)
        assert noted.download is not None
        place = other if how == 'another path' else tmp_path / '.s3po-x.kept'
        place.write_bytes(bytes(len(DATA)))
        noted.opened(s3po.jobs.notes.DownloadNote(path=str(place), etag=noted.download.etag, size_bytes=len(DATA)))

    fetch(memory, target, notes)

    assert target.read_bytes() == DATA
    assert 'all' in fetches.taken()
    assert other.exists()
    assert MemoryNotes(notes.file).download is None


def test_replaced_object(memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path) -> None:
    """A changed ETag starts that object anew."""
    fails(memory, fetches, target, notes)
    with s3po.Connection(transport=memory, config=CONFIG) as conn:
        conn.upload(BUCKET, 'key', DATA[::-1])

    fetch(memory, target, notes)

    check(target, notes, DATA[::-1])


def test_object_that_became_small(memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path) -> None:
    """A small object in its place is downloaded, and nothing is left of the large one."""
    fails(memory, fetches, target, notes)
    stored(memory, 'key', b'small')
    memory._checksums.clear()

    fetch(memory, target, notes)

    check(target, notes, b'small')


def test_object_that_is_gone(memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path) -> None:
    """After a permanent error nothing is left."""
    fails(memory, fetches, target, notes)
    memory.store.delete(BUCKET, 'key')

    with pytest.raises(NotFound):
        fetch(memory, target, notes)

    assert names(target) == []
    assert MemoryNotes(notes.file).download is None


def test_permanent_error(memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path) -> None:
    """An error that no later run can change removes the partial file."""
    fetches.good, fetches.error = 3, AccessDenied('no', status=403)
    with pytest.raises(AccessDenied):
        fetch(memory, target, notes)

    assert names(target) == []
    assert MemoryNotes(notes.file).download is None


def test_full_disk(
    memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk is full, the partial file is removed: it may be what fills the disk."""
    real = os.pwrite

    def write(descriptor: int, data: bytes, offset: int) -> int:
        if offset > 2 * PART:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, 'pwrite', write)
    with pytest.raises(LocalError, match='No space left'):
        fetch(memory, target, notes)

    assert names(target) == []
    assert MemoryNotes(notes.file).download is None


@pytest.mark.parametrize('change', ['part size', 'range', 'in place', 'checksum'])
def test_other_settings(
    memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path, change: str
) -> None:
    """With other settings the download is as right as without a journal, and nothing is left."""
    fails(memory, fetches, target, notes)
    options: dict[str, Any] = {}
    if change == 'range':
        options['byte_range'] = (0, len(DATA))
    else:
        options['config'] = {
            'part size': s3po.TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=6 * MIB),
            'in place': s3po.TransferConfig(use_tmp_file=False),
            'checksum': s3po.TransferConfig(checksum='none', multipart_threshold=PART, multipart_chunksize=PART),
        }[change]

    fetch(memory, target, notes, **options)

    check(target, notes)


@BOTH
def test_killed_after_the_last_part(
    memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If nothing is missing, one byte is fetched, to see that the object is the same."""

    class Killed(BaseException):
        pass

    def die(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr('s3po.body.kept.KeptSink.commit', die)
        fetch(memory, target, notes)
    fetches.taken()

    fetch(memory, target, notes)

    assert fetches.ranges == [(0, 1)]
    check(target, notes)


@pytest.mark.parametrize('is_replaced', [False, True])
def test_killed_after_the_rename(
    memory: MemoryTransport,
    fetches: Fetches,
    notes: MemoryNotes,
    target: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    is_replaced: bool,
) -> None:
    """A file that is complete at its place, and is not noted as stored, is compared and not fetched again."""

    class Killed(BaseException):
        pass

    def die(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(MemoryNotes, 'stored', die)
        fetch(memory, target, notes)
    fetches.taken()
    assert names(target) == ['target']
    if is_replaced:
        damage(target, 7)

    fetch(memory, target, notes)

    assert len(fetches.ranges) == (COUNT if is_replaced else 1)
    check(target, notes)


def test_mismatch_of_the_whole(memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path) -> None:
    """Noted bytes that are not those of the object are found by the comparison of the whole, and fetched again."""
    fails(memory, fetches, target, notes)
    # The notes are of the damaged bytes.
    noted = MemoryNotes(notes.file)
    damage(kept(target), 3)
    assert noted.download is not None
    crc = s3po.checksum.crc_function('CRC64NVME')(kept(target).read_bytes()[:PART], 0)
    noted.received(s3po.jobs.notes.RangeNote(offset=0, size_bytes=PART, crc=crc))

    fetch(memory, target, notes)

    check(target, notes)


def test_mismatch_that_stays(memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path) -> None:
    """If the object never matches its checksum, nothing is left."""
    fails(memory, fetches, target, notes)
    noted = MemoryNotes(notes.file)
    assert noted.download is not None
    noted.download = s3po.jobs.notes.DownloadNote(
        path=noted.download.path,
        etag=noted.download.etag,
        size_bytes=noted.download.size_bytes,
        checksum='CRC64NVME:AAAAAAAAAAA=',
    )
    noted._write('changed')

    with pytest.raises(IntegrityError):
        fetch(memory, target, notes)

    assert names(target) == []


def test_killed_greenlet(memory: MemoryTransport, fetches: Fetches, notes: MemoryNotes, target: pathlib.Path) -> None:
    """A transfer that is killed keeps its partial file, and no descriptor stays open."""
    before = len(os.listdir('/dev/fd'))
    fetches.good, fetches.error = 3, None
    running = gevent.spawn(fetch, memory, target, notes)
    while len(fetches.ranges) < 3:
        gevent.sleep(0.001)
    gevent.sleep(0.01)
    running.kill()
    fetches.good = 1000
    deadline = time.monotonic() + 5
    while len(os.listdir('/dev/fd')) > before and time.monotonic() < deadline:
        gevent.sleep(0.01)
    assert len(os.listdir('/dev/fd')) == before
    assert kept(target).exists()
    first = fetches.taken()

    fetch(memory, target, notes)

    assert len(first + fetches.taken()) <= COUNT + 2
    check(target, notes)


def test_two_jobs_of_one_target(
    memory: MemoryTransport, fetches: Fetches, tmp_path: pathlib.Path, target: pathlib.Path
) -> None:
    """Two equal downloads at the same time do not write into one file."""
    conn = s3po.Connection(transport=memory, config=CONFIG, retry=impatient())
    calls = [
        Call('download', ref_of(BUCKET, 'key'), {'target': target, 'notes': MemoryNotes(tmp_path / f'notes-{number}')})
        for number in range(2)
    ]

    for each in [gevent.spawn(conn.perform, call) for call in calls]:
        each.get()

    assert target.read_bytes() == DATA
    assert names(target) == ['target']
