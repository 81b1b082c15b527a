"""Programs that are killed at any moment and started again: under a journal nothing is lost, and little is repeated."""

from __future__ import annotations

import pathlib
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

import s3po
from tests.conftest import BUCKET, impatient
from tests.support.crashing import CONFIG, PARTS, WIDTH, content, names
from tests.support.servers import CHECKOUT, Store

SMALL, LARGE, KILLS = 3000, 3, 20
# A life lasts up to this long after the batch has begun.
LIFE_S = 1.2
# The store is slow, so that most lives end before the work does.
DELAYS_S = {'PutObject': 0.1, 'UploadPart': 0.5, 'GetObject': 0.1}
LIMIT_S = 120


class Life:
    """One run of the program.

    Attributes:
        began: When it was started, and
        died: when it was killed, by the monotonic clock.
        is_done: Whether it ended before it was killed.
    """

    def __init__(self, doing: str, store: Store, directory: pathlib.Path, *counts: int) -> None:
        command = [sys.executable, '-m', 'tests.support.crashing', doing, store.endpoint_url]
        command += [str(directory / 'files'), str(directory / 'journal'), *map(str, counts)]
        self.began = time.monotonic()
        self._process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE)
        self.died = self.began

    def killed_after(self, seconds: float) -> bool:
        """Kill it some time after its batch has begun. Returns whether it was done by then."""
        assert self._process.stdout is not None
        self._process.stdout.readline()
        time.sleep(seconds)
        is_done = self._process.poll() is not None
        self._process.send_signal(signal.SIGKILL)
        self.died = time.monotonic()
        self._process.communicate()
        return is_done

    def completed(self) -> list[int]:
        """Wait for its end. Returns the numbers of skipped and failed jobs."""
        out, _ = self._process.communicate(timeout=LIMIT_S)
        assert self._process.returncode == 0
        return [int(word) for word in out.split()[2:]]


def lives(doing: str, store: Store, directory: pathlib.Path, seed: int, *counts: int, kills: int = KILLS) -> list[Life]:
    """Kill the program many times, then let it end; and once more, when all is done."""
    chance, lived = random.Random(seed), []
    for operation, delay_s in DELAYS_S.items():
        store.script({'operation': operation, 'action': {'delay_s': delay_s}})
    for _ in range(kills):
        life = Life(doing, store, directory, *counts)
        life.killed_after(chance.uniform(0, LIFE_S))
        lived.append(life)
    life = Life(doing, store, directory, *counts)
    assert life.completed()[1] == 0
    before = len(store.log())
    again = Life(doing, store, directory, *counts)
    assert again.completed() == [sum(counts), 0]
    assert len(store.log()) == before
    return [*lived, life]


def repeated(store: Store, lived: list[Life], operation: str, name: Any) -> list[list[Any]]:
    """For each life the names of the requests, up to its end, that an earlier life had made with success."""
    log, seen, found, so_far = store.log(operation), set[Any](), [], list[Any]()
    for life, following in zip(lived, [*lived[1:], None], strict=True):
        until = float('inf') if following is None else following.began
        mine = [each for each in log if life.began <= each['time'] < until and each['status'] in (200, 206)]
        so_far = so_far + [name(each) for each in mine if name(each) in seen]
        found.append(so_far)
        seen.update(map(name, mine))
    return found


def connection(store: Store) -> s3po.Connection:
    return s3po.Connection(
        access_key_id='key',
        secret_access_key='secret',
        endpoint_url=store.endpoint_url,
        region='us-east-1',
        config=CONFIG,
        retry=impatient(),
    )


def fill(directory: pathlib.Path, *counts: int) -> None:
    for kind in ('small', 'large'):
        (directory / 'files' / kind).mkdir(parents=True)
    for name in names(*counts):
        (directory / 'files' / name).write_bytes(content(name))


def check_uploads(store: Store, directory: pathlib.Path, seed: int, *counts: int, kills: int) -> None:
    store.create_bucket(BUCKET)
    fill(directory, *counts)

    lived = lives('upload', store, directory, seed, *counts, kills=kills)

    # No part that the store had confirmed was sent again, and of the other bodies only those in flight.
    parts = repeated(store, lived, 'UploadPart', lambda each: (each['key'], each['query']['partNumber']))
    assert parts[-1] == []
    for kills_before, keys in enumerate(repeated(store, lived, 'PutObject', lambda each: each['key'])):
        assert len(keys) <= kills_before * WIDTH
    with connection(store) as conn:
        assert 'Uploads' not in conn.conn.list_multipart_uploads(Bucket=BUCKET)
        jobs = {}
        with conn.batch(20) as batch:
            for name in names(*counts):
                jobs[name] = batch.download(BUCKET, name)
        assert all(job.value == content(name) for name, job in jobs.items())


def check_downloads(store: Store, directory: pathlib.Path, seed: int, *counts: int, kills: int) -> None:
    store.create_bucket(BUCKET)
    for kind in ('small', 'large'):
        (directory / 'files' / kind).mkdir(parents=True)
    with connection(store) as conn, conn.batch(20) as batch:
        for name in names(*counts):
            batch.upload(BUCKET, name, content(name))

    lived = lives('download', store, directory, seed, *counts, kills=kills)

    # Of the ranges, only those that were in flight are fetched again; and one byte, if nothing else is missing.
    ranges = repeated(store, lived, 'GetObject', lambda each: (each['key'], each['headers'].get('range')))
    for kills_before, found in enumerate(ranges):
        large = [which for key, which in found if key.startswith('large') and which != 'bytes=0-0']
        assert len(large) <= kills_before * counts[1] * PARTS
        assert sum(key.startswith('small') for key, _ in found) <= kills_before * WIDTH
    files = {str(each.relative_to(directory / 'files')) for each in (directory / 'files').rglob('*') if each.is_file()}
    assert files == set(names(*counts))
    assert all((directory / 'files' / name).read_bytes() == content(name) for name in names(*counts))


@pytest.mark.slow
def test_uploads(own_store: Store, tmp_path: pathlib.Path) -> None:
    """Every object is there byte for byte, no upload is open, and no confirmed part was sent again."""
    check_uploads(own_store, tmp_path, 1, SMALL, LARGE, kills=KILLS)


@pytest.mark.slow
def test_downloads(own_store: Store, tmp_path: pathlib.Path) -> None:
    """Every file is there byte for byte, no other file is left, and only ranges in flight were fetched again."""
    check_downloads(own_store, tmp_path, 2, SMALL, LARGE, kills=KILLS)
