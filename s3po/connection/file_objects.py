"""Connection.open(): creates the file object for an object and a mode."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from s3po.body import SizedSource, StreamSource
from s3po.checks import is_whole
from s3po.config import MIB, TransferConfig
from s3po.connection.arguments import add_conditions, add_content_type, object_headers
from s3po.connection.operations import UPLOADS, Operations
from s3po.errors import ConfigurationError, DownloadError, UploadError
from s3po.files import OpenMode, Ranges, S3Reader, S3TextWriter, S3Writer, file_errors, open_mode
from s3po.model import ObjectRef, TransferResult
from s3po.s3 import Extra
from s3po.transfer import upload

__all__ = ['File', 'OpenOptions', 'open_object']

File = S3Reader | S3Writer | S3TextWriter | io.TextIOWrapper

# Size and number of the ranges that a reader fetches ahead, measured by benchmarks/bench_files.py.
READ_BLOCK_BYTES: Final = 2 * MIB
READ_AHEAD: Final = 4
# Arguments for writing only.
ONLY_WRITTEN: Final = ('headers', 'metadata', 'content_type', 'if_none_match')


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    """The arguments of Connection.open() except the object and the mode."""

    encoding: str | None
    errors: str | None
    newline: str | None
    block_size: int | None
    read_ahead: int | None
    headers: Mapping[str, str] | None
    metadata: Mapping[str, str] | None
    content_type: str | None
    extra: Extra | None
    if_none_match: str | None
    if_match: str | None
    retries: int | None


def open_object(operations: Operations, ref: ObjectRef, mode: str, options: OpenOptions) -> File:
    """Check the arguments and open the object."""
    opened = open_mode(mode, encoding=options.encoding, errors=options.errors, newline=options.newline)
    encoding = options.encoding or 'utf-8'
    if opened.action == 'r':
        reader = _open_reader(operations, ref, opened, options)
        if not opened.is_text:
            return reader
        return io.TextIOWrapper(reader, encoding=encoding, errors=options.errors, newline=options.newline)
    writer = _open_writer(operations, ref, opened, options)
    if not opened.is_text:
        return writer
    return S3TextWriter(writer, encoding=encoding, errors=options.errors, newline=options.newline)


def _open_reader(operations: Operations, ref: ObjectRef, opened: OpenMode, options: OpenOptions) -> S3Reader:
    for name in ONLY_WRITTEN:
        if getattr(options, name) is not None:
            raise ConfigurationError(f'{name} is for writing, but mode {opened.binary!r} is for reading')
    ahead, block_size, config = options.read_ahead, options.block_size, operations.config
    if ahead is not None and not is_whole(ahead, 0):
        raise ConfigurationError(f'read_ahead must be a whole number of ranges from 0, not {ahead!r}')
    if block_size is not None and not is_whole(block_size, 1):
        raise ConfigurationError(f'block_size must be a whole number of bytes from 1, not {block_size!r}')
    ranges = Ranges(
        ref=ref,
        attempts=functools.partial(operations.attempts, ref.bucket, ref.key, options.retries, DownloadError),
        config=config,
        extra=operations.extra(options.extra, 'GetObject'),
        if_match=options.if_match,
    )
    return S3Reader(
        ranges,
        block_size=READ_BLOCK_BYTES if block_size is None else block_size,
        read_ahead=READ_AHEAD if ahead is None else ahead,
    )


def _open_writer(operations: Operations, ref: ObjectRef, opened: OpenMode, options: OpenOptions) -> S3Writer:
    if options.read_ahead is not None:
        raise ConfigurationError(f'read_ahead is for reading, but mode {opened.binary!r} is for writing')
    if ref.version_id is not None:
        raise ConfigurationError(f'version_id is for reading; mode {opened.binary!r} creates a new version')
    if_none_match = options.if_none_match
    if opened.action == 'x':
        if if_none_match is not None or options.if_match is not None:
            raise ConfigurationError("mode 'x' means if_none_match='*'; leave out if_none_match and if_match")
        if_none_match = '*'
    extra = operations.extra(options.extra, *UPLOADS)
    sent = object_headers(options.headers, options.metadata, options.content_type)
    add_conditions(sent, if_none_match=if_none_match, if_match=options.if_match)
    if 'ContentType' not in extra:
        add_content_type(sent, ref.key)
    config = _with_part_bytes(operations.config, options.block_size)
    attempts = functools.partial(operations.attempts, ref.bucket, ref.key, options.retries, UploadError)

    # No reference to the writer, so that an unreferenced writer is garbage collected during an upload.
    def send(source: SizedSource | StreamSource) -> TransferResult:
        with file_errors(str(ref), is_new=if_none_match == '*'):
            return upload(attempts(), source, config, sent, extra)

    return S3Writer(ref, send, part_bytes=config.multipart_chunksize, mode=opened.binary)


def _with_part_bytes(config: TransferConfig, block_size: int | None) -> TransferConfig:
    if block_size is None:
        return config
    try:
        return replace(config, multipart_chunksize=block_size)
    except ConfigurationError as error:
        raise ConfigurationError(f'block_size: {error}') from error
