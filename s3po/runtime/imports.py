"""Imports by several native threads at once, in a process whose locks are gevent's.

`patch_all` replaces the locks of the import system too. Greenlets of one thread then wait for each other's imports, as they
must. But a native thread that waits for another one's import has nothing that could wake it up: gevent raises LoopExit there,
or it hangs. s3po imports what is large when it is first needed, and may be called from any native thread.

So, here: import locks that are the operating system's, and are asked for again and again in place of being waited for.
"""

import sys
import types
from typing import Any, Final, Self

import gevent
from gevent import monkey
from gevent._hub_local import get_hub_if_exists

from s3po.runtime.threads import has_greenlets

__all__ = ['share_imports']

# Waiting for somebody else's import is rare, and takes as long as that import.
_ASK_EVERY_S: Final = 0.002


def share_imports() -> None:
    """Let several native threads import at once. Only for a process whose locks are patched; may be called again."""
    bootstrap: Any = sys.modules['_frozen_importlib']
    # Who holds a lock is a greenlet, not a thread: get_ident stays gevent's.
    seen: Any = types.ModuleType('_thread')
    vars(seen).update(vars(sys.modules['_thread']))
    seen.allocate_lock, seen.RLock = _ImportLock, monkey.get_original('_thread', 'RLock')
    bootstrap._thread = seen


class _ImportLock:
    """A lock between greenlets, of whichever threads."""

    __slots__ = ('_acquire', 'release')

    def __init__(self) -> None:
        lock = _allocate_native()
        self._acquire = lock.acquire
        self.release = lock.release

    def acquire(self, blocking: bool = True) -> bool:  # noqa: FBT001, FBT002  (as the import system calls it)
        while not self._acquire(False):
            if not blocking:
                return False
            _pause()
        return True

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


_allocate_native: Final = monkey.get_original('_thread', 'allocate_lock')
_sleep_natively: Final = monkey.get_original('time', 'sleep')


def _pause() -> None:
    # The hub itself cannot give way to anybody.
    if has_greenlets() and gevent.getcurrent() is not get_hub_if_exists():
        gevent.sleep(_ASK_EVERY_S)
    else:
        _sleep_natively(_ASK_EVERY_S)
