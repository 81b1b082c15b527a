"""A native thread with its own event loop, whose functions run in greenlets beside the caller's thread.

Invariants:

- Each submitted function ends: with its result, its error, or Cancelled after cancel(), close() or at the end of the program.
- The thread ends with close(), when its NativeWorker is freed, and at the end of the program.
- A forked child inherits neither the thread nor its work.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import contextvars
import functools
import logging
import sys
from collections.abc import Callable, Generator
from typing import Any, Final, Generic, TypeVar

import gevent
import gevent.event
from gevent import monkey

from s3po.errors import Cancelled, S3poError
from s3po.runtime import Captured, Task, destroy_ended_hubs, note_hub, process, wait_until

__all__ = ['NativeWorker', 'Work', 'running_loop']

log = logging.getLogger(__name__)

# The longest wait for the work in progress at the end of the program, in seconds.
EXIT_S: Final = 10.0

T = TypeVar('T')

# Native, also in a patched program: a greenlet would not run while the program computes.
_start_new_thread: Any = monkey.get_original('_thread', 'start_new_thread')
_allocate_lock: Any = monkey.get_original('_thread', 'allocate_lock')
# Reentrant, because the garbage collector may free a NativeWorker at any time.
_RLock: Any = monkey.get_original('_thread', 'RLock')


def running_loop() -> Any:
    """The asyncio event loop that runs in the calling thread; None without one. Does not import asyncio."""
    events = sys.modules.get('asyncio.events')
    # asyncio documents this function for authors of event loops (it is in __all__), despite the underscore.
    return None if events is None else events._get_running_loop()  # noqa: SLF001


class Work(Generic[T]):
    """A function in the thread of a NativeWorker. It may be awaited in any asyncio event loop."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._captured: Captured[T] = Captured()
        self._function: Callable[[], T] | None = function
        self._process = process.mark
        self._lock = _allocate_lock()
        # None after the end.
        self._listeners: list[Callable[[], object]] | None = []
        self._task: Task | None = None
        self._is_cancelled = False

    def __await__(self) -> Generator[Any, None, T]:
        loop = running_loop()
        if loop is not None and not self.ready():
            future = loop.create_future()
            self.on_ready(functools.partial(_call_in, loop, _set_done, future))
            try:
                yield from future
            except BaseException:
                self.cancel()
                raise
        return self.get()

    def ready(self) -> bool:
        """Whether it has ended. (In a forked child, the parent's work counts as ended.)"""
        return self._listeners is None or self._process is not process.mark

    def get(self) -> T:
        """Wait for the end, and return the result.

        Raises:
            Cancelled: It was cancelled.
            BaseException: The function's error.
        """
        wait_until(self.ready)
        if self._process is not process.mark:
            raise S3poError('this call belongs to the parent of this process')
        if isinstance(self._captured.error, gevent.GreenletExit):
            raise Cancelled('the call was cancelled before its end')
        return self._captured.unwrap()

    def on_ready(self, listener: Callable[[], object]) -> None:
        """Call a function at the end, in the worker's thread; or now, if it has ended."""
        if not self.ready():
            with self._lock:
                if self._listeners is not None:
                    self._listeners.append(listener)
                    return
        listener()

    def cancel(self) -> None:
        """End the function with GreenletExit. Does not wait; no effect after its end. Any thread may call this."""
        self._is_cancelled = True
        task = self._task
        if task is not None and not self.ready():
            task.end_later()

    # --- for the worker's thread

    def start(self, then: Callable[[], object]) -> None:
        """Start the function in a greenlet of the calling thread, and call `then` after its end."""
        self._task = task = Task(self.run)
        # Not in a `finally` of the function: it does not run if the greenlet is killed before it begins.
        task.rawlink(lambda _: self.end(then))
        task.start()
        if self._is_cancelled:
            task.kill(block=False)

    def run(self) -> None:
        """Call the function, and keep its outcome."""
        assert self._function is not None
        self._captured.capture(self._function)

    def end(self, then: Callable[[], object] = lambda: None) -> None:
        """Mark it as ended, and call the listeners."""
        with self._lock:
            listeners, self._listeners = self._listeners or [], None
        self._function = self._task = None
        for listener in (*listeners, then):
            listener()


def _call_in(loop: Any, function: Callable[..., object], *arguments: object) -> None:
    """Call a function in another thread's asyncio event loop, unless the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments)


def _set_done(future: Any) -> None:
    if not future.done():
        future.set_result(None)


class NativeWorker:
    """Runs functions in its own native thread, each in a greenlet. The thread is started when it is needed.

    Any thread may use it.
    """

    def __init__(self, on_end: Callable[[], object]) -> None:
        """
        Args:
            on_end: Called in the thread before it ends, to close what belongs to its event loop. It must not refer to this
                object.
        """
        self._on_end = on_end
        self._renew()

    def _renew(self) -> None:
        self._process = process.mark
        self._lock = _allocate_lock()
        self._thread: _Thread | None = None

    def __reduce__(self) -> Any:
        return NativeWorker, (self._on_end,)

    def submit(self, function: Callable[[], T]) -> Work[T]:
        """Run a function, with the caller's context variables. If no thread can be started, it is run in the calling thread."""
        work = Work(functools.partial(contextvars.copy_context().run, function))
        if self._process is not process.mark:
            self._renew()
        with self._lock:
            is_queued = self._thread is not None and self._thread.submit(work)
            if not is_queued:
                destroy_ended_hubs()
                # At the end of the program, from Python 3.12 on, no thread can be started.
                with contextlib.suppress(RuntimeError):
                    self._thread = _Thread(self._on_end)
                    is_queued = self._thread.submit(work)
        if not is_queued:
            work.run()
            work.end()
        return work

    def close(self) -> Work[None] | None:
        """Cancel the work in progress and end the thread, without waiting.

        Returns:
            The end of the thread; None if there is none.
        """
        thread, self._thread = self._thread, None
        if thread is None or not thread.is_own():
            return None
        thread.cancel()
        thread.finish()
        return thread.ended

    def __del__(self) -> None:
        if self._thread is not None:
            self._thread.finish()


class _Thread:
    """The native thread. It does not refer to its NativeWorker.

    Attributes:
        ended: Its end, which may be waited for.
    """

    def __init__(self, on_end: Callable[[], object]) -> None:
        self._on_end = on_end
        self._process = process.mark
        self._lock = _RLock()
        self._queue: collections.deque[Work[Any]] = collections.deque()
        self._works: set[Work[Any]] = set()
        self._is_finishing = False
        self._watcher: Any = None
        self.ended: Work[None] = Work(self._serve)
        atexit.register(self._exit)
        try:
            _start_new_thread(self._run, ())
        except RuntimeError:
            atexit.unregister(self._exit)
            raise

    def is_own(self) -> bool:
        """Whether it is a thread of this process."""
        return self._process is process.mark

    def submit(self, work: Work[Any]) -> bool:
        """Queue work. Returns False if the thread is ending, or does not exist in this process."""
        if not self.is_own():
            return False
        with self._lock:
            if self._is_finishing:
                return False
            self._queue.append(work)
            self._works.add(work)
            self._wake()
        return True

    def cancel(self) -> None:
        """Cancel all work."""
        with self._lock:
            works = list(self._works)
        for work in works:
            work.cancel()

    def finish(self) -> None:
        """End the thread after its work. Does not wait."""
        if self.is_own():
            with self._lock:
                self._is_finishing = True
                self._wake()

    def _wake(self) -> None:
        if self._watcher is not None:
            self._watcher.send()

    def _exit(self) -> None:
        """End the thread at the end of the program, where it could not go on."""
        if not self.is_own():
            return
        with self._lock:
            unfinished = sum(not work.ready() for work in self._works)
        self.cancel()
        self.finish()
        has_ended = wait_until(self.ended.ready, EXIT_S)
        if unfinished or not has_ended:
            log.warning('%d calls were cancelled at the end of the program', unfinished)

    def _run(self) -> None:
        try:
            self.ended.run()
        finally:
            with self._lock:
                self._is_finishing = True
            atexit.unregister(self._exit)
            for work in (*self._works, self.ended):
                work.end()

    def _serve(self) -> None:
        note_hub()
        something = gevent.event.Event()
        self._watcher = gevent.get_hub().loop.async_()
        self._watcher.start(something.set)
        try:
            while self._works or not self._is_finishing:
                something.clear()
                while self._queue:
                    self._start(self._queue.popleft(), something)
                if self._works or not self._is_finishing:
                    something.wait()
            self._on_end()
        finally:
            with self._lock:
                watcher, self._watcher = self._watcher, None
            watcher.close()

    def _start(self, work: Work[Any], something: gevent.event.Event) -> None:
        # (In a function of its own: a variable of _serve() would keep the last one alive.)
        work.start(functools.partial(self._forget, work, something))

    def _forget(self, work: Work[Any], something: gevent.event.Event) -> None:
        with self._lock:
            self._works.discard(work)
        something.set()
