"""HTTP/1.1 over gevent: what a transfer engine needs of it, and nothing else.

What may live here: connections, their pools, requests as bytes and answers as status, headers and bytes. Nothing of S3.

- `pool`: the connections to one origin, and the exchange of a request for an answer.
- `response`: one answer, its head and its body.
- `connecting`: new connections: addresses, proxies, TLS.
- `addresses`: what a host name leads to.
- `connection`, `secure`: bytes over TCP, and over TLS.
- `outbox`: small requests of many greenlets, sent together.
- `watchdog`: the limits of time and speed.

Errors are s3po's own, and say what happened to the connection; what was being done is added by the caller.
"""

from s3po.http.client import HTTPClient, HTTPOptions, Timeouts
from s3po.http.connecting import Origin, TLSOptions
from s3po.http.connection import ConnectionLost
from s3po.http.pool import Body, Pool
from s3po.http.response import Response

__all__ = ['Body', 'ConnectionLost', 'HTTPClient', 'HTTPOptions', 'Origin', 'Pool', 'Response', 'TLSOptions', 'Timeouts']
