"""Small requests of many greenlets, sent together.

A request that is sent at once wakes the server for that request alone, and a server that is faster than the client sleeps again
before the next one. If 50 requests are sent together, once per round of the event loop, the server wakes once: 54 instead of 79
µs of CPU for each upload of 4 KiB (benchmarks/bench_small.py, on two cores).

Nothing waits here: the connection's user waits for the response. If sending fails, the connection is shut down, so that its
user reads the last bytes that the server has sent, or the end.
"""

from __future__ import annotations

import os
from typing import Any, Final

import gevent

from s3po.http.connection import Connection, monotonic

__all__ = ['Outbox']

# In a longer gap between requests, the event loop was idle and waited for responses; a shorter gap is work of the client.
IDLE_S: Final = 0.0003
# The share of idle time is averaged over this time.
HORIZON_S: Final = 0.05
# Above this share the network is the limit, not the client, and requests are sent a few at a time. If they were all sent
# together, they would fall into step: all would wait until the last one is made, then all for their responses, and the network
# would be idle in between.
MOSTLY_IDLE: Final = 0.5
FEW: Final = 4


class Outbox:
    """Connections whose requests are sent in this round of the event loop. Belongs to one hub."""

    def __init__(self) -> None:
        self._waiting: list[Connection] = []
        self._loop: Any = gevent.get_hub().loop
        self._process = os.getpid()
        # When the first request of this round was put in, and when the requests of the last round were sent.
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
            # A forked child has a copy of these connections; only its parent may send on them.
            return
        for connection in waiting:
            connection.send_unsent()
        self._sent_at = monotonic()
