"""What identifies a call in a journal, and which destinations it writes. No I/O, and no secret in either.

Two calls are the same if operation, object, local path, data in memory (by size and CRC64NVME) and options are the same. Limits
of attempts, callbacks and secrets do not count. The endpoint is that of the journal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

from s3po.checksum import crc_function
from s3po.jobs import DEFAULTS, LOST, Call
from s3po.jobs.call import LIMITS
from s3po.jobs.durable import FUNCTIONS, durable
from s3po.jobs.options import INTERNAL
from s3po.model import ListEntry, ObjectRef

__all__ = ['Identity', 'identity_of', 'written_keys']

# The option with the source or target of an operation.
PLACES: Final = {'upload': 'source', 'upload_file': 'path', 'download': 'target', 'download_file': 'path'}
# Options that are not part of the text of the options: they do not count, or are in the identity already.
ELSEWHERE: Final = LIMITS | FUNCTIONS | INTERNAL | {'silent', 'source', 'target', 'path', 'to_bucket', 'to_key', 'to'}
# Operations that change nothing.
READING: Final = frozenset({'head', 'exists', 'list'})
# Operations that a rerun may skip, if their destination is as it was left.
SKIPPABLE: Final = frozenset({'delete', 'copy', 'move', 'create_bucket', 'delete_bucket'})


class Identity:
    """A call, as a journal knows it.

    Attributes:
        digest: A hash of all that identifies the call (16 bytes).
        on: A hash of the destination.
        also: Hashes of other destinations that the call changes.
        reads: A hash of the object that the call reads; 0 for none.
        can_skip: Whether a call that was done need not be repeated: it has a durable destination, and its source can be
            identified.
        path: The local path; None for none.
        options: The other options as JSON; '' for none.
        to_endpoint: The URL of another store that a copy writes to; '' for the same store.
    """

    __slots__ = ('also', 'can_skip', 'digest', 'on', 'options', 'path', 'reads', 'to_endpoint')

    def __init__(self, digest: bytes, on: int, options: str, *, can_skip: bool, path: str | None) -> None:
        self.digest = digest
        self.on = on
        self.options = options
        self.can_skip = can_skip
        self.path = path
        self.also: tuple[int, ...] = ()
        self.reads = 0
        self.to_endpoint = ''


def identity_of(call: Call) -> Identity | None:
    """The identity of a call; None for calls that only read the store and leave nothing behind."""
    operation, ref, given = call.operation, call.ref, call.options
    if operation in READING:
        return None
    options = '' if len(given) == 1 and operation in PLACES and PLACES[operation] in given else _options_text(given)
    what = f'{operation}\0{ref.bucket}\0{ref.key}\0{ref.version_id or ""}\0{options}\0'
    if operation in PLACES:
        return _of_transfer(operation, ref, given.get(PLACES[operation]), what, options)
    if operation in ('copy', 'move'):
        return _of_copy(operation, ref, given, what, options)
    found = Identity(_digest(what), object_hash(ref.bucket, ref.key), options, can_skip=operation in SKIPPABLE, path=None)
    if operation == 'delete' and ref.version_id is not None:
        # Versions are deleted independently, but a current one may be among them.
        found.on, found.also = object_hash(ref.bucket, f'{ref.key}\0{ref.version_id}'), (found.on,)
    elif operation == 'delete_many':
        found.on = int.from_bytes(found.digest[:8]) or 1
        found.also = tuple({object_hash(ref.bucket, key) for key in written_keys(given.get('keys'))})
    return found


def object_hash(bucket: str, key: str, endpoint: str = '') -> int:
    """The hash of an object as a destination; not 0."""
    text = f'{endpoint}\0{bucket}\0{key}' if endpoint else f'{bucket}\0{key}'
    return int.from_bytes(blake2b(text.encode(errors='surrogatepass'), digest_size=8).digest()) or 1


def written_keys(keys: Any) -> Iterator[str]:
    """The keys of delete_many(); only those that can be read without consuming them."""
    if isinstance(keys, list | tuple | set | frozenset | dict):
        for key in keys:
            if isinstance(key, str):
                yield key
            elif isinstance(key, ObjectRef | ListEntry):
                yield key.key


def _of_transfer(operation: str, ref: ObjectRef, place: Any, what: str, options: str) -> Identity:
    is_upload = operation.startswith('upload')
    path = _path_of(place, is_data=operation == 'upload')
    if is_upload:
        if path is not None:
            return Identity(_digest(f'{what}path\0{path}'), object_hash(ref.bucket, ref.key), options, can_skip=True, path=path)
        data = _described_data(place)
        # A stream always runs again. Its calls differ by nothing that could be known.
        text = f'{what}data\0{data}'
        return Identity(_digest(text), object_hash(ref.bucket, ref.key), options, can_skip=data is not None, path=None)
    if path is not None:
        found = Identity(_digest(f'{what}path\0{path}'), object_hash('', path), options, can_skip=True, path=path)
    else:
        digest = _digest(what)
        found = Identity(digest, int.from_bytes(digest[:8]) or 1, options, can_skip=False, path=None)
    if ref.version_id is None:
        found.reads = object_hash(ref.bucket, ref.key)
    return found


def _of_copy(operation: str, ref: ObjectRef, given: Mapping[str, Any], what: str, options: str) -> Identity:
    to = given.get('to')
    endpoint = '' if to is None else to.find_endpoint() or 'AWS'
    bucket, key = str(given.get('to_bucket')), str(given.get('to_key'))
    source = object_hash(ref.bucket, ref.key)
    found = Identity(
        _digest(f'{what}{endpoint}\0{bucket}\0{key}'), object_hash(bucket, key, endpoint), options, can_skip=True, path=None
    )
    found.to_endpoint = endpoint
    if operation == 'move':
        found.also = (source,)
    elif ref.version_id is None:
        found.reads = source
    return found


def _digest(text: str) -> bytes:
    return blake2b(text.encode(errors='surrogatepass'), digest_size=16).digest()


def _path_of(place: Any, *, is_data: bool) -> str | None:
    """The absolute path of a source or target; None for anything else. (A str as the source of upload() is data.)"""
    if isinstance(place, str):
        if is_data:
            return None
        path = place
    elif isinstance(place, os.PathLike):
        path = os.fsdecode(place)
    else:
        return None
    return path if path[:1] == '/' else os.path.join(os.getcwd(), path)


def _described_data(source: Any) -> str | None:
    """The size and checksum of data in memory; None for a stream or a file object."""
    if isinstance(source, str):
        source = source.encode(errors='surrogatepass')
    elif not isinstance(source, bytes):
        try:
            source = memoryview(source).cast('B')
        except TypeError:
            return None
    return f'{len(source)}:{crc_function("CRC64NVME")(source, 0)}'


def _options_text(given: Mapping[str, Any]) -> str:
    """The options that count, as JSON; '' for none."""
    said = {}
    for name in given.keys() - ELSEWHERE:
        value = given[name]
        if value is not None and (name not in DEFAULTS or value != DEFAULTS[name]):
            found = durable(name, value)
            # A secret: only its name counts.
            said[name] = '<lost>' if found is LOST else found
    return json.dumps(said, sort_keys=True) if said else ''
