"""The greenlets that move the parts of one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import gevent.event

__all__ = ['PartGroup']


class PartGroup:
    """Runs functions side by side until one of them fails; then it ends the others.

    One greenlet owns the group: it spawns, waits and, on its own way out, kills.
    """

    def __init__(self) -> None:
        self._running: set[gevent.Greenlet[..., Any]] = set()
        self._has_changed = gevent.event.Event()
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, function: Callable[..., object], *arguments: object) -> None:
        """Run a function in a greenlet of its own."""
        greenlet = gevent.Greenlet(self._run, function, arguments)
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
        """Raise what the first function that failed raised."""
        if self._failure is not None:
            raise self._failure

    def kill(self) -> None:
        """End all of them, and wait until they have cleaned up."""
        gevent.killall(list(self._running))

    def _run(self, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
        try:
            function(*arguments)
        except gevent.GreenletExit:
            # Killed by this group, whose owner knows why.
            raise
        except BaseException as error:
            # A KeyboardInterrupt that hit this greenlet too: it is raised where the owner waits, and ends the whole transfer.
            if self._failure is None:
                self._failure = error
                gevent.killall([other for other in self._running if other is not gevent.getcurrent()], block=False)

    def _forget(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        self._running.discard(greenlet)
        self._has_changed.set()
