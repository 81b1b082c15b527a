"""The target of a download under a journal: its temporary file stays after a failure or a kill, for the next run.

Invariants, besides those of temporary.py:

- The name of the file is derived from the job, so that the next run finds it, and a run that begins anew replaces it.
- No sweep removes it: the journal names it, and removes it when the job is discarded.
- Of a file that was found, only ranges with the noted CRCs are used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import Final

from s3po.body.chunks import read_into
from s3po.body.local import close_file, local_errors
from s3po.body.sinks import NEW_FILE_MODE, PathSink
from s3po.body.temporary import PREFIX, create_locked, is_own_file, lock, remove_abandoned
from s3po.body.temporary import SUFFIX as SWEPT_SUFFIX
from s3po.config import KIB
from s3po.runtime import patiently

__all__ = ['KeptSink', 'remove_kept']

SUFFIX: Final = '.kept'
# Bytes per read of what a file contains; they fit in a processor's cache.
READ_BYTES: Final = 256 * KIB
_FIND: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class KeptSink(PathSink):
    """Writes a file at a path through a temporary file that may stay.

    Attributes:
        kept_path: The absolute path of the temporary file, if it may stay; None before begin(), and if another download has it.
    """

    def __init__(self, path: str, *, fsync: bool, job: str) -> None:
        """
        Args:
            path: The path of the target.
            fsync: As for PathSink.
            job: Identifies the job, among all that write to this path.
        """
        super().__init__(path, use_tmp_file=True, fsync=fsync)
        identity = f'{path[len(self._directory) :]}\0{job}'
        digest = hashlib.blake2b(identity.encode(errors='surrogatepass'), digest_size=12).hexdigest()
        self._name = os.path.join(os.path.abspath(self._directory or '.'), f'{PREFIX}{digest}{SUFFIX}')
        self._stays = False
        self._is_published = False
        self.kept_path: str | None = None

    def begin(self, size_bytes: int | None) -> None:
        # A small object, or one of unknown size, begins anew in the next run.
        self._stays = bool(size_bytes)
        self.close_published()
        super().begin(size_bytes)

    def write_whole(self, data: bytes) -> None:
        self.close_published()
        super().write_whole(data)

    def _create_temporary(self, mode: int) -> tuple[str, int]:
        name = self._name if self._stays else self._name.removesuffix(SUFFIX) + SWEPT_SUFFIX
        descriptor = patiently(_create, name, mode)
        if descriptor is None and remove_abandoned(name, lambda _: True):
            descriptor = patiently(_create, name, mode)
        if descriptor is None:
            # Another process has the same job.
            return super()._create_temporary(mode)
        self.kept_path = name if self._stays else None
        return name, descriptor

    def reopen(self, path: str, size_bytes: int) -> bool:
        """Open what an earlier run has left. Returns False if there is nothing, or another process writes it.

        It may be the complete file at the target: the earlier run may have been killed after it was renamed.

        Args:
            path: The noted path of the temporary file.
            size_bytes: The size of the object.
        """
        if path != self._name:
            return False
        self._descriptor = _opened(path, os.O_RDWR | _FIND, size_bytes)
        if self._descriptor is None:
            self._descriptor = _opened(self._path, os.O_RDONLY | _FIND, size_bytes)
            self._is_published = self._descriptor is not None
            return self._is_published
        with local_errors('write', self._path):
            self._mode = _mode_of_new_file(path) if self._mode is None else self._mode
        self._written = self.kept_path = path
        return True

    @property
    def is_published(self) -> bool:
        """Whether the open file is the one at the target."""
        return self._is_published

    def close_published(self) -> None:
        """Close the file at the target, which is not to be written to."""
        if self._is_published:
            self._is_published = False
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                close_file(descriptor)

    def pieces(self, offset: int, size_bytes: int) -> Iterator[memoryview]:
        """Read bytes of the open file, piece by piece; fewer if it is shorter. Each piece is valid until the next one."""
        assert self._descriptor is not None
        buffer = memoryview(bytearray(min(READ_BYTES, size_bytes)))
        while size_bytes:
            with local_errors('read', self._path):
                count = read_into(self._descriptor, buffer[:size_bytes], offset)
            if not count:
                return
            yield buffer[:count]
            offset += count
            size_bytes -= count

    def keep(self) -> None:
        """End the download without removing the file."""
        self._written = None
        self.let_go()

    def commit(self) -> None:
        if self._is_published:
            self.let_go()
        else:
            super().commit()


def remove_kept(path: str) -> None:
    """Remove the temporary file of a job that is not continued, unless another process writes it.

    Args:
        path: Its path. A path that is not that of such a file is ignored.
    """
    name = os.path.basename(path)
    if name.startswith(PREFIX) and name.endswith(SUFFIX):
        remove_abandoned(path, lambda _: True)


def _create(path: str, mode: int) -> int | None:
    """Create and lock a file. None if the name is taken, or another process has removed the file before it was locked."""
    descriptor = create_locked(path, mode)
    if descriptor is None:
        return None
    try:
        if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            return descriptor
    except FileNotFoundError:
        pass
    close_file(descriptor)
    return None


def _opened(path: str, flags: int, size_bytes: int) -> int | None:
    """Open and lock a file of this size; None if there is no such file of this user, or it is locked."""
    try:
        descriptor: int = patiently(os.open, path, flags)
    except OSError:
        return None
    is_good = False
    try:
        found = os.fstat(descriptor)
        is_good = is_own_file(found) and found.st_size == size_bytes
        if is_good and flags & os.O_RDWR:
            is_good = lock(descriptor) and os.path.samestat(found, os.lstat(path))
    except OSError:
        is_good = False
    finally:
        if not is_good:
            close_file(descriptor)
    return descriptor if is_good else None


def _mode_of_new_file(path: str) -> int:
    """The permissions that the kernel gives to a new file beside this one."""
    probe = os.path.join(os.path.dirname(path), f'{PREFIX}{os.urandom(8).hex()}{SWEPT_SUFFIX}')
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, NEW_FILE_MODE)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        close_file(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(probe)
