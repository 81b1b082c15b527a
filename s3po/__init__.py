"""s3po moves many objects, or very large ones, between Python and any S3-compatible store.

Importing it makes sockets, TLS, DNS and `time.sleep` cooperative, before anything else of s3po is imported; threads and locks
stay native. `patch_all()`, or S3PO_PATCH=all in the environment, patches everything; S3PO_PATCH=0 patches nothing. See
s3po/runtime/.
"""

from s3po import runtime

runtime.patch()

from s3po import errors  # noqa: E402  (the patch comes first)
from s3po.batch import Batch, BatchReport, FailedJob, FailedJobs, Job  # noqa: E402
from s3po.config import TransferConfig, __version__  # noqa: E402
from s3po.connection import Connection, Difference, VerifyReport  # noqa: E402
from s3po.errors import *  # noqa: E402, F403  (every error is public)
from s3po.interfaces.client import S3Client  # noqa: E402
from s3po.model import (  # noqa: E402
    DeleteFailure,
    DeleteReport,
    ListEntry,
    ObjectInfo,
    ObjectRef,
    Part,
    Prefix,
    ProgressEvent,
    TransferResult,
)
from s3po.retry import RetryPolicy  # noqa: E402
from s3po.runtime import patch_all  # noqa: E402

__all__ = [
    'Batch',
    'BatchReport',
    'Connection',
    'DeleteFailure',
    'DeleteReport',
    'Difference',
    'FailedJob',
    'FailedJobs',
    'Job',
    'ListEntry',
    'ObjectInfo',
    'ObjectRef',
    'Part',
    'Prefix',
    'ProgressEvent',
    'RetryPolicy',
    'S3Client',
    'TransferConfig',
    'TransferResult',
    'VerifyReport',
    '__version__',
    'patch_all',
]
__all__ += errors.__all__
