"""Executes plans: requests with retries, limited by the connection's governor; parallel parts; and the clean-up.

Invariants: every multipart upload that was created is completed or aborted, on every exit path. No part greenlet outlives its
transfer. Parts run in their transfer's own group, never in a batch's workers: a pool full of parents that wait for room for
their children would wait for ever.
"""

from s3po.transfer.aborting import abort_pending, abort_upload
from s3po.transfer.attempts import Attempts, ObservedAttempts
from s3po.transfer.between import Description, copy_between
from s3po.transfer.continuing import download_record
from s3po.transfer.copying import check_copy, copy_object
from s3po.transfer.downloading import download, result_of
from s3po.transfer.integrity import Guard
from s3po.transfer.pending_aborts import PendingAborts
from s3po.transfer.requesting import Fetched, ObjectDownload
from s3po.transfer.tags import source_tags
from s3po.transfer.uploading import upload

__all__ = [
    'Attempts',
    'Description',
    'Fetched',
    'Guard',
    'ObjectDownload',
    'ObservedAttempts',
    'PendingAborts',
    'abort_pending',
    'abort_upload',
    'check_copy',
    'copy_between',
    'copy_object',
    'download',
    'download_record',
    'result_of',
    'source_tags',
    'upload',
]
