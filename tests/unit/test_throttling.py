"""The width of a bucket whose store refuses requests: it follows the store's limit, in simulations with a virtual clock."""

from __future__ import annotations

import contextlib
import functools
import random
from collections import Counter
from collections.abc import Iterator

import gevent
import pytest

from s3po.errors import ConnectTimeout, NetworkError, ReadTimeout, Throttled
from s3po.governor import Governor, throttling
from s3po.governor.throttling import Throttle
from s3po.governor.tokens import Pace, RetryBudget, Tokens
from tests.support.virtual import World

PLACES = 20
LATENCY_S = 0.1


class Store:
    """A store that allows some number of requests in flight, and refuses all others."""

    def __init__(self, world: World, places: int = PLACES) -> None:
        self.world = world
        self.places = places
        self.in_flight = 0
        self.counts: Counter[str] = Counter()
        self.peak = 0
        self.random = random.Random(1)

    def request(self) -> None:
        if self.in_flight >= self.places:
            self.world.sleep(LATENCY_S / 10)
            self.counts['refused'] += 1
            raise Throttled('SlowDown', status=503)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        self.world.sleep(LATENCY_S * self.random.uniform(0.5, 1.5))
        self.in_flight -= 1
        self.counts['done'] += 1


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr('s3po.governor.slots.monotonic', made.clock)
    monkeypatch.setattr('s3po.governor.governor.Throttle', functools.partial(Throttle, clock=made.clock, sleep=made.sleep))
    return made


@pytest.fixture
def load(world: World) -> Iterator[list[gevent.Greenlet[[], None]]]:
    workers: list[gevent.Greenlet[[], None]] = []
    yield workers
    gevent.killall(workers)


def work(governor: Governor, store: Store) -> None:
    """The requests of one worker, with the waits of the default policy after refusals."""
    while True:
        try:
            with governor.slot('bucket'):
                store.request()
        except Throttled:
            store.world.sleep(store.random.uniform(0, 1))


def begin(load: list[gevent.Greenlet[[], None]], governor: Governor, store: Store, workers: int = 50) -> None:
    load.extend(gevent.spawn(work, governor, store) for _ in range(workers))


def settled(world: World, store: Store, seconds: float = 60.0) -> tuple[float, float]:
    """The throughput as a share of the best possible one, and the share of refused requests; after the first 5 s."""
    world.run(5.0)
    store.counts.clear()
    world.run(seconds)
    done, refused = store.counts['done'], store.counts['refused']
    return done * LATENCY_S / seconds / store.places, refused / (done + refused)


def test_fifty_workers_at_twenty_places(world: World, load: list[gevent.Greenlet[[], None]]) -> None:
    """The throughput is within 20 % of the best, and under 5 % of the requests are refused."""
    governor, store = Governor(50), Store(world)
    begin(load, governor, store)
    throughput, refused = settled(world, store)

    assert throughput > 0.8
    assert refused < 0.05
    assert governor.throttled > 0
    assert 10 <= governor.load().width <= 21


def test_halving_is_worse(world: World, load: list[gevent.Greenlet[[], None]], monkeypatch: pytest.MonkeyPatch) -> None:
    """With one half instead of 0.7 the throughput is lower."""
    shares = []
    for decrease in (0.7, 0.5):
        monkeypatch.setattr(throttling, 'DECREASE', decrease)
        store = Store(world)
        begin(load, Governor(50), store)
        shares.append(settled(world, store)[0])
        gevent.killall(load)

    assert shares[0] > shares[1] + 0.03


@pytest.mark.parametrize(('workers', 'places'), [(200, 100), (50, 1), (50, 3), (500, 20)])
def test_other_widths(world: World, load: list[gevent.Greenlet[[], None]], workers: int, places: int) -> None:
    """Wide and narrow stores are used as well."""
    store = Store(world, places)
    begin(load, Governor(workers), store, workers)
    throughput, refused = settled(world, store)

    assert throughput > (0.8 if places >= 20 else 0.6)
    assert refused < (0.05 if places >= 20 else 0.4)


def test_store_that_becomes_faster(world: World, load: list[gevent.Greenlet[[], None]]) -> None:
    """When the store allows more again, the width rises to what the batch wants; a minute later nothing is limited."""
    governor, store = Governor(50), Store(world, 5)
    begin(load, governor, store)
    world.run(20.0)
    assert governor.load().width < 10
    store.places = 1000
    world.run(10.0)
    assert governor.load().width == 50
    assert store.in_flight == 50
    world.run(70.0)

    assert governor.throttles == {}
    assert type(governor.slot('bucket')).__name__ == 'Slot'
    world.run(1.0)
    assert store.in_flight == 50


def test_another_bucket_is_not_limited(world: World) -> None:
    """The refusals of one bucket do not narrow the others."""
    governor = Governor(10)
    with pytest.raises(Throttled), governor.slot('one'):
        raise Throttled('SlowDown', status=503)
    slots = [governor.slot(name) for name in ['one'] + ['two'] * 9]
    for slot in slots:
        slot.__enter__()

    assert governor.free.counter == 0
    assert repr(governor) == '<Governor width=10 free=0 throttled=1 one=1>'
    for slot in slots:
        slot.__exit__(None, None, None)
    assert governor.free.counter == 10


def test_bucket_that_is_not_used_any_more(world: World) -> None:
    """A minute after its last refusal, an idle bucket is not shown, and its next request finds no limit."""
    governor = Governor(10)
    for bucket in ('one', 'two'):
        with pytest.raises(Throttled), governor.slot(bucket):
            raise Throttled('SlowDown', status=503)
    world.now += 59.0
    assert (governor.load().width, len(governor.throttles)) == (1, 2)
    world.now += 2.0
    assert governor.load().width == 10
    assert repr(governor) == '<Governor width=10 free=10 throttled=2>'
    for bucket in ('one', 'two'):
        with governor.slot(bucket):
            assert bucket not in governor.throttles
    assert type(governor.slot('one')).__name__ == 'Slot'


def test_other_buckets_after_a_refusal(world: World) -> None:
    """A bucket that was refused, and is not used any more, does not make the requests to others cost more for ever."""
    governor = Governor(10)
    for bucket in ('one', 'two'):
        with pytest.raises(Throttled), governor.slot(bucket):
            raise Throttled('SlowDown', status=503)
    for seconds in (30.0, 31.0, 30.0):
        world.now += seconds
        with governor.slot('two' if seconds == 31.0 else 'other'):
            pass

    assert governor.throttles == {}
    assert type(governor.slot('other')).__name__ == 'Slot'


def test_once_per_round_trip(world: World) -> None:
    """Of the requests that were in flight together, only the first refusal decreases the width."""
    governor = Governor(20)
    slots = [governor.slot('bucket').__enter__() for _ in range(20)]
    world.now += LATENCY_S
    for slot in slots:
        slot.__exit__(None, Throttled('SlowDown', status=503), None)

    assert governor.throttled == 20
    assert governor.load().width == 14
    world.now += LATENCY_S
    later = governor.slot('bucket').__enter__()
    world.now += LATENCY_S
    later.__exit__(None, Throttled('SlowDown', status=503), None)
    # Of the one request in flight, not of the 14 places.
    assert governor.load().width == 1


@pytest.mark.parametrize('error', [ReadTimeout('late'), ConnectTimeout('late')], ids=['read', 'connect'])
def test_time_outs_decrease(world: World, error: Exception) -> None:
    """A time-out counts as a refusal, but not as throttling; other errors say nothing about the load."""
    governor = Governor(10)
    slots = [governor.slot('bucket').__enter__() for _ in range(10)]
    slots[0].__exit__(None, NetworkError('reset'), None)
    assert governor.throttles == {}
    slots[1].__exit__(None, error, None)

    assert governor.load().width == 6
    assert governor.throttled == 0


def test_pause(world: World, load: list[gevent.Greenlet[[], None]]) -> None:
    """During a pause no request to the bucket begins, and those to others do."""
    governor, store, other = Governor(10), Store(world), Store(world)
    governor.pause('bucket', 7.0)
    begin(load, governor, store, 5)

    def elsewhere() -> None:
        with governor.slot('other'):
            other.request()

    load.append(gevent.spawn(elsewhere))
    world.run(6.9)
    assert (store.counts['done'], store.in_flight, other.counts['done']) == (0, 0, 1)
    world.run(5.0)
    assert store.counts['done'] > 0


def test_urgent_requests_during_a_pause(world: World, load: list[gevent.Greenlet[[], None]]) -> None:
    """An urgent request is sent during a pause, also if others wait for its end; a later one of the same greenlet is not."""
    governor, store = Governor(1), Store(world)
    governor.pause('bucket', 7.0)
    begin(load, governor, store, 5)
    done: list[float] = []

    def abort() -> None:
        for place in (governor.hurried(), contextlib.nullcontext()):
            with place, governor.slot('bucket'):
                done.append(world.now)

    load.append(gevent.spawn(abort))
    world.run(1.0)
    assert (len(done), store.counts['done']) == (1, 0)
    world.run(20.0)

    assert len(done) == 2
    assert governor.urgent == set()


def test_kill_during_a_pause(world: World) -> None:
    """A greenlet that is killed while it waits releases its place."""
    governor = Governor(1)
    governor.pause('bucket', 7.0)
    waiting = gevent.spawn(lambda: governor.slot('bucket').__enter__())
    world.run(1.0)
    waiting.kill()

    assert governor.throttles['bucket'].places.occupied == 0
    assert governor.occupied == 0


def test_loan_of_a_limited_slot(world: World) -> None:
    """A slot of a limited bucket is lent with its place there."""
    governor = Governor(4)
    governor.pause('bucket', 0.0)
    places = governor.throttles['bucket'].places
    with governor.slot('bucket'):
        with governor.lent('bucket'):
            assert (places.occupied, governor.occupied) == (0, 0)
        assert (places.occupied, governor.occupied) == (1, 1)

    assert (places.occupied, governor.occupied) == (0, 0)
    with pytest.raises(OSError), governor.slot('bucket'), governor.lent('bucket'):
        raise OSError
    assert (places.occupied, governor.occupied) == (0, 0)


def test_requests_per_second(world: World, load: list[gevent.Greenlet[[], None]]) -> None:
    """The rate of requests holds, and a share of it too."""
    governor, store = Governor(50, requests=Tokens(100.0, clock=world.clock)), Store(world, 1000)
    assert governor.requests is not None
    governor.requests = Pace(governor.requests.tokens, sleep=world.sleep)
    begin(load, governor, store)
    world.run(1.0)
    for share in (1.0, 0.25):
        governor.share(share)
        before = store.counts['done']
        world.run(10.0)
        assert (store.counts['done'] - before) / 10.0 == pytest.approx(100.0 * share, rel=0.05)


def test_share_of_the_width() -> None:
    """A share of a fixed width is at least one; without a fixed width, demands count as before."""
    fixed, free = Governor(8, fixed=10), Governor(8)
    widths = []
    for share in (0.5, 0.01, 1.0):
        fixed.share(share)
        free.share(share)
        widths.append((fixed.width, free.width))

    assert widths == [(5, 8), (1, 8), (10, 8)]


def test_budget_is_empty_during_an_outage(world: World, load: list[gevent.Greenlet[[], None]]) -> None:
    """If all retries fail, they are sent at a low rate; when they succeed again, none has to wait for long."""
    budget, retries, is_out = RetryBudget(50, clock=world.clock, sleep=world.sleep), Counter[bool](), True

    def retry() -> None:
        while True:
            budget.take(is_first=True)
            world.sleep(LATENCY_S)
            retries[is_out] += 1
            if not is_out:
                budget.earn()

    load.extend(gevent.spawn(retry) for _ in range(50))
    world.run(10.0)
    # Half of the width at once, and 10 % of it per second.
    assert 70 <= retries[True] <= 76
    is_out = False
    world.run(2.0)
    assert retries[False] > 300


def test_first_retries_come_first(world: World, load: list[gevent.Greenlet[[], None]]) -> None:
    """Second and later retries wait until half of the budget is there, and do not hold up the first ones of others."""
    budget, order = RetryBudget(50, clock=world.clock, sleep=world.sleep), list[bool]()

    def retry(is_first: bool) -> None:
        budget.take(is_first=is_first)
        order.append(is_first)

    load.extend(gevent.spawn(retry, is_first) for is_first in [False] * 20 + [True] * 25)
    world.run(1.0)
    assert order == [False] * 13 + [True] * 17
    world.run(20.0)
    assert order == [False] * 13 + [True] * 25 + [False] * 7


def test_budget_of_rare_failures(world: World) -> None:
    """If most retries succeed, none waits, however many there are."""
    budget = RetryBudget(50, clock=world.clock, sleep=world.sleep)
    for number in range(10_000):
        budget.take(is_first=bool(number % 2))
        if number % 3:
            budget.earn()

    assert world.now == 1000.0


def test_budget_follows_the_width() -> None:
    """A batch that opens later has the budget of its width at once."""
    governor = Governor(8)
    assert repr(governor.budget).startswith('<RetryBudget left=20.0')
    governor.demand(100)
    assert repr(governor.budget).startswith('<RetryBudget left=50.0 per_s=10')
    governor.release_demand(100)
    assert repr(governor.budget).startswith('<RetryBudget left=20.0')


def test_kill_in_the_queue_for_tokens(world: World) -> None:
    """Greenlets that are killed while they wait, the first one or another, take no token and do not hold up the others."""
    pace, gone = Pace(Tokens(1.0, 1.0, clock=world.clock), least=1.0, sleep=world.sleep), list[int]()

    def go(number: int) -> None:
        pace.take(1.0)
        gone.append(number)

    waiting = [gevent.spawn(go, number) for number in range(6)]
    world.run(0.5)
    assert gone == [0]
    gevent.killall([waiting[1], waiting[3]])
    world.run(3.0)

    assert gone == [0, 2, 4, 5]


def test_places_in_turn(world: World, load: list[gevent.Greenlet[[], None]]) -> None:
    """All workers of a narrow bucket get their places in turn."""
    governor, done = Governor(50), Counter[int]()
    governor.pause('bucket', 0.0)

    def go(number: int) -> None:
        while True:
            with governor.slot('bucket'):
                world.sleep(LATENCY_S)
                done[number] += 1

    load.extend(gevent.spawn(go, number) for number in range(20))
    world.run(30.0)

    assert len(done) == 20
    assert max(done.values()) - min(done.values()) <= 2
