"""Objects as files: a reader returns the bytes of one version, a writer publishes the whole object or nothing."""

from __future__ import annotations

import csv
import gc
import io
import os
import pickle
import warnings
import zipfile
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import s3po
from s3po.config import KIB, MIB
from s3po.errors import ConfigurationError, NetworkError, NotFound, PreconditionFailed, SourceChanged, UploadError
from s3po.files import S3Reader, S3Writer
from s3po.files.boto3_objects import boto3_object
from tests.conftest import BUCKET, impatient
from tests.support.memory import MemoryTransport
from tests.support.noise import noise

LARGE = noise(20 * MIB + 11)


@pytest.fixture
def large(memory_conn: s3po.Connection) -> s3po.Connection:
    memory_conn.upload(BUCKET, 'large', LARGE)
    return memory_conn


def calls(memory: MemoryTransport, conn: s3po.Connection) -> list[str]:
    """A list of the operations from now on."""
    seen: list[str] = []
    memory.fault = lambda operation, key, part: seen.append(operation)
    return seen


# ---------------------------------------------------------------------- reading


def test_small_object_is_one_request(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """Opening a small object fetches it with one request."""
    memory_conn.upload(BUCKET, 'key', b'hello', metadata={'a': 'b'})
    seen = calls(memory, memory_conn)

    with memory_conn.open(BUCKET, 'key') as file:
        assert file.read() == b'hello'
        assert file.read() == b''
        assert file.size == 5
        assert file.info.metadata['a'] == 'b'
        assert (file.name, file.mode) == ('s3://bucket/key', 'rb')
        assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
    assert file.closed
    assert seen == ['GetObject']


def test_empty_object(memory_conn: s3po.Connection) -> None:
    """All reads of an empty object return b''."""
    memory_conn.upload(BUCKET, 'key', b'')
    with memory_conn.open(BUCKET, 'key') as file:
        assert file.read(5) == file.read() == file.readline() == file.peek() == b''
        assert list(file) == []


def test_missing_object(memory_conn: s3po.Connection) -> None:
    """A missing object is an error when it is opened."""
    with pytest.raises(NotFound):
        memory_conn.open(BUCKET, 'missing')


@pytest.mark.parametrize('read_ahead', [0, 1, 4])
@pytest.mark.parametrize('piece', [100_003, MIB, 9 * MIB])
@pytest.mark.sampled(3)
def test_in_order(large: s3po.Connection, read_ahead: int, piece: int) -> None:
    """Sequential reads return every byte once, whatever is read ahead."""
    with large.open(BUCKET, 'large', read_ahead=read_ahead, block_size=3 * MIB) as file:
        assert b''.join(iter(lambda: file.read(piece), b'')) == LARGE
        assert file.tell() == len(LARGE)
    with large.open(BUCKET, 'large', read_ahead=read_ahead) as file:
        assert b''.join(file.iter_chunks()) == LARGE
    with large.open(BUCKET, 'large', read_ahead=read_ahead) as file:
        assert [len(chunk) for chunk in file.iter_chunks(10 * MIB)] == [10 * MIB, 10 * MIB, 11]


def test_all_at_once(large: s3po.Connection) -> None:
    """read() without a size works at the start, at any position, and after reading ahead."""
    with large.open(BUCKET, 'large') as file:
        assert file.read() == LARGE
        file.seek(5)
        assert file.read(-1) == LARGE[5:]
        file.seek(0)
        assert file.read(MIB) == LARGE[:MIB]
        assert file.read(None) == LARGE[MIB:]


def test_seek_fetches_little_more_than_requested(large: s3po.Connection, memory: MemoryTransport) -> None:
    """After a seek, little more than the requested bytes is fetched, and nothing is read ahead."""
    with large.open(BUCKET, 'large') as file:
        seen = calls(memory, large)
        file.seek(-8, os.SEEK_END)
        assert file.read(8) == LARGE[-8:]
        file.seek(10 * MIB)
        assert file.read(100) == LARGE[10 * MIB :][:100]
        assert file.read(100) == LARGE[10 * MIB + 100 :][:100]
    gevent.sleep(0)
    assert seen == ['GetObject', 'GetObject']


@given(st.data())
@settings(max_examples=settings().max_examples // 3)
def test_like_a_file(data: st.DataObject) -> None:
    """Any sequence of calls returns what BytesIO returns."""
    content = LARGE[: 2 * MIB + 5]
    memory = MemoryTransport()
    memory.store.create_bucket(BUCKET)
    conn = s3po.Connection(transport=memory, retry=impatient())
    conn.upload(BUCKET, 'key', content)
    ours: Any = conn.open(BUCKET, 'key', block_size=data.draw(st.sampled_from([1, 300 * KIB, MIB])), read_ahead=2)
    theirs: Any = io.BytesIO(content)
    for _ in range(data.draw(st.integers(1, 12))):
        name = data.draw(st.sampled_from(['read', 'readline', 'readinto', 'seek', 'seek_end', 'tell']))
        size = data.draw(st.sampled_from([0, 1, 7, 1000, 128 * KIB, 700_000, 3 * MIB]))
        if name == 'readinto':
            mine, other = bytearray(size), bytearray(size)
            assert ours.readinto(mine) == theirs.readinto(other)
            assert mine == other
        elif name == 'seek_end':
            assert ours.seek(-min(size, len(content)), 2) == theirs.seek(-min(size, len(content)), 2)
        elif name == 'tell':
            assert ours.tell() == theirs.tell()
        else:
            assert getattr(ours, name)(size) == getattr(theirs, name)(size)
    assert ours.read() == theirs.read()
    ours.close()


def test_seeking() -> None:
    """Invalid positions are rejected."""
    memory = MemoryTransport()
    memory.store.create_bucket(BUCKET)
    conn = s3po.Connection(transport=memory)
    conn.upload(BUCKET, 'key', b'0123456789')
    with conn.open(BUCKET, 'key') as file:
        with pytest.raises(ValueError, match='negative'):
            file.seek(-1)
        with pytest.raises(ValueError, match='whence'):
            file.seek(0, 7)
        assert file.seek(100) == 100
        assert file.read() == b''
        assert file.seek(-3, os.SEEK_CUR) == 97
        assert file.peek() == b''
        file.seek(2)
        assert (file.peek(1)[:3], file.read1(3), file.read1(0), file.tell()) == (b'234', b'234', b'', 5)
        with pytest.raises(TypeError, match='pickle the Connection'):
            pickle.dumps(file)
        assert repr(file) == '<S3Reader s3://bucket/key at 5 of 10>'
    with pytest.raises(ValueError, match='closed'):
        file.read()
    file.close()


def test_keyword_arguments(memory_conn: s3po.Connection) -> None:
    """The methods of a reader take the keywords that smart_open's and fsspec's files take."""
    memory_conn.upload(BUCKET, 'key', b'one\ntwo\n')
    with memory_conn.open(BUCKET, 'key') as file:
        assert file.seek(offset=-4, whence=os.SEEK_END) == 4
        assert (file.peek(size=1)[:1], file.readline(size=2), file.read1(size=None), file.read(size=None)) == (
            b't',
            b'tw',
            b'o\n',
            b'',
        )
        assert file.seek(0, whence=os.SEEK_CUR) == 8


def test_negative_position_is_an_os_error(memory_conn: s3po.Connection) -> None:
    """A seek before the beginning is an OSError as for files on disk, which zipfile expects, and a ValueError."""
    memory_conn.upload(BUCKET, 'key', b'short')
    with memory_conn.open(BUCKET, 'key') as file:
        with pytest.raises(OSError, match='negative'):
            file.seek(-6, os.SEEK_END)
        assert not zipfile.is_zipfile(file)
        with pytest.raises(zipfile.BadZipFile):
            zipfile.ZipFile(file)


def test_attributes_of_text_files(memory_conn: s3po.Connection) -> None:
    """A text reader has the reader's info, size and blocksize; a text writer tells the bytes that were written."""
    with memory_conn.open(BUCKET, 'key', 'w', metadata={'a': 'b'}) as text:
        assert text.tell() == 0
        text.write('žluť')
        assert text.tell() == 6
        text.write('x' * 100_000)
        assert text.tell() == 100_006
    with pytest.raises(ValueError, match='closed'):
        text.tell()
    with memory_conn.open(BUCKET, 'key', 'r', block_size=MIB) as text:
        assert (text.size, text.info.metadata['a'], text.blocksize) == (100_006, 'b', MIB)
        assert text.read(4) == 'žluť'
        assert not hasattr(text, 'other')


def test_names_of_smart_open(memory_conn: s3po.Connection) -> None:
    """blocksize, terminate() and to_boto3()."""

    class Resource:
        def Object(self, *names: str) -> tuple[str, ...]:
            return names

        def ObjectVersion(self, *names: str) -> tuple[str, ...]:
            return names

    with memory_conn.open(BUCKET, 'key', 'wb', block_size=6 * MIB) as file:
        assert file.blocksize == 6 * MIB
        assert file.to_boto3(Resource()) == (BUCKET, 'key')
    with memory_conn.open(BUCKET, 'key', block_size=MIB) as file:
        assert file.blocksize == MIB
        assert file.to_boto3(Resource()) == (BUCKET, 'key')
    version = s3po.ObjectRef(bucket=BUCKET, key='key', version_id='v1')
    assert boto3_object(Resource(), version) == (BUCKET, 'key', 'v1')
    for mode, data in (('wb', b'x'), ('w', 'x')):
        file = memory_conn.open(BUCKET, 'other', mode)
        file.write(data)
        file.terminate()
        assert file.closed
    assert not memory_conn.exists(BUCKET, 'other')


def test_lines_and_libraries(memory_conn: s3po.Connection) -> None:
    """csv reads text, zipfile reads and writes bytes, and lines may span blocks."""
    lines = [f'{number},"{"x" * (number % 300)}"\n' for number in range(5000)]
    memory_conn.upload(BUCKET, 'table.csv', ''.join(lines))
    with memory_conn.open(BUCKET, 'table.csv', 'r', newline='') as text:
        assert sum(int(row[0]) for row in csv.reader(text)) == sum(range(5000))
    with memory_conn.open(BUCKET, 'table.csv', block_size=1000) as file:
        assert [line.decode() for line in file] == lines
        file.seek(0)
        assert file.readlines(10) == [line.encode() for line in lines[:2]]
    with memory_conn.open(BUCKET, 'a.zip', 'wb') as target, zipfile.ZipFile(target, 'w') as archive:
        archive.writestr('inside', LARGE[:MIB])
    with zipfile.ZipFile(memory_conn.open(BUCKET, 'a.zip')) as archive:
        assert archive.read('inside') == LARGE[:MIB]


def test_replaced_while_it_is_read(large: s3po.Connection) -> None:
    """Bytes of two versions are never returned from one file."""
    with large.open(BUCKET, 'large', read_ahead=0) as file:
        assert file.read(1000) == LARGE[:1000]
        large.upload(BUCKET, 'large', LARGE[::-1])
        with pytest.raises(SourceChanged, match='was replaced while it was read; open it again'):
            file.read(20 * MIB)


def test_goes_on_after_a_failure(large: s3po.Connection, memory: MemoryTransport) -> None:
    """A failed block is retried; after the last retry the reader can be used again."""
    with large.open(BUCKET, 'large', block_size=MIB, read_ahead=1) as file:
        failures = [3]

        def fault(operation: str, key: str, part: int | None) -> None:
            if failures[0]:
                failures[0] -= 1
                raise NetworkError('reset')

        memory.fault = fault
        assert file.read(MIB) == LARGE[:MIB]
        failures[0] = 1000
        with pytest.raises(s3po.DownloadError):
            b''.join(iter(lambda: file.read(MIB), b''))
        position = file.tell()
        failures[0] = 0
        assert file.read() == LARGE[position:]


def test_forgotten_reader(large: s3po.Connection) -> None:
    """A reader that is garbage collected ends its greenlets."""
    before = greenlets()
    file = large.open(BUCKET, 'large', block_size=MIB)
    file.read(300_000)
    del file
    gc.collect()
    gevent.sleep(0.01)
    assert greenlets() <= before


def greenlets() -> int:
    gc.collect()
    return sum(isinstance(found, gevent.Greenlet) and not found.dead for found in gc.get_objects())


# ---------------------------------------------------------------------- writing


@pytest.mark.parametrize('size', [0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 20 * MIB])
@pytest.mark.parametrize('piece', [100_003, 30 * MIB])
@pytest.mark.sampled(5)
def test_write(memory_conn: s3po.Connection, memory: MemoryTransport, size: int, piece: int) -> None:
    """An object that fits into a part is sent with one PUT, also if it is empty, all others as a multipart upload."""
    seen = calls(memory, memory_conn)
    with memory_conn.open(BUCKET, 'key', 'wb', block_size=5 * MIB, content_type='text/x-y') as file:
        for offset in range(0, size, piece):
            data = LARGE[:size][offset : offset + piece]
            assert file.write(bytearray(data)) == len(data)
        assert file.tell() == size
    assert file.result is not None
    assert file.result.size_bytes == size
    memory.fault = None

    assert memory_conn.download(BUCKET, 'key') == LARGE[:size]
    assert memory_conn.head(BUCKET, 'key').content_type == 'text/x-y'
    parts = -(-size // (5 * MIB))
    expected = ['PutObject'] if size <= 5 * MIB else ['CreateMultipartUpload', 'CompleteMultipartUpload']
    assert sorted(set(seen) - {'UploadPart'}) == sorted(expected)
    assert seen.count('UploadPart') == (0 if size <= 5 * MIB else parts)


def test_exception_in_with(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """After an exception in the `with` block nothing is published, whatever the mode and size."""
    for mode, data in (('wb', b'x'), ('wb', LARGE), ('w', 'x'), ('w', 'x' * 20 * MIB)):
        with pytest.raises(ZeroDivisionError), memory_conn.open(BUCKET, 'key', mode) as file:
            file.write(data)
            raise ZeroDivisionError
        assert file.closed
        assert not memory_conn.exists(BUCKET, 'key')
    assert not memory.store.uploads(BUCKET)


def test_abort_and_close(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """abort() and close() can be called again; writing to a closed file is an error."""
    file = memory_conn.open(BUCKET, 'key', 'wb')
    file.write(LARGE)
    file.abort()
    file.abort()
    file.close()
    assert not memory_conn.exists(BUCKET, 'key')
    assert not memory.store.uploads(BUCKET)

    file = memory_conn.open(BUCKET, 'key', 'wb')
    file.write(b'data')
    file.close()
    file.close()
    file.abort()
    assert memory_conn.download(BUCKET, 'key') == b'data'
    for call in (lambda: file.write(b'more'), file.tell, file.flush):
        with pytest.raises(ValueError, match='closed'):
            call()
    assert (file.name, file.mode, file.writable(), file.readable()) == ('s3://bucket/key', 'wb', True, False)


@pytest.mark.parametrize('size', [10, 20 * MIB])
def test_forgotten_writer(memory_conn: s3po.Connection, memory: MemoryTransport, size: int) -> None:
    """A writer that was never closed is not published, which is logged."""
    for mode in ('wb', 'w'):
        file = memory_conn.open(BUCKET, 'key', mode)
        file.write(LARGE[:size] if mode == 'wb' else 'x' * size)
        with pytest.warns(ResourceWarning, match='was never closed: its object was not published'):
            file = None
        gevent.sleep(0.01)
        assert not memory_conn.exists(BUCKET, 'key')
        assert not memory.store.uploads(BUCKET)


def test_upload_that_fails(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """If a part fails, the writer raises the error and does not hang; close() raises it again."""

    def fault(operation: str, key: str, part: int | None) -> None:
        if operation == 'UploadPart':
            raise NetworkError('reset')

    memory.fault = fault
    file = memory_conn.open(BUCKET, 'key', 'wb', block_size=5 * MIB)
    with pytest.raises(UploadError, match='gave up'):
        for _ in range(100):
            file.write(LARGE[: 5 * MIB])
    with pytest.raises(UploadError, match='gave up'):
        file.write(b'more')
    with pytest.raises(UploadError, match='gave up'):
        file.close()
    file.close()
    memory.fault = None
    assert not memory_conn.exists(BUCKET, 'key')
    assert not memory.store.uploads(BUCKET)


def test_put_that_fails(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """If the PUT fails, close() raises the error once."""

    def fault(operation: str, key: str, part: int | None) -> None:
        raise NetworkError('reset')

    file = memory_conn.open(BUCKET, 'key', 'wb', retries=0)
    file.write(b'x')
    memory.fault = fault
    with pytest.raises(UploadError):
        file.close()
    file.close()
    assert file.result is None


def test_exclusive(memory_conn: s3po.Connection) -> None:
    """Mode 'x' fails if the object exists."""
    with memory_conn.open(BUCKET, 'key', 'x') as text:
        text.write('first')
    with pytest.raises(PreconditionFailed), memory_conn.open(BUCKET, 'key', 'xb') as file:
        file.write(b'second')
    assert memory_conn.download(BUCKET, 'key') == b'first'


def test_text(memory_conn: s3po.Connection) -> None:
    """encoding, errors and newline have the meaning of Python's open()."""
    with memory_conn.open(BUCKET, 'key', 'w', encoding='latin-1', newline='\r\n') as text:
        text.write('hé\nho\n')
        with pytest.raises(UnicodeEncodeError):
            text.write('\u20ac')
    assert memory_conn.download(BUCKET, 'key') == b'h\xe9\r\nho\r\n'
    with memory_conn.open(BUCKET, 'key', 'rt', encoding='ascii', errors='replace') as text:
        assert list(text) == ['h\ufffd\n', 'ho\n']
    with memory_conn.open(BUCKET, 'key', 'wt') as text:
        text.write('ü')
    assert memory_conn.download(BUCKET, 'key', encoding='utf-8') == 'ü'


def test_writer_in_another_thread(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A running upload belongs to its thread: writing in another thread is an error, and nothing is published."""
    file = memory_conn.open(BUCKET, 'key', 'wb')
    file.write(LARGE)
    failures: list[BaseException] = []

    def elsewhere() -> None:
        try:
            file.write(LARGE)
        except ConfigurationError as error:
            failures.append(error)

    gevent.get_hub().threadpool.spawn(elsewhere).get()
    assert 'another thread' in str(failures[0])
    file.abort()
    assert not memory.store.uploads(BUCKET)


def test_reader_in_other_threads(large: s3po.Connection) -> None:
    """A reader can be used by several threads, one after another, as pyarrow does."""
    file = large.open(BUCKET, 'large', block_size=MIB)
    got = [file.read(MIB)]
    pool = gevent.get_hub().threadpool
    got += [pool.spawn(file.read, MIB).get() for _ in range(3)]
    got.append(file.read())
    file.close()
    assert b''.join(got) == LARGE


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ('mode', 'match'),
    [
        ('a', 'do not support appending'),
        ('ab', 'do not support appending'),
        ('rw', 'either for reading or for writing; open it twice'),
        ('r+', 'either for reading or for writing'),
        ('w+b', 'either for reading or for writing'),
        ('', "mode must be 'rb'"),
        ('b', "mode must be 'rb'"),
        ('rbt', "mode must be 'rb'"),
        ('wx', "mode must be 'rb'"),
        ('z', "mode must be 'rb'"),
        (None, "mode must be 'rb'"),
    ],
)
def test_modes_that_are_none(memory_conn: s3po.Connection, mode: Any, match: str) -> None:
    """The error names the alternative."""
    with pytest.raises(ConfigurationError, match=match):
        memory_conn.open(BUCKET, 'key', mode)


@pytest.mark.parametrize(
    ('mode', 'arguments', 'match'),
    [
        ('rb', {'encoding': 'utf-8'}, 'encoding is for text'),
        ('wb', {'newline': ''}, 'newline is for text'),
        ('wb', {'errors': 'strict'}, 'errors is for text'),
        ('rb', {'headers': {'a': 'b'}}, 'headers is for writing'),
        ('r', {'if_none_match': '*'}, 'if_none_match is for writing'),
        ('rb', {'read_ahead': -1}, 'read_ahead must be'),
        ('rb', {'block_size': 0}, 'block_size must be'),
        ('wb', {'read_ahead': 1}, 'read_ahead is for reading'),
        ('wb', {'version_id': 'v'}, 'version_id is for reading'),
        ('xb', {'if_match': 'etag'}, "mode 'x' means"),
        ('wb', {'block_size': 5 * MIB - 1}, 'block_size: multipart_chunksize must be at least 5,242,880'),
        ('wb', {'block_size': True}, 'block_size: multipart_chunksize must be a whole number'),
        ('wb', {'extra': {'Nonsense': 1}}, 'Nonsense'),
    ],
)
def test_arguments_of_the_other_mode(memory_conn: s3po.Connection, mode: str, arguments: dict[str, Any], match: str) -> None:
    """An argument that the mode does not support is rejected."""
    with pytest.raises(ConfigurationError, match=match):
        memory_conn.open(BUCKET, 'key', mode, **arguments)


def test_wrong_data(memory_conn: s3po.Connection) -> None:
    """Text in a binary file, or an object that is not a buffer, is a TypeError."""
    with memory_conn.open(BUCKET, 'key', 'wb') as file:
        with pytest.raises(TypeError, match="mode 'w' for text"):
            file.write('text')
        with pytest.raises(TypeError):
            file.write(5)
        with pytest.raises(TypeError, match='pickle the Connection'):
            pickle.dumps(file)
        assert repr(file) == '<S3Writer s3po://bucket/key at 0>'.replace('s3po:', 's3:')
    with memory_conn.open(BUCKET, 'key') as reader:
        with pytest.raises(ConfigurationError, match='chunk_size'):
            next(reader.iter_chunks(0))
        with pytest.raises(io.UnsupportedOperation):
            reader.write(b'')
    assert isinstance(reader, S3Reader)
    assert isinstance(file, S3Writer)


def test_no_warning_for_what_never_opened(memory_conn: s3po.Connection) -> None:
    """A reader or writer whose constructor failed logs nothing when it is collected."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(NotFound):
            memory_conn.open(BUCKET, 'missing')
        with pytest.raises(ConfigurationError):
            memory_conn.open(BUCKET, 'key', 'wb', block_size=1)
        gc.collect()
