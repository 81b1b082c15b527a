"""Retries: which errors are retried, how often, and after how long.

This is the only loop in the project that repeats a request; botocore's own retries are off.

Invariants: only s3po's own errors are retried, so a kill, a gevent.Timeout or a bug is raised at once. A tenacity.Retrying is
never shared by two greenlets (it has state, and would lose failures), so each loop uses a copy.
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
from tenacity.stop import stop_base
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

__all__ = [
    'MAX_RETRY_AFTER_S',
    'RetriesExhausted',
    'RetryPolicy',
    'integrity_retries',
    'is_retryable',
    'is_throttling',
    'wait_as_told',
]

log = logging.getLogger(__name__)

T = TypeVar('T')

RETRYABLE: Final = (ConnectTimeout, ReadTimeout, NetworkError, IntegrityError, Conflict, Throttled, ServerError)

# After so many retries a host name that cannot be resolved counts as misspelt.
MAX_NAME_RETRIES = 2
SERVICE_UNAVAILABLE: Final = 503
# The codes of a 503 that is not about the rate of requests; the response to a HEAD has its status as code.
DOWN_CODES: Final = ('', '503', 'ServiceUnavailable')
# The longest wait that a store can request; longer ones are cut to this.
MAX_RETRY_AFTER_S = 60.0


def is_retryable(error: BaseException) -> bool:
    """Whether a retry may succeed, by the error's class alone.

    (Not for CredentialsExpired, which is worth one retry, and the limit of IntegrityError: RetryPolicy counts these.)
    """
    return isinstance(error, RETRYABLE)


def is_throttling(error: BaseException) -> bool:
    """Whether the store refused a request because of the load (SlowDown, 429), or named the time of the next attempt.

    Such an error says nothing about the request, so its retry does not count against the number of retries. (A mere 503 may
    also mean that the store is down.)
    """
    if isinstance(error, Throttled) and (error.status != SERVICE_UNAVAILABLE or error.code not in DOWN_CODES):
        return True
    return isinstance(error, ResponseError) and error.retry_after_s is not None and is_retryable(error)


def integrity_retries(retries: int) -> int:
    """How many of the retries may be used for data that arrived corrupted.

    Two by default: data that is wrong three times in a row is wrong at its source, or the network will not improve. More
    retries allow more.
    """
    return min(retries, max(2, retries - 1))


class wait_as_told(wait_base):  # noqa: N801  (tenacity names its callables in snake case)
    """Wait as long as the store requests; otherwise by one of two other waits.

    Args:
        wait: For every error except Throttled.
        throttled: For Throttled, which needs longer waits.
    """

    def __init__(self, wait: wait_base, throttled: wait_base) -> None:
        self._wait = wait
        self._throttled = throttled

    def __call__(self, retry_state: RetryCallState) -> float:
        error = _error_of(retry_state)
        seconds = float((self._throttled if isinstance(error, Throttled) else self._wait)(retry_state))
        if isinstance(error, ResponseError) and error.retry_after_s is not None:
            # Plus the jitter: all other clients got the same number.
            return min(error.retry_after_s, MAX_RETRY_AFTER_S) + min(seconds, 1.0)
        return seconds


class stop_after_retries(stop_base):  # noqa: N801  (tenacity names its callables in snake case)
    """Stop after so many retries. It counts, so each loop of attempts needs its own.

    Args:
        retries: How many retries are allowed.
        throttle_timeout_s: How long those of throttled attempts are not counted; after that time, one more refusal is the last.
            A retry without any wait (`wait_none()`) is always counted: otherwise it would be repeated at once, all that time.
    """

    def __init__(self, retries: int, throttle_timeout_s: float) -> None:
        self._retries = retries
        self._throttle_timeout_s = throttle_timeout_s
        self._uncounted = 0

    def __call__(self, retry_state: RetryCallState) -> bool:
        error = _error_of(retry_state)
        if self._throttle_timeout_s and error is not None and is_throttling(error) and _has_wait(retry_state, error):
            # (In tests, the time is that of recorded sleeps.)
            seconds = max(retry_state.seconds_since_start or 0.0, retry_state.idle_for)
            self._uncounted += 1
            return seconds >= self._throttle_timeout_s
        return retry_state.attempt_number - self._uncounted > self._retries


def default_wait() -> wait_base:
    """Full jitter: a random time up to a bound that grows with every attempt.

    Up to 0.25 s, 1 s, 4 s and so on to 20 s: most failures are single dropped connections, after which the next attempt
    succeeds at once; others last for seconds. If throttled, up to 1, 2, 4 s and so on to 20 s. (The governor does more for the
    store: it sends fewer requests at once.)
    """
    return wait_as_told(
        wait_random_exponential(multiplier=0.25, exp_base=4, max=20),
        throttled=wait_random_exponential(multiplier=1, max=20),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The policy for failed attempts.

    Attributes:
        retries: The number of attempts after the first one; 0 for none. Those after a SlowDown, a 429 or a response with
            Retry-After are not counted, for `TransferConfig.throttle_timeout_s`, if the wait before them is above 0.
        wait: A tenacity wait: the time before the next attempt.
        stop: A tenacity stop that ends the attempts earlier, such as `tenacity.stop_after_delay(60)`; None for none.
        sleep: Waits the given seconds; the default lets other greenlets run meanwhile.

    Raises:
        ConfigurationError: `retries` is not a whole number from 0.
    """

    retries: int = 3
    wait: wait_base = field(default_factory=default_wait)
    stop: stop_base | None = None
    sleep: Callable[[float], None] = gevent.sleep

    def __post_init__(self) -> None:
        check_retries(self.retries)

    def run(self, attempt: Callable[[], T], *, doing: str, retries: int | None = None) -> tuple[T, int]:
        """Make attempts until one succeeds. Blocks the greenlet, also during waits.

        The first attempt is made without tenacity, which costs more than a small request.

        Args:
            attempt: Makes one attempt.
            doing: The operation, for the log ('UploadPart 3 of s3://bucket/key').
            retries: Overrides the policy's number; None for the policy's.

        Returns:
            The attempt's return value, and the number of attempts.

        Raises:
            RetriesExhausted: The last allowed attempt failed with a retryable error, which is its `__cause__`.
            TransportError: The attempt failed with an error that is not retried.
        """
        try:
            return attempt(), 1
        except TransportError as error:
            first = error
        return self.run_on(first, attempt, doing=doing, retries=retries)

    def run_on(
        self,
        first: TransportError,
        attempt: Callable[[], T],
        *,
        doing: str,
        retries: int | None = None,
        throttle_timeout_s: float = 0.0,
    ) -> tuple[T, int]:
        """Like run(), if the caller has made the first attempt already. tenacity gets its error again as its first attempt.

        Args:
            first: The error of the first attempt.
            attempt: Makes one more attempt.
            doing: As for run().
            retries: As for run().
            throttle_timeout_s: How long retries of throttled attempts are not counted, from the first attempt; 0 to count all.
        """
        retries = self.retries if retries is None else retries
        replayed = [first]

        def next_attempt() -> T:
            if replayed:
                raise replayed.pop()
            return attempt()

        retrying = self._retrying(doing, retries, throttle_timeout_s).copy()
        try:
            return retrying(next_attempt), int(retrying.statistics['attempt_number'])
        except TransportError as error:
            attempts = int(retrying.statistics['attempt_number'])
            if is_retryable(error):
                # The limit for errors of this class was reached.
                raise RetriesExhausted(attempts) from error
            error.attempts = attempts
            raise
        except tenacity.RetryError as exhausted:
            last = exhausted.last_attempt
            raise RetriesExhausted(last.attempt_number) from last.exception()

    def _retrying(self, doing: str, retries: int, throttle_timeout_s: float) -> tenacity.Retrying:
        # Without retries, nothing waits for the store to recover.
        stop: Any = stop_after_retries(retries, throttle_timeout_s if retries else 0.0)
        return tenacity.Retrying(
            stop=stop if self.stop is None else stop | self.stop,
            wait=self.wait,
            retry=retry_if_exception(_Retryable(retries)),
            sleep=self.sleep,
            before_sleep=_log_retry(doing, retries),
        )


class RetriesExhausted(Exception):
    """The retries were used up. Converted by the caller, which knows the operation; never reaches users.

    Attributes:
        attempts: The number of attempts.
    """

    def __init__(self, attempts: int) -> None:
        super().__init__(f'{attempts} attempts failed')
        self.attempts = attempts


class _Retryable:
    """is_retryable() for one loop of attempts, with limits for some errors."""

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


def _log_retry(doing: str, retries: int) -> Callable[[RetryCallState], None]:
    def before_sleep(state: RetryCallState) -> None:
        number = state.attempt_number
        log.warning(
            '%s: attempt %s failed, next attempt in %.2f s: %s',
            doing,
            # More attempts than retries: some were throttled, and are not counted.
            f'{number} of {retries + 1}' if number <= retries else number,
            state.upcoming_sleep,
            # Most errors begin with the operation.
            str(_error_of(state)).removeprefix(f'{doing}: '),
        )

    return before_sleep


def _has_wait(state: RetryCallState, error: BaseException) -> bool:
    """Whether the next attempt is made later: after the policy's wait, or after the pause of the bucket (Retry-After)."""
    return state.upcoming_sleep > 0 or bool(isinstance(error, ResponseError) and error.retry_after_s)


def _error_of(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


def check_retries(retries: object) -> None:
    """Check a number of retries.

    Raises:
        ConfigurationError: It is not a whole number from 0.
    """
    if not is_whole(retries, 0):
        raise ConfigurationError(f'retries must be a whole number from 0 (attempts after the first), not {retries!r}')
