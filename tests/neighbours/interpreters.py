"""The Python interpreters for the programs: that of the tests, and those that tests/support/pythons.sh found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

__all__ = ['VERSIONS', 'find']

# All versions of Python that s3po supports.
VERSIONS = ('3.11', '3.12', '3.13')


def find(version: str) -> str:
    """The path of an interpreter with s3po and its dependencies. Without one the test is skipped; under CI it fails."""
    if version == '{}.{}'.format(*sys.version_info):
        return sys.executable
    python = Path(sys.prefix, f'python{version}', 'bin', 'python')
    if not python.exists():
        what = f'no Python {version} on this machine; see tests/support/pythons.sh'
        pytest.fail(what) if os.environ.get('CI') else pytest.skip(what)
    return str(python)
