"""Text files on top of the binary ones."""

from __future__ import annotations

import io
from typing import Any

from s3po.files.writer import AbortedOnError
from s3po.model import ObjectInfo

__all__ = ['S3TextReader', 'S3TextWriter']


class S3TextReader(io.TextIOWrapper):
    """An object opened for reading in text mode."""

    buffer: Any

    @property
    def info(self) -> ObjectInfo:
        """The store's description of the object, as of S3Reader."""
        found: ObjectInfo = self.buffer.info
        return found

    @property
    def size(self) -> int:
        """The object's size in bytes."""
        return int(self.buffer.size)

    @property
    def blocksize(self) -> int:
        """The block_size with which it was opened."""
        return int(self.buffer.blocksize)


class S3TextWriter(AbortedOnError, io.TextIOWrapper):
    """A text file that is published completely by close(); see S3Writer.

    io.TextIOWrapper closes the binary file on every exit path, which would publish an incomplete object.
    """

    def __init__(self, writer: Any, *, encoding: str, errors: str | None, newline: str | None) -> None:
        """
        Args:
            writer: An S3Writer, or a binary file on top of one that also has `name`, `mode` and `abort()`.
            encoding: As for io.TextIOWrapper, like the following.
            errors: How characters that cannot be encoded are handled.
            newline: The replacement of line feeds.
        """
        super().__init__(writer, encoding=encoding, errors=errors, newline=newline)
        self._writer = writer

    def write(self, text: str, /) -> int:
        """Write text; returns its length in characters.

        Raises:
            TypeError: The argument is not a str.
        """
        if not isinstance(text, str):
            name, mode = self._writer.name, self._writer.mode
            raise TypeError(f'{name}: text mode takes str, not {type(text).__name__}; open it with mode {mode!r} for bytes')
        return super().write(text)

    def tell(self) -> int:
        """Return the number of bytes written. (The position in a text file, as in Python's; not a number of characters.)"""
        self.flush()
        return int(self._writer.tell())

    def abort(self) -> None:
        """Close without publishing; see S3Writer.abort()."""
        self._writer.abort()

    def __del__(self) -> None:
        # TextIOWrapper.__del__ would call close(), and so publish. The writer's own __del__ aborts.
        pass
