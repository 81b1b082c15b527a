"""Determines the kind of a caller's target."""

from __future__ import annotations

import io
import os
from typing import Any

from s3po.body.kept import KeptSink
from s3po.body.local import local_errors
from s3po.body.sinks import BytesSink, FileSink, PathSink, Sink, TextSink
from s3po.errors import ConfigurationError

__all__ = ['open_sink']


def open_sink(target: Any, *, use_tmp_file: bool = True, fsync: bool = False, job: str | None = None) -> Sink:
    """Return the sink for a target.

    Args:
        target: None (memory), a path (str or os.PathLike), or a writable file object, binary or text.
        use_tmp_file: Whether a path is written through a temporary file; see TransferConfig.
        fsync: Whether a path is synchronised with the disk; see TransferConfig.
        job: Identifies the job, if the temporary file may stay for the next run; see KeptSink. None if it may not.

    Raises:
        ConfigurationError: The target is none of these.
        LocalError: The path cannot be written.
    """
    if target is None:
        return BytesSink()
    if isinstance(target, str | os.PathLike):
        path = target if isinstance(target, str) else os.fsdecode(target)
        if job is not None and use_tmp_file:
            return KeptSink(path, fsync=fsync, job=job)
        return PathSink(path, use_tmp_file=use_tmp_file, fsync=fsync)
    if hasattr(target, 'write'):
        return _open_file(target)
    raise ConfigurationError(f'target must be None, a path or a writable file object, not {type(target).__name__}')


def _open_file(target: Any) -> Sink:
    name = f'the file object {getattr(target, "name", None) or type(target).__name__}'
    if getattr(target, 'closed', False):
        raise ConfigurationError(f'target: {name} is closed')
    if isinstance(target, io.IOBase) and not target.writable():
        raise ConfigurationError(f"target: {name} is not open for writing; open it with mode 'wb'")
    if isinstance(getattr(target, 'encoding', None), str) and hasattr(target, 'buffer'):
        with local_errors('write', name):
            target.flush()
        return FileSink(target.buffer, name)
    if isinstance(target, io.TextIOBase):
        return TextSink(target, name)
    return FileSink(target, name)
