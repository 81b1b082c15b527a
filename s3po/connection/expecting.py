"""Reads files of records of jobs, and works out what they say about the objects of a store and about local files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from s3po.body.local import local_errors
from s3po.errors import JobError
from s3po.jobs import LOST, JobRecord
from s3po.jobs.durable import plain_endpoint
from s3po.journal import Journal
from s3po.model import ObjectRef, key_of

__all__ = [
    'Expected',
    'Job',
    'Name',
    'Stored',
    'common_directories',
    'expected_of',
    'has_result',
    'job_of',
    'records_of',
    'stored_of',
]

# What identifies a job among the records: operation, source and destination.
Job = tuple[object, ...]
# Bucket, key and version id; None for the current version.
Name = tuple[str, str, str | None]

READS: Final = frozenset({'download', 'download_file', 'head'})
WRITES: Final = frozenset({'upload', 'upload_file'})
COPIES: Final = frozenset({'copy', 'move'})
DONE: Final = frozenset({'done', 'skipped'})
JOURNAL: Final = b'{"s3po_journal"'


class Stored(NamedTuple):
    """What a record says about one object. (Not a dataclass: there may be millions.)

    Attributes:
        size_bytes: Its size; None if the record does not have it: that of a range.
        etag: Its ETag; '' for none.
        checksum: Its checksum; None for none.
    """

    size_bytes: int | None
    etag: str
    checksum: str | None


class Expected(NamedTuple):
    """What the jobs of a record have left.

    Attributes:
        names: The object that it has written or read, and those that it has deleted; none if it is about no object.
        stored: The description of the first one; None if all were deleted.
        endpoint: The endpoint of their store; None for AWS, and if it is not known.
    """

    names: tuple[Name, ...]
    stored: Stored | None
    endpoint: str | None


def records_of(path: str | os.PathLike[str]) -> Iterator[JobRecord]:
    """The records of a receipt, a file of failed jobs or a journal, one after the other.

    Raises:
        JobError: A line is not a record. The message names the line.
        LocalError: The file cannot be read.
    """
    name = os.fsdecode(path)
    with local_errors('read', name), open(name, 'rb') as file:
        if file.peek(len(JOURNAL)).startswith(JOURNAL):
            yield from Journal(name).records()
            return
        for number, line in enumerate(file, 1):
            try:
                yield JobRecord.from_json(json.loads(line))
            except (ValueError, RecursionError, JobError) as error:
                raise JobError(f'{name}, line {number}: {error}') from error


def expected_of(record: JobRecord) -> Expected:
    """What a record says about objects; without names for a job that has changed and read nothing."""
    call, result = record.call, record.result or {}
    ref, options = call.ref, call.options
    source = (ref.bucket, ref.key, ref.version_id)
    endpoint = plain_endpoint(record.endpoint)
    if call.operation in COPIES and options.get('to') is LOST:
        endpoint = record.to_endpoint
    if not has_result(record):
        return Expected((), None, endpoint)
    if call.operation in WRITES | READS and 'size_bytes' in result:
        name = (ref.bucket, ref.key, None) if call.operation in WRITES else source
        return Expected((name,), stored_of(result, is_range=options.get('byte_range') is not None), endpoint)
    if call.operation in COPIES and 'size_bytes' in result:
        copy = (str(options['to_bucket']), str(options['to_key']), None)
        gone = (source,) if call.operation == 'move' and not options.get('to') else ()
        return Expected((copy, *gone), stored_of(result), endpoint)
    if call.operation == 'delete':
        return Expected((source,), None, endpoint)
    if call.operation == 'delete_many' and options.get('keys') is not LOST:
        return Expected(tuple(_deleted(ref.bucket, options.get('keys') or (), result)), None, endpoint)
    return Expected((), None, endpoint)


def has_result(record: JobRecord) -> bool:
    """Whether the call of a job was carried out. A job whose callback failed has a result, too."""
    return record.state in DONE or bool(record.result)


def job_of(record: JobRecord) -> Job:
    """What a later record of the same job, which was repeated, has in common with this one."""
    call, ref = record.call, record.call.ref
    return call.operation, ref.bucket, ref.key, ref.version_id, call.options.get('to_bucket'), call.options.get('to_key')


def common_directories(found: Mapping[Name, Stored | None]) -> dict[str, str]:
    """The directory that all keys of a bucket have in common, for each bucket: '' or a prefix that ends with a slash."""
    common: dict[str, str] = {}
    for bucket, key, _ in found:
        prefix = key[: key.rfind('/') + 1]
        known = common.setdefault(bucket, prefix)
        while not prefix.startswith(known):
            known = known[: known.rfind('/', 0, -1) + 1]
        common[bucket] = known
    return common


def stored_of(result: Mapping[str, Any], *, is_range: bool = False) -> Stored:
    """The description of an object in the result of a job."""
    size_bytes = None if is_range else result.get('size_bytes')
    return Stored(size_bytes, str(result.get('etag') or ''), result.get('checksum'))


def _deleted(bucket: str, keys: Iterable[Any], result: Mapping[str, Any]) -> Iterator[Name]:
    failed = {(each.get('key'), each.get('version_id')) for each in result.get('failed') or ()}
    for each in keys:
        key, version_id = (each.key, each.version_id) if isinstance(each, ObjectRef) else (key_of(each), None)
        if (key, version_id) not in failed:
            yield bucket, key, version_id
