"""The connection: the public class, and what it is made of.

`wiring` chooses transport, credentials and governor of a call, and `operations` carries it out. `objects` and `facade` have the
public methods and their documentation. The interfaces above import from here what they need of the lower rooms.
"""

from s3po.batch import Batch, FailedJob, FailedJobs
from s3po.connection.facade import Connection
from s3po.retry import RetryPolicy
from s3po.runtime import has_greenlets

__all__ = ['Batch', 'Connection', 'FailedJob', 'FailedJobs', 'RetryPolicy', 'has_greenlets']
