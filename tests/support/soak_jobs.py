"""The kinds of jobs of a soak (tests.support.soaking): functions that take a Scene, and note in it what they expect."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import gevent

import s3po
from s3po.config import KIB, MIB
from s3po.journal import Journal

__all__ = ['BUCKET', 'KINDS', 'Scene', 'digest']

BUCKET: Final = 'bucket'
SMALL_BYTES: Final = 64 * KIB
# An object of three parts.
LARGE_BYTES: Final = 11 * MIB


def digest(body: bytes | bytearray | memoryview) -> str:
    """What is kept of a body in order to compare it."""
    return hashlib.sha256(body).hexdigest()


@dataclass(slots=True, kw_only=True)
class Expected:
    """What the kinds of one round expect.

    Attributes:
        stored: The objects that must exist at the end of the round: their digests by key.
        uncertain: Objects whose jobs were interrupted: they may exist, with one of these digests.
        wrong: What was not as expected.
    """

    stored: dict[str, str] = field(default_factory=dict)
    uncertain: dict[str, set[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Scene:
    """What one kind of jobs works with in one round.

    Attributes:
        kind: Its name, and the prefix of its keys.
        conn: A connection through the proxy.
        connect: Makes another one.
        dice: Random numbers.
        directory: An empty directory.
        expected: What it expects.
        numbers: The number of keys so far.
    """

    kind: str
    conn: s3po.Connection
    connect: Callable[..., s3po.Connection]
    dice: random.Random
    directory: Path
    expected: Expected
    numbers: int = 0

    @property
    def stored(self) -> dict[str, str]:
        """The expected objects."""
        return self.expected.stored

    @property
    def wrong(self) -> list[str]:
        """What was not as expected."""
        return self.expected.wrong

    def new(self, size_bytes: int, *, is_certain: bool = True) -> tuple[str, bytes]:
        """A new key and its body. Without is_certain, the object need not be stored."""
        self.numbers += 1
        key, body = f'{self.kind}/{self.numbers:04d}', self.dice.randbytes(size_bytes)
        self.expect(key, digest(body), is_certain=is_certain)
        return key, body

    def expect(self, key: str, content: str, *, is_certain: bool = True) -> None:
        """Expect an object with this digest."""
        if is_certain:
            self.stored[key] = content
        else:
            self.expected.uncertain.setdefault(key, set()).add(content)

    def file(self, size_bytes: int, *, is_certain: bool = True) -> tuple[str, Path]:
        """A new key, and a new file with its body."""
        key, body = self.new(size_bytes, is_certain=is_certain)
        path = self.directory / key.replace('/', '-')
        path.write_bytes(body)
        return key, path

    def small(self) -> int:
        """A size of one request; zero now and then."""
        return self.dice.choice((0, 1, self.dice.randrange(SMALL_BYTES)))

    def batch(self, conn: s3po.Connection | None = None, **options: Any) -> s3po.Batch:
        """A batch of some width."""
        return (conn or self.conn).batch(self.dice.randint(2, 12), **{'keep_results': False, **options})

    def compare(self, key: str, body: bytes | bytearray | memoryview) -> None:
        """Compare a downloaded body with what was uploaded."""
        if digest(body) != self.stored[key]:
            self.wrong.append(f'{key}: the download has {len(body):,} other bytes')

    def compare_file(self, key: str, path: Path) -> None:
        """Compare a downloaded file, and remove it."""
        self.compare(key, path.read_bytes())
        path.unlink()

    def check(self, is_right: bool, what: str) -> None:
        """Note what is wrong."""
        if not is_right:
            self.wrong.append(f'{self.kind}: {what}')


def memory(scene: Scene) -> None:
    """Uploads from memory, with callbacks that download them."""
    with scene.batch() as batch:

        def fetch(result: s3po.TransferResult) -> None:
            batch.download(BUCKET, result.key, callback=lambda body: scene.compare(result.key, body))

        for _ in range(80):
            batch.upload(BUCKET, *scene.new(scene.small()), callback=fetch)


def paths(scene: Scene) -> None:
    """Uploads and downloads of files, small and large."""
    with scene.batch() as batch:

        def fetch(result: s3po.TransferResult) -> None:
            target = scene.directory / f'{result.key.replace("/", "-")}-again'
            batch.download_file(BUCKET, result.key, target, callback=lambda _: scene.compare_file(result.key, target))

        for number in range(20):
            batch.upload_file(BUCKET, *scene.file(LARGE_BYTES if number == 7 else scene.small()), callback=fetch, delete=True)


def streams(scene: Scene) -> None:
    """Uploads of iterators and open files; downloads into file objects."""
    sinks: dict[str, io.BytesIO] = {}
    with contextlib.ExitStack() as opened, scene.batch() as batch:
        for number in range(9):
            size = LARGE_BYTES if number < 2 else scene.small()
            if number % 2:
                key, path = scene.file(size)
                batch.upload(BUCKET, key, opened.enter_context(path.open('rb')))
            else:
                key, body = scene.new(size)
                batch.upload(BUCKET, key, _pieces(body))
            sinks[key] = io.BytesIO()
    with scene.batch() as batch:
        for key, sink in sinks.items():
            batch.download(BUCKET, key, sink)
    for key, sink in sinks.items():
        scene.compare(key, sink.getbuffer())


def _pieces(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), 100_000):
        yield body[at : at + 100_000]


def ranges(scene: Scene) -> None:
    """Large objects: parts, ranges, and parts of objects."""
    for _ in range(2):
        key, body = scene.new(scene.dice.randint(6 * MIB, 16 * MIB))
        scene.conn.upload(BUCKET, key, body)
        scene.compare(key, scene.conn.download(BUCKET, key))
        target = scene.directory / 'target'
        scene.conn.download(BUCKET, key, target)
        scene.compare_file(key, target)
        start = scene.dice.randrange(len(body))
        with scene.connect(is_honest=True) as conn:
            scene.check(conn.download(BUCKET, key, byte_range=(start, None)) == body[start:], f'{key} from {start} differs')


def copies(scene: Scene) -> None:
    """Copies, also to another store, moves, heads, listings and deletions."""
    with scene.connect() as other:
        keys: list[str] = []
        for number in range(12):
            key, body = scene.new(LARGE_BYTES if number == 5 else scene.small())
            scene.conn.upload(BUCKET, key, body)
            keys.append(key)
        with scene.batch() as batch:
            for number, key in enumerate(keys):
                batch.copy(BUCKET, key, BUCKET, f'{key}-copy', to=other if number % 2 else None)
                scene.expect(f'{key}-copy', scene.stored[key])
        with scene.batch(keep_results=True) as batch:
            for key in keys[:6]:
                batch.move(BUCKET, key, BUCKET, f'{key}-moved')
                scene.expect(f'{key}-moved', scene.stored.pop(key))
            heads = [batch.head(BUCKET, f'{key}-copy') for key in keys]
            listed = batch.list(BUCKET, f'{scene.kind}/')
        scene.check(all(job.value.size_bytes >= 0 for job in heads), 'a HEAD has no size')
        scene.check(len(listed.value) >= len(keys), 'a listing is too short')
        with scene.batch() as batch:
            for key in keys[6:9]:
                batch.delete(BUCKET, key)
            batch.delete_many(BUCKET, keys[9:])
        for key in keys[6:]:
            del scene.stored[key]
        scene.check(not scene.conn.exists(BUCKET, keys[0]), 'a moved object exists')


def files(scene: Scene) -> None:
    """Open files: readers and writers, complete, aborted, and never closed."""
    with scene.connect(is_honest=True) as conn:
        for size in (100, LARGE_BYTES):
            _write_and_read(scene, conn, *scene.new(size))

        def read(result: s3po.TransferResult) -> None:
            with conn.open(BUCKET, result.key) as file:
                scene.compare(result.key, file.read())

        with scene.batch() as batch:
            for _ in range(6):
                batch.upload(BUCKET, *scene.new(scene.small()), callback=read)


def _write_and_read(scene: Scene, conn: s3po.Connection, key: str, body: bytes) -> None:
    with conn.open(BUCKET, key, 'wb') as file:
        for piece in _pieces(body):
            file.write(piece)
    with conn.open(BUCKET, key) as file:
        scene.compare(key, file.read())
        file.seek(len(body) // 2)
        scene.check(file.read(50) == body[len(body) // 2 :][:50], f'{key}: read() after seek() differs')
    with contextlib.suppress(ZeroDivisionError), conn.open(BUCKET, f'{key}-not', 'wb') as file:
        file.write(body)
        raise ZeroDivisionError
    conn.open(BUCKET, key).read(10)


def journals(scene: Scene) -> None:
    """A batch with a journal that is stopped, one that goes on, and one that skips everything."""
    journal = scene.directory / 'job.s3po'
    work = [scene.file(LARGE_BYTES if number in (3, 9) else scene.small()) for number in range(24)]

    def run(**options: Any) -> s3po.Batch:
        with scene.batch(journal=journal, **options) as batch:
            for number, (key, path) in enumerate(work):
                with contextlib.suppress(s3po.Cancelled):
                    batch.upload_file(BUCKET, key, path)
                if number == 12 and options:
                    batch.cancel()
        return batch

    run(on_error='collect')
    run()
    skipped = run().report().skipped
    scene.check(skipped == len(work), f'only {skipped} of {len(work)} jobs were skipped')
    Journal(journal).discard(scene.conn)
    for _, path in work:
        path.unlink()


def processes(scene: Scene) -> None:
    """Two worker processes, with or without a journal."""
    journal = scene.dice.choice((None, scene.directory / 'processes.s3po'))
    with scene.batch(processes=2, journal=journal, receipts=True) as batch:

        def fetch(result: s3po.TransferResult) -> None:
            batch.download(BUCKET, result.key, callback=lambda body: scene.compare(result.key, body))

        for number in range(40):
            size = LARGE_BYTES if number in (5, 12) else scene.small()
            if number % 2:
                batch.upload_file(BUCKET, *scene.file(size), callback=fetch, delete=True)
            else:
                batch.upload(BUCKET, *scene.new(size), callback=fetch)
    if journal is not None:
        Journal(journal).discard(scene.conn)


def progress(scene: Scene) -> None:
    """Progress and receipts, which are verified."""
    events: list[object] = []
    receipt = scene.directory / 'receipt.jsonl'
    with scene.batch(progress=events.append, receipts=True) as batch:
        batch.map_upload((BUCKET, *scene.new(scene.small())) for _ in range(60))
    batch.report().save(receipt)
    scene.check(bool(events), 'no progress')
    scene.check(scene.conn.verify(receipt, size=4).ok == 60, 'the receipt differs from the store')
    receipt.unlink()


def small_memory(scene: Scene) -> None:
    """Jobs that wait for memory."""
    with scene.batch(max_memory=6 * MIB) as batch:

        def fetch(result: s3po.TransferResult) -> None:
            batch.download(BUCKET, result.key, callback=lambda body: scene.compare(result.key, body))

        for number in range(8):
            key, body = scene.new(scene.dice.randint(1 * MIB, 7 * MIB))
            batch.upload(BUCKET, key, iter([body]) if number % 2 else body, callback=fetch)


def interrupted(scene: Scene) -> None:
    """Deadlines, cancelled jobs and batches, and killed greenlets."""
    for way in ('deadline', 'cancel', 'job', 'jobs'):
        options = {'deadline': {'timeout_s': 0.2}, 'jobs': {'job_timeout_s': 0.05}}.get(way, {})
        with contextlib.suppress(s3po.S3poError), scene.batch(on_error='collect', **options) as batch:
            for number in range(30):
                size = LARGE_BYTES if number in (2, 9) else scene.small()
                job = batch.upload(BUCKET, *scene.new(size, is_certain=False))
                if way == 'job' and number % 3:
                    job.cancel()
            batch.wait(0.05)
            if way == 'cancel':
                batch.cancel(grace_s=0.05)
        scene.check(len(batch.failed) + len(batch.not_started) <= 30, 'there are more failures than jobs')
    alone = [gevent.spawn(_upload_quietly, scene) for _ in range(4)]
    gevent.sleep(scene.dice.random() / 10)
    gevent.killall(alone)


def _upload_quietly(scene: Scene) -> None:
    key, body = scene.new(LARGE_BYTES, is_certain=False)
    with contextlib.suppress(s3po.S3poError):
        scene.conn.upload(BUCKET, key, body, timeout_s=1)


def failing(scene: Scene) -> None:
    """Jobs that fail, their last turns, files of failed jobs, and their repetition."""

    def broken() -> Iterator[bytes]:
        yield b'data' * 100_000
        raise ZeroDivisionError

    with scene.batch(on_error='collect') as batch:
        for number in range(8):
            batch.download(BUCKET, f'missing/{number}')
            batch.download_file(BUCKET, f'missing/{number}', scene.directory / f'missing-{number}')
            batch.upload(BUCKET, f'broken/{number}', broken())
            batch.upload_file(BUCKET, f'broken/{number}', scene.directory / 'no-such-file')
            batch.upload('no-such-bucket', f'broken/{number}', b'data')
        key, body = scene.new(100)
        batch.upload(BUCKET, key, body, callback=lambda _: 1 // 0)
    saved = scene.directory / 'failed.jsonl'
    batch.failed.save(saved)
    again = scene.conn.retry_failed(saved, 4, on_error='collect')
    scene.check(len(again.failed) + len(again.not_started) > 0, 'missing objects were found')
    saved.unlink()
    with contextlib.suppress(s3po.S3poError), scene.batch(on_error='collect', max_failures=2) as batch:
        batch.map_download((BUCKET, f'missing/{number}') for number in range(100))


def threads(scene: Scene) -> None:
    """Native threads: one that shares the connection, and one with its own."""

    def work(conn: s3po.Connection, work: list[tuple[str, bytes]]) -> None:
        with conn.batch(4) as batch:
            for key, body in work:
                batch.upload(
                    BUCKET, key, body, callback=lambda result: got.append((result.key, conn.download(BUCKET, result.key)))
                )
        if conn is not scene.conn:
            conn.close()

    got: list[tuple[str, Any]] = []
    started = []
    for conn in (scene.conn, scene.connect()):
        given = [scene.new(LARGE_BYTES if number == 3 else scene.small()) for number in range(12)]
        started.append(threading.Thread(target=work, args=(conn, given)))
        started[-1].start()
    while any(each.is_alive() for each in started):
        gevent.sleep(0.02)
    for key, body in got:
        scene.compare(key, body)
    scene.check(len(got) == 24, f'threads have moved {len(got)} of 24 objects')


def boto(scene: Scene) -> None:
    """The boto transport, and a connection that is not closed."""
    with scene.connect(transport='boto') as conn, scene.batch(conn) as batch:
        for _ in range(6):
            batch.upload(BUCKET, *scene.new(scene.small()))
    key, body = scene.new(scene.small())
    scene.connect().upload(BUCKET, key, body)


KINDS: Final[tuple[Callable[[Scene], None], ...]] = (
    *(memory, paths, streams, ranges, copies, files, journals),
    *(processes, progress, small_memory, interrupted, failing, threads, boto),
)
