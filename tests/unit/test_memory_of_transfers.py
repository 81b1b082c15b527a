"""What transfers hold in memory: bodies, parts and blocks stay within max_memory, and nothing waits for ever."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator

import gevent
import pytest

import s3po
import s3po.memory
from s3po.config import KIB, MIB
from s3po.memory import MemoryBudget, Room
from tests.support.faults import stored
from tests.support.memory import MemoryAnswer, MemoryTransport

BUCKET = 'bucket'
LIMIT = 12 * MIB
PART = 5 * MIB


@pytest.fixture
def conn(memory: MemoryTransport) -> Iterator[s3po.Connection]:
    """A connection whose transfers hold at most 12 MiB, in parts of 5 MiB; at the end they hold nothing."""
    config = s3po.TransferConfig(max_memory=LIMIT, multipart_chunksize=PART, multipart_threshold=PART)
    made = s3po.Connection(transport=memory, config=config, retries=0)
    yield made
    budget = made.memory_budget()
    settle()
    assert (budget.used_bytes, budget.stuck_bytes, budget.first, budget.lent) == (0, 0, None, {})


@pytest.fixture
def budget(conn: s3po.Connection) -> MemoryBudget:
    return conn.memory_budget()


def settle() -> None:
    for _ in range(20):
        gevent.sleep(0)


class Peak:
    """A callback that records the most bytes in use."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.used_bytes = 0

    def note(self, *_: object) -> None:
        self.used_bytes = max(self.used_bytes, self.budget.used_bytes)


def test_bodies(conn: s3po.Connection, memory: MemoryTransport, budget: MemoryBudget) -> None:
    """Bodies on their way into memory stay below the limit; handed over, they do not count, and one request is enough."""
    data = stored(memory, 'key', os.urandom(4 * MIB))
    peak = Peak(budget)
    memory.fault = peak.note
    with conn.batch(10) as batch:
        for _ in range(20):
            batch.download(BUCKET, 'key')

    assert batch.results() == [data] * 20
    assert 4 * MIB <= peak.used_bytes <= LIMIT
    assert memory.count('GetObject') == 20


def test_waiting_body_has_no_slot(conn: s3po.Connection, memory: MemoryTransport, budget: MemoryBudget) -> None:
    """While a download waits for memory, its requests do not count as in flight; it reads on when there is room."""
    data = stored(memory, 'key', os.urandom(4 * MIB))
    _, governor = conn._operations._wiring.resolve(BUCKET)
    with Room(budget) as room:
        room.fit(LIMIT)
        downloads = [gevent.spawn(conn.download, BUCKET, 'key') for _ in range(20)]
        settle()

        assert memory.count('GetObject') == 20
        assert not governor.is_busy(gevent.get_hub())
        assert not any(map(bool, (download.ready() for download in downloads)))
    assert [download.get(timeout=10) for download in downloads] == [data] * 20
    assert memory.count('GetObject') == 20


def test_long_wait_gives_the_connection_up(
    conn: s3po.Connection, memory: MemoryTransport, budget: MemoryBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long wait the response is closed, and requested again once there is room; that is no retry."""
    monkeypatch.setattr(s3po.memory, 'LONG_WAIT_S', 0.0)
    data = stored(memory, 'key', os.urandom(4 * MIB))
    answers: list[MemoryAnswer] = []
    get = memory.get_object

    def noted(*arguments: object, **options: object) -> MemoryAnswer:
        answers.append(get(*arguments, **options))  # type: ignore[arg-type]
        return answers[-1]

    monkeypatch.setattr(memory, 'get_object', noted)
    with Room(budget) as room:
        room.fit(LIMIT)
        download = gevent.spawn(conn.download, BUCKET, 'key')
        gevent.sleep(0.01)
        assert [answer.is_closed for answer in answers] == [True]
    assert download.get(timeout=10) == data
    assert len(answers) == 2


def test_small_bodies_do_not_wait(conn: s3po.Connection, memory: MemoryTransport, budget: MemoryBudget) -> None:
    """Bodies up to 64 KiB do not count."""
    data = stored(memory, 'key', os.urandom(64 * KIB))
    with Room(budget) as room:
        room.fit(LIMIT)

        assert conn.download(BUCKET, 'key') == data
        conn.upload(BUCKET, 'other', data)


@pytest.mark.parametrize('size_bytes', [LIMIT + 1, 2 * LIMIT])
def test_body_larger_than_the_limit(
    conn: s3po.Connection, memory: MemoryTransport, budget: MemoryBudget, size_bytes: int
) -> None:
    """A body larger than the limit is downloaded alone."""
    data = stored(memory, 'large', os.urandom(size_bytes))
    small = stored(memory, 'small', os.urandom(MIB))
    with conn.batch(5) as batch:
        for key in ('small', 'large', 'small', 'large', 'small'):
            batch.download(BUCKET, key)

    assert batch.results() == [small, data, small, data, small]


def test_ordered_target(conn: s3po.Connection, memory: MemoryTransport, budget: MemoryBudget) -> None:
    """A file object holds back only parts for which there is room, and always gets the first missing one."""
    data = stored(memory, 'key', os.urandom(16 * MIB))
    peak = Peak(budget)
    memory.fault = peak.note
    targets = [io.BytesIO() for _ in range(5)]
    with conn.batch(5) as batch:
        for target in targets:
            batch.download(BUCKET, 'key', target)

    assert [target.getvalue() for target in targets] == [data] * 5
    assert PART <= peak.used_bytes <= LIMIT


def test_target_that_downloads(conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A file object whose write() downloads another object gets memory for it, although its own download holds some."""
    data = stored(memory, 'key', os.urandom(11 * MIB))
    other = stored(memory, 'other', os.urandom(4 * MIB))

    class Target(io.BytesIO):
        def write(self, piece: bytes) -> int:  # type: ignore[override]
            assert conn.download(BUCKET, 'other') == other
            return super().write(piece)

    targets = [Target() for _ in range(4)]
    with conn.batch(4) as batch:
        for target in targets:
            batch.download(BUCKET, 'key', target)
    assert [target.getvalue() for target in targets] == [data] * 4


def pieces(data: bytes) -> Iterator[bytes]:
    for offset in range(0, len(data), 100 * KIB):
        yield data[offset : offset + 100 * KIB]


def test_streams(conn: s3po.Connection, memory: MemoryTransport, budget: MemoryBudget) -> None:
    """Parts of streams stay below the limit, apart from what short streams hold; each stream goes on with one part."""
    data = os.urandom(17 * MIB)
    peak = Peak(budget)
    memory.fault = peak.note
    with conn.batch(8) as batch:
        for number in range(8):
            batch.upload(BUCKET, f'key-{number}', pieces(data))

    assert peak.used_bytes <= LIMIT + PART
    memory.fault = None
    for number in range(8):
        assert memory.store.get(BUCKET, f'key-{number}').body == data


def test_stream_that_downloads(conn: s3po.Connection, memory: MemoryTransport) -> None:
    """An iterator that downloads gets memory, although the streams hold all of it."""
    data = stored(memory, 'key', os.urandom(4 * MIB))

    def downloading() -> Iterator[bytes]:
        for _ in range(4):
            yield conn.download(BUCKET, 'key')

    with conn.batch(8) as batch:
        for number in range(8):
            batch.upload(BUCKET, f'copy-{number}', downloading())
    assert memory.store.get(BUCKET, 'copy-7').body == data * 4


def test_stream_that_waits_for_downloads_of_others(
    conn: s3po.Connection, memory: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An iterator that waits for a batch of downloads ends, too, although the streams hold all memory."""
    monkeypatch.setattr(s3po.memory, 'STALL_S', 0.0)
    monkeypatch.setattr(s3po.memory, 'LONG_WAIT_S', 0.0)
    data = stored(memory, 'key', os.urandom(4 * MIB))

    def downloading() -> Iterator[bytes]:
        with conn.batch(4) as inner:
            for _ in range(4):
                inner.download(BUCKET, 'key')
        yield from inner.results()

    def begun() -> Iterator[bytes]:
        yield bytes(MIB)
        yield from downloading()

    with conn.batch(8) as batch:
        for number in range(8):
            batch.upload(BUCKET, f'copy-{number}', begun())
    assert memory.store.get(BUCKET, 'copy-7').body == bytes(MIB) + data * 4


def test_source_that_downloads(conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A file object whose read() downloads gets memory, also when its parts are sent side by side."""
    other = stored(memory, 'other', os.urandom(4 * MIB))

    class Source(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert conn.download(BUCKET, 'other') == other
            return super().read(size)

    data = os.urandom(11 * MIB)
    with conn.batch(4) as batch:
        for number in range(4):
            batch.upload(BUCKET, f'key-{number}', Source(data))
        for number in range(4):
            batch.upload(BUCKET, f'small-{number}', Source(data[: 2 * MIB]))
    assert all(memory.store.get(BUCKET, f'key-{number}').body == data for number in range(4))


def test_callbacks_that_open_files(conn: s3po.Connection, memory: MemoryTransport) -> None:
    """Callbacks that read and write files end, however many of them are open."""
    data = stored(memory, 'key', os.urandom(9 * MIB))

    def copy(_: bytes, number: int) -> None:
        with conn.open(BUCKET, 'key') as source, conn.open(BUCKET, f'copy-{number}', 'wb') as target:
            while piece := source.read(MIB):
                target.write(piece)

    with conn.batch(6) as batch:
        for number in range(6):
            batch.download(BUCKET, 'key', callback=lambda body, number=number: copy(body, number))
    assert all(memory.store.get(BUCKET, f'copy-{number}').body == data for number in range(6))


def test_reader_without_room(conn: s3po.Connection, memory: MemoryTransport, budget: MemoryBudget) -> None:
    """Without room, a reader fetches short ranges, one at a time; when it is closed, it holds nothing."""
    data = stored(memory, 'key', os.urandom(3 * MIB))
    with Room(budget) as room:
        room.fit(LIMIT)
        with conn.open(BUCKET, 'key') as file:
            assert file.read1() + file.read(2 * MIB) == data[: 2 * MIB + 128 * KIB]
            assert budget.used_bytes - LIMIT <= 256 * KIB
    settle()
    assert budget.used_bytes == 0


def test_reader_that_is_not_closed(conn: s3po.Connection, memory: MemoryTransport, budget: MemoryBudget) -> None:
    """The memory of a reader comes back when the garbage collector frees it."""
    stored(memory, 'key', os.urandom(3 * MIB))
    file = conn.open(BUCKET, 'key')
    file.read(MIB)
    assert budget.used_bytes > 0
    del file
    settle()
    assert budget.used_bytes == 0


def test_many_writers_in_turn(conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A greenlet that writes to many files in turn never waits for one of its own files."""
    data = os.urandom(PART + MIB)
    files = [conn.open(BUCKET, f'key-{number}', 'wb') for number in range(6)]
    for offset in range(0, len(data), MIB):
        for file in files:
            file.write(data[offset : offset + MIB])
    for file in files:
        file.close()
    assert all(memory.store.get(BUCKET, f'key-{number}').body == data for number in range(6))


@pytest.mark.parametrize('steps', range(1, 60, 3))
@pytest.mark.sampled(6)
def test_kills(conn: s3po.Connection, memory: MemoryTransport, budget: MemoryBudget, steps: int) -> None:
    """Transfers that are killed at any step, while they wait or run, give everything back; the others go on."""
    data = stored(memory, 'key', os.urandom(10 * MIB))
    transfers = [gevent.spawn(conn.download, BUCKET, 'key', io.BytesIO()) for _ in range(3)]
    transfers += [gevent.spawn(conn.upload, BUCKET, f'stream-{number}', pieces(data)) for number in range(3)]
    transfers += [gevent.spawn(conn.download, BUCKET, 'key') for _ in range(4)]
    for _ in range(steps):
        gevent.sleep(0)
    gevent.killall(transfers[::2])

    gevent.joinall(transfers[1::2], timeout=30, raise_error=True)
    assert transfers[-1].value == data


def test_deadline(conn: s3po.Connection, memory: MemoryTransport, budget: MemoryBudget) -> None:
    """A job that waits for memory ends at its deadline."""
    stored(memory, 'key', os.urandom(10 * MIB))
    with Room(budget) as room:
        room.fit(LIMIT)
        with conn.batch(5, on_error='collect', job_timeout_s=0.05) as batch:
            batch.download(BUCKET, 'key')
        [failed] = batch.failed
        assert isinstance(failed.error, s3po.DeadlineExceeded)
        assert budget.used_bytes == LIMIT


def test_max_memory_of_a_batch(conn: s3po.Connection, memory: MemoryTransport, budget: MemoryBudget) -> None:
    """A batch with max_memory counts its own jobs, instead of the connection's budget."""
    data = stored(memory, 'key', os.urandom(4 * MIB))
    with Room(budget) as room:
        room.fit(LIMIT)
        with conn.batch(5, max_memory=5 * MIB) as batch:
            jobs = [batch.download(BUCKET, 'key') for _ in range(5)]
            batch.upload(BUCKET, 'stream', pieces(data))
        assert all(job.value == data for job in jobs)
        assert budget.used_bytes == LIMIT


@pytest.mark.parametrize('value', [0, -1, 256, MIB - 1, 1.5e9, '256 MiB', True])
def test_bad_limit(conn: s3po.Connection, value: object) -> None:
    """A limit below a MiB is a mistake: the error names the argument and its unit."""
    with pytest.raises(s3po.ConfigurationError, match='max_memory'):
        s3po.TransferConfig(max_memory=value)  # type: ignore[arg-type]
    with pytest.raises(s3po.ConfigurationError, match='max_memory'):
        conn.batch(max_memory=value)  # type: ignore[arg-type]


def test_kept_bodies(conn: s3po.Connection, memory: MemoryTransport, caplog: pytest.LogCaptureFixture) -> None:
    """If the kept bodies exceed the limit, one warning says what to do instead."""
    stored(memory, 'key', os.urandom(4 * MIB))
    with caplog.at_level(logging.WARNING):
        for options in ({'keep_results': False}, {}):
            with conn.batch(5, **options) as batch:  # type: ignore[arg-type]
                for _ in range(9):
                    batch.download(BUCKET, 'key', callback=len)
        assert not caplog.records
        with conn.batch(5) as batch:
            for _ in range(9):
                batch.download(BUCKET, 'key')

    [record] = caplog.records
    assert all(word in record.getMessage() for word in ('callback=', 'keep_results=False', 'a path', '12 MiB'))
