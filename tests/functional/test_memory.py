"""The memory of processes that move more data than they may hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

import s3po
from s3po.memory import Room
from tests.support.servers import CHECKOUT, Server, Store

MIB = 1 << 20
# Base and 500 workers with their connections take about 80 MiB.
LIMIT_MIB = 400

MANY = """
import io, json, os, sys
import gevent
import s3po

endpoint, kind, path, numbers = *sys.argv[1:4], json.loads(sys.argv[4])
size, jobs, workers, enough = numbers['size'], numbers['jobs'], numbers['workers'], numbers['enough']
conn = s3po.Connection(endpoint_url=endpoint, access_key_id='a', secret_access_key='b', region='us-east-1')


class Nowhere(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        return len(data)


def pieces():
    for _ in range(size >> 20):
        yield bytes(1 << 20)


def read(number):
    with conn.open('bucket', f'{number}/{size}') as file:
        while file.read(1 << 20):
            pass


done = 0


def count(value):
    global done
    done += 1
    if done == enough:
        batch.cancel()


with conn.batch(workers, on_error='collect', max_memory=numbers['max_memory'], keep_results=False) as batch:
    # A peak is reached within seconds; all of the data would take minutes.
    gevent.spawn_later(numbers['seconds'], batch.cancel)
    for number in range(jobs):
        key = f'{number}/{size}'
        try:
            if kind == 'body':
                batch.download('bucket', key, callback=count)
            elif kind == 'file':
                batch.download('bucket', key, Nowhere(), callback=count)
            elif kind == 'path':
                batch.upload_file('bucket', key, path, callback=count)
            elif kind == 'stream':
                batch.upload('bucket', key, pieces(), callback=count)
            else:
                batch.head('bucket', key, callback=lambda _, number=number: count(read(number)))
        except s3po.Cancelled:
            break

with open('/proc/self/status') as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith('VmHWM'))
errors = [str(job.error) for job in batch.failed if not job.is_cancelled]
print(json.dumps({'done': done, 'peak_mib': peak >> 10, 'errors': errors[:3], 'used_bytes': conn.memory_budget().used_bytes}))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != 'linux', reason='the peak of the memory is in /proc'),
]


@pytest.fixture
def server() -> Iterator[Server]:
    """A store that generates its objects."""
    with Server('tests.support.generating', None, {}) as running:
        yield running


def run(server: Server, path: Path, kind: str, **numbers: int | None) -> dict[str, object]:
    """Run jobs of one kind in a process of their own. Returns what it prints."""
    command = [sys.executable, '-c', MANY, server.endpoint_url, kind, str(path), json.dumps(numbers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize('kind', ['body', 'file', 'stream', 'path'])
def test_500_workers_on_large_objects(server: Server, tmp_path: Path, kind: str) -> None:
    """500 workers on objects of 100 MB with max_memory=256 MiB stay below 400 MiB, interpreter included."""
    path = tmp_path / 'source'
    with path.open('wb') as file:
        file.truncate(100_000_000)
    # All uploads of files advance together, so that none of them is done for minutes.
    seconds = 15 if kind == 'path' else 60
    numbers = {'size': 100_000_000, 'jobs': 500, 'workers': 500, 'enough': 20, 'seconds': seconds}
    found = run(server, path, kind, **numbers, max_memory=256 * MIB)

    assert not found['errors']
    assert found['used_bytes'] == 0
    assert found['done'] or kind == 'path'
    assert int(str(found['peak_mib'])) < LIMIT_MIB, found


def test_readers_in_callbacks(server: Server, tmp_path: Path) -> None:
    """200 callbacks that read files end, and prefetch no more than there is room for."""
    found = run(server, tmp_path, 'reader', size=8 * MIB, jobs=200, workers=200, enough=200, seconds=250, max_memory=None)

    assert not found['errors']
    assert found['done'] == 200
    assert int(str(found['peak_mib'])) < LIMIT_MIB, found


def test_300_downloads_of_10_mib(server: Server, tmp_path: Path) -> None:
    """With the defaults, 300 downloads of 10 MiB end, within the default limit of 256 MiB."""
    found = run(server, tmp_path, 'body', size=10 * MIB, jobs=300, workers=50, enough=300, seconds=250, max_memory=None)

    assert not found['errors']
    assert found['done'] == 300
    assert int(str(found['peak_mib'])) < LIMIT_MIB, found


def test_waiting_is_not_slow(own_store: Store) -> None:
    """While a download waits for memory, neither the read timeout nor the minimum speed applies to its connection."""
    own_store.create_bucket('bucket')
    config = s3po.TransferConfig(max_memory=2 * MIB, read_timeout_s=0.3)
    data = os.urandom(7 * MIB)
    keys = {'access_key_id': 'a', 'secret_access_key': 'b', 'region': 'us-east-1'}
    with s3po.Connection(endpoint_url=own_store.endpoint_url, config=config, retries=0, **keys) as conn:
        conn.upload('bucket', 'key', data)
        with Room(conn.memory_budget()) as room:
            room.fit(2 * MIB)
            download = gevent.spawn(conn.download, 'bucket', 'key')
            gevent.sleep(1.5)
            assert not download.ready()

        assert download.get(timeout=30) == data
        assert conn.memory_budget().used_bytes == 0
    assert len(own_store.log('GetObject')) == 1
