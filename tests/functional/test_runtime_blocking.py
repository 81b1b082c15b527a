"""Descriptors that leave gevent's sockets have the blocking mode that the program set."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.programs import run_command
from tests.support.servers import Authority

pytestmark = pytest.mark.slow

PRELUDE = """
    import os, socket, subprocess, sys, time
    import s3po

    def is_blocking(descriptor):
        return os.get_blocking(descriptor)

    plain = [sys.executable, '-c']  # a program without s3po
"""


@pytest.fixture(params=['', 'all', 'call'], ids=['narrowly', 'fully', 'later'])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], None]:
    """Runs a script with each kind of patch."""

    def run_script(script: str) -> None:
        later = 's3po.patch_all()\n' if request.param == 'call' else ''
        (tmp_path / 'script.py').write_text(textwrap.dedent(PRELUDE) + later + textwrap.dedent(script))
        run_command([sys.executable, '-W', 'error', 'script.py'], {'S3PO_PATCH': request.param}, tmp_path)

    return run_script


def test_detach(run: Callable[[str], None]) -> None:
    run("""
        for timeout_s, expected in ((None, True), (5, True), (0, False)):
            one, other = socket.socketpair()
            one.settimeout(timeout_s)
            descriptor = one.detach()
            assert is_blocking(descriptor) is expected, timeout_s
            assert one.fileno() == -1
        listener = socket.create_server(('localhost', 0))
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        for each in (client, server, listener):
            assert is_blocking(each.detach())
        closed = socket.socket()
        closed.close()
        assert closed.detach() == -1
    """)


def test_fromfd(run: Callable[[str], None]) -> None:
    """fromfd() leaves the caller's descriptor blocking, and the new socket yields to other greenlets."""
    run("""
        import gevent
        one, other = socket.socketpair()
        descriptor = one.detach()
        copy = socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM)
        assert is_blocking(descriptor)
        gevent.spawn(other.sendall, b'data')
        assert copy.recv(100) == b'data'
        duplicate = copy.dup()
        copy.close()
        assert is_blocking(descriptor)
        duplicate.sendall(b'back')
        assert other.recv(100) == b'back'
        # One of gevent's own, duplicated, stays as gevent needs it, and becomes blocking as it leaves.
        own = other.dup()
        os.write(descriptor, b'more')
        assert own.recv(100) == b'more'
        assert is_blocking(own.detach())
    """)


def test_listener_from_a_descriptor(run: Callable[[str], None]) -> None:
    """A listener made from a descriptor, as service managers pass it, lets other greenlets run while it waits."""
    run("""
        import gevent
        given = socket.create_server(('127.0.0.1', 0)).detach()
        listener = socket.fromfd(given, socket.AF_INET, socket.SOCK_STREAM)
        address = listener.getsockname()
        connecting = gevent.spawn_later(0.1, socket.create_connection, address)
        server, _ = listener.accept()
        reading = gevent.spawn(server.recv, 100)
        connecting.get().sendall(b'data')
        assert reading.get() == b'data'
        assert is_blocking(given)
        listener.settimeout(0.01)
        try:
            listener.accept()
        except TimeoutError:
            pass
    """)


def test_popen(run: Callable[[str], None]) -> None:
    """A child process can read from the socket without a BlockingIOError."""
    run("""
        read = 'import os, sys; data = os.read(int(sys.argv[1]), 100); os.write(1, data)'
        one, other = socket.socketpair()
        for given in (one, one.fileno()):
            child = subprocess.Popen([*plain, read, '0'], stdin=given, stdout=subprocess.PIPE)
            time.sleep(0.3)
            other.sendall(b'data')
            assert child.communicate() == (b'data', None)
        child = subprocess.Popen([*plain, read, str(one.fileno())], pass_fds=[one.fileno()], stdout=subprocess.PIPE)
        time.sleep(0.3)
        other.sendall(b'data')
        assert child.communicate() == (b'data', None)
        child = subprocess.Popen([*plain, 'print(42)'], stdout=one)
        assert (other.recv(100), child.wait()) == (b'42\\n', 0)
        # What the program made non-blocking stays so.
        own, _ = socket.socketpair()
        own.setblocking(False)
        done = subprocess.run([*plain, 'import os; print(os.get_blocking(0))'], stdin=own, stdout=subprocess.PIPE)
        # (gevent's Popen makes a child's streams blocking in any case.)
        assert done.stdout == (b'True\\n' if subprocess.Popen.__module__ == 'gevent.subprocess' else b'False\\n')
    """)


def test_send_handle(run: Callable[[str], None]) -> None:
    """Neither the pipe nor the socket sent over it becomes non-blocking."""
    run("""
        import multiprocessing, multiprocessing.connection, multiprocessing.reduction as reduction
        receive = (
            'import os, sys, multiprocessing.connection as connection, multiprocessing.reduction as reduction;'
            'pipe = connection.Connection(int(sys.argv[1])); handle = reduction.recv_handle(pipe);'
            'print(os.read(handle, 100).decode(), pipe.recv())'
        )
        here, there = multiprocessing.Pipe()
        child = subprocess.Popen([*plain, receive, str(there.fileno())], pass_fds=[there.fileno()], stdout=subprocess.PIPE)
        one, other = socket.socketpair()
        reduction.send_handle(here, one.fileno(), child.pid)
        assert is_blocking(here.fileno())
        one.close()
        time.sleep(0.3)
        other.sendall(b'data')
        time.sleep(0.3)
        here.send('hello')
        assert child.communicate() == (b'data hello\\n', None)
    """)


def test_tls(run: Callable[[str], None], authority: Authority) -> None:
    """ssl makes its socket from another socket's descriptor, and this socket yields to other greenlets, too."""
    run(f"""
        import ssl
        one, other = socket.socketpair()
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain({str(authority.server_pem)!r})
        trusting = ssl.create_default_context(cafile={str(authority.ca_pem)!r})
        for timeout_s, blocking in ((None, True), (5, True), (0, False)):
            one, other = socket.socketpair()
            one.settimeout(timeout_s)
            client = trusting.wrap_socket(one, server_hostname='localhost', do_handshake_on_connect=False)
            server = serving.wrap_socket(other, server_side=True, do_handshake_on_connect=False)
            assert not is_blocking(client.fileno()) and not is_blocking(server.fileno())
            assert client.gettimeout() == timeout_s
            assert is_blocking(client.detach()) is blocking
    """)


@pytest.mark.parametrize(
    ('first', 'second'), [('s3po', 'multiprocessing.reduction'), ('multiprocessing.reduction', 's3po')], ids=['first', 'second']
)
def test_sockets_in_messages(tmp_path: Path, first: str, second: str) -> None:
    """multiprocessing sends sockets to other processes, whichever was imported first."""
    (tmp_path / 'script.py').write_text(
        textwrap.dedent(f"""
        import {first}
        import {second}
        import socket

        def serve(listener):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b'hello')

        if __name__ == '__main__':
            listener = socket.create_server(('127.0.0.1', 0))
            child = multiprocessing.get_context('spawn').Process(target=serve, args=(listener,))
            child.start()
            with socket.create_connection(listener.getsockname()) as client:
                assert client.recv(100) == b'hello'
            child.join()
        """)
    )
    run_command([sys.executable, '-W', 'error', 'script.py'], {}, tmp_path)
