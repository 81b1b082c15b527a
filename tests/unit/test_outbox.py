"""The outbox: what several greenlets put in goes out in one round, to whoever still wants it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from s3po.errors import NetworkError
from s3po.http import outbox as room
from s3po.http.outbox import Outbox


class Wire:
    """Stands for a connection.

    Attributes:
        sent: What was sent, and in which round.
        room: How many bytes each send takes; None for all.
    """

    def __init__(self, takes: int | None = None, error: Exception | None = None) -> None:
        self.sent: list[bytes] = []
        self.is_open = True
        self.is_broken = False
        self.is_late = False
        self.requests = 2
        self.takes = takes
        self.error = error

    def send(self, data: Any) -> int:
        """Takes what there is room for."""
        if self.error is not None:
            raise self.error
        taken = bytes(data[: self.takes])
        self.sent.append(taken)
        return len(taken)

    def is_stale(self) -> bool:
        """Whether there are bytes that belong to no request."""
        return self.is_late

    def call_when_writable(self, function: Callable[..., object], *arguments: object) -> None:
        """There is room again when others have run."""
        gevent.spawn(function, *arguments)

    def break_off(self) -> None:
        """It failed."""
        self.is_broken = True


@pytest.fixture
def outbox() -> Outbox:
    """An outbox of a process that is busy."""
    found = Outbox()
    found._idle_share = 0.0
    found._sent_at = found._began_at = room.monotonic()
    return found


def test_round(outbox: Outbox) -> None:
    """Nothing is sent before all that can run have run; then everything, in order, each in one piece."""
    order: list[int] = []
    wires = [Wire() for _ in range(10)]

    def work(number: int) -> None:
        outbox.put(wires[number], b'request')  # type: ignore[arg-type]
        order.append(sum(len(wire.sent) for wire in wires))

    gevent.joinall([gevent.spawn(work, number) for number in range(10)])
    gevent.sleep(0)

    assert order == [0] * 10
    assert [wire.sent for wire in wires] == [[b'request']] * 10


def test_idle() -> None:
    """A process that mostly waits for the network sends a few at a time."""
    outbox = Outbox()
    wires = [Wire() for _ in range(room.FEW + 1)]
    for wire in wires:
        outbox.put(wire, b'request')  # type: ignore[arg-type]

    assert [len(wire.sent) for wire in wires] == [1] * room.FEW + [0]
    gevent.sleep(0)
    assert wires[-1].sent == [b'request']


def test_closed_meanwhile(outbox: Outbox) -> None:
    """Whoever was killed in between closed the connection, and nothing is sent on it."""
    wire = Wire()
    outbox.put(wire, b'request')  # type: ignore[arg-type]
    wire.is_open = False
    gevent.sleep(0)

    assert wire.sent == []


def test_no_room(outbox: Outbox) -> None:
    """What there was no room for follows, and others do not wait for it."""
    slow, fast = Wire(takes=3), Wire()
    for wire in (slow, fast):
        outbox.put(wire, b'request')  # type: ignore[arg-type]
    gevent.sleep(0)

    assert fast.sent == [b'request']
    for _ in range(5):
        gevent.sleep(0)
    assert slow.sent == [b'req', b'ues', b't']


def test_failure(outbox: Outbox) -> None:
    """A connection that fails is shut down, so that its user wakes up; the others are served."""
    failing, fine = Wire(error=NetworkError('gone')), Wire()
    for wire in (failing, fine):
        outbox.put(wire, b'request')  # type: ignore[arg-type]
    gevent.sleep(0)

    assert failing.is_broken
    assert fine.sent == [b'request']


def test_fork(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child does not send what its parent is about to."""
    wire = Wire()
    outbox.put(wire, b'request')  # type: ignore[arg-type]
    monkeypatch.setattr(os, 'getpid', lambda: -1)
    gevent.sleep(0)

    assert wire.sent == []


def test_late_bytes(outbox: Outbox) -> None:
    """Nothing is sent where something has come that would be taken for the answer; a first request has nothing before it."""
    late, first = Wire(), Wire()
    late.is_late = first.is_late = True
    first.requests = 1

    outbox.put(late, b'request')  # type: ignore[arg-type]
    outbox.put(first, b'request')  # type: ignore[arg-type]
    gevent.sleep(0.01)

    assert (late.sent, late.is_broken) == ([], True)
    assert (first.sent, first.is_broken) == ([b'request'], False)
