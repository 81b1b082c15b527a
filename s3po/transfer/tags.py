"""Reads the tags of the source of a copy, and makes sure that the copy has them."""

from __future__ import annotations

import functools

from s3po.errors import AccessDenied, InvalidRequest, NotFound, TransferError, TransportError
from s3po.model import ObjectInfo
from s3po.s3 import Extra
from s3po.transfer.attempts import Attempts

__all__ = ['ensure_tags', 'source_tags']


def source_tags(attempts: Attempts, info: ObjectInfo, version_id: str | None, extra: Extra) -> str:
    """The tags of a source as a query string; '' for none. A warning is added if they cannot be read.

    Args:
        attempts: Makes the request; has the object's name.
        info: The source. S3 sends the number of its tags if the credentials permit reading them.
        version_id: Its version; None for the current one.
        extra: Further parameters of the request.
    """
    count = info.headers.get('x-amz-tagging-count', '0')
    if count == '0':
        return ''
    look = functools.partial(
        attempts.transport.get_object_tagging, attempts.bucket, attempts.key, version_id=version_id, extra=extra
    )
    try:
        tagging = attempts.run('GetObjectTagging', look)
    except (AccessDenied, InvalidRequest, NotFound) as error:
        attempts.lose(f'the tags of the source are not copied: {error}')
        return ''
    found = str(_count_of(tagging))
    if found != count:
        attempts.lose(f'the tags of the source are not all copied: it has {count[:9]}, and the store has sent {found}')
    return tagging


def ensure_tags(attempts: Attempts, tagging: str, version_id: str | None, extra: Extra) -> None:
    """Look whether a copy has its tags, and send those that the store has dropped; a warning is added if it cannot have them.

    Ceph's gateway drops the tags of multipart uploads, and accepts them afterwards.

    Args:
        attempts: Makes the requests; has the name of the copy.
        tagging: The tags as a query string.
        version_id: The version of the copy; None for the current one.
        extra: The caller's further parameters.
    """
    # The conditions were for the object before the copy.
    extra = {name: value for name, value in extra.items() if name not in ('IfMatch', 'IfNoneMatch', 'Tagging')}
    wanted, found = str(_count_of(tagging)), _count_at(attempts, version_id, extra)
    if found == wanted:
        return
    transport, bucket, key = attempts.transport, attempts.bucket, attempts.key
    send = functools.partial(transport.put_object_tagging, bucket, key, tagging, version_id=version_id, extra=extra)
    reason = ''
    try:
        attempts.run('PutObjectTagging', send)
        found = _count_at(attempts, version_id, extra)
    except (TransportError, TransferError, ValueError) as error:
        reason = f': {error}'
    if found != wanted:
        attempts.lose(f'the tags of the source are not copied: the copy has {found} tags, and the source {wanted}{reason}')


def _count_at(attempts: Attempts, version_id: str | None, extra: Extra) -> str:
    """The number of tags of an object, as in x-amz-tagging-count."""
    look = functools.partial(attempts.transport.head_object, attempts.bucket, attempts.key, version_id=version_id, extra=extra)
    try:
        return attempts.run('HeadObject', look).headers.get('x-amz-tagging-count', 'no')
    except (TransportError, TransferError):
        # A copy may be forbidden to be read, or replaced by now.
        return 'unknown'


def _count_of(tagging: str) -> int:
    """The number of tags in a query string."""
    return tagging.count('&') + 1 if tagging else 0
