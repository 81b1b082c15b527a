"""A connection with a limit of bytes per second: it waits before it moves more, and never longer than needed."""

from __future__ import annotations

import pytest

from s3po.governor import Pace, Tokens
from s3po.http.pacing import PIECE_BYTES, PacedConnection
from tests.support.fake_stream import FakeStream

START = 1000.0


class Clock:
    """A clock that sleeping advances."""

    def __init__(self) -> None:
        self.now = START
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        # What the watchdog sees during the wait.
        self.waits.append(self.connection.waits_since)

    connection: PacedConnection


@pytest.fixture
def clock() -> Clock:
    return Clock()


def paced(clock: Clock, stream: FakeStream, *, per_s: float, most: float = 0.0) -> PacedConnection:
    pace = Pace(Tokens(per_s, most, clock=lambda: clock.now), sleep=clock.sleep)
    clock.connection = PacedConnection(stream, 'fake', pace)
    return clock.connection


def test_sending(clock: Clock) -> None:
    """Bytes are sent in pieces, each after the last one was paid for; the watchdog sees no wait for the network."""
    stream = FakeStream()
    connection = paced(clock, stream, per_s=PIECE_BYTES)
    data = memoryview(bytes(4 * PIECE_BYTES))
    while data:
        data = data[connection.send(data) :]

    assert len(stream.sent) == 4 * PIECE_BYTES
    assert clock.now == pytest.approx(START + 3.0)
    assert set(clock.waits) == {0.0}


def test_full_socket_costs_nothing(clock: Clock) -> None:
    """Bytes that the socket did not accept are not charged."""
    connection = paced(clock, FakeStream(room_bytes=10), per_s=10.0)

    assert connection.send(bytes(1000)) == 10
    assert connection.send(bytes(990)) == 0
    assert connection.send(bytes(990)) == 0
    assert clock.now == pytest.approx(START + 1.0)


def test_receiving(clock: Clock) -> None:
    """Heads are charged and not held up; bodies wait."""
    connection = paced(clock, FakeStream(b'head' * 25, b'b' * 200, b'c' * 100), per_s=100.0)
    connection.begin()
    assert connection.receive() == b'head' * 25
    assert clock.now == START
    buffer = memoryview(bytearray(1000))
    assert connection.receive_into(buffer) == 200
    assert clock.now == pytest.approx(START + 1.0)
    assert connection.receive_body(1000) == b'c' * 100

    assert clock.now == pytest.approx(START + 3.0)


def test_small_requests(clock: Clock) -> None:
    """A request for the outbox, which may not wait, waits before it is handed over."""
    connection = paced(clock, FakeStream(), per_s=100.0)
    for _ in range(3):
        connection.begin(bytes(50))

    assert clock.now == pytest.approx(START + 1.0)


def test_bursts_are_short(clock: Clock) -> None:
    """After an idle hour, no more than the burst is sent at once."""
    tokens = Tokens(1000.0, clock=lambda: clock.now)
    clock.now += 3600.0

    assert tokens.left() == 100.0
