"""A small S3 server with keep-alive connections that misbehaves on demand.

    python -m tests.support.store [--port 0] [--cert PEM --key PEM]

It prints `listening on PORT control PORT` and serves until its standard input is closed, so that it never outlives the
tests that started it. Objects live in memory, requests are path-style, signatures are not verified.

The control port uses JSON over plain HTTP; its requests are neither logged nor counted:

    POST /_control/script   a list of rules (store_rules.Rule with a store_rules.Action), added to those in force
    POST /_control/mode     a store_mode.Mode's fields; fields that are missing are unchanged
    GET  /_control/log      the requests so far (store_rules.Seen)
    GET  /_control/stats    {"connections": accepted, "open": now, "peak_open": at most at once}
    POST /_control/reset    removes objects, rules, mode, log and figures

It must never import s3po or gevent: a server in the clients' runtime would hide errors when one of the two does not
yield.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import secrets
import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from tests.support import store_body, store_xml
from tests.support.store_answers import Answer
from tests.support.store_api import Api
from tests.support.store_mode import Mode
from tests.support.store_request import Request, flipped, operation_of, parse_target
from tests.support.store_rules import Action, Connections, Log, Rule, Script, Seen
from tests.support.store_state import Store
from tests.support.store_values import StoreError

LOOPBACK = '127.0.0.1'
SMALL_BODY_BYTES = 64 * 1024
# struct linger: on, for 0 seconds, which makes close() send RST.
LINGER_RESET = struct.pack('ii', 1, 0)


class Server(ThreadingHTTPServer):
    """The store with its log; each connection has a thread."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.store = Store()
        self.api = Api(self.store)
        self.script = Script()
        self.log = Log()
        self.connections = Connections()
        self._tls = tls
        super().__init__((LOOPBACK, port), _Connection)

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self.server_address[1])

    def reset(self) -> None:
        """Remove everything but the open connections."""
        self.script.reset()
        self.api.mode = Mode()
        self.store.reset()
        self.log.reset()
        self.connections.reset()

    def server_bind(self) -> None:
        """Bind without HTTPServer's DNS lookup."""
        super(ThreadingHTTPServer, self).server_bind()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; the TLS handshake is done in the connection's thread."""
        accepted, address = super().get_request()
        if self._tls is not None:
            accepted = self._tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        return accepted, address

    def shutdown_request(self, request: Any) -> None:
        """Close with FIN, or with RST if the connection was set to do so."""
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(LINGER_RESET)) == LINGER_RESET:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that have closed their connection; print all other errors."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    """One TCP connection and its requests, one after the other."""

    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.store_server = cast('Server', self.server)
        self.number = self.store_server.connections.opened()
        self.nth = 0
        try:
            super().setup()
        except OSError:  # the client has gone already, and finish() is not called
            self.store_server.connections.closed()
            raise

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.store_server.connections.closed()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        pass

    def handle_expect_100(self) -> bool:
        return True  # sent in _read_body, where the script may prevent it

    def _serve(self) -> None:
        self.nth += 1
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            headers[name.lower()] = f'{headers[name.lower()]},{value}' if name.lower() in headers else value
        # Not self.path: http.server replaces several slashes at its start by one.
        target = self.requestline.split()[1]
        try:
            bucket, key, query = parse_target(target)
        except StoreError as error:
            self.close_connection = True
            self._send(_refusal(error, target))
            return
        seen = Seen(
            connection=self.number,
            nth=self.nth,
            method=self.command,
            operation=operation_of(self.command, bucket, key, query, headers),
            bucket=bucket,
            key=key,
            query=query,
            headers=headers,
        )
        self.store_server.log.add(seen)
        try:
            with self.store_server.connections.serving(seen):
                self._act(seen, self.store_server.script.take(seen), target)
        finally:
            seen.ended = time.monotonic()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _act(self, seen: Seen, action: Action, target: str) -> None:
        try:
            answer = self._answer(seen, action)
        except StoreError as error:
            answer = _refusal(error, target)
        if action.status is not None:
            answer = _scripted(action, target)
        time.sleep(action.delay_s)
        if action.status is None and action.has_answer:
            self._break_off(action)
            return
        seen.status = answer.status
        self._send(_with_headers(answer, action), action, seen)

    def _answer(self, seen: Seen, action: Action) -> Answer:
        """The real response; an empty one if the script prevents the work."""
        headers = seen.headers
        if action.ignore_range:
            headers = {name: value for name, value in headers.items() if name != 'range'}
        body = b''
        if action.early:
            self.close_connection = True
            self.rfile.read(action.read_bytes)
        else:
            body = self._read_body(headers, says_continue=not action.no_continue)
            seen.body_bytes = len(body)
        if not action.does_work:
            return Answer(200)
        if action.flip_received_at is not None:
            body = flipped(body, action.flip_received_at)
        request = Request(seen.method, seen.bucket, seen.key, seen.query, headers, body, spoil_at=action.flip_stored_at)
        return self.store_server.api.carry_out(seen.operation, request)

    def _read_body(self, headers: Mapping[str, str], *, says_continue: bool) -> bytes:
        if says_continue and headers.get('expect', '').lower() == '100-continue':
            self.wfile.write(b'HTTP/1.1 100 Continue\r\n\r\n')
        try:
            return store_body.read_body(self.rfile, headers)
        except StoreError:
            self.close_connection = True  # the start of the next request is unknown
            raise

    def _break_off(self, action: Action) -> None:
        """End the connection without a response, or with an invalid one."""
        self.close_connection = True
        self._hang(action.hang_s)
        if action.raw is not None:
            for piece in _drops(action.raw.encode('latin-1'), action):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(action.drip_every_s)
        if action.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)

    def _send(self, answer: Answer, action: Action | None = None, seen: Seen | None = None) -> None:
        action = action or Action()
        if action.cut_body_at is not None or 'content-length' in {name.lower() for name in action.drop_headers}:
            self.close_connection = True
        head = _head(answer, is_last=self.close_connection, drop=action.drop_headers)
        body = b'' if self.command == 'HEAD' else _spoilt(answer.body, action)
        pieces = [head + body] if not action.drip_bytes and len(body) <= SMALL_BODY_BYTES else [head, *_drops(body, action)]
        for number, piece in enumerate(pieces):
            time.sleep(action.drip_every_s if number else 0.0)
            if seen is not None and number == len(pieces) - 1:
                seen.ended = time.monotonic()  # before the client has it, so that a client with a response finds it in the log
            self.wfile.write(piece)
        if action.cut_body_at is not None:
            self._break_off(action)

    def _hang(self, seconds: float) -> None:
        """Wait, but not after the client has closed the connection."""
        if seconds <= 0:
            return
        until = time.monotonic() + seconds
        readable, _, _ = select.select([self.connection], [], [], seconds)
        # TLS sockets cannot peek; with TLS, any data counts as the end.
        if readable and not isinstance(self.connection, ssl.SSLSocket):
            with contextlib.suppress(ConnectionError):
                if self.connection.recv(1, socket.MSG_PEEK):
                    time.sleep(max(0.0, until - time.monotonic()))


class _Control(BaseHTTPRequestHandler):
    """The control port; one request per connection."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        pass

    def _serve(self) -> None:
        server = cast('ControlServer', self.server).controlled
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        answer: Any = None
        try:
            match self.command, self.path:
                case 'POST', '/_control/script':
                    server.script.add([Rule.parse(each) for each in json.loads(body)])
                case 'POST', '/_control/mode':
                    server.api.mode = server.api.mode.changed(json.loads(body))
                case 'POST', '/_control/reset':
                    server.reset()
                case 'GET', '/_control/log':
                    answer = server.log.as_json()
                case 'GET', '/_control/stats':
                    answer = server.connections.as_json()
                case _:
                    raise ValueError(f'no {self.command} {self.path} here')
        except (ValueError, TypeError) as error:
            self._send(400, {'error': str(error)})
        else:
            self._send(200, answer)

    do_GET = do_POST = _serve  # noqa: N815 - http.server's names

    def _send(self, status: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class ControlServer(ThreadingHTTPServer):
    """Listens on a port of its own, so that control requests are not counted."""

    daemon_threads = True

    def __init__(self, controlled: Server) -> None:
        self.controlled = controlled
        super().__init__((LOOPBACK, 0), _Control)

    def server_bind(self) -> None:
        """Bind without HTTPServer's DNS lookup."""
        super(ThreadingHTTPServer, self).server_bind()


# ---------------------------------------------------------------------- responses


def _refusal(error: StoreError, resource: str) -> Answer:
    if error.status == http.client.NOT_MODIFIED:
        return Answer(error.status, error.headers)
    return _error_answer(error.status, error.code, error.message, error.headers, resource)


def _scripted(action: Action, resource: str) -> Answer:
    status = action.status or http.client.OK
    if action.body is not None:
        return Answer(status, action.headers, action.body.encode('latin-1'))
    return _error_answer(status, action.code, action.message, action.headers, resource)


def _error_answer(status: int, code: str, message: str, headers: Mapping[str, str], resource: str) -> Answer:
    request_id = secrets.token_hex(8).upper()
    body = store_xml.error_document(code, message, resource, request_id)
    return Answer(status, {'Content-Type': 'application/xml', 'x-amz-request-id': request_id, **headers}, body)


def _with_headers(answer: Answer, action: Action) -> Answer:
    added = {name.lower() for name in action.add_headers}
    kept = {name: value for name, value in answer.headers.items() if name.lower() not in added}
    return Answer(answer.status, {**kept, **action.add_headers}, answer.body)


def _head(answer: Answer, *, is_last: bool, drop: Sequence[str] = ()) -> bytes:
    fields = {
        'Date': formatdate(usegmt=True),
        'Server': 'tests',
        'x-amz-request-id': secrets.token_hex(8).upper(),
        'x-amz-id-2': 'tests',
    }
    if answer.status not in (http.client.NO_CONTENT, http.client.NOT_MODIFIED):
        fields['Content-Length'] = str(len(answer.body))
    if is_last:
        fields['Connection'] = 'close'
    given = {name.lower() for name in answer.headers}
    dropped = {name.lower() for name in drop}
    fields = {name: value for name, value in fields.items() if name.lower() not in given} | dict(answer.headers)
    lines = [f'{name}: {value}\r\n' for name, value in fields.items() if name.lower() not in dropped]
    reason = http.client.responses.get(answer.status, 'Scripted')
    return f'HTTP/1.1 {answer.status} {reason}\r\n{"".join(lines)}\r\n'.encode('latin-1')


def _drops(body: bytes | memoryview, action: Action) -> list[memoryview]:
    whole, step = memoryview(body), action.drip_bytes or max(1, len(body))
    return [whole[at : at + step] for at in range(0, len(whole), step)]


def _spoilt(body: bytes | memoryview, action: Action) -> bytes | memoryview:
    if action.flip_byte_at is not None:
        body = flipped(body, action.flip_byte_at)
    return body if action.cut_body_at is None else body[: action.cut_body_at]


# ---------------------------------------------------------------------- the program


def main() -> None:
    """Serve until standard input is closed."""
    parser = argparse.ArgumentParser(prog='tests.support.store', description='A small S3 server for tests.')
    parser.add_argument('--port', type=int, default=0, help='0 (the default) for a free one')
    parser.add_argument('--cert', help='PEM file of the certificate chain; with it, the store speaks TLS')
    parser.add_argument('--key', help='PEM file of the private key, unless it is in the same file')
    options = parser.parse_args()
    tls = None
    if options.cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.cert, options.key)
    server = Server(options.port, tls)
    control = ControlServer(server)
    for each in (server, control):
        threading.Thread(target=each.serve_forever, daemon=True).start()
    print(f'listening on {server.port} control {control.server_address[1]}', flush=True)
    sys.stdin.buffer.read()


if __name__ == '__main__':
    main()
