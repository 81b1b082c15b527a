"""A bounded pool of workers, fed through a bounded queue, with a callback per call.

What may live here: when which call is made, and what becomes of its result. How a call is carried out is the affair of the
object that is given (a Connection), of which only the methods of the Protocol `Performer` are used.

Invariants: a job ends exactly once, with a value or an exception; no job is lost, whatever its callback does; work submitted
from inside a job never blocks; success is what the job says, never what a greenlet's state says.
"""

from s3po.batch.batch import Batch
from s3po.batch.failed import FailedJob, FailedJobs
from s3po.batch.job import Job
from s3po.batch.report import BatchReport

__all__ = ['Batch', 'BatchReport', 'FailedJob', 'FailedJobs', 'Job']
