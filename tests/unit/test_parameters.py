"""Parameters and headers: a request gets those that it supports; those that s3po sets itself are rejected."""

from __future__ import annotations

import datetime
import functools
from typing import Any

import pytest
from botocore import xform_name

from s3po.endpoints.boto_client import build_client
from s3po.endpoints.settings import ClientSettings
from s3po.errors import ConfigurationError
from s3po.s3.parameters import (
    OWNED_EXTRA,
    check_extra,
    check_headers,
    known_extra,
    known_headers,
    metadata_headers,
    serialized_extra,
    unknown_headers,
)
from tests.support.prepared import prepare

OWNED = [
    'Host',
    'content-length',
    'Authorization',
    'Transfer-Encoding',
    'X-Amz-Date',
    'x-amz-content-sha256',
    'x-amz-checksum-crc32',
    'X-AMZ-CHECKSUM-SHA256',
    'x-amz-security-token',
]


@pytest.mark.parametrize('name', OWNED)
def test_owned_headers(name: str) -> None:
    """The message names the header."""
    with pytest.raises(ConfigurationError, match=f'headers: {name} is set by s3po'):
        check_headers({name: 'x'})


@pytest.mark.parametrize(
    ('headers', 'named'),
    [
        ({'A': 'x\r\nB: y'}, 'the value of A has control characters'),
        ({'A': 'x\0'}, 'control characters'),
        ({'A\n': 'x'}, 'not a valid header name'),
        ({'A B': 'x'}, 'not a valid header name'),
        ({'': 'x'}, 'not a valid header name'),
        ({'A': 7}, 'must be str'),
        ({7: 'A'}, 'must be str'),
    ],
)
def test_what_is_no_header(headers: Any, named: str) -> None:
    """Invalid headers, with which requests could be forged, are rejected."""
    with pytest.raises(ConfigurationError, match=named):
        check_headers(headers)


def test_other_headers() -> None:
    """All other headers are accepted."""
    check_headers({'Cache-Control': 'no-cache', 'x-custom': 'ä', 'Content-MD5': 'x', 'x-amz-acl': 'private'})


@pytest.mark.parametrize(
    ('metadata', 'named'),
    [({'a b': 'x'}, "'a b'"), ({'a': 'ä'}, 'printable ASCII'), ({'a': '\n'}, 'printable ASCII'), ({'a': 1}, 'must be str')],
)
def test_bad_metadata(metadata: Any, named: str) -> None:
    """Metadata must be valid in headers."""
    with pytest.raises(ConfigurationError, match=f'metadata: .*{named}'):
        metadata_headers(metadata)


def test_metadata() -> None:
    """Names of metadata are converted to lower case, as the store returns them."""
    assert metadata_headers({'Colour': 'red'}) == {'x-amz-meta-colour': 'red'}


@pytest.mark.parametrize(
    ('extra', 'named'),
    [
        ({'Nonsense': 1}, "'Nonsense' is not a parameter of PutObject or UploadPart"),
        ({'acl': 'private'}, "'acl'"),
        ({'Bucket': 'b'}, 'Bucket is set by s3po; use the argument bucket'),
        ({'Body': b''}, 'use the argument source'),
        ({'ChecksumCRC32': 'x'}, 'computes the checksums'),
        ({'ChecksumAlgorithm': 'x'}, 'computes the checksums'),
    ],
)
def test_bad_extra(extra: dict[str, Any], named: str) -> None:
    """The message names the parameter and the alternative."""
    with pytest.raises(ConfigurationError, match=named):
        check_extra(extra, ['PutObject', 'UploadPart'])


def test_extra_of_any_request() -> None:
    """default_extra may contain parameters of any request."""
    check_extra({'RequestPayer': 'requester', 'ExpectedBucketOwner': '1'}, None, 'default_extra')
    with pytest.raises(ConfigurationError, match="default_extra: 'Nonsense' is not a parameter of any S3 request"):
        check_extra({'Nonsense': 1}, None, 'default_extra')


def test_each_request_gets_its_parameters() -> None:
    """Of the parameters of a transfer, each request gets those that it supports."""
    extra = {'ACL': 'private', 'SSECustomerAlgorithm': 'AES256', 'RequestPayer': 'requester'}

    assert known_extra('PutObject', extra) == extra
    assert known_extra('UploadPart', extra) == {'SSECustomerAlgorithm': 'AES256', 'RequestPayer': 'requester'}


def test_headers_become_parameters_where_there_are_some() -> None:
    """Known headers become parameters; the others are sent unchanged, with the request that creates the object."""
    headers = {
        'content-type': 'text/plain',
        'X-Amz-Acl': 'private',
        'x-amz-meta-A': '1',
        'If-None-Match': '*',
        'x-custom': 'y',
        'x-amz-bucket-key-enabled': 'true',
    }

    assert known_headers('PutObject', headers) == {
        'ContentType': 'text/plain',
        'ACL': 'private',
        'IfNoneMatch': '*',
        'Metadata': {'a': '1'},
    }
    assert known_headers('CreateMultipartUpload', headers) == {
        'ContentType': 'text/plain',
        'ACL': 'private',
        'Metadata': {'a': '1'},
    }
    assert known_headers('CompleteMultipartUpload', headers) == {'IfNoneMatch': '*'}
    assert unknown_headers(headers) == {'x-custom': 'y', 'x-amz-bucket-key-enabled': 'true'}


# Other required parameters of each request, which s3po sets.
REQUIRED: dict[str, dict[str, Any]] = {
    'GetObject': {'Key': 'key'},
    'HeadObject': {'Key': 'key'},
    'PutObject': {'Key': 'key', 'Body': b'body'},
    'DeleteObject': {'Key': 'key'},
    'DeleteObjects': {'Delete': {'Objects': [{'Key': 'key'}]}},
    'ListObjectsV2': {},
    'CopyObject': {'Key': 'key', 'CopySource': 'from/key'},
    'CreateMultipartUpload': {'Key': 'key'},
    'UploadPart': {'Key': 'key', 'UploadId': 'id', 'PartNumber': 1, 'Body': b'body'},
    'UploadPartCopy': {'Key': 'key', 'UploadId': 'id', 'PartNumber': 1, 'CopySource': 'from/key'},
    'CompleteMultipartUpload': {'Key': 'key', 'UploadId': 'id', 'MultipartUpload': {'Parts': [{'PartNumber': 1, 'ETag': 'x'}]}},
    'AbortMultipartUpload': {'Key': 'key', 'UploadId': 'id'},
    'ListParts': {'Key': 'key', 'UploadId': 'id'},
    'ListMultipartUploads': {},
    'GetObjectTagging': {'Key': 'key'},
}
# Headers that change with every request or depend on others.
OF_THE_REQUEST = (
    'authorization',
    'amz-sdk-invocation-id',
    'amz-sdk-request',
    'x-amz-date',
    'x-amz-content-sha256',
    'user-agent',
)
EAST_OF_UTC = datetime.timezone(datetime.timedelta(hours=2))
# Values of each type of the model, as callers may pass them.
VALUES: dict[str, list[Any]] = {
    'string': ['requester', 'a=1&b=%20+/', 'attachment; filename="ä, b.txt"', ''],
    'boolean': [True, False],
    'integer': [7, 0],
    'long': [5_000_000_000],
    'list': [['RestoreStatus'], ['a,b', 'c"d', 'e'], []],
    'map': [{'Colour': 'red', 'size-in-cm': '7'}, {'empty': ''}, {}],
    'timestamp': [
        datetime.datetime(2030, 1, 2, 3, 4, 5, 678_900, datetime.UTC),
        datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=EAST_OF_UTC),
        datetime.datetime(2030, 1, 2),  # noqa: DTZ001
        '2030-01-02T03:04:05Z',
        1_893_553_445,
    ],
}


@functools.cache
def client() -> Any:
    return build_client(
        ClientSettings(
            endpoint_url='https://s3.example.com', region='us-east-1', access_key_id='key', secret_access_key='secret'
        )
    )


def by_botocore(operation: str, extra: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The headers and the query that botocore sends for the parameters."""
    call = getattr(client(), xform_name(operation))
    required = {'Bucket': 'bucket', **REQUIRED[operation]}
    bare = prepare(client(), lambda: call(**required))
    full = prepare(client(), lambda: call(**required, **extra))
    headers = {name: value for name, value in full.headers.items() if bare.headers.get(name) != value}
    query = {name: value for name, value in full.query.items() if bare.query.get(name) != value}
    return {name: value for name, value in headers.items() if name not in OF_THE_REQUEST}, query


def shapes(operation: str) -> dict[str, Any]:
    """The parameters that a caller may pass, with botocore's model of each."""
    members = client().meta.service_model.operation_model(operation).input_shape.members
    return {
        name: shape
        for name, shape in members.items()
        if name not in OWNED_EXTRA
        and not (name.startswith('Checksum') and name != 'ChecksumMode')
        # botocore sends these unencoded; see test_keys_to_list_parts_with().
        and not (operation == 'ListParts' and name.startswith('SSE'))
    }


@pytest.mark.parametrize('operation', REQUIRED)
def test_serialized_as_botocore_does(operation: str) -> None:
    """Parameters of every type are serialized like botocore does it, also all of them together."""
    known = shapes(operation)
    for number in range(max(len(VALUES[shape.type_name]) for shape in known.values())):
        extra = {name: VALUES[shape.type_name][number % len(VALUES[shape.type_name])] for name, shape in known.items()}
        # A key that is passed with its MD5 is sent unchanged.
        extra = {name: value for name, value in extra.items() if not name.endswith('KeyMD5')}

        assert serialized_extra(operation, extra) == by_botocore(operation, extra)


@pytest.mark.parametrize('name', ['SSECustomerKey', 'CopySourceSSECustomerKey'])
@pytest.mark.parametrize(
    'given', [{'Key': b'\x00\xff' * 16}, {'Key': 'k' * 32}, {'Key': 'a2V5', 'KeyMD5': 'bWQ1'}, {'KeyMD5': 'bWQ1'}]
)
def test_keys_to_encrypt_with(name: str, given: dict[str, Any]) -> None:
    """Encryption keys are sent in base64 with their MD5, unless the caller has encoded them."""
    prefix = name.removesuffix('Key')
    extra = {prefix + suffix: value for suffix, value in given.items()}
    for operation in ('CopyObject', 'UploadPartCopy', 'GetObject', 'PutObject', 'UploadPart', 'CompleteMultipartUpload'):
        known = known_extra(operation, extra)

        assert serialized_extra(operation, extra) == by_botocore(operation, known)
    assert extra == {prefix + suffix: value for suffix, value in given.items()}


def test_keys_to_list_parts_with() -> None:
    """Encryption keys are encoded for ListParts, too, as S3 requires it; botocore sends them unencoded."""
    extra = {'SSECustomerKey': b'\xff' * 32}

    assert serialized_extra('ListParts', extra) == serialized_extra('GetObject', extra)


def test_serialized_where_it_is_known() -> None:
    """Each request serializes the parameters that it supports, into new dicts."""
    extra = {'ACL': 'private', 'RequestPayer': 'requester', 'FetchOwner': True}

    assert serialized_extra('PutObject', extra) == ({'x-amz-acl': 'private', 'x-amz-request-payer': 'requester'}, {})
    assert serialized_extra('ListObjectsV2', extra) == ({'x-amz-request-payer': 'requester'}, {'fetch-owner': 'true'})
    assert serialized_extra('PutObject', {}) == ({}, {})
    assert serialized_extra('PutObject', extra)[0] is not serialized_extra('PutObject', extra)[0]


@pytest.mark.parametrize(
    ('extra', 'named'),
    [
        ({'ACL': 7}, 'the value of ACL must be a string for PutObject, not int'),
        ({'ACL': None}, 'the value of ACL must be a string for PutObject, not NoneType'),
        ({'BucketKeyEnabled': 'true'}, 'the value of BucketKeyEnabled must be a boolean for PutObject, not str'),
        ({'Expires': 'tomorrow'}, 'the value of Expires must be a timestamp for PutObject, not str'),
        ({'SSECustomerKey': 7}, 'the value of SSECustomerKey must be a string for PutObject, not int'),
        ({'Metadata': {'a': 1}}, 'the value of Metadata must be a map for PutObject, not dict'),
        ({'Metadata': {'a\r\nb': 'x'}}, 'is not a valid header name'),
        ({'Metadata': {'a': 'ä'}}, 'printable ASCII'),
        ({'CacheControl': 'a\r\nb: c'}, 'the value of CacheControl has control characters'),
    ],
)
def test_values_that_cannot_be_sent(extra: dict[str, Any], named: str) -> None:
    """The error names the parameter, and does not contain its value, which may be a key."""
    with pytest.raises(ConfigurationError, match=named):
        serialized_extra('PutObject', extra)


def test_lists_of_something_else() -> None:
    """A list with wrong items, or with control characters, is rejected."""
    with pytest.raises(ConfigurationError, match='OptionalObjectAttributes must be a list of strings'):
        serialized_extra('ListObjectsV2', {'OptionalObjectAttributes': [7]})
    with pytest.raises(ConfigurationError, match='OptionalObjectAttributes has control characters'):
        serialized_extra('ListObjectsV2', {'OptionalObjectAttributes': ['a\r\nb: c']})


def test_what_is_left_to_botocore() -> None:
    """Parameters that belong in the body are rejected for the requests that have them."""
    extra = {'CreateBucketConfiguration': {'LocationConstraint': 'EU'}}

    assert serialized_extra('PutObject', extra) == ({}, {})
    with pytest.raises(ConfigurationError, match='CreateBucketConfiguration is sent neither as a header'):
        serialized_extra('CreateBucket', extra)
