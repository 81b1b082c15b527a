"""Connections with a limit of bytes per second. Used only if there is a limit, so that none costs nothing."""

from __future__ import annotations

from typing import Final

from s3po.governor import Pace
from s3po.http.connection import HEAD_BYTES, Connection
from s3po.http.stream import Stream

__all__ = ['PacedConnection']

# The most bytes that are sent or received without looking at the limit again.
PIECE_BYTES: Final = 64 * 1024


class PacedConnection(Connection):
    """A connection that waits before it sends or receives more.

    While it waits, it does not wait for the network, so no time limit of the watchdog applies.
    """

    __slots__ = ('_pace',)

    def __init__(self, stream: Stream, peer: str, pace: Pace) -> None:
        """
        Args:
            stream: As for Connection.
            peer: As for Connection.
            pace: Limits the bytes per second of all connections that share it.
        """
        super().__init__(stream, peer)
        self._pace = pace

    def begin(self, request: bytes = b'') -> None:
        # The outbox, which sends the request, may not wait.
        self._pace.wait()
        self._pace.charge(len(request))
        super().begin(request)

    def send(self, data: bytes | memoryview) -> int:
        self._pace.wait()
        size_bytes = super().send(data[:PIECE_BYTES])
        self._pace.charge(size_bytes)
        return size_bytes

    def receive(self, size_bytes: int = HEAD_BYTES, *, waits_first: bool = False) -> bytes:
        # Heads are not held up: the next piece of the body, or the next request, waits for them.
        data = super().receive(size_bytes, waits_first=waits_first)
        self._pace.charge(len(data))
        return data

    def receive_body(self, size_bytes: int, *, is_patient: bool = False) -> bytes:
        self._pace.wait()
        return super().receive_body(size_bytes, is_patient=is_patient)

    def receive_into(self, buffer: memoryview) -> int:
        self._pace.wait()
        size_bytes = super().receive_into(buffer[:PIECE_BYTES])
        self._pace.charge(size_bytes)
        return size_bytes
