"""The outbox: what is put in goes out in this round, in order, once, and only to connections that are still there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from s3po.transport.http.connection import ConnectionLost
from s3po.transport.http.outbox import Outbox

went_out: list[tuple[str, bytes]] = []


class FakeConnection:
    """A connection with little room.

    Attributes:
        room_bytes: How much it takes before it is full.
        fails: Whether it is lost.
        broken_off: How often it was broken off.
    """

    def __init__(self, name: str, room_bytes: int = 1000) -> None:
        self.name = name
        self.room_bytes = room_bytes
        self.is_open = True
        self.has_unsent = False
        self.fails = False
        self.broken_off = 0
        self._when_writable: Callable[[], None] | None = None

    def send(self, data: Any) -> int:
        if self.fails:
            raise ConnectionLost('lost')
        taken = bytes(data[: self.room_bytes])
        self.room_bytes -= len(taken)
        if taken:
            went_out.append((self.name, taken))
        return len(taken)

    def call_when_writable(self, function: Callable[..., None], *arguments: Any) -> None:
        self._when_writable = lambda: function(*arguments)

    def make_room(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes
        call, self._when_writable = self._when_writable, None
        assert call is not None
        call()

    def break_off(self) -> None:
        self.broken_off += 1


@pytest.fixture
def outbox() -> Outbox:
    went_out.clear()
    return Outbox()


def put(outbox: Outbox, connection: FakeConnection, data: bytes) -> None:
    outbox.put(connection, data)  # type: ignore[arg-type]


def end_round() -> None:
    gevent.sleep(0)


def test_all_go_out_in_order(outbox: Outbox) -> None:
    """However many there are, and not before their users wait."""
    connections = [FakeConnection(str(number)) for number in range(20)]
    put(outbox, connections[0], b'0')
    assert went_out == []
    assert connections[0].has_unsent
    for connection in connections[1:]:
        put(outbox, connection, connection.name.encode())
    end_round()

    assert went_out == [(connection.name, connection.name.encode()) for connection in connections]
    assert not any(connection.has_unsent for connection in connections)
    assert repr(outbox) == '<Outbox waiting=0>'
    end_round()
    assert len(went_out) == 20


def test_next_round(outbox: Outbox) -> None:
    """What comes later goes out later."""
    connection = FakeConnection('a')
    for data in (b'1', b'2'):
        put(outbox, connection, data)
        end_round()

    assert went_out == [('a', b'1'), ('a', b'2')]


def test_closed_meanwhile(outbox: Outbox) -> None:
    """Nobody waits for the answer any more."""
    connections = [FakeConnection('a'), FakeConnection('b')]
    for connection in connections:
        put(outbox, connection, b'x')
    connections[0].is_open = False
    end_round()

    assert went_out == [('b', b'x')]


def test_lost(outbox: Outbox) -> None:
    """Its user is woken up, and the others are sent what is theirs."""
    connections = [FakeConnection('a'), FakeConnection('b')]
    connections[0].fails = True
    for connection in connections:
        put(outbox, connection, b'x')
    end_round()

    assert went_out == [('b', b'x')]
    assert [connection.broken_off for connection in connections] == [1, 0]
    assert connections[0].has_unsent


def test_no_room(outbox: Outbox) -> None:
    """The rest goes out as soon as there is room, and until then it is known that there is one."""
    connection = FakeConnection('a', 3)
    put(outbox, connection, b'123456789')
    end_round()
    assert connection.has_unsent
    connection.make_room(4)
    assert connection.has_unsent
    connection.make_room(4)

    assert went_out == [('a', b'123'), ('a', b'4567'), ('a', b'89')]
    assert not connection.has_unsent


def test_lost_with_a_rest(outbox: Outbox) -> None:
    """It is lost like any other."""
    connection = FakeConnection('a', 3)
    put(outbox, connection, b'123456789')
    end_round()
    connection.fails = True
    connection.make_room(4)

    assert connection.broken_off == 1


def test_forked(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has a copy of what its parent sends."""
    put(outbox, FakeConnection('a'), b'x')
    monkeypatch.setattr(os, 'getpid', lambda: 0)
    end_round()

    assert went_out == []
