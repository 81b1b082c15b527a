"""Notices a listing that goes round: a page, or a place to go on at, that was there before.

Keys need not ascend: directory buckets and some stores do not sort them. But no page of a listing comes twice.
"""

from __future__ import annotations

from typing import Final

__all__ = ['Loop']

# A bucket full of deleted versions gives many pages without keys; more than this in a row are no listing.
MAX_EMPTY_PAGES: Final = 10_000


class Loop:
    """Compares each page of one listing with the last one, and with one of those before, in constant memory.

    The one before is a later one each time that twice as many pages have come (Brent's algorithm), so that a loop of any length
    is found.
    """

    def __init__(self) -> None:
        self._turned = self._empty = 0
        self._last: object = None
        self._known: object = None

    def is_closed_by(self, page: object) -> bool:
        """Whether a page was there before.

        Args:
            page: What tells it from others, such as its first and last key; None for a page without any.
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
