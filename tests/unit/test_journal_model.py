"""Random programs that are killed at random steps and run again end with the objects that an uninterrupted run leaves."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Callable
from typing import Any

import pytest

import s3po
from s3po.errors import S3poError
from s3po.journal.ledger import Ledger
from tests.conftest import impatient
from tests.support.memory import MemoryTransport

BUCKET, KEYS = 'bucket', 'abcdefgh'
Step = Callable[[Any], object]


def program(chance: random.Random) -> list[Step]:
    """Some calls, none of which fails, and none of which removes or replaces what an earlier one has read or written."""
    untouched, readable, steps = set(KEYS), list[str](), list[Step]()
    while len(untouched) > 2:
        other = chance.choice(sorted(untouched))
        untouched.discard(other)
        key = chance.choice(readable) if readable else other
        kind = chance.choice(['upload', 'new', 'delete', 'copy', 'move', 'many'])
        if kind == 'upload' or (kind == 'copy' and key == other):
            steps.append(lambda to, other=other: to.upload(BUCKET, other, b'one'))
            readable.append(other)
        elif kind == 'new':
            steps.append(lambda to, other=other: to.upload(BUCKET, f'{other}-new', b'new', if_none_match='*'))
        elif kind == 'copy':
            steps.append(lambda to, key=key, other=other: to.copy(BUCKET, key, BUCKET, other))
            readable.append(other)
        elif kind == 'move':
            steps.append(lambda to, other=other: to.move(BUCKET, other, BUCKET, f'{other}-moved'))
            readable.append(f'{other}-moved')
        elif kind == 'delete':
            steps.append(lambda to, other=other: to.delete(BUCKET, other, missing_ok=False))
        else:
            steps.append(lambda to, other=other: to.delete_many(BUCKET, [other]))
    return steps


def filled() -> tuple[MemoryTransport, s3po.Connection]:
    memory = MemoryTransport()
    memory.store.create_bucket(BUCKET)
    conn = s3po.Connection(transport=memory, retry=impatient())
    for key in KEYS:
        conn.upload(BUCKET, key, key.encode())
    return memory, conn


def objects(conn: s3po.Connection) -> dict[str, bytes]:
    return {entry.key: conn.download(BUCKET, entry) for entry in conn.list(BUCKET)}


def life(
    conn: s3po.Connection, memory: MemoryTransport, journal: pathlib.Path, steps: list[Step], death: int | None
) -> s3po.Batch:
    """Run a program; from this step on, nothing reaches the store or the journal. None: it lives to its end."""
    taken, append = [0], Ledger.append

    def is_dead() -> bool:
        taken[0] += 1
        return death is not None and taken[0] > death

    def fault(operation: str, key: str, part: int | None) -> None:
        if is_dead():
            raise S3poError('the process is dead')

    def append_alive(ledger: Ledger, *arguments: Any) -> None:
        if not is_dead():
            append(ledger, *arguments)

    memory.fault = fault
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, 'append', append_alive)
        with conn.batch(1, journal=journal, on_error='collect') as batch:
            for step in steps:
                step(batch)
                batch.wait()
    memory.fault = None
    assert batch.failed is not None
    return batch


@pytest.mark.parametrize('seed', range(40))
def test_killed_programs(tmp_path: pathlib.Path, seed: int) -> None:
    """Whatever the calls and the moments, the objects are those of an uninterrupted run, and no call fails."""
    chance = random.Random(seed)
    steps = program(chance)
    _, plain = filled()
    for step in steps:
        step(plain)
    memory, conn = filled()
    for _ in range(chance.randint(1, 4)):
        life(conn, memory, tmp_path / 'job', steps, chance.randint(0, 4 * len(steps)))
    batch = life(conn, memory, tmp_path / 'job', steps, None)

    assert objects(conn) == objects(plain)
    assert [str(job) for job in batch.failed] == []
