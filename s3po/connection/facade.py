"""The public face: Connection's signatures and what they promise. What the calls do stands in `operations`."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Never, Self, overload

from s3po.batch import Batch, FailedJob, FailedJobs
from s3po.batch.failed import failed_jobs_of
from s3po.batch.job import Callback, Errback
from s3po.batch.limits import OnError
from s3po.batch.referring import RefCallback, referring
from s3po.checks import public_names
from s3po.config import MAX_PAGE_KEYS, TransferConfig
from s3po.connection import buckets
from s3po.connection.file_objects import OpenOptions, open_object
from s3po.connection.objects import ObjectCalls
from s3po.connection.operations import Operations
from s3po.connection.pickling import made_again, packed_credentials
from s3po.connection.tracebacks import short_tracebacks, shortened
from s3po.connection.wiring import Wiring, check_kind, kind_of
from s3po.credentials import Credentials
from s3po.endpoints.settings import ClientSettings
from s3po.errors import ConfigurationError, S3poError
from s3po.files import S3Reader, S3Writer
from s3po.jobs import Call
from s3po.mock import Mock
from s3po.model import (
    DeleteReport,
    ListEntry,
    ObjectRef,
    Outcome,
    Prefix,
    check_bucket,
)
from s3po.retry import RetryPolicy
from s3po.s3 import Transport
from s3po.secrecy import Secret, revealed

if TYPE_CHECKING:
    import boto3.session
    import botocore.session
    from botocore.config import Config
    from mypy_boto3_s3.client import S3Client

__all__ = ['Connection']

log = logging.getLogger(__name__)

# The arguments that nobody is to see by chance; `default_extra` may hold the keys of SSE-C.
SECRETS: Final = frozenset({'secret_access_key', 'session_token', 'credentials', 'default_extra'})
# Methods that only a batch calls.
INTERNAL: Final = frozenset({'perform', 'demand_requests', 'release_requests'})


class Connection(ObjectCalls):
    """Moves objects between Python and an S3-compatible store.

    Making one costs nothing: credentials, region and endpoint are looked for when they are first needed, where boto3 looks
    for them. It may be used by any greenlet and any native thread, and after a fork.
    """

    def __init__(
        self,
        *positional: Never,
        endpoint_url: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        credentials: Credentials | Callable[[], object] | boto3.session.Session | botocore.session.Session | None = None,
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
            positional: None are taken; they raise ConfigurationError, whose text does not repeat them.
            endpoint_url: The store, such as 'https://s3.example.com'; None for AWS, or what AWS_ENDPOINT_URL_S3,
                AWS_ENDPOINT_URL or the configuration file says.
            region: The store's region; None for what the environment or the configuration file says.
            profile: A profile of the configuration files.
            access_key_id: The access key; with secret_access_key. None for what boto3 finds.
            secret_access_key: Its secret.
            session_token: The token of temporary keys.
            credentials: Where keys (and perhaps the region) come from, in place of these three: one of s3po.credentials; a
                boto3 or botocore Session; or a function without arguments that returns a mapping, or an object, with
                access_key_id, secret_access_key, session_token and expires_at, or by botocore's or obstore's names for them.
                It is asked again before they expire, and when the store says that they have; expires_at is a datetime with its
                time zone or a text of ISO 8601, and without it they hold for ever.
            anonymous: Requests are not signed.
            session: A boto3 (or botocore) Session that finds credentials and region.
            client: A boto3 S3 client whose credentials, region, endpoint and configuration are used.
            client_config: A botocore Config: dualstack, accelerate, FIPS, proxies, client certificates.
            addressing_style: 'path', 'virtual' or 'auto'.
            verify: False trusts any certificate; a path names the authorities to trust.
            config: How objects are cut into parts, how many requests there are at once, how long one waits.
            retries: How many attempts follow a first one that failed.
            retry: A policy for these attempts, in place of `retries`.
            transport: 'auto' speaks HTTP itself ('wire'), and leaves to boto3 what it cannot serve (proxies for plain HTTP,
                directory buckets, signatures of another version) and whatever runs under moto's mocks; 'wire' refuses what
                it cannot serve; 'boto' uses boto3 for all; or an object with the methods of `s3po.s3.Transport`.
            delete: Uploads from a path delete the file when the store has confirmed the upload; the default of each call.
            silent: Uploads that fail return False, downloads None, in place of raising; the default of each call.
            default_extra: boto3 parameters for every request that knows them ({'RequestPayer': 'requester'}).

        Raises:
            ConfigurationError: Arguments contradict each other, or are of no use by themselves.
        """
        if positional:
            raise ConfigurationError(
                "Connection takes keyword arguments only, as in Connection(access_key_id='…', secret_access_key='…')"
            )
        # What it was made with, so that it can be made again elsewhere.
        given = {name: value for name, value in locals().items() if name not in ('self', 'positional', '__class__')}
        self._arguments = {name: Secret(value) if name in SECRETS else value for name, value in given.items()}
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
            credentials=credentials,
            anonymous=anonymous,
            session=session,
            client=client,
            client_config=client_config,
            addressing_style=addressing_style,
            verify=os.fsdecode(verify) if isinstance(verify, os.PathLike) else verify,
            connect_timeout_s=config.connect_timeout_s,
            read_timeout_s=config.read_timeout_s,
            min_bytes_per_s=config.min_bytes_per_s,
            payload_signing=config.payload_signing,
        )
        self._settings = settings
        self._wiring = Wiring(settings, config, kind_of(transport))
        policy = retry or RetryPolicy(retries=retries)
        self._operations = Operations(self._wiring, config, policy, delete=delete, default_extra=default_extra or {})
        self.silent = silent

    def __dir__(self) -> list[str]:
        return public_names(self, INTERNAL)

    def __repr__(self) -> str:
        return f'<Connection {self._settings.endpoint_url or "s3"} region={self._settings.region}>'

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as what it was made with, keys included: treat the bytes as a secret.

        Of `credentials`, what is found is found anew where it arrives: the environment, files, a metadata service.

        Raises:
            ConfigurationError: It was made with `session`, `client`, a transport, or a function as `credentials` that does not
                pickle itself, which belong to their process.
        """
        arguments = ((name, revealed(value)) for name, value in self._arguments.items())
        given = {name: value for name, value in arguments if value is not None}
        bound: list[str] = [name for name in ('session', 'client') if name in given]
        if 'credentials' in given:
            given['credentials'] = packed_credentials(given['credentials'])
            if given['credentials'] is None:
                bound.append('credentials')
        if not isinstance(given['transport'], str):
            bound.append('transport')
        if bound:
            raise ConfigurationError(
                f'{bound[0]} belongs to this process, so the Connection cannot be pickled; give keys or a profile'
            )
        return functools.partial(made_again, type(self), **given), ()

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

    @property
    def config(self) -> TransferConfig:
        """How objects are cut into parts, and how long one waits."""
        return self._operations.config

    def close(self) -> None:
        """Close the connections to the store that are kept for the next request. The Connection may be used again.

        Clean-up that goes on in the background (the aborts of uploads that failed or were ended) is waited for, and aborts that
        failed are tried once more, within 5 s in all. What is not done by then is logged with its upload id.
        """
        self._operations.finish_clean_up()
        self._wiring.close()

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
        """List the objects of a bucket in order of their keys, page by page as they are asked for.

        Args:
            bucket: The bucket.
            prefix: Only keys that begin so.
            delimiter: Keys that have it behind the prefix are given as one Prefix each ('/' lists one directory).
            start_after: Only keys behind this one.
            page_size: How many are asked for at a time, 1 to 1,000.
            extra: Further parameters by boto3's names.
            retries: In place of the connection's.
            timeout_s: How long all its pages may be waited for together; the caller's own time between them does not count.

        Raises:
            NoSuchBucket: There is no such bucket.
            ListingError: The store's pages contradict each other, or come again and again, so keys may be missing.
            DeadlineExceeded: timeout_s ran out.
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
            timeout_s=timeout_s,
        )

    @overload
    def open(
        self,
        bucket: str,
        key: str,
        mode: Literal['rb'] = 'rb',
        *,
        version_id: str | None = ...,
        block_size: int | None = ...,
        read_ahead: int | None = ...,
        extra: Mapping[str, Any] | None = ...,
        if_match: str | None = ...,
        retries: int | None = ...,
    ) -> S3Reader: ...
    @overload
    def open(
        self,
        bucket: str,
        key: str,
        mode: Literal['wb', 'xb'],
        *,
        block_size: int | None = ...,
        headers: Mapping[str, str] | None = ...,
        metadata: Mapping[str, str] | None = ...,
        content_type: str | None = ...,
        extra: Mapping[str, Any] | None = ...,
        if_none_match: str | None = ...,
        if_match: str | None = ...,
        retries: int | None = ...,
    ) -> S3Writer: ...
    @overload
    def open(
        self,
        bucket: str,
        key: str,
        mode: str,
        *,
        encoding: str | None = ...,
        errors: str | None = ...,
        newline: str | None = ...,
        version_id: str | None = ...,
        block_size: int | None = ...,
        read_ahead: int | None = ...,
        headers: Mapping[str, str] | None = ...,
        metadata: Mapping[str, str] | None = ...,
        content_type: str | None = ...,
        extra: Mapping[str, Any] | None = ...,
        if_none_match: str | None = ...,
        if_match: str | None = ...,
        retries: int | None = ...,
    ) -> Any: ...
    def open(
        self,
        bucket: str,
        key: str,
        mode: str = 'rb',
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        version_id: str | None = None,
        block_size: int | None = None,
        read_ahead: int | None = None,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        extra: Mapping[str, Any] | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        retries: int | None = None,
    ) -> Any:
        """Open an object as a file.

        A reader fetches ahead of what is read in order, and goes on where a connection dropped. A writer sends parts while more
        is written, and publishes the object when it is closed: whole, or, after an exception in its `with`, not at all.

        Args:
            bucket: The bucket.
            key: The key.
            mode: 'rb' reads, 'wb' writes, 'xb' writes only where there is no object yet (told when it is closed, by
                PreconditionFailed); 'r', 'w' and 'x' the same as text.
            encoding: Of text; None for UTF-8.
            errors: Of text, as of Python's open().
            newline: Of text, as of Python's open().
            version_id: Reads one version.
            block_size: In bytes: of a reader the largest range that is fetched ahead, None for 2 MiB; of a writer a part, 5 MiB
                to 5 GiB, None for `multipart_chunksize`.
            read_ahead: How many ranges a reader fetches ahead, side by side; None for 4, 0 for none.
            headers: HTTP headers of an object that is written.
            metadata: Its own metadata.
            content_type: None guesses it from the key.
            extra: Further parameters by boto3's names.
            if_none_match: '*' writes only where there is no object yet.
            if_match: An ETag: reads, or writes over, only that.
            retries: In place of the connection's.

        Returns:
            An S3Reader or S3Writer; for text an io.TextIOWrapper over one.

        Raises:
            NotFound, NoSuchBucket, AccessDenied: The store refused (a writer's when it is closed, or earlier).
            ConfigurationError: An argument is wrong, or is for the other mode.
        """
        options = OpenOptions(
            encoding=encoding,
            errors=errors,
            newline=newline,
            block_size=block_size,
            read_ahead=read_ahead,
            headers=headers,
            metadata=metadata,
            content_type=content_type,
            extra=extra,
            if_none_match=if_none_match,
            if_match=if_match,
            retries=retries,
        )
        with short_tracebacks():
            return open_object(self._operations, ObjectRef(bucket=bucket, key=key, version_id=version_id), mode, options)

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
        with short_tracebacks():
            return buckets.delete_many(self._operations, bucket, keys, extra=extra, retries=retries)

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
        ref = ObjectRef(bucket=bucket, key=key, version_id=version_id)
        with short_tracebacks():
            return buckets.presign(self._wiring, self._operations, method, ref, expires_s=expires_s, extra=extra)

    def create_bucket(self, bucket: str, *, extra: Mapping[str, Any] | None = None, retries: int | None = None) -> None:
        """Create a bucket in the connection's region.

        Raises:
            InvalidRequest: There is one already.
        """
        with short_tracebacks():
            buckets.create_bucket(self._wiring.client, self._operations, bucket, extra=extra, retries=retries)

    def delete_bucket(self, bucket: str, *, extra: Mapping[str, Any] | None = None, retries: int | None = None) -> None:
        """Delete an empty bucket.

        Raises:
            InvalidRequest: It is not empty.
            NoSuchBucket: There is none.
        """
        with short_tracebacks():
            buckets.delete_bucket(self._wiring.client, self._operations, bucket, extra=extra, retries=retries)

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
            size: How many calls run at once; as many again wait in the queue. It is lowered, with a warning, where the process
                may not have that many open files (`ulimit -n`).
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
        callback: Callback | RefCallback | None = None,
        errback: Errback | RefCallback | None = None,
        timeout_s: float | None = None,
        job_timeout_s: float | None = None,
        max_failures: int | None = None,
    ) -> Batch:
        """Do again what failed, and wait for it.

        Args:
            failed: `batch.failed`, a BatchError, or the path of a file that `batch.failed.save()` wrote.
            size: As for batch(), like all that are not named here.
            on_error: 'raise' raises BatchError if anything failed again.
            callback: Called with each result; callbacks of the first time are not kept. One that needs two arguments is called
                with the result and the job's ref: `lambda body, ref: save(ref.key, body)`.
            errback: Called with each error; likewise.
            timeout_s: How long all of it may take.
            job_timeout_s: How long each job may take, unless its call said otherwise.
            max_failures: Stop after so many failures.

        A job that was read from a file and had its data in memory or in an open file cannot be done again: it fails once more,
        with JobError, and the others are done.
        """
        jobs = failed_jobs_of(failed)
        callback_of, errback_of = referring(callback), referring(errback)
        limits = {'timeout_s': timeout_s, 'job_timeout_s': job_timeout_s, 'max_failures': max_failures}
        with self.batch(size, on_error=on_error, **limits) as batch:  # type: ignore[arg-type]  # each is what batch() takes
            for job in jobs:
                callbacks = callback_of(job.ref), errback_of(job.ref)
                batch.submit(job.call, *callbacks, silent=job.is_silent, refusal=job.refusal() or job.call.mistake())
        return batch

    # --- what a batch needs (s3po.batch.limits.Performer)

    def perform(self, call: Call) -> Outcome:
        """Carry out a call. Returns its value with the figures for a batch's report."""
        operations = self._operations
        try:
            if call.options.get('timeout_s') is None:
                return operations.by_name[call.operation](call.ref, call.options)
            return operations.perform_within(call)
        except S3poError as error:
            raise shortened(error) from error.__cause__

    def demand_requests(self, width: int) -> None:
        """Allow at least this many requests at once, until release_requests(width)."""
        self._wiring.governor().demand(width)

    def release_requests(self, width: int) -> None:
        """Take back one demand_requests(width)."""
        self._wiring.governor().release_demand(width)
