"""The progress of a batch: counts its jobs, and observes their transfers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from s3po.batch.job import Job
from s3po.config import MIB
from s3po.jobs import Call
from s3po.jobs.options import OBSERVED
from s3po.model import Outcome
from s3po.observer import combined
from s3po.progress import Meter, Tally, size_of

__all__ = ['BatchProgress']

# Smaller uploads are counted at their ends: observing them would take longer than it shows.
OBSERVED_BYTES: Final = MIB


class BatchProgress:
    """The jobs of a batch that has `progress=`; a batch without it has no such object.

    Every job that was added ends once. In between its call may be carried out several times.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._tallies: dict[Job, Tally] = {}

    def add(self, job: Job) -> None:
        """Count a job that is queued."""
        self._tallies[job] = self._meter.add(None if job.call is None else size_of(job.call))

    def perform(self, job: Job, call: Call, perform: Callable[[Call], Outcome]) -> Outcome:
        """Carry out the call of a job with `perform`, and count its bytes."""
        tally = self._tallies[job]
        if call.operation in OBSERVED and (tally.size_bytes is None or tally.size_bytes > OBSERVED_BYTES):
            observer = combined(call.options.get('observer'), tally)
            call = Call(call.operation, call.ref, {**call.options, 'observer': observer})
        with tally:
            outcome = perform(call)
            tally.settle(outcome.size_bytes)
        return outcome

    def end(self, job: Job, error: BaseException | None) -> None:
        """Count the end of a job. Further calls do nothing."""
        tally = self._tallies.pop(job, None)
        if tally is not None:
            tally.end(has_failed=error is not None)

    def close(self) -> None:
        """Call the function with the last event."""
        self._meter.close()
