"""Tests of batches, run once more with worker processes: the same API, the same results and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import s3po
from tests.conftest import BUCKET, impatient
from tests.faults.test_batch_trust import (
    test_callback,
    test_errback,
    test_error_without_a_text,
    test_own_cancels_are_quiet,
    test_submissions_that_callbacks_wait_for,
    test_waits_in_callbacks,
)
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.servers import Store

__all__ = [
    'test_callback',
    'test_errback',
    'test_error_without_a_text',
    'test_own_cancels_are_quiet',
    'test_submissions_that_callbacks_wait_for',
    'test_waits_in_callbacks',
]

pytestmark = pytest.mark.slow


class Spread(s3po.Connection):
    """A connection whose batches have two worker processes, unless a call has another number."""

    def batch(self, size: int = 50, **options: Any) -> s3po.Batch:
        return super().batch(size, **{'processes': 2, **options})


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def connect() -> Iterator[Callable[..., s3po.Connection]]:
    made: list[s3po.Connection] = []

    def make(endpoint_url: str, **arguments: Any) -> s3po.Connection:
        keys = {'access_key_id': 'key', 'secret_access_key': SECRET_ACCESS_KEY, 'region': 'us-east-1'}
        made.append(Spread(endpoint_url=endpoint_url, **{'retry': impatient(), **keys, **arguments}))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


@pytest.fixture
def conn(store: Store, connect: Callable[..., s3po.Connection]) -> s3po.Connection:
    """A connection whose batches have worker processes."""
    return connect(store.endpoint_url)
