"""The file behind an upload, deleted once the store has it.

What may live here: how it is made sure that what is deleted is what was uploaded, whatever others do to the path meanwhile.

POSIX knows no "delete this name if it is that file": between a look at the name and its deletion somebody may put another file
there. So the name is first given to nobody but us, by renaming it within its directory, and looked at again; only then it goes.
What was taken by mistake is put back, unless a third file has come to stand there; then it stays, and the error tells where.
The directory is opened once and all is done from there, so it does not matter whether its own path is changed.

What remains: a process that has the file open may go on writing into it after the last look, and nobody reads that any more.
And one that is killed between the two steps leaves the file (uploaded by then) under the name '.s3po-….deleting'.
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

# Enough to stat, rename and unlink below a directory, even where it may not be listed. Linux has it, macOS has not.
_ONLY_PATH: Final = getattr(os, 'O_PATH', os.O_RDONLY)


def delete_original(source: FileSource) -> None:
    """Delete the file behind a path source, unless the path leads to something else by now.

    Of a symbolic link that leads to the file, the link is deleted, as `os.unlink` would.

    Raises:
        LocalError: It cannot be deleted.
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
        # Unlike a rename, a link replaces nothing.
        os.link(aside, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        raise LocalError(
            f'{path} was uploaded, but not deleted: it changed meanwhile, twice. What stood there last is now called {aside}, '
            f'in the same directory',
            errno=error.errno,
            filename=path,
        ) from error
    os.unlink(aside, dir_fd=directory)


def _kept(path: str) -> LocalError:
    return LocalError(
        f'{path} was uploaded, but not deleted: it changed meanwhile. Upload it again to delete it', filename=path
    )
