"""A metadata service, of EC2 and of containers, on real sockets, with scripted responses."""

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

# How long a request is left without an answer.
LIMIT_S: Final = 30
TOKEN: Final = f'{STEM}metadata'


class MetadataService:
    """EC2's metadata service, on a port of its own, and a proxy that is asked for it.

    Attributes:
        asked: The requests so far: method, target, and whether they bore the token.
        token_status: How a request for a token is answered; None for not at all.
        answers: How others are answered, in place of well: status (None for not at all) and body, by the target's end.
        lifetime_s: For how long the keys hold that it gives.
        authorization: What the last request bore as that.
        pace_s: How long it waits before each byte of an answer.
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
        """Where it is."""
        return f'http://127.0.0.1:{self._server.server_port}'

    def start(self) -> None:
        """Listen."""
        self._server.start()

    def stop(self) -> None:
        """Stop listening, and cut what is under way."""
        self._server.stop(timeout=1)

    def _serve(self, sock: Any, address: object) -> None:
        with sock, sock.makefile('rb') as lines:
            while True:
                # At its end a connection gives nothing for ever.
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
        """Version 1 is supported too: a request without a token gets the keys."""
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
        """The answer that holds keys."""
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.lifetime_s)
        keys = {'AccessKeyId': 'key', 'SecretAccessKey': SECRET_ACCESS_KEY, 'Token': SESSION_TOKEN}
        return {**keys, 'Code': 'Success', 'Expiration': expiry.strftime('%Y-%m-%dT%H:%M:%SZ')}
