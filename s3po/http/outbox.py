"""Small requests of many greenlets, sent together.

A request that is sent at once wakes the server for it alone; a server that is faster than the client sleeps again before the
next request. If 50 requests are sent together, once per round of the event loop, the server wakes once: 54 instead of 79 µs of
CPU for each upload of 4 KiB (benchmarks/bench_small.py, on two cores).

Nothing waits here: the connection's user waits for the response. If sending fails, the connection is shut down, so that its
user reads what the server has sent last, or the end.
"""

from __future__ import annotations

import os
from typing import Any, Final

import gevent

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
    """Connections whose requests are sent in this round of the event loop. Belongs to one hub."""

    def __init__(self) -> None:
        self._waiting: list[Connection] = []
        self._loop: Any = gevent.get_hub().loop
        self._process = os.getpid()
        # When the first request of this round came, and when the last round's were sent.
        self._began_at = self._sent_at = 0.0
        self._idle_share = 1.0
        self._is_idle = True

    def __repr__(self) -> str:
        return f'<Outbox waiting={len(self._waiting)}>'

    def put(self, connection: Connection) -> None:
        """Send a connection's request as soon as all greenlets that can run have run."""
        waiting = self._waiting
        if not waiting:
            self._begin_round()
        waiting.append(connection)
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
        for connection in waiting:
            connection.send_unsent()
        self._sent_at = monotonic()
