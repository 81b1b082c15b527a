"""Connection.open(): creates the file object for an object and a mode."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypedDict

from s3po.body import SizedSource, StreamSource
from s3po.checks import is_whole
from s3po.config import MIB, TransferConfig
from s3po.connection.arguments import add_conditions, add_content_type, object_headers
from s3po.connection.operations import UPLOADS, Operations
from s3po.errors import ConfigurationError, DownloadError, UploadError
from s3po.files import OpenMode, Ranges, S3Reader, S3TextReader, S3TextWriter, S3Writer, file_errors, open_mode
from s3po.jobs.options import ProgressOption, unknown_option
from s3po.model import ListEntry, ObjectRef, TransferResult
from s3po.progress import Reading, check_progress, is_wanted, metered
from s3po.transfer import upload

__all__ = ['OpenOptions', 'ReadOptions', 'TextReadOptions', 'TextWriteOptions', 'WriteOptions', 'open_object']

File = S3Reader | S3Writer | S3TextReader | S3TextWriter

# Size and number of the ranges that a reader fetches ahead, measured by benchmarks/bench_files.py.
READ_BLOCK_BYTES: Final = 2 * MIB
READ_AHEAD: Final = 4
# Arguments for writing only.
ONLY_WRITTEN: Final = ('headers', 'metadata', 'content_type', 'if_none_match')


class ReadOptions(TypedDict, total=False):
    """The options of Connection.open() with mode 'rb'."""

    version_id: str | None
    block_size: int | None
    read_ahead: int | None
    extra: Mapping[str, Any] | None
    if_match: str | None
    retries: int | None
    progress: ProgressOption


class WriteOptions(TypedDict, total=False):
    """The options of Connection.open() with modes 'wb' and 'xb'."""

    block_size: int | None
    headers: Mapping[str, str] | None
    metadata: Mapping[str, str] | None
    content_type: str | None
    extra: Mapping[str, Any] | None
    if_none_match: str | None
    if_match: str | None
    retries: int | None
    progress: ProgressOption


class TextOptions(TypedDict, total=False):
    """The options of Connection.open() for the modes of text."""

    encoding: str | None
    errors: str | None
    newline: str | None


class TextReadOptions(ReadOptions, TextOptions, total=False):
    """The options of Connection.open() with mode 'r'."""


class TextWriteOptions(WriteOptions, TextOptions, total=False):
    """The options of Connection.open() with modes 'w' and 'x'."""


class OpenOptions(ReadOptions, WriteOptions, TextOptions, total=False):
    """All options of Connection.open()."""


def open_object(operations: Operations, bucket: str, key: str | ListEntry, mode: str, options: OpenOptions) -> File:
    """Check the arguments and open the object."""
    if not options.keys() <= OpenOptions.__annotations__.keys():
        raise unknown_option('open', options, OpenOptions.__annotations__)
    ref = ObjectRef(bucket=bucket, key=key, version_id=options.get('version_id'))
    errors, newline = options.get('errors'), options.get('newline')
    opened = open_mode(mode, encoding=options.get('encoding'), errors=errors, newline=newline)
    encoding = options.get('encoding') or 'utf-8'
    if opened.action == 'r':
        reader = _open_reader(operations, ref, opened, options)
        return S3TextReader(reader, encoding, errors, newline) if opened.is_text else reader
    writer = _open_writer(operations, ref, opened, options)
    return S3TextWriter(writer, encoding=encoding, errors=errors, newline=newline) if opened.is_text else writer


def _open_reader(operations: Operations, ref: ObjectRef, opened: OpenMode, options: OpenOptions) -> S3Reader:
    for name in ONLY_WRITTEN:
        if options.get(name) is not None:
            raise ConfigurationError(f'{name} is for writing, but mode {opened.binary!r} is for reading')
    ahead, block_size, config = options.get('read_ahead'), options.get('block_size'), operations.config
    if ahead is not None and not is_whole(ahead, 0):
        raise ConfigurationError(f'read_ahead must be a whole number of ranges from 0, not {ahead!r}')
    if block_size is not None and not is_whole(block_size, 1):
        raise ConfigurationError(f'block_size must be a whole number of bytes from 1, not {block_size!r}')
    wanted = options.get('progress')
    progress = Reading(wanted, operations.width) if is_wanted(wanted) else None
    observer = None if progress is None else progress.observer
    ranges = Ranges(
        ref=ref,
        attempts=functools.partial(operations.attempts, ref.bucket, ref.key, options.get('retries'), DownloadError, observer),
        config=config,
        extra=operations.extra(options.get('extra'), 'GetObject'),
        memory=operations.memory,
        if_match=options.get('if_match'),
    )
    with contextlib.nullcontext() if progress is None else progress:
        reader = S3Reader(
            ranges,
            block_size=READ_BLOCK_BYTES if block_size is None else block_size,
            read_ahead=READ_AHEAD if ahead is None else ahead,
            on_close=None if progress is None else progress.close,
        )
        if progress is not None:
            progress.resize(reader.size)
    return reader


def _open_writer(operations: Operations, ref: ObjectRef, opened: OpenMode, options: OpenOptions) -> S3Writer:
    if options.get('read_ahead') is not None:
        raise ConfigurationError(f'read_ahead is for reading, but mode {opened.binary!r} is for writing')
    if ref.version_id is not None:
        raise ConfigurationError(f'version_id is for reading; mode {opened.binary!r} creates a new version')
    if_none_match = options.get('if_none_match')
    if opened.action == 'x':
        if if_none_match is not None or options.get('if_match') is not None:
            raise ConfigurationError("mode 'x' means if_none_match='*'; leave out if_none_match and if_match")
        if_none_match = '*'
    extra = operations.extra(options.get('extra'), *UPLOADS)
    sent = object_headers(options.get('headers'), options.get('metadata'), options.get('content_type'))
    add_conditions(sent, if_none_match=if_none_match, if_match=options.get('if_match'))
    if 'ContentType' not in extra:
        add_content_type(sent, ref.key)
    config = _with_part_bytes(operations.config, options.get('block_size'))
    attempts = functools.partial(operations.attempts, ref.bucket, ref.key, options.get('retries'), UploadError)

    memory, progress = operations.memory, options.get('progress')
    check_progress(progress)

    # No reference to the writer, so that an unreferenced writer is garbage collected during an upload.
    def send(source: SizedSource | StreamSource) -> TransferResult:
        with file_errors(str(ref), is_new=if_none_match == '*'):
            if not is_wanted(progress):
                return upload(attempts(), source, config, sent, extra, memory=memory)
            with metered(progress, operations.width) as tally:
                result = upload(attempts(observer=tally), source, config, sent, extra, memory=memory)
                tally.settle(result.size_bytes)
                return result

    return S3Writer(ref, send, part_bytes=config.multipart_chunksize, mode=opened.binary)


def _with_part_bytes(config: TransferConfig, block_size: int | None) -> TransferConfig:
    if block_size is None:
        return config
    try:
        return replace(config, multipart_chunksize=block_size)
    except ConfigurationError as error:
        raise ConfigurationError(f'block_size: {error}') from error
