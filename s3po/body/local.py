"""Operations on local files, and their errors as LocalError."""

from __future__ import annotations

import errno
import io
import os
import stat
from types import TracebackType
from typing import Any, Final

import gevent.monkey

from s3po.errors import ConfigurationError, LocalError

__all__ = [
    'ADVICE',
    'as_local_error',
    'check_path',
    'close_file',
    'local_error',
    'local_errors',
    'printable',
    'pwrite_all',
    'refuse_special_file',
    'sync_directory',
    'write_all',
]

# The original os.close: gevent's version first cancels waits of the event loop on the descriptor, which files do not have.
close_file: Final = gevent.monkey.get_original('os', 'close')

# What the user can do about common errors; other messages end after the system's text.
ADVICE: Final = {
    errno.ENOSPC: 'free some space on that file system',
    errno.EDQUOT: 'free some of your quota on that file system',
    errno.EFBIG: 'the file system, or the limit of this process (ulimit -f), allows no file of that size',
    errno.EACCES: 'check the permissions of the file and its directory',
    errno.EPERM: 'check the permissions of the file and its directory',
    errno.ENOENT: 'check the spelling of the path',
    errno.ENOTDIR: 'a part of the path is a file, not a directory',
    errno.EISDIR: 'give the path of a file',
    errno.ENAMETOOLONG: 'choose a shorter file name',
    errno.ELOOP: 'give the path of the file itself, or replace the link by hand',
    errno.EROFS: 'the file system is mounted read-only',
    errno.EMFILE: 'raise the limit of open files (ulimit -n) or use a smaller batch',
}


class local_errors:  # noqa: N801  (used like a function, and only in a `with`)
    """Raise an OSError of the `with` block as LocalError, with the operation, the path, the reason and advice.

    A class, because a small download uses four of these, and a generator would cost a microsecond each time.
    """

    __slots__ = ('_operation', '_path')

    def __init__(self, operation: str, path: str) -> None:
        self._operation = operation
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, OSError) and not isinstance(error, LocalError):
            raise as_local_error(self._operation, self._path, error) from error


def as_local_error(operation: str, path: str, error: OSError) -> LocalError:
    """Convert an OSError about one path; raise the result from it."""
    return local_error(operation, path, error.errno, error.strerror or str(error))


def local_error(operation: str, path: str, number: int | None, reason: str) -> LocalError:
    """The LocalError for one path; `operation` is a verb, such as 'read'."""
    advice = 'create the directory first' if operation == 'write' and number == errno.ENOENT else ADVICE.get(number or 0)
    text = f'cannot {operation} {printable(path)}: {reason}' + (f'; {advice}' if advice else '')
    return LocalError(text, errno=number, filename=path)


def printable(path: str) -> str:
    """The path for messages: bytes that are not UTF-8 could be neither printed nor logged, so they are escaped."""
    return path.encode(errors='backslashreplace').decode()


def check_path(path: str, argument: str) -> None:
    """Check that this system accepts a text as a path: it has no NUL, and can be encoded.

    Args:
        path: The path. (Names that are not UTF-8 are accepted, with the surrogates of os.fsdecode().)
        argument: The name of the caller's argument, for the message.

    Raises:
        ConfigurationError: The text cannot be a path.
    """
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f'{argument} {path!r} cannot be a path: it cannot be encoded as {error.encoding} ({error.reason})'
        ) from error
    if b'\0' in encoded:
        raise ConfigurationError(f'{argument} {path!r} cannot be a path: it contains a NUL character')


def refuse_special_file(mode: int, operation: str, path: str) -> None:
    """Reject directories, pipes, devices and sockets: they have no size and no end.

    Args:
        mode: `st_mode` of the file.
        operation: A verb for the message, such as 'upload'.
        path: The path for the message.

    Raises:
        LocalError: It is not a regular file.
    """
    if stat.S_ISDIR(mode):
        raise local_error(operation, path, errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise LocalError(
            f'cannot {operation} {printable(path)}: it is a pipe, a device or a socket; open it and pass the file object',
            errno=errno.EINVAL,
            filename=path,
        )


def write_all(file: Any, data: bytes | memoryview, name: str) -> None:
    """Write all of the data to a file object, also if each write() takes only a part (an unbuffered file).

    Args:
        file: The caller's file object.
        data: The data.
        name: The name of the file, for the message.

    Raises:
        ConfigurationError: The file is non-blocking and accepts no more data.
    """
    view = memoryview(data)
    while view:
        taken = file.write(view)
        # A raw file returns None if it took nothing (io.RawIOBase.write()); other objects may always return None.
        if taken is None and not isinstance(file, io.RawIOBase):
            return
        if not taken:
            raise ConfigurationError(f'target: {name} is non-blocking and accepts no more data now; use a blocking file object')
        view = view[taken:]


def pwrite_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of the data at an offset."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


def sync_directory(path: str) -> None:
    """Write the names in a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        close_file(descriptor)
