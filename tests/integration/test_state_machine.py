"""The random sequences of tests/functional/test_state_machine.py, without scripted faults, with a real store."""

from __future__ import annotations

import os
import secrets

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.conftest import Place, uploads
from tests.support.machine import Game

STORIES = int(os.environ.get('S3PO_TEST_STORIES', '10'))
STEPS = int(os.environ.get('S3PO_TEST_STEPS', '30'))


def test_stories(place: Place) -> None:
    """Each key always has one of its possible values, and no upload is left open."""
    buckets: list[str] = []
    with place.connect() as direct:

        def begin() -> str:
            clear()
            buckets.append(f's3po-test-{secrets.token_hex(8)}')
            direct.create_bucket(buckets[-1])
            return buckets[-1]

        def clear() -> None:
            while buckets:
                direct.delete_many(buckets[-1], [entry.key for entry in direct.list(buckets[-1])])
                direct.delete_bucket(buckets.pop())

        class StoreGame(Game):
            pass

        StoreGame.connect, StoreGame.begin = staticmethod(place.connect), staticmethod(begin)
        StoreGame.open_uploads = staticmethod(lambda bucket: [key for key, _ in uploads(direct, bucket)])
        checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
        run_state_machine_as_test(
            StoreGame,
            settings=settings(
                max_examples=STORIES, stateful_step_count=STEPS, deadline=None, suppress_health_check=checks, database=None
            ),
        )
        clear()
