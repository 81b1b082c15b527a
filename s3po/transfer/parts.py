"""The greenlets that move the parts of one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import gevent
import gevent.event

from s3po.errors import ConfigurationError, S3poError
from s3po.runtime import Task, process

__all__ = ['PartGroup']

FINISHED: Final = object()


class _Ended(gevent.GreenletExit):
    """Sent by a group to its own parts. Any other GreenletExit is other code's, and a failure."""


class PartGroup:
    """Runs functions side by side until one of them fails; then it ends the others.

    One greenlet owns the group: it spawns, waits and, on its own way out, kills. A part that other code kills has failed: a
    killed greenlet is "successful" for gevent, so its state proves nothing here.
    """

    def __init__(self) -> None:
        self._running: set[gevent.Greenlet[..., Any]] = set()
        self._has_changed = gevent.event.Event()
        self._failure: BaseException | None = None
        self._process = process.mark

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, function: Callable[..., object], *arguments: object) -> None:
        """Run a function in a greenlet of its own."""
        greenlet = Task(self._run, function, arguments)
        self._running.add(greenlet)
        greenlet.link(self._forget)
        greenlet.start()

    def wait_below(self, width: int) -> None:
        """Wait until fewer than `width` functions run. Raises what one of them raised."""
        self.check()
        while len(self._running) >= width:
            self._has_changed.clear()
            self._has_changed.wait()
            self.check()

    def join(self) -> None:
        """Wait until all are done. Raises what one of them raised."""
        self.wait_below(1)

    def check(self) -> None:
        """Raise what the first function that failed raised.

        Raises:
            ConfigurationError: This is a forked child, where the parts do not go on.
        """
        if self._process is not process.mark:
            raise ConfigurationError('a forked child cannot go on with a transfer of its parent')
        if self._failure is not None:
            raise self._failure

    def kill(self) -> None:
        """End all of them, and wait until they have cleaned up. Runs in a greenlet of its own, whose kill does not end it."""
        # (In a forked child the parts do not go on, and must not clean up.)
        while self._running and self._process is process.mark:
            try:
                gevent.killall(list(self._running), exception=_Ended)
                # Their links are called behind that.
                self._running = {greenlet for greenlet in self._running if not greenlet.dead}
            except gevent.GreenletExit:
                continue

    def _run(self, function: Callable[..., object], arguments: tuple[object, ...]) -> object:
        try:
            function(*arguments)
        except gevent.GreenletExit:
            # _forget() finds out whose it was. (It is called too where the function never began.)
            raise
        except BaseException as error:
            # A KeyboardInterrupt that hit this greenlet too: it ends the whole transfer.
            self._fail(error)
        return FINISHED

    def _fail(self, error: BaseException) -> None:
        if self._failure is None and self._process is process.mark:
            self._failure = error
            others = [other for other in self._running if other is not gevent.getcurrent()]
            gevent.killall(others, exception=_Ended, block=False)

    def _forget(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        self._running.discard(greenlet)
        if greenlet.value is not FINISHED and not isinstance(greenlet.value, _Ended):
            killed = S3poError('other code killed a greenlet that moved a part; the transfer is not complete')
            killed.__cause__ = greenlet.value if isinstance(greenlet.value, BaseException) else None
            self._fail(killed)
        self._has_changed.set()
