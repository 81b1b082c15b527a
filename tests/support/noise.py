"""Random bytes for tests.

A module keeps its constants for the whole run, and a run imports all modules. So those that need many bytes share them: the
same size is the same object.
"""

from __future__ import annotations

import functools
import os

__all__ = ['noise']


@functools.cache
def noise(size_bytes: int, number: int = 0) -> bytes:
    """Random bytes: the same object for the same arguments, as long as the process lives.

    Args:
        size_bytes: The number of bytes. Use a size that other tests use, too.
        number: Another number returns other bytes.
    """
    return os.urandom(size_bytes)
