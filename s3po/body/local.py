"""What the local file system says, in s3po's words."""

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
    'refuse_special_file',
    'write_all',
]

# The system's own: gevent's asks the event loop about the descriptor first, and nobody waits for a regular file there.
close_file: Final = gevent.monkey.get_original('os', 'close')

# What to do about the errors that people meet; others are told as the system tells them.
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
    errno.ELOOP: 'give the path of the file itself, or have the link replaced by hand',
    errno.EROFS: 'the file system is mounted read-only',
    errno.EMFILE: 'raise the limit of open files (ulimit -n) or use a smaller batch',
}


class local_errors:  # noqa: N801  (used like a function, and only in a `with`)
    """Raise an OSError of the body as LocalError: what was done, to which path, why it failed, what to do.

    A class, since a small download goes through four of these, and a generator would cost a microsecond each time.
    """

    __slots__ = ('_doing', '_path')

    def __init__(self, doing: str, path: str) -> None:
        self._doing = doing
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, OSError) and not isinstance(error, LocalError):
            raise as_local_error(self._doing, self._path, error) from error


def as_local_error(doing: str, path: str, error: OSError) -> LocalError:
    """What the system said of one path, as the error to raise from it."""
    return local_error(doing, path, error.errno, error.strerror or str(error))


def local_error(doing: str, path: str, number: int | None, reason: str) -> LocalError:
    """The error for one path; `doing` is a verb, such as 'read'."""
    advice = 'create the directory first' if doing == 'write' and number == errno.ENOENT else ADVICE.get(number or 0)
    text = f'cannot {doing} {printable(path)}: {reason}' + (f'; {advice}' if advice else '')
    return LocalError(text, errno=number, filename=path)


def printable(path: str) -> str:
    """A path for messages: a name that is not UTF-8 could be neither printed nor logged."""
    return path.encode(errors='backslashreplace').decode()


def check_path(path: str, argument: str) -> None:
    """Refuse a text that this system cannot take as a path: one with a NUL, or without a form in its encoding.

    Args:
        path: The path. (Names that are not UTF-8 are paths, with the surrogates of os.fsdecode().)
        argument: What the caller gave it as, for the message.

    Raises:
        ConfigurationError: It is no path.
    """
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f'{argument} {path!r} is no path here: it has no form in {error.encoding} ({error.reason})'
        ) from error
    if b'\0' in encoded:
        raise ConfigurationError(f'{argument} {path!r} is no path: it has a NUL character')


def refuse_special_file(mode: int, doing: str, path: str) -> None:
    """Refuse directories, and what is neither file nor directory: pipes, devices and sockets have no size and no end.

    Args:
        mode: `st_mode` of the file.
        doing: A verb for the message, such as 'upload'.
        path: The path for the message.
    """
    if stat.S_ISDIR(mode):
        raise local_error(doing, path, errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise LocalError(
            f'cannot {doing} {printable(path)}: it is a pipe, a device or a socket; open it yourself and give the file object',
            errno=errno.EINVAL,
            filename=path,
        )


def write_all(file: Any, data: bytes | memoryview, name: str) -> None:
    """Write all of the data to a file object, which may take less than it is given (an unbuffered one).

    Args:
        file: The caller's.
        data: What to write.
        name: The file, for the message.

    Raises:
        ConfigurationError: It is non-blocking and takes no more.
    """
    view = memoryview(data)
    while view:
        taken = file.write(view)
        # Of a raw file, None is "nothing" (io.RawIOBase.write()); other objects may return nothing at all.
        if taken is None and not isinstance(file, io.RawIOBase):
            return
        if not taken:
            raise ConfigurationError(f'target: {name} is non-blocking and takes no more data now; give a blocking file object')
        view = view[taken:]
