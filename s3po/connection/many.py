"""Carries out calls on a bucket or on many of its objects: listings, DeleteObjects, creating and deleting buckets."""

from __future__ import annotations

import functools
import itertools
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from s3po.checks import is_whole
from s3po.config import MAX_DELETE_KEYS, MAX_PAGE_KEYS
from s3po.connection.operations import Operations
from s3po.connection.time_limits import check_timeout, within
from s3po.connection.tracebacks import short_tracebacks
from s3po.connection.wiring import Wiring
from s3po.errors import ConfigurationError, ListingError, TransferError, TransportError
from s3po.jobs.options import BucketOptions, DeleteMany, ListOptions
from s3po.model import DeleteFailure, DeleteReport, ListEntry, ObjectRef, Outcome, Prefix
from s3po.retry import is_retryable
from s3po.s3 import Extra, Listing
from s3po.s3.pages import Loop
from s3po.s3.status import check_status
from s3po.transfer import Attempts

__all__ = ['BucketOperations']


class BucketOperations:
    """Carries out calls on a bucket, with the connection's defaults.

    Attributes:
        by_name: The function of each operation, as those of Operations.
    """

    def __init__(self, operations: Operations, wiring: Wiring) -> None:
        self._operations = operations
        self._wiring = wiring
        self.by_name: dict[str, Callable[[ObjectRef, Any], Outcome]] = {
            'list': self._list,
            'delete_many': self._delete_many,
            'create_bucket': functools.partial(self._on_bucket, 'CreateBucket', 'create_bucket'),
            'delete_bucket': functools.partial(self._on_bucket, 'DeleteBucket', 'delete_bucket'),
        }

    def listing(
        self, ref: ObjectRef, options: ListOptions, *, timeout_s: float | None = None
    ) -> tuple[Iterator[ListEntry | Prefix], Attempts]:
        """The objects with a prefix, requested page by page, and the attempts of these requests.

        Args:
            ref: The bucket and the prefix.
            options: Their `timeout_s` is ignored.
            timeout_s: The time limit for all requests together.
        """
        bucket, prefix = ref.bucket, ref.key
        delimiter, start_after = options.get('delimiter'), options.get('start_after')
        page_size = options.get('page_size', MAX_PAGE_KEYS)
        for name, value in (('prefix', prefix), ('delimiter', delimiter or ''), ('start_after', start_after or '')):
            if not isinstance(value, str):
                raise ConfigurationError(f'{name} must be a str, not {type(value).__name__}')
        if not is_whole(page_size, 1, MAX_PAGE_KEYS):
            raise ConfigurationError(f'page_size must be a whole number from 1 to {MAX_PAGE_KEYS:,}, not {page_size!r}')
        attempts = self._operations.attempts(bucket, prefix, options.get('retries'))
        turn: Callable[[str | None], Any] = functools.partial(
            _page,
            attempts,
            prefix=prefix,
            delimiter=delimiter,
            start_after=start_after,
            page_size=page_size,
            extra=self._operations.extra(options.get('extra'), 'ListObjectsV2'),
        )
        if timeout_s is not None:
            check_timeout(timeout_s)
            turn = _Hurried(turn, timeout_s, f'list s3://{bucket}/{prefix}').turn
        return _pages(turn, bucket, prefix, start_after or ''), attempts

    def names(self, retries: int | None) -> list[str]:
        """The names of all buckets."""
        names: list[str] = []
        tokens = Loop()
        parameters: dict[str, str] = {}
        attempts = self._operations.attempts('', '', retries)
        while True:
            response = self._by_boto(attempts, 'ListBuckets', 'list_buckets', parameters)
            if response.keys().isdisjoint(('Buckets', 'Owner')):
                raise ListingError('the response to ListBuckets is not a list of buckets')
            names += [str(one['Name']) for one in response.get('Buckets', ())]
            token = response.get('ContinuationToken')
            if not token:
                return names
            if tokens.is_closed_by(token):
                raise ListingError('the listing of all buckets repeats a continuation token; some names may be missing from it')
            parameters = {'ContinuationToken': token}

    def _list(self, ref: ObjectRef, options: ListOptions) -> Outcome:
        found, attempts = self.listing(ref, options)
        return Outcome(value=list(found), retries=attempts.retried)

    def _delete_many(self, ref: ObjectRef, options: DeleteMany) -> Outcome:
        bucket, keys, retries = ref.bucket, options['keys'], options.get('retries')
        if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
            raise ConfigurationError('keys must be an iterable of keys; use delete() for a single key')
        sent = self._operations.extra(options.get('extra'), 'DeleteObjects')
        named = (_named(bucket, key) for key in keys)
        deleted = retried = 0
        failed: list[DeleteFailure] = []
        while chunk := tuple(itertools.islice(named, MAX_DELETE_KEYS)):
            attempts = self._operations.attempts(bucket, '', retries)
            deletion = _Deletion(attempts, chunk, sent)
            deletion.run()
            deleted += sum(name not in deletion.failed for name in chunk)
            failed += deletion.failed.values()
            retried += attempts.retried
        return Outcome(value=DeleteReport(deleted=deleted, failed=tuple(failed)), retries=retried)

    def _on_bucket(self, operation: str, method: str, ref: ObjectRef, options: BucketOptions) -> Outcome:
        given = self._operations.known_extra(operation, self._operations.extra(options.get('extra'), operation))
        attempts = self._operations.attempts(ref.bucket, '', options.get('retries'))
        self._by_boto(attempts, operation, method, {**given, 'Bucket': ref.bucket})
        return Outcome(value=None, retries=attempts.retried)

    def _by_boto(self, attempts: Attempts, operation: str, method: str, parameters: Mapping[str, Any]) -> Any:
        """Call a method of the boto3 client, with retries. Returns its response."""
        from s3po.endpoints.boto_errors import translated

        call = getattr(self._wiring.client(), method)

        def attempt() -> Any:
            doing = f'{operation} s3://{attempts.bucket}'
            with translated(doing):
                response = call(**parameters)
            check_status(operation, doing, response['ResponseMetadata']['HTTPStatusCode'])
            return response

        return attempts.run(operation, attempt)


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
