"""TLS: trust, no data to untrusted servers, sessions, ends of connections, complete data."""

from __future__ import annotations

import gc
import os
import ssl
from typing import Any

import gevent
import gevent.socket
import pytest

from s3po.body import BytesChunk
from s3po.errors import CertificateError, ConfigurationError, ConnectTimeout, NetworkError, ReadTimeout
from s3po.http import Origin, TLSOptions
from s3po.http import pool as room
from tests.support.scripted import (
    Close,
    Peer,
    Receive,
    ReceiveAll,
    Reset,
    ScriptedServer,
    Send,
    SendSlowly,
    Step,
    Wait,
    pool_to,
    server_context,
)
from tests.support.servers import Authority

REQUEST = b'GET / HTTP/1.1\r\nhost: here\r\n\r\n'
ANNOUNCED = REQUEST[:-2] + b'expect: 100-continue\r\n\r\n'
OK = b'HTTP/1.1 200 OK\r\n'
HELLO = OK + b'Content-Length: 5\r\n\r\nhello'
CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'
MIB = 1 << 20
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
GOODBYE = Close(says_goodbye=True)


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def context(authority: Authority, request: pytest.FixtureRequest) -> Any:
    """The server's context, for one version of TLS."""
    return server_context(authority, minimum_version=request.param, maximum_version=request.param)


@pytest.fixture
def trusting(authority: Authority) -> TLSOptions:
    """Client options that trust the authority of the tests."""
    return TLSOptions(verify=str(authority.ca_pem))


def test_trusted(context: Any, trusting: TLSOptions) -> None:
    """A certificate of a trusted authority is accepted; the connection is reused."""
    with ScriptedServer([Receive(), Send(HELLO)] * 3, context=context) as server, pool_to(server, tls=trusting) as pool:
        for _ in range(3):
            response = pool.exchange(REQUEST)
            assert response.read(100) == b'hello'
            response.close()

    assert server.received == [REQUEST * 3]


@pytest.mark.parametrize('verify', [True, 'other'])
def test_untrusted(context: Any, verify: Any, tmp_path: Any) -> None:
    """With an untrusted certificate, nothing of the request is sent, and no other address is tried."""
    tls = TLSOptions(verify=verify if verify is True else str(Authority(tmp_path).ca_pem))
    with ScriptedServer([ReceiveAll()], context=context) as server, pool_to(server, tls=tls) as pool:
        with pytest.raises(CertificateError, match=f'certificate of {server.origin.peer} cannot be trusted: .*verify='):
            pool.exchange(REQUEST)
        server.ended()

    assert server.received == [b'']


def test_wrong_name(context: Any, trusting: TLSOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate for another host is rejected."""
    with ScriptedServer([ReceiveAll()], context=context) as server:
        find = gevent.socket.getaddrinfo
        monkeypatch.setattr(gevent.socket, 'getaddrinfo', lambda _, *others: find('127.0.0.1', *others))
        origin = Origin('https', 'elsewhere.example', server.origin.port)
        with pool_to(origin, tls=trusting) as pool:
            with pytest.raises(CertificateError, match="not valid for 'elsewhere.example'"):
                pool.exchange(REQUEST)
        server.ended()

    assert server.received == [b'']


def test_name(context: Any, trusting: TLSOptions) -> None:
    """A certificate can be for a host name or for an IP address."""
    with ScriptedServer([Receive(), Send(HELLO)], context=context) as server:
        with pool_to(Origin('https', 'localhost', server.origin.port), tls=trusting) as pool:
            assert pool.exchange(REQUEST).read(5) == b'hello'


def test_no_verification(context: Any) -> None:
    """verify=False accepts any certificate."""
    tls = TLSOptions(verify=False)
    with ScriptedServer([Receive(), Send(HELLO)], context=context) as server, pool_to(server, tls=tls) as pool:
        assert pool.exchange(REQUEST).read(5) == b'hello'


@pytest.mark.parametrize('tls', [{'verify': '/nowhere/ca.pem'}, {'verify': '/dev/null'}, {'client_cert': '/nowhere/cert.pem'}])
def test_files_that_cannot_be_read(context: Any, tls: Any) -> None:
    """An unreadable certificate file is a ConfigurationError, and nothing is sent."""
    with ScriptedServer([ReceiveAll()], context=context) as server, pool_to(server, tls=TLSOptions(**tls)) as pool:
        with pytest.raises(ConfigurationError, match='verify, or a client certificate'):
            pool.exchange(REQUEST)
        server.ended()

    assert server.received == [b'']


@pytest.mark.parametrize('is_pair', [False, True])
def test_client_certificate(context: Any, authority: Authority, is_pair: bool) -> None:
    """A client certificate is sent to a server that requests it."""
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_pem)
    path = str(authority.server_pem)
    tls = TLSOptions(verify=str(authority.ca_pem), client_cert=(path, path) if is_pair else path)
    with ScriptedServer([Receive(), Send(HELLO)], context=context) as server, pool_to(server, tls=tls) as pool:
        assert pool.exchange(REQUEST).read(5) == b'hello'


def test_missing_client_certificate(context: Any, authority: Authority, trusting: TLSOptions) -> None:
    """If the server requires a client certificate and there is none, the handshake fails."""
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_pem)
    with ScriptedServer([Receive(), Send(HELLO)], context=context) as server, pool_to(server, tls=trusting) as pool:
        with pytest.raises(NetworkError):
            pool.exchange(REQUEST)

    assert server.received == [b'']


def test_resumed_sessions(context: Any, trusting: TLSOptions) -> None:
    """Every connection but the first resumes an earlier TLS session."""
    script = [Receive(), Send(OK + b'Connection: close\r\nContent-Length: 0\r\n\r\n'), GOODBYE]
    with ScriptedServer(default=script, context=context) as server, pool_to(server, tls=trusting) as pool:
        for _ in range(3):
            pool.exchange(REQUEST).close()

    assert [peer.is_resumed for peer in server.peers] == [False, True, True]


@pytest.mark.parametrize(
    'steps',
    [
        [Close()],
        [Reset()],
        [Receive(1), Close()],
        [Receive(1), Reset()],
        [Receive(1), Send(b'HTTP/1.1 400 Bad Request\r\n\r\n')],
        [Receive(1), Send(b'\x15\x03\x01\x00\x02\x02\x28')],
        [Receive(1), Send(b'\x16\x03\x03'), Wait(0.001), Close()],
    ],
    ids=['close', 'reset', 'hello, close', 'hello, reset', 'no TLS', 'alert', 'half'],
)
def test_no_handshake(steps: list[Step], trusting: TLSOptions) -> None:
    """If the server does not complete the handshake, the error is a NetworkError and there is no retry."""
    with ScriptedServer(steps) as server:
        origin = server.origin._replace(scheme='https')
        with pool_to(origin, tls=trusting) as pool, pytest.raises(NetworkError, match=server.origin.peer) as caught:
            pool.exchange(REQUEST)

    if steps[-1] == Close() and len(steps) > 1:
        # Otherwise the unread ClientHello turns the close into a reset.
        assert 'closed the connection before TLS was set up' in str(caught.value)
    assert len(server.peers) == 1
    assert REQUEST not in server.received[0]


@pytest.mark.parametrize('how', ['timeout', 'kill'])
def test_silent_handshake(trusting: TLSOptions, how: str) -> None:
    """A silent handshake counts for the connect timeout, and leaves no descriptor open."""
    gc.collect()
    before = os.listdir('/proc/self/fd')
    with ScriptedServer([Receive(1), ReceiveAll()]) as server:
        origin = server.origin._replace(scheme='https')
        with pool_to(origin, tls=trusting, connect_timeout_s=0.1 if how == 'timeout' else 10.0) as pool:
            user = gevent.spawn(pool.exchange, REQUEST)
            if how == 'kill':
                gevent.sleep(0.02)
                user.kill()
            else:
                with pytest.raises(ConnectTimeout, match='within 0.1 s'):
                    user.get()
            server.ended()
    gc.collect()

    assert os.listdir('/proc/self/fd') == before


@pytest.mark.parametrize('end', [Close(), GOODBYE])
@pytest.mark.parametrize(
    'begin', [b'', b'HTTP/1.1 20', OK + b'Content-Length: 9\r\n\r\nhello', OK + b'Transfer-Encoding: chunked\r\n\r\n5']
)
def test_end_within_an_answer(context: Any, trusting: TLSOptions, begin: bytes, end: Step) -> None:
    """An end within a response is an error, with or without close_notify."""
    with ScriptedServer([Receive(), Send(begin), end], context=context) as server, pool_to(server, tls=trusting) as pool:
        with pytest.raises(NetworkError, match='closed|ended'):
            pool.exchange(REQUEST).read_all(100)

    assert server.received == [REQUEST]


@pytest.mark.parametrize('end', [Close(), GOODBYE])
@pytest.mark.parametrize('answer', [HELLO, OK + b'\r\nhello'])
def test_end_after_a_response(context: Any, trusting: TLSOptions, answer: bytes, end: Step) -> None:
    """After an end that follows a complete response, the response is valid, and the connection is not reused."""
    script = [Receive(), Send(answer), end]
    with ScriptedServer(script, script, context=context) as server, pool_to(server, tls=trusting) as pool:
        for _ in range(2):
            response = pool.exchange(REQUEST)
            assert response.read_all(100) == b'hello'
            response.close()

    assert server.received == [REQUEST] * 2


@pytest.mark.parametrize('end', [Close(), GOODBYE, Reset()])
def test_stale_connection(context: Any, trusting: TLSOptions, end: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that ended while it was idle is not reused, however it ended."""
    monkeypatch.setattr(room, 'UNCHECKED_IDLE_S', 0.0)
    scripts: list[list[Step]] = [[Receive(), Send(HELLO), Wait(0.001), end], [Receive(), Send(HELLO)]]
    with ScriptedServer(*scripts, context=context) as server, pool_to(server, tls=trusting) as pool:
        for _ in range(2):
            response = pool.exchange(REQUEST)
            assert response.read(5) == b'hello'
            response.close()
            server.ended()

    assert server.received == [REQUEST] * 2


def raw(data: bytes) -> Step:
    """Send bytes without TLS."""

    def send(peer: Peer) -> None:
        os.write(peer.sock.fileno(), data)

    return send


@pytest.mark.parametrize('begin', [b'', HELLO[:-1]])
def test_garbage_within_tls(context: Any, trusting: TLSOptions, begin: bytes) -> None:
    """Bytes that are not TLS are an error, before or within a response."""
    with (
        ScriptedServer([Receive(), Send(begin), raw(b'o' * 100)], context=context) as server,
        pool_to(server, tls=trusting) as pool,
    ):
        with pytest.raises(NetworkError, match=f'TLS to {server.origin.peer} failed'):
            pool.exchange(REQUEST).read(5)


@pytest.mark.parametrize('size_bytes', [5, 100])
def test_garbage_while_sending(context: Any, trusting: TLSOptions, size_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are not TLS are an error while a body is sent, too."""
    monkeypatch.setattr(room, 'EXPECT_BYTES', 1 << 40)
    script = [Receive(), raw(b'o' * size_bytes)]
    with ScriptedServer(script, context=context) as server, pool_to(server, tls=trusting) as pool:
        with pytest.raises(NetworkError, match=f'TLS to {server.origin.peer} failed'):
            pool.exchange(REQUEST, BytesChunk(bytes(64 * MIB)))


def test_split_answer(context: Any, trusting: TLSOptions) -> None:
    """A response may arrive with each byte in its own record."""
    script = [Receive(), SendSlowly(HELLO, pause_s=0.0)]
    with ScriptedServer(script, context=context) as server, pool_to(server, tls=trusting) as pool:
        assert pool.exchange(REQUEST).read(5) == b'hello'


@pytest.mark.parametrize('is_chunk', [True, False])
def test_large_bodies(context: Any, trusting: TLSOptions, is_chunk: bool) -> None:
    """Bodies of 8 MiB are sent and received unchanged."""
    content = os.urandom(8 * MIB)
    body: Any = BytesChunk(content) if is_chunk else content
    head = OK + b'Content-Length: %d\r\n\r\n' % len(content)
    go_ahead = Send(CONTINUE) if is_chunk else Wait(0.0)
    script = [Receive(), go_ahead, Receive(len(content)), Send(head), Send(content)] * 2
    with ScriptedServer(script, context=context) as server, pool_to(server, tls=trusting) as pool:
        response = pool.exchange(REQUEST, body)
        buffer = memoryview(bytearray(len(content) + 1))
        end = 0
        while size_bytes := response.read_into(buffer[end:]):
            end += size_bytes
        response.close()
        assert buffer[:end] == content
        assert pool.exchange(REQUEST, body).read(len(content)) == content

    assert server.received == [((ANNOUNCED if is_chunk else REQUEST) + content) * 2]


@pytest.mark.parametrize('end', [Close(), GOODBYE, Reset(), Wait(0.0)])
def test_early_refusal(context: Any, trusting: TLSOptions, end: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that arrives while the body is sent is returned at once."""
    monkeypatch.setattr(room, 'EXPECT_BYTES', 1 << 40)
    answer = b'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'
    script = [Receive(), Receive(1000), Send(answer), Wait(0.01), end]
    with ScriptedServer(script, context=context) as server, pool_to(server, tls=trusting) as pool:
        response = pool.exchange(REQUEST, BytesChunk(bytes(64 * MIB)))

        assert (response.status, response.read(2)) == (403, b'no')
    assert len(server.received[0]) < 32 * MIB


def test_announcement_that_is_ignored(context: Any, trusting: TLSOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS's own messages, such as session tickets, do not count as a response to Expect: 100-continue."""
    monkeypatch.setattr(room, 'CONTINUE_WAIT_S', 0.1)
    script = [Receive(), Receive(2 * MIB), Send(HELLO)]
    with ScriptedServer(script, context=context) as server, pool_to(server, tls=trusting) as pool:
        assert pool.exchange(REQUEST, BytesChunk(bytes(2 * MIB))).read(5) == b'hello'

    assert server.received == [ANNOUNCED + bytes(2 * MIB)]


@pytest.mark.parametrize('begin', [b'', HELLO[:9], HELLO[:-1]])
def test_read_timeout(context: Any, trusting: TLSOptions, begin: bytes) -> None:
    """A server that stops responding causes a read timeout."""
    script = [Receive(), Send(begin), ReceiveAll()]
    with ScriptedServer(script, context=context) as server, pool_to(server, tls=trusting, read_timeout_s=0.1) as pool:
        with pytest.raises(ReadTimeout, match='for 0.1 s'):
            pool.exchange(REQUEST).read(5)


def test_bytes_after_the_response(context: Any, trusting: TLSOptions) -> None:
    """An unrequested response in its own record is never read as the response to the next request."""
    wrong = OK + b'Content-Length: 5\r\n\r\nwrong'
    flush = OK + b'Content-Length: 40000\r\n\r\n' + bytes(40000)
    with ScriptedServer([Receive(), Send(flush + wrong)], [Receive(), Send(HELLO)], context=context) as server:
        with pool_to(server, tls=trusting) as pool:
            response = pool.exchange(REQUEST)
            assert response.read(40000) == bytes(40000)
            response.close()

            assert pool.exchange(REQUEST).read(5) == b'hello'
