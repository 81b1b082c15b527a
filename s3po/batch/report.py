"""The figures of a batch."""

from __future__ import annotations

from dataclasses import dataclass

from s3po.config import MIB

__all__ = ['BatchReport']


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """The figures of a batch that runs or has ended.

    Attributes:
        submitted: The number of jobs.
        succeeded: Jobs that succeeded.
        failed: Jobs that failed, without the cancelled ones.
        cancelled: Jobs that were cancelled.
        pending: Jobs that have not ended.
        size_bytes: The bytes that the successful jobs have moved.
        retries: Requests that were sent again.
        seconds: From the first submission to the end of the last job, or to now while jobs are pending.
    """

    submitted: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    pending: int = 0
    size_bytes: int = 0
    retries: int = 0
    seconds: float = 0.0

    @property
    def jobs_per_s(self) -> float:
        """Successful jobs per second."""
        return self.succeeded / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_s(self) -> float:
        """Bytes per second."""
        return self.size_bytes / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        return (
            f'{self.succeeded:,} of {self.submitted:,} jobs done, {self.failed:,} failed, {self.cancelled:,} cancelled, '
            f'{self.pending:,} pending; {self.size_bytes / MIB:,.1f} MiB in {self.seconds:.1f} s '
            f'({self.jobs_per_s:,.0f} jobs/s, {self.bytes_per_s / MIB:,.1f} MiB/s), {self.retries:,} retries'
        )
