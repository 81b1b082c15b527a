"""Retries: how many, how long, and for which errors; never after a kill or a bug."""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent
import pytest
import tenacity

from s3po.errors import (
    ConfigurationError,
    CredentialsExpired,
    IntegrityError,
    NetworkError,
    NotFound,
    ServerError,
    Throttled,
    TransportError,
)
from s3po.retry import RetriesExhausted, RetryPolicy, default_wait


class Flaky:
    """Raises the given errors in order, and then returns."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return 'done'


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def policy(slept: list[float]) -> RetryPolicy:
    return RetryPolicy(sleep=slept.append)


def test_first_attempt_is_enough(policy: RetryPolicy, slept: list[float]) -> None:
    """Without a failure there is no wait."""
    assert policy.run(Flaky(), doing='x') == ('done', 1)
    assert slept == []


@pytest.mark.parametrize('failures', [1, 2, 3])
def test_retries(policy: RetryPolicy, slept: list[float], failures: int) -> None:
    """The first attempt is followed by up to three retries."""
    attempt = Flaky(*[NetworkError('reset') for _ in range(failures)])

    assert policy.run(attempt, doing='x') == ('done', failures + 1)
    assert len(slept) == failures


def test_exhausted(policy: RetryPolicy) -> None:
    """N retries are N + 1 attempts, and the last error is the cause."""
    errors = [ServerError(f'error {number}') for number in range(9)]
    attempt = Flaky(*errors)

    with pytest.raises(RetriesExhausted) as caught:
        policy.run(attempt, doing='x')
    assert (attempt.calls, caught.value.attempts) == (4, 4)
    assert caught.value.__cause__ is errors[3]


@pytest.mark.parametrize('retries', [0, 1, 5])
def test_retries_of_one_call(policy: RetryPolicy, retries: int) -> None:
    """`retries` of a call replaces the policy's number."""
    attempt = Flaky(*[NetworkError('reset') for _ in range(9)])

    with pytest.raises(RetriesExhausted):
        policy.run(attempt, doing='x', retries=retries)
    assert attempt.calls == retries + 1


def test_what_no_retry_mends(policy: RetryPolicy) -> None:
    """An error that a retry cannot fix is raised unchanged, with the number of attempts."""
    attempt = Flaky(NetworkError('reset'), NotFound('gone'))

    with pytest.raises(NotFound) as caught:
        policy.run(attempt, doing='x')
    assert caught.value.attempts == attempt.calls == 2


def throttled_for(policy: RetryPolicy, attempt: Flaky, *, seconds: float, retries: int | None = None) -> tuple[str, int]:
    """Make attempts of which throttled ones are not counted for some seconds."""
    try:
        return attempt(), 1
    except TransportError as error:
        return policy.run_on(error, attempt, doing='x', retries=retries, throttle_timeout_s=seconds)


@pytest.mark.parametrize(
    'error',
    [
        Throttled('slow', status=503, code='SlowDown'),
        Throttled('slow', status=429),
        ServerError('busy', status=500, retry_after_s=1.0),
    ],
    ids=['SlowDown', '429', 'Retry-After'],
)
def test_throttled_attempts_are_not_counted(policy: RetryPolicy, error: TransportError) -> None:
    """However often the store is busy, there are three retries after other errors."""
    attempt = Flaky(*[error] * 20, *[NetworkError('reset')] * 3, *[error] * 20)

    assert throttled_for(policy, attempt, seconds=10_000) == ('done', 44)

    attempt = Flaky(*[error] * 5, *[NetworkError('reset')] * 9)
    with pytest.raises(RetriesExhausted):
        throttled_for(policy, attempt, seconds=10_000)
    assert attempt.calls == 5 + 4


def test_throttled_for_too_long(slept: list[float]) -> None:
    """After throttle_timeout_s one more refusal is the last."""
    policy = RetryPolicy(sleep=slept.append, wait=tenacity.wait_fixed(10))
    attempt = Flaky(*[Throttled('slow', status=503, code='SlowDown')] * 100)

    with pytest.raises(RetriesExhausted) as caught:
        throttled_for(policy, attempt, seconds=90)
    assert caught.value.attempts == attempt.calls == 10
    assert sum(slept) == 90


def test_throttled_without_wait(slept: list[float]) -> None:
    """With wait_none() a refusal is counted, because it would be repeated without an end; one with a Retry-After is not."""
    policy = RetryPolicy(sleep=slept.append, wait=tenacity.wait_none())
    attempt = Flaky(*[Throttled('slow', status=503, code='SlowDown', retry_after_s=0.0)] * 100)
    with pytest.raises(RetriesExhausted):
        throttled_for(policy, attempt, seconds=900)
    assert attempt.calls == 4

    # The governor pauses the bucket for so long.
    attempt = Flaky(*[Throttled('slow', status=503, code='SlowDown', retry_after_s=2.0)] * 10)
    assert throttled_for(policy, attempt, seconds=900) == ('done', 11)


def test_throttled_with_few_waits(slept: list[float]) -> None:
    """Of a policy whose first waits are 0 s, only the retries after these are counted."""
    policy = RetryPolicy(sleep=slept.append, wait=tenacity.wait_chain(*[tenacity.wait_none()] * 2, tenacity.wait_fixed(10)))
    attempt = Flaky(*[Throttled('slow', status=429)] * 20, *[NetworkError('reset')] * 9)

    with pytest.raises(RetriesExhausted):
        throttled_for(policy, attempt, seconds=900)
    assert attempt.calls == 20 + 2


@pytest.mark.parametrize('code', ['', '503', 'ServiceUnavailable'])
def test_unavailable(policy: RetryPolicy, code: str) -> None:
    """A 503 that may mean that the store is down is counted, unless it names the time of the next attempt."""
    attempt = Flaky(*[Throttled('down', status=503, code=code)] * 100)
    with pytest.raises(RetriesExhausted):
        throttled_for(policy, attempt, seconds=10_000)
    assert attempt.calls == 4

    attempt = Flaky(*[Throttled('down', status=503, code=code, retry_after_s=0.0)] * 10)
    assert throttled_for(policy, attempt, seconds=10_000) == ('done', 11)


@pytest.mark.parametrize(('retries', 'seconds', 'calls'), [(0, 900, 1), (3, 0, 4)])
def test_throttled_attempts_are_counted(
    policy: RetryPolicy, slept: list[float], retries: int, seconds: float, calls: int
) -> None:
    """Without retries there is none after a SlowDown, and no wait; with throttle_timeout_s=0 it counts as any other error."""
    attempt = Flaky(*[Throttled('slow', status=503, retry_after_s=1.0)] * 9)

    with pytest.raises(RetriesExhausted):
        throttled_for(policy, attempt, seconds=seconds, retries=retries)
    assert attempt.calls == calls
    assert len(slept) == calls - 1


@pytest.mark.parametrize('error', [gevent.GreenletExit(), gevent.Timeout(1), KeyboardInterrupt(), ZeroDivisionError()])
@pytest.mark.parametrize('before', [0, 1])
def test_never_swallowed(policy: RetryPolicy, error: BaseException, before: int) -> None:
    """A kill, a timeout, Ctrl-C or a bug is raised at once, in any attempt."""
    attempt = Flaky(*[NetworkError('reset') for _ in range(before)], error)

    with pytest.raises(type(error)):
        policy.run(attempt, doing='x')
    assert attempt.calls == before + 1


def test_expired_credentials_once(policy: RetryPolicy) -> None:
    """Expired credentials are retried once."""
    assert policy.run(Flaky(CredentialsExpired('old')), doing='x') == ('done', 2)

    attempt = Flaky(*[CredentialsExpired('old') for _ in range(9)])
    with pytest.raises(CredentialsExpired):
        policy.run(attempt, doing='x')
    assert attempt.calls == 2


def wait_of(wait: Callable[[tenacity.RetryCallState], float], attempt: int, error: Exception) -> float:
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    state.set_exception((type(error), error, None))
    return wait(state)


@pytest.mark.parametrize(
    ('attempt', 'error', 'highest'),
    [
        (1, NetworkError('x'), 0.25),
        (2, NetworkError('x'), 1.0),
        (3, NetworkError('x'), 4.0),
        (4, IntegrityError('x'), 16.0),
        (9, NetworkError('x'), 20.0),
        (1, Throttled('x'), 1.0),
        (3, Throttled('x'), 4.0),
        (12, Throttled('x'), 20.0),
    ],
)
def test_full_jitter(attempt: int, error: Exception, highest: float) -> None:
    """Waits are uniformly distributed between 0 and a limit that grows."""
    waits = [wait_of(default_wait(), attempt, error) for _ in range(500)]

    assert 0 <= min(waits) < highest * 0.1
    assert highest * 0.9 < max(waits) <= highest


@pytest.mark.parametrize(('told', 'lowest'), [(2.0, 2.0), (0.5, 0.5), (3600.0, 60.0)])
def test_retry_after(told: float, lowest: float) -> None:
    """Retry-After is respected, up to a limit, with jitter."""
    waits = [wait_of(default_wait(), 1, Throttled('x', retry_after_s=told)) for _ in range(200)]

    assert lowest <= min(waits)
    assert max(waits) <= lowest + 1
    assert len(set(waits)) > 100


def test_stop_of_the_callers(slept: list[float]) -> None:
    """A policy accepts tenacity's stop and wait."""
    policy = RetryPolicy(retries=9, stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_fixed(7), sleep=slept.append)

    with pytest.raises(RetriesExhausted):
        policy.run(Flaky(*[NetworkError('x') for _ in range(9)]), doing='x')
    assert slept == [7]


def test_default_sleep_lets_others_run() -> None:
    """Waits let other greenlets run, whatever is patched."""
    ran: list[int] = []
    gevent.spawn(ran.append, 1)

    RetryPolicy(wait=tenacity.wait_fixed(0.001)).run(Flaky(NetworkError('x')), doing='x')

    assert ran == [1]


def test_log_line(policy: RetryPolicy, caplog: pytest.LogCaptureFixture) -> None:
    """Each retry is logged as a warning with operation, attempt, wait and cause."""
    with caplog.at_level(logging.WARNING, 's3po.retry'):
        policy.run(Flaky(NetworkError('reset by peer')), doing='UploadPart 3 of s3://bucket/key')

    (record,) = caplog.records
    assert 'UploadPart 3 of s3://bucket/key: attempt 1 of 4 failed' in record.getMessage()
    assert 'reset by peer' in record.getMessage()


@pytest.mark.parametrize('retries', [-1, 1.5, None, True, '3'])
def test_bad_count(retries: object) -> None:
    """The message names the argument."""
    with pytest.raises(ConfigurationError, match='retries must be a whole number'):
        RetryPolicy(retries=retries)  # type: ignore[arg-type]


def test_one_policy_for_many_greenlets() -> None:
    """A policy has no state: many greenlets can use it at once."""
    policy = RetryPolicy(retries=2, wait=tenacity.wait_none(), sleep=lambda _: gevent.sleep(0))

    def run(number: int) -> object:
        try:
            return policy.run(Flaky(*[NetworkError(str(number)) for _ in range(9)]), doing='x')
        except RetriesExhausted as exhausted:
            return str(exhausted.__cause__)

    jobs = [gevent.spawn(run, number) for number in range(20)]
    gevent.joinall(jobs)

    assert [job.value for job in jobs] == [str(number) for number in range(20)]
