"""multiprocessing and process pools whose parents and children use s3po, before and after a transfer of the parent."""

from __future__ import annotations

import pytest

from tests.neighbours import interpreters
from tests.neighbours.running import Runner

KINDS = ('pool', 'executor', 'queue', 'pipe', 'manager')


@pytest.mark.parametrize('method', ['spawn', 'forkserver'])
@pytest.mark.parametrize('kind', KINDS)
def test_processes(run: Runner, order: str, kind: str, method: str) -> None:
    run(f'processes {kind} {method}', order)


@pytest.mark.parametrize('version', interpreters.VERSIONS)
@pytest.mark.parametrize('kind', KINDS)
def test_forks(run: Runner, order: str, kind: str, version: str) -> None:
    """s3po leaves no thread that Python 3.12 would warn about at a fork."""
    printed = run(f'processes {kind} fork', order, python=interpreters.find(version))

    # An exception raised by the warning would be lost.
    assert 'DeprecationWarning' not in printed
