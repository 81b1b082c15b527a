"""Mixed jobs through the faulty proxy for minutes: nothing leaks, and no data are wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.servers import CHECKOUT
from tests.support.soaking import ALLOWED, ENDS, LATE_S, Counts, grown

SECONDS = 180


def counts(**others: int) -> Counts:
    """The counts after a round."""
    return {**dict.fromkeys(ALLOWED, 10), **others}


def test_growth() -> None:
    """What is more in each of the last rounds has grown; a single one that is higher is no growth."""
    calm = [counts()] * 2 * ENDS

    assert grown(calm) == {}
    assert grown([*calm, counts(descriptors=20, MiB=200)]) == {}
    assert grown([*calm, *[counts(descriptors=20 + number) for number in range(ENDS)]]) == {'descriptors': (10, 20)}
    assert grown([*calm, counts(MiB=100), counts(MiB=300)]) == {'MiB': (10, 100)}


@pytest.mark.slow
def test_soak() -> None:
    """Three minutes; `make soak` runs it for hours."""
    # Without coverage's own memory.
    environment = {name: value for name, value in os.environ.items() if not name.startswith('COVERAGE_')}
    command = [sys.executable, '-m', 'tests.support.soaking', '--seconds', str(SECONDS)]

    ended = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=SECONDS + LATE_S + 60, check=False
    )

    print(ended.stdout[-5000:], ended.stderr[-5000:])
    assert ended.returncode == 0
