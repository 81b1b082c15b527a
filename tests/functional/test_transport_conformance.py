"""Every transport does the same: the real one against two servers, and the one in memory that other tests use in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import s3po
from s3po.body import BytesChunk
from s3po.errors import InvalidRequest, NoSuchBucket, NotFound, PreconditionFailed
from s3po.transport import Transport
from s3po.transport.boto import BotoTransport
from s3po.transport.session import build_client
from s3po.transport.settings import ClientSettings
from tests.support.memory import MemoryTransport
from tests.support.store_state import MIN_PART_BYTES

BUCKET = 'bucket'
NOTHING: dict[str, str] = {}


@pytest.fixture(params=['memory', 'boto-store', 'boto-moto'])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """A transport with an empty bucket behind it."""
    if request.param == 'memory':
        yield request.getfixturevalue('memory')
        return
    server = request.getfixturevalue('store' if request.param == 'boto-store' else 'moto_server')
    settings = ClientSettings(
        endpoint_url=server.endpoint_url, region='us-east-1', access_key_id='key', secret_access_key='secret'
    )
    found = BotoTransport(build_client(settings))
    found.client.create_bucket(Bucket=BUCKET)
    yield found
    found.close()


def put(transport: Transport, key: str, data: bytes, **headers: str) -> str:
    sent = {name.replace('_', '-'): value for name, value in headers.items()}
    return transport.put_object(BUCKET, key, BytesChunk(data), headers=sent, extra={}).etag


def get(transport: Transport, key: str, **arguments: object) -> bytes:
    answer = transport.get_object(BUCKET, key, extra={}, **arguments)  # type: ignore[arg-type]
    data = b''
    while piece := answer.read(3):
        data += piece
    answer.close()
    return data


def test_put_and_get(transport: Transport) -> None:
    """What is put comes back, with its size, ETag, type and metadata."""
    etag = put(transport, 'a/key', b'hello world', Content_Type='text/x-test', x_amz_meta_Colour='red')

    answer = transport.get_object(BUCKET, 'a/key', extra={})

    assert (answer.status, answer.offset, answer.size_bytes) == (200, 0, 11)
    assert answer.info.etag == etag == '5eb63bbbe01eeed093cb22bb8f5acdc3'
    assert answer.info.size_bytes == 11
    assert answer.info.content_type == 'text/x-test'
    assert answer.info.metadata == {'colour': 'red'}
    assert answer.info.last_modified is not None
    assert answer.read(100) == b'hello world'
    assert answer.read(100) == b''
    answer.close()
    answer.close()


def test_empty_object(transport: Transport) -> None:
    """An object of no bytes is an object."""
    put(transport, 'empty', b'')

    assert get(transport, 'empty') == b''
    assert transport.head_object(BUCKET, 'empty', extra={}).size_bytes == 0


@pytest.mark.parametrize(
    ('byte_range', 'expected'), [((0, 4), b'0123'), ((4, None), b'456789'), ((8, 100), b'89'), ((9, 10), b'9')]
)
def test_ranges(transport: Transport, byte_range: tuple[int, int | None], expected: bytes) -> None:
    """A range is half-open and ends where the object ends; its answer knows the whole object's size."""
    put(transport, 'key', b'0123456789')

    answer = transport.get_object(BUCKET, 'key', byte_range=byte_range, extra={})

    assert (answer.status, answer.offset, answer.size_bytes) == (206, byte_range[0], len(expected))
    assert answer.info.size_bytes == 10
    assert answer.read(100) == expected
    answer.close()


def test_range_behind_the_end(transport: Transport) -> None:
    """A range of nothing is refused with 416."""
    put(transport, 'key', b'0123456789')

    with pytest.raises(InvalidRequest) as caught:
        transport.get_object(BUCKET, 'key', byte_range=(10, 20), extra={})
    assert caught.value.status == 416


def test_if_match(transport: Transport) -> None:
    """An ETag that is no longer the object's is refused."""
    etag = put(transport, 'key', b'one')

    assert get(transport, 'key', if_match=etag) == b'one'
    with pytest.raises(PreconditionFailed):
        transport.get_object(BUCKET, 'key', if_match='0' * 32, extra={})
    with pytest.raises(PreconditionFailed):
        transport.head_object(BUCKET, 'key', if_match='0' * 32, extra={})


def test_if_none_match(transport: Transport) -> None:
    """A conditional write does not replace an object."""
    put(transport, 'key', b'one', If_None_Match='*')

    with pytest.raises(PreconditionFailed):
        put(transport, 'key', b'two', If_None_Match='*')
    assert get(transport, 'key') == b'one'


def test_missing(transport: Transport) -> None:
    """Missing keys and buckets are told apart, but by a HEAD."""
    with pytest.raises(NotFound) as caught:
        transport.get_object(BUCKET, 'missing', extra={})
    assert (caught.value.status, caught.value.code) == (404, 'NoSuchKey')
    assert 'GetObject s3://bucket/missing' in str(caught.value)
    with pytest.raises(NoSuchBucket):
        transport.get_object('no-such-bucket', 'key', extra={})
    with pytest.raises(NoSuchBucket):
        transport.put_object('no-such-bucket', 'key', BytesChunk(b''), headers={}, extra={})
    with pytest.raises(NotFound):
        transport.head_object(BUCKET, 'missing', extra={})


def test_delete(transport: Transport) -> None:
    """Deleting makes an object missing, and a missing one is deleted as well."""
    put(transport, 'key', b'one')

    transport.delete_object(BUCKET, 'key', extra={})
    transport.delete_object(BUCKET, 'key', extra={})

    with pytest.raises(NotFound):
        transport.get_object(BUCKET, 'key', extra={})


def test_delete_objects(transport: Transport) -> None:
    """Many objects go by one request."""
    for number in range(5):
        put(transport, f'key{number}', b'')

    failed = transport.delete_objects(BUCKET, [('key1', None), ('key3', None), ('missing', None)], extra={})

    assert not failed
    assert [entry.key for entry in transport.list_objects_v2(BUCKET, extra={}).entries] == ['key0', 'key2', 'key4']


def test_list_pages(transport: Transport) -> None:
    """A listing comes in pages, in order."""
    for number in range(5):
        put(transport, f'key{number}', b'x' * number)

    first = transport.list_objects_v2(BUCKET, page_size=3, extra={})
    rest = transport.list_objects_v2(BUCKET, page_size=3, token=first.next_token, extra={})

    assert first.is_truncated
    assert not rest.is_truncated
    found = [*first.entries, *rest.entries]
    assert [entry.key for entry in found] == [f'key{number}' for number in range(5)]
    assert [entry.size_bytes for entry in found] == list(range(5))
    assert all(len(entry.etag) == 32 for entry in found)


def test_list_prefix_and_delimiter(transport: Transport) -> None:
    """A delimiter rolls keys up; start_after begins behind a key."""
    for key in ('a/1', 'a/2', 'a/b/3', 'a/z', 'b'):
        put(transport, key, b'')

    page = transport.list_objects_v2(BUCKET, prefix='a/', delimiter='/', extra={})
    behind = transport.list_objects_v2(BUCKET, start_after='a/2', extra={})

    assert [entry.key for entry in page.entries] == ['a/1', 'a/2', 'a/z']
    assert list(page.prefixes) == ['a/b/']
    assert [entry.key for entry in behind.entries] == ['a/b/3', 'a/z', 'b']


@pytest.mark.parametrize('key', ['a b', 'a+b', 'ä/é', 'a//b', '%2F', '?#&=', '~', 'trailing.', '😀', 'tab\there'])
def test_odd_keys(transport: Transport, key: str) -> None:
    """Keys go to and fro as they are."""
    put(transport, key, b'odd')

    assert get(transport, key) == b'odd'
    assert [entry.key for entry in transport.list_objects_v2(BUCKET, extra={}).entries] == [key]
    transport.delete_object(BUCKET, key, extra={})
    assert not transport.list_objects_v2(BUCKET, extra={}).entries


def test_copy(transport: Transport) -> None:
    """A copy has the source's bytes and metadata, or metadata of its own; it is pinned to an ETag."""
    etag = put(transport, 'from ä', b'data', x_amz_meta_a='1')

    transport.copy_object((BUCKET, 'from ä', None), BUCKET, 'same', if_match=etag, headers=NOTHING, extra={})
    replaced = {'x-amz-meta-b': '2'}
    transport.copy_object((BUCKET, 'from ä', None), BUCKET, 'other', if_match=etag, headers=replaced, extra={})

    assert get(transport, 'same') == b'data'
    assert transport.head_object(BUCKET, 'same', extra={}).metadata == {'a': '1'}
    assert transport.head_object(BUCKET, 'other', extra={}).metadata == {'b': '2'}


def test_copy_of_something_else(transport: Transport, request: pytest.FixtureRequest) -> None:
    """A source that was replaced is not copied."""
    put(transport, 'from', b'data')
    if 'moto' in request.node.name:
        pytest.xfail('moto ignores x-amz-copy-source-if-match')

    with pytest.raises(PreconditionFailed):
        transport.copy_object((BUCKET, 'from', None), BUCKET, 'to', if_match='0' * 32, headers=NOTHING, extra={})


def test_multipart(transport: Transport) -> None:
    """Parts become one object, in order of their numbers, whose ETag says how many they were."""
    upload_id = transport.create_multipart_upload(BUCKET, 'big', headers={'x-amz-meta-a': '1'}, extra={})
    bodies = [b'a' * MIN_PART_BYTES, b'b' * MIN_PART_BYTES, b'c']
    parts = [
        transport.upload_part(BUCKET, 'big', BytesChunk(body), upload_id=upload_id, part_number=number, extra={})
        for number, body in enumerate(bodies, 1)
    ]

    assert [part.number for part in transport.list_parts(BUCKET, 'big', upload_id=upload_id, extra={})] == [1, 2, 3]
    assert [u.upload_id for u in transport.list_multipart_uploads(BUCKET, extra={})] == [upload_id]
    stored = transport.complete_multipart_upload(BUCKET, 'big', parts, upload_id=upload_id, headers={}, extra={})

    assert stored.etag.endswith('-3')
    info = transport.head_object(BUCKET, 'big', extra={})
    assert (info.size_bytes, info.etag, info.metadata) == (2 * MIN_PART_BYTES + 1, stored.etag, {'a': '1'})
    tail = transport.get_object(BUCKET, 'big', byte_range=(2 * MIN_PART_BYTES - 1, None), extra={})
    assert tail.read(10) == b'bc'
    tail.close()
    assert not transport.list_multipart_uploads(BUCKET, extra={})


def test_abort(transport: Transport) -> None:
    """An upload that was aborted is gone, its parts with it."""
    upload_id = transport.create_multipart_upload(BUCKET, 'big', headers={}, extra={})
    transport.upload_part(BUCKET, 'big', BytesChunk(b'a'), upload_id=upload_id, part_number=1, extra={})

    transport.abort_multipart_upload(BUCKET, 'big', upload_id=upload_id, extra={})

    with pytest.raises(NotFound):
        transport.list_parts(BUCKET, 'big', upload_id=upload_id, extra={})
    assert not transport.list_multipart_uploads(BUCKET, extra={})


def test_copy_parts(transport: Transport) -> None:
    """Ranges of an object become another one."""
    data = b'a' * MIN_PART_BYTES + b'tail'
    etag = put(transport, 'from', data)
    upload_id = transport.create_multipart_upload(BUCKET, 'to', headers={}, extra={})
    parts = [
        transport.upload_part_copy(
            (BUCKET, 'from', None),
            span,
            BUCKET,
            'to',
            upload_id=upload_id,
            part_number=number,
            if_match=etag,
            extra={},
        )
        for number, span in enumerate([(0, MIN_PART_BYTES), (MIN_PART_BYTES, len(data))], 1)
    ]

    transport.complete_multipart_upload(BUCKET, 'to', parts, upload_id=upload_id, headers={}, extra={})

    assert transport.head_object(BUCKET, 'to', extra={}).size_bytes == len(data)


def test_extra_that_a_request_does_not_know(transport: Transport) -> None:
    """Parameters go with the requests that know them, and with no other."""
    put(transport, 'key', b'')

    transport.head_object(BUCKET, 'key', extra={'RequestPayer': 'requester', 'ACL': 'private'})


def test_default_connection_uses_the_same(connect: Callable[..., s3po.Connection], memory: MemoryTransport) -> None:
    """A connection takes any object with a transport's methods."""
    connection = connect(transport=memory)

    connection.upload(BUCKET, 'key', b'x')

    assert memory.calls == [('PutObject', 'key', None)]
