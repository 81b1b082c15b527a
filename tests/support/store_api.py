"""S3's operations: a request in, an answer out.

What may live here: what an operation does, and how its answer looks. No sockets; the rules about objects are in
store_state, the reading of requests in store_request, the documents in store_xml. Only path-style requests, no
signatures, no versions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate

from tests.support import store_body, store_xml
from tests.support.store_request import (
    KEPT_HEADERS,
    Request,
    byte_range,
    conditions,
    decode_token,
    encode_token,
    kept_headers,
    page_size,
    parse_target,
    part_of,
    tags_of,
)
from tests.support.store_state import Store
from tests.support.store_values import StoredObject, StoreError, md5
from tests.support.store_xml import document, element

__all__ = ['Answer', 'Api']

_ECHOED = {'Prefix': 'prefix', 'Delimiter': 'delimiter', 'StartAfter': 'start-after'}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; the answer to a HEAD holds the body whose length is to be told."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | memoryview = b''


class Api:
    """Carries requests out on a Store."""

    def __init__(self, store: Store) -> None:
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
            'CreateMultipartUpload': self._create_upload,
            'UploadPart': self._upload_part,
            'UploadPartCopy': self._upload_part_copy,
            'CompleteMultipartUpload': self._complete_upload,
            'AbortMultipartUpload': self._abort_upload,
            'ListParts': self._list_parts,
            'ListMultipartUploads': self._list_uploads,
        }

    def carry_out(self, operation: str, request: Request) -> Answer:
        """Do what the request asks.

        Raises:
            StoreError: The answer is no.
        """
        if operation not in self._operations:
            raise StoreError(501, 'NotImplemented', 'This store does not know the operation.')
        if store_body.is_aws_chunked(request.headers):
            body, trailers = store_body.decode_aws_chunked(request.body, request.headers)
            request = replace(request, body=body, headers={**request.headers, **trailers})
        if operation != 'CompleteMultipartUpload':  # there the checksum is the object's, not the body's
            store_body.verify(request.body, request.headers)
        return self._operations[operation](request)

    # ------------------------------------------------------------------ buckets

    def _list_buckets(self, _request: Request) -> Answer:
        buckets = [
            element('Bucket', [element('Name', name), element('CreationDate', store_xml.iso_time(created))])
            for name, created in self._store.list_buckets()
        ]
        return _xml('ListAllMyBucketsResult', _owner('Owner'), element('Buckets', buckets))

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
        return _xml('LocationConstraint')

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
        written = _key_writer(query)
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
                        [element('Key', written(key)), *_entry(stored.etag, len(stored.body), stored.modified)],
                    )
                )
        return _xml('ListBucketResult', *content)

    def _delete_objects(self, request: Request) -> Answer:
        keys, is_quiet = store_xml.parse_delete(request.body)
        self._store.head_bucket(request.bucket)
        for key in keys:
            self._store.delete(request.bucket, key)
        deleted = [] if is_quiet else [element('Deleted', [element('Key', key)]) for key in keys]
        return _xml('DeleteResult', *deleted)

    # ------------------------------------------------------------------ objects

    def _put_object(self, request: Request) -> Answer:
        checksums = store_body.checksum_headers(request.headers)
        stored = StoredObject(
            body=request.body,
            etag=md5(request.body),
            headers=kept_headers(request.headers),
            tags=tags_of(request.headers),
            checksums=checksums,
        )
        self._store.put(request.bucket, request.key, stored, conditions(request.headers))
        return Answer(200, {'ETag': f'"{stored.etag}"', **checksums})

    def _copy_object(self, request: Request) -> Answer:
        headers = request.headers
        source, origin = self._copy_source(headers)
        is_replace = headers.get('x-amz-metadata-directive', 'COPY') == 'REPLACE'
        if origin == (request.bucket, request.key) and not is_replace:
            raise StoreError(
                400, 'InvalidRequest', 'This copy request is illegal because it copies an object to itself unchanged.'
            )
        stored = StoredObject(
            body=source.body,
            etag=md5(source.body),
            headers=kept_headers(headers) if is_replace else source.headers,
            tags=tags_of(headers) if headers.get('x-amz-tagging-directive', 'COPY') == 'REPLACE' else source.tags,
            checksums=source.checksums,
        )
        self._store.put(request.bucket, request.key, stored, conditions(headers))
        return _xml('CopyObjectResult', *_copied(stored.etag, stored.modified))

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
            if request.headers.get('x-amz-checksum-mode', '').upper() == 'ENABLED':
                headers.update(stored.checksums)
            return Answer(200, headers, stored.body)
        first, last = asked
        headers['Content-Range'] = f'bytes {first}-{last}/{size}'
        return Answer(206, headers, memoryview(stored.body)[first : last + 1])

    def _delete_object(self, request: Request) -> Answer:
        self._store.delete(request.bucket, request.key)
        return Answer(204)

    def _get_tagging(self, request: Request) -> Answer:
        tags = self._store.tags(request.bucket, request.key)
        return _xml(
            'Tagging',
            element('TagSet', [element('Tag', [element('Key', k), element('Value', v)]) for k, v in tags.items()]),
        )

    def _put_tagging(self, request: Request) -> Answer:
        self._store.put_tags(request.bucket, request.key, store_xml.parse_tagging(request.body))
        return Answer(200)

    def _delete_tagging(self, request: Request) -> Answer:
        self._store.put_tags(request.bucket, request.key, {})
        return Answer(204)

    # ------------------------------------------------------------------ multipart uploads

    def _create_upload(self, request: Request) -> Answer:
        upload_id = self._store.create_upload(
            request.bucket, request.key, kept_headers(request.headers), tags_of(request.headers)
        )
        return _xml('InitiateMultipartUploadResult', *_named(request), element('UploadId', upload_id))

    def _upload_part(self, request: Request) -> Answer:
        part = self._store.upload_part(request.bucket, request.key, *part_of(request), request.body)
        return Answer(200, {'ETag': f'"{part.etag}"', **store_body.checksum_headers(request.headers)})

    def _upload_part_copy(self, request: Request) -> Answer:
        source, _ = self._copy_source(request.headers)
        body = source.body
        if 'x-amz-copy-source-range' in request.headers:
            match = re.fullmatch(r'bytes=(\d+)-(\d+)', request.headers['x-amz-copy-source-range'])
            if match is None or not int(match[1]) <= int(match[2]) < len(body):
                raise StoreError(
                    400, 'InvalidArgument', 'The x-amz-copy-source-range value must be of the form bytes=first-last'
                )
            body = body[int(match[1]) : int(match[2]) + 1]
        part = self._store.upload_part(request.bucket, request.key, *part_of(request), body)
        return _xml('CopyPartResult', *_copied(part.etag, part.modified))

    def _complete_upload(self, request: Request) -> Answer:
        bucket, key, upload_id = request.bucket, request.key, request.query['uploadId']
        stored = self._store.assemble(bucket, key, upload_id, store_xml.parse_complete(request.body))
        # Only a checksum of the whole object's bytes can be checked and kept; a COMPOSITE one ends in "-" and a number.
        checksums = {name: value for name, value in store_body.checksum_headers(request.headers).items() if '-' not in value}
        store_body.verify(stored.body, checksums)
        self._store.complete_upload(bucket, upload_id, key, replace(stored, checksums=checksums), conditions(request.headers))
        written = [
            element('Checksum' + name.removeprefix('x-amz-checksum-').upper(), value) for name, value in checksums.items()
        ]
        return _xml('CompleteMultipartUploadResult', *_named(request), element('ETag', f'"{stored.etag}"'), *written)

    def _abort_upload(self, request: Request) -> Answer:
        self._store.abort_upload(request.bucket, request.key, request.query['uploadId'])
        return Answer(204)

    def _list_parts(self, request: Request) -> Answer:
        query = request.query
        after, limit = int(query.get('part-number-marker') or 0), page_size(query, 'max-parts')
        parts = [each for each in self._store.parts(request.bucket, request.key, query['uploadId']) if each[0] > after]
        page = parts[:limit]
        content = [*_named(request), element('UploadId', query['uploadId']), element('PartNumberMarker', after)]
        content += [element('NextPartNumberMarker', page[-1][0])] if page else []
        content += [element('MaxParts', limit), element('IsTruncated', len(parts) > len(page))]
        for number, part in page:
            fields = _entry(part.etag, len(part.body), part.modified)
            content.append(element('Part', [element('PartNumber', number), *fields]))
        return _xml('ListPartsResult', *content)

    def _list_uploads(self, request: Request) -> Answer:
        query = request.query
        if query.get('delimiter'):
            raise StoreError(501, 'NotImplemented', 'This store lists multipart uploads without a delimiter only.')
        limit, written = page_size(query, 'max-uploads'), _key_writer(query)
        found = [upload for upload in self._store.uploads(request.bucket) if upload.key.startswith(query.get('prefix', ''))]
        key_marker, id_marker = query.get('key-marker', ''), query.get('upload-id-marker', '')
        at = next((i for i, upload in enumerate(found) if id_marker and upload.upload_id == id_marker), None)
        found = found[at + 1 :] if at is not None else [upload for upload in found if upload.key > key_marker]
        page = found[:limit]
        content = [
            element('Bucket', request.bucket),
            element('MaxUploads', limit),
            element('IsTruncated', len(found) > len(page)),
        ]
        content += [element('EncodingType', 'url')] if query.get('encoding-type') == 'url' else []
        if page:
            content += [
                element('NextKeyMarker', written(page[-1].key)),
                element('NextUploadIdMarker', page[-1].upload_id),
            ]
        for upload in page:
            fields = [element('Key', written(upload.key)), element('UploadId', upload.upload_id)]
            content.append(element('Upload', [*fields, element('Initiated', store_xml.iso_time(upload.initiated))]))
        return _xml('ListMultipartUploadsResult', *content)

    def _copy_source(self, headers: Mapping[str, str]) -> tuple[StoredObject, tuple[str, str]]:
        path, _, version = headers['x-amz-copy-source'].partition('?')
        if version:
            raise StoreError(501, 'NotImplemented', 'This store has no versions.')
        bucket, key, _ = parse_target('/' + path.removeprefix('/'))
        source = self._store.get(bucket, key)
        conditions(headers, 'x-amz-copy-source-').check_copy(source)
        return source, (bucket, key)


# ---------------------------------------------------------------------- pieces of answers


def _xml(name: str, *content: str) -> Answer:
    return Answer(200, {'Content-Type': 'application/xml'}, document(name, *content))


def _named(request: Request) -> list[str]:
    return [element('Bucket', request.bucket), element('Key', request.key)]


def _owner(name: str) -> str:
    return element(name, [element('ID', 'tests'), element('DisplayName', 'tests')])


def _entry(etag: str, size_bytes: int, modified: float) -> list[str]:
    return [
        element('LastModified', store_xml.iso_time(modified)),
        element('ETag', f'"{etag}"'),
        element('Size', size_bytes),
        element('StorageClass', 'STANDARD'),
    ]


def _copied(etag: str, modified: float) -> list[str]:
    return [element('LastModified', store_xml.iso_time(modified)), element('ETag', f'"{etag}"')]


def _key_writer(query: Mapping[str, str]) -> Callable[[str], str]:
    return store_xml.url_encoded if query.get('encoding-type') == 'url' else str
