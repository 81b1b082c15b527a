"""What all functional tests share: none of them may let a secret be seen."""

from __future__ import annotations

from tests.support.canaries import _watched, pytest_runtest_makereport

__all__ = ['_watched', 'pytest_runtest_makereport']
