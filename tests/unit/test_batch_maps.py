"""map_upload() and map_download() read their items as the queue has room, report the index reached, and lose nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

import s3po
from s3po.batch import Batch, breaker
from s3po.errors import BreakerOpen, CallbackError, Cancelled, ConfigurationError, DeadlineExceeded, NoSuchBucket
from s3po.jobs import Call
from s3po.model import ListEntry, Outcome
from tests.support.performer import Performer, settle


@pytest.fixture
def performer() -> Performer:
    return Performer()


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    with gevent.Timeout(20):
        yield


def endless(bucket: str = 'bucket', key: str = '') -> Iterator[tuple[str, str, bytes]]:
    for number in itertools.count():
        yield bucket, f'{key}{number}', b'data'


def test_forms_of_items(memory_conn: s3po.Connection, tmp_path: Any) -> None:
    """Items are tuples, or mappings with the arguments by name; options apply to all items that have no others."""
    entry = ListEntry(key='c', size_bytes=1, etag='', last_modified=None, storage_class=None)
    with memory_conn.batch(4) as batch:
        items: Any = [
            ('bucket', 'a', b'1'),
            ['bucket', 'b', b'22'],
            {'bucket': 'bucket', 'key': entry, 'source': b'333', 'metadata': {'m': '2'}},
        ]
        assert batch.map_upload(items, metadata={'m': '1'}) == 3
    with memory_conn.batch(4) as batch:
        downloads: Any = [
            ('bucket', 'a'),
            ('bucket', 'b', tmp_path / 'b'),
            {'bucket': 'bucket', 'key': 'c', 'byte_range': (0, 2)},
        ]
        assert batch.map_download(downloads) == 3

    assert batch.results()[0] == b'1'
    assert (tmp_path / 'b').read_bytes() == b'22'
    assert batch.results()[2] == b'33'
    assert [memory_conn.head('bucket', key).metadata for key in 'abc'] == [{'m': '1'}, {'m': '1'}, {'m': '2'}]


def test_one_callback_for_all(memory_conn: s3po.Connection) -> None:
    """The callback gets the ref of the job, if it takes two arguments; the errback too."""
    told: list[Any] = []
    with memory_conn.batch(2, on_error='collect') as batch:
        batch.map_upload([('bucket', 'a', b'1'), ('bucket', 'b', b'2')], callback=told.append)
    with memory_conn.batch(2, on_error='collect') as batch:
        batch.map_download(
            [('bucket', 'a'), ('bucket', 'none')],
            callback=lambda body, ref: told.append((ref.key, body)),
            errback=lambda error, ref: told.append((ref.key, type(error))),
        )

    assert sorted(each.key for each in told[:2]) == ['a', 'b']
    assert dict(told[2:]) == {'a': b'1', 'none': s3po.NotFound}


def test_reads_as_the_queue_has_room(performer: Performer) -> None:
    """The next item is read when the queue has room: at most one more than the batch holds."""
    read: list[int] = []

    def items() -> Iterator[tuple[str, str, bytes]]:
        for number in range(10):
            read.append(number)
            yield 'bucket', f'wait{number}', b''

    with Batch(performer, 2) as batch:
        mapping = gevent.spawn(batch.map_upload, items())
        settle()
        assert (len(read), batch.mapped) == (4, 4)
        performer.gate.set()
        assert mapping.get() == 10


def test_generator_that_submits(performer: Performer) -> None:
    """A generator may submit other jobs to the same batch, and wait for them."""
    with Batch(performer, 1) as batch:

        def items() -> Iterator[tuple[str, str]]:
            for number in range(5):
                batch.head('bucket', f'first{number}').get()
                yield 'bucket', f'{number}'

        assert batch.map_download(items()) == 5

    assert len(performer.performed) == 10


def test_generator_that_maps(performer: Performer) -> None:
    """An iterable may call map_upload() of the same batch: each call has its own count."""

    def outer() -> Iterator[tuple[str, str, bytes]]:
        for number in range(2):
            assert batch.map_upload(itertools.islice(endless(key=f'inner{number}'), 5)) == 5
            yield 'bucket', f'outer{number}', b'data'

    with Batch(performer, 4) as batch:
        assert batch.map_upload(outer()) == 2
        assert batch.mapped == 2
    assert batch.report().succeeded == 12


def test_generator_that_raises(performer: Performer) -> None:
    """An exception of the generator is raised as it is, with a note of the index; what was submitted is done."""

    def items() -> Iterator[tuple[str, str, bytes]]:
        yield from itertools.islice(endless(), 7)
        raise ZeroDivisionError('no more')

    batch = Batch(performer, 2)
    with pytest.raises(ZeroDivisionError, match='no more') as caught:
        batch.map_upload(items())
    batch.wait()
    batch.close()

    assert caught.value.__notes__ == ['map_upload() has submitted 7 items']
    assert batch.mapped == 7
    assert len(performer.performed) == 7


def test_generator_that_raises_in_a_block(performer: Performer) -> None:
    """In a `with` block the exception wins; what had not begun is in not_started."""
    with pytest.raises(ZeroDivisionError), Batch(performer, 2) as batch:
        batch.map_upload(('bucket', f'{number}', b'') if number < 5 else 1 / 0 for number in range(9))  # type: ignore[misc]

    assert batch.mapped == 5
    assert len(performer.performed) + len(batch.not_started) == 5


@pytest.mark.parametrize('stop', ['callback', 'failures', 'deadline', 'thread of the batch'])
def test_endless_until_the_batch_stops(performer: Performer, stop: str) -> None:
    """Mapping an endless iterable ends when the batch stops; each item that was read is done, failed or not started."""
    read = [0]

    def items() -> Iterator[tuple[str, str, bytes]]:
        for item in endless(key='fail' if stop == 'failures' else ''):
            read[0] += 1
            yield item
            gevent.sleep(0)

    batch = Batch(
        performer,
        4,
        keep_results=False,
        on_error='collect',
        max_failures=20 if stop == 'failures' else None,
        timeout_s=0.05 if stop == 'deadline' else None,
    )
    kinds = {'failures': BreakerOpen, 'deadline': DeadlineExceeded}
    done = [0]

    def count(_: object) -> None:
        done[0] += 1
        if done[0] == 30:
            batch.cancel()

    if stop == 'thread of the batch':
        gevent.spawn_later(0.02, batch.cancel)
    with pytest.raises(kinds.get(stop, Cancelled)) as caught, batch:
        batch.map_upload(items(), callback=count if stop == 'callback' else None)

    report = batch.report()
    assert f'map_upload() has submitted {batch.mapped:,} items' in str(caught.value)
    assert batch.mapped == read[0] == report.submitted
    assert report.submitted == report.succeeded + len(batch.failed) + len(batch.not_started)


def test_batch_that_stops_while_an_item_is_read(performer: Performer) -> None:
    """An item that was read when the batch stopped is in not_started."""
    with Batch(performer, 2) as batch:

        def items() -> Iterator[tuple[str, str, bytes]]:
            yield 'bucket', 'a', b''
            batch.cancel()
            yield 'bucket', 'b', b'data'
            raise AssertionError('no more items may be read')

        with pytest.raises(Cancelled, match=r'the batch was cancelled; map_upload\(\) has submitted 2 items'):
            batch.map_upload(items())

    assert batch.mapped == 2
    assert batch.not_started[-1].key == 'b'
    assert batch.not_started[-1].options == {'source': b'data'}


class Missing(Performer):
    """A connection whose bucket 'missing' does not exist."""

    sent = 0

    def perform(self, call: Call) -> Outcome:
        if call.ref.bucket == 'missing':
            self.sent += 1
            gevent.sleep(0)
            raise NoSuchBucket('no such bucket')
        return super().perform(call)


def test_endless_into_a_bucket_that_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mapping into a bucket that the breaker has stopped ends, and each item that was read is accounted for."""
    monkeypatch.setattr(breaker, 'PAUSE_S', 0.001)
    performer = Missing()
    batch = Batch(performer, 4, keep_results=False, on_error='collect')
    with pytest.raises(BreakerOpen, match=r'bucket missing: .* map_upload\(\) has submitted') as caught:
        batch.map_upload(endless('missing'))
    batch.wait()
    batch.close()

    assert performer.sent <= 5 + 4
    assert isinstance(caught.value.__cause__, NoSuchBucket)
    assert batch.mapped == len(batch.failed) + len(batch.not_started)


def test_several_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items for a bucket that has stopped do not end the mapping, while there are others."""
    monkeypatch.setattr(breaker, 'PAUSE_S', 0.001)
    items = [('missing' if number % 50 else 'bucket', f'{number}', b'') for number in range(2000)]
    performer = Missing()
    with Batch(performer, 4, keep_results=False, on_error='collect') as batch:
        assert batch.map_upload(items) == 2000

    assert batch.report().succeeded == 40
    assert len(batch.failed) + len(batch.not_started) == 1960


@pytest.mark.parametrize(
    ('item', 'named'),
    [
        ('abc', r'item 1 of map_upload\(\) must be \(bucket, key, source\) or a mapping, not str'),
        (('bucket', 'key'), 'item 1 .* not tuple'),
        (None, 'item 1 .* not NoneType'),
        ({'bucket': 'bucket', 'source': b''}, "item 1 of map_upload() has no 'key'"),
        (
            {'bucket': 'b', 'key': 'k', 'source': b'', 'retires': 1},
            "item 1 of map_upload(): upload() has no argument 'retires'",
        ),
        ({'bucket': 'b', 'key': 'k', 'source': b'', 5: 1}, "has no argument '5'"),
    ],
)
def test_bad_items(performer: Performer, item: Any, named: str) -> None:
    """An item of another form is an error that names its index; what was submitted is done."""
    batch = Batch(performer, 1)
    pattern = named if '\\' in named or '.*' in named else named.replace('(', r'\(').replace(')', r'\)')
    with pytest.raises(ConfigurationError, match=pattern):
        batch.map_upload([('bucket', 'a', b''), item])
    batch.wait()
    batch.close()

    assert performer.performed == ['a']
    assert batch.mapped == 1


def test_bad_names_fail_their_jobs(performer: Performer) -> None:
    """An item with an invalid key fails its job, as with upload()."""
    with Batch(performer, 1, on_error='collect') as batch:
        assert batch.map_upload([('bucket', '', b''), ('bucket', 'a', b'')]) == 2

    assert [type(job.error) for job in batch.failed] == [ConfigurationError]


@pytest.mark.parametrize('iterable', [None, 5, 'abc', {'bucket': 'b', 'key': 'k', 'source': b''}])
def test_bad_iterables(performer: Performer, iterable: Any) -> None:
    """What is no iterable of items is refused."""
    with Batch(performer, 1) as batch:
        with pytest.raises(ConfigurationError, match=r'map_upload\(\) needs an iterable of items, not'):
            batch.map_upload(iterable)


def test_bad_options(performer: Performer) -> None:
    """Unknown options, and a callback that cannot be called, are refused at once."""
    with Batch(performer, 1) as batch:
        with pytest.raises(TypeError, match=r"map_download\(\) got an unexpected keyword argument 'retires'"):
            batch.map_download([], retires=1)  # type: ignore[call-arg]
        with pytest.raises(ConfigurationError, match='callback must be a function'):
            batch.map_download([], callback=5)  # type: ignore[arg-type]


def test_in_a_callback(performer: Performer) -> None:
    """In a callback of the batch it is refused: submitting from there never waits, so that it would read all items."""
    with Batch(performer, 1, on_error='collect') as batch:
        job = batch.head('bucket', 'key', callback=lambda _: batch.map_upload(endless()))

    assert isinstance(job.exception, CallbackError)
    assert 'map_upload() in a callback of the same batch' in str(job.exception)


def test_closed_batch(performer: Performer) -> None:
    """A closed batch refuses, without reading an item."""
    with Batch(performer, 1) as batch:
        pass
    items = endless()
    with pytest.raises(ConfigurationError, match='closed'):
        batch.map_upload(items)

    assert next(items)[1] == '0'
