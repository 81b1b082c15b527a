"""A transport whose store is in this process: for tests without a server, and without moto's mock of the whole program.

Buckets appear on first use. There are no versions, access rights or URLs, and no limits of sizes. Any thread may use it: no
method waits or yields while it holds the lock.
"""

from __future__ import annotations

import bisect
import itertools
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Never

from gevent import monkey

from s3po.body import Chunk
from s3po.checksum import text_of
from s3po.config import MAX_PAGE_KEYS
from s3po.errors import ConfigurationError
from s3po.model import CompletedPart, DeleteFailure, ListEntry, ObjectInfo
from s3po.s3 import Extra, Headers, ListedUpload, Listing, Stored
from s3po.s3.parameters import serialized_extra
from s3po.s3.protocol import Source, listed_upload
from s3po.transport.memory_store import (
    TAGGING,
    BucketClient,
    MemoryAnswer,
    MemoryBucket,
    OpenUpload,
    StoredObject,
    check_match,
    md5,
    new_object,
    now,
    refusal,
)

__all__ = ['MemoryTransport']

_allocate_lock: Any = monkey.get_original('_thread', 'allocate_lock')


class MemoryTransport:
    """S3's operations on objects in memory; implements Transport in s3po/s3/protocol.py.

    Attributes:
        client: The methods of a boto3 client for buckets: create_bucket, delete_bucket, list_buckets.
    """

    def __init__(self) -> None:
        self._lock = _allocate_lock()
        self._buckets: defaultdict[str, MemoryBucket] = defaultdict(MemoryBucket)
        self.client = BucketClient(self._buckets)

    def get_object(
        self,
        bucket: str,
        key: str,
        *,
        byte_range: tuple[int, int | None] | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
        wants_checksum: bool = False,
        extra: Extra,
    ) -> MemoryAnswer:
        doing = f'GetObject s3://{bucket}/{key}'
        with self._lock:
            found = self._find(doing, (bucket, key, version_id), if_match)
        _check_modified(doing, 'GetObject', found, extra)
        start, stop = byte_range or (0, None)
        if byte_range is not None and start >= len(found.body):
            raise refusal(doing, 416, 'InvalidRange')
        return MemoryAnswer(found.info(key), memoryview(found.body)[start:stop], start, 200 if byte_range is None else 206)

    def head_object(
        self,
        bucket: str,
        key: str,
        *,
        if_match: str | None = None,
        version_id: str | None = None,
        wants_checksum: bool = False,
        extra: Extra,
    ) -> ObjectInfo:
        doing = f'HeadObject s3://{bucket}/{key}'
        with self._lock:
            found = self._find(doing, (bucket, key, version_id), if_match)
        _check_modified(doing, 'HeadObject', found, extra)
        return found.info(key)

    def put_object(
        self, bucket: str, key: str, chunk: Chunk, *, checksum: str | None = None, headers: Headers, extra: Extra
    ) -> Stored:
        doing = f'PutObject s3://{bucket}/{key}'
        body, sent = chunk.read(), _sent('PutObject', headers, extra)
        confirmed = _verified(doing, body, checksum)
        stored = new_object(body, md5(body), sent)
        with self._lock:
            self._put(doing, bucket, key, stored, sent)
        return Stored(etag=stored.etag, checksum=confirmed)

    def delete_object(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str | None:
        self.delete_objects(bucket, [(key, version_id)], extra=extra)
        return None

    def delete_objects(self, bucket: str, keys: Sequence[tuple[str, str | None]], *, extra: Extra) -> Sequence[DeleteFailure]:
        with self._lock:
            for key, version_id in keys:
                if version_id in (None, 'null'):
                    self._buckets[bucket].delete(key)
        return []

    def list_objects_v2(
        self,
        bucket: str,
        *,
        prefix: str = '',
        delimiter: str | None = None,
        start_after: str | None = None,
        page_size: int = 1000,
        token: str | None = None,
        extra: Extra,
    ) -> Listing:
        entries: list[ListEntry] = []
        prefixes: list[str] = []
        # The last item of the last page: a key, or a prefix whose other keys are left out.
        last = token or ''
        with self._lock:
            keys, objects = self._buckets[bucket].keys(), self._buckets[bucket].objects
            at = max(bisect.bisect_left(keys, prefix), bisect.bisect_right(keys, max(last, start_after or '')))
            for key in itertools.islice(keys, at, None):
                if not key.startswith(prefix):
                    break
                head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, '', '')
                item = f'{prefix}{head}{delimiter}' if found else key
                if found and item == last:
                    continue
                if len(entries) + len(prefixes) == page_size:
                    return Listing(entries=entries, prefixes=prefixes, is_truncated=True, next_token=last)
                last = item
                if found:
                    prefixes.append(item)
                else:
                    stored = objects[key]
                    entries.append(
                        ListEntry(key=key, size_bytes=len(stored.body), etag=stored.etag, last_modified=stored.modified)
                    )
        return Listing(entries=entries, prefixes=prefixes, is_truncated=False, next_token=None)

    def copy_object(self, source: Source, bucket: str, key: str, *, if_match: str, headers: Headers, extra: Extra) -> Stored:
        doing = f'CopyObject s3://{bucket}/{key}'
        sent = _sent('CopyObject', headers, extra)
        with self._lock:
            found = self._find(doing, source, if_match)
            if source[:2] == (bucket, key) and not sent:
                raise refusal(doing, 400, 'InvalidRequest')
            kept = found.headers
            if headers or sent.get('x-amz-metadata-directive') == 'REPLACE':
                kept = {TAGGING: kept.get(TAGGING, ''), **sent}
            stored = new_object(found.body, found.etag, kept)
            self._put(doing, bucket, key, stored, sent)
        return Stored(etag=stored.etag)

    def create_multipart_upload(
        self, bucket: str, key: str, *, algorithm: str | None = None, headers: Headers, extra: Extra
    ) -> str:
        upload_id = uuid.uuid4().hex
        upload = OpenUpload(key=key, headers=_sent('CreateMultipartUpload', headers, extra), initiated=now())
        with self._lock:
            self._buckets[bucket].uploads[upload_id] = upload
        return upload_id

    def upload_part(
        self,
        bucket: str,
        key: str,
        chunk: Chunk,
        *,
        upload_id: str,
        part_number: int,
        checksum: str | None = None,
        extra: Extra,
    ) -> CompletedPart:
        doing = f'UploadPart s3://{bucket}/{key}'
        body = chunk.read()
        confirmed = _verified(doing, body, checksum)
        return self._keep_part(doing, bucket, key, upload_id, part_number, body, confirmed)

    def upload_part_copy(
        self,
        source: Source,
        byte_range: tuple[int, int],
        bucket: str,
        key: str,
        *,
        upload_id: str,
        part_number: int,
        if_match: str,
        extra: Extra,
    ) -> CompletedPart:
        doing = f'UploadPartCopy s3://{bucket}/{key}'
        with self._lock:
            found = self._find(doing, source, if_match)
        return self._keep_part(doing, bucket, key, upload_id, part_number, found.body[slice(*byte_range)], None)

    def complete_multipart_upload(
        self,
        bucket: str,
        key: str,
        parts: Sequence[CompletedPart],
        *,
        upload_id: str,
        checksum: str | None = None,
        headers: Headers,
        extra: Extra,
    ) -> Stored:
        doing = f'CompleteMultipartUpload s3://{bucket}/{key}'
        with self._lock:
            upload = self._upload(doing, bucket, key, upload_id)
            bodies = []
            for part in parts:
                etag, body = upload.parts.get(part.number, ('', b''))
                if etag != part.etag:
                    raise refusal(doing, 400, 'InvalidPart')
                bodies.append(body)
            body = b''.join(bodies)
            # A checksum of the parts' checksums is not compared.
            confirmed = None if checksum is None or '-' in checksum else _verified(doing, body, checksum)
            etag = md5(b''.join(bytes.fromhex(part.etag) for part in parts))
            stored = new_object(body, f'{etag}-{len(parts)}', upload.headers)
            self._put(doing, bucket, key, stored, _sent('CompleteMultipartUpload', headers, extra))
            del self._buckets[bucket].uploads[upload_id]
        return Stored(etag=stored.etag, checksum=confirmed)

    def abort_multipart_upload(self, bucket: str, key: str, *, upload_id: str, extra: Extra) -> None:
        with self._lock:
            self._upload(f'AbortMultipartUpload s3://{bucket}/{key}', bucket, key, upload_id)
            del self._buckets[bucket].uploads[upload_id]

    def list_parts(self, bucket: str, key: str, *, upload_id: str, after: int = 0, extra: Extra) -> Sequence[CompletedPart]:
        with self._lock:
            parts = sorted(self._upload(f'ListParts s3://{bucket}/{key}', bucket, key, upload_id).parts.items())
        page = [(number, etag, len(body)) for number, (etag, body) in parts if number > after][:MAX_PAGE_KEYS]
        return [CompletedPart(number=number, etag=etag, size_bytes=size_bytes) for number, etag, size_bytes in page]

    def list_multipart_uploads(self, bucket: str, *, prefix: str = '', extra: Extra) -> Sequence[ListedUpload]:
        with self._lock:
            found = [(one.key, one.initiated, upload_id) for upload_id, one in self._buckets[bucket].uploads.items()]
        return [
            listed_upload(key, upload_id, initiated, now())
            for key, initiated, upload_id in sorted(found)
            if key.startswith(prefix)
        ]

    def get_object_tagging(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str:
        with self._lock:
            found = self._find(f'GetObjectTagging s3://{bucket}/{key}', (bucket, key, version_id), None)
        return found.headers.get(TAGGING, '')

    def put_object_tagging(self, bucket: str, key: str, tagging: str, *, version_id: str | None = None, extra: Extra) -> None:
        doing = f'PutObjectTagging s3://{bucket}/{key}'
        with self._lock:
            found = self._find(doing, (bucket, key, version_id), None)
            self._buckets[bucket].objects[key] = replace(found, headers={**found.headers, TAGGING: tagging})

    def presigned_url(self, *arguments: object, **options: object) -> Never:
        """Refuse.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError('a store in memory has no URLs that could be signed')

    def guards_bodies(self, bucket: str) -> bool:
        return True

    def signs_bodies(self, bucket: str) -> bool:
        return False

    def close(self) -> None:
        """Do nothing: the objects remain."""

    # --- called with the lock held, except _keep_part()

    def _find(self, doing: str, source: Source, if_match: str | None) -> StoredObject:
        bucket, key, version_id = source
        found = self._buckets[bucket].objects.get(key)
        if found is None or version_id not in (None, 'null'):
            raise refusal(doing, 404, 'NoSuchKey' if version_id is None else 'NoSuchVersion')
        if if_match is not None:
            check_match(doing, if_match, found)
        return found

    def _put(self, doing: str, bucket: str, key: str, stored: StoredObject, sent: Mapping[str, str]) -> None:
        present = self._buckets[bucket].objects.get(key)
        if 'if-none-match' in sent and present is not None:
            raise refusal(doing, 412, 'PreconditionFailed')
        if 'if-match' in sent:
            if present is None:
                raise refusal(doing, 404, 'NoSuchKey')
            check_match(doing, sent['if-match'], present)
        self._buckets[bucket].put(key, stored)

    def _upload(self, doing: str, bucket: str, key: str, upload_id: str) -> OpenUpload:
        upload = self._buckets[bucket].uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise refusal(doing, 404, 'NoSuchUpload')
        return upload

    def _keep_part(
        self, doing: str, bucket: str, key: str, upload_id: str, number: int, body: bytes, checksum: str | None
    ) -> CompletedPart:
        etag = md5(body)
        with self._lock:
            self._upload(doing, bucket, key, upload_id).parts[number] = etag, body
        return CompletedPart(number=number, etag=etag, size_bytes=len(body), checksum=checksum)


def _sent(operation: str, headers: Headers, extra: Extra) -> dict[str, str]:
    """The headers of a request, with lower-case names."""
    named = serialized_extra(operation, extra)[0] if extra else {}
    return {**named, **{name.lower(): value for name, value in headers.items()}}


def _check_modified(doing: str, operation: str, found: StoredObject, extra: Extra) -> None:
    if _sent(operation, {}, extra).get('if-none-match', '').strip('"') in ('*', found.etag):
        raise refusal(doing, 304, 'NotModified')


def _verified(doing: str, body: bytes, checksum: str | None) -> str | None:
    """The checksum that the response confirms."""
    if checksum is None:
        return None
    algorithm = checksum.partition(':')[0]
    if text_of(algorithm, [body]) != checksum:
        raise refusal(doing, 400, 'BadDigest')
    # S3 does not return the MD5.
    return None if algorithm == 'MD5' else checksum
