"""Writers that were never closed: logged when they are collected, or when the program ends.

Python ignores a ResourceWarning by default. Each is an ERROR of the log too, since the data that were written are lost.
"""

from __future__ import annotations

import atexit
import logging
import warnings
import weakref
from typing import Any, Final

from s3po.runtime import process

__all__ = ['tell', 'watch']

log = logging.getLogger(__name__)

# Writers, each with the process that opened it. (S3Writer imports this module.)
_watched: Final[weakref.WeakKeyDictionary[Any, object]] = weakref.WeakKeyDictionary()


def watch(writer: Any) -> None:
    """Have a writer aborted when the program ends, unless it is closed by then."""
    if not _watched:
        atexit.unregister(_abort_all)
        atexit.register(_abort_all)
    _watched[writer] = process.mark


def tell(writer: Any) -> None:
    """Log that a writer was never closed, and warn of it."""
    text = f'{writer!r} was never closed: it is not published'
    log.error('%s', text)
    warnings.warn(text, ResourceWarning, source=writer, stacklevel=3)


def _abort_all() -> None:
    for writer, opened_by in list(_watched.items()):
        # After a fork, a writer of the parent belongs to the parent.
        if not writer.closed and opened_by is process.mark:
            tell(writer)
            writer.abort()
