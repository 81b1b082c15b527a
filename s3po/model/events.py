"""What a progress function receives."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ['ProgressEvent']


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressEvent:
    """The state of a batch, a transfer or an open file. The argument of the function that was given as `progress`.

    The bytes are those of the objects as they are sent and received: of a compressed upload, the compressed ones. Bytes that
    have to be transferred again, and those of a failed job, are subtracted, so `bytes_done` may become smaller. For a file that
    is open for reading, they are the bytes that were fetched, which may be more than its size.

    Attributes:
        jobs_done: The jobs that have ended, failed ones included. A transfer without a batch is one job.
        jobs_total: The jobs that were submitted so far. It grows while more are submitted.
        bytes_done: The bytes that were transferred, of jobs that have succeeded or are running.
        bytes_total: The size of all submitted jobs in bytes. None if the size of one is not known: a stream, or a download
            that has not begun.
        failed: The jobs that have failed or were cancelled.
        in_flight: The jobs whose transfer is running; 0 for a file that is open for reading.
        width: How many requests of the connection may be in flight at once.
        seconds: The time since the first job was submitted, in seconds.
        bytes_per_s: The rate of the last seconds; of the last event, the average.
        jobs_per_s: The same for jobs.
        eta_s: The time that the submitted jobs will take at this rate, in seconds; None if it cannot be known.
        is_last: True for the last event: the batch is closed, the transfer has ended, the file is closed.
    """

    jobs_done: int
    jobs_total: int
    bytes_done: int
    bytes_total: int | None
    failed: int
    in_flight: int
    width: int
    seconds: float
    bytes_per_s: float
    jobs_per_s: float
    eta_s: float | None
    is_last: bool = False
