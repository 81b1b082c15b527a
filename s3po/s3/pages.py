"""Detects a listing that repeats itself: a page or a continuation token that occurred before.

Keys need not be in order: directory buckets and some stores do not sort them. But no page of a listing occurs twice.
"""

from __future__ import annotations

from typing import Final

__all__ = ['Loop']

# A bucket full of deleted versions has many pages without keys; more than this in a row count as a loop.
MAX_EMPTY_PAGES: Final = 10_000


class Loop:
    """Compares each page of one listing with the last one and with one earlier page, in constant memory.

    The earlier page is replaced whenever the number of pages is a power of two (Brent's algorithm), so a loop of any length is
    found.
    """

    def __init__(self) -> None:
        self._turned = self._empty = 0
        self._last: object = None
        self._known: object = None

    def is_closed_by(self, page: object) -> bool:
        """Whether a page occurred before.

        Args:
            page: An identification of the page, such as its first and last key; None for a page without any.
        """
        if page is None:
            self._empty += 1
            return self._empty > MAX_EMPTY_PAGES
        self._empty = 0
        self._turned += 1
        if page in (self._last, self._known):
            return True
        self._last = page
        if self._turned & (self._turned - 1) == 0:
            self._known = page
        return False
