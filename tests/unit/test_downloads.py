"""Downloads over a transport in memory: the requests, and what a failure leaves."""

from __future__ import annotations

import io
import os
import pathlib

import gevent
import gevent.event
import pytest

import s3po
from s3po.config import MIB
from s3po.errors import (
    DownloadError,
    IntegrityError,
    NetworkError,
    NotFound,
    SourceChanged,
)
from tests.conftest import impatient
from tests.support.faults import Faults, stored
from tests.support.memory import MemoryTransport
from tests.support.store_values import StoredObject, md5

BUCKET = 'bucket'
SIZES = [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 20 * MIB]


@pytest.mark.parametrize('size_bytes', SIZES)
@pytest.mark.parametrize('kind', ['bytes', 'path', 'file', 'text'])
@pytest.mark.sampled(8)
def test_download(
    memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, size_bytes: int, kind: str
) -> None:
    """Every kind of target gets all bytes in order, with one request per part."""
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


def test_retries_of_a_download(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """Only the part that fails is fetched again."""
    data = stored(memory, 'key', os.urandom(20 * MIB))
    memory.fault = Faults('GetObject', None, NetworkError('reset'), NetworkError('reset'))

    assert memory_conn.download(BUCKET, 'key') == data
    assert memory.count('GetObject') == 5


def test_download_that_fails_for_good(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """If the download fails, the target is unchanged, and no other file is left."""
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
    """A transport that returns wrong ranges."""

    wrong = ''

    def get_object(self, bucket, key, *, byte_range=None, if_match=None, version_id=None, wants_checksum=False, extra):  # type: ignore[no-untyped-def]
        if byte_range is not None and self.wrong == 'ignored':
            byte_range = None
        if byte_range is not None and self.wrong == 'shifted':
            byte_range = (byte_range[0] + 1, byte_range[1] + 1)
        answer = super().get_object(bucket, key, byte_range=byte_range, if_match=if_match, version_id=version_id, extra=extra)
        if self.wrong == 'other' and byte_range is not None:
            answer.etag = 'other'
        return answer


class Cutting(Truncating):
    """A transport that ignores ranges, and truncates some responses."""

    wrong = 'ignored'

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def get_object(self, *arguments, **options):  # type: ignore[no-untyped-def]
        answer = super().get_object(*arguments, **options)
        self.asked += 1
        if self.asked >= 2:
            read_into, left = answer.read_into, [9 * MIB]

            def cut(buffer: memoryview) -> int:
                if left[0] <= 0:
                    raise NetworkError('cut')
                count = read_into(buffer)
                left[0] -= count
                return count

            answer.read_into = cut if self.asked < 6 else read_into
        return answer


def test_ranges_ignored(tmp_path: pathlib.Path) -> None:
    """If the store ignores ranges, the download reads one stream; after a failure it continues where it ended."""
    memory = Cutting()
    memory.store.create_bucket(BUCKET)
    data = os.urandom(20 * MIB)
    stored(memory, 'key', data)
    conn = s3po.Connection(transport=memory, retry=impatient(6))

    result = conn.download(BUCKET, 'key', tmp_path / 'target')

    assert (tmp_path / 'target').read_bytes() == data
    assert result.parts == 1
    assert 'whole object' in result.warnings[0]
    assert conn.download(BUCKET, 'key') == data


@pytest.mark.parametrize('wrong', ['shifted', 'other'])
def test_wrong_ranges(tmp_path: pathlib.Path, wrong: str) -> None:
    """A range other than the requested one is never written."""
    memory = Truncating()
    memory.store.create_bucket(BUCKET)
    stored(memory, 'key', os.urandom(20 * MIB))
    memory.wrong = wrong
    conn = s3po.Connection(transport=memory, retry=impatient())

    with pytest.raises(IntegrityError, match=r'asked for bytes .*, and the store sent .* \(after 3 attempts\)'):
        conn.download(BUCKET, 'key', tmp_path / 'target')
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(IntegrityError) if wrong != 'other' else pytest.raises(AssertionError):
        conn.download(BUCKET, 'key', byte_range=(5, 10))
        raise AssertionError


class Replacing(MemoryTransport):
    """A transport that replaces the object after its first GET."""

    def __init__(self, versions: list[bytes]) -> None:
        super().__init__()
        self.store.create_bucket(BUCKET)
        self.versions = versions

    def get_object(self, bucket, key, *, byte_range=None, if_match=None, version_id=None, wants_checksum=False, extra):  # type: ignore[no-untyped-def]
        answer = super().get_object(bucket, key, byte_range=byte_range, if_match=if_match, version_id=version_id, extra=extra)
        if byte_range is None and self.versions:
            stored(self, 'key', self.versions.pop(0))
        return answer


@pytest.mark.parametrize('kind', ['bytes', 'path', 'file'])
@pytest.mark.parametrize('replacements', [1, 2, 3])
@pytest.mark.sampled(3)
def test_object_replaced_while_it_is_read(tmp_path: pathlib.Path, kind: str, replacements: int) -> None:
    """A download returns one version of the object; after the third replacement it fails."""
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
    """A failed condition of the caller is raised; the download is not restarted."""
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
    """Ranges of a large object are fetched in parts, too."""
    data = stored(memory, 'key', os.urandom(20 * MIB))

    assert memory_conn.download(BUCKET, 'key', byte_range=byte_range) == data[expected]


def test_ranges_of_an_empty_object(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """Ranges of an empty object behave like slices: the first one is empty, later ones are errors."""
    stored(memory, 'key', b'')

    assert memory_conn.download(BUCKET, 'key', byte_range=(0, None)) == b''
    assert memory_conn.download(BUCKET, 'key', byte_range=(0, 10)) == b''
    with pytest.raises(s3po.InvalidRequest):
        memory_conn.download(BUCKET, 'key', byte_range=(1, 10))


def test_object_without_an_etag(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """An object without an ETag is read as one stream, since its ranges could not be tied to one version."""
    data = os.urandom(20 * MIB)
    memory.store.put(BUCKET, 'key', StoredObject(body=data, etag=''))

    assert memory_conn.download(BUCKET, 'key') == data
    assert memory.count('GetObject') == 1


def test_kill_while_parts_are_fetched(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """If the download is killed, all its requests end, the slots are released, and nothing is left."""
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


class OneWay(io.RawIOBase):
    """A target that cannot seek."""

    def __init__(self) -> None:
        super().__init__()
        self.has_taken = gevent.event.Event()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:  # type: ignore[no-untyped-def]
        self.has_taken.set()
        return len(data)


def test_failure_counts_for_more_than_its_clean_up(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """If truncating the target fails, too, this is reported with the first failure, not instead of it."""
    stored(memory, 'key', os.urandom(20 * MIB))
    target = OneWay()

    def fault(operation: str, key: str, part: int | None) -> None:
        if memory.count('GetObject') > 1:
            target.has_taken.wait()
            raise NotFound('gone')

    memory.fault = fault
    with pytest.raises(NotFound) as caught:
        memory_conn.download(BUCKET, 'key', target)

    assert 'cannot seek' in caught.value.__notes__[0]
