"""Requests as they are sent: line, headers, signature, and what is cached for the next request."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from s3po.body import BytesChunk, Chunk
from s3po.config import __version__
from s3po.credentials.keys import Keys
from s3po.endpoints import routes
from s3po.endpoints.resolver import Place
from s3po.errors import ConfigurationError
from s3po.http import Origin
from s3po.s3.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD
from s3po.transport.wire import requests
from s3po.transport.wire.requests import Requester
from s3po.transport.wire.response_headers import Operation
from tests.support.wire import KEYS, PLACE, Canned, FakeClient, FakeKeys, FakePlaces, Sent, requester

NOW = 1_369_353_600.7
TEMPORARY = Keys(access_key_id='temporary', secret_access_key='secret', session_token='token/+=')
GET = Operation('GetObject', 'bucket', 'a/key')
PUT = Operation('PutObject', 'bucket', 'a/key')
LIST = Operation('ListObjectsV2', 'bucket')


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the clock to 2013-05-24T00:00:00Z."""
    monkeypatch.setattr(requests, 'time', SimpleNamespace(time=lambda: NOW))


@pytest.fixture
def client() -> FakeClient:
    return FakeClient(Canned())


def send(sender: Requester, client: FakeClient, operation: Operation, method: str, **given: Any) -> Sent:
    """Send one request; returns what the server receives."""
    sender.send(operation, method, **given).close()
    return client.sent[-1]


def signed_by_botocore(sent: Sent, place: Place, keys: Keys, *, is_body_signed: bool) -> str:
    """botocore's Authorization header for a request that was sent."""
    own = ('authorization', 'x-amz-date', 'x-amz-content-sha256', 'x-amz-security-token')
    unsigned = ('accept-encoding', 'content-length', 'user-agent')
    headers = {name: value for name, value in sent.headers if name not in (*own, *unsigned)}
    theirs = AWSRequest(method=sent.method, url=f'{place.scheme}://{place.host_header}{sent.target}', headers=headers)
    theirs.data = sent.body
    theirs.context['client_config'] = Config(s3={'payload_signing_enabled': is_body_signed})
    moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    credentials = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
    with mock.patch.object(botocore.auth, 'get_current_datetime', return_value=moment):
        botocore.auth.S3SigV4Auth(credentials, place.service, place.region).add_auth(theirs)
    return str(theirs.headers['Authorization'])


def test_a_whole_head(client: FakeClient) -> None:
    """A request without headers of its own has only the necessary ones."""
    sent = send(requester(client), client, GET, 'GET')

    assert (sent.method, sent.target, sent.body) == ('GET', '/bucket/a/key', b'')
    assert sent.headers == [
        ('host', 'store:9000'),
        ('x-amz-content-sha256', EMPTY_SHA256),
        ('x-amz-date', '20130524T000000Z'),
        ('authorization', signed_by_botocore(sent, PLACE, KEYS, is_body_signed=True)),
        ('accept-encoding', 'identity'),
        ('user-agent', f's3po/{__version__}'),
    ]


texts = st.text(st.one_of(st.sampled_from(' /+%=&?#~.é€'), st.characters(min_codepoint=32, exclude_categories=['Cs', 'Cc'])))
names = st.sampled_from(
    ['content-type', 'x-amz-meta-a', 'x-amz-meta-b', 'range', 'expect', 'cache-control', 'x-amz-checksum-mode', 'zzz']
)


@given(
    key=texts.filter(bool),
    query=st.dictionaries(texts, texts, max_size=3),
    headers=st.dictionaries(names, texts, max_size=4),
    body=st.sampled_from([b'', b'data', BytesChunk(b'data')]),
    keys=st.sampled_from([KEYS, TEMPORARY, replace(TEMPORARY, session_token='a  token')]),
    signing=st.sampled_from(['signed', 'unsigned']),
    place=st.sampled_from(
        [PLACE, replace(PLACE, scheme='https', port=443, host_header='store', region='x', service='s3-outposts')]
    ),
)
def test_signed_as_botocore(
    key: str, query: dict[str, str], headers: dict[str, str], body: bytes | Chunk, keys: Keys, signing: str, place: Place
) -> None:
    """For every request the signature equals botocore's, and headers are sent unchanged."""
    client = FakeClient(Canned())
    sender = requester(client, places=FakePlaces(place), keys=FakeKeys(keys), payload_signing=signing)
    operation = Operation('PutObject', 'bucket', key)
    sent = send(sender, client, operation, 'PUT', query=query, headers=headers, body=body, is_object_data=True)

    assert sent['authorization'] == signed_by_botocore(sent, place, keys, is_body_signed=signing == 'signed')
    assert {name: sent[name] for name in headers} == headers


@pytest.mark.parametrize('keys', [KEYS, TEMPORARY])
@pytest.mark.parametrize('value', ['ENABLED', 'two words', 'two  blanks', '\xa0', ''])
@pytest.mark.parametrize('name', sorted(requests.SHORT_WAY))
def test_single_headers(client: FakeClient, name: str, value: str, keys: Keys) -> None:
    """A request with one known header is signed by a shorter code path, with the same signature."""
    sent = send(requester(client, keys=FakeKeys(keys)), client, GET, 'GET', headers={name: value})

    assert sent[name] == value
    assert sent['authorization'] == signed_by_botocore(sent, PLACE, keys, is_body_signed=True)


def test_headers_go_out_as_they_were_given(client: FakeClient) -> None:
    """Headers are sent unchanged; only the signature uses the canonical form, in which repeated blanks are one."""
    headers = {'x-amz-meta-a': ' two  blanks\tand a tab ', 'user-agent': 'mine', 'expect': 'x', 'x-amz-meta-empty': ''}
    sent = send(requester(client), client, PUT, 'PUT', headers=headers, body=b'x')

    assert {name: sent[name] for name in headers} == headers
    assert 'SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-meta-a;x-amz-meta-empty,' in str(sent['authorization'])
    assert sent['authorization'] == signed_by_botocore(sent, PLACE, KEYS, is_body_signed=True)


@pytest.mark.parametrize(
    ('place', 'keys'), [(PLACE, None), (replace(PLACE, auth='none'), KEYS), (replace(PLACE, auth='none'), None)]
)
def test_unsigned(client: FakeClient, place: Place, keys: Keys | None) -> None:
    """Without keys, or for unsigned places, no header contains identity or time."""
    sender = requester(client, places=FakePlaces(place), keys=FakeKeys(keys))
    sent = send(sender, client, PUT, 'PUT', headers={'x-amz-acl': 'private'}, body=b'data')

    assert sent.headers == [
        ('host', 'store:9000'),
        ('x-amz-acl', 'private'),
        ('content-length', '4'),
        ('user-agent', f's3po/{__version__}'),
    ]


@pytest.mark.parametrize(('token', 'said'), [('token/+=', 'token/+='), (None, None), ('', None)])
def test_session_token(client: FakeClient, token: str | None, said: str | None) -> None:
    """The session token is sent and signed; an empty one, as from an empty AWS_SESSION_TOKEN, is ignored."""
    keys = replace(KEYS, session_token=token)
    sent = send(requester(client, keys=FakeKeys(keys)), client, GET, 'GET')

    assert sent['x-amz-security-token'] == said
    assert sent['authorization'] == signed_by_botocore(sent, PLACE, keys, is_body_signed=True)


DATA_SHA256 = hashlib.sha256(b'data').hexdigest()


@pytest.mark.parametrize(
    ('signing', 'scheme', 'is_object_data', 'said'),
    [
        ('auto', 'https', True, UNSIGNED_PAYLOAD),
        ('auto', 'http', True, DATA_SHA256),
        ('signed', 'https', True, DATA_SHA256),
        ('signed', 'http', True, DATA_SHA256),
        ('unsigned', 'https', True, UNSIGNED_PAYLOAD),
        ('unsigned', 'http', True, UNSIGNED_PAYLOAD),
        # A document is small, and always signed.
        ('auto', 'https', False, DATA_SHA256),
        ('unsigned', 'http', False, DATA_SHA256),
    ],
)
@pytest.mark.parametrize('body', [b'data', BytesChunk(b'data')])
def test_payload_signing(
    client: FakeClient, signing: str, scheme: str, is_object_data: bool, said: str, body: bytes | Chunk
) -> None:
    """payload_signing='auto' signs the data of an object if it is not sent over TLS."""
    sender = requester(client, places=FakePlaces(replace(PLACE, scheme=scheme)), payload_signing=signing)
    sent = send(sender, client, PUT, 'PUT', body=body, is_object_data=is_object_data)

    assert sent['x-amz-content-sha256'] == said
    assert sent.body == b'data'


class Unread(BytesChunk):
    """A body that fails the test if it is hashed or read at once."""

    def sha256(self) -> str:
        pytest.fail('it was hashed')

    def read(self) -> bytes:
        pytest.fail('it was read at once')


@pytest.mark.parametrize(('scheme', 'keys'), [('https', KEYS), ('https', None), ('http', None)])
def test_large_bodies_are_not_read_before_they_are_sent(client: FakeClient, scheme: str, keys: Keys | None) -> None:
    """A body that is not signed is not read before it is sent."""
    sender = requester(client, places=FakePlaces(replace(PLACE, scheme=scheme)), keys=FakeKeys(keys))
    sent = send(sender, client, PUT, 'PUT', body=Unread(b'data'), is_object_data=True)

    assert (sent.body, sent['content-length']) == (b'data', '4')


@pytest.mark.parametrize(
    ('method', 'body', 'said'),
    [
        ('GET', b'', None),
        ('HEAD', b'', None),
        ('DELETE', b'', None),
        ('PUT', b'', '0'),
        ('POST', b'', '0'),
        ('PUT', b'data', '4'),
        ('PUT', BytesChunk(b''), '0'),
        ('PUT', BytesChunk(b'data'), '4'),
        ('POST', 'é'.encode(), '2'),
    ],
)
def test_content_length(client: FakeClient, method: str, body: bytes | Chunk, said: str | None) -> None:
    """Requests that may have a body send its length, even if it is empty (RFC 9110, section 8.6)."""
    assert send(requester(client), client, PUT, method, body=body)['content-length'] == said


@pytest.mark.parametrize(
    ('added', 'headers', 'said'),
    [
        ('', {}, f's3po/{__version__}'),
        ('app/1.0 (x)', {}, f's3po/{__version__} app/1.0 (x)'),
        ('app/1.0', {'user-agent': 'mine'}, 'mine'),
    ],
)
def test_user_agent(client: FakeClient, added: str, headers: dict[str, str], said: str) -> None:
    """The User-Agent is s3po's with the caller's addition, or the caller's own."""
    assert send(requester(client, user_agent=added), client, GET, 'GET', headers=headers)['user-agent'] == said


@pytest.mark.parametrize(
    ('path', 'operation', 'target'),
    [
        ('/bucket/', GET, '/bucket/a/key'),
        ('/bucket/', LIST, '/bucket'),
        ('/', GET, '/a/key'),
        ('/', LIST, '/'),
        ('/base/bucket/', GET, '/base/bucket/a/key'),
        ('/base/', LIST, '/base'),
        ('/bucket/', Operation('GetObject', 'bucket', '/'), '/bucket//'),
        ('/bucket/', Operation('GetObject', 'bucket', '../x/./y//z'), '/bucket/../x/./y//z'),
        ('/bucket/', Operation('GetObject', 'bucket', '?a#b c%20+é\n'), '/bucket/%3Fa%23b%20c%2520%2B%C3%A9%0A'),
        ('/a%20b/', GET, '/a%20b/a/key'),
    ],
)
def test_paths(client: FakeClient, path: str, operation: Operation, target: str) -> None:
    """The path contains the bucket or not; the key is escaped once, and the place's path is not escaped again."""
    sender = requester(client, places=FakePlaces(replace(PLACE, path=path)))

    assert send(sender, client, operation, 'GET').target == target


@pytest.mark.parametrize('operation', ['GetObject', 'HeadObject', 'PutObject', 'DeleteObject', 'AbortMultipartUpload'])
def test_without_a_key(client: FakeClient, operation: str) -> None:
    """A request for an object without a key is rejected: DELETE would delete the bucket."""
    with pytest.raises(ConfigurationError, match=f'{operation} s3://bucket: the key is empty'):
        requester(client).send(Operation(operation, 'bucket', ''), 'DELETE')

    assert not client.sent


def test_queries(client: FakeClient) -> None:
    """The query is sent in the order and form in which it is signed."""
    query = {'prefix': 'a b/é+&=~', 'delimiter': '', 'list-type': '2', 'X': '1'}
    sent = send(requester(client), client, LIST, 'GET', query=query)

    assert sent.target == '/bucket?X=1&delimiter=&list-type=2&prefix=a%20b%2F%C3%A9%2B%26%3D~'


@pytest.mark.parametrize(
    'given',
    [{'query': {'prefix': '\ud800'}}, {'query': {'\udfff': ''}}, {'headers': {'x-amz-meta-a': '\ud800'}}],
)
@pytest.mark.parametrize('keys', [KEYS, None])
def test_what_has_no_utf8(client: FakeClient, given: dict[str, Any], keys: Keys | None) -> None:
    """A text that cannot be encoded as UTF-8 is rejected, and nothing is sent."""
    with pytest.raises(ConfigurationError, match='ListObjectsV2 s3://bucket: .*cannot be encoded as UTF-8'):
        requester(client, keys=FakeKeys(keys)).send(LIST, 'GET', **given)

    assert not client.sent


@pytest.mark.parametrize('line_end', ['\n', '\r', '\r\nx: y', '\0'])
@pytest.mark.parametrize('name', ['access_key_id', 'session_token'])
def test_keys_with_line_ends(client: FakeClient, name: str, line_end: str) -> None:
    """Keys with line ends, which would end the head, are rejected, and not shown."""
    given: dict[str, Any] = {name: 'revealed' + line_end}
    keys = FakeKeys(replace(TEMPORARY, **given))
    with pytest.raises(ConfigurationError, match='access_key_id and session_token must not have line ends') as caught:
        requester(client, keys=keys).send(GET, 'GET')

    assert 'revealed' not in str(caught.value)
    assert not client.sent


def test_origins(client: FakeClient) -> None:
    """Connections belong to the place: its host (not its Host header) and its proxy."""
    place = replace(PLACE, scheme='https', host='::1', port=443, host_header='[::1]', proxy='http://u:p@proxy:3128')
    sent = send(requester(client, places=FakePlaces(place)), client, GET, 'GET')

    assert client.origins == [Origin('https', '::1', 443, 'http://u:p@proxy:3128')]
    assert sent['host'] == '[::1]'


def test_what_is_kept(client: FakeClient) -> None:
    """The place of a bucket is looked up once, until close()."""
    places = FakePlaces()
    sender = requester(client, places=places)
    for bucket in ('bucket', 'other', 'bucket'):
        send(sender, client, Operation('GetObject', bucket, 'key'), 'GET')
    assert places.found == ['bucket', 'other']
    sender.close()
    send(sender, client, GET, 'GET')

    assert client.is_closed
    assert places.found == ['bucket', 'other', 'bucket']


def test_too_many_buckets(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of cached places is limited."""
    monkeypatch.setattr(routes, 'MAX_ROUTES', 2)
    places = FakePlaces()
    sender = requester(client, places=places)
    for bucket in ('a', 'b', 'c', 'c', 'a'):
        send(sender, client, Operation('GetObject', bucket, 'key'), 'GET')

    assert places.found == ['a', 'b', 'c', 'a']


def test_new_keys(client: FakeClient) -> None:
    """Each request is signed with the current keys; values derived from them are cached as long as the keys are the same."""
    keys = FakeKeys()
    sender = requester(client, keys=keys)
    with mock.patch.object(routes, 'Signer', wraps=routes.Signer) as made:
        for current in (KEYS, KEYS, TEMPORARY, TEMPORARY, KEYS, None, KEYS):
            keys.current = current
            sent = send(sender, client, GET, 'GET')
            said = None if current is None else signed_by_botocore(sent, PLACE, current, is_body_signed=True)
            assert sent['authorization'] == said

    assert made.call_count == 3


def test_answers_to_head(client: FakeClient) -> None:
    """The response to HEAD has no body, whatever its headers are."""
    client.answer(Canned(body=b'12345'))
    response = requester(client).send(GET, 'HEAD')
    assert (response.size_bytes, response.text(b'content-length')) == (0, '5')
    response.close()
    response = requester(client).send(GET, 'GET')

    assert response.read_all(10) == b'12345'
    response.close()
    assert [each.state for each in client.connections] == ['given back', 'given back']
