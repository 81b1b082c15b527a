"""Compression: streams of gzip, zlib and zstd, written and read piece by piece.

What may live here: the choice among the libraries that are installed, and one shape over all of them. No I/O, no waiting.

Invariants: what is compressed follows from the data and the library alone, not from the time or a name; and however little
it is given, a decoder gives at most STEP_BYTES at a time, so whoever takes its pieces can stop a bomb.
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
# The largest zstd window, which a decoder keeps in memory. RFC 9659 allows no more for the coding 'zstd'.
MAX_WINDOW_BYTES: Final = 8 * MIB

# What zlib calls wbits: the format around the compressed data.
GZIP: Final = 16 + zlib.MAX_WBITS
ZLIB: Final = zlib.MAX_WBITS
RAW: Final = -zlib.MAX_WBITS

# Their own defaults. isal counts to 3 only, and its 2 packs text nearly as well as zlib's 6.
ISAL_LEVEL: Final = 2
ZLIB_LEVEL: Final = 6
ZSTD_LEVEL: Final = 3


class Undecodable(Exception):
    """Data that are not what they are taken for; the text says why."""


class Encoder(Protocol):
    """Compresses one stream."""

    def compress(self, data: bytes, /) -> bytes:
        """Take some data; gives what can be told of them by now, which may be nothing."""
        ...

    def flush(self) -> bytes:
        """The end of the stream."""
        ...


class Member(Protocol):
    """One gzip member, zlib stream or zstd frame that is read.

    Attributes:
        eof: Whether its end was reached.
        needs_input: Whether it has given all that it can give of what it was given.
        unused_data: What came behind its end.
    """

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        """Take some data, none unless it needs them; gives at most so many bytes."""
        ...


def check_installed(coding: str) -> None:
    """Refuse a coding that nothing here can read or write.

    Raises:
        ConfigurationError: Its library is not installed.
    """
    if coding == 'zstd':
        _zstd()


def new_encoder(coding: str) -> Encoder:
    """What compresses one stream.

    Raises:
        ConfigurationError: Its library is not installed.
    """
    encoder: Encoder
    if coding == 'zstd':
        library = _zstd()
        parameter = library.CompressionParameter
        encoder = library.ZstdCompressor(options={parameter.compression_level: ZSTD_LEVEL, parameter.checksum_flag: 1})
        return encoder
    library, level = _zlib()
    encoder = library.compressobj(level, zlib.DEFLATED, GZIP if coding == 'gzip' else ZLIB)
    return encoder


class Decoder:
    """Reads one stream, in whatever pieces it comes: all of its members, one behind the other."""

    def __init__(self, coding: str) -> None:
        """
        Args:
            coding: One of CODINGS.

        Raises:
            ConfigurationError: Its library is not installed.
        """
        self._coding = coding
        self._errors: tuple[type[Exception], ...] = (_zstd().ZstdError if coding == 'zstd' else _zlib()[0].error, zlib.error)
        self._member: Member | None = None
        self._has_ended = False

    def pieces(self, data: bytes | memoryview) -> Iterator[bytes]:
        """What the next bytes of the stream are, in pieces of at most STEP_BYTES, some of which may be empty.

        All pieces have to be taken before the next bytes are given. Any thread may take them.

        Raises:
            Undecodable: They are not what they should be.
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
        """There are no more bytes.

        Raises:
            Undecodable: There should be.
        """
        if self._member is not None or not self._has_ended:
            raise Undecodable('it ends too early')

    def _begin(self, first: int) -> Member:
        """The member that begins with this byte."""
        if self._coding == 'zstd':
            return _new_frame()
        if self._coding == 'gzip':
            return _Inflate(GZIP)
        if self._has_ended:
            # Unlike the others' (RFC 1952, section 2.2; RFC 8878, section 3), its streams do not follow one another.
            raise Undecodable('something follows its end')
        # RFC 9110, section 8.4.1.2: some send 'deflate' without the zlib format around it. As the first byte of such data
        # the zlib format's (RFC 1950, section 2.2) would be a stored block whose padding is not zero; nobody writes that.
        has_format = first & 0x0F == zlib.DEFLATED and first >> 4 <= 7
        return _Inflate(ZLIB if has_format else RAW)


class _Inflate:
    """A member that zlib, or one of its like, reads."""

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
        # One of the two is always empty.
        decoded: bytes = self._object.decompress(self._tail or data, max_length)
        self._tail = self._object.unconsumed_tail
        # What has filled the room that it had may hold more, of what it has taken already.
        self.needs_input = not self._tail and len(decoded) < max_length
        return decoded


def _new_frame() -> Member:
    library = _zstd()
    options = {library.DecompressionParameter.window_log_max: MAX_WINDOW_BYTES.bit_length() - 1}
    frame: Member = library.ZstdDecompressor(options=options)
    return frame


@functools.cache
def _zlib() -> tuple[Any, int]:
    """The fastest of zlib and its like, and the level to compress with."""
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
