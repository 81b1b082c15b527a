"""The outbox sends the requests of several greenlets in one round of the event loop."""

from __future__ import annotations

import os

import gevent
import pytest

from s3po.http import Connection, ConnectionLost, State
from s3po.http import outbox as room
from s3po.http.outbox import Outbox
from tests.support.fake_stream import FakeStream


class Wire:
    """A connection over a stream in memory that was used before and is about to send.

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
    """The outbox of a busy process."""
    found = Outbox()
    found._idle_share = 0.0
    found._sent_at = found._began_at = room.monotonic()
    return found


def test_round(outbox: Outbox) -> None:
    """Requests are sent after all runnable greenlets have run, in order, each request in one piece."""
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
    """A process that mostly waits for the network sends a few requests at once, and the rest in the next round."""
    outbox = Outbox()
    wires = [Wire() for _ in range(room.FEW + 1)]
    put(outbox, *wires)

    assert [wire.sent for wire in wires] == [b'request'] * room.FEW + [b'']
    gevent.sleep(0)
    assert wires[-1].sent == b'request'


def test_closed_meanwhile(outbox: Outbox) -> None:
    """Nothing is sent on a connection that was closed meanwhile because its greenlet was killed."""
    wire = Wire()
    put(outbox, wire)
    wire.connection.close()
    gevent.sleep(0)

    assert wire.sent == b''


def test_no_room(outbox: Outbox) -> None:
    """The rest of a request is sent when there is room, and other requests do not wait for it."""
    slow, fast = Wire(room_bytes=3), Wire()
    put(outbox, slow, fast)
    gevent.sleep(0)

    assert (fast.sent, fast.connection.state) == (b'request', State.WAITING)
    assert (slow.sent, slow.connection.state) == (b'req', State.SENDING)
    assert [slow.stream.take(3) for _ in range(3)] == [b'req', b'ues', b't']
    assert slow.connection.state is State.WAITING


def test_failure(outbox: Outbox) -> None:
    """A connection that fails is shut down, so that its greenlet wakes up; the other requests are sent."""
    failing, fine = Wire(requests=1), Wire()
    failing.stream.end(is_reset=True)
    put(outbox, failing, fine)
    gevent.sleep(0)

    with pytest.raises(ConnectionLost):
        failing.connection.receive()
    assert failing.connection.unsent == b'request'
    assert fine.sent == b'request'


def test_fork(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child does not send its parent's requests."""
    wire = Wire()
    put(outbox, wire)
    monkeypatch.setattr(os, 'getpid', lambda: -1)
    gevent.sleep(0)

    assert wire.sent == b''


def test_late_bytes(outbox: Outbox) -> None:
    """Nothing is sent if stray bytes have arrived, which would be read as the response; a first request is always sent."""
    late, first = Wire(b'late'), Wire(b'early', requests=1)
    put(outbox, late, first)
    gevent.sleep(0)

    assert (late.sent, late.connection.unsent) == (b'', b'request')
    assert (late.connection.receive(), late.connection.receive()) == (b'late', b'')
    assert (first.sent, first.connection.unsent) == (b'request', b'')
