"""A lock with a condition, for native threads and greenlets on either side, patched or not.

The lock is native and held only briefly: nothing may yield while it is held. In a thread with greenlets, a wait is woken by an
async watcher of its event loop, so that the other greenlets go on; in a thread without, by a native lock.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final

import gevent
import gevent.event
from gevent import monkey

from s3po.runtime.threads import has_greenlets

__all__ = ['Changes']

_allocate_lock: Final[Any] = monkey.get_original('_thread', 'allocate_lock')
_RLock: Final[Any] = monkey.get_original('_thread', 'RLock')


class Changes:
    """A reentrant lock whose holder can wait for another holder's notify_all(). It is a context manager."""

    __slots__ = ('_lock', '_waiting')

    def __init__(self) -> None:
        self._lock = _RLock()
        self._waiting: list[_Thread | _Greenlet] = []

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._lock.release()

    def notify_all(self) -> None:
        """Wake all waiting holders. The lock must be held."""
        for waiter in self._waiting:
            waiter.wake()

    def wait(self, seconds: float) -> None:
        """Release the lock, which must be held once, until notify_all() or for so many seconds; then acquire it again."""
        waiter = _Greenlet() if has_greenlets() else _Thread()
        self._waiting.append(waiter)
        self._lock.release()
        try:
            waiter.wait(seconds)
        finally:
            self._lock.acquire()
            self._waiting.remove(waiter)
            waiter.close()


class _Thread:
    """One wait. All methods except wait() are called with the lock held; wake() may be called in any thread."""

    __slots__ = ('_lock',)

    def __init__(self) -> None:
        self._lock = _allocate_lock()
        self._lock.acquire()

    def wake(self) -> None:
        if self._lock.locked():
            self._lock.release()

    def wait(self, seconds: float) -> None:
        self._lock.acquire(True, seconds)

    def close(self) -> None:
        """Do nothing."""


class _Greenlet:
    """One wait in a thread with greenlets; see _Thread."""

    __slots__ = ('_is_changed', '_watcher')

    def __init__(self) -> None:
        self._is_changed = gevent.event.Event()
        self._watcher = gevent.get_hub().loop.async_()
        self._watcher.start(self._is_changed.set)

    def wake(self) -> None:
        self._watcher.send()

    def wait(self, seconds: float) -> None:
        self._is_changed.wait(seconds)

    def close(self) -> None:
        self._watcher.close()
