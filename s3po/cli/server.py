"""The S3 server of the demonstration: moto's, in a process of its own, that refuses one part of its uploads for a while.

    S3PO_PATCH=0 python -m s3po.cli.server [--refuse-part NUMBER] [--refuse-times COUNT]

It prints `listening on PORT` and serves on the loopback interface until its standard input is closed, so it never outlives
whoever started it. It is moto on native threads: S3PO_PATCH=0 keeps gevent out of it.
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
# What moto's server cannot be imported without.
NEEDED = ('moto', 'flask', 'flask_cors')
STOP_TIMEOUT_S = 10.0

# As S3 writes its errors: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
REFUSAL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>InternalError</Code><Message>refused on purpose</Message></Error>"""


class DemoServer:
    """The server as a subprocess, running for as long as a `with` lasts.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, *, refuse_part: int, refuse_times: int) -> None:
        """
        Args:
            refuse_part: The number of the part of multipart uploads that is refused.
            refuse_times: How often it is.

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
        """What a Connection takes as endpoint_url."""
        return f'http://{LOOPBACK}:{self.port}'

    def __enter__(self) -> Self:
        """Start it, and wait until it listens.

        Raises:
            S3poError: It did not start; what it had to say is on stderr.
        """
        self._process = subprocess.Popen(  # noqa: S603  (our own module, by our own interpreter)
            # -P: a file of the user's called moto.py, here, is not what is meant.
            [sys.executable, '-P', '-m', 's3po.cli.server', *self._arguments],
            env={**os.environ, 'S3PO_PATCH': '0'},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C at the terminal is for the command alone, which still needs the server to clean up.
            start_new_session=True,
        )
        try:
            self.port = self._read_port(self._process)
        except BaseException:
            # One that has not told its port yet does not look at its standard input either.
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
    """A WSGI application around another one, that refuses one part of multipart uploads for the first few times."""

    def __init__(self, application: WSGIApplication, *, number: int, times: int) -> None:
        """
        Args:
            application: Answers everything else.
            number: The number of the part.
            times: How often it is refused, over all uploads.
        """
        self._application = application
        self._number = str(number)
        self._left = times
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if not (self._is_the_part(environ) and self._take_refusal()):
            return self._application(environ, start_response)
        # A client that still sends when the connection is closed would see a reset in place of the answer.
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
        # An import hook that says no, or a module without a spec.
        return False


def _read_body(environ: WSGIEnvironment) -> None:
    stream = environ['wsgi.input']
    left = int(environ.get('CONTENT_LENGTH') or 0)
    while left and (read := stream.read(min(left, 64 * KIB))):
        left -= len(read)


def _serve(number: int, times: int) -> None:
    """Serve until standard input is closed."""
    # Imported here: the command imports this module, and is to do without moto until it has found out whether there is one.
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    class QuietRequests(MotoRequestHandler):
        """moto's treatment of requests, without a line on stderr for each."""

        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  (the name is the base class's)
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
    parser.add_argument(
        '--refuse-part', type=int, default=1, help='the number of the part that is refused (default: %(default)s)'
    )
    parser.add_argument('--refuse-times', type=int, default=0, help='how often it is refused (default: never)')
    options = parser.parse_args()
    _serve(options.refuse_part, options.refuse_times)


if __name__ == '__main__':
    main()
