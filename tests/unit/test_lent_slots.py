"""Transfers whose source or target sends requests itself never wait for slots that they occupy."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.governor import Governor
from tests.conftest import BUCKET, impatient
from tests.support.memory import MemoryTransport

SMALL = os.urandom(300_000)
LARGE = os.urandom(21 * MIB)


@pytest.fixture(params=[1, None])
def conn(memory: MemoryTransport, request: pytest.FixtureRequest) -> Iterator[s3po.Connection]:
    """A connection with few slots, or with the default number."""
    config = s3po.TransferConfig(max_requests=request.param)
    with s3po.Connection(transport=memory, retry=impatient(), config=config) as connection, gevent.Timeout(60):
        yield connection


def test_upload_of_a_reader(conn: s3po.Connection) -> None:
    """An object is uploaded in parts from a reader of the same connection."""
    conn.upload(BUCKET, 'key', LARGE)
    with conn.open(BUCKET, 'key') as reader:
        conn.upload(BUCKET, 'copy', reader)

    assert conn.download(BUCKET, 'copy') == LARGE


def test_uploads_of_readers_in_a_batch(conn: s3po.Connection) -> None:
    """Many uploads from readers run at once, and so do their callbacks, which open readers."""
    conn.upload(BUCKET, 'key', LARGE[: 9 * MIB])
    seen: list[bytes] = []

    def look(result: Any) -> None:
        with conn.open(BUCKET, result.key) as reader:
            seen.append(reader.read(10))

    with conn.batch(10) as batch:
        for number in range(10):
            batch.upload(BUCKET, f'copy{number}', conn.open(BUCKET, 'key'), callback=look)

    assert seen == [LARGE[:10]] * 10


def test_upload_of_layers_around_a_reader(conn: s3po.Connection) -> None:
    """A file that decodes a reader counts as one that sends requests, and so does an iterator that opens one."""
    conn.upload(BUCKET, 'key', gzip.compress(SMALL))

    def pieces() -> Iterator[bytes]:
        with conn.open(BUCKET, 'key') as reader:
            yield from iter(lambda: reader.read(1000), b'')

    with conn.open(BUCKET, 'key') as reader:
        conn.upload(BUCKET, 'copy', gzip.GzipFile(fileobj=reader))
    conn.upload(BUCKET, 'same', pieces())

    assert conn.download(BUCKET, 'copy') == SMALL
    assert conn.download(BUCKET, 'same') == conn.download(BUCKET, 'key')


@pytest.mark.parametrize('size_bytes', [300_000, 9 * MIB, 21 * MIB])
def test_download_into_a_writer(conn: s3po.Connection, size_bytes: int) -> None:
    """An object is downloaded into a writer of the same connection."""
    conn.upload(BUCKET, 'key', LARGE[:size_bytes])
    with conn.open(BUCKET, 'copy', 'wb', block_size=5 * MIB) as writer:
        writer.write(bytes(5 * MIB - 1))
        conn.download(BUCKET, 'key', writer)

    assert conn.download(BUCKET, 'copy') == bytes(5 * MIB - 1) + LARGE[:size_bytes]


def test_small_downloads_into_a_writer(conn: s3po.Connection) -> None:
    """Small objects are appended to one writer, whose parts are sent meanwhile."""
    conn.upload(BUCKET, 'key', LARGE[:MIB])
    with conn.open(BUCKET, 'copy', 'wb', block_size=5 * MIB) as writer:
        for _ in range(21):
            conn.download(BUCKET, 'key', writer)

    assert conn.download(BUCKET, 'copy') == LARGE[:MIB] * 21


def test_memory_lends_no_slot(memory: MemoryTransport) -> None:
    """A BytesIO sends no requests, so its upload keeps its slot."""
    lent = []

    class File(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            lent.append(governor.free.counter)
            return super().read(size)

    with s3po.Connection(transport=memory, config=s3po.TransferConfig(max_requests=1)) as connection:
        governor = connection._wiring.governor()
        connection.upload(BUCKET, 'key', File(SMALL))
        connection.upload(BUCKET, 'key', io.BytesIO(SMALL))

        assert set(lent) == {1}
        assert repr(governor) == '<Governor width=1 free=1>'


def test_last_loan() -> None:
    """An attempt that needs its slot no more does not wait for it at the end of the loan."""
    governor = Governor(1)
    other = governor.slot('bucket')
    with governor.slot('bucket'), governor.lent('bucket', is_last=True):
        other.__enter__()
    assert governor.occupied == 1
    other.end()

    assert (governor.free.counter, governor.surplus, governor.occupied) == (1, 0, 0)


@pytest.mark.parametrize('error', [OSError('unreadable'), gevent.GreenletExit()], ids=['error', 'kill'])
def test_failure_within_a_loan(error: BaseException) -> None:
    """After an exception no slot is acquired again, and the end of the attempt releases none."""
    governor = Governor(1)
    with pytest.raises(type(error)), governor.slot('bucket'), governor.lent('bucket'):
        raise error

    assert governor.free.counter - governor.surplus == 1


def test_kill_after_a_loan() -> None:
    """A greenlet that is killed while it waits for its slot again releases no slot that it does not have."""
    governor = Governor(1)

    def lend() -> None:
        with governor.slot('bucket'), governor.lent('bucket'):
            gevent.sleep(0)

    lender = gevent.spawn(lend)
    gevent.sleep(0)
    with governor.slot('bucket'):
        gevent.sleep(0.01)
        lender.kill()

    assert (governor.free.counter, governor.surplus) == (1, 0)
