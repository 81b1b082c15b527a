"""s3po.compat: the import lines of other tools. What the interfaces are made of."""

from __future__ import annotations

import ast
import importlib
import pathlib
import pkgutil
import sys

import pytest

import s3po
from s3po import compat
from tests.support.programs import run_command

ROOT = pathlib.Path(s3po.__file__).parent
MODULES = sorted(found.name for found in pkgutil.walk_packages(compat.__path__, 's3po.compat.'))
# The limit for all interfaces together, so that what two of them share stands once.
MAX_LINES = 3200
# Modules for retries, signing, planning and connections: an interface uses those of Connection.
FORBIDDEN = {'tenacity', 'socket', 'ssl', 'hmac', 'hashlib', 'http.client', 'urllib.request', 'httptools', 'botocore'}
# The only exception: S3-PO's waits of 1, 2 and 4 minutes are a value that a RetryPolicy takes.
ALLOWED = {('legacy.py', 'tenacity.wait_exponential')}


def files_of_interfaces() -> list[pathlib.Path]:
    return [path for room in ('interfaces', 'compat') for path in (ROOT / room).rglob('*.py')]


@pytest.mark.parametrize('module', MODULES)
def test_names_are_described(module: str) -> None:
    """The docstring of s3po.compat names each module, and each name in it."""
    text = compat.__doc__ or ''
    names = getattr(importlib.import_module(module), '__all__', ())

    assert module in text
    assert [name for name in names if name not in text] == []


def test_lazy(tmp_path: pathlib.Path) -> None:
    """`import s3po` imports no compat module, and `import s3po.compat` none of its modules."""
    program = (
        'import sys, s3po; before = [name for name in sys.modules if "compat" in name and name.startswith("s3po")]; '
        'import s3po.compat; print(before, [name for name in sys.modules if name.startswith("s3po.compat.")])'
    )

    assert run_command([sys.executable, '-c', program], {}, tmp_path).out == '[] []\n'


def test_lines() -> None:
    """The interfaces and compat together stay small."""
    assert sum(len(path.read_text().splitlines()) for path in files_of_interfaces()) < MAX_LINES


def test_no_machinery() -> None:
    """No interface has retries, signing, planning or connections of its own."""
    found = set()
    for path in files_of_interfaces():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {(path.name, alias.name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {(path.name, f'{node.module}.{alias.name}') for alias in node.names}
    foreign = {(file, name) for file, name in found if not FORBIDDEN.isdisjoint(_with_parents(name))}

    assert foreign <= ALLOWED


def _with_parents(name: str) -> set[str]:
    """A dotted name and the modules that contain it."""
    parts = name.split('.')
    return {'.'.join(parts[:count]) for count in range(1, len(parts) + 1)}
