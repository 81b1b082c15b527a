"""Finishes what an earlier run of a journal has done at the store: recognises its object, deletes its source."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Final

from s3po.batch.limits import Performer
from s3po.body import open_path
from s3po.body.originals import delete_original
from s3po.body.sources import FileSource
from s3po.checksum import ALGORITHMS, has_md5_form, text_of
from s3po.config import MIB
from s3po.errors import S3poError
from s3po.jobs import Call
from s3po.jobs.notes import Notes
from s3po.model import ObjectInfo, ObjectRef
from s3po.runtime import offload
from s3po.s3 import ID_HEADER

__all__ = ['delete_source', 'is_copy', 'is_ours']

READ_BYTES: Final = MIB


def delete_source(path: str) -> None:
    """Delete the source of an upload that is complete.

    Raises:
        LocalError: It cannot be deleted, or changed meanwhile.
    """
    source = open_path(path)
    try:
        if isinstance(source, FileSource):
            delete_original(source)
    finally:
        source.close()


def is_ours(connection: Performer, call: Call, path: str | None) -> ObjectInfo | None:
    """The description of the object, if it has the bytes or the id of this upload; None if not, or if that is not known.

    Args:
        connection: Sends the HEAD.
        call: The upload.
        path: The path of its source; None for data in memory.
    """
    options = call.options
    if options.get('compress') is not None:
        return None
    extra = {**(options.get('extra') or {}), 'ChecksumMode': 'ENABLED'}
    try:
        info = connection.perform(
            Call('head', call.ref, {'extra': {name: extra[name] for name in extra if name in _HEAD}})
        ).value
    except S3poError:
        return None
    assert isinstance(info, ObjectInfo)
    notes: Notes | None = options.get('notes')
    if notes is not None and notes.upload is not None and notes.upload.own_id is not None:
        return info if info.headers.get(ID_HEADER) == notes.upload.own_id else None
    algorithm, _, value = (info.checksum or '').partition(':')
    if algorithm in ALGORITHMS and '-' not in value:
        expected = info.checksum
    elif has_md5_form(info.etag):
        algorithm, expected = 'MD5', None
    else:
        return None
    try:
        found, size_bytes = offload(_checksum_of, path, options.get('source'), algorithm)
    except (OSError, TypeError):
        return None
    is_equal = found == expected if expected is not None else found == _md5_text(info.etag)
    return info if is_equal and size_bytes == info.size_bytes else None


def is_copy(connection: Performer, call: Call) -> ObjectInfo | None:
    """The description of the destination of a copy, if it has the size and the checksum or ETag of the source; else None."""
    options = call.options
    to: Performer = options.get('to') or connection
    copy = ObjectRef(bucket=options['to_bucket'], key=options['to_key'])
    try:
        source, found = (
            each.perform(Call('head', ref, {'extra': {'ChecksumMode': 'ENABLED'}})).value
            for each, ref in ((connection, call.ref), (to, copy))
        )
    except S3poError:
        return None
    assert isinstance(source, ObjectInfo)
    assert isinstance(found, ObjectInfo)
    is_same = found.etag == source.etag if None in (source.checksum, found.checksum) else found.checksum == source.checksum
    return found if is_same and found.size_bytes == source.size_bytes else None


# Parameters of boto3 for a HEAD.
_HEAD: Final = frozenset(
    {'ChecksumMode', 'ExpectedBucketOwner', 'RequestPayer', 'SSECustomerAlgorithm', 'SSECustomerKey', 'SSECustomerKeyMD5'}
)


def _md5_text(etag: str) -> str:
    return f'MD5:{base64.b64encode(bytes.fromhex(etag)).decode()}'


def _checksum_of(path: str | None, source: Any, algorithm: str) -> tuple[str, int]:
    """The checksum and the size of a source: the file at a path or, without one, data in memory."""
    sizes: list[int] = []

    def counted(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            sizes.append(len(piece))
            yield piece

    if path is not None:
        with open(path, 'rb') as file:
            return text_of(algorithm, counted(iter(lambda: file.read(READ_BYTES), b''))), sum(sizes)
    data = source.encode() if isinstance(source, str) else bytes(source)
    return text_of(algorithm, counted(iter([data]))), sum(sizes)
