"""Failed requests: each refusal becomes the same error as over boto, and each error contains the request."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from s3po.errors import (
    AccessDenied,
    CertificateError,
    ConfigurationError,
    ConnectTimeout,
    IntegrityError,
    NetworkError,
    NotFound,
    ReadTimeout,
    ResponseError,
    Throttled,
    TransportError,
)
from s3po.http import ConnectionLost
from s3po.transport.wire.requests import MAX_ERROR_BYTES
from s3po.transport.wire.response_headers import Operation
from tests.support.both import STORES, Both, Call
from tests.support.store_xml import error_document
from tests.support.wire import Canned, FakeClient, requester

GET: Final = Operation('GetObject', 'bucket', 'key')

STATUSES: Final = [304, 400, 401, 403, 404, 405, 408, 409, 411, 412, 416, 429, 499, 500, 501, 502, 503, 504, 599]
# Every code with a meaning of its own, and some others.
CODES: Final = [
    'AccessDenied',
    'BadDigest',
    'BucketNotEmpty',
    'ConditionalRequestConflict',
    'EntityTooLarge',
    'ExpiredToken',
    'InternalError',
    'InvalidAccessKeyId',
    'InvalidObjectState',
    'InvalidRange',
    'InvalidToken',
    'NoSuchBucket',
    'NoSuchKey',
    'NoSuchUpload',
    'OperationAborted',
    'PreconditionFailed',
    'RequestTimeout',
    'RequestTimeTooSkewed',
    'SignatureDoesNotMatch',
    'SlowDown',
    'Anything',
]
CALLS: Final[dict[str, Call]] = {
    'get': lambda t: t.get_object('bucket', 'key', extra={}),
    'head': lambda t: t.head_object('bucket', 'key', extra={}),
    'delete': lambda t: t.delete_object('bucket', 'key', extra={}),
    'list': lambda t: t.list_objects_v2('bucket', extra={}),
    'create': lambda t: t.create_multipart_upload('bucket', 'key', headers={}, extra={}),
    'copy part': lambda t: t.upload_part_copy(
        ('from', 'key', None), (0, 9), 'bucket', 'key', upload_id='u', part_number=7, if_match='e', extra={}
    ),
}
BODIES: Final = {
    'none': b'',
    'text': b'upstream connect error',
    'cut': error_document('SlowDown', 'Slow.', '/', 'R')[:-9],
    'empty message': error_document('SlowDown', '', '/', 'R'),
    'error response': b'<ErrorResponse><Error><Code>Throttling</Code><Message>m</Message></Error></ErrorResponse>',
}
ID: Final = {'x-amz-request-id': 'R1'}


def document(code: str, message: str = 'Because.', **more: str) -> bytes:
    """An error document; S3 sends the request id in the head as well."""
    told = ''.join(f'<{name}>{value}</{name}>' for name, value in more.items())
    return f'<Error><Code>{code}</Code><Message>{message}</Message>{told}<RequestId>R1</RequestId></Error>'.encode()


@pytest.fixture(scope='module')
def both() -> Both:
    return Both(**STORES['path'])


def compare(both: Both, call: Call, *answers: Canned) -> None:
    """Assert that both transports raise the same error; the number of requests may differ."""
    assert both.by_wire(call, *answers)[1] == both.by_reference(call, *answers)[1]


@pytest.mark.parametrize('call', CALLS)
def test_statuses_as_boto(both: Both, call: str) -> None:
    """Class, status, code, text and id equal those of the reference, with and without a body."""
    for status in STATUSES:
        compare(both, CALLS[call], Canned(status=status))
        compare(both, CALLS[call], Canned(status=status, headers=ID))
        compare(both, CALLS[call], Canned(status=status, headers=ID, body=document('Anything', 'Because &amp; é.')))


@pytest.mark.parametrize('code', CODES)
def test_codes_as_boto(both: Both, code: str) -> None:
    """Every code becomes the same error, with every status; 304 has no body, and so no code."""
    for status in STATUSES:
        compare(both, CALLS['get'], Canned(status=status, headers=ID, body=document(code)))
        compare(both, CALLS['list'], Canned(status=status, headers=ID, body=document(code, message='')))


@pytest.mark.parametrize('body', BODIES)
def test_bodies_as_boto(both: Both, body: str) -> None:
    """A body that is not S3's is ignored, and the status decides."""
    for call in CALLS.values():
        for status in (403, 404, 500, 503):
            compare(both, call, Canned(status=status, headers=ID, body=BODIES[body]))


@pytest.mark.parametrize(
    'headers',
    [
        {'Retry-After': '7'},
        {'x-amz-retry-after': '1500'},
        {'Retry-After': '7', 'x-amz-retry-after': '1500'},
        {'Retry-After': 'soon'},
        {'Retry-After': 'Sun, 06 Nov 1994 08:49:37 GMT'},
    ],
)
def test_waits_as_boto(both: Both, headers: dict[str, str]) -> None:
    """Every form of Retry-After becomes the same wait."""
    compare(both, CALLS['get'], Canned(status=503, headers={**ID, **headers}))
    compare(both, CALLS['list'], Canned(status=503, headers={**ID, **headers}, body=document('SlowDown')))


@pytest.mark.parametrize('status', [301, 302, 307, 308, 400])
@pytest.mark.parametrize('call', ['get', 'head'])
@pytest.mark.parametrize('region', [None, 'us-east-1', 'eu-west-3'])
@pytest.mark.sampled(8)
def test_redirects_as_boto(status: int, call: str, region: str | None) -> None:
    """The error is that of the second attempt, if there is one, and contains the region."""
    headers = ID if region is None else {**ID, 'x-amz-bucket-region': region}
    for code in ('PermanentRedirect', 'AuthorizationHeaderMalformed', 'Anything'):
        refusal = Canned(status=status, headers=headers, body=document(code))
        # Without a region in the response, botocore requests it, and gets a 404 here.
        compare(Both(**STORES['path']), CALLS[call], *([refusal] if region else [refusal, Canned(status=404)]))


@pytest.mark.parametrize(
    'body',
    [
        b'<html><body><h1>403 Forbidden</h1></body></html>',
        b'<!DOCTYPE Error [<!ENTITY a "b">]><Error><Code>&a;</Code></Error>',
        b'<Error><Message>Because.</Message></Error>',
    ],
)
def test_bodies_unlike_boto(body: bytes) -> None:
    """A response without a code has its status as the code; for botocore the code is '' here."""
    with pytest.raises(AccessDenied) as caught:
        requester(FakeClient(Canned(status=403, body=body))).send(GET, 'GET')

    assert (caught.value.status, caught.value.code) == (403, '403')
    assert re.match(r'GetObject s3://bucket/key: 403: (Forbidden|Because\.) \(endpoint ', str(caught.value))


def test_ids_in_the_body_only() -> None:
    """A request id in the body alone is used; botocore ignores it there."""
    answer = Canned(status=404, body=error_document('NoSuchKey', 'No.', '/key', 'R9'))
    with pytest.raises(ResponseError, match=r'No\. \(request id R9, endpoint ') as caught:
        requester(FakeClient(answer)).send(GET, 'GET')

    assert caught.value.request_id == 'R9'


def test_choices() -> None:
    """A 300 is an error, too (RFC 9110, section 15.4.1)."""
    with pytest.raises(ResponseError, match='300: Multiple Choices'):
        requester(FakeClient(Canned(status=300))).send(GET, 'GET')


def test_digests_that_differ() -> None:
    """A checksum mismatch is an IntegrityError, not a refusal of the request."""
    answer = Canned(status=400, body=document('BadDigest'))
    with pytest.raises(IntegrityError, match='GetObject s3://bucket/key: 400 BadDigest: Because'):
        requester(FakeClient(answer)).send(GET, 'GET')


@pytest.mark.parametrize('error', [NetworkError, ConnectTimeout, ReadTimeout, CertificateError, ConnectionLost])
@pytest.mark.parametrize(
    ('operation', 'named'),
    [
        (GET, 'GetObject s3://bucket/key'),
        (Operation('ListObjectsV2', 'bucket'), 'ListObjectsV2 s3://bucket'),
        (Operation('UploadPart', 'bucket', 'a/key', 7), 'UploadPart 7 of s3://bucket/a/key'),
    ],
)
def test_errors_of_connections_are_named(error: type[TransportError], operation: Operation, named: str) -> None:
    """Errors of the connection contain the operation; a ConnectionLost becomes a NetworkError."""
    client = FakeClient(error('store:9000 does not answer'))
    with pytest.raises(TransportError) as caught:
        requester(client).send(operation, 'GET')

    assert type(caught.value) is (NetworkError if error is ConnectionLost else error)
    assert str(caught.value) == f'{named}: store:9000 does not answer'
    assert type(caught.value.__cause__) is error
    assert len(client.sent) == 1


def test_errors_that_are_no_attempts() -> None:
    """An invalid argument that is found before the connection is made is raised unchanged."""
    with pytest.raises(ConfigurationError, match='^verify: no such file$'):
        requester(FakeClient(ConfigurationError('verify: no such file'))).send(GET, 'GET')


CUT: Final[dict[str, Any]] = {
    'length': {'body': document('SlowDown'), 'cut_bytes': 1},
    'chunks': {'headers': {'Transfer-Encoding': 'chunked', 'Content-Length': None}, 'body': b'5\r\n<Erro'},
    'too long': {'body': b'x' * (MAX_ERROR_BYTES + 1)},
}


@pytest.mark.parametrize('how', CUT)
@pytest.mark.parametrize(('status', 'error'), [(400, NetworkError), (403, AccessDenied), (404, NotFound), (503, Throttled)])
def test_refusals_that_cannot_be_read(how: str, status: int, error: type[TransportError]) -> None:
    """If the body of a refusal is truncated, the status decides; 400 has many meanings, and is retried."""
    client = FakeClient(Canned(status=status, **CUT[how]))
    with pytest.raises(error, match='^GetObject s3://bucket/key: '):
        requester(client).send(GET, 'GET')

    assert [each.state for each in client.connections] == ['closed']


def test_connections_after_refusals() -> None:
    """A refusal that was read to its end releases its connection."""
    client = FakeClient(Canned(status=404, body=document('NoSuchKey')))
    with pytest.raises(ResponseError):
        requester(client).send(GET, 'GET')

    assert [each.state for each in client.connections] == ['given back']
