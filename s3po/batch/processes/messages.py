"""Calls, outcomes and errors as plain values of messages.

What only this process has (open files, iterators, local functions) cannot be sent: such a call is carried out in the parent.
"""

from __future__ import annotations

import functools
import itertools
import os
import pickle
import traceback
from collections.abc import Iterator
from typing import Any, Final

from s3po.batch.processes.channel import body
from s3po.checks import described
from s3po.errors import S3poError
from s3po.jobs import Call
from s3po.jobs.options import ON_BUCKETS
from s3po.model import ObjectInfo, Outcome, TransferResult, bucket_ref_of, ref_of
from s3po.progress import is_wanted

__all__ = ['Fields', 'packed_call', 'packed_error', 'packed_outcome', 'unpacked_call', 'unpacked_error', 'unpacked_outcome']

# What is sent of a call: operation, bucket, key, version, plain options, other options (pickled one by one).
Fields = tuple[str, str, str, str | None, dict[str, Any], dict[str, bytes] | None]

# Exactly these types: a subclass may be one of the program's main module, which a worker does not import.
PLAIN: Final = frozenset({str, int, float, bool, type(None)})
# Options with the data of an object, or the place of the data.
PLACES: Final = frozenset({'source', 'target', 'path'})
# Options that the parent keeps: see s3po.batch.processes.relays. Each process has a share of the memory.
KEPT: Final = frozenset({'memory', 'notes', 'observer'})
# Paths that mean something else in each process.
OWN_PATHS: Final = ('/dev/', '/proc/')
# How many causes of an error are sent.
MAX_CAUSES: Final = 16


class _Path(os.PathLike[str]):
    """A path. (pathlib would drop a slash at the end.)"""

    __slots__ = ('_text',)

    def __init__(self, text: str) -> None:
        self._text = text

    def __fspath__(self) -> str:
        return self._text

    def __reduce__(self) -> tuple[Any, ...]:
        return _Path, (self._text,)


def packed_call(call: Call) -> Fields | None:
    """A call as plain values; None if it can only be carried out in this process."""
    ref = call.ref
    bucket, key, version_id = ref.bucket, ref.key, ref.version_id
    if not (bucket.__class__ is key.__class__ is str and version_id.__class__ in PLAIN):
        if not all(isinstance(each, str | None) for each in (bucket, key, version_id)):
            return None
        bucket, key, version_id = _exact(bucket), _exact(key), None if version_id is None else _exact(version_id)
    plain: dict[str, Any] = {}
    others: dict[str, bytes] | None = None
    for name, value in call.options.items():
        kind = value.__class__
        if kind is bytes:
            plain[name] = body(value)
        elif kind in PLAIN and (name == 'source' or name not in PLACES):
            plain[name] = value
        elif name not in KEPT:
            try:
                packed = _packed_option(name, value)
            except Exception:  # noqa: BLE001  (the caller's object may raise anything when it is pickled)
                return None
            others = {} if others is None else others
            others[name] = packed
    return call.operation, bucket, key, version_id, plain, others


def unpacked_call(fields: Fields) -> Call:
    """The inverse of packed_call().

    Raises:
        Exception: An option cannot be unpickled here.
    """
    operation, bucket, key, version_id, options, others = fields
    if others is not None:
        for name, value in others.items():
            # From the process that started this one.
            options[name] = _other_connection(value) if name == 'to' else pickle.loads(value)  # noqa: S301
    ref = bucket_ref_of(bucket, key) if operation in ON_BUCKETS else ref_of(bucket, key, version_id)
    return Call(operation, ref, options)


@functools.lru_cache(maxsize=8)
def _other_connection(pickled: bytes) -> Any:
    """The Connection to another store: one for all jobs that have the same, with the sockets that it keeps."""
    return pickle.loads(pickled)  # noqa: S301


def _exact(text: str) -> str:
    """The characters of a subclass of str, such as a StrEnum. A worker process may not be able to import the class."""
    return str.__str__(text)


def _packed_option(name: str, value: Any) -> bytes:
    if name in PLACES:
        if value is None:
            return pickle.dumps(None)
        if isinstance(value, bytearray | memoryview):
            return pickle.dumps(bytes(value))
        if not isinstance(value, str | os.PathLike) or (name == 'source' and isinstance(value, str)):
            raise TypeError
        text = os.fsdecode(value)
        if text.startswith(OWN_PATHS):
            raise TypeError
        if text and not os.path.isabs(text):
            # An object with __fspath__; other paths are absolute since their submission.
            text = os.path.join(os.getcwd(), text)
        return pickle.dumps(text if isinstance(value, str) else _Path(text))
    if isinstance(value, Iterator) or (name == 'progress' and is_wanted(value)):
        # An iterator can be read only once, and a function for progress is called in this process.
        raise TypeError
    return pickle.dumps(value)


class _Description:
    """What the store says about an object that a worker process has downloaded into memory: a Described."""

    def __init__(self, info: ObjectInfo) -> None:
        self.info = info
        self.etag = info.etag

    def header(self, name: str) -> str | None:
        """Return a header of the response, by its lower-case name; None if it is missing."""
        return self.info.headers.get(name)


def packed_outcome(outcome: Outcome, call: Call, *, describes: bool) -> tuple[Any, ...]:
    """The outcome of a call as plain values.

    Args:
        outcome: The outcome.
        call: The call.
        describes: Whether the descriptions of downloaded objects are needed.
    """
    value: Any = outcome.value
    kind = value.__class__
    if kind is TransferResult:
        return (
            value.size_bytes,
            value.etag,
            value.version_id,
            value.checksum,
            value.parts,
            value.attempts,
            value.seconds,
            value.skipped,
            value.warnings,
            # Of a copy, they are those of the new object.
            None if value.key == call.ref.key and value.bucket == call.ref.bucket else (value.bucket, value.key),
            outcome.retries,
        )
    info = pickle.dumps(outcome.described.info) if describes and outcome.described is not None else None
    if kind is bytes:
        return 'plain', body(value), outcome.size_bytes, outcome.retries, info
    if kind in PLAIN:
        return 'plain', value, outcome.size_bytes, outcome.retries, info
    return 'other', body(pickle.dumps(value)), outcome.size_bytes, outcome.retries, info


def unpacked_outcome(fields: tuple[Any, ...], call: Call) -> Outcome:
    """The inverse of packed_outcome()."""
    if len(fields) == 5:
        kind, value, size_bytes, retries, info = fields
        # From a process that this one started.
        return Outcome(
            value=value if kind == 'plain' else pickle.loads(value),  # noqa: S301
            size_bytes=size_bytes,
            retries=retries,
            described=None if info is None else _Description(pickle.loads(info)),  # noqa: S301
        )
    size_bytes, etag, version_id, checksum, parts, attempts, seconds, skipped, warnings, of, retries = fields
    bucket, key = of or (call.ref.bucket, call.ref.key)
    result = TransferResult(
        bucket=bucket,
        key=key,
        size_bytes=size_bytes,
        etag=etag,
        version_id=version_id,
        checksum=checksum,
        parts=parts,
        attempts=attempts,
        seconds=seconds,
        skipped=skipped,
        warnings=warnings,
    )
    return Outcome(value=result, size_bytes=size_bytes, retries=retries)


def packed_error(error: BaseException) -> list[tuple[bytes, str]]:
    """An error and its causes, each pickled, with its text for the case that it cannot be unpickled."""
    if not isinstance(error, S3poError):
        # A defect, or an error of the caller's own classes: the traceback is needed, and does not pickle.
        error.add_note(f'In worker process {os.getpid()}:\n{"".join(traceback.format_exception(error))}')
    found: list[tuple[bytes, str]] = []
    cause: BaseException | None = error
    while cause is not None and len(found) < MAX_CAUSES:
        found.append(_packed_alone(cause))
        cause = cause.__cause__
    return found


def _packed_alone(error: BaseException) -> tuple[bytes, str]:
    text = described(error)
    cause, error.__cause__ = error.__cause__, None
    try:
        return pickle.dumps(error), text
    except Exception:  # noqa: BLE001  (a foreign error may raise anything when it is pickled)
        return b'', text
    finally:
        error.__cause__ = cause


def unpacked_error(packed: list[tuple[bytes, str]]) -> BaseException:
    """The inverse of packed_error(). In place of an error that cannot be unpickled, an S3poError with its text."""
    errors = [_unpacked_alone(*each) for each in packed]
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def _unpacked_alone(pickled: bytes, text: str) -> BaseException:
    if pickled:
        try:
            # From a process that this one started.
            found = pickle.loads(pickled)  # noqa: S301
            if isinstance(found, BaseException):
                return found
        except Exception:  # noqa: BLE001  (the constructors of foreign errors may raise anything)
            return S3poError(text)
    return S3poError(text)
