"""The batch: queues many calls, waits for them, and records failures."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack, overload

from s3po.batch.anchoring import PLACES, anchored
from s3po.batch.breaker import Breaker
from s3po.batch.counting import Counting
from s3po.batch.failed import FailedJobs
from s3po.batch.home import Home
from s3po.batch.job import Callback, Errback, Job, not_callable
from s3po.batch.journaled import Journaled, opened
from s3po.batch.last_turns import LastTurns
from s3po.batch.limits import BatchOptions, Performer, check_grace, check_wait, limits_of
from s3po.batch.mapping import Mapped
from s3po.batch.memory import KeptValues
from s3po.batch.processes import ProcessPool
from s3po.batch.progressing import BatchProgress
from s3po.batch.receipts import Receipts
from s3po.batch.report import BatchReport
from s3po.batch.running import Layer, Runner
from s3po.batch.stopping import Stopping, once_more
from s3po.batch.unread import warn, watch
from s3po.batch.workers import WorkerPool
from s3po.checks import public_names
from s3po.errors import Cancelled, ConfigurationError, S3poError
from s3po.jobs import Call
from s3po.journal import Journal
from s3po.memory import MemoryBudget
from s3po.model import UnusableRef
from s3po.progress import Meter, is_wanted
from s3po.runtime import affordable, watch_hub

__all__ = ['Batch']

log = logging.getLogger(__name__)

# The value of a job.
T = TypeVar('T')
# Methods that are called only by Calls and Job.
INTERNAL: Final = frozenset({'submit', 'cancel_job', 'make_room', 'submit_refused'})
# The functions that call those of the program.
CALLERS: Final = frozenset({Runner.call_back.__code__, Meter.call.__code__})


class Batch(Mapped):
    """A bounded pool of greenlets that runs calls of a connection. Made by Connection.batch().

    Use it in a `with` block. Leaving the block waits for all jobs, also those that callbacks submit, and raises BatchError if
    any failed. After an exception in the block, jobs that have not begun are cancelled, running jobs are waited for, and the
    exception is raised. After a KeyboardInterrupt or GreenletExit, running jobs are interrupted too; after a KeyboardInterrupt
    they may first continue for `grace_s`, until a second one. What was not done is logged; it is in `failed` and `not_started`.

    A batch belongs to the native thread that made it. Other threads may wait for it and its jobs, and cancel both; if they
    submit, or leave the `with` block, ConfigurationError is raised.

    Connection's other public names are not in a batch:

    - open: a file is read and written step by step, by the greenlet that opened it.
    - presign: it sends no request, so there is nothing to wait for.
    - list_buckets: it is one request about the whole account.
    - batch, conn, config, mock, retry_failed, silent: they concern the connection, not a call.
    - verify: it makes a batch of its own.
    """

    def __init__(self, connection: Performer, size: int, **options: Unpack[BatchOptions]) -> None:
        limits = limits_of(size, options)
        self._limits = limits = dataclasses.replace(limits, size=affordable(limits.size))
        self._connection = connection
        self.home = Home()
        recorded = Receipts(connection) if limits.receipts else None
        self._progress = BatchProgress(Meter(limits.progress, connection.width)) if is_wanted(limits.progress) else None
        self._counting = Counting(connection, self._trip, self._progress, keep_results=limits.keep_results, receipts=recorded)
        memory = None if limits.max_memory is None else MemoryBudget(limits.max_memory)
        kept = KeptValues((memory or connection.memory_budget()).limit_bytes) if limits.keep_results else None
        self._processes = self._process_pool() if limits.processes > 1 else None
        self._journaled = None if limits.journal is None else self._open_journal(limits.journal)
        end = self._end = self._counting.end if self._journaled is None else self._journaled.end
        around = (recorded, self._progress, self._journaled, self._processes)
        layers: list[Layer] = [layer for layer in around if layer is not None]
        self._runner = Runner(connection, end, limits.job_timeout_s, memory, kept, layers)
        self._workers = WorkerPool(limits.size, self._runner.run, self._settle)
        self._last_turns = LastTurns(self.home, self._workers, self._trip)
        self._stopping = Stopping(self.home, self._counting, end, self._workers, self._last_turns, limits)
        self._breaker = Breaker(
            self._workers,
            renew_credentials=(self._processes or connection).renew_credentials,
            stop=self._stopping.stop,
            watch=self._runner.watch,
        )
        self._runner.begin(self._breaker, self._last_turns)
        self._watch = watch_hub(self._counting.is_idle, CALLERS)
        self._is_closed = False
        self._request_load = (self._processes or connection).request_load()
        self._throttled_before = self._request_load().throttled
        connection.demand_requests(limits.size)
        watch(self)

    def __dir__(self) -> list[str]:
        return public_names(self, INTERNAL)

    def __repr__(self) -> str:
        return (
            f'<Batch size={self._limits.size} submitted={self._counting.submitted} '
            f'pending={self.pending} failed={len(self._counting.failed)}>'
        )

    def __del__(self) -> None:
        # After a wrong argument, __init__ was not completed.
        if hasattr(self, '_is_closed'):
            warn(self)

    @property
    def failed(self) -> FailedJobs:
        """The jobs that failed so far, in the order of their failures. `failed.save(path)` writes them to a file.

        Jobs that never began are in `not_started`.
        """
        self._counting.unread.clear()
        return self._counting.failed

    @property
    def not_started(self) -> FailedJobs:
        """The jobs that ended before they began: by Ctrl-C, a cancellation, a deadline or too many failures.

        They can be saved, loaded and repeated like `failed`: `batch.not_started.save(path)`, `conn.retry_failed(path)`.
        """
        self._counting.unread.clear()
        return self._counting.not_started

    @property
    def pending(self) -> int:
        """The number of jobs that have not ended."""
        return len(self._counting.open)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all jobs have ended. May be called from any native thread.

        Args:
            timeout_s: The longest wait; None for no limit. The jobs continue after it.

        Returns:
            True if all have ended.

        Raises:
            ConfigurationError: timeout_s is not a number of seconds from 0, or the caller is a callback of the batch.
        """
        check_wait(timeout_s)
        self.check_outside('wait()')
        return self.home.wait(self._counting.is_idle, timeout_s)

    def success(self) -> bool:
        """Wait for all jobs. Returns True if all succeeded, silent ones included."""
        self.check_outside('success()')
        self.wait()
        return not self.failed and not self.not_started

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
        wanted = self._kept(self._counting.jobs, 'results()') if jobs is None else list(jobs)
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
        ended = self._kept(self._counting.ended, 'as_completed()')
        self.check_outside('as_completed()')
        return self._completed(ended)

    def _completed(self, ended: list[Job]) -> Iterator[Job]:
        seen = 0
        # Other threads rely on this order: the last job is appended before `_is_idle` is set.
        while not (self._counting.is_idle.is_set() and seen == len(ended)):
            if seen < len(ended):
                seen += 1
                ended[seen - 1].is_read = True
                yield ended[seen - 1]
            elif self.home.is_here():
                self._counting.has_ended_one.clear()
                self._counting.has_ended_one.wait()
            else:
                self.home.wait_until(lambda known=seen: len(ended) > known, None)  # type: ignore[misc]

    def report(self) -> BatchReport:
        """The current figures. Does not wait."""
        if not self.pending:
            self._counting.unread.clear()
        load = self._request_load()
        return dataclasses.replace(
            self._counting.report(self._runner.size_bytes, self._runner.retries),
            throttled=load.throttled - self._throttled_before,
            width=load.width,
            skipped=0 if self._journaled is None else self._journaled.skipped,
        )

    def raise_for_errors(self) -> None:
        """Wait for all jobs, and raise if a job failed that is not silent.

        Cancelled jobs are in `failed` or `not_started`, but raise nothing: the caller cancelled them.

        Raises:
            BatchError: Describes the first failures, and what was not started. Its `failed` and `not_started` have all jobs.
        """
        self.check_outside('raise_for_errors()')
        self.wait()
        self._counting.unread.clear()
        if (error := self._counting.loud.error(self._counting)) is not None:
            raise error from error.__cause__

    def cancel(self, grace_s: float = 0.0) -> None:
        """Accept no more jobs, cancel those that have not begun, and interrupt the running ones. Returns when all have ended.

        Args:
            grace_s: How long running jobs may continue before they are interrupted.

        Raises:
            ConfigurationError: grace_s is not a number of seconds from 0.
        """
        check_grace(grace_s)
        if not self.home.is_here():
            self.home.call(lambda: self.cancel(grace_s))
            return
        self._stopping.cancel(grace_s)

    def close(self) -> None:
        """End the workers. Leaving the `with` block calls it; without a `with` block, call it after wait()."""
        if not self.home.is_here():
            self.home.call(self.close)
        elif not self._is_closed:
            self._is_closed = True
            self._watch.close()
            self._workers.close()
            if self._processes is not None:
                self._processes.close()
            self._connection.release_requests(self._limits.size)
            self._stopping.close()
            self._last_turns.close()
            self._breaker.close()
            if self._journaled is not None:
                self._close_journal()
            if self._progress is not None:
                self._progress.close()
            if not self.home.hub.main_hub:
                # If the native thread ends now, its event loop never runs again, and what still waits there is never freed.
                self._workers.outlast_idle()

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
            # Not in a method of its own: Ctrl-C at its beginning, before its `try`, would leave jobs behind.
            try:
                if error is None:
                    self.wait()
                elif isinstance(error, Exception):
                    self._stopping.stop(Cancelled(f'the body of the batch raised {type(error).__name__}'))
                    self._counting.is_idle.wait()
            except BaseException as interruption:
                # Ctrl-C or a kill: raised again after the transfers were interrupted and have cleaned up.
                self._stopping.interrupt(interruption)
                self._counting.unread.clear()
                if error is None:
                    self._log_rest(interruption)
                raise
            if error is not None and not isinstance(error, Exception):
                # A further exception, such as a second Ctrl-C, is raised at once.
                self._stopping.interrupt(error)
        finally:
            self.close()
            if error is not None:
                # The exception of the block is raised, so unread failures are not reported.
                self._counting.unread.clear()
                self._log_rest(error)
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
        if self._stopping.refusal is not None or self._is_closed or not self.home.is_here():
            self._check_open()
        if isinstance(call.ref, UnusableRef):
            refusal = call.ref.refusal()
        if callback is not None or errback is not None:
            refusal = refusal or not_callable(callback, errback)
            errback = errback if callable(errback) else None
        is_silent = self._connection.silent if silent is None else silent
        # Most calls have no path; this saves them the call.
        place = call.options.get(PLACES.get(call.operation, ''))
        if place is not None and place.__class__ is not bytes:
            call = anchored(call)
        job = Job(self, call, callback, errback, is_silent, refusal)
        has_room = self._workers.wait_for_room()
        stopped = self._stopping.refusal
        if stopped is None and self._runner.breaker is not None:
            stopped = self._breaker.refuses(job)
        if stopped is not None:
            if has_room:
                self._workers.give_back_room()
            raise once_more(stopped)
        if self._journaled is not None:
            self._journaled.enter(job)
        try:
            self._counting.add(job)
            self._workers.put(job, has_room=has_room)
        except BaseException as error:
            self._stopping.settle(error)
            raise
        return job

    def make_room(self) -> None:
        """Wait until the queue has room."""
        self._check_open()
        if self._workers.wait_for_room():
            self._workers.give_back_room()
        self._check_open()

    def submit_refused(self, call: Call, errback: Errback | None, *, silent: bool | None) -> None:
        """Count a call that submit() has refused as not started."""
        job: Job = Job(self, call, None, errback, self._connection.silent if silent is None else silent)
        stopped = self._stopping.refusal or self._breaker.refusal(job)
        if stopped is not None and not self._is_closed and self.home.is_here():
            self._counting.add(job)
            self.mapped += 1
            self._stopping.end_unstarted(job, stopped)

    def cancel_job(self, job: Job) -> bool:
        """Cancel a job, for Job.cancel()."""
        if job.has_ended:
            return False
        if not self.home.is_here():
            return self.home.call(lambda: self.cancel_job(job))
        reason = Cancelled(f'{job.operation} {job.ref} was cancelled')
        if any(running is job for running in self._workers.running()):
            return self._workers.interrupt(job, reason)
        self._last_turns.forget(job)
        if job.errback is not None:
            # A worker calls it.
            job.refusal = reason
            self._workers.bring_back(job)
            return True
        self._workers.aside.pop(job, None)
        self._end(job, None, reason, is_cancelled=True)
        self._breaker.left(job)
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
        return self._counting.unread.message(self.pending, self._counting.submitted) if self.home.is_own_process() else ''

    # --- private

    def _process_pool(self) -> ProcessPool:
        limits = self._limits
        return ProcessPool(
            self._connection, limits.size, limits.processes, max_memory=limits.max_memory, describes=limits.receipts
        )

    def _open_journal(self, journal: str | os.PathLike[str] | Journal) -> Journaled:
        limits = self._limits
        return Journaled(
            self._connection,
            opened(journal, self._connection, fsync=limits.fsync),
            self._counting.end,
            self._stop,
            verify_skipped=limits.verify_skipped,
            replay_callbacks=limits.replay_callbacks,
        )

    def _close_journal(self, _: object = None) -> None:
        """Close the journal, as soon as no job is open."""
        assert self._journaled is not None
        if self._counting.is_idle.is_set():
            self._journaled.close()
        else:
            self._counting.is_idle.rawlink(self._close_journal)

    def _stop(self, reason: S3poError) -> None:
        """Called when the journal cannot be written."""
        self._stopping.stop(reason)

    def _trip(self) -> None:
        """Called after each failure."""
        self._stopping.trip()

    def _settle(self, error: BaseException) -> None:
        """Called when an exception has ended a worker."""
        self._stopping.settle(error)

    def _log_rest(self, error: BaseException) -> None:
        """Log what an exception of the block leaves undone: no BatchError is raised."""
        report = self._counting.report(self._runner.size_bytes, self._runner.retries)
        if report.succeeded < report.submitted:
            log.warning('a batch was ended by %s: %s', type(error).__name__, report)

    def _check_open(self) -> None:
        if self._stopping.refusal is not None:
            raise once_more(self._stopping.refusal)
        if self._is_closed:
            raise ConfigurationError('the batch is closed; make a new one with conn.batch()')
        self.home.check()

    def _kept(self, jobs: list[Job] | None, what: str) -> list[Job]:
        if jobs is None:
            raise ConfigurationError(f'{what} needs the jobs, and the batch was made with keep_results=False')
        return jobs
