"""The figures of a batch."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from s3po.batch.receipts import Receipts
from s3po.config import MIB
from s3po.errors import ConfigurationError

__all__ = ['BatchReport', 'how_to_go_on']


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """The figures of a batch that runs or has ended.

    Attributes:
        submitted: The number of jobs.
        succeeded: Jobs that succeeded.
        failed: Jobs that failed after they began, without the cancelled ones.
        cancelled: Jobs that were cancelled after they began.
        not_started: Jobs that ended before they began: by a cancellation, Ctrl-C, a deadline or too many failures.
        pending: Jobs that have not ended.
        size_bytes: The bytes that the successful jobs have moved.
        retries: Requests that were sent again.
        throttled: Requests that the store refused because of the load (SlowDown, 503, 429), of all work of the connection
            since the batch was opened.
        width: How many requests may be in flight at once now; fewer than the size while the store refuses some.
        skipped: Jobs that succeeded because an earlier run with the same journal has done them.
        receipts: The records of the jobs, for save(); None without receipts=True.
        seconds: From the first submission to the end of the last job, or to now while jobs are pending.
    """

    submitted: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    not_started: int = 0
    pending: int = 0
    size_bytes: int = 0
    retries: int = 0
    throttled: int = 0
    width: int = 0
    skipped: int = 0
    seconds: float = 0.0
    receipts: Receipts | None = field(default=None, repr=False, compare=False)

    @property
    def jobs_per_s(self) -> float:
        """Successful jobs per second."""
        return self.succeeded / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_s(self) -> float:
        """Bytes per second."""
        return self.size_bytes / self.seconds if self.seconds else 0.0

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the receipts: one JSON object per line for each job that has ended, in the order of the ends.

        A record has the call; its state ('done', 'skipped', 'failed', 'cancelled' or 'not_started'); the error; and the result:
        size, ETag, version and checksum of the object, attempts, moved bytes, seconds, and the time of the end. Call it in the
        thread of the batch. `Connection.verify(path)` compares the store with them.

        Args:
            path: The file, which is replaced when all is written.

        Raises:
            ConfigurationError: The batch was made without receipts=True.
            LocalError: The file cannot be written.
        """
        if self.receipts is None:
            raise ConfigurationError('save() needs the receipts of the jobs; make the batch with receipts=True')
        self.receipts.save(path)

    def __str__(self) -> str:
        left = f'; {how_to_go_on(self.not_started)}' if self.not_started else ''
        skipped = f' ({self.skipped:,} skipped)' if self.skipped else ''
        throttled = f', {self.throttled:,} throttled (width {self.width:,})' if self.throttled else ''
        return (
            f'{self.succeeded:,} of {self.submitted:,} jobs done{skipped}, {self.failed:,} failed, '
            f'{self.cancelled:,} cancelled, {self.pending:,} pending{left}; {self.size_bytes / MIB:,.1f} MiB in '
            f'{self.seconds:.1f} s ({self.jobs_per_s:,.0f} jobs/s, {self.bytes_per_s / MIB:,.1f} MiB/s), '
            f'{self.retries:,} retries{throttled}'
        )


def how_to_go_on(not_started: int, why: BaseException | None = None) -> str:
    """What to do about jobs that never began.

    Args:
        not_started: Their number.
        why: The error of the first one, to be named; None if it is named elsewhere.
    """
    jobs = '1 job' if not_started == 1 else f'{not_started:,} jobs'
    reason = '' if why is None else f' ({type(why).__name__}: {why})'
    return f'{jobs} not started{reason}: batch.not_started.save(path), then conn.retry_failed(path)'
