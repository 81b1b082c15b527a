"""Parameters and headers: what a request knows is sent with it, what is s3po's own is refused."""

from __future__ import annotations

from typing import Any

import pytest

from s3po.errors import ConfigurationError
from s3po.transport.parameters import (
    check_extra,
    check_headers,
    known_extra,
    known_headers,
    metadata_headers,
    unknown_headers,
)

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
        ({'A\n': 'x'}, 'no header'),
        ({'A B': 'x'}, 'no header'),
        ({'': 'x'}, 'no header'),
        ({'A': 7}, 'must be str'),
        ({7: 'A'}, 'must be str'),
    ],
)
def test_what_is_no_header(headers: Any, named: str) -> None:
    """Nothing can be smuggled into a request."""
    with pytest.raises(ConfigurationError, match=named):
        check_headers(headers)


def test_other_headers() -> None:
    """All others are sent."""
    check_headers({'Cache-Control': 'no-cache', 'x-custom': 'ä', 'Content-MD5': 'x', 'x-amz-acl': 'private'})


@pytest.mark.parametrize(
    ('metadata', 'named'),
    [({'a b': 'x'}, "'a b'"), ({'a': 'ä'}, 'printable ASCII'), ({'a': '\n'}, 'printable ASCII'), ({'a': 1}, 'must be str')],
)
def test_bad_metadata(metadata: Any, named: str) -> None:
    """Metadata are headers, so they have their letters."""
    with pytest.raises(ConfigurationError, match=f'metadata: .*{named}'):
        metadata_headers(metadata)


def test_metadata() -> None:
    """Names are in lower case, as the store gives them back."""
    assert metadata_headers({'Colour': 'red'}) == {'x-amz-meta-colour': 'red'}


@pytest.mark.parametrize(
    ('extra', 'named'),
    [
        ({'Nonsense': 1}, "'Nonsense' is no parameter of PutObject or UploadPart"),
        ({'acl': 'private'}, "'acl'"),
        ({'Bucket': 'b'}, 'Bucket is set by s3po; use the argument bucket'),
        ({'Body': b''}, 'use the argument source'),
        ({'ChecksumCRC32': 'x'}, 'takes care of checksums'),
        ({'ChecksumAlgorithm': 'x'}, 'takes care of checksums'),
    ],
)
def test_bad_extra(extra: dict[str, Any], named: str) -> None:
    """The message names the parameter, and what to use."""
    with pytest.raises(ConfigurationError, match=named):
        check_extra(extra, ['PutObject', 'UploadPart'])


def test_extra_of_any_request() -> None:
    """default_extra may hold what any request knows."""
    check_extra({'RequestPayer': 'requester', 'ExpectedBucketOwner': '1'}, None, 'default_extra')
    with pytest.raises(ConfigurationError, match="default_extra: 'Nonsense' is no parameter of any S3 request"):
        check_extra({'Nonsense': 1}, None, 'default_extra')


def test_each_request_takes_what_it_knows() -> None:
    """One set of parameters goes with every request of a transfer."""
    extra = {'ACL': 'private', 'SSECustomerAlgorithm': 'AES256', 'RequestPayer': 'requester'}

    assert known_extra('PutObject', extra) == extra
    assert known_extra('UploadPart', extra) == {'SSECustomerAlgorithm': 'AES256', 'RequestPayer': 'requester'}


def test_headers_become_parameters_where_there_are_some() -> None:
    """Others are sent as they are, and only where the object is made."""
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
