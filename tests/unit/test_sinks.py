"""Sinks: a path is absent, unchanged or complete; a file object is written in order and truncated back."""

from __future__ import annotations

import errno
import io
import os
import pathlib
import stat
from collections.abc import Callable
from typing import Any

import pytest

from s3po.body import SizedSource, open_sink, open_source
from s3po.body.sinks import BytesSink, PathSink
from s3po.config import MIB
from s3po.errors import ConfigurationError, LocalError


def names(path: pathlib.Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_memory() -> None:
    """Parts can be written in any order, and are discarded at a restart."""
    sink = open_sink(None)
    sink.begin(3)
    sink.write_at(0, b'old')
    sink.begin(6)
    sink.write_at(3, b'def')
    sink.write_at(0, b'abc')
    sink.commit()

    assert sink.value == b'abcdef'


def test_memory_has_no_window() -> None:
    """A sink in memory exports no buffer: Python 3.12.1 crashes when its garbage collector frees a buffer of io.BytesIO."""
    sink = open_sink(None)
    sink.begin(6)

    assert sink.window(2, 3) is None


@pytest.mark.parametrize('data', [b'', b'whole'])
def test_write_whole(tmp_path: pathlib.Path, data: bytes) -> None:
    """write_whole() replaces begin() and write_at(), also after a longer attempt, for each kind of sink."""
    target = tmp_path / 'target'
    file = io.BytesIO()
    for sink in (open_sink(None), open_sink(target), open_sink(target, use_tmp_file=False), open_sink(file)):
        sink.begin(20)
        sink.write_at(0, b'x' * 20)
        sink.write_whole(data)
        sink.commit()

        assert (sink.value, names(tmp_path)) == ((data, []) if isinstance(sink, BytesSink) else (None, ['target']))
        assert isinstance(sink, BytesSink) or target.read_bytes() == data
    assert file.getvalue() == data


def test_memory_empty() -> None:
    """An empty object is b''."""
    sink = open_sink(None)
    sink.begin(0)

    assert sink.value == b''


def test_path(tmp_path: pathlib.Path) -> None:
    """Until commit() there is only a temporary file in the target's directory."""
    sink = open_sink(tmp_path / 'target')
    assert names(tmp_path) == []
    sink.begin(6)
    sink.write_at(3, b'def')
    sink.write_at(0, b'abc')

    (temporary,) = names(tmp_path)
    assert temporary.startswith('.s3po-')
    assert temporary.endswith('.part')
    sink.commit()
    assert names(tmp_path) == ['target']
    assert (tmp_path / 'target').read_bytes() == b'abcdef'
    assert sink.value is None


def test_restarted_path_is_not_longer(tmp_path: pathlib.Path) -> None:
    """A restart with a smaller object leaves nothing of the larger one."""
    sink = open_sink(str(tmp_path / 'target'))
    sink.begin(10)
    sink.write_at(0, b'0123456789')
    sink.begin(2)
    sink.write_at(0, b'ab')
    sink.commit()

    assert (tmp_path / 'target').read_bytes() == b'ab'


def test_path_after_a_failure(tmp_path: pathlib.Path) -> None:
    """After a failure the old file is unchanged, and no temporary file is left."""
    (tmp_path / 'target').write_bytes(b'old')
    sink = open_sink(tmp_path / 'target')
    sink.begin(6)
    sink.write_at(0, b'abc')
    sink.rollback()

    assert names(tmp_path) == ['target']
    assert (tmp_path / 'target').read_bytes() == b'old'


def test_rollback_before_anything_began(tmp_path: pathlib.Path) -> None:
    """rollback() before begin() changes nothing."""
    sink = open_sink(tmp_path / 'target', use_tmp_file=False)
    sink.rollback()

    assert names(tmp_path) == []


def test_permissions(tmp_path: pathlib.Path) -> None:
    """A new file has the permissions of any new file, a replaced one its old permissions."""
    (tmp_path / 'old').write_bytes(b'')
    os.chmod(tmp_path / 'old', 0o640)
    mask = os.umask(0o027)
    try:
        for name in ('old', 'new'):
            sink = open_sink(tmp_path / name, fsync=True)
            sink.begin(0)
            sink.commit()
    finally:
        os.umask(mask)

    assert stat.S_IMODE((tmp_path / 'old').stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / 'new').stat().st_mode) == 0o640


@pytest.mark.parametrize('use_tmp_file', [True, False])
def test_umask_is_left_alone(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, use_tmp_file: bool) -> None:
    """The umask is never changed: it belongs to the process, so files of other threads would get wrong permissions."""
    (tmp_path / 'expected').touch()

    def umask(mask: int) -> int:
        raise AssertionError('the umask was changed')

    monkeypatch.setattr(os, 'umask', umask)
    sink = open_sink(tmp_path / 'target', use_tmp_file=use_tmp_file)
    sink.write_whole(b'data')
    (written,) = set(names(tmp_path)) - {'expected'}
    assert stat.S_IMODE((tmp_path / written).stat().st_mode) == 0o600
    sink.commit()

    assert (tmp_path / 'target').stat().st_mode == (tmp_path / 'expected').stat().st_mode


@pytest.mark.parametrize('path', ['a\ud800b', 'a\0b'])
@pytest.mark.parametrize('kind', [str, pathlib.Path])
def test_text_that_is_no_path(tmp_path: pathlib.Path, path: str, kind: Callable[[str], Any]) -> None:
    """A path that the system cannot encode is a ConfigurationError."""
    with pytest.raises(ConfigurationError, match='target .* cannot be a path'):
        open_sink(kind(f'{tmp_path}/{path}'))
    with pytest.raises(ConfigurationError, match='source .* cannot be a path'):
        open_source(pathlib.Path(tmp_path, path))


def test_name_that_is_not_utf_8(tmp_path: pathlib.Path) -> None:
    """A file name that is not UTF-8 is a valid path."""
    path = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b'/caf\xe9'))
    sink = open_sink(path)
    sink.write_whole(b'data')
    sink.commit()

    source = open_source(path)
    assert isinstance(source, SizedSource)
    assert source.size_bytes == 4
    assert source.name.endswith('/caf\\udce9')
    source.close()
    path.unlink()
    with pytest.raises(LocalError, match=r'caf\\udce9: No such file') as caught:
        open_source(path)
    assert caught.value.filename == str(path)
    assert caught.value.errno == errno.ENOENT


def test_link_is_replaced_not_followed(tmp_path: pathlib.Path) -> None:
    """A symbolic link at the target is replaced and not followed."""
    (tmp_path / 'elsewhere').write_bytes(b'untouched')
    (tmp_path / 'target').symlink_to(tmp_path / 'elsewhere')
    sink = open_sink(tmp_path / 'target')
    sink.begin(1)
    sink.write_at(0, b'x')
    sink.commit()

    assert (tmp_path / 'elsewhere').read_bytes() == b'untouched'
    assert not (tmp_path / 'target').is_symlink()


def test_without_temporary_file(tmp_path: pathlib.Path) -> None:
    """Without a temporary file the target itself is written, and removed after a failure."""
    sink = open_sink(tmp_path / 'target', use_tmp_file=False)
    sink.begin(3)
    sink.write_at(0, b'abc')
    assert names(tmp_path) == ['target']
    sink.commit()
    assert (tmp_path / 'target').read_bytes() == b'abc'

    again = open_sink(tmp_path / 'target', use_tmp_file=False)
    again.begin(3)
    again.rollback()
    assert names(tmp_path) == []


def test_commit_without_free_descriptors(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit waits for a free descriptor, as every other step that needs one."""
    duplicate, shortages = os.dup, [OSError(errno.EMFILE, 'Too many open files')]

    def dup(descriptor: int) -> int:
        if shortages:
            raise shortages.pop()
        return duplicate(descriptor)

    monkeypatch.setattr(os, 'dup', dup)
    sink = open_sink(tmp_path / 'target')
    sink.begin(3)
    sink.write_at(0, b'abc')
    sink.commit()

    assert (tmp_path / 'target').read_bytes() == b'abc'


def test_failure_after_the_commit(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the directory cannot be synchronised, the complete file stays, and so does that of the next download."""
    sink = open_sink(tmp_path / 'target', use_tmp_file=False, fsync=True)
    sink.begin(3)
    sink.write_at(0, b'abc')
    following = []

    def sync(descriptor: int) -> None:
        if os.path.isdir(f'/dev/fd/{descriptor}'):
            following.append(open_sink(tmp_path / 'target', use_tmp_file=False))
            following[0].begin(5)
            following[0].write_at(0, b'hello')
            raise OSError(errno.EIO, 'no disk')

    monkeypatch.setattr(os, 'fsync', sync)
    with pytest.raises(LocalError, match='no disk'):
        sink.commit()
    sink.rollback()
    following[0].commit()

    assert (tmp_path / 'target').read_bytes() == b'hello'


def test_large_writes(tmp_path: pathlib.Path) -> None:
    """Large writes, which are done in another thread, are correct."""
    data = os.urandom(3 * MIB)
    sink = open_sink(tmp_path / 'target')
    sink.begin(len(data))
    sink.write_at(0, data)
    sink.commit()

    assert (tmp_path / 'target').read_bytes() == data


def test_full_disk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a full disk contains the path and advice, and nothing is left."""

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sink = open_sink(tmp_path / 'target')
    sink.begin(3)
    monkeypatch.setattr(os, 'pwrite', full)

    with pytest.raises(LocalError, match='cannot write .*target: No space left on device; free some space') as caught:
        sink.write_at(0, b'abc')
    assert caught.value.errno == errno.ENOSPC
    sink.rollback()
    assert names(tmp_path) == []


def test_failed_rename_leaves_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the rename fails, no file is left, not even the temporary one."""
    sink = open_sink(tmp_path / 'target')
    sink.begin(0)

    def refuse(*_: Any) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, 'replace', refuse)
    with pytest.raises(LocalError, match='check the permissions'):
        sink.commit()
    sink.rollback()
    assert names(tmp_path) == []


def test_bad_paths(tmp_path: pathlib.Path) -> None:
    """An impossible target is rejected before anything is sent."""
    (tmp_path / 'file').write_bytes(b'')
    os.mkfifo(tmp_path / 'fifo')

    for target, text in [
        (tmp_path / 'missing' / 'x', 'cannot write .*No such file or directory; create the directory first'),
        (tmp_path / 'file' / 'x', 'Not a directory'),
        (tmp_path, 'Is a directory; give the path of a file'),
        (tmp_path / 'fifo', 'pipe, a device or a socket'),
        (tmp_path / ('x' * 300), 'File name too long'),
    ]:
        with pytest.raises(LocalError, match=text):
            open_sink(target)
    with pytest.raises(ConfigurationError, match='has no file name'):
        open_sink(f'{tmp_path}/')


def test_name_as_long_as_the_file_system_takes(tmp_path: pathlib.Path) -> None:
    """The temporary name is short, however long the target's name is."""
    sink = open_sink(tmp_path / ('x' * 255))
    sink.begin(0)
    sink.commit()

    assert names(tmp_path) == ['x' * 255]


def test_relative_path(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without a directory refers to the current directory."""
    monkeypatch.chdir(tmp_path)
    sink = PathSink('target', use_tmp_file=True, fsync=True)
    sink.begin(0)
    sink.commit()

    assert names(tmp_path) == ['target']


def test_binary_file(tmp_path: pathlib.Path) -> None:
    """A binary file is written from its position, flushed, and left open."""
    with open(tmp_path / 'f', 'w+b') as file:
        file.write(b'head ')
        sink = open_sink(file)
        assert sink.is_ordered
        sink.begin(4)
        sink.write_at(0, b'bo')
        sink.write_at(2, b'dy')
        sink.commit()

        assert not file.closed
        assert (tmp_path / 'f').read_bytes() == b'head body'


def test_file_is_truncated_back(tmp_path: pathlib.Path) -> None:
    """After a failure a file object has its old content."""
    with open(tmp_path / 'f', 'w+b') as file:
        file.write(b'head ')
        sink = open_sink(file)
        sink.begin(4)
        sink.write_at(0, b'half')
        sink.begin(4)
        sink.write_at(0, b'bo')
        sink.rollback()
        assert file.tell() == 5
    assert (tmp_path / 'f').read_bytes() == b'head '


def test_pipe_cannot_be_truncated() -> None:
    """If the target cannot be truncated, the message mentions that data was written."""
    reading, writing = os.pipe()
    with open(reading, 'rb'), open(writing, 'wb', buffering=0) as file:
        sink = open_sink(file)
        sink.begin(2)
        sink.write_at(0, b'x')
        with pytest.raises(ConfigurationError, match='cannot seek'):
            sink.rollback()


def test_raw_file_that_takes_less(tmp_path: pathlib.Path) -> None:
    """If an unbuffered file accepts fewer bytes, the rest is written with further calls."""

    class Slow(io.RawIOBase):
        taken = b''

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.taken += bytes(data[:2])
            return min(2, len(data))

    file = Slow()
    sink = open_sink(file)
    sink.begin(5)
    sink.write_at(0, b'abcde')

    assert file.taken == b'abcde'


def test_text_file(tmp_path: pathlib.Path) -> None:
    """In a text file, bytes are written unchanged after the text."""
    with open(tmp_path / 'f', 'w', encoding='latin-1') as file:
        file.write('head ')
        sink = open_sink(file)
        sink.begin(2)
        sink.write_at(0, 'ä'.encode())
        sink.commit()
    assert (tmp_path / 'f').read_bytes() == b'head \xc3\xa4'


def test_text_without_a_binary_layer() -> None:
    """StringIO gets decoded text, also if a character is cut in two."""
    file = io.StringIO()
    file.write('head ')
    sink = open_sink(file)
    sink.begin(2)
    sink.write_at(0, b'\xc3')
    sink.write_at(1, b'\xa4')
    sink.commit()

    assert file.getvalue() == 'head ä'


def test_text_that_is_not_utf8() -> None:
    """An object that is not UTF-8 is rejected for StringIO, which is unchanged."""
    file = io.StringIO()
    sink = open_sink(file)
    sink.begin(2)
    sink.write_at(0, b'a\xc3')
    with pytest.raises(ConfigurationError, match='not UTF-8'):
        sink.commit()
    sink.rollback()
    assert file.getvalue() == ''


@pytest.mark.parametrize('target', [7, b'path', object()], ids=lambda target: type(target).__name__)
def test_what_is_no_target(target: Any) -> None:
    """The message names the argument."""
    with pytest.raises(ConfigurationError, match='target must be'):
        open_sink(target)


def test_files_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    """Closed and read-only files are rejected."""
    (tmp_path / 'f').write_bytes(b'')
    with open(tmp_path / 'f', 'rb') as file, pytest.raises(ConfigurationError, match='not open for writing'):
        open_sink(file)
    with pytest.raises(ConfigurationError, match='closed'):
        open_sink(file)
