"""Temporary files of downloads: if processes are killed, several download the same object, or the disk fails."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import monkey

import s3po
from s3po.body import sinks, sweep_stale
from s3po.config import MIB
from s3po.errors import LocalError
from tests.conftest import BUCKET, impatient
from tests.support.memory import MemoryTransport
from tests.support.noise import noise
from tests.support.programs import run_command
from tests.support.servers import CHECKOUT, Store

LIMIT_S = 60.0
DAY_S = 24 * 60 * 60
DATA = noise(20 * MIB + 11)
# The first response of a download, with 8 MiB of the object, takes some seconds.
SLOWLY = {'operation': 'GetObject', 'action': {'drip': {'bytes': MIB, 'every_s': 0.5}}, 'times': 1}

PRELUDE = """
    import os
    import signal
    import s3po
    # A shell that runs the tests in the background makes them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    conn = s3po.Connection(endpoint_url=os.environ['ENDPOINT'], region='us-east-1', access_key_id='a', secret_access_key='b')
"""
DOWNLOAD = """
    assert conn.download_file('bucket', 'key', 'target').size_bytes == (20 << 20) + 11
"""


def names(path: pathlib.Path) -> list[str]:
    return sorted(os.listdir(path))


def wait_until(has_come: Callable[[], Any]) -> None:
    with gevent.Timeout(LIMIT_S, RuntimeError('it never came so far')):
        while not has_come():
            gevent.sleep(0.01)


def started(store: Store, directory: pathlib.Path, *pieces: str) -> subprocess.Popen[str]:
    """A process with a connection to the store."""
    script = ''.join(textwrap.dedent(piece) for piece in (PRELUDE, *pieces))
    environment = {**os.environ, 'PYTHONPATH': str(CHECKOUT), 'ENDPOINT': store.endpoint_url}
    return subprocess.Popen([sys.executable, '-c', script], cwd=directory, env=environment, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    """The standard error of a process, which must succeed."""
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, said
    return said


def part_of(directory: pathlib.Path) -> pathlib.Path | None:
    """The temporary file that is being written in the directory, or None before its first bytes."""
    found = [path for path in directory.glob('.s3po-*.part') if path.stat().st_size]
    assert len(found) < 2
    return found[0] if found else None


@pytest.fixture
def half_way(store: Store, conn: s3po.Connection, tmp_path: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has downloaded a part of s3://bucket/key to `target` in tmp_path, where an old file exists."""
    conn.upload(BUCKET, 'key', DATA)
    (tmp_path / 'target').write_bytes(b'old')
    store.script(SLOWLY)
    process = started(store, tmp_path, DOWNLOAD)
    try:
        wait_until(lambda: part_of(tmp_path) or process.poll() is not None)
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)


@pytest.mark.fault('F55')
@pytest.mark.slow
def test_kill_minus_nine(half_way: subprocess.Popen[str], conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """After SIGKILL the temporary file is left, the old file is unchanged, and the next download removes the temporary file."""
    half_way.send_signal(signal.SIGKILL)
    half_way.wait(LIMIT_S)
    left = part_of(tmp_path)

    assert left is not None
    assert re.fullmatch(r'\.s3po-[0-9a-f]{24}\.part', left.name)
    assert left.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == [left.name, 'target']
    assert (tmp_path / 'target').read_bytes() == b'old'

    conn.download_file(BUCKET, 'key', tmp_path / 'target')
    assert names(tmp_path) == ['target']
    assert (tmp_path / 'target').read_bytes() == DATA


@pytest.mark.fault('F55')
@pytest.mark.slow
def test_interrupt(half_way: subprocess.Popen[str], tmp_path: pathlib.Path) -> None:
    """After SIGINT the temporary file is removed."""
    half_way.send_signal(signal.SIGINT)
    half_way.wait(LIMIT_S)

    assert names(tmp_path) == ['target']
    assert (tmp_path / 'target').read_bytes() == b'old'


@pytest.mark.slow
def test_other_process_at_the_same(half_way: subprocess.Popen[str], conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """The temporary file of a stopped process is neither used by another download nor swept; both downloads succeed."""
    half_way.send_signal(signal.SIGSTOP)
    part = part_of(tmp_path)
    assert part is not None
    os.utime(part, (0, 0))

    conn.download_file(BUCKET, 'key', tmp_path / 'target')
    assert (tmp_path / 'target').read_bytes() == DATA
    assert sweep_stale(str(tmp_path)) == 0
    assert names(tmp_path) == [part.name, 'target']

    (tmp_path / 'target').unlink()
    half_way.send_signal(signal.SIGCONT)
    finished(half_way)
    assert names(tmp_path) == ['target']
    assert (tmp_path / 'target').read_bytes() == DATA


@pytest.mark.slow
def test_many_processes_at_the_same(store: Store, conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """If several processes download to the same path, each succeeds, and one complete file is left."""
    conn.upload(BUCKET, 'key', DATA)
    conn.upload(BUCKET, 'small', b'small')
    again_and_again = """
        for _ in range(10):
            assert conn.download_file('bucket', 'key', 'target').size_bytes == (20 << 20) + 11
        for _ in range(200):
            assert conn.download_file('bucket', 'small', 'small').size_bytes == 5
    """
    running = [started(store, tmp_path, again_and_again) for _ in range(3)]
    try:
        for process in running:
            finished(process)
    finally:
        for process in running:
            process.kill()
            process.communicate(timeout=LIMIT_S)

    assert names(tmp_path) == ['small', 'target']
    assert (tmp_path / 'target').read_bytes() == DATA
    assert (tmp_path / 'small').read_bytes() == b'small'


@pytest.mark.parametrize('size_bytes', [0, 5, 3 * MIB, 20 * MIB])
def test_many_greenlets_at_the_same(conn: s3po.Connection, tmp_path: pathlib.Path, size_bytes: int) -> None:
    """If several greenlets download to the same path, each succeeds, and one complete file is left."""
    conn.upload(BUCKET, 'key', DATA[:size_bytes])
    with conn.batch(8) as batch:
        jobs = [batch.download_file(BUCKET, 'key', tmp_path / 'target') for _ in range(24)]

    assert all(job.successful() for job in jobs)
    assert names(tmp_path) == ['target']
    assert (tmp_path / 'target').read_bytes() == DATA[:size_bytes]


@pytest.mark.fault('F55')
def test_next_process_sweeps(store: Store, conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """The first download to a directory removes abandoned temporary files that are more than a day old."""
    conn.upload(BUCKET, 'other', b'data')
    for name, age_s in (('stale', DAY_S + 60), ('young', DAY_S - 600), ('locked', 9 * DAY_S)):
        path = tmp_path / f'.s3po-{name}.part'
        path.write_bytes(b'half')
        os.utime(path, (time.time() - age_s, time.time() - age_s))
    (tmp_path / 'precious').write_bytes(b'precious')
    os.utime(tmp_path / 'precious', (0, 0))
    (tmp_path / '.s3po-link.part').symlink_to('precious')
    with (tmp_path / '.s3po-locked.part').open('rb') as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        finished(started(store, tmp_path, "conn.download_file('bucket', 'other', 'target')"))

    left = ['.s3po-link.part', '.s3po-locked.part', '.s3po-young.part', 'precious', 'target']
    assert names(tmp_path) == left
    assert (tmp_path / 'precious').read_bytes() == b'precious'


def test_forged_link(memory: MemoryTransport, memory_conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """A symbolic link in place of the temporary file is not followed."""
    memory_conn.upload(BUCKET, 'key', DATA)
    seen: list[str] = []
    memory.fault = lambda *_: seen.extend(name for name in names(tmp_path) if name not in seen)
    memory_conn.download_file(BUCKET, 'key', tmp_path / 'target')
    memory.fault = None
    (name,) = {name for name in seen if name.endswith('.part')}
    (tmp_path / 'target').unlink()
    (tmp_path / 'precious').write_bytes(b'precious')
    (tmp_path / name).symlink_to(tmp_path / 'precious')

    memory_conn.download_file(BUCKET, 'key', tmp_path / 'target')

    assert (tmp_path / 'precious').read_bytes() == b'precious'
    assert (tmp_path / name).is_symlink()
    assert names(tmp_path) == [name, 'precious', 'target']
    assert (tmp_path / 'target').read_bytes() == DATA


# --- errors of the disk

# A download from a store in memory; prints its error with the number of requests.
REFUSED = """
    import os, resource, sys
    import s3po
    from tests.conftest import impatient
    from tests.support.memory import MemoryTransport
    from tests.support.permissions import drop_override

    {prepare}
    memory = MemoryTransport()
    memory.store.create_bucket('bucket')
    conn = s3po.Connection(transport=memory, retry=impatient())
    conn.upload('bucket', 'key', bytes(int(sys.argv[2])))
    memory.calls.clear()
    try:
        conn.download_file('bucket', 'key', sys.argv[1])
    except s3po.LocalError as error:
        print(error.errno, len(memory.calls), error)
    else:
        print('no error')
"""
LIMITED = 'resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))'


def refused(
    directory: pathlib.Path, target: str, *, size_bytes: int = 20 * MIB, prepare: str = '', within: tuple[str, ...] = ()
) -> tuple[int, int, str]:
    """Download in another process. Returns the errno, the number of requests, and the message."""
    (directory / 'script.py').write_text(textwrap.dedent(REFUSED).format(prepare=prepare))
    said = run_command([*within, sys.executable, 'script.py', target, str(size_bytes)], {}, directory)
    number, requests, message = said.out.rstrip().split(' ', 2)
    return int(number), int(requests), message


@pytest.mark.slow
@pytest.mark.fault('F52')
@pytest.mark.parametrize('size_bytes', [10_000, 3 * MIB, 20 * MIB])
def test_limit_of_the_file_size(tmp_path: pathlib.Path, size_bytes: int) -> None:
    """A limit of the file size (RLIMIT_FSIZE) causes one request and one clear error; the old file is unchanged."""
    (tmp_path / 'target').write_bytes(b'old')

    number, requests, message = refused(tmp_path, 'target', size_bytes=size_bytes, prepare=LIMITED)

    assert (number, requests) == (errno.EFBIG, 1)
    assert message.startswith('cannot write target: File too large; the file system, or the limit of this process')
    assert names(tmp_path) == ['script.py', 'target']
    assert (tmp_path / 'target').read_bytes() == b'old'


def may_mount() -> bool:
    """Whether a process can mount file systems in its own namespace."""
    try:
        return subprocess.run(['unshare', '-Urm', 'true'], check=False, capture_output=True, timeout=LIMIT_S).returncode == 0
    except FileNotFoundError:
        return False


MOUNTING = pytest.mark.skipif(not may_mount(), reason='no user namespaces here: only faked in tests/unit/test_temp_files.py')


def mounted(options: str, then: str) -> tuple[str, ...]:
    """The prefix of a command that runs it with a file system mounted at `disk`, and then runs `then`."""
    script = f'mount -t tmpfs -o {options} tmpfs disk && {then}'
    return ('unshare', '-Urm', 'sh', '-ec', script, 'sh')


@pytest.mark.slow
@MOUNTING
@pytest.mark.fault('F52')
@pytest.mark.parametrize('size_bytes', [int(0.9 * MIB), 3 * MIB, 20 * MIB])
def test_full_disk(tmp_path: pathlib.Path, size_bytes: int) -> None:
    """On a full disk (1 MiB) no part is requested twice, nothing is left, and the old file is unchanged."""
    (tmp_path / 'disk').mkdir()
    fill = 'head -c 200000 /dev/zero > disk/old; "$@"; ls -A disk > left; stat -c %s disk/old >> left'

    number, requests, message = refused(tmp_path, 'disk/target', size_bytes=size_bytes, within=mounted('size=1m', fill))

    assert number == errno.ENOSPC
    assert message == 'cannot write disk/target: No space left on device; free some space on that file system'
    assert 1 <= requests <= max(1, -(-size_bytes // (8 * MIB)))
    assert (tmp_path / 'left').read_text().split() == ['old', '200000']


@pytest.mark.slow
@MOUNTING
@pytest.mark.fault('F54')
def test_read_only_file_system(tmp_path: pathlib.Path) -> None:
    """A read-only file system has its own message."""
    (tmp_path / 'disk').mkdir()

    number, requests, message = refused(tmp_path, 'disk/target', within=mounted('ro', '"$@"'))

    assert (number, requests) == (errno.EROFS, 1)
    assert message == 'cannot write disk/target: Read-only file system; the file system is mounted read-only'


@pytest.mark.slow
@pytest.mark.fault('F54')
def test_read_only_directory(tmp_path: pathlib.Path) -> None:
    """A directory without write permission has its own message."""
    (tmp_path / 'closed').mkdir()
    (tmp_path / 'closed' / 'target').write_bytes(b'old')
    (tmp_path / 'closed').chmod(0o555)

    number, requests, message = refused(tmp_path, 'closed/target', prepare='drop_override()')

    assert (number, requests) == (errno.EACCES, 1)
    assert message == 'cannot write closed/target: Permission denied; check the permissions of the file and its directory'
    assert names(tmp_path / 'closed') == ['target']
    assert (tmp_path / 'closed' / 'target').read_bytes() == b'old'


@pytest.mark.fault('F54')
def test_targets_that_cannot_be(memory: MemoryTransport, memory_conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """A download to an impossible target fails with its path and without a request; the others of the batch succeed."""
    memory_conn.upload(BUCKET, 'key', b'data')
    memory.calls.clear()
    (tmp_path / 'a').write_bytes(b'old')
    (tmp_path / 'directory').mkdir()
    long = 'n' * 256
    bad = {
        'a/b': errno.ENOTDIR,
        'directory': errno.EISDIR,
        'missing/target': errno.ENOENT,
        long: errno.ENAMETOOLONG,
        f'directory/{long}': errno.ENAMETOOLONG,
    }
    with memory_conn.batch(4, on_error='collect') as batch:
        jobs = {name: batch.download_file(BUCKET, 'key', tmp_path / name) for name in bad}
        good = [batch.download_file(BUCKET, 'key', tmp_path / name) for name in ('a', 'c', 'n' * 255)]

    for name, number in bad.items():
        error = jobs[name].exception
        assert isinstance(error, LocalError)
        assert (error.errno, error.filename) == (number, str(tmp_path / name))
    assert all(job.successful() for job in good)
    assert memory.count('GetObject') == 3
    assert names(tmp_path) == ['a', 'c', 'directory', 'n' * 255]
    assert names(tmp_path / 'directory') == []
    assert (tmp_path / 'a').read_bytes() == b'data'


# --- special files and slow disks


@pytest.mark.fault('F56')
@pytest.mark.parametrize('use_tmp_file', [True, False])
def test_special_files(memory: MemoryTransport, tmp_path: pathlib.Path, use_tmp_file: bool) -> None:
    """Pipes, devices, sockets and loops of links are rejected before any request, also behind a link."""
    conn = s3po.Connection(transport=memory, retry=impatient(), config=s3po.TransferConfig(use_tmp_file=use_tmp_file))
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'to-pipe').symlink_to('pipe')
    (tmp_path / 'circle').symlink_to('circle')
    (tmp_path / 'one').symlink_to('two')
    (tmp_path / 'two').symlink_to('one')
    before = names(tmp_path)
    for path, number in (
        (tmp_path / 'pipe', errno.EINVAL),
        (tmp_path / 'to-pipe', errno.EINVAL),
        (pathlib.Path('/dev/null'), errno.EINVAL),
        (tmp_path / 'circle', errno.ELOOP),
        (tmp_path / 'one', errno.ELOOP),
        (tmp_path / 'one' / 'below', errno.ELOOP),
    ):
        with pytest.raises(LocalError) as caught:
            conn.download_file(BUCKET, 'key', path)
        assert (caught.value.errno, caught.value.filename) == (number, str(path))

    assert memory.calls == []
    assert names(tmp_path) == before


@pytest.mark.fault('F56')
def test_slow_disk(memory_conn: s3po.Connection, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is slow, only the first write blocks other greenlets; later writes are done in threads, and are right."""
    sleep, pwrite = monkey.get_original('time', 'sleep'), os.pwrite
    inline: list[bool] = []
    own = threading.get_native_id()

    def write_slowly(descriptor: int, data: memoryview, offset: int) -> int:
        inline.append(threading.get_native_id() == own)
        sleep(sinks.SLOW_WRITE_S * 1.2)
        return pwrite(descriptor, data, offset)

    memory_conn.upload(BUCKET, 'key', DATA)
    monkeypatch.setattr(os, 'pwrite', write_slowly)
    gevent.spawn(memory_conn.download_file, BUCKET, 'key', tmp_path / 'target').get()

    assert inline[0]
    assert inline.count(True) == 1
    assert len(inline) >= 20
    assert (tmp_path / 'target').read_bytes() == DATA


@pytest.mark.fault('F56')
@pytest.mark.parametrize('options', [{}, {'decompress': False}])
def test_kill_during_a_slow_write(
    memory_conn: s3po.Connection, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool]
) -> None:
    """A kill does not wait for a slow disk for ever, but the descriptor stays open until its last write has ended."""
    sleep, pwrite = monkey.get_original('time', 'sleep'), os.pwrite
    own, is_released = threading.get_native_id(), threading.Event()
    descriptors: list[tuple[int, int]] = []

    def write_slowly(descriptor: int, data: memoryview, offset: int) -> int:
        if threading.get_native_id() == own:
            sleep(sinks.SLOW_WRITE_S * 1.2)
            return pwrite(descriptor, data, offset)
        before = os.fstat(descriptor).st_ino
        while not is_released.is_set():
            sleep(0.01)
        descriptors.append((before, os.fstat(descriptor).st_ino))
        return pwrite(descriptor, data, offset)

    memory_conn.upload(BUCKET, 'key', DATA)
    monkeypatch.setattr(os, 'pwrite', write_slowly)
    transfer = gevent.spawn(memory_conn.download_file, BUCKET, 'key', tmp_path / 'target', **options)
    gevent.sleep(0.5)
    transfer.kill()
    with contextlib.ExitStack() as opened:
        for number in range(3):
            opened.enter_context((tmp_path / f'other {number}').open('wb'))
        is_released.set()
        memory_conn.close()

    assert descriptors
    assert all(before == after for before, after in descriptors)
    assert [(tmp_path / f'other {number}').read_bytes() for number in range(3)] == [b''] * 3
    assert not (tmp_path / 'target').exists()
