"""The attempts of requests that a store refuses for a long time: when they are sent, and when they end, on a virtual clock."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
import tenacity

from s3po.errors import NetworkError, ReadTimeout, Throttled, TransferError
from s3po.governor import Governor
from s3po.governor.throttling import Throttle
from s3po.governor.tokens import RetryBudget
from s3po.retry import RetryPolicy
from s3po.transfer import Attempts
from tests.support.virtual import World

LATENCY_S = 0.1


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr('s3po.governor.slots.monotonic', made.clock)
    monkeypatch.setattr('s3po.governor.governor.Throttle', functools.partial(Throttle, clock=made.clock, sleep=made.sleep))
    monkeypatch.setattr(
        's3po.governor.governor.RetryBudget', functools.partial(RetryBudget, clock=made.clock, sleep=made.sleep)
    )
    return made


class Requests:
    """Requests to one governor. The functions that carry them out raise errors of the store.

    Attributes:
        sent: When each request was sent, by bucket.
        ended: When each call ended, by bucket.
        errors: The errors of the calls.
    """

    def __init__(self, world: World, governor: Governor) -> None:
        self._world = world
        self._governor = governor
        self.sent: dict[str, list[float]] = {}
        self.ended: dict[str, list[float]] = {}
        self.errors: list[Exception] = []
        self._greenlets: list[gevent.Greenlet[Any, Any]] = []

    def begin(self, bucket: str, answer: Callable[[], object], wait: Any = None, *, retries: int = 3) -> None:
        """Send a request, and repeat it as the default policy does, or with other waits."""
        policy = RetryPolicy(retries=retries, sleep=self._world.sleep, **({} if wait is None else {'wait': wait}))
        attempts = Attempts(None, self._governor, policy, bucket=bucket, key='key')  # type: ignore[arg-type]  # unused
        self._greenlets.append(gevent.spawn(self._run, attempts, answer))

    def close(self) -> None:
        gevent.killall(self._greenlets)

    def _run(self, attempts: Attempts, answer: Callable[[], object]) -> None:
        world = self._world

        def attempt() -> object:
            self.sent.setdefault(attempts.bucket, []).append(world.now)
            world.sleep(LATENCY_S)
            return answer()

        try:
            attempts.run('PutObject', attempt)
        except TransferError as error:
            self.errors.append(error)
        self.ended.setdefault(attempts.bucket, []).append(world.now)


@pytest.fixture
def governor(world: World) -> Governor:
    return Governor(1, throttle_timeout_s=900.0)


@pytest.fixture
def requests(world: World, governor: Governor) -> Iterator[Requests]:
    made = Requests(world, governor)
    yield made
    made.close()


def refused(retry_after_s: float | None = None) -> Callable[[], object]:
    """An answer of a store that refuses all requests."""

    def answer() -> object:
        raise Throttled('SlowDown', status=503, code='SlowDown', retry_after_s=retry_after_s)

    return answer


def failing(*errors: Exception) -> Callable[[], object]:
    """The answers of a store that fails some times."""
    left = list(errors)

    def answer() -> object:
        if left:
            raise left.pop(0)
        return None

    return answer


def test_refused_for_ever_without_waits(world: World, requests: Requests) -> None:
    """With wait_none(), a store that refuses everything gets four requests, instead of one after the other for 900 s."""
    requests.begin('bucket', refused(), tenacity.wait_none())
    world.run(100.0)

    assert len(requests.sent['bucket']) == 4
    [error] = requests.errors
    assert 'gave up after 4 attempts' in str(error)


def test_refused_for_ever(world: World, requests: Requests) -> None:
    """With the default waits, the call ends soon after 900 s, and sends a request every few seconds."""
    requests.begin('bucket', refused())
    world.run(1000.0)

    [ended] = requests.ended['bucket']
    # The last wait, of 20 s at most, begins before the end of that time; and each request takes a while.
    assert 900.0 <= ended - 1000.0 < 925.0
    assert 60 < len(requests.sent['bucket']) < 200


def test_long_retry_after(world: World, requests: Requests) -> None:
    """A Retry-After of a day is cut to 60 s: so often a request is sent, until 900 s are over."""
    requests.begin('bucket', refused(86_400.0))
    world.run(2000.0)

    sent = requests.sent['bucket']
    gaps = [later - earlier for earlier, later in itertools.pairwise(sent)]
    assert all(60.0 <= gap <= 61.2 for gap in gaps)
    assert len(sent) == 16
    assert len(requests.errors) == 1


@pytest.mark.parametrize('wait', [None, tenacity.wait_none()], ids=['default', 'none'])
def test_pause_and_another_bucket(world: World, requests: Requests, wait: Any) -> None:
    """With a single place for requests, a bucket that has to wait for a day does not hold up another one."""
    for _ in range(5):
        requests.begin('busy', refused(86_400.0), wait)
    world.run(1.0)
    for number in range(20):
        requests.begin('other', failing(*[NetworkError('reset')] * (number % 2)))
    world.run(10.0)

    assert len(requests.sent['busy']) <= 5
    assert len(requests.ended['other']) == 20
    assert len(requests.sent['other']) == 30


def test_no_retries(world: World, requests: Requests, governor: Governor) -> None:
    """Without retries, a refusal is the end, and pauses nothing, whatever its Retry-After."""
    for _ in range(3):
        requests.begin('bucket', refused(30.0), retries=0)
    world.run(1.0)

    assert len(requests.sent['bucket']) == len(requests.ended['bucket']) == 3
    assert max(requests.ended['bucket']) - 1000.0 < 0.5


def test_outage_of_ten_minutes(world: World, requests: Requests, governor: Governor) -> None:
    """While the budget of retries is empty, calls wait and then fail one after the other; after that it fills again."""
    governor.demand(50)
    for _ in range(200):
        requests.begin('bucket', failing(*[NetworkError('reset')] * 4))
    world.run(600.0)
    assert len(requests.ended['bucket']) == len(requests.errors) == 200
    # Half of the width at once, 10 % of it per second: 600 retries take about 115 s.
    assert 100.0 < max(requests.ended['bucket']) - 1000.0 < 150.0
    began = world.now
    for _ in range(20):
        requests.begin('bucket', failing(NetworkError('reset')))
    world.run(5.0)

    assert len(requests.ended['bucket']) == 220
    assert max(requests.ended['bucket']) - began < 2.0
    assert len(requests.errors) == 200


def test_time_outs_of_a_slow_client(world: World, governor: Governor) -> None:
    """If everything times out because the program is slow, the width falls to 1; then it rises to all that is wanted."""
    governor.demand(50)
    is_slow, workers = True, list[Any]()

    def work() -> None:
        while True:
            try:
                with governor.slot('bucket'):
                    world.sleep(60.0 if is_slow else LATENCY_S)
                    if is_slow:
                        raise ReadTimeout('late')
            except ReadTimeout:
                world.sleep(1.0)

    workers.extend(gevent.spawn(work) for _ in range(50))
    world.run(1800.0)
    assert governor.load().width == 1
    is_slow = False
    world.run(70.0)
    assert governor.load().width == 50

    gevent.killall(workers)
    assert governor.occupied == 0
    assert governor.throttled == 0
