"""Makes the same call through both transports, to compare the requests and the results of given responses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

from s3po.endpoints.resolver import Places
from s3po.endpoints.routes import Routes
from s3po.endpoints.settings import ClientSettings
from s3po.endpoints.signing_keys import key_source
from s3po.errors import S3poError
from s3po.model import DeleteFailure
from s3po.s3 import Transport
from s3po.transport.wire import WireTransport
from s3po.transport.wire.requests import Requester
from tests.support.wire import Canned, FakeClient, Reference, Sent

__all__ = ['STORES', 'Both', 'Call', 'outcome']

Call = Callable[[Transport], object]

# The headers in which the two transports may differ, with the reason.
DIFFERENT: Final = {
    'authorization': 'it is of all the others; compared is whether there is one',
    'x-amz-date': 'the one is a moment later than the other',
    'accept-encoding': 'the wire says it only where an answer has a body to be read',
    'user-agent': 'each says who it is',
    'amz-sdk-invocation-id': "botocore's, for AWS's statistics",
    'amz-sdk-request': "botocore's, for AWS's statistics",
    'expect': 'the connection announces a large body, not the request',
    'content-length': 'compared as a number: botocore says 0 where there is no body',
}
# Headers of requests with a document: we send its content type, botocore does not. DeleteObjects needs a digest: botocore sends
# a
# checksum, which not every store supports, and we send Content-MD5.
OF_DOCUMENTS: Final = {'content-type', 'content-md5', 'x-amz-checksum-crc32', 'x-amz-sdk-checksum-algorithm'}

KEYS: Final[Any] = {'access_key_id': 'key', 'secret_access_key': 'secret'}
STORES: Final[dict[str, dict[str, Any]]] = {
    'path': {'endpoint_url': 'http://127.0.0.1:9000', 'region': 'us-east-1', **KEYS},
    'virtual': {
        'endpoint_url': 'http://s3.example.com/base',
        'region': 'eu-central-1',
        'addressing_style': 'virtual',
        'session_token': 'token/+=',
        **KEYS,
    },
    'anonymous': {'endpoint_url': 'http://127.0.0.1:9000', 'region': 'us-east-1', 'anonymous': True},
}


# The endpoint in error messages differs between the two.
ENDPOINT = re.compile(r' \(endpoint [^)]*\)|, endpoint [^)]*')


class Both:
    """The two transports for one store.

    Attributes:
        client: The fake HTTP client of the wire transport.
        reference: The other transport.
    """

    def __init__(self, **settings: Any) -> None:
        """
        Args:
            settings: ClientSettings.
        """
        self.client = FakeClient(Canned())
        self.reference = Reference(**settings)
        given = ClientSettings(**settings)
        places = Places(given, lambda: self.reference.transport.client)
        keys = key_source(given, lambda: self.reference.transport.client)
        client: Any = self.client
        self.wire = WireTransport(Requester(Routes(places, client), keys))

    def by_wire(self, call: Call, *answers: Canned) -> Any:
        """The requests of the wire transport for a call, and its result or error, in the form of by_reference().

        Args:
            call: The call.
            answers: The responses; the last one is repeated.
        """
        self.client.answer(*answers)
        self.client.sent.clear()
        self.client.connections.clear()
        value = outcome(call, self.wire)
        assert all(each.state != 'used' for each in self.client.connections), 'a connection was kept'
        return [comparable(each) for each in self.client.sent], value

    def by_reference(self, call: Call, *answers: Canned) -> Any:
        """The same for the reference transport."""
        self.reference.answer(*answers)
        self.reference.sent.clear()
        value = outcome(call, self.reference.transport)
        return [comparable(each) for each in self.reference.sent], value


def outcome(call: Call, transport: Transport) -> Any:
    """The result or error of a call, in a form that can be compared."""
    try:
        return _plain(call(transport))
    except S3poError as error:
        return _told(error)


def _plain(found: Any) -> Any:
    if isinstance(found, list):
        return [_plain(each) for each in found]
    if isinstance(found, DeleteFailure):
        return (found.key, found.version_id, _told(found.error))
    if not hasattr(found, 'close'):
        return found
    facts = (found.info, found.checksum, found.etag, found.version_id, found.status, found.offset, found.size_bytes)
    try:
        body = found.read(3) + found.read(1000)
        return (*facts, body, found.read(1))
    finally:
        found.close()
        found.close()


def _told(error: S3poError) -> Any:
    return (type(error), ENDPOINT.sub('', str(error)), error.__dict__)


def comparable(sent: Sent) -> Any:
    """The parts of a request that must be equal."""
    query = sorted((unquote(name), unquote(value)) for name, _, value in (each.partition('=') for each in sent.query))
    ignored = DIFFERENT.keys() | (OF_DOCUMENTS if sent.method == 'POST' and sent.body else set())
    names = {name.lower() for name, _ in sent.headers} - ignored
    headers = {name: sent[name] for name in names}
    length = int(sent['content-length'] or 0)
    return sent.method, sent.path, query, headers, sent.body, length, sent['authorization'] is None
