"""The rules of every transport, as tests that a test file runs with its own transports.

A test file imports them with `from tests.support.conformance import *` and provides three fixtures: `transport`, a transport;
`bucket`, the name of an empty bucket; `shortcomings`, the tests that the store is known to fail, by name, each with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from s3po.body import BytesChunk
from s3po.errors import InvalidRequest, NoSuchBucket, NotFound, PreconditionFailed
from s3po.s3 import Transport
from tests.support.store_state import MIN_PART_BYTES

NOTHING: dict[str, str] = {}


@pytest.fixture(autouse=True)
def mark_shortcomings(request: pytest.FixtureRequest, shortcomings: Mapping[str, str]) -> None:
    """A test that the store is known to fail must fail."""
    reason = shortcomings.get(request.function.__name__)
    if reason:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


def put(transport: Transport, bucket: str, key: str, data: bytes, **headers: str) -> str:
    sent = {name.replace('_', '-'): value for name, value in headers.items()}
    return transport.put_object(bucket, key, BytesChunk(data), headers=sent, extra={}).etag


def get(transport: Transport, bucket: str, key: str, **arguments: object) -> bytes:
    answer = transport.get_object(bucket, key, extra={}, **arguments)  # type: ignore[arg-type]
    data = b''
    while piece := answer.read(3):
        data += piece
    answer.close()
    return data


def test_put_and_get(transport: Transport, bucket: str) -> None:
    """A stored object is returned with its size, ETag, type and metadata."""
    etag = put(transport, bucket, 'a/key', b'hello world', Content_Type='text/x-test', x_amz_meta_Colour='red')

    answer = transport.get_object(bucket, 'a/key', extra={})

    assert (answer.status, answer.offset, answer.size_bytes) == (200, 0, 11)
    assert answer.info.etag == etag == '5eb63bbbe01eeed093cb22bb8f5acdc3'
    assert answer.info.size_bytes == 11
    assert answer.info.content_type == 'text/x-test'
    assert answer.info.metadata == {'colour': 'red'}
    assert answer.header('x-amz-meta-colour') == 'red'
    assert answer.header('x-amz-meta-shape') is None
    assert answer.info.last_modified is not None
    assert answer.read(100) == b'hello world'
    assert answer.read(100) == b''
    answer.close()
    answer.close()


def test_empty_object(transport: Transport, bucket: str) -> None:
    """An empty object can be stored and read."""
    put(transport, bucket, 'empty', b'')

    assert get(transport, bucket, 'empty') == b''
    assert transport.head_object(bucket, 'empty', extra={}).size_bytes == 0


@pytest.mark.parametrize(
    ('byte_range', 'expected'), [((0, 4), b'0123'), ((4, None), b'456789'), ((8, 100), b'89'), ((9, 10), b'9')]
)
def test_ranges(transport: Transport, bucket: str, byte_range: tuple[int, int | None], expected: bytes) -> None:
    """A range is half-open and ends with the object; the response contains the size of the whole object."""
    put(transport, bucket, 'key', b'0123456789')

    answer = transport.get_object(bucket, 'key', byte_range=byte_range, extra={})

    # Some stores send a range with status 200 and the right Content-Range.
    assert answer.status in (200, 206)
    assert (answer.offset, answer.size_bytes) == (byte_range[0], len(expected))
    assert answer.info.size_bytes == 10
    assert answer.read(100) == expected
    answer.close()


def test_range_beyond_the_end(transport: Transport, bucket: str) -> None:
    """A range beyond the object is refused with 416."""
    put(transport, bucket, 'key', b'0123456789')

    with pytest.raises(InvalidRequest) as caught:
        transport.get_object(bucket, 'key', byte_range=(10, 20), extra={})
    assert caught.value.status == 416


def test_if_match(transport: Transport, bucket: str) -> None:
    """If-Match with an ETag of another version is refused."""
    etag = put(transport, bucket, 'key', b'one')

    assert get(transport, bucket, 'key', if_match=etag) == b'one'
    with pytest.raises(PreconditionFailed):
        transport.get_object(bucket, 'key', if_match='0' * 32, extra={})
    with pytest.raises(PreconditionFailed):
        transport.head_object(bucket, 'key', if_match='0' * 32, extra={})


def test_if_none_match(transport: Transport, bucket: str) -> None:
    """A conditional write does not replace an object."""
    put(transport, bucket, 'key', b'one', If_None_Match='*')

    with pytest.raises(PreconditionFailed):
        put(transport, bucket, 'key', b'two', If_None_Match='*')
    assert get(transport, bucket, 'key') == b'one'


def test_missing(transport: Transport, bucket: str) -> None:
    """Missing keys and buckets have different errors, except for a HEAD."""
    with pytest.raises(NotFound) as caught:
        transport.get_object(bucket, 'missing', extra={})
    assert (caught.value.status, caught.value.code) == (404, 'NoSuchKey')
    assert f'GetObject s3://{bucket}/missing' in str(caught.value)
    with pytest.raises(NoSuchBucket):
        transport.get_object(f'{bucket}-missing', 'key', extra={})
    with pytest.raises(NoSuchBucket):
        transport.put_object(f'{bucket}-missing', 'key', BytesChunk(b''), headers={}, extra={})
    with pytest.raises(NotFound):
        transport.head_object(bucket, 'missing', extra={})


def test_delete(transport: Transport, bucket: str) -> None:
    """A deleted object is missing; deleting a missing object succeeds."""
    put(transport, bucket, 'key', b'one')

    transport.delete_object(bucket, 'key', extra={})
    transport.delete_object(bucket, 'key', extra={})

    with pytest.raises(NotFound):
        transport.get_object(bucket, 'key', extra={})


def test_delete_objects(transport: Transport, bucket: str) -> None:
    """Many objects are deleted with one request."""
    for number in range(5):
        put(transport, bucket, f'key{number}', b'')

    failed = transport.delete_objects(bucket, [('key1', None), ('key3', None), ('missing', None)], extra={})

    assert not failed
    assert [entry.key for entry in transport.list_objects_v2(bucket, extra={}).entries] == ['key0', 'key2', 'key4']


def test_list_pages(transport: Transport, bucket: str) -> None:
    """A listing has pages, in order."""
    for number in range(5):
        put(transport, bucket, f'key{number}', b'x' * number)

    first = transport.list_objects_v2(bucket, page_size=3, extra={})
    rest = transport.list_objects_v2(bucket, page_size=3, token=first.next_token, extra={})

    assert first.is_truncated
    assert not rest.is_truncated
    found = [*first.entries, *rest.entries]
    assert [entry.key for entry in found] == [f'key{number}' for number in range(5)]
    assert [entry.size_bytes for entry in found] == list(range(5))
    assert all(len(entry.etag) == 32 for entry in found)


def test_list_prefix_and_delimiter(transport: Transport, bucket: str) -> None:
    """A delimiter groups keys by prefix; start_after begins after a key."""
    for key in ('a/1', 'a/2', 'a/b/3', 'a/z', 'b'):
        put(transport, bucket, key, b'')

    page = transport.list_objects_v2(bucket, prefix='a/', delimiter='/', extra={})
    behind = transport.list_objects_v2(bucket, start_after='a/2', extra={})

    assert [entry.key for entry in page.entries] == ['a/1', 'a/2', 'a/z']
    assert list(page.prefixes) == ['a/b/']
    assert [entry.key for entry in behind.entries] == ['a/b/3', 'a/z', 'b']


@pytest.mark.parametrize('key', ['a b', 'a+b', 'ä/é', 'a//b', '%2F', '?#&=', '~', 'trailing.', '😀', 'tab\there'])
def test_odd_keys(transport: Transport, bucket: str, key: str) -> None:
    """Odd keys are the same in requests and responses."""
    put(transport, bucket, key, b'odd')

    assert get(transport, bucket, key) == b'odd'
    assert [entry.key for entry in transport.list_objects_v2(bucket, extra={}).entries] == [key]
    transport.delete_object(bucket, key, extra={})
    assert not transport.list_objects_v2(bucket, extra={}).entries


def test_copy(transport: Transport, bucket: str) -> None:
    """A copy has the source's bytes and metadata, or metadata of its own; If-Match applies to the source."""
    etag = put(transport, bucket, 'from ä', b'data', x_amz_meta_a='1')

    transport.copy_object((bucket, 'from ä', None), bucket, 'same', if_match=etag, headers=NOTHING, extra={})
    replaced = {'x-amz-meta-b': '2'}
    transport.copy_object((bucket, 'from ä', None), bucket, 'other', if_match=etag, headers=replaced, extra={})

    assert get(transport, bucket, 'same') == b'data'
    assert transport.head_object(bucket, 'same', extra={}).metadata == {'a': '1'}
    assert transport.head_object(bucket, 'other', extra={}).metadata == {'b': '2'}


def test_copy_of_something_else(transport: Transport, bucket: str) -> None:
    """A source that was replaced is not copied."""
    put(transport, bucket, 'from', b'data')

    with pytest.raises(PreconditionFailed):
        transport.copy_object((bucket, 'from', None), bucket, 'to', if_match='0' * 32, headers=NOTHING, extra={})


def test_multipart(transport: Transport, bucket: str) -> None:
    """Parts make one object, in the order of their numbers, with the headers of the upload."""
    upload_id = transport.create_multipart_upload(bucket, 'big', headers={'x-amz-meta-a': '1'}, extra={})
    bodies = [b'a' * MIN_PART_BYTES, b'b' * MIN_PART_BYTES, b'c']
    parts = [
        transport.upload_part(bucket, 'big', BytesChunk(body), upload_id=upload_id, part_number=number, extra={})
        for number, body in enumerate(bodies, 1)
    ]

    assert [part.number for part in transport.list_parts(bucket, 'big', upload_id=upload_id, extra={})] == [1, 2, 3]
    assert [part.number for part in transport.list_parts(bucket, 'big', upload_id=upload_id, after=1, extra={})] == [2, 3]
    (listed,) = transport.list_multipart_uploads(bucket, extra={})
    assert listed.upload_id == upload_id
    # (moto: all uploads are of 2010.)
    assert listed.age_s is None or listed.age_s > -60
    transport.complete_multipart_upload(bucket, 'big', parts, upload_id=upload_id, headers={}, extra={})

    info = transport.head_object(bucket, 'big', extra={})
    assert (info.size_bytes, info.metadata) == (2 * MIN_PART_BYTES + 1, {'a': '1'})
    tail = transport.get_object(bucket, 'big', byte_range=(2 * MIN_PART_BYTES - 1, None), extra={})
    assert tail.read(10) == b'bc'
    tail.close()
    assert not transport.list_multipart_uploads(bucket, extra={})


def test_multipart_etag(transport: Transport, bucket: str) -> None:
    """The ETag of a multipart object contains the number of parts, and is in the response to the completion."""
    upload_id = transport.create_multipart_upload(bucket, 'key', headers={}, extra={})
    part = transport.upload_part(bucket, 'key', BytesChunk(b'a'), upload_id=upload_id, part_number=1, extra={})

    stored = transport.complete_multipart_upload(bucket, 'key', [part], upload_id=upload_id, headers={}, extra={})

    etag = transport.head_object(bucket, 'key', extra={}).etag
    assert etag.endswith('-1')
    assert stored.etag == etag


def test_abort(transport: Transport, bucket: str) -> None:
    """An aborted upload no longer exists, nor do its parts."""
    upload_id = transport.create_multipart_upload(bucket, 'big', headers={}, extra={})
    transport.upload_part(bucket, 'big', BytesChunk(b'a'), upload_id=upload_id, part_number=1, extra={})

    transport.abort_multipart_upload(bucket, 'big', upload_id=upload_id, extra={})

    with pytest.raises(NotFound):
        transport.list_parts(bucket, 'big', upload_id=upload_id, extra={})
    assert not transport.list_multipart_uploads(bucket, extra={})


def test_copy_parts(transport: Transport, bucket: str) -> None:
    """Ranges of an object can be parts of another one."""
    data = b'a' * MIN_PART_BYTES + b'tail'
    etag = put(transport, bucket, 'from', data)
    upload_id = transport.create_multipart_upload(bucket, 'to', headers={}, extra={})
    parts = [
        transport.upload_part_copy(
            (bucket, 'from', None),
            span,
            bucket,
            'to',
            upload_id=upload_id,
            part_number=number,
            if_match=etag,
            extra={},
        )
        for number, span in enumerate([(0, MIN_PART_BYTES), (MIN_PART_BYTES, len(data))], 1)
    ]

    transport.complete_multipart_upload(bucket, 'to', parts, upload_id=upload_id, headers={}, extra={})

    assert transport.head_object(bucket, 'to', extra={}).size_bytes == len(data)


def test_extra_that_a_request_does_not_know(transport: Transport, bucket: str) -> None:
    """Each request sends the parameters that it supports, and no others."""
    put(transport, bucket, 'key', b'')

    transport.head_object(bucket, 'key', extra={'RequestPayer': 'requester', 'ACL': 'private'})
