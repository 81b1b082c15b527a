"""Frozen values: names of objects, the store's descriptions of them, results of transfers. No I/O."""

from s3po.model.entries import Described, ListEntry, ObjectInfo, Prefix
from s3po.model.events import ProgressEvent
from s3po.model.refs import (
    BucketRef,
    ObjectRef,
    UnusableRef,
    bucket_ref_of,
    check_bucket,
    check_name,
    key_of,
    ref_of,
)
from s3po.model.results import CompletedPart, DeleteFailure, DeleteReport, Outcome, Part, TransferResult

__all__ = [
    'BucketRef',
    'CompletedPart',
    'DeleteFailure',
    'DeleteReport',
    'Described',
    'ListEntry',
    'ObjectInfo',
    'ObjectRef',
    'Outcome',
    'Part',
    'Prefix',
    'ProgressEvent',
    'TransferResult',
    'UnusableRef',
    'bucket_ref_of',
    'check_bucket',
    'check_name',
    'key_of',
    'ref_of',
]
