"""Random sequences of uploads, overwrites, renames, copies, deletions, listings, kills and faults, compared with a dictionary.

S3PO_TEST_STORIES and S3PO_TEST_STEPS set their number and length; `make chaos` runs 500 of 50 steps.
"""

from __future__ import annotations

import http.client
import os
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

import s3po
from tests.conftest import BUCKET
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.machine import Game
from tests.support.servers import Store

pytestmark = pytest.mark.slow

STORIES = int(os.environ.get('S3PO_TEST_STORIES', '25'))
STEPS = int(os.environ.get('S3PO_TEST_STEPS', '30'))


def open_uploads(store: Store, bucket: str) -> list[str]:
    connection = http.client.HTTPConnection('127.0.0.1', store.port, timeout=10)
    connection.request('GET', f'/{bucket}?uploads')
    text = connection.getresponse().read().decode()
    connection.close()
    return re.findall('<Upload><Key>([^<]*)', text)


def test_stories(store: Store) -> None:
    """Over the wire transport, each key always has one of its possible values, and no upload is left open."""

    def connect(**arguments: Any) -> s3po.Connection:
        return s3po.Connection(
            endpoint_url=store.endpoint_url,
            region='us-east-1',
            access_key_id='key',
            secret_access_key=SECRET_ACCESS_KEY,
            transport='wire',
            **arguments,
        )

    def begin() -> str:
        store.reset()
        with connect() as connection:
            connection.create_bucket(BUCKET)
        return BUCKET

    class StoreGame(Game):
        pass

    StoreGame.connect, StoreGame.begin = staticmethod(connect), staticmethod(begin)
    StoreGame.script = staticmethod(store.script)
    StoreGame.open_uploads = staticmethod(lambda bucket: open_uploads(store, bucket))
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    run_state_machine_as_test(
        StoreGame,
        settings=settings(
            max_examples=STORIES, stateful_step_count=STEPS, deadline=None, suppress_health_check=checks, database=None
        ),
    )
