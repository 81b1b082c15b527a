"""Objects as file objects: the readers and writers that Connection.open() returns.

This room adds the interface of Python's file objects to the transfers. Requests, retries, parts and aborts stay in `transfer`.

Invariants: a reader returns bytes of one version of the object only. A writer publishes a complete object in close(), or
nothing: an exception inside the `with` or a writer that is never closed publishes nothing.
"""

from s3po.body.local import write_all
from s3po.files.errors import as_file_error, file_errors
from s3po.files.layers import Compressed, Uncommitted
from s3po.files.modes import OpenMode, open_mode
from s3po.files.ranges import Ranges
from s3po.files.reader import S3Reader
from s3po.files.text import S3TextReader, S3TextWriter
from s3po.files.writer import AbortedOnError, S3Writer, Send

__all__ = [
    'AbortedOnError',
    'Compressed',
    'OpenMode',
    'Ranges',
    'S3Reader',
    'S3TextReader',
    'S3TextWriter',
    'S3Writer',
    'Send',
    'Uncommitted',
    'as_file_error',
    'file_errors',
    'open_mode',
    'write_all',
]
