"""A transport whose store is in this process, for tests with more requests or faults than a server could handle.

It passes tests/functional/test_transport_conformance.py like the real transports.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import gevent

from s3po.body import Chunk
from s3po.checksum import text_of
from s3po.errors import TransportError
from s3po.model import CompletedPart, DeleteFailure, ListEntry, ObjectInfo
from s3po.s3 import ID_HEADER, Extra, Headers, ListedUpload, Listing, Stored
from s3po.s3.protocol import listed_upload
from s3po.s3.status import error_for
from tests.support.store_state import Store
from tests.support.store_values import Conditions, StoredObject, StoreError, md5

Source = tuple[str, str, str | None]
T = TypeVar('T')
# Called before each request with its operation, key and part number; an exception is raised by the request.
Fault = Callable[[str, str, int | None], None]

KEPT_HEADERS = (
    'content-type',
    'cache-control',
    'content-disposition',
    'content-encoding',
    'content-language',
    'expires',
)


class MemoryTransport:
    """S3's operations on tests.support.store_state.Store.

    Attributes:
        store: The buckets.
        calls: (operation, key, part number) of every request so far.
        fault: Called before each request; None for none.
        keeps_checksums: Whether it verifies, stores and returns checksums of uploads, as S3 does; most stores ignore them.
        guards: Whether bodies count as protected in transit.
        in_flight: The number of current requests.
        peak: The maximum of in_flight.
    """

    def __init__(self, fault: Fault | None = None) -> None:
        self.store = Store()
        self.calls: list[tuple[str, str, int | None]] = []
        self.is_logging = True
        self.fault = fault
        self.keeps_checksums = False
        self.guards = True
        self._checksums: dict[tuple[str, str], str] = {}
        self.in_flight = 0
        self.peak = 0

    def count(self, operation: str) -> int:
        """The number of requests of one operation."""
        return sum(1 for name, _, _ in self.calls if name == operation)

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
        def work() -> MemoryAnswer:
            found = self.store.get(bucket, key)
            self._check_match(found, if_match)
            start, stop = byte_range or (0, None)
            if byte_range is not None and start >= len(found.body):
                raise StoreError(416, 'InvalidRange', 'The requested range is not satisfiable')
            body = found.body[start:stop]
            told = self._checksums.get((bucket, key)) if wants_checksum and byte_range is None else None
            return MemoryAnswer(_info(key, found, told), body, start, 200 if byte_range is None else 206)

        return self._request('GetObject', bucket, key, work)

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
        def work() -> ObjectInfo:
            found = self.store.get(bucket, key)
            self._check_match(found, if_match)
            return _info(key, found, self._checksums.get((bucket, key)) if wants_checksum else None)

        try:
            return self._request('HeadObject', bucket, key, work)
        except TransportError as error:
            if getattr(error, 'status', 0) == 404:
                # The response to a HEAD has no body, so it does not tell a missing key from a missing bucket.
                raise error_for('HeadObject', status=404, code='404', message='Not Found', headers={}) from error
            raise

    def put_object(
        self, bucket: str, key: str, chunk: Chunk, *, checksum: str | None = None, headers: Headers, extra: Extra
    ) -> Stored:
        def work() -> Stored:
            body = chunk.read()
            told = self._verified(body, checksum)
            stored = StoredObject(body=body, etag=md5(body), headers=_kept(headers, extra))
            self.store.put(bucket, key, stored, _conditions(headers))
            self._keep(bucket, key, told)
            return Stored(etag=stored.etag, checksum=told)

        return self._request('PutObject', bucket, key, work)

    def delete_object(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str | None:
        self._request('DeleteObject', bucket, key, lambda: self.store.delete(bucket, key))
        return None

    def delete_objects(self, bucket: str, keys: Sequence[tuple[str, str | None]], *, extra: Extra) -> Sequence[DeleteFailure]:
        def work() -> list[DeleteFailure]:
            for key, _ in keys:
                self.store.delete(bucket, key)
            return []

        return self._request('DeleteObjects', bucket, '', work)

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
        def work() -> Listing:
            page = self.store.list_objects(
                bucket,
                prefix,
                delimiter=delimiter or '',
                after=start_after or '',
                resume=token or '',
                limit=page_size,
            )
            return Listing(
                entries=[_entry(key, found) for key, found in page.items if found is not None],
                prefixes=[key for key, found in page.items if found is None],
                is_truncated=page.next is not None,
                next_token=page.next,
            )

        return self._request('ListObjectsV2', bucket, prefix, work)

    def copy_object(self, source: Source, bucket: str, key: str, *, if_match: str, headers: Headers, extra: Extra) -> Stored:
        def work() -> Stored:
            found = self.store.get(source[0], source[1])
            self._check_match(found, if_match)
            copied = dataclasses.replace(found, headers=_kept(headers, extra)) if headers else found
            self.store.put(bucket, key, copied)
            return Stored(etag=copied.etag)

        return self._request('CopyObject', bucket, key, work)

    def create_multipart_upload(
        self, bucket: str, key: str, *, algorithm: str | None = None, headers: Headers, extra: Extra
    ) -> str:
        def work() -> str:
            return self.store.create_upload(bucket, key, _kept(headers, extra), {})

        return self._request('CreateMultipartUpload', bucket, key, work)

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
        def work() -> CompletedPart:
            body = chunk.read()
            told = self._verified(body, checksum)
            part = self.store.upload_part(bucket, key, upload_id, part_number, body)
            return CompletedPart(number=part_number, etag=part.etag, size_bytes=len(body), checksum=told)

        return self._request('UploadPart', bucket, key, work, part_number)

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
        def work() -> CompletedPart:
            found = self.store.get(source[0], source[1])
            self._check_match(found, if_match)
            body = found.body[byte_range[0] : byte_range[1]]
            part = self.store.upload_part(bucket, key, upload_id, part_number, body)
            return CompletedPart(number=part_number, etag=part.etag)

        return self._request('UploadPartCopy', bucket, key, work, part_number)

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
        def work() -> Stored:
            wanted = [(part.number, part.etag) for part in parts]
            stored = self.store.assemble(bucket, key, upload_id, wanted)
            told = self._verified(stored.body, checksum) if checksum and '-' not in checksum else checksum
            self.store.complete_upload(bucket, upload_id, key, stored, _conditions(headers))
            self._keep(bucket, key, told)
            return Stored(etag=stored.etag, checksum=told)

        return self._request('CompleteMultipartUpload', bucket, key, work)

    def abort_multipart_upload(self, bucket: str, key: str, *, upload_id: str, extra: Extra) -> None:
        self._request('AbortMultipartUpload', bucket, key, lambda: self.store.abort_upload(bucket, key, upload_id))

    def list_parts(self, bucket: str, key: str, *, upload_id: str, after: int = 0, extra: Extra) -> Sequence[CompletedPart]:
        def work() -> list[CompletedPart]:
            found = [each for each in self.store.parts(bucket, key, upload_id) if each[0] > after][:1000]
            return [CompletedPart(number=number, etag=part.etag, size_bytes=len(part.body)) for number, part in found]

        return self._request('ListParts', bucket, key, work)

    def list_multipart_uploads(self, bucket: str, *, prefix: str = '', extra: Extra) -> Sequence[ListedUpload]:
        def work() -> list[ListedUpload]:
            found = [upload for upload in self.store.uploads(bucket) if upload.key.startswith(prefix)]
            return [listed_upload(u.key, u.upload_id, _time(u.initiated), _time(time.time())) for u in found]

        return self._request('ListMultipartUploads', bucket, prefix, work)

    def get_object_tagging(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str:
        def work() -> str:
            return urllib.parse.urlencode(list(self.store.tags(bucket, key).items()))

        return self._request('GetObjectTagging', bucket, key, work)

    def put_object_tagging(self, bucket: str, key: str, tagging: str, *, version_id: str | None = None, extra: Extra) -> None:
        def work() -> None:
            self.store.put_tags(bucket, key, dict(urllib.parse.parse_qsl(tagging, keep_blank_values=True)))

        self._request('PutObjectTagging', bucket, key, work)

    def guards_bodies(self, bucket: str) -> bool:
        return self.guards

    def signs_bodies(self, bucket: str) -> bool:
        return False

    def close(self) -> None:
        """Do nothing."""

    def _verified(self, body: bytes, checksum: str | None) -> str | None:
        """The checksum in the response to this body."""
        if checksum is None or not self.keeps_checksums:
            return None
        algorithm = checksum.partition(':')[0]
        if text_of(algorithm, [body]) != checksum:
            raise StoreError(400, 'BadDigest', f'The {algorithm} you specified did not match the calculated checksum.')
        return None if algorithm == 'MD5' else checksum

    def _keep(self, bucket: str, key: str, checksum: str | None) -> None:
        self._checksums.pop((bucket, key), None)
        if checksum is not None:
            self._checksums[bucket, key] = checksum

    def _request(self, operation: str, bucket: str, key: str, work: Callable[[], T], part: int | None = None) -> T:
        if self.is_logging:
            self.calls.append((operation, key, part))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            # Where a real transport waits for the network.
            gevent.sleep(0)
            if self.fault is not None:
                self.fault(operation, key, part)
            return work()
        except StoreError as error:
            doing = f'{operation} s3://{bucket}/{key}'
            raise error_for(
                doing, status=error.status, code=error.code, message=error.message, headers=error.headers
            ) from error
        finally:
            self.in_flight -= 1

    @staticmethod
    def _check_match(found: StoredObject, if_match: str | None) -> None:
        if if_match is not None and if_match.strip('"') not in ('*', found.etag):
            raise StoreError(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold')


class MemoryAnswer:
    """The response to a GET."""

    def __init__(self, info: ObjectInfo, body: bytes, offset: int, status: int) -> None:
        self.info = info
        self.status = status
        self.offset = offset
        self.size_bytes, self.whole_bytes = len(body), info.size_bytes
        self.etag = info.etag
        self.version_id = info.version_id
        self.checksum = info.checksum
        self.is_closed = False
        self._body = memoryview(body)

    def header(self, name: str) -> str | None:
        """The value of a header."""
        return self.info.headers.get(name)

    def read(self, size_bytes: int) -> bytes:
        """The next bytes."""
        gevent.sleep(0)
        data, self._body = bytes(self._body[:size_bytes]), self._body[size_bytes:]
        return data

    def read_into(self, buffer: memoryview) -> int:
        """Read some of the next bytes into the buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """End reading."""
        self.is_closed = True


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _conditions(headers: Mapping[str, str]) -> Conditions:
    lowered = _lowered(headers)
    return Conditions(if_match=lowered.get('if-match'), if_none_match=lowered.get('if-none-match'))


def _kept(headers: Mapping[str, str], extra: Mapping[str, Any]) -> dict[str, str]:
    lowered = _lowered(headers)
    if 'ContentType' in extra:
        lowered.setdefault('content-type', extra['ContentType'])
    return {name: value for name, value in lowered.items() if name in KEPT_HEADERS or name.startswith('x-amz-meta-')}


def _entry(key: str, found: StoredObject) -> ListEntry:
    return ListEntry(key=key, size_bytes=len(found.body), etag=found.etag, last_modified=_time(found.modified))


def _info(key: str, found: StoredObject, checksum: str | None = None) -> ObjectInfo:
    headers = dict(found.headers)
    if found.tags:
        headers['x-amz-tagging-count'] = str(len(found.tags))
    return ObjectInfo(
        key=key,
        size_bytes=len(found.body),
        etag=found.etag,
        last_modified=_time(found.modified),
        content_type=found.headers.get('content-type'),
        metadata={
            n.removeprefix('x-amz-meta-'): v for n, v in found.headers.items() if n.startswith('x-amz-meta-') and n != ID_HEADER
        },
        headers=headers,
        checksum=checksum,
    )


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
