"""Frames of zstd for the library `zstandard`, whose decoder gives all that its input holds at once, however much that is.

What may live here: finding the blocks of a frame (RFC 8878, section 3.1). A block has at most 128 KiB, so who gives the
decoder a few at a time gets little at a time. What a block says is for the decoder to judge: all of it goes through there.
"""

from __future__ import annotations

from typing import Any, Final

from s3po.config import KIB, MIB

__all__ = ['MAX_BLOCK_BYTES', 'MAX_WINDOW_BYTES', 'ZstandardFrame']

# RFC 8878, section 3.1.1.2.4.
MAX_BLOCK_BYTES: Final = 128 * KIB
# How far back a frame may refer, which is what its decoder has to keep. RFC 9659 allows no more for the coding 'zstd'.
MAX_WINDOW_BYTES: Final = 8 * MIB

# The first four bytes of frames to be skipped, but for the last four bits (section 3.1.2).
SKIPPABLE: Final = 0x184D2A50
# The sizes of the fields that the first byte behind a frame's magic tells (section 3.1.1.1.1).
DICTIONARY_ID_BYTES: Final = (0, 1, 2, 4)
CONTENT_SIZE_BYTES: Final = (0, 2, 4, 8)
RUN: Final = 1


class ZstandardFrame:
    """One frame; see Member in s3po/body/coding.py."""

    def __init__(self, library: Any) -> None:
        self._object = library.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
        # What was given, and not yet handed on.
        self._held = b''
        # The bytes until the next place where something is told: 'frame', 'block', or the end.
        self._ahead = 0
        self._next = 'frame'
        self._has_checksum = False
        self._is_skipped = False
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._next == 'end' and not self._ahead

    @property
    def unused_data(self) -> bytes:
        return self._held

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        held = self._held + bytes(data)
        # One more may be under way.
        blocks = max(1, max_length // MAX_BLOCK_BYTES - 1)
        stop = 0
        while True:
            passed = min(self._ahead, len(held) - stop)
            stop += passed
            self._ahead -= passed
            if self._ahead or self._next == 'end':
                break
            if self._next == 'block':
                if not blocks:
                    break
                blocks -= 1
            if not self._look(held[stop : stop + 8]):
                break
        self.needs_input = bool(self._ahead or blocks) and not self.eof
        taken, self._held = held[:stop], held[stop:]
        if self._is_skipped or not taken:
            return b''
        decoded: bytes = self._object.decompress(taken)
        return decoded

    def _look(self, told: bytes) -> bool:
        """Find out how far the next place is; False where too little is there to tell."""
        if self._next == 'frame':
            return self._look_at_frame(told)
        if len(told) < 3:
            return False
        header = int.from_bytes(told[:3], 'little')
        # A run is one byte, and the size that of what becomes of it.
        self._ahead = 3 + (1 if header >> 1 & 3 == RUN else header >> 3)
        if header & 1:
            self._next = 'end'
            self._ahead += 4 * self._has_checksum
        return True

    def _look_at_frame(self, told: bytes) -> bool:
        if len(told) < 5:
            return False
        if int.from_bytes(told[:4], 'little') & ~0x0F == SKIPPABLE:
            if len(told) < 8:
                return False
            self._is_skipped = True
            self._ahead, self._next = 8 + int.from_bytes(told[4:8], 'little'), 'end'
            return True
        descriptor = told[4]
        is_single = bool(descriptor & 0x20)
        self._has_checksum = bool(descriptor & 0x04)
        content_size_bytes = CONTENT_SIZE_BYTES[descriptor >> 6] or int(is_single)
        # Behind the magic and the descriptor: the window, which a single segment has not.
        self._ahead = 5 + int(not is_single) + DICTIONARY_ID_BYTES[descriptor & 3] + content_size_bytes
        self._next = 'block'
        return True
