"""Counts the jobs of a batch, and keeps those that failed or never began.

Invariants: a job ends once. It leaves `open` after everything else about its end is recorded, so that `is_idle` means that all
results can be read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, Final

import gevent.event

from s3po.batch.failed import FailedJob, FailedJobs
from s3po.batch.job import Job
from s3po.batch.limits import Performer
from s3po.batch.progressing import BatchProgress
from s3po.batch.receipts import Receipts
from s3po.batch.report import BatchReport, how_to_go_on
from s3po.batch.running import activity_of
from s3po.batch.unread import Unread
from s3po.errors import BatchError, Cancelled, ConfigurationError
from s3po.observer import report

__all__ = ['Counting', 'interrupted']

# How many failures the text of a BatchError describes.
SHOWN_FAILURES: Final = 3


class Counting:
    """The jobs of one batch, and how they ended.

    Attributes:
        jobs: All jobs in the order of submission; None if the batch does not keep them.
        ended: The jobs in the order of their ends; None if the batch does not keep them.
        open: The jobs that have not ended.
        failed: The jobs that failed after they began, cancelled ones included.
        not_started: The jobs that ended before they began.
        loud: The failures that raise a BatchError.
        unread: The failures that the caller has not read.
        submitted: The number of all jobs.
        cancelled: The number of cancelled jobs in `failed`.
        has_ended_one: Set when a job ends.
        is_idle: Set while no job is open.
    """

    def __init__(
        self,
        connection: Performer,
        on_failure: Callable[[], None],
        progress: BatchProgress | None = None,
        *,
        keep_results: bool,
        receipts: Receipts | None = None,
    ) -> None:
        """
        Args:
            connection: Its observer receives the events of the jobs.
            on_failure: Called after a job has failed.
            progress: Counts the jobs too; None for no progress.
            keep_results: Whether to keep the jobs.
            receipts: Records the jobs that end; None for no receipts.
        """
        self._receipts = receipts
        self._connection = connection
        self._observer = connection.observer
        self._on_failure = on_failure
        self._progress = progress
        self.jobs: list[Job] | None = [] if keep_results else None
        self.ended: list[Job] | None = [] if keep_results else None
        self.open: set[Job] = set()
        self.failed = FailedJobs()
        self.not_started = FailedJobs()
        self.loud = Loud()
        self.unread = Unread()
        self.submitted = self.cancelled = 0
        self.has_ended_one = gevent.event.Event()
        self.is_idle = gevent.event.Event()
        self.is_idle.set()
        self._began_at = self._ended_at = 0.0

    def add(self, job: Job) -> None:
        """Count a job that is about to be queued."""
        if not self.submitted:
            self._began_at = time.monotonic()
        # Python checks for signals after a call only. So no signal can interrupt between these two statements.
        self.submitted += 1
        self.open.add(job)
        if self.jobs is not None:
            self.jobs.append(job)
        if len(self.open) == 1:
            self.is_idle.clear()
        if self._progress is not None:
            self._progress.add(job)

    def end(self, job: Job, value: Any, error: Exception | None, *, is_cancelled: bool = False) -> None:
        """End a job with a value or an error. One that has not begun is not started, for whatever reason."""
        if error is not None and isinstance(error, ConfigurationError):
            # `silent` covers failed transfers, not mistakes in the call.
            job.is_silent = False
        if self._receipts is not None and job.call is not None:
            self._receipts.add(job, error, is_cancelled=is_cancelled)
        job.end(value, error)
        if self._progress is not None:
            self._progress.end(job, error)
        if self._observer is not None:
            report(self._observer.ended, activity_of(job), error)
        if error is not None:
            self._keep(job, is_cancelled=is_cancelled)
        if self.ended is not None:
            self.ended.append(job)
            # For as_completed(), which needs the jobs.
            self.has_ended_one.set()
        self.open.discard(job)
        if not self.open:
            self._ended_at = time.monotonic()
            self.is_idle.set()
        if error is not None:
            self._on_failure()

    def settle(self, error: BaseException, alive: Collection[Job]) -> None:
        """End the jobs that an exception has lost. Ctrl-C may interrupt the steps that queue and count a job.

        Args:
            error: The exception.
            alive: The jobs that wait or run.
        """
        for job in self.open.difference(alive):
            if not job.has_ended:
                self.end(job, None, interrupted(error), is_cancelled=True)
                continue
            if self._progress is not None:
                self._progress.end(job, job.failure)
            if job.failure is not None and not self._is_kept(job):
                self._keep(job, is_cancelled=isinstance(job.failure, Cancelled))
            if self.ended is not None and job not in self.ended:
                self.ended.append(job)
            self.open.discard(job)
            self.has_ended_one.set()
        if not self.open:
            self._ended_at = time.monotonic()
            self.is_idle.set()

    def report(self, size_bytes: int, retries: int) -> BatchReport:
        """The current figures.

        Args:
            size_bytes: The bytes that the successful jobs have moved.
            retries: Requests that were sent again.
        """
        pending = len(self.open)
        until = time.monotonic() if pending else self._ended_at
        return BatchReport(
            submitted=self.submitted,
            succeeded=self.submitted - pending - len(self.failed) - len(self.not_started),
            failed=len(self.failed) - self.cancelled,
            cancelled=self.cancelled,
            not_started=len(self.not_started),
            pending=pending,
            size_bytes=size_bytes,
            retries=retries,
            seconds=until - self._began_at if self.submitted else 0.0,
            receipts=self._receipts,
        )

    def _keep(self, job: Job, *, is_cancelled: bool) -> None:
        """Keep a job that has not succeeded."""
        record = FailedJob.of(job, is_cancelled=is_cancelled, endpoint=self._connection.endpoint_url)
        if job.turns:
            self.cancelled += is_cancelled
            self.failed.add(record)
        else:
            self.not_started.add(record)
        if not (is_cancelled or job.is_silent):
            self.loud.add(record)
            if not job.is_read:
                self.unread.add(job)

    def _is_kept(self, job: Job) -> bool:
        jobs = self.failed if job.turns else self.not_started
        return job.call is not None and jobs.has_just(job.call)


class Loud:
    """The failed jobs that raise a BatchError: all but the silent and the cancelled ones."""

    def __init__(self) -> None:
        self._failed, self._not_started = _Some(), _Some()

    def add(self, job: FailedJob) -> None:
        """Add a failed job, or one that never began."""
        (self._failed if job.has_begun else self._not_started).add(job)

    def error(self, counting: Counting) -> BatchError | None:
        """The BatchError; None if there are no such jobs."""
        some, what, where = self._failed, 'failed', 'failed'
        if not some.count:
            some, what, where = self._not_started, 'were not started', 'not_started'
        if not some.count:
            return None
        shown = [str(job) for job in some.first]
        if some.count > len(shown):
            shown.append(f'and {some.count - len(shown):,} more (see {where})')
        text = f'{some.count:,} of {counting.submitted:,} jobs {what}: {"; ".join(shown)}'
        if self._not_started.count:
            why = self._not_started.first[0].error
            text += f'; {how_to_go_on(self._not_started.count, why if some is self._failed else None)}'
        error = BatchError(text, counting.failed, counting.not_started)
        error.__cause__ = some.first[0].error
        return error


class _Some:
    """The number of some jobs, and the first ones."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[FailedJob] = []

    def add(self, job: FailedJob) -> None:
        """Add a job."""
        self.count += 1
        if len(self.first) < SHOWN_FAILURES:
            self.first.append(job)


def interrupted(error: BaseException) -> Cancelled:
    """The error of the jobs that an exception has ended, such as a KeyboardInterrupt."""
    return Cancelled(f'interrupted by {type(error).__name__}')
