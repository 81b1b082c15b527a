"""Compression: encoders and decoders for streams of gzip, zlib and zstd.

The module selects the fastest installed library and gives all of them one interface. No I/O, no waiting.

Invariants: the compressed bytes depend only on the data and the library, not on the time or a file name. A decoder returns at
most STEP_BYTES at a time, whatever its input, so that the caller can stop a decompression bomb.
"""

from __future__ import annotations

import functools
import importlib
import zlib
from collections.abc import Iterator
from typing import Any, Final, Protocol

from s3po.config import MIB
from s3po.errors import ConfigurationError

__all__ = ['CODINGS', 'STEP_BYTES', 'Decoder', 'Encoder', 'Undecodable', 'check_installed', 'new_encoder']

CODINGS: Final = ('gzip', 'zlib', 'zstd')

# The longest piece that a decoder returns.
STEP_BYTES: Final = MIB
# The largest zstd window, which a decoder keeps in memory. RFC 9659 allows no more for the content coding 'zstd'.
MAX_WINDOW_BYTES: Final = 8 * MIB

# zlib's wbits argument: the format around the compressed data.
GZIP: Final = 16 + zlib.MAX_WBITS
ZLIB: Final = zlib.MAX_WBITS
RAW: Final = -zlib.MAX_WBITS

# The libraries' defaults. isal has levels 0 to 3; its 2 compresses text nearly as well as zlib's 6.
ISAL_LEVEL: Final = 2
ZLIB_LEVEL: Final = 6
ZSTD_LEVEL: Final = 3


class Undecodable(Exception):
    """The data is not valid in its coding; the message gives the reason."""


class Encoder(Protocol):
    """Compresses one stream."""

    def compress(self, data: bytes, /) -> bytes:
        """Compress some data; returns the output so far, which may be empty."""

    def flush(self) -> bytes:
        """Return the end of the stream."""


class Member(Protocol):
    """A decompressor of one gzip member, zlib stream or zstd frame.

    Attributes:
        eof: Whether its end was reached.
        needs_input: Whether all output of the input so far was returned.
        unused_data: The bytes after its end.
    """

    @property
    def eof(self) -> bool:
        """Whether its end was reached."""

    @property
    def needs_input(self) -> bool:
        """Whether all output of the input so far was returned."""

    @property
    def unused_data(self) -> bytes:
        """The bytes after its end."""

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        """Decompress data (b'' unless needs_input); returns at most max_length bytes."""


def check_installed(coding: str) -> None:
    """Check that the library of a coding is installed.

    Raises:
        ConfigurationError: It is not.
    """
    if coding == 'zstd':
        _zstd()


def new_encoder(coding: str) -> Encoder:
    """Return an encoder for one stream.

    Raises:
        ConfigurationError: The library is not installed.
    """
    encoder: Encoder
    if coding == 'zstd':
        library = _zstd()
        parameter = library.CompressionParameter
        encoder = library.ZstdCompressor(options={parameter.compression_level: ZSTD_LEVEL, parameter.checksum_flag: 1})
    else:
        library, level = _zlib()
        encoder = library.compressobj(level, zlib.DEFLATED, GZIP if coding == 'gzip' else ZLIB)
    return encoder


class Decoder:
    """Decompresses one stream, including concatenated members, from pieces of any size."""

    def __init__(self, coding: str) -> None:
        """
        Args:
            coding: One of CODINGS.

        Raises:
            ConfigurationError: The library is not installed.
        """
        self._coding = coding
        self._errors: tuple[type[Exception], ...] = (_zstd().ZstdError if coding == 'zstd' else _zlib()[0].error, zlib.error)
        self._member: Member | None = None
        self._has_ended = False

    def pieces(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Decompress the next bytes of the stream; returns pieces of at most STEP_BYTES, some of them possibly empty.

        All pieces must be consumed before the next call. Any thread may consume them.

        Raises:
            Undecodable: The data is invalid.
        """
        while data:
            member = self._member
            if member is None:
                member = self._member = self._begin(data[0])
            try:
                yield member.decompress(data, STEP_BYTES)
                while not (member.eof or member.needs_input):
                    yield member.decompress(b'', STEP_BYTES)
            except self._errors as error:
                raise Undecodable(str(error)) from error
            data = b''
            if member.eof:
                self._member, self._has_ended = None, True
                data = member.unused_data

    def finish(self) -> None:
        """Mark the end of the stream.

        Raises:
            Undecodable: The stream is incomplete.
        """
        if self._member is not None or not self._has_ended:
            raise Undecodable('it is truncated')

    def _begin(self, first: int) -> Member:
        """Begin a member, whose first byte is `first`."""
        if self._coding == 'zstd':
            return _new_frame()
        if self._coding == 'gzip':
            return _Inflate(GZIP)
        if self._has_ended:
            # Unlike gzip members (RFC 1952, section 2.2) and zstd frames (RFC 8878, section 3), zlib streams cannot be
            # concatenated.
            raise Undecodable('there is data after its end')
        # Some senders send raw deflate data as 'deflate', without the zlib format (RFC 9110, section 8.4.1.2). A zlib header
        # (RFC 1950, section 2.2) read as raw deflate would be a stored block with nonzero padding, which no encoder writes.
        has_format = first & 0x0F == zlib.DEFLATED and first >> 4 <= 7
        return _Inflate(ZLIB if has_format else RAW)


class _Inflate:
    """A `Member` that zlib, or a library with its interface, decompresses."""

    __slots__ = ('_object', '_tail', 'needs_input')

    def __init__(self, wbits: int) -> None:
        self._object = _zlib()[0].decompressobj(wbits)
        self._tail = b''
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._object.eof)

    @property
    def unused_data(self) -> bytes:
        data: bytes = self._object.unused_data
        return data

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        # At least one of the two is empty.
        decoded: bytes = self._object.decompress(self._tail or data, max_length)
        self._tail = self._object.unconsumed_tail
        # If the output filled max_length, more output of the same input may follow.
        self.needs_input = not self._tail and len(decoded) < max_length
        return decoded


def _new_frame() -> Member:
    library = _zstd()
    options = {library.DecompressionParameter.window_log_max: MAX_WINDOW_BYTES.bit_length() - 1}
    frame: Member = library.ZstdDecompressor(options=options)
    return frame


@functools.cache
def _zlib() -> tuple[Any, int]:
    """The fastest installed library with zlib's interface, and its compression level."""
    for name, level in (('isal.isal_zlib', ISAL_LEVEL), ('zlib_ng.zlib_ng', ZLIB_LEVEL)):
        try:
            return importlib.import_module(name), level
        except ImportError:
            continue
    return zlib, ZLIB_LEVEL


@functools.cache
def _zstd() -> Any:
    """Python 3.14's compression.zstd, or its backport for older versions."""
    for name in ('compression.zstd', 'backports.zstd'):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ConfigurationError("'zstd' needs a library that is not installed: pip install 's3po[compress]'")
