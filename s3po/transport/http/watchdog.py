"""Ends connections that keep their users waiting for too long.

One timer watches all connections: a timer for every request would cost more than a small request may. It counts its own rounds
in place of reading the clock, so that time in which this process was busy, or stopped, is nobody's fault but its own.
"""

from __future__ import annotations

from typing import Any, Final

import gevent

from s3po.transport.http.connection import Connection

__all__ = ['Watchdog']

# How finely the limits are kept: a tenth of the shortest one, within these bounds.
SHORTEST_ROUND_S: Final = 0.02
LONGEST_ROUND_S: Final = 1.0
# Over how long the speed of a body is measured.
SPEED_WINDOW_S: Final = 30.0


class _Notes:
    """What the watchdog has seen of one connection."""

    __slots__ = ('moved_bytes', 'rounds', 'rounds_in_body', 'since')

    def __init__(self) -> None:
        self.since = 0.0
        self.rounds = 0
        self.rounds_in_body = 0
        self.moved_bytes = 0


class Watchdog:
    """Watches connections of one hub while there are any."""

    def __init__(self, read_timeout_s: float, min_bytes_per_s: float, *, speed_window_s: float = SPEED_WINDOW_S) -> None:
        """
        Args:
            read_timeout_s: How long the other side may neither send nor take anything.
            min_bytes_per_s: The speed that a body must have; 0 for none.
            speed_window_s: Over how long the speed is measured; waiting time only.
        """
        shortest = min(read_timeout_s, speed_window_s) if min_bytes_per_s else read_timeout_s
        self._round_s = min(max(shortest / 10, SHORTEST_ROUND_S), LONGEST_ROUND_S)
        self._read_timeout_s = read_timeout_s
        self._min_bytes_per_s = min_bytes_per_s
        self._window_s = speed_window_s
        self._watched: dict[Connection, _Notes] = {}
        self._timer: Any = None

    def __repr__(self) -> str:
        return f'<Watchdog watched={len(self._watched)} round_s={self._round_s}>'

    def watch(self, connection: Connection) -> None:
        """Watch a connection until it is closed."""
        self._watched[connection] = _Notes()
        if self._timer is None:
            # Not a reason by itself for the event loop to go on.
            self._timer = gevent.get_hub().loop.timer(self._round_s, self._round_s, ref=False)
            self._timer.start(self._look)

    def close(self) -> None:
        """Stop watching."""
        self._watched.clear()
        self._rest()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _look(self) -> None:
        for connection, notes in list(self._watched.items()):
            if not connection.is_open:
                del self._watched[connection]
            elif connection.waits_since:
                self._look_at(connection, notes)
        if not self._watched:
            self._rest()

    def _look_at(self, connection: Connection, notes: _Notes) -> None:
        is_same_wait = notes.since == connection.waits_since
        notes.since = connection.waits_since
        notes.rounds = notes.rounds + 1 if is_same_wait else 0
        if notes.rounds * self._round_s >= self._read_timeout_s:
            # The bytes may have come while this process was busy with something else.
            if not connection.is_readable():
                connection.shut_down(f'{connection.peer} sent and took nothing for {self._read_timeout_s:g} s')
        elif self._min_bytes_per_s:
            self._look_at_speed(connection, notes)

    def _look_at_speed(self, connection: Connection, notes: _Notes) -> None:
        if not connection.is_in_body:
            notes.rounds_in_body, notes.moved_bytes = 0, connection.moved_bytes
            return
        notes.rounds_in_body += 1
        waited_s = notes.rounds_in_body * self._round_s
        if waited_s < self._window_s:
            return
        moved = connection.moved_bytes - notes.moved_bytes
        notes.rounds_in_body, notes.moved_bytes = 0, connection.moved_bytes
        if moved < self._min_bytes_per_s * waited_s:
            connection.shut_down(
                f'{connection.peer} moved {moved:,} bytes in {waited_s:.0f} s of waiting, '
                f'less than min_bytes_per_s={self._min_bytes_per_s:g}'
            )
