"""Sinks: where a download goes.

A sink is opened before the first request (so that a bad target costs none), begun when the object's size is known (again after
every restart, which forgets what was written), and ends with either commit() or rollback().

Invariants: a path is absent, old or complete, whatever happens (without a temporary file a killed process leaves the beginning
of the object, never zeros, and never the full length before the last bytes); a file object of the caller's is written in order,
never closed, and (where it can seek) truncated back by rollback().
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import fcntl
import io
import os
import stat
import time
from typing import Any, BinaryIO, Final

from gevent import monkey

from s3po.body.local import as_local_error, check_path, close_file, local_error, local_errors, refuse_special_file, write_all
from s3po.body.temporary import open_temporary, sweep_once
from s3po.config import MIB
from s3po.errors import ConfigurationError
from s3po.model import Described
from s3po.runtime import offload, patiently

__all__ = ['UNWAITING_BYTES', 'BytesSink', 'FileSink', 'PathSink', 'Sink', 'open_sink']

# So much is taken without a wait: writing it into the page cache is done sooner than another thread is woken.
UNWAITING_BYTES = MIB
# Unless the disk cannot keep up, and the system lets a writer wait. A file of which one write took longer is written to by
# another thread from then on: a copy of the bytes, and the way there and back, cost about 0.1 ms for each MiB.
SLOW_WRITE_S: Final = 0.05

# As open() gives it to the kernel.
NEW_FILE_MODE: Final = 0o666

_seeking: Final = monkey.get_original('_thread', 'allocate_lock')()


class Sink:
    """Where the bytes of one download go.

    Attributes:
        is_ordered: True when write_at() must be called in order of the offsets, and never twice for one of them.
    """

    is_ordered = False

    def identify(self, bucket: str, key: str, described: Described) -> None:
        """Learn what will be written, before begin() or write_whole(); again after every restart."""

    def begin(self, size_bytes: int | None) -> None:
        """Make ready for an object of this size, None where nobody knows it; forget what an earlier attempt wrote."""
        raise NotImplementedError

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Take some bytes of the object.

        Up to UNWAITING_BYTES of them are taken without a wait, so that they may stand in a buffer that many greenlets use.
        """
        raise NotImplementedError

    def write_whole(self, data: bytes) -> None:
        """Take all bytes of the object, in place of begin() and write_at()."""
        self.begin(len(data))
        if data:
            self.write_at(0, data)

    def window(self, offset: int, size_bytes: int) -> memoryview | None:
        """Where these bytes of the object can be put directly, in place of write_at(); None where they cannot."""
        return None

    def hold(self) -> None:
        """Keep it open beyond rollback(), until let_go(): another thread may still write a part of it."""

    def let_go(self) -> None:
        """Undo one hold()."""

    def commit(self) -> None:
        """The object is complete: publish it."""

    def rollback(self) -> None:
        """The download failed: leave nothing behind."""

    @property
    def value(self) -> bytes | None:
        """The object's bytes, of a sink in memory; None of the others."""
        return None


class BytesSink(Sink):
    """Into memory.

    Attributes:
        described: What the store says of the object; None before it has answered.
    """

    def __init__(self) -> None:
        self._buffer: io.BytesIO | None = None
        self._is_growing = False
        self._whole = b''
        self.described: Described | None = None

    def identify(self, bucket: str, key: str, described: Described) -> None:
        self.described = described

    def begin(self, size_bytes: int | None) -> None:
        self._buffer = io.BytesIO()
        self._is_growing = size_bytes is None
        if size_bytes:
            # Reserved at once: a buffer that grows with its parts would be copied again and again.
            self._buffer.seek(size_bytes - 1)
            self._buffer.write(b'\0')

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        if self._is_growing:
            assert self._buffer is not None
            self._buffer.seek(offset)
            self._buffer.write(data)
        else:
            self.window(offset, len(data))[:] = data

    def write_whole(self, data: bytes) -> None:
        self._buffer = None
        self._whole = data

    def window(self, offset: int, size_bytes: int) -> memoryview:
        assert self._buffer is not None
        return self._buffer.getbuffer()[offset : offset + size_bytes]

    @property
    def value(self) -> bytes:
        # Not a copy: a BytesIO gives its own bytes away, until it is written to again.
        return self._whole if self._buffer is None else self._buffer.getvalue()


class PathSink(Sink):
    """Into a file: first a temporary one beside it, renamed when it is complete; or into the file itself, in order."""

    def __init__(self, path: str, *, use_tmp_file: bool, fsync: bool) -> None:
        check_path(path, 'target')
        self.is_ordered = not use_tmp_file
        self._path = path
        self._fsync = fsync
        self._use_tmp_file = use_tmp_file
        # With its closing slash, '' for the current one: what a name is put behind.
        self._directory = path[: path.rfind('/') + 1]
        self._identity = ''
        # What is written, once it is there; and while it is open.
        self._written: str | None = None
        self._descriptor: int | None = None
        self._holders = 1
        self._is_slow = False
        # The permissions of the complete file: those of the one that is replaced. None for a new file, until it is made.
        self._mode = _check_target(path, self._directory)
        if use_tmp_file:
            sweep_once(self._directory)
        elif os.path.islink(path):
            raise local_error('write', path, errno.ELOOP, 'it is a symbolic link')

    def identify(self, bucket: str, key: str, described: Described) -> None:
        # After a restart the file that is there is written anew, under the name that it has.
        self._identity = f'{bucket}\0{key}\0{described.etag}'

    def begin(self, size_bytes: int | None) -> None:
        try:
            descriptor = self._open_empty()
            if size_bytes and not self.is_ordered:
                os.ftruncate(descriptor, size_bytes)
        except OSError as error:
            raise as_local_error('write', self._path, error) from error

    def write_whole(self, data: bytes) -> None:
        try:
            _pwrite_all(self._open_empty(), data, 0)
        except OSError as error:
            raise as_local_error('write', self._path, error) from error

    def _open_empty(self) -> int:
        """The descriptor of the file that is written, which is empty."""
        is_new = self._descriptor is None and self._use_tmp_file
        if self._descriptor is None:
            self._create()
        assert self._descriptor is not None
        if not is_new:
            os.ftruncate(self._descriptor, 0)
        return self._descriptor

    def _create(self) -> None:
        """Make the file, which only its owner may read until it is complete.

        A new file gets its permissions from the kernel, which applies the umask: a process can read its umask only by changing
        it, for all its threads.
        """
        is_new = self._mode is None
        asked = NEW_FILE_MODE if is_new else 0o600
        if self._use_tmp_file:
            identity = f'{self._path[len(self._directory) :]}\0{self._identity}'
            self._written, self._descriptor = patiently(open_temporary, self._directory, identity, asked)
        else:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = patiently(os.open, self._path, flags, asked)
            try:
                self._lock(descriptor)
            except OSError:
                close_file(descriptor)
                raise
            self._descriptor, self._written = descriptor, self._path
        if is_new:
            self._mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
            os.fchmod(self._descriptor, 0o600)

    def _lock(self, descriptor: int) -> None:
        """Keep other downloads from writing into the same file. (Where the file system has no locks, nothing does.)"""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The other download may have failed, and removed the file, since it was opened here.
            is_free = os.path.samestat(os.fstat(descriptor), os.lstat(self._path))
        except (BlockingIOError, FileNotFoundError):
            is_free = False
        except OSError:
            return
        if not is_free:
            raise OSError(errno.EBUSY, 'it is being written by another download')

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        if len(data) > UNWAITING_BYTES:
            offload(self._write, data, offset)
        elif self._is_slow:
            # Others use the buffer during the wait.
            offload(self._write, bytes(data), offset)
        else:
            began = time.monotonic()
            self._write(data, offset)
            self._is_slow = time.monotonic() - began > SLOW_WRITE_S

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        assert self._descriptor is not None
        with local_errors('write', self._path):
            _pwrite_all(self._descriptor, data, offset)

    def commit(self) -> None:
        assert self._descriptor is not None
        assert self._written is not None
        assert self._mode is not None
        try:
            os.fchmod(self._descriptor, self._mode)
            if self._fsync:
                offload(os.fsync, self._descriptor)
            if self._use_tmp_file:
                # Network file systems may tell only at a close that the disk was full. Its lock is held until it is renamed.
                close_file(os.dup(self._descriptor))
                os.replace(self._written, self._path)
                self._written = None
            self.let_go()
            if self._fsync:
                offload(_sync_directory, self._directory or '.')
        except OSError as error:
            raise as_local_error('write', self._path, error) from error

    def rollback(self) -> None:
        try:
            if self._written is not None:
                with local_errors('delete', self._written), contextlib.suppress(FileNotFoundError):
                    os.unlink(self._written)
        finally:
            # Behind the unlink: without the lock it could be another download's by then.
            self.let_go()

    def hold(self) -> None:
        self._holders += 1

    def let_go(self) -> None:
        self._holders -= 1
        if self._descriptor is not None and not self._holders:
            descriptor, self._descriptor = self._descriptor, None
            if not self._use_tmp_file:
                # At once: a forked child may still have the descriptor, and with it the lock.
                with contextlib.suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
            close_file(descriptor)


class FileSink(Sink):
    """Into a binary file object of the caller's, from its present position."""

    is_ordered = True

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._start = _position(file)
        self._has_written = False

    def begin(self, size_bytes: int | None) -> None:
        if self._has_written:
            self._truncate()

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self._has_written = True
        with local_errors('write', self._name):
            write_all(self._file, data, self._name)

    def commit(self) -> None:
        self._flush()

    def rollback(self) -> None:
        if self._has_written:
            self._truncate()

    def _flush(self) -> None:
        # A full disk shows here, not when the caller closes the file.
        if hasattr(self._file, 'flush'):
            with local_errors('write', self._name):
                self._file.flush()

    def _truncate(self) -> None:
        if self._start is None:
            raise ConfigurationError(
                f'{self._name} cannot seek, so what was written before the failure stands in it; give a path instead'
            )
        with local_errors('write', self._name):
            self._file.seek(self._start)
            self._file.truncate()
        self._has_written = False


class TextSink(FileSink):
    """Into a text file object that has no binary layer (StringIO): decoded as UTF-8."""

    def __init__(self, file: Any, name: str) -> None:
        super().__init__(file, name)
        self._decoder = codecs.getincrementaldecoder('utf-8')()

    def begin(self, size_bytes: int | None) -> None:
        super().begin(size_bytes)
        self._decoder.reset()

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self._has_written = True
        self._write_text(data, is_final=False)

    def commit(self) -> None:
        self._write_text(b'', is_final=True)
        self._flush()

    def _write_text(self, data: bytes | memoryview, *, is_final: bool) -> None:
        try:
            text = self._decoder.decode(data, is_final)
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f'target: {self._name} takes text, and the object is not UTF-8; give a binary file'
            ) from error
        with local_errors('write', self._name):
            self._file.write(text)  # type: ignore[call-overload]  # it is a text file; see the class


def open_sink(target: Any, *, use_tmp_file: bool = True, fsync: bool = False) -> Sink:
    """Find out what kind of target this is.

    Args:
        target: None (into memory), a path (str or os.PathLike), or a file object that can be written, binary or text.
        use_tmp_file: Whether a path is written through a temporary file; see TransferConfig.
        fsync: Whether a path is synchronised with the disk; see TransferConfig.

    Raises:
        ConfigurationError: It is none of these.
        LocalError: The path cannot be written.
    """
    if target is None:
        return BytesSink()
    if isinstance(target, str):
        return PathSink(target, use_tmp_file=use_tmp_file, fsync=fsync)
    if isinstance(target, os.PathLike):
        return PathSink(os.fsdecode(target), use_tmp_file=use_tmp_file, fsync=fsync)
    if hasattr(target, 'write'):
        return _open_file(target)
    raise ConfigurationError(f'target must be None, a path or a file object that can be written, not {type(target).__name__}')


def _open_file(target: Any) -> Sink:
    name = f'the file object {getattr(target, "name", None) or type(target).__name__}'
    if getattr(target, 'closed', False):
        raise ConfigurationError(f'target: {name} is closed')
    if isinstance(target, io.IOBase) and not target.writable():
        raise ConfigurationError(f"target: {name} is not open for writing; open it with mode 'wb'")
    if isinstance(getattr(target, 'encoding', None), str) and hasattr(target, 'buffer'):
        with local_errors('write', name):
            target.flush()
        return FileSink(target.buffer, name)
    if isinstance(target, io.TextIOBase):
        return TextSink(target, name)
    return FileSink(target, name)


def _check_target(path: str, directory: str) -> int | None:
    """Find what would fail anyway before anything is sent; gives the permissions of the file that is there, if one is."""
    if len(path) == len(directory):
        raise ConfigurationError(f'target {path!r} names no file; give the path of a file, not of a directory')
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        # A directory that is a file has another error.
        if directory and not os.access(directory, os.F_OK):
            raise local_error('write', path, errno.ENOENT, os.strerror(errno.ENOENT)) from None
        return None
    except OSError as error:
        raise as_local_error('write', path, error) from error
    if not stat.S_ISREG(mode):
        refuse_special_file(mode, 'download to', path)
    return mode & 0o777


def _pwrite_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    write = os.pwrite if hasattr(os, 'pwrite') else _seek_and_write
    while view:
        written = write(descriptor, view, offset)
        view = view[written:]
        offset += written


def _seek_and_write(descriptor: int, view: memoryview, offset: int) -> int:
    """What os.pwrite() does, where the system has none. Nothing yields while the lock is held, a native one."""
    with _seeking:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, view)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        close_file(descriptor)


def _position(file: Any) -> int | None:
    """Where the file stands; None when it cannot seek."""
    try:
        if not file.seekable():
            return None
        return int(file.tell())
    except (AttributeError, OSError, ValueError):
        return None
