"""Starts servers for tests, each in its own process.

It works with and without gevent's patch. A server finds a free port and prints it in its first line, so that parallel test runs
do not collide. It ends when its standard input closes, so it never outlives the tests.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import trustme

__all__ = ['CHECKOUT', 'Authority', 'MotoServer', 'Server', 'Store']

LOOPBACK = '127.0.0.1'
CHECKOUT = Path(__file__).resolve().parents[2]
STOP_TIMEOUT_S = 10.0
CONTROL_TIMEOUT_S = 30.0


class Authority:
    """A certificate authority and a server certificate for 127.0.0.1 and localhost.

    Args:
        directory: The directory for the PEM files.

    Attributes:
        ca_pem: The authority that a client has to trust (`verify=`, AWS_CA_BUNDLE).
        server_pem: The server's private key and certificate chain.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        authority = trustme.CA()
        self.ca_pem = Path(directory, 'ca.pem')
        self.server_pem = Path(directory, 'server.pem')
        authority.cert_pem.write_to_path(self.ca_pem)
        authority.issue_cert(LOOPBACK, 'localhost').private_key_and_cert_chain_pem.write_to_path(self.server_pem)


class Server:
    """One server as a subprocess.

    Args:
        module: The module for `python -m`; it prints `listening on PORT …` and ends when its standard input is closed.
        authority: The server uses TLS with its certificate; None for plain HTTP.
        environment: Variables to set for the server.
        options: Options of its command line.
    """

    def __init__(self, module: str, authority: Authority | None, environment: Mapping[str, str], *options: str) -> None:
        command = [sys.executable, '-m', module, *options]
        if authority is not None:
            command += ['--cert', str(authority.server_pem)]
        self._process = subprocess.Popen(
            command, cwd=CHECKOUT, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._authority = authority
        stdout = self._process.stdout
        words = stdout.readline().decode().split() if stdout is not None else []
        if words[:2] != ['listening', 'on']:
            self.stop()
            raise RuntimeError(f'{module} did not start: exit code {self._process.returncode}')
        self.port = int(words[2])
        self._more_words = words[3:]

    @property
    def endpoint_url(self) -> str:
        """The URL for clients."""
        return f'{"http" if self._authority is None else "https"}://{LOOPBACK}:{self.port}'

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def create_bucket(self, name: str) -> None:
        """Make a bucket, in one request. (`Connection.create_bucket` builds a boto3 client first, which takes longer.)"""
        _exchange(self._new_connection(), 'PUT', f'/{name}', b'')

    def stop(self) -> None:
        """End the server and wait for it; a second call does nothing."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _new_connection(self) -> http.client.HTTPConnection:
        """A connection to the port that clients use."""
        if self._authority is None:
            return http.client.HTTPConnection(LOOPBACK, self.port, timeout=CONTROL_TIMEOUT_S)
        trusted = ssl.create_default_context(cafile=str(self._authority.ca_pem))
        return http.client.HTTPSConnection(LOOPBACK, self.port, timeout=CONTROL_TIMEOUT_S, context=trusted)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()


class Store(Server):
    """The scriptable store of tests.support.store.

    Args:
        authority: The store uses TLS with its certificate; None for plain HTTP.
    """

    def __init__(self, authority: Authority | None = None) -> None:
        super().__init__('tests.support.store', authority, {})
        self._control_port = int(self._more_words[1])

    def script(self, *rules: Mapping[str, Any]) -> None:
        """Add rules after those in force.

        Args:
            *rules: Each as store_rules.Rule describes, with `action` as in store_rules.Action.

        Raises:
            ValueError: A rule is invalid.
        """
        self._control('POST', 'script', rules)

    def log(self, operation: str | None = None) -> list[dict[str, Any]]:
        """The requests so far in order of arrival, as store_rules.Seen describes them.

        Args:
            operation: Only those of this operation.
        """
        seen = cast('list[dict[str, Any]]', self._control('GET', 'log'))
        return [each for each in seen if operation in (None, each['operation'])]

    def stats(self) -> dict[str, int]:
        """`connections` accepted since the last reset, `open` now, `peak_open` at once."""
        return cast('dict[str, int]', self._control('GET', 'stats'))

    def mode(self, **fields: str) -> None:
        """Make it another kind of store, until the next reset.

        Args:
            **fields: As store_mode.Mode describes; fields that are not passed are unchanged.

        Raises:
            ValueError: There is no such field or choice.
        """
        self._control('POST', 'mode', fields)

    def reset(self) -> None:
        """Remove objects, rules, mode, log and figures; open connections stay open."""
        self._control('POST', 'reset')

    def _control(self, method: str, what: str, content: Sequence[Any] | Mapping[str, Any] = ()) -> object:
        connection = http.client.HTTPConnection(LOOPBACK, self._control_port, timeout=CONTROL_TIMEOUT_S)
        return json.loads(_exchange(connection, method, f'/_control/{what}', json.dumps(content).encode()))


class MotoServer(Server):
    """moto behind a real HTTP server; it closes the connection after each response.

    Args:
        authority: The server uses TLS with its certificate; None for plain HTTP.
    """

    def __init__(self, authority: Authority | None = None) -> None:
        super().__init__('tests.support.moto_app', authority, {'S3PO_PATCH': '0'})

    def reset(self) -> None:
        """Remove all objects."""
        _exchange(self._new_connection(), 'POST', '/moto-api/reset', b'')


def _exchange(connection: http.client.HTTPConnection, method: str, path: str, body: bytes) -> bytes:
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ValueError(content.decode())
    return content
