"""Whatever was recorded, a journal knows the same while it is written, after it is read again, and after it is compacted."""

from __future__ import annotations

import pathlib
import random

import pytest

from s3po.errors import S3poError
from s3po.jobs import Call
from s3po.journal import Entry, Journal, Ledger
from s3po.journal.identity import Identity
from s3po.model import ObjectRef, TransferResult

BUCKET, KEYS = 'bucket', 'abc'
STATES = ('begun', 'stored', 'done', 'failed')


def result(size_bytes: int) -> TransferResult:
    return TransferResult(
        bucket=BUCKET,
        key='a',
        size_bytes=size_bytes,
        etag='"e"',
        version_id=None,
        checksum=None,
        parts=1,
        attempts=1,
        seconds=0.1,
    )


def some_call(chance: random.Random) -> Call:
    """A call whose destination others have too."""
    key, other = chance.choice(KEYS), chance.choice(KEYS)
    ref = ObjectRef(bucket=BUCKET, key=key)
    return chance.choice(
        [
            Call('upload', ref, {'source': chance.choice([b'one', b'three'])}),
            Call('upload', ref, {'source': bytearray(b'one')}),
            Call('upload', ref, {'source': b'one', 'content_type': 'text/plain'}),
            Call('upload_file', ref, {'path': '/nowhere'}),
            Call('delete', ref, {}),
            Call('delete', ObjectRef(bucket=BUCKET, key=key, version_id='v'), {}),
            Call('copy', ref, {'to_bucket': BUCKET, 'to_key': other}),
            Call('move', ref, {'to_bucket': BUCKET, 'to_key': other}),
            Call('delete_many', ref, {'keys': [key, other]}),
        ]
    )


def record(ledger: Ledger, call: Call, chance: random.Random) -> None:
    """One job, with some of its records."""
    entry = Entry(ledger, call)
    entry.result = result(chance.randint(1, 9)) if call.operation.startswith('upload') else None
    if chance.random() < 0.3:
        ledger.begin(entry)
    if chance.random() < 0.3:
        ledger.stored(entry, entry.result)
    if chance.random() < 0.6:
        ledger.done(entry)
    elif chance.random() < 0.5:
        ledger.failed(entry, S3poError('failed'))


def known(ledger: Ledger, calls: list[Call]) -> tuple[object, ...]:
    """What the next run would find about each call, and the figures."""
    ledger._begin = 1 << 60
    found = []
    for call in calls:
        for n in range(3):
            entry = Entry.__new__(Entry)
            Identity.__init__(entry, call, ledger.store)
            entry.n, entry.slot = n, 0
            said = ledger.found(entry)
            found.append(None if said is None else (said['state'], said['job']))
    return found, [ledger.count(state) for state in STATES], ledger.size_bytes


@pytest.mark.parametrize('seed', range(150))
def test_histories(tmp_path: pathlib.Path, seed: int) -> None:
    chance, journal, calls = random.Random(seed), Journal(tmp_path / 'job.s3po'), list[Call]()
    for _ in range(chance.randint(1, 3)):
        ledger = journal.open(None)
        for _ in range(chance.randint(1, 12)):
            calls.append(some_call(chance))
            record(ledger, calls[-1], chance)
        written = known(ledger, calls)
        ledger.close()

        ledger = journal.open(None)
        assert known(ledger, calls) == written
        ledger._compact()
        assert known(ledger, calls) == written
        ledger.close()
