"""Fixtures of all functional tests: no test may log or print a secret."""

from __future__ import annotations

from tests.support.canaries import _watched, pytest_runtest_makereport

__all__ = ['_watched', 'pytest_runtest_makereport']
