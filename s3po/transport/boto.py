"""S3's operations by a boto3 client: the reference transport, and the one that moto can mock.

Maps the methods of Transport to botocore's calls, and its responses back. See s3po/s3/protocol.py for the rules.
"""

from __future__ import annotations

import functools
import http.client
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore import xform_name

from s3po.body import Chunk
from s3po.endpoints.boto_client import keys_of_client
from s3po.endpoints.boto_errors import translated
from s3po.errors import ConfigurationError, NetworkError
from s3po.governor import Pace
from s3po.model import CompletedPart, DeleteFailure, ObjectInfo, ObjectRef
from s3po.runtime import isolated, patiently, process
from s3po.s3.deletions import delete_odd_keys, failures_of
from s3po.s3.expected import check_match
from s3po.s3.pages import Loop
from s3po.s3.parameters import checksum_type, known_extra, known_headers, quoted_etag, unknown_headers
from s3po.s3.protocol import Extra, Headers, ListedUpload, Listing, Source, Stored, listed_upload
from s3po.s3.status import check_status
from s3po.secrecy import redacted
from s3po.transport import boto_responses as responses
from s3po.transport.boto_hooks import CREATING, add_hooks, answers_read, raw_headers
from s3po.transport.boto_responses import BotoAnswer
from s3po.transport.time_limits import answered_within, limit_s

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ['BotoTransport']


class BotoTransport:
    """A Transport through a boto3 client whose own retries are off."""

    def __init__(self, client: S3Client, pace: Pace | None = None) -> None:
        """
        Args:
            client: A client of boto3.
            pace: Limits the bytes per second of bodies; None for no limit.
        """
        self.client = client
        self._pace = pace
        self._process = process.mark
        self._keys = keys_of_client(client)
        self._endpoint = redacted(client.meta.endpoint_url)
        add_hooks(client)

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
        parameters = _object_parameters(bucket, key, if_match=if_match, version_id=version_id, wants_checksum=wants_checksum)
        if byte_range is not None:
            start, stop = byte_range
            parameters['Range'] = f'bytes={start}-' + ('' if stop is None else str(stop - 1))
        response = self._call('GetObject', parameters, extra)
        doing, is_range = f'GetObject s3://{bucket}/{key}', byte_range is not None
        return BotoAnswer(response, key, doing, is_range=is_range, if_match=if_match, pace=self._pace)

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
        parameters = _object_parameters(bucket, key, if_match=if_match, version_id=version_id, wants_checksum=wants_checksum)
        response = self._call('HeadObject', parameters, extra)
        responses.check_store(response, f'HeadObject s3://{bucket}/{key}')
        check_match(if_match, responses.etag_of(response), f'HeadObject s3://{bucket}/{key}')
        return responses.info_of(response, key, response.get('ContentLength', -1))

    def put_object(
        self, bucket: str, key: str, chunk: Chunk, *, checksum: str | None = None, headers: Headers, extra: Extra
    ) -> Stored:
        parameters = {'Bucket': bucket, 'Key': key, 'Body': self._read(chunk), **_checksum_parameter(checksum)}
        return responses.stored_of(self._call('PutObject', parameters, extra, headers))

    def delete_object(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str | None:
        parameters = _object_parameters(bucket, key, version_id=version_id)
        response = self._call('DeleteObject', parameters, extra)
        return response.get('VersionId')

    def delete_objects(self, bucket: str, keys: Sequence[tuple[str, str | None]], *, extra: Extra) -> Sequence[DeleteFailure]:
        failures, keys = delete_odd_keys(self, bucket, keys, extra)
        if not keys:
            return failures
        named = [{'Key': key} if version is None else {'Key': key, 'VersionId': version} for key, version in keys]
        parameters = {'Bucket': bucket, 'Delete': {'Objects': named}}
        response = self._call('DeleteObjects', parameters, extra)
        return failures + failures_of(bucket, keys, responses.deletion_of(response))

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
        # botocore itself requests escaped keys, and unescapes them.
        response = self._call('ListObjectsV2', parameters, extra)
        return Listing(
            entries=[responses.entry_of(item) for item in response.get('Contents', ())],
            prefixes=[item['Prefix'] for item in response.get('CommonPrefixes', ())],
            is_truncated=bool(response.get('IsTruncated', response.get('NextContinuationToken'))),
            next_token=response.get('NextContinuationToken'),
        )

    def copy_object(self, source: Source, bucket: str, key: str, *, if_match: str, headers: Headers, extra: Extra) -> Stored:
        parameters = {'Bucket': bucket, 'Key': key, **_copy_source(source, if_match)}
        if headers:
            parameters['MetadataDirective'] = 'REPLACE'
        response = self._call('CopyObject', parameters, extra, headers)
        copied = {**response, **response.get('CopyObjectResult', {})}
        responses.required_etag(copied, _doing('CopyObject', parameters))
        return responses.stored_of(copied)

    def create_multipart_upload(
        self, bucket: str, key: str, *, algorithm: str | None = None, headers: Headers, extra: Extra
    ) -> str:
        parameters = {'Bucket': bucket, 'Key': key}
        if algorithm is not None:
            parameters.update(ChecksumAlgorithm=algorithm, ChecksumType=checksum_type(algorithm))
        response = self._call('CreateMultipartUpload', parameters, extra, headers)
        if not response.get('UploadId'):
            raise NetworkError(f'{_doing("CreateMultipartUpload", parameters)}: the response has no UploadId')
        return str(response['UploadId'])

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
        parameters = {
            **_upload_parameters(bucket, key, upload_id),
            **_checksum_parameter(checksum),
            'PartNumber': part_number,
            'Body': self._read(chunk),
        }
        response = self._call('UploadPart', parameters, extra)
        return responses.completed_of(
            response, part_number, f'UploadPart {part_number} of s3://{bucket}/{key}', chunk.size_bytes
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
        parameters = {
            **_upload_parameters(bucket, key, upload_id),
            **_copy_source(source, if_match),
            'PartNumber': part_number,
            'CopySourceRange': f'bytes={byte_range[0]}-{byte_range[1] - 1}',
        }
        copied = self._call('UploadPartCopy', parameters, extra).get('CopyPartResult', {})
        doing, size_bytes = _doing('UploadPartCopy', parameters), byte_range[1] - byte_range[0]
        return responses.completed_of(copied, part_number, doing, size_bytes)

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
        named = [{'PartNumber': part.number, 'ETag': f'"{part.etag}"', **_checksum_parameter(part.checksum)} for part in parts]
        parameters = {**_upload_parameters(bucket, key, upload_id), 'MultipartUpload': {'Parts': named}}
        if checksum is not None:
            parameters.update(_checksum_parameter(checksum), ChecksumType=checksum_type(checksum.partition(':')[0]))
        return responses.stored_of(self._call('CompleteMultipartUpload', parameters, extra, headers))

    def abort_multipart_upload(self, bucket: str, key: str, *, upload_id: str, extra: Extra) -> None:
        parameters = _upload_parameters(bucket, key, upload_id)
        self._call('AbortMultipartUpload', parameters, extra)

    def list_parts(self, bucket: str, key: str, *, upload_id: str, after: int = 0, extra: Extra) -> Sequence[CompletedPart]:
        marker = {'PartNumberMarker': after} if after else {}
        response = self._call('ListParts', {**_upload_parameters(bucket, key, upload_id), **marker}, extra)
        # rclone ignores the marker.
        return [responses.part_of(part) for part in response.get('Parts', ()) if part['PartNumber'] > after]

    def list_multipart_uploads(self, bucket: str, *, prefix: str = '', extra: Extra) -> Sequence[ListedUpload]:
        found: list[ListedUpload] = []
        parameters: dict[str, Any] = {'Bucket': bucket, 'Prefix': prefix}
        places, pages = Loop(), Loop()
        while True:
            response = self._call('ListMultipartUploads', parameters, extra)
            found.extend(
                listed_upload(item['Key'], item['UploadId'], item.get('Initiated'), responses.time_of(response))
                for item in response.get('Uploads', ())
            )
            if not response.get('IsTruncated', response.get('NextKeyMarker')):
                return found
            markers = response.get('NextKeyMarker', ''), response.get('NextUploadIdMarker', '')
            last = found[-1].upload_id if response.get('Uploads') else None
            if not any(markers) or places.is_closed_by(markers) or pages.is_closed_by(last):
                raise NetworkError(f'ListMultipartUploads s3://{bucket}: the response is truncated without a new marker')
            parameters['KeyMarker'], parameters['UploadIdMarker'] = markers

    def presigned_url(
        self, operation: str, method: str, bucket: str, key: str, *, version_id: str | None, expires_s: int, extra: Extra
    ) -> str:
        """Return a URL with which anyone can make one request until it expires. Sends nothing."""
        # Any: the stubs do not know the configuration, and require literal names.
        client: Any = self.client
        if client.meta.config.signature_version != 's3v4':
            raise ConfigurationError('presign() needs credentials, but this connection does not sign requests')
        parameters = {**extra, **_object_parameters(bucket, key, version_id=version_id)}
        with translated(f'presigning {method} {ObjectRef(bucket=bucket, key=key, version_id=version_id)}'):
            return str(client.generate_presigned_url(xform_name(operation), Params=parameters, ExpiresIn=expires_s))

    def guards_bodies(self, bucket: str) -> bool:
        # Any: the stubs do not know the attributes of a Config.
        meta: Any = self.client.meta
        s3 = meta.config.s3 or {}
        # botocore's rule: unless configured otherwise, it signs bodies that TLS does not protect.
        is_signed = s3.get('payload_signing_enabled', True) and self._keys is not None
        return meta.endpoint_url.startswith('https:') or bool(is_signed)

    def signs_bodies(self, bucket: str) -> bool:
        # botocore reads bodies itself.
        return False

    def _read(self, chunk: Chunk) -> bytes:
        """The bytes of a body, which botocore sends at once. Waits until they may be sent."""
        if self._pace is not None:
            self._pace.take(chunk.size_bytes)
        return chunk.read()

    def get_object_tagging(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str:
        parameters = _object_parameters(bucket, key, version_id=version_id)
        response = self._call('GetObjectTagging', parameters, extra)
        return urllib.parse.urlencode([(tag['Key'], tag['Value']) for tag in response.get('TagSet', ())])

    def put_object_tagging(self, bucket: str, key: str, tagging: str, *, version_id: str | None = None, extra: Extra) -> None:
        tags = [{'Key': name, 'Value': value} for name, value in urllib.parse.parse_qsl(tagging, keep_blank_values=True)]
        parameters = {**_object_parameters(bucket, key, version_id=version_id), 'Tagging': {'TagSet': tags}}
        self._call('PutObjectTagging', parameters, extra)

    def _call(self, operation: str, parameters: dict[str, Any], extra: Extra, headers: Headers | None = None) -> dict[str, Any]:
        """Send one request, with those of the caller's headers and parameters that it takes; s3po's own take precedence."""
        theirs = known_extra(operation, extra) if extra else {}
        if headers:
            known = known_headers(operation, headers)
            if 'Metadata' in known:
                known['Metadata'] = {**theirs.get('Metadata', {}), **known['Metadata']}
            theirs.update(known)
            if operation in CREATING:
                raw_headers.set(unknown_headers(headers))
        keys, doing = self._keys, _doing(operation, parameters)
        on_expired = functools.partial(keys.expire, keys.last) if keys is not None and keys.can_refresh else None

        if self._process is not process.mark:
            # The client's sockets belong to the parent.
            raise ConfigurationError('a forked child cannot go on with a transfer of its parent')

        def send() -> dict[str, Any]:
            with translated(doing, on_expired=on_expired, endpoint=self._endpoint), answers_read(doing):
                answer: dict[str, Any] = getattr(self.client, xform_name(operation))(**{**theirs, **parameters})
                return answer

        try:
            # botocore would take the caller's own timeout error for a network error.
            with answered_within(limit_s(operation), doing):
                return _checked(operation, parameters, isolated(functools.partial(patiently, send), on_lost=_close_body))
        finally:
            if headers:
                raw_headers.set(None)


def _close_body(response: dict[str, Any]) -> None:
    if 'Body' in response:
        response['Body'].close()


def _checked(operation: str, parameters: Mapping[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Check that the status is one of S3's: botocore accepts any below 301."""
    status = answer['ResponseMetadata']['HTTPStatusCode']
    if status != http.client.OK:
        try:
            check_status(operation, _doing(operation, parameters), status)
        except NetworkError:
            _close_body(answer)
            raise
    return answer


def _checksum_parameter(checksum: str | None) -> dict[str, str]:
    if checksum is None:
        return {}
    algorithm, _, value = checksum.partition(':')
    return {'ContentMD5' if algorithm == 'MD5' else f'Checksum{algorithm}': value}


def _object_parameters(
    bucket: str, key: str, *, if_match: str | None = None, version_id: str | None = None, wants_checksum: bool = False
) -> dict[str, Any]:
    parameters = {'Bucket': bucket, 'Key': key}
    if if_match is not None:
        parameters['IfMatch'] = quoted_etag(if_match)
    if version_id is not None:
        parameters['VersionId'] = version_id
    if wants_checksum:
        parameters['ChecksumMode'] = 'ENABLED'
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
