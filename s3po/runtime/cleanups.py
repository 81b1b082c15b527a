"""Clean-up that goes on in the background when its caller cannot wait for it.

Control returns to the caller within GRACE_S of a kill, a timeout or Ctrl-C, however long the store or a disk is silent. What
was begun is finished behind the caller, within a limit of its own. Connection.close() waits for it, and so does the end of the
program; both for a bounded time, and both report what is not finished by then.

Invariants: clean-up runs in greenlets of its own, which no kill of the caller reaches; a forked child neither runs, waits for
nor reports what its parent began.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import gevent
from gevent.exceptions import LoopExit

from s3po.runtime.forks import Task
from s3po.runtime.greenlets import GRAVEST, Captured, gravity

__all__ = ['GRACE_S', 'CleanUps']

log = logging.getLogger(__name__)

# How long a caller that was interrupted waits for its clean-up. Mostly it is done by then.
GRACE_S: Final = 0.2
# How long work whose caller was interrupted may go on before it is given up.
LATE_S: Final = 10.0
# How long the end of the program waits for all clean-up.
EXIT_S: Final = 3.0
# How often a wait looks. The greenlets may belong to another thread, where no event reaches.
LOOK_S: Final = 0.01

T = TypeVar('T')


class CleanUps:
    """The clean-up of one connection. Any thread may use it."""

    def __init__(self) -> None:
        # Each greenlet with its process, its hub and what it does, for reports.
        self._running: dict[Any, tuple[int, Any, str]] = {}

    def __repr__(self) -> str:
        return f'<CleanUps running={self.running()}>'

    def running(self) -> list[str]:
        """What has not ended."""
        found = [doing for process, _, doing in list(self._running.values()) if process == os.getpid()]
        return list(dict.fromkeys(found))

    def run(self, function: Callable[[], object], doing: str, *, patience_s: float = GRACE_S) -> bool:
        """Clean up, and wait for it, but not for long.

        Args:
            function: The work. It needs a time limit of its own.
            doing: What it does, for reports: 'the abort of upload 1234 of s3://bucket/key'.
            patience_s: How long to wait for its end; math.inf for no limit. GRACE_S at the most from an interruption on.

        Returns:
            Whether it has ended; if not, it goes on in the background.

        Raises:
            BaseException: What interrupted the wait, or what the function raised before the wait was over.
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
        """Call a function that must not be cut in two, and wait for it.

        It runs in a greenlet of its own. If the caller is interrupted while it waits, the function goes on; if it succeeds
        within LATE_S, `on_late` is called with its result, so that what was created can be undone. The interruption is raised
        when that is done, or after GRACE_S. So the result is always either returned or given to `on_late`.

        Args:
            function: The work. It must not need locks that belong to the calling greenlet.
            on_late: What to do with a result that has no caller any more. It needs a time limit of its own.
            doing: What the function does, for reports.

        Returns:
            What the function returned.

        Raises:
            WorkKilled: Other code killed the greenlet in which the function ran.
            BaseException: What the function raised, or what was raised into the waiting greenlet; of several interruptions the
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
        """Wait until all has ended, in other threads too.

        Returns:
            What has not.
        """
        until = time.monotonic() + timeout_s
        while (left := self.running()) and time.monotonic() < until:
            gevent.sleep(LOOK_S)
        return left

    def end(self) -> None:
        """Kill what still runs in this thread."""
        hub = gevent.get_hub()
        mine = [work for work, (process, its_hub, _) in list(self._running.items()) if (process, its_hub) == (os.getpid(), hub)]
        gevent.killall(mine, timeout=GRACE_S)

    def _start(self, work: _Work[Any], doing: str) -> None:
        _report_at_exit(self)
        self._running[work] = (os.getpid(), gevent.get_hub(), doing)
        # The greenlet holds this object with it until it has ended.
        work.link(self._forget)
        work.start()

    def _forget(self, work: Any) -> None:
        self._running.pop(work, None)


class _Work(Task, Generic[T]):
    """A function in a greenlet, and what became of it. gevent would print its error."""

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
                # Ctrl-C hit this greenlet by chance: the hub raises it in the main one.
                raise error
            log.info('clean-up in the background failed: %r', error)


def _wait(work: _Work[Any], patience_s: float, interruption: BaseException | None = None) -> BaseException | None:
    """Wait for the end of some work, GRACE_S at the most from an interruption on.

    Returns:
        What is to be raised; None without an interruption.
    """
    until = time.monotonic() + patience_s
    while not isinstance(interruption, LoopExit):  # nothing is left that could end the wait
        try:
            work.join(None if until == math.inf else max(0.0, until - time.monotonic()))
        except BaseException as further:
            if interruption is None:
                until = min(until, time.monotonic() + GRACE_S)
            elif gravity(further) == gravity(interruption) == GRAVEST:
                # The second Ctrl-C, of an impatient user.
                interruption = further
                break
            if interruption is None or gravity(further) > gravity(interruption) or isinstance(further, LoopExit):
                interruption = further
        else:
            break
    if interruption is not None:
        work.is_awaited = False
    return interruption


def _deliver_late(work: _Work[T], on_late: Callable[[T], object], doing: str) -> None:
    work.join(LATE_S)
    if not work.dead:
        work.kill()
        log.warning(
            '%s was not answered within %g s after its caller had gone; the store may have carried it out', doing, LATE_S
        )
        return
    if work.outcome.error is not None:
        log.info('%s failed after its caller had gone: %r', doing, work.outcome.error)
        return
    try:
        on_late(work.outcome.result)
    except Exception:
        log.warning('the clean-up after %s failed', doing, exc_info=True)


# Those that have ever begun something, for the end of the program.
_used: weakref.WeakSet[CleanUps] = weakref.WeakSet()


def _report_at_exit(cleanups: CleanUps) -> None:
    if not _used:
        # They may all have gone since the last time.
        atexit.unregister(_finish)
        atexit.register(_finish)
    _used.add(cleanups)


def _finish() -> None:
    """At the end of the program: wait a little, and report what is not finished."""
    until = time.monotonic() + EXIT_S
    try:
        left = [doing for each in list(_used) for doing in each.wait(max(0.0, until - time.monotonic()))]
    except KeyboardInterrupt:
        left = [doing for each in list(_used) for doing in each.running()]
    if left:
        log.warning(
            'the program ends before its clean-up: %s; what is left in the store has to be aborted by hand', '; '.join(left)
        )
