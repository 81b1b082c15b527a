"""Short tracebacks: they show the failed call and the error, without the 20 internal frames.

The full traceback is logged at DEBUG before it is cut.
"""

from __future__ import annotations

import logging
import traceback
from types import TracebackType
from typing import Final

from s3po.errors import S3poError
from s3po.secrecy import redacted

__all__ = ['short_tracebacks', 'shortened']

log = logging.getLogger(__name__)

# Packages whose frames add nothing to the message. A cause raised by the caller's own code keeps its traceback.
INTERNAL: Final = frozenset({'s3po', 'botocore', 'urllib3', 'gevent', 'tenacity'})


class short_tracebacks:  # noqa: N801  (used like a function, and only in a `with`)
    """Cut the traceback of an S3poError raised in the `with` block. (A class: contextlib would restore the traceback.)"""

    __slots__ = ()

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, S3poError):
            shortened(error)


def shortened(error: S3poError) -> S3poError:
    """Drop the traceback of an error, and those of its internal causes, before it is raised again."""
    if log.isEnabledFor(logging.DEBUG):
        # Redacted text, because a cause from the caller's code may contain a secret.
        log.debug('the call failed:\n%s', redacted(''.join(traceback.format_exception(error))))
    found: BaseException | None = error
    seen: set[int] = set()
    # A program can make a cycle of causes.
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if type(found).__module__.partition('.')[0] in INTERNAL:
            found.__traceback__ = None
        found = found.__cause__
    return error
