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
    """Sent by a group to its own parts. Any other GreenletExit comes from other code, and is a failure."""


class PartGroup:
    """Runs functions in parallel until one of them fails; then it stops the others.

    One greenlet owns the group: it spawns, waits, and kills the parts when it exits. A part that other code kills has failed:
    gevent calls a killed greenlet successful, so its state is no proof.
    """

    def __init__(self) -> None:
        self._running: set[gevent.Greenlet[..., Any]] = set()
        self._has_changed = gevent.event.Event()
        self._failure: BaseException | None = None
        self._process = process.mark

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, function: Callable[..., object], *arguments: object) -> None:
        """Run a function in a new greenlet."""
        greenlet = Task(self._run, function, arguments)
        self._running.add(greenlet)
        greenlet.link(self._forget)
        greenlet.start()

    def wait_below(self, width: int) -> None:
        """Wait until fewer than `width` functions run. Raises the first error of a function."""
        self.check()
        while len(self._running) >= width:
            self._has_changed.clear()
            self._has_changed.wait()
            self.check()

    def join(self) -> None:
        """Wait until all functions have ended. Raises the first error of a function."""
        self.wait_below(1)

    def check(self) -> None:
        """Raise the first error of a function.

        Raises:
            ConfigurationError: This is a forked child, in which the parts do not run.
        """
        if self._process is not process.mark:
            raise ConfigurationError('a forked child cannot go on with a transfer of its parent')
        if self._failure is not None:
            raise self._failure

    def kill(self) -> None:
        """Stop all functions and wait for their clean-up; a kill of the calling greenlet does not interrupt this."""
        # (In a forked child the parts do not run, and must not clean up.)
        while self._running and self._process is process.mark:
            try:
                gevent.killall(list(self._running), exception=_Ended)
                # gevent calls their links later.
                self._running = {greenlet for greenlet in self._running if not greenlet.dead}
            except gevent.GreenletExit:
                continue

    def _run(self, function: Callable[..., object], arguments: tuple[object, ...]) -> object:
        try:
            function(*arguments)
        except gevent.GreenletExit:
            # _forget() determines who killed it. (It is called too if the function never began.)
            raise
        except BaseException as error:
            # A KeyboardInterrupt, too, may reach this greenlet: it ends the whole transfer.
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
