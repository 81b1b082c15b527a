"""The batch: queues many calls, waits for them, and records failures."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

import gevent
import gevent.event

from s3po.batch.calls import Calls
from s3po.batch.failed import FailedJob, FailedJobs
from s3po.batch.home import Home
from s3po.batch.job import Callback, Errback, Job, not_callable
from s3po.batch.limits import BatchLimits, OnError, Performer
from s3po.batch.report import BatchReport
from s3po.batch.running import Runner, activity_of
from s3po.batch.unread import Unread, warn, watch
from s3po.batch.workers import Worker, WorkerPool
from s3po.checks import public_names
from s3po.errors import (
    BatchError,
    BreakerOpen,
    Cancelled,
    ConfigurationError,
    DeadlineExceeded,
    S3poError,
)
from s3po.jobs import Call
from s3po.model import UnusableRef
from s3po.observer import report
from s3po.runtime import affordable, watch_hub

__all__ = ['Batch']

# The value of a job.
T = TypeVar('T')
# Methods that are called only by Calls and Job.
INTERNAL: Final = frozenset({'submit', 'cancel_job'})
# How many failures the text of a BatchError describes.
SHOWN_FAILURES: Final = 3
# After this time, jobs that were interrupted and have not ended are interrupted once more.
INTERRUPT_S: Final = 1.0


class Batch(Calls):
    """A bounded pool of greenlets that runs calls of a connection. Made by Connection.batch().

    Use it in a `with` block. Leaving the block waits for all jobs, also those that callbacks submit, and raises BatchError if
    any failed. After an exception in the block, jobs that have not begun are cancelled, running jobs are waited for, and the
    exception is raised. After a KeyboardInterrupt or GreenletExit, running jobs are interrupted too.

    A batch belongs to the native thread that made it. Other threads may wait for it and its jobs, and cancel both; if they
    submit, or leave the `with` block, ConfigurationError is raised.

    Connection's other public names are not in a batch:

    - open: a file is read and written step by step, by the greenlet that opened it.
    - presign: it sends no request, so there is nothing to wait for.
    - list_buckets: it is one request about the whole account.
    - batch, conn, config, mock, retry_failed, silent: they concern the connection, not a call.
    """

    def __init__(
        self,
        connection: Performer,
        size: int,
        *,
        on_error: OnError = 'raise',
        keep_results: bool = True,
        timeout_s: float | None = None,
        job_timeout_s: float | None = None,
        max_failures: int | None = None,
    ) -> None:
        limits = BatchLimits(
            size=size, on_error=on_error, timeout_s=timeout_s, job_timeout_s=job_timeout_s, max_failures=max_failures
        )
        size = affordable(size)
        self._limits = dataclasses.replace(limits, size=size)
        self._connection = connection
        self._observer = connection.observer
        self.home = Home()
        self._runner = Runner(connection, self._end, job_timeout_s)
        self._workers = WorkerPool(size, self._runner.run, self._settle)
        self._jobs: list[Job] | None = [] if keep_results else None
        self._ended: list[Job] | None = [] if keep_results else None
        self._has_ended_one = gevent.event.Event()
        self._is_idle = gevent.event.Event()
        self._is_idle.set()
        self._watch = watch_hub(self._is_idle)
        self._refusal: S3poError | None = None
        self._is_closed = False
        self._submitted = self._cancelled = 0
        # The jobs that have not ended.
        self._open: set[Job] = set()
        self._began_at = self._ended_at = 0.0
        self._failed = FailedJobs()
        self._unread = Unread()
        connection.demand_requests(size)
        # A timer, because a greenlet could be killed.
        self._deadline: Any = None if timeout_s is None else self.home.hub.loop.timer(timeout_s)
        if self._deadline is not None:
            self._deadline.start(self._expire, timeout_s)
        watch(self)

    def __dir__(self) -> list[str]:
        return public_names(self, INTERNAL)

    def __repr__(self) -> str:
        return f'<Batch size={self._limits.size} submitted={self._submitted} pending={self.pending} failed={len(self._failed)}>'

    def __del__(self) -> None:
        # After a wrong argument, __init__ was not completed.
        if hasattr(self, '_unread'):
            warn(self)

    @property
    def failed(self) -> FailedJobs:
        """The jobs that failed so far, in the order of their failures. `failed.save(path)` writes them to a file."""
        self._unread.clear()
        return self._failed

    @property
    def pending(self) -> int:
        """The number of jobs that have not ended."""
        return len(self._open)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all jobs have ended. May be called from any native thread.

        Args:
            timeout_s: The longest wait; None for no limit. The jobs continue after it.

        Returns:
            True if all have ended.
        """
        self.check_outside('wait()')
        return self.home.wait(self._is_idle, timeout_s)

    def success(self) -> bool:
        """Wait for all jobs. Returns True if all succeeded, silent ones included."""
        self.check_outside('success()')
        self.wait()
        return not self.failed

    @overload
    def results(self, jobs: None = None) -> list[Any]: ...
    @overload
    def results(self, jobs: Iterable[Job[T]]) -> list[T | BaseException]: ...
    def results(self, jobs: Iterable[Job[Any]] | None = None) -> list[Any]:
        """Wait for all jobs. Returns their values; for a failed job, its exception.

        Args:
            jobs: The jobs whose values are returned, in this order; None for all, in the order of submission.

        Raises:
            ConfigurationError: The batch was made with keep_results=False, and `jobs` is None; or a job of another batch has
                not ended.
        """
        wanted = self._kept(self._jobs, 'results()') if jobs is None else list(jobs)
        self.check_outside('results()')
        self.wait()
        if jobs is not None and (other := next((job for job in wanted if not job.has_ended), None)):
            raise ConfigurationError(f'jobs: {other!r} is a job of another batch, and has not ended')
        return [job.value if job.exception is None else job.exception for job in wanted]

    def as_completed(self) -> Iterator[Job[Any]]:
        """An iterator over the jobs in the order in which they end. It stops when no job is pending.

        Raises:
            ConfigurationError: The batch was made with keep_results=False, or the caller is one of its callbacks.
        """
        ended = self._kept(self._ended, 'as_completed()')
        self.check_outside('as_completed()')
        return self._completed(ended)

    def _completed(self, ended: list[Job]) -> Iterator[Job]:
        seen = 0
        # Other threads rely on this order: the last job is appended before `_is_idle` is set.
        while not (self._is_idle.is_set() and seen == len(ended)):
            if seen < len(ended):
                seen += 1
                ended[seen - 1].is_read = True
                yield ended[seen - 1]
            elif self.home.is_here():
                self._has_ended_one.clear()
                self._has_ended_one.wait()
            else:
                self.home.wait_until(lambda known=seen: len(ended) > known, None)  # type: ignore[misc]

    def report(self) -> BatchReport:
        """The current figures. Does not wait."""
        if not self.pending:
            self._unread.clear()
        until = time.monotonic() if self.pending else self._ended_at
        return BatchReport(
            submitted=self._submitted,
            succeeded=self._submitted - self.pending - len(self._failed),
            failed=len(self._failed) - self._cancelled,
            cancelled=self._cancelled,
            pending=self.pending,
            size_bytes=self._runner.size_bytes,
            retries=self._runner.retries,
            seconds=until - self._began_at if self._submitted else 0.0,
        )

    def raise_for_errors(self) -> None:
        """Wait for all jobs, and raise if a job failed that is not silent.

        Cancelled jobs are in `failed`, but raise nothing: the caller cancelled them.

        Raises:
            BatchError: Describes the first failures; its `failed` has all of them.
        """
        self.check_outside('raise_for_errors()')
        self.wait()
        loud = [job for job in self.failed if not job.is_silent and not job.is_cancelled]
        if not loud:
            return
        shown = [str(job) for job in loud[:SHOWN_FAILURES]]
        if len(loud) > SHOWN_FAILURES:
            shown.append(f'and {len(loud) - SHOWN_FAILURES:,} more (see failed)')
        text = f'{len(loud):,} of {self._submitted:,} jobs failed: {"; ".join(shown)}'
        raise BatchError(text, self._failed) from loud[0].error

    def cancel(self, grace_s: float = 0.0) -> None:
        """Accept no more jobs, cancel those that have not begun, and interrupt the running ones. Returns when all have ended.

        Args:
            grace_s: How long running jobs may continue before they are interrupted.
        """
        if not self.home.is_here():
            self.home.call(lambda: self.cancel(grace_s))
            return
        self._stop(Cancelled('the batch was cancelled'))
        if self._workers.is_inside():
            # A job cannot wait for its own end, so the calling job continues.
            self._interrupt_running(Cancelled('the batch was cancelled'), besides=gevent.getcurrent())
            return
        if not self._is_idle.wait(grace_s):
            self._interrupt_running(Cancelled('the batch was cancelled'))
            self._is_idle.wait()

    def close(self) -> None:
        """End the workers. Leaving the `with` block calls it; without a `with` block, call it after wait()."""
        if not self.home.is_here():
            self.home.call(self.close)
        elif not self._is_closed:
            self._is_closed = True
            self._watch.close()
            self._workers.close()
            self._connection.release_requests(self._limits.size)
            if self._deadline is not None:
                self._deadline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if not self.home.is_own_process():
            # A forked child leaves the block. The batch belongs to the parent, which waits for it.
            return
        if not self.home.is_here():
            if error is None:
                self.home.check()
            return
        try:
            if error is None:
                self.wait()
            else:
                self._stop(Cancelled(f'the body of the batch raised {kind.__name__ if kind else error!r}'))
                if not isinstance(error, Exception):
                    self._interrupt(error)
                self._is_idle.wait()
        except BaseException as interruption:
            # Ctrl-C or a kill during the wait: raised again after the transfers were interrupted and have cleaned up.
            self._interrupt(interruption)
            self._unread.clear()
            raise
        finally:
            self.close()
            if error is not None:
                # The exception of the block is raised, so unread failures are not reported.
                self._unread.clear()
        if error is None and self._limits.on_error == 'raise':
            self.raise_for_errors()

    # --- for Calls and Job

    def submit(
        self,
        call: Call,
        callback: Callback | None,
        errback: Errback | None,
        *,
        silent: bool | None = None,
        refusal: S3poError | None = None,
    ) -> Job:
        """Queue a call. Blocks while the queue is full, except from inside a job. With a refusal, the job fails with that."""
        if self._refusal is not None or self._is_closed or not self.home.is_here():
            self._check_open()
        if isinstance(call.ref, UnusableRef):
            refusal = call.ref.refusal()
        if callback is not None or errback is not None:
            refusal = refusal or not_callable(callback, errback)
            errback = errback if callable(errback) else None
        is_silent = self._connection.silent if silent is None else silent
        job = Job(self, call, callback, errback, is_silent, refusal)
        has_room = self._workers.wait_for_room()
        if self._refusal is not None:
            if has_room:
                self._workers.give_back_room()
            raise self._refused()
        if not self._submitted:
            self._began_at = time.monotonic()
        try:
            # Python checks for signals after a call only. So no signal can interrupt between these two statements.
            self._submitted += 1
            self._open.add(job)
            if self._jobs is not None:
                self._jobs.append(job)
            if len(self._open) == 1:
                self._is_idle.clear()
            self._workers.put(job, has_room=has_room)
        except BaseException as error:
            self._settle(error)
            raise
        return job

    def cancel_job(self, job: Job) -> bool:
        """Cancel a job, for Job.cancel()."""
        if job.has_ended:
            return False
        if not self.home.is_here():
            return self.home.call(lambda: self.cancel_job(job))
        reason = Cancelled(f'{job.operation} {job.ref} was cancelled')
        if any(running is job for running in self._workers.running()):
            return self._workers.interrupt(job, reason)
        self._end(job, None, reason, is_cancelled=True)
        return True

    def check_outside(self, waiting: str) -> None:
        """Refuse to wait for jobs inside a callback.

        Raises:
            ConfigurationError: Jobs are pending and the caller is a callback: it would wait for itself, or for jobs that need
                its worker.
        """
        if self.pending and self._workers.is_inside():
            raise ConfigurationError(
                f'{waiting} in a callback of the same batch could wait for ever; call it outside of the jobs, give that job a '
                'callback of its own, or use the method of the connection'
            )

    def unread(self) -> str:
        """The warning about pending jobs or unread failures; '' for none. A second call returns ''."""
        return self._unread.message(self.pending, self._submitted) if self.home.is_own_process() else ''

    # --- counting

    def _end(self, job: Job, value: Any, error: Exception | None, *, is_cancelled: bool = False) -> None:
        if isinstance(error, ConfigurationError):
            # `silent` covers failed transfers, not mistakes in the call.
            job.is_silent = False
        job.end(value, error)
        if self._observer is not None:
            report(self._observer.ended, activity_of(job), error)
        if error is not None:
            self._count_failure(job, is_cancelled=is_cancelled)
        self._count_end(job)

    def _count_failure(self, job: Job, *, is_cancelled: bool) -> None:
        failed = FailedJob.of(job, is_cancelled=is_cancelled, endpoint=self._connection.endpoint_url)
        self._cancelled += is_cancelled
        self._failed.add(failed)
        if not (is_cancelled or job.is_silent or job.is_read):
            self._unread.add(job)
        self._trip()

    def _count_end(self, job: Job) -> None:
        if self._ended is not None:
            self._ended.append(job)
        self._open.discard(job)
        self._has_ended_one.set()
        if not self._open:
            self._ended_at = time.monotonic()
            self._is_idle.set()

    def _settle(self, error: BaseException) -> None:
        """End the jobs that an exception has lost. Ctrl-C may interrupt the steps that queue and count a job."""
        if not self.home.is_own_process():
            return
        for job in self._open.difference(self._workers.jobs()):
            if not job.has_ended:
                self._end(job, None, _interrupted(error), is_cancelled=True)
                continue
            if job.failure is not None and all(failed.error is not job.failure for failed in self._failed):
                self._count_failure(job, is_cancelled=isinstance(job.failure, Cancelled))
            if self._ended is not None and job in self._ended:
                self._ended.remove(job)
            self._count_end(job)
        if not self._open:
            self._is_idle.set()

    # --- stopping

    def _trip(self) -> None:
        """Stop the batch after max_failures failures."""
        limit = self._limits.max_failures
        if limit is None or self._refusal is not None or len(self._failed) - self._cancelled < limit:
            return
        self._stop(BreakerOpen(f'the batch stopped after {limit} failures; the last one: {self._failed[-1]}'))

    def _expire(self, timeout_s: float) -> None:
        reason = DeadlineExceeded(f'the batch was not done within its timeout_s of {timeout_s} s')
        self._stop(reason)
        # Callbacks too: one of them may never end.
        self._interrupt_running(reason, is_urgent=True)

    def _stop(self, reason: S3poError) -> None:
        """Refuse further jobs, and end those that have not begun."""
        if self._refusal is None:
            self._refusal = reason
        for job in self._workers.drain():
            if not job.has_ended:
                self._end(job, None, reason, is_cancelled=isinstance(reason, Cancelled))

    def _interrupt(self, error: BaseException) -> None:
        """End all jobs after Ctrl-C or a kill. Returns when the running ones have cleaned up."""
        reason = _interrupted(error)
        self._stop(reason)
        self._interrupt_running(reason, is_urgent=True)
        while not self._workers.join(INTERRUPT_S):
            # Once more: the exception may have been raised while a job was being interrupted.
            self._interrupt_running(reason, is_urgent=True)
        self._settle(error)

    def _interrupt_running(self, reason: S3poError, *, is_urgent: bool = False, besides: object = None) -> None:
        for job in self._workers.running():
            if not (isinstance(besides, Worker) and besides.job is job):
                self._workers.interrupt(job, reason, even_callbacks=is_urgent)

    def _check_open(self) -> None:
        if self._refusal is not None:
            raise self._refused()
        if self._is_closed:
            raise ConfigurationError('the batch is closed; make a new one with conn.batch()')
        self.home.check()

    def _refused(self) -> S3poError:
        # A new one each time: the first one is in `failed`, and would collect the tracebacks of all later submissions.
        return type(self._refusal)(str(self._refusal)) if self._refusal is not None else Cancelled('')

    def _kept(self, jobs: list[Job] | None, what: str) -> list[Job]:
        if jobs is None:
            raise ConfigurationError(f'{what} needs the jobs, and the batch was made with keep_results=False')
        return jobs


def _interrupted(error: BaseException) -> Cancelled:
    return Cancelled(f'interrupted by {type(error).__name__}')
