"""Objects as files: what Connection.open() gives.

What may live here: the manners of Python's file objects, on top of the transfers. How bytes come and go (attempts, parts,
aborts) is theirs; nothing here repeats a request.

Invariants: all bytes that a reader gives are of one version of the object; a writer publishes a complete object by close(), or
nothing: not by an exception in its `with`, not by being forgotten.
"""

from s3po.body.local import write_all
from s3po.files.errors import as_file_error, file_errors
from s3po.files.modes import OpenMode, open_mode
from s3po.files.ranges import Ranges
from s3po.files.reader import S3Reader
from s3po.files.text import S3TextWriter
from s3po.files.writer import S3Writer, Send

__all__ = [
    'OpenMode',
    'Ranges',
    'S3Reader',
    'S3TextWriter',
    'S3Writer',
    'Send',
    'as_file_error',
    'file_errors',
    'open_mode',
    'write_all',
]
