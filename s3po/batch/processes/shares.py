"""Divides the limits of a connection among the processes that work for it: requests, rates and memory.

Each gets a share by the number of its jobs. The shares add up to the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import gevent

from s3po.batch.limits import Performer
from s3po.batch.processes.child import WorkerProcess
from s3po.governor import RequestLoad

__all__ = ['Shares', 'divided']

# At most ten times a second.
EVERY_S: Final = 0.1
# The weight of a process without jobs, which may get one at any time; a job has 1.
IDLE: Final = 0.25
# Smaller changes are not sent.
LEAST_CHANGE: Final = 0.1


class Shares:
    """The shares of one batch.

    Attributes:
        in_parent: The number of jobs that this process carries out itself.
        max_requests: The limit of requests at once, of which each process gets a whole number; None for no limit.
    """

    def __init__(self, connection: Performer, workers: Sequence[WorkerProcess]) -> None:
        self._connection = connection
        self._workers = workers
        self.in_parent = 0
        self.max_requests: int | None = None
        self._lost_throttled = 0
        self._own = 1.0
        self._timer: Any = gevent.get_hub().loop.timer(EVERY_S, EVERY_S, ref=False)

    def begin(self) -> None:
        """Divide now, and every EVERY_S from now on."""
        self._divide()
        if not self._timer.active:
            self._timer.start(self._divide)

    def lose(self, worker: WorkerProcess) -> None:
        """Keep the counts of a process that has ended."""
        self._lost_throttled += worker.load.throttled

    def close(self) -> None:
        """Give this process the whole again."""
        self._timer.close()
        if self._own != 1.0:
            self._connection.use_share(1.0)

    def load(self) -> Callable[[], RequestLoad]:
        """A function that returns the present figures of all processes' requests. Any thread may call it."""
        own = self._connection.request_load()

        def total() -> RequestLoad:
            loads = [worker.load for worker in list(self._workers)]
            mine = own()
            return RequestLoad(
                width=sum(load.width for load in loads) or mine.width,
                in_flight=sum(load.in_flight for load in loads) + mine.in_flight,
                throttled=sum(load.throttled for load in loads) + mine.throttled + self._lost_throttled,
            )

        return total

    def _divide(self) -> None:
        if not self._workers:
            return
        weights: list[float] = [len(worker.jobs) + IDLE for worker in self._workers]
        # Most batches have no job here, and then all is for the others.
        weights += [self.in_parent] if self.in_parent else []
        shares = divided(weights, self.max_requests)
        own = shares.pop() if self.in_parent else 1.0
        for worker, share in zip(self._workers, shares, strict=True):
            if abs(share - worker.share) > LEAST_CHANGE * worker.share:
                worker.share = share
                worker.channel.send(('share', share))
        if abs(own - self._own) > LEAST_CHANGE * self._own:
            self._own = own
            self._connection.use_share(own)


def divided(weights: Sequence[float], whole: int | None) -> list[float]:
    """Shares by weights. Their sum is 1.

    Args:
        weights: The weights; all are above 0.
        whole: What is divided into whole numbers, 1 or more for each; None if it can be divided at will.
    """
    total = sum(weights)
    if whole is None or whole < len(weights):
        return [weight / total for weight in weights]
    exact = [whole * weight / total for weight in weights]
    counts = [max(1, int(each)) for each in exact]
    while left := whole - sum(counts):
        step = 1 if left > 0 else -1
        # The one that is farthest from its exact share.
        best = max((at for at, count in enumerate(counts) if count + step), key=lambda at: step * (exact[at] - counts[at]))
        counts[best] += step
    return [count / whole for count in counts]
