"""A job of a batch: a call, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol

import gevent.event

from s3po.batch.home import Home
from s3po.checks import is_wait
from s3po.errors import ConfigurationError, DeadlineExceeded, JobError
from s3po.jobs import Call
from s3po.journal import Entry

if TYPE_CHECKING:
    # Its default, which typing.TypeVar has since Python 3.13, allows `Job` without a type of the value.
    from typing_extensions import TypeVar

    T = TypeVar('T', default=Any)
else:
    from typing import TypeVar

    T = TypeVar('T')

__all__ = ['Job', 'JobOwner', 'not_callable']

Callback = Callable[[Any], object]
Errback = Callable[[BaseException], object]


class JobOwner(Protocol):
    """The part of a batch that a job uses.

    Attributes:
        home: The thread that the batch belongs to.
    """

    home: Home

    def check_outside(self, waiting: str) -> None:
        """Refuse to wait in a callback of the batch. waiting: The method, for the message."""
        ...

    def cancel_job(self, job: Job) -> bool:
        """Cancel the job if it has not ended. Returns True if it will end as cancelled."""
        ...


class Job(Generic[T]):
    """A call that a batch carries out. Made by the methods of Batch. `Job[bytes]` is one whose value is bytes.

    Attributes:
        call: The call; None once it has succeeded, as its options may hold large data.
        operation: The method of Connection: 'upload', 'download', …
        ref: The object concerned; for a call on a bucket, a BucketRef.
        entry: What the journal of the batch knows about the job; not set without a journal.
        has_ended: True if the job has succeeded, failed or was cancelled.
        is_silent: True for a job whose failure raises nothing (`silent=True`).
        refusal: The error of a job that is not carried out, or not again: a mistake in the call, or what has stopped the job.
            None for most jobs.
        is_read: True if the caller has read the outcome: by get(), `exception`, successful() or the errback.
        turns: How often a worker has begun to carry it out: 0 before, 2 in its last turn.
        failure: The error of a failed job, for the batch; reading it does not set `is_read`.
        value: The return value of the callback or, without one, of the method of Connection; None until the job has ended.
    """

    __slots__ = (
        '__weakref__',
        '_owner',
        '_waiter',
        'call',
        'callback',
        'entry',
        'errback',
        'failure',
        'has_ended',
        'is_read',
        'is_silent',
        'operation',
        'ref',
        'refusal',
        'turns',
        'value',
    )

    entry: Entry | None

    def __init__(
        self,
        owner: JobOwner,
        call: Call,
        callback: Callback | None,
        errback: Errback | None,
        is_silent: bool,  # noqa: FBT001  (keywords of a class take 150 ns, and each job makes one)
        refusal: Exception | None = None,
    ) -> None:
        self.call: Call | None = call
        self.operation = call.operation
        self.ref = call.ref
        self.callback = callback
        self.errback = errback
        self.is_silent = is_silent
        self.refusal = refusal
        self.turns = 0
        self.has_ended = self.is_read = False
        self.failure: BaseException | None = None
        self._owner: JobOwner | None = owner
        self.value: T = None  # type: ignore[assignment]  # until it has ended
        self._waiter: gevent.event.Event | None = None

    def __repr__(self) -> str:
        state = 'pending' if not self.has_ended else 'done' if self.failure is None else f'failed: {self.failure}'
        return f'<Job {self.operation} {self.ref} {state}>'

    @property
    def options(self) -> Mapping[str, Any]:
        """The other arguments of the call; empty once it has succeeded."""
        return {} if self.call is None else self.call.options

    @property
    def has_mistake(self) -> bool:
        """Whether the refusal is a mistake in the call, so that the job fails when it is its turn."""
        return isinstance(self.refusal, ConfigurationError | JobError)

    def ready(self) -> bool:
        """Whether the job has ended: it succeeded, failed or was cancelled."""
        return self.has_ended

    def successful(self) -> bool:
        """Whether the job has succeeded: the transfer and, if there is one, the callback."""
        self.is_read = self.has_ended
        return self.has_ended and self.failure is None

    @property
    def exception(self) -> BaseException | None:
        """The error of a failed job; None for other jobs."""
        self.is_read = self.has_ended
        return self.failure

    def get(self, timeout_s: float | None = None) -> T:
        """Wait for the job to end, and return its value.

        Args:
            timeout_s: The longest wait; None for no limit. The job continues after it.

        Raises:
            S3poError: The error of the job. (A silent job raises nothing, and returns False for an upload, else None.)
            DeadlineExceeded: It did not end in time.
            ConfigurationError: It has not ended, and the caller is a callback of the same batch: each might wait for the other.
                Or timeout_s is not a number of seconds from 0.
        """
        if timeout_s is not None and not is_wait(timeout_s):
            raise ConfigurationError(f'timeout_s must be a number of seconds from 0, or None for no limit, not {timeout_s!r}')
        if not self.has_ended and not self._wait(timeout_s):
            raise DeadlineExceeded(f'{self.operation} {self.ref} has not ended within {timeout_s} s')
        self.is_read = True
        if self.failure is None:
            return self.value
        if self.is_silent and self.call is not None:
            return self.call.silent_value  # type: ignore[return-value]  # the types of the methods with `silent` have it
        raise self.failure

    def cancel(self) -> bool:
        """Cancel the job: it does not begin, or its transfer is interrupted and cleans up.

        Returns:
            True if the job ends with Cancelled; False if it had ended, or only its callback was still running.
        """
        owner = self._owner
        return owner is not None and owner.cancel_job(self)

    def end(self, value: T, exception: BaseException | None) -> None:
        """Set the outcome; for the batch, which calls it once."""
        self.value = value
        self.failure = exception
        self.has_ended = True
        # Release what may be large: a source in memory, and objects that the callbacks refer to.
        self._owner = self.callback = self.errback = None
        if exception is None:
            self.call = None
        if self._waiter is not None:
            self._waiter.set()

    def _wait(self, timeout_s: float | None) -> bool:
        owner = self._owner
        if owner is not None:
            owner.check_outside('get()')
        if owner is not None and not owner.home.is_here():
            return owner.home.wait_until(self.ready, timeout_s)
        if self._waiter is None:
            # Made here because most jobs are never waited for.
            self._waiter = gevent.event.Event()
        return self._waiter.wait(timeout_s)


def not_callable(callback: object, errback: object) -> ConfigurationError | None:
    """The error of a job whose callback or errback cannot be called; None if both can."""
    for name, function in (('callback', callback), ('errback', errback)):
        if function is not None and not callable(function):
            return ConfigurationError(f'{name} must be a function, or anything that can be called, not {function!r}')
    return None
