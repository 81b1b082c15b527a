"""Calls on buckets: listings, DeleteObjects, presigned URLs, creating and deleting buckets."""

from __future__ import annotations

import functools
import itertools
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from s3po.checks import is_whole
from s3po.config import MAX_DELETE_KEYS, MAX_PAGE_KEYS, MAX_PRESIGN_S
from s3po.connection.operations import Operations, check_timeout, within
from s3po.connection.tracebacks import short_tracebacks
from s3po.connection.wiring import Wiring
from s3po.errors import ConfigurationError, ListingError, TransferError, TransportError
from s3po.model import DeleteFailure, DeleteReport, ListEntry, ObjectRef, Prefix, check_bucket
from s3po.retry import is_retryable
from s3po.s3 import Extra, Listing
from s3po.s3.pages import Loop
from s3po.s3.status import check_status
from s3po.transfer import Attempts

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ['create_bucket', 'delete_bucket', 'delete_many', 'listing', 'presign']

PRESIGNED: Final = {'GET': 'GetObject', 'PUT': 'PutObject', 'HEAD': 'HeadObject', 'DELETE': 'DeleteObject'}

# Returns the boto3 client. Called after the arguments were checked: making a client may search the network for credentials.
ClientFinder: TypeAlias = 'Callable[[], S3Client]'


def listing(
    operations: Operations,
    bucket: str,
    prefix: str,
    *,
    delimiter: str | None,
    start_after: str | None,
    page_size: int,
    extra: Extra | None,
    retries: int | None,
    timeout_s: float | None,
) -> Iterator[ListEntry | Prefix]:
    """Check the arguments, and return an iterator that requests the pages as they are needed."""
    check_bucket(bucket)
    for name, value in (('prefix', prefix), ('delimiter', delimiter or ''), ('start_after', start_after or '')):
        if not isinstance(value, str):
            raise ConfigurationError(f'{name} must be a str, not {type(value).__name__}')
    if not is_whole(page_size, 1, MAX_PAGE_KEYS):
        raise ConfigurationError(f'page_size must be a whole number from 1 to {MAX_PAGE_KEYS:,}, not {page_size!r}')
    turn: Callable[[str | None], Any] = functools.partial(
        _page,
        operations.attempts(bucket, prefix, retries),
        prefix=prefix,
        delimiter=delimiter,
        start_after=start_after,
        page_size=page_size,
        extra=operations.extra(extra, 'ListObjectsV2'),
    )
    if timeout_s is not None:
        check_timeout(timeout_s)
        turn = _Hurried(turn, timeout_s, f'list s3://{bucket}/{prefix}').turn
    return _pages(turn, bucket, prefix, start_after or '')


class _Hurried:
    """Requests pages with a time limit for all of them together, which counts only while a page is awaited."""

    def __init__(self, turn: Callable[[str | None], Any], timeout_s: float, doing: str) -> None:
        self._turn = turn
        self._timeout_s = self._left_s = timeout_s
        self._doing = doing

    def turn(self, token: str | None) -> Any:
        began = time.monotonic()
        try:
            return within(max(self._left_s, 0.001), functools.partial(self._turn, token), self._doing, told_s=self._timeout_s)
        finally:
            self._left_s -= time.monotonic() - began


def _pages(turn: Callable[[str | None], Any], bucket: str, prefix: str, start_after: str) -> Iterator[ListEntry | Prefix]:
    token: str | None = None
    tokens, pages = Loop(), Loop()
    while True:
        page = turn(token)
        # Keys and prefixes are each in order; merged they are in the order of the bucket.
        found = _merged(page.entries, page.prefixes)
        if pages.is_closed_by((found[0], found[-1], len(found)) if found else None):
            page_name = _named_page(found)
            raise ListingError(f'the listing of s3://{bucket} repeats a page, {page_name}; some keys may be missing from it')
        _check_asked_for(page, f's3://{bucket}', prefix, start_after if token is None else '')
        yield from found
        if not page.is_truncated:
            return
        if page.next_token is None or tokens.is_closed_by(page.next_token):
            raise ListingError(
                f'the listing of s3://{bucket} is truncated without a new continuation token; some keys may be missing from it'
            )
        token = page.next_token


def _check_asked_for(page: Listing, where: str, prefix: str, start_after: str) -> None:
    """Reject a page with names outside the request: the caller may delete all of them."""
    names = [entry.key for entry in page.entries]
    for name in (*names, *page.prefixes) if prefix else ():
        if not name.startswith(prefix):
            raise ListingError(f'the listing of {where} has {name!r}, which does not begin with the prefix {prefix!r}')
    for name in names if start_after else ():
        if name <= start_after:
            raise ListingError(f'the listing of {where} has {name!r}, which is not after start_after={start_after!r}')


def _named_page(found: list[ListEntry | Prefix]) -> str:
    if not found:
        return 'without any key, thousands of times in a row'
    return f'beginning with {_name(found[0])!r}'


def _name(item: ListEntry | Prefix) -> str:
    return item.key if isinstance(item, ListEntry) else item.prefix


def _merged(entries: Iterable[ListEntry], prefixes: Sequence[str]) -> list[ListEntry | Prefix]:
    """Entries and prefixes in S3's order, that of their UTF-8 bytes. It is also the order of Python's strings."""
    found: list[ListEntry | Prefix] = sorted(entries, key=operator.attrgetter('key'))
    if prefixes:
        found += [Prefix(prefix=prefix) for prefix in prefixes]
        found.sort(key=_name)
    return found


def _page(attempts: Attempts, token: str | None, **query: Any) -> Any:
    turn = functools.partial(attempts.transport.list_objects_v2, attempts.bucket, token=token, **query)
    with short_tracebacks():
        return attempts.run('ListObjectsV2', turn)


def delete_many(
    operations: Operations,
    bucket: str,
    keys: Iterable[str | ListEntry | ObjectRef],
    *,
    extra: Extra | None,
    retries: int | None,
) -> DeleteReport:
    """Delete 1,000 keys per request, and retry those that failed with a retryable error."""
    check_bucket(bucket)
    if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        raise ConfigurationError('keys must be an iterable of keys; use delete() for a single key')
    extra = operations.extra(extra, 'DeleteObjects')
    named = (_named(bucket, key) for key in keys)
    deleted = 0
    failed: list[DeleteFailure] = []
    while chunk := list(itertools.islice(named, MAX_DELETE_KEYS)):
        deletion = _Deletion(operations.attempts(bucket, '', retries), chunk, extra)
        deletion.run()
        deleted += sum(name not in deletion.failed for name in chunk)
        failed += deletion.failed.values()
    return DeleteReport(deleted=deleted, failed=tuple(failed))


class _Deletion:
    """One DeleteObjects request of up to 1,000 keys, with its retries.

    Attributes:
        failed: The keys that may not be deleted, by key and version id.
    """

    def __init__(self, attempts: Attempts, keys: Sequence[tuple[str, str | None]], extra: Extra) -> None:
        self._attempts = attempts
        self._left = keys
        self._extra = extra
        self.failed: dict[tuple[str, str | None], DeleteFailure] = {}

    def run(self) -> None:
        """Delete the keys; failures are kept in `failed`."""
        try:
            self._attempts.run('DeleteObjects', self._attempt)
        except TransferError as error:
            cause = error.__cause__ if isinstance(error.__cause__, TransportError) else TransportError(str(error))
            for key, version in self._left:
                failure = DeleteFailure(key=key, error=cause, version_id=version)
                self.failed.setdefault((key, version), failure)

    def _attempt(self) -> None:
        failures = self._attempts.transport.delete_objects(self._attempts.bucket, self._left, extra=self._extra)
        # A key that failed in an earlier attempt, and not in this one, is deleted.
        for name in self._left:
            self.failed.pop(name, None)
        self.failed.update(((failure.key, failure.version_id), failure) for failure in failures)
        again = [failure for failure in failures if is_retryable(failure.error)]
        self._left = [(failure.key, failure.version_id) for failure in again]
        if again:
            raise again[0].error


def _named(bucket: str, key: str | ListEntry | ObjectRef) -> tuple[str, str | None]:
    if isinstance(key, ObjectRef):
        if key.bucket != bucket:
            raise ConfigurationError(f'keys: {key} is not in bucket {bucket}')
        return key.key, key.version_id
    if isinstance(key, ListEntry):
        return key.key, None
    return ObjectRef(bucket=bucket, key=key).key, None


def presign(
    wiring: Wiring,
    operations: Operations,
    method: str,
    ref: ObjectRef,
    *,
    expires_s: int,
    extra: Extra | None,
) -> str:
    """Return a signed URL; sends no request."""
    if method not in PRESIGNED:
        raise ConfigurationError(f'method must be one of {", ".join(PRESIGNED)}, not {method!r}')
    if not is_whole(expires_s, 1, MAX_PRESIGN_S):
        raise ConfigurationError(
            f'expires_s must be a whole number from 1 to {MAX_PRESIGN_S:,} (seven days), not {expires_s!r}'
        )
    operation = PRESIGNED[method]
    given = operations.known_extra(operation, operations.extra(extra, operation))
    return wiring.presigner(ref.bucket).presigned_url(
        operation, method, ref.bucket, ref.key, version_id=ref.version_id, expires_s=expires_s, extra=given
    )


def create_bucket(
    find_client: ClientFinder, operations: Operations, bucket: str, *, extra: Extra | None, retries: int | None
) -> None:
    """Create a bucket in the client's region."""
    check_bucket(bucket)
    given = operations.extra(extra, 'CreateBucket')
    _on_bucket(find_client().create_bucket, operations, 'CreateBucket', bucket, given, retries)


def delete_bucket(
    find_client: ClientFinder, operations: Operations, bucket: str, *, extra: Extra | None, retries: int | None
) -> None:
    """Delete a bucket."""
    check_bucket(bucket)
    given = operations.extra(extra, 'DeleteBucket')
    _on_bucket(find_client().delete_bucket, operations, 'DeleteBucket', bucket, given, retries)


def _on_bucket(
    call: Callable[..., Any], operations: Operations, operation: str, bucket: str, extra: Extra, retries: int | None
) -> None:
    from s3po.endpoints.boto_errors import translated

    parameters = {**operations.known_extra(operation, extra), 'Bucket': bucket}

    def attempt() -> None:
        doing = f'{operation} s3://{bucket}'
        with translated(doing):
            response = call(**parameters)
        check_status(operation, doing, response['ResponseMetadata']['HTTPStatusCode'])

    operations.attempts(bucket, '', retries).run(operation, attempt)
