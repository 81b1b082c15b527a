"""S3's operations over the wire transport: the same call sends the same request as boto3, and returns the same value."""

from __future__ import annotations

import datetime
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3po.body import BytesChunk
from s3po.checksum import ALGORITHMS
from s3po.model import CompletedPart
from s3po.transport.wire.requests import AT_ONCE_BYTES
from tests.support.both import STORES, Both, Call
from tests.support.store_xml import document, element
from tests.support.wire import Canned

# Parameters of all requests of a transfer: each request supports some of them.
EXTRA: Final[Any] = {
    'SSECustomerAlgorithm': 'AES256',
    'SSECustomerKey': 'k' * 32,
    'CopySourceSSECustomerAlgorithm': 'AES256',
    'CopySourceSSECustomerKey': b'\xff' * 32,
    'RequestPayer': 'requester',
    'ExpectedBucketOwner': '123456789012',
    'Tagging': 'a=1&b=%20',
    'TaggingDirective': 'REPLACE',
    'ACL': 'private',
    'StorageClass': 'STANDARD_IA',
    'ServerSideEncryption': 'aws:kms',
    'BucketKeyEnabled': True,
    'CacheControl': 'no-cache',
    'Expires': datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    'ResponseContentType': 'text/x test+',
    'IfModifiedSince': datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
    'IfNoneMatch': '"x"',
    'ChecksumMode': 'ENABLED',
    'FetchOwner': True,
    'OptionalObjectAttributes': ['RestoreStatus'],
    'BypassGovernanceRetention': True,
    'MFA': 'serial 123456',
}
# botocore does not encode the key for ListParts; see test_parameters.py.
EXTRA_OF_LISTS: Final[Any] = {name: value for name, value in EXTRA.items() if not name.startswith('SSE')}
HEADERS: Final = {
    'Content-Type': 'text/plain; charset="utf-8"',
    'CACHE-CONTROL': 'max-age=1,  public',
    'Content-Disposition': 'attachment; filename="ä.txt"',
    'Content-MD5': 'rL0Y20zC+Fzt72VPzMSk2A==',
    'Expires': 'Wed, 02 Jan 2030 03:04:05 GMT',
    'If-None-Match': '*',
    'x-amz-meta-Colour': 'two  blanks',
    'x-amz-meta-empty': '',
    'X-Amz-Acl': 'public-read',
    'x-amz-tagging': 'c=3',
    'x-amz-tagging-directive': 'COPY',
    'x-amz-object-lock-retain-until-date': '2030-01-02T03:04:05Z',
    'x-custom': 'anything',
    'User-Agent': 'mine',
}
OBJECT: Final = {
    'ETag': '"5eb63bbbe01eeed093cb22bb8f5acdc3"',
    'Last-Modified': 'Sun, 06 Nov 1994 08:49:37 GMT',
    'Content-Type': 'text/plain',
    'x-amz-meta-colour': 'red',
    'x-amz-meta-empty': '',
    'x-amz-version-id': 'v.1',
    'x-amz-storage-class': 'GLACIER',
    'x-amz-checksum-crc32': 'DUoRhQ==',
    'x-amz-checksum-crc64nvme': 'jSnVw/bqjr4=',
    'x-amz-request-id': 'R1',
    'x-amz-server-side-encryption': 'AES256',
}
SUMS: Final = [element('ChecksumCRC32', 'DUoRhQ=='), element('ChecksumSHA1', 'Kq5sNclPz7QV2+lfQIuc6R7oRu0=')]
DATA: Final = BytesChunk(b'hello world')
LARGE: Final = BytesChunk(bytes(range(256)) * (AT_ONCE_BYTES // 256 + 1))
PARTS: Final = [CompletedPart(number=1, etag='a'), CompletedPart(number=2, etag='b<&')]
SOURCE: Final = ('from-bucket', 'a//b c+é%', None)
VERSION: Final = ('from.bucket', 'key', 'v_1.2-3')
ARN: Final = ('arn:aws:s3:us-west-2:123456789012:accesspoint/mine', 'key', None)

GOT: Final = Canned(headers=OBJECT, body=b'hello world')
RANGE: Final = Canned(status=206, headers={**OBJECT, 'Content-Range': 'bytes 2-12/100'}, body=b'hello world')
BARE: Final = Canned(headers={'ETag': '"e"'})
NOTHING: Final = Canned()
GONE: Final = Canned(status=204)
MARKED: Final = Canned(status=204, headers={'x-amz-version-id': 'v2', 'x-amz-delete-marker': 'true'})
COPIED: Final = Canned(headers={'x-amz-version-id': 'v2'}, body=document('CopyObjectResult', element('ETag', '"e"'), *SUMS))
PART_COPIED: Final = Canned(body=document('CopyPartResult', element('ETag', '"e"'), *SUMS))
CREATED: Final = Canned(body=document('InitiateMultipartUploadResult', element('UploadId', 'id/+=')))
COMPLETED: Final = Canned(
    headers={'x-amz-version-id': 'v2'}, body=document('CompleteMultipartUploadResult', element('ETag', '"e-2"'), *SUMS)
)
LISTED: Final = Canned(
    body=document(
        'ListBucketResult',
        element('EncodingType', 'url'),
        element('Contents', [element('Key', 'a%20b'), element('Size', 3), element('LastModified', '2020-01-02T03:04:05.000Z')]),
        element('CommonPrefixes', [element('Prefix', 'p%2F')]),
        element('IsTruncated', 'true'),
        element('NextContinuationToken', 't/+='),
    )
)
LISTED_PARTS: Final = Canned(
    body=document('ListPartsResult', element('Part', [element('PartNumber', 1), element('ETag', '"a"')]))
)
SIZED_PART: Final = [
    element('PartNumber', 2),
    element('ETag', '"b"'),
    element('Size', 7),
    element('ChecksumCRC64NVME', 'rosUhgp5mIg='),
]
LISTED_SIZED_PARTS: Final = Canned(body=document('ListPartsResult', element('Part', SIZED_PART)))
TAGGED: Final = Canned(
    body=document('Tagging', element('TagSet', [element('Tag', [element('Key', 'a b'), element('Value', 'c&d')])]))
)
DELETED: Final = Canned(body=document('DeleteResult'))
FAILURE: Final = [element('Key', 'b'), element('VersionId', 'v'), element('Code', 'AccessDenied'), element('Message', 'no')]
NOT_DELETED: Final = Canned(body=document('DeleteResult', element('Error', FAILURE), element('Error', [element('Key', 'c')])))

CASES: Final[dict[str, tuple[Call, Canned]]] = {
    'get': (lambda t: t.get_object('bucket', 'a/key', extra={}), GOT),
    'get, bare': (lambda t: t.get_object('bucket', 'key', extra={}), NOTHING),
    'get, all': (
        lambda t: t.get_object(
            'bucket', 'key', byte_range=(2, 13), if_match='e', version_id='v/+ 1', wants_checksum=True, extra=EXTRA
        ),
        RANGE,
    ),
    'get, verified': (lambda t: t.get_object('bucket', 'key', wants_checksum=True, extra={}), GOT),
    'get to the end': (lambda t: t.get_object('bucket', 'key', byte_range=(2, None), if_match='"q"', extra={}), RANGE),
    'get what is any': (lambda t: t.get_object('bucket', 'key', if_match='*', version_id='', extra={}), GOT),
    'head': (lambda t: t.head_object('bucket', 'a/key', extra={}), GOT),
    'head, bare': (lambda t: t.head_object('bucket', 'key', extra={}), NOTHING),
    'head, checksum': (lambda t: t.head_object('bucket', 'key', wants_checksum=True, extra={}), GOT),
    'head, all': (lambda t: t.head_object('bucket', 'key', if_match='e', version_id='v', extra=EXTRA), GOT),
    'put': (lambda t: t.put_object('bucket', 'key', DATA, headers={}, extra={}), BARE),
    **{
        f'put {each}': (
            lambda t, each=each: t.put_object('bucket', 'key', DATA, checksum=DATA.checksum(each), headers={}, extra={}),
            BARE,
        )
        for each in ALGORITHMS
    },
    'put, checksum and headers': (
        lambda t: t.put_object('bucket', 'key', DATA, checksum=DATA.checksum('CRC64NVME'), headers={'x-a': 'b'}, extra={}),
        Canned(headers=OBJECT),
    ),
    'put nothing': (lambda t: t.put_object('bucket', 'key', BytesChunk(b''), headers={}, extra={}), NOTHING),
    'put much': (lambda t: t.put_object('bucket', 'key', LARGE, headers={}, extra={}), BARE),
    'put, headers': (lambda t: t.put_object('bucket', 'key', DATA, headers=HEADERS, extra={}), Canned(headers=OBJECT)),
    'put, all': (lambda t: t.put_object('bucket', 'key', DATA, headers=HEADERS, extra=EXTRA), BARE),
    'delete': (lambda t: t.delete_object('bucket', 'key', extra={}), GONE),
    'delete, marked': (lambda t: t.delete_object('bucket', 'key', version_id='v', extra=EXTRA), MARKED),
    'delete many': (lambda t: t.delete_objects('bucket', [('a', None), ('b\n<é>', 'v')], extra={}), DELETED),
    'delete many, all': (lambda t: t.delete_objects('bucket', [('a', None)], extra=EXTRA), NOT_DELETED),
    'list': (lambda t: t.list_objects_v2('bucket', extra={}), LISTED),
    'list, all': (
        lambda t: t.list_objects_v2(
            'bucket', prefix='a b/é+&', delimiter='/', start_after='a%', page_size=7, token='t/+=', extra=EXTRA
        ),
        LISTED,
    ),
    'list, empty': (
        lambda t: t.list_objects_v2('bucket', delimiter='', start_after='', token='', extra={}),
        Canned(body=document('ListBucketResult')),
    ),
    'copy': (lambda t: t.copy_object(SOURCE, 'bucket', 'key', if_match='e', headers={}, extra={}), COPIED),
    'copy, version': (lambda t: t.copy_object(VERSION, 'bucket', 'key', if_match='"e"', headers={}, extra={}), COPIED),
    'copy, access point': (lambda t: t.copy_object(ARN, 'bucket', 'key', if_match='e', headers={}, extra={}), COPIED),
    'copy, headers': (lambda t: t.copy_object(SOURCE, 'bucket', 'key', if_match='e', headers=HEADERS, extra={}), COPIED),
    'copy, all': (lambda t: t.copy_object(VERSION, 'bucket', 'key', if_match='e', headers=HEADERS, extra=EXTRA), COPIED),
    'create': (lambda t: t.create_multipart_upload('bucket', 'key', headers={}, extra={}), CREATED),
    **{
        f'create {each}': (
            lambda t, each=each: t.create_multipart_upload('bucket', 'key', algorithm=each, headers={}, extra={}),
            CREATED,
        )
        for each in ALGORITHMS
        if each != 'MD5'
    },
    'create, all': (lambda t: t.create_multipart_upload('bucket', 'key', headers=HEADERS, extra=EXTRA), CREATED),
    'part': (lambda t: t.upload_part('bucket', 'key', DATA, upload_id='u/+=', part_number=7, extra={}), BARE),
    'part, checksum': (
        lambda t: t.upload_part(
            'bucket', 'key', LARGE, upload_id='u', part_number=7, checksum=LARGE.checksum('CRC64NVME'), extra={}
        ),
        BARE,
    ),
    'part, all': (lambda t: t.upload_part('bucket', 'key', LARGE, upload_id='u', part_number=10_000, extra=EXTRA), BARE),
    'part without ETag': (lambda t: t.upload_part('bucket', 'key', DATA, upload_id='u', part_number=7, extra={}), NOTHING),
    'copy part': (
        lambda t: t.upload_part_copy(SOURCE, (5, 9), 'bucket', 'key', upload_id='u/+=', part_number=7, if_match='e', extra={}),
        PART_COPIED,
    ),
    'copy part, all': (
        lambda t: t.upload_part_copy(VERSION, (0, 1), 'bucket', 'key', upload_id='u', part_number=1, if_match='e', extra=EXTRA),
        PART_COPIED,
    ),
    'copy part without ETag': (
        lambda t: t.upload_part_copy(SOURCE, (5, 9), 'bucket', 'key', upload_id='u', part_number=7, if_match='e', extra={}),
        Canned(body=document('CopyPartResult')),
    ),
    'complete': (
        lambda t: t.complete_multipart_upload('bucket', 'key', PARTS, upload_id='u/+=', headers={}, extra={}),
        COMPLETED,
    ),
    **{
        f'complete, {checksum}': (
            lambda t, checksum=checksum: t.complete_multipart_upload(
                'bucket',
                'key',
                [CompletedPart(number=1, etag='e', checksum=checksum.partition('-')[0])],
                upload_id='u',
                checksum=checksum,
                headers={},
                extra={},
            ),
            COMPLETED,
        )
        for checksum in ('CRC64NVME:rosUhgp5mIg=', 'SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=-1')
    },
    'complete, all': (
        lambda t: t.complete_multipart_upload('bucket', 'key', PARTS, upload_id='u', headers=HEADERS, extra=EXTRA),
        COMPLETED,
    ),
    'abort': (lambda t: t.abort_multipart_upload('bucket', 'key', upload_id='u/+=', extra={}), GONE),
    'abort, all': (lambda t: t.abort_multipart_upload('bucket', 'key', upload_id='u', extra=EXTRA), GONE),
    'list parts': (lambda t: t.list_parts('bucket', 'key', upload_id='u/+=', extra={}), LISTED_PARTS),
    'list parts after one': (
        lambda t: t.list_parts('bucket', 'key', upload_id='u', after=1, extra={}),
        LISTED_SIZED_PARTS,
    ),
    'list parts, all': (lambda t: t.list_parts('bucket', 'key', upload_id='u', extra=EXTRA_OF_LISTS), LISTED_PARTS),
    'tags': (lambda t: t.get_object_tagging('bucket', 'key', extra={}), TAGGED),
    'tags, all': (lambda t: t.get_object_tagging('bucket', 'key', version_id='v', extra=EXTRA), TAGGED),
}


@pytest.fixture(scope='module', params=STORES)
def both(request: pytest.FixtureRequest) -> Both:
    return Both(**STORES[request.param])


@pytest.mark.parametrize('case', CASES)
def test_verbs_as_boto(both: Both, case: str) -> None:
    """Method, path, query, headers and body equal boto3's, and so does the result."""
    call, answer = CASES[case]

    assert both.by_wire(call, answer) == both.by_reference(call, answer)


characters = st.one_of(
    st.sampled_from(
        ['/', '//', '.', '..', '/../', '%', '%2F', '+', ' ', '~', '*', '?', '#', '&', '=', ';', '<', '"', '\r\n', '\0']
    ),
    st.characters(exclude_categories=['Cs']),
)
odd = st.lists(characters, min_size=1, max_size=9).map(''.join)


@given(key=odd, other=odd, version_id=st.one_of(st.none(), odd))
def test_odd_names_as_boto(both: Both, key: str, other: str, version_id: str | None) -> None:
    """Keys, prefixes and tokens with any characters are escaped once, and paths are not normalised."""
    source = ('from', other, None)
    calls: list[tuple[Call, Canned]] = [
        (lambda t: t.head_object('bucket', key, version_id=version_id, extra={}), GOT),
        (lambda t: t.copy_object(source, 'bucket', key, if_match='e', headers={}, extra={}), COPIED),
        (lambda t: t.upload_part('bucket', key, DATA, upload_id=other, part_number=1, extra={}), BARE),
        (lambda t: t.list_objects_v2('bucket', prefix=key, delimiter=other, start_after=key, token=other, extra={}), LISTED),
    ]
    for call, answer in calls:
        assert both.by_wire(call, answer) == both.by_reference(call, answer)
