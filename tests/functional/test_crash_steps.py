"""A program that is killed before, within or after any of its writes, and started again: all is done, and nothing is left."""

from __future__ import annotations

import itertools
import pathlib
import random
import signal
import subprocess
import sys

import pytest

import s3po
from tests.conftest import BUCKET
from tests.support.crashing_at import NAMES, content
from tests.support.servers import CHECKOUT, Store

LIMIT_S = 60
WHENS = ('before', 'within', 'after')
SAMPLES = 12


def run(doing: str, store: Store, directory: pathlib.Path, step: int = 0, when: str = 'after') -> list[int] | None:
    """Run the program. Returns what it printed; None if it was killed."""
    command = [sys.executable, '-m', 'tests.support.crashing_at', doing, store.endpoint_url, str(directory), str(step), when]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, timeout=LIMIT_S, check=False)
    if ended.returncode == -signal.SIGKILL:
        return None
    assert ended.returncode == 0, ended.stderr.decode()
    return [int(word) for word in ended.stdout.split()]


def begin(doing: str, store: Store, directory: pathlib.Path) -> None:
    """Make the sources, and remove what another case has left."""
    store.reset()
    store.create_bucket(BUCKET)
    (directory / 'files').mkdir(parents=True)
    if doing == 'upload':
        for name in NAMES:
            (directory / 'files' / name).write_bytes(content(name))
    else:
        with connection(store) as conn:
            for name in NAMES:
                conn.upload(BUCKET, name, content(name))


def connection(store: Store) -> s3po.Connection:
    return s3po.Connection(access_key_id='key', secret_access_key='secret', endpoint_url=store.endpoint_url, region='us-east-1')


def check(doing: str, store: Store, directory: pathlib.Path) -> None:
    files = {path.name for path in (directory / 'files').iterdir()}
    assert set((directory / 'called').read_text().split()) == set(NAMES)
    with connection(store) as conn:
        if doing == 'upload':
            assert files == set(NAMES) - {'moved'}
            assert all(conn.download(BUCKET, name) == content(name) for name in NAMES)
        else:
            assert files == set(NAMES)
            assert all((directory / 'files' / name).read_bytes() == content(name) for name in NAMES)
        assert 'Uploads' not in conn.conn.list_multipart_uploads(Bucket=BUCKET)


@pytest.mark.slow
@pytest.mark.parametrize('doing', ['upload', 'download'])
def test_steps(own_store: Store, tmp_path: pathlib.Path, doing: str) -> None:
    """After a kill at any write, a second run does the rest; a third one has nothing to do."""
    begin(doing, own_store, tmp_path / 'all')
    printed = run(doing, own_store, tmp_path / 'all')
    assert printed is not None
    steps, skipped, failed = printed
    assert (skipped, failed) == (0, 0)
    check(doing, own_store, tmp_path / 'all')
    cases = list(itertools.product(range(1, steps + 1), WHENS))

    for step, when in random.Random(1).sample(cases, SAMPLES):
        directory = tmp_path / f'{step}-{when}'
        begin(doing, own_store, directory)
        # (It may end before: the number of writes differs from run to run, because a read may return more or less.)
        run(doing, own_store, directory, step, when)

        printed = run(doing, own_store, directory)

        assert printed is not None, (step, when)
        assert printed[2] == 0, (step, when)
        check(doing, own_store, directory)
        before = len(own_store.log())
        assert run(doing, own_store, directory)[1:] == [len(NAMES), 0], (step, when)  # type: ignore[index]
        assert len(own_store.log()) == before
