"""The governor: never more in flight than its width, which follows the widest demand."""

from __future__ import annotations

import gevent
import gevent.event

from s3po.governor import Governor


class Load:
    """Greenlets that each hold a slot until they are let go."""

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
    """No more than the width are let in."""
    load = Load(Governor(3), 10)

    assert load.inside == 3
    load.end()
    assert load.governor.width == 3


def test_demand_lets_more_in_at_once() -> None:
    """Who waits gets the new slots."""
    load = Load(Governor(2), 10)
    load.governor.demand(6)
    settle()

    assert load.inside == 6
    load.end()


def test_widest_demand_counts() -> None:
    """Demands are not added up, and none makes it narrower than at first."""
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
    """Slots that are out are not taken away, but do not come back."""
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
    """However often it changes, the count is right in the end."""
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
    """A width that was set is not widened."""
    governor = Governor(8, fixed=2)
    governor.demand(50)

    assert governor.width == 2
    load = Load(governor, 5)
    assert load.inside == 2
    load.end()


def test_failure_and_kill_give_the_slot_back() -> None:
    """Whatever ends an attempt."""
    governor = Governor(1)
    load = Load(governor, 2)
    gevent.killall(load.greenlets)

    assert repr(governor) == '<Governor width=1 free=1>'
