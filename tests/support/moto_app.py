"""moto's S3 (and all its other services) behind a real HTTP server.

    python -m tests.support.moto_app [--cert PEM] [--key PEM]

It prints `listening on PORT` and serves until its standard input is closed. It has no keep-alive: each
response ends its connection.
"""

from __future__ import annotations

import argparse
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server


class _QuietRequests(MotoRequestHandler):
    """moto's request handler, without a line on stderr for each request."""

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass


def main() -> None:
    """Serve until standard input is closed."""
    parser = argparse.ArgumentParser(prog='tests.support.moto_app', description='moto behind an HTTP server.')
    parser.add_argument('--cert', help='PEM file of the certificate chain; with it, the server speaks TLS')
    parser.add_argument('--key', help='PEM file of the private key, unless it is in the same file')
    options = parser.parse_args()
    server = make_server(
        '127.0.0.1',
        0,
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
        request_handler=_QuietRequests,
        ssl_context=(options.cert, options.key) if options.cert else None,
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f'listening on {server.port}', flush=True)
    sys.stdin.buffer.read()


if __name__ == '__main__':
    main()
