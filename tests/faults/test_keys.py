"""Keys and names (F57 to F60): valid ones are stored and returned byte for byte; others are rejected before any request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import s3po
from s3po.config import MIB
from s3po.errors import ConfigurationError
from s3po.model import ListEntry
from tests.conftest import BUCKET
from tests.support.servers import Authority, Store

Connect = Callable[..., s3po.Connection]

PART = 5 * MIB
DATA = os.urandom(1000)
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)

TRAVERSING = [
    '../x',
    'a/../../x',
    '/etc/x',
    '..',
    '.',
    './',
    '../',
    'a/./b',
    'a/..',
    'C:/x',
    '..\\x',
    'a\x00b',
    '%2e%2e/x',
    '//host/x',
]
ODD = [
    'a//b',
    'a/',
    '/',
    '//',
    '/lead',
    'a b',
    ' ',
    'a+b',
    '%2F',
    '%',
    '%zz',
    'caf\u00e9',
    'cafe\u0301',
    '\U0001f600',
    'a\tb',
    'a\nb',
    'a\rb',
    'a\r\nb',
    'a\x01b',
    'a\x1b[2Jb',
    'a\x7fb',
    'a\x85b',
    'a\ufffeb',
    '?#&=',
    'a?versionId=1',
    '~',
    'trailing.',
    'trailing ',
    '<a>&amp;"\'',
    ';:@,$!*()',
    '-rf',
]
# Keys that XML 1.0 cannot represent, so that DeleteObjects cannot name them; botocore has no other way.


def marked(key: str) -> object:
    """The key as a parameter, with the mark of its entry of the catalogue."""
    return pytest.param(key, marks=pytest.mark.fault('F57' if key in TRAVERSING else 'F58'), id=ascii(key)[1:-1])


EVERY_KEY = [marked(key) for key in TRAVERSING + ODD]


def keys_of(store: Store, operation: str) -> list[str]:
    """The keys of the requests of one operation, as the store decoded them."""
    return [seen['key'] for seen in store.log(operation)]


def listed(conn: s3po.Connection, prefix: str = '') -> list[str]:
    """The keys that a listing of the bucket returns."""
    return [entry.key for entry in conn.list(BUCKET, prefix) if isinstance(entry, ListEntry)]


@pytest.mark.parametrize('key', EVERY_KEY)
def test_round_trip(conn: s3po.Connection, store: Store, key: str) -> None:
    """Every operation (upload, head, list, copy, move, download, delete) uses exactly this key."""
    conn.upload(BUCKET, key, DATA)

    assert conn.head(BUCKET, key).size_bytes == len(DATA)
    assert conn.download(BUCKET, key) == DATA
    assert listed(conn) == [key]
    assert listed(conn, key) == [key]
    conn.copy(BUCKET, key, BUCKET, 'copy of ' + key)
    assert conn.download(BUCKET, 'copy of ' + key) == DATA
    conn.delete(BUCKET, key)
    conn.move(BUCKET, 'copy of ' + key, BUCKET, key)
    assert listed(conn) == [key]
    conn.delete(BUCKET, key)
    assert listed(conn) == []
    for operation in ('PutObject', 'GetObject'):
        assert keys_of(store, operation)[0] == key
    assert set(keys_of(store, 'DeleteObject')) == {key, 'copy of ' + key}


@pytest.mark.parametrize('key', EVERY_KEY)
def test_round_trip_in_parts(store: Store, connect: Connect, key: str) -> None:
    """Multipart uploads, whose responses repeat the key, use exactly this key, and no upload is left open."""
    conn = connect(store.endpoint_url, config=IN_PARTS)
    store.create_bucket(BUCKET)
    data = DATA * (PART // len(DATA) + 1)

    conn.upload(BUCKET, key, data)

    assert conn.download(BUCKET, key) == data
    assert len(store.log('CreateMultipartUpload')) == len(store.log('CompleteMultipartUpload')) == 1
    assert set(keys_of(store, 'UploadPart')) == {key}


@pytest.mark.parametrize('key', EVERY_KEY)
def test_many_deletions(conn: s3po.Connection, store: Store, key: str) -> None:
    """delete_many() deletes exactly this key among others."""
    for each in (key, 'one', 'two'):
        conn.upload(BUCKET, each, b'')

    report = conn.delete_many(BUCKET, ['one', key, 'two'])

    assert (report.deleted, report.failed) == (3, ())
    assert listed(conn) == []


@pytest.mark.fault('F58')
def test_all_keys_side_by_side(conn: s3po.Connection, store: Store) -> None:
    """All keys are different objects, and are listed in the order of their bytes, page by page."""
    keys = TRAVERSING + ODD
    with conn.batch(10) as batch:
        for key in keys:
            batch.upload(BUCKET, key, key.encode())
    with conn.batch(10) as batch:
        jobs = [batch.download(BUCKET, key) for key in keys]

    assert [job.value for job in jobs] == [key.encode() for key in keys]
    in_order = sorted(keys, key=str.encode)
    assert [entry.key for entry in conn.list(BUCKET, page_size=7) if isinstance(entry, ListEntry)] == in_order
    for start in (in_order[5], in_order[20]):
        found = [entry.key for entry in conn.list(BUCKET, start_after=start) if isinstance(entry, ListEntry)]
        assert found == in_order[in_order.index(start) + 1 :]


# ---------------------------------------------------------------------- lengths


@pytest.mark.fault('F59')
@pytest.mark.parametrize('key', ['k' * 1024, 'é' * 512, '\U0001f600' * 256], ids=['ascii', 'two bytes', 'four bytes'])
def test_longest_key(conn: s3po.Connection, key: str) -> None:
    """Keys of 1,024 bytes, the maximum of S3, are accepted."""
    conn.upload(BUCKET, key, DATA)

    assert conn.download(BUCKET, key) == DATA
    assert listed(conn) == [key]
    conn.delete(BUCKET, key)


@pytest.mark.fault('F59')
@pytest.mark.parametrize('key', ['k' * 1025, 'é' * 512 + 'k', '\U0001f600' * 257, '', 'a\udcff'])
def test_impossible_key(conn: s3po.Connection, store: Store, tmp_path: Path, key: str) -> None:
    """A key that is too long, empty or not encodable as UTF-8 is rejected by every call before any request."""
    before = len(store.log())
    calls: dict[str, Callable[[], object]] = {
        'upload': lambda: conn.upload(BUCKET, key, b''),
        'download': lambda: conn.download(BUCKET, key, tmp_path / 'target'),
        'head': lambda: conn.head(BUCKET, key),
        'exists': lambda: conn.exists(BUCKET, key),
        'delete': lambda: conn.delete(BUCKET, key),
        'delete_many': lambda: conn.delete_many(BUCKET, [key]),
        'copy from': lambda: conn.copy(BUCKET, key, BUCKET, 'to'),
        'copy to': lambda: conn.copy(BUCKET, 'from', BUCKET, key),
        'move to': lambda: conn.move(BUCKET, 'from', BUCKET, key),
        'presign': lambda: conn.presign('GET', BUCKET, key),
    }
    for name, call in calls.items():
        with pytest.raises(ConfigurationError, match='key'):
            call()
            pytest.fail(f'{name} took it')

    assert len(store.log()) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault('F59')
def test_file_name_without_utf8(conn: s3po.Connection, tmp_path: Path) -> None:
    """A file whose name is not UTF-8 can be a source and a target; its name cannot be a key."""
    path = os.path.join(os.fsencode(tmp_path), b'caf\xe9')
    with open(path, 'wb') as file:
        file.write(DATA)
    name = os.fsdecode(path)

    conn.upload_file(BUCKET, 'key', name)
    conn.download_file(BUCKET, 'key', name + '.copy')

    assert (Path(name + '.copy')).read_bytes() == DATA
    with pytest.raises(ConfigurationError, match='cannot be encoded as UTF-8'):
        conn.upload_file(BUCKET, os.path.basename(name), name)


# ---------------------------------------------------------------------- buckets


@pytest.fixture
def tls_store(authority: Authority) -> Iterator[Store]:
    """The store over TLS."""
    with Store(authority) as store:
        yield store


@pytest.mark.fault('F60')
@pytest.mark.parametrize('bucket', ['my.dotted.bucket', 'abc', 'a' * 63, 'Legacy_Upper'])
def test_bucket(conn: s3po.Connection, store: Store, bucket: str) -> None:
    """Valid bucket names are accepted."""
    conn.create_bucket(bucket)
    conn.upload(bucket, 'key', DATA)

    assert conn.download(bucket, 'key') == DATA
    assert {seen['bucket'] for seen in store.log('PutObject')} == {bucket}


@pytest.mark.fault('F60')
def test_dotted_bucket_over_tls(tls_store: Store, connect: Connect, authority: Authority) -> None:
    """A bucket name with dots works over TLS: it is in the path, so the certificate need not match it."""
    conn = connect(tls_store.endpoint_url, verify=authority.ca_pem)
    conn.create_bucket('my.dotted.bucket')
    conn.upload('my.dotted.bucket', 'key', DATA)

    assert conn.download('my.dotted.bucket', 'key') == DATA


BAD_BUCKETS = [
    '',
    'ab',
    'a' * 256,
    'a b',
    'a/b',
    '../x',
    'bucket\n',
    'b\u00fccket',
    'bucket?x',
    'a@b.c',
    'arn:aws:s3',
    'a\x00b',
]


@pytest.mark.fault('F60')
@pytest.mark.parametrize('bucket', BAD_BUCKETS)
def test_bad_bucket(conn: s3po.Connection, store: Store, bucket: str) -> None:
    """Invalid bucket names are rejected before any request."""
    before = len(store.log())
    calls: dict[str, Callable[[], object]] = {
        'upload': lambda: conn.upload(bucket, 'key', b''),
        'download': lambda: conn.download(bucket, 'key'),
        'list': lambda: conn.list(bucket),
        'delete_many': lambda: conn.delete_many(bucket, ['key']),
        'copy to': lambda: conn.copy(BUCKET, 'key', bucket, 'key'),
        'create': lambda: conn.create_bucket(bucket),
        'presign': lambda: conn.presign('GET', bucket, 'key'),
    }
    for name, call in calls.items():
        with pytest.raises(ConfigurationError, match='bucket'):
            call()
            pytest.fail(f'{name} took it')

    assert len(store.log()) == before


@pytest.mark.fault('F60')
def test_access_point(connect: Connect) -> None:
    """An access point's ARN resolves to the host of the access point."""
    conn = connect(None, region='eu-west-1')

    url = conn.presign('GET', 'arn:aws:s3:eu-west-1:123456789012:accesspoint/mine', 'key')

    assert url.startswith('https://mine-123456789012.s3-accesspoint.eu-west-1.amazonaws.com/key?')
