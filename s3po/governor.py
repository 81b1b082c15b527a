"""How many requests of a connection may be in flight now.

What may live here: the bound over requests, whoever makes them: objects of a batch, parts of an object, calls without a batch.
A slot is held during an attempt, never during the wait between two. At this time the width is fixed by the open batches and
the configuration; it is told of every request that a store refused for its rate, so that it can be made to follow that.
"""

from __future__ import annotations

from collections import Counter

import gevent
import gevent.lock

from s3po.errors import ConfigurationError
from s3po.runtime import leave_child, process, watched

__all__ = ['Governor']


class Governor:
    """A semaphore whose width is that of the widest demand made on it.

    Use `with governor:` around one attempt. Belongs to one native thread.
    """

    def __init__(self, narrowest: int, *, fixed: int | None = None) -> None:
        """
        Args:
            narrowest: The width when nobody demands more.
            fixed: A width that no demand changes; None for none.
        """
        self._narrowest = narrowest
        self._fixed = fixed
        self._demands: Counter[int] = Counter()
        self._width = fixed or narrowest
        self._slots = gevent.lock.Semaphore(self._width)
        # How many requests were refused for their rate.
        self.throttled = 0
        self._process = process.mark
        self._hub = gevent.get_hub()
        watched(self)
        # Slots that are to be swallowed when they come back, since the width shrank while they were out.
        self._surplus = 0

    @property
    def width(self) -> int:
        """How many requests may be in flight at once."""
        return self._width

    def __repr__(self) -> str:
        return f'<Governor width={self._width} free={self._slots.counter}>'

    def demand(self, width: int) -> None:
        """Have the width be at least this, until release_demand(width)."""
        self._demands[width] += 1
        self._fit()

    def release_demand(self, width: int) -> None:
        """Take back one demand(width)."""
        self._demands[width] -= 1
        self._demands += Counter()
        self._fit()

    def notice_throttling(self) -> None:
        """A request was refused for its rate: what adapts the width to the store begins here."""
        self.throttled += 1

    @property
    def is_parents(self) -> bool:
        """Whether this is a forked child, and the requests are its parent's to make."""
        return self._process is not process.mark

    def is_busy(self, hub: object) -> bool:
        """Whether requests of that hub's thread are in flight."""
        return hub is self._hub and bool(self._slots.counter < self._width + self._surplus)

    def __enter__(self) -> None:
        self._slots.acquire()
        if self._process is not process.mark:
            self._stop()

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def take(self) -> None:
        """Wait for a slot that outlives a `with`; give_back() returns it.

        Raises:
            ConfigurationError: This is a forked child, and the transfer is the parent's.
        """
        if self._process is not process.mark:
            self._stop()
        self._slots.acquire()
        if self._process is not process.mark:
            self._stop()

    def give_back(self) -> None:
        """Return a slot."""
        if self._surplus:
            self._surplus -= 1
        else:
            self._slots.release()

    def _stop(self) -> None:
        """In a forked child: the greenlet that forked is told; a copy of another one does not go on."""
        if gevent.getcurrent() is not process.origin:
            leave_child()
        raise ConfigurationError('a forked child cannot go on with a transfer of its parent')

    def _fit(self) -> None:
        width = self._fixed or max(self._narrowest, *self._demands, 0)
        change, self._width = width - self._width, width
        while change > 0:
            change -= 1
            self.give_back()
        while change < 0:
            change += 1
            if not self._slots.acquire(blocking=False):
                self._surplus += 1
