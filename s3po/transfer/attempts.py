"""The attempts of one transfer: each holds a slot of the governor; failed ones are retried by the policy and counted."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from s3po.errors import CredentialsError, IntegrityError, ResponseError, S3poError, Throttled, TransferError, TransportError
from s3po.governor import Governor
from s3po.observer import Activity, Observer, report
from s3po.retry import MAX_RETRY_AFTER_S, RetriesExhausted, RetryPolicy, integrity_retries, is_throttling
from s3po.runtime import WorkKilled, under_way
from s3po.s3 import Transport
from s3po.transfer.integrity import Guard
from s3po.transfer.pending_aborts import PendingAborts

__all__ = ['Attempts', 'ObservedAttempts']

log = logging.getLogger(__name__)

NO_CHECKSUMS = Guard('none')

T = TypeVar('T')

# Warnings that are logged once per process.
_logged: Final = set[str]()


class Attempts:
    """Makes the requests of one transfer of one object.

    Attributes:
        transport: Sends the requests.
        governor: Bounds the requests in flight.
        bucket: The object's bucket.
        key: Its key.
        guard: Selects the checksums of uploads.
        pending_aborts: The connection's multipart uploads that are still to be aborted.
        retried: The number of retries so far.
        warnings: Warnings for the result of a transfer that succeeds.
        lost: Those of them about what a copy lacks of its source.
        is_of_other_store: Whether they are sent to the other store of a copy: errors have the same attribute.
        observer: Receives the events; None for none. Only ObservedAttempts reports to it.
    """

    __slots__ = (
        '_failure',
        '_policy',
        '_retries',
        'bucket',
        'governor',
        'guard',
        'is_of_other_store',
        'key',
        'lost',
        'observer',
        'pending_aborts',
        'retried',
        'transport',
        'warnings',
    )

    def __init__(
        self,
        transport: Transport,
        governor: Governor,
        policy: RetryPolicy,
        guard: Guard = NO_CHECKSUMS,
        pending_aborts: PendingAborts | None = None,
        *,
        bucket: str,
        key: str,
        retries: int | None = None,
        failure: type[TransferError] = TransferError,
        observer: Observer | None = None,
    ) -> None:
        """
        Args:
            transport: Sends the requests.
            governor: Bounds the requests in flight.
            policy: How often and when a failed attempt is retried.
            guard: Selects the checksums of uploads.
            pending_aborts: The connection's; None for a new, empty one.
            bucket: The object's bucket.
            key: The object's key.
            retries: Overrides the policy's number; None for the policy's.
            failure: The error class raised when the retries are used up.
            observer: Receives the events; for ObservedAttempts.
        """
        self.transport = transport
        self.governor = governor
        self.bucket = bucket
        self.key = key
        self.guard = guard
        self.pending_aborts = PendingAborts() if pending_aborts is None else pending_aborts
        self.observer = observer
        self.retried = 0
        self.is_of_other_store = False
        self.warnings: tuple[str, ...] = ()
        self.lost: tuple[str, ...] = ()
        self._policy = policy
        self._retries = retries
        self._failure = failure

    @property
    def integrity_retries(self) -> int:
        """How often data that arrived corrupted is transferred again."""
        return integrity_retries(self._policy.retries if self._retries is None else self._retries)

    def lose(self, text: str) -> None:
        """Add a warning that a copy lacks something of its source. A move keeps the source then."""
        self.lost += (text,)
        self.warn(text)

    def warn(self, text: str, *, is_of_process: bool = False) -> None:
        """Add a warning to the result, and log it the first time: once per bucket, or once per process."""
        if text not in self.warnings:
            self.warnings += (text,)
            if is_of_process:
                if text in _logged:
                    return
                _logged.add(text)
            if self.guard.is_new_warning(self.bucket, text):
                log.warning('s3://%s/%s: %s', self.bucket, self.key, text)

    def run(self, operation: str, attempt: Callable[[], T], *, part_number: int | None = None) -> T:
        """Make one request, each attempt in a slot of the governor.

        Args:
            operation: S3's name of the request.
            attempt: Sends it once.
            part_number: The part it is for.

        Raises:
            TransferError: The retries were used up.
            TransportError: The store refused the request, and a retry does not help.
        """
        # The usual path, without the preparations for a retry: they would dominate the cost of a small request.
        try:
            with self.governor.slot(self.bucket):
                return attempt()
        except TransportError as error:
            first = error
        except CredentialsError as error:
            self._mark(error)
            raise
        except WorkKilled as error:
            raise self._killed(operation, error) from error

        return self._repeat(first, operation, functools.partial(self._attempt_in_slot, attempt), part_number)

    def _attempt_in_slot(self, attempt: Callable[[], T]) -> T:
        with self.governor.slot(self.bucket):
            return attempt()

    def run_without_slot(self, operation: str, attempt: Callable[[], T], *, part_number: int | None = None) -> T:
        """Like run(), for attempts that open their slot themselves, because the slot outlives them."""
        try:
            return attempt()
        except TransportError as error:
            first = error
        except CredentialsError as error:
            self._mark(error)
            raise
        except WorkKilled as error:
            raise self._killed(operation, error) from error
        return self._repeat(first, operation, attempt, part_number)

    def moved(self, operation: str, size_bytes: int, part_number: int | None = None) -> None:
        """Report bytes; see Observer.moved. Callers check `observer` first, to save the call."""

    def sized(self, operation: str, size_bytes: int) -> None:
        """Report the size of the object; see Observer.sized. Callers check `observer` first."""

    def _report_failure(self, error: Exception, operation: str, part_number: int | None) -> None:
        """Report a failed attempt."""

    def _report_retry(self, error: Exception, operation: str, part_number: int | None) -> None:
        """Report the next attempt."""

    def _repeat(self, first: TransportError, operation: str, attempt: Callable[[], T], part_number: int | None) -> T:
        """Retry after the first attempt, which failed with `first`."""
        last: TransportError = first
        is_first = True
        governor = self.governor

        def next_attempt() -> T:
            nonlocal is_first, last
            is_counted = not is_throttling(last)
            if is_counted:
                governor.budget.take(is_first=is_first)
                is_first = False
            self._report_retry(last, operation, part_number)
            try:
                value = attempt()
            except TransportError as error:
                last = error
                self._failed(error, operation, part_number)
                raise
            except CredentialsError as error:
                self._mark(error)
                raise
            except WorkKilled as error:
                raise self._killed(operation, error) from error
            if is_counted:
                governor.budget.earn()
            return value

        self._failed(first, operation, part_number)
        part = '' if part_number is None else f' {part_number} of'
        doing = f'{operation}{part} s3://{self.bucket}/{self.key}'
        try:
            with under_way():
                value, attempts = self._policy.run_on(
                    first,
                    next_attempt,
                    doing=doing,
                    retries=self._retries,
                    throttle_timeout_s=governor.throttle_timeout_s,
                )
        except RetriesExhausted as exhausted:
            self.retried += exhausted.attempts - 1
            error, cause = self._exhausted(exhausted, part_number), exhausted.__cause__
            # An IntegrityError is raised as itself, and must not become its own cause.
            raise error from (error.__cause__ if error is cause else cause)
        except TransportError as error:
            self.retried += error.attempts - 1
            raise
        self.retried += attempts - 1
        return value

    def _failed(self, error: TransportError, operation: str, part_number: int | None) -> None:
        """Report a failed attempt, and keep the pause that the store has requested."""
        self._mark(error)
        self._report_failure(error, operation, part_number)
        retries = self._policy.retries if self._retries is None else self._retries
        if retries and isinstance(error, ResponseError) and error.retry_after_s and is_throttling(error):
            self.governor.pause(self.bucket, min(error.retry_after_s, MAX_RETRY_AFTER_S))

    def _mark(self, error: S3poError) -> None:
        if self.is_of_other_store:
            error.is_of_other_store = True

    def _killed(self, operation: str, error: WorkKilled) -> S3poError:
        return S3poError(f'{operation} s3://{self.bucket}/{self.key}: {error}')

    def _exhausted(self, exhausted: RetriesExhausted, part_number: int | None) -> Exception:
        last = exhausted.__cause__
        if isinstance(last, IntegrityError):
            last.attempts = exhausted.attempts
            return last
        times = '1 attempt' if exhausted.attempts == 1 else f'{exhausted.attempts} attempts'
        return self._failure(
            f'{last} (gave up after {times})',
            bucket=self.bucket,
            key=self.key,
            attempts=exhausted.attempts,
            part_number=part_number,
        )


class ObservedAttempts(Attempts):
    """Attempts that report to an observer; used instead of Attempts if there is one."""

    __slots__ = ()

    observer: Observer

    def run(self, operation: str, attempt: Callable[[], T], *, part_number: int | None = None) -> T:
        run = super().run
        return self._observed(operation, part_number, lambda: run(operation, attempt, part_number=part_number))

    def run_without_slot(self, operation: str, attempt: Callable[[], T], *, part_number: int | None = None) -> T:
        run = super().run_without_slot
        return self._observed(operation, part_number, lambda: run(operation, attempt, part_number=part_number))

    def moved(self, operation: str, size_bytes: int, part_number: int | None = None) -> None:
        if size_bytes:
            report(self.observer.moved, self._activity(operation, part_number), size_bytes)

    def sized(self, operation: str, size_bytes: int) -> None:
        report(self.observer.sized, self._activity(operation, None), size_bytes)

    def _observed(self, operation: str, part_number: int | None, run: Callable[[], T]) -> T:
        activity = self._activity(operation, part_number)
        report(self.observer.began, activity)
        try:
            value = run()
        except BaseException as error:
            report(self.observer.ended, activity, error)
            raise
        report(self.observer.ended, activity, None)
        return value

    def _report_failure(self, error: Exception, operation: str, part_number: int | None) -> None:
        if isinstance(error, Throttled):
            report(self.observer.throttled, self._activity(operation, part_number))

    def _report_retry(self, error: Exception, operation: str, part_number: int | None) -> None:
        report(self.observer.retried, self._activity(operation, part_number), error)

    def _activity(self, operation: str, part_number: int | None) -> Activity:
        return Activity(operation=operation, bucket=self.bucket, key=self.key, part_number=part_number)
