"""What compress= and decompress= mean: how an object says that it is compressed, and which sink reads it.

What may live here: the arguments, checked, and the headers. The compression itself is in s3po/body.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

from s3po.body import DecompressingSink, Sink
from s3po.body.coding import CODINGS, check_installed
from s3po.checks import is_whole
from s3po.errors import ConfigurationError, DownloadError
from s3po.model import Described, ObjectRef
from s3po.s3 import Extra

__all__ = ['add_compression', 'check_decompress', 'decompressing']

# The metadata by which an object is known as compressed by s3po, and not before it was given to s3po.
MARK: Final = 's3po-compress'
MARK_HEADER: Final = f'x-amz-meta-{MARK}'

# The names of HTTP (RFC 9110, section 8.4.1; RFC 8878, section 7.2). Its 'deflate' is the zlib format.
CONTENT_ENCODINGS: Final = {'gzip': 'gzip', 'zlib': 'deflate', 'zstd': 'zstd'}
CODING_OF: Final = {**{encoding: coding for coding, encoding in CONTENT_ENCODINGS.items()}, 'x-gzip': 'gzip'}
# What changes nothing of what is stored. The last is the form of a request, which some stores keep by mistake.
NO_ENCODINGS: Final = frozenset({'', 'identity', 'aws-chunked'})


def add_compression(sent: dict[str, str], extra: Extra, compress: str) -> None:
    """Add what an object says that is compressed.

    Args:
        sent: Its headers; the new ones are added.
        extra: The caller's further parameters.
        compress: The name of the compression.

    Raises:
        ConfigurationError: There is no such compression, it is not installed, or the caller says already how the object is
            encoded.
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
    """Refuse what the two cannot be, and what does not go with them.

    Raises:
        ConfigurationError: One of them is wrong.
    """
    # By identity: 1 is equal to True.
    if decompress is not True and decompress is not False and decompress != 'auto':
        raise ConfigurationError(f"decompress must be 'auto', True or False, not {decompress!r}")
    if decompress is True and byte_range is not None:
        raise ConfigurationError('decompress=True needs the whole object; leave out byte_range, which is of the stored bytes')
    size = max_decompressed_size
    if size is not None and not is_whole(size, 0):
        raise ConfigurationError(f'max_decompressed_size must be a whole number of bytes, or None, not {size!r}')


def decompressing(sink: Sink, ref: ObjectRef, *, is_by_encoding: bool, max_bytes: int | None) -> Sink:
    """A sink that decompresses, in front of another.

    Args:
        sink: Takes what comes of it.
        ref: What is downloaded.
        is_by_encoding: Whether a Content-Encoding counts too, or only s3po's own mark.
        max_bytes: How much may come of it; None for the sink's own limit.
    """
    return DecompressingSink(sink, functools.partial(_coding_of, ref, is_by_encoding=is_by_encoding), max_bytes)


def _coding_of(ref: ObjectRef, described: Described, *, is_by_encoding: bool) -> str | None:
    """How an object is compressed; None where it is not, or where that is not to be undone.

    Raises:
        DownloadError: It is compressed in a way that is not known here.
        ConfigurationError: The library for it is not installed.
    """
    coding = _by_encoding(ref, described) if is_by_encoding else None
    if coding is None:
        coding = described.header(MARK_HEADER)
        if coding is None:
            return None
        if coding not in CODINGS:
            raise _unknown(ref, f'metadata {MARK!r}', coding)
    check_installed(coding)
    return coding


def _by_encoding(ref: ObjectRef, described: Described) -> str | None:
    told = described.header('content-encoding') or ''
    encodings = [name for name in (each.strip().lower() for each in told.split(',')) if name not in NO_ENCODINGS]
    if not encodings:
        return None
    if len(encodings) > 1 or encodings[0] not in CODING_OF:
        raise _unknown(ref, 'Content-Encoding', told)
    return CODING_OF[encodings[0]]


def _unknown(ref: ObjectRef, what: str, told: str) -> DownloadError:
    return DownloadError(
        f'{ref} has the {what} {told!r}, which s3po cannot undo (only {", ".join(sorted(CODING_OF))}); decompress=False gives '
        f'it as it is stored',
        bucket=ref.bucket,
        key=ref.key,
    )
