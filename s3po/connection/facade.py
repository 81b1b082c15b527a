"""The public face: Connection's signatures and what they promise. What the calls do stands in `operations`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from s3po.batch import Batch, FailedJob, FailedJobs
from s3po.batch.batch import OnError
from s3po.batch.failed import failed_jobs_of
from s3po.batch.job import Callback, Errback
from s3po.config import MAX_PAGE_KEYS, TransferConfig
from s3po.connection import buckets
from s3po.connection.operations import Operations
from s3po.connection.wiring import Wiring, check_kind, transport_of
from s3po.errors import ConfigurationError, NotFound, S3poError
from s3po.mock import Mock
from s3po.model import (
    DeleteReport,
    ListEntry,
    ObjectInfo,
    ObjectRef,
    Outcome,
    Prefix,
    TransferResult,
    check_bucket,
)
from s3po.retry import RetryPolicy
from s3po.transport import Transport
from s3po.transport.settings import ClientSettings

if TYPE_CHECKING:
    import boto3.session
    import botocore.session
    from botocore.config import Config
    from mypy_boto3_s3.client import S3Client

__all__ = ['Connection']

log = logging.getLogger(__name__)


class Connection:
    """Moves objects between Python and an S3-compatible store.

    Making one costs nothing: credentials, region and endpoint are looked for when they are first needed, where boto3 looks
    for them. It may be used by any greenlet and any native thread, and after a fork.
    """

    def __init__(
        self,
        *,
        endpoint_url: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        anonymous: bool = False,
        session: boto3.session.Session | botocore.session.Session | None = None,
        client: S3Client | None = None,
        client_config: Config | None = None,
        addressing_style: str = 'auto',
        verify: bool | str | os.PathLike[str] = True,
        config: TransferConfig | None = None,
        retries: int = 3,
        retry: RetryPolicy | None = None,
        transport: str | Transport = 'auto',
        delete: bool = False,
        silent: bool = False,
        default_extra: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            endpoint_url: The store, such as 'https://s3.example.com'; None for AWS, or what AWS_ENDPOINT_URL_S3,
                AWS_ENDPOINT_URL or the configuration file says.
            region: The store's region; None for what the environment or the configuration file says.
            profile: A profile of the configuration files.
            access_key_id: The access key; with secret_access_key. None for what boto3 finds.
            secret_access_key: Its secret.
            session_token: The token of temporary keys.
            anonymous: Requests are not signed.
            session: A boto3 (or botocore) Session that finds credentials and region.
            client: A boto3 S3 client whose credentials, region, endpoint and configuration are used.
            client_config: A botocore Config: dualstack, accelerate, FIPS, proxies, client certificates.
            addressing_style: 'path', 'virtual' or 'auto'.
            verify: False trusts any certificate; a path names the authorities to trust.
            config: How objects are cut into parts, how many requests there are at once, how long one waits.
            retries: How many attempts follow a first one that failed.
            retry: A policy for these attempts, in place of `retries`.
            transport: 'auto' or 'boto', which at this time are the same, or an object with the methods of
                `s3po.transport.Transport`.
            delete: Uploads from a path delete the file when the store has confirmed the upload; the default of each call.
            silent: Uploads that fail return False, downloads None, in place of raising; the default of each call.
            default_extra: boto3 parameters for every request that knows them ({'RequestPayer': 'requester'}).

        Raises:
            ConfigurationError: Arguments contradict each other, or are of no use by themselves.
        """
        check_kind('config', config, TransferConfig)
        check_kind('retry', retry, RetryPolicy)
        config = config or TransferConfig()
        settings = ClientSettings(
            endpoint_url=endpoint_url,
            region=region,
            profile=profile,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
            anonymous=anonymous,
            session=session,
            client=client,
            client_config=client_config,
            addressing_style=addressing_style,
            verify=os.fsdecode(verify) if isinstance(verify, os.PathLike) else verify,
            connect_timeout_s=config.connect_timeout_s,
            read_timeout_s=config.read_timeout_s,
        )
        self._settings = settings
        self._wiring = Wiring(settings, config, transport_of(transport))
        policy = retry or RetryPolicy(retries=retries)
        self._operations = Operations(self._wiring, config, policy, delete=delete, default_extra=default_extra or {})
        self.silent = silent

    def __repr__(self) -> str:
        return f'<Connection {self._settings.endpoint_url or "s3"} region={self._settings.region}>'

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    @property
    def conn(self) -> S3Client:
        """The boto3 client behind the connection; while one of moto's mocks is active, one that only moto answers.

        Its create_bucket also takes the name as its only positional, and adds the region's LocationConstraint.
        """
        return self._wiring.client()

    def close(self) -> None:
        """Close the connections to the store that are kept for the next request. The Connection may be used again."""
        self._wiring.close()

    def upload(
        self,
        bucket: str,
        key: str,
        source: Any,
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        extra: Mapping[str, Any] | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        retries: int | None = None,
        delete: bool | None = None,
        silent: bool | None = None,
        timeout_s: float | None = None,
    ) -> TransferResult:
        """Upload an object; blocks until the store has confirmed it.

        Args:
            bucket: The bucket.
            key: The key, 1 to 1,024 bytes of UTF-8.
            source: Bytes-like data; a str (data too, sent as UTF-8); a pathlib.Path; a binary or text file object, from
                its present position; or an iterable of bytes of any length. Above `multipart_threshold` it goes in parts.
            headers: HTTP headers of the object (Cache-Control, x-amz-acl, …).
            metadata: The object's own metadata.
            content_type: None guesses it from the path or key.
            extra: Further parameters by boto3's names.
            if_none_match: '*' writes only where there is no object yet.
            if_match: An ETag: writes only over that.
            retries: In place of the connection's.
            delete: Delete the file behind a path once the store has confirmed it; None for the connection's default.
            silent: Return False in place of raising when the transfer fails; None for the connection's default.
            timeout_s: How long all of it may take; None for ever.

        Returns:
            What was stored. (False, when silent and failed.)

        Raises:
            ConfigurationError: An argument is wrong.
            UploadError: The retries ran out.
            NoSuchBucket, AccessDenied, PreconditionFailed, InvalidRequest: The store refused.
            SourceChanged: The source changed while it was sent.
            LocalError: The source cannot be read.
            DeadlineExceeded: timeout_s ran out.
        """
        options = {
            'source': source,
            'headers': headers,
            'metadata': metadata,
            'content_type': content_type,
            'extra': extra,
            'if_none_match': if_none_match,
            'if_match': if_match,
            'retries': retries,
            'delete': delete,
            'timeout_s': timeout_s,
        }
        result: TransferResult = self._call('upload', _ref(bucket, key), options, silent, False)
        return result

    def upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        extra: Mapping[str, Any] | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        retries: int | None = None,
        delete: bool | None = None,
        silent: bool | None = None,
        timeout_s: float | None = None,
    ) -> TransferResult:
        """Upload the file at a path; as upload(), but a str is a path too."""
        options = {
            'path': path,
            'headers': headers,
            'metadata': metadata,
            'content_type': content_type,
            'extra': extra,
            'if_none_match': if_none_match,
            'if_match': if_match,
            'retries': retries,
            'delete': delete,
            'timeout_s': timeout_s,
        }
        result: TransferResult = self._call('upload_file', _ref(bucket, key), options, silent, False)
        return result

    def download(
        self,
        bucket: str,
        key: str,
        target: Any = None,
        *,
        encoding: str | None = None,
        version_id: str | None = None,
        byte_range: tuple[int, int | None] | None = None,
        if_match: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        silent: bool | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Download an object; blocks until it is complete.

        Args:
            bucket: The bucket.
            key: The key.
            target: None gives the bytes; a path is absent, old or complete, whatever happens; a file object, binary or
                text, is written from its present position, never closed, and truncated back after a failure if it can seek.
            encoding: Without a target: give a str, decoded so.
            version_id: One version.
            byte_range: (start, stop), half-open; stop None means to the end.
            if_match: An ETag: only if the object still has it.
            extra: Further parameters by boto3's names.
            retries: In place of the connection's.
            silent: Return None in place of raising when the transfer fails; None for the connection's default.
            timeout_s: How long all of it may take; None for ever.

        Returns:
            bytes, or str with an encoding; with a target a TransferResult. (None, when silent and failed.)

        Raises:
            ConfigurationError: An argument is wrong.
            NotFound, NoSuchBucket, AccessDenied, PreconditionFailed, InvalidRequest: The store refused.
            DownloadError: The retries ran out.
            SourceChanged: The object was replaced again and again while it was read.
            LocalError: The target cannot be written.
            DeadlineExceeded: timeout_s ran out.
        """
        options = {
            'target': target,
            'encoding': encoding,
            'byte_range': byte_range,
            'if_match': if_match,
            'extra': extra,
            'retries': retries,
            'timeout_s': timeout_s,
        }
        return self._call('download', _ref(bucket, key, version_id), options, silent, None)

    def download_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        version_id: str | None = None,
        byte_range: tuple[int, int | None] | None = None,
        if_match: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        silent: bool | None = None,
        timeout_s: float | None = None,
    ) -> TransferResult:
        """Download an object to a path; as download() with that target."""
        options = {
            'path': path,
            'byte_range': byte_range,
            'if_match': if_match,
            'extra': extra,
            'retries': retries,
            'timeout_s': timeout_s,
        }
        result: TransferResult = self._call('download_file', _ref(bucket, key, version_id), options, silent, None)
        return result

    def head(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
    ) -> ObjectInfo:
        """What the store says of an object: size, ETag, metadata, headers.

        Raises:
            NotFound: There is none. (An answer to a HEAD does not tell whether it is the bucket that is missing.)
        """
        options = {'extra': extra, 'retries': retries, 'timeout_s': timeout_s}
        info: ObjectInfo = self._call('head', _ref(bucket, key, version_id), options)
        return info

    def exists(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
    ) -> bool:
        """Whether there is such an object. Raises whatever keeps it from being known, AccessDenied among it."""
        try:
            self.head(bucket, key, version_id=version_id, extra=extra, retries=retries, timeout_s=timeout_s)
        except NotFound:
            return False
        return True

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
    ) -> Iterator[ListEntry | Prefix]:
        """List the objects of a bucket in order of their keys, page by page as they are asked for.

        Args:
            bucket: The bucket.
            prefix: Only keys that begin so.
            delimiter: Keys that have it behind the prefix are given as one Prefix each ('/' lists one directory).
            start_after: Only keys behind this one.
            page_size: How many are asked for at a time, 1 to 1,000.
            extra: Further parameters by boto3's names.
            retries: In place of the connection's.

        Raises:
            NoSuchBucket: There is no such bucket.
            ListingError: The store's pages contradict each other, so keys may be missing.
            ConfigurationError: An argument is wrong (at once, not at the first page).
        """
        return buckets.listing(
            self._operations,
            bucket,
            prefix,
            delimiter=delimiter,
            start_after=start_after,
            page_size=page_size,
            extra=extra,
            retries=retries,
        )

    def delete(
        self,
        bucket: str,
        key: str,
        *,
        missing_ok: bool = True,
        version_id: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Delete an object. As on S3, a key that is not there is deleted as well as one that is.

        Args:
            bucket: The bucket.
            key: The key.
            missing_ok: False asks first, by a HEAD, and raises NotFound for a missing key. (Somebody else may come between.)
            version_id: One version; None leaves a delete marker where the bucket has versions.
            extra: Further parameters by boto3's names.
            retries: In place of the connection's.
            timeout_s: How long all of it may take; None for ever.
        """
        options = {'missing_ok': missing_ok, 'extra': extra, 'retries': retries, 'timeout_s': timeout_s}
        self._call('delete', _ref(bucket, key, version_id), options)

    def delete_many(
        self,
        bucket: str,
        keys: Iterable[str | ListEntry | ObjectRef],
        *,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
    ) -> DeleteReport:
        """Delete many objects, 1,000 a request.

        Args:
            bucket: The bucket.
            keys: Keys, entries of a listing, or ObjectRefs of that bucket (with a version_id: that version).
            extra: Further parameters by boto3's names.
            retries: In place of the connection's; keys that failed for the moment are tried again, alone.

        Returns:
            How many are gone, and what is not, and why.

        Raises:
            NoSuchBucket, AccessDenied: The store refused a whole request.
        """
        return buckets.delete_many(self._operations, bucket, keys, extra=extra, retries=retries)

    def copy(
        self,
        bucket: str,
        key: str,
        to_bucket: str,
        to_key: str,
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        version_id: str | None = None,
        if_match: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
    ) -> TransferResult:
        """Copy an object within the store; its data do not come here. Above 5 GiB it is copied in parts.

        Args:
            bucket: The source's bucket.
            key: The source's key.
            to_bucket: The copy's bucket.
            to_key: The copy's key.
            headers: The copy's headers. Any of these three replaces all headers and metadata of the source.
            metadata: The copy's metadata.
            content_type: The copy's content type.
            version_id: One version of the source.
            if_match: An ETag: only if the source still has it.
            extra: Further parameters by boto3's names.
            retries: In place of the connection's.
            timeout_s: How long all of it may take; None for ever.

        Raises:
            NotFound: There is no such source.
            PreconditionFailed: The source is another one by now.
            UploadError: The retries ran out.
        """
        options = {
            'to_bucket': to_bucket,
            'to_key': to_key,
            'headers': headers,
            'metadata': metadata,
            'content_type': content_type,
            'if_match': if_match,
            'extra': extra,
            'retries': retries,
            'timeout_s': timeout_s,
        }
        result: TransferResult = self._call('copy', _ref(bucket, key, version_id), options)
        return result

    def move(
        self,
        bucket: str,
        key: str,
        to_bucket: str,
        to_key: str,
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        version_id: str | None = None,
        if_match: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
    ) -> TransferResult:
        """Copy an object, then delete the source, if it is still what was copied. Arguments and errors are copy()'s.

        Raises:
            SourceChanged: The source was replaced meanwhile: it is copied, and was not deleted.
        """
        options = {
            'to_bucket': to_bucket,
            'to_key': to_key,
            'headers': headers,
            'metadata': metadata,
            'content_type': content_type,
            'if_match': if_match,
            'extra': extra,
            'retries': retries,
            'timeout_s': timeout_s,
        }
        result: TransferResult = self._call('move', _ref(bucket, key, version_id), options)
        return result

    def presign(
        self,
        method: str,
        bucket: str,
        key: str,
        *,
        expires_s: int = 3600,
        version_id: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """A URL with which anybody can do one thing with one object for a while (signature version 4). It is a secret.

        Args:
            method: 'GET', 'PUT', 'HEAD' or 'DELETE'.
            bucket: The bucket.
            key: The key.
            expires_s: For how many seconds it holds, 1 to 604,800 (seven days).
            version_id: One version.
            extra: Further parameters by boto3's names (ResponseContentType, …).
        """
        return buckets.presign(
            self.conn, self._operations, method, _ref(bucket, key, version_id), expires_s=expires_s, extra=extra
        )

    def create_bucket(self, bucket: str, *, extra: Mapping[str, Any] | None = None, retries: int | None = None) -> None:
        """Create a bucket in the connection's region.

        Raises:
            InvalidRequest: There is one already.
        """
        buckets.create_bucket(self.conn, self._operations, bucket, extra=extra, retries=retries)

    def delete_bucket(self, bucket: str, *, extra: Mapping[str, Any] | None = None, retries: int | None = None) -> None:
        """Delete an empty bucket.

        Raises:
            InvalidRequest: It is not empty.
            NoSuchBucket: There is none.
        """
        buckets.delete_bucket(self.conn, self._operations, bucket, extra=extra, retries=retries)

    def mock(self, *, buckets: Iterable[str] = ()) -> Mock:
        """A pretended S3, by moto, under this very connection: a context manager, a decorator, or start() and stop().

        While it is active no socket is opened, whatever endpoint, credentials and region the connection has.

        Args:
            buckets: Buckets to create when it starts.

        Raises:
            ConfigurationError: moto is not installed.
        """
        if isinstance(buckets, str):
            raise ConfigurationError(f'buckets must be a list of names: [{buckets!r}]')
        names = tuple(buckets)
        for name in names:
            check_bucket(name)
        return Mock(self, names)

    def batch(
        self,
        size: int = 50,
        *,
        on_error: OnError = 'raise',
        keep_results: bool = True,
        timeout_s: float | None = None,
        job_timeout_s: float | None = None,
        max_failures: int | None = None,
    ) -> Batch:
        """A bounded pool that makes calls of this connection side by side; see Batch.

        Args:
            size: How many calls run at once; as many again wait in the queue.
            on_error: 'raise' raises BatchError on leaving the `with` if anything failed; 'collect' leaves it to `failed`.
            keep_results: False forgets each job when it has ended: for very many, whose callbacks see the results.
            timeout_s: How long all of it may take; then what has not ended fails with DeadlineExceeded.
            job_timeout_s: How long each job may take, unless the call says otherwise.
            max_failures: Stop after so many failures: what has not begun fails with BreakerOpen.
        """
        return Batch(
            self,
            size,
            on_error=on_error,
            keep_results=keep_results,
            timeout_s=timeout_s,
            job_timeout_s=job_timeout_s,
            max_failures=max_failures,
        )

    def retry_failed(
        self,
        failed: FailedJobs | Iterable[FailedJob] | S3poError | str | os.PathLike[str],
        size: int = 50,
        *,
        on_error: OnError = 'raise',
        callback: Callback | None = None,
        errback: Errback | None = None,
        timeout_s: float | None = None,
        job_timeout_s: float | None = None,
        max_failures: int | None = None,
    ) -> Batch:
        """Do again what failed, and wait for it.

        Args:
            failed: `batch.failed`, a BatchError, or the path of a file that `batch.failed.save()` wrote.
            size: As for batch(), like all that are not named here.
            on_error: 'raise' raises BatchError if anything failed again.
            callback: Called with each result; callbacks of the first time are not kept.
            errback: Called with each error.
            timeout_s: How long all of it may take.
            job_timeout_s: How long each job may take, unless its call said otherwise.
            max_failures: Stop after so many failures.

        Raises:
            JobError: One of them, read from a file, had its data in memory or in an open file. None is done then.
        """
        jobs = failed_jobs_of(failed)
        for job in jobs:
            job.check_repeatable()
        limits = {'timeout_s': timeout_s, 'job_timeout_s': job_timeout_s, 'max_failures': max_failures}
        with self.batch(size, on_error=on_error, **limits) as batch:  # type: ignore[arg-type]  # each is what batch() takes
            for job in jobs:
                options = {**job.options, 'silent': job.is_silent, 'timeout_s': job.options.get('timeout_s')}
                silent_value = False if job.operation.startswith('upload') else None
                batch.submit(job.operation, job.ref, options, callback, errback, silent_value)
        return batch

    # --- what a batch needs (s3po.batch.batch.Performer)

    def perform(self, operation: str, ref: ObjectRef, options: Mapping[str, Any]) -> Outcome:
        """Carry out the method named `operation`, and give its value with the figures for a batch's report."""
        return self._operations.perform(operation, ref, options)

    def demand_requests(self, width: int) -> None:
        """Allow at least this many requests at once, until release_requests(width)."""
        self._wiring.governor().demand(width)

    def release_requests(self, width: int) -> None:
        """Take back one demand_requests(width)."""
        self._wiring.governor().release_demand(width)

    def _call(
        self,
        operation: str,
        ref: ObjectRef,
        options: Mapping[str, Any],
        silent: bool | None = False,  # noqa: FBT001, FBT002  (private, and called with names in view)
        silent_value: object = None,
    ) -> Any:
        if not (self.silent if silent is None else silent):
            return self._operations.perform(operation, ref, options).value
        try:
            return self._operations.perform(operation, ref, options).value
        except ConfigurationError:
            # A mistake in the call is not a failed transfer.
            raise
        except S3poError as error:
            log.warning('%s %s failed, silently: %s', operation, ref, error)
            return silent_value


def _ref(bucket: str, key: str, version_id: str | None = None) -> ObjectRef:
    return ObjectRef(bucket=bucket, key=key, version_id=version_id)
