"""Writers that were never closed: logged when they are garbage collected or when the program ends.

The data is lost, so each is logged as an ERROR too: Python ignores ResourceWarning by default.
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

# Each writer, with the process that opened it. (S3Writer imports this module, so its type is not named here.)
_watched: Final[weakref.WeakKeyDictionary[Any, object]] = weakref.WeakKeyDictionary()


def watch(writer: Any) -> None:
    """Abort a writer at the end of the program, unless it is closed by then."""
    if not _watched:
        atexit.unregister(_abort_all)
        atexit.register(_abort_all)
    _watched[writer] = process.mark


def tell(writer: Any) -> None:
    """Log an ERROR and emit a ResourceWarning for a writer that was never closed."""
    text = f'{writer!r} was never closed: its object was not published'
    log.error('%s', text)
    warnings.warn(text, ResourceWarning, source=writer, stacklevel=3)


def _abort_all() -> None:
    for writer, opened_by in list(_watched.items()):
        # After a fork, a writer of the parent belongs to the parent.
        if not writer.closed and opened_by is process.mark:
            tell(writer)
            writer.abort()
