"""awscrt: the S3 client of AWS's common runtime, in C, with callbacks."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from awscrt.auth import AwsCredentialsProvider
from awscrt.http import HttpHeaders, HttpRequest
from awscrt.io import ClientTlsContext, TlsContextOptions
from awscrt.s3 import S3Client, S3RequestTlsMode, S3RequestType, create_default_s3_signing_config
from job import ACCESS_KEY, REGION, SECRET_KEY, Job
from objects import LARGE_KEY, keys

_WAIT_S = 600
# The number of its connections depends on this target; a lower one gives fewer than fifty.
_TARGET_GBPS = 50.0


class Crt:
    """`width` requests at once. It never signs payloads."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.host = urlsplit(job.endpoint).netloc
        options: dict[str, object] = {}
        if not job.is_default:
            options = {
                'part_size': job.part_bytes,
                'max_active_connections_override': job.width,
                'throughput_target_gbps': _TARGET_GBPS,
            }
        credentials = AwsCredentialsProvider.new_static(ACCESS_KEY, SECRET_KEY)
        self.client = S3Client(
            region=REGION,
            tls_mode=S3RequestTlsMode.ENABLED if job.ca else S3RequestTlsMode.DISABLED,
            tls_connection_options=_trusting(job.ca) if job.ca else None,
            signing_config=create_default_s3_signing_config(region=REGION, credential_provider=credentials),
            **options,
        )
        self.body = os.urandom(job.size_bytes) if job.verb == 'put' else b''

    def warm_up(self) -> None:
        names = keys(2 * self.job.width)
        if self.job.verb in {'put', 'put_directory'}:
            self._spread(lambda name, done: self._send(name, b'warm', done), names)
        elif self.job.verb in {'get', 'get_directory'}:
            self._spread(self._receive, names[: self.job.count])
        else:
            self._one('GET', type=S3RequestType.DEFAULT, operation_name='ListObjectsV2', path=f'/{self.job.bucket}')

    def put(self) -> list:
        return self._spread(lambda name, done: self._send(name, self.body, done), keys(self.job.count))

    def get(self) -> list:
        return self._spread(self._receive, keys(self.job.count))

    def put_directory(self) -> list:
        return self._spread(self._send_file, keys(self.job.count))

    def get_directory(self) -> list:
        return self._spread(self._receive_file, keys(self.job.count))

    def put_file(self) -> None:
        self._one('PUT', type=S3RequestType.PUT_OBJECT, send_filepath=self.job.path, size=self.job.size_bytes)

    def get_file(self) -> None:
        self._one('GET', type=S3RequestType.GET_OBJECT, recv_filepath=self.job.path)

    def _request(self, method: str, path: str, *, body: bytes | None = None, size: int = 0) -> HttpRequest:
        headers = HttpHeaders([('Host', self.host)])
        if method == 'PUT':
            headers.add('Content-Length', str(size))
        return HttpRequest(method, path, headers, None if body is None else io.BytesIO(body))

    def _one(self, method: str, *, path: str = '', size: int = 0, **options: object) -> None:
        """Makes one request and waits for it."""
        request = self._request(method, path or f'/{self.job.bucket}/{LARGE_KEY}', size=size)
        self.client.make_request(request=request, **options).finished_future.result(_WAIT_S)

    def _spread(self, start: Callable[[str, Callable], Callable[[], object]], names: list[str]) -> list:
        """Starts a request for each name, `width` at once; `start` returns a function that returns the result."""
        places = threading.Semaphore(self.job.width)
        failures: list[Exception] = []

        def done(*, error: Exception | None = None, **_: object) -> None:
            if error:
                failures.append(error)
            places.release()

        results = []
        for name in names:
            places.acquire()
            results.append(start(name, done))
        for _ in range(self.job.width):
            places.acquire()
        if failures:
            raise failures[0]
        return [result() for result in results]

    def _send(self, name: str, body: bytes, done: Callable) -> Callable[[], object]:
        request = self._request('PUT', f'/{self.job.bucket}/{name}', body=body, size=len(body))
        self.client.make_request(type=S3RequestType.PUT_OBJECT, request=request, on_done=done)
        return lambda: name

    def _receive(self, name: str, done: Callable) -> Callable[[], object]:
        chunks: list[bytes] = []
        self.client.make_request(
            type=S3RequestType.GET_OBJECT,
            request=self._request('GET', f'/{self.job.bucket}/{name}'),
            on_body=lambda chunk, **_: chunks.append(chunk),
            on_done=done,
        )
        return lambda: chunks[0] if len(chunks) == 1 else b''.join(chunks)

    def _send_file(self, name: str, done: Callable) -> Callable[[], object]:
        path = os.path.join(self.job.path, name)
        request = self._request('PUT', f'/{self.job.bucket}/{name}', size=os.path.getsize(path))
        self.client.make_request(type=S3RequestType.PUT_OBJECT, request=request, send_filepath=path, on_done=done)
        return lambda: name

    def _receive_file(self, name: str, done: Callable) -> Callable[[], object]:
        self.client.make_request(
            type=S3RequestType.GET_OBJECT,
            request=self._request('GET', f'/{self.job.bucket}/{name}'),
            recv_filepath=os.path.join(self.job.path, name),
            on_done=done,
        )
        return lambda: name


def _trusting(ca: str) -> object:
    options = TlsContextOptions()
    options.override_default_trust_store_from_path(None, ca)
    return ClientTlsContext(options).new_connection_options()
