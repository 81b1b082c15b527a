"""When an attempt is made again, how often, and after how long.

What may live here: the one predicate is_retryable, and policies made of tenacity's values. This is the only loop in the project
that repeats a request; botocore's own is switched off.

Invariants: only errors of our own classes are ever retried, so a kill, a gevent.Timeout or a mistake in the code passes at
once; a tenacity.Retrying is never shared by two greenlets (it keeps state, and would lose failures), hence the copy per loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import gevent
import tenacity
from tenacity import RetryCallState
from tenacity.retry import retry_if_exception
from tenacity.stop import stop_after_attempt, stop_base
from tenacity.wait import wait_base, wait_random_exponential

from s3po.checks import is_whole
from s3po.errors import (
    ConfigurationError,
    Conflict,
    ConnectTimeout,
    CredentialsExpired,
    IntegrityError,
    NetworkError,
    ReadTimeout,
    ResponseError,
    ServerError,
    Throttled,
    TransportError,
)

__all__ = ['RetriesExhausted', 'RetryPolicy', 'integrity_retries', 'is_retryable', 'wait_as_told']

log = logging.getLogger(__name__)

T = TypeVar('T')

RETRYABLE: Final = (ConnectTimeout, ReadTimeout, NetworkError, IntegrityError, Conflict, Throttled, ServerError)

# A name that is not found three times in a row is misspelt, or its server is away for longer.
MAX_NAME_RETRIES = 2
# A store that asks for more patience than this does not get it.
MAX_RETRY_AFTER_S = 60.0


def is_retryable(error: BaseException) -> bool:
    """Whether another attempt may end better, by the error's class alone.

    (CredentialsExpired is not among these: it is worth exactly one more attempt, and IntegrityError two; RetryPolicy counts.)
    """
    return isinstance(error, RETRYABLE)


def integrity_retries(retries: int) -> int:
    """How often what arrived wrong is moved anew, of so many retries.

    Twice by default: what is wrong three times in a row is wrong where it is read, or its way will not get better. Who has more
    patience with a network may have more with this.
    """
    return min(retries, max(2, retries - 1))


class wait_as_told(wait_base):  # noqa: N801  (tenacity names its callables in snake case)
    """Wait as long as the store asks; else by one of two other waits.

    Args:
        wait: For every error but Throttled.
        throttled: For Throttled, where one should come back later.
    """

    def __init__(self, wait: wait_base, throttled: wait_base) -> None:
        self._wait = wait
        self._throttled = throttled

    def __call__(self, retry_state: RetryCallState) -> float:
        error = _error_of(retry_state)
        seconds = float((self._throttled if isinstance(error, Throttled) else self._wait)(retry_state))
        if isinstance(error, ResponseError) and error.retry_after_s is not None:
            # The jitter goes on top: everybody else was told the same.
            return min(error.retry_after_s, MAX_RETRY_AFTER_S) + min(seconds, 1.0)
        return seconds


def default_wait() -> wait_base:
    """Full jitter (a random time up to a bound that grows with every attempt).

    Up to 0.25 s, 1 s, 4 s and so on to 20 s: most failures are a single dropped connection, and are over at once; what is
    not over then takes seconds. When throttled, up to 1, 2, 4 s and so on to 60 s.
    """
    return wait_as_told(
        wait_random_exponential(multiplier=0.25, exp_base=4, max=20),
        throttled=wait_random_exponential(multiplier=1, max=60),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How an attempt that failed is made again.

    Attributes:
        retries: How many attempts follow the first one; 0 for none.
        wait: A tenacity wait: how long to wait before the next attempt.
        stop: A tenacity stop that ends the attempts earlier, such as `tenacity.stop_after_delay(60)`; None for none.
        sleep: Waits the given seconds; the default lets other greenlets run meanwhile.

    Raises:
        ConfigurationError: `retries` is no whole number from 0.
    """

    retries: int = 3
    wait: wait_base = field(default_factory=default_wait)
    stop: stop_base | None = None
    sleep: Callable[[float], None] = gevent.sleep

    def __post_init__(self) -> None:
        check_retries(self.retries)

    def run(self, attempt: Callable[[], T], *, doing: str, retries: int | None = None) -> tuple[T, int]:
        """Make attempts until one succeeds. Blocks the greenlet, waits included.

        The first attempt is made bare: tenacity costs more than a small request may, so it comes in only after a failure.

        Args:
            attempt: Makes one attempt.
            doing: What is attempted, for the log ('UploadPart 3 of s3://bucket/key').
            retries: In place of the policy's own; None keeps that.

        Returns:
            What the attempt returned, and how many were made.

        Raises:
            RetriesExhausted: The last attempt that was allowed failed with a retryable error, which is its `__cause__`.
            TransportError: The attempt failed in a way that another one cannot mend.
        """
        try:
            return attempt(), 1
        except TransportError as error:
            first = error
        return self.run_on(first, attempt, doing=doing, retries=retries)

    def run_on(
        self, first: TransportError, attempt: Callable[[], T], *, doing: str, retries: int | None = None
    ) -> tuple[T, int]:
        """As run(), for whoever has made the first attempt already. To tenacity, that one is replayed as its first.

        Args:
            first: What the first attempt failed with.
            attempt: Makes one more.
            doing: As of run().
            retries: As of run().
        """
        retries = self.retries if retries is None else retries
        replayed = [first]

        def next_attempt() -> T:
            if replayed:
                raise replayed.pop()
            return attempt()

        retrying = self._retrying(doing, retries).copy()
        try:
            return retrying(next_attempt), int(retrying.statistics['attempt_number'])
        except TransportError as error:
            attempts = int(retrying.statistics['attempt_number'])
            if is_retryable(error):
                # Of its kind, these were enough.
                raise RetriesExhausted(attempts) from error
            error.attempts = attempts
            raise
        except tenacity.RetryError as exhausted:
            last = exhausted.last_attempt
            raise RetriesExhausted(last.attempt_number) from last.exception()

    def _retrying(self, doing: str, retries: int) -> tenacity.Retrying:
        stop: Any = stop_after_attempt(retries + 1)
        return tenacity.Retrying(
            stop=stop if self.stop is None else stop | self.stop,
            wait=self.wait,
            retry=retry_if_exception(_Retryable(retries)),
            sleep=self.sleep,
            before_sleep=_log_retry(doing, retries + 1),
        )


class RetriesExhausted(Exception):
    """Tells the room that made the attempts, which alone can say what they were for; never reaches callers.

    Attributes:
        attempts: How many were made.
    """

    def __init__(self, attempts: int) -> None:
        super().__init__(f'{attempts} attempts failed')
        self.attempts = attempts


class _Retryable:
    """is_retryable for one loop of attempts: some errors may be met only so often."""

    def __init__(self, retries: int) -> None:
        self._has_expired = False
        self._mismatches = 0
        self._most_mismatches = integrity_retries(retries)
        self._unresolved = 0

    def __call__(self, error: BaseException) -> bool:
        if isinstance(error, CredentialsExpired):
            first, self._has_expired = not self._has_expired, True
            return first
        if isinstance(error, IntegrityError):
            self._mismatches += 1
            return self._mismatches <= self._most_mismatches
        if isinstance(error, NetworkError) and error.is_unresolved:
            self._unresolved += 1
            return self._unresolved <= MAX_NAME_RETRIES
        return is_retryable(error)


def _log_retry(doing: str, attempts: int) -> Callable[[RetryCallState], None]:
    def before_sleep(state: RetryCallState) -> None:
        log.warning(
            '%s: attempt %d of %d failed, the next one comes in %.2f s: %s',
            doing,
            state.attempt_number,
            attempts,
            state.upcoming_sleep,
            # Most errors begin with what was done.
            str(_error_of(state)).removeprefix(f'{doing}: '),
        )

    return before_sleep


def _error_of(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


def check_retries(retries: object) -> None:
    """Refuse what is no count of retries.

    Raises:
        ConfigurationError: It is no whole number from 0.
    """
    if not is_whole(retries, 0):
        raise ConfigurationError(f'retries must be a whole number from 0 (attempts after the first), not {retries!r}')
