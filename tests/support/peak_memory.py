"""A plugin of pytest's that keeps the processes of a run small, and prints their peaks: `make test` stays below 400 MiB."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from typing import Any, Final

import pytest

__all__ = ['pytest_runtest_logfinish', 'pytest_sessionfinish', 'pytest_terminal_summary', 'pytest_testnodedown']

# Of getrusage(): kilobytes, but on macOS.
UNIT_BYTES: Final = 1 if sys.platform == 'darwin' else 1024
# A garbage collection takes 30 ms, so there is none after most tests.
GROWTH_BYTES: Final = 32 << 20
PEAKS: Final = pytest.StashKey[dict[str, int]]()

_malloc_trim: Any = getattr(ctypes.CDLL(None), 'malloc_trim', None)
_lowest = [sys.maxsize]


def pytest_runtest_logfinish() -> None:
    """Free objects of many MiB that are in reference cycles. Python counts objects, not bytes, and would wait for too long."""
    with contextlib.suppress(FileNotFoundError):  # only Linux has it
        used_bytes = _used_bytes()
        _lowest[0] = min(_lowest[0], used_bytes)
        if used_bytes > _lowest[0] + GROWTH_BYTES:
            gc.collect()
            if _malloc_trim is not None:
                # glibc keeps what was freed between blocks that are in use.
                _malloc_trim(0)
            # What is left belongs to the run.
            _lowest[0] = _used_bytes()


def _used_bytes() -> int:
    """Memory of this process."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()


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
