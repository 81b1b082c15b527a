"""Many random faults at once (F64)."""

from __future__ import annotations

import pytest

from s3po.config import MIB
from tests.support.chaos import chaos
from tests.support.servers import Store

pytestmark = pytest.mark.slow

# One of the seeds with which a CompleteMultipartUpload that the store has carried out meets F26.
SEED = 7


@pytest.mark.fault('F64', only='wire')
def test_chaos(store: Store) -> None:
    """A short run against the store of the tests. `make chaos` runs it for longer, against a real server."""
    spoiled, clean, counts = chaos(store.endpoint_url, seed=SEED, objects=300, total_bytes=150 * MIB, checksum='auto')

    print(f'seed {SEED}: {spoiled}; without faults {clean.seconds:.1f} s; {counts}')
    assert (spoiled.lost, spoiled.corrupted, spoiled.twice, spoiled.left) == ([], [], [], [])
    assert clean.is_clean
    assert all(counts.get(each) for each in ('F04', 'F08', 'F23', 'F26', 'F26 done', 'F42', 'F46'))
