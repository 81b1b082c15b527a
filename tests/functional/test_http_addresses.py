"""Host names with several addresses: all of them are used, and failing ones are skipped."""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
import pytest

from s3po.errors import NetworkError
from s3po.http import Origin
from s3po.http import connecting as room
from s3po.runtime import descriptors
from tests.support.scripted import Receive, Reset, ScriptedServer, Send, pool_to

REQUEST = b'GET / HTTP/1.1\r\nhost: here\r\n\r\n'
HELLO = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'
ONCE = (Receive(), Send(HELLO))
NAME = 'store.example'

Names = Callable[..., None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """A function that sets the addresses to which NAME resolves."""

    def set_addresses(*addresses: str) -> None:
        def find(host: str, port: int, *_: Any) -> list[Any]:
            assert host == NAME
            found: list[Any] = []
            for address in addresses:
                if ':' in address:
                    found.append((socket.AF_INET6, socket.SOCK_STREAM, 6, '', (address, port, 0, 0)))
                else:
                    found.append((socket.AF_INET, socket.SOCK_STREAM, 6, '', (address, port)))
            return found

        monkeypatch.setattr(gevent.socket, 'getaddrinfo', find)

    return set_addresses


def named(server: ScriptedServer) -> Origin:
    return server.origin._replace(host=NAME)


def used(server: ScriptedServer) -> Counter[str]:
    return Counter(peer.sock.getsockname()[0] for peer in server.peers)


def test_connections_are_spread(names: Names) -> None:
    """Connections are distributed over all addresses, also those that are opened at the same time."""
    names('127.0.0.1', '127.0.0.2', '127.0.0.3')
    with ScriptedServer(default=ONCE, host='0.0.0.0') as server, pool_to(named(server)) as pool:
        users = [gevent.spawn(pool.exchange, REQUEST) for _ in range(9)]
        assert [user.get().read(5) for user in users] == [b'hello'] * 9

        assert used(server) == {'127.0.0.1': 3, '127.0.0.2': 3, '127.0.0.3': 3}


def test_address_that_fails(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an address fails, the next one is tried at once, and the failing one is skipped for a while."""
    names('127.0.0.2', '127.0.0.3', '127.0.0.1')
    tried: list[str] = []
    connect = room._connect
    monkeypatch.setattr(room, '_connect', lambda sock, address: (tried.append(address.sockaddr[0]), connect(sock, address)))
    with ScriptedServer(default=ONCE) as server, pool_to(named(server)) as pool:
        held = [pool.exchange(REQUEST) for _ in range(5)]

        assert tried == ['127.0.0.2', '127.0.0.3'] + ['127.0.0.1'] * 5
        assert len(server.peers) == len(held)


def test_addresses_that_all_fail(names: Names) -> None:
    """If all addresses fail, the error is that of the last one."""
    with ScriptedServer(default=[Reset()]) as server:
        names('127.0.0.2', '127.0.0.3')
        with pool_to(named(server)) as pool:
            with pytest.raises(NetworkError, match=f'no connection to {NAME}:{server.origin.port}: Connection refused'):
                pool.exchange(REQUEST)
            names('127.0.0.1')
            server._default = ONCE

            assert pool.exchange(REQUEST).read(5) == b'hello'


@pytest.mark.parametrize(
    'error',
    [
        socket.gaierror(socket.EAI_NONAME, 'Name or service not known'),
        socket.gaierror(socket.EAI_AGAIN, 'Temporary failure in name resolution'),
        UnicodeError('label too long'),
    ],
)
def test_name_that_is_not_found(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for an unknown host contains its name and the reason."""

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(gevent.socket, 'getaddrinfo', fail)
    with (
        pool_to(Origin('http', NAME, 80)) as pool,
        pytest.raises(NetworkError, match=f'the host .?{NAME}.? .*{error.args[-1]}'),
    ):
        pool.exchange(REQUEST)


@pytest.mark.parametrize('host', ['.', 'x' * 70 + '.example', 'a..example'])
def test_invalid_host_name(host: str) -> None:
    """An invalid host name is a NetworkError."""
    with pool_to(Origin('http', host, 80)) as pool, pytest.raises(NetworkError, match='the host'):
        pool.exchange(REQUEST)


@pytest.mark.parametrize('number', [errno.EMFILE, errno.EAFNOSUPPORT])
def test_no_socket(names: Names, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """If the system cannot create a socket, the error is a NetworkError."""
    names('127.0.0.1')

    def fail(*_: Any) -> None:
        raise OSError(number, 'no')

    monkeypatch.setattr(room, 'NativeSocket', fail)
    monkeypatch.setattr(descriptors, 'WAIT_S', 0.0)
    with pool_to(Origin('http', NAME, 80)) as pool, pytest.raises(NetworkError, match=f'no connection to {NAME}:80: no'):
        pool.exchange(REQUEST)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(('::1', 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason='this machine has no IPv6')
def test_ip_version_6() -> None:
    """IPv6 addresses work."""
    with ScriptedServer(ONCE, host='::1') as server, pool_to(server) as pool:
        assert pool.exchange(REQUEST).read(5) == b'hello'
        assert f'[::1]:{server.origin.port}' in repr(pool)


def test_both_ip_versions(names: Names) -> None:
    """If the address of one IP version fails, the other one is used."""
    names('::1', '127.0.0.1')
    with ScriptedServer(ONCE) as server, pool_to(named(server)) as pool:
        assert pool.exchange(REQUEST).read(5) == b'hello'
