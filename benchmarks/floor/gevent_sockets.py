"""The floor in Python: greenlets that send prepared requests on gevent sockets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import gevent
from gevent import socket
from job import Job
from objects import keys

_BUFFER_BYTES = 64 * 1024
# In the form that nginx writes.
_LENGTH = b'Content-Length: '


class Gevent:
    """`width` greenlets with a connection each, over one shared iterator of keys."""

    def __init__(self, job: Job) -> None:
        self.job = job
        where = urlsplit(job.endpoint)
        address = (str(where.hostname), where.port)
        self.connections = [socket.create_connection(address) for _ in range(job.width)]
        for connection in self.connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.body = os.urandom(job.size_bytes) if job.verb == 'put' else b''
        method = job.verb.upper()
        self.before = f'{method} /{job.bucket}/'.encode()
        length = f'Content-Length: {len(self.body)}\r\n' if self.body else ''
        self.after = f' HTTP/1.1\r\nHost: {where.netloc}\r\n{length}\r\n'.encode() + self.body

    def warm_up(self) -> None:
        """A few requests on each connection."""
        self._spread(keys(min(2 * self.job.width, self.job.count)))

    def put(self) -> list:
        """The responses' bodies, which are empty."""
        return self._spread(keys(self.job.count))

    def get(self) -> list:
        """The bodies."""
        return self._spread(keys(self.job.count))

    def _spread(self, names: list[str]) -> list:
        bodies: list[bytes] = [b''] * len(names)
        numbered = iter(enumerate(names))
        greenlets = [gevent.spawn(self._work, connection, numbered, bodies) for connection in self.connections]
        gevent.joinall(greenlets, raise_error=True)
        return bodies

    def _work(self, connection: socket.socket, numbered: Iterator[tuple[int, str]], bodies: list[bytes]) -> None:
        send, receive, before, after = connection.sendall, connection.recv, self.before, self.after
        for n, name in numbered:
            send(b''.join((before, name.encode(), after)))
            data = receive(_BUFFER_BYTES)
            end = data.find(b'\r\n\r\n') + 4
            start = data.find(_LENGTH, 0, end) + len(_LENGTH)
            missing = end + int(data[start : data.find(b'\r', start)]) - len(data)
            while missing > 0:
                more = receive(_BUFFER_BYTES)
                if not more:
                    raise ConnectionError('the server closed the connection')
                data += more
                missing -= len(more)
            bodies[n] = data[end:]
