"""Work that must not block the other greenlets, and values per event loop."""

# Imported here because gevent's threadpool needs it, and importing it during interpreter shutdown fails: transfers at exit
# would break.
import concurrent.futures.thread  # noqa: F401
import contextvars
import math
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, TypeVarTuple

import gevent
from gevent import get_hub, monkey
from gevent.exceptions import LoopExit

from s3po.runtime.forks import process
from s3po.runtime.hubs import destroy_ended_hubs, is_own_hub, note_hub
from s3po.runtime.threads import has_greenlets

__all__ = ['GRAVEST', 'Captured', 'PerHub', 'WorkKilled', 'gravity', 'isolated', 'offload', 'outlast']

GRAVEST: Final = 2

T = TypeVar('T')
Ts = TypeVarTuple('Ts')

# A native thread local, patched or not: all greenlets of a thread share it, and it ends with the thread.
_ThreadLocal: Any = monkey.get_original('_thread', '_local')


class WorkKilled(RuntimeError):
    """Other code killed the greenlet of shielded work; how much of it was done is unknown."""


def offload(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run blocking work (disk, hashing of large data) in gevent's threadpool, while other greenlets continue.

    In a thread without greenlets, and if no thread can be started (at the end of the program, from Python 3.12 on), the
    function is called directly. The way to the pool and back costs about 50 µs, so small work is cheaper inline. The pool has
    ten threads, which also look up host names.

    If the waiting greenlet is killed or interrupted, it still waits for the function to return, and raises only then. So what
    the function uses (a descriptor, a buffer) may be closed or reused as soon as this call has ended in any way.

    Args:
        function: The work. It runs in another native thread, so it must not use greenlets, gevent's locks or its sockets.
        args: Its arguments.

    Returns:
        The function's return value.

    Raises:
        BaseException: The function's error, or the exception that was raised into the waiting greenlet.
    """
    if not has_greenlets():
        return function(*args)
    outcome: Captured[T] = Captured()
    try:
        task = get_hub().threadpool.spawn(outcome.capture, lambda: function(*args))
    except RuntimeError:
        return function(*args)
    interruption = outlast(task.wait)
    if interruption is None:
        return outcome.unwrap()
    try:
        raise interruption
    finally:
        # The traceback of the interruption refers to this frame: see Captured.unwrap().
        del interruption


def isolated(function: Callable[[], T], on_lost: Callable[[T], object] | None = None) -> T:
    """Call a function in its own greenlet, and wait for it.

    An exception that is raised into the caller meanwhile (a kill, a gevent.Timeout, or the caller's own `gevent.Timeout(1,
    MyError())`) is raised here unchanged, and ends the function with GreenletExit. Without this, libraries that convert every
    Exception would take MyError for a network error.

    Args:
        function: The work. It must not need locks that the calling greenlet holds.
        on_lost: Called with a result that arrived just when the caller was interrupted, to close it. It must not wait.

    Returns:
        The function's return value.

    Raises:
        WorkKilled: Other code killed the greenlet of the function.
        BaseException: The function's error, or the exception that was raised into the waiting greenlet.
    """
    outcome: Captured[T] = Captured()
    # A greenlet does not inherit context variables; boto.py keeps headers in one.
    work = gevent.spawn(contextvars.copy_context().run, outcome.capture, function)
    try:
        work.join()
    except BaseException:
        if on_lost is not None:
            work.link(lambda _: on_lost(outcome.result) if outcome.error is None else None)
        work.kill(block=False)
        raise
    return outcome.unwrap_killed()


class PerHub(Generic[T]):
    """One value per process and gevent hub, which in effect means per native thread.

    gevent's sockets, locks and pools belong to the hub under which they were created. In a PerHub, no other native thread gets
    them, and a forked child gets new values. A value is dropped when its native thread ends.

    Any thread may call any method. `get` costs about 200 ns.

    Args:
        factory: Creates a hub's value on first use. If it lets other greenlets run, two of them may call it at the same time;
            the first to finish wins, and the other value is dropped.
        on_end: Called with a value that is dropped, in its own thread and process, except at the end of the process. It must
            neither wait nor fail.
    """

    __slots__ = ('_factory', '_local', '_on_end', '_slots')

    def __init__(self, factory: Callable[[], T], on_end: Callable[[T], object] | None = None) -> None:
        self._factory = factory
        self._on_end = on_end
        self.clear()

    def get(self) -> T:
        """Return the calling thread's value, and create it if it does not exist.

        Returns:
            The value of this process and hub.
        """
        slot: _Slot[T] | None = getattr(self._local, 'slot', None)
        if slot is not None and slot.process is process.mark and slot.hub is get_hub():
            return slot.value
        return self._make(slot)

    def values(self) -> list[T]:
        """Return all values of this process, also those of other native threads, for example to close them.

        Returns:
            The values of the threads that exist, in no particular order.
        """
        slots = [reference() for reference in self._slots.valuerefs()]
        return [slot.value for slot in slots if slot is not None and slot.process is process.mark]

    def clear(self) -> None:
        """Drop the values of all threads. The next `get` creates a new one."""
        # Replacing the local drops the values of all threads.
        self._local = _ThreadLocal()
        # Weak, because a value usually refers to its hub: a strong reference would keep both alive after the thread has ended.
        self._slots: weakref.WeakValueDictionary[int, _Slot[T]] = weakref.WeakValueDictionary()

    def _make(self, stale: '_Slot[T] | None') -> T:
        destroy_ended_hubs()
        sign = note_hub()
        value = self._factory()
        current: _Slot[T] | None = getattr(self._local, 'slot', None)
        if current is not None and current is not stale:
            return current.value
        slot = _Slot(value, self._on_end, sign)
        self._local.slot = slot
        self._slots[id(slot)] = slot
        return value


class _Slot(Generic[T]):
    """A value, with its process and hub."""

    __slots__ = ('__weakref__', 'hub', 'on_end', 'process', 'sign', 'value')

    def __init__(self, value: T, on_end: Callable[[T], object] | None, sign: object) -> None:
        self.value = value
        self.on_end = on_end
        # Keeps the hub alive for on_end.
        self.sign = sign
        self.hub = get_hub()
        self.process = process.mark

    def __del__(self) -> None:
        # Not weakref.finalize(): it would refer to the value, and most values refer to their PerHub.
        if self.on_end is not None and self.process is process.mark and is_own_hub(self.hub) and not sys.is_finalizing():
            self.on_end(self.value)


class Captured(Generic[T]):
    """The outcome of a call in another greenlet or thread.

    Not kept in the greenlet or in the threadpool's result, because gevent prints the errors of both.
    """

    __slots__ = ('error', 'result')

    def __init__(self) -> None:
        # The outcome of work that was killed before it began.
        self.error: BaseException | None = gevent.GreenletExit('it never began')
        self.result: T

    def capture(self, function: Callable[[], T]) -> None:
        """Call the function, and store its return value or error."""
        self.error = None
        try:
            self.result = function()
        except BaseException as error:  # raised by unwrap() in the waiting greenlet
            self.error = error

    def unwrap_killed(self) -> T:
        """Like unwrap(), for a greenlet that only other code kills.

        Raises:
            WorkKilled: Other code has killed it.
        """
        if isinstance(self.error, gevent.GreenletExit):
            raise WorkKilled('other code killed the greenlet that ran it') from self.error
        return self.unwrap()

    def unwrap(self) -> T:
        """Return the call's return value, or raise its error."""
        if self.error is None:
            return self.result
        try:
            raise self.error
        finally:
            # The error's traceback refers to this frame: without this cycle, the error and its frames are freed at once.
            del self


def outlast(
    wait: Callable[[float | None], object],
    interruption: BaseException | None = None,
    *,
    patience_s: float = math.inf,
    grace_s: float = math.inf,
) -> BaseException | None:
    """Wait for the end of some work, whatever is raised meanwhile.

    Args:
        wait: Waits for the end, for so many seconds at most; None for no limit.
        interruption: What was raised before.
        patience_s: How long to wait, in seconds.
        grace_s: How long to wait after the first interruption.

    Returns:
        The exception to raise afterwards, the gravest one; None without an interruption.
    """
    until = time.monotonic() + patience_s
    while not isinstance(interruption, LoopExit):  # the event loop has nothing left that could end the wait
        try:
            wait(None if until == math.inf else max(0.0, until - time.monotonic()))
        except BaseException as further:
            if interruption is None:
                until = min(until, time.monotonic() + grace_s)
            elif gravity(further) == gravity(interruption) == GRAVEST:
                # The user has pressed Ctrl-C again.
                return further
            if interruption is None or gravity(further) > gravity(interruption) or isinstance(further, LoopExit):
                interruption = further
        else:
            break
    return interruption


def gravity(interruption: BaseException) -> int:
    """Rank an interruption: of several, the one with the highest number is raised."""
    if isinstance(interruption, KeyboardInterrupt | SystemExit):
        return GRAVEST
    return 1 if isinstance(interruption, gevent.GreenletExit) else 0
