"""Ends native threads before a fork: from Python 3.12 on, forking a process with threads emits a warning.

The idle threads of the forking thread's pool (name look-ups, disk, hashing) end here, and start again when there is work. If
one of them is busy, Python's warning is right.
"""

import os
import sys
import time
from typing import Any, Final

from gevent import monkey
from gevent._hub_local import get_hub_if_exists

__all__ = ['await_ends']

# Idle threads end in less than a millisecond; one that writes a report takes longer.
_TIMEOUT_S: Final = 1.0
_LOOK_S: Final = 0.0005

_sleep_natively: Final = monkey.get_original('time', 'sleep')


def await_ends(idents: set[int]) -> None:
    """Wait until native threads have ended, at most a second. Blocks all greenlets of this thread meanwhile."""
    ends_at = time.monotonic() + _TIMEOUT_S
    while idents and time.monotonic() < ends_at:
        # A thread without a frame ends within microseconds.
        idents = idents & set(sys._current_frames())
        _sleep_natively(_LOOK_S)


def _end_idle_threads() -> None:
    hub: Any = get_hub_if_exists()
    pool = None if hub is None else hub._threadpool
    if pool is None or pool.task_queue.unfinished_tasks:
        return
    workers = list(pool._worker_greenlets)
    for _ in workers:
        pool.task_queue.put(None)
    ends_at = time.monotonic() + _TIMEOUT_S
    # A thread that was just started may have no frame yet.
    while pool._worker_greenlets and time.monotonic() < ends_at:
        _sleep_natively(_LOOK_S)
    await_ends({worker._thread_ident for worker in workers})


os.register_at_fork(before=_end_idle_threads)
