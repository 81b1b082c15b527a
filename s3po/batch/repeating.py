"""Whether a call can be carried out again: streams can be read or written only once, and files of jobs do not have all data."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from s3po.errors import JobError
from s3po.jobs import LOST, Call

__all__ = ['refusal_of']


def refusal_of(call: Call, *, has_begun: bool = True) -> JobError | None:
    """The error for a call that cannot be repeated, because its data are gone; None for one that can.

    Args:
        call: The call.
        has_begun: False for a call that was never carried out, so that its source and target were not used.
    """
    if call.options.get('to') is LOST:
        return JobError(
            f'{call} cannot be repeated: the file of failed jobs does not have the connection of the other store; '
            'pass it: retry_failed(…, to=connection)'
        )
    for name, value in call.options.items():
        if value is LOST:
            was, is_ = ('were', 'are') if name == 'keys' else ('was', 'is')
            return JobError(
                f'{call} cannot be repeated: its {name} {was} in memory or an open file, or contained a '
                f'secret, and {is_} not in the file of failed jobs; submit it again'
            )
    if not has_begun:
        return None
    for name, new in (('source', 'a new source'), ('keys', 'new keys')):
        if _is_read_once(call.options.get(name)):
            return JobError(
                f'{call} cannot be repeated: its {name} can be read only once, and some of it may have '
                f'been read; submit it again with {new}'
            )
    if _is_written_once(call.options.get('target')):
        return JobError(
            f'{call} cannot be repeated: its target cannot seek, and some of the object may have been written to it; '
            f'submit it again with a new target'
        )
    return None


def _is_read_once(source: Any) -> bool:
    """Whether a source is a stream: reading it again would return only the rest."""
    if not hasattr(source, 'read'):
        return isinstance(source, Iterator)
    try:
        if not source.seekable():
            return True
    except (AttributeError, ValueError):
        # It has no seekable(), or is closed.
        return not hasattr(source, 'seek')
    # Text files without a binary layer (codecs.open) read ahead, so they cannot be set back exactly.
    return not isinstance(source, io.IOBase) and isinstance(source.read(0), str)


def _is_written_once(target: Any) -> bool:
    """Whether a target is a stream: an object that is written again would follow what was written before."""
    try:
        return hasattr(target, 'write') and not target.seekable()
    except (AttributeError, ValueError):
        # It has no seekable(), or is closed.
        return True
