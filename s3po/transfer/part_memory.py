"""The memory of the parts of one upload that are in flight."""

from __future__ import annotations

from collections.abc import Callable

from s3po.memory import Room
from s3po.model import CompletedPart

__all__ = ['PartsInMemory']


class PartsInMemory:
    """Counts the memory of parts. One part is always admitted, once the upload has begun; more are if there is room."""

    __slots__ = ('_base_bytes', '_in_flight', '_in_flight_bytes', '_most', '_room')

    def __init__(self, room: Room, most: int) -> None:
        """
        Args:
            room: The memory of the upload.
            most: The most parts in flight.
        """
        self._room = room
        self._most = most
        self._in_flight = self._in_flight_bytes = self._base_bytes = 0

    def width(self, part_bytes: int) -> int:
        """How many parts may be in flight, the next one included, which takes so many bytes."""
        if self._in_flight >= self._most:
            return self._in_flight
        if not self._room.is_callers:
            self._base_bytes = part_bytes
        # Otherwise a part counts only when it was read: the caller may write nothing for a long time.
        if not self._in_flight:
            # Waits only if it is larger than the parts before it.
            self._room.fit(self._base_bytes)
        elif not self._room.try_fit(self._in_flight_bytes + part_bytes):
            return self._in_flight
        return self._most

    def counted(self, send: Callable[[str], CompletedPart], part_bytes: int) -> Callable[[str], CompletedPart]:
        """Count a part that takes so many bytes, until the returned function has sent it."""
        self._in_flight += 1
        self._in_flight_bytes += part_bytes
        if self._room.is_callers:
            self._room.fit(self._in_flight_bytes)

        def send_counted(upload_id: str) -> CompletedPart:
            sent = send(upload_id)
            self._in_flight -= 1
            self._in_flight_bytes -= part_bytes
            self._room.shrink(max(self._in_flight_bytes, self._base_bytes))
            return sent

        return send_counted
