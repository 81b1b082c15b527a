"""gzip, zlib and zstd: other libraries can read the streams, pieces can be of any size, and corruption is an error."""

from __future__ import annotations

import functools
import gzip
import random
import sys
import types
import zlib
from collections.abc import Callable, Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from s3po.body import coding as module
from s3po.body.coding import CODINGS, STEP_BYTES, Decoder, Undecodable, check_installed, new_encoder
from s3po.config import KIB, MIB
from s3po.errors import ConfigurationError

Hide = Callable[..., None]
LIBRARIES = [
    ('gzip', 'isal'),
    ('gzip', 'zlib'),
    ('zlib', 'isal'),
    ('zlib', 'zlib'),
    ('zstd', 'compression.zstd' if sys.version_info >= (3, 14) else 'backports.zstd'),
]


def forget() -> None:
    """Clear the cache of libraries."""
    module._zlib.cache_clear()
    module._zstd.cache_clear()


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hide]:
    """A function that makes libraries unavailable."""

    def hide(*names: str) -> None:
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)
        forget()

    forget()
    yield hide
    forget()


@pytest.fixture(params=LIBRARIES, ids='-'.join)
def coding(request: pytest.FixtureRequest, hide: Hide) -> str:
    """Each coding, with each library that implements it."""
    name, library = request.param
    if library == 'zlib':
        hide('isal.isal_zlib', 'isal', 'zlib_ng.zlib_ng', 'zlib_ng')
    else:
        pytest.importorskip(library)
    return str(name)


def encoded(coding: str, data: bytes, piece_bytes: int = MIB) -> bytes:
    encoder = new_encoder(coding)
    return b''.join(encoder.compress(data[at : at + piece_bytes]) for at in range(0, len(data), piece_bytes)) + encoder.flush()


def decoded(coding: str, data: bytes, piece_bytes: int = 256 * KIB) -> bytes:
    decoder, found = Decoder(coding), []
    for at in range(0, len(data), piece_bytes):
        found.extend(decoder.pieces(memoryview(data)[at : at + piece_bytes]))
    decoder.finish()
    assert max(map(len, found), default=0) <= STEP_BYTES
    return b''.join(found)


@functools.cache
def mixed() -> bytes:
    """3 MiB: noise, text and zeros, a third each."""
    chance = random.Random(1)
    words = b' '.join(b'%d' % chance.randrange(10_000) for _ in range(250_000))
    return chance.randbytes(MIB) + words[:MIB] + bytes(MIB)


@pytest.mark.parametrize('data', [b'', b'a', bytes(STEP_BYTES), bytes(STEP_BYTES + 1), bytes(10 * MIB), mixed()], ids=len)
def test_round_trip(coding: str, data: bytes) -> None:
    """Decoding returns the original data, in large pieces."""
    assert decoded(coding, encoded(coding, data)) == data


@given(
    coding=st.sampled_from(CODINGS),
    runs=st.lists(st.tuples(st.binary(max_size=100), st.integers(0, 20_000)), max_size=5),
    written=st.integers(1, 5000),
    read=st.integers(1, 5000),
)
def test_any_pieces(coding: str, runs: list[tuple[bytes, int]], written: int, read: int) -> None:
    """Decoding returns the original data, whatever the sizes of the pieces."""
    data = b''.join(piece * count for piece, count in runs)[: 2 * MIB]

    assert decoded(coding, encoded(coding, data, max(written, len(data) // 50)), read) == data


@given(coding=st.sampled_from(CODINGS), data=st.binary(max_size=300), read=st.integers(1, 5))
def test_small_pieces(coding: str, data: bytes, read: int) -> None:
    """Pieces of a few bytes cut every field of every format."""
    assert decoded(coding, encoded(coding, data), read) == data


def test_written_for_others(coding: str) -> None:
    """The standard library or the reference library can read the result, which is the same each time."""
    found = encoded(coding, mixed())

    assert found == encoded(coding, mixed())
    if coding == 'zstd':
        assert zstandard.ZstdDecompressor().decompressobj().decompress(found) == mixed()
        assert zstandard.get_frame_parameters(found).has_checksum
    else:
        assert (gzip if coding == 'gzip' else zlib).decompress(found) == mixed()
    if coding == 'gzip':
        # RFC 1952, section 2.3.1: no time and no name.
        assert found[3:8] == bytes(5)


@pytest.mark.parametrize('read', [1, 100, MIB])
@pytest.mark.parametrize('coding', ['gzip', 'zstd'])
def test_several_members(coding: str, read: int) -> None:
    """Several members, also empty ones, are decoded as one stream."""
    parts = [b'one' * 1000, b'', b'two', b'']

    assert decoded(coding, b''.join(encoded(coding, part) for part in parts), read) == b''.join(parts)


@pytest.mark.parametrize('read', [1, 3, 100])
def test_skippable_frames(read: int) -> None:
    """Skippable frames of zstd (RFC 8878, section 3.1.2) are ignored."""
    skippable = (0x184D2A57).to_bytes(4, 'little') + (10).to_bytes(4, 'little') + bytes(10)
    empty = (0x184D2A50).to_bytes(4, 'little') + bytes(4)

    assert decoded('zstd', skippable + encoded('zstd', b'data') + empty + skippable, read) == b'data'


@pytest.mark.parametrize('level', [-5, 1, 19])
@pytest.mark.parametrize('has_size', [True, False])
@pytest.mark.parametrize('has_checksum', [True, False])
@pytest.mark.slow
def test_others_frames(level: int, has_size: bool, has_checksum: bool) -> None:
    """zstd frames with every kind of header are decoded."""
    for data in (b'', b'x' * 200, bytes(70_000), mixed()):
        packer = zstandard.ZstdCompressor(level=level, write_content_size=has_size, write_checksum=has_checksum)
        assert decoded('zstd', packer.compress(data), 1000) == data


def test_raw_deflate(hide: Hide) -> None:
    """Raw deflate, which many servers send as 'deflate', is decoded."""
    for level in range(10):
        packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        assert decoded('zlib', packer.compress(mixed()) + packer.flush(), 100_000) == mixed()


@pytest.mark.parametrize('read', [1, MIB])
def test_cut_short(coding: str, read: int) -> None:
    """A truncated stream is an error, wherever it ends."""
    whole = encoded(coding, b'some data ' * 100)
    for size_bytes in range(len(whole)):
        with pytest.raises(Undecodable, match='truncated'):
            decoded(coding, whole[:size_bytes], read)


@pytest.mark.parametrize('behind', [b'\0', b'garbage behind the end'])
def test_garbage_after_the_end(coding: str, behind: bytes) -> None:
    """Bytes after the end are an error: they are neither padding nor another member."""
    with pytest.raises(Undecodable):
        decoded(coding, encoded(coding, b'data') + behind)


def test_garbage(coding: str) -> None:
    """Data in another format is an error."""
    for data in (b'<html>no object</html>', b'\0' * 100, random.Random(2).randbytes(1000)):
        with pytest.raises(Undecodable):
            decoded(coding, data)


def test_spoiled(coding: str) -> None:
    """A flipped bit in the data or the checksum is an error."""
    whole = encoded(coding, random.Random(3).randbytes(200))
    for at in range(20, len(whole)):
        spoiled = bytearray(whole)
        spoiled[at] ^= 1
        with pytest.raises(Undecodable):
            decoded(coding, bytes(spoiled))


@given(coding=st.sampled_from(CODINGS), data=st.binary(max_size=200))
def test_anything(coding: str, data: bytes) -> None:
    """Any input is decoded, or raises Undecodable."""
    head = {'gzip': b'\x1f\x8b\x08', 'zlib': b'\x78', 'zstd': b'\x28\xb5\x2f\xfd'}[coding]
    for each in (data, head + data):
        try:
            decoded(coding, each)
        except Undecodable:
            continue


def test_bomb(coding: str) -> None:
    """A decompression bomb is decoded in small pieces, so that the caller can stop after any of them."""
    bomb = encoded(coding, bytes(40 * MIB))
    pieces = Decoder(coding).pieces(bomb)

    assert len(bomb) < MIB
    assert len(next(pieces)) <= STEP_BYTES


def test_bomb_of_runs() -> None:
    """zstd's densest form, four bytes for 128 KiB of zeros, is decoded in small pieces, too."""
    run = (128 * KIB << 3 | 1 << 1).to_bytes(3, 'little') + b'\0'
    bomb = b'\x28\xb5\x2f\xfd\x00\x38' + run * 2_000
    sizes = {len(piece) for piece in Decoder('zstd').pieces(bomb)}

    assert max(sizes) <= STEP_BYTES


def test_wide_windows() -> None:
    """A zstd window of more than 8 MiB is rejected, as RFC 9659 allows."""
    descriptor, block = b'\x00', b'\x01\x00\x00'
    narrow, wide = b'\x68', b'\x69'
    magic = b'\x28\xb5\x2f\xfd'

    assert decoded('zstd', magic + descriptor + narrow + block) == b''
    with pytest.raises(Undecodable):
        decoded('zstd', magic + descriptor + wide + block)


def test_missing_zstd(hide: Hide) -> None:
    """Without a zstd library, the error names what to install."""
    hide('compression.zstd', 'compression', 'backports.zstd')

    for ask in (check_installed, new_encoder, Decoder):
        with pytest.raises(ConfigurationError, match=r"pip install 's3po\[compress\]'"):
            ask('zstd')
    check_installed('gzip')


def test_zlib_ng_comes_second(hide: Hide, monkeypatch: pytest.MonkeyPatch) -> None:
    """zlib-ng is used if isal is missing, before the standard library."""
    hide('isal.isal_zlib', 'isal')
    like_zlib = types.ModuleType('zlib_ng.zlib_ng')
    like_zlib.__dict__.update(compressobj=zlib.compressobj, decompressobj=zlib.decompressobj, error=zlib.error)
    monkeypatch.setitem(sys.modules, 'zlib_ng', types.ModuleType('zlib_ng'))
    monkeypatch.setitem(sys.modules, 'zlib_ng.zlib_ng', like_zlib)

    assert module._zlib()[0] is like_zlib
    assert decoded('gzip', encoded('gzip', mixed())) == mixed()
