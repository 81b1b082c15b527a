"""The memory of a batch: its own budget for its jobs, and a warning when their values take more than that."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from s3po.jobs import Call
from s3po.memory import MemoryBudget
from s3po.model import Outcome

__all__ = ['KeptValues', 'perform_within']

log = logging.getLogger(__name__)

# The operations whose bodies and buffers count.
COUNTED: Final = frozenset({'upload', 'upload_file', 'download', 'download_file', 'copy', 'move'})


def perform_within(perform: Callable[[Call], Outcome], memory: MemoryBudget, call: Call) -> Outcome:
    """Carry out a call whose memory is counted by a budget of its own, not by the connection's."""
    if call.operation not in COUNTED:
        return perform(call)
    return perform(Call(call.operation, call.ref, {**call.options, 'memory': lambda: memory}))


class KeptValues:
    """Warns once when the bodies that jobs keep as their values exceed the limit of memory.

    Attributes:
        left_bytes: What may be kept before the warning. The batch subtracts each body itself, to save a call.
    """

    __slots__ = ('_limit_bytes', 'left_bytes')

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.left_bytes: float = limit_bytes

    def warn(self) -> None:
        """Warn. Called when `left_bytes` is below 0, and never again."""
        self.left_bytes = float('inf')
        log.warning(
            'the bodies that this batch has downloaded and keeps as values of its jobs exceed its max_memory of %d MiB, '
            'which does not count them. Give each download a callback= that takes its body, or a path as its target; with '
            'keep_results=False the batch keeps no jobs',
            self._limit_bytes >> 20,
        )
