"""Transfers over a transport in memory: which requests are made, in which order, and what a failure leaves."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Iterator

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.errors import (
    DownloadError,
    IntegrityError,
    NetworkError,
    NotFound,
    S3poError,
    ServerError,
    SourceChanged,
    UploadError,
)
from tests.conftest import impatient
from tests.support.memory import MemoryTransport
from tests.support.store_values import StoredObject, md5

BUCKET = 'bucket'
SIZES = [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 20 * MIB]


class Faults:
    """Raises the given errors at the first requests that match, in order."""

    def __init__(self, operation: str, part: int | None, *errors: S3poError) -> None:
        self.operation = operation
        self.part = part
        self.errors = list(errors)

    def __call__(self, operation: str, key: str, part: int | None) -> None:
        if operation == self.operation and self.part in (None, part) and self.errors:
            raise self.errors.pop(0)


def stored(memory: MemoryTransport, key: str, data: bytes) -> bytes:
    memory.store.put(BUCKET, key, StoredObject(body=data, etag=md5(data)))
    return data


@pytest.mark.parametrize('size_bytes', SIZES)
@pytest.mark.parametrize('kind', ['bytes', 'path', 'file', 'seekable', 'stream'])
def test_upload(
    memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, size_bytes: int, kind: str
) -> None:
    """Every kind of source arrives whole, in one request up to a part's size, and in parts above."""
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


@pytest.mark.parametrize('size_bytes', SIZES)
@pytest.mark.parametrize('kind', ['bytes', 'path', 'file', 'text'])
def test_download(
    memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, size_bytes: int, kind: str
) -> None:
    """Every kind of target gets all bytes in order: one request up to a part's size, as many as there are parts above."""
    data = stored(memory, 'key', os.urandom(size_bytes))
    if kind == 'bytes':
        assert memory_conn.download(BUCKET, 'key') == data
    else:
        target = tmp_path / 'target'
        if kind == 'path':
            result = memory_conn.download(BUCKET, 'key', target)
        else:
            with open(target, 'wb' if kind == 'file' else 'w') as file:
                result = memory_conn.download(BUCKET, 'key', file)
        assert target.read_bytes() == data
        assert (result.size_bytes, result.etag) == (size_bytes, md5(data))

    assert memory.count('GetObject') == len(memory.calls) == max(1, -(-size_bytes // (8 * MIB)))


def test_empty_iterable(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """No pieces are an empty object."""
    memory_conn.upload(BUCKET, 'key', iter([]))

    assert memory.store.get(BUCKET, 'key').body == b''


def test_parts_side_by_side(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """As many as max_concurrency says, and no more."""
    data = bytes(80 * MIB)
    memory_conn.upload(BUCKET, 'key', data)
    assert memory.peak == 8
    memory.peak = 0
    memory_conn.download(BUCKET, 'key')
    # And the eighth is the first answer, which is still being read.
    assert memory.peak == 7


def test_requests_of_a_connection_are_bounded(memory: MemoryTransport) -> None:
    """max_requests holds over objects and parts."""
    conn = s3po.Connection(transport=memory, config=s3po.TransferConfig(max_requests=3))
    data = bytes(20 * MIB)
    with conn.batch(10) as batch:
        for number in range(6):
            batch.upload(BUCKET, f'key{number}', data)

    assert memory.peak == 3


def test_a_failed_part_is_sent_again_alone(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """The others are sent once."""
    memory.fault = Faults('UploadPart', 2, ServerError('500'), NetworkError('reset'))

    result = memory_conn.upload(BUCKET, 'key', bytes(40 * MIB))

    sent = sorted(part for operation, _, part in memory.calls if operation == 'UploadPart' and part is not None)
    assert sent == [1, 2, 2, 2, 3, 4, 5]
    assert (result.parts, result.attempts) == (5, 7)


def test_part_that_fails_for_good(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """The upload is aborted, the error names the part, and an old object is as it was."""
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


def test_abort_that_fails_is_told(
    memory_conn: s3po.Connection, memory: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """The upload's id is in the log and in the error's notes, so that somebody can abort it."""

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
    """A store may keep an upload alive whose parts were under way."""
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
    """After a few rounds it is told instead."""
    memory.store.abort_upload = lambda *_: None  # type: ignore[method-assign]
    memory.fault = Faults('UploadPart', 1, NotFound('no'))

    with pytest.raises(NotFound) as caught:
        memory_conn.upload(BUCKET, 'key', bytes(20 * MIB))
    assert 'still there after 5 aborts' in caught.value.__notes__[0]


def test_stream_that_fails(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """What the caller's iterable raises is what the caller gets, and nothing is left."""

    def pieces() -> Iterator[bytes]:
        yield bytes(20 * MIB)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        memory_conn.upload(BUCKET, 'key', pieces())
    assert memory.store.uploads(BUCKET) == []


def test_stream_is_not_read_ahead_of_its_parts(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """No more of it is in memory than the parts that are sent."""
    read: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(20):
            read.append(number)
            yield bytes(8 * MIB)

    ahead: list[int] = []

    def fault(operation: str, key: str, part: int | None) -> None:
        if part is not None:
            ahead.append(len(read) - part + 1)

    memory.fault = fault
    memory_conn.upload(BUCKET, 'key', pieces())
    assert max(ahead) <= 8 + 1


def test_stream_with_more_parts_than_there_are(
    memory_conn: s3po.Connection, memory: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may end with the last part; what comes behind that is an error that says what to do, and nothing is left."""
    monkeypatch.setattr('s3po.plan.MAX_PARTS', 3)
    monkeypatch.setattr('s3po.transfer.uploading.MAX_PARTS', 3)

    assert memory_conn.upload(BUCKET, 'fits', iter([bytes(24 * MIB)])).parts == 3
    with pytest.raises(s3po.ConfigurationError, match='multipart_chunksize'):
        memory_conn.upload(BUCKET, 'key', iter([bytes(24 * MIB + 1)]))
    assert memory.store.uploads(BUCKET) == []


def test_retries_of_a_download(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A part that fails is fetched again alone."""
    data = stored(memory, 'key', os.urandom(20 * MIB))
    memory.fault = Faults('GetObject', None, NetworkError('reset'), NetworkError('reset'))

    assert memory_conn.download(BUCKET, 'key') == data
    assert memory.count('GetObject') == 5


def test_download_that_fails_for_good(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """An existing target is as it was, and nothing else is left."""
    stored(memory, 'key', os.urandom(20 * MIB))
    (tmp_path / 'target').write_bytes(b'old')
    answers = [0]

    def fault(operation: str, key: str, part: int | None) -> None:
        answers[0] += 1
        if answers[0] > 2:
            raise NetworkError('reset')

    memory.fault = fault
    with pytest.raises(DownloadError, match='gave up after 4 attempts') as caught:
        memory_conn.download_file(BUCKET, 'key', tmp_path / 'target')

    assert caught.value.part_number in (2, 3)
    assert [path.name for path in tmp_path.iterdir()] == ['target']
    assert (tmp_path / 'target').read_bytes() == b'old'


class Truncating(MemoryTransport):
    """Gives wrong answers to ranges."""

    wrong = ''

    def get_object(self, bucket, key, *, byte_range=None, if_match=None, version_id=None, extra):  # type: ignore[no-untyped-def]
        if byte_range is not None and self.wrong == 'ignored':
            byte_range = None
        if byte_range is not None and self.wrong == 'shifted':
            byte_range = (byte_range[0] + 1, byte_range[1] + 1)
        answer = super().get_object(bucket, key, byte_range=byte_range, if_match=if_match, version_id=version_id, extra=extra)
        if self.wrong == 'other' and byte_range is not None:
            answer.info = s3po.ObjectInfo(key=key, size_bytes=answer.info.size_bytes, etag='other')
        return answer


@pytest.mark.parametrize('wrong', ['ignored', 'shifted', 'other'])
def test_wrong_ranges(tmp_path: pathlib.Path, wrong: str) -> None:
    """A range that is not the one that was asked for is never written."""
    memory = Truncating()
    memory.store.create_bucket(BUCKET)
    stored(memory, 'key', os.urandom(20 * MIB))
    memory.wrong = wrong
    conn = s3po.Connection(transport=memory, retry=impatient())

    with pytest.raises(IntegrityError, match=r'asked for bytes .*, and the store sent .* \(after 4 attempts\)'):
        conn.download(BUCKET, 'key', tmp_path / 'target')
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(IntegrityError) if wrong != 'other' else pytest.raises(AssertionError):
        conn.download(BUCKET, 'key', byte_range=(5, 10))
        raise AssertionError


class Replacing(MemoryTransport):
    """Replaces the object each time when its first GET was answered."""

    def __init__(self, versions: list[bytes]) -> None:
        super().__init__()
        self.store.create_bucket(BUCKET)
        self.versions = versions

    def get_object(self, bucket, key, *, byte_range=None, if_match=None, version_id=None, extra):  # type: ignore[no-untyped-def]
        answer = super().get_object(bucket, key, byte_range=byte_range, if_match=if_match, version_id=version_id, extra=extra)
        if byte_range is None and self.versions:
            stored(self, 'key', self.versions.pop(0))
        return answer


@pytest.mark.parametrize('kind', ['bytes', 'path', 'file'])
@pytest.mark.parametrize('replacements', [1, 2, 3])
def test_object_replaced_while_it_is_read(tmp_path: pathlib.Path, kind: str, replacements: int) -> None:
    """What comes is one version entirely; after the third replacement it is given up."""
    versions = [bytes([number]) * (20 * MIB + number) for number in range(4)]
    memory = Replacing(versions[1 : replacements + 1])
    stored(memory, 'key', versions[0])
    conn = s3po.Connection(transport=memory, retry=impatient())
    target = tmp_path / 'target'
    target.write_bytes(b'old')
    with open(tmp_path / 'file', 'w+b') as file:
        targets = {'bytes': None, 'path': target, 'file': file}
        if replacements == 3:
            with pytest.raises(SourceChanged, match='replaced 3 times'):
                conn.download(BUCKET, 'key', targets[kind])
            assert target.read_bytes() == b'old'
            assert (tmp_path / 'file').read_bytes() == b''
            return
        found = conn.download(BUCKET, 'key', targets[kind])
        file.seek(0)
        data = {'bytes': lambda: found, 'path': target.read_bytes, 'file': file.read}[kind]()
    assert data == versions[replacements]


def test_callers_if_match(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A condition of the caller's is not restarted, but told."""
    stored(memory, 'key', b'one')

    assert memory_conn.download(BUCKET, 'key', if_match=md5(b'one')) == b'one'
    with pytest.raises(s3po.PreconditionFailed):
        memory_conn.download(BUCKET, 'key', if_match=md5(b'two'))
    assert memory.count('GetObject') == 2


@pytest.mark.parametrize(
    ('byte_range', 'expected'),
    [
        ((0, 3), slice(0, 3)),
        ((5, None), slice(5, None)),
        ((0, None), slice(None)),
        ((7, 18 * MIB), slice(7, 18 * MIB)),
        ((19 * MIB, 99 * MIB), slice(19 * MIB, None)),
    ],
)
def test_byte_ranges(
    memory_conn: s3po.Connection, memory: MemoryTransport, byte_range: tuple[int, int | None], expected: slice
) -> None:
    """Ranges of a large object are fetched side by side too."""
    data = stored(memory, 'key', os.urandom(20 * MIB))

    assert memory_conn.download(BUCKET, 'key', byte_range=byte_range) == data[expected]


def test_ranges_of_an_empty_object(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """As of an empty bytes: its beginning is empty, and there is nothing behind."""
    stored(memory, 'key', b'')

    assert memory_conn.download(BUCKET, 'key', byte_range=(0, None)) == b''
    assert memory_conn.download(BUCKET, 'key', byte_range=(0, 10)) == b''
    with pytest.raises(s3po.InvalidRequest):
        memory_conn.download(BUCKET, 'key', byte_range=(1, 10))


def test_object_without_an_etag(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """Nothing could hold its ranges together, so it is read as one stream."""
    data = os.urandom(20 * MIB)
    memory.store.put(BUCKET, 'key', StoredObject(body=data, etag=''))

    assert memory_conn.download(BUCKET, 'key') == data
    assert memory.count('GetObject') == 1


def test_kill_while_parts_are_fetched(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """All of them end, the slots come back, and nothing is left."""
    stored(memory, 'key', bytes(80 * MIB))
    memory.fault = lambda *_: gevent.sleep(1000) if memory.count('GetObject') > 3 else None
    for target in (None, tmp_path / 'target', io.BytesIO()):
        greenlet = gevent.spawn(memory_conn.download, BUCKET, 'key', target)
        while memory.count('GetObject') <= 3:
            gevent.sleep(0.001)
        greenlet.kill()
        memory.calls.clear()

        assert memory.in_flight == 0
        assert 'free=8' in repr(memory_conn._wiring.governor())
        assert list(tmp_path.iterdir()) == []


def test_copy_in_parts_carries_everything(memory: MemoryTransport) -> None:
    """Headers, metadata and tags, which a multipart upload has to be told."""
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
    """They replace the source's."""
    config = s3po.TransferConfig(multipart_copy_threshold=0, multipart_copy_chunksize=5 * MIB)
    conn = s3po.Connection(transport=memory, config=config)
    conn.upload(BUCKET, 'from', bytes(6 * MIB), metadata={'a': '1'})

    conn.copy(BUCKET, 'from', BUCKET, 'to', metadata={'b': '2'})

    assert memory.store.get(BUCKET, 'to').headers == {'x-amz-meta-b': '2'}


def test_move_of_an_object_that_is_replaced(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """What was written meanwhile is not deleted with what was copied."""
    stored(memory, 'from', b'old')

    def fault(operation: str, key: str, part: int | None) -> None:
        if operation == 'HeadObject' and memory.count('CopyObject'):
            stored(memory, 'from', b'new')

    memory.fault = fault
    with pytest.raises(SourceChanged, match='was copied to s3://bucket/to, but not deleted'):
        memory_conn.move(BUCKET, 'from', BUCKET, 'to')
    assert memory.store.get(BUCKET, 'from').body == b'new'
    assert memory.store.get(BUCKET, 'to').body == b'old'
