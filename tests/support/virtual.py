"""A world with a clock of its own: greenlets that sleep in it wait for no real time."""

from __future__ import annotations

import heapq
import itertools

import gevent
import gevent.event

__all__ = ['World']


class World:
    """Advances its clock whenever all greenlets wait.

    Attributes:
        now: The time in seconds.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, gevent.event.Event]] = []
        self._count = itertools.count()

    def clock(self) -> float:
        """The time in seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Wait until the clock has advanced so far."""
        waking = gevent.event.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._count), waking))
        waking.wait()

    def run(self, seconds: float) -> None:
        """Let the greenlets run for some seconds of this world."""
        until = self.now + seconds
        gevent.idle()
        while self._sleepers and self._sleepers[0][0] <= until:
            self.now = self._sleepers[0][0]
            while self._sleepers and self._sleepers[0][0] <= self.now:
                heapq.heappop(self._sleepers)[2].set()
            gevent.idle()
        self.now = until
