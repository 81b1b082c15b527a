"""The metadata services of EC2 and of containers, on real sockets, with scripted responses."""

from __future__ import annotations

import datetime
import itertools
import json
import re
from typing import Any, Final

import gevent
import gevent.server

from tests.support.canaries import SECRET_ACCESS_KEY, SESSION_TOKEN, STEM

__all__ = ['LIMIT_S', 'TOKEN', 'MetadataService']

# How long a request gets no response.
LIMIT_S: Final = 30
TOKEN: Final = f'{STEM}metadata'


class MetadataService:
    """EC2's metadata service on a port of its own, which can also act as a proxy.

    Attributes:
        asked: The requests so far: method, target, and whether they had the token.
        token_status: The status of the response to a request for a token; None for no response.
        answers: Other responses, by the end of the target: status (None for no response) and body.
        lifetime_s: How long the keys are valid.
        authorization: The Authorization header of the last request.
        pace_s: The wait before each byte of a response.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bool]] = []
        self.token_status: int | None = 200
        self.answers: dict[str, tuple[int | None, str]] = {}
        self.lifetime_s = 6 * 60 * 60
        self.authorization = ''
        self.pace_s = 0.0
        self._server = gevent.server.StreamServer(('127.0.0.1', 0), self._serve)

    @property
    def url(self) -> str:
        """Its URL."""
        return f'http://127.0.0.1:{self._server.server_port}'

    def start(self) -> None:
        """Listen."""
        self._server.start()

    def stop(self) -> None:
        """Stop listening, and close all connections."""
        self._server.stop(timeout=1)

    def _serve(self, sock: Any, address: object) -> None:
        with sock, sock.makefile('rb') as lines:
            while True:
                # At its end a connection reads b'' again and again.
                head = b''.join(itertools.takewhile(lambda line: line not in (b'\r\n', b''), lines)).decode()
                if not head:
                    return
                method, target, _ = head.split(' ', 2)
                bears_token = TOKEN in head
                found = re.search(r'(?im)^authorization: (.*?)\r$', head)
                self.authorization = found[1] if found else ''
                self.asked.append((method, target, bears_token))
                status, body = self._answer(method, target)
                if status is None:
                    gevent.sleep(LIMIT_S)
                    return
                whole = f'HTTP/1.1 {status} So\r\nContent-Length: {len(body)}\r\n\r\n{body}'.encode()
                if not self.pace_s:
                    sock.sendall(whole)
                    continue
                for byte in whole:
                    gevent.sleep(self.pace_s)
                    try:
                        sock.sendall(bytes([byte]))
                    except OSError:
                        # The client has given up.
                        return

    def _answer(self, method: str, target: str) -> tuple[int | None, str]:
        """The response. Version 1 is supported, too: a request without a token gets the keys."""
        for end, answer in self.answers.items():
            if target.endswith(end):
                return answer
        if method == 'PUT' and target.endswith('/latest/api/token'):
            return self.token_status, TOKEN
        if target.endswith('/security-credentials/'):
            return 200, 'role'
        if target.endswith(('/security-credentials/role', '/container')):
            return 200, json.dumps(self.keys())
        return 404, ''

    def keys(self) -> dict[str, str]:
        """The document with the keys."""
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.lifetime_s)
        keys = {'AccessKeyId': 'key', 'SecretAccessKey': SECRET_ACCESS_KEY, 'Token': SESSION_TOKEN}
        return {**keys, 'Code': 'Success', 'Expiration': expiry.strftime('%Y-%m-%dT%H:%M:%SZ')}
