"""The order in which addresses are tried."""

from __future__ import annotations

import socket
from typing import Any

import gevent.socket
import pytest

from s3po.errors import NetworkError
from s3po.http import addresses as room
from s3po.http.addresses import LONGEST_REST_S, RESOLVED_S, REST_S, Address, Addresses

HOST = 'store.example'


def address(name: str) -> Address:
    return Address(socket.AF_INET, (name, 80))


A, B, C = map(address, 'abc')


class Names:
    """A fake resolver and clock.

    Attributes:
        now: The time.
        found: The addresses that it returns, or the error that it raises.
        asked: The number of lookups.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.found: list[Address] | Exception = [A, B]
        self.asked = 0

    def find(self, host: str, port: int, *_: Any) -> list[Any]:
        assert (host, port) == (HOST, 80)
        self.asked += 1
        if isinstance(self.found, Exception):
            raise self.found
        return [(each.family, socket.SOCK_STREAM, 6, '', each.sockaddr) for each in self.found]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(room, 'monotonic', lambda: names.now)
    monkeypatch.setattr(gevent.socket, 'getaddrinfo', names.find)
    return names


def first(addresses: Addresses) -> Address:
    """The address that is tried first, and works."""
    chosen = next(iter(addresses.candidates()))
    addresses.worked(chosen)
    return chosen


def test_spread(names: Names) -> None:
    """The least used address is next; it counts as used when it is tried."""
    addresses = Addresses(HOST, 80)

    assert [first(addresses) for _ in range(5)] == [A, B, A, B, A]
    under_way = [next(addresses.candidates()) for _ in range(4)]
    assert sorted(under_way) == [A, A, B, B]


def test_same_address_twice(names: Names) -> None:
    """Duplicate addresses of the resolver count once."""
    names.found = [A, A, B]

    assert list(Addresses(HOST, 80).candidates()) == [A, B]


def test_rest(names: Names) -> None:
    """An address that failed is tried last until its pause is over."""
    addresses = Addresses(HOST, 80)
    assert list(addresses.candidates()) == [A, B]
    addresses.failed(A)

    assert list(addresses.candidates()) == [B, A]
    assert [first(addresses) for _ in range(3)] == [B] * 3
    names.now += REST_S
    assert first(addresses) == A
    assert repr(addresses) == '<Addresses store.example:80 found=2 failing=0>'


def test_rests_become_longer(names: Names) -> None:
    """The pause doubles with each failure, up to a maximum, and is reset by a success."""
    addresses = Addresses(HOST, 80)
    rests = []
    for _ in range(9):
        list(addresses.candidates())
        addresses.failed(A)
        began = names.now
        while next(addresses.candidates()) != A:
            names.now += 0.5
        rests.append(names.now - began)

    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert rests[-1] == LONGEST_REST_S
    addresses.worked(A)
    addresses.failed(A)
    names.now += REST_S
    assert A in [next(addresses.candidates()) for _ in range(200)]


def test_failures_at_the_same_time(names: Names) -> None:
    """Concurrent failures count once."""
    addresses = Addresses(HOST, 80)
    list(addresses.candidates())
    for _ in range(50):
        addresses.failed(A)
    names.now += REST_S

    assert next(addresses.candidates()) == A


def test_all_rest(names: Names) -> None:
    """If all addresses have failed, the one whose pause ends first is tried first."""
    addresses = Addresses(HOST, 80)
    list(addresses.candidates())
    addresses.failed(B)
    names.now += 0.1
    addresses.failed(A)

    assert list(addresses.candidates()) == [B, A]


def test_names_are_resolved_again(names: Names) -> None:
    """The name is resolved again after some time and after a failure; new addresses start with the others' count."""
    addresses = Addresses(HOST, 80)
    for _ in range(10):
        first(addresses)
    assert names.asked == 1
    names.now += RESOLVED_S
    names.found = [B, C]

    assert sorted(first(addresses) for _ in range(4)) == [B, B, C, C]
    assert names.asked == 2
    addresses.failed(B)
    assert list(addresses.candidates()) == [C, B]
    assert names.asked == 3


def test_names_that_are_not_found(names: Names) -> None:
    """If the lookup fails, the known addresses are used; without any it is an error."""
    addresses = Addresses(HOST, 80)
    names.found = socket.gaierror(socket.EAI_AGAIN, 'Try again')
    with pytest.raises(NetworkError, match=r'the host store\.example was not found: Try again'):
        list(addresses.candidates())
    names.found = [A]
    assert first(addresses) == A
    names.now += RESOLVED_S
    names.found = socket.gaierror(socket.EAI_AGAIN, 'Try again')

    assert first(addresses) == A
    asked = names.asked
    assert first(addresses) == A
    assert names.asked == asked
    names.now += REST_S
    assert first(addresses) == A
    assert names.asked == asked + 1
