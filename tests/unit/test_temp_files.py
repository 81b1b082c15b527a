"""Temporary files: one name per download, locked while it is written; no other files are changed."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import re
import stat
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import monkey

from s3po.body import Sink, open_sink, sinks, sweep_stale, temporary
from s3po.body.temporary import STALE_S
from s3po.config import MIB
from s3po.errors import LocalError
from s3po.model import ObjectInfo
from s3po.runtime import descriptors

DAY_S = 24 * 60 * 60
NAME = re.compile(r'\.s3po-[0-9a-f]{24}\.part')
RANDOM_NAME = re.compile(r'\.s3po-[0-9a-f]{24}-[0-9a-f]{16}\.part')

pytestmark = pytest.mark.usefixtures('_no_descriptor_is_left')


@pytest.fixture
def _no_descriptor_is_left() -> Iterator[None]:
    before = len(os.listdir('/dev/fd'))
    yield
    assert len(os.listdir('/dev/fd')) == before


def names(path: pathlib.Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def described(etag: str) -> Any:
    return types.SimpleNamespace(etag=etag, info=ObjectInfo(key='key', size_bytes=6, etag=etag))


def begun(target: pathlib.Path | str, *, bucket: str = 'bucket', key: str = 'key', etag: str = 'etag') -> Sink:
    """A download that has written its first bytes."""
    sink = open_sink(target)
    sink.identify(bucket, key, described(etag))
    sink.begin(6)
    sink.write_at(0, b'abc')
    return sink


def complete(sink: Sink) -> None:
    sink.write_at(3, b'def')
    sink.commit()


def name_of(target: pathlib.Path, **identity: str) -> str:
    """The name of a download's temporary file, which is removed again."""
    before = names(target.parent)
    sink = begun(target, **identity)
    (name,) = set(names(target.parent)) - set(before)
    sink.rollback()
    return name


def is_locked(path: pathlib.Path) -> bool:
    with path.open('r+b') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def abandoned(path: pathlib.Path, *, age_s: float = 2 * DAY_S) -> pathlib.Path:
    """Create an old temporary file, like one of a killed process."""
    path.write_bytes(b'half of it')
    os.utime(path, times=(time.time() - age_s, time.time() - age_s))
    return path


# --- the name and the file


def test_one_name_for_one_download(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name depends on target, bucket, key and ETag, and not on the spelling of the directory."""
    target = tmp_path / 'target'
    first = name_of(target)
    monkeypatch.chdir(tmp_path)

    assert NAME.fullmatch(first)
    assert name_of(target) == name_of(pathlib.Path('target')) == first
    others = [
        name_of(tmp_path / 'other'),
        name_of(target, bucket='other'),
        name_of(target, key='other'),
        name_of(target, etag='other'),
    ]
    assert len({first, *others}) == 5


@pytest.mark.parametrize(
    'name', ['x', 'x' * 255, 'é' * 127, os.fsdecode(b'\xff\xfe')], ids=['short', 'long', 'é', 'undecodable']
)
def test_names_are_of_one_length(tmp_path: pathlib.Path, name: str) -> None:
    """All temporary names have the same length, so they fit wherever the target does."""
    assert NAME.fullmatch(name_of(tmp_path / name, key='k' * 1024))


def test_private_and_locked_until_it_is_published(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the owner may read the file, and it is locked while it is renamed."""
    sink = begun(tmp_path / 'target')
    path = tmp_path / names(tmp_path)[0]
    replace, seen = os.replace, []

    def look(*arguments: Any) -> None:
        seen.append(is_locked(path))
        replace(*arguments)

    monkeypatch.setattr(os, 'replace', look)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert is_locked(path)
    complete(sink)
    assert seen == [True]
    assert not is_locked(tmp_path / 'target')


def test_locked_until_it_is_removed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is locked while it is removed; otherwise another download could use the name by then."""
    sink = begun(tmp_path / 'target')
    unlink, seen = os.unlink, []

    def look(path: str) -> None:
        seen.append(is_locked(pathlib.Path(path)))
        unlink(path)

    monkeypatch.setattr(os, 'unlink', look)
    sink.rollback()
    assert seen == [True]
    assert names(tmp_path) == []


def test_restart_keeps_its_file(tmp_path: pathlib.Path) -> None:
    """After a restart another version of the object is written to the same file."""
    sink = begun(tmp_path / 'target')
    before = names(tmp_path)
    sink.identify('bucket', 'key', described('new'))
    sink.begin(2)
    sink.write_at(0, b'ab')

    assert names(tmp_path) == before
    sink.commit()
    assert (tmp_path / 'target').read_bytes() == b'ab'
    assert names(tmp_path) == ['target']


def test_symlinked_directory(tmp_path: pathlib.Path) -> None:
    """The directory of a target can be a symbolic link."""
    (tmp_path / 'real').mkdir()
    (tmp_path / 'link').symlink_to('real')
    complete(begun(tmp_path / 'link' / 'target'))

    assert names(tmp_path / 'real') == ['target']
    assert (tmp_path / 'link').is_symlink()


def test_no_setuid(tmp_path: pathlib.Path) -> None:
    """The permissions of a replaced file are kept, except for setuid and setgid."""
    (tmp_path / 'target').write_bytes(b'old')
    (tmp_path / 'target').chmod(0o6751)
    complete(begun(tmp_path / 'target'))

    assert stat.S_IMODE((tmp_path / 'target').stat().st_mode) == 0o751


@pytest.mark.parametrize('points_to', ['file', 'nothing'])
def test_link_at_the_target(tmp_path: pathlib.Path, points_to: str) -> None:
    """A link at the target is replaced, or rejected without a temporary file; its own target is never written."""
    target, elsewhere = tmp_path / 'target', tmp_path / 'elsewhere'
    if points_to == 'file':
        elsewhere.write_bytes(b'precious')
    target.symlink_to(elsewhere)
    with pytest.raises(LocalError, match='target: it is a symbolic link; give the path of the file itself') as caught:
        open_sink(target, use_tmp_file=False)
    assert caught.value.errno == errno.ELOOP
    assert target.is_symlink()

    complete(begun(target))

    assert not target.is_symlink()
    assert target.read_bytes() == b'abcdef'
    assert (elsewhere.read_bytes() == b'precious') if points_to == 'file' else not elsewhere.exists()


def test_link_that_comes_later(tmp_path: pathlib.Path) -> None:
    """A link that is created after the check is not followed and not removed."""
    sink = open_sink(tmp_path / 'target', use_tmp_file=False)
    (tmp_path / 'elsewhere').write_bytes(b'precious')
    (tmp_path / 'target').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(LocalError) as caught:
        sink.write_whole(b'new')
    sink.rollback()

    assert caught.value.errno == errno.ELOOP
    assert (tmp_path / 'target').read_bytes() == b'precious'


# --- names that exist


def test_abandoned_file_is_taken_over(tmp_path: pathlib.Path) -> None:
    """An abandoned file with the name is reused, also if it is new, since it is not locked. Its contents are not published."""
    target = tmp_path / 'target'
    left = abandoned(tmp_path / name_of(target), age_s=0)
    left.chmod(0o666)
    with left.open('rb') as reader:
        sink = begun(target)

        assert names(tmp_path) == [left.name]
        assert stat.S_IMODE(left.stat().st_mode) == 0o600
        complete(sink)
        # A process that had opened the abandoned file sees nothing of the new content.
        assert reader.read() == b'half of it'
    assert names(tmp_path) == ['target']
    assert target.read_bytes() == b'abcdef'


def test_two_at_once(tmp_path: pathlib.Path) -> None:
    """Two downloads of one object to one target have separate files, and both succeed."""
    target = tmp_path / 'target'
    first, second = begun(target), begun(target)

    other, shared = names(tmp_path)
    assert NAME.fullmatch(shared)
    assert RANDOM_NAME.fullmatch(other)
    assert is_locked(tmp_path / other)
    complete(first)
    assert names(tmp_path) == [other, 'target']
    complete(second)
    assert names(tmp_path) == ['target']
    assert target.read_bytes() == b'abcdef'


def test_file_that_is_being_made(tmp_path: pathlib.Path) -> None:
    """An empty file is left alone, since its creator may be about to lock it."""
    target = tmp_path / 'target'
    young = tmp_path / name_of(target)
    young.touch()
    sink = begun(target)

    assert len(names(tmp_path)) == 2
    complete(sink)
    assert names(tmp_path) == [young.name, 'target']


def make_link(path: pathlib.Path, elsewhere: pathlib.Path) -> None:
    path.symlink_to(elsewhere)


def make_dangling_link(path: pathlib.Path, elsewhere: pathlib.Path) -> None:
    path.symlink_to(elsewhere.parent / 'nothing')


def make_hard_link(path: pathlib.Path, elsewhere: pathlib.Path) -> None:
    path.hardlink_to(elsewhere)


def make_directory(path: pathlib.Path, elsewhere: pathlib.Path) -> None:
    path.mkdir()


def make_pipe(path: pathlib.Path, elsewhere: pathlib.Path) -> None:
    os.mkfifo(path)


FORGERIES = pytest.mark.parametrize('forge', [make_link, make_dangling_link, make_hard_link, make_directory, make_pipe])


@FORGERIES
def test_forged_names(tmp_path: pathlib.Path, forge: Callable[[pathlib.Path, pathlib.Path], None]) -> None:
    """Links, directories and other special files with the name are not followed, written or removed."""
    target, elsewhere = tmp_path / 'target', tmp_path / 'elsewhere'
    elsewhere.write_bytes(b'precious')
    os.utime(elsewhere, (0, 0))
    forged = tmp_path / name_of(target)
    forge(forged, elsewhere)
    mode = forged.lstat().st_mode

    complete(begun(target))

    assert sweep_stale(str(tmp_path), -DAY_S) == 0
    assert elsewhere.read_bytes() == b'precious'
    assert forged.lstat().st_mode == mode
    assert target.read_bytes() == b'abcdef'
    assert names(tmp_path) == [forged.name, 'elsewhere', 'target']


def test_other_users_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another user is not changed, whatever its age."""
    target = tmp_path / 'target'
    left = abandoned(tmp_path / name_of(target))
    monkeypatch.setattr(os, 'geteuid', lambda: left.stat().st_uid + 1)
    complete(begun(target))

    assert sweep_stale(str(tmp_path)) == 0
    assert left.read_bytes() == b'half of it'
    assert target.read_bytes() == b'abcdef'


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_file_systems_without_locks(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Without file locks every download has its own name, and old files are kept, since they may be in use."""

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    target = tmp_path / 'target'
    left = abandoned(tmp_path / name_of(target))
    monkeypatch.setattr(fcntl, 'flock', refuse)
    for others in ([left.name], []):
        first, second = begun(target), begun(target)
        mine = set(names(tmp_path)) - {'target', left.name}
        assert len(mine) == 2
        assert all(RANDOM_NAME.fullmatch(name) for name in mine)
        complete(first)
        complete(second)
        assert sweep_stale(str(tmp_path)) == 0
        assert names(tmp_path) == [*others, 'target']
        left.unlink(missing_ok=True)


def test_lock_that_another_process_took(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process locks the new file first, the download uses another name."""
    flock, refusals = fcntl.flock, [BlockingIOError(errno.EAGAIN, 'held')]

    def refuse_once(*arguments: Any) -> None:
        if refusals:
            raise refusals.pop()
        flock(*arguments)

    monkeypatch.setattr(fcntl, 'flock', refuse_once)
    sink = begun(tmp_path / 'target')
    empty = next(path for path in tmp_path.iterdir() if NAME.fullmatch(path.name))
    complete(sink)

    assert empty.stat().st_size == 0
    assert (tmp_path / 'target').read_bytes() == b'abcdef'


# --- the sweep


def test_sweep(tmp_path: pathlib.Path) -> None:
    """The sweep removes s3po's own old files that are not locked, and returns their number."""
    for name in ('.s3po-1.part', '.s3po-0123456789.part', '.s3po-2-random.part'):
        abandoned(tmp_path / name)
    abandoned(tmp_path / '.s3po-young.part', age_s=STALE_S - 60)
    for name in ('.s3po-1.part.bak', 's3po-1.part', '.s3po-1', 'file.part'):
        abandoned(tmp_path / name)
    with abandoned(tmp_path / '.s3po-locked.part').open('rb') as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        assert STALE_S == DAY_S
        assert sweep_stale(str(tmp_path)) == 3
        left = ['.s3po-1', '.s3po-1.part.bak', '.s3po-locked.part', '.s3po-young.part', 'file.part', 's3po-1.part']
        assert names(tmp_path) == left
        assert sweep_stale(str(tmp_path), older_than_s=60) == 1
        assert names(tmp_path) == [name for name in left if name != '.s3po-young.part']


def test_sweep_while_a_download_runs(tmp_path: pathlib.Path) -> None:
    """The file of a running download is kept, even if nothing has arrived for a long time."""
    sink = begun(tmp_path / 'target')
    os.utime(tmp_path / names(tmp_path)[0], (0, 0))

    assert sweep_stale(str(tmp_path)) == 0
    complete(sink)
    assert (tmp_path / 'target').read_bytes() == b'abcdef'


def test_sweep_of_what_is_replaced_meanwhile(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a file is replaced before it is locked, the new one is kept."""
    left, other = abandoned(tmp_path / '.s3po-1.part'), abandoned(tmp_path / 'other')
    flock = fcntl.flock

    def replace(*arguments: Any) -> None:
        os.replace(other, left)
        flock(*arguments)

    monkeypatch.setattr(fcntl, 'flock', replace)
    assert sweep_stale(str(tmp_path)) == 0
    assert names(tmp_path) == [left.name]


def test_sweep_of_what_vanishes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may sweep at the same time."""
    left = abandoned(tmp_path / '.s3po-1.part')
    monkeypatch.setattr(fcntl, 'flock', lambda *_: left.unlink())

    assert sweep_stale(str(tmp_path)) == 0
    assert names(tmp_path) == []


def test_sweep_of_a_huge_directory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep looks at a limited number of entries."""
    for number in range(5):
        abandoned(tmp_path / f'.s3po-{number}.part')
    monkeypatch.setattr(temporary, 'SWEPT_ENTRIES', 3)

    assert sweep_stale(str(tmp_path)) == 3
    assert len(names(tmp_path)) == 2


def test_sweep_of_what_is_no_directory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing or unreadable directory is not an error."""
    (tmp_path / 'file').touch()
    assert sweep_stale(str(tmp_path / 'missing')) == 0
    assert sweep_stale(str(tmp_path / 'file')) == 0

    def refuse(path: str) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, 'scandir', refuse)
    assert sweep_stale(str(tmp_path)) == 0


def test_first_download_sweeps(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first download to a directory sweeps it, in another thread, if temporary files are used."""
    swept: list[tuple[str, int]] = []

    def sweep(directory: str) -> int:
        swept.append((directory, threading.get_native_id()))
        return sweep_stale(directory)

    monkeypatch.setattr(temporary, 'sweep_stale', sweep)
    monkeypatch.setattr(temporary, '_swept', set())
    (tmp_path / 'below').mkdir()
    monkeypatch.chdir(tmp_path)
    left = abandoned(tmp_path / '.s3po-1.part')
    open_sink(tmp_path / 'target', use_tmp_file=False)
    assert swept == []

    for target in (tmp_path / 'target', tmp_path / 'other', tmp_path / 'below' / 'target', 'target', 'other'):
        gevent.spawn(open_sink, target).get()

    assert [directory for directory, _ in swept] == [f'{tmp_path}/', f'{tmp_path}/below/', '.']
    assert threading.get_native_id() not in [thread for _, thread in swept]
    assert not left.exists()


def test_sweeps_are_bounded(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of directories that are remembered as swept is limited."""
    monkeypatch.setattr(temporary, '_swept', set())
    monkeypatch.setattr(temporary, 'SWEPT_DIRECTORIES', 2)
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        abandoned(tmp_path / str(number) / '.s3po-1.part')
        open_sink(tmp_path / str(number) / 'target')

    assert [names(tmp_path / str(number)) for number in range(3)] == [[], [], ['.s3po-1.part']]
    assert len(temporary._swept) == 2


# --- errors of the disk

REFUSALS = [
    ('open', errno.EACCES, 'check the permissions'),
    ('open', errno.EROFS, 'mounted read-only'),
    ('open', errno.ENOSPC, 'free some space'),
    ('open', errno.EDQUOT, 'free some of your quota'),
    ('open', errno.EMFILE, 'raise the limit of open files'),
    ('ftruncate', errno.EFBIG, 'ulimit -f'),
    ('pwrite', errno.ENOSPC, 'free some space'),
    ('pwrite', errno.EDQUOT, 'free some of your quota'),
    ('pwrite', errno.EIO, 'Input/output error'),
    ('fchmod', errno.EPERM, 'check the permissions'),
    ('fsync', errno.ENOSPC, 'free some space'),
    ('dup', errno.EMFILE, 'raise the limit of open files'),
    ('replace', errno.EISDIR, 'give the path of a file'),
    ('replace', errno.EACCES, 'check the permissions'),
]


@pytest.mark.fault('F52')
@pytest.mark.parametrize(
    ('call', 'number', 'advice', 'use_tmp_file'),
    [(*refusal, True) for refusal in REFUSALS]
    # Without a temporary file nothing is renamed.
    + [(*refusal, False) for refusal in REFUSALS if refusal[0] not in ('dup', 'replace')],
)
def test_refusals(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, advice: str, use_tmp_file: bool
) -> None:
    """After any error of a system call the message has the path and advice, nothing is left, and the old file is unchanged."""
    target = tmp_path / 'target'
    target.write_bytes(b'old')
    sink = open_sink(target, use_tmp_file=use_tmp_file, fsync=True)

    def refuse(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        patch.setattr(descriptors, 'WAIT_S', 0.0)
        with pytest.raises(LocalError, match=f'cannot write {re.escape(str(target))}: .*{advice}') as caught:
            sink.begin(6)
            sink.write_at(0, b'abcdef')
            sink.commit()
        sink.rollback()

    assert (caught.value.errno, caught.value.filename) == (number, str(target))
    assert names(tmp_path) == (['target'] if use_tmp_file or call == 'open' else [])
    assert not target.exists() or target.read_bytes() == b'old'


@pytest.mark.fault('F52')
def test_disk_that_is_full_at_a_byte(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a write is incomplete because the disk is full, the download fails."""
    pwrite = os.pwrite
    full_at = 4

    def write_some(descriptor: int, data: memoryview, offset: int) -> int:
        if offset >= full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, data[: full_at - offset], offset)

    (tmp_path / 'target').write_bytes(b'old')
    sink = open_sink(tmp_path / 'target')
    monkeypatch.setattr(os, 'pwrite', write_some)
    with pytest.raises(LocalError, match='free some space'):
        sink.write_whole(b'abcdef')
    assert len(names(tmp_path)) == 2
    sink.rollback()
    assert names(tmp_path) == ['target']
    assert (tmp_path / 'target').read_bytes() == b'old'


@pytest.mark.fault('F52')
def test_error_of_close(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If close() fails, as on network file systems, the error is raised before anything is published."""
    close, refusals = sinks.close_file, [OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))]

    def close_and_tell(descriptor: int) -> None:
        close(descriptor)
        if refusals:
            raise refusals.pop()

    (tmp_path / 'target').write_bytes(b'old')
    sink = begun(tmp_path / 'target')
    monkeypatch.setattr(sinks, 'close_file', close_and_tell)
    with pytest.raises(LocalError, match='free some of your quota'):
        sink.commit()
    sink.rollback()

    assert names(tmp_path) == ['target']
    assert (tmp_path / 'target').read_bytes() == b'old'


def test_published_and_not_synchronised(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was renamed is complete, so it is kept if synchronising the directory fails."""
    sink = open_sink(tmp_path / 'target', fsync=True)
    sink.write_whole(b'new')

    def refuse(path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(sinks, 'sync_directory', refuse)
    with pytest.raises(LocalError, match='Input/output error'):
        sink.commit()
    sink.rollback()

    assert names(tmp_path) == ['target']
    assert (tmp_path / 'target').read_bytes() == b'new'


@pytest.mark.fault('F54')
def test_directory_that_went_away(tmp_path: pathlib.Path) -> None:
    """If the directory was removed during the first response, the error is that of a missing directory."""
    (tmp_path / 'below').mkdir()
    sink = open_sink(tmp_path / 'below' / 'target')
    (tmp_path / 'below').rmdir()
    with pytest.raises(LocalError, match='create the directory first'):
        sink.write_whole(b'new')
    sink.rollback()

    assert names(tmp_path) == []


@pytest.mark.fault('F56')
def test_slow_disk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a slow write, later ones are done in another thread, and the caller's buffer can be reused at once."""
    sleep, pwrite = monkey.get_original('time', 'sleep'), os.pwrite
    writers: list[int] = []

    def write_slowly(descriptor: int, data: memoryview, offset: int) -> int:
        writers.append(threading.get_native_id())
        sleep(sinks.SLOW_WRITE_S * 1.2)
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, 'pwrite', write_slowly)
    sink = open_sink(tmp_path / 'target')
    sink.begin(3 * MIB + 3)
    buffer = bytearray(1)

    def write() -> None:
        for number in range(3):
            buffer[:] = b'%d' % number
            sink.write_at(number, memoryview(buffer))
        sink.write_at(3, bytes(3 * MIB))
        sink.commit()

    def use_the_buffer() -> None:
        while not writing.dead:
            buffer[:] = b'x'
            gevent.sleep(0.001)

    writing = gevent.spawn(write)
    gevent.spawn(use_the_buffer).get()
    writing.get()

    assert [writer == threading.get_native_id() for writer in writers] == [True, False, False, False]
    assert (tmp_path / 'target').read_bytes() == b'012' + bytes(3 * MIB)
