"""Small requests of many greenlets, sent together.

A request that is sent as soon as it is made wakes the other side up for it alone; and where that is faster than we are, it has
gone to sleep again before the next one comes. Sent one right behind the other, once in a round of the event loop, 50 requests
cost one such awakening: 54 in place of 79 µs of CPU for each upload of 4 KiB (benchmarks/bench_small.py, on two cores).

Nobody waits here: whoever puts something in goes on to wait for its answer. What cannot be sent shuts the connection down, and
that is what its user then reads: the last words of the server, or the end.
"""

from __future__ import annotations

import os
from typing import Any, Final

import gevent

from s3po.errors import TransportError
from s3po.http.connection import Connection, monotonic

__all__ = ['Outbox']

# After so long without a request, the event loop has waited for answers; shorter gaps are the work between two requests.
IDLE_S: Final = 0.0003
# Over how long it is averaged what share of the time that is.
HORIZON_S: Final = 0.05
# Above this share it is the network's time that counts and not ours, and requests go out a few at a time: together they would
# fall into step, all waiting for the last one of them to be made, then all for their answers, while the network rests.
MOSTLY_IDLE: Final = 0.5
FEW: Final = 4


class Outbox:
    """What is to be sent in this round. Belongs to one hub."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Connection, bytes]] = []
        self._loop: Any = gevent.get_hub().loop
        self._process = os.getpid()
        # When the first request of this round came, and when the last round's were sent.
        self._began_at = self._sent_at = 0.0
        self._idle_share = 1.0
        self._is_idle = True

    def __repr__(self) -> str:
        return f'<Outbox waiting={len(self._waiting)}>'

    def put(self, connection: Connection, data: bytes) -> None:
        """Have the data sent when all greenlets that can run have run."""
        waiting = self._waiting
        if not waiting:
            self._begin_round()
        connection.has_unsent = True
        waiting.append((connection, data))
        if self._is_idle and len(waiting) == FEW:
            self._send_all()

    def _begin_round(self) -> None:
        self._loop.run_callback(self._send_all)
        now = monotonic()
        round_s, gap_s = now - self._began_at, now - self._sent_at
        self._began_at = now
        idle_share = gap_s / round_s if gap_s > IDLE_S else 0.0
        self._idle_share += (idle_share - self._idle_share) * min(1.0, round_s / HORIZON_S)
        self._is_idle = self._idle_share > MOSTLY_IDLE

    def _send_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        if os.getpid() != self._process:
            # A child that was forked in between has a copy of these; they are its parent's to send.
            return
        for connection, data in waiting:
            if not connection.is_open:
                continue
            if connection.requests > 1 and connection.is_stale():
                # What has come belongs to no request of ours, and would be taken for the answer. Its user finds that this
                # request was never sent.
                connection.break_off()
            else:
                self._send(connection, data)
        self._sent_at = monotonic()

    def _send(self, connection: Connection, data: bytes | memoryview) -> None:
        try:
            sent = connection.send(data)
        except TransportError:
            connection.break_off()
            return
        if sent < len(data):
            # Beside the connection's user, who only reads.
            connection.call_when_writable(self._send, connection, memoryview(data)[sent:])
        else:
            connection.has_unsent = False
