"""Arguments of calls: one function for each kind, which checks it and brings it into the form of a request."""

from __future__ import annotations

import functools
import mimetypes
import os
import pathlib
from collections.abc import Mapping
from typing import Final

from s3po.checks import is_whole
from s3po.errors import ConfigurationError
from s3po.model import ObjectRef
from s3po.s3.parameters import check_headers, metadata_headers

__all__ = [
    'add_conditions',
    'add_content_type',
    'check_byte_range',
    'check_encoding',
    'decode',
    'object_headers',
    'path_of',
    'plain_path',
]

# mimetypes reports 'backup.tar.gz' as a tar archive with an encoding; the stored file is a gzip file.
ENCODED_TYPES: Final = {
    'gzip': 'application/gzip',
    'bzip2': 'application/x-bzip2',
    'xz': 'application/x-xz',
    'compress': 'application/x-compress',
    'br': 'application/x-brotli',
}


def object_headers(
    headers: Mapping[str, str] | None, metadata: Mapping[str, str] | None, content_type: str | None
) -> dict[str, str]:
    """The checked headers of a new object: those given, the metadata and the content type."""
    sent: dict[str, str] = {}
    if headers:
        check_headers(headers)
        sent.update(headers)
    if metadata:
        sent.update(metadata_headers(metadata))
    if content_type is not None:
        check_headers({'Content-Type': content_type})
        for name in [name for name in sent if name.lower() == 'content-type']:
            del sent[name]
        sent['Content-Type'] = content_type
    return sent


def add_conditions(sent: dict[str, str], *, if_none_match: str | None, if_match: str | None) -> None:
    """Add If-None-Match and If-Match: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"""
    if if_none_match is None and if_match is None:
        return
    if if_none_match is not None and if_match is not None:
        raise ConfigurationError('if_none_match and if_match exclude each other; give one of them')
    name, argument, value = 'If-Match', 'if_match', if_match
    if if_none_match is not None:
        name, argument, value = 'If-None-Match', 'if_none_match', if_none_match
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{argument} must be an ETag, or '*', not {value!r}")
    sent[name] = value if value == '*' or value.endswith('"') else f'"{value}"'
    check_headers({name: sent[name]})


def add_content_type(sent: dict[str, str], name: str) -> None:
    """Guess the content type from a file name or key if none was given. An unknown type is left to the store."""
    if sent and any(header.lower() == 'content-type' for header in sent):
        return
    # Only the last segment: mimetypes parses a whole key as a URL.
    stem, *suffixes = name.rpartition('/')[2].rsplit('.', 2)
    kind = content_type_of(stem and 'stem', *suffixes) if suffixes else None
    if kind is not None:
        sent['Content-Type'] = kind


@functools.lru_cache(maxsize=1024)
def content_type_of(*name: str) -> str | None:
    """The content type of a file name, given as the texts between its dots. Cached: it takes as long as signing a request."""
    kind, encoding = mimetypes.guess_type('.'.join(name), strict=False)
    return kind if encoding is None else ENCODED_TYPES.get(encoding)


def path_of(path: object) -> str:
    """The argument `path` as text. Keeps a slash at the end."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(f'path must be a str or pathlib.Path, not {type(path).__name__}')
    text = os.fsdecode(path)
    if not text or '\0' in text:
        raise ConfigurationError(f'path {text!r} cannot be a path: it is empty or contains a NUL character')
    return text


def plain_path(path: str) -> str:
    """A path as pathlib spells it: without '.' segments, repeated slashes and a slash at the end."""
    # pathlib takes some microseconds for each path.
    is_plain = '//' not in path and '/.' not in path and path[0] != '.' and path[-1] != '/'
    return path if is_plain else str(pathlib.Path(path))


def check_encoding(encoding: str, target: object) -> None:
    """Reject an encoding that is unknown, or given together with a target."""
    if target is not None:
        raise ConfigurationError('encoding is for downloads into memory; a target receives the bytes unchanged')
    try:
        # Not codecs.lookup(), which also finds codecs that are not of text ('hex').
        ''.encode(encoding)
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(f'encoding {encoding!r} is unknown') from error


def check_byte_range(byte_range: object) -> None:
    """Reject a value that is not a half-open range."""
    if isinstance(byte_range, tuple) and len(byte_range) == 2:
        start, stop = byte_range
        if is_whole(start, 0) and (stop is None or is_whole(stop, start + 1)):
            return
    raise ConfigurationError(
        f'byte_range must be (start, stop) with 0 <= start < stop, or (start, None) for the rest, not {byte_range!r}'
    )


def decode(data: bytes, encoding: str, ref: ObjectRef) -> str:
    """Decode the bytes of an object."""
    try:
        return data.decode(encoding)
    except UnicodeError as error:
        raise ConfigurationError(f'encoding: {ref} is not {encoding} ({error}); leave it out to get the bytes') from error
