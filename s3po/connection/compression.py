"""The options compress= and decompress=: their checks, the headers that mark a compressed object, and the sink for it.

The compression itself is in s3po/body.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

from s3po.body import DecompressingSink, Sink
from s3po.body.coding import CODINGS, check_installed
from s3po.body.sinks import BytesSink
from s3po.checks import is_whole
from s3po.errors import ConfigurationError, DownloadError
from s3po.model import Described, ObjectRef
from s3po.s3 import Extra

__all__ = ['add_compression', 'check_decompress', 'decompressed', 'decompressing']

# The metadata of an object that s3po has compressed, in contrast to one that was compressed before.
MARK: Final = 's3po-compress'
MARK_HEADER: Final = f'x-amz-meta-{MARK}'

# The names of HTTP (RFC 9110, section 8.4.1; RFC 8878, section 7.2). Its 'deflate' is the zlib format.
CONTENT_ENCODINGS: Final = {'gzip': 'gzip', 'zlib': 'deflate', 'zstd': 'zstd'}
CODING_OF: Final = {
    **{encoding: coding for coding, encoding in CONTENT_ENCODINGS.items()},
    'x-gzip': 'gzip',
    # S3-PO until August 2012.
    'zlib': 'zlib',
}
# Encodings that change nothing. The last is the form of a request, which some stores keep by mistake.
NO_ENCODINGS: Final = frozenset({'', 'identity', 'aws-chunked'})


def add_compression(sent: dict[str, str], extra: Extra, compress: str) -> None:
    """Add the headers of a compressed object.

    Args:
        sent: Its headers; the new ones are added.
        extra: The caller's further parameters.
        compress: The name of the compression.

    Raises:
        ConfigurationError: The compression is unknown, not installed, or the caller has given an encoding.
    """
    if compress not in CODINGS:
        raise ConfigurationError(f'compress must be None or one of {", ".join(map(repr, CODINGS))}, not {compress!r}')
    names = {name.lower() for name in sent}
    if 'content-encoding' in names or 'ContentEncoding' in extra:
        raise ConfigurationError('compress sets the Content-Encoding itself; leave it out of headers and extra')
    metadata = extra.get('Metadata')
    if isinstance(metadata, Mapping):
        names |= {f'x-amz-meta-{name}'.lower() for name in metadata}
    if MARK_HEADER in names:
        raise ConfigurationError(f'compress sets the metadata {MARK!r} itself; leave it out')
    check_installed(compress)
    sent['Content-Encoding'] = CONTENT_ENCODINGS[compress]
    sent[MARK_HEADER] = compress


def check_decompress(decompress: object, max_decompressed_size: object, byte_range: object) -> None:
    """Check both options, and reject a byte_range together with decompress=True.

    Raises:
        ConfigurationError: One of them is wrong.
    """
    # By identity, because 1 == True.
    if decompress is not True and decompress is not False and decompress not in ('auto', 'known'):
        raise ConfigurationError(f"decompress must be 'auto', 'known', True or False, not {decompress!r}")
    if decompress is True and byte_range is not None:
        raise ConfigurationError('decompress=True needs the whole object; leave out byte_range, which counts stored bytes')
    size = max_decompressed_size
    if size is not None and not is_whole(size, 0):
        raise ConfigurationError(f'max_decompressed_size must be a whole number of bytes, or None, not {size!r}')


def decompressing(sink: Sink, ref: ObjectRef, *, decompress: str | bool, max_bytes: int | None) -> Sink:
    """A sink that decompresses data for another sink.

    Args:
        sink: Takes the decompressed data.
        ref: The object.
        decompress: 'auto': only by the metadata `s3po-compress`. 'known' and True: by the Content-Encoding too.
        max_bytes: The limit for the decompressed data; None for the sink's own limit.
    """
    return DecompressingSink(sink, functools.partial(_coding_of, ref, decompress=decompress), max_bytes)


def decompressed(body: bytes, ref: ObjectRef, described: Described) -> bytes:
    """The body of a response to a GET, decompressed if it has a known Content-Encoding.

    Raises:
        DownloadError: It is not valid, or too large.
    """
    whole = BytesSink()
    sink = decompressing(whole, ref, decompress='known', max_bytes=None).identify(ref.bucket, ref.key, described)
    if sink is whole:
        return body
    sink.begin(len(body))
    sink.write_at(0, body)
    sink.commit()
    return whole.value


def _coding_of(ref: ObjectRef, described: Described, *, decompress: str | bool) -> str | None:
    """The compression of an object; None if it is to be left as it is.

    Raises:
        DownloadError: The compression is unknown.
        ConfigurationError: The library for it is not installed.
    """
    coding = None if decompress == 'auto' else _by_encoding(ref, described, is_lenient=decompress == 'known')
    if coding is None:
        coding = described.header(MARK_HEADER)
        if coding is None:
            return None
        if coding not in CODINGS:
            raise _unknown(ref, f'metadata {MARK!r}', coding)
    check_installed(coding)
    return coding


def _by_encoding(ref: ObjectRef, described: Described, *, is_lenient: bool) -> str | None:
    value = described.header('content-encoding') or ''
    encodings = [name for name in (each.strip().lower() for each in value.split(',')) if name not in NO_ENCODINGS]
    if not encodings:
        return None
    if len(encodings) > 1 or encodings[0] not in CODING_OF:
        if is_lenient:
            return None
        raise _unknown(ref, 'Content-Encoding', value)
    if is_lenient and described.info.size_bytes == 0:
        # As for HTTP clients: an empty body is empty in any encoding.
        return None
    return CODING_OF[encodings[0]]


def _unknown(ref: ObjectRef, what: str, value: str) -> DownloadError:
    return DownloadError(
        f'{ref} has the {what} {value!r}, which s3po cannot decompress (only {", ".join(sorted(CODING_OF))}); decompress=False '
        f'returns it as stored',
        bucket=ref.bucket,
        key=ref.key,
    )
