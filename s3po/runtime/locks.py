"""Locks and waits that work between greenlets and between native threads.

A native lock that a greenlet holds across a yield stops its whole thread when a second greenlet of that thread waits for it. A
lock of gevent's cannot be relied on between native threads. The waits here do not wait in the system or in gevent: they try
again and again, and pause in between, in the way that suits the calling thread.
"""

import time
from collections.abc import Callable
from typing import Any, Final, Self

import gevent
from gevent import monkey
from gevent._hub_local import get_hub_if_exists

from s3po.runtime.threads import has_greenlets

__all__ = ['NATIVE_LOCK', 'YieldingLock', 'pause', 'wait_until']

_allocate_native: Final = monkey.get_original('_thread', 'allocate_lock')
_sleep_natively: Final = monkey.get_original('time', 'sleep')

# The class of a native lock.
NATIVE_LOCK: Final[type] = type(_allocate_native())

# Short against the requests and imports that locks are held for.
_ASK_EVERY_S: Final = 0.002


class YieldingLock:
    """A lock between greenlets, of whichever threads. It has the methods of `threading.Lock`.

    Args:
        native: The native lock to take. The lock may be held when it is wrapped, and its holder may release the native one.
    """

    __slots__ = ('_native', 'locked', 'release')

    def __init__(self, native: Any = None) -> None:
        self._native = native = _allocate_native() if native is None else native
        self.release = native.release
        self.locked = native.locked

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002  (as threading has it)
        """Take the lock.

        Args:
            blocking: Whether to wait for it.
            timeout: How many seconds to wait at the most; -1 for ever.

        Returns:
            Whether it was taken.
        """
        take = self._native.acquire
        if not blocking or not has_greenlets():
            return bool(take(blocking, timeout))
        return wait_until(lambda: bool(take(False)), None if timeout < 0 else timeout)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def wait_until(is_done: Callable[[], bool], timeout_s: float | None = None) -> bool:
    """Wait for a condition, in any native thread, without stopping the greenlets of that thread.

    Args:
        is_done: Called every 2 ms.
        timeout_s: How long to wait at the most; None for ever.

    Returns:
        Whether the condition came true.
    """
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while not is_done():
        if until is not None and time.monotonic() >= until:
            return False
        pause(_ASK_EVERY_S)
    return True


def pause(seconds: float) -> None:
    """Let other greenlets run for a while, or sleep natively in a thread without greenlets."""
    # The hub itself cannot give way.
    if has_greenlets() and gevent.getcurrent() is not get_hub_if_exists():
        gevent.sleep(seconds)
    else:
        _sleep_natively(seconds)
