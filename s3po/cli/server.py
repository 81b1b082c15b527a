"""The S3 server of the demonstration: moto's server in a process of its own, which refuses one part of uploads a few times.

    S3PO_PATCH=0 python -m s3po.cli.server [--refuse-part NUMBER] [--refuse-times COUNT]

It prints `listening on PORT` and serves on the loopback interface until its standard input is closed, so it never outlives
the process that started it. It uses native threads; S3PO_PATCH=0 keeps gevent out of it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from s3po.config import KIB
from s3po.errors import ConfigurationError, S3poError

__all__ = ['DemoServer', 'RefusedPart']

LOOPBACK = '127.0.0.1'
# The modules that moto's server imports.
NEEDED = ('moto', 'flask', 'flask_cors')
STOP_TIMEOUT_S = 10.0

# As S3 writes its errors: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
REFUSAL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>InternalError</Code><Message>refused on purpose</Message></Error>"""


class DemoServer:
    """The server as a subprocess, for the duration of a `with`.

    Attributes:
        port: The TCP port of the server; 0 before it has started.
    """

    def __init__(self, *, refuse_part: int, refuse_times: int) -> None:
        """
        Args:
            refuse_part: The number of the part that the server refuses, in all multipart uploads together.
            refuse_times: How many times it refuses that part.

        Raises:
            ConfigurationError: moto's server is not installed.
        """
        missing = [name for name in NEEDED if not _is_installed(name)]
        if missing:
            raise ConfigurationError(
                f"the demonstration needs moto's S3 server, and {', '.join(missing)} cannot be imported; "
                "install it by: pip install 's3po[cli]'"
            )
        self._arguments = ['--refuse-part', str(refuse_part), '--refuse-times', str(refuse_times)]
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def endpoint_url(self) -> str:
        """The URL of the server, for `Connection(endpoint_url=…)`."""
        return f'http://{LOOPBACK}:{self.port}'

    def __enter__(self) -> Self:
        """Start it, and wait until it listens.

        Raises:
            S3poError: It did not start; its error is on stderr.
        """
        self._process = subprocess.Popen(  # noqa: S603  (our own module, run by the same interpreter)
            # -P: ignore modules in the current directory, such as a user's moto.py.
            [sys.executable, '-P', '-m', 's3po.cli.server', *self._arguments],
            env={**os.environ, 'S3PO_PATCH': '0'},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C at the terminal goes to the command only, which needs the server for its cleanup.
            start_new_session=True,
        )
        try:
            self.port = self._read_port(self._process)
        except BaseException:
            # A server that has not printed its port does not read its standard input yet, so closing that would not end it.
            self._process.kill()
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop()

    def _read_port(self, process: subprocess.Popen[bytes]) -> int:
        words = [] if process.stdout is None else process.stdout.readline().split()
        if words[:2] != [b'listening', b'on']:
            raise S3poError('the S3 server of the demonstration did not start')
        return int(words[2])

    def _stop(self) -> None:
        process = self._process
        assert process is not None
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class RefusedPart:
    """WSGI middleware that refuses one part of multipart uploads the first few times."""

    def __init__(self, application: WSGIApplication, *, number: int, times: int) -> None:
        """
        Args:
            application: Handles all other requests.
            number: The number of the part.
            times: How many times it is refused, over all uploads.
        """
        self._application = application
        self._number = str(number)
        self._left = times
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        if not (self._is_the_part(environ) and self._take_refusal()):
            return self._application(environ, start_response)
        # If the connection were closed while the client still sends, it would get a reset instead of the response.
        _read_body(environ)
        headers = [('Content-Type', 'application/xml'), ('Content-Length', str(len(REFUSAL)))]
        start_response('500 Internal Server Error', headers)
        return [REFUSAL]

    def _is_the_part(self, environ: WSGIEnvironment) -> bool:
        query = parse_qs(environ.get('QUERY_STRING', ''))
        return environ['REQUEST_METHOD'] == 'PUT' and 'uploadId' in query and query.get('partNumber') == [self._number]

    def _take_refusal(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        # An import hook refused, or the module has no spec.
        return False


def _read_body(environ: WSGIEnvironment) -> None:
    stream = environ['wsgi.input']
    left = int(environ.get('CONTENT_LENGTH') or 0)
    while left and (read := stream.read(min(left, 64 * KIB))):
        left -= len(read)


def _serve(number: int, times: int) -> None:
    """Serve until standard input is closed."""
    # Imported here: the command imports this module before it has checked that moto is installed.
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    class QuietRequests(MotoRequestHandler):
        """moto's request handler without the log line for each request."""

        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
            pass

    application = RefusedPart(DomainDispatcherApplication(create_backend_app), number=number, times=times)
    server = make_server(LOOPBACK, 0, application, threaded=True, request_handler=QuietRequests)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f'listening on {server.port}\n')
    sys.stdout.flush()
    sys.stdin.buffer.read()


def main() -> None:
    """Read the arguments of the process, and serve."""
    parser = argparse.ArgumentParser(prog='python -m s3po.cli.server', description="moto's S3 server on a free port.")
    parser.add_argument('--refuse-part', type=int, default=1, help='the number of the part to refuse (default: %(default)s)')
    parser.add_argument('--refuse-times', type=int, default=0, help='how many times to refuse it (default: never)')
    options = parser.parse_args()
    _serve(options.refuse_part, options.refuse_times)


if __name__ == '__main__':
    main()
