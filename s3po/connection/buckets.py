"""Connection's methods for buckets: listings, DeleteObjects, presigned URLs, creating and deleting buckets."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Unpack, overload

from s3po.checks import is_whole
from s3po.config import MAX_PRESIGN_S
from s3po.connection.many import BucketOperations
from s3po.connection.operations import Operations
from s3po.connection.tracebacks import short_tracebacks
from s3po.connection.wiring import Wiring
from s3po.errors import ConfigurationError
from s3po.jobs import Call
from s3po.jobs.options import NAMES, BucketOptions, ListKeys, ListLevel, ListOptions, shows, unknown_option
from s3po.model import BucketRef, DeleteReport, ListEntry, ObjectRef, Outcome, Prefix

__all__ = ['BucketCalls']

PRESIGNED: Final = {'GET': 'GetObject', 'PUT': 'PutObject', 'HEAD': 'HeadObject', 'DELETE': 'DeleteObject'}


class BucketCalls:
    """Connection's calls on a bucket, or on many of its objects."""

    _operations: Operations
    _buckets: BucketOperations
    _wiring: Wiring
    perform: Callable[[Call], Outcome]

    @overload
    def list(self, bucket: str, prefix: str | None = '', **options: Unpack[ListKeys]) -> Iterator[ListEntry]: ...
    @overload
    def list(self, bucket: str, prefix: str | None = '', **options: Unpack[ListLevel]) -> Iterator[ListEntry | Prefix]: ...
    @shows(ListOptions)
    def list(self, bucket: str, prefix: str | None = '', **options: Unpack[ListOptions]) -> Iterator[Any]:
        """List the objects of a bucket in the order of their keys. Each page is requested when it is needed.

        Args:
            bucket: The bucket.
            prefix: Only keys with this prefix; None for all.
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
        if not options.keys() <= NAMES['list']:
            raise unknown_option('list', options, NAMES['list'])
        ref = BucketRef(bucket=bucket, key='' if prefix is None else prefix)
        return self._buckets.listing(ref, options, timeout_s=options.get('timeout_s'))[0]

    @shows(BucketOptions)
    def delete_many(
        self, bucket: str, keys: Iterable[str | ListEntry | ObjectRef], **options: Unpack[BucketOptions]
    ) -> DeleteReport:
        """Delete many objects, 1,000 per request.

        Args:
            bucket: The bucket.
            keys: Keys, entries of a listing, or ObjectRefs of that bucket (with a version_id: that version).
            extra: Further parameters by boto3's names.
            retries: Retries per request; None for the connection's. Keys with a retryable error are sent again.
            timeout_s: The time limit for all of it; None for no limit.

        Returns:
            The number of deleted keys, and the failures with their errors.

        Raises:
            NoSuchBucket, AccessDenied: The store refused a whole request.
        """
        report: DeleteReport = self._call_on_bucket('delete_many', bucket, {'keys': keys, **options})
        return report

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

    @shows(BucketOptions)
    def create_bucket(self, bucket: str, **options: Unpack[BucketOptions]) -> None:
        """Create a bucket in the connection's region.

        Raises:
            InvalidRequest: The bucket exists already.
        """
        self._call_on_bucket('create_bucket', bucket, options)

    @shows(BucketOptions)
    def delete_bucket(self, bucket: str, **options: Unpack[BucketOptions]) -> None:
        """Delete an empty bucket.

        Raises:
            InvalidRequest: The bucket is not empty.
            NoSuchBucket: The bucket does not exist.
        """
        self._call_on_bucket('delete_bucket', bucket, options)

    def list_buckets(self, *, retries: int | None = None) -> builtins.list[str]:
        """The names of all buckets of the account.

        Args:
            retries: Retries per request; None for the connection's.

        Raises:
            AccessDenied: The credentials do not permit it.
            ListingError: The response is not a list of buckets, or the pages repeat, so that names may be missing.
        """
        with short_tracebacks():
            return self._buckets.names(retries)

    def _call_on_bucket(self, operation: str, bucket: str, options: Any) -> Any:
        """Carry out one call. options: One of the dicts of s3po.jobs, created for this call."""
        names = NAMES[operation]
        if not options.keys() <= names:
            raise unknown_option(operation, options, names)
        return self.perform(Call(operation, BucketRef(bucket=bucket), options)).value
