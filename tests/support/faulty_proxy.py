"""A proxy with random faults, repeatable by a seed: for tests that no data is lost.

    python -m tests.support.faulty_proxy --to HOST:PORT [--seed N] [--share 0.05] [--stall-s 3]

It prints `listening on PORT` and serves until its standard input is closed. It supports HTTP/1.1 as far as S3's clients use it
over plain connections, a thread for each. Each possible fault of an exchange occurs with the given probability:

    F04  the connection is reset instead of a response; the request was not forwarded
    F08  the body of the response to a GET stalls
    F23  500 InternalError; the request was not forwarded
    F26  a CompleteMultipartUpload gets 200 with InternalError in the body; half of them were forwarded, and carried out
    F42  the body of the response to a GET ends at 40 %
    F46  one bit of the response to a GET is flipped

A fault depends on the seed, the request (without its random upload id) and how often it was sent, not on the order of the
requests, so a run can be repeated. Only faults with an effect are counted: an empty body cannot be truncated.

`GET /_proxy/stats` returns how often each of them occurred; `GET /_proxy/share?0.0` changes the probability; after
`GET /_proxy/only?F04,F23` no others are possible.

It must never import s3po or gevent.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

LOOPBACK: Final = '127.0.0.1'
PIECE_BYTES: Final = 64 * 1024
ERROR: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InternalError</Code><Message>chaos</Message></Error>'
# Faults of GETs, of completions, and of all requests.
OF_ALL: Final = ('F04', 'F23')
OF_GET: Final = ('F08', 'F42', 'F46')
OF_COMPLETE: Final = ('F26',)
UPLOAD_ID: Final = re.compile('uploadId=[^&]*')


class Lost(Exception):
    """The connection has ended."""


class Stream:
    """Reads heads and bodies from a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._held = b''

    def head(self) -> bytes:
        """All bytes up to the empty line."""
        while b'\r\n\r\n' not in self._held:
            self._fill()
        head, _, self._held = self._held.partition(b'\r\n\r\n')
        return head + b'\r\n\r\n'

    def line(self) -> bytes:
        """All bytes up to the end of the line."""
        while b'\n' not in self._held:
            self._fill()
        line, _, self._held = self._held.partition(b'\n')
        return line + b'\n'

    def some(self, size_bytes: int) -> bytes:
        """At most this number of bytes."""
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
    """The faults, their random numbers, and their counts."""

    def __init__(self, to: tuple[str, int], seed: int, share: float, stall_s: float) -> None:
        self.to = to
        self.share = share
        self.stall_s = stall_s
        self.counts: collections.Counter[str] = collections.Counter()
        self.only = frozenset((*OF_ALL, *OF_GET, *OF_COMPLETE))
        self._seed = seed
        self._sent: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def dice(self, method: str, target: str) -> random.Random:
        """The random numbers of the next exchange of this kind."""
        kind = f'{method} {UPLOAD_ID.sub("uploadId", target)}'
        with self._lock:
            self.counts['exchanges'] += 1
            self._sent[kind] += 1
            return random.Random(f'{self._seed} {self._sent[kind]} {kind}')

    def fault(self, method: str, target: str, dice: random.Random) -> str | None:
        """The fault of an exchange, or None."""
        possible = OF_ALL + (OF_GET if method == 'GET' else ())
        if method == 'POST' and 'uploadId=' in target:
            possible += OF_COMPLETE
        return next((each for each in possible if dice.random() < self.share and each in self.only), None)

    def count(self, fault: str) -> None:
        """Count a fault that occurred."""
        with self._lock:
            self.counts[fault] += 1

    def serve(self, client: socket.socket) -> None:
        """Serve all exchanges of one connection."""
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
                    dice = self.dice(method, target)
                    fault = self.fault(method, target, dice)
                    upstream = self._exchange(client, asked, upstream, head, (method, fault, dice))
            finally:
                if upstream is not None:
                    upstream.sock.close()

    def _tell(self, client: socket.socket, target: str) -> None:
        if target.startswith('/_proxy/share?'):
            self.share = float(target.partition('?')[2])
        elif target.startswith('/_proxy/only?'):
            self.only = frozenset(target.partition('?')[2].split(','))
        client.sendall(answer(200, json.dumps(self.counts).encode()))

    def _exchange(
        self,
        client: socket.socket,
        asked: Stream,
        upstream: Stream | None,
        head: bytes,
        lot: tuple[str, str | None, random.Random],
    ) -> Stream | None:
        method, fault, dice = lot
        headers = headers_of(head)
        length = int(headers.get('content-length', '0'))
        if headers.get('expect', '').lower() == '100-continue':
            client.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
            head = b'\r\n'.join(line for line in head.split(b'\r\n') if not line.lower().startswith(b'expect:'))
        is_handed_on = fault not in ('F04', 'F23', 'F26') or (fault == 'F26' and dice.random() < 0.5)
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
            self.count(fault)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            raise Lost
        if fault in ('F23', 'F26'):
            if is_handed_on and upstream is not None:
                self._hand_back(None, upstream, method, None, dice)
                self.count('F26 done')
            self.count(fault)
            client.sendall(answer(500 if fault == 'F23' else 200, b'' if method == 'HEAD' else ERROR))
            return upstream
        assert upstream is not None
        self._hand_back(client, upstream, method, fault, dice)
        return upstream

    def _hand_back(
        self, client: socket.socket | None, upstream: Stream, method: str, fault: str | None, dice: random.Random
    ) -> None:
        """Send a response, if the client is still connected."""
        send = client.sendall if client is not None else len
        head = upstream.head()
        while head.split(b' ', 2)[1].startswith(b'1'):
            head = upstream.head()
        headers, status = headers_of(head), int(head.split(b' ', 2)[1])
        send(head)
        if method == 'HEAD' or status in (204, 304):
            return
        if headers.get('transfer-encoding', '').lower() == 'chunked':
            hand_back_chunks(send, upstream)
            return
        size_bytes = int(headers.get('content-length', '0'))
        if size_bytes == 0 or (fault == 'F46' and status >= 300):
            fault = None
        end = size_bytes * 4 // 10 if fault in ('F08', 'F42') else size_bytes
        flipped, done = dice.randrange(size_bytes) if fault == 'F46' else -1, 0
        while done < end:
            data = bytearray(upstream.some(min(end - done, PIECE_BYTES)))
            if done <= flipped < done + len(data):
                data[flipped - done] ^= 1 << dice.randrange(8)
            send(data)
            done += len(data)
        if fault is not None:
            self.count(fault)
        if fault == 'F08':
            time.sleep(self.stall_s)
        if fault in ('F08', 'F42'):
            raise Lost


def hand_back_chunks(send: Callable[[bytes], object], upstream: Stream) -> None:
    """Pass on a chunked body."""
    while True:
        line = upstream.line()
        send(line)
        left = int(line.partition(b';')[0], 16)
        if not left:
            break
        left += 2
        while left:
            data = upstream.some(left)
            send(data)
            left -= len(data)
    while line != b'\r\n':
        line = upstream.line()
        send(line)


def headers_of(head: bytes) -> dict[str, str]:
    """The headers, by name in lower case."""
    lines = head.decode('latin-1').split('\r\n')[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(':') for line in lines if line)}


def answer(status: int, body: bytes) -> bytes:
    """A response of the proxy's own."""
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
