"""A call of a connection as one value: the operation, the object and the options.

Connection, Batch and the failed set carry a `Call`. Its options are a plain dict with only the options that were given. It has
a JSON form, and an identity that is the same in every process. A `JobRecord` is a call and its outcome, as a line of a file.
"""

from s3po.jobs.call import Call
from s3po.jobs.durable import LOST, read_lines
from s3po.jobs.options import DEFAULTS
from s3po.jobs.record import JobRecord

__all__ = ['DEFAULTS', 'LOST', 'Call', 'JobRecord', 'read_lines']
