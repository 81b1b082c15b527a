"""A pytest plugin that keeps the processes of a run small, and prints their peaks: `make test` stays below 400 MiB."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from typing import Any, Final

import pytest

__all__ = ['pytest_runtest_logfinish', 'pytest_sessionfinish', 'pytest_terminal_summary', 'pytest_testnodedown']

# The unit of getrusage(): kilobytes, except on macOS.
UNIT_BYTES: Final = 1 if sys.platform == 'darwin' else 1024
# A garbage collection takes 30 ms, so it is not done after every test.
GROWTH_BYTES: Final = 32 << 20
PEAKS: Final = pytest.StashKey[dict[str, int]]()

_malloc_trim: Any = getattr(ctypes.CDLL(None), 'malloc_trim', None)
_lowest = [sys.maxsize]


def pytest_runtest_logfinish() -> None:
    """Free large objects in reference cycles. Python counts objects, not bytes, and would wait for too long."""
    with contextlib.suppress(FileNotFoundError):  # only Linux has this file
        used_bytes = _used_bytes()
        _lowest[0] = min(_lowest[0], used_bytes)
        if used_bytes > _lowest[0] + GROWTH_BYTES:
            gc.collect()
            if _malloc_trim is not None:
                # glibc keeps what was freed between blocks that are in use.
                _malloc_trim(0)
            # Objects that are left belong to the run.
            _lowest[0] = _used_bytes()


def _used_bytes() -> int:
    """The memory of this process in bytes."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _peaks() -> dict[str, int]:
    """MiB of this process, and of the largest process that it started."""
    return {
        name: resource.getrusage(who).ru_maxrss * UNIT_BYTES >> 20
        for name, who in (('pytest', resource.RUSAGE_SELF), ('started by it', resource.RUSAGE_CHILDREN))
    }


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the figures of a pytest-xdist worker to the process that prints them."""
    output: dict[str, Any] | None = getattr(session.config, 'workeroutput', None)
    if output is not None:
        output['peak_memory'] = _peaks()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Store a worker's figures."""
    for name, peak in getattr(node, 'workeroutput', {}).get('peak_memory', {}).items():
        node.config.stash.setdefault(PEAKS, {})[f'{node.gateway.id} {name}'] = peak


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the figures."""
    found = config.stash.get(PEAKS, {}) or _peaks()
    terminalreporter.write_line('peak memory in MiB: ' + ', '.join(f'{name} {peak}' for name, peak in found.items()))
