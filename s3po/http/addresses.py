"""The addresses of a host name: all of them are used, and one that fails is avoided for a while."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import gevent.socket
from gevent import monkey

from s3po.errors import NetworkError
from s3po.http.connection import monotonic

__all__ = ['Address', 'Addresses']

# How long addresses are cached. Those of S3 have a TTL of a few seconds, and change with every look-up.
RESOLVED_S: Final = 30.0
# How long an address is avoided after a failure; doubled by each further one.
REST_S: Final = 1.0
LONGEST_REST_S: Final = 60.0

_native_getaddrinfo: Final = monkey.get_original('socket', 'getaddrinfo')


class Address(NamedTuple):
    """The arguments with which a socket is made and connected."""

    family: int
    sockaddr: tuple[Any, ...]


class Addresses:
    """The addresses of one host and port, the most promising ones first."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._found: list[Address] = []
        self._valid_until = 0.0
        # How often each address was returned, so that connections are spread.
        self._uses: dict[Address, int] = {}
        # address: (when its rest ends, failures in a row)
        self._rests: dict[Address, tuple[float, int]] = {}

    def __repr__(self) -> str:
        return f'<Addresses {self._host}:{self._port} found={len(self._found)} failing={len(self._rests)}>'

    def candidates(self) -> Iterator[Address]:
        """All addresses: first those that work, the least used of them first; then those that rest, by the end of their rest.

        Each counts as used when it is returned, so connections that are opened at the same time are spread as well.

        Raises:
            NetworkError: The name is unknown, or the name service does not respond.
        """
        now = monotonic()
        if now >= self._valid_until:
            self._resolve(now)

        def rank(address: Address) -> tuple[float, int]:
            until = self._rests.get(address, (0.0, 0))[0]
            return (until if until > now else 0.0, self._uses.get(address, 0))

        for address in sorted(self._found, key=rank):
            self._uses[address] = self._uses.get(address, 0) + 1
            yield address

    def worked(self, address: Address) -> None:
        """Note that a connection to the address was made."""
        self._rests.pop(address, None)

    def failed(self, address: Address) -> None:
        """Note that no connection could be made: others are tried first for a while, and the name is resolved again."""
        self._valid_until = 0.0
        now = monotonic()
        until, failures = self._rests.get(address, (0.0, 0))
        if now < until:
            # Connections that were opened at the same time fail at the same time. Count that as one failure.
            return
        self._rests[address] = (now + min(REST_S * 2**failures, LONGEST_REST_S), failures + 1)

    def _resolve(self, now: float) -> None:
        try:
            try:
                found = gevent.socket.getaddrinfo(self._host, self._port, 0, socket.SOCK_STREAM)
            except RuntimeError:
                # At the end of the program, from Python 3.12 on, no thread can be started for it.
                found = _native_getaddrinfo(self._host, self._port, 0, socket.SOCK_STREAM)
        except OSError as error:
            # Includes socket.gaierror. Cached addresses are used while the name service does not respond.
            if self._found:
                self._valid_until = now + REST_S
                return
            unknown = NetworkError(f'the host {self._host} was not found: {error.strerror or error}')
            unknown.is_unresolved = True
            raise unknown from error
        except UnicodeError as error:
            raise NetworkError(f'the host {self._host!r} is not a valid host name: {error}') from error
        self._found = list(dict.fromkeys(Address(family, sockaddr) for family, _, _, _, sockaddr in found))
        self._valid_until = now + RESOLVED_S
        known = set(self._found)
        # A new address starts at the lowest count, or else all connections would go to it until it has caught up.
        least = min((uses for address, uses in self._uses.items() if address in known), default=0)
        self._uses = {address: self._uses.get(address, least) for address in known}
        self._rests = {address: rest for address, rest in self._rests.items() if address in known}
