"""Uploads and copies over a transport in memory: the requests, and what a failure leaves."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Iterator

import pytest

import s3po
from s3po.config import MIB
from s3po.errors import (
    NetworkError,
    NotFound,
    ServerError,
    SourceChanged,
    Throttled,
    UploadError,
)
from tests.conftest import impatient
from tests.support.faults import Faults, stored
from tests.support.memory import MemoryTransport

BUCKET = 'bucket'
SIZES = [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 20 * MIB]


@pytest.mark.parametrize('size_bytes', SIZES)
@pytest.mark.parametrize('kind', ['bytes', 'path', 'file', 'seekable', 'stream'])
@pytest.mark.sampled(10)
def test_upload(
    memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, size_bytes: int, kind: str
) -> None:
    """Every kind of source is uploaded completely, with one request or in parts."""
    data = os.urandom(size_bytes)
    (tmp_path / 'source').write_bytes(data)
    with open(tmp_path / 'source', 'rb') as file:
        sources = {
            'bytes': data,
            'path': tmp_path / 'source',
            'file': file,
            'seekable': io.BytesIO(data),
            'stream': (data[offset : offset + 100_000] for offset in range(0, size_bytes, 100_000)),
        }
        result = memory_conn.upload(BUCKET, 'key', sources[kind])

    assert memory.store.get(BUCKET, 'key').body == data
    parts = max(1, -(-size_bytes // (8 * MIB)))
    assert (result.size_bytes, result.parts, result.attempts) == (size_bytes, parts, parts)
    assert result.etag == memory.store.get(BUCKET, 'key').etag
    assert len(memory.calls) == (1 if parts == 1 else parts + 2)
    assert memory.store.uploads(BUCKET) == []


def test_empty_iterable(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """An iterable without pieces is an empty object."""
    memory_conn.upload(BUCKET, 'key', iter([]))

    assert memory.store.get(BUCKET, 'key').body == b''


def test_parts_side_by_side(memory: MemoryTransport) -> None:
    """At most max_concurrency parts are sent at once."""
    config = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)
    conn = s3po.Connection(transport=memory, config=config)
    conn.upload(BUCKET, 'key', bytes(30 * MIB))
    assert memory.peak == 3
    memory.peak = 0
    conn.download(BUCKET, 'key')
    # The third is the first response, which is still being read.
    assert memory.peak == 2


def test_requests_of_a_connection_are_bounded(memory: MemoryTransport) -> None:
    """max_requests limits the requests of all objects and parts together."""
    conn = s3po.Connection(transport=memory, config=s3po.TransferConfig(max_requests=3))
    data = bytes(9 * MIB)
    with conn.batch(10) as batch:
        for number in range(6):
            batch.upload(BUCKET, f'key{number}', data)

    assert memory.peak == 3


def test_a_failed_part_is_sent_again_alone(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """Only the part that fails is sent again."""
    memory.fault = Faults('UploadPart', 2, ServerError('500'), NetworkError('reset'))

    result = memory_conn.upload(BUCKET, 'key', bytes(40 * MIB))

    sent = sorted(part for operation, _, part in memory.calls if operation == 'UploadPart' and part is not None)
    assert sent == [1, 2, 2, 2, 3, 4, 5]
    assert (result.parts, result.attempts) == (5, 7)


def test_part_that_fails_for_good(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """If a part fails in all attempts, the upload is aborted, the error has its number, and the older object stays."""
    old = stored(memory, 'key', b'old')
    memory.fault = Faults('UploadPart', 2, *[ServerError(f'500 number {number}') for number in range(9)])

    with pytest.raises(UploadError, match=r'500 number 3 \(gave up after 4 attempts\)') as caught:
        memory_conn.upload(BUCKET, 'key', bytes(40 * MIB))

    assert (caught.value.bucket, caught.value.key, caught.value.part_number) == (BUCKET, 'key', 2)
    assert caught.value.attempts == 4
    assert isinstance(caught.value.__cause__, ServerError)
    assert memory.store.uploads(BUCKET) == []
    assert memory.store.get(BUCKET, 'key').body == old
    assert memory.count('CompleteMultipartUpload') == 0


def test_failed_abort_is_logged(
    memory_conn: s3po.Connection, memory: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """If the abort fails, the log and the error's notes contain the upload id, so that it can be aborted by hand."""

    def fault(operation: str, key: str, part: int | None) -> None:
        if operation in ('UploadPart', 'AbortMultipartUpload'):
            raise ServerError('500')

    memory.fault = fault
    with pytest.raises(UploadError) as caught:
        memory_conn.upload(BUCKET, 'key', bytes(20 * MIB))

    (left,) = memory.store.uploads(BUCKET)
    assert left.upload_id in caught.value.__notes__[0]
    assert left.upload_id in caplog.text


def test_abort_is_repeated_while_parts_come_in(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """The abort is repeated if parts that were in flight keep the upload alive."""
    real = memory.store.abort_upload
    aborts: list[str] = []

    def reluctant(bucket: str, key: str, upload_id: str) -> None:
        aborts.append(upload_id)
        if len(aborts) == 3:
            real(bucket, key, upload_id)

    memory.store.abort_upload = reluctant  # type: ignore[method-assign]
    memory.fault = Faults('UploadPart', 1, NotFound('no'))
    with pytest.raises(NotFound):
        memory_conn.upload(BUCKET, 'key', bytes(20 * MIB))

    assert len(aborts) == 3
    assert memory.store.uploads(BUCKET) == []


def test_abort_that_never_works_ends(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """If the upload still exists after several aborts, the error has a note."""
    memory.store.abort_upload = lambda *_: None  # type: ignore[method-assign]
    memory.fault = Faults('UploadPart', 1, NotFound('no'))

    with pytest.raises(NotFound) as caught:
        memory_conn.upload(BUCKET, 'key', bytes(20 * MIB))
    assert 'still there after 5 aborts' in caught.value.__notes__[0]


def test_stream_that_fails(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """An exception of the caller's iterable is raised unchanged, and nothing is left."""

    def pieces() -> Iterator[bytes]:
        yield bytes(20 * MIB)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        memory_conn.upload(BUCKET, 'key', pieces())
    assert memory.store.uploads(BUCKET) == []


def test_stream_is_not_read_ahead_of_its_parts(memory: MemoryTransport) -> None:
    """No more of a stream is in memory than the parts that are being sent."""
    config = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)
    conn = s3po.Connection(transport=memory, config=config)
    read: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(12):
            read.append(number)
            yield bytes(5 * MIB)

    ahead: list[int] = []

    def fault(operation: str, key: str, part: int | None) -> None:
        if part is not None:
            ahead.append(len(read) - part + 1)

    memory.fault = fault
    conn.upload(BUCKET, 'key', pieces())
    assert len(ahead) == 12
    assert max(ahead) <= 3 + 1


def test_stream_with_more_parts_than_there_are(
    memory_conn: s3po.Connection, memory: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream may end with the last possible part; more data is an error with advice, and nothing is left."""
    monkeypatch.setattr('s3po.plan.MAX_PARTS', 3)
    monkeypatch.setattr('s3po.transfer.uploading.MAX_PARTS', 3)

    assert memory_conn.upload(BUCKET, 'fits', iter([bytes(24 * MIB)])).parts == 3
    with pytest.raises(s3po.ConfigurationError, match='multipart_chunksize'):
        memory_conn.upload(BUCKET, 'key', iter([bytes(24 * MIB + 1)]))
    assert memory.store.uploads(BUCKET) == []


def test_copy_in_parts_carries_everything(memory: MemoryTransport) -> None:
    """A copy in parts has the headers, metadata and tags of its source."""
    config = s3po.TransferConfig(multipart_copy_threshold=5 * MIB, multipart_copy_chunksize=5 * MIB)
    conn = s3po.Connection(transport=memory, config=config, retry=impatient())
    data = os.urandom(12 * MIB)
    conn.upload(BUCKET, 'from', data, metadata={'a': '1'}, headers={'Cache-Control': 'no-cache'})
    memory.store.put_tags(BUCKET, 'from', {'tag': 'x y'})
    memory.fault = Faults('UploadPartCopy', 2, ServerError('500'))

    result = conn.copy(BUCKET, 'from', BUCKET, 'to')

    copied = memory.store.get(BUCKET, 'to')
    assert copied.body == data
    assert (copied.headers['x-amz-meta-a'], copied.headers['cache-control']) == ('1', 'no-cache')
    assert (result.parts, result.attempts) == (3, 4)
    assert memory.count('GetObjectTagging') == 1


def test_copy_in_parts_with_its_own_headers(memory: MemoryTransport) -> None:
    """The caller's headers replace those of the source."""
    config = s3po.TransferConfig(multipart_copy_threshold=0, multipart_copy_chunksize=5 * MIB)
    conn = s3po.Connection(transport=memory, config=config)
    conn.upload(BUCKET, 'from', bytes(6 * MIB), metadata={'a': '1'})

    conn.copy(BUCKET, 'from', BUCKET, 'to', metadata={'b': '2'})

    assert memory.store.get(BUCKET, 'to').headers == {'x-amz-meta-b': '2'}


def test_move_of_an_object_that_is_replaced(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """move() does not delete a source that was replaced after it was copied."""
    stored(memory, 'from', b'old')

    def fault(operation: str, key: str, part: int | None) -> None:
        if operation == 'HeadObject' and memory.count('CopyObject'):
            stored(memory, 'from', b'new')

    memory.fault = fault
    with pytest.raises(SourceChanged, match='was copied to s3://bucket/to, but not deleted'):
        memory_conn.move(BUCKET, 'from', BUCKET, 'to')
    assert memory.store.get(BUCKET, 'from').body == b'new'
    assert memory.store.get(BUCKET, 'to').body == b'old'


def test_throttling_is_noticed(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """The governor counts every throttled request, first attempts and retries."""
    memory.fault = Faults('PutObject', None, Throttled('503 SlowDown', status=503), Throttled('503 SlowDown', status=503))

    memory_conn.upload(BUCKET, 'key', b'data')

    assert memory_conn._wiring.governor().throttled == 2
