"""Reports what blocks an event loop while a batch has jobs there, during the block.

One native thread per process runs while batches are open, and calls each of their event loops every half second. A loop that
waits for I/O responds at once. One that does not respond for 5 s is blocked: by a native lock, another thread, a process or a
computation. This is logged once per place, with the stack and advice. If one call of a callback blocks it, that is logged after
1 s, once per callback, with its name.

Calls are counted, not seconds: if the process was stopped or the machine slept, only one call is missed. (gevent's own
monitoring thread traces every switch of greenlets, has settings for the whole process, and prints its report.)

The thread ends before a fork and is started again in the parent: from Python 3.12 on, forking a process with threads emits a
warning.
"""

import functools
import itertools
import logging
import os
import sys
import traceback
import types
import weakref
from collections.abc import Collection
from typing import Any, Final, Protocol

from gevent import get_hub, monkey

from s3po.runtime.ends import await_ends
from s3po.runtime.remedies import CpuClock, remedy

__all__ = ['Watch', 'watch_hub']

log = logging.getLogger(__name__)

CALL_EVERY_S: Final = 0.5
MISSED_CALLS: Final = 10
# The calls that are missed during one call of a callback: between the first and the last, it has blocked the loop for 1 s.
CALLBACK_CALLS: Final = 3
# The callbacks are the program's; the package's own functions around them are not named.
_PACKAGE: Final = __name__.partition('.')[0]

# How long a fork waits for the end of the thread, which takes a millisecond unless it is writing a report.
_END_TIMEOUT_S: Final = 1.0

_allocate_native: Any = monkey.get_original('_thread', 'allocate_lock')
_start_native: Any = monkey.get_original('_thread', 'start_new_thread')


class IdleEvent(Protocol):
    """An event that is set while there is nothing to do."""

    def is_set(self) -> bool:
        """Whether it is set. Called in another thread."""


class Watch:
    """A batch's registration of its event loop. It ends with close(), or when it is no longer referenced."""

    __slots__ = ('__weakref__', 'callers', 'is_idle')

    def __init__(self, is_idle: IdleEvent, callers: Collection[types.CodeType] = ()) -> None:
        self.is_idle = is_idle
        self.callers = callers

    def close(self) -> None:
        """Stop watching."""
        _monitor.remove(self)


def watch_hub(is_idle: IdleEvent, callers: Collection[types.CodeType] = ()) -> Watch:
    """Monitor the calling thread's event loop.

    Args:
        is_idle: While it is set, a blocked loop is not reported.
        callers: The code of the functions that call callbacks of the program.
    """
    watch = Watch(is_idle, callers)
    _monitor.add(get_hub(), watch)
    return watch


class _Watched:
    """A monitored event loop, and whether it responds. Created in its thread."""

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        self.watches: list[weakref.ref[Watch]] = []
        self._is_answered = True
        self._missed = 0
        self._clock = CpuClock()
        self._cpu_s = 0.0
        self._told: set[tuple[tuple[str, str], ...]] = set()
        # The function that has called the running callback, and the number of calls that were missed during it.
        self._caller: types.FrameType | None = None
        self._missed_in_callback = 0
        self._told_callbacks: set[str] = set()

    def is_busy(self) -> bool:
        """Whether any of its batches has work."""
        return any(watch is not None and not watch.is_idle.is_set() for watch in [each() for each in self.watches])

    def look(self) -> None:
        """Call the loop, or count one more call without a response."""
        if not self.is_busy():
            self._missed = 0
            self._caller = None
        elif self._is_answered:
            self._missed = 0
            self._caller = None
            self._is_answered = False
            self.hub.loop.run_callback_threadsafe(self._answer)
        else:
            self._missed += 1
            if self._missed == 1:
                self._cpu_s = self._clock.seconds()
            self._look_for_callback()
            if self._missed == MISSED_CALLS:
                self._report()

    def _answer(self) -> None:
        self._is_answered = True

    def _look_for_callback(self) -> None:
        """Report a callback if one call of it has been running since some missed calls."""
        frame = self._frame()
        caller = None if frame is None else self._caller_in(frame)
        self._missed_in_callback = self._missed_in_callback + 1 if caller is self._caller else 1
        self._caller = caller
        if frame is None or caller is None or self._missed_in_callback != CALLBACK_CALLS:
            return
        name = _name_of_callback(frame, caller)
        if name not in self._told_callbacks:
            self._told_callbacks.add(name)
            self._log(frame, f'the callback {name}', (CALLBACK_CALLS - 1) * CALL_EVERY_S)

    def _report(self) -> None:
        frame = self._frame()
        if frame is None or self._is_told(frame):
            return
        # A callback is reported once.
        callback = None if self._caller is None else _name_of_callback(frame, self._caller)
        if callback in self._told_callbacks:
            return
        if callback is not None:
            self._told_callbacks.add(callback)
        self._log(frame, 'a call', MISSED_CALLS * CALL_EVERY_S)

    def _frame(self) -> types.FrameType | None:
        """The innermost frame of the thread; None if it has ended, or waits at an interactive prompt."""
        return sys._current_frames().get(self.hub.thread_ident)

    def _caller_in(self, frame: types.FrameType) -> types.FrameType | None:
        callers = {code for watch in [each() for each in self.watches] if watch is not None for code in watch.callers}
        return next((each for each, _ in traceback.walk_stack(frame) if each.f_code in callers), None)

    def _log(self, frame: types.FrameType, what: str, blocked_s: float) -> None:
        log.warning(
            '%s has blocked the event loop for %.0f s: all transfers of this thread wait. %s\nMost recent call last:\n%s',
            what,
            blocked_s,
            remedy(frame, self._clock.seconds() - self._cpu_s, (self._missed - 1) * CALL_EVERY_S),
            ''.join(traceback.format_stack(frame)),
        )

    def _is_told(self, frame: types.FrameType) -> bool:
        place = tuple((each.f_code.co_filename, each.f_code.co_name) for each, _ in traceback.walk_stack(frame))
        is_told = place in self._told
        self._told.add(place)
        return is_told


def _name_of_callback(frame: types.FrameType, caller: types.FrameType) -> str:
    """The name of the function that a callback's caller has called, as 'module:name'.

    Args:
        frame: The innermost frame.
        caller: The frame of the function that calls callbacks; it is one of the outer frames.
    """
    inside = list(itertools.takewhile(lambda each: each is not caller, (each for each, _ in traceback.walk_stack(frame))))
    # A callback may be wrapped in a function of this package.
    names = [(str(each.f_globals.get('__name__')), each.f_code.co_qualname) for each in reversed(inside)]
    own = [name for name in names if name[0].partition('.')[0] != _PACKAGE]
    if not names:
        # Written in C.
        function = caller.f_locals.get('function')
        while isinstance(function, functools.partial):
            function = function.func
        names = [(str(getattr(function, '__module__', None)), str(getattr(function, '__qualname__', function)))]
    return ':'.join((own or names)[0])


class _Monitor:
    """The monitoring thread and the loops that it calls."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Reset in a forked child, which has no such thread and nothing to monitor yet."""
        self._lock = _allocate_native()
        self._watched: dict[int, _Watched] = {}
        self._ending: Any = None
        self._has_ended: Any = None
        self._ident = 0

    def add(self, hub: Any, watch: Watch) -> None:
        """Monitor a loop for one more batch; starts the thread if necessary."""
        with self._lock:
            watched = self._watched.get(id(hub))
            if watched is None:
                watched = self._watched[id(hub)] = _Watched(hub)
            watched.watches.append(weakref.ref(watch))
            self._start()

    def remove(self, watch: Watch) -> None:
        """End a batch's registration."""
        with self._lock:
            for watched in self._watched.values():
                watched.watches = [each for each in watched.watches if each() is not watch]

    def end_thread(self) -> None:
        """End the thread, and wait for its end."""
        with self._lock:
            ending, has_ended, self._ending = self._ending, self._has_ended, None
        if ending is not None:
            ending.release()
            # Acquired first: a thread that was just started may not have begun.
            has_ended.acquire(True, _END_TIMEOUT_S)
            await_ends({self._ident})

    def start_thread(self) -> None:
        """Start the thread again, if there are loops to monitor."""
        with self._lock:
            if self._pruned():
                self._start()

    def _start(self) -> None:
        if self._ending is None:
            self._ending, self._has_ended = _allocate_native(), _allocate_native()
            self._ending.acquire()
            self._has_ended.acquire()
            try:
                self._ident = _start_native(self._run, (self._ending, self._has_ended))
            except RuntimeError:
                # At the end of the program, from Python 3.12 on, no thread can be started.
                self._ending = None

    def _run(self, ending: Any, has_ended: Any) -> None:
        try:
            while not ending.acquire(True, CALL_EVERY_S):
                with self._lock:
                    watched = self._pruned()
                    if not watched:
                        self._ending = None
                        return
                for each in watched:
                    _look(each)
                del watched, each
        finally:
            has_ended.release()

    def _pruned(self) -> list[_Watched]:
        for name, watched in list(self._watched.items()):
            watched.watches = [each for each in watched.watches if each() is not None]
            if not watched.watches or watched.hub.loop is None:
                del self._watched[name]
        return list(self._watched.values())


def _look(watched: _Watched) -> None:
    try:
        watched.look()
    except Exception:
        # The thread may have destroyed its loop a moment ago.
        log.debug('the event loop could not be watched', exc_info=True)


# The only state of this module.
_monitor: Final = _Monitor()
os.register_at_fork(before=_monitor.end_thread, after_in_parent=_monitor.start_thread, after_in_child=_monitor.renew)
