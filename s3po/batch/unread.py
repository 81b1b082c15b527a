"""Warnings about batches that were not waited for and failures that were not read.

They are emitted when the batch is collected or the program ends. Python ignores a ResourceWarning by default, and lost data are
worse than an open file, so each is an ERROR in the log too: Python prints that to stderr even without any logging set up.
"""

from __future__ import annotations

import atexit
import logging
import warnings
import weakref
from typing import Final, Protocol

from s3po.batch.job import Job
from s3po.checks import described

__all__ = ['Unread', 'warn', 'watch']

log = logging.getLogger(__name__)

# How many failures are watched; the others count as read if these were.
MAX_JOBS: Final = 1000


class Unread:
    """The failures of one batch that the caller has not read."""

    def __init__(self) -> None:
        # The first ones, and the number of the others.
        self._jobs: list[Job] = []
        self._more = 0
        self._has_warned = False

    def add(self, job: Job) -> None:
        """Add a job that failed."""
        if len(self._jobs) < MAX_JOBS:
            self._jobs.append(job)
        else:
            self._more += 1

    def clear(self) -> None:
        """Forget all: the caller has read them."""
        self._jobs.clear()
        self._more = 0

    def message(self, pending: int, submitted: int) -> str:
        """The warning; '' for none. A second call returns ''."""
        failures = [job for job in self._jobs if not job.is_read]
        # If the caller has read the first ones, it has read the others too.
        count = len(failures) + self._more if failures else 0
        self._jobs.clear()
        self._more = 0
        had_warned, self._has_warned = self._has_warned, True
        if had_warned:
            return ''
        if pending:
            return (
                f'{pending:,} of {submitted:,} jobs of a batch have not ended: nothing waited for it. Use '
                '`with conn.batch() as batch:`, or call batch.wait()'
            )
        if failures:
            first = failures[0]
            return (
                f'{count:,} of {submitted:,} jobs of a batch failed, and nothing read it (batch.failed, '
                f'batch.raise_for_errors()). The first: {first.operation} {first.ref}: {described(first.failure)}'
            )
        return ''


class Watched(Protocol):
    """A batch."""

    def unread(self) -> str:
        """The warning about it; '' for none. A second call returns ''."""
        ...


_watched: Final[weakref.WeakSet[Watched]] = weakref.WeakSet()


def watch(batch: Watched) -> None:
    """Check the batch when the program ends."""
    if not _watched:
        atexit.unregister(_warn_all)
        atexit.register(_warn_all)
    _watched.add(batch)


def warn(batch: Watched) -> None:
    """Log and warn about the batch, if there is something to warn about."""
    text = batch.unread()
    if text:
        log.error('%s', text)
        warnings.warn(text, ResourceWarning, source=batch, stacklevel=2)


def _warn_all() -> None:
    for batch in list(_watched):
        warn(batch)
