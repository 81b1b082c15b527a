"""Carries out copies and moves: within the store, and to the store of another connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from s3po.body.sinks import BytesSink
from s3po.connection.arguments import add_conditions, object_headers
from s3po.connection.looking import head, remove
from s3po.connection.objects import ObjectCalls
from s3po.connection.operations import UPLOADS, Operations, outcome_of
from s3po.errors import (
    AccessDenied,
    ConfigurationError,
    CopyIncomplete,
    DownloadError,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    SourceChanged,
    UploadError,
)
from s3po.jobs.options import Copy
from s3po.model import ObjectInfo, ObjectRef, Outcome, TransferResult, check_name
from s3po.s3 import Extra
from s3po.s3.expected import version_to_read
from s3po.transfer import Attempts, Description, ObjectDownload, check_copy, copy_between, copy_object, source_tags

__all__ = ['Copies']

# The S3 requests that a copy within the store may make: `extra` takes their parameters.
COPIES: Final = ('CopyObject', 'CreateMultipartUpload', 'UploadPartCopy', 'CompleteMultipartUpload')
# Parameters for reading the source of a copy, with their names in a HEAD.
OF_THE_SOURCE: Final = {
    'ExpectedSourceBucketOwner': 'ExpectedBucketOwner',
    'CopySourceSSECustomerAlgorithm': 'SSECustomerAlgorithm',
    'CopySourceSSECustomerKey': 'SSECustomerKey',
    'CopySourceSSECustomerKeyMD5': 'SSECustomerKeyMD5',
    'RequestPayer': 'RequestPayer',
}
# Headers with a key of the customer (SSE-C).
CUSTOMER_KEY: Final = 'x-amz-server-side-encryption-customer-'


class Copies:
    """Carries out copies and moves, with the connection's defaults.

    Attributes:
        by_name: The function of each operation, as those of Operations.
    """

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self.by_name: dict[str, Callable[[ObjectRef, Any], Outcome]] = {'copy': self._copy, 'move': self._move}

    def _copy(self, ref: ObjectRef, options: Copy) -> Outcome:
        check_name(options['to_bucket'], options['to_key'], prefix='to_')
        to = _store_of(options)
        result, _ = self._within(ref, options, is_move=False) if to is None else self._between(ref, options, to, is_move=False)
        return outcome_of(result)

    def _move(self, ref: ObjectRef, options: Copy) -> Outcome:
        to_bucket, to_key, retries = options['to_bucket'], options['to_key'], options.get('retries')
        check_name(to_bucket, to_key, prefix='to_')
        to = _store_of(options)
        if (ref.bucket, ref.key) == (to_bucket, to_key) and to in (None, self._operations):
            raise ConfigurationError(f'to_key: {ref} would be moved onto itself, and then deleted')
        reading = self._reading(options.get('extra'))
        attempts = self._operations.attempts(ref.bucket, ref.key, retries)
        if to is None:
            before = head(attempts, ref, reading, options.get('if_match'))
            result, _ = self._within(ref, {**options, 'if_match': before.etag}, is_move=True)
        else:
            if (ref.bucket, ref.key) == (to_bucket, to_key):
                self._check_other(ref, options, to, head(attempts, ref, reading, options.get('if_match')))
            result, before = self._between(ref, options, to, is_move=True)
            if not _has_customer_key(options.get('headers') or ()):
                self._verify(before, result, options, to)
        notes = options.get('notes')
        if notes is not None:
            notes.stored(result)
        try:
            # Data written to the source meanwhile are not in the copy, and must not be deleted.
            head(attempts, ref, reading, before.etag)
        except PreconditionFailed as error:
            raise SourceChanged(
                f'{ref} was copied to s3://{to_bucket}/{to_key}, but not deleted: it was replaced meanwhile. Move it again'
            ) from error
        remove(attempts, ref, reading)
        copied = outcome_of(result)
        return Outcome(value=result, size_bytes=copied.size_bytes, retries=copied.retries + attempts.retried)

    @staticmethod
    def _check_other(ref: ObjectRef, options: Copy, to: Operations, source: ObjectInfo) -> None:
        """Check that a name in the other store is not the same object, by another name of the endpoint.

        The copy would be the source, which is deleted then. Its ETag is no help if its bytes are the same.
        """
        extra = _without_conditions(to.extra(options.get('extra'), *UPLOADS, *COPIES))
        copy = ObjectRef(bucket=ref.bucket, key=ref.key)
        try:
            found = head(to.attempts(ref.bucket, ref.key, options.get('retries')), copy, extra)
        except (NotFound, AccessDenied, InvalidRequest):
            # Or it cannot be read: S3 answers 403 for a missing object if the credentials do not permit listing.
            return
        if all(getattr(found, name) == getattr(source, name) for name in ('etag', 'size_bytes', 'last_modified', 'version_id')):
            raise ConfigurationError(
                f'to: {ref} would be moved onto itself, and then deleted: the other connection has an object with the same '
                'name, ETag and time, so both seem to be of the same store. If they are not, copy it, and then delete it'
            )

    def _reading(self, given: Extra | None) -> dict[str, Any]:
        """The parameters of requests that read the source."""
        extra = self._operations.extra(given, *UPLOADS, *COPIES)
        return {theirs: extra[ours] for ours, theirs in OF_THE_SOURCE.items() if ours in extra}

    # --- within the store

    def _within(self, ref: ObjectRef, options: Copy, *, is_move: bool) -> tuple[TransferResult, ObjectInfo]:
        """Copy an object within the store. Returns the result and the source's description."""
        to_bucket, to_key, retries = options['to_bucket'], options['to_key'], options.get('retries')
        operations = self._operations
        extra = operations.extra(options.get('extra'), *COPIES)
        sent = object_headers(options.get('headers'), options.get('metadata'), options.get('content_type'))
        if options.get('if_none_match') is not None:
            raise ConfigurationError("if_none_match needs to=; within the store, use extra={'IfNoneMatch': '*'}")
        info, tagging, looked = self._look_at_source(ref, options.get('if_match'), extra, retries)
        attempts = operations.attempts(to_bucket, to_key, retries, UploadError, options.get('observer'))
        attempts.warnings = looked.warnings
        if attempts.observer is not None:
            attempts.sized('CopyObject', info.size_bytes)
        result = copy_object(
            attempts,
            ref,
            info,
            operations.config,
            headers=sent,
            tagging=tagging,
            extra=extra,
            notes=options.get('notes'),
        )
        if is_move:
            _check_lost(ref, result, looked.lost + attempts.lost)
        if (is_move or result.parts > 1) and not _has_customer_key(sent):
            try:
                copy = _compare_with(operations.attempts(to_bucket, to_key, retries), info, result, extra)
                if is_move and result.parts == 1 and not {'Tagging', 'TaggingDirective'} & extra.keys():
                    _check_lost(ref, result, _lost_tags(info, copy))
            except AccessDenied:
                # A copy may be forbidden to be read. Before the source is deleted, it must be compared.
                if is_move:
                    raise
        return result, info

    def _look_at_source(
        self, ref: ObjectRef, if_match: str | None, extra: Extra, retries: int | None
    ) -> tuple[ObjectInfo, str, Attempts]:
        """The description of the source, its tags if the copy does not take them along, and the requests' warnings."""
        reading = {theirs: extra[ours] for ours, theirs in OF_THE_SOURCE.items() if ours in extra}
        attempts = self._operations.attempts(ref.bucket, ref.key, retries)
        info = head(attempts, ref, reading, if_match)
        is_in_parts = info.size_bytes > self._operations.config.multipart_copy_threshold
        tagging = source_tags(attempts, info, ref.version_id, reading) if is_in_parts else ''
        return info, tagging, attempts

    # --- to another store

    def _between(self, ref: ObjectRef, options: Copy, to: Operations, *, is_move: bool) -> tuple[TransferResult, ObjectInfo]:
        """Copy an object to another store. Returns the result and the source's description."""
        operations, retries, given = self._operations, options.get('retries'), options.get('extra')
        extra = to.extra(given, *UPLOADS, *COPIES)
        headers = object_headers(options.get('headers'), options.get('metadata'), options.get('content_type'))
        conditions: dict[str, str] = {}
        add_conditions(conditions, if_none_match=options.get('if_none_match'), if_match=None)
        has_tags = 'Tagging' in extra or any(name.lower() == 'x-amz-tagging' for name in headers)
        download = ObjectDownload(
            operations.attempts(ref.bucket, ref.key, retries, DownloadError),
            BytesSink(),
            operations.config,
            if_match=options.get('if_match'),
            version_id=ref.version_id,
            extra={**operations.extra(None), **self._reading(given)},
        )
        attempts = to.attempts(options['to_bucket'], options['to_key'], retries, UploadError, options.get('observer'))
        attempts.is_of_other_store = True
        with to.widened():
            copied = copy_between(
                download,
                attempts,
                to.config,
                Description(headers=headers, conditions=conditions, has_tags=has_tags),
                extra,
                options.get('memory', operations.memory)(),
                options.get('notes'),
            )
        if is_move:
            _check_lost(ref, copied[0], download.attempts.lost + attempts.lost)
        return copied

    def _verify(self, source: ObjectInfo, result: TransferResult, options: Copy, to: Operations) -> None:
        """Compare the copy in the other store with its source, before that is deleted."""
        extra = to.extra(options.get('extra'), *UPLOADS, *COPIES)
        attempts = to.attempts(result.bucket, result.key, options.get('retries'))
        attempts.is_of_other_store = True
        _compare_with(attempts, source, result, extra)


def _check_lost(ref: ObjectRef, result: TransferResult, lost: tuple[str, ...]) -> None:
    """Check that the copy of a move has all of its source, before that is deleted.

    Raises:
        CopyIncomplete: It has not.
    """
    if lost:
        raise CopyIncomplete(
            f'{ref} was copied to s3://{result.bucket}/{result.key}, but not deleted, because the copy is incomplete: '
            f'{"; ".join(lost)}. Permit what was refused, and move it again; or, if the copy is good enough, delete the source'
        )


def _compare_with(attempts: Attempts, source: ObjectInfo, result: TransferResult, extra: Extra) -> ObjectInfo:
    """Compare a copy with its source, by a HEAD of the copy, which is returned."""
    copy = ObjectRef(bucket=result.bucket, key=result.key, version_id=version_to_read(result.version_id))
    # The conditions were for the object before the copy.
    reading = _without_conditions(extra)
    found = head(attempts, copy, reading)
    check_copy(source, found, f'copy to {copy}')
    return found


def _lost_tags(source: ObjectInfo, copy: ObjectInfo) -> tuple[str, ...]:
    """What CopyObject has not copied of the tags, as a sentence; nothing if the store does not send the source's number."""
    wanted = source.headers.get('x-amz-tagging-count', '0')
    found = copy.headers.get('x-amz-tagging-count', 'no')
    is_kept = wanted in ('0', found)
    return () if is_kept else (f'the copy has {found[:9]} tags, and the source {wanted[:9]}',)


def _without_conditions(extra: Extra) -> dict[str, Any]:
    return {name: value for name, value in extra.items() if name not in ('IfMatch', 'IfNoneMatch')}


def _has_customer_key(headers: Iterable[str]) -> bool:
    """Whether the headers have a key of the customer, so that no HEAD can be sent: it takes a key only from `extra`."""
    return any(name.lower().startswith(CUSTOMER_KEY) for name in headers)


def _store_of(options: Copy) -> Operations | None:
    """The operations of the connection `to`; None for a copy within the store."""
    to = options.get('to')
    if to is None:
        return None
    if not isinstance(to, ObjectCalls):
        raise ConfigurationError(f'to must be an s3po.Connection, that of the other store, not {type(to).__name__}')
    return to._operations
