"""HTTP/1.1 over gevent, as far as a transfer engine needs it. It does not know S3.

- `client`: the pools of one hub.
- `pool`: the connections to one origin, and the exchange of a request for a response.
- `response`: one response, its head and its body.
- `connecting`: new connections: addresses, proxies, TLS.
- `addresses`: the addresses of a host name.
- `outbox`: small requests of many greenlets, sent together.
- `watchdog`: limits of time and speed.
- `connection`: one connection and its state.
- `stream`, `tls_stream`: the bytes of a connection, over TCP and over TLS.

Errors are s3po's own and describe what happened to the connection; the caller adds which operation failed.
"""

from s3po.http.client import HTTPClient, Timeouts
from s3po.http.connecting import Origin, TLSOptions
from s3po.http.connection import Connection, ConnectionLost, State
from s3po.http.pool import SEND_BYTES, Body, Pool
from s3po.http.response import Response, text_of
from s3po.http.stream import Stream

__all__ = [
    'SEND_BYTES',
    'Body',
    'Connection',
    'ConnectionLost',
    'HTTPClient',
    'Origin',
    'Pool',
    'Response',
    'State',
    'Stream',
    'TLSOptions',
    'Timeouts',
    'text_of',
]
