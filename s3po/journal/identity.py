"""What identifies a call in a journal, and which destinations it writes. No I/O, and no secret in either.

Two calls are the same if operation, object, local path, data in memory (by size and CRC64NVME) and options are the same. Limits
of attempts, callbacks and secrets do not count. The endpoint is that of the journal.
"""

from __future__ import annotations

import datetime
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
from s3po.secrecy import is_secret_name

__all__ = ['READING', 'Identity']

# The option with the source or target of an operation.
PLACES: Final = {'upload': 'source', 'upload_file': 'path', 'download': 'target', 'download_file': 'path'}
# Options that are not part of the text of the options: they do not count, or are in the identity already.
ELSEWHERE: Final = LIMITS | FUNCTIONS | INTERNAL | {'silent', 'source', 'target', 'path', 'to_bucket', 'to_key', 'to'}
UPLOADS: Final = frozenset({'upload', 'upload_file'})
# Operations that change nothing.
READING: Final = frozenset({'head', 'exists', 'list'})
# Stands for an option that is not durable.
LOST_TEXT: Final = '<lost>'
# (Not an f-string, which has the str() of a subclass of str, such as an Enum: the store gets its characters.)
_joined: Final = '\0'.join
_crc64: Final = crc_function('CRC64NVME')
# Operations that a rerun may skip, if their destination is as it was left.
SKIPPABLE: Final = frozenset({'delete', 'copy', 'move', 'create_bucket', 'delete_bucket'})


class Identity:
    """A call, as a journal knows it.

    Attributes:
        call: The call.
        is_brief: Whether it uploads a bytes object without options, as most calls of large batches do.
        hash: A hash of all that identifies the call (BLAKE2b, 32 hex digits).
        on: A hash of the destination.
        also: Hashes of other destinations that the call changes.
        reads: A hash of the object that the call reads; 0 for none.
        can_skip: Whether a call that was done need not be repeated: it has a durable destination, and its source can be
            identified.
        path: The local path; None for none.
        data_bytes: The size of data in memory that are uploaded; -1 for other calls.
        options: The other options as JSON; '' for none.
        to_endpoint: The URL of another store that a copy writes to; '' for the same store.
    """

    # Without slots, so that an instance sets only what differs: one is made for each job.
    is_brief: bool = False
    also: tuple[int, ...] = ()
    reads: int = 0
    can_skip: bool = True
    path: str | None = None
    data_bytes: int = -1
    options: str = ''
    to_endpoint: str = ''

    def __init__(self, call: Call, store: str = '') -> None:
        """
        Args:
            call: The call, not one of READING.
            store: The URL of the journal's store: copies with `to` may write to the same one, for instance with other keys.
        """
        operation, ref, given = call.operation, call.ref, call.options
        self.call = call
        source = given.get('source')
        if operation == 'upload' and len(given) == 1 and type(source) is bytes and ref.version_id is None:
            # The same as below, in half the time.
            self.is_brief = True
            uploaded = _encoded(_joined((ref.bucket, ref.key)))
            self.on = _crc64(uploaded, 0) or 1
            self.data_bytes = size = len(source)
            data = b'upload\0%b\0\0\0data\0%d:%d' % (uploaded, size, _crc64(source, 0))
            self.hash = blake2b(data, digest_size=16).hexdigest()
            return
        place = PLACES.get(operation, '')
        options = '' if len(given) == 1 and place in given else self._take_options(given)
        what = _joined((operation, ref.bucket, ref.key, ref.version_id or '', options, ''))
        if operation in UPLOADS:
            self.on = object_hash(ref.bucket, ref.key)
            self.hash = self._uploads(given.get(place), what)
        elif place:
            self.hash = self._downloads(given.get(place), what)
        elif operation in ('copy', 'move'):
            self.hash = self._copies(given, what, store)
        else:
            self.hash = _hash(what)
            self.on = object_hash(ref.bucket, ref.key)
            self.can_skip = operation in SKIPPABLE
            if operation == 'delete' and ref.version_id is not None:
                # Versions are deleted independently, but a current one may be among them.
                self.on, self.also = object_hash(ref.bucket, f'{ref.key}\0{ref.version_id}'), (self.on,)
            elif operation == 'delete_many':
                self.on = self._own()
                self.changes(given.get('keys'))

    def _take_options(self, given: Mapping[str, Any]) -> str:
        """Set the options that count. Returns a text that identifies them."""
        said: dict[str, Any] = {}
        lost: dict[str, Any] = {}
        for name in given.keys() - ELSEWHERE:
            value = given[name]
            if value is not None and (name not in DEFAULTS or value != DEFAULTS[name]):
                said[name] = found = durable(name, value)
                if found is LOST:
                    # The record has only the name.
                    said[name], lost[name] = LOST_TEXT, _discerned(name, value)
        if not said:
            return ''
        self.options = json.dumps(said, sort_keys=True)
        return f'{self.options}{json.dumps(lost, sort_keys=True)}' if lost else self.options

    def changes(self, keys: Any) -> None:
        """The keys that delete_many() deletes; only those that can be read without consuming them."""
        self.also = tuple({object_hash(self.call.ref.bucket, key) for key in _written_keys(keys)})

    def _uploads(self, source: Any, what: str) -> str:
        if not isinstance(source, bytes):
            path = self.path = _path_of(source, is_data=self.call.operation == 'upload')
            if path is not None:
                return _hash(f'{what}path\0{path}')
            source = _data_of(source)
        if source is None:
            # A stream always runs again: two streams cannot be distinguished.
            self.can_skip = False
            return _hash(f'{what}stream')
        self.data_bytes = len(source)
        return _hash(f'{what}data\0{len(source)}:{_crc64(source, 0)}')

    def _downloads(self, target: Any, what: str) -> str:
        ref = self.call.ref
        path = self.path = _path_of(target, is_data=False)
        found = _hash(what if path is None else f'{what}path\0{path}')
        self.can_skip = path is not None
        self.hash = found
        self.on = self._own() if path is None else object_hash('', path)
        if ref.version_id is None:
            self.reads = object_hash(ref.bucket, ref.key)
        return found

    def _copies(self, given: Mapping[str, Any], what: str, store: str) -> str:
        to, ref = given.get('to'), self.call.ref
        endpoint = self.to_endpoint = '' if to is None else to.find_endpoint() or 'AWS'
        bucket, key = given['to_bucket'], given['to_key']
        self.on = object_hash(bucket if endpoint in ('', store) else _joined((endpoint, bucket)), key)
        source = object_hash(ref.bucket, ref.key)
        if self.call.operation == 'move':
            self.also = () if source == self.on else (source,)
        elif ref.version_id is None:
            self.reads = source
        return _hash(_joined((f'{what}{endpoint}', bucket, key)))

    def _own(self) -> int:
        """The destination of a call that has none: itself."""
        return int(self.hash[:16], 16) or 1


def object_hash(bucket: str, key: str) -> int:
    """The hash of an object as a destination, a CRC64NVME; not 0. Two objects with the same one supersede each other."""
    return _crc64(_encoded(_joined((bucket, key))), 0) or 1


def _discerned(name: str, value: object) -> Any:
    """What is known of a value that is not durable, as JSON: all but secrets, and objects of other classes."""
    if is_secret_name(name):
        return LOST_TEXT
    if isinstance(value, Mapping):
        return {str(each): _discerned(str(each), value[each]) for each in value}
    if isinstance(value, list | tuple):
        return [_discerned('', each) for each in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value if isinstance(value, str | int | float) else LOST_TEXT


def _written_keys(keys: Any) -> Iterator[str]:
    if isinstance(keys, list | tuple | set | frozenset | dict):
        for key in keys:
            if isinstance(key, str):
                yield key
            elif isinstance(key, ObjectRef | ListEntry):
                yield key.key


def _hash(text: str) -> str:
    return blake2b(_encoded(text), digest_size=16).hexdigest()


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A path that is not UTF-8. (With `errors`, encode() takes three times as long.)
        return text.encode(errors='surrogatepass')


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


def _data_of(source: Any) -> bytes | memoryview | None:
    """Data in memory as bytes; None for a stream or a file object."""
    if isinstance(source, str):
        return source.encode(errors='surrogatepass')
    try:
        return memoryview(source).cast('B')
    except TypeError:
        return None
