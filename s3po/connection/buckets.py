"""Connection's methods for buckets: listings, DeleteObjects, presigned URLs, creating and deleting buckets."""

from __future__ import annotations

import builtins
import functools
import itertools
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from s3po.checks import is_whole
from s3po.config import MAX_DELETE_KEYS, MAX_PAGE_KEYS, MAX_PRESIGN_S
from s3po.connection.operations import Operations
from s3po.connection.time_limits import check_timeout, within
from s3po.connection.tracebacks import short_tracebacks
from s3po.connection.wiring import Wiring
from s3po.errors import ConfigurationError, ListingError, TransferError, TransportError
from s3po.model import DeleteFailure, DeleteReport, ListEntry, ObjectRef, Prefix, check_bucket
from s3po.retry import is_retryable
from s3po.s3 import Extra, Listing
from s3po.s3.pages import Loop
from s3po.s3.status import check_status
from s3po.transfer import Attempts

__all__ = ['BucketCalls']

PRESIGNED: Final = {'GET': 'GetObject', 'PUT': 'PutObject', 'HEAD': 'HeadObject', 'DELETE': 'DeleteObject'}


class BucketCalls:
    """Connection's calls on a bucket, or on many of its objects."""

    _operations: Operations
    _wiring: Wiring

    def list(
        self,
        bucket: str,
        prefix: str = '',
        *,
        delimiter: str | None = None,
        start_after: str | None = None,
        page_size: int = MAX_PAGE_KEYS,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[ListEntry | Prefix]:
        """List the objects of a bucket in the order of their keys. Each page is requested when it is needed.

        Args:
            bucket: The bucket.
            prefix: Only keys with this prefix.
            delimiter: Keys with the same text up to this delimiter (after the prefix) become one Prefix; '/' lists one
                directory.
            start_after: Only keys after this one.
            page_size: The number of keys per request, 1 to 1,000.
            extra: Further parameters by boto3's names.
            retries: Retries per request; None for the connection's.
            timeout_s: The time limit for all requests together, without the caller's own time between them; None for no limit.

        Raises:
            NoSuchBucket: The bucket does not exist.
            ListingError: The pages contradict each other, or repeat, so that keys may be missing.
            DeadlineExceeded: timeout_s ran out.
            ConfigurationError: An argument is wrong. (Raised at once, not at the first page.)
        """
        check_bucket(bucket)
        for name, value in (('prefix', prefix), ('delimiter', delimiter or ''), ('start_after', start_after or '')):
            if not isinstance(value, str):
                raise ConfigurationError(f'{name} must be a str, not {type(value).__name__}')
        if not is_whole(page_size, 1, MAX_PAGE_KEYS):
            raise ConfigurationError(f'page_size must be a whole number from 1 to {MAX_PAGE_KEYS:,}, not {page_size!r}')
        turn: Callable[[str | None], Any] = functools.partial(
            _page,
            self._operations.attempts(bucket, prefix, retries),
            prefix=prefix,
            delimiter=delimiter,
            start_after=start_after,
            page_size=page_size,
            extra=self._operations.extra(extra, 'ListObjectsV2'),
        )
        if timeout_s is not None:
            check_timeout(timeout_s)
            turn = _Hurried(turn, timeout_s, f'list s3://{bucket}/{prefix}').turn
        return _pages(turn, bucket, prefix, start_after or '')

    def delete_many(
        self,
        bucket: str,
        keys: Iterable[str | ListEntry | ObjectRef],
        *,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
    ) -> DeleteReport:
        """Delete many objects, 1,000 per request.

        Args:
            bucket: The bucket.
            keys: Keys, entries of a listing, or ObjectRefs of that bucket (with a version_id: that version).
            extra: Further parameters by boto3's names.
            retries: Retries per request; None for the connection's. Keys with a retryable error are sent again.

        Returns:
            The number of deleted keys, and the failures with their errors.

        Raises:
            NoSuchBucket, AccessDenied: The store refused a whole request.
        """
        with short_tracebacks():
            check_bucket(bucket)
            if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
                raise ConfigurationError('keys must be an iterable of keys; use delete() for a single key')
            sent = self._operations.extra(extra, 'DeleteObjects')
            named = (_named(bucket, key) for key in keys)
            deleted = 0
            failed: list[DeleteFailure] = []
            while chunk := tuple(itertools.islice(named, MAX_DELETE_KEYS)):
                deletion = _Deletion(self._operations.attempts(bucket, '', retries), chunk, sent)
                deletion.run()
                deleted += sum(name not in deletion.failed for name in chunk)
                failed += deletion.failed.values()
            return DeleteReport(deleted=deleted, failed=tuple(failed))

    def presign(
        self,
        method: str,
        bucket: str,
        key: str | ListEntry,
        *,
        expires_s: int = 3600,
        version_id: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """A presigned URL for one request (signature version 4). Treat it as a secret: it needs no credentials.

        Args:
            method: 'GET', 'PUT', 'HEAD' or 'DELETE'.
            bucket: The bucket.
            key: The key.
            expires_s: The validity in seconds, 1 to 604,800 (seven days).
            version_id: A version; None for the current one.
            extra: Further parameters by boto3's names (ResponseContentType, …).
        """
        with short_tracebacks():
            ref = ObjectRef(bucket=bucket, key=key, version_id=version_id)
            if method not in PRESIGNED:
                raise ConfigurationError(f'method must be one of {", ".join(PRESIGNED)}, not {method!r}')
            if not is_whole(expires_s, 1, MAX_PRESIGN_S):
                raise ConfigurationError(
                    f'expires_s must be a whole number from 1 to {MAX_PRESIGN_S:,} (seven days), not {expires_s!r}'
                )
            operation = PRESIGNED[method]
            given = self._operations.known_extra(operation, self._operations.extra(extra, operation))
            return self._wiring.presigner(ref.bucket).presigned_url(
                operation, method, ref.bucket, ref.key, version_id=ref.version_id, expires_s=expires_s, extra=given
            )

    def create_bucket(self, bucket: str, *, extra: Mapping[str, Any] | None = None, retries: int | None = None) -> None:
        """Create a bucket in the connection's region.

        Raises:
            InvalidRequest: The bucket exists already.
        """
        self._on_bucket('CreateBucket', 'create_bucket', bucket, extra, retries)

    def delete_bucket(self, bucket: str, *, extra: Mapping[str, Any] | None = None, retries: int | None = None) -> None:
        """Delete an empty bucket.

        Raises:
            InvalidRequest: The bucket is not empty.
            NoSuchBucket: The bucket does not exist.
        """
        self._on_bucket('DeleteBucket', 'delete_bucket', bucket, extra, retries)

    def list_buckets(self, *, retries: int | None = None) -> builtins.list[str]:
        """The names of all buckets of the account.

        Args:
            retries: Retries per request; None for the connection's.

        Raises:
            AccessDenied: The credentials do not permit it.
            ListingError: The response is not a list of buckets, or the pages repeat, so that names may be missing.
        """
        names: list[str] = []
        tokens = Loop()
        parameters: dict[str, str] = {}
        while True:
            response = self._by_boto('ListBuckets', 'list_buckets', '', parameters, retries)
            if response.keys().isdisjoint(('Buckets', 'Owner')):
                raise ListingError('the response to ListBuckets is not a list of buckets')
            names += [str(one['Name']) for one in response.get('Buckets', ())]
            token = response.get('ContinuationToken')
            if not token:
                return names
            if tokens.is_closed_by(token):
                raise ListingError('the listing of all buckets repeats a continuation token; some names may be missing from it')
            parameters = {'ContinuationToken': token}

    def _on_bucket(self, operation: str, method: str, bucket: str, extra: Extra | None, retries: int | None) -> None:
        with short_tracebacks():
            check_bucket(bucket)
            given = self._operations.known_extra(operation, self._operations.extra(extra, operation))
        self._by_boto(operation, method, bucket, {**given, 'Bucket': bucket}, retries)

    def _by_boto(self, operation: str, method: str, bucket: str, parameters: Mapping[str, Any], retries: int | None) -> Any:
        """Call a method of the boto3 client, with retries. Returns its response."""
        from s3po.endpoints.boto_errors import translated

        with short_tracebacks():
            call = getattr(self._wiring.client(), method)

            def attempt() -> Any:
                doing = f'{operation} s3://{bucket}'
                with translated(doing):
                    response = call(**parameters)
                check_status(operation, doing, response['ResponseMetadata']['HTTPStatusCode'])
                return response

            return self._operations.attempts(bucket, '', retries).run(operation, attempt)


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
