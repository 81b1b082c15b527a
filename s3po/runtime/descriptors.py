"""Handles a shortage of file descriptors (`ulimit -n`).

A batch runs no more jobs at once than there are descriptors for, with a reserve for the program. If descriptors run out
nevertheless, calls wait until others have finished, instead of failing.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import time
import weakref
from collections.abc import Callable
from typing import Final, Protocol, TypeVar, TypeVarTuple

import gevent

from s3po.runtime.greenlets import PerHub

__all__ = ['affordable', 'give_up_idle', 'patiently']

log = logging.getLogger(__name__)

# Per job: its connection, its file, and one for its callback.
PER_JOB: Final = 3
# For the program, for name look-ups and for sweeping directories.
RESERVE: Final = 16
# How long a call waits for a descriptor, and its polling interval.
WAIT_S: Final = 30.0
LOOK_S: Final = 0.05

DIRECTORY: Final = '/dev/fd'
SHORTAGE: Final = (errno.EMFILE, errno.ENFILE)
# How many causes of an error are checked.
DEPTH: Final = 10

T = TypeVar('T')
Ts = TypeVarTuple('Ts')


class Closable(Protocol):
    """An object that keeps idle connections."""

    def close(self) -> None:
        """Close the idle connections."""


# The objects with idle connections to close if descriptors run out, per event loop.
_keepers: Final = PerHub[weakref.WeakSet[Closable]](weakref.WeakSet)
# The processes (one, except after a fork) that have logged the warning.
_told: Final = set[int]()


def give_up_idle(keeper: Closable) -> None:
    """Register an object to be closed by its own thread if descriptors run out, for as long as it exists."""
    _keepers.get().add(keeper)


def affordable(size: int) -> int:
    """The number of jobs for which there are descriptors now: `size` or less, at least 1."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        free = limit - len(os.listdir(DIRECTORY)) - RESERVE
    except OSError:
        # Listing the directory needs a descriptor, too.
        free = 0 if limit != resource.RLIM_INFINITY else size * PER_JOB
    if limit == resource.RLIM_INFINITY or free >= size * PER_JOB:
        return size
    width = max(1, free // PER_JOB)
    _warn(f'a batch of {size} runs {width} jobs at once')
    return width


def patiently(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function that opens a descriptor; if none is free, close idle connections, wait and try again.

    Raises:
        Exception: The function's error; a shortage after WAIT_S.
    """
    began_at = 0.0
    while True:
        try:
            return function(*args)
        except Exception as error:
            if not _is_shortage(error):
                raise
            began_at = began_at or time.monotonic()
            if time.monotonic() - began_at > WAIT_S:
                raise
            _warn('transfers wait for one another')
        for keeper in list(_keepers.get()):
            keeper.close()
        gevent.sleep(LOOK_S)


def _is_shortage(error: BaseException | None) -> bool:
    """Whether an error or one of its causes is a shortage of descriptors."""
    for _ in range(DEPTH):
        if error is None:
            return False
        if isinstance(error, OSError) and error.errno in SHORTAGE:
            return True
        error = error.__cause__ or error.__context__
    return False


def _warn(consequence: str) -> None:
    if os.getpid() not in _told:
        _told.add(os.getpid())
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        log.warning('this process may have only %d open files, so %s; raise the limit with `ulimit -n`', limit, consequence)
