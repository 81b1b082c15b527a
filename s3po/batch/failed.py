"""The failed jobs of a batch: to be inspected, saved to a file and repeated."""

from __future__ import annotations

import collections
import itertools
import json
import logging
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, overload

from s3po.batch.job import Job
from s3po.batch.limits import OnError
from s3po.batch.repeating import refusal_of
from s3po.batch.spool import Spool
from s3po.checks import described
from s3po.errors import BatchError, ConfigurationError, JobError
from s3po.jobs import Call, JobRecord, read_lines
from s3po.jobs.options import OtherStore
from s3po.journal import Journal
from s3po.model import ObjectRef

__all__ = ['FailedJob', 'FailedJobs']

log = logging.getLogger(__name__)

# How many jobs of a FailedJobs are in memory.
MAX_IN_MEMORY: Final = 10_000
# How many of those that were added last are recognised.
RECENT: Final = 64
# How many jobs repr() shows.
SHOWN: Final = 10


class FailedJob:
    """One job that failed.

    Attributes:
        call: The call, with the source or target among its options.
        error: Why it failed. Of a job that was read from a file: of the same class, with the same message.
        is_silent: True if the job was silent.
        is_cancelled: True if cancel() of the batch or of the job ended it. It raises no BatchError then.
        has_begun: False for a job of `not_started`.
        endpoint: The URL of the store; None for AWS, and if it is not known.
    """

    __slots__ = ('call', 'endpoint', 'error', 'has_begun', 'is_cancelled', 'is_silent')

    def __init__(
        self,
        operation: str,
        ref: ObjectRef,
        options: Mapping[str, Any],
        error: BaseException,
        *,
        is_silent: bool = False,
        is_cancelled: bool = False,
        has_begun: bool = True,
        endpoint: str | None = None,
    ) -> None:
        self.call = Call(operation, ref, options)
        self.error = error
        self.is_silent = is_silent
        self.is_cancelled = is_cancelled
        self.has_begun = has_begun
        self.endpoint = endpoint

    @classmethod
    def of(cls, job: Job, *, is_cancelled: bool = False, endpoint: str | None = None) -> FailedJob:
        """The record of a job that failed."""
        assert job.failure is not None
        assert job.call is not None
        call = job.call
        record = cls(
            call.operation,
            call.ref,
            call.options,
            job.failure,
            is_silent=job.is_silent,
            is_cancelled=is_cancelled,
            has_begun=job.turns > 0,
            endpoint=endpoint,
        )
        # The same object, by which the batch recognises the job.
        record.call = call
        return record

    @property
    def operation(self) -> str:
        """The method of Connection."""
        return self.call.operation

    @property
    def ref(self) -> ObjectRef:
        """The object concerned; for a call on a bucket, a BucketRef."""
        return self.call.ref

    @property
    def options(self) -> Mapping[str, Any]:
        """The other arguments of the call that were given, the source or target among them."""
        return self.call.options

    @property
    def bucket(self) -> str:
        """The object's bucket."""
        return self.ref.bucket

    @property
    def key(self) -> str:
        """The object's key; for a listing its prefix, and '' for other calls on a bucket."""
        return self.ref.key

    @property
    def cause(self) -> BaseException | None:
        """The cause of the error: of a TransferError, the error of the last attempt."""
        return self.error.__cause__

    def __repr__(self) -> str:
        return f'<FailedJob {self}>'

    def __str__(self) -> str:
        return f'{self.call}: {type(self.error).__name__}: {self.error}'

    def __reduce__(self) -> tuple[Any, ...]:
        # Sources and targets may be open files, which do not pickle. The JSON form has all that is durable.
        return (FailedJob.from_json, (self.to_json(),))

    def to_json(self) -> dict[str, Any]:
        """The record of the job in JSON values; see JobRecord.

        A source in memory, an open file and an option with a secret (such as a key of SSE-C) are left out; 'lost' names them.
        """
        state = 'not_started' if not self.has_begun else 'cancelled' if self.is_cancelled else 'failed'
        record = JobRecord(
            call=self.call,
            endpoint=self.endpoint,
            is_silent=self.is_silent,
            state=state,
            error=self.error,
        )
        return record.to_json()

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> FailedJob:
        """The inverse of to_json(). Any record of a job is accepted.

        Raises:
            JobError: `said` is not a record.
        """
        return cls.from_record(JobRecord.from_json(said))

    @classmethod
    def from_record(cls, record: JobRecord) -> FailedJob:
        """A failed job from its record."""
        call = record.call
        return cls(
            call.operation,
            call.ref,
            call.options,
            record.error or JobError(f'{call} has no error in its record'),
            is_silent=record.is_silent,
            is_cancelled=record.state == 'cancelled',
            has_begun=record.state != 'not_started',
            endpoint=record.endpoint,
        )

    def refusal(self) -> JobError | None:
        """The error for a job that cannot be repeated, because its data are gone; None for one that can.

        Its source or target is a stream, or it was loaded from a file, which keeps only paths as source or target, and no
        secrets.
        """
        return refusal_of(self.call, has_begun=self.has_begun)

    def aimed_at(self, to: OtherStore | None) -> FailedJob:
        """The job with another connection as destination, if it is a copy to another store; else the job itself."""
        if to is None or 'to' not in self.options:
            return self
        options = {**self.options, 'to': to}
        return FailedJob(
            self.operation,
            self.ref,
            options,
            self.error,
            is_silent=self.is_silent,
            has_begun=self.has_begun,
            endpoint=self.endpoint,
        )

    def check_repeatable(self) -> None:
        """Raise what refusal() returns.

        Raises:
            JobError: The job cannot be repeated.
        """
        refusal = self.refusal()
        if refusal is not None:
            raise refusal


class FailedJobs(Sequence[FailedJob]):
    """The failed jobs of a batch, in the order of their failures.

    The first 10,000 are in memory, the others in a temporary file without a name: they have their errors and data, but not the
    objects that errors of other libraries refer to.

    Attributes:
        broken: The errors of the lines that load(on_error='collect') could not read; each names its line.
    """

    def __init__(self, jobs: Iterable[FailedJob] = (), *, broken: Iterable[JobError] = ()) -> None:
        # The first ones.
        self._jobs: list[FailedJob] = []
        # The others: an empty record stands for one in `_kept`, by its index.
        self._spool: Spool | None = None
        self._kept: dict[int, FailedJob] = {}
        # The calls of those that were added last.
        self._recent: collections.deque[Call] = collections.deque(maxlen=RECENT)
        self._has_warned = False
        self.broken = tuple(broken)
        for job in jobs:
            self.add(job)

    def __len__(self) -> int:
        return len(self._jobs) if self._spool is None else len(self._jobs) + len(self._spool)

    def __iter__(self) -> Iterator[FailedJob]:
        index = 0
        while index < len(self):
            yield self._at(index)
            index += 1

    @overload
    def __getitem__(self, index: int) -> FailedJob: ...

    @overload
    def __getitem__(self, index: slice) -> FailedJobs: ...

    def __getitem__(self, index: int | slice) -> FailedJob | FailedJobs:
        found = range(len(self))[index]
        return FailedJobs(map(self._at, found)) if isinstance(found, range) else self._at(found)

    def __repr__(self) -> str:
        shown = [repr(self._at(index)) for index in range(min(len(self), SHOWN))]
        more = [f'… and {len(self) - SHOWN:,} more'] if len(self) > SHOWN else []
        return f'FailedJobs([{", ".join(shown + more)}])'

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), list(self), self.broken)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # The pickles of s3po before 1.0 have the attributes.
        self.__init__(state['_jobs'])  # type: ignore[misc]

    def add(self, job: FailedJob) -> None:
        """Add a job; for the batch."""
        if len(self._jobs) < MAX_IN_MEMORY:
            self._jobs.append(job)
        else:
            self._spill(job)
        self._recent.append(job.call)

    def has_just(self, call: Call) -> bool:
        """Whether the job of this call is among those that were added last; for the batch."""
        return any(each is call for each in self._recent)

    def _at(self, index: int) -> FailedJob:
        """The job at an index from 0."""
        if index < len(self._jobs) or self._spool is None:
            return self._jobs[index]
        record = self._spool[index - len(self._jobs)]
        return _restored(record) if record else self._kept[index]

    def _spill(self, job: FailedJob) -> None:
        """Write a job to the temporary file or, if that is impossible, keep it in memory."""
        try:
            if self._spool is None:
                self._spool = Spool()
            self._kept[len(self)] = job
            if (record := _packed(job)) is not None:
                index = len(self)
                self._spool.append(record)
                del self._kept[index]
            else:
                self._spool.append(b'')
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                log.warning('failed jobs are kept in memory, because the temporary file cannot be written: %s', error)
            if self._spool is None:
                self._jobs.append(job)
            else:
                self._spool.append(b'')

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one JSON object per line. The file is replaced when all is written."""
        written = f'{os.fsdecode(path)}.part'
        with open(written, 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(job.to_json()) + '\n' for job in self)
        os.replace(written, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, on_error: OnError = 'raise') -> FailedJobs:
        """Read a file of records of jobs, such as one that save() wrote, or a journal. Jobs that have succeeded are left out.

        Args:
            path: The file.
            on_error: 'raise': a broken line is an error. 'collect': the other lines are read, and `broken` has the errors.

        Raises:
            JobError: A line is not a record. The message names the line.
            ConfigurationError: on_error is neither 'raise' nor 'collect'.
        """
        if on_error not in ('raise', 'collect'):
            raise ConfigurationError(f"on_error must be 'raise' or 'collect', not {on_error!r}")
        if Journal.is_one(path):
            return cls(map(FailedJob.from_record, Journal(path).failed()))
        if on_error == 'collect':
            broken: list[JobError] = []
            jobs = cls(filter(None, read_lines(path, _unfinished, broken.append)))
            jobs.broken = tuple(broken)
            return jobs
        try:
            return cls(filter(None, read_lines(path, _unfinished)))
        except JobError as error:
            raise JobError(f"{error}; FailedJobs.load(path, on_error='collect') reads the other lines") from error


def _unfinished(said: Any) -> FailedJob | None:
    """A job of a file; None for one that has succeeded: receipts have those too."""
    is_done = isinstance(said, Mapping) and said.get('state') in ('done', 'skipped')
    return None if is_done else FailedJob.from_json(said)


def failed_jobs_of(failed: object) -> FailedJobs:
    """The jobs of an argument of `retry_failed`: `batch.failed`, a BatchError, or the path of a file that save() wrote.

    Raises:
        ConfigurationError: `failed` is none of these.
        JobError: A line of the file is not a failed job.
    """
    if isinstance(failed, BatchError):
        failed = itertools.chain(failed.failed, failed.not_started)
    if isinstance(failed, FailedJobs):
        return failed
    if isinstance(failed, str | os.PathLike):
        return FailedJobs.load(failed)
    if isinstance(failed, Iterable):
        jobs = FailedJobs()
        for job in failed:
            if not isinstance(job, FailedJob):
                break
            jobs.add(job)
        else:
            return jobs
    raise ConfigurationError(
        f'failed must be the failed jobs of a batch, a BatchError, or the path of saved ones, not {type(failed).__name__}'
    )


def _packed(job: FailedJob) -> bytes | None:
    """A job with its data as bytes; None if it has objects that belong to memory: open files, secrets, other objects."""
    try:
        said = job.to_json()
        data = {}
        for name in said.get('lost', ()):
            value = job.options.get(name)
            if name != 'source' or not isinstance(value, str | bytes | bytearray | memoryview):
                return None
            data[name] = value if isinstance(value, str | bytes) else bytes(value)
        return pickle.dumps((said, job.is_cancelled, data))
    except Exception as error:  # noqa: BLE001  (arguments and errors of the caller may raise anything)
        log.debug('a failed job is kept in memory: %s', described(error))
        return None


def _restored(record: bytes) -> FailedJob:
    said, is_cancelled, data = pickle.loads(record)  # noqa: S301  (this process wrote it, to a file without a name)
    job = FailedJob.from_json(said)
    job.is_cancelled = is_cancelled
    if data:
        job.call = Call(job.operation, job.ref, {**job.options, **data})
    return job


def _unpickled(kind: type[FailedJobs], jobs: Iterable[FailedJob], broken: Iterable[JobError]) -> FailedJobs:
    return kind(jobs, broken=broken)
