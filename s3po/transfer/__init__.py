"""Carries a plan out: requests with retries, within the connection's bound, parts side by side, and the clean-up.

Invariants: a multipart upload that was created is completed or aborted, on every way out; no part greenlet outlives its
transfer; parts run in a group of the transfer's own, never in a batch's workers (parents that wait for a place for their
children, in a pool that is full of parents, wait for ever).
"""

from s3po.transfer.aborting import abort_pending, abort_upload
from s3po.transfer.attempts import Attempts, ObservedAttempts
from s3po.transfer.copying import check_copy, copy_object
from s3po.transfer.downloading import download, result_of
from s3po.transfer.integrity import Guard
from s3po.transfer.pending_aborts import PendingAborts
from s3po.transfer.requesting import Fetched, ObjectDownload
from s3po.transfer.uploading import upload

__all__ = [
    'Attempts',
    'Fetched',
    'Guard',
    'ObjectDownload',
    'ObservedAttempts',
    'PendingAborts',
    'abort_pending',
    'abort_upload',
    'check_copy',
    'copy_object',
    'download',
    'result_of',
    'upload',
]
