"""Each entry of the fault catalogue has a test, or a reason in tests/faults.rst."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.report import ENTRIES, explained
from tests.support import quick

TESTS = Path(__file__).parent.parent


def test_every_entry() -> None:
    """Each entry has a test or an explanation, and no entry with a complete explanation has a test."""
    marked = set()
    for path in TESTS.rglob('test_*.py'):
        marked.update(re.findall(r"mark\.fault\('(F\d\d)'", path.read_text()))

    assert [each for each in ENTRIES if each not in marked and each not in explained()] == []
    assert marked <= set(ENTRIES)


def test_what_a_quick_run_leaves_out(request: pytest.FixtureRequest) -> None:
    """The docstring of tests/support/quick.py names the entries."""
    tested, tested_quickly = request.config.stash[quick.FAULTS]
    if set(ENTRIES) - tested - set(explained()):
        pytest.skip('needs a run of all tests')

    assert quick.__doc__ is not None
    assert set(re.findall(r'F\d\d', quick.__doc__)) == tested - tested_quickly
