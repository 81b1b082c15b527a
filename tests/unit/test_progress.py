"""Progress: what the function gets, when, and that it cannot harm a transfer. The clock is real; no duration is asserted."""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.errors import ConfigurationError, NetworkError
from s3po.jobs import Call
from s3po.model import ObjectRef, ProgressEvent
from s3po.observer import Activity
from s3po.progress import Meter, displays, meter, metered, size_of
from s3po.progress.displays import Line, Lines, RichBar, WidgetBar, display, text_of
from tests.support.memory import MemoryTransport

REF = ObjectRef(bucket='bucket', key='key')
ACTIVITY = Activity(operation='GetObject', bucket='bucket', key='key')
PART = 5 * MIB
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)


def width() -> int:
    return 8


def event(**fields: Any) -> ProgressEvent:
    given = {
        'jobs_done': 12,
        'jobs_total': 50,
        'bytes_done': 3 * MIB,
        'bytes_total': 8 * MIB,
        'failed': 1,
        'in_flight': 5,
        'width': 8,
        'seconds': 2.0,
        'bytes_per_s': 1.5 * MIB,
        'jobs_per_s': 6.0,
        'eta_s': 3.3,
    }
    return ProgressEvent(**{**given, **fields})


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events at once, instead of after 0.1 s."""
    monkeypatch.setattr(meter, 'EVERY_S', 0.0)


@pytest.fixture
def events() -> list[ProgressEvent]:
    return []


@pytest.fixture
def conn(memory: MemoryTransport) -> s3po.Connection:
    return s3po.Connection(transport=memory, config=IN_PARTS, retries=2)


# --- counting


def test_one_transfer(events: list[ProgressEvent]) -> None:
    with metered(events.append, width) as tally:
        tally.sized(ACTIVITY, 10)
        tally.moved(ACTIVITY, 4)
        gevent.sleep(0.01)
        tally.settle(10)

    first, last = events[0], events[-1]
    assert (first.bytes_done, first.bytes_total, first.jobs_done, first.jobs_total, first.in_flight) == (4, 10, 0, 1, 1)
    assert (last.bytes_done, last.bytes_total, last.jobs_done, last.failed, last.in_flight) == (10, 10, 1, 0, 0)
    assert [each.is_last for each in events].count(True) == 1
    assert last.is_last
    assert last.eta_s == 0.0
    assert last.width == 8


def test_a_failed_transfer(events: list[ProgressEvent]) -> None:
    """Its bytes are taken back, also from the total."""
    with pytest.raises(NetworkError), metered(events.append, width, 10) as tally:
        tally.moved(ACTIVITY, 4)
        raise NetworkError('lost')

    assert (events[-1].bytes_done, events[-1].bytes_total, events[-1].failed, events[-1].jobs_done) == (0, 0, 1, 1)


def test_remaining_time_is_known_with_the_response_head() -> None:
    """Once the head of the last response has told a size, the event has the total and, with a rate, the remaining time."""
    counted = Meter(lambda event: None, width)
    jobs = [counted.add(None), counted.add(None)]
    with jobs[0], jobs[1]:
        jobs[0].sized(ACTIVITY, 100)
        jobs[0].moved(ACTIVITY, 50)
        unknown = counted._event(is_last=False)
        jobs[1].sized(ACTIVITY, 300)
        known = counted._event(is_last=False)

    assert (unknown.bytes_total, unknown.bytes_done) == (None, 50)
    assert known.bytes_total == 400
    assert known.eta_s == pytest.approx(350 / known.bytes_per_s)
    counted.close()


def test_totals_are_unknown_until_all_sizes_are_known() -> None:
    found: list[ProgressEvent] = []
    counted = Meter(found.append, width)
    small, large = counted.add(5), counted.add(None)

    assert counted._event(is_last=False).bytes_total is None
    with large:
        large.sized(ACTIVITY, 7)

        assert counted._event(is_last=False).bytes_total == 12

        large.settle(8)
    large.end(has_failed=False)
    small.end(has_failed=True)

    assert counted._event(is_last=False).bytes_total == 8
    counted.close()


def test_a_job_that_is_carried_out_twice() -> None:
    counted = Meter(lambda _: None, width)
    tally = counted.add(5)
    with pytest.raises(NetworkError), tally:
        tally.moved(ACTIVITY, 3)
        raise NetworkError('lost')
    with tally:
        tally.moved(ACTIVITY, 5)
        tally.settle(5)
    tally.end(has_failed=False)
    tally.end(has_failed=True)
    # A part that was cancelled reports later.
    tally.moved(ACTIVITY, -5)

    last = counted._event(is_last=True)
    assert (last.bytes_done, last.bytes_total, last.jobs_done, last.failed, last.in_flight) == (5, 5, 1, 0, 0)
    counted.close()


def test_rate_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate is that of the last five seconds; the last event has the average."""
    clock = [100.0]
    monkeypatch.setattr(meter, 'monotonic', lambda: clock[0])
    counted = Meter(lambda _: None, width)
    tally = counted.add(1000)
    tally.__enter__()
    for second in range(10):
        clock[0] += 1
        tally.moved(ACTIVITY, 10 if second < 5 else 50)
        found = counted._event(is_last=False)

    assert found.bytes_per_s == 50
    assert found.eta_s == (1000 - 300) / 50
    assert counted._event(is_last=True).bytes_per_s == 30

    tally.moved(ACTIVITY, -300)

    assert counted._event(is_last=False).bytes_per_s == 0
    assert counted._event(is_last=False).eta_s is None
    counted.close()


def test_rate_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate after a pause, in which there were no events, is not that of the pause."""
    clock = [100.0]
    monkeypatch.setattr(meter, 'monotonic', lambda: clock[0])
    counted = Meter(lambda _: None, width)
    with counted.add(1000) as tally:
        for step in (1, 600, 2, 2):
            clock[0] += step
            tally.moved(ACTIVITY, 100)
            found = counted._event(is_last=False)

    # The first bytes after the pause may be those of the whole pause.
    assert 200 / 5 <= found.bytes_per_s <= 201 / 5
    counted.close()


def test_remaining_time_of_jobs_without_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(meter, 'monotonic', lambda: clock[0])
    counted = Meter(lambda _: None, width)
    tallies = [counted.add(0) for _ in range(4)]
    clock[0] += 2
    tallies[0].end(has_failed=False)

    found = counted._event(is_last=False)
    assert (found.jobs_per_s, found.eta_s, found.bytes_total) == (0.5, 6.0, 0)
    counted.close()


# --- the function


def test_at_most_ten_a_second(monkeypatch: pytest.MonkeyPatch, events: list[ProgressEvent]) -> None:
    """There is one event per interval, however many bytes move."""
    monkeypatch.setattr(meter, 'EVERY_S', 0.1)
    with metered(events.append, width) as tally:
        for _ in range(1000):
            tally.moved(ACTIVITY, 1)
            gevent.sleep(0)

    assert len(events) <= 1 + events[-1].seconds / 0.1


def test_an_error_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: ProgressEvent) -> None:
        raise ValueError('mine')

    with metered(fail, width) as tally:
        for _ in range(3):
            tally.moved(ACTIVITY, 1)
            gevent.sleep(0.01)

    assert [record.message.partition(';')[0] for record in caplog.records] == ['the progress function failed']
    assert 'mine' in caplog.text


def test_a_slow_function_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, 'CLOSE_S', 0.0)
    done = gevent.event.Event()
    seen: list[bool] = []

    def wait(found: ProgressEvent) -> None:
        seen.append(found.is_last)
        done.wait()

    with metered(wait, width) as tally:
        tally.moved(ACTIVITY, 1)
        gevent.sleep(0.01)

    assert seen == [False]

    done.set()
    gevent.sleep(0.01)

    assert seen == [False, True]


def test_a_slow_function_does_not_delay_the_end_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor if no greenlet runs any more when the end comes."""
    monkeypatch.setattr(meter, 'CLOSE_S', 0.0)
    done = gevent.event.Event()
    seen: list[ProgressEvent] = []

    def wait(found: ProgressEvent) -> None:
        done.wait()
        seen.append(found)

    counted = Meter(wait, width)
    counted.close()

    assert not seen

    done.set()
    gevent.sleep(0.01)

    assert [found.is_last for found in seen] == [True]


def test_no_event_after_the_last_one(events: list[ProgressEvent]) -> None:
    """A file may be closed in another thread than its progress runs in."""
    counted = Meter(events.append, width)
    with counted.add(5) as tally:
        gevent.sleep(0.01)
        tally.move(5)
        gevent.get_hub().threadpool.apply(counted.close)
    gevent.sleep(0.01)

    assert [found.is_last for found in events].index(True) == len(events) - 1


@pytest.mark.parametrize(
    'error', [gevent.Timeout(3), asyncio.CancelledError(), gevent.GreenletExit()], ids=['timeout', 'cancelled', 'kill']
)
def test_errors_that_are_no_exception(conn: s3po.Connection, error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    """They are the function's too, and do not end the transfer. (A kill ends the function.)"""

    def fail(_: ProgressEvent) -> None:
        raise error

    conn.upload('bucket', 'key', b'content', progress=fail)
    with conn.batch(2, progress=fail) as batch:
        batch.download('bucket', 'key', callback=lambda _: gevent.sleep(0.01))

    assert batch.report().succeeded == 1
    assert 'Traceback' not in capsys.readouterr().err


class Seen(list[ProgressEvent]):
    """A function that is false while it is empty."""

    def __call__(self, found: ProgressEvent) -> None:
        self.append(found)


def test_a_function_that_is_false(conn: s3po.Connection) -> None:
    seen = [Seen() for _ in range(5)]
    with conn.batch(2, progress=seen[0]) as batch:
        batch.upload('bucket', 'key', b'12345', progress=seen[1])
    conn.download('bucket', 'key', progress=seen[2])
    with conn.open('bucket', 'key', progress=seen[3]) as reader, conn.open('bucket', 'copy', 'wb', progress=seen[4]) as writer:
        writer.write(reader.read())

    assert [found[-1].bytes_done for found in seen] == [5] * 5


def test_coroutine_functions(conn: s3po.Connection) -> None:
    """Nothing would await them."""

    async def show(_: ProgressEvent) -> None: ...

    class Shown:
        async def __call__(self, _: ProgressEvent) -> None: ...

    for wrong in (show, functools.partial(show), Shown()):
        with pytest.raises(ConfigurationError, match='coroutine function'):
            conn.batch(progress=wrong)


def test_nothing_is_left_of_a_meter_that_is_not_closed(monkeypatch: pytest.MonkeyPatch, events: list[ProgressEvent]) -> None:
    """Its greenlet ends when nothing happens any more, and begins again with the next byte."""
    monkeypatch.setattr(meter, 'UNCHANGED_EVERY_S', 0.0)
    counted = Meter(events.append, width)
    tally = counted.add(5)
    assert counted._ticker is not None
    counted._ticker.join(10)

    assert counted._ticker.dead

    with tally:
        tally.moved(ACTIVITY, 5)
    assert counted._ticker is not None
    counted._ticker.join(10)

    assert events[-1].bytes_done == 5


@pytest.mark.parametrize('wrong', ['yes', 1, {'function': 'os:getcwd'}])
def test_wrong_argument(conn: s3po.Connection, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match='progress must be True, or a function'):
        conn.upload('bucket', 'key', b'data', progress=wrong)
    with pytest.raises(ConfigurationError, match='progress must be True, or a function'):
        conn.batch(2, progress=wrong)


# --- of a connection


@pytest.mark.parametrize('size_bytes', [1000, 11 * MIB])
def test_upload_and_download(
    conn: s3po.Connection, events: list[ProgressEvent], tmp_path: pathlib.Path, size_bytes: int
) -> None:
    data = b'x' * size_bytes
    (tmp_path / 'file').write_bytes(data)
    calls: list[Callable[[], object]] = [
        lambda: conn.upload('bucket', 'key', data, progress=events.append),
        lambda: conn.upload('bucket', 'key', iter([data]), progress=events.append),
        lambda: conn.upload_file('bucket', 'key', tmp_path / 'file', progress=events.append),
        lambda: conn.download('bucket', 'key', progress=events.append),
        lambda: conn.download_file('bucket', 'key', tmp_path / 'target', progress=events.append, timeout_s=60),
    ]
    for call in calls:
        events.clear()
        call()

        assert (events[-1].bytes_done, events[-1].bytes_total, events[-1].is_last) == (size_bytes, size_bytes, True)


def test_no_progress_calls_nothing(conn: s3po.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Meter, '__init__', lambda *_: pytest.fail('there is no progress'))
    with conn.batch(2) as batch:
        batch.upload('bucket', 'key', b'data', progress=None)
        batch.upload('bucket', 'key', b'data', progress=False)
    conn.upload('bucket', 'key', b'data')


def test_batch(conn: s3po.Connection, events: list[ProgressEvent]) -> None:
    """Sizes of uploads are known at once; copies and deletions count too; so do failures."""
    with conn.batch(3, progress=events.append, on_error='collect') as batch:
        for number in range(5):
            batch.upload('bucket', f'key{number}', b'12345')
        batch.wait()
        batch.download('bucket', 'key0')
        batch.copy('bucket', 'key0', 'bucket', 'copy')
        batch.delete('bucket', 'key1')
        batch.download('bucket', 'missing')

    last = events[-1]
    assert (last.jobs_done, last.jobs_total, last.failed, last.in_flight) == (9, 9, 1, 0)
    assert (last.bytes_done, last.bytes_total) == (35, 35)
    assert [each.is_last for each in events].count(True) == 1
    assert 'observer' not in batch.failed[0].options


def test_batch_that_is_cancelled(conn: s3po.Connection, events: list[ProgressEvent]) -> None:
    gate = gevent.event.Event()
    with conn.batch(1, progress=events.append) as batch:
        batch.upload('bucket', 'key', b'12345', callback=lambda _: gate.wait())
        batch.upload('bucket', 'key', b'12345')
        gevent.sleep(0.01)
        gevent.spawn_later(0.01, gate.set)
        batch.cancel(grace_s=10)

    assert (events[-1].jobs_done, events[-1].failed, events[-1].bytes_done, events[-1].bytes_total) == (2, 1, 5, 5)


def test_job_with_its_own(conn: s3po.Connection, events: list[ProgressEvent]) -> None:
    own: list[ProgressEvent] = []
    with conn.batch(1, progress=events.append) as batch:
        batch.upload('bucket', 'key', b'12345', progress=own.append)
        batch.upload('bucket', 'key', b'12345')

    assert (own[-1].bytes_done, own[-1].jobs_total) == (5, 1)
    assert (events[-1].bytes_done, events[-1].jobs_total) == (10, 2)


def test_calls_in_files_have_no_progress() -> None:
    call = Call('upload_file', REF, {'path': '/a', 'progress': print})

    assert call.to_json()['options'].keys() == {'path'}
    assert call.to_json()['lost'] == []
    assert call.identity == Call('upload_file', REF, {'path': '/a'}).identity


@pytest.mark.parametrize(
    ('operation', 'options', 'size_bytes'),
    [
        ('delete', {}, 0),
        ('download', {}, None),
        ('copy', {}, None),
        ('upload', {'source': b'abc'}, 3),
        ('upload', {'source': memoryview(b'abc').cast('B')}, 3),
        ('upload', {'source': 'abc'}, 3),
        ('upload', {'source': 'äöü'}, None),
        ('upload', {'source': io.BytesIO(b'abc')}, None),
        ('upload', {'source': b'abc', 'compress': 'gzip'}, None),
        ('upload', {'source': pathlib.Path('/no/such/file')}, None),
        ('upload_file', {'path': '/proc/cpuinfo'}, None),
        ('upload_file', {'path': __file__}, pathlib.Path(__file__).stat().st_size),
        ('upload_file', {'path': 'a\0b'}, None),
    ],
)
def test_size_of(operation: str, options: dict[str, Any], size_bytes: int | None) -> None:
    assert size_of(Call(operation, REF, options)) == size_bytes


@pytest.mark.parametrize('size_bytes', [1000, 11 * MIB])
def test_files(conn: s3po.Connection, events: list[ProgressEvent], size_bytes: int) -> None:
    with conn.open('bucket', 'key', 'wb', progress=events.append) as writer:
        writer.write(b'x' * size_bytes)

    assert (events[-1].bytes_done, events[-1].bytes_total, events[-1].is_last) == (size_bytes, size_bytes, True)

    events.clear()
    with conn.open('bucket', 'key', progress=events.append) as reader:
        gevent.sleep(0.01)

        assert events[-1].bytes_total == size_bytes

        while reader.read(PART):
            pass

    assert (events[-1].bytes_done, events[-1].bytes_total, events[-1].is_last) == (size_bytes, size_bytes, True)


def test_files_that_are_read_twice(conn: s3po.Connection, memory: MemoryTransport, events: list[ProgressEvent]) -> None:
    """The total is never less than what was transferred."""
    conn.upload('bucket', 'key', bytes(MIB))
    with conn.open('bucket', 'key', progress=events.append) as file:
        file.read()
        file.seek(0)
        file.read()

    assert events[-1].bytes_done > MIB
    assert all(found.bytes_total is None or found.bytes_done <= found.bytes_total for found in events)


def test_files_that_fail(conn: s3po.Connection, events: list[ProgressEvent]) -> None:
    with pytest.raises(FileNotFoundError):
        conn.open('bucket', 'missing', progress=events.append)

    assert (events[-1].failed, events[-1].is_last) == (1, True)

    events.clear()
    with pytest.raises(ValueError, match='mine'), conn.open('bucket', 'key', 'wb', progress=events.append) as writer:
        writer.write(b'x' * PART)
        gevent.sleep(0.01)
        raise ValueError('mine')

    assert (events[-1].failed, events[-1].is_last, events[-1].bytes_done) == (1, True, 0)

    with pytest.raises(ConfigurationError, match='progress must be True'):
        conn.open('bucket', 'key', 'wb', progress='yes')  # type: ignore[call-overload]  # the mistake of a caller


def test_copies(conn: s3po.Connection, memory: MemoryTransport, events: list[ProgressEvent]) -> None:
    """To another store the bytes count while they are sent."""
    other = s3po.Connection(transport=memory, config=IN_PARTS)
    conn.upload('bucket', 'key', b'x' * 11 * MIB)
    conn.copy('bucket', 'key', 'bucket', 'copy', to=other, progress=events.append)

    assert {each.bytes_total for each in events} <= {None, 11 * MIB}
    assert events[-1].bytes_done == 11 * MIB

    events.clear()
    conn.move('bucket', 'key', 'bucket', 'moved', progress=events.append)

    assert (events[-1].bytes_done, events[-1].bytes_total, events[-1].is_last) == (11 * MIB, 11 * MIB, True)


def test_repeated_jobs(conn: s3po.Connection, events: list[ProgressEvent]) -> None:
    with conn.batch(2, on_error='collect') as batch:
        batch.download('bucket', 'key')
    conn.upload('bucket', 'key', b'12345')
    conn.retry_failed(batch.failed, progress=events.append)

    assert (events[-1].jobs_done, events[-1].bytes_done, events[-1].failed) == (1, 5, 0)


# --- displays


def test_text() -> None:
    of_one = event(jobs_total=1, failed=0, is_last=True, seconds=3725.0)
    assert text_of(event()) == '12 of 50 jobs, 3.0 MiB of 8.0 MiB, 6 jobs/s, 1.5 MiB/s, 1 failed, 0:03 left'
    assert text_of(event(bytes_total=None, failed=0, eta_s=None)) == '12 of 50 jobs, 3.0 MiB, 6 jobs/s, 1.5 MiB/s'
    assert text_of(of_one) == '3.0 MiB of 8.0 MiB, 1.5 MiB/s, 1:02:05 in all'
    assert text_of(event(bytes_done=0, bytes_total=0, eta_s=61.0, failed=0)) == '12 of 50 jobs, 6 jobs/s, 1:01 left'
    assert text_of(event(jobs_total=1, bytes_done=5, bytes_total=3 << 40)).startswith('5 bytes of 3.0 TiB, ')


def test_lines() -> None:
    """A line every ten seconds, and one at the end."""
    stream = io.StringIO()
    lines = Lines(stream)
    for seconds in (1.0, 9.9, 10.1, 19.0, 20.2):
        lines(event(seconds=seconds))
    lines(event(seconds=21.0, is_last=True))

    assert stream.getvalue().count('\n') == 3
    assert stream.getvalue().startswith('s3po: 12 of 50 jobs')


def test_line() -> None:
    """The rest of a longer line is overwritten."""
    stream = io.StringIO()
    line = Line(stream)
    line(event())
    line(event(bytes_total=None, failed=0, eta_s=None))
    line(event(is_last=True))

    first, second, last = stream.getvalue().split('\r')[1:]
    assert len(second) == len(first)
    assert last.endswith('in all\n')


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_rich_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TERM', 'xterm')
    stream = Terminal()
    monkeypatch.setattr(sys, 'stderr', stream)
    bar = display()
    for fields in ({}, {'bytes_total': None}, {'jobs_total': 1, 'bytes_total': None}, {'is_last': True}):
        bar(event(**fields))

    assert isinstance(bar, RichBar)
    assert '12 of 50 jobs' in stream.getvalue()


def test_two_rich_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a bar of rich is shown, a second one writes lines above it."""
    monkeypatch.setenv('TERM', 'xterm')
    stream = Terminal()
    monkeypatch.setattr(sys, 'stderr', stream)
    first, second = display(), display()
    first(event())
    second(event())
    second(event(is_last=True))
    first(event(is_last=True))

    assert stream.getvalue().count('s3po: 12 of 50 jobs') == 1
    assert sys.stderr is stream


def test_terminal_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(sys, 'stderr', Terminal())
    monkeypatch.setitem(sys.modules, 'rich.console', None)

    assert isinstance(display(), Line)


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'stderr', io.StringIO())

    assert isinstance(display(), Lines)

    monkeypatch.setattr(sys, 'stderr', Terminal())
    monkeypatch.setenv('TERM', 'dumb')

    assert isinstance(display(), Lines)


def test_without_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without a console (pythonw) has none."""
    monkeypatch.setattr(sys, 'stderr', None)
    monkeypatch.setattr(sys, 'stdout', io.StringIO())

    display()(event(is_last=True))

    assert not sys.stdout.getvalue()  # type: ignore[attr-defined]


def test_odd_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs replace it by objects that can only write; one that is closed shows nothing."""
    written: list[str] = []
    monkeypatch.setattr(sys, 'stderr', types.SimpleNamespace(write=written.append, flush=lambda: None))
    display()(event(is_last=True))

    assert ''.join(written).startswith('s3po: 12 of 50 jobs')

    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, 'stderr', closed)

    assert isinstance(display(), Lines)


def test_what_is_printed_into_a_file_or_pipe_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich redirects what is printed to its bar: that must not be what `program > file` prints."""
    monkeypatch.setenv('TERM', 'xterm')
    stream, output = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, 'stderr', stream)
    monkeypatch.setattr(sys, 'stdout', output)
    bar = display()
    bar(event())
    print('result')
    bar(event(is_last=True))

    assert output.getvalue() == 'result\n'
    assert '12 of 50 jobs' in stream.getvalue()
    assert 'result' not in stream.getvalue()

    terminal = Terminal()
    monkeypatch.setattr(sys, 'stdout', terminal)
    bar = display()
    bar(event())
    print('result')
    bar(event(is_last=True))

    assert sys.stdout is terminal
    assert 'result' in stream.getvalue()


def test_line_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut: a longer one would begin another line with each event."""
    monkeypatch.setenv('COLUMNS', '20')
    stream = io.StringIO()
    Line(stream)(event())

    assert stream.getvalue() == '\r12 of 50 jobs, 3.0 '


def test_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    ipython: Any = types.ModuleType('IPython')
    ipython.get_ipython = type('ZMQInteractiveShell', (), {})
    ipython.display = types.ModuleType('IPython.display')
    ipython.display.display = shown.append
    widgets: Any = types.ModuleType('ipywidgets')
    widgets.FloatProgress = widgets.Label = widgets.HBox = lambda *children, **_: types.SimpleNamespace(children=children)
    monkeypatch.setitem(sys.modules, 'IPython', ipython)
    monkeypatch.setitem(sys.modules, 'IPython.display', ipython.display)
    monkeypatch.setitem(sys.modules, 'ipywidgets', widgets)
    bar = display()
    bar(event())
    bar(event(bytes_done=8 * MIB, is_last=True))

    assert isinstance(bar, WidgetBar)
    assert len(shown) == 1
    assert bar._bar.value == 1.0
    assert bar._text.value.endswith('in all')

    monkeypatch.setitem(sys.modules, 'ipywidgets', None)

    assert isinstance(display(), Line)


def test_a_display_of_a_transfer(
    conn: s3po.Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, 'stderr', stream)
    with caplog.at_level(logging.WARNING):
        conn.upload('bucket', 'key', b'12345', progress=True)

    assert stream.getvalue().startswith('s3po: 5 bytes of 5 bytes, ')
    assert not caplog.records
    assert displays.LINE_EVERY_S == 10
