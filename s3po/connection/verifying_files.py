"""Compares local files, from which objects were uploaded or to which they were downloaded, with the records of the jobs."""

from __future__ import annotations

import base64
import errno
import os
from collections.abc import Iterator
from typing import Final

from s3po.body.local import local_errors
from s3po.checksum import ALGORITHMS, has_md5_form, text_of
from s3po.config import MIB
from s3po.connection.expecting import Job, Stored, has_result, job_of, records_of, stored_of
from s3po.connection.verifying import Difference, VerifyReport
from s3po.errors import LocalError
from s3po.jobs import JobRecord
from s3po.runtime import offload

__all__ = ['verify_files']

READ_BYTES: Final = MIB
PLACES: Final = {'upload': 'source', 'upload_file': 'path', 'download': 'target', 'download_file': 'path'}


def verify_files(receipt: str | os.PathLike[str]) -> VerifyReport:
    """Compare the files that the records name: size, and checksum or MD5. The last record about a file counts."""
    records: dict[str, JobRecord] = {}
    not_done: set[Job] = set()
    for record in records_of(receipt):
        path = record.call.options.get(PLACES.get(record.call.operation, ''))
        if not has_result(record):
            if record.call.operation in PLACES:
                not_done.add(job_of(record))
            continue
        not_done.discard(job_of(record))
        if isinstance(path, str | os.PathLike) and not record.call.options.get('delete'):
            records[os.fsdecode(path)] = record
    differences = (_difference(path, record) for path, record in records.items())
    return VerifyReport.of(len(records), [each for each in differences if each is not None], not_done=len(not_done))


def _difference(path: str, record: JobRecord) -> Difference | None:
    try:
        found = _compared(path, record)
    except LocalError as error:
        is_missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        found = ('missing', 'it does not exist') if is_missing else ('unproven', f'it cannot be read: {error}')
    if found is None:
        return None
    ref = record.call.ref
    return Difference(kind=found[0], bucket=ref.bucket, key=ref.key, version_id=ref.version_id, path=path, reason=found[1])


def _compared(path: str, record: JobRecord) -> tuple[str, str] | None:
    """The kind of difference and the reason; None if the file is as recorded."""
    options, result = record.call.options, record.result or {}
    with local_errors('read', path):
        size_bytes = os.stat(path).st_size
    stored = stored_of(result, is_range=options.get('byte_range') is not None)
    # A download may be decompressed, and an upload compressed: the sizes of object and file differ then.
    expected = result.get('local_bytes', None if options.get('compress') else stored.size_bytes)
    if expected is not None and expected != size_bytes:
        return 'changed', f'it has {size_bytes:,} bytes, and {expected:,} are recorded'
    if stored.size_bytes != size_bytes or options.get('compress'):
        return 'unproven', 'it does not have the bytes of the object: it was compressed or decompressed, or is a part of it'
    return _compared_bytes(path, stored)


def _compared_bytes(path: str, stored: Stored) -> tuple[str, str] | None:
    algorithm, _, value = (stored.checksum or '').partition(':')
    if algorithm in ALGORITHMS and '-' not in value:
        computed = offload(_checksum, path, algorithm)
        return None if computed == stored.checksum else ('changed', f'its checksum is {computed}, not {stored.checksum}')
    if has_md5_form(stored.etag):
        computed = offload(_checksum, path, 'MD5')
        md5 = base64.b64decode(computed.partition(':')[2]).hex()
        return None if md5 == stored.etag else ('changed', f'its MD5 is {md5}, and the ETag of the object is {stored.etag}')
    return 'unproven', 'the record has neither a checksum of all bytes, nor an ETag that is their MD5'


def _checksum(path: str, algorithm: str) -> str:
    def pieces() -> Iterator[bytes]:
        with local_errors('read', path), open(path, 'rb', buffering=0) as file:
            while piece := file.read(READ_BYTES):
                yield piece

    return text_of(algorithm, pieces())
