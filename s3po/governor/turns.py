"""A queue of greenlets: one at a time, strictly in order of arrival.

gevent's semaphores are not fair: a greenlet that comes back at once overtakes those that wait.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator

import gevent.event

__all__ = ['Turns']


class Turns:
    """Belongs to one native thread.

    Attributes:
        queue: One event for each greenlet, which is set when the greenlet is the first.
    """

    def __init__(self) -> None:
        self.queue: collections.deque[gevent.event.Event] = collections.deque()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Wait until the caller is the first, which it is until the end of the `with` block."""
        queue, turn = self.queue, gevent.event.Event()
        queue.append(turn)
        try:
            if queue[0] is not turn:
                turn.wait()
            yield
        finally:
            queue.remove(turn)
            if queue:
                queue[0].set()
