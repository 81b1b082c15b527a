"""The number of bytes that a call will transfer, as far as it is known before the call is made."""

from __future__ import annotations

import os
import stat
from typing import Any

from s3po.jobs import Call

__all__ = ['size_of']

# The operations that transfer no bytes of objects.
_WITHOUT_BYTES = frozenset({'head', 'exists', 'delete', 'list', 'delete_many', 'create_bucket', 'delete_bucket'})


def size_of(call: Call) -> int | None:
    """The size in bytes; None if it is not known yet: of downloads, copies, streams and compressed uploads."""
    if call.operation in _WITHOUT_BYTES:
        return 0
    if call.operation not in ('upload', 'upload_file') or call.options.get('compress') is not None:
        return None
    is_file = call.operation == 'upload_file'
    source: Any = call.options.get('path' if is_file else 'source')
    if is_file or isinstance(source, os.PathLike):
        return _file_bytes(source)
    if isinstance(source, memoryview):
        return source.nbytes
    if isinstance(source, bytes | bytearray) or (isinstance(source, str) and source.isascii()):
        return len(source)
    return None


def _file_bytes(path: Any) -> int | None:
    try:
        found = os.stat(path)
    except Exception:  # noqa: BLE001  (a path of the caller's class may raise anything, and the transfer will report it)
        return None
    # Files in /proc have a size of 0, and content.
    return found.st_size or None if stat.S_ISREG(found.st_mode) else None
