"""The attempts of one transfer: retried, counted, and named when they come to nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from s3po.errors import IntegrityError, S3poError, Throttled, TransferError, TransportError
from s3po.governor import Governor
from s3po.retry import RetriesExhausted, RetryPolicy, integrity_retries
from s3po.runtime import WorkKilled, under_way
from s3po.s3 import Transport
from s3po.transfer.aborts import Leftovers
from s3po.transfer.integrity import Guard

__all__ = ['Attempts']

log = logging.getLogger(__name__)

NO_CHECKSUMS = Guard('none')

T = TypeVar('T')

# The warnings that come once for each process.
_told: Final = set[str]()


class Attempts:
    """Makes the requests of one transfer of one object.

    Attributes:
        transport: Sends the requests.
        governor: Bounds the requests in flight.
        bucket: The object's bucket, for messages.
        key: Its key.
        guard: Which checksums uploads carry.
        leftovers: The connection's multipart uploads that are still to be aborted, and its clean-up in the background.
        retried: How many requests had to be sent again so far.
        warnings: What should be known of the transfer although it goes well.
    """

    __slots__ = (
        '_failure',
        '_policy',
        '_retries',
        'bucket',
        'governor',
        'guard',
        'key',
        'leftovers',
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
        leftovers: Leftovers | None = None,
        *,
        bucket: str,
        key: str,
        retries: int | None = None,
        failure: type[TransferError] = TransferError,
    ) -> None:
        """
        Args:
            transport: Sends the requests.
            governor: Bounds the requests in flight.
            policy: Says how often and when a failed attempt is made again.
            guard: Says which checksums uploads carry.
            leftovers: Those of the connection; None for new ones.
            bucket: The object's bucket.
            key: The object's key.
            retries: In place of the policy's; None keeps that.
            failure: What is raised when the retries run out.
        """
        self.transport = transport
        self.governor = governor
        self.bucket = bucket
        self.key = key
        self.guard = guard
        self.leftovers = Leftovers() if leftovers is None else leftovers
        self.retried = 0
        self.warnings: tuple[str, ...] = ()
        self._policy = policy
        self._retries = retries
        self._failure = failure

    @property
    def integrity_retries(self) -> int:
        """How often what arrived wrong is moved anew."""
        return integrity_retries(self._policy.retries if self._retries is None else self._retries)

    def warn(self, text: str, *, is_of_process: bool = False) -> None:
        """Have something told with the result, and logged the first time: for its bucket, or in this process."""
        if text not in self.warnings:
            self.warnings += (text,)
            if is_of_process:
                if text in _told:
                    return
                _told.add(text)
            if self.guard.is_new_warning(self.bucket, text):
                log.warning('s3://%s/%s: %s', self.bucket, self.key, text)

    def run(self, operation: str, attempt: Callable[[], T], *, part_number: int | None = None) -> T:
        """Make one request, each attempt within a slot of the governor's.

        Args:
            operation: S3's name of the request.
            attempt: Sends it once.
            part_number: The part it is for.

        Raises:
            TransferError: The retries ran out.
            TransportError: The store refused in a way that no retry mends.
        """
        governor = self.governor
        # The usual way, without any of what a failure needs: it takes longer than a small request may.
        try:
            with governor:
                return attempt()
        except TransportError as error:
            first = error
        except WorkKilled as error:
            raise self._killed(operation, error) from error

        def within_slot() -> T:
            with governor:
                return attempt()

        return self._go_on(first, operation, within_slot, part_number)

    def run_without_slot(self, operation: str, attempt: Callable[[], T], *, part_number: int | None = None) -> T:
        """As run(), for attempts that take and return their slot themselves."""
        try:
            return attempt()
        except TransportError as error:
            first = error
        except WorkKilled as error:
            raise self._killed(operation, error) from error
        return self._go_on(first, operation, attempt, part_number)

    def _go_on(self, first: TransportError, operation: str, attempt: Callable[[], T], part_number: int | None) -> T:
        """Make the attempts behind the first one, which failed."""
        policy, governor = self._policy, self.governor

        def noticed() -> T:
            try:
                return attempt()
            except Throttled:
                governor.notice_throttling()
                raise
            except WorkKilled as error:
                raise self._killed(operation, error) from error

        if isinstance(first, Throttled):
            governor.notice_throttling()
        part = '' if part_number is None else f' {part_number} of'
        doing = f'{operation}{part} s3://{self.bucket}/{self.key}'
        try:
            with under_way():
                value, attempts = policy.run_on(first, noticed, doing=doing, retries=self._retries)
        except RetriesExhausted as exhausted:
            self.retried += exhausted.attempts - 1
            error, cause = self._given_up(exhausted, operation, part_number), exhausted.__cause__
            # An IntegrityError is raised itself, and must not become its own cause.
            raise error from (error.__cause__ if error is cause else cause)
        except TransportError as error:
            self.retried += error.attempts - 1
            raise
        self.retried += attempts - 1
        return value

    def _killed(self, operation: str, error: WorkKilled) -> S3poError:
        return S3poError(f'{operation} s3://{self.bucket}/{self.key}: {error}')

    def _given_up(self, exhausted: RetriesExhausted, operation: str, part_number: int | None) -> Exception:
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
