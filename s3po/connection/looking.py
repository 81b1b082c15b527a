"""Looks at one object, and deletes one: the steps that several operations share."""

from __future__ import annotations

import functools
import http.client
import logging

from s3po.errors import AccessDenied, InvalidRequest, NetworkError, NotFound
from s3po.model import ObjectInfo, ObjectRef
from s3po.s3 import Extra
from s3po.s3.status import is_gone
from s3po.transfer import Attempts

__all__ = ['exists', 'head', 'remove']

log = logging.getLogger(__name__)


def head(attempts: Attempts, ref: ObjectRef, extra: Extra, if_match: str | None = None) -> ObjectInfo:
    """The description of an object by a HEAD or, if that is forbidden or lacks the size, by a GET of the first byte.

    Some stores and proxies allow only GET. The refusal of a HEAD has no body, and that of a GET names the reason. Proxies that
    compress responses drop the Content-Length.
    """
    look = functools.partial(
        attempts.transport.head_object, ref.bucket, ref.key, if_match=if_match, version_id=ref.version_id, extra=extra
    )
    try:
        info = attempts.run('HeadObject', look)
        if info.size_bytes >= 0:
            return info
    except AccessDenied as error:
        if error.status != http.client.FORBIDDEN:
            raise

    def look_by_get(byte_range: tuple[int, int] | None) -> ObjectInfo:
        answer = attempts.transport.get_object(
            ref.bucket, ref.key, byte_range=byte_range, if_match=if_match, version_id=ref.version_id, extra=extra
        )
        try:
            if answer.whole_bytes < 0 or answer.offset:
                raise NetworkError(f'GetObject {ref}: the response has neither a length nor the size of the object')
            return answer.info
        finally:
            answer.close()

    try:
        return attempts.run('GetObject', functools.partial(look_by_get, (0, 1)))
    except InvalidRequest as error:
        if error.status != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
    # An empty object has no first byte.
    return attempts.run('GetObject', functools.partial(look_by_get, None))


def exists(attempts: Attempts, ref: ObjectRef, extra: Extra) -> bool:
    """Whether there is such an object.

    Raises:
        AccessDenied: The credentials do not permit an answer.
    """
    try:
        head(attempts, ref, extra)
    except NotFound:
        return False
    except AccessDenied as error:
        error.args = (f'{error.args[0]}; without the permission s3:ListBucket, S3 sends this for a missing key too',)
        raise
    return True


def remove(attempts: Attempts, ref: ObjectRef, extra: Extra) -> None:
    """Delete an object, with retries: repeating a DELETE is harmless."""
    delete = functools.partial(attempts.transport.delete_object, ref.bucket, ref.key, version_id=ref.version_id, extra=extra)
    try:
        attempts.run('DeleteObject', delete)
    except NotFound as error:
        # Some stores reject the deletion of a missing key. Usually an attempt whose response was lost has deleted it.
        if not is_gone(error):
            raise
        log.debug('%s is already deleted: %s', ref, error)
