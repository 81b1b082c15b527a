"""Streams between two threads or greenlets: bounded, complete or an error; no side waits for one that has ended."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import monkey
from hypothesis import given, settings
from hypothesis import strategies as st

import s3po
from s3po.body import pipes
from s3po.config import KIB, MIB
from s3po.errors import ConfigurationError, S3poError, SourceChanged, UploadError
from s3po.interfaces.streaming import S3StreamingDownload, S3StreamingUpload, upload_generator
from tests.conftest import BUCKET
from tests.support.memory import MemoryTransport
from tests.support.noise import noise

DATA = noise(20 * MIB + 11)


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_reads_are_full() -> None:
    """A read returns the requested number of bytes, whatever the sizes of writes and of the buffer."""
    stream = S3StreamingUpload(len(DATA), buffer_size=MIB)

    def produce() -> None:
        pieces = random.Random(1)
        offset = 0
        while offset < len(DATA):
            size = pieces.choice([3, 1000, 70_000, MIB])
            assert stream.write(DATA[offset : offset + size]) == len(DATA[offset : offset + size])
            offset += size
        stream.close()

    in_thread(produce)
    parts = []
    while part := stream.read(8 * MIB):
        parts.append(part)
    assert [len(part) for part in parts] == [8 * MIB, 8 * MIB, 4 * MIB + 11]
    assert b''.join(parts) == DATA
    assert stream.error is None
    assert stream.read(1) == b''


@given(
    st.lists(st.integers(0, 5000), max_size=30), st.lists(st.integers(1, 9000), min_size=1, max_size=10), st.integers(1, 5000)
)
@settings(max_examples=settings().max_examples * 4 // 10)
def test_any_sizes(written: list[int], read: list[int], buffer_size: int) -> None:
    """The bytes are read in order; every read but the last is full."""
    content = DATA[: sum(written)]
    stream = S3StreamingUpload(None, buffer_size=buffer_size)

    def produce() -> None:
        offset = 0
        for size in written:
            stream.write(content[offset : offset + size])
            offset += size
        stream.close()

    in_thread(produce)
    got, number = b'', 0
    while True:
        size = read[number % len(read)]
        piece = stream.read(size)
        got += piece
        number += 1
        if len(piece) < size:
            break
    assert got == content


def test_writer_waits_at_the_bound() -> None:
    """A producer that is faster than its consumer waits until there is room in the buffer."""
    stream = S3StreamingUpload(buffer_size=1000)
    written: list[int] = []

    def produce() -> None:
        for _ in range(10):
            stream.write(b'x' * 500)
            written.append(500)
        stream.close()

    producer = in_thread(produce)
    time.sleep(0.05)
    assert len(written) == 2
    assert stream.read() == b'x' * 5000
    producer.join(5)
    assert len(written) == 10


def test_consumer_dies() -> None:
    """If the reading thread has ended, write() raises."""
    for size in (0, 10):
        stream = S3StreamingUpload(buffer_size=1000, stall_timeout_s=0.3)

        def consume(stream: S3StreamingUpload = stream, size: int = size) -> None:
            if size:
                stream.read(size)

        in_thread(consume)
        with pytest.raises(UploadError, match='reading thread ended|no thread reads from the stream for 0.3 s'):
            for _ in range(100):
                stream.write(b'x' * 500)
        assert isinstance(stream.error, UploadError)
        with pytest.raises(UploadError):
            stream.write(b'x')


def test_producer_dies() -> None:
    """If the writing thread has ended without close(), read() raises, so that nothing is published."""
    stream = S3StreamingUpload()
    in_thread(lambda: stream.write(b'x' * 10)).join()
    with pytest.raises(UploadError, match='writing thread ended without close'):
        stream.read(100)

    never = S3StreamingUpload(stall_timeout_s=0.1)
    with pytest.raises(UploadError, match='no thread writes to the stream'):
        never.read(1)


def test_sizes() -> None:
    """Fewer bytes than file_size fail the reader; more fail the writer."""
    short = S3StreamingUpload(10)
    short.write(b'123')
    short.close()
    with pytest.raises(SourceChanged, match='closed after 3 bytes of 10'):
        short.read()
    long = S3StreamingUpload(2)
    with pytest.raises(ValueError, match='exceeds file_size=2'):
        long.write(b'123')
    with pytest.raises(S3poError):
        long.read()


def test_closing_and_failing() -> None:
    """close() can be called twice; write() after it raises; an exception in the `with` block fails the stream."""
    stream = S3StreamingUpload()
    stream.write(b'x')
    stream.close()
    stream.close()
    with pytest.raises(ValueError, match='after close'):
        stream.write(b'x')
    assert stream.read() == b'x'
    assert (stream.readable(), stream.writable(), stream.seekable()) == (True, True, False)
    with pytest.raises(ZeroDivisionError), S3StreamingUpload() as failing:
        raise ZeroDivisionError
    with pytest.raises(UploadError, match='ZeroDivisionError'):
        failing.read(1)
    with S3StreamingUpload() as fine:
        fine.write(b'y')
    assert fine.read() == b'y'
    fine.prune(3)
    fine.prune(4)
    assert fine.bytes_sent == 7
    assert 'closed' in repr(fine)


@pytest.mark.parametrize('kind', [S3StreamingUpload, S3StreamingDownload])
def test_error_can_be_assigned(kind: type[pipes.Pipe]) -> None:
    """`stream.error = error` fails the stream: both sides raise. Other values are ignored, and the first error is kept."""
    stream = kind()
    stream.write(b'x')
    for ignored in (None, 'text', ValueError):
        stream.error = ignored
    assert stream.error is None
    cause = ZeroDivisionError()
    stream.error = cause
    stream.error = KeyError()

    assert stream.error is cause
    for use in (lambda: stream.write(b'x'), lambda: stream.read(1), stream.read1, lambda: next(iter(stream))):
        with pytest.raises(s3po.S3poError, match='ZeroDivisionError'):
            use()


@pytest.mark.parametrize('side', ['reader', 'writer'])
def test_assigned_error_wakes_the_other_side(monkeypatch: pytest.MonkeyPatch, side: str) -> None:
    """A side that waits raises the error that the other side assigns."""
    monkeypatch.setattr(pipes, 'LOOK_S', 3600.0)
    stream = S3StreamingUpload(buffer_size=10)
    waiting = gevent.spawn(stream.read, 1) if side == 'reader' else gevent.spawn(stream.write, b'x' * 20)
    gevent.sleep(0)
    stream.error = ZeroDivisionError()

    with pytest.raises(UploadError, match='ZeroDivisionError'):
        waiting.get(timeout=10)


def test_state() -> None:
    """closed, tell(), processed, file_size and buffer_size during a transfer."""
    up, down = S3StreamingUpload(10), S3StreamingDownload(None, None)
    assert (up.file_size, down.file_size, up.buffer_size, down.buffer_size) == (10, None, 16 * MIB, 16 * MIB)
    for stream in (up, down):
        stream.write(b'0123456789')
        assert (stream.tell(), stream.processed, stream.closed) == (0, 0, False)
        assert stream.read(3) == b'012'
        assert stream.read1(4) == b'3456'
        assert (stream.tell(), stream.closed) == (7, False)
        stream.close()
        assert stream.closed
        assert list(stream) == [b'789']
        assert stream.tell() == 10
    assert (up.processed, down.processed) == (0, 10)
    up.prune(8)
    assert (up.processed, up.bytes_sent) == (8, 8)


def start_natively(work: Callable[[], object]) -> None:
    monkey.get_original('_thread', 'start_new_thread')(work, ())


@pytest.mark.parametrize('reader', ['thread', 'greenlet'])
@pytest.mark.parametrize('writer', ['thread', 'greenlet'])
def test_each_side_wakes_the_other(monkeypatch: pytest.MonkeyPatch, writer: str, reader: str) -> None:
    """Each side wakes the other at once, and other greenlets of a waiting thread run."""
    monkeypatch.setattr(pipes, 'LOOK_S', 3600.0)
    starts: dict[str, Callable[[Callable[[], object]], object]] = {'thread': start_natively, 'greenlet': gevent.spawn}
    there, back = S3StreamingUpload(buffer_size=100), S3StreamingUpload(buffer_size=100)
    ended: list[str] = []

    def write() -> None:
        for number in range(200):
            there.write(bytes([number]) * 150)
            assert back.read(1) == b'x'
        there.close()
        ended.append('writer')

    def read() -> None:
        for number in range(200):
            assert there.read(150) == bytes([number]) * 150
            back.write(b'x')
        assert there.read() == b''
        ended.append('reader')

    with gevent.Timeout(30):
        starts[reader](read)
        starts[writer](write)
        while len(ended) < 2:
            gevent.sleep(0.01)


def test_a_kill_ends_a_wait() -> None:
    """A kill ends a wait, and the other side does not hang."""
    stream = S3StreamingUpload()
    reading = gevent.spawn(stream.read, 10)
    gevent.sleep(0.01)
    reading.kill()

    with pytest.raises(UploadError, match='reading thread ended'):
        stream.write(b'x')


def test_between_greenlets() -> None:
    """Both sides can be greenlets."""
    stream = S3StreamingDownload(buffer_size=10 * KIB)

    def produce() -> None:
        with stream:
            for offset in range(0, 100 * KIB, 1000):
                stream.write(DATA[: 100 * KIB][offset : offset + 1000])

    gevent.spawn(produce)
    assert b''.join(stream) == DATA[: 100 * KIB]


@pytest.mark.parametrize('arguments', [{'file_size': -1}, {'file_size': True}, {'buffer_size': 0}, {'stall_timeout_s': 0}])
def test_arguments(arguments: dict[str, Any]) -> None:
    """Each error names its argument."""
    with pytest.raises(ConfigurationError, match=next(iter(arguments))):
        S3StreamingUpload(**arguments)


# ---------------------------------------------------------------------- upload_generator


def test_generator(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """Small pieces are buffered up to a growing limit; send() returns the number of bytes sent; the end sends the rest."""
    called: list[str] = []
    upload = upload_generator(memory_conn, BUCKET, 'key', callback=lambda: called.append('x'), content_type='a/b')
    assert upload.send(None) == 0
    taken = [upload.send(b'x' * 1000) for _ in range(200)]
    assert set(taken[:4]) == {0}
    assert taken[4] == 5000
    assert max(taken) <= 82_000
    rest = upload.send(None)
    assert sum(taken) + rest == 200_000
    assert memory_conn.download(BUCKET, 'key') == b'x' * 200_000
    assert memory_conn.head(BUCKET, 'key').content_type == 'a/b'
    upload.close()
    assert called == ['x']


def test_generator_of_confirmed_bytes(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """confirmed=True: send() returns what the store has confirmed since the last send(); a part that fails counts once."""
    failed: list[int] = []
    stored: list[int] = []

    def fault(operation: str, key: str, part: int | None) -> None:
        if part == 2 and not failed:
            failed.append(part)
            raise s3po.ServerError('once', status=500, code='InternalError')

    def count_stored() -> int:
        return sum(len(part.body) for upload in memory.store.uploads(BUCKET) for part in upload.parts.values())

    memory.fault = fault
    upload = upload_generator(memory_conn, BUCKET, 'key', confirmed=True)
    assert upload.send(None) == 0
    total = 0
    for offset in range(0, len(DATA), MIB):
        total += upload.send(DATA[offset : offset + MIB])
        stored.append(total)
        assert total <= count_stored()
    total += upload.send(None)
    upload.close()

    assert failed == [2]
    assert len(set(stored)) > 1
    assert total == len(DATA) == memory_conn.head(BUCKET, 'key').size_bytes


@pytest.mark.parametrize('pieces', [[], [b''], [b'data'], [b'd', b'ata']])
def test_generator_of_few_bytes(memory_conn: s3po.Connection, pieces: list[bytes]) -> None:
    """Bytes that stay below the write buffer are uploaded, although the stream is closed before the upload begins."""
    upload = upload_generator(memory_conn, BUCKET, 'key')
    for piece in (None, *pieces, None):
        upload.send(piece)
    upload.close()
    assert memory_conn.download(BUCKET, 'key') == b''.join(pieces)


def test_generator_of_one_confirmed_request(memory_conn: s3po.Connection) -> None:
    """A small object is confirmed at the end, at once."""
    upload = upload_generator(memory_conn, BUCKET, 'key', confirmed=True)
    upload.send(None)
    assert [upload.send(b'x' * 5000), upload.send(b'x' * 5000), upload.send(None)] == [0, 0, 10_000]
    upload.close()


def test_generator_that_is_closed_early(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """If the generator is closed early, nothing is published, and no upload is left."""
    called: list[str] = []
    upload = upload_generator(memory_conn, BUCKET, 'key', callback=lambda: called.append('x'))
    upload.send(None)
    upload.send(DATA)
    upload.close()

    assert called == ['x']
    assert not memory_conn.exists(BUCKET, 'key')
    assert memory.store.uploads(BUCKET) == []


def test_generator_of_a_wrong_size(memory_conn: s3po.Connection) -> None:
    """Fewer bytes than file_size are an error at the end; more are an error at once."""
    upload = upload_generator(memory_conn, BUCKET, 'key', file_size=10)
    upload.send(None)
    upload.send(b'123')
    with pytest.raises(SourceChanged):
        upload.send(None)
    upload = upload_generator(memory_conn, BUCKET, 'key', file_size=10)
    upload.send(None)
    with pytest.raises(ValueError, match='exceeds file_size=10'):
        upload.send(b'x' * 5000)
    assert not memory_conn.exists(BUCKET, 'key')


def test_generator_whose_upload_fails(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """If the upload fails, send() raises its error."""

    def fault(operation: str, key: str, part: int | None) -> None:
        raise s3po.AccessDenied('no', status=403, code='AccessDenied')

    memory.fault = fault
    upload = upload_generator(memory_conn, BUCKET, 'key')
    upload.send(None)
    with pytest.raises(s3po.AccessDenied):
        for _ in range(100):
            upload.send(DATA[:MIB])
        upload.send(None)
