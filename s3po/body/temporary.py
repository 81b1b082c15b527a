"""Temporary files of downloads: made beside the target, locked while they are written, and removed when nobody writes them.

Invariants, which hold for all processes and threads of a machine together, and which PathSink keeps too:

- Who writes a temporary file holds its lock from before the first byte until it was renamed or removed.
- Only who holds its lock renames or removes it. So the name of a locked file leads to that very file.
- An empty one may be about to be locked by its maker, and is not taken away from it. (Only the sweep does so, a day later.)
- Nothing is ever written into a file that was found: it is removed, and made anew.
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

__all__ = ['STALE_S', 'open_temporary', 'sweep_once', 'sweep_stale']

PREFIX: Final = '.s3po-'
SUFFIX: Final = '.part'

# A file is written to all the time that it is downloaded. A day is beyond every time limit and clock that is off, and beyond
# a machine that sleeps overnight; it matters only where locks are not seen by all (other machines, on some network shares).
STALE_S: Final = 24 * 60 * 60.0

# Of a huge directory so many entries are looked at, which takes some milliseconds.
SWEPT_ENTRIES: Final = 10_000
# So many directories are remembered. A process that downloads into more of them leaves the others unswept.
SWEPT_DIRECTORIES: Final = 10_000

# A link that somebody put there under our name is not followed.
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# For writing, since some network file systems give an exclusive lock for no less; and without waiting, should it be a pipe.
_LOOK: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOCK: Final = fcntl.LOCK_EX | fcntl.LOCK_NB

# The one state of this module: what this process has swept, as it was spelled.
_swept: Final[set[str]] = set()


def open_temporary(directory: str, identity: str, mode: int) -> tuple[str, int]:
    """Make the temporary file of a download, which is empty.

    Its name follows from the download, so that what a killed process left is found and replaced by the next one of the same.
    Where another download of the same is running, or something else has that name, it is another, random one. It is a random
    one too where the file system knows no locks, and nobody could tell whether it is being written.

    Args:
        directory: Where, with its closing slash; '' for the current one.
        identity: What is downloaded, and to which name there.
        mode: Its permissions, from which the kernel takes what the umask forbids.

    Returns:
        Its path, and its descriptor, which holds the lock.

    Raises:
        OSError: It cannot be made.
    """
    # For a name that is short whatever the target's is; nothing is lost if two are alike.
    digest = hashlib.blake2b(identity.encode(errors='surrogatepass'), digest_size=12).hexdigest()
    path = f'{directory}{PREFIX}{digest}{SUFFIX}'
    descriptor = _create_locked(path, mode)
    if descriptor is None and _remove_abandoned(path, _is_begun):
        descriptor = _create_locked(path, mode)
    if descriptor is None:
        path = f'{directory}{PREFIX}{digest}-{os.urandom(8).hex()}{SUFFIX}'
        descriptor = os.open(path, _CREATE, mode)
        _lock(descriptor)
    return path, descriptor


def sweep_once(directory: str) -> None:
    """Sweep a directory, with its closing slash or '', if this process has not yet done so."""
    if directory not in _swept and len(_swept) < SWEPT_DIRECTORIES:
        _swept.add(directory)
        offload(sweep_stale, directory or '.')


def sweep_stale(directory: str, older_than_s: float = STALE_S) -> int:
    """Remove the temporary files that killed processes left in a directory. Blocks for as long as the disk takes.

    A file goes if its lock is free, if it is a regular file of this user's, and if nobody has written to it for so long. Where
    there are no locks, none goes. A directory that cannot be read is left alone; of a huge one the first 10,000 entries are
    looked at.

    Args:
        directory: Its path.
        older_than_s: How many seconds ago a file was last written to.

    Returns:
        How many were removed.
    """
    newest = time.time() - older_than_s
    removed = 0
    try:
        with os.scandir(directory) as entries:
            for entry in itertools.islice(entries, SWEPT_ENTRIES):
                if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX):
                    removed += _remove_abandoned(entry.path, lambda found: found.st_mtime < newest)
    except OSError:
        # It is no part of any download; the next process tries again.
        pass
    return removed


def _create_locked(path: str, mode: int) -> int | None:
    """The descriptor of a new file that is locked; None where the name is taken, or where there are no locks."""
    try:
        descriptor = os.open(path, _CREATE, mode)
    except FileExistsError:
        return None
    try:
        fcntl.flock(descriptor, _LOCK)
    except BlockingIOError:
        # Somebody was here first who keeps no rules of ours.
        close_file(descriptor)
        return None
    except OSError:
        # Without locks nobody takes it away, so it is still the one that was made.
        os.unlink(path)
        close_file(descriptor)
        return None
    return descriptor


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, _LOCK)
    except OSError:
        return False
    return True


def _remove_abandoned(path: str, is_due: Callable[[os.stat_result], bool]) -> bool:
    """Remove a temporary file that nobody writes; whatever else is found there stays. Tells whether it was removed."""
    try:
        descriptor = os.open(path, _LOOK)
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
        # Only now locked: the lock of a file that is not due is never taken, not for a moment.
        if not (is_ours and is_due(found) and _lock(descriptor) and os.path.samestat(found, os.lstat(path))):
            return False
        os.unlink(path)
    except OSError:
        return False
    finally:
        close_file(descriptor)
    return True


def _is_begun(found: os.stat_result) -> bool:
    return found.st_size > 0
