"""Forked children: none of the parent's greenlets goes on in one.

fork() copies all greenlets, with what they wait for: sockets that the parent goes on using, timers, locks. As soon as a
child waits as gevent does (`time.sleep`, a socket), they would go on there: read the parent's answers, send its requests,
write into its files and call its callbacks a second time.

So, where s3po has something under way in the thread that forks, the child gets an event loop of its own, and the parent's is
destroyed there: nothing wakes a greenlet of the parent's, but for the one that called fork(). They are not killed either: their
clean-up would abort the parent's uploads and remove its files. Where nothing is under way, all is as gevent has it.

What s3po gave the forking greenlet to do (a callback in a worker, a source that is read) ends with the user's code: the child
process then ends, as it would go on with a transfer of the parent's.
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
    """Stands for the running process: a forked child bears another mark than its parent.

    Asking for the process id would do too, but is a system call: 50 to 200 ns.

    Attributes:
        mark: What to remember, and to compare with `is`.
        origin: In a forked child, the greenlet that called fork().
        under_way: How much goes on that is neither a Task nor watched.
    """

    __slots__ = ('mark', 'origin', 'under_way')

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.mark = object()
        self.origin = gevent.getcurrent()
        self.under_way = 0


# The one state of this module, which nothing but a fork changes; and what there is to look at then.
process: Final = _Process()


class Busy(Protocol):
    """What may have something under way."""

    def is_busy(self, hub: Any) -> bool:
        """Whether it has, in the thread of that hub."""
        ...


class Disowned(Protocol):
    """What belongs to the parent."""

    def disown(self) -> None:
        """Make it useless in a forked child, without a word to the other side. Must not wait."""
        ...


_tasks: Final[weakref.WeakSet[Task]] = weakref.WeakSet()
_busy: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
_disowned: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


class Task(gevent.Greenlet):  # type: ignore[type-arg]  # generic in its stubs only
    """A greenlet of s3po's. In a forked child it never goes on."""

    # gevent keeps up to ten objects per greenlet for the stack that made it, all of which the garbage collector visits.
    spawning_stack_limit = 0

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        super().__init__(_run_in_parent, process.mark, function, arguments)
        self.process = process.mark
        self.hub = gevent.get_hub()
        _tasks.add(self)

    def __repr__(self) -> str:
        # Not gevent's, which shows the arguments: methods of the greenlet itself are among them, and would recurse for ever.
        return f'<{type(self).__name__} at {id(self):#x}>'

    def end_later(self, exception: type[gevent.GreenletExit] = gevent.GreenletExit) -> None:
        """End it, without waiting for its end. Any thread may call this; in a forked child it does nothing."""
        if self.process is not process.mark:
            return
        if self.hub is gevent.get_hub():
            self.kill(exception, block=False)
        elif self.hub.loop is not None:
            self.hub.loop.run_callback_threadsafe(self.kill, exception, False)


def spawn(function: Callable[..., object], *arguments: object) -> Task:
    """Start a Task."""
    task = Task(function, *arguments)
    task.start()
    return task


def watched(busy: Busy) -> None:
    """Have something asked whether it is busy, when the process forks."""
    _busy.add(busy)


def disowned_in_child(owned: Disowned) -> None:
    """Have something disowned in forked children."""
    _disowned.add(owned)


@contextlib.contextmanager
def under_way() -> Iterator[None]:
    """Count as something under way, whatever greenlet it runs in."""
    mark = process.mark
    process.under_way += 1
    try:
        yield
    finally:
        if process.mark is mark:
            process.under_way -= 1


def leave_child(error: BaseException | None = None) -> NoReturn:
    """Keep a greenlet that is a copy of the parent's from going on.

    The one that forked ends the process: the code that s3po called has returned, or raised `error`. Any other waits for ever.
    """
    if gevent.getcurrent() is process.origin:
        _exit(error)
    # It keeps itself, so that it is not ended as garbage, with all its clean-up.
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
        log.error('code that s3po called has forked and then returned in the child; the child ends here (use os._exit there)')
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
    # The hub cannot be left from within one of its own callbacks.
    if gevent.getcurrent() is not hub and (counted or _has_work(hub)):
        _leave(hub)
        return
    for worker in () if hub._threadpool is None else list(hub._threadpool._worker_greenlets):
        # gevent would destroy its event loop, and wait for threads that are not here.
        worker._hub_of_worker = None
    if not monkey.is_module_patched('os'):
        # gevent's own fork() does so. Without it the threads that look names up are missed for ever, for example.
        gevent.reinit()


def _has_work(hub: Any) -> bool:
    return any(task.hub is hub and not task.dead for task in list(_tasks)) or any(busy.is_busy(hub) for busy in list(_busy))


class _ParentsHub(gevent.hub.Hub):
    """A hub that was left. gevent's locks look whether their hub is dead, and then take the present one."""

    dead = True


def _leave(old: Any) -> None:
    """Go on with a new hub and loop; the old ones, and all that waits for them, are never used again, and never freed."""
    loop = old.loop
    _keep([old, loop, loop._callbacks, old._threadpool, old._resolver])
    if get_loop() is loop:
        set_loop(None)  # type: ignore[arg-type]  # as gevent does it itself
    loop.destroy()
    set_hub(None)  # type: ignore[arg-type]  # as gevent does it itself
    old.__class__ = _ParentsHub
    new: Any = gevent.get_hub()
    new.parent = old.parent
    old._threadpool = old._resolver = None
    # For sockets and locks that were made under it, and are the child's as well.
    old.loop = new.loop
    cooperative: Any = gevent.socket.socket
    watchers: list[Any] = []
    # (Few objects are looked at for long here.)
    for found in gc.get_referrers(old):
        if isinstance(found, greenlet) and found is not new and found.parent is old:
            # A greenlet that ends goes on with its parent, which must not be the old hub.
            found.parent = new
        elif isinstance(found, cooperative) and found.fileno() >= 0:
            # Its watchers are of the destroyed loop, and could not even be closed.
            watchers += [found._read_event, found._write_event]
            threads.take_over(found)
    _keep(watchers)
    if cooperative._wait.__module__ != threads.__name__:
        threads.share_sockets()


def _keep(kept: list[Any]) -> None:
    """Keep objects for ever, the end of the interpreter included: in the frame of a greenlet that keeps itself."""

    def hold() -> None:
        kept.append(gevent.getcurrent())
        gevent.getcurrent().parent.switch()  # type: ignore[union-attr]  # it is started below
        kept.clear()

    greenlet(hold).switch()


os.register_at_fork(after_in_child=_begin_in_child)
