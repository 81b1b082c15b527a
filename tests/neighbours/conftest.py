"""Fixtures: a store with a bucket, and a runner of programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.neighbours.programs.shared import BUCKET
from tests.neighbours.running import ORDERS, Runner
from tests.support.servers import Store
from tests.support.store_client import Raw


@pytest.fixture(params=ORDERS)
def order(request: pytest.FixtureRequest) -> str:
    """The place where the program imports s3po."""
    return request.param


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Iterator[Runner]:
    """Runs programs; those that are still running are killed after the test."""
    with Raw(store) as request:
        assert request('PUT', f'/{BUCKET}').status == 200
    with Runner(store=store, directory=tmp_path) as runner:
        yield runner
