"""Connection.memory(): a store in the process. Its transport passes tests/functional/test_transport_conformance.py too."""

from __future__ import annotations

import pickle
import socket
from typing import Any

import pytest
from gevent import monkey

import s3po
from s3po.body import BytesChunk
from s3po.checksum import text_of
from s3po.config import MIB
from s3po.errors import ConfigurationError, IntegrityError, InvalidRequest, NotFound, PreconditionFailed
from s3po.transport.memory import MemoryTransport
from tests.support.noise import noise


@pytest.fixture
def conn(monkeypatch: pytest.MonkeyPatch) -> s3po.Connection:
    """A connection that fails if it opens a socket."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError(f'connect{arguments}')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    return s3po.Connection.memory()


def test_round_trip(conn: s3po.Connection) -> None:
    """Objects are stored without creating a bucket, and without any socket; each memory() is a store of its own."""
    conn.upload('bucket', 'key', 'text', metadata={'a': '1'}, content_type='text/x', extra={'CacheControl': 'no-store'})
    conn.upload('bucket', 'empty', b'')

    info = conn.head('bucket', 'key')
    assert (info.size_bytes, info.content_type, info.metadata) == (4, 'text/x', {'a': '1'})
    assert info.headers['cache-control'] == 'no-store'
    assert (conn.download('bucket', 'key'), conn.download('bucket', 'empty')) == (b'text', b'')
    assert [entry.key for entry in conn.list('bucket')] == ['empty', 'key']
    assert not s3po.Connection.memory().exists('bucket', 'key')


def test_large_object(conn: s3po.Connection) -> None:
    """An object above the threshold is uploaded, copied and downloaded in parts."""
    data = noise(17 * MIB)

    stored = conn.upload('bucket', 'key', data, extra={'Tagging': 'a=1'})
    copied = conn.copy('bucket', 'key', 'other', 'key')

    assert stored.parts > 1
    assert stored.etag == copied.etag == conn.head('other', 'key').etag
    assert conn.download('other', 'key') == data
    assert conn.head('other', 'key').headers['x-amz-tagging-count'] == '1'


def test_batch(conn: s3po.Connection) -> None:
    """A batch works, and native threads may share the store."""
    with conn.batch(20) as batch:
        for number in range(300):
            batch.upload('bucket', f'key{number}', b'x')
    start = monkey.get_original('_thread', 'start_new_thread')
    ended: list[bool] = []

    def work() -> None:
        for number in range(300):
            conn.delete('bucket', f'key{number}')
            conn.upload('bucket', f'new{number}', b'y')
        ended.append(True)

    start(work, ())
    assert s3po.connection.wait_until(lambda: bool(ended), 30)
    assert [entry.key for entry in conn.list('bucket', page_size=7)] == sorted(f'new{number}' for number in range(300))


def test_prefixes_over_pages(conn: s3po.Connection) -> None:
    """A common prefix at the end of a page is not repeated on the next one."""
    for key in ('a/1', 'a/2', 'b', 'c/1', 'c/2', 'd'):
        conn.upload('bucket', key, b'')

    found = [str(item) for item in conn.list('bucket', delimiter='/', page_size=1)]

    assert found == ['a/', 'b', 'c/', 'd']
    assert [str(item) for item in conn.list('bucket', delimiter='/', start_after='b', page_size=2)] == ['c/', 'd']


def test_buckets(conn: s3po.Connection) -> None:
    """Buckets can be created, listed and deleted; the boto3 client has these methods only."""
    conn.create_bucket('one')
    conn.conn.create_bucket(Bucket='two')
    conn.upload('three', 'key', b'')
    assert conn.list_buckets() == ['one', 'three', 'two']
    conn.delete_bucket('one')
    conn.delete_bucket('missing')
    with pytest.raises(InvalidRequest, match='BucketNotEmpty'):
        conn.delete_bucket('three')
    assert conn.list_buckets() == ['three', 'two']
    assert not hasattr(conn.conn, 'put_object')


def test_refusals(conn: s3po.Connection) -> None:
    """Missing keys, versions and uploads, false conditions and wrong ranges have S3's errors."""
    etag = conn.upload('bucket', 'key', b'data').etag
    with pytest.raises(s3po.DownloadException, match='NoSuchKey'):
        conn.download('bucket', 'missing')
    with pytest.raises(s3po.DeleteException):
        conn.delete('bucket', 'missing', missing_ok=False)
    with pytest.raises(NotFound, match='NoSuchVersion'):
        conn.download('bucket', 'key', version_id='1')
    with pytest.raises(PreconditionFailed):
        conn.upload('bucket', 'key', b'', if_none_match='*')
    with pytest.raises(PreconditionFailed):
        conn.upload('bucket', 'key', b'', if_match='0' * 32)
    with pytest.raises(NotFound):
        conn.upload('bucket', 'missing', b'', if_match=etag)
    with pytest.raises(InvalidRequest):
        conn.download('bucket', 'key', byte_range=(4, 5))
    conn.upload('bucket', 'key', b'new', if_match=etag)
    assert conn.download('bucket', 'key') == b'new'


def test_conditions_that_s3_refuses(conn: s3po.Connection) -> None:
    """An unchanged object is 304 for If-None-Match; a copy onto itself that changes nothing is refused."""
    etag = conn.upload('bucket', 'key', b'data').etag
    for ask in (conn.download, conn.head):
        for value in (etag, f'"{etag}"', '*'):
            with pytest.raises(InvalidRequest) as caught:
                ask('bucket', 'key', extra={'IfNoneMatch': value})
            assert caught.value.status == 304
        ask('bucket', 'key', extra={'IfNoneMatch': '"0"'})
    with pytest.raises(InvalidRequest, match='400'):
        conn.copy('bucket', 'key', 'bucket', 'key')
    conn.copy('bucket', 'key', 'bucket', 'key', metadata={'a': 'b'})
    assert conn.head('bucket', 'key').metadata == {'a': 'b'}


def test_parts_and_checksums() -> None:
    """A wrong checksum, and a part that was not stored, are refused."""
    transport = MemoryTransport()
    right = text_of('CRC32C', [b'data'])
    stored = transport.put_object('bucket', 'key', BytesChunk(b'data'), checksum=right, headers={}, extra={})
    assert stored.checksum == right
    with pytest.raises(IntegrityError, match='BadDigest'):
        transport.put_object('bucket', 'key', BytesChunk(b'other'), checksum=right, headers={}, extra={})

    upload_id = transport.create_multipart_upload('bucket', 'key', headers={}, extra={})
    part = transport.upload_part('bucket', 'key', BytesChunk(b'a'), upload_id=upload_id, part_number=1, extra={})
    wrong = s3po.model.CompletedPart(number=2, etag=part.etag)
    with pytest.raises(InvalidRequest, match='InvalidPart'):
        transport.complete_multipart_upload('bucket', 'key', [part, wrong], upload_id=upload_id, headers={}, extra={})
    with pytest.raises(NotFound, match='NoSuchUpload'):
        transport.list_parts('bucket', 'other', upload_id=upload_id, extra={})
    assert transport.get_object('bucket', 'key', extra={}).read(9) == b'data'


def test_replaced_while_it_is_read() -> None:
    """A response continues with the bytes of its version."""
    transport = MemoryTransport()
    transport.put_object('bucket', 'key', BytesChunk(b'first'), headers={}, extra={})
    answer = transport.get_object('bucket', 'key', extra={})
    transport.put_object('bucket', 'key', BytesChunk(b'second'), headers={}, extra={})

    assert answer.read(2) + answer.read(9) == b'first'
    answer.close()
    assert answer.read(9) == b''


def test_what_it_does_not_have(conn: s3po.Connection) -> None:
    """Presigned URLs and pickles are refused."""
    with pytest.raises(ConfigurationError, match='no URLs'):
        conn.presign('GET', 'bucket', 'key')
    with pytest.raises(ConfigurationError, match='transport belongs to this process'):
        pickle.dumps(conn)


def test_backend_and_mock(conn: s3po.Connection) -> None:
    """mock() takes the place of the store in memory, and of a boto3 client; `backend` is another object meanwhile."""
    for made in (conn, s3po.Connection(region='us-east-1', access_key_id='a', secret_access_key='b')):
        before = made.backend
        with made.mock(buckets=['bucket']):
            assert made.backend is not before
            made.upload('bucket', 'key', b'in moto')
            assert made.presign('GET', 'bucket', 'key').startswith('https://')
        assert made.backend is before
    assert isinstance(conn.backend, MemoryTransport)
    assert conn.list_buckets() == []
