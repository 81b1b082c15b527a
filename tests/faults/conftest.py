"""Fixtures of the fault catalogue: both transports, and invariants that are checked after every test.

The invariants:

- I1 no temporary file is left in the target's directory (each test checks that the target is absent, unchanged or complete);
- I2 no multipart upload is open, unless the test is marked `leaves_upload`, with the reason;
- I3 each job has exactly one result: tests with a batch call `jobs_ended()`;
- I4 no log record of any logger (at DEBUG) and no printed text contains a secret (tests/support/canaries.py);
- I5 the numbers of live greenlets and open descriptors are the same as before the test.
"""

from __future__ import annotations

import gc
import http.client
import os
import re
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

import s3po
from tests.conftest import BUCKET
from tests.support.canaries import _watched, pytest_runtest_makereport
from tests.support.kinds import KINDS, Kind
from tests.support.servers import Store

__all__ = ['_watched', 'jobs_ended', 'pytest_runtest_makereport']

SETTLE_S = 5.0

# All greenlets started since this module was imported that are still referenced.
_started: weakref.WeakSet[Any] = weakref.WeakSet()
gevent.Greenlet.add_spawn_callback(_started.add)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport. A test of a fault that concerns one transport names it: `@pytest.mark.fault('F33', only='wire')`."""
    for mark in request.node.iter_markers('fault'):
        only = mark.kwargs.get('only')
        if only not in (None, request.param):
            pytest.skip(f'concerns {only} alone; see tests/faults.rst')
    return KINDS[request.param]


@pytest.fixture(scope='session', autouse=True)
def _begun(_store_server: Store) -> None:
    """Creates, before anything is counted, what lives as long as the process (threads of the pool, the loop's descriptors)."""
    for name in KINDS:
        with s3po.Connection(
            endpoint_url=_store_server.endpoint_url,
            region='us-east-1',
            access_key_id='key',
            secret_access_key='secret',
            transport=name,
        ) as connection:
            connection.create_bucket(BUCKET)
            connection.upload(BUCKET, 'key', b'x' * 3_000_000)
            connection.download(BUCKET, 'key')
    _store_server.reset()


@pytest.fixture(autouse=True)
def invariants(
    request: pytest.FixtureRequest, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Checks the invariants after each test."""
    before = living()
    yield
    assert left_behind(tmp_path) == []
    if request.node.get_closest_marker('leaves_upload') is None:
        assert open_uploads(store) == []
    # Some log records hold tracebacks, which keep objects of the test alive.
    caplog.get_records('call').clear()
    settle(before)


def left_behind(directory: Path) -> list[str]:
    """The paths of all temporary files below a directory."""
    return [str(path) for path in directory.rglob('.s3po-*')]


def open_uploads(store: Store) -> list[tuple[str, str]]:
    """The (bucket, key) of each multipart upload that the store lists as neither completed nor aborted."""
    found = []
    for bucket in re.findall('<Bucket><Name>([^<]*)', ask(store, '/')):
        found += [(bucket, key) for key in re.findall('<Upload><Key>([^<]*)', ask(store, f'/{bucket}?uploads'))]
    return found


def ask(store: Store, target: str) -> str:
    """The body of the response to one GET, sent without s3po. (The store checks no signature.)"""
    connection = http.client.HTTPConnection('127.0.0.1', store.port, timeout=SETTLE_S)
    try:
        connection.request('GET', target)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def jobs_ended(batch: s3po.Batch, count: int) -> None:
    """Assert that each of the `count` jobs has one result or one error."""
    assert len(batch.results()) == count
    assert all(not isinstance(result, BaseException) or isinstance(result, s3po.S3poError) for result in batch.results())


def living() -> tuple[int, int]:
    """The number of live greenlets that were started in tests, and the number of open descriptors."""
    greenlets = [each for each in _started if not each.dead]
    return len(greenlets), len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0


def settle(before: tuple[int, int]) -> None:
    """Wait until no more greenlets and descriptors are in use than before; fail if this takes too long."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        now = living()
        if now[0] <= before[0] and now[1] <= before[1]:
            return
        gc.collect()
        gevent.sleep(0.02)
    greenlets, descriptors = living()
    assert greenlets <= before[0], 'greenlets that go on'
    assert descriptors <= before[1], 'descriptors that stay open'


Connect = Callable[..., s3po.Connection]
