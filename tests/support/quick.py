"""`pytest --quick`, which `make test` runs: a sample of the tests, for a result within minutes. `make test-all` runs all.

- Tests with the mark `slow` are left out: those that start several processes, wait for some time, or repeat something often.
- Of a parametrized test in tests/functional and tests/faults two cases are run for each entry of the fault catalogue: the first
  one over the wire transport, and one from the middle over boto. Tests in tests/unit run with all their cases.
- A test with the mark `sampled(count)` runs that many cases.
- hypothesis tries ten examples instead of a hundred.

These entries of the fault catalogue have no test in a quick run (tests/unit/test_fault_catalogue.py checks the list):

- F21, F24: the store throttles, or fails, for seconds
- F61: one job of a thousand fails
- F63, F84: few file descriptors
- F64: random faults for minutes
- F65: forks
- F76: a process is killed that downloads without a temporary file
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections import defaultdict
from collections.abc import Hashable
from typing import Any, Final

import pytest

__all__ = ['FAULTS', 'pytest_addoption', 'pytest_collection_modifyitems', 'pytest_configure']

# The entries of the fault catalogue that have tests: all, and those with a test in a quick run.
FAULTS: Final = pytest.StashKey[tuple[set[str], set[str]]]()
# All other tests run with all their cases.
SAMPLED: Final = ('functional', 'faults')


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption('--quick', action='store_true', help='run a sample of the tests, as `make test` does')


def pytest_configure(config: pytest.Config) -> None:
    """Set hypothesis's profile."""
    with contextlib.suppress(ImportError):  # not installed for tests/neighbours
        import hypothesis

        # The duration of an example means nothing on a machine with other load.
        checks = [hypothesis.HealthCheck.too_slow]
        # In CI, a change must not fail for a case that is unrelated to it; elsewhere, each run tries new cases.
        is_fixed = bool(os.environ.get('S3PO_TEST_FIXED'))
        options: dict[str, Any] = {'deadline': None, 'suppress_health_check': checks, 'derandomize': is_fixed}
        hypothesis.settings.register_profile('all', max_examples=100, **options)
        hypothesis.settings.register_profile('quick', hypothesis.settings.get_profile('all'), max_examples=10)
        hypothesis.settings.load_profile('quick' if config.getoption('quick') else 'all')


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that a quick run omits."""
    groups: defaultdict[Hashable, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker('slow') is None:
            groups[_group(item)].append(item)
    chosen = {item.nodeid for group in groups.values() for item in _sample(group)}
    config.stash[FAULTS] = _faults(items), _faults([item for item in items if item.nodeid in chosen])
    if not config.getoption('quick'):
        return
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in chosen])
    items[:] = [item for item in items if item.nodeid in chosen]


def _faults(items: list[pytest.Item]) -> set[str]:
    """The entries of the fault catalogue that these tests cover."""
    return {mark.args[0] for item in items for mark in item.iter_markers('fault')}


def _group(item: pytest.Item) -> Hashable:
    """The group of a test's cases, of which a sample is run."""
    faults = tuple(mark.args[0] for mark in item.iter_markers('fault'))
    return item.nodeid.partition('[')[0], _transport(item), faults


def _transport(item: pytest.Item) -> str | None:
    """'wire' or 'boto'; None if the test does not run over both."""
    callspec: Any = getattr(item, 'callspec', None)
    kind = None if callspec is None else callspec.params.get('kind')
    return kind if kind in ('wire', 'boto') else None


def _sample(group: list[pytest.Item]) -> list[pytest.Item]:
    """The cases that a quick run has."""
    mark, transport = group[0].get_closest_marker('sampled'), _transport(group[0])
    if mark is not None:
        # In an order that has nothing to do with that of the parameters: one in five could always have the same value.
        return sorted(group, key=lambda item: zlib.crc32(item.nodeid.encode()))[: mark.args[0]]
    if not any(part in SAMPLED for part in group[0].path.parts):
        return group
    first, middle = group[0], group[len(group) // 2]
    if transport is not None:
        return [first if transport == 'wire' else middle]
    return [first] if first is middle else [first, middle]
