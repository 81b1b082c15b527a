"""Ends a batch before its work is done: cancellation, deadlines, Ctrl-C, too many failures.

Invariant: once there is a refusal, the batch accepts no more jobs, and those that have not begun never begin.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

import gevent

from s3po.batch.counting import Counting, interrupted
from s3po.batch.home import Home
from s3po.batch.job import Job
from s3po.batch.journaled import End
from s3po.batch.last_turns import LastTurns
from s3po.batch.limits import BatchLimits
from s3po.batch.workers import Worker, WorkerPool
from s3po.errors import BreakerOpen, Cancelled, DeadlineExceeded, S3poError

__all__ = ['Stopping', 'once_more']

# After this time, jobs that were interrupted and have not ended are interrupted once more.
INTERRUPT_S: Final = 1.0
# How long the errbacks of jobs that the deadline of the batch has ended may take, all together.
ERRBACKS_S: Final = 0.2


class Stopping:
    """Stops one batch, and interrupts its jobs.

    Attributes:
        refusal: Why the batch accepts no more jobs; None while it does.
    """

    def __init__(
        self, home: Home, counting: Counting, end: End, workers: WorkerPool, last_turns: LastTurns, limits: BatchLimits
    ) -> None:
        self._home = home
        self._counting = counting
        self._end = end
        self._workers = workers
        self._last_turns = last_turns
        self._max_failures = limits.max_failures
        self._grace_s = limits.grace_s
        self.refusal: S3poError | None = None
        # A timer, because a greenlet could be killed.
        self._deadline: Any = None if limits.timeout_s is None else home.hub.loop.timer(limits.timeout_s)
        if self._deadline is not None:
            self._deadline.start(self._expire, limits.timeout_s)

    def close(self) -> None:
        """Stop the clock."""
        if self._deadline is not None:
            self._deadline.close()

    def stop(self, reason: S3poError) -> None:
        """Refuse further jobs, and end those that wait."""
        if self.refusal is None:
            self.refusal = reason
        for job in list(self._workers.drain()):
            if not job.has_ended:
                self.end_unstarted(job, reason)

    def end_unstarted(self, job: Job, reason: S3poError) -> None:
        """End a job that is not in the queue: with the error of its first turn or, if it has not begun, with the reason.

        If it has an errback, it is queued once more: a worker calls that and ends the job.
        """
        if job.refusal is None or job.has_mistake:
            job.refusal = reason
        error = job.refusal = self._last_turns.forget(job) or job.refusal
        if job.errback is not None and not self._workers.is_hurried:
            self._workers.put(job, has_room=False)
        else:
            self._end(job, None, error, is_cancelled=isinstance(error, Cancelled))

    def trip(self) -> None:
        """Stop the batch after max_failures failures."""
        limit, failed = self._max_failures, self._counting.failed
        # Jobs that wait for their last turn have failed too.
        if limit is None or self.refusal is not None or len(failed) - self._counting.cancelled + len(self._last_turns) < limit:
            return
        last = self._last_turns.last_error or failed[-1]
        self.stop(BreakerOpen(f'the batch stopped after {limit} failures; the last one: {last}'))

    def cancel(self, grace_s: float) -> None:
        """See Batch.cancel()."""
        self.stop(Cancelled('the batch was cancelled'))
        if self._workers.is_inside():
            # A job cannot wait for its own end, so the calling job continues.
            self._interrupt_running(Cancelled('the batch was cancelled'), besides=gevent.getcurrent())
            return
        is_idle = self._counting.is_idle
        if not is_idle.wait(grace_s):
            self._interrupt_running(Cancelled('the batch was cancelled'))
            is_idle.wait()

    def interrupt(self, error: BaseException) -> None:
        """End all jobs after Ctrl-C (running ones after `grace_s`) or a kill. Returns when the running ones have cleaned up."""
        reason = interrupted(error)
        self._workers.is_hurried = True
        self.stop(reason)
        if isinstance(error, KeyboardInterrupt) and self._grace_s:
            # A second Ctrl-C ends the wait.
            with contextlib.suppress(KeyboardInterrupt):
                self._counting.is_idle.wait(self._grace_s)
        self._interrupt_running(reason, is_urgent=True)
        while not self._workers.join(INTERRUPT_S):
            # Once more: the exception may have been raised while a job was being interrupted.
            self._interrupt_running(reason, is_urgent=True)
        self.settle(error)

    def settle(self, error: BaseException) -> None:
        """End the jobs that an exception has lost."""
        if self._home.is_own_process():
            self._counting.settle(error, self._workers.jobs())

    def _expire(self, timeout_s: float) -> None:
        reason = DeadlineExceeded(f'the batch was not done within its timeout_s of {timeout_s} s')
        self.stop(reason)
        # Callbacks too: one of them may never end.
        self._interrupt_running(reason, is_urgent=True)
        if self._deadline is not None:
            self._deadline.close()
        self._deadline = self._home.hub.loop.timer(ERRBACKS_S)
        self._deadline.start(self._hurry, reason)

    def _hurry(self, reason: S3poError) -> None:
        """End what the deadline has left: the errbacks that run, and the jobs whose errbacks would be next."""
        self._workers.is_hurried = True
        self.stop(reason)
        self._interrupt_running(reason, is_urgent=True)

    def _interrupt_running(self, reason: S3poError, *, is_urgent: bool = False, besides: object = None) -> None:
        for job in self._workers.running():
            if not (isinstance(besides, Worker) and besides.job is job):
                self._workers.interrupt(job, reason, even_callbacks=is_urgent)


def once_more(refusal: S3poError) -> S3poError:
    """The error of a refused submission. A new one each time: the first one would collect the tracebacks of all of them."""
    error = type(refusal)(str(refusal))
    error.__cause__ = refusal.__cause__
    return error
