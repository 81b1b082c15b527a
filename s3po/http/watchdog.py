"""Ends connections whose users have waited for too long.

One timer watches all connections: a timer for every request would cost more than a small request may. It counts its own rounds
instead of reading the clock, so time in which this process was busy or stopped does not count.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final

import gevent

from s3po.http.connection import CLOSED, IN_BODY, IN_HEAD, Connection

__all__ = ['Watchdog']

# The length of a round is a tenth of the shortest limit, within these bounds.
SHORTEST_ROUND_S: Final = 0.02
LONGEST_ROUND_S: Final = 1.0
# The time over which the speed of a body is measured.
SPEED_WINDOW_S: Final = 30.0


class _Notes:
    """What the watchdog has seen of one connection."""

    __slots__ = ('body_bytes', 'progress_bytes', 'rounds', 'rounds_in_body', 'since')

    def __init__(self) -> None:
        # The present wait: when it began, how many bytes had moved then, and the number of rounds without progress.
        self.since = 0.0
        self.progress_bytes = 0
        self.rounds = 0
        # The present window for the speed: the number of its rounds that were waits, and how many bytes had moved at its start.
        self.rounds_in_body = 0
        self.body_bytes = 0


class Watchdog:
    """Watches the connections of one hub while there are any."""

    def __init__(
        self,
        read_timeout_s: float,
        min_bytes_per_s: float,
        *,
        speed_window_s: float = SPEED_WINDOW_S,
        on_round: Callable[[], None] | None = None,
    ) -> None:
        """
        Args:
            read_timeout_s: How long the other side may neither send nor take anything; also how long a head may take from its
                first byte to its last.
            min_bytes_per_s: The speed that a body must have; 0 for none.
            speed_window_s: Over how long the speed is measured; waiting time only.
            on_round: Called from time to time while there are connections.
        """
        shortest = min(read_timeout_s, speed_window_s) if min_bytes_per_s else read_timeout_s
        self._round_s = min(max(shortest / 10, SHORTEST_ROUND_S), LONGEST_ROUND_S)
        self._read_timeout_s = read_timeout_s
        self._min_bytes_per_s = min_bytes_per_s
        self._window_s = speed_window_s
        self._on_round = on_round
        # Weak: the timer keeps this object alive, which must not keep unused connections alive.
        self._watched: weakref.WeakKeyDictionary[Connection, _Notes] = weakref.WeakKeyDictionary()
        self._timer: Any = None

    def __repr__(self) -> str:
        return f'<Watchdog watched={len(self._watched)} round_s={self._round_s}>'

    def watch(self, connection: Connection) -> None:
        """Watch a connection until it is closed."""
        self._watched[connection] = _Notes()
        if self._timer is None:
            # ref=False: the timer by itself does not keep the event loop running.
            self._timer = gevent.get_hub().loop.timer(self._round_s, self._round_s, ref=False)
            self._timer.start(self._look)

    def close(self) -> None:
        """Stop watching."""
        self._watched.clear()
        self._rest()

    def rest_if_unused(self) -> None:
        """Stop the timer, which keeps this object alive, if all connections are closed. watch() starts it again."""
        for connection in list(self._watched):
            if connection.state is CLOSED:
                del self._watched[connection]
        if not self._watched:
            self._rest()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _look(self) -> None:
        if self._on_round is not None:
            self._on_round()
        for connection, notes in list(self._watched.items()):
            if connection.waits_since and connection.state is not CLOSED:
                self._look_at(connection, notes)
        self.rest_if_unused()

    def _look_at(self, connection: Connection, notes: _Notes) -> None:
        since, progress = connection.waits_since, connection.progress_bytes()
        is_same_wait = notes.since == since and progress <= notes.progress_bytes
        notes.since, notes.progress_bytes = since, progress
        notes.rounds = notes.rounds + 1 if is_same_wait else 0
        if notes.rounds * self._round_s >= self._read_timeout_s:
            # Bytes may have arrived while this process was busy with something else.
            if not connection.has_arrived():
                connection.shut_down(f'{connection.peer} {_fault(connection)} for {self._read_timeout_s:g} s')
        elif self._min_bytes_per_s:
            self._look_at_speed(connection, notes)

    def _look_at_speed(self, connection: Connection, notes: _Notes) -> None:
        progress = notes.progress_bytes
        if connection.state is not IN_BODY:
            notes.rounds_in_body, notes.body_bytes = 0, progress
            return
        notes.rounds_in_body += 1
        waited_s = notes.rounds_in_body * self._round_s
        if waited_s < self._window_s:
            return
        moved = progress - notes.body_bytes
        notes.rounds_in_body, notes.body_bytes = 0, progress
        if moved < self._min_bytes_per_s * waited_s:
            connection.shut_down(
                f'{connection.peer} moved {moved:,} bytes in {waited_s:.0f} s of waiting, '
                f'less than min_bytes_per_s={self._min_bytes_per_s:g}'
            )


def _fault(connection: Connection) -> str:
    return 'has sent no more than a part of a head' if connection.state is IN_HEAD else 'sent and took nothing'
