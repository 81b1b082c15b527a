"""S3's verbs over a botocore client: the reference transport, and the one that moto sees.

What may live here: the mapping of the Transport's verbs to botocore's, and back. See s3po/transport/__init__.py for the rules.
"""

from __future__ import annotations

import contextvars
import datetime
import http.client
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import urllib3.exceptions

from s3po.body import Chunk
from s3po.errors import NetworkError
from s3po.model import CompletedPart, DeleteFailure, ListEntry, ObjectInfo
from s3po.transport import CHECKSUM_ALGORITHMS, Extra, Headers, ListedUpload, Listing, Stored
from s3po.transport.answers import content_range, error_for
from s3po.transport.parameters import known_extra, known_headers, quoted_etag, unknown_headers
from s3po.transport.session import credentials_of
from s3po.transport.translate import translated

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ['BotoTransport']

# The requests that make an object, and so carry the headers that boto3 has no parameter for.
CREATING: Final = ('PutObject', 'CreateMultipartUpload', 'CopyObject')

# Headers for the one request that this greenlet is sending; botocore has no parameter for them, but calls us before it signs.
_raw_headers: contextvars.ContextVar[Mapping[str, str] | None] = contextvars.ContextVar('s3po_raw_headers', default=None)

Source = tuple[str, str, str | None]


class BotoTransport:
    """S3 through a boto3 client whose own retries are off."""

    def __init__(self, client: S3Client) -> None:
        self.client = client
        self._credentials = credentials_of(client)
        for operation in CREATING:
            # An id of its own for each: a second event with the same id is not registered.
            unique_id = f's3po-raw-headers-{operation}'
            client.meta.events.register(f'before-call.s3.{operation}', _add_raw_headers, unique_id=unique_id)

    def __repr__(self) -> str:
        return f'<BotoTransport {self.client.meta.endpoint_url}>'

    def close(self) -> None:
        self.client.close()

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
    ) -> BotoAnswer:
        parameters = _object_parameters(bucket, key, if_match=if_match, version_id=version_id)
        if wants_checksum:
            parameters['ChecksumMode'] = 'ENABLED'
        if byte_range is not None:
            start, stop = byte_range
            parameters['Range'] = f'bytes={start}-' + ('' if stop is None else str(stop - 1))
        said = self._call('GetObject', self.client.get_object, parameters, extra)
        return BotoAnswer(said, key, f'GetObject s3://{bucket}/{key}')

    def head_object(
        self, bucket: str, key: str, *, if_match: str | None = None, version_id: str | None = None, extra: Extra
    ) -> ObjectInfo:
        parameters = _object_parameters(bucket, key, if_match=if_match, version_id=version_id)
        said = self._call('HeadObject', self.client.head_object, parameters, extra)
        return _info(said, key, int(said.get('ContentLength', 0)))

    def put_object(self, bucket: str, key: str, chunk: Chunk, *, headers: Headers, extra: Extra) -> Stored:
        parameters = {'Bucket': bucket, 'Key': key, 'Body': chunk.read()}
        return _stored(self._call('PutObject', self.client.put_object, parameters, extra, headers))

    def delete_object(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str | None:
        parameters = _object_parameters(bucket, key, version_id=version_id)
        said = self._call('DeleteObject', self.client.delete_object, parameters, extra)
        return said.get('VersionId')

    def delete_objects(self, bucket: str, keys: Sequence[tuple[str, str | None]], *, extra: Extra) -> Sequence[DeleteFailure]:
        named = [{'Key': key} if version is None else {'Key': key, 'VersionId': version} for key, version in keys]
        parameters = {'Bucket': bucket, 'Delete': {'Objects': named, 'Quiet': True}}
        said = self._call('DeleteObjects', self.client.delete_objects, parameters, extra)
        return [_delete_failure(bucket, failure) for failure in said.get('Errors', ())]

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
        parameters: dict[str, Any] = {'Bucket': bucket, 'Prefix': prefix, 'MaxKeys': page_size}
        optional = {'Delimiter': delimiter, 'StartAfter': start_after, 'ContinuationToken': token}
        parameters.update((name, value) for name, value in optional.items() if value is not None)
        # botocore asks for escaped keys itself, and unescapes them.
        said = self._call('ListObjectsV2', self.client.list_objects_v2, parameters, extra)
        return Listing(
            entries=[_entry(item) for item in said.get('Contents', ())],
            prefixes=[item['Prefix'] for item in said.get('CommonPrefixes', ())],
            is_truncated=bool(said.get('IsTruncated')),
            next_token=said.get('NextContinuationToken'),
        )

    def copy_object(self, source: Source, bucket: str, key: str, *, if_match: str, headers: Headers, extra: Extra) -> Stored:
        parameters = {'Bucket': bucket, 'Key': key, **_copy_source(source, if_match)}
        if headers:
            parameters['MetadataDirective'] = 'REPLACE'
        said = self._call('CopyObject', self.client.copy_object, parameters, extra, headers)
        return _stored({**said, **said.get('CopyObjectResult', {})})

    def create_multipart_upload(self, bucket: str, key: str, *, headers: Headers, extra: Extra) -> str:
        parameters = {'Bucket': bucket, 'Key': key}
        said = self._call('CreateMultipartUpload', self.client.create_multipart_upload, parameters, extra, headers)
        return str(said['UploadId'])

    def upload_part(
        self, bucket: str, key: str, chunk: Chunk, *, upload_id: str, part_number: int, extra: Extra
    ) -> CompletedPart:
        parameters = {
            **_upload_parameters(bucket, key, upload_id),
            'PartNumber': part_number,
            'Body': chunk.read(),
        }
        said = self._call('UploadPart', self.client.upload_part, parameters, extra)
        return _completed(said, part_number, f'UploadPart {part_number} of s3://{bucket}/{key}')

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
        parameters = {
            **_upload_parameters(bucket, key, upload_id),
            **_copy_source(source, if_match),
            'PartNumber': part_number,
            'CopySourceRange': f'bytes={byte_range[0]}-{byte_range[1] - 1}',
        }
        said = self._call('UploadPartCopy', self.client.upload_part_copy, parameters, extra)
        return _completed(said.get('CopyPartResult', {}), part_number, f'UploadPartCopy {part_number} of s3://{bucket}/{key}')

    def complete_multipart_upload(
        self, bucket: str, key: str, parts: Sequence[CompletedPart], *, upload_id: str, headers: Headers, extra: Extra
    ) -> Stored:
        named = [{'PartNumber': part.number, 'ETag': f'"{part.etag}"'} for part in parts]
        parameters = {**_upload_parameters(bucket, key, upload_id), 'MultipartUpload': {'Parts': named}}
        call = self.client.complete_multipart_upload
        return _stored(self._call('CompleteMultipartUpload', call, parameters, extra, headers))

    def abort_multipart_upload(self, bucket: str, key: str, *, upload_id: str, extra: Extra) -> None:
        parameters = _upload_parameters(bucket, key, upload_id)
        self._call('AbortMultipartUpload', self.client.abort_multipart_upload, parameters, extra)

    def list_parts(self, bucket: str, key: str, *, upload_id: str, extra: Extra) -> Sequence[CompletedPart]:
        said = self._call('ListParts', self.client.list_parts, _upload_parameters(bucket, key, upload_id), extra)
        return [CompletedPart(number=part['PartNumber'], etag=_unquoted(part)) for part in said.get('Parts', ())]

    def list_multipart_uploads(self, bucket: str, *, prefix: str = '', extra: Extra) -> Sequence[ListedUpload]:
        found: list[ListedUpload] = []
        parameters: dict[str, Any] = {'Bucket': bucket, 'Prefix': prefix}
        while True:
            said = self._call('ListMultipartUploads', self.client.list_multipart_uploads, parameters, extra)
            found.extend(
                ListedUpload(key=item['Key'], upload_id=item['UploadId'], initiated=item.get('Initiated'))
                for item in said.get('Uploads', ())
            )
            if not said.get('IsTruncated'):
                return found
            parameters['KeyMarker'] = said.get('NextKeyMarker', '')
            parameters['UploadIdMarker'] = said.get('NextUploadIdMarker', '')

    def get_object_tagging(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str:
        parameters = _object_parameters(bucket, key, version_id=version_id)
        said = self._call('GetObjectTagging', self.client.get_object_tagging, parameters, extra)
        return urllib.parse.urlencode([(tag['Key'], tag['Value']) for tag in said.get('TagSet', ())])

    def _call(
        self,
        operation: str,
        call: Callable[..., Any],
        parameters: dict[str, Any],
        extra: Extra,
        headers: Headers | None = None,
    ) -> dict[str, Any]:
        """Send one request: the caller's headers and parameters as far as it knows them, ours on top."""
        theirs = known_extra(operation, extra) if extra else {}
        if headers:
            theirs.update(known_headers(operation, headers))
            if operation in CREATING:
                _raw_headers.set(unknown_headers(headers))
        generation = self._credentials.generation if self._credentials else 0
        try:
            with self._translated(_doing(operation, parameters), generation):
                answer: dict[str, Any] = call(**{**theirs, **parameters})
                return answer
        finally:
            if headers:
                _raw_headers.set(None)

    def _translated(self, doing: str, generation: int) -> AbstractContextManager[None]:
        credentials = self._credentials
        if credentials is None or not credentials.can_refresh:
            return translated(doing)
        return translated(doing, on_expired=lambda: credentials.expire(generation))


class BotoAnswer:
    """The answer to a GET; see Answer in s3po/transport/__init__.py."""

    def __init__(self, said: Mapping[str, Any], key: str, doing: str) -> None:
        self._body = said['Body']
        self._doing = doing
        self.size_bytes = -1
        self.status = int(said['ResponseMetadata']['HTTPStatusCode'])
        length = said.get('ContentLength')
        if length is None:
            self.close()
            raise NetworkError(f'{doing}: the answer has no Content-Length, so its end could not be told from a cut')
        self.size_bytes = int(length)
        self.offset, whole = 0, self.size_bytes
        if self.status == http.client.PARTIAL_CONTENT:
            try:
                self.offset, whole = content_range(said.get('ContentRange', ''), self.size_bytes)
            except ValueError as error:
                self.close()
                raise NetworkError(f'{doing}: {error}') from error
        self.info = _info(said, key, whole)
        self.etag, self.version_id, self.checksum = self.info.etag, self.info.version_id, self.info.checksum
        self._left = self.size_bytes

    def read(self, size_bytes: int) -> bytes:
        wanted = min(size_bytes, self._left)
        if not wanted:
            return b''
        # botocore checks the length only when more is asked for than there is, so it is checked here.
        with translated(self._doing):
            data: bytes = self._body.read(wanted)
        if len(data) < wanted:
            got = self.size_bytes - self._left + len(data)
            raise NetworkError(f'{self._doing}: the body ended after {got:,} of {self.size_bytes:,} bytes')
        self._left -= len(data)
        return data

    def read_into(self, buffer: memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        # urllib3 puts a connection back by itself when its body was read to the end, and this closes it in any other case.
        try:
            if not self.size_bytes:
                # The end of an empty body is only seen by reading it.
                self._body.read()
            self._body.close()
        except (urllib3.exceptions.HTTPError, OSError):
            # It is being thrown away; how it ends does not matter.
            return


def _add_raw_headers(params: dict[str, Any], **_: Any) -> None:
    """On botocore's `before-call`: add this greenlet's raw headers before the request is signed."""
    params['headers'].update(_raw_headers.get() or {})


def _object_parameters(bucket: str, key: str, *, if_match: str | None = None, version_id: str | None = None) -> dict[str, Any]:
    parameters = {'Bucket': bucket, 'Key': key}
    if if_match is not None:
        parameters['IfMatch'] = quoted_etag(if_match)
    if version_id is not None:
        parameters['VersionId'] = version_id
    return parameters


def _upload_parameters(bucket: str, key: str, upload_id: str) -> dict[str, Any]:
    return {'Bucket': bucket, 'Key': key, 'UploadId': upload_id}


def _copy_source(source: Source, if_match: str) -> dict[str, Any]:
    bucket, key, version_id = source
    named = {'Bucket': bucket, 'Key': key}
    if version_id is not None:
        named['VersionId'] = version_id
    return {'CopySource': named, 'CopySourceIfMatch': quoted_etag(if_match)}


def _doing(operation: str, parameters: Mapping[str, Any]) -> str:
    part = f' {parameters["PartNumber"]} of' if 'PartNumber' in parameters else ''
    key = f'/{parameters["Key"]}' if 'Key' in parameters else ''
    return f'{operation}{part} s3://{parameters["Bucket"]}{key}'


def _unquoted(said: Mapping[str, Any]) -> str:
    return str(said.get('ETag', '')).strip('"')


def _stored(said: Mapping[str, Any]) -> Stored:
    return Stored(etag=_unquoted(said), version_id=said.get('VersionId'), checksum=_checksum(said))


def _completed(said: Mapping[str, Any], number: int, doing: str) -> CompletedPart:
    etag = _unquoted(said)
    if not etag:
        raise NetworkError(f'{doing}: the answer has no ETag, so the part cannot be named when the upload is completed')
    return CompletedPart(number=number, etag=etag)


def _checksum(said: Mapping[str, Any]) -> str | None:
    for name in CHECKSUM_ALGORITHMS:
        if said.get(f'Checksum{name}'):
            return f'{name}:{said[f"Checksum{name}"]}'
    return None


def _entry(item: Mapping[str, Any]) -> ListEntry:
    return ListEntry(
        key=item['Key'],
        size_bytes=int(item.get('Size', 0)),
        etag=_unquoted(item),
        last_modified=item.get('LastModified'),
        storage_class=item.get('StorageClass', 'STANDARD'),
    )


def _info(said: Mapping[str, Any], key: str, size_bytes: int) -> ObjectInfo:
    headers = said['ResponseMetadata'].get('HTTPHeaders', {})
    modified: datetime.datetime | None = said.get('LastModified')
    return ObjectInfo(
        key=key,
        size_bytes=size_bytes,
        etag=_unquoted(said),
        last_modified=modified,
        storage_class=said.get('StorageClass', 'STANDARD'),
        content_type=said.get('ContentType'),
        metadata=dict(said.get('Metadata', {})),
        headers={str(name).lower(): str(value) for name, value in headers.items()},
        checksum=_checksum(said),
        version_id=said.get('VersionId'),
    )


def _delete_failure(bucket: str, said: Mapping[str, Any]) -> DeleteFailure:
    key, code = str(said.get('Key', '')), str(said.get('Code', ''))
    # DeleteObjects says 200 for all; 400 here only means: what the code does not tell is the caller's fault.
    doing = f'DeleteObjects s3://{bucket}/{key}'
    error = error_for(doing, status=400, code=code, message=str(said.get('Message') or ''), headers={})
    return DeleteFailure(key=key, error=error, version_id=said.get('VersionId'))
