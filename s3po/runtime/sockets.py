"""Repairs connections that were opened before the sockets were patched.

They keep their class, and usually are idle in the pool of a session or client. Its greenlets would use them first: one would
wait for its response and block the whole thread, return the connection, and the next would use it, so that no two of 50
requests run in parallel. So the old classes wait cooperatively here before they read, if the thread has greenlets. Sending is
unchanged, because requests are usually small.
"""

import socket
import ssl
from typing import Any

from gevent import monkey
from gevent.socket import wait_read

from s3po.runtime.threads import has_greenlets

__all__ = ['repair_open_sockets']


def repair_open_sockets() -> None:
    """Let sockets of the standard library's own classes yield to other greenlets while they wait for data."""
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
    """Wait for data or the end, within the socket's timeout, unless the socket is non-blocking."""
    timeout_s = sock.gettimeout()
    descriptor = sock.fileno()
    if timeout_s != 0 and not flags and descriptor >= 0 and has_greenlets():
        wait_read(descriptor, timeout_s, TimeoutError('timed out'))
