"""Gives each job that failed in a retryable way one more turn, later.

An outage that lasts longer than the retries of a request fails the jobs of that minute. They wait until the queue is empty, or
for a while, and are carried out once more. Only the outcome of that last turn counts, and only then is the errback called.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from typing import Any, Final

from s3po.batch.home import Home
from s3po.batch.job import Job
from s3po.batch.repeating import refusal_of
from s3po.batch.workers import WorkerPool
from s3po.errors import TransferError
from s3po.retry import is_retryable

__all__ = ['LastTurns']

# The longest wait for the last turn, in seconds.
WAIT_S: Final = 30.0
# How many jobs wait; beyond that, jobs that fail have no last turn.
MAX_WAITING: Final = 10_000
# The operations that have the same outcome if an earlier turn was carried out although it seemed to fail.
REPEATABLE: Final = frozenset(
    {'upload', 'upload_file', 'download', 'download_file', 'head', 'exists', 'list', 'copy', 'delete', 'delete_many'}
)
# Options with which that is not so: the earlier turn may have changed what they depend on.
CONDITIONS: Final = frozenset({'if_match', 'if_none_match'})


class LastTurns:
    """The jobs of one batch that wait for their last turn."""

    def __init__(self, home: Home, workers: WorkerPool, on_wait: Callable[[], None]) -> None:
        """
        Args:
            home: The thread of the batch.
            workers: Its workers.
            on_wait: Called when one more job waits.
        """
        self._home = home
        self._on_wait = on_wait
        self._workers = workers
        # In the order of their failures, with the time of the failure.
        self._waiting: collections.OrderedDict[Job, float] = collections.OrderedDict()
        # The errors of these jobs, and of those that were queued for their last turn and have not begun it.
        self._errors: dict[Job, Exception] = {}
        self._clock: Any = None

    def __len__(self) -> int:
        """The number of jobs that have failed, and whose last turn has not begun."""
        return len(self._errors)

    def takes(self, job: Job, error: Exception) -> bool:
        """Whether a job that failed gets a last turn. Then it waits, and has not ended.

        Args:
            job: The job, in its worker.
            error: Why it failed.
        """
        if job.turns > 1 or len(self._waiting) >= MAX_WAITING or not _may_succeed_later(job, error):
            return False
        self._errors[job] = error
        self._workers.set_aside(job)
        self._waiting[job] = time.monotonic()
        self._workers.on_empty = self._release_all
        if self._clock is None:
            # A timer, because a greenlet could be killed.
            self._clock = self._home.hub.loop.timer(WAIT_S, WAIT_S / 10)
            self._clock.start(self._release_due)
        self._on_wait()
        return True

    def forget(self, job: Job) -> Exception | None:
        """Forget a job, because its last turn begins, or it ends. Returns its error; None for a job that did not wait."""
        self._waiting.pop(job, None)
        return self._errors.pop(job, None)

    @property
    def last_error(self) -> Exception | None:
        """The error of the job that failed last; None if none waits."""
        return next(reversed(self._errors.values()), None)

    def close(self) -> None:
        """Stop the clock."""
        if self._clock is not None:
            self._clock.close()
            self._clock = None

    def _release_all(self) -> None:
        """Called when the queue is empty."""
        self._release(len(self._waiting))

    def _release_due(self) -> None:
        """Called by the clock: releases the jobs that have waited for long enough."""
        due_before = time.monotonic() - WAIT_S
        self._release(sum(since <= due_before for since in self._waiting.values()))

    def _release(self, count: int) -> None:
        for _ in range(count):
            job = next(iter(self._waiting))
            self._workers.bring_back(job)
            self._waiting.pop(job, None)
        if not self._waiting:
            self._workers.on_empty = None
            self.close()


def _may_succeed_later(job: Job, error: Exception) -> bool:
    """Whether a repetition may succeed, and does no harm."""
    # After a single attempt there were no retries to be used up: `retries=0`.
    if (
        not isinstance(error, TransferError)
        or error.attempts < 2
        or error.__cause__ is None
        or not is_retryable(error.__cause__)
    ):
        return False
    call = job.call
    if call is None or call.operation not in REPEATABLE or not CONDITIONS.isdisjoint(call.options):
        return False
    if call.operation == 'delete' and not call.options.get('missing_ok', True):
        return False
    return refusal_of(call) is None
