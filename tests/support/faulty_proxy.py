"""A proxy that spoils some of what it hands on, at random, by a seed: for tests that want to see nothing lost.

    python -m tests.support.faulty_proxy --to HOST:PORT [--seed N] [--share 0.05] [--stall-s 3]

It prints `listening on PORT` and serves until its standard input is closed. It follows HTTP/1.1 as far as S3's clients speak it
over plain connections, a thread for each. Each exchange that a fault can befall meets it with the given probability:

    F04  the connection is reset in place of an answer; nothing was handed on
    F08  the answer to a GET stops within its body
    F23  500 InternalError; nothing was handed on
    F26  a CompleteMultipartUpload says 200, and InternalError in its body; nothing was handed on
    F42  the answer to a GET ends at 40 % of its body
    F46  one bit of the answer to a GET is another

`GET /_proxy/stats` tells how often each of them came, `GET /_proxy/share?0.0` changes the probability.

What may live here: sockets and HTTP. It must never import s3po or gevent.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import socket
import struct
import sys
import threading
import time
from typing import Final

LOOPBACK: Final = '127.0.0.1'
PIECE_BYTES: Final = 64 * 1024
ERROR: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InternalError</Code><Message>chaos</Message></Error>'
# Of GETs, of completions, and of all.
OF_ALL: Final = ('F04', 'F23')
OF_GET: Final = ('F08', 'F42', 'F46')
OF_COMPLETE: Final = ('F26',)


class Lost(Exception):
    """A connection is at its end."""


class Stream:
    """Reads heads and bodies from a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._held = b''

    def head(self) -> bytes:
        """All bytes to the empty line."""
        while b'\r\n\r\n' not in self._held:
            self._fill()
        head, _, self._held = self._held.partition(b'\r\n\r\n')
        return head + b'\r\n\r\n'

    def line(self) -> bytes:
        """All bytes to the end of the line."""
        while b'\n' not in self._held:
            self._fill()
        line, _, self._held = self._held.partition(b'\n')
        return line + b'\n'

    def some(self, size_bytes: int) -> bytes:
        """At most so many bytes."""
        if not self._held:
            self._fill()
        data, self._held = self._held[:size_bytes], self._held[size_bytes:]
        return data

    def _fill(self) -> None:
        data = self.sock.recv(PIECE_BYTES)
        if not data:
            raise Lost
        self._held += data


class Proxy:
    """The faults, their dice, and what came of them."""

    def __init__(self, to: tuple[str, int], seed: int, share: float, stall_s: float) -> None:
        self.to = to
        self.share = share
        self.stall_s = stall_s
        self.counts: collections.Counter[str] = collections.Counter()
        self._dice = random.Random(seed)
        self._lock = threading.Lock()

    def fault(self, method: str, target: str) -> str | None:
        """What befalls the next exchange."""
        possible = OF_ALL + (OF_GET if method == 'GET' else ())
        if method == 'POST' and 'uploadId=' in target:
            possible += OF_COMPLETE
        with self._lock:
            self.counts['exchanges'] += 1
            for each in possible:
                if self._dice.random() < self.share:
                    self.counts[each] += 1
                    return each
        return None

    def place(self, size_bytes: int) -> int:
        """Somewhere in a body."""
        with self._lock:
            return self._dice.randrange(max(1, size_bytes))

    def serve(self, client: socket.socket) -> None:
        """All exchanges of one connection."""
        upstream: Stream | None = None
        with contextlib.suppress(Lost, OSError), client:
            asked = Stream(client)
            try:
                while True:
                    head = asked.head()
                    method, target = head.split(b' ', 2)[0].decode(), head.split(b' ', 2)[1].decode('latin-1')
                    if target.startswith('/_proxy/'):
                        self._tell(client, target)
                        continue
                    upstream = self._exchange(client, asked, upstream, head, method, self.fault(method, target))
            finally:
                if upstream is not None:
                    upstream.sock.close()

    def _tell(self, client: socket.socket, target: str) -> None:
        if target.startswith('/_proxy/share?'):
            self.share = float(target.partition('?')[2])
        client.sendall(answer(200, json.dumps(self.counts).encode()))

    def _exchange(
        self, client: socket.socket, asked: Stream, upstream: Stream | None, head: bytes, method: str, fault: str | None
    ) -> Stream:
        headers = headers_of(head)
        length = int(headers.get('content-length', '0'))
        if headers.get('expect', '').lower() == '100-continue':
            client.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
            head = b'\r\n'.join(line for line in head.split(b'\r\n') if not line.lower().startswith(b'expect:'))
        is_handed_on = fault not in ('F04', 'F23', 'F26')
        if is_handed_on:
            if upstream is None:
                upstream = Stream(socket.create_connection(self.to, timeout=60))
            upstream.sock.sendall(head)
        while length:
            data = asked.some(min(length, PIECE_BYTES))
            length -= len(data)
            if is_handed_on and upstream is not None:
                upstream.sock.sendall(data)
        if fault == 'F04':
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            raise Lost
        if fault in ('F23', 'F26'):
            client.sendall(answer(500 if fault == 'F23' else 200, b'' if method == 'HEAD' else ERROR))
            return upstream or Stream(socket.create_connection(self.to, timeout=60))
        assert upstream is not None
        self._hand_back(client, upstream, method, fault)
        return upstream

    def _hand_back(self, client: socket.socket, upstream: Stream, method: str, fault: str | None) -> None:
        head = upstream.head()
        while head.split(b' ', 2)[1].startswith(b'1'):
            head = upstream.head()
        headers, status = headers_of(head), int(head.split(b' ', 2)[1])
        client.sendall(head)
        if method == 'HEAD' or status in (204, 304):
            return
        if headers.get('transfer-encoding', '').lower() == 'chunked':
            hand_back_chunks(client, upstream)
            return
        size_bytes = left = int(headers.get('content-length', '0'))
        flipped = size_bytes - 1 - self.place(size_bytes) if fault == 'F46' and status < 300 else -1
        stop = left - size_bytes * 4 // 10 if fault in ('F08', 'F42') else 0
        while left:
            data = upstream.some(min(left - stop, PIECE_BYTES) if left > stop else PIECE_BYTES)
            if left - len(data) <= flipped < left:
                spoiled = bytearray(data)
                spoiled[left - 1 - flipped] ^= 1
                data = bytes(spoiled)
            client.sendall(data)
            left -= len(data)
            if fault in ('F08', 'F42') and left <= stop:
                if fault == 'F08':
                    time.sleep(self.stall_s)
                raise Lost


def hand_back_chunks(client: socket.socket, upstream: Stream) -> None:
    """A chunked body, as it is."""
    while True:
        line = upstream.line()
        client.sendall(line)
        left = int(line.partition(b';')[0], 16)
        if not left:
            break
        left += 2
        while left:
            data = upstream.some(left)
            client.sendall(data)
            left -= len(data)
    while line != b'\r\n':
        line = upstream.line()
        client.sendall(line)


def headers_of(head: bytes) -> dict[str, str]:
    """By name in lower case."""
    lines = head.decode('latin-1').split('\r\n')[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(':') for line in lines if line)}


def answer(status: int, body: bytes) -> bytes:
    """An answer of the proxy's own."""
    return b'HTTP/1.1 %d chaos\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%b' % (status, len(body), body)


def main() -> None:
    """Serve until standard input is closed."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--to', required=True, metavar='HOST:PORT')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--share', type=float, default=0.05)
    parser.add_argument('--stall-s', type=float, default=3.0)
    options = parser.parse_args()
    host, _, port = options.to.rpartition(':')
    proxy = Proxy((host, int(port)), options.seed, options.share, options.stall_s)
    server = socket.create_server((LOOPBACK, 0), backlog=256)
    print(f'listening on {server.getsockname()[1]}', flush=True)

    def accept() -> None:
        while True:
            client, _ = server.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=proxy.serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == '__main__':
    main()
