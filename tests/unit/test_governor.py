"""The governor: never more requests in flight than its width, which follows the widest demand."""

from __future__ import annotations

import contextlib

import gevent
import gevent.event
import pytest

from s3po.errors import NetworkError, Throttled
from s3po.governor import AttemptOutcome, Governor, Slot


class Load:
    """Greenlets that each hold a slot until end() is called."""

    def __init__(self, governor: Governor, number: int) -> None:
        self.governor = governor
        self.inside = 0
        self.may_end = gevent.event.Event()
        self.greenlets = [gevent.spawn(self._run) for _ in range(number)]
        gevent.sleep(0.01)

    def _run(self) -> None:
        with self.governor.slot('bucket'):
            self.inside += 1
            self.may_end.wait()
            self.inside -= 1

    def end(self) -> None:
        self.may_end.set()
        gevent.joinall(self.greenlets)


def settle() -> None:
    gevent.sleep(0.01)


def test_width() -> None:
    """At most `width` slots are in use."""
    load = Load(Governor(3), 10)

    assert load.inside == 3
    load.end()
    assert load.governor.width == 3


def test_demand_lets_more_in_at_once() -> None:
    """A larger demand gives waiting greenlets slots at once."""
    load = Load(Governor(2), 10)
    load.governor.demand(6)
    settle()

    assert load.inside == 6
    load.end()


def test_widest_demand_counts() -> None:
    """The largest demand counts; demands are not added up, and do not reduce the initial width."""
    governor = Governor(4)
    governor.demand(10)
    governor.demand(20)
    governor.demand(2)
    assert governor.width == 20
    governor.release_demand(20)
    assert governor.width == 10
    governor.release_demand(10)
    governor.release_demand(2)
    assert governor.width == 4


def test_narrower_while_slots_are_out() -> None:
    """If the width shrinks, slots in use are kept and not reused."""
    governor = Governor(2)
    governor.demand(5)
    load = Load(governor, 5)
    governor.release_demand(5)
    assert load.inside == 5
    load.end()

    again = Load(governor, 5)
    assert again.inside == 2
    again.end()


def test_wider_and_narrower_again() -> None:
    """After many changes of the width the number of slots is right."""
    governor = Governor(1)
    load = Load(governor, 3)
    for _ in range(5):
        governor.demand(3)
        governor.release_demand(3)
    load.end()
    again = Load(governor, 5)

    assert again.inside == 1
    again.end()
    assert repr(governor) == '<Governor width=1 free=1>'


def test_fixed() -> None:
    """A fixed width does not change."""
    governor = Governor(8, fixed=2)
    governor.demand(50)

    assert governor.width == 2
    load = Load(governor, 5)
    assert load.inside == 2
    load.end()


def test_failure_and_kill_release_the_slot() -> None:
    """A slot is released however the attempt ends."""
    governor = Governor(1)
    load = Load(governor, 2)
    gevent.killall(load.greenlets)

    assert repr(governor) == '<Governor width=1 free=1>'


@pytest.mark.parametrize(
    ('error', 'outcome'),
    [
        (None, AttemptOutcome.SUCCEEDED),
        (NetworkError('reset'), AttemptOutcome.FAILED),
        (gevent.GreenletExit(), AttemptOutcome.FAILED),
        (Throttled('slow down', status=503), AttemptOutcome.THROTTLED),
    ],
    ids=['none', 'network', 'kill', 'throttled'],
)
@pytest.mark.parametrize('is_kept', [False, True])
def test_slot_knows_its_attempt(error: BaseException | None, outcome: AttemptOutcome, is_kept: bool) -> None:
    """A slot has its bucket, outcome and seconds; the governor counts throttled attempts."""
    governor = Governor(1)
    slot: Slot = governor.slot('bucket')
    with contextlib.suppress(NetworkError, Throttled, gevent.GreenletExit), slot as entered:
        assert entered is slot
        assert (slot.outcome, slot.seconds) == (None, 0.0)
        slot.is_kept = is_kept
        gevent.sleep(0.001)
        if error is not None and not is_kept:
            raise error
    if is_kept:
        assert repr(governor) == '<Governor width=1 free=0>'
        slot.end(error)

    assert (slot.bucket, slot.outcome) == ('bucket', outcome)
    assert slot.seconds > 0
    assert governor.throttled == (outcome is AttemptOutcome.THROTTLED)
    assert repr(governor).startswith('<Governor width=1 free=1')


def test_slot_that_is_ended_twice() -> None:
    """A slot that is ended in the block and again at its end is released once."""
    governor = Governor(1)
    with governor.slot('bucket') as slot:
        slot.is_kept = True
        slot.end()
    slot.end()

    assert repr(governor) == '<Governor width=1 free=1>'


def test_in_order_of_arrival() -> None:
    """A greenlet that comes back at once does not overtake those that wait."""
    governor, order = Governor(2), list[int]()

    def go(number: int) -> None:
        for _ in range(3):
            with governor.slot('bucket'):
                order.append(number)
                gevent.sleep(0)

    gevent.joinall([gevent.spawn(go, number) for number in range(6)])

    assert [sorted(order[start : start + 6]) for start in (0, 6, 12)] == [[0, 1, 2, 3, 4, 5]] * 3
    assert repr(governor) == '<Governor width=2 free=2>'


def test_kill_in_the_queue() -> None:
    """Greenlets that are killed while they wait for a slot hold up no others."""
    governor = Governor(1)
    load = Load(governor, 5)
    gevent.killall(load.greenlets[1:4])
    load.end()

    assert [greenlet.successful() for greenlet in load.greenlets] == [True] * 5
    assert (governor.free.counter, len(governor.queue)) == (1, 0)
