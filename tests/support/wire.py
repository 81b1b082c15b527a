"""The wire transport without a network: requests are recorded, responses are given by the test."""

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
    """One answer, for either transport.

    Attributes:
        status: The status.
        headers: The headers, but for the length; Content-Length None for none.
        body: The body; that of an answer to a HEAD is not sent.
        cut_bytes: How much of the body is missing at its end.
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
    """One request, as it went out.

    Attributes:
        method: HTTP's.
        target: The escaped path and query.
        headers: In order, names as they were sent.
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
        """The query's parts, escaped, in order."""
        query = self.target.partition('?')[2]
        return query.split('&') if query else []

    def __getitem__(self, name: str) -> str | None:
        """A header's value; None for none. It must not be there twice."""
        found = [value for each, value in self.headers if each.lower() == name]
        assert len(found) <= 1, f'{name} was sent {len(found)} times'
        return found[0] if found else None

    @classmethod
    def parse(cls, head: bytes, body: bytes | Chunk) -> Sent:
        """Read a head, of which every line has to be one."""
        assert head.endswith(b'\r\n\r\n')
        first, *lines = head.decode()[:-4].split('\r\n')
        method, target, version = first.split(' ')
        assert version == 'HTTP/1.1'
        headers = [(name, value) for name, _, value in (line.partition(':') for line in lines)]
        return cls(method=method, target=target, headers=headers, body=body if isinstance(body, bytes) else _all_of(body))


class FakeClient:
    """In the place of HTTPClient: gives the canned answers one after the other, the last one again and again.

    Attributes:
        sent: What was sent.
        origins: Where to.
        connections: What the answers came on.
        is_closed: Whether it was closed.
    """

    def __init__(self, *answers: Canned | Exception) -> None:
        self._answers = list(answers)
        self.sent: list[Sent] = []
        self.origins: list[Origin] = []
        self.connections: list[Used] = []
        self.is_closed = False

    def answer(self, *answers: Canned | Exception) -> None:
        """What comes from now on."""
        self._answers = list(answers)

    def pool(self, origin: Origin) -> FakePool:
        return FakePool(self, origin)

    def close(self) -> None:
        self.is_closed = True

    def next_answer(self) -> Canned | Exception:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class FakePool:
    """In the place of a pool."""

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
    # The stream has ended, so that rest() refuses it behind a body.
    connection._enter(State.IDLE)


class Used:
    """A connection that has one answer, and then ends."""

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
    """In the place of a source of keys.

    Attributes:
        current: The keys.
        can_refresh: Whether they can be replaced.
        expired: What was said to be expired.
    """

    def __init__(self, current: Keys | None = KEYS, *, can_refresh: bool = False) -> None:
        self.current = current
        self.can_refresh = can_refresh
        self.expired: list[Keys | None] = []

    def expire(self, keys: Keys | None) -> None:
        self.expired.append(keys)


class Reference:
    """The reference transport, over a client of botocore's that sends nothing.

    Attributes:
        transport: The transport.
        sent: What it would have sent.
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
        """What comes from now on; the last one again and again."""
        self._answers = list(answers)

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self.sent.append(_read(request))
        body = answer.body if answer.has_body and request.method != 'HEAD' else b''
        return AWSResponse(request.url, answer.status, answer.all_headers(), _Raw(body[: len(body) - answer.cut_bytes]))


class _Raw(io.BytesIO):
    """A body, as urllib3 gives it: it may be closed, and read, again."""

    def read(self, size: int | None = -1) -> bytes:
        return b'' if self.closed else super().read(size)

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


def _all_of(chunk: Chunk) -> bytes:
    return b''.join(map(bytes, chunk.pieces(memoryview(bytearray(64 * 1024)))))


def _read(request: Any) -> Sent:
    """A request of botocore's, whose URL names the host."""
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
    """In the place of Places: every bucket is at one place, until the store says otherwise.

    Attributes:
        found: The buckets that were asked for.
        relearned: The regions that were told.
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
    """A requester over all these."""
    fake: Any = client
    fake_places: Any = FakePlaces() if places is None else places
    routes = Routes(fake_places, fake, payload_signing=payload_signing)
    return Requester(routes, FakeKeys() if keys is None else keys, user_agent=user_agent)
