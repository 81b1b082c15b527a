"""The tests' own store, used by boto3, and by plain sockets where boto3 hides details."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from tests.support.servers import Authority, Store
from tests.support.store_client import Connect, begin_upload, exchange, get, new_client, put, refused

PART = 5 * 1024 * 1024


ODD_KEYS = [
    'a//b',
    '../x',
    'a/./b',
    '/lead',
    'dot.',
    'a b+c%2F',
    'é',
    'e\u0301',
    '\N{PILE OF POO}',
    'a?b#c&d=e',
    '\x01\n',
]


@pytest.fixture(scope='module')
def running() -> Iterator[Store]:
    with Store() as store:
        yield store


@pytest.fixture(scope='module')
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp('authority'))


@pytest.fixture
def store(running: Store) -> Store:
    running.reset()
    return running


@pytest.fixture
def client(store: Store) -> Iterator[Any]:
    made = new_client(store)
    made.create_bucket(Bucket='bucket')
    yield made
    made.close()


@pytest.fixture
def connect(store: Store) -> Iterator[Connect]:
    """Opens connections without boto3, which are closed after the test."""
    opened: list[http.client.HTTPConnection] = []

    def connect() -> http.client.HTTPConnection:
        opened.append(http.client.HTTPConnection('127.0.0.1', store.port, timeout=10))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def test_put_and_get(client: Any) -> None:
    """A GET and a HEAD return the stored body, headers, metadata and number of tags."""
    headers: dict[str, Any] = {
        'ContentType': 'text/plain',
        'CacheControl': 'no-store',
        'ContentDisposition': 'inline',
        'ContentEncoding': 'gzip',
        'ContentLanguage': 'de',
    }
    put(client, Metadata={'who': 'me'}, Tagging='a=1&b=2', **headers)

    for answer in (client.get_object(Bucket='bucket', Key='key'), client.head_object(Bucket='bucket', Key='key')):
        assert {name: answer[name] for name in headers} == headers
        assert answer['Metadata'] == {'who': 'me'}
        assert answer['ContentLength'] == 4
        assert answer['ETag'] == '"841a2d689ad86bd1611447453c22c6fc"'
        assert answer['ResponseMetadata']['HTTPHeaders']['x-amz-tagging-count'] == '2'
        assert answer['ResponseMetadata']['RequestId']
    assert get(client) == b'body'


@pytest.mark.parametrize('key', ODD_KEYS)
def test_keys_are_byte_exact(client: Any, key: str) -> None:
    """Every key that S3 accepts is stored, listed and read under exactly its name."""
    put(client, key, key.encode())

    assert get(client, key) == key.encode()
    assert [each['Key'] for each in client.list_objects_v2(Bucket='bucket')['Contents']] == [key]
    client.delete_object(Bucket='bucket', Key=key)
    assert client.list_objects_v2(Bucket='bucket')['KeyCount'] == 0


def test_ranges(client: Any) -> None:
    """A range is a 206 with its Content-Range; beyond the end it is a 416."""
    put(client, body=b'0123456789')

    answer = client.get_object(Bucket='bucket', Key='key', Range='bytes=2-4')

    assert answer['ResponseMetadata']['HTTPStatusCode'] == 206
    assert answer['ContentRange'] == 'bytes 2-4/10'
    assert answer['Body'].read() == b'234'
    assert get(client, Range='bytes=-3') == b'789'
    assert refused(lambda: get(client, Range='bytes=10-')) == (416, 'InvalidRange')


def test_conditions(client: Any) -> None:
    """If-Match and If-None-Match are checked, for reads and writes."""
    etag = put(client)['ETag']

    assert refused(lambda: put(client, IfNoneMatch='*')) == (412, 'PreconditionFailed')
    assert refused(lambda: put(client, IfMatch='"other"')) == (412, 'PreconditionFailed')
    assert refused(lambda: get(client, IfMatch='"other"')) == (412, 'PreconditionFailed')
    assert refused(lambda: get(client, IfNoneMatch=etag))[0] == 304
    assert get(client, IfMatch=etag) == b'body'


def test_errors_are_s3s(client: Any) -> None:
    """Errors have S3's status and code; a response to HEAD has no body, and so no code."""
    assert refused(lambda: get(client, 'missing')) == (404, 'NoSuchKey')
    assert refused(lambda: client.head_object(Bucket='bucket', Key='missing')) == (404, '404')
    assert refused(lambda: client.list_objects_v2(Bucket='missing')) == (404, 'NoSuchBucket')
    assert refused(lambda: client.head_bucket(Bucket='missing')) == (404, '404')
    assert refused(lambda: client.get_object_acl(Bucket='bucket', Key='key')) == (501, 'NotImplemented')
    put(client)
    assert refused(lambda: client.delete_bucket(Bucket='bucket')) == (409, 'BucketNotEmpty')


def test_buckets(client: Any) -> None:
    """Buckets can be created, listed and deleted."""
    client.create_bucket(Bucket='another')

    assert [each['Name'] for each in client.list_buckets()['Buckets']] == ['another', 'bucket']
    client.delete_bucket(Bucket='another')
    assert [each['Name'] for each in client.list_buckets()['Buckets']] == ['bucket']


def test_list_pages_and_prefixes(client: Any) -> None:
    """A paginator returns every key and every common prefix once."""
    for key in ['a/1', 'a/2', 'b ü/1', 'c', 'd']:
        put(client, key)
    pages = list(
        client.get_paginator('list_objects_v2').paginate(Bucket='bucket', Delimiter='/', PaginationConfig={'PageSize': 2})
    )

    assert [each['Key'] for page in pages for each in page.get('Contents', ())] == ['c', 'd']
    assert [each['Prefix'] for page in pages for each in page.get('CommonPrefixes', ())] == ['a/', 'b ü/']
    after = client.list_objects_v2(Bucket='bucket', StartAfter='c')
    assert [(each['Key'], each['Size']) for each in after['Contents']] == [('d', 4)]


def test_delete_many(client: Any) -> None:
    """Keys are deleted together; a quiet response omits deleted keys; a missing key is not an error."""
    for key in ('a', 'b', 'c<&>'):
        put(client, key)

    told = client.delete_objects(Bucket='bucket', Delete={'Objects': [{'Key': 'a'}, {'Key': 'missing'}]})
    quiet = client.delete_objects(Bucket='bucket', Delete={'Objects': [{'Key': 'c<&>'}], 'Quiet': True})

    assert [each['Key'] for each in told['Deleted']] == ['a', 'missing']
    assert 'Deleted' not in quiet
    assert [each['Key'] for each in client.list_objects_v2(Bucket='bucket')['Contents']] == ['b']


def test_copy(client: Any) -> None:
    """A copy keeps headers and tags by default, and checks the source's conditions."""
    etag = put(client, 'a ü/+', Metadata={'who': 'me'}, Tagging='a=1')['ETag']
    source = {'Bucket': 'bucket', 'Key': 'a ü/+'}

    client.copy_object(Bucket='bucket', Key='same', CopySource=source, CopySourceIfMatch=etag)
    client.copy_object(Bucket='bucket', Key='new', CopySource=source, MetadataDirective='REPLACE', Metadata={'who': 'you'})

    assert get(client, 'same') == b'body'
    assert client.head_object(Bucket='bucket', Key='same')['Metadata'] == {'who': 'me'}
    assert client.head_object(Bucket='bucket', Key='new')['Metadata'] == {'who': 'you'}
    assert client.get_object_tagging(Bucket='bucket', Key='new')['TagSet'] == [{'Key': 'a', 'Value': '1'}]
    stale = {'Bucket': 'bucket', 'Key': 'x', 'CopySource': source, 'CopySourceIfMatch': '"other"'}
    assert refused(lambda: client.copy_object(**stale)) == (412, 'PreconditionFailed')
    assert refused(lambda: client.copy_object(**source, CopySource=source)) == (400, 'InvalidRequest')


def test_tagging(client: Any) -> None:
    """Tags can be replaced and removed."""
    put(client)

    client.put_object_tagging(Bucket='bucket', Key='key', Tagging={'TagSet': [{'Key': 'k', 'Value': 'v'}]})
    assert client.get_object_tagging(Bucket='bucket', Key='key')['TagSet'] == [{'Key': 'k', 'Value': 'v'}]
    client.delete_object_tagging(Bucket='bucket', Key='key')
    assert client.get_object_tagging(Bucket='bucket', Key='key')['TagSet'] == []


def test_multipart(client: Any) -> None:
    """Uploaded and copied parts make the object, which has the headers of CreateMultipartUpload."""
    put(client, 'source', b'x' * 10 + b'tail')
    upload = begin_upload(client, ContentType='text/plain', Metadata={'who': 'me'})
    sent = client.upload_part(**upload, PartNumber=1, Body=b'a' * PART)
    copied = client.upload_part_copy(
        **upload, PartNumber=2, CopySource={'Bucket': 'bucket', 'Key': 'source'}, CopySourceRange='bytes=10-13'
    )
    parts = [{'PartNumber': 1, 'ETag': sent['ETag']}, {'PartNumber': 2, 'ETag': copied['CopyPartResult']['ETag']}]

    listed = client.list_parts(**upload, MaxParts=1)
    assert (listed['IsTruncated'], listed['Parts'][0]['Size']) == (True, PART)
    pages = client.get_paginator('list_parts').paginate(**upload, PaginationConfig={'PageSize': 1})
    assert [each['PartNumber'] for page in pages for each in page.get('Parts', ())] == [1, 2]
    assert [each['UploadId'] for each in client.list_multipart_uploads(Bucket='bucket')['Uploads']] == [upload['UploadId']]
    done = client.complete_multipart_upload(**upload, MultipartUpload={'Parts': parts})

    head = client.head_object(Bucket='bucket', Key='key')
    assert done['ETag'] == head['ETag']
    assert head['ETag'].endswith('-2"')
    assert (head['ContentType'], head['Metadata'], head['ContentLength']) == ('text/plain', {'who': 'me'}, PART + 4)
    assert get(client, Range=f'bytes={PART - 1}-') == b'atail'
    assert 'Uploads' not in client.list_multipart_uploads(Bucket='bucket')


def test_multipart_refusals(client: Any) -> None:
    """A completion with small parts or wrong ETags is refused; then the upload can be aborted, once."""
    upload = begin_upload(client)
    parts = [{'PartNumber': n, 'ETag': client.upload_part(**upload, PartNumber=n, Body=b'a')['ETag']} for n in (1, 2)]

    def complete(parts: list[dict[str, Any]]) -> tuple[int, str]:
        return refused(lambda: client.complete_multipart_upload(**upload, MultipartUpload={'Parts': parts}))

    assert complete(parts) == (400, 'EntityTooSmall')
    assert complete(parts[::-1]) == (400, 'InvalidPartOrder')
    assert complete([{'PartNumber': 1, 'ETag': '"other"'}]) == (400, 'InvalidPart')
    client.abort_multipart_upload(**upload)
    assert refused(lambda: client.abort_multipart_upload(**upload)) == (404, 'NoSuchUpload')


def test_uploads_are_listed_in_pages(client: Any) -> None:
    """Several uploads of one key are distinguished across pages."""
    begun = [begin_upload(client)['UploadId'] for _ in range(3)]

    pages = client.get_paginator('list_multipart_uploads').paginate(Bucket='bucket', PaginationConfig={'PageSize': 2})

    assert [each['UploadId'] for page in pages for each in page.get('Uploads', ())] == begun


def test_aws_chunked_upload(authority: Authority) -> None:
    """boto3's default upload over TLS (aws-chunked with a trailing checksum) is decoded, verified and stored."""
    with Store(authority) as store:
        client = new_client(store, verify=str(authority.ca_pem), config={'request_checksum_calculation': 'when_supported'})
        client.create_bucket(Bucket='bucket')
        put(client, ContentEncoding='br', ChecksumAlgorithm='SHA256')
        answer = client.get_object(Bucket='bucket', Key='key', ChecksumMode='ENABLED')

        assert answer['Body'].read() == b'body'
        assert answer['ChecksumSHA256'] == base64.b64encode(hashlib.sha256(b'body').digest()).decode()
        assert answer['ContentEncoding'] == 'br'
        assert 'aws-chunked' in store.log('PutObject')[0]['headers']['content-encoding']
        assert store.log('PutObject')[0]['headers']['x-amz-trailer'] == 'x-amz-checksum-sha256'
        client.close()


def test_chunked_upload(store: Store, client: Any, connect: Connect) -> None:
    """A body without a length can be sent with chunked transfer encoding."""
    status, _, _ = exchange(connect(), 'PUT', '/bucket/key', iter([b'bo', b'dy']))

    assert status == 200
    assert store.log('PutObject')[0]['headers']['transfer-encoding'] == 'chunked'
    assert get(client) == b'body'


def test_wrong_digest_is_refused(client: Any) -> None:
    """A body that does not match its checksum is not stored."""
    assert refused(lambda: put(client, ContentMD5='AAAAAAAAAAAAAAAAAAAAAA==')) == (400, 'BadDigest')
    assert refused(lambda: put(client, ChecksumCRC32='AAAAAA==')) == (400, 'BadDigest')

    assert refused(lambda: get(client)) == (404, 'NoSuchKey')


def test_expect_continue(store: Store, client: Any) -> None:
    """A client that sends Expect gets 100 Continue, unless the script prevents it."""
    head = b'PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n'
    with socket.create_connection(('127.0.0.1', store.port), timeout=10) as sock:
        sock.sendall(head)
        assert sock.recv(65536) == b'HTTP/1.1 100 Continue\r\n\r\n'
        sock.sendall(b'body')
        assert sock.recv(65536).startswith(b'HTTP/1.1 200 ')
        store.script({'operation': 'PutObject', 'action': {'no_continue': True}})
        sock.sendall(head + b'body')
        assert sock.recv(65536).startswith(b'HTTP/1.1 200 ')

    assert get(client) == b'body'


def test_connections_are_kept(store: Store, client: Any) -> None:
    """Consecutive requests use one connection, also after a refusal and a HEAD."""
    put(client)
    refused(lambda: get(client, 'missing'))
    client.head_object(Bucket='bucket', Key='key')
    client.delete_object(Bucket='bucket', Key='key')

    assert store.stats()['connections'] == 1
    assert [(each['connection'], each['nth']) for each in store.log()] == [
        (store.log()[0]['connection'], nth) for nth in range(1, 6)
    ]


def test_open_connections() -> None:
    """stats() counts the open connections and their maximum; a reset clears only the latter."""
    with Store() as store, contextlib.ExitStack() as stack:  # its own store: connections of other tests may still be closing
        for _ in range(3):
            connection = stack.enter_context(contextlib.closing(http.client.HTTPConnection('127.0.0.1', store.port)))
            exchange(connection, 'GET', '/')
        assert store.stats() == {'connections': 3, 'open': 3, 'peak_open': 3}
        store.reset()
        assert store.stats() == {'connections': 0, 'open': 3, 'peak_open': 3}


def test_log(store: Store, client: Any) -> None:
    """The log contains the details of each request."""
    client.list_objects_v2(Bucket='bucket', Prefix='ü')

    entry = store.log('ListObjectsV2')[0]

    assert entry['method'] == 'GET'
    assert (entry['bucket'], entry['key'], entry['status']) == ('bucket', '', 200)
    assert entry['query']['prefix'] == 'ü'
    assert entry['headers']['host'] == f'127.0.0.1:{store.port}'


def test_tls(authority: Authority) -> None:
    """With a certificate the store uses TLS, and can reset connections then, too."""
    with Store(authority) as store:
        client = new_client(store, verify=str(authority.ca_pem))
        client.create_bucket(Bucket='bucket')
        put(client, body=b'a' * 100_000)
        assert get(client) == b'a' * 100_000
        store.script({'operation': 'GetObject', 'times': 1, 'action': {'reset': True}})
        with pytest.raises(ConnectionClosedError):
            get(client)
        client.close()
        trusted = ssl.create_default_context(cafile=str(authority.ca_pem))
        with socket.create_connection(('localhost', store.port)) as sock:
            trusted.wrap_socket(sock, server_hostname='localhost').close()
