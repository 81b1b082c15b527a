"""Files on top of a writer: one that is compressed, and one that is published by a later commit()."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from s3po.files.writer import AbortedOnError, S3Writer

__all__ = ['Compressed', 'Uncommitted']


class Uncommitted(AbortedOnError, io.BufferedIOBase):
    """A file in a transaction: published by the transaction's end, not by close(); never after an exception in its `with`."""

    def __init__(self, writer: S3Writer) -> None:
        super().__init__()
        self.name, self.mode = writer.name, writer.mode
        self._writer = writer
        self.write = writer.write  # type: ignore[method-assign]

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._writer.tell()

    def commit(self) -> None:
        """Publish it. If it was not closed, its end may be missing: then it is discarded, and a ValueError is raised."""
        if not self.closed:
            self.abort()
            raise ValueError(f'{self.name} was not closed before the end of the transaction; it is not published')
        self._writer.close()

    def discard(self) -> None:
        """Discard the data; commit() has no effect then."""
        self._writer.abort()

    def abort(self) -> None:
        """Close and discard the data."""
        self.discard()
        super().close()


class Compressed(AbortedOnError, io.BufferedIOBase):
    """A file that is compressed while it is written. (GzipFile and others do not close the file below them.)"""

    def __init__(self, file: Any, compress: Any, path: str, mode: str) -> None:
        super().__init__()
        self.name, self.mode = path, mode
        self._file = file
        self._compressing = compress(file, mode='w')
        self.write = self._compressing.write  # type: ignore[method-assign]

    def writable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Write the end of the compressed data and close the file below, which publishes the object."""
        if not self.closed:
            try:
                self._compressing.close()
                self._file.close()
            except BaseException:
                self.abort()
                raise
        super().close()

    def abort(self) -> None:
        """Close without publishing."""
        # First, because some compressors close the file below, which would publish the beginning of the data.
        self._file.abort()
        # Compressors write when they are closed or freed, and Python would print the error. len() discards the data.
        self._file.write = len
        with contextlib.suppress(Exception):
            self._compressing.close()
        super().close()

    def __del__(self) -> None:
        # Not IOBase's __del__, which calls close(): the file below logs that it was not closed.
        pass
