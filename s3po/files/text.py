"""Text files over the binary ones."""

from __future__ import annotations

import io
from types import TracebackType
from typing import Any

__all__ = ['S3TextWriter']


class S3TextWriter(io.TextIOWrapper):
    """A text file that is published by close(), whole; see S3Writer.

    io.TextIOWrapper closes what is below it on every way out, which would publish half of an object.
    """

    def __init__(self, writer: Any, *, encoding: str, errors: str | None, newline: str | None) -> None:
        """
        Args:
            writer: An S3Writer, or a binary file over one that has its `name`, `mode` and `abort()` too.
            encoding: As of io.TextIOWrapper, like all that follow.
            errors: How characters that cannot be encoded are handled.
            newline: What line feeds become.
        """
        super().__init__(writer, encoding=encoding, errors=errors, newline=newline)
        self._writer = writer

    def write(self, text: str, /) -> int:
        """Write text; returns its length.

        Raises:
            TypeError: Bytes were given.
        """
        if not isinstance(text, str):
            name, mode = self._writer.name, self._writer.mode
            raise TypeError(f'{name}: text mode takes str, not {type(text).__name__}; open it with mode {mode!r} for bytes')
        return super().write(text)

    def abort(self) -> None:
        """Publish nothing; see S3Writer.abort()."""
        self._writer.abort()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        # Not what TextIOWrapper does, which is close(). The writer says what becomes of what was written.
        pass
