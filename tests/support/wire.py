"""The wire transport without a network: requests are recorded, and the test supplies the responses."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final

from botocore.awsrequest import AWSResponse

from s3po.body import Chunk
from s3po.credentials.keys import Keys
from s3po.endpoints.addressing import Place, is_region
from s3po.endpoints.boto_client import build_client
from s3po.endpoints.routes import Routes
from s3po.endpoints.settings import ClientSettings
from s3po.http import Connection, Origin, Response, State
from s3po.transport.boto import BotoTransport
from s3po.transport.wire.requests import Requester
from tests.support.fake_stream import FakeStream

__all__ = [
    'KEYS',
    'PLACE',
    'Canned',
    'FakeClient',
    'FakeKeys',
    'FakePlaces',
    'Reference',
    'Sent',
    'requester',
]

KEYS: Final = Keys(access_key_id='key', secret_access_key='secret')
PLACE: Final = Place(scheme='http', host='store', port=9000, host_header='store:9000', path='/bucket/', region='us-east-1')


@dataclass(frozen=True, slots=True, kw_only=True)
class Canned:
    """A response, for either transport.

    Attributes:
        status: The status.
        headers: The headers; Content-Length is added unless it is present or None.
        body: The body, which is not sent in response to a HEAD.
        cut_bytes: The number of bytes that are missing at the end of the body.
    """

    status: int = 200
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes = b''
    cut_bytes: int = 0

    @property
    def has_body(self) -> bool:
        return self.status not in (204, 304)

    def all_headers(self) -> dict[str, str]:
        length = {'Content-Length': str(len(self.body))} if self.has_body else {}
        return {name: value for name, value in {**length, **self.headers}.items() if value is not None}

    def head(self) -> bytes:
        reason = HTTPStatus(self.status).phrase if self.status in iter(HTTPStatus) else ''
        lines = [f'HTTP/1.1 {self.status} {reason}', *(f'{name}: {value}' for name, value in self.all_headers().items())]
        return ('\r\n'.join(lines) + '\r\n\r\n').encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request that was sent.

    Attributes:
        method: The HTTP method.
        target: The escaped path and query.
        headers: The headers in order, with names as they were sent.
        body: The body.
    """

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition('?')[0]

    @property
    def query(self) -> list[str]:
        """The escaped parts of the query, in order."""
        query = self.target.partition('?')[2]
        return query.split('&') if query else []

    def __getitem__(self, name: str) -> str | None:
        """The value of a header, or None. The header must not be sent twice."""
        found = [value for each, value in self.headers if each.lower() == name]
        assert len(found) <= 1, f'{name} was sent {len(found)} times'
        return found[0] if found else None

    @classmethod
    def parse(cls, head: bytes, body: bytes | Chunk) -> Sent:
        """Parse a head; every line must be valid."""
        assert head.endswith(b'\r\n\r\n')
        first, *lines = head.decode()[:-4].split('\r\n')
        method, target, version = first.split(' ')
        assert version == 'HTTP/1.1'
        headers = [(name, value) for name, _, value in (line.partition(':') for line in lines)]
        return cls(method=method, target=target, headers=headers, body=body if isinstance(body, bytes) else _all_of(body))


class FakeClient:
    """Replaces HTTPClient: returns the given responses in order, and repeats the last one.

    Attributes:
        sent: The requests.
        origins: Their origins.
        connections: The connections of the responses.
        is_closed: Whether it was closed.
    """

    def __init__(self, *answers: Canned | Exception) -> None:
        self._answers = list(answers)
        self.sent: list[Sent] = []
        self.origins: list[Origin] = []
        self.connections: list[Used] = []
        self.is_closed = False

    def answer(self, *answers: Canned | Exception) -> None:
        """Set the next responses."""
        self._answers = list(answers)

    def pool(self, origin: Origin) -> FakePool:
        return FakePool(self, origin)

    def close(self) -> None:
        self.is_closed = True

    def next_answer(self) -> Canned | Exception:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class FakePool:
    """Replaces a pool."""

    def __init__(self, client: FakeClient, origin: Origin) -> None:
        self._client = client
        self._origin = origin

    def exchange(
        self, head: bytes, body: bytes | Chunk = b'', *, has_body: bool = True, is_idempotent: bool = True
    ) -> Response:
        client = self._client
        client.sent.append(Sent.parse(head, body))
        client.origins.append(self._origin)
        answer = client.next_answer()
        if isinstance(answer, Exception):
            raise answer
        has_body = has_body and answer.has_body
        told = answer.body[: len(answer.body) - answer.cut_bytes] if has_body else b''
        used = Used(answer.head(), told)
        client.connections.append(used)
        response = Response(used.connection, _give_back)
        response.receive_head(has_body=has_body)
        return response


def _give_back(connection: Connection) -> None:
    # The stream has ended, so the connection is closed if bytes follow the body.
    connection._enter(State.IDLE)


class Used:
    """A connection with one response, which then ends."""

    def __init__(self, *pieces: bytes) -> None:
        stream = FakeStream(*pieces)
        stream.end()
        self.connection = Connection(stream, 'fake')
        self.connection.begin()

    @property
    def state(self) -> str:
        """'used', 'given back' or 'closed'."""
        return {State.IDLE: 'given back', State.CLOSED: 'closed'}.get(self.connection.state, 'used')


class FakeKeys:
    """Replaces a source of keys.

    Attributes:
        current: The keys.
        can_refresh: Whether they can be refreshed.
        expired: The keys that were reported as expired.
    """

    def __init__(self, current: Keys | None = KEYS, *, can_refresh: bool = False) -> None:
        self.current = current
        self.can_refresh = can_refresh
        self.expired: list[Keys | None] = []

    def expire(self, keys: Keys | None) -> None:
        self.expired.append(keys)


class Reference:
    """The reference transport, with a botocore client that sends nothing.

    Attributes:
        transport: The transport.
        sent: The requests.
    """

    def __init__(self, **given: Any) -> None:
        """
        Args:
            given: ClientSettings.
        """
        client = build_client(ClientSettings(**given))
        client.meta.events.register('before-send.s3', self._send)
        self.transport = BotoTransport(client)
        self.sent: list[Sent] = []
        self._answers: list[Canned] = []

    def answer(self, *answers: Canned) -> None:
        """Set the next responses; the last one is repeated."""
        self._answers = list(answers)

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self.sent.append(_read(request))
        body = answer.body if answer.has_body and request.method != 'HEAD' else b''
        return AWSResponse(request.url, answer.status, answer.all_headers(), _Raw(body[: len(body) - answer.cut_bytes]))


class _Raw(io.BytesIO):
    """A body as urllib3 returns it: it can be closed and read again."""

    def read(self, size: int | None = -1) -> bytes:
        return b'' if self.closed else super().read(size)

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


def _all_of(chunk: Chunk) -> bytes:
    return b''.join(map(bytes, chunk.pieces(memoryview(bytearray(64 * 1024)))))


def _read(request: Any) -> Sent:
    """The request of a botocore client, whose URL contains the host."""
    rest = request.url.partition('://')[2]
    host, slash, target = rest.partition('/')
    headers = [(name, value.decode() if isinstance(value, bytes) else str(value)) for name, value in request.headers.items()]
    if 'host' not in request.headers:
        headers.append(('host', host))
    body = request.body
    if hasattr(body, 'read'):
        body = body.read()
    return Sent(method=request.method, target=slash + target, headers=headers, body=bytes(body or b''))


class FakePlaces:
    """Replaces Places: every bucket is at one place, until the store reports another region.

    Attributes:
        found: The buckets that were looked up.
        relearned: The regions that were reported.
    """

    def __init__(self, place: Place = PLACE) -> None:
        self._place = place
        self.found: list[str] = []
        self.relearned: list[tuple[str, str]] = []

    def find(self, bucket: str) -> Place:
        self.found.append(bucket)
        return self._place

    def relearn(self, bucket: str, region: str) -> Place:
        self.relearned.append((bucket, region))
        if is_region(region):
            self._place = replace(self._place, region=region)
        return self._place


def requester(
    client: FakeClient,
    *,
    places: FakePlaces | None = None,
    keys: FakeKeys | None = None,
    payload_signing: str = 'auto',
    user_agent: str = '',
) -> Requester:
    """A requester with all these fakes."""
    fake: Any = client
    fake_places: Any = FakePlaces() if places is None else places
    routes = Routes(fake_places, fake, payload_signing=payload_signing)
    return Requester(routes, FakeKeys() if keys is None else keys, user_agent=user_agent)
