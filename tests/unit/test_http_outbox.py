"""The outbox: the requests of several greenlets are sent in one round of the event loop."""

from __future__ import annotations

import os

import gevent
import pytest

from s3po.http import Connection, ConnectionLost, State
from s3po.http import outbox as room
from s3po.http.outbox import Outbox
from tests.support.fake_stream import FakeStream


class Wire:
    """A connection over a stream in memory, used before and about to send.

    Attributes:
        connection: The connection.
        stream: Its stream.
    """

    def __init__(self, *pieces: bytes, room_bytes: int | None = None, requests: int = 2) -> None:
        self.stream = FakeStream(*pieces, room_bytes=room_bytes)
        self.connection = Connection(self.stream, 'fake')
        self.connection.requests = requests - 1

    @property
    def sent(self) -> bytes:
        return bytes(self.stream.sent)


def put(outbox: Outbox, *wires: Wire) -> None:
    for wire in wires:
        wire.connection.begin(b'request')
        outbox.put(wire.connection)


@pytest.fixture
def outbox() -> Outbox:
    """An outbox of a process that is busy."""
    found = Outbox()
    found._idle_share = 0.0
    found._sent_at = found._began_at = room.monotonic()
    return found


def test_round(outbox: Outbox) -> None:
    """Nothing is sent before all greenlets that can run have run; then everything is, in order, each request in one piece."""
    order: list[int] = []
    wires = [Wire() for _ in range(10)]

    def work(number: int) -> None:
        put(outbox, wires[number])
        order.append(sum(len(wire.sent) for wire in wires))

    gevent.joinall([gevent.spawn(work, number) for number in range(10)])
    gevent.sleep(0)

    assert order == [0] * 10
    assert [wire.sent for wire in wires] == [b'request'] * 10
    assert {wire.connection.state for wire in wires} == {State.WAITING}


def test_idle() -> None:
    """A process that mostly waits for the network sends a few requests at a time."""
    outbox = Outbox()
    wires = [Wire() for _ in range(room.FEW + 1)]
    put(outbox, *wires)

    assert [wire.sent for wire in wires] == [b'request'] * room.FEW + [b'']
    gevent.sleep(0)
    assert wires[-1].sent == b'request'


def test_closed_meanwhile(outbox: Outbox) -> None:
    """Nothing is sent on a connection that was closed since, because its user was killed."""
    wire = Wire()
    put(outbox, wire)
    wire.connection.close()
    gevent.sleep(0)

    assert wire.sent == b''


def test_no_room(outbox: Outbox) -> None:
    """What there was no room for follows, and other requests do not wait for it."""
    slow, fast = Wire(room_bytes=3), Wire()
    put(outbox, slow, fast)
    gevent.sleep(0)

    assert (fast.sent, fast.connection.state) == (b'request', State.WAITING)
    assert (slow.sent, slow.connection.state) == (b'req', State.SENDING)
    assert [slow.stream.take(3) for _ in range(3)] == [b'req', b'ues', b't']
    assert slow.connection.state is State.WAITING


def test_failure(outbox: Outbox) -> None:
    """A connection that fails is shut down, so that its user wakes up; the others are served."""
    failing, fine = Wire(requests=1), Wire()
    failing.stream.end(is_reset=True)
    put(outbox, failing, fine)
    gevent.sleep(0)

    with pytest.raises(ConnectionLost):
        failing.connection.receive()
    assert failing.connection.unsent == b'request'
    assert fine.sent == b'request'


def test_fork(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child does not send what its parent is about to send."""
    wire = Wire()
    put(outbox, wire)
    monkeypatch.setattr(os, 'getpid', lambda: -1)
    gevent.sleep(0)

    assert wire.sent == b''


def test_late_bytes(outbox: Outbox) -> None:
    """Nothing is sent where something has come that would be taken for the answer; before a first request nothing can have."""
    late, first = Wire(b'late'), Wire(b'early', requests=1)
    put(outbox, late, first)
    gevent.sleep(0)

    assert (late.sent, late.connection.unsent) == (b'', b'request')
    assert (late.connection.receive(), late.connection.receive()) == (b'late', b'')
    assert (first.sent, first.connection.unsent) == (b'request', b'')
