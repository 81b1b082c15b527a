"""A TCP relay to a store, in this process, that can delay or change the bytes. It knows nothing of HTTP."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import gevent
import gevent.server
import gevent.socket

__all__ = ['LOOPBACK', 'Relay', 'free_port']

LOOPBACK = '127.0.0.1'
PIECE_BYTES = 256 * 1024


def free_port() -> int:
    """A port on which no socket listens now."""
    with socket.create_server((LOOPBACK, 0)) as found:
        return int(found.getsockname()[1])


class Relay:
    """A relay that refuses connections until it is opened.

    Attributes:
        endpoint_url: Its URL.
    """

    def __init__(self, port: int, change: Callable[[bytes], bytes] = bytes) -> None:
        """
        Args:
            port: The port of the store.
            change: A function that changes each piece of bytes for the store.
        """
        self._to = port
        self._change = change
        self._port = free_port()
        self._server: gevent.server.StreamServer | None = None
        self._running: list[gevent.Greenlet[..., Any]] = []
        self.endpoint_url = f'http://{LOOPBACK}:{self._port}'

    def open(self) -> None:
        """Listen."""
        self._server = gevent.server.StreamServer((LOOPBACK, self._port), self._hand_on)
        self._server.start()

    def close(self) -> None:
        """Stop listening, and close all connections."""
        if self._server is not None:
            self._server.stop()
        gevent.killall(self._running)

    def _hand_on(self, client: gevent.socket.socket, _: Any) -> None:
        store = gevent.socket.create_connection((LOOPBACK, self._to))
        both = [gevent.spawn(_pump, client, store, self._change), gevent.spawn(_pump, store, client, bytes)]
        self._running += both
        gevent.joinall(both)


def _pump(source: gevent.socket.socket, target: gevent.socket.socket, change: Callable[[bytes], bytes]) -> None:
    try:
        while data := source.recv(PIECE_BYTES):
            target.sendall(change(data))
    except OSError:
        pass  # the other side has closed
    finally:
        source.close()
        target.close()
