"""Buckets, objects and multipart uploads in memory, with S3's rules for them.

It uses no HTTP, XML or sockets, and needs only the standard library. One Store is used by many threads; each public method
takes
its lock.

Invariant: a stored object never changes. A write replaces it by a new one, so a reader continues to read its version.
"""

from __future__ import annotations

import bisect
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.support.store_values import (
    Checksum,
    Conditions,
    Listing,
    Part,
    StoredObject,
    StoreError,
    Upload,
    check_key,
    check_tags,
    md5,
)

__all__ = ['MIN_PART_BYTES', 'Store']

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MIN_PART_BYTES = 5 * 1024 * 1024
MAX_PARTS = 10_000


class _Bucket:
    """Objects by key; the sorted keys are computed for a listing, and discarded when a key is added or removed."""

    def __init__(self) -> None:
        self.created = time.time()
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, Upload] = {}
        self._sorted: list[str] | None = None

    def put(self, key: str, stored: StoredObject) -> None:
        if key not in self.objects:
            self._sorted = None
        self.objects[key] = stored

    def delete(self, key: str) -> None:
        if self.objects.pop(key, None) is not None:
            self._sorted = None

    def sorted_keys(self) -> list[str]:
        # Python orders str by code point, which is the order of the UTF-8 bytes, and S3's order.
        if self._sorted is None:
            self._sorted = sorted(self.objects)
        return self._sorted


class Store:
    """All buckets of one server."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._buckets: dict[str, _Bucket] = {}

    def reset(self) -> None:
        """Remove everything."""
        with self._lock:
            self._buckets.clear()

    # ------------------------------------------------------------------ buckets

    def create_bucket(self, name: str) -> None:
        """Make a bucket; an existing one is unchanged, as in us-east-1."""
        with self._lock:
            self._buckets.setdefault(name, _Bucket())

    def delete_bucket(self, name: str) -> None:
        """Remove an empty bucket.

        Raises:
            StoreError: NoSuchBucket or BucketNotEmpty.
        """
        with self._lock:
            if self._bucket(name).objects:
                raise StoreError(409, 'BucketNotEmpty', 'The bucket you tried to delete is not empty.')
            del self._buckets[name]

    def head_bucket(self, name: str) -> None:
        """Raise NoSuchBucket if there is no such bucket."""
        with self._lock:
            self._bucket(name)

    def list_buckets(self) -> list[tuple[str, float]]:
        """The names, sorted, each with its time of creation in seconds since the epoch."""
        with self._lock:
            return sorted((name, bucket.created) for name, bucket in self._buckets.items())

    # ------------------------------------------------------------------ objects

    def put(self, bucket: str, key: str, stored: StoredObject, conditions: Conditions | None = None) -> None:
        """Store an object, or replace one if the conditions allow it."""
        check_key(key)
        with self._lock:
            room = self._bucket(bucket)
            (conditions or Conditions()).check_write(room.objects.get(key))
            room.put(key, stored)

    def get(self, bucket: str, key: str) -> StoredObject:
        """The object.

        Raises:
            StoreError: NoSuchBucket or NoSuchKey.
        """
        with self._lock:
            stored = self._bucket(bucket).objects.get(key)
        if stored is None:
            raise StoreError(404, 'NoSuchKey', 'The specified key does not exist.')
        return stored

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; a missing one is not an error."""
        with self._lock:
            self._bucket(bucket).delete(key)

    def list_objects(
        self,
        bucket: str,
        prefix: str = '',
        *,
        delimiter: str = '',
        after: str = '',
        resume: str = '',
        limit: int = 1000,
    ) -> Listing:
        """One page of keys and common prefixes.

        Args:
            bucket: The bucket.
            prefix: The prefix of all keys.
            delimiter: Keys that contain it after the prefix are grouped; empty for none.
            after: Keys up to and including this one are left out.
            resume: The `next` of the last page; a common prefix is not listed again.
            limit: The maximum number of items.
        """
        with self._lock:
            room = self._bucket(bucket)
            keys, objects = room.sorted_keys(), dict(room.objects)
        items: list[tuple[str, StoredObject | None]] = []
        if limit <= 0:
            return Listing(items, None)
        at = max(bisect.bisect_left(keys, prefix), bisect.bisect_right(keys, max(after, resume)))
        is_rolled_up = bool(delimiter) and resume.endswith(delimiter) and len(resume) > len(prefix)
        if is_rolled_up:
            at = _skip(keys, at, resume)
        while at < len(keys) and keys[at].startswith(prefix):
            if len(items) == limit:
                return Listing(items, items[-1][0])
            head, found, _ = keys[at][len(prefix) :].partition(delimiter) if delimiter else (keys[at], '', '')
            if found:
                common = prefix + head + delimiter
                items.append((common, None))
                at = _skip(keys, at, common)
            else:
                items.append((keys[at], objects[keys[at]]))
                at += 1
        return Listing(items, None)

    def tags(self, bucket: str, key: str) -> Mapping[str, str]:
        """The object's tags."""
        return self.get(bucket, key).tags

    def put_tags(self, bucket: str, key: str, tags: Mapping[str, str]) -> None:
        """Replace the object's tags; its ETag and time are unchanged."""
        with self._lock:
            self._bucket(bucket).put(key, replace(self.get(bucket, key), tags=check_tags(tags)))

    # ------------------------------------------------------------------ multipart uploads

    def create_upload(
        self,
        bucket: str,
        key: str,
        headers: Mapping[str, str],
        tags: Mapping[str, str],
        *,
        algorithm: str = '',
        kind: str = '',
    ) -> str:
        """Create a multipart upload, with algorithm and type of its checksum. Returns its id."""
        check_key(key)
        with self._lock:
            upload = Upload(uuid.uuid4().hex, key, dict(headers), dict(tags), algorithm, kind)
            self._bucket(bucket).uploads[upload.upload_id] = upload
        return upload.upload_id

    def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """An upload.

        Raises:
            StoreError: NoSuchUpload.
        """
        with self._lock:
            return self._upload(bucket, key, upload_id)

    def upload_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        body: bytes,
        *,
        etag: str | None = None,
        checksum: Checksum | None = None,
    ) -> Part:
        """Store a part, or replace one of the same number; its ETag is the MD5 unless another is passed."""
        if not 1 <= number <= MAX_PARTS:
            raise StoreError(400, 'InvalidArgument', f'Part number must be an integer between 1 and {MAX_PARTS}, inclusive')
        part = Part(body, md5(body) if etag is None else etag, checksum)
        with self._lock:
            self._upload(bucket, key, upload_id).parts[number] = part
        return part

    def parts(self, bucket: str, key: str, upload_id: str) -> list[tuple[int, Part]]:
        """The parts of an upload, by number."""
        with self._lock:
            return sorted(self._upload(bucket, key, upload_id).parts.items())

    def uploads(self, bucket: str) -> list[Upload]:
        """The uploads of a bucket, by key and then by age."""
        with self._lock:
            return sorted(self._bucket(bucket).uploads.values(), key=lambda upload: (upload.key, upload.initiated))

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """Remove an upload and its parts."""
        with self._lock:
            self._upload(bucket, key, upload_id)
            del self._bucket(bucket).uploads[upload_id]

    def assemble(self, bucket: str, key: str, upload_id: str, wanted: Sequence[tuple[int, str]]) -> StoredObject:
        """The object made of an upload's parts, not stored yet.

        Args:
            bucket: The bucket.
            key: The key.
            upload_id: The upload.
            wanted: Part numbers and ETags (without quotes), in the order of the client's list.

        Raises:
            StoreError: NoSuchUpload, MalformedXML, InvalidPartOrder, InvalidPart, EntityTooSmall.
        """
        with self._lock:
            upload = self._upload(bucket, key, upload_id)
            parts = dict(upload.parts)
        numbers = [number for number, _ in wanted]
        if not numbers:
            raise StoreError(400, 'MalformedXML', 'You must specify at least one part')
        if numbers != sorted(set(numbers)):
            raise StoreError(400, 'InvalidPartOrder', 'The list of parts was not in ascending order.')
        if any(number not in parts or parts[number].etag != etag for number, etag in wanted):
            raise StoreError(400, 'InvalidPart', 'One or more of the specified parts could not be found.')
        if any(len(parts[number].body) < MIN_PART_BYTES for number in numbers[:-1]):
            raise StoreError(400, 'EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size')
        body = b''.join(parts[number].body for number in numbers)
        etag = md5(b''.join(bytes.fromhex(parts[number].etag) for number in numbers))
        return StoredObject(body=body, etag=f'{etag}-{len(numbers)}', headers=upload.headers, tags=upload.tags)

    def complete_upload(self, bucket: str, upload_id: str, key: str, stored: StoredObject, conditions: Conditions) -> None:
        """Store an assembled object and remove the upload, or do neither."""
        with self._lock:
            self._upload(bucket, key, upload_id)
            self.put(bucket, key, stored, conditions)
            del self._bucket(bucket).uploads[upload_id]

    # ------------------------------------------------------------------ called with the lock held

    def _bucket(self, name: str) -> _Bucket:
        try:
            return self._buckets[name]
        except KeyError:
            raise StoreError(404, 'NoSuchBucket', 'The specified bucket does not exist') from None

    def _upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        upload = self._bucket(bucket).uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise StoreError(404, 'NoSuchUpload', 'The specified multipart upload does not exist.')
        return upload


def _skip(keys: Sequence[str], at: int, prefix: str) -> int:
    """The first index from `at` on whose key does not start with the prefix."""
    while at < len(keys) and keys[at].startswith(prefix):
        at += 1
    return at
