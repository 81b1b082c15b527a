"""Objects, uploads and buckets of a MemoryTransport, and its responses. The transport holds its lock when it uses them."""

from __future__ import annotations

import datetime
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from s3po.errors import TransportError
from s3po.model import ObjectInfo
from s3po.s3 import ID_HEADER
from s3po.s3.parameters import METADATA_PREFIX
from s3po.s3.status import error_for

__all__ = [
    'TAGGING',
    'BucketClient',
    'MemoryAnswer',
    'MemoryBucket',
    'OpenUpload',
    'StoredObject',
    'check_match',
    'md5',
    'new_object',
    'now',
    'refusal',
]

TAGGING: Final = 'x-amz-tagging'
# The headers of an object that are stored, besides its metadata.
KEPT_HEADERS: Final = frozenset(
    {
        'cache-control',
        'content-disposition',
        'content-encoding',
        'content-language',
        'content-type',
        'expires',
        TAGGING,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object. A write replaces it, so a response that is being read keeps its bytes."""

    body: bytes
    etag: str
    headers: Mapping[str, str]
    modified: datetime.datetime

    def info(self, key: str) -> ObjectInfo:
        """The description of the object, for a HEAD or a GET."""
        headers = {name: value for name, value in self.headers.items() if name != TAGGING}
        if tags := self.headers.get(TAGGING):
            headers['x-amz-tagging-count'] = str(tags.count('&') + 1)
        return ObjectInfo(
            key=key,
            size_bytes=len(self.body),
            etag=self.etag,
            last_modified=self.modified,
            content_type=headers.get('content-type'),
            metadata={
                name.removeprefix(METADATA_PREFIX): value
                for name, value in headers.items()
                if name.startswith(METADATA_PREFIX) and name != ID_HEADER
            },
            headers=headers,
        )


@dataclass(slots=True, kw_only=True)
class OpenUpload:
    """A multipart upload; of each part it has ETag and bytes."""

    key: str
    headers: Mapping[str, str]
    initiated: datetime.datetime
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


class MemoryBucket:
    """A bucket."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, OpenUpload] = {}
        # In the order of a listing; None after a key was added or removed.
        self._keys: list[str] | None = None

    def put(self, key: str, stored: StoredObject) -> None:
        """Store an object, in place of one that has the key."""
        if key not in self.objects:
            self._keys = None
        self.objects[key] = stored

    def delete(self, key: str) -> None:
        """Delete an object; no effect if there is none."""
        if self.objects.pop(key, None) is not None:
            self._keys = None

    def keys(self) -> list[str]:
        """The keys in the order of a listing."""
        if self._keys is None:
            self._keys = sorted(self.objects)
        return self._keys


class BucketClient:
    """The methods of a boto3 client for buckets, on those of a MemoryTransport."""

    def __init__(self, buckets: defaultdict[str, MemoryBucket]) -> None:
        self._buckets = buckets

    def create_bucket(self, Bucket: str, **_: object) -> dict[str, Any]:  # noqa: N803  (boto3's name)
        """Create a bucket; an existing one is unchanged, as in us-east-1."""
        self._buckets.setdefault(Bucket, MemoryBucket())
        return _response()

    def delete_bucket(self, Bucket: str, **_: object) -> dict[str, Any]:  # noqa: N803
        """Delete an empty bucket; a missing one is not an error."""
        if Bucket in self._buckets and self._buckets[Bucket].objects:
            raise refusal(f'DeleteBucket s3://{Bucket}', 409, 'BucketNotEmpty')
        self._buckets.pop(Bucket, None)
        return _response()

    def list_buckets(self, **_: object) -> dict[str, Any]:
        """The names of all buckets."""
        return _response(Buckets=[{'Name': name} for name in sorted(self._buckets)])


class MemoryAnswer:
    """The Answer to a GET."""

    def __init__(self, info: ObjectInfo, body: memoryview, offset: int, status: int) -> None:
        self.info = info
        self.status = status
        self.offset = offset
        self.size_bytes, self.whole_bytes = len(body), info.size_bytes
        self.etag = info.etag
        self.version_id: str | None = None
        self.checksum: str | None = None
        self._body = body

    def header(self, name: str) -> str | None:
        return self.info.headers.get(name)

    def read(self, size_bytes: int) -> bytes:
        data, self._body = bytes(self._body[:size_bytes]), self._body[size_bytes:]
        return data

    def read_into(self, buffer: memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._body = memoryview(b'')


def _response(**fields: Any) -> dict[str, Any]:
    return {'ResponseMetadata': {'HTTPStatusCode': 200}, **fields}


def new_object(body: bytes, etag: str, headers: Mapping[str, str]) -> StoredObject:
    """An object with those of the headers that a store keeps."""
    kept = {name: value for name, value in headers.items() if name in KEPT_HEADERS or name.startswith(METADATA_PREFIX)}
    return StoredObject(body=body, etag=etag, headers=kept, modified=now())


def now() -> datetime.datetime:
    """The time of a write: whole seconds, as in HTTP's Last-Modified."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def md5(data: bytes) -> str:
    """The MD5 in hex, the ETag of an object stored with one request."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def check_match(doing: str, if_match: str, found: StoredObject) -> None:
    """Refuse an object that has another ETag."""
    if if_match.strip('"') not in ('*', found.etag):
        raise refusal(doing, 412, 'PreconditionFailed')


def refusal(doing: str, status: int, code: str) -> TransportError:
    """The error that a store sends."""
    return error_for(doing, status=status, code=code, message='', headers={})
