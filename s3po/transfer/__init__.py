"""Carries a plan out: requests under a retry policy and within the connection's bound, parts side by side, and the clean-up.

What may live here: the order of requests of one transfer, and what becomes of it when one of them fails. How a request looks
is the transport's affair, which requests there are is the plan's.

Invariants: a multipart upload that was created is completed or aborted, on every way out; no part greenlet outlives its
transfer; parts run in a group of the transfer's own, never in a batch's workers (parents that wait for a place for their
children, in a pool that is full of parents, wait for ever).
"""

from s3po.transfer.aborts import Leftovers
from s3po.transfer.attempts import Attempts
from s3po.transfer.copying import check_copy, copy_object
from s3po.transfer.downloading import DownloadRequest, download
from s3po.transfer.integrity import Guard
from s3po.transfer.multipart import abort_leftovers, abort_upload
from s3po.transfer.uploading import upload

__all__ = [
    'Attempts',
    'DownloadRequest',
    'Guard',
    'Leftovers',
    'abort_leftovers',
    'abort_upload',
    'check_copy',
    'copy_object',
    'download',
    'upload',
]
