"""The facade that wires the rooms together.

What may live here: which transport, credentials and bound a call gets (`wiring`), what each call does with them (`operations`),
and the public signatures with their documentation (`facade`). What the faces above need of the rooms below is offered here.
"""

from s3po.batch import Batch, FailedJob, FailedJobs
from s3po.connection.facade import Connection
from s3po.retry import RetryPolicy
from s3po.runtime import has_greenlets

__all__ = ['Batch', 'Connection', 'FailedJob', 'FailedJobs', 'RetryPolicy', 'has_greenlets']
