"""Batches that nothing waited for, and failures that nothing read: told when the batch goes, or the program ends.

Python ignores a ResourceWarning by default, and data that were not moved are worse than an open file. So each is an ERROR of
the log too, which Python prints to stderr where no logging is set up.
"""

from __future__ import annotations

import atexit
import logging
import warnings
import weakref
from typing import Final, Protocol

from s3po.batch.job import Job
from s3po.checks import described

__all__ = ['Unread', 'tell', 'watch']

log = logging.getLogger(__name__)


class Unread:
    """The failures of one batch of which its caller knows nothing yet."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._is_told = False

    def add(self, job: Job) -> None:
        """A job has failed."""
        self._jobs.append(job)

    def clear(self) -> None:
        """The caller has looked at them."""
        self._jobs.clear()

    def told(self, pending: int, submitted: int) -> str:
        """What is to be told, once; '' for nothing."""
        failures = [job for job in self._jobs if not job.is_read]
        self._jobs.clear()
        was_told, self._is_told = self._is_told, True
        if was_told:
            return ''
        if pending:
            return (
                f'{pending:,} of {submitted:,} jobs of a batch have not ended: nothing waited for it. Use '
                '`with conn.batch() as batch:`, or call batch.wait()'
            )
        if failures:
            first = failures[0]
            return (
                f'{len(failures):,} of {submitted:,} jobs of a batch failed, and nothing read it (batch.failed, '
                f'batch.raise_for_errors()). The first: {first.operation} {first.ref}: {described(first.failure)}'
            )
        return ''


class Watched(Protocol):
    """A batch."""

    def unread(self) -> str:
        """What is to be told of it; '' for nothing. Asked a second time, there is nothing."""
        ...


_watched: Final[weakref.WeakSet[Watched]] = weakref.WeakSet()


def watch(batch: Watched) -> None:
    """Have it looked at when the program ends."""
    if not _watched:
        atexit.unregister(_tell_all)
        atexit.register(_tell_all)
    _watched.add(batch)


def tell(batch: Watched) -> None:
    """Tell what is unread of it."""
    text = batch.unread()
    if text:
        log.error('%s', text)
        warnings.warn(text, ResourceWarning, source=batch, stacklevel=2)


def _tell_all() -> None:
    for batch in list(_watched):
        tell(batch)
