"""The failed jobs of a batch: to be inspected, saved to a file and repeated."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from s3po.batch.job import Job
from s3po.batch.limits import OnError
from s3po.errors import BatchError, ConfigurationError, JobError
from s3po.jobs import LOST, Call, JobRecord, read_lines
from s3po.jobs.options import OtherStore
from s3po.model import ObjectRef

__all__ = ['FailedJob', 'FailedJobs']


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
        record = JobRecord.from_json(said)
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
        return refusal_of(self.call)

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

    Attributes:
        broken: The errors of the lines that load(on_error='collect') could not read; each names its line.
    """

    def __init__(self, jobs: Iterable[FailedJob] = (), *, broken: Iterable[JobError] = ()) -> None:
        self._jobs = list(jobs)
        self.broken = tuple(broken)

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[FailedJob]:
        return iter(self._jobs)

    @overload
    def __getitem__(self, index: int) -> FailedJob: ...

    @overload
    def __getitem__(self, index: slice) -> FailedJobs: ...

    def __getitem__(self, index: int | slice) -> FailedJob | FailedJobs:
        return FailedJobs(self._jobs[index]) if isinstance(index, slice) else self._jobs[index]

    def __repr__(self) -> str:
        return f'FailedJobs({self._jobs!r})'

    def add(self, job: FailedJob) -> None:
        """Add a job; for the batch."""
        self._jobs.append(job)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one JSON object per line. The file is replaced when all is written."""
        written = f'{os.fspath(path)}.part'
        with open(written, 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(job.to_json()) + '\n' for job in self._jobs)
        os.replace(written, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, on_error: OnError = 'raise') -> FailedJobs:
        """Read a file of records of jobs, such as one that save() wrote.

        Args:
            path: The file.
            on_error: 'raise': a broken line is an error. 'collect': the other lines are read, and `broken` has the errors.

        Raises:
            JobError: A line is not a record. The message names the line.
            ConfigurationError: on_error is neither 'raise' nor 'collect'.
        """
        if on_error not in ('raise', 'collect'):
            raise ConfigurationError(f"on_error must be 'raise' or 'collect', not {on_error!r}")
        if on_error == 'collect':
            broken: list[JobError] = []
            return cls(read_lines(path, FailedJob.from_json, broken.append), broken=broken)
        try:
            return cls(read_lines(path, FailedJob.from_json))
        except JobError as error:
            raise JobError(f"{error}; FailedJobs.load(path, on_error='collect') reads the other lines") from error


def refusal_of(call: Call) -> JobError | None:
    """The error for a call that cannot be repeated; None for one that can. See FailedJob.refusal()."""
    if call.options.get('to') is LOST:
        return JobError(
            f'{call} cannot be repeated: the file of failed jobs does not have the connection of the other store; '
            'pass it: retry_failed(…, to=connection)'
        )
    for name, value in call.options.items():
        if value is LOST:
            was, is_ = ('were', 'are') if name == 'keys' else ('was', 'is')
            return JobError(
                f'{call} cannot be repeated: its {name} {was} in memory or an open file, or contained a '
                f'secret, and {is_} not in the file of failed jobs; submit it again'
            )
    for name, new in (('source', 'a new source'), ('keys', 'new keys')):
        if _is_read_once(call.options.get(name)):
            return JobError(
                f'{call} cannot be repeated: its {name} can be read only once, and some of it may have '
                f'been read; submit it again with {new}'
            )
    if _is_written_once(call.options.get('target')):
        return JobError(
            f'{call} cannot be repeated: its target cannot seek, and some of the object may have been written to it; '
            f'submit it again with a new target'
        )
    return None


def _is_read_once(source: Any) -> bool:
    """Whether a source is a stream: reading it again would return only the rest."""
    if not hasattr(source, 'read'):
        return isinstance(source, Iterator)
    try:
        if not source.seekable():
            return True
    except (AttributeError, ValueError):
        # It has no seekable(), or is closed.
        return not hasattr(source, 'seek')
    # Text files without a binary layer (codecs.open) read ahead, so they cannot be set back exactly.
    return not isinstance(source, io.IOBase) and isinstance(source.read(0), str)


def _is_written_once(target: Any) -> bool:
    """Whether a target is a stream: an object that is written again would follow what was written before."""
    try:
        return hasattr(target, 'write') and not target.seekable()
    except (AttributeError, ValueError):
        # It has no seekable(), or is closed.
        return True


def failed_jobs_of(failed: object) -> FailedJobs:
    """The jobs of an argument of `retry_failed`: `batch.failed`, a BatchError, or the path of a file that save() wrote.

    Raises:
        ConfigurationError: `failed` is none of these.
        JobError: A line of the file is not a failed job.
    """
    if isinstance(failed, BatchError):
        failed = [*failed.failed, *failed.not_started]
    if isinstance(failed, str | os.PathLike):
        return FailedJobs.load(failed)
    if isinstance(failed, Iterable):
        jobs = FailedJobs(failed)
        if all(isinstance(job, FailedJob) for job in jobs):
            return jobs
    raise ConfigurationError(
        f'failed must be the failed jobs of a batch, a BatchError, or the path of saved ones, not {type(failed).__name__}'
    )
