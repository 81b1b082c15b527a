"""Invalid arguments: the error names the argument and the fix, before any request where possible."""

from __future__ import annotations

import io
import math
import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config

import s3po
from s3po.config import GIB, MIB
from s3po.errors import BatchError, ConfigurationError, CredentialsError, LocalError, NoSuchBucket, NotFound, PreconditionFailed
from tests.support.memory import MemoryTransport
from tests.support.servers import Store

BUCKET = 'bucket'
Call = Callable[[s3po.Connection], object]
OWNED_HEADERS = [
    'Host',
    'Content-Length',
    'Authorization',
    'Transfer-Encoding',
    'x-amz-date',
    'x-amz-content-sha256',
    'x-amz-checksum-crc64nvme',
    'X-Amz-Checksum-SHA256',
]

# Sources and options of uploads, and the error for each. In a batch, the same error fails the job.
UPLOADS: list[tuple[Any, dict[str, Any], str]] = [
    (None, {}, 'source must be bytes, str, a pathlib.Path, a readable file or an iterable of bytes, not NoneType'),
    (7, {}, 'source must be .*, not int'),
    (object(), {}, 'source must be .*, not object'),
    ({'a': 1}, {}, 'source must be .*, not dict'),
    (['text'], {}, 'an iterable must return bytes, not str; encode the text first'),
    (io.BytesIO().writelines, {}, 'source must be'),
    ('\ud800', {}, 'source is a str that cannot be encoded as UTF-8'),
    *((b'x', {'headers': {name: 'x'}}, f'headers: {name} is set by s3po; leave it out') for name in OWNED_HEADERS),
    (b'x', {'headers': {'x-custom': 'a\r\nx-evil: 1'}}, 'the value of x-custom has control characters; remove them'),
    (b'x', {'headers': {'x custom': 'a'}}, "headers: 'x custom' is not a valid header name"),
    (b'x', {'headers': [('a', 'b')]}, 'headers must be a mapping, not list'),
    (b'x', {'content_type': 'text/plain\n'}, 'the value of Content-Type has control characters'),
    (b'x', {'metadata': {'a': 'ä'}}, 'metadata: the value of a must be printable ASCII'),
    (b'x', {'metadata': [('a', 'b')]}, 'metadata must be a mapping, not list'),
    (b'x', {'extra': {'Nonsense': 1}}, "extra: 'Nonsense' is not a parameter of PutObject"),
    (b'x', {'extra': {'Body': b''}}, 'extra: Body is set by s3po; use the argument source'),
    (b'x', {'extra': {'CacheControl': 'a\r\nx-evil: 1'}}, 'extra: the value of CacheControl has control characters'),
    (b'x', {'extra': {'Metadata': {'a': '\n'}}}, 'extra: the value of Metadata has control characters'),
    (b'x', {'extra': 'ACL'}, "extra must be a mapping of boto3's parameter names, not str"),
    (b'x', {'delete': True}, 'delete=True needs a path as source'),
    (b'x', {'if_match': 'a', 'if_none_match': '*'}, 'if_none_match and if_match exclude each other'),
    (b'x', {'if_match': ''}, "if_match must be an ETag, or '\\*'"),
    (b'x', {'retries': -1}, 'retries must be a whole number from 0'),
    *((b'x', {'timeout_s': bad}, 'timeout_s must be a number of seconds above 0') for bad in (0, -1, math.nan, True, '5')),
]

# Calls that are rejected whatever the store contains.
CALLS: list[tuple[Call, str]] = [
    (lambda conn: conn.upload('', 'key', b''), "bucket '' is not a valid bucket name"),
    (lambda conn: conn.upload('a/b', 'key', b''), "bucket 'a/b' is not a valid bucket name"),
    (lambda conn: conn.upload(BUCKET, '', b''), 'key is empty; S3 needs at least one character'),
    (lambda conn: conn.upload(BUCKET, 'ä' * 513, b''), 'key is 1,026 bytes long in UTF-8; S3 allows at most 1,024'),
    (lambda conn: conn.upload(BUCKET, '\ud800', b''), 'cannot be encoded as UTF-8'),
    (lambda conn: conn.upload(BUCKET, 7, b''), 'key must be a str, not int'),  # type: ignore[arg-type]
    (lambda conn: conn.upload_file(BUCKET, 'key', 7), 'path must be a str or pathlib.Path, not int'),  # type: ignore[arg-type]
    (lambda conn: conn.upload_file(BUCKET, 'key', ''), "path '' cannot be a path"),
    (lambda conn: conn.upload_file(BUCKET, 'key', 'a\0b'), 'cannot be a path'),
    (
        lambda conn: conn.download(BUCKET, 'key', byte_range=(5, 5)),
        r'byte_range must be \(start, stop\) with 0 <= start < stop',
    ),
    (lambda conn: conn.download(BUCKET, 'key', byte_range=(-5, None)), 'byte_range must be'),
    (lambda conn: conn.download(BUCKET, 'key', byte_range=(True, 2)), 'byte_range must be'),
    (lambda conn: conn.download(BUCKET, 'key', byte_range=(0, 1, 2)), 'byte_range must be'),  # type: ignore[arg-type]
    (lambda conn: conn.download(BUCKET, 'key', byte_range='0-5'), 'byte_range must be'),  # type: ignore[arg-type]
    (lambda conn: conn.download(BUCKET, 'key', encoding='utf-9'), "encoding 'utf-9' is unknown"),
    (lambda conn: conn.download(BUCKET, 'key', encoding='hex'), "encoding 'hex' is unknown"),
    (lambda conn: conn.download(BUCKET, 'key', encoding='\ud800'), 'encoding .* is unknown'),
    (lambda conn: conn.download(BUCKET, 'key', io.BytesIO(), encoding='utf-8'), 'encoding is for downloads into memory'),
    (lambda conn: conn.download(BUCKET, 'key', 7), 'target must be None, a path or a writable file object, not int'),
    (lambda conn: conn.download(BUCKET, 'key', extra={'ACL': 'private'}), "'ACL' is not a parameter of GetObject"),
    (lambda conn: conn.copy(BUCKET, 'key', BUCKET, ''), 'to_key is empty'),
    (lambda conn: conn.copy(BUCKET, 'key', 'b', 'key'), "to_bucket 'b' is not a valid bucket name"),
    (lambda conn: conn.move(BUCKET, 'key', BUCKET, 'key'), 'to_key: s3://bucket/key would be moved onto itself'),
    (lambda conn: conn.copy(BUCKET, 'key', BUCKET, 'other', extra=7), 'extra must be'),  # type: ignore[arg-type]
    (lambda conn: conn.move(BUCKET, 'key', BUCKET, 'other', extra=7), 'extra must be'),  # type: ignore[arg-type]
    (lambda conn: conn.list(BUCKET, page_size=0), 'page_size must be a whole number from 1 to 1,000, not 0'),
    (lambda conn: conn.list(BUCKET, 7), 'prefix must be a str'),  # type: ignore[arg-type]
    (lambda conn: conn.delete_many(BUCKET, 'key'), r'use delete\(\) for a single key'),
    (lambda conn: conn.delete_many(BUCKET, 7), 'keys must be an iterable of keys'),  # type: ignore[arg-type]
    (lambda conn: conn.delete_many(BUCKET, ['key', '']), 'key is empty'),
    (lambda conn: conn.delete_many(BUCKET, [s3po.ObjectRef(bucket='other', key='a')]), 's3://other/a is not in bucket bucket'),
    (lambda conn: conn.presign('POST', BUCKET, 'key'), "method must be one of GET, PUT, HEAD, DELETE, not 'POST'"),
    (lambda conn: conn.presign('GET', BUCKET, 'key', expires_s=0), 'expires_s must be a whole number from 1 to 604,800'),
    (lambda conn: conn.presign('GET', BUCKET, 'key', expires_s=604_801), 'expires_s must be'),
    (lambda conn: conn.presign('GET', BUCKET, 'key', extra={'Nonsense': 1}), "'Nonsense' is not a parameter of GetObject"),
    (lambda conn: conn.batch(0), 'size must be a whole number from 1'),
    (lambda conn: conn.batch(size='50'), 'size must be'),  # type: ignore[arg-type]
    (lambda conn: conn.batch(on_error='ignore'), "on_error must be 'raise' or 'collect'"),  # type: ignore[arg-type]
    (lambda conn: conn.batch(timeout_s=0), 'timeout_s must be'),
    (lambda conn: conn.mock(buckets='bucket'), r"buckets must be a list of names: \['bucket'\]"),
    (lambda conn: conn.mock(buckets=['a b']), "bucket 'a b' is not a valid bucket name"),
    (lambda conn: conn.create_bucket('a b'), "bucket 'a b' is not a valid bucket name"),
]

CONNECTIONS: list[tuple[dict[str, Any], str]] = [
    ({'endpoint_url': 's3.example.com'}, "endpoint_url must begin with http:// or https:// .*, not 's3.example.com'"),
    ({'endpoint_url': 'localhost:9000'}, 'endpoint_url must begin with http:// or https://'),
    ({'endpoint_url': 'ftp://s3.example.com'}, 'endpoint_url must begin with'),
    ({'endpoint_url': 'https://'}, 'endpoint_url must begin with .* and name a host'),
    ({'endpoint_url': 'https://s3.example.com:port'}, 'endpoint_url is not a URL'),
    ({'endpoint_url': 'https://s3.example.com/?a=b'}, 'not with a query'),
    ({'endpoint_url': 7}, 'endpoint_url must be a str'),
    ({'access_key_id': 'key'}, 'secret_access_key is missing: access_key_id and secret_access_key go together'),
    ({'secret_access_key': 'secret'}, 'access_key_id is missing'),
    ({'access_key_id': 'key', 'secret_access_key': ''}, 'secret_access_key must be a str that is not empty'),
    ({'session_token': 'token'}, 'session_token needs access_key_id and secret_access_key'),
    ({'anonymous': True, 'profile': 'p'}, 'anonymous and profile exclude each other'),
    ({'access_key_id': 'a', 'secret_access_key': 'b', 'profile': 'p'}, 'access_key_id and profile exclude each other'),
    ({'client': object()}, "client must be a boto3 client for 's3', not object"),
    ({'addressing_style': 'dns'}, "addressing_style must be 'auto', 'path' or 'virtual', not 'dns'"),
    ({'verify': '/no/such/file.pem'}, 'verify: the file or directory /no/such/file.pem does not exist'),
    ({'verify': None}, 'verify must be True, False or a path, not NoneType'),
    ({'region': ''}, 'region must be a str that is not empty'),
    ({'transport': 'carrier pigeon'}, "transport must be 'auto', 'wire', 'boto' or an object with the methods of Transport"),
    ({'transport': object()}, 'transport must be'),
    ({'retries': -1}, 'retries must be a whole number from 0'),
    ({'retry': 3}, 'retry must be an s3po.RetryPolicy, not int'),
    ({'config': {'max_concurrency': 3}}, 'config must be an s3po.TransferConfig, not dict'),
    ({'default_extra': {'Nonsense': 1}}, "default_extra: 'Nonsense' is not a parameter of any S3 request"),
    ({'default_extra': 7}, 'default_extra must be a mapping'),
]


@pytest.fixture
def full(memory: MemoryTransport, memory_conn: s3po.Connection) -> s3po.Connection:
    """A connection to a store in memory; the bucket has one object."""
    memory_conn.upload(BUCKET, 'key', b'old')
    memory.calls.clear()
    return memory_conn


@pytest.mark.parametrize(('source', 'arguments', 'text'), UPLOADS)
def test_upload(full: s3po.Connection, memory: MemoryTransport, source: Any, arguments: dict[str, Any], text: str) -> None:
    """A bad source, header or option is rejected before anything is sent, and the older object is unchanged."""
    with pytest.raises(ConfigurationError, match=text):
        full.upload(BUCKET, 'key', source, **arguments)
    with full.batch(2, on_error='collect') as batch:
        job = batch.upload(BUCKET, 'key', source, **arguments)

    assert isinstance(job.exception, ConfigurationError)
    assert [(failed.ref.bucket, failed.ref.key) for failed in batch.failed] == [(BUCKET, 'key')]
    assert memory.calls == []
    assert full.download(BUCKET, 'key') == b'old'


@pytest.mark.parametrize('silent', [False, True])
@pytest.mark.parametrize(('call', 'text'), CALLS)
def test_call(full: s3po.Connection, memory: MemoryTransport, call: Call, text: str, silent: bool) -> None:
    """A bad argument is rejected before anything is sent, also by silent connections."""
    full.silent = silent
    with pytest.raises(ConfigurationError, match=text):
        call(full)

    assert memory.calls == []


@pytest.mark.parametrize(('arguments', 'text'), CONNECTIONS)
def test_connection(arguments: dict[str, Any], text: str) -> None:
    """Invalid arguments are rejected when the connection is created."""
    with pytest.raises(ConfigurationError, match=text):
        s3po.Connection(**arguments)


def test_password_in_the_endpoint_is_not_shown() -> None:
    """The message does not repeat the endpoint, which may contain a secret."""
    with pytest.raises(ConfigurationError, match='must not hold a user name or password') as caught:
        s3po.Connection(endpoint_url='https://user:hunter2@s3.example.com')

    assert 'hunter2' not in str(caught.value)


def test_client_excludes_what_it_brings(conn: s3po.Connection) -> None:
    """The region, endpoint and configuration cannot be combined with a client, which has its own."""
    for name, value in {'region': 'eu-west-1', 'endpoint_url': 'http://127.0.0.1:1', 'client_config': Config()}.items():
        with pytest.raises(ConfigurationError, match=f'{name} and client exclude each other'):
            s3po.Connection(client=conn.conn, **{name: value})


@pytest.mark.parametrize('name', ['multipart_chunksize', 'multipart_copy_chunksize'])
@pytest.mark.parametrize('value', [5 * MIB - 1, 5 * GIB + 1, 0, -1, 8.5])
def test_part_size(name: str, value: Any) -> None:
    """Parts must have 5 MiB to 5 GiB."""
    with pytest.raises(ConfigurationError, match=name):
        s3po.TransferConfig(**{name: value})


@pytest.mark.parametrize('name', ['connect_timeout_s', 'read_timeout_s'])
@pytest.mark.parametrize('value', [0, -1, None, math.nan, True])
def test_timeouts(name: str, value: Any) -> None:
    """Timeouts must be numbers of seconds above 0."""
    with pytest.raises(ConfigurationError, match=f'{name} must be a number of seconds above 0'):
        s3po.TransferConfig(**{name: value})


def test_bad_names_in_a_batch(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """A bad name fails its own job; the other jobs are done."""
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(BatchError, match='5 of 6 jobs failed') as caught, memory_conn.batch(2) as batch:
        batch.upload(BUCKET, '', b'')
        batch.upload_file(BUCKET, 'caf\udce9', tmp_path / 'file')
        batch.upload_file(BUCKET, 'key', tmp_path / 'a\ud800')
        batch.copy(BUCKET, 'key', '', 'key')
        batch.move(BUCKET, 'key', BUCKET, '')
        batch.upload(BUCKET, 'good', b'')

    assert memory.calls == [('PutObject', 'good', None)]
    assert {type(job.error) for job in caught.value.failed} == {ConfigurationError}
    assert "os.fsencode(name).decode('utf-8', 'backslashreplace') as the key" in str(caught.value.failed[1].error)


def test_callbacks_that_cannot_be_called(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A callback that is not callable fails its job before anything is sent."""
    with pytest.raises(BatchError, match='callback must be a function.*errback must be a function') as caught:
        with memory_conn.batch(2) as batch:
            batch.upload(BUCKET, 'a', b'', callback='print')  # type: ignore[arg-type]
            batch.upload(BUCKET, 'b', b'', errback=7)  # type: ignore[arg-type]
            batch.upload(BUCKET, 'good', b'', callback=str)

    assert memory.calls == [('PutObject', 'good', None)]
    assert {type(job.error) for job in caught.value.failed} == {ConfigurationError}


def test_text_within_a_stream(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A stream that yields text fails the upload, which leaves neither an object nor an open upload."""

    def pieces() -> Any:
        yield b'x' * (17 * MIB)
        yield 'text'

    with pytest.raises(ConfigurationError, match='an iterable must return bytes, not str; encode the text first'):
        memory_conn.upload(BUCKET, 'key', pieces())

    assert memory.store.uploads(BUCKET) == []
    assert not memory_conn.exists(BUCKET, 'key')


def test_no_credentials(store: Store) -> None:
    """Credentials are looked up on first use; the message names the places and the arguments to pass."""
    connection = s3po.Connection(endpoint_url=store.endpoint_url, region='us-east-1')
    with pytest.raises(CredentialsError, match='no credentials found: .* Give access_key_id and secret_access_key, or a prof'):
        connection.upload(BUCKET, 'key', b'x')
    with pytest.raises(BatchError, match='no credentials found'), connection.batch(2) as batch:
        batch.upload(BUCKET, 'key', b'x')
        batch.download(BUCKET, 'key')

    assert len(batch.failed) == 2
    assert store.log() == []


def test_half_a_key_pair_in_the_environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invalid settings that boto3 detects are reported as a CredentialsError."""
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'key')
    with pytest.raises(CredentialsError, match='AWS_SECRET_ACCESS_KEY'):
        s3po.Connection(endpoint_url=store.endpoint_url, region='us-east-1').download(BUCKET, 'key')

    assert store.log() == []


@pytest.mark.parametrize('where', ['argument', 'environment'])
def test_unknown_profile(store: Store, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """The message for an unknown profile contains its name and the place where profiles come from."""
    profile = 'no-such-profile' if where == 'argument' else None
    if profile is None:
        monkeypatch.setenv('AWS_PROFILE', 'no-such-profile')
    connection = s3po.Connection(endpoint_url=store.endpoint_url, profile=profile)
    with pytest.raises(ConfigurationError, match=r'profile: .*no-such-profile.*check its name.*AWS_CONFIG_FILE'):
        connection.upload(BUCKET, 'key', b'x')

    assert store.log() == []


@pytest.mark.parametrize(
    'call',
    [
        lambda conn, path: conn.upload('no-such-bucket', 'key', b'x'),
        lambda conn, path: conn.upload_file('no-such-bucket', 'key', path, delete=True),
        lambda conn, path: conn.upload('no-such-bucket', 'key', iter([b'x' * (17 * MIB)])),
        lambda conn, path: conn.download('no-such-bucket', 'key'),
        lambda conn, path: conn.download_file('no-such-bucket', 'key', path),
        lambda conn, path: list(conn.list('no-such-bucket')),
        lambda conn, path: conn.delete('no-such-bucket', 'key'),
        lambda conn, path: conn.delete_many('no-such-bucket', ['key']),
        lambda conn, path: conn.delete_bucket('no-such-bucket'),
    ],
)
def test_missing_bucket(conn: s3po.Connection, store: Store, tmp_path: pathlib.Path, call: Callable[..., object]) -> None:
    """A missing bucket is detected with one request, which is not retried; local files are unchanged."""
    path = tmp_path / 'file'
    path.write_bytes(b'precious')
    with pytest.raises(NoSuchBucket, match=r's3://no-such-bucket.* create the bucket first, or check its name and the endpoi'):
        call(conn, path)

    assert len([seen for seen in store.log() if seen['bucket'] == 'no-such-bucket']) == 1
    assert path.read_bytes() == b'precious'
    assert os.listdir(tmp_path) == ['file']


def test_missing_object(conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """A download of a missing object creates no file, and an older file is unchanged."""
    path = tmp_path / 'file'
    path.write_bytes(b'precious')
    for call in (
        lambda: conn.download(BUCKET, 'missing', path),
        lambda: conn.head(BUCKET, 'missing'),
        lambda: conn.delete(BUCKET, 'missing', missing_ok=False),
        lambda: conn.copy(BUCKET, 'missing', BUCKET, 'copy'),
        lambda: conn.move(BUCKET, 'missing', BUCKET, 'copy'),
    ):
        with pytest.raises(NotFound, match='s3://bucket/missing: 404'):
            call()

    assert path.read_bytes() == b'precious'
    assert list(conn.list(BUCKET)) == []


def test_condition_that_does_not_hold(conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """If a condition fails, neither the stored object nor the local file is lost."""
    path = tmp_path / 'file'
    path.write_bytes(b'new')
    conn.upload(BUCKET, 'key', b'old')
    for condition in ({'if_none_match': '*'}, {'if_match': '0' * 32}):
        with pytest.raises(PreconditionFailed, match='s3://bucket/key'):
            conn.upload_file(BUCKET, 'key', path, delete=True, **condition)

    assert conn.download(BUCKET, 'key') == b'old'
    assert path.read_bytes() == b'new'


def test_object_that_is_not_in_the_encoding(conn: s3po.Connection) -> None:
    """The message for an object in another encoding explains how to get the bytes."""
    conn.upload(BUCKET, 'key', b'\xff\xfe')
    with pytest.raises(ConfigurationError, match=r'encoding: s3://bucket/key is not utf-8 .*leave it out to get the bytes'):
        conn.download(BUCKET, 'key', encoding='utf-8')


def test_mistakes_raise_though_silent(conn: s3po.Connection) -> None:
    """`silent` applies to failed transfers; a call that can never succeed raises."""
    assert conn.upload('no-such-bucket', 'key', b'x', silent=True) is False
    assert conn.download(BUCKET, 'missing', silent=True) is None
    assert conn.upload_file(BUCKET, 'key', '/no/such/file', silent=True) is False
    with pytest.raises(ConfigurationError):
        conn.upload(BUCKET, 'key', None, silent=True)
    with pytest.raises(LocalError):
        conn.upload_file(BUCKET, 'key', '/no/such/file', silent=False)
