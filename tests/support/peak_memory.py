"""A plugin of pytest's that prints how much memory each process of a run took at most: `make test` stays below 400 MiB."""

from __future__ import annotations

import resource
import sys
from typing import Any, Final

import pytest

__all__ = ['pytest_sessionfinish', 'pytest_terminal_summary', 'pytest_testnodedown']

# Of getrusage(): kilobytes, but on macOS.
UNIT_BYTES: Final = 1 if sys.platform == 'darwin' else 1024
PEAKS: Final = pytest.StashKey[dict[str, int]]()


def _peaks() -> dict[str, int]:
    """MiB of this process, and of the largest process that it started."""
    return {
        name: resource.getrusage(who).ru_maxrss * UNIT_BYTES >> 20
        for name, who in (('pytest', resource.RUSAGE_SELF), ('started by it', resource.RUSAGE_CHILDREN))
    }


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands its figures to the process that prints them."""
    output: dict[str, Any] | None = getattr(session.config, 'workeroutput', None)
    if output is not None:
        output['peak_memory'] = _peaks()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep a worker's figures."""
    for name, peak in getattr(node, 'workeroutput', {}).get('peak_memory', {}).items():
        node.config.stash.setdefault(PEAKS, {})[f'{node.gateway.id} {name}'] = peak


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print them."""
    found = config.stash.get(PEAKS, {}) or _peaks()
    terminalreporter.write_line('peak memory in MiB: ' + ', '.join(f'{name} {peak}' for name, peak in found.items()))
