"""botocore's wait for "100 Continue" before it sends a body lets other greenlets run."""

from __future__ import annotations

import hashlib
from typing import Any

import gevent.server
import pytest

import s3po

BODY = b'four'
ANSWER = f'HTTP/1.1 200 OK\r\nETag: "{hashlib.md5(BODY).hexdigest()}"\r\nContent-Length: 0\r\nServer: AmazonS3\r\n\r\n'.encode()
HEADS = 3


class Store:
    """A server that sends "100 Continue" only after the heads of all requests have arrived.

    Attributes:
        received: The first bytes that each connection received.
    """

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._have_come = gevent.event.Event()

    def serve(self, sock: Any, _: object) -> None:
        with sock:
            self.received.append(sock.recv(65536))
            if len(self.received) == HEADS:
                self._have_come.set()
            self._have_come.wait(10)
            sock.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
            sock.recv(65536)
            sock.sendall(ANSWER)
            sock.recv(1)


@pytest.fixture
def store() -> Store:
    return Store()


def test_heads_of_all_come_before_a_body(store: Store) -> None:
    """A PUT over boto that waits for "100 Continue" does not block the other PUTs."""
    server = gevent.server.StreamServer(('127.0.0.1', 0), store.serve)
    server.start()
    connection = s3po.Connection(
        endpoint_url=f'http://127.0.0.1:{server.server_port}',
        region='us-east-1',
        access_key_id='a',
        secret_access_key='b',
        transport='boto',
        retries=0,
    )

    with connection, connection.batch(HEADS) as batch:
        for number in range(HEADS):
            batch.upload('bucket', str(number), BODY)
    server.stop()

    assert len(store.received) == HEADS
    assert all(b'Expect: 100-continue' in head and head.endswith(b'\r\n\r\n') for head in store.received)
