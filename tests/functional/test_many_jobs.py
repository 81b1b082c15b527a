"""A batch that keeps no results uses no more memory for 100,000 jobs than for 1,000.

It runs over the transport in memory, which passes the same tests as the real ones (test_transport_conformance.py), in a
process of its own, so that other tests do not affect the memory.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import gc, json, resource, sys
import s3po
from tests.support.memory import MemoryTransport

def used_bytes():
    gc.collect()
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()

memory = MemoryTransport()
memory.is_logging = False
memory.store.create_bucket('bucket')
conn = s3po.Connection(transport=memory)
seen = [0]

def count(result):
    seen[0] += 1

def run(jobs):
    with conn.batch(50, keep_results=False) as batch:
        for number in range(jobs):
            batch.upload('bucket', f'key{number % 100}', b'x' * 100, callback=count)
    return batch.report().succeeded

run(1000)
small = used_bytes()
succeeded = run(100_000)
print(json.dumps({'succeeded': succeeded, 'seen': seen[0], 'grown': used_bytes() - small}))
"""


def test_memory_does_not_grow_with_the_jobs() -> None:
    """100,000 jobs use less than 20 MB more than 1,000 jobs, and all of them are done."""
    done = subprocess.run([sys.executable, '-c', SCRIPT], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr

    found = json.loads(done.stdout)
    assert found['succeeded'] == 100_000
    assert found['seen'] == 101_000
    assert found['grown'] < 20_000_000
