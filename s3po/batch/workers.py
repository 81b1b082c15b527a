"""Standing worker greenlets and the bounded queue that feeds them."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Any, Final

import gevent
import gevent.lock

from s3po.batch.job import Job
from s3po.runtime import Task

__all__ = ['Interruption', 'WorkerPool']


# All workers are in callbacks, and none has ended for so long: one of them may wait for a producer.
STALL_S: Final = 0.05
# How long each further producer waits then.
STALLED_PAUSE_S: Final = 0.001


class Interruption(gevent.GreenletExit):
    """Thrown into a worker to end its transfer. No Exception, so nothing on the way takes it for a failure and tries again.

    Attributes:
        reason: What the job fails with.
    """

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Worker(Task):
    """Runs one job after the other.

    Attributes:
        pool: The pool that it belongs to.
        job: The job that it runs now.
        is_interruptible: True during the transfer, False during a callback: by then the transfer is done.
        interruption: What this pool threw into the job; None while it has not.
    """

    def __init__(self, pool: WorkerPool) -> None:
        super().__init__(self._work)
        self.pool = pool
        self.job: Job | None = None
        self.is_interruptible = False
        self.interruption: Interruption | None = None

    def _work(self) -> None:
        pool = self.pool
        while (job := pool.next_job()) is not None:
            self.job = job
            try:
                pool.run(job, self)
            finally:
                self.job = None
                self.is_interruptible = False
                self.interruption = None
                pool.ended += 1


class WorkerPool:
    """At most `size` workers, made as they are needed.

    A producer outside of the jobs waits while the queue is full. A job that submits more work never waits: if all workers
    waited for room in a queue that only they empty, none would. Such work goes to an overflow, which is taken first. So does
    what others submit while all workers are in callbacks and none of these ends: they may be waiting for that very greenlet.

    Attributes:
        ended: How many jobs have been left by their workers.
    """

    def __init__(self, size: int, run: Callable[[Job, Worker], None]) -> None:
        """
        Args:
            size: How many jobs run at once; as many again wait in the queue.
            run: Runs one job, and never raises for a job that failed.
        """
        self.run = run
        self._size = size
        self._queue: collections.deque[Job] = collections.deque()
        self._overflow: collections.deque[Job] = collections.deque()
        self._room = gevent.lock.Semaphore(size)
        self._available = gevent.lock.Semaphore(0)
        # A dict for its order.
        self._workers: dict[Worker, None] = {}
        self._idle = 0
        self._is_closed = False
        self.ended = 0
        # While producers wait: the timer that looks whether all stands still, and what it saw last.
        self._watch: Any = None
        self._waiting = self._seen = 0
        self._is_stalled = False
        # Places that were given away in a standstill, and were none.
        self._lent = 0

    def __repr__(self) -> str:
        return f'<WorkerPool size={self._size} workers={len(self._workers)} idle={self._idle} queued={len(self)}>'

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._queue) + len(self._overflow)

    def is_inside(self) -> bool:
        """Whether the caller runs in one of the jobs: in its worker, or in a greenlet that was spawned there."""
        current: Any = gevent.getcurrent()
        while isinstance(current, gevent.Greenlet):
            if isinstance(current, Worker) and current.pool is self:
                return True
            spawner = current.spawning_greenlet
            current = None if spawner is None else spawner()
        return False

    def wait_for_room(self) -> bool:
        """Wait for a place in the queue, unless inside of a job; tells whether one was taken. put() is to follow."""
        if isinstance(gevent.getcurrent(), gevent.Greenlet) and self.is_inside():
            return False
        if not self._room.acquire(blocking=False):
            self._wait_for_room()
        return True

    def give_back_room(self) -> None:
        """Return a place in which nothing is put after all, or that was taken out of the queue."""
        if self._lent:
            self._lent -= 1
        else:
            self._room.release()

    def _wait_for_room(self) -> None:
        if self._is_stalled:
            # A bound for what a producer of many puts in while callbacks take their time.
            gevent.sleep(STALLED_PAUSE_S)
        if self._watch is None:
            self._watch = gevent.get_hub().loop.timer(STALL_S, STALL_S)
            self._watch.start(self._look)
        self._waiting += 1
        try:
            if self._is_standing_still():
                self._lent += 1
                self._room.release()
            self._room.acquire()
        finally:
            self._waiting -= 1

    def _is_standing_still(self) -> bool:
        return self._is_stalled and self._seen == self.ended and self._are_all_in_callbacks()

    def _are_all_in_callbacks(self) -> bool:
        busy = [worker for worker in self._workers if worker.job is not None and not worker.is_interruptible]
        return len(busy) == self._size

    def _look(self) -> None:
        """Called by the timer: let the producers through that wait while nothing moves."""
        self._is_stalled = self._seen == self.ended and self._are_all_in_callbacks()
        self._seen = self.ended
        if not self._waiting and not self._is_stalled:
            self._watch.close()
            self._watch = None
        if self._is_stalled:
            for _ in range(self._waiting):
                self._lent += 1
                self._room.release()

    def put(self, job: Job, *, has_room: bool) -> None:
        """Have the job run. has_room: what wait_for_room() said."""
        (self._queue if has_room else self._overflow).append(job)
        self._available.release()
        if len(self._workers) < self._size:
            self._staff()

    def next_job(self) -> Job | None:
        """Wait for a job that has not ended yet; None when the pool was closed."""
        while True:
            self._idle += 1
            try:
                self._available.acquire()
            finally:
                self._idle -= 1
            job = self._take()
            if job is not None and not job.has_ended:
                return job
            if job is None and self._is_closed:
                return None

    def drain(self) -> Iterator[Job]:
        """Take all jobs that have not begun out of the queue."""
        while (job := self._take()) is not None:
            yield job

    def running(self) -> list[Job]:
        """The jobs that have begun."""
        return [worker.job for worker in self._workers if worker.job is not None]

    def interrupt(self, job: Job, reason: Exception, *, even_callbacks: bool = False) -> bool:
        """End a job that runs. It fails with `reason` once it has cleaned up, which the caller does not wait for.

        Args:
            job: The job.
            reason: What it fails with.
            even_callbacks: Whether a callback is interrupted too, whose transfer is over.

        Returns:
            False when only its callback still runs, and is left alone.
        """
        for worker in self._workers:
            if worker.job is job and (worker.is_interruptible or even_callbacks):
                # Thrown by the hub, which is where a worker that waits can be reached from.
                gevent.get_hub().loop.run_callback(_throw, worker, job, Interruption(reason), even_callbacks)
                return True
        return False

    def close(self) -> None:
        """Let the workers end once the queue is empty."""
        self._is_closed = True
        for _ in self._workers:
            self._available.release()

    def _staff(self) -> None:
        """Make another worker when there is more to do than there are free ones."""
        if len(self._workers) < self._size and len(self) > self._idle:
            worker = Worker(self)
            self._workers[worker] = None
            worker.link(self._forget)
            worker.start()

    def _forget(self, worker: Worker) -> None:
        # One that was killed (by Ctrl-C, or by somebody's gevent.killall) may leave jobs behind that wait for it.
        del self._workers[worker]
        self._staff()

    def _take(self) -> Job | None:
        if self._overflow:
            return self._overflow.popleft()
        if not self._queue:
            return None
        if self._lent:
            self._lent -= 1
        else:
            self._room.release()
        return self._queue.popleft()


def _throw(worker: Worker, job: Job, interruption: Interruption, even_callbacks: bool) -> None:  # noqa: FBT001  (called by the hub)
    # By now the worker may be in the job's callback, or at another job. And a job that was interrupted is cleaning up.
    if worker.job is job and worker.interruption is None and (worker.is_interruptible or even_callbacks):
        worker.interruption = interruption
        worker.throw(interruption)
