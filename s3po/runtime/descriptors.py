"""File descriptors where they are few: `ulimit -n`.

A batch is made no wider than there are descriptors for, with some left for the program. Where they run out all the same, who
needs one waits until others have finished, in place of failing.
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

# Of one job: its connection, its file, and one for its callback.
PER_JOB: Final = 3
# For the program, and for what looks up names and sweeps directories.
RESERVE: Final = 16
# How long a call waits for a descriptor, and how often it looks.
WAIT_S: Final = 30.0
LOOK_S: Final = 0.05

DIRECTORY: Final = '/dev/fd'
SHORTAGE: Final = (errno.EMFILE, errno.ENFILE)
# How deep an error's causes are looked through.
DEPTH: Final = 10

T = TypeVar('T')
Ts = TypeVarTuple('Ts')


class Closable(Protocol):
    """Keeps connections that are idle."""

    def close(self) -> None:
        """Close what is idle."""
        ...


# What can give up idle connections when descriptors run out, of each event loop.
_keepers: Final = PerHub[weakref.WeakSet[Closable]](weakref.WeakSet)
# The one warning of this process.
_told: Final = set[int]()


def give_up_idle(keeper: Closable) -> None:
    """Have something closed when descriptors run out; by its own thread, and for as long as it lives."""
    _keepers.get().add(keeper)


def affordable(size: int) -> int:
    """How many jobs may run at once, by the descriptors that are free now: `size`, or fewer, at least 1."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        free = limit - len(os.listdir(DIRECTORY)) - RESERVE
    except OSError:
        # Even this takes one.
        free = 0 if limit != resource.RLIM_INFINITY else size * PER_JOB
    if limit == resource.RLIM_INFINITY or free >= size * PER_JOB:
        return size
    width = max(1, free // PER_JOB)
    _warn(f'a batch of {size} runs {width} jobs at once')
    return width


def patiently(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function that opens something; where there are no descriptors left, close idle connections, wait, and try again.

    Raises:
        Exception: What the function raised, a shortage after WAIT_S.
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
    """Whether descriptors had run out, be it told by an error's cause."""
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
