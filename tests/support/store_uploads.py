"""S3's operations on multipart uploads: a function from a request to a response.

The other operations are in store_api; the rules about parts in store_state, those about checksums in store_checksums.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.support import store_xml
from tests.support.store_answers import Answer, copied, entry, key_writer, named, xml
from tests.support.store_request import Request, conditions, copy_source_of, kept_headers, page_size, part_of, tags_of
from tests.support.store_state import Store
from tests.support.store_values import StoreError
from tests.support.store_xml import checksum_elements, element

__all__ = ['Uploads']


class Uploads:
    """Carries out requests for uploads on a Store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.operations: dict[str, Callable[[Request], Answer]] = {
            'CreateMultipartUpload': self._create,
            'UploadPart': self._upload_part,
            'UploadPartCopy': self._copy_part,
            'CompleteMultipartUpload': self._complete,
            'AbortMultipartUpload': self._abort,
            'ListParts': self._list_parts,
            'ListMultipartUploads': self._list,
        }

    def _create(self, request: Request) -> Answer:
        algorithm, kind = request.mode.upload_kind(request.headers)
        upload_id = self._store.create_upload(
            request.bucket,
            request.key,
            kept_headers(request.headers),
            tags_of(request.headers),
            algorithm=algorithm,
            kind=kind,
        )
        told = {'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': kind}
        told = {name: value for name, value in told.items() if value}
        return xml('InitiateMultipartUploadResult', *named(request), element('UploadId', upload_id), headers=told)

    def _upload_part(self, request: Request) -> Answer:
        upload_id, number = part_of(request)
        upload = self._store.upload(request.bucket, request.key, upload_id)
        checksum = request.mode.part_checksum(upload, request.body, request.checksum)
        part = self._store.upload_part(
            request.bucket,
            request.key,
            upload_id,
            number,
            request.kept_body,
            etag=request.mode.etag(request.body),
            checksum=checksum,
        )
        return Answer(200, {'ETag': f'"{part.etag}"', **({} if checksum is None else checksum.header)})

    def _copy_part(self, request: Request) -> Answer:
        headers = request.headers
        source = self._store.get(*copy_source_of(headers))
        conditions(headers, 'x-amz-copy-source-').check_copy(source)
        body = source.body
        if 'x-amz-copy-source-range' in headers:
            match = re.fullmatch(r'bytes=(\d+)-(\d+)', headers['x-amz-copy-source-range'])
            if match is None or not int(match[1]) <= int(match[2]) < len(body):
                raise StoreError(
                    400, 'InvalidArgument', 'The x-amz-copy-source-range value must be of the form bytes=first-last'
                )
            body = body[int(match[1]) : int(match[2]) + 1]
        upload_id, number = part_of(request)
        upload = self._store.upload(request.bucket, request.key, upload_id)
        checksum = request.mode.copied_part_checksum(upload, body)
        part = self._store.upload_part(
            request.bucket, request.key, upload_id, number, body, etag=request.mode.etag(body), checksum=checksum
        )
        return xml('CopyPartResult', *copied(part.etag, part.modified, checksum, is_part=True))

    def _complete(self, request: Request) -> Answer:
        bucket, key, upload_id = request.bucket, request.key, request.query['uploadId']
        listed = store_xml.parse_complete(request.body)
        upload = self._store.upload(bucket, key, upload_id)
        parts = dict(self._store.parts(bucket, key, upload_id))
        assembled = self._store.assemble(bucket, key, upload_id, [(number, etag) for number, etag, _ in listed])
        wanted = [(number, checksums) for number, _, checksums in listed]
        stored = request.mode.completed(upload, assembled, wanted, parts, request.headers)
        self._store.complete_upload(bucket, upload_id, key, stored, conditions(request.headers))
        told = [element('ETag', f'"{stored.etag}"'), *checksum_elements(stored.checksum)]
        return xml('CompleteMultipartUploadResult', *named(request), *told)

    def _abort(self, request: Request) -> Answer:
        self._store.abort_upload(request.bucket, request.key, request.query['uploadId'])
        return Answer(204)

    def _list_parts(self, request: Request) -> Answer:
        query = request.query
        after, limit = int(query.get('part-number-marker') or 0), page_size(query, 'max-parts')
        parts = [each for each in self._store.parts(request.bucket, request.key, query['uploadId']) if each[0] > after]
        page = parts[:limit]
        upload = self._store.upload(request.bucket, request.key, query['uploadId'])
        content = [*named(request), element('UploadId', query['uploadId']), element('PartNumberMarker', after)]
        content += _kind_elements(upload.algorithm, upload.kind)
        content += [element('NextPartNumberMarker', page[-1][0])] if page else []
        content += [element('MaxParts', limit), element('IsTruncated', len(parts) > len(page))]
        for number, part in page:
            fields = entry(part.etag, len(part.body), part.modified)
            fields += checksum_elements(part.checksum, with_type=False)
            content.append(element('Part', [element('PartNumber', number), *fields]))
        return xml('ListPartsResult', *content)

    def _list(self, request: Request) -> Answer:
        query = request.query
        if query.get('delimiter'):
            raise StoreError(501, 'NotImplemented', 'This store lists multipart uploads without a delimiter only.')
        limit, written = page_size(query, 'max-uploads'), key_writer(query)
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
            fields += _kind_elements(upload.algorithm, upload.kind)
            content.append(element('Upload', [*fields, element('Initiated', store_xml.iso_time(upload.initiated))]))
        return xml('ListMultipartUploadsResult', *content)


def _kind_elements(algorithm: str, kind: str) -> list[str]:
    told = {'ChecksumAlgorithm': algorithm, 'ChecksumType': kind}
    return [element(name, value) for name, value in told.items() if value]
