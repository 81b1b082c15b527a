"""The watchdog, round by round: when it shuts a connection down, and when it does not."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from s3po.http import State
from s3po.http.watchdog import LONGEST_ROUND_S, SHORTEST_ROUND_S, Watchdog


class FakeConnection:
    """The part of a connection that the watchdog uses.

    Attributes:
        ends: The reasons with which it was shut down.
    """

    peer = 'fake'

    def __init__(self) -> None:
        self.state = State.WAITING
        self.waits_since = 0.0
        self.moved_bytes = 0
        self.is_about_to_wake = False
        self.ends: list[str] = []

    def has_arrived(self) -> bool:
        return self.is_about_to_wake

    def progress_bytes(self) -> int:
        return self.moved_bytes

    def shut_down(self, reason: str) -> None:
        self.ends.append(reason)
        self.state = State.CLOSED


@pytest.fixture
def connection() -> Any:
    return FakeConnection()


@pytest.fixture
def watchdog(connection: Any) -> Iterator[Watchdog]:
    """A watchdog with rounds of 1 s, a read timeout of 10 s, and a minimum of 100 bytes/s over 20 s."""
    watchdog = Watchdog(10.0, 100.0, speed_window_s=20.0)
    watchdog.watch(connection)
    yield watchdog
    watchdog.close()


def go_on(watchdog: Watchdog, rounds: int) -> None:
    # Nothing else runs meanwhile, since the timer needs the event loop.
    for _ in range(rounds):
        watchdog._look()


@pytest.mark.parametrize(
    ('read_timeout_s', 'speed', 'window_s', 'round_s'),
    [
        (10.0, 0, 1.0, 1.0),
        (60.0, 0, 1.0, LONGEST_ROUND_S),
        (float('inf'), 0, 1.0, LONGEST_ROUND_S),
        (0.01, 0, 1.0, SHORTEST_ROUND_S),
        (10.0, 1, 5.0, 0.5),
    ],
)
def test_rounds(read_timeout_s: float, speed: float, window_s: float, round_s: float) -> None:
    """The length of a round is a tenth of the shortest limit, within bounds."""
    assert repr(Watchdog(read_timeout_s, speed, speed_window_s=window_s)) == f'<Watchdog watched=0 round_s={round_s}>'


def test_one_long_wait(watchdog: Watchdog, connection: Any) -> None:
    """A wait ends after the read timeout."""
    connection.waits_since = 5.0
    go_on(watchdog, 10)
    assert connection.ends == []
    go_on(watchdog, 1)

    assert connection.ends == ['fake sent and took nothing for 10 s']


def test_several_waits(watchdog: Watchdog, connection: Any) -> None:
    """Each wait has its own timeout."""
    for number in range(1, 9):
        connection.waits_since = float(number)
        go_on(watchdog, 10)

    assert connection.ends == []


def test_idle_connection(watchdog: Watchdog, connection: Any) -> None:
    """An idle connection has no limits."""
    go_on(watchdog, 100)

    assert connection.ends == []


def test_wait_that_is_about_to_end(watchdog: Watchdog, connection: Any) -> None:
    """Data that arrived while this process was busy counts as in time."""
    connection.waits_since, connection.is_about_to_wake = 5.0, True
    go_on(watchdog, 15)
    assert connection.ends == []
    connection.is_about_to_wake = False
    go_on(watchdog, 1)

    assert len(connection.ends) == 1


def test_wait_with_progress(watchdog: Watchdog, connection: Any) -> None:
    """Bytes that the peer acknowledges count as progress, although there is no room in the buffer."""
    connection.waits_since, connection.state = 5.0, State.IN_BODY
    for _ in range(30):
        connection.moved_bytes += 1000
        go_on(watchdog, 1)
    assert connection.ends == []
    go_on(watchdog, 10)

    assert len(connection.ends) == 1


def test_waits_within_a_head(watchdog: Watchdog, connection: Any) -> None:
    """Several waits for one head share one timeout, and the message mentions the head."""
    connection.state, connection.waits_since = State.IN_HEAD, 1.0
    go_on(watchdog, 10)
    assert connection.ends == []
    go_on(watchdog, 1)

    assert connection.ends == ['fake has sent no more than a part of a head for 10 s']


def in_body(watchdog: Watchdog, connection: Any, rounds: int, bytes_per_round: int) -> None:
    connection.state = State.IN_BODY
    for _ in range(rounds):
        connection.moved_bytes += bytes_per_round
        connection.waits_since += 0.1
        go_on(watchdog, 1)


def test_low_speed(watchdog: Watchdog, connection: Any) -> None:
    """A body below the minimum speed over a whole window is given up."""
    in_body(watchdog, connection, 19, 99)
    assert connection.ends == []
    in_body(watchdog, connection, 1, 99)

    assert connection.ends == ['fake moved 1,980 bytes in 20 s of waiting, less than min_bytes_per_s=100']


def test_just_fast_enough(watchdog: Watchdog, connection: Any) -> None:
    """The minimum speed itself is enough, and each window counts by itself."""
    in_body(watchdog, connection, 200, 100)
    assert connection.ends == []
    in_body(watchdog, connection, 20, 99)

    assert len(connection.ends) == 1


def test_speed_outside_of_bodies(watchdog: Watchdog, connection: Any) -> None:
    """Time between bodies does not count, and bytes before it do not either."""
    for _ in range(5):
        in_body(watchdog, connection, 19, 0)
        connection.state = State.WAITING
        connection.waits_since += 0.1
        go_on(watchdog, 1)

    assert connection.ends == []


def test_speed_counts_only_waits(watchdog: Watchdog, connection: Any) -> None:
    """Only rounds in which a call waits count."""
    for _ in range(10):
        in_body(watchdog, connection, 10, 100)
        connection.waits_since, waits_since = 0.0, connection.waits_since
        go_on(watchdog, 100)
        connection.waits_since = waits_since

    assert connection.ends == []


def test_no_speed(connection: Any) -> None:
    """A minimum speed of 0 disables the limit."""
    watchdog = Watchdog(10.0, 0.0)
    watchdog.watch(connection)
    in_body(watchdog, connection, 1000, 0)
    watchdog.close()

    assert connection.ends == []


def test_rest() -> None:
    """Without connections the timer stops; the watchdog does not keep connections alive."""
    rounds = []
    watchdog = Watchdog(10.0, 0.0, on_round=lambda: rounds.append(1))
    kept, dropped = FakeConnection(), FakeConnection()
    for connection in (kept, dropped):
        watchdog.watch(connection)  # type: ignore[arg-type]
    del connection, dropped
    gc.collect()
    go_on(watchdog, 1)
    assert repr(watchdog) == '<Watchdog watched=1 round_s=1.0>'
    assert watchdog._timer is not None
    kept.state = State.CLOSED
    go_on(watchdog, 1)

    assert repr(watchdog) == '<Watchdog watched=0 round_s=1.0>'
    assert watchdog._timer is None
    assert rounds == [1, 1]


def test_without_open_connections_the_timer_can_be_stopped(watchdog: Watchdog, connection: Any) -> None:
    """A timer keeps the watchdog alive, and that of a native thread that has ended never fires."""
    watchdog.rest_if_unused()
    assert watchdog._timer is not None

    connection.state = State.CLOSED
    watchdog.rest_if_unused()

    assert watchdog._timer is None
