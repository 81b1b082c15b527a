"""Proxies: https uses CONNECT, and a refusal of the proxy is an error."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from s3po.errors import CertificateError, ConnectTimeout, NetworkError
from s3po.http import Origin, TLSOptions
from tests.support.canaries import PASSWORD
from tests.support.scripted import (
    Close,
    Receive,
    ReceiveAll,
    Reset,
    ScriptedServer,
    Secure,
    Send,
    SendSlowly,
    Step,
    pool_to,
    server_context,
)
from tests.support.servers import Authority

REQUEST = b'GET / HTTP/1.1\r\nhost: here\r\n\r\n'
CONNECT = b'CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n'
HELLO = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'
OPENED = b'HTTP/1.1 200 Connection established\r\n\r\n'


@pytest.fixture(scope='module')
def context(authority: Authority) -> Any:
    return server_context(authority)


def tls(authority: Authority) -> TLSOptions:
    return TLSOptions(verify=str(authority.ca_pem))


def through(server: ScriptedServer, user: str = '', host: str = 'localhost') -> Origin:
    """An origin that is reached through the scripted server, which plays the proxy and the origin."""
    return Origin('https', host, 443, f'http://{user}{server.origin.peer}')


@pytest.mark.parametrize(
    'opened',
    [
        OPENED,
        b'HTTP/1.0 200 OK\r\n\r\n',
        b'HTTP/1.1 204 Fine\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nProxy-Agent: x\r\nContent-Length: 5\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    ],
)
def test_way_through(context: Any, authority: Authority, opened: bytes) -> None:
    """After any 2xx response to CONNECT, TLS to the origin starts; the connection is reused."""
    script = [Receive(), SendSlowly(opened, 7, pause_s=0.0), Secure(context), *[Receive(), Send(HELLO)] * 2]
    with ScriptedServer(script) as server, pool_to(through(server), tls=tls(authority)) as pool:
        for _ in range(2):
            response = pool.exchange(REQUEST)
            assert response.read(5) == b'hello'
            response.close()

    assert server.received == [CONNECT + REQUEST * 2]


def test_bytes_after_the_connect_response(context: Any, authority: Authority) -> None:
    """Bytes after the response to CONNECT are discarded: in TLS the client sends first."""
    script = [Receive(), Send(OPENED + b'garbage'), Secure(context), Receive(), Send(HELLO)]
    with ScriptedServer(script) as server, pool_to(through(server), tls=tls(authority)) as pool:
        assert pool.exchange(REQUEST).read(5) == b'hello'


def test_name_and_password(context: Any, authority: Authority) -> None:
    """The user name and password are sent to the proxy, unescaped, and not to the store."""
    script = [Receive(), Send(OPENED), Secure(context), Receive(), Send(HELLO)]
    with ScriptedServer(script) as server:
        with pool_to(through(server, 'me:s%40cret@'), tls=tls(authority)) as pool:
            assert pool.exchange(REQUEST).read(5) == b'hello'

    told = b'Proxy-Authorization: Basic ' + base64.b64encode(b'me:s@cret')
    assert server.received == [CONNECT[:-2] + told + b'\r\n\r\n' + REQUEST]


def test_address_of_ip_version_6() -> None:
    """CONNECT has the IPv6 address in brackets."""
    with ScriptedServer([Receive(), Close()]) as server:
        with pool_to(through(server, host='::1')) as pool, pytest.raises(NetworkError):
            pool.exchange(REQUEST)

    assert server.received == [CONNECT.replace(b'localhost', b'[::1]')]


def test_certificate_is_the_origin_s(context: Any, authority: Authority) -> None:
    """The certificate is checked against the origin's name, so a proxy that connects to another host is detected."""
    script = [Receive(), Send(OPENED), Secure(context), ReceiveAll()]
    with ScriptedServer(script) as server:
        with pool_to(through(server, host='elsewhere.example'), tls=tls(authority)) as pool:
            with pytest.raises(CertificateError, match=r'certificate of elsewhere\.example:443'):
                pool.exchange(REQUEST)
        server.ended()

    assert REQUEST not in server.received[0]


@pytest.mark.parametrize('status', [407, 403, 502, 301])
def test_refusal(status: int) -> None:
    """If the proxy refuses, the error contains the status and not the password."""
    answer = b'HTTP/1.1 %d No\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno' % status
    with ScriptedServer([Receive(), Send(answer), ReceiveAll()]) as server:
        origin = through(server, f'me:{PASSWORD}@')
        with pool_to(origin) as pool:
            with pytest.raises(NetworkError, match=f'refused to connect to localhost:443: status {status}') as caught:
                pool.exchange(REQUEST)
            server.ended()

            assert PASSWORD not in f'{caught.value!r} {pool!r} {origin!r}'
    assert len(server.peers) == 1


@pytest.mark.parametrize(
    'steps',
    [
        [Close()],
        [Reset()],
        [Receive(), Close()],
        [Receive(), Reset()],
        [Receive(), Send(b'garbage')],
        [Receive(), Send(b'HTTP/1.1 200 OK\r\n'), Close()],
        [Receive(), Send(b'HTTP/1.1 200 OK\r\nX: ' + b'y' * 70_000)],
        [Receive(), Send(b'HTTP/1.1 101 Switching Protocols\r\n\r\n')],
        [Receive(), Send(OPENED), Receive(1), Close()],
        [Receive(), Send(OPENED), Receive(1), Send(b'garbage')],
    ],
)
def test_no_way_through(steps: list[Step]) -> None:
    """A proxy that closes the connection or responds with nonsense is an error, which does not contain the password."""
    with ScriptedServer(steps) as server:
        with pool_to(through(server, f'me:{PASSWORD}@')) as pool, pytest.raises(NetworkError) as caught:
            pool.exchange(REQUEST)

        assert PASSWORD not in str(caught.value)
    assert len(server.peers) == 1


def test_silent_proxy() -> None:
    """The wait for the proxy's response counts for the connect timeout."""
    with ScriptedServer([Receive(), ReceiveAll()]) as server:
        with pool_to(through(server), connect_timeout_s=0.1) as pool:
            with pytest.raises(ConnectTimeout, match=r'no connection to localhost:443 within 0\.1 s'):
                pool.exchange(REQUEST)
            server.ended()
