"""S3's operations as HTTP requests: the method, query, headers and body of each, and the values of its response."""

from __future__ import annotations

import functools
import http.client
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from s3po.body import Chunk
from s3po.errors import ConfigurationError, NetworkError, TransportError
from s3po.http import Response
from s3po.model import CompletedPart, DeleteFailure, ObjectInfo
from s3po.s3 import Extra, Headers, ListedUpload, Listing, Stored, xml
from s3po.s3.deletions import delete_odd_keys, failures_of
from s3po.s3.expected import check_match, is_proof, length_of
from s3po.s3.headers import checksum_header, taken_by
from s3po.s3.pages import Loop
from s3po.s3.parameters import checksum_type, copy_source_headers, quoted_etag, serialized_extra
from s3po.s3.status import check_status, moment_of, web_page_hint
from s3po.s3.xml_characters import has_xml_form
from s3po.s3.xml_requests import complete_body, delete_body, document_headers, tagging_body
from s3po.transport.time_limits import WORKING, answered_within, limit_s
from s3po.transport.wire.requests import AT_ONCE_BYTES, NO_HEADERS, NO_QUERY, Requester
from s3po.transport.wire.response_headers import (
    Operation,
    WireAnswer,
    check_store,
    checksum_of,
    etag_of,
    headers_of,
    info_of,
    is_encrypted,
    stored_of,
)

__all__ = ['WireTransport']

Source = tuple[str, str, str | None]
T = TypeVar('T')

# Limit for documents. The longest is a page of 1,000 keys of 1,024 bytes, escaped.
MAX_DOCUMENT_BYTES: Final = xml.MAX_XML_BYTES


class WireTransport:
    """A Transport through s3po's own HTTP client. Belongs to one hub.

    Attributes:
        sends_pieces: Bodies are read piece by piece, and are not in memory as a whole.
    """

    sends_pieces = True

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def __repr__(self) -> str:
        return f'<WireTransport {self._requester!r}>'

    def close(self) -> None:
        self._requester.close()

    # --- objects

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
    ) -> WireAnswer:
        operation = Operation('GetObject', bucket, key)
        headers: dict[str, str] = {}
        if wants_checksum:
            headers['x-amz-checksum-mode'] = 'ENABLED'
        if byte_range is not None:
            start, stop = byte_range
            headers['range'] = f'bytes={start}-' + ('' if stop is None else str(stop - 1))
        if if_match is not None:
            headers['if-match'] = quoted_etag(if_match)
        response = self._send(operation, 'GET', headers=headers, version_id=version_id, extra=extra)
        return WireAnswer(response, key, operation, is_range=byte_range is not None, if_match=if_match)

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
        operation = Operation('HeadObject', bucket, key)
        headers = dict[str, str]()
        if wants_checksum:
            headers['x-amz-checksum-mode'] = 'ENABLED'
        if if_match is not None:
            headers['if-match'] = quoted_etag(if_match)
        response = self._send(operation, 'HEAD', headers=headers, version_id=version_id, extra=extra)
        response.close()
        check_store(response, operation)
        check_match(if_match, etag_of(response), operation)
        try:
            return info_of(response, key, length_of(response.text(b'content-length')))
        except ValueError as error:
            raise NetworkError(f'{operation}: {error}') from error

    def put_object(
        self, bucket: str, key: str, chunk: Chunk, *, checksum: str | None = None, headers: Headers, extra: Extra
    ) -> Stored:
        operation = Operation('PutObject', bucket, key)
        sent: Mapping[str, str] = taken_by('PutObject', headers) if headers else NO_HEADERS
        if checksum is not None:
            name, value = checksum_header(checksum)
            sent = {name: value, **sent} if sent else {name: value}
        body = chunk.read() if chunk.size_bytes <= AT_ONCE_BYTES else chunk
        response = self._send(operation, 'PUT', headers=sent, extra=extra, body=body)
        stored = stored_of(response)
        # S3's response has no body: with a body, even an ETag is no proof.
        return replace(stored, etag='') if self._finished(operation, response) else stored

    def delete_object(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str | None:
        operation = Operation('DeleteObject', bucket, key)
        response = self._send(operation, 'DELETE', version_id=version_id, extra=extra)
        self._finished(operation, response)
        return response.text(b'x-amz-version-id')

    def delete_objects(self, bucket: str, keys: Sequence[tuple[str, str | None]], *, extra: Extra) -> Sequence[DeleteFailure]:
        operation = Operation('DeleteObjects', bucket)
        failures, keys = delete_odd_keys(self, bucket, keys, extra)
        if not keys:
            return failures
        body = delete_body(keys)
        headers = document_headers(body)
        response = self._send(operation, 'POST', query={'delete': ''}, headers=headers, extra=extra, body=body)
        return failures + failures_of(bucket, keys, self._document(operation, response, xml.deletion_of))

    def copy_object(self, source: Source, bucket: str, key: str, *, if_match: str, headers: Headers, extra: Extra) -> Stored:
        operation = Operation('CopyObject', bucket, key)
        sent = {**taken_by('CopyObject', headers), **copy_source_headers(source, if_match)}
        if headers:
            sent['x-amz-metadata-directive'] = 'REPLACE'
        response = self._send(operation, 'PUT', headers=sent, extra=extra)
        copied = self._document(operation, response, xml.copy_result_of)
        stored = stored_of(response)
        checksum = copied.checksum or stored.checksum
        etag = _required_etag(operation, copied.etag or stored.etag)
        return Stored(etag=etag, version_id=stored.version_id, checksum=checksum)

    def get_object_tagging(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str:
        operation = Operation('GetObjectTagging', bucket, key)
        response = self._send(operation, 'GET', query={'tagging': ''}, version_id=version_id, extra=extra)
        body = self._read(operation, response)
        # Ceph's gateway sends no document for an object that was uploaded in parts and has no tags.
        return self._parsed(operation, response, body, xml.tags_of) if body else ''

    def put_object_tagging(self, bucket: str, key: str, tagging: str, *, version_id: str | None = None, extra: Extra) -> None:
        operation, body = Operation('PutObjectTagging', bucket, key), tagging_body(tagging)
        headers = document_headers(body)
        response = self._send(
            operation, 'PUT', query={'tagging': ''}, headers=headers, version_id=version_id, extra=extra, body=body
        )
        self._finished(operation, response)

    def presigned_url(
        self, name: str, method: str, bucket: str, key: str, *, version_id: str | None, expires_s: int, extra: Extra
    ) -> str:
        """Return a URL with which anyone can make one request until it expires, like boto3's generate_presigned_url()."""
        headers, query = serialized_extra(name, extra) if extra else ({}, {})
        if version_id is not None:
            query['versionId'] = version_id
        operation = Operation(name, bucket, key)
        return self._requester.presigned_url(operation, method, query=query, headers=headers, expires_s=expires_s)

    def guards_bodies(self, bucket: str) -> bool:
        return self._requester.routes[bucket].guards_bodies

    def signs_bodies(self, bucket: str) -> bool:
        return self._requester.routes[bucket].signs_bodies

    # --- listings

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
        operation = Operation('ListObjectsV2', bucket)
        # Escaped keys, because some characters of keys are not allowed in XML.
        query = {'list-type': '2', 'prefix': prefix, 'max-keys': str(page_size), 'encoding-type': 'url'}
        optional = {'delimiter': delimiter, 'start-after': start_after, 'continuation-token': token}
        query.update((name, value) for name, value in optional.items() if value is not None)
        return self._document(operation, self._send(operation, 'GET', query=query, extra=extra), xml.listing_of)

    def list_multipart_uploads(self, bucket: str, *, prefix: str = '', extra: Extra) -> Sequence[ListedUpload]:
        operation = Operation('ListMultipartUploads', bucket)
        found: list[ListedUpload] = []
        query = {'uploads': '', 'prefix': prefix, 'encoding-type': 'url'}
        places, pages = Loop(), Loop()
        while True:
            response = self._send(operation, 'GET', query=query, extra=extra)
            now = moment_of(response.text(b'date') or '')
            page = self._document(operation, response, functools.partial(xml.uploads_of, now=now))
            found += page.uploads
            if not page.is_truncated:
                return found
            markers = {'key-marker': page.next_key_marker, 'upload-id-marker': page.next_upload_id_marker}
            last = page.uploads[-1].upload_id if page.uploads else None
            if not any(markers.values()) or places.is_closed_by(markers) or pages.is_closed_by(last):
                raise NetworkError(f'{operation}: the response is truncated without a new marker')
            query.update(markers)

    # --- multipart uploads

    def create_multipart_upload(
        self, bucket: str, key: str, *, algorithm: str | None = None, headers: Headers, extra: Extra
    ) -> str:
        operation = Operation('CreateMultipartUpload', bucket, key)
        sent = taken_by('CreateMultipartUpload', headers)
        if algorithm is not None:
            sent.update({'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': checksum_type(algorithm)})
        response = self._send(operation, 'POST', query={'uploads': ''}, headers=sent, extra=extra)
        return self._document(operation, response, xml.upload_id_of)

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
        operation = Operation('UploadPart', bucket, key, part_number)
        query = {'partNumber': str(part_number), 'uploadId': upload_id}
        body = chunk.read() if chunk.size_bytes <= AT_ONCE_BYTES else chunk
        headers = NO_HEADERS if checksum is None else dict([checksum_header(checksum)])
        response = self._send(operation, 'PUT', query=query, headers=headers, extra=extra, body=body)
        self._finished(operation, response)
        etag = _required_etag(operation, etag_of(response))
        return CompletedPart(
            number=part_number,
            etag=etag,
            size_bytes=chunk.size_bytes,
            checksum=checksum_of(response),
            is_encrypted=is_encrypted(response),
        )

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
        operation = Operation('UploadPartCopy', bucket, key, part_number)
        query = {'partNumber': str(part_number), 'uploadId': upload_id}
        headers = {
            **copy_source_headers(source, if_match),
            'x-amz-copy-source-range': f'bytes={byte_range[0]}-{byte_range[1] - 1}',
        }
        response = self._send(operation, 'PUT', query=query, headers=headers, extra=extra)
        copied = self._document(operation, response, xml.copy_result_of)
        return CompletedPart(
            number=part_number,
            etag=_required_etag(operation, copied.etag),
            size_bytes=byte_range[1] - byte_range[0],
            checksum=copied.checksum,
        )

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
        operation = Operation('CompleteMultipartUpload', bucket, key)
        sent = {**taken_by('CompleteMultipartUpload', headers), 'content-type': 'application/xml'}
        if checksum is not None:
            name, value = checksum_header(checksum)
            sent.update({name: value, 'x-amz-checksum-type': checksum_type(checksum.partition(':')[0])})
        body = complete_body(parts)
        response = self._send(operation, 'POST', query={'uploadId': upload_id}, headers=sent, extra=extra, body=body)
        completed = self._document(operation, response, functools.partial(xml.complete_result_of, count=len(parts)))
        return Stored(
            etag=completed.etag,
            version_id=response.text(b'x-amz-version-id'),
            checksum=completed.checksum,
            is_encrypted=is_encrypted(response),
        )

    def abort_multipart_upload(self, bucket: str, key: str, *, upload_id: str, extra: Extra) -> None:
        operation = Operation('AbortMultipartUpload', bucket, key)
        self._finished(operation, self._send(operation, 'DELETE', query={'uploadId': upload_id}, extra=extra))

    def list_parts(self, bucket: str, key: str, *, upload_id: str, after: int = 0, extra: Extra) -> Sequence[CompletedPart]:
        operation = Operation('ListParts', bucket, key)
        query = {'uploadId': upload_id, **({'part-number-marker': str(after)} if after else {})}
        response = self._send(operation, 'GET', query=query, extra=extra)
        # rclone ignores the marker.
        return [part for part in self._document(operation, response, xml.parts_of) if part.number > after]

    # --- what they have in common

    def _send(
        self,
        operation: Operation,
        method: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        headers: Mapping[str, str] = NO_HEADERS,
        version_id: str | None = None,
        extra: Extra,
        body: bytes | Chunk = b'',
    ) -> Response:
        """Send one request, with those of the caller's parameters that it takes; s3po's own take precedence."""
        if version_id is not None:
            if not isinstance(version_id, str):
                raise ConfigurationError(f'{operation}: version_id must be a str, not {type(version_id).__name__}')
            query = {**query, 'versionId': version_id}
        if extra:
            their_headers, their_query = serialized_extra(operation.name, extra)
            headers, query = {**their_headers, **headers}, {**their_query, **query}
        is_object_data = operation.name in ('PutObject', 'UploadPart')
        response = self._requester.send(
            operation, method, query=query, headers=headers, body=body, is_object_data=is_object_data
        )
        if response.status != http.client.OK:
            try:
                check_status(operation.name, operation, response.status)
            except NetworkError:
                response.close()
                raise
        return response

    def _finished(self, operation: Operation, response: Response) -> bytes:
        """Read and return the body of a response that needs none. A proxy's page with status 200 is rejected."""
        if not response.size_bytes:
            response.close()
            return b''
        body = self._read(operation, response)
        self._parsed(operation, response, body, xml.nothing_of)
        return body

    def _document(self, operation: Operation, response: Response, parse: Callable[[bytes], T]) -> T:
        """Read a response that is a document.

        Raises:
            TransportError: It is not the expected document, or it is an error document: S3 may send one after status 200.
        """
        return self._parsed(operation, response, self._read(operation, response), parse)

    def _parsed(self, operation: Operation, response: Response, body: bytes, parse: Callable[[bytes], T]) -> T:
        try:
            return parse(body)
        except xml.ErrorInBody as error:
            raise self._requester.refusal(operation, response, error.error) from error
        except xml.MalformedAnswer as error:
            hint = web_page_hint(headers_of(response))
            raise NetworkError(f'{operation}: {response.status}, but {error}' + (f'; {hint}' if hint else '')) from error

    def _read(self, operation: Operation, response: Response) -> bytes:
        try:
            if operation.name in WORKING:
                with answered_within(limit_s(operation.name), operation):
                    return response.read_all(MAX_DOCUMENT_BYTES, is_patient=True)
            return response.read_all(MAX_DOCUMENT_BYTES)
        except TransportError as error:
            raise operation.named(error) from error
        finally:
            response.close()


def _required_etag(operation: Operation, etag: str) -> str:
    if not is_proof(etag) or not has_xml_form(etag):
        raise NetworkError(f'{operation}: the response has no valid ETag, so there is no proof of success')
    return etag
