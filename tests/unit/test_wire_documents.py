"""XML requests and responses of the wire transport that differ from boto's, with the reason."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from s3po.body import BytesChunk
from s3po.errors import (
    AccessDenied,
    ConfigurationError,
    CredentialsExpired,
    NetworkError,
    ServerError,
)
from s3po.model import CompletedPart
from s3po.s3 import ListedUpload
from s3po.s3.sigv4 import UNSIGNED_PAYLOAD
from s3po.transport.wire import WireTransport
from s3po.transport.wire.requests import AT_ONCE_BYTES
from tests.support.both import STORES, Both, Call, outcome
from tests.support.store_xml import document, element, error_document, parse_delete
from tests.support.wire import KEYS, PLACE, Canned, FakeClient, FakeKeys, FakePlaces, requester

SOURCE: Final = ('from', 'key', None)
PARTS: Final = [CompletedPart(number=1, etag='a')]
# The requests whose 200 S3 may send before the work is done.
EARLY: Final[dict[str, Call]] = {
    'CopyObject': lambda t: t.copy_object(SOURCE, 'bucket', 'key', if_match='e', headers={}, extra={}),
    'UploadPartCopy 7 of': lambda t: t.upload_part_copy(
        SOURCE, (0, 9), 'bucket', 'key', upload_id='u', part_number=7, if_match='e', extra={}
    ),
    'CompleteMultipartUpload': lambda t: t.complete_multipart_upload(
        'bucket', 'key', PARTS, upload_id='u', headers={}, extra={}
    ),
}
DOCUMENTS: Final[dict[str, Call]] = {
    **EARLY,
    'ListObjectsV2': lambda t: t.list_objects_v2('bucket', extra={}),
    'ListMultipartUploads': lambda t: t.list_multipart_uploads('bucket', extra={}),
    'ListParts': lambda t: t.list_parts('bucket', 'key', upload_id='u', extra={}),
    'CreateMultipartUpload': lambda t: t.create_multipart_upload('bucket', 'key', headers={}, extra={}),
    'GetObjectTagging': lambda t: t.get_object_tagging('bucket', 'key', extra={}),
    'DeleteObjects': lambda t: t.delete_objects('bucket', [('key', None)], extra={}),
}
# The requests whose responses have no body.
BODILESS: Final[dict[str, Call]] = {
    'PutObject': lambda t: t.put_object('bucket', 'key', BytesChunk(b'x'), headers={}, extra={}),
    'UploadPart 7 of': lambda t: t.upload_part('bucket', 'key', BytesChunk(b'x'), upload_id='u', part_number=7, extra={}),
    'DeleteObject': lambda t: t.delete_object('bucket', 'key', extra={}),
    'AbortMultipartUpload': lambda t: t.abort_multipart_upload('bucket', 'key', upload_id='u', extra={}),
}
CALLS: Final = {**DOCUMENTS, **BODILESS}
ID: Final = {'x-amz-request-id': 'R1'}


def wire(*answers: Canned, **given: Any) -> tuple[WireTransport, FakeClient]:
    client = FakeClient(*answers)
    return WireTransport(requester(client, **given)), client


@pytest.fixture(scope='module')
def both() -> Both:
    return Both(**STORES['path'])


# --- responses


@pytest.mark.parametrize('operation', CALLS)
@pytest.mark.parametrize('code', ['SlowDown', 'InternalError', 'NoSuchUpload', 'AccessDenied', 'Anything'])
def test_errors_after_success(both: Both, operation: str, code: str) -> None:
    """An error document with status 200 is an error. Its status is 200; botocore reports 500."""
    answer = Canned(headers=ID, body=error_document(code, 'Because.', '/', 'R1'))
    kind, text, fields = outcome(CALLS[operation], wire(answer)[0])
    their_kind, their_text, their_fields = both.by_reference(CALLS[operation], answer)[1]

    assert (kind, text) == (their_kind, their_text.replace(f': 500 {code}', f': 200 {code}'))
    assert fields == {**their_fields, 'status': 200}


@pytest.mark.parametrize('operation', EARLY)
def test_keys_that_expire_after_success(operation: str) -> None:
    """Expired keys that are reported with status 200 are treated as with an error status."""
    keys = FakeKeys(can_refresh=True)
    transport, client = wire(Canned(body=error_document('ExpiredToken', '', '/', 'R1')), keys=keys)
    with pytest.raises(CredentialsExpired, match=rf'{operation} s3://bucket/key: 200 ExpiredToken.*\(request id R1'):
        EARLY[operation](transport)

    assert keys.expired == [KEYS]
    assert [each.state for each in client.connections] == ['given back']


@pytest.mark.parametrize('operation', DOCUMENTS)
@pytest.mark.parametrize(
    'body', [b'', b'<html><body>Log in, please.</body></html>', b'OK', document('Anything'), document('Anything')[:-3]]
)
def test_web_pages_instead_of_documents(operation: str, body: bytes) -> None:
    """A web page with status 200 is an error: it is neither an empty bucket nor a copy or a completion."""
    if operation == 'GetObjectTagging' and not body:
        pytest.skip('see test_no_tags')
    transport, client = wire(Canned(body=body))
    with pytest.raises(NetworkError, match=f'^{operation} s3://bucket(/key)?: 200, but '):
        DOCUMENTS[operation](transport)

    assert [each.state for each in client.connections] == ['given back']


def test_no_tags(both: Both) -> None:
    """Ceph's gateway sends no document for an object that was uploaded in parts and has no tags."""
    transport, _ = wire(Canned(body=b''))
    assert DOCUMENTS['GetObjectTagging'](transport) == ''
    assert both.by_reference(DOCUMENTS['GetObjectTagging'], Canned(body=b''))[1] == ''


@pytest.mark.parametrize('operation', BODILESS)
@pytest.mark.parametrize('body', [b'<!DOCTYPE html><p>Log in, please.', b'OK', b' ', document('Anything')[:-3]])
def test_web_pages_instead_of_no_body(both: Both, operation: str, body: bytes) -> None:
    """A web page in response to a request without a response body is an error, too; for botocore it is a 500."""
    answer = Canned(headers={'ETag': '"e"'}, body=body)
    transport, client = wire(answer)
    with pytest.raises(NetworkError, match=f'^{operation} s3://bucket/key: 200, but the response is not XML'):
        BODILESS[operation](transport)

    assert [each.state for each in client.connections] == ['given back']
    assert both.by_reference(BODILESS[operation], answer)[1][0] is ServerError


@pytest.mark.parametrize('operation', BODILESS)
def test_answers_with_other_documents(both: Both, operation: str) -> None:
    """An unexpected XML document is accepted, as by botocore, since some stores send one."""
    thanks, nothing = (Canned(headers={'ETag': '"e"'}, body=body) for body in (document('Thanks'), b''))
    chunks = Canned(headers={'ETag': '"e"', 'Content-Length': None, 'Transfer-Encoding': 'chunked'}, body=b'0\r\n\r\n')
    theirs = [both.by_reference(BODILESS[operation], answer)[1] for answer in (thanks, nothing)]

    assert [outcome(BODILESS[operation], wire(answer)[0]) for answer in (thanks, nothing)] == theirs
    assert outcome(BODILESS[operation], wire(chunks)[0]) == theirs[1]


@pytest.mark.parametrize('operation', CALLS)
def test_answers_that_are_cut(operation: str) -> None:
    """A truncated response is a NetworkError, and the connection is closed."""
    transport, client = wire(Canned(body=document('Anything'), cut_bytes=1))
    with pytest.raises(NetworkError, match=f'^{operation} s3://bucket(/key)?: the body ended after '):
        CALLS[operation](transport)

    assert [each.state for each in client.connections] == ['closed']


def test_slow_documents() -> None:
    """Leading blanks and chunks are accepted, which S3 sends while it copies."""
    body = b'  \n' + document('CopyObjectResult', element('ETag', '"e"'))
    chunks = b''.join(b'%x\r\n%b\r\n' % (len(piece), piece) for piece in (body[:1], body[1:5], body[5:])) + b'0\r\n\r\n'
    transport, client = wire(Canned(headers={'Content-Length': None, 'Transfer-Encoding': 'chunked'}, body=chunks))

    assert transport.copy_object(SOURCE, 'bucket', 'key', if_match='e', headers={}, extra={}).etag == 'e'
    assert [each.state for each in client.connections] == ['given back']


def test_unexpected_bodies() -> None:
    """An unexpected body is read, so that the connection can be reused. With such a body the ETag is ignored."""
    transport, client = wire(Canned(headers={'ETag': '"e"'}, body=document('Thanks')))
    assert transport.put_object('bucket', 'key', BytesChunk(b''), headers={}, extra={}).etag == ''
    transport.delete_object('bucket', 'key', extra={})
    transport.abort_multipart_upload('bucket', 'key', upload_id='u', extra={})

    assert [each.state for each in client.connections] == ['given back'] * 3


@pytest.mark.parametrize('headers', [{}, {'ETag': '""'}, {'ETag': '"\ufffe"'}])
def test_parts_without_a_name(headers: dict[str, str]) -> None:
    """A part whose response has no valid ETag, which the completion needs, fails."""
    transport, _ = wire(Canned(headers=headers))
    with pytest.raises(NetworkError, match='UploadPart 7 of s3://bucket/key: the response has no valid ETag'):
        transport.upload_part('bucket', 'key', BytesChunk(b'x'), upload_id='u', part_number=7, extra={})


class Read(BytesChunk):
    """A body that records how it was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.how: list[str] = []

    def read(self) -> bytes:
        self.how.append('at once')
        return super().read()

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        self.how.append('in pieces')
        return super().pieces(buffer)


@pytest.mark.parametrize(('size_bytes', 'how'), [(0, 'at once'), (AT_ONCE_BYTES, 'at once'), (AT_ONCE_BYTES + 1, 'in pieces')])
def test_how_bodies_are_read(size_bytes: int, how: str) -> None:
    """A small body is sent together with the head; a large one is never in memory as a whole."""
    transport, _ = wire(Canned(headers={'ETag': '"e"'}))
    chunk = Read(bytes(size_bytes))
    transport.put_object('bucket', 'key', chunk, headers={}, extra={})
    transport.upload_part('bucket', 'key', chunk, upload_id='u', part_number=7, extra={})

    assert chunk.how == [how, how]


@pytest.mark.parametrize('operation', CALLS)
def test_what_is_signed_over_tls(operation: str) -> None:
    """Over TLS the data of objects is unsigned; all other bodies are signed."""
    transport, client = wire(Canned(), places=FakePlaces(replace(PLACE, scheme='https')))
    outcome(CALLS[operation], transport)
    is_unsigned = client.sent[0]['x-amz-content-sha256'] == UNSIGNED_PAYLOAD

    assert is_unsigned == (operation in ('PutObject', 'UploadPart 7 of'))


# --- listings of uploads


def uploads(*keys: str, **more: str) -> Canned:
    named = [element('Upload', [element('Key', key), element('UploadId', 'u/+=')]) for key in keys]
    told = [element(name, value) for name, value in more.items()]
    return Canned(body=document('ListMultipartUploadsResult', element('EncodingType', 'url'), *named, *told))


def test_uploads_on_all_pages(both: Both) -> None:
    """Keys are requested URL-encoded, since XML cannot contain all of them; botocore does not do this."""
    pages = [
        uploads('a%20b', IsTruncated='true', NextKeyMarker='a%20b%2F', NextUploadIdMarker='u/+='),
        uploads('c%01', IsTruncated='false'),
    ]
    transport, client = wire(*pages)
    found = transport.list_multipart_uploads('bucket', prefix='a b', extra={'RequestPayer': 'requester'})
    both.by_reference(lambda t: t.list_multipart_uploads('bucket', prefix='a b', extra={}), uploads())

    assert found == [ListedUpload(key=key, upload_id='u/+=', initiated=None) for key in ('a b', 'c\x01')]
    assert [each['x-amz-request-payer'] for each in client.sent] == ['requester'] * 2
    assert client.sent[0].query == ['encoding-type=url', 'prefix=a%20b', 'uploads=']
    assert both.reference.sent[0].query == ['uploads', 'prefix=a%20b']
    assert client.sent[1].query == [
        'encoding-type=url',
        'key-marker=a%20b%2F',
        'prefix=a%20b',
        'upload-id-marker=u%2F%2B%3D',
        'uploads=',
    ]


@pytest.mark.parametrize('markers', [{}, {'NextKeyMarker': 'a', 'NextUploadIdMarker': 'u'}])
def test_uploads_without_an_end(markers: dict[str, str]) -> None:
    """A truncated listing without a new marker is an error."""
    transport, client = wire(uploads('a', IsTruncated='true', **markers))
    with pytest.raises(NetworkError, match='ListMultipartUploads s3://bucket: the response is truncated without a new marker'):
        transport.list_multipart_uploads('bucket', extra={})

    assert len(client.sent) == (2 if markers else 1)


# --- deletions


def test_digests_of_deletions(both: Both) -> None:
    """Content-MD5 is sent, which every store supports."""
    transport, client = wire(Canned(body=document('DeleteResult')))
    transport.delete_objects('bucket', [('a', None)], extra={})
    both.by_reference(DOCUMENTS['DeleteObjects'], Canned(body=document('DeleteResult')))
    sent = client.sent[0]

    assert sent['content-md5'] == base64.b64encode(hashlib.md5(sent.body, usedforsecurity=False).digest()).decode()
    assert sent['content-type'] == 'application/xml'
    assert both.reference.sent[0]['x-amz-checksum-crc32'] is not None


ODD: Final = [('a\0', None), ('b\x1f', 'v'), ('\ufffe', None), ('c', 'v\x01')]


def test_keys_that_xml_cannot_hold() -> None:
    """Keys that XML cannot contain are deleted by single requests, all others together; botocore sends invalid XML."""
    transport, client = wire(
        Canned(status=204), Canned(status=204), Canned(status=204), Canned(status=204), Canned(body=document('DeleteResult'))
    )
    failures = transport.delete_objects('bucket', [('x', None), *ODD, ('y\nz', 'v')], extra={'RequestPayer': 'requester'})

    assert failures == []
    assert [(each.method, each.target) for each in client.sent] == [
        ('DELETE', '/bucket/a%00'),
        ('DELETE', '/bucket/b%1F?versionId=v'),
        ('DELETE', '/bucket/%EF%BF%BE'),
        ('DELETE', '/bucket/c?versionId=v%01'),
        ('POST', '/bucket?delete='),
    ]
    assert parse_delete(client.sent[-1].body) == (['x', 'y\nz'], False)
    assert {each['x-amz-request-payer'] for each in client.sent} == {'requester'}


def test_only_keys_that_xml_cannot_hold() -> None:
    """If all keys are deleted by single requests, no list is sent; failures are reported alike."""
    transport, client = wire(Canned(status=403, body=error_document('AccessDenied', 'No.', '/', 'R1')), Canned(status=204))
    failures = transport.delete_objects('bucket', ODD[:2], extra={})

    assert [(each.key, each.version_id, type(each.error)) for each in failures] == [('a\0', None, AccessDenied)]
    assert [each.method for each in client.sent] == ['DELETE', 'DELETE']


# --- header injection


SMUGGLED: Final[dict[str, Call]] = {
    'get': lambda t: t.get_object('bucket', 'key', if_match='e"\r\nx-amz-acl: "public-read', extra={}),
    'head': lambda t: t.head_object('bucket', 'key', if_match='e\n', extra={}),
    'copy': lambda t: t.copy_object(SOURCE, 'bucket', 'key', if_match='e\r\n', headers={}, extra={}),
    'copy a version': lambda t: t.copy_object(('b', 'k', 'v\r\nx: y'), 'bucket', 'key', if_match='e', headers={}, extra={}),
    'copy a part': lambda t: t.upload_part_copy(
        ('b', 'k', 'v\n'), (0, 9), 'bucket', 'key', upload_id='u', part_number=7, if_match='e', extra={}
    ),
}


@pytest.mark.parametrize('how', SMUGGLED)
def test_line_ends_in_headers(how: str) -> None:
    """An ETag or version id with a line end is rejected, and nothing is sent."""
    transport, client = wire(Canned())
    with pytest.raises(ConfigurationError, match='control characters'):
        SMUGGLED[how](transport)

    assert not client.sent


NUMBER: Final[Any] = 5


@pytest.mark.parametrize(
    'call',
    [
        lambda t: t.get_object('bucket', 'key', version_id=NUMBER, extra={}),
        lambda t: t.delete_object('bucket', 'key', version_id=NUMBER, extra={}),
        lambda t: t.delete_object('bucket', '', extra={}),
        lambda t: t.put_object('bucket', '', BytesChunk(b''), headers={}, extra={}),
        lambda t: t.get_object('bucket', '', extra={}),
    ],
)
def test_names_that_are_none(both: Both, call: Call) -> None:
    """An empty key is rejected, as by botocore: the request would be one for the bucket."""
    transport, client = wire(Canned())
    with pytest.raises(ConfigurationError, match='key is empty|version_id must be a str, not int'):
        call(transport)

    assert not client.sent
    assert both.by_reference(call, Canned())[1][0] is ConfigurationError
    assert not both.reference.sent


# --- values that are passed twice


def test_metadata_given_twice() -> None:
    """If `extra` and `headers` contain the same name, the header counts; other names are all sent."""
    transport, client = wire(Canned())
    extra = {'Metadata': {'a': '1', 'b': '1'}, 'CacheControl': 'no-cache', 'ACL': 'private'}
    headers = {'X-Amz-Meta-B': '2', 'x-amz-meta-c': '2', 'x-amz-acl': 'public-read'}
    transport.put_object('bucket', 'key', BytesChunk(b''), headers=headers, extra=extra)
    sent = client.sent[0]

    assert [sent[f'x-amz-meta-{name}'] for name in 'abc'] == ['1', '2', '2']
    assert (sent['cache-control'], sent['x-amz-acl']) == ('no-cache', 'public-read')


def test_keys_to_encrypt_with_as_headers() -> None:
    """An encryption key in `headers` is sent unchanged, as it is base64 already; botocore encodes it again."""
    transport, client = wire(Canned())
    name = 'x-amz-server-side-encryption-customer-key'
    transport.put_object('bucket', 'key', BytesChunk(b''), headers={name: 'a2V5'}, extra={})

    assert client.sent[0][name] == 'a2V5'


def test_closing() -> None:
    """close() closes the client."""
    transport, client = wire(Canned())
    transport.close()

    assert client.is_closed
    assert repr(transport).startswith('<WireTransport ')
