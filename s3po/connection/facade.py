"""The public class Connection. Its methods for one object are in `objects`, those for buckets in `buckets`."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Never, Self, Unpack, overload

from s3po.batch import Batch, FailedJob, FailedJobs
from s3po.batch.failed import failed_jobs_of
from s3po.batch.job import Callback, Errback
from s3po.batch.limits import BATCH_DEFAULTS, BatchOptions
from s3po.batch.referring import RefCallback, referring
from s3po.checks import public_names
from s3po.config import TransferConfig
from s3po.connection.buckets import BucketCalls
from s3po.connection.copies import Copies
from s3po.connection.file_objects import (
    OpenOptions,
    ReadOptions,
    TextReadOptions,
    TextWriteOptions,
    WriteOptions,
    open_object,
)
from s3po.connection.many import BucketOperations
from s3po.connection.objects import ObjectCalls
from s3po.connection.old_names import OLD_NAMES, OldNames
from s3po.connection.operations import Operations
from s3po.connection.pickling import made_again, packed_credentials
from s3po.connection.remote import ConnectionForm
from s3po.connection.tracebacks import short_tracebacks
from s3po.connection.verifying import VerifyReport, verify_remote
from s3po.connection.verifying_files import verify_files
from s3po.connection.wiring import Wiring, check_kind, is_mocked, kind_of
from s3po.credentials import Credentials
from s3po.endpoints.settings import ClientSettings
from s3po.errors import ConfigurationError, S3poError
from s3po.files import S3Reader, S3TextReader, S3TextWriter, S3Writer
from s3po.governor import RequestLoad
from s3po.http import Timeouts
from s3po.jobs.durable import plain_endpoint
from s3po.jobs.options import Key, OtherStore, shows, unknown_option
from s3po.memory import MemoryBudget
from s3po.mock import Mock
from s3po.model import ListEntry, check_bucket
from s3po.observer import Observer
from s3po.retry import RetryPolicy
from s3po.s3 import Extra, Transport
from s3po.secrecy import Secret, revealed
from s3po.transfer import abort_upload

if TYPE_CHECKING:
    import boto3.session
    import botocore.session
    from botocore.config import Config
    from mypy_boto3_s3.client import S3Client

__all__ = ['Connection']

log = logging.getLogger(__name__)

# Arguments that are kept as Secret; `default_extra` may have keys of SSE-C.
SECRETS: Final = frozenset({'secret_access_key', 'session_token', 'credentials', 'default_extra'})
# Left out of dir(): methods that only a batch calls, and old names.
INTERNAL: Final = OLD_NAMES | {
    'abort_in_background',
    'abort_upload',
    'deletes_sources',
    'demand_requests',
    'endpoint_url',
    'find_endpoint',
    'is_mocked',
    'memory_budget',
    'observer',
    'perform',
    'release_requests',
    'request_load',
    'renew_credentials',
    'use_share',
    'watch_uploads',
    'width',
    'worker_form',
}


class RetryOptions(BatchOptions, total=False):
    """The options of Connection.retry_failed()."""

    to: OtherStore | None
    callback: Callback | RefCallback | None
    errback: Errback | RefCallback | None


class Connection(ObjectCalls, BucketCalls, OldNames):
    """A connection to an S3-compatible store: uploads, downloads and manages objects.

    Creating one sends no request: credentials, region and endpoint are looked up when they are first needed, where boto3 looks
    them up. Any greenlet and any native thread may use it, also after a fork.
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
            positional: Not allowed. ConfigurationError is raised, and its text does not repeat the values.
            endpoint_url: The URL of the store, such as 'https://s3.example.com'. None: from AWS_ENDPOINT_URL_S3,
                AWS_ENDPOINT_URL or the configuration file, else AWS.
            region: The region of the store. None: from the environment or the configuration file.
            profile: A profile of the configuration files.
            access_key_id: The access key, together with secret_access_key. None: as boto3 finds it.
            secret_access_key: The secret of the access key.
            session_token: The token of temporary keys.
            credentials: A source of keys (and perhaps the region), instead of these three: an object of s3po.credentials; a
                boto3 or botocore Session; or a function without arguments that returns a mapping or an object with
                access_key_id, secret_access_key, session_token and expires_at, or with botocore's or obstore's names for them.
                The function is called again before the keys expire, and when the store refuses them as expired. expires_at is a
                datetime with a time zone or a text in ISO 8601; without it, the keys do not expire.
            anonymous: True: requests are not signed.
            session: A boto3 or botocore Session that finds credentials and region.
            client: A boto3 S3 client. Its credentials, region, endpoint and configuration are used.
            client_config: A botocore Config: dualstack, accelerate, FIPS, proxies, client certificates.
            addressing_style: 'path', 'virtual' or 'auto'.
            verify: False: any certificate is trusted. A path: the file or directory of the trusted authorities.
            config: The sizes of parts, the number of concurrent requests, and timeouts.
            retries: The number of attempts after the first one.
            retry: A policy for these attempts, instead of `retries`.
            transport: 'auto': s3po's own HTTP client ('wire'), and boto3 for what that cannot do (proxies for plain HTTP,
                directory buckets, other signature versions) and under moto's mocks. 'wire': the own client only. 'boto': boto3
                only. Or an object with the methods of `s3po.s3.Transport`.
            delete: The default of each call: uploads from a path delete the file after the store has confirmed the upload.
            silent: The default of each call: failed uploads return False and failed downloads None, instead of raising. Type
                checkers do not see this default, only the `silent` of a call.
            default_extra: boto3 parameters for every request that takes them ({'RequestPayer': 'requester'}).

        Raises:
            ConfigurationError: Arguments contradict each other, or need another argument.
        """
        if positional:
            raise ConfigurationError(
                "Connection takes keyword arguments only, as in Connection(access_key_id='…', secret_access_key='…')"
            )
        # Kept for pickling.
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
            timeouts=Timeouts(
                connect_timeout_s=config.connect_timeout_s,
                read_timeout_s=config.read_timeout_s,
                min_bytes_per_s=config.min_bytes_per_s,
            ),
            payload_signing=config.payload_signing,
        )
        self._settings = settings
        self._wiring = Wiring(settings, config, kind_of(transport))
        policy = retry or RetryPolicy(retries=retries)
        self._operations = Operations(self._wiring, config, policy, delete=delete, default_extra=default_extra or {})
        self._buckets = BucketOperations(self._operations, self._wiring)
        self._operations.by_name.update(self._buckets.by_name)
        self._operations.by_name.update(Copies(self._operations).by_name)
        self.silent = silent

    def __dir__(self) -> list[str]:
        return public_names(self, INTERNAL)

    def __repr__(self) -> str:
        loads = self._wiring.loads()
        width, in_flight = sum(load.width for load in loads), sum(load.in_flight for load in loads)
        throttled = sum(load.throttled for load in loads)
        requests = f' width={width} in_flight={in_flight} throttled={throttled}' if loads else ''
        return f'<Connection {self._settings.endpoint_url or "s3"} region={self._settings.region}{requests}>'

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments of the Connection, keys included: treat the bytes as a secret.

        Keys from the environment, files or a metadata service are not included: they are looked up where the pickle is loaded.

        Raises:
            ConfigurationError: An argument belongs to this process: `session`, `client`, a transport, or a function as
                `credentials` that does not pickle.
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
        """A boto3 client with the settings of the connection; while one of moto's mocks is active, a client of moto.

        Its create_bucket also takes the name as a positional argument, and adds the LocationConstraint of the region.
        """
        return self._wiring.client()

    @property
    def config(self) -> TransferConfig:
        """The sizes of parts, the number of concurrent requests, and timeouts."""
        return self._operations.config

    def close(self) -> None:
        """Close the idle connections to the store. The Connection may be used again.

        Waits for clean-up in the background (aborts of failed uploads), and repeats aborts that failed, for 5 s at most.
        Uploads that are not aborted by then are logged with their upload ids.
        """
        self._operations.finish_clean_up()
        self._wiring.close()

    @overload
    def open(self, bucket: str, key: Key, mode: Literal['rb'] = 'rb', **options: Unpack[ReadOptions]) -> S3Reader: ...
    @overload
    def open(self, bucket: str, key: Key, mode: Literal['wb', 'xb'], **options: Unpack[WriteOptions]) -> S3Writer: ...
    @overload
    def open(self, bucket: str, key: Key, mode: Literal['r', 'rt'], **options: Unpack[TextReadOptions]) -> S3TextReader: ...
    @overload
    def open(
        self, bucket: str, key: Key, mode: Literal['w', 'wt', 'x', 'xt'], **options: Unpack[TextWriteOptions]
    ) -> S3TextWriter: ...
    @overload
    def open(self, bucket: str, key: Key, mode: str, **options: Unpack[OpenOptions]) -> Any: ...
    @shows(OpenOptions)
    def open(self, bucket: str, key: str | ListEntry, mode: str = 'rb', **options: Unpack[OpenOptions]) -> Any:
        """Open an object as a file.

        Sequential reads prefetch, and a reader continues after a dropped connection. A writer sends parts while data are
        written, and publishes the object when it is closed. After an exception in its `with` block, nothing is published.

        Args:
            bucket: The bucket.
            key: The key, or an entry of a listing.
            mode: 'rb' reads, 'wb' writes, 'xb' writes a new object only (close() raises PreconditionFailed if there is one);
                'r', 'w' and 'x' do the same with text.
            encoding: The encoding of text; None for UTF-8.
            errors: For text, as in Python's open().
            newline: For text, as in Python's open().
            version_id: The version to read; None for the current one.
            block_size: In bytes. Reading: the largest range that is prefetched; None for 2 MiB. Writing: the size of a part,
                5 MiB to 5 GiB; None for `multipart_chunksize`.
            read_ahead: The number of ranges that are prefetched concurrently; None for 4, 0 for none.
            headers: HTTP headers of the written object.
            metadata: The user-defined metadata of the written object.
            content_type: None: guessed from the key.
            extra: Further parameters by boto3's names.
            if_none_match: '*': write only if the object does not exist.
            if_match: An ETag: read or replace only the object that has it.
            retries: Retries per request; None for the connection's.
            progress: A function that is called with a ProgressEvent, at most ten times a second and once at the end; True for a
                bar or lines on standard error. It counts the bytes that are fetched, also ahead of reads, or sent.

        Returns:
            An S3Reader or S3Writer; for text an S3TextReader or S3TextWriter (io.TextIOWrapper) around one.

        Raises:
            NotFound, NoSuchBucket, AccessDenied: The store refused. (A writer raises them at close() at the latest.)
            ConfigurationError: An argument is wrong, or belongs to the other mode.
        """
        with short_tracebacks():
            return open_object(self._operations, bucket, key, mode, options)

    def mock(self, *, buckets: Iterable[str] = ()) -> Mock:
        """An in-process fake S3 (moto) for this connection: a context manager, a decorator, or start() and stop().

        While it is active, no socket is opened. Endpoint, credentials and region of the connection do not matter.

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

    @shows(BatchOptions, **BATCH_DEFAULTS)
    def batch(self, size: int = 50, **options: Unpack[BatchOptions]) -> Batch:
        """A bounded pool that runs calls of this connection concurrently. See Batch.

        Args:
            size: The number of calls that run at once, and of those that wait in the queue. Lowered, with a warning, if the
                process may not have that many open files (`ulimit -n`).
            on_error: 'raise': leaving the `with` block raises BatchError if a job failed. 'collect': failures are only in
                `failed`.
            keep_results: False: jobs are released when they have ended, for very many jobs with callbacks.
            timeout_s: The time limit of the batch. Then running jobs fail with DeadlineExceeded, and the others do not start.
            job_timeout_s: The time limit of a job without a timeout_s of its own.
            max_failures: Stop after this many failures. Jobs that have not begun do not start.
            grace_s: How long running jobs may continue after Ctrl-C before they are interrupted. A second Ctrl-C interrupts
                them at once. Deadlines and kills do not wait.
            max_memory: How many bytes the jobs hold in memory at once, as in TransferConfig, whose limit they do not count in
                then. None for the connection's limit, 256 MiB by default.
            progress: A function that is called with a ProgressEvent, at most ten times a second and once at the end; True for a
                bar or lines on standard error. The totals grow with the jobs that are submitted.
            journal: A path or an s3po.journal.Journal: what is done is recorded in this file, and a later run with it skips
                that and continues the rest. See docs/journal.rst. None for no journal.
            verify_skipped: With a journal: check by a HEAD that the store still has an object before its job is skipped.
            replay_callbacks: With a journal: call the callbacks of skipped jobs too.
            fsync: With a journal: synchronise each record with the disk, so that it survives a power cut too.
            processes: More than 1: this many worker processes carry out the jobs, to use several cores. They are started by
                `exec`, need no `__main__` guard, and share the batch's size and the limits of the connection. Callbacks run in
                this process, and so do jobs with open files or iterators, and all jobs of a mock. If a worker process is
                killed, its jobs run again in another one.
            receipts: True: each job that ends is recorded, in a temporary file. `batch.report().save(path)` writes the records,
                and `verify(path)` compares the store with them. Costs about 30 µs a job.

        Raises:
            ConfigurationError: An argument is out of its range; or the journal is no journal, of another store or a newer
                version, in use, or of another user.
            LocalError: The journal cannot be read or written, or is damaged.
        """
        return Batch(self, size, **options)

    @shows(RetryOptions, **BATCH_DEFAULTS)
    def retry_failed(
        self,
        failed: FailedJobs | Iterable[FailedJob] | S3poError | str | os.PathLike[str],
        size: int = 50,
        **options: Unpack[RetryOptions],
    ) -> Batch:
        """Repeat failed jobs in a new batch, and wait for them. Returns the batch.

        Args:
            failed: `batch.failed`, a BatchError, or the path of a file of records: one that `batch.failed.save()` wrote.
            size: As for batch().
            options: As for batch(). (With on_error='raise', BatchError is raised if a job fails again.)
            to: The connection of the other store, for copies to another store that were read from a file.
            callback: Called with each result; the callbacks of the first batch are not kept. A function that needs two
                arguments is called with the result and the job's ref: `lambda body, ref: save(ref.key, body)`.
            errback: Called with each error, in the same way.

        A job from a file cannot be repeated if its data were in memory or in an open file: it fails with JobError.

        Raises:
            BatchError: A job failed again.
            JobError: A line of the file is broken. The message names the line; nothing was repeated.
        """
        to = options.pop('to', None)
        callback_of, errback_of = referring(options.pop('callback', None)), referring(options.pop('errback', None))
        if not options.keys() <= BATCH_DEFAULTS.keys():
            raise unknown_option('retry_failed', options, BATCH_DEFAULTS)
        jobs = failed_jobs_of(failed)
        _warn_of_other_store(jobs, self.endpoint_url)
        with self.batch(size, **options) as batch:  # type: ignore[misc]  # its own options are gone
            for job in (each.aimed_at(to) for each in jobs):
                callbacks = callback_of(job.ref), errback_of(job.ref)
                batch.submit(job.call, *callbacks, silent=job.is_silent, refusal=job.refusal() or job.call.mistake())
        return batch

    def verify(
        self,
        receipt: str | os.PathLike[str],
        *,
        local: bool = False,
        prefixes: Iterable[str] | None = None,
        size: int = 50,
        extra: Mapping[str, Any] | None = None,
    ) -> VerifyReport:
        """Compare the store, or local files, with the records of jobs. No object is downloaded. Blocks until all are compared.

        Each object that a job has uploaded, copied, downloaded or looked at is compared by a HEAD: its size, and its checksum
        or ETag. The last record about an object counts; of an object that a job has deleted, the deletion. Records of other
        stores are left out. (If all are of one other store, such as the original of a mirror, they are compared with this one.)

        Args:
            receipt: The path of a file of records: a receipt (`batch.report().save(path)`), the journal of a batch, or a file
                that `batch.failed.save()` wrote.
            local: True: the local files from which the jobs have uploaded, or to which they have downloaded, are compared
                instead, by size and checksum. Nothing is sent.
            prefixes: Objects with one of these prefixes that no record names are `extra`. None: all objects in the directory
                that the recorded keys of a bucket have in common; if they have none, all objects of the bucket. An empty list:
                extra objects are not looked for.
            size: How many requests are sent at once.
            extra: Further parameters of the HEADs by boto3's names, such as keys of SSE-C.

        Returns:
            What is missing, changed, extra or unproven. `raise_for_differences()` raises VerifyError if there is anything.

        Raises:
            JobError: A line of the file is broken. The message names the line.
            LocalError: The file cannot be read.
            ConfigurationError: The records are of several other stores; or an argument is wrong.
            S3poError: A listing for extra objects failed.
        """
        if not isinstance(receipt, str | os.PathLike):
            raise ConfigurationError(
                f'receipt must be the path of a file of records, not {type(receipt).__name__}; '
                'batch.report().save(path) writes one'
            )
        if not local:
            return verify_remote(self, receipt, size=size, prefixes=prefixes, extra=extra)
        if prefixes is not None or extra is not None:
            raise ConfigurationError(f'{"prefixes" if extra is None else "extra"} is for objects, and local=True is for files')
        return verify_files(receipt)

    # --- for a batch (s3po.batch.limits.Performer)

    @property
    def endpoint_url(self) -> str | None:
        """The URL of the store; None for AWS, and if only a boto3 client could tell."""
        return self._wiring.endpoint_url

    def find_endpoint(self) -> str | None:
        """The URL of the store; None for AWS. May make a boto3 client, but sends nothing."""
        return plain_endpoint(self._wiring.find_endpoint())

    @property
    def observer(self) -> Observer | None:
        """Receives the events of jobs and requests; None for no observer. A batch keeps the one that it was made with."""
        return self._operations.observer

    @observer.setter
    def observer(self, observer: Observer | None) -> None:
        self._operations.observer = observer

    def renew_credentials(self) -> None:
        """Read the credentials again from their source, because the store rejects them. May send requests."""
        self._wiring.renew_credentials()

    @property
    def deletes_sources(self) -> bool:
        """Whether uploads from a path delete the file, unless the call says otherwise."""
        return self._operations.deletes_sources

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """Abort a multipart upload, with retries. One that does not exist is no error."""
        abort_upload(self._operations.attempts(bucket, key, None), upload_id, {})

    def abort_in_background(self, bucket: str, key: str, upload_id: str, extra: Extra) -> None:
        """Abort a multipart upload of a worker process that has ended. Returns at once; close() waits for it."""
        self._operations.abort_in_background(bucket, key, upload_id, extra)

    def watch_uploads(self, watch: Callable[[str, str, str, Extra | None], object]) -> None:
        """Call a function for each multipart upload that begins or ends: see s3po.transfer.pending_aborts."""
        self._operations.watch_uploads(watch)

    def memory_budget(self) -> MemoryBudget:
        """The budget of the transfers of this thread."""
        return self._operations.memory()

    def request_load(self) -> Callable[[], RequestLoad]:
        """A function that returns the present figures of this thread's requests. Any thread may call it."""
        return self._wiring.governor().load

    @property
    def is_mocked(self) -> bool:
        """Whether a mock of moto is active in this process."""
        return is_mocked()

    def worker_form(self) -> ConnectionForm:
        """The connection for worker processes; see s3po.batch.limits.WorkerForm."""
        given = {name: revealed(value) for name, value in self._arguments.items()}
        given = {name: value for name, value in given.items() if value is not None}
        return ConnectionForm(type(self), given, self._settings, self._wiring.key_source)

    def use_share(self, fraction: float) -> None:
        """Use only a fraction of the limits of requests, rates and memory, in this thread."""
        self._wiring.use_share(fraction)

    def width(self) -> int:
        """How many requests of this thread may be in flight at once."""
        return self._operations.width()

    def demand_requests(self, width: int) -> None:
        """Allow at least this many requests at once, until release_requests(width)."""
        self._wiring.governor().demand(width)

    def release_requests(self, width: int) -> None:
        """Undo one demand_requests(width)."""
        self._wiring.governor().release_demand(width)


def _warn_of_other_store(jobs: FailedJobs, endpoint_url: str | None) -> None:
    for job in jobs:
        if job.endpoint is not None and job.endpoint != plain_endpoint(endpoint_url):
            log.warning('%s failed at %s, and is repeated at %s', job.call, job.endpoint, endpoint_url or 'AWS')
            return
