"""Locks and waits that work between greenlets and between native threads.

A native lock that a greenlet holds while it yields blocks the whole thread when a second greenlet of that thread waits for it.
gevent's locks are not reliable between native threads. The waits here block neither in the system nor in gevent: they poll, and
pause in between in the way that suits the calling thread.
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

# Polling interval; short compared with the requests and imports during which locks are held.
_ASK_EVERY_S: Final = 0.002


class YieldingLock:
    """A lock between greenlets of any threads. It has the methods of `threading.Lock`.

    Args:
        native: The native lock to use. It may be locked already, and its holder may release it directly.
    """

    __slots__ = ('_native', 'locked', 'release')

    def __init__(self, native: Any = None) -> None:
        self._native = native = _allocate_native() if native is None else native
        self.release = native.release
        self.locked = native.locked

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002  (as threading has it)
        """Acquire the lock.

        Args:
            blocking: Whether to wait for it.
            timeout: The longest wait in seconds; -1 for no limit.

        Returns:
            Whether it was acquired.
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
    """Wait for a condition, in any native thread, without blocking the greenlets of that thread.

    Args:
        is_done: Called every 2 ms.
        timeout_s: The longest wait in seconds; None for no limit.

    Returns:
        Whether the condition became true.
    """
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while not is_done():
        if until is not None and time.monotonic() >= until:
            return False
        pause(_ASK_EVERY_S)
    return True


def pause(seconds: float) -> None:
    """Let other greenlets run for a while, or sleep natively in a thread without greenlets."""
    # The hub itself cannot yield.
    if has_greenlets() and gevent.getcurrent() is not get_hub_if_exists():
        gevent.sleep(seconds)
    else:
        _sleep_natively(seconds)
