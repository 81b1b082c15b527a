"""The thread that a batch belongs to, and access from other threads.

gevent's events and greenlets work within one native thread. Another thread waits by polling; changes are made by a greenlet of
the batch's own thread.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, TypeVar

import gevent
import gevent.event
from gevent._hub_local import get_hub_if_exists

from s3po.errors import ConfigurationError
from s3po.runtime import Captured, note_hub, process, wait_until

__all__ = ['Home']

T = TypeVar('T')

_OTHER: Final = 'a batch takes work only from the thread and process that made it; make one in each of them'
_FORKED: Final = "this batch is the parent process's; make one in each process"
_ENDED: Final = 'the thread that made the batch has ended, and its jobs with it'


class Home:
    """The native thread and process that a batch was made in."""

    def __init__(self) -> None:
        self.hub: Any = gevent.get_hub()
        self._process = process.mark
        # Collected when the thread ends.
        self._sign = weakref.ref(note_hub())

    def is_here(self) -> bool:
        """Whether the caller runs in this thread and process."""
        return get_hub_if_exists() is self.hub and self._process is process.mark

    def is_own_process(self) -> bool:
        """Whether the caller runs in this process, in any thread."""
        return self._process is process.mark

    def check(self) -> None:
        """Refuse a caller in another thread or process.

        Raises:
            ConfigurationError: The caller runs in another thread or process.
        """
        if not self.is_here():
            raise ConfigurationError(_OTHER)

    def wait(self, event: gevent.event.Event, timeout_s: float | None) -> bool:
        """Wait for an event of this thread; may be called in any thread. Returns True if it is set."""
        return bool(event.wait(timeout_s)) if self.is_here() else self.wait_until(event.is_set, timeout_s)

    def wait_until(self, is_done: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait in another thread until something has happened in this one.

        Args:
            is_done: Returns True when it has happened. Must not change anything.
            timeout_s: The longest wait; None for no limit.

        Returns:
            True if it has happened.

        Raises:
            ConfigurationError: It cannot happen: the thread has ended, or belongs to another process.
        """
        if self._process is not process.mark:
            raise ConfigurationError(_FORKED)
        happened = wait_until(lambda: is_done() or not self._is_alive(), timeout_s)
        if happened and not is_done():
            raise ConfigurationError(_ENDED)
        return happened

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in a new greenlet of this thread, and wait for its result.

        It runs as soon as this thread runs its greenlets: while it waits for a transfer or for the batch.

        Raises:
            ConfigurationError: The thread has ended, or belongs to another process.
            BaseException: The exception of the function.
        """
        outcome: Captured[T] = Captured()
        done: list[bool] = []

        def run() -> None:
            outcome.capture(function)
            done.append(True)

        if self._is_alive() and self._process is process.mark:
            self.hub.loop.run_callback_threadsafe(gevent.spawn, run)
        self.wait_until(lambda: bool(done), None)
        return outcome.unwrap()

    def _is_alive(self) -> bool:
        # At the end of a program, the main thread only waits for the other threads.
        return self._sign() is not None and (not self.hub.main_hub or threading.main_thread().is_alive())
