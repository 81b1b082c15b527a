"""Worker greenlets, and the bounded queue of their jobs."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Any, Final

import gevent
import gevent.lock

from s3po.batch.job import Job
from s3po.runtime import Task

__all__ = ['Interruption', 'WorkerPool']


# When all workers were in callbacks for this long and none has ended, a callback may be waiting for a producer.
STALL_S: Final = 0.05
# The wait of each further producer then.
STALLED_PAUSE_S: Final = 0.001
# The longest wait for the ends of idle workers, should something else block the event loop.
IDLE_S: Final = 1.0


class Interruption(gevent.GreenletExit):
    """Thrown into a worker to end its transfer. Not an Exception, so that no code on the way retries it as a failure.

    Attributes:
        reason: The error of the job.
    """

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Worker(Task):
    """A greenlet that runs one job after another.

    Attributes:
        pool: Its pool.
        job: The job that it runs now.
        is_interruptible: True during the transfer, False during a callback, when the transfer is done.
        interruption: The exception that the pool threw into the job; None for none.
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
    """At most `size` workers, made when they are needed.

    A producer outside of the jobs waits while the queue is full. A job that submits another job never waits: if all workers
    waited for room in the queue, none would make room. Such jobs go to an overflow, which is emptied first. While all workers
    are in callbacks and none ends, other producers do not wait either: the callbacks may be waiting for them.

    Attributes:
        ended: The number of jobs that workers have finished.
        aside: The jobs that were set aside.
        is_hurried: Whether jobs that the batch ends no longer have their errbacks called.
        on_empty: Called when a worker finds no job in the queue; it may bring jobs back. None for nothing to call.
    """

    def __init__(self, size: int, run: Callable[[Job, Worker], None], on_lost: Callable[[BaseException], None]) -> None:
        """
        Args:
            size: The number of jobs that run at once, and of those that wait in the queue.
            run: Runs one job. Must not raise when the job fails.
            on_lost: Called with the exception that has ended a worker, which may have lost its job.
        """
        self.run = run
        self._on_lost = on_lost
        self._size = size
        self._queue: collections.deque[Job] = collections.deque()
        self._overflow: collections.deque[Job] = collections.deque()
        # A dict for its order.
        self.aside: dict[Job, None] = {}
        self.on_empty: Callable[[], None] | None = None
        self._room = gevent.lock.Semaphore(size)
        self._available = gevent.lock.Semaphore(0)
        # A dict for its order.
        self._workers: dict[Worker, None] = {}
        self._idle = 0
        self._is_closed = self.is_hurried = False
        self.ended = 0
        # While producers wait: the timer that detects a standstill, the number of producers, and `ended` at its last look.
        self._watch: Any = None
        self._waiting = self._seen = 0
        self._is_stalled = False
        # Places in the queue that were given out in a standstill, beyond its size.
        self._lent = 0

    def __repr__(self) -> str:
        return f'<WorkerPool size={self._size} workers={len(self._workers)} idle={self._idle} queued={len(self)}>'

    def __len__(self) -> int:
        """The number of waiting jobs."""
        return len(self._queue) + len(self._overflow)

    def is_inside(self) -> bool:
        """Whether the caller runs in a job: in its worker, or in a greenlet that was spawned there."""
        current: Any = gevent.getcurrent()
        while isinstance(current, gevent.Greenlet):
            if isinstance(current, Worker) and current.pool is self:
                return True
            spawner = current.spawning_greenlet
            current = None if spawner is None else spawner()
        return False

    def wait_for_room(self) -> bool:
        """Wait for a place in the queue, except inside a job. Returns True if a place was taken. Call put() next."""
        if isinstance(gevent.getcurrent(), gevent.Greenlet) and self.is_inside():
            return False
        if not self._room.acquire(blocking=False):
            self._wait_for_room()
        return True

    def give_back_room(self) -> None:
        """Return a place that is not used."""
        if self._lent:
            self._lent -= 1
        else:
            self._room.release()

    def _wait_for_room(self) -> None:
        if self._is_stalled:
            # Bounds the number of jobs that one producer adds during long callbacks.
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
        """Called by the timer: in a standstill, admit all waiting producers."""
        self._is_stalled = self._seen == self.ended and self._are_all_in_callbacks()
        self._seen = self.ended
        if not self._is_stalled:
            self._end_watch()
        if self._is_stalled:
            for _ in range(self._waiting):
                self._lent += 1
                self._room.release()

    def _end_watch(self) -> None:
        if self._watch is not None and not self._waiting:
            self._watch.close()
            self._watch = None

    def put(self, job: Job, *, has_room: bool) -> None:
        """Queue the job. has_room: The result of wait_for_room()."""
        (self._queue if has_room else self._overflow).append(job)
        self._available.release()
        if len(self._workers) < self._size:
            self._staff()

    def set_aside(self, job: Job) -> None:
        """Keep a job that neither waits in the queue nor runs, until bring_back()."""
        self.aside[job] = None

    def bring_back(self, job: Job) -> None:
        """Queue a job that was set aside, before all others. No effect if it has ended, or is not aside."""
        if job in self.aside:
            del self.aside[job]
            if not job.has_ended:
                self.put(job, has_room=False)

    def next_job(self) -> Job | None:
        """Wait for a job that has not ended yet. Returns None when the pool was closed."""
        while True:
            if self.on_empty is not None and not self._overflow and not self._queue:
                self.on_empty()
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
        """Remove all jobs from the queue, and those that were set aside."""
        while (job := self._take()) is not None:
            yield job
        while self.aside:
            job = next(iter(self.aside))
            del self.aside[job]
            yield job

    def jobs(self) -> list[Job]:
        """The jobs that wait, those that were set aside, and those that run."""
        return [*self._queue, *self._overflow, *self.aside, *self.running()]

    def join(self, timeout_s: float) -> bool:
        """End the workers when the queue is empty, and wait for their ends. Returns False if the time was not enough."""
        self.close()
        for _ in range(self._waiting):
            # The batch refuses the jobs of waiting producers.
            self._room.release()
        # A greenlet is false if it has ended, and also if Ctrl-C prevented its start.
        gevent.joinall([worker for worker in self._workers if worker], timeout_s)
        return not any(self._workers)

    def running(self) -> list[Job]:
        """The jobs that workers have taken."""
        return [worker.job for worker in self._workers if worker.job is not None]

    def interrupt(self, job: Job, reason: Exception, *, even_callbacks: bool = False) -> bool:
        """End a running job. It fails with `reason` after its clean-up; the caller does not wait for that.

        Args:
            job: The job.
            reason: The error of the job.
            even_callbacks: Interrupt it also during its callback, when the transfer is done.

        Returns:
            False if only its callback still runs, and is not interrupted.
        """
        for worker in self._workers:
            if worker.job is job and (worker.is_interruptible or even_callbacks):
                # Thrown by the hub: only from there can a waiting greenlet be reached.
                gevent.get_hub().loop.run_callback(_throw, worker, job, Interruption(reason), even_callbacks)
                return True
        return False

    def close(self) -> None:
        """End the workers when the queue is empty."""
        self._is_closed = True
        self._end_watch()
        for _ in self._workers:
            self._available.release()

    def outlast_idle(self) -> None:
        """After close(): wait until the workers without a job have ended, which takes a round of the event loop."""
        if gevent.getcurrent() is not gevent.get_hub():
            gevent.joinall([worker for worker in self._workers if worker and worker.job is None], IDLE_S)
            # Otherwise the event loop stops within the last worker's end, and refers to it.
            gevent.sleep(0)

    def _staff(self) -> None:
        """Make another worker if more jobs wait than workers are idle."""
        if len(self._workers) < self._size and len(self) > self._idle:
            worker = Worker(self)
            self._workers[worker] = None
            worker.link(self._forget)
            worker.start()

    def _forget(self, worker: Worker) -> None:
        # A worker that was killed (by Ctrl-C, or by gevent.killall in the program) may leave jobs in the queue.
        self._workers.pop(worker, None)
        # A killed greenlet has no exception, and GreenletExit as its value.
        ended_by = worker.value if worker.exception is None else worker.exception
        if isinstance(ended_by, BaseException):
            self._on_lost(ended_by)
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
    # By now the worker may run the job's callback, or another job. A job that was interrupted before is cleaning up.
    if worker.job is job and worker.interruption is None and (worker.is_interruptible or even_callbacks):
        worker.interruption = interruption
        worker.throw(interruption)
