"""Deletes the local file of an upload after the store has confirmed it.

The file that is deleted must be the one that was uploaded, whatever other processes do to the path meanwhile. POSIX has no
"delete this name if it is that file": another process may replace the file between the check and the deletion. So the file is
first renamed, within its directory, to a name that no other process uses, then checked again, and only then deleted. If the
check fails, it is renamed back, unless another file has taken its place; then it stays under the new name, which is in the
error. The directory is opened once, so it does not matter if its own path changes.

Two cases remain: a process that has the file open may write to it after the last check, and that data is lost. And a process
that is killed between the two steps leaves the file (which is uploaded) under the name '.s3po-….deleting'.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from typing import Final

from s3po.body.local import close_file, local_errors
from s3po.body.sources import FileSource
from s3po.errors import LocalError

__all__ = ['delete_original']

# Enough to stat, rename and unlink in a directory, even without permission to list it. Only Linux has it.
_ONLY_PATH: Final = getattr(os, 'O_PATH', os.O_RDONLY)


def delete_original(source: FileSource) -> None:
    """Delete the file of a path source, unless the path now leads to another file.

    If the path is a symbolic link to the file, the link is deleted, as `os.unlink` does.

    Raises:
        LocalError: The file cannot be deleted.
    """
    assert source.path is not None
    where, name = os.path.split(source.path)
    with local_errors('delete', source.path), _opened(where or os.curdir) as directory:
        if not source.is_still_at(name, directory):
            raise _kept(source.path)
        aside = f'.s3po-{secrets.token_hex(8)}.deleting'
        os.rename(name, aside, src_dir_fd=directory, dst_dir_fd=directory)
        if not source.is_still_at(aside, directory):
            _put_back(source.path, name, aside, directory)
            raise _kept(source.path)
        os.unlink(aside, dir_fd=directory)


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[int]:
    descriptor = os.open(directory, _ONLY_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        close_file(descriptor)


def _put_back(path: str, name: str, aside: str, directory: int) -> None:
    try:
        # Unlike rename(), link() fails if the name exists.
        os.link(aside, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        raise LocalError(
            f'{path} was uploaded, but not deleted: it was replaced twice meanwhile. The last file at this path is now named '
            f'{aside}, in the same directory',
            errno=error.errno,
            filename=path,
        ) from error
    os.unlink(aside, dir_fd=directory)


def _kept(path: str) -> LocalError:
    return LocalError(
        f'{path} was uploaded, but not deleted: it changed meanwhile. Upload it again to delete it', filename=path
    )
