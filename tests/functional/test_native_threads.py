"""What a native thread leaves when it ends: nothing of its batches, its connections' state and its worker processes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import s3po
from tests.conftest import BUCKET
from tests.support.live import live
from tests.support.servers import Store

# The monitor's thread forgets event loops later, and pytest keeps what was logged.
KEPT = frozenset({'_Watched', 'CpuClock', 'BatchReport'})
LIMIT_S = 10.0


def few(conn: s3po.Connection) -> None:
    """Fewer jobs than workers; some fail."""
    with conn.batch(4, on_error='collect') as batch:
        batch.upload(BUCKET, 'key', b'data')
        batch.download(BUCKET, 'missing')
    assert len(batch.failed) == 1


def many(conn: s3po.Connection) -> None:
    """More jobs than the queue holds, and jobs of callbacks."""
    with conn.batch(4, progress=lambda _: None, timeout_s=60, receipts=True) as batch:
        for number in range(30):
            batch.upload(BUCKET, f'{number}', b'data', callback=lambda result: batch.download(BUCKET, result.key))


def raising(conn: s3po.Connection) -> None:
    """An exception in the block, while jobs wait."""
    with contextlib.suppress(ZeroDivisionError), conn.batch(2) as batch:
        for number in range(10):
            batch.upload(BUCKET, f'{number}', b'data')
        raise ZeroDivisionError


def with_processes(conn: s3po.Connection) -> None:
    """A worker process."""
    with conn.batch(2, processes=2) as batch:
        batch.upload(BUCKET, 'key', b'data')


def without_batch(conn: s3po.Connection) -> None:
    """Calls of the connection, and open files."""
    conn.upload(BUCKET, 'key', b'data')
    with conn.open(BUCKET, 'key') as file:
        file.read(1)


def run(work: Callable[[Any], None], conn: s3po.Connection) -> None:
    """Run it in a native thread of its own, to its end."""
    failures: list[BaseException] = []

    def carry_out() -> None:
        try:
            work(conn)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=carry_out)
    thread.start()
    while thread.is_alive():
        gevent.sleep(0.005)
    assert failures == []


@pytest.mark.parametrize('work', [few, many, raising, without_batch, pytest.param(with_processes, marks=pytest.mark.slow)])
def test_nothing_is_left_of_an_ended_thread(
    work: Callable[[Any], None], own_store: Store, connect: Callable[..., s3po.Connection]
) -> None:
    """Its greenlets end before it does: later they would never run, and what they refer to would never be freed."""
    own_store.create_bucket(BUCKET)
    conn = connect(own_store.endpoint_url)
    # The first threads fill caches.
    for _ in range(2):
        run(work, conn)
    before = live()

    for _ in range(3):
        run(work, conn)

    assert _soon_not_more_than(before) == {}


def _soon_not_more_than(before: Counter[str]) -> dict[str, int]:
    """What is more than before, when it is nothing or the time is over."""
    until = time.monotonic() + LIMIT_S
    while True:
        more = {name: number for name, number in (live() - before).items() if name not in KEPT}
        if not more or time.monotonic() > until:
            return more
        gevent.sleep(0.2)
