"""Records in a temporary file, for lists that may become too long for memory.

The file has no name, so it is gone when the process ends in any way, and only its user can read it.
"""

from __future__ import annotations

import array
import os
import tempfile
import weakref

__all__ = ['Spool']


class Spool:
    """A list of records of bytes, of which only the positions (8 bytes each) are in memory.

    Any thread may read it.
    """

    def __init__(self) -> None:
        """
        Raises:
            OSError: There is no place for temporary files.
        """
        # mkstemp() makes a file that only its user can read.
        self._file, path = tempfile.mkstemp(prefix='s3po-')
        weakref.finalize(self, os.close, self._file)
        os.unlink(path)
        # Where each record begins, and the end of the last one.
        self._starts = array.array('q', [0])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> bytes:
        start, end = self._starts[index], self._starts[index + 1]
        found = bytearray()
        while len(found) < end - start:
            found += os.pread(self._file, end - start - len(found), start + len(found))
        return bytes(found)

    def append(self, record: bytes) -> None:
        """Add a record. After an exception it is not there, and the next one overwrites what was written of it.

        Raises:
            OSError: The record cannot be written: the disk is full.
        """
        start = self._starts[-1]
        rest = memoryview(record)
        while rest:
            rest = rest[os.pwrite(self._file, rest, start + len(record) - len(rest)) :]
        self._starts.append(start + len(record))
