"""A semaphore whose width can change while its places are occupied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import gevent.lock

from s3po.governor.turns import Turns

__all__ = ['Places']


class Places:
    """Belongs to one native thread.

    Attributes:
        width: How many places may be occupied at once.
        free: The free places.
        surplus: The number of places to drop when they are released, because the width shrank while they were occupied.
        turns: The greenlets that wait for a place.
        queue: That of `turns`, to save an access.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.free = gevent.lock.Semaphore(width)
        self.surplus = 0
        self.turns = Turns()
        self.queue = self.turns.queue

    @property
    def occupied(self) -> int:
        """The number of occupied places."""
        return int(self.width + self.surplus - self.free.counter)

    def wait(self) -> None:
        """Wait for a place, in order of arrival, and occupy it. Called if none is free, or others wait."""
        with self.turns.taken():
            self.free.acquire()

    def release(self) -> None:
        """Release an occupied place."""
        if self.surplus:
            self.surplus -= 1
        else:
            self.free.release()

    @contextlib.contextmanager
    def place_lent(self, *, is_last: bool = False) -> Iterator[None]:
        """Release an occupied place in a `with` block, and acquire one again at its end.

        After an exception none is acquired: the release that follows is then without effect.

        Args:
            is_last: Whether the place is not needed after the block, so that none is acquired in any case.
        """
        self.release()
        has_place = False
        try:
            yield
            if not is_last:
                self.free.acquire()
                has_place = True
        finally:
            if not has_place:
                self.surplus += 1

    def resize(self, width: int) -> None:
        """Change the width. Occupied places stay occupied."""
        change, self.width = width - self.width, width
        while change > 0:
            change -= 1
            self.release()
        while change < 0:
            change += 1
            if not self.free.acquire(blocking=False):
                self.surplus += 1
