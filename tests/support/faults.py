"""Failures of the transport in memory, and objects that exist from the start."""

from __future__ import annotations

from s3po.errors import (
    S3poError,
)
from tests.support.memory import MemoryTransport
from tests.support.store_values import StoredObject, md5

BUCKET = 'bucket'


class Faults:
    """Raises the given errors for the first requests that match, in order."""

    def __init__(self, operation: str, part: int | None, *errors: S3poError) -> None:
        self.operation = operation
        self.part = part
        self.errors = list(errors)

    def __call__(self, operation: str, key: str, part: int | None) -> None:
        if operation == self.operation and self.part in (None, part) and self.errors:
            raise self.errors.pop(0)


def stored(memory: MemoryTransport, key: str, data: bytes) -> bytes:
    memory.store.put(BUCKET, key, StoredObject(body=data, etag=md5(data)))
    return data
