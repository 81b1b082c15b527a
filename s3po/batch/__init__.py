"""A bounded pool of workers with a bounded queue, and a callback for each call.

The batch decides when a call is made and records its result. A Connection, given as a `Performer`, carries the call out.

Invariants: a job ends exactly once, with a value or an exception; no job is lost, whatever its callback does; submitting from
inside a job never blocks; the job records success, and the state of a greenlet does not count.
"""

from s3po.batch.batch import Batch
from s3po.batch.failed import FailedJob, FailedJobs
from s3po.batch.job import Job
from s3po.batch.report import BatchReport

__all__ = ['Batch', 'BatchReport', 'FailedJob', 'FailedJobs', 'Job']
