"""Forked children: none of the parent's greenlets continues in a child.

fork() copies all greenlets, with what they wait for: sockets that the parent continues to use, timers, locks. As soon as a
child waits cooperatively (`time.sleep`, a socket), they would continue there: read the parent's responses, send its requests,
write to its files and call its callbacks a second time.

So if s3po has work in progress in the forking thread, the child gets a new event loop, and the copy of the parent's is
destroyed: no greenlet of the parent is woken any more, except the one that called fork(). They are not killed either: their
clean-up would abort the parent's uploads and remove its files. If no work is in progress, nothing is changed.

If the forking greenlet is one of s3po's own (a callback in a worker, a source that is read), the child process ends when the
user's code returns: it would continue a transfer of the parent otherwise.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn, Protocol

import gevent
import gevent.hub
import gevent.socket
from gevent import monkey
from gevent._hub_local import get_hub_if_exists, get_loop, set_hub, set_loop
from greenlet import greenlet

from s3po.runtime import hubs, threads

__all__ = ['Task', 'disowned_in_child', 'leave_child', 'process', 'spawn', 'under_way', 'watched']

log = logging.getLogger(__name__)


class _Process:
    """Identifies the running process: a forked child has another mark than its parent.

    The process id would do too, but is a system call: 50 to 200 ns.

    Attributes:
        mark: An object to store, and to compare with `is`.
        origin: In a forked child, the greenlet that called fork().
        under_way: The number of operations in progress that are neither a Task nor watched.
    """

    __slots__ = ('mark', 'origin', 'under_way')

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.mark = object()
        self.origin = gevent.getcurrent()
        self.under_way = 0


# The state of this module, changed only by a fork; and the objects that a fork checks.
process: Final = _Process()


class Busy(Protocol):
    """An object that may have work in progress."""

    def is_busy(self, hub: Any) -> bool:
        """Whether it has work in progress in the thread of that hub."""


class Disowned(Protocol):
    """An object of the parent, such as a connection."""

    def disown(self) -> None:
        """Make it unusable in a forked child, without sending anything to the peer. Must not wait."""


_tasks: Final[weakref.WeakSet[Task]] = weakref.WeakSet()
_busy: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
_disowned: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


class Task(gevent.Greenlet):  # type: ignore[type-arg]  # generic in its stubs only
    """A greenlet of s3po. It never continues in a forked child."""

    # gevent keeps up to ten objects per greenlet for the stack that made it, all of which the garbage collector visits.
    spawning_stack_limit = 0

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        super().__init__(_run_in_parent, process.mark, function, arguments)
        self.process = process.mark
        self.hub = gevent.get_hub()
        _tasks.add(self)

    def __repr__(self) -> str:
        # Not gevent's repr, which shows the arguments: methods of the greenlet itself are among them, which recurses for ever.
        return f'<{type(self).__name__} at {id(self):#x}>'

    def end_later(self, exception: type[gevent.GreenletExit] = gevent.GreenletExit) -> None:
        """Kill it without waiting for its end. Any thread may call this; no effect in a forked child."""
        if self.process is not process.mark:
            return
        if self.hub is gevent.get_hub():
            self.kill(exception, block=False)
        elif self.hub.loop is not None:
            self.hub.loop.run_callback_threadsafe(self.kill, exception, False)


def spawn(function: Callable[..., object], *arguments: object) -> Task:
    """Create and start a Task."""
    task = Task(function, *arguments)
    task.start()
    return task


def watched(busy: Busy) -> None:
    """Register an object whose is_busy() is called when the process forks."""
    _busy.add(busy)


def disowned_in_child(owned: Disowned) -> None:
    """Register an object whose disown() is called in forked children."""
    _disowned.add(owned)


@contextlib.contextmanager
def under_way() -> Iterator[None]:
    """Count the `with` block as work in progress, in any greenlet."""
    mark = process.mark
    process.under_way += 1
    try:
        yield
    finally:
        if process.mark is mark:
            process.under_way -= 1


def leave_child(error: BaseException | None = None) -> NoReturn:
    """Stop a greenlet that is a copy of the parent's from continuing.

    The one that forked ends the process: the code that s3po called has returned, or raised `error`. Any other waits for ever.
    """
    if gevent.getcurrent() is process.origin:
        _exit(error)
    # The local variable refers to the greenlet itself, so that it is not garbage collected, which would run its clean-up.
    myself = gevent.getcurrent()
    while myself is not None:
        gevent.get_hub().switch()
    raise AssertionError


def _run_in_parent(mark: object, function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    if process.mark is not mark:
        leave_child()
    try:
        result = function(*arguments)
    except BaseException as error:
        if process.mark is not mark:
            leave_child(error)
        raise
    if process.mark is not mark:
        leave_child()
    return result


def _exit(error: BaseException | None) -> NoReturn:
    """End the process as multiprocessing ends its children: without the parent's atexit handlers and `finally` blocks."""
    status = 1
    if isinstance(error, SystemExit):
        status = 0 if error.code is None else error.code if isinstance(error.code, int) else 1
        if status and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)  # noqa: T201  (as the interpreter does)
    elif error is None:
        log.error('code called by s3po forked, and then returned in the child; the child ends here (call os._exit() there)')
    else:
        traceback.print_exception(error)
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status & 0xFF)


def _begin_in_child() -> None:
    counted = process.under_way
    process.renew()
    hubs.renew()
    for owned in list(_disowned):
        owned.disown()
    _disowned.clear()
    hub: Any = get_hub_if_exists()
    if hub is None:
        return
    # The hub cannot be replaced from one of its own callbacks.
    if gevent.getcurrent() is not hub and (counted or _has_work(hub)):
        _leave(hub)
        return
    for worker in () if hub._threadpool is None else list(hub._threadpool._worker_greenlets):
        # gevent would destroy its event loop, and wait for threads that do not exist in this process.
        worker._hub_of_worker = None
    if not monkey.is_module_patched('os'):
        # gevent's own fork() does the same. Without it, name look-ups would wait for threads that do not exist, for example.
        gevent.reinit()


def _has_work(hub: Any) -> bool:
    return any(task.hub is hub and not task.dead for task in list(_tasks)) or any(busy.is_busy(hub) for busy in list(_busy))


class _ParentsHub(gevent.hub.Hub):
    """A hub that was replaced. gevent's locks check whether their hub is dead, and then use the current one."""

    dead = True


def _leave(old: Any) -> None:
    """Replace the hub and its loop; the old ones, and everything that waits for them, are never used again and never freed."""
    loop = old.loop
    _keep([old, loop, loop._callbacks, old._threadpool, old._resolver])
    if get_loop() is loop:
        set_loop(None)  # type: ignore[arg-type]  # gevent itself does so
    loop.destroy()
    set_hub(None)  # type: ignore[arg-type]  # gevent itself does so
    old.__class__ = _ParentsHub
    new: Any = gevent.get_hub()
    new.parent = old.parent
    old._threadpool = old._resolver = None
    # For sockets and locks that were created with the old hub, and that the child uses too.
    old.loop = new.loop
    cooperative: Any = gevent.socket.socket
    watchers: list[Any] = []
    # (The loop below is short: few objects refer to a hub.)
    for found in gc.get_referrers(old):
        if isinstance(found, greenlet) and found is not new and found.parent is old:
            # When a greenlet ends, its parent continues, which must not be the old hub.
            found.parent = new
        elif isinstance(found, cooperative) and found.fileno() >= 0:
            # Its watchers belong to the destroyed loop, and cannot even be closed.
            watchers += [found._read_event, found._write_event]
            threads.take_over(found)
    _keep(watchers)
    if cooperative._wait.__module__ != threads.__name__:
        threads.share_sockets()


def _keep(kept: list[Any]) -> None:
    """Keep objects alive for ever, also during interpreter shutdown: in the frame of a greenlet that refers to itself."""

    def hold() -> None:
        kept.append(gevent.getcurrent())
        gevent.getcurrent().parent.switch()  # type: ignore[union-attr]  # it is started below
        kept.clear()

    greenlet(hold).switch()


os.register_at_fork(after_in_child=_begin_in_child)
