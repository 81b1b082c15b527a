"""Clean-up that continues in the background if its caller cannot wait for it.

Control returns to the caller within GRACE_S of a kill, a timeout or Ctrl-C, however long the store or a disk does not respond.
The work continues in the background, with its own time limit. Connection.close() and the end of the program wait for it, for a
limited time, and report what has not ended by then.

Invariants: clean-up runs in its own greenlets, which a kill of the caller does not reach. A forked child neither runs, awaits
nor reports its parent's clean-up.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import gevent

from s3po.runtime.forks import Task
from s3po.runtime.greenlets import GRAVEST, Captured, gravity, outlast

__all__ = ['GRACE_S', 'CleanUps']

log = logging.getLogger(__name__)

# How long an interrupted caller waits for its clean-up, which has usually ended by then.
GRACE_S: Final = 0.2
# The time limit of work whose caller was interrupted.
LATE_S: Final = 10.0
# How long the end of the program waits for all clean-up.
EXIT_S: Final = 3.0
# Polling interval of waits. The greenlets may belong to another thread, so events cannot be used.
LOOK_S: Final = 0.01

T = TypeVar('T')


class CleanUps:
    """The clean-up of one connection. Any thread may use it."""

    def __init__(self) -> None:
        # Each greenlet with its process, its hub and a description, for reports.
        self._running: dict[Any, tuple[int, Any, str]] = {}

    def __repr__(self) -> str:
        return f'<CleanUps running={self.running()}>'

    def running(self) -> list[str]:
        """The descriptions of the work that has not ended."""
        found = [doing for process, _, doing in list(self._running.values()) if process == os.getpid()]
        return list(dict.fromkeys(found))

    def run(self, function: Callable[[], object], doing: str, *, patience_s: float = GRACE_S) -> bool:
        """Run a clean-up, and wait for it for a limited time.

        Args:
            function: The work. It needs its own time limit.
            doing: Its description, for reports: 'the abort of upload 1234 of s3://bucket/key'.
            patience_s: How long to wait for its end, in seconds; math.inf for no limit. After an interruption at most GRACE_S.

        Returns:
            Whether it has ended; if not, it continues in the background.

        Raises:
            BaseException: The interruption of the wait, or the error of the function, if it ended in time.
        """
        work = _Work(function)
        self._start(work, doing)
        interruption = _wait(work, patience_s)
        if interruption is not None:
            raise interruption
        if not work.dead:
            work.is_awaited = False
            return False
        if isinstance(work.outcome.error, gevent.GreenletExit):
            log.error('other code killed %s', doing)
            return False
        work.outcome.unwrap()
        return True

    def shielded(self, function: Callable[[], T], on_late: Callable[[T], object], doing: str) -> T:
        """Call a function that must not be interrupted, and wait for it.

        It runs in its own greenlet. If the caller is interrupted during the wait, the function continues; if it succeeds within
        LATE_S, `on_late` is called with its result, so that what was created can be undone. The interruption is raised after
        that, or after GRACE_S. So the result is always either returned or passed to `on_late`.

        Args:
            function: The work. It must not need locks that the calling greenlet holds.
            on_late: Handles a result whose caller was interrupted. It needs its own time limit.
            doing: The description of the work, for reports.

        Returns:
            The function's return value.

        Raises:
            WorkKilled: Other code killed the greenlet of the function.
            BaseException: The error of the function, or the exception that was raised into the waiting greenlet; of several the
                gravest (KeyboardInterrupt and SystemExit before GreenletExit before all others, then the first).
        """
        work: _Work[T] = _Work(function)
        self._start(work, doing)
        try:
            work.join()
        except BaseException as interruption:
            late = _Work(lambda: _deliver_late(work, on_late, doing))
            self._start(late, doing)
            raise _wait(late, GRACE_S, interruption) or interruption from None
        return work.outcome.unwrap_killed()

    def wait(self, timeout_s: float) -> list[str]:
        """Wait until all work has ended, also in other threads.

        Returns:
            The descriptions of the work that has not ended.
        """
        until = time.monotonic() + timeout_s
        while (left := self.running()) and time.monotonic() < until:
            gevent.sleep(LOOK_S)
        return left

    def end(self) -> None:
        """Kill the work that still runs in this thread."""
        hub = gevent.get_hub()
        mine = [work for work, (process, its_hub, _) in list(self._running.items()) if (process, its_hub) == (os.getpid(), hub)]
        gevent.killall(mine, timeout=GRACE_S)

    def _start(self, work: _Work[Any], doing: str) -> None:
        _report_at_exit(self)
        self._running[work] = (os.getpid(), gevent.get_hub(), doing)
        # The link keeps this object alive until the greenlet has ended.
        work.link(self._forget)
        work.start()

    def _forget(self, work: Any) -> None:
        self._running.pop(work, None)


class _Work(Task, Generic[T]):
    """A function in a greenlet, with its outcome. Without this, gevent would print its error."""

    def __init__(self, function: Callable[[], T]) -> None:
        super().__init__(self._work)
        self.function = function
        self.outcome: Captured[T] = Captured()
        self.is_awaited = True

    def _work(self) -> None:
        self.outcome.capture(self.function)
        error = self.outcome.error
        if not self.is_awaited and error is not None:
            if gravity(error) == GRAVEST:
                # Ctrl-C reached this greenlet by chance: the hub raises it in the main greenlet.
                raise error
            log.info('clean-up in the background failed: %r', error)


def _wait(work: _Work[Any], patience_s: float, interruption: BaseException | None = None) -> BaseException | None:
    """Wait for the end of some work; after an interruption for GRACE_S at most.

    Returns:
        The exception to raise; None without an interruption.
    """
    interruption = outlast(work.join, interruption, patience_s=patience_s, grace_s=GRACE_S)
    if interruption is not None:
        work.is_awaited = False
    return interruption


def _deliver_late(work: _Work[T], on_late: Callable[[T], object], doing: str) -> None:
    work.join(LATE_S)
    if not work.dead:
        work.kill()
        log.warning(
            '%s got no response within %g s after its caller was interrupted; the store may have carried it out', doing, LATE_S
        )
        return
    if work.outcome.error is not None:
        log.info('%s failed after its caller was interrupted: %r', doing, work.outcome.error)
        return
    try:
        on_late(work.outcome.result)
    except Exception:
        log.warning('the clean-up after %s failed', doing, exc_info=True)


# All instances that have run something, for the end of the program.
_used: weakref.WeakSet[CleanUps] = weakref.WeakSet()


def _report_at_exit(cleanups: CleanUps) -> None:
    if not _used:
        # All earlier instances may be gone, and the handler still registered.
        atexit.unregister(_finish)
        atexit.register(_finish)
    _used.add(cleanups)


def _finish() -> None:
    """Wait for clean-up at the end of the program, for EXIT_S, and report what has not ended."""
    until = time.monotonic() + EXIT_S
    try:
        left = [doing for each in list(_used) for doing in each.wait(max(0.0, until - time.monotonic()))]
    except KeyboardInterrupt:
        left = [doing for each in list(_used) for doing in each.running()]
    if left:
        log.warning('the program ended before its clean-up: %s; abort what is left in the store by hand', '; '.join(left))
