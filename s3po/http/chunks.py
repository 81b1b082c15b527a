"""Chunked bodies (RFC 9112, section 7.1), decoded by llhttp."""

from __future__ import annotations

from typing import Any

import httptools

__all__ = ['Chunks']


class Chunks:
    """The chunked body of one response.

    Attributes:
        pieces: The decoded bytes; the reader takes them from here.
        body_bytes: The number of bytes decoded so far.
        has_ended: Whether the last chunk and the trailer have been received.
        has_extra: Whether bytes were received after them, which belong to no request.
    """

    __slots__ = ('_parser', 'body_bytes', 'has_ended', 'has_extra', 'pieces')

    def __init__(self, head: bytes) -> None:
        """
        Args:
            head: The response's head, which llhttp has accepted.
        """
        self.pieces: list[bytes] = []
        self.body_bytes = 0
        self.has_ended = False
        self.has_extra = False
        self._parser: Any = httptools.HttpResponseParser(self)
        self._parser.feed_data(head)

    def __repr__(self) -> str:
        return f'<Chunks body_bytes={self.body_bytes} has_ended={self.has_ended}>'

    def feed(self, data: bytes) -> None:
        """Decode received bytes.

        Raises:
            httptools.HttpParserError, httptools.HttpParserUpgrade: They are malformed.
        """
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.has_ended:
                raise
            self.has_extra = True

    def close(self) -> None:
        """Drop the parser. It refers to this object: without this, the cycle would wait for the garbage collector."""
        self._parser = None

    # --- methods that llhttp calls

    def on_message_begin(self) -> None:
        """Note data after the last chunk: called by httptools."""
        # The first call is for the head.
        self.has_extra = self.has_ended

    def on_body(self, data: bytes) -> None:
        """Add bytes of the body: called by httptools."""
        if not self.has_ended:
            self.pieces.append(data)
            self.body_bytes += len(data)

    def on_message_complete(self) -> None:
        """Note the last chunk: called by httptools."""
        self.has_ended = True
