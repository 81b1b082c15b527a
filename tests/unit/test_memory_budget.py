"""The budget of memory: never more in use than its limit, waits in order, and always an end of every wait."""

from __future__ import annotations

import collections
import logging
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.event
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import s3po.memory
from s3po.memory import MemoryBudget, Room


def settle() -> None:
    for _ in range(10):
        gevent.sleep(0)


def pass_time() -> None:
    """Let timers of 0 s expire."""
    gevent.sleep(0.01)


class Users:
    """Greenlets that take memory in order, and give it back when they are told."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.inside: list[int] = []
        self.gates: dict[int, gevent.event.Event] = {}
        self.greenlets: list[gevent.Greenlet[..., None]] = []

    def add(self, *sizes: int) -> None:
        for size_bytes in sizes:
            self.gates[size_bytes] = gevent.event.Event()
            self.greenlets.append(gevent.spawn(self._run, size_bytes))
            settle()

    def _run(self, size_bytes: int) -> None:
        with Room(self.budget) as room:
            room.fit(size_bytes)
            self.inside.append(size_bytes)
            self.gates[size_bytes].wait()
            self.inside.remove(size_bytes)

    def end(self, *sizes: int) -> None:
        for size_bytes in sizes:
            self.gates[size_bytes].set()
            settle()


@pytest.fixture
def budget() -> Iterator[MemoryBudget]:
    """A budget of 100 bytes, of which none is in use at the end."""
    made = MemoryBudget(100)
    yield made
    assert (made.used_bytes, made.stuck_bytes, made.first, made.lent) == (0, 0, None, {})


@pytest.fixture
def users(budget: MemoryBudget) -> Iterator[Users]:
    made = Users(budget)
    yield made
    gevent.killall(made.greenlets)
    settle()


def test_limit(users: Users) -> None:
    """What fits is admitted at once; the rest waits until memory comes back."""
    users.add(60, 40, 30)

    assert users.inside == [60, 40]
    users.end(40)
    assert users.inside == [60, 30]


def test_order(users: Users) -> None:
    """A large room is not overtaken by small ones that would fit, and these follow it."""
    users.add(60, 70, 10, 20)

    assert users.inside == [60]
    users.end(60)
    assert users.inside == [70, 10, 20]


def test_no_overtaking_without_waiting(budget: MemoryBudget, users: Users) -> None:
    """try_fit() gets nothing while others wait."""
    users.add(60, 70)
    with Room(budget) as room:
        assert not room.try_fit(10)
        assert budget.is_scarce
        users.end(60, 70)
        assert room.try_fit(10)


def test_larger_than_the_budget(users: Users) -> None:
    """A body larger than the budget runs alone."""
    users.add(10, 500, 20)

    assert users.inside == [10]
    users.end(10)
    assert users.inside == [500]
    users.end(500)
    assert users.inside == [20]


def test_larger_than_the_budget_beside_an_open_file(budget: MemoryBudget, users: Users) -> None:
    """The memory of an open file never keeps others out for ever."""
    with Room(budget, is_callers=True) as file:
        file.fit(90)
        file.fit(150)
        users.add(500, 20)

        assert users.inside == [500]
        users.end(500)
        assert users.inside == [20]


def test_growth(budget: MemoryBudget, users: Users) -> None:
    """If all memory belongs to rooms that wait for more, the first one gets it."""
    started = [gevent.event.Event() for _ in range(4)]
    inside: list[int] = []

    def grow(number: int) -> None:
        with Room(budget) as room:
            room.fit(25)
            started[number].wait()
            room.fit(50)
            inside.append(number)

    greenlets = [gevent.spawn(grow, number) for number in range(4)]
    settle()
    for each in started[:3]:
        each.set()
    settle()
    assert inside == []

    started[3].set()
    gevent.joinall(greenlets, timeout=5)
    assert inside == [0, 1, 2, 3]


def test_growth_before_beginnings(budget: MemoryBudget, users: Users) -> None:
    """A room that holds memory and waits for more is admitted before those that hold nothing."""
    with Room(budget) as room:
        room.fit(20)
        users.add(80, 30)
        grows = gevent.spawn(room.fit, 70)
        settle()
        assert users.inside == [80]

        users.end(80)
        assert grows.ready()
        assert users.inside == [30]


def test_code_of_the_caller(budget: MemoryBudget) -> None:
    """A transfer inside the iterator of another one gets memory, although the outer one holds all of it."""
    with Room(budget) as outer:
        outer.lend()
        outer.fit(100)
        with Room(budget) as inner:
            inner.lend()
            inner.fit(30)
            with Room(budget) as innermost:
                innermost.fit(30)
                assert budget.used_bytes == 160


def test_code_of_the_caller_waits_for_other_greenlets(
    budget: MemoryBudget, users: Users, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If iterators hold all memory and nothing moves, transfers exceed the limit, one after the other, with a warning."""
    monkeypatch.setattr(s3po.memory, 'LONG_WAIT_S', 0.0)
    monkeypatch.setattr(s3po.memory, 'STALL_S', 0.0)
    with Room(budget) as outer:
        outer.lend()
        outer.fit(100)
        with caplog.at_level(logging.WARNING):
            users.add(30, 25)
            pass_time()

        assert users.inside == [30]
        assert 'max_memory' in caplog.text
        users.end(30)
        assert users.inside == [25]
        assert len(caplog.records) == 1
    assert budget.relief_bytes == 0


def test_a_transfer_that_receives_is_no_standstill(budget: MemoryBudget, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory of transfers without code of the caller comes back, so others wait for it, however long that takes."""
    monkeypatch.setattr(s3po.memory, 'LONG_WAIT_S', 0.0)
    monkeypatch.setattr(s3po.memory, 'STALL_S', 0.0)
    with Room(budget) as outer:
        outer.lend()
        outer.fit(50)
        users.add(49, 48)
        pass_time()
        assert users.inside == [49]


def test_long_wait(budget: MemoryBudget, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a long wait its function is called, and the place in the queue is kept."""
    monkeypatch.setattr(s3po.memory, 'LONG_WAIT_S', 0.0)
    users.add(90)
    called: list[str] = []
    with Room(budget) as room:
        waits = gevent.spawn(lambda: room.fit(50, lambda: called.append('long')))
        settle()
        users.add(80)
        pass_time()

        assert called == ['long']
        users.end(90)
        assert waits.get() is True
        assert (users.inside, room.size_bytes) == ([], 50)
    settle()
    assert users.inside == [80]


def test_resize(budget: MemoryBudget, users: Users) -> None:
    """A higher limit admits those that wait; a lower one takes nothing away."""
    users.add(60, 70, 80)
    budget.resize(140)
    settle()
    assert users.inside == [60, 70]

    budget.resize(50)
    assert budget.used_bytes == 130
    users.end(60, 70)
    assert users.inside == [80]


def test_forked_child(budget: MemoryBudget, users: Users) -> None:
    """In a forked child, memory that comes back does not let the copies of the parent's transfers go on."""
    users.add(60, 70)
    mark, budget.process_mark = budget.process_mark, object()
    users.end(60)
    assert users.inside == []

    budget.process_mark = mark
    budget.admit()
    settle()
    assert users.inside == [70]


@pytest.mark.parametrize('call', ['set', 'popleft'])
def test_interrupted_admission(budget: MemoryBudget, users: Users, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Ctrl-C interrupts an admission, the next one completes it, and nothing counts twice."""
    users.add(60, 70, 20)

    class Interrupted(collections.deque):  # type: ignore[type-arg]
        def popleft(self) -> object:
            budget.queue = collections.deque(self)
            raise KeyboardInterrupt

    if call == 'popleft':
        budget.queue = Interrupted(budget.queue)
    else:
        monkeypatch.setattr(budget.first, '_is_admitted', Interrupting(budget.first._is_admitted))  # type: ignore[union-attr]
    with pytest.raises(KeyboardInterrupt):
        budget.resize(140)
    settle()
    budget.resize(140)
    settle()

    assert users.inside == [60, 70]
    assert budget.used_bytes == 130


class Interrupting:
    """An event whose first set() is interrupted."""

    def __init__(self, event: Any) -> None:
        self.event = event
        self.is_interrupted = False

    def set(self) -> None:
        if not self.is_interrupted:
            self.is_interrupted = True
            raise KeyboardInterrupt
        self.event.set()

    def wait(self, timeout: float) -> bool:
        return bool(self.event.wait(timeout))


def test_open_file_in_another_thread(budget: MemoryBudget, users: Users) -> None:
    """A file may be closed in another native thread, or by the garbage collector: those who wait get the memory."""
    file = Room(budget, is_callers=True)
    file.fit(90)
    users.add(60, 50)
    assert users.inside == [60]

    gevent.get_hub().threadpool.apply(file.close)
    settle()
    assert users.inside == [60]
    users.end(60)
    assert users.inside == [50]
    file.close_later()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just('start'), st.integers(1, 150)),
        st.tuples(st.just('kill'), st.integers(0, 30)),
        st.tuples(st.just('end'), st.integers(0, 30)),
        st.tuples(st.just('resize'), st.integers(1, 200)),
    ),
    max_size=40,
)


@given(steps=STEPS)
@settings(deadline=None)
def test_kills(steps: list[tuple[str, int]]) -> None:
    """Whenever transfers are killed: the sum is right at each moment, and nothing is in use at the end."""
    budget = MemoryBudget(100)
    rooms: list[tuple[Room, gevent.event.Event, gevent.Greenlet[..., None]]] = []

    def transfer(room: Room, gate: gevent.event.Event, size_bytes: int) -> None:
        with room:
            room.lend()
            room.fit(size_bytes // 2)
            gevent.sleep(0)
            room.fit(size_bytes)
            gate.wait()

    for action, number in steps:
        if action == 'start':
            room, gate = Room(budget, is_callers=number % 7 == 0), gevent.event.Event()
            rooms.append((room, gate, gevent.spawn(transfer, room, gate, number)))
        elif action == 'resize':
            budget.resize(number)
        elif number < len(rooms):
            if action == 'kill':
                rooms[number][2].kill(block=False)
            else:
                rooms[number][1].set()
        if number % 2:
            settle()
        assert budget.used_bytes == sum(room.size_bytes for room, _, _ in rooms)
    for _, gate, _ in rooms:
        gate.set()
    gevent.joinall([greenlet for _, _, greenlet in rooms], timeout=10)

    assert all(greenlet.dead for _, _, greenlet in rooms)
    assert (budget.used_bytes, budget.stuck_bytes, budget.first, budget.lent) == (0, 0, None, {})
