"""Sinks: the targets of downloads.

A sink is opened before the first request (so that a bad target costs no request). begin() is called when the object's size is
known, and again after every restart, which discards what was written. A sink ends with commit() or rollback().

Invariants: the file at a path is absent, unchanged or complete, whatever happens. (Without a temporary file, a killed process
leaves the beginning of the object: never zeros, and never the full length before the last bytes.) A file object of the caller
is written in order, never closed, and rollback() truncates it back if it can seek.
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

from s3po.body.local import (
    as_local_error,
    check_path,
    close_file,
    local_error,
    local_errors,
    pwrite_all,
    refuse_special_file,
    sync_directory,
    write_all,
)
from s3po.body.temporary import open_temporary, sweep_once
from s3po.config import MIB
from s3po.errors import ConfigurationError
from s3po.model import Described
from s3po.runtime import offload, patiently

__all__ = ['UNWAITING_BYTES', 'BytesSink', 'FileSink', 'PathSink', 'Sink', 'TextSink']

# The largest write that is done without another thread: writing it to the page cache takes less time than waking a thread.
UNWAITING_BYTES = MIB
# If one write to a file took longer than this (the disk cannot keep up, and the kernel makes writers wait), its further writes
# go to another thread. That copies the bytes, and costs about 0.1 ms for each MiB.
SLOW_WRITE_S: Final = 0.05

# The mode that open() passes to the kernel.
NEW_FILE_MODE: Final = 0o666


class Sink:
    """The target of one download.

    Attributes:
        is_ordered: Whether write_at() must be called in order of the offsets, and once for each.
        is_in_memory: Whether it keeps all bytes in memory that it allocates itself.
    """

    is_ordered = False
    is_in_memory = False

    def identify(self, bucket: str, key: str, described: Described) -> Sink:
        """Set the object that will be written, and return the sink for its bytes: this one, or one that this one wraps.

        Called before begin() or write_whole(), and again after every restart.
        """
        return self

    def begin(self, size_bytes: int | None) -> None:
        """Prepare for an object of this size (None if unknown), and discard the bytes of an earlier attempt."""
        raise NotImplementedError

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write some bytes of the object.

        Up to UNWAITING_BYTES are written before it returns to the event loop, so the data may be in a buffer that greenlets
        share.
        """
        raise NotImplementedError

    def write_whole(self, data: bytes) -> None:
        """Write the whole object, instead of begin() and write_at()."""
        self.begin(len(data))
        if data:
            self.write_at(0, data)

    def window(self, offset: int, size_bytes: int) -> memoryview | None:
        """A buffer for these bytes of the object, to fill instead of write_at(); None if the sink has none."""
        return None

    def hold(self) -> None:
        """Keep the target open after rollback(), until let_go(): another thread may still write to it."""

    def let_go(self) -> None:
        """Undo one hold()."""

    def commit(self) -> None:
        """Publish the object, which is complete."""

    def rollback(self) -> None:
        """Remove the written bytes, after a failed download."""

    @property
    def value(self) -> bytes | None:
        """The object's bytes, for a sink in memory; None for other sinks."""
        return None


class BytesSink(Sink):
    """Writes into memory.

    Attributes:
        described: The store's description of the object; None before the response.
    """

    is_in_memory = True
    # Without a constructor, to save a call for every small object.
    described: Described | None = None
    _buffer: io.BytesIO | None = None
    _whole = b''

    def identify(self, bucket: str, key: str, described: Described) -> Sink:
        self.described = described
        return self

    def begin(self, size_bytes: int | None) -> None:
        self._buffer = io.BytesIO()
        if size_bytes:
            # Allocated at once: a growing buffer would be copied many times.
            self._buffer.seek(size_bytes - 1)
            self._buffer.write(b'\0')

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        # Not through getbuffer(), which would save a copy: the traceback of an error keeps that buffer, and when the garbage
        # collector frees it, Python 3.12.1 crashes and 3.13 prints a BufferError.
        assert self._buffer is not None
        self._buffer.seek(offset)
        self._buffer.write(data)

    def write_whole(self, data: bytes) -> None:
        self._buffer = None
        self._whole = data

    @property
    def value(self) -> bytes:
        # Not a copy: BytesIO returns its own bytes, and copies only if it is written to again.
        return self._whole if self._buffer is None else self._buffer.getvalue()


class PathSink(Sink):
    """Writes a file: a temporary file beside it that is renamed when complete, or the file itself, in order."""

    def __init__(self, path: str, *, use_tmp_file: bool, fsync: bool) -> None:
        check_path(path, 'target')
        self.is_ordered = not use_tmp_file
        self._use_tmp_file = use_tmp_file
        self._path = path
        self._fsync = fsync
        # The directory prefix, with a trailing slash; '' for the current directory.
        self._directory = path[: path.rfind('/') + 1]
        self._identity = ''
        # The path of the file that is being written, once it exists; and its descriptor while it is open.
        self._written: str | None = None
        self._descriptor: int | None = None
        self._holders = 1
        self._is_slow = False
        # The permissions of the complete file: those of the file that it replaces. None for a new file, until it is created.
        self._mode = _check_target(path, self._directory)
        if use_tmp_file:
            sweep_once(self._directory)
        elif os.path.islink(path):
            raise local_error('write', path, errno.ELOOP, 'it is a symbolic link')

    def identify(self, bucket: str, key: str, described: Described) -> Sink:
        # After a restart the existing temporary file is written again, under the same name.
        self._identity = f'{bucket}\0{key}\0{described.etag}'
        return self

    def begin(self, size_bytes: int | None) -> None:
        try:
            descriptor = self._open_empty()
            if size_bytes and not self.is_ordered:
                os.ftruncate(descriptor, size_bytes)
        except OSError as error:
            raise as_local_error('write', self._path, error) from error

    def write_whole(self, data: bytes) -> None:
        try:
            pwrite_all(self._open_empty(), data, 0)
        except OSError as error:
            raise as_local_error('write', self._path, error) from error

    def _open_empty(self) -> int:
        """Empty the file that is being written; returns its descriptor."""
        is_new = self._descriptor is None and self._use_tmp_file
        if self._descriptor is None:
            self._create()
        assert self._descriptor is not None
        if not is_new:
            os.ftruncate(self._descriptor, 0)
        return self._descriptor

    def _create(self) -> None:
        """Create the file, readable only by its owner until it is complete.

        The kernel sets the permissions of a new file by the umask: a process can read its umask only by changing it, for all
        its threads.
        """
        is_new = self._mode is None
        asked = NEW_FILE_MODE if is_new else 0o600
        if self._use_tmp_file:
            self._written, self._descriptor = self._create_temporary(asked)
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

    def _create_temporary(self, mode: int) -> tuple[str, int]:
        """Create the temporary file; returns its path and descriptor."""
        identity = f'{self._path[len(self._directory) :]}\0{self._identity}'
        return patiently(open_temporary, self._directory, identity, mode)

    def _lock(self, descriptor: int) -> None:
        """Prevent other downloads from writing to the same file. (Without effect on a file system that has no locks.)"""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another download may have failed and removed the file after it was opened here.
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
            # A copy: other greenlets use the buffer during the wait.
            offload(self._write, bytes(data), offset)
        else:
            began = time.monotonic()
            self._write(data, offset)
            self._is_slow = time.monotonic() - began > SLOW_WRITE_S

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        assert self._descriptor is not None
        with local_errors('write', self._path):
            pwrite_all(self._descriptor, data, offset)

    def commit(self) -> None:
        assert self._descriptor is not None
        assert self._written is not None
        assert self._mode is not None
        try:
            os.fchmod(self._descriptor, self._mode)
            if self._fsync:
                offload(os.fsync, self._descriptor)
            if self._use_tmp_file:
                # Network file systems may report a full disk only in close(). The descriptor itself stays open: it holds the
                # lock until the file is renamed.
                close_file(patiently(os.dup, self._descriptor))
                os.replace(self._written, self._path)
            # It is complete: rollback() must not remove it, nor the file of a download that locks the path from now on.
            self._written = None
            self.let_go()
            if self._fsync:
                offload(sync_directory, self._directory or '.')
        except OSError as error:
            raise as_local_error('write', self._path, error) from error

    def rollback(self) -> None:
        try:
            if self._written is not None:
                with local_errors('delete', self._written), contextlib.suppress(FileNotFoundError):
                    os.unlink(self._written)
        finally:
            # After the unlink: once the lock is free, the file could be another download's.
            self.let_go()

    def hold(self) -> None:
        self._holders += 1

    def let_go(self) -> None:
        self._holders -= 1
        if self._descriptor is not None and not self._holders:
            descriptor, self._descriptor = self._descriptor, None
            if not self._use_tmp_file:
                # Unlocked explicitly: a forked child may still have the descriptor, and the lock with it.
                with contextlib.suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
            close_file(descriptor)


class FileSink(Sink):
    """Writes to a binary file object of the caller, from its current position."""

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

    def rollback(self) -> None:
        if self._has_written:
            self._truncate()

    def commit(self) -> None:
        # Reports a full disk here, not when the caller closes the file.
        if hasattr(self._file, 'flush'):
            with local_errors('write', self._name):
                self._file.flush()

    def _truncate(self) -> None:
        if self._start is None:
            raise ConfigurationError(
                f'{self._name} cannot seek, so it still contains what was written before the failure; give a path instead'
            )
        with local_errors('write', self._name):
            self._file.seek(self._start)
            self._file.truncate()
        self._has_written = False


class TextSink(FileSink):
    """Writes text, decoded from UTF-8, to a text file object without a binary layer (StringIO)."""

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
        super().commit()

    def _write_text(self, data: bytes | memoryview, *, is_final: bool) -> None:
        try:
            text = self._decoder.decode(data, is_final)
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f'target: {self._name} takes text, but the object is not UTF-8; give a binary file'
            ) from error
        with local_errors('write', self._name):
            self._file.write(text)  # type: ignore[call-overload]  # a text file; see the class


def _check_target(path: str, directory: str) -> int | None:
    """Find errors of the path before any request is sent; returns the permissions of an existing file, else None."""
    if len(path) == len(directory):
        raise ConfigurationError(f'target {path!r} has no file name; give the path of a file, not of a directory')
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        # A path whose directory is a file raises ENOTDIR, below.
        if directory and not os.access(directory, os.F_OK):
            raise local_error('write', path, errno.ENOENT, os.strerror(errno.ENOENT)) from None
        return None
    except OSError as error:
        raise as_local_error('write', path, error) from error
    if not stat.S_ISREG(mode):
        refuse_special_file(mode, 'download to', path)
    return mode & 0o777


def _position(file: Any) -> int | None:
    """The position of the file; None if it cannot seek."""
    try:
        return int(file.tell()) if file.seekable() else None
    except (AttributeError, OSError, ValueError):
        return None
