"""Repair of connections that were opened before the sockets were patched.

They stay what they are, and mostly lie idle in the pool of a session or client. Its greenlets then find them there first: one
would wait for its answer with the whole thread standing still, put the connection back, and the next would take it, so that of
50 requests no two would be under way together. So here the old classes wait in gevent's way before they read, where there are
greenlets to make way for. Requests are mostly small and are sent as before.
"""

import socket
import ssl
from typing import Any

from gevent import monkey
from gevent.socket import wait_read

from s3po.runtime.threads import has_greenlets

__all__ = ['repair_open_sockets']


def repair_open_sockets() -> None:
    """Let sockets of the standard library's own classes give way to other greenlets while they wait for data."""
    plain: Any = monkey.get_original('socket', 'socket')
    secure: Any = monkey.get_original('ssl', 'SSLSocket')
    receive, receive_into, accept_next, read_secure = plain.recv, plain.recv_into, plain.accept, secure.read

    def recv(sock: socket.socket, size: int, flags: int = 0, /) -> Any:
        _wait_for_data(sock, flags)
        return receive(sock, size, flags)

    def recv_into(sock: socket.socket, buffer: Any, nbytes: int = 0, flags: int = 0) -> Any:
        _wait_for_data(sock, flags)
        return receive_into(sock, buffer, nbytes, flags)

    def read(sock: ssl.SSLSocket, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002  (the original's name)
        if not sock.pending():
            _wait_for_data(sock, 0)
        return read_secure(sock, len, buffer)

    def accept(sock: socket.socket) -> Any:
        _wait_for_data(sock, 0)
        return accept_next(sock)

    plain.recv, plain.recv_into, plain.accept, secure.read = recv, recv_into, accept, read


def _wait_for_data(sock: socket.socket, flags: int) -> None:
    """Wait until data or the end has come, within the socket's timeout, unless the caller would not wait."""
    timeout_s = sock.gettimeout()
    descriptor = sock.fileno()
    if timeout_s != 0 and not flags and descriptor >= 0 and has_greenlets():
        wait_read(descriptor, timeout_s, TimeoutError('timed out'))
