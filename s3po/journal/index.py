"""A compact table in memory: the last record of each destination.

A million destinations take 32 MiB; a dict would take 150. It is an open-addressing hash table in arrays of integers.
"""

from __future__ import annotations

from array import array
from typing import Final

from s3po.journal.lines import ALIGNMENT

__all__ = ['Index']

# The table is doubled when this share of its slots is taken.
MAX_LOAD: Final = 0.66
FEWEST_SLOTS: Final = 1 << 10
# Up to here it grows by 4: each growth takes time for each slot.
FEW_SLOTS: Final = 1 << 20
MIXED: Final = 0xFFFF_FFFF


class Index:
    """Maps the hash of a destination to the offset of its last record, and numbers equal calls of this run."""

    def __init__(self, slots: int = FEWEST_SLOTS) -> None:
        self._hashes = array('Q', bytes(8 * slots))
        self._units = array('I', bytes(4 * slots))
        # A part of the hash of the call that this run has submitted for the destination; 0 for none; MIXED: see _counts.
        self._tags = array('I', bytes(4 * slots))
        self._mask = slots - 1
        self._room = int(slots * MAX_LOAD)
        # The number of submissions, where a destination has more than one.
        self._counts: dict[tuple[int, int], int] = {}
        self._used = 0

    @classmethod
    def for_destinations(cls, count: int) -> Index:
        """A table that need not grow for so many destinations."""
        slots = FEWEST_SLOTS
        while slots * MAX_LOAD <= count:
            slots *= 2
        return cls(slots)

    def __len__(self) -> int:
        """The number of destinations, including those that have no record yet."""
        return self._used

    def offset(self, on: int, slot: int = 0) -> int:
        """The offset of the last record of a destination; 0 for none.

        Args:
            on: The destination.
            slot: The slot from number(), which saves the search if the table has not grown since.
        """
        hashes, mask = self._hashes, self._mask
        if hashes[slot] == on:
            return self._units[slot] * ALIGNMENT
        at = on & mask
        while (found := hashes[at]) != on:
            if not found:
                return 0
            at = (at + 1) & mask
        return self._units[at] * ALIGNMENT

    def put(self, on: int, offset: int, slot: int = 0) -> int:
        """Set the last record of a destination. Returns the offset of the one before; 0 for none.

        Args:
            on: The destination.
            offset: The offset of the record.
            slot: The slot from number(), which saves the search if the table has not grown since.
        """
        if self._hashes[slot] != on:
            slot = self._slot(on)
        units = self._units
        before = units[slot]
        units[slot] = offset // ALIGNMENT
        return before * ALIGNMENT

    def number(self, on: int, call: str) -> tuple[int, int]:
        """The number of a call among the equal calls of this run, from 0; and the slot of its destination.

        Args:
            on: The destination.
            call: The hash of the call.
        """
        hashes, mask, tag = self._hashes, self._mask, (hash(call) & 0x7FFF_FFFF) + 1
        at = on & mask
        while (found := hashes[at]) != on:
            if not found:
                if self._used >= self._room:
                    at = self._slot(on)
                else:
                    self._used += 1
                    hashes[at] = on
                self._tags[at] = tag
                return 0, at
            at = (at + 1) & mask
        known = self._tags[at]
        if not known:
            self._tags[at] = tag
            return 0, at
        counts = self._counts
        if known not in (tag, MIXED):
            counts.setdefault((on, known), 1)
            self._tags[at] = MIXED
        n = counts.get((on, tag), 0 if known != tag else 1)
        counts[on, tag] = n + 1
        return n, at

    def _slot(self, on: int) -> int:
        hashes, mask = self._hashes, self._mask
        at = on & mask
        while (found := hashes[at]) != on:
            if not found:
                if self._used >= self._room:
                    self._grow()
                    return self._slot(on)
                self._used += 1
                hashes[at] = on
                return at
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        hashes, units, tags = self._hashes, self._units, self._tags
        slots = len(hashes) * (4 if len(hashes) < FEW_SLOTS else 2)
        mask = slots - 1
        new_hashes, new_units, new_tags = (
            array('Q', bytes(8 * slots)),
            array('I', bytes(4 * slots)),
            array('I', bytes(4 * slots)),
        )
        for each, on in enumerate(hashes):
            if on:
                at = on & mask
                while new_hashes[at]:
                    at = (at + 1) & mask
                new_hashes[at], new_units[at], new_tags[at] = on, units[each], tags[each]
        self._hashes, self._units, self._tags = new_hashes, new_units, new_tags
        self._mask, self._room = mask, int(slots * MAX_LOAD)
