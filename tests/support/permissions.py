"""Makes file permissions apply to root as to any other user, so that tests of them pass for both.

The user stays the same: it can still read the checkout and its own files, in whatever folder they are.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import Final

import pytest

__all__ = ['bound_by_permissions', 'drop_override']

# linux/capability.h
VERSION_3: Final = 0x20080522
CAP_DAC_OVERRIDE: Final = 1
CAP_DAC_READ_SEARCH: Final = 2
OVERRIDES: Final = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH


def drop_override() -> None:
    """Make permissions apply to this thread and to threads that it starts later. Does nothing for users other than root."""
    if os.geteuid() == 0:
        state = _state()
        state[0] &= ~OVERRIDES
        _set(state)


@contextlib.contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Make permissions apply to this thread within the block."""
    if os.geteuid() != 0:
        yield
        return
    before = _state()
    drop_override()
    try:
        yield
    finally:
        _set(before)


def _header() -> ctypes.Array[ctypes.c_uint32]:
    """The version, and 0 for this thread."""
    return (ctypes.c_uint32 * 2)(VERSION_3, 0)


def _state() -> ctypes.Array[ctypes.c_uint32]:
    """The effective, permitted and inheritable capabilities, twice; those for files are in the first three."""
    if sys.platform != 'linux':
        pytest.skip('permissions do not bind root here')
    state = (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capget(_header(), state) == 0
    return state


def _set(state: ctypes.Array[ctypes.c_uint32]) -> None:
    assert ctypes.CDLL(None).capset(_header(), state) == 0
