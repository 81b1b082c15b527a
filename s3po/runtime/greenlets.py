"""Work that must not stop the other greenlets, and values of one event loop."""

# gevent's threadpool needs it, and it cannot be imported while the process ends: that would break transfers at exit.
import concurrent.futures.thread  # noqa: F401
import contextvars
import logging
import sys
import weakref
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, TypeVarTuple

import gevent
from gevent import get_hub, monkey
from gevent.exceptions import LoopExit

from s3po.runtime.forks import process
from s3po.runtime.hubs import destroy_ended_hubs, is_own_hub, note_hub
from s3po.runtime.threads import has_greenlets

__all__ = ['GRAVEST', 'Captured', 'PerHub', 'WorkKilled', 'gravity', 'isolated', 'offload']

log = logging.getLogger(__name__)

GRAVEST: Final = 2

T = TypeVar('T')
Ts = TypeVarTuple('Ts')

# A thread's own, patched or not: all greenlets of a native thread share it, and it goes when the thread ends.
_ThreadLocal: Any = monkey.get_original('_thread', '_local')


class WorkKilled(RuntimeError):
    """Other code killed the greenlet that did shielded work; how far it came is not known."""


def offload(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run blocking work (disk, hashing of large data) in gevent's threadpool, while other greenlets go on.

    In a thread that has no greenlets the function is called directly: there is nobody to make way for. The hop to the pool and
    back costs about 50 us, so small things are cheaper inline. The pool has ten threads, which also look up host names.

    If the waiting greenlet is killed or interrupted, it still waits for the function to return, and only then raises. What
    the function uses (a descriptor, a buffer) may therefore be closed or reused as soon as this call is left in any way.

    Args:
        function: The work. It runs in another native thread, so it must not touch greenlets, gevent's locks or its sockets.
        args: Its arguments.

    Returns:
        What the function returned.

    Raises:
        BaseException: What the function raised, or what was raised into the waiting greenlet.
    """
    if not has_greenlets():
        return function(*args)
    outcome: Captured[T] = Captured()
    task = get_hub().threadpool.spawn(outcome.capture, lambda: function(*args))
    _wait_until_done(task.wait)
    return outcome.unwrap()


def isolated(function: Callable[[], T], on_lost: Callable[[T], object] | None = None) -> T:
    """Call a function in a greenlet of its own, and wait for it.

    What is raised into the caller meanwhile (a kill, a gevent.Timeout, or the caller's own `gevent.Timeout(1, MyError())`) is
    raised here as it is, and ends the function with GreenletExit. Without this, libraries that translate every Exception would
    take MyError for a failure of the network.

    Args:
        function: The work. It must not need locks that belong to the calling greenlet.
        on_lost: Called with a result that came just when the caller was interrupted, to close it. It must not wait.

    Returns:
        What the function returned.

    Raises:
        WorkKilled: Other code killed the greenlet in which the function ran.
        BaseException: What the function raised, or what was raised into the waiting greenlet.
    """
    outcome: Captured[T] = Captured()
    # A greenlet has no context variables of the one that made it; boto.py keeps headers in one.
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
    """One value per process and gevent hub, which in effect is one per native thread.

    Sockets, locks and pools of gevent's belong to the hub that they were made under. Kept in a PerHub, they are never seen by
    another native thread, nor by a forked child, which gets values of its own. A value goes when its native thread ends.

    Any thread may call any method. `get` costs about 200 ns.

    Args:
        factory: Makes a hub's value when it is first asked for. If it lets other greenlets run, two of them may call it at
            the same time; the first to finish wins, and the other value is dropped.
        on_end: Called with a value that goes, in its own thread and process, but not where the process ends. It must neither
            wait nor fail.
    """

    __slots__ = ('_factory', '_local', '_on_end', '_slots')

    def __init__(self, factory: Callable[[], T], on_end: Callable[[T], object] | None = None) -> None:
        self._factory = factory
        self._on_end = on_end
        self.clear()

    def get(self) -> T:
        """Return the calling thread's value, which is made if it does not exist.

        Returns:
            The one value of this process and hub.
        """
        slot: _Slot[T] | None = getattr(self._local, 'slot', None)
        if slot is not None and slot.process is process.mark and slot.hub is get_hub():
            return slot.value
        return self._make(slot)

    def values(self) -> list[T]:
        """Return all values of this process, those of other native threads too, for instance to close them.

        Returns:
            The values of threads that live, in no particular order.
        """
        slots = [reference() for reference in self._slots.valuerefs()]
        return [slot.value for slot in slots if slot is not None and slot.process is process.mark]

    def clear(self) -> None:
        """Forget all values, of all threads. The next `get` makes a new one."""
        # A local's values live as long as it does: so the other threads' go too.
        self._local = _ThreadLocal()
        # Weak, because a value mostly holds its hub: kept here, a thread's value and hub would outlive the thread.
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
    """A value, and the process and hub that it belongs to."""

    __slots__ = ('__weakref__', 'hub', 'on_end', 'process', 'sign', 'value')

    def __init__(self, value: T, on_end: Callable[[T], object] | None, sign: object) -> None:
        self.value = value
        self.on_end = on_end
        # Keeps the hub for on_end.
        self.sign = sign
        self.hub = get_hub()
        self.process = process.mark

    def __del__(self) -> None:
        # No weakref.finalize(): it would hold the value, and most values hold the PerHub that they are of.
        if self.on_end is not None and self.process is process.mark and is_own_hub(self.hub) and not sys.is_finalizing():
            self.on_end(self.value)


class Captured(Generic[T]):
    """What became of a call that was made elsewhere: in another greenlet or thread.

    Kept here and not in the greenlet or the threadpool's result, because gevent prints the errors of both.
    """

    __slots__ = ('error', 'result')

    def __init__(self) -> None:
        # For work that was killed before it began.
        self.error: BaseException | None = gevent.GreenletExit('it never began')
        self.result: T

    def capture(self, function: Callable[[], T]) -> None:
        """Call it, and keep what it returns or raises."""
        self.error = None
        try:
            self.result = function()
        except BaseException as error:  # raised again by unwrap, in the greenlet that waits
            self.error = error

    def unwrap_killed(self) -> T:
        """As unwrap(), for a greenlet that only other code kills.

        Raises:
            WorkKilled: Other code has killed it.
        """
        if isinstance(self.error, gevent.GreenletExit):
            raise WorkKilled('other code killed the greenlet that did it') from self.error
        return self.unwrap()

    def unwrap(self) -> T:
        """Return what it returned, or raise what it raised."""
        if self.error is None:
            return self.result
        try:
            raise self.error
        finally:
            # The error's traceback holds this frame: without the cycle it is freed at once, and all its frames with it.
            del self


def _wait_until_done(wait: Callable[[], object]) -> None:
    try:
        wait()
    except BaseException as interruption:
        raise _outlast(wait, interruption) from None


def _outlast(wait: Callable[[], object], interruption: BaseException) -> BaseException:
    """Wait to the end, whatever is raised meanwhile, and return what is to be raised then."""
    while not isinstance(interruption, LoopExit):  # nothing is left that could end the wait
        try:
            wait()
        except BaseException as further:
            if gravity(further) == gravity(interruption) == GRAVEST:
                return further
            if gravity(further) > gravity(interruption) or isinstance(further, LoopExit):
                interruption = further
        else:
            break
    return interruption


def gravity(interruption: BaseException) -> int:
    if isinstance(interruption, KeyboardInterrupt | SystemExit):
        return GRAVEST
    return 1 if isinstance(interruption, gevent.GreenletExit) else 0
