"""The budget of memory after transfers of all kinds, of which some fail or are killed at any step: it is whole again."""

from __future__ import annotations

import gc
import io
import os
import pathlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

import s3po
import s3po.memory
from s3po.config import KIB, MIB
from s3po.errors import AccessDenied, NetworkError, ReadTimeout, S3poError, Throttled
from tests.conftest import impatient
from tests.support.faults import BUCKET, stored
from tests.support.memory import MemoryAnswer, MemoryTransport

PART = 5 * MIB
SIZES = (0, 100, 70 * KIB, MIB, 4 * MIB, 6 * MIB, 14 * MIB)
CONFIG = s3po.TransferConfig(max_memory=12 * MIB, multipart_chunksize=PART, multipart_threshold=PART, throttle_timeout_s=1.0)


class Unlucky(Exception):
    """Raised by code of the caller."""


class World:
    """Two stores that fail at random, and what is done with them."""

    def __init__(self, seed: int, directory: pathlib.Path) -> None:
        self.random = random.Random(seed)
        self.directory = directory
        self.share = self.random.choice([0.0, 0.02, 0.1])
        self.stores = [MemoryTransport(self.fault), MemoryTransport(self.fault)]
        for store in self.stores:
            store.store.create_bucket(BUCKET)
            store.get_object = self.faulty(store.get_object)  # type: ignore[method-assign]
        retry = impatient(self.random.choice([0, 2]))
        self.conn, self.other = (s3po.Connection(transport=store, config=CONFIG, retry=retry) for store in self.stores)
        for size_bytes in SIZES:
            stored(self.stores[0], f'{size_bytes}', os.urandom(size_bytes))

    def is_unlucky(self, share: float) -> bool:
        return self.random.random() < share

    def fault(self, operation: str, key: str, part: int | None) -> None:
        if self.is_unlucky(self.share):
            errors: list[S3poError] = [
                NetworkError('reset'),
                ReadTimeout('slow'),
                Throttled('slow down', status=503, code='SlowDown'),
                AccessDenied('no', status=403, code='AccessDenied'),
            ]
            raise self.random.choice(errors)

    def faulty(self, get: Callable[..., MemoryAnswer]) -> Callable[..., MemoryAnswer]:
        """Responses that end early, or are of unknown length."""

        def get_faulty(*arguments: Any, **options: Any) -> MemoryAnswer:
            answer = get(*arguments, **options)
            read = answer.read
            if options.get('byte_range') is None and self.is_unlucky(self.share):
                answer.size_bytes = answer.whole_bytes = -1

            def read_some(size_bytes: int) -> bytes:
                if self.is_unlucky(self.share / 3):
                    raise NetworkError('cut')
                return read(min(size_bytes, self.random.choice([300 * KIB, PART])))

            answer.read = read_some  # type: ignore[method-assign]
            return answer

        return get_faulty

    def pieces(self, size_bytes: int) -> Iterator[bytes]:
        """The body of an upload; it may download, or raise."""
        for _ in range(0, size_bytes, MIB):
            yield bytes(MIB)
            gevent.sleep(0)
            if self.is_unlucky(0.1):
                self.conn.download(BUCKET, f'{4 * MIB}')
            if self.is_unlucky(0.03):
                raise Unlucky

    def write(self, data: bytes) -> int:
        """The target of a download, which may do the same."""
        gevent.sleep(0)
        if self.is_unlucky(0.05):
            self.conn.download(BUCKET, f'{4 * MIB}')
        if self.is_unlucky(0.02):
            raise Unlucky
        return len(data)

    def read(self, key: str, *, closes: bool) -> None:
        file = self.conn.open(BUCKET, key, read_ahead=self.random.choice([0, 1, 4]))
        for _ in range(4):
            file.read1()
            gevent.sleep(0)
        if closes:
            file.close()

    def fill(self, key: str, size_bytes: int) -> None:
        with self.conn.open(BUCKET, key, 'wb') as file:
            for _ in range(0, size_bytes, MIB):
                file.write(bytes(MIB))
                gevent.sleep(0)
                if self.is_unlucky(0.05):
                    raise Unlucky

    def transfer(self, number: int) -> None:
        """One transfer of any kind."""
        conn, size_bytes = self.conn, self.random.choice(SIZES)
        key, new = f'{size_bytes}', f'new-{number}'
        target: Any = io.RawIOBase()
        target.writable, target.write = (lambda: True), self.write
        kinds: list[Callable[[], object]] = [
            lambda: conn.upload(BUCKET, new, bytes(size_bytes)),
            lambda: conn.upload(BUCKET, new, io.BytesIO(bytes(size_bytes))),
            lambda: conn.upload(BUCKET, new, self.pieces(size_bytes)),
            lambda: conn.upload(BUCKET, new, os.urandom(size_bytes), compress='gzip'),
            lambda: conn.upload(BUCKET, new, conn.open(BUCKET, key)),
            lambda: conn.download(BUCKET, key),
            lambda: conn.download(BUCKET, key, io.BytesIO()),
            lambda: conn.download(BUCKET, key, target),
            lambda: conn.download(BUCKET, key, byte_range=(size_bytes // 3, size_bytes // 2 + 1)),
            lambda: conn.download_file(BUCKET, key, self.directory / new),
            lambda: conn.copy(BUCKET, key, BUCKET, new, to=self.other),
            lambda: self.read(key, closes=True),
            lambda: self.read(key, closes=False),
            lambda: self.fill(new, size_bytes),
        ]
        try:
            self.random.choice(kinds)()
        except (S3poError, OSError, Unlucky) as error:
            # Its frames refer to files that were not closed.
            error.__traceback__ = None

    def run(self) -> None:
        """Carry out transfers, some of which are killed. All end."""
        transfers = [gevent.spawn(self.transfer, number) for number in range(20)]
        for transfer in transfers:
            if self.is_unlucky(0.15):
                gevent.spawn_later(self.random.random() * 0.05, transfer.kill)

        assert len(gevent.joinall(transfers, timeout=60)) == len(transfers)


@pytest.mark.parametrize('seed', range(40))
@pytest.mark.sampled(6)
def test_budget_is_whole_again(seed: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(seed, tmp_path)
    monkeypatch.setattr(s3po.memory, 'LONG_WAIT_S', world.random.choice([0.0, 0.001, 5.0]))
    world.run()
    budgets = [world.conn.memory_budget(), world.other.memory_budget()]
    for _ in range(100):
        # Files that were not closed are collected, and their transfers end.
        gc.collect()
        gevent.sleep(0.01)
        if not any(budget.used_bytes or budget.lent for budget in budgets):
            break

    assert [(b.used_bytes, b.stuck_bytes, b.first, b.lent) for b in budgets] == [(0, 0, None, {})] * 2
    for store in world.stores:
        store.store.reset()
