"""S3Client's single requests: each response of the store is a Response; keywords, names, headers, ranges, request(), post()."""

from __future__ import annotations

import gzip
import hashlib
import pathlib
import pickle
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import s3po
from s3po import S3Client
from s3po.config import MIB
from s3po.errors import (
    AccessDenied,
    ConfigurationError,
    IntegrityError,
    InvalidRequest,
    NetworkError,
    NotFound,
    PreconditionFailed,
)
from tests.conftest import BUCKET, impatient
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.servers import MotoServer, Store

KEYS = {'access_key_id': 'key', 'secret_access_key': SECRET_ACCESS_KEY, 'region': 'us-east-1'}
KEY = f'{BUCKET}/key'
OLD = 'Sat, 01 Jan 2000 00:00:00 GMT'


class URL:
    """A relative URL, as URL classes write it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __str__(self) -> str:
        return urllib.parse.quote(self._path)


@pytest.fixture
def client(store: Store, conn: s3po.Connection) -> Iterator[S3Client]:
    with S3Client(store.endpoint_url, **KEYS, connection={'retry': impatient(1)}) as found:
        yield found


@pytest.fixture
def moto_client(moto_server: MotoServer, connect: Any) -> Iterator[S3Client]:
    connect(moto_server.endpoint_url).create_bucket(BUCKET)
    with S3Client(moto_server.endpoint_url, **KEYS, connection={'retry': impatient(1)}) as found:
        yield found


SINGLE: dict[str, Callable[[S3Client, pathlib.Path], Any]] = {
    'put': lambda client, path: client.put(KEY, b'x'),
    'put_file': lambda client, path: client.put_file(KEY, path),
    'get': lambda client, path: client.get(KEY),
    'head': lambda client, path: client.head(KEY),
    'delete': lambda client, path: client.delete(KEY),
    'copy': lambda client, path: client.copy(KEY, f'{BUCKET}/copy'),
    'request': lambda client, path: client.request('GET', KEY),
    'post': lambda client, path: client.post(KEY, b'', params={'uploads': ''}),
}


@pytest.mark.parametrize('status', [403, 404, 500])
@pytest.mark.parametrize('method', SINGLE)
def test_refused_requests(client: S3Client, store: Store, tmp_path: pathlib.Path, method: str, status: int) -> None:
    """A refused request is a Response with its status, for each method of one request; raise_for_status() raises the error."""
    (tmp_path / 'file').write_bytes(b'x')
    client.put(KEY, b'x')
    store.script({'times': None, 'action': {'status': status}})

    response = SINGLE[method](client, tmp_path / 'file')
    assert response == status
    assert str(status) in repr(response)
    with pytest.raises((AccessDenied, NotFound, s3po.TransferError)) as caught:
        response.raise_for_status()
    assert caught.value is response.error
    assert response.text == str(response.error)


def test_what_still_raises(client: S3Client, store: Store, tmp_path: pathlib.Path) -> None:
    """No response, an error in the body of a 200, and refusals of the methods of several requests are raised."""
    client.put(KEY, b'x' * 6 * MIB)
    with pytest.raises(NotFound):
        client.get_file_parallel(f'{BUCKET}/missing', tmp_path / 'file')
    with pytest.raises(NotFound):
        client.rename(f'{BUCKET}/missing', KEY)
    store.script({'operation': 'CreateMultipartUpload', 'times': None, 'action': {'status': 403, 'code': 'AccessDenied'}})
    with pytest.raises(AccessDenied):
        client.put_multipart(KEY, [b'x' * 6 * MIB])
    store.script({'times': None, 'action': {'reset': True}})
    with pytest.raises(s3po.TransferError) as caught:
        client.put(KEY, b'x')
    assert isinstance(caught.value.__cause__, NetworkError)


def test_success_has_no_error(client: S3Client) -> None:
    """raise_for_status() of a success returns the response."""
    response = client.put(KEY, b'x')

    assert response.raise_for_status() is response
    assert response.error is None


# ---------------------------------------------------------------------- names and keywords


def test_keywords_and_paths(client: S3Client, tmp_path: pathlib.Path) -> None:
    """The keywords of handtruck and of aiohttp-s3-client; names and prefixes may be pathlib paths."""
    name = pathlib.PurePosixPath(KEY)
    file = tmp_path / 'file'
    digest = hashlib.sha256(b'data').hexdigest()
    assert client.put(object_name=name, content=b'data', content_sha256=digest) == 200
    assert client.put(object_name=name, data='data', headers={'Content-Type': 'text/x'}) == 200
    assert client.get(object_name=name).content == b'data'
    assert client.head(object_name=name).headers['Content-Type'] == 'text/x'
    assert client.get_file_parallel(object_name=name, file_path=file, headers={}, buffer_size=4096, workers_count=2) == 200
    assert client.put_file(object_name=name, file_path=file, headers={}, chunk_size=4096, content_sha256=None) == 200
    few = {'part_size': 5 * MIB, 'workers_count': 4, 'max_size': 1, 'part_upload_tries': 2, 'calculate_content_sha256': False}
    assert client.put_file_multipart(object_name=name, file_path=file, **few) == 200
    assert client.put_multipart(object_name=name, content=[b'da', b'ta'], **few) == 200
    assert client.put_multipart(object_name=name, data=iter([b'da', b'ta']), **few) == 200
    (page,) = client.list_objects_v2('/', bucket=BUCKET, prefix=pathlib.PurePosixPath('ke'), max_keys=10)
    assert [entry.key for entry in page] == ['key']
    assert client.copy(source=name, destination=f'{BUCKET}/b', content_type='text/y', replace_metadata=True) == 200
    assert client.rename(source=f'{BUCKET}/b', destination=f'{BUCKET}/c') == 200
    assert client.head(f'{BUCKET}/c').headers['content-type'] == 'text/y'
    assert client.delete(object_name=name) == 204


def test_parts_in_memory(own_store: Store, connect: Any) -> None:
    """max_size limits the number of parts that are sent in parallel."""
    connect(own_store.endpoint_url).create_bucket(BUCKET)
    own_store.script({'operation': 'UploadPart', 'times': None, 'action': {'delay_s': 0.05}})
    with S3Client(own_store.endpoint_url, **KEYS) as client:
        client.put_multipart(KEY, [b'x' * 5 * MIB] * 4, part_size=5 * MIB, workers_count=4, max_size=1)

    assert len(own_store.log('UploadPart')) == 4
    # The connection that made the bucket stays open, and two parts are sent at once at most.
    assert own_store.stats()['peak_open'] <= 3


@pytest.mark.parametrize(
    ('call', 'match'),
    [
        (lambda client: client.put(KEY), 'needs content'),
        (lambda client: client.put(KEY, b'x', params={'partNumber': 1}, compress='gzip'), 'compress cannot be combined'),
        (lambda client: client.put(KEY, b'x', content_sha256='0' * 64), 'is not the SHA-256'),
        (lambda client: client.put(KEY, iter([b'x']), content_sha256='0' * 64), 'only for bytes and str'),
        (lambda client: client.put_file(KEY, 'file', content_sha256='0' * 64), 'only for bytes and str'),
        (lambda client: client.put_multipart(KEY, [b'x'], max_size=0), 'max_size must be'),
        (lambda client: client.get_file_parallel(KEY, 'file', headers={'Range': 'bytes=0-1'}), 'headers: '),
        (lambda client: client.request('DELETE', BUCKET), 'needs a bucket and a key'),
        (lambda client: client.request('PUT', BUCKET), 'needs a bucket and a key'),
        (lambda client: client.request('GET', KEY, {'Host': 'x'}), 'is set by s3po'),
        (lambda client: client.request('GET /x HTTP/1.1\r\nX: y\r\n\r\nGET', KEY), 'method must be'),
        (lambda client: client.request('', KEY), 'method must be'),
        (lambda client: client.get(5), 'object_name must be'),
    ],
)
def test_wrong_arguments(client: S3Client, store: Store, call: Callable[[S3Client], object], match: str) -> None:
    """Wrong arguments are rejected, and nothing is sent."""
    sent = len(store.log())
    with pytest.raises(ConfigurationError, match=match):
        call(client)
    assert len(store.log()) == sent


# ---------------------------------------------------------------------- headers and ranges


def test_headers_in_any_case(client: S3Client) -> None:
    """Headers of a response are found in any case, and pickle."""
    headers = client.put(KEY, b'data').headers
    for found in (headers, pickle.loads(pickle.dumps(headers))):
        assert found['ETag'] == found['etag'] == found['ETAG'] == found.get('Etag')
        assert 'eTag' in found
        assert 5 not in found
        assert found.get('X-Missing', 'none') == 'none'
        with pytest.raises(KeyError):
            found['X-Missing']
    assert headers == dict(headers)


@pytest.mark.parametrize(
    ('text', 'content', 'sent'),
    [
        ('bytes=-3', b'789', 'bytes=7-'),
        ('bytes=-100', b'0123456789', None),
        ('bytes=0-', b'0123456789', None),
        ('bytes=2-3', b'23', 'bytes=2-3'),
        ('bytes=8-100', b'89', 'bytes=8-100'),
    ],
)
def test_ranges(client: S3Client, store: Store, text: str, content: bytes, sent: str | None) -> None:
    """A range from the end is counted from the size of one version, pinned by If-Match."""
    client.put(KEY, b'0123456789')
    response = client.get(KEY, headers={'Range': text})

    assert (response.status_code, response.content) == (206, content)
    request = store.log('GetObject')[-1]['headers']
    assert request.get('range') == sent
    assert ('if-match' in request) == text.startswith('bytes=-')


def test_ranges_that_cannot_be_satisfied(client: S3Client) -> None:
    """A range after the end, and any range from the end of an empty object, is status 416."""
    client.put(KEY, b'data')
    client.put(f'{BUCKET}/empty', b'')
    for name, text in (('key', 'bytes=100-'), ('empty', 'bytes=-3')):
        response = client.get(f'{BUCKET}/{name}', headers={'Range': text})
        assert response == 416
        assert isinstance(response.error, InvalidRequest)


def test_conditions(moto_client: S3Client) -> None:
    """The conditions of get() and head() are sent; a condition that is not met is status 304 or 412."""
    etag = moto_client.put(KEY, b'data').headers['ETag']
    for method in (moto_client.get, moto_client.head):
        assert method(KEY, headers={'If-None-Match': etag}) == 304
        assert method(KEY, headers={'if-none-match': '"0"'}) == 200
        assert method(KEY, headers={'If-Match': etag}) == 200
        failed = method(KEY, headers={'If-Match': '"0"'})
        assert failed == 412
        assert isinstance(failed.error, PreconditionFailed)
        assert method(KEY, headers={'If-Unmodified-Since': OLD}) == 412
        assert method(KEY, headers={'If-Modified-Since': OLD}) == 200


def test_other_headers_and_params(client: S3Client, store: Store) -> None:
    """All other headers, and parameters of the query, are sent as they are, by every method."""
    client.put(KEY, b'data')
    other = {'X-Other': 'a b'}
    assert client.get(KEY, headers=other).content == b'data'
    assert client.head(KEY, headers=other).headers['content-length'] == '4'
    assert client.get(KEY, params={'response-content-type': 'text/x'}).content == b'data'
    assert client.head(KEY, headers={'Range': 'bytes=0-1'}).status_code in (200, 206)
    assert client.delete(KEY, headers=other) == 204
    sent = [each for each in store.log() if 'x-other' in each['headers']]
    assert [each['headers']['x-other'] for each in sent] == ['a b'] * 3
    with pytest.raises(NotFound):
        client.get(KEY, headers=other).raise_for_status()


def test_version(client: S3Client, moto_client: S3Client, store: Store) -> None:
    """get() of a version is verified like any other; a range from the end counts in this version."""
    status = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
    assert moto_client.request('PUT', BUCKET, params={'versioning': ''}, content=status) == 200
    version = moto_client.put(KEY, b'old data').headers['x-amz-version-id']
    moto_client.put(KEY, b'new')
    assert moto_client.get(KEY, params={'versionId': version}).content == b'old data'
    assert moto_client.get(KEY, params={'versionId': version}, headers={'Range': 'bytes=-6'}).content == b'd data'
    assert moto_client.get(KEY, params={'versionId': version, 'response-content-type': 'x/y'}).content == b'old data'
    changed = {'status': 200, 'body': 'data', 'headers': {'ETag': '"1"', 'x-amz-checksum-crc32': 'AAAAAA=='}}
    store.script({'times': None, 'action': changed})
    with pytest.raises(IntegrityError):
        client.get(KEY, params={'versionId': 'x'})


def test_content_encoding(client: S3Client) -> None:
    """get() decompresses what has a known Content-Encoding, as HTTP clients do; a range has the stored bytes."""
    packed = gzip.compress(b'data')
    for name, encoding, content in (('gzip', 'gzip', b'data'), ('other', 'application/json', packed)):
        client.put(f'{BUCKET}/{name}', packed, headers={'Content-Encoding': encoding})
        assert client.get(f'{BUCKET}/{name}').content == content
        for other in ({'headers': {'X-Other': 'x'}}, {'params': {'response-content-type': 'text/x'}}):
            assert client.get(f'{BUCKET}/{name}', **other).content == content
        for headers in ({'Range': 'bytes=0-1'}, {'Range': 'bytes=0-1', 'X-Other': 'x'}):
            assert client.get(f'{BUCKET}/{name}', headers=headers).content == packed[:2]
        assert client.request('GET', f'{BUCKET}/{name}').content == packed


# ---------------------------------------------------------------------- request() and post()


def test_multipart_by_hand(moto_client: S3Client) -> None:
    """post() and put() with params carry out a multipart upload step by step."""
    begun = moto_client.post(KEY, params={'uploads': 1})
    assert begun == 200
    upload_id = begun.text.partition('<UploadId>')[2].partition('</UploadId>')[0]
    part = moto_client.put(KEY, b'data', params={'partNumber': 1, 'uploadId': upload_id})
    body = f'<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{part.etag}</ETag></Part></CompleteMultipartUpload>'
    assert moto_client.post(KEY, content=body, params=f'uploadId={upload_id}') == 200
    assert moto_client.get(KEY).content == b'data'


def test_requests_to_a_bucket(moto_client: S3Client, tmp_path: pathlib.Path) -> None:
    """request() reaches sub-resources of a bucket, and reads a body of any kind."""
    assert b'AccessControlPolicy' in moto_client.request('get', BUCKET, params={'acl': ''}).content
    assert moto_client.request('GET', pathlib.PurePosixPath(BUCKET), params=[('list-type', 2)]).content.startswith(b'<')
    (tmp_path / 'file').write_bytes(b'data')
    with (tmp_path / 'file').open('rb') as file:
        for content in (b'data', 'data', [b'da', b'ta'], tmp_path / 'file', file, bytearray(b'data')):
            assert moto_client.request('PUT', KEY, {'X-Amz-Meta-A': 'b'}, content=content) == 200
            assert moto_client.request('GET', KEY).content == b'data'
    assert moto_client.head(KEY).headers['x-amz-meta-a'] == 'b'
    assert moto_client.request('HEAD', KEY).content == b''


def test_post_is_sent_once(client: S3Client, store: Store) -> None:
    """A POST is not retried, other requests are."""
    store.script({'times': None, 'action': {'status': 500}})
    for method, attempts in (('POST', 1), ('PUT', 2), ('GET', 2)):
        before = len(store.log())
        assert client.request(method, KEY, content=b'x' if method != 'GET' else None) == 500
        assert len(store.log()) - before == attempts


def test_request_under_a_mock() -> None:
    """Under a mock, request() is refused; get() with conditions works."""
    boto = S3Client('http://127.0.0.1:1', **KEYS, connection={'transport': 'boto'})
    with pytest.raises(ConfigurationError, match="needs s3po's HTTP client"):
        boto.request('GET', KEY)


# ---------------------------------------------------------------------- presigned URLs


def test_presigned_urls_work(moto_client: S3Client) -> None:
    """A presigned URL of a name, or of the same address as an absolute URL, allows the request, with its headers."""
    moto_client.put(KEY, b'data')
    by_name = moto_client.presign_url('get', KEY)
    by_url = moto_client.presign_url('GET', f'{moto_client.url}/{KEY}')
    for url in (by_name, by_url):
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b'data'
    upload = urllib.request.Request(
        moto_client.presign_url('PUT', KEY, {'Content-Type': 'text/x'}), b'new', {'Content-Type': 'text/x'}, method='PUT'
    )
    with urllib.request.urlopen(upload) as answer:
        assert answer.status == 200
    assert moto_client.get(KEY).content == b'new'


@pytest.mark.parametrize('key', ['a b', 'ü', 'a?b', 'a%20b', 'a:b', 'a://b'])
def test_presigned_urls_of_names_that_are_escaped(client: S3Client, key: str) -> None:
    """A key with special characters is signed as it is; a relative URL object has it escaped."""
    name = f'{BUCKET}/{key}'
    client.put(name, key)
    for given in (name, URL(name)):
        with urllib.request.urlopen(client.presign_url('GET', given)) as answer:
            assert answer.read() == key.encode()


def test_presigned_url_of_any_host(client: S3Client) -> None:
    """An absolute URL keeps scheme, host, port, path and query, and has no keys of its own."""
    url = client.presign_url('GET', 'https://user:secret@absolute-url:123/a b/%20c?x=1', expires=60)

    assert url.startswith('https://absolute-url:123/a%20b/%20c?')
    assert 'secret' not in url
    assert 'x=1' in url
    assert 'X-Amz-Content-Sha256=UNSIGNED-PAYLOAD' in url
    assert 'X-Amz-Expires=60' in url
    for wrong in (0, 8 * 24 * 3600, 'x'):
        with pytest.raises(ConfigurationError, match='expires must be'):
            client.presign_url('GET', KEY, expires=wrong)  # type: ignore[arg-type]


def test_presigned_url_as_others_sign_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature is the one that aiohttp-s3-client's own test expects."""
    monkeypatch.setattr('time.time', lambda: 1704067200.0)
    client = S3Client('http://user:hackme@localhost:9090/test', region='us-east-1')

    assert client.presign_url('get', 'example').endswith(
        'X-Amz-Signature=7359f1286edf554b0eab363e3c93ee32855b8d429d975fdb0a5d2cb7ad5c0db0'
    )
    assert client.presign_url('get', 'http://localhost:9090/test/example') == client.presign_url('get', 'example')
