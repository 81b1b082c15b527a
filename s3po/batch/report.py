"""The figures of a batch."""

from __future__ import annotations

from dataclasses import dataclass

from s3po.config import MIB

__all__ = ['BatchReport']


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """How far a batch is, or how it ended.

    Attributes:
        submitted: The jobs so far.
        succeeded: Those that ended well.
        failed: Those that failed, the cancelled ones not among them.
        cancelled: Those that were cancelled.
        pending: Those that have not ended.
        size_bytes: The bytes that the jobs that ended well have moved.
        retries: The requests that had to be sent again.
        seconds: From the first submission to the end of the last job, or to now while there are pending ones.
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
        """Jobs that ended well, per second."""
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
