"""S3's operations: a function from a request to a response.

No sockets. The rules about objects are in store_state, the parsing of requests in store_request, the documents in store_xml,
multipart uploads in store_uploads. Only path-style requests, no signatures, no versions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate

from tests.support import store_body, store_checksums, store_xml
from tests.support.store_answers import Answer, copied, entry, key_writer, owner, xml
from tests.support.store_mode import Mode
from tests.support.store_request import (
    KEPT_HEADERS,
    Request,
    byte_range,
    conditions,
    copy_source_of,
    decode_token,
    encode_token,
    kept_headers,
    page_size,
    tags_of,
)
from tests.support.store_state import Store
from tests.support.store_uploads import Uploads
from tests.support.store_values import StoredObject, StoreError
from tests.support.store_xml import element

__all__ = ['Api']

# Operations whose checksum headers describe an object that is created, or that have no body.
_NOT_OF_THE_BODY = {'CreateMultipartUpload', 'CompleteMultipartUpload', 'CopyObject', 'UploadPartCopy'}
_ECHOED = {'Prefix': 'prefix', 'Delimiter': 'delimiter', 'StartAfter': 'start-after'}


class Api:
    """Carries out requests on a Store.

    Attributes:
        mode: The kind of store, from the next request on.
    """

    def __init__(self, store: Store) -> None:
        self.mode = Mode()
        self._store = store
        self._operations: dict[str, Callable[[Request], Answer]] = {
            'ListBuckets': self._list_buckets,
            'CreateBucket': self._create_bucket,
            'HeadBucket': self._head_bucket,
            'DeleteBucket': self._delete_bucket,
            'GetBucketLocation': self._get_bucket_location,
            'ListObjectsV2': self._list_objects,
            'DeleteObjects': self._delete_objects,
            'PutObject': self._put_object,
            'CopyObject': self._copy_object,
            'GetObject': self._get_object,
            'HeadObject': self._get_object,
            'DeleteObject': self._delete_object,
            'GetObjectTagging': self._get_tagging,
            'PutObjectTagging': self._put_tagging,
            'DeleteObjectTagging': self._delete_tagging,
            **Uploads(store).operations,
        }

    def carry_out(self, operation: str, request: Request) -> Answer:
        """Carry out the request.

        Raises:
            StoreError: The request is refused.
        """
        if operation not in self._operations:
            raise StoreError(501, 'NotImplemented', 'This store does not know the operation.')
        request = replace(request, mode=self.mode)
        request.mode.check_headers(request.headers)
        return self._operations[operation](_checked(operation, request))

    # ------------------------------------------------------------------ buckets

    def _list_buckets(self, _request: Request) -> Answer:
        buckets = [
            element('Bucket', [element('Name', name), element('CreationDate', store_xml.iso_time(created))])
            for name, created in self._store.list_buckets()
        ]
        return xml('ListAllMyBucketsResult', owner('Owner'), element('Buckets', buckets))

    def _create_bucket(self, request: Request) -> Answer:
        self._store.create_bucket(request.bucket)
        return Answer(200, {'Location': f'/{request.bucket}'})

    def _head_bucket(self, request: Request) -> Answer:
        self._store.head_bucket(request.bucket)
        return Answer(200, {'x-amz-bucket-region': 'us-east-1'})

    def _delete_bucket(self, request: Request) -> Answer:
        self._store.delete_bucket(request.bucket)
        return Answer(204)

    def _get_bucket_location(self, request: Request) -> Answer:
        self._store.head_bucket(request.bucket)
        return xml('LocationConstraint')

    def _list_objects(self, request: Request) -> Answer:
        query = request.query
        limit = page_size(query, 'max-keys')
        token = query.get('continuation-token')
        page = self._store.list_objects(
            request.bucket,
            query.get('prefix', ''),
            delimiter=query.get('delimiter', ''),
            after=query.get('start-after', ''),
            resume=decode_token(token) if token is not None else '',
            limit=limit,
        )
        written = key_writer(query)
        content = [element('Name', request.bucket), element('MaxKeys', limit), element('KeyCount', len(page.items))]
        content += [element(name, written(query[given])) for name, given in _ECHOED.items() if given in query]
        content += [element('EncodingType', 'url')] if query.get('encoding-type') == 'url' else []
        content += [element('ContinuationToken', token)] if token is not None else []
        content += [element('IsTruncated', page.next is not None)]
        content += [element('NextContinuationToken', encode_token(page.next))] if page.next is not None else []
        for key, stored in page.items:
            if stored is None:
                content.append(element('CommonPrefixes', [element('Prefix', written(key))]))
            else:
                content.append(
                    element(
                        'Contents',
                        [element('Key', written(key)), *entry(stored.etag, len(stored.body), stored.modified)],
                    )
                )
        return xml('ListBucketResult', *content)

    def _delete_objects(self, request: Request) -> Answer:
        keys, is_quiet = store_xml.parse_delete(request.body)
        self._store.head_bucket(request.bucket)
        for key in keys:
            self._store.delete(request.bucket, key)
        deleted = [] if is_quiet else [element('Deleted', [element('Key', key)]) for key in keys]
        return xml('DeleteResult', *deleted)

    # ------------------------------------------------------------------ objects

    def _put_object(self, request: Request) -> Answer:
        checksum = request.mode.object_checksum(request.body, request.checksum)
        stored = StoredObject(
            body=request.kept_body,
            etag=request.mode.etag(request.body),
            headers=kept_headers(request.headers),
            tags=tags_of(request.headers),
            checksum=checksum,
        )
        self._store.put(request.bucket, request.key, stored, conditions(request.headers))
        return Answer(200, {'ETag': f'"{stored.etag}"', **({} if checksum is None else checksum.headers)})

    def _copy_object(self, request: Request) -> Answer:
        headers = request.headers
        origin = copy_source_of(headers)
        source = self._store.get(*origin)
        conditions(headers, 'x-amz-copy-source-').check_copy(source)
        is_replace = headers.get('x-amz-metadata-directive', 'COPY') == 'REPLACE'
        if origin == (request.bucket, request.key) and not is_replace:
            raise StoreError(
                400, 'InvalidRequest', 'This copy request is illegal because it copies an object to itself unchanged.'
            )
        stored = StoredObject(
            body=source.body,
            etag=request.mode.etag(source.body),
            headers=kept_headers(headers) if is_replace else source.headers,
            tags=tags_of(headers) if headers.get('x-amz-tagging-directive', 'COPY') == 'REPLACE' else source.tags,
            checksum=request.mode.copied_checksum(source, headers),
        )
        self._store.put(request.bucket, request.key, stored, conditions(headers))
        return xml('CopyObjectResult', *copied(stored.etag, stored.modified, stored.checksum))

    def _get_object(self, request: Request) -> Answer:
        stored = self._store.get(request.bucket, request.key)
        conditions(request.headers).check_read(stored)
        size = len(stored.body)
        headers = {
            'Accept-Ranges': 'bytes',
            'ETag': f'"{stored.etag}"',
            'Last-Modified': formatdate(stored.modified, usegmt=True),
            'Content-Type': 'binary/octet-stream',
            **{name.title() if name in KEPT_HEADERS else name: value for name, value in stored.headers.items()},
        }
        if stored.tags:
            headers['x-amz-tagging-count'] = str(len(stored.tags))
        asked = byte_range(request.headers.get('range', ''), size)
        if asked is None:
            if stored.checksum is not None and request.headers.get('x-amz-checksum-mode', '').upper() == 'ENABLED':
                headers.update(stored.checksum.headers)
            return Answer(200, headers, stored.body)
        first, last = asked
        headers['Content-Range'] = f'bytes {first}-{last}/{size}'
        return Answer(206, headers, memoryview(stored.body)[first : last + 1])

    def _delete_object(self, request: Request) -> Answer:
        self._store.delete(request.bucket, request.key)
        return Answer(204)

    def _get_tagging(self, request: Request) -> Answer:
        tags = self._store.tags(request.bucket, request.key)
        return xml(
            'Tagging',
            element('TagSet', [element('Tag', [element('Key', k), element('Value', v)]) for k, v in tags.items()]),
        )

    def _put_tagging(self, request: Request) -> Answer:
        self._store.put_tags(request.bucket, request.key, store_xml.parse_tagging(request.body))
        return Answer(200)

    def _delete_tagging(self, request: Request) -> Answer:
        self._store.put_tags(request.bucket, request.key, {})
        return Answer(204)


def _checked(operation: str, request: Request) -> Request:
    """The request with its body decoded, and verified against its checksums."""
    body, headers = request.body, request.headers
    if store_body.is_aws_chunked(headers):
        body, trailers = store_body.decode_aws_chunked(body, headers)
        headers = {**headers, **{name: trailers[name] for name in trailers if name.startswith('x-amz-checksum-')}}
    store_checksums.check_digests(body, headers, request.body)
    checksum = request.mode.body_checksum(body, headers) if operation not in _NOT_OF_THE_BODY else None
    return replace(request, body=body, headers=headers, checksum=checksum)
