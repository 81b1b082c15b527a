"""Temporary files of downloads: created beside the target, locked while they are written, removed if abandoned.

Invariants, for all processes and threads of a machine together; PathSink keeps them too:

- A download holds the lock of its temporary file from before the first byte until the file is renamed or removed.
- Only the holder of the lock renames or removes the file. So the name of a locked file always leads to that file.
- An empty file may be about to be locked by its creator, so it is not removed. (Only the sweep does so, after a day.)
- Nothing is ever written into a file that was found: it is removed and created again. The only exception are the partial files
  of jobs under a journal (kept.py), whose contents are checked before they are used.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import stat
import time
from collections.abc import Callable
from typing import Final

from s3po.body.local import close_file
from s3po.runtime import offload

__all__ = ['STALE_S', 'create_locked', 'is_own_file', 'lock', 'open_temporary', 'remove_abandoned', 'sweep_once', 'sweep_stale']

PREFIX: Final = '.s3po-'
SUFFIX: Final = '.part'

# A file is written to during its whole download. A day is longer than every timeout, clock error and laptop's sleep; it matters
# only where not all writers see the locks (other machines, on some network shares).
STALE_S: Final = 24 * 60 * 60.0

# The most entries of a directory that a sweep looks at; takes some milliseconds.
SWEPT_ENTRIES: Final = 10_000
# The most directories that are remembered. Further directories of this process are not swept.
SWEPT_DIRECTORIES: Final = 10_000

# Does not follow a link that another user put there under our name.
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# For writing, because some network file systems require it for an exclusive lock; non-blocking, in case it is a pipe.
_LOOK: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOCK: Final = fcntl.LOCK_EX | fcntl.LOCK_NB

# The directories that this process has swept, as spelled by the callers. The only state of this module.
_swept: Final[set[str]] = set()


def open_temporary(directory: str, identity: str, mode: int) -> tuple[str, int]:
    """Create the empty temporary file of a download.

    Its name is derived from the download, so that the next download of the same object finds and replaces what a killed process
    left. If another download of the same object is running, or the name is taken otherwise, the name is random. It is random
    too if the file system has no locks, because then a file in use cannot be recognised.

    Args:
        directory: The directory, with a trailing slash; '' for the current one.
        identity: The object and the target's name.
        mode: The permissions, from which the kernel removes those of the umask.

    Returns:
        Its path, and its descriptor, which holds the lock.

    Raises:
        OSError: The file cannot be created.
    """
    # A digest, so that the name is short whatever the target's is. Collisions are harmless.
    digest = hashlib.blake2b(identity.encode(errors='surrogatepass'), digest_size=12).hexdigest()
    path = f'{directory}{PREFIX}{digest}{SUFFIX}'
    descriptor = create_locked(path, mode)
    if descriptor is None and remove_abandoned(path, lambda found: found.st_size > 0):
        descriptor = create_locked(path, mode)
    if descriptor is None:
        path = f'{directory}{PREFIX}{digest}-{os.urandom(8).hex()}{SUFFIX}'
        descriptor = os.open(path, _CREATE, mode)
        lock(descriptor)
    return path, descriptor


def sweep_once(directory: str) -> None:
    """Sweep a directory (with a trailing slash, or '') if this process has not done so yet."""
    if directory not in _swept and len(_swept) < SWEPT_DIRECTORIES:
        _swept.add(directory)
        offload(sweep_stale, directory or '.')


def sweep_stale(directory: str, older_than_s: float = STALE_S) -> int:
    """Remove temporary files that killed processes left in a directory. Blocks for as long as the disk takes.

    A file is removed if its lock is free, it is a regular file of this user, and it was not written to for older_than_s.
    Without locks, no file is removed. An unreadable directory is skipped; of a huge one, only the first 10,000 entries are
    checked.

    Args:
        directory: Its path.
        older_than_s: The minimal time since the last write, in seconds.

    Returns:
        The number of removed files.
    """
    newest = time.time() - older_than_s
    removed = 0
    try:
        with os.scandir(directory) as entries:
            for entry in itertools.islice(entries, SWEPT_ENTRIES):
                if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX):
                    removed += remove_abandoned(entry.path, lambda found: found.st_mtime < newest)
    except OSError:
        # Not an error of the download; the next process tries again.
        pass
    return removed


def create_locked(path: str, mode: int) -> int | None:
    """Create a file: the descriptor of a new, locked file; None if the name is taken or the file system has no locks."""
    try:
        descriptor = os.open(path, _CREATE, mode)
    except FileExistsError:
        return None
    try:
        fcntl.flock(descriptor, _LOCK)
    except BlockingIOError:
        # Another process holds the lock.
        close_file(descriptor)
        return None
    except OSError:
        # Without locks no process removes it, so it is still the file that was created.
        os.unlink(path)
        close_file(descriptor)
        return None
    return descriptor


def lock(descriptor: int) -> bool:
    """Lock a file. Returns False if another process holds the lock, or there are none."""
    try:
        fcntl.flock(descriptor, _LOCK)
    except OSError:
        return False
    return True


def remove_abandoned(path: str, is_due: Callable[[os.stat_result], bool]) -> bool:
    """Remove a temporary file that no process is writing; other files stay. Returns whether it was removed."""
    try:
        descriptor = os.open(path, _LOOK)
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        # Locked last: the lock of a file that is not due is never taken, not even for a moment.
        if not (is_own_file(found) and is_due(found) and lock(descriptor) and os.path.samestat(found, os.lstat(path))):
            return False
        os.unlink(path)
    except OSError:
        return False
    finally:
        close_file(descriptor)
    return True


def is_own_file(found: os.stat_result) -> bool:
    """Whether a file is a regular one of this user, with one name."""
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
