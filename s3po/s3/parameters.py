"""Which request takes which parameter (by boto3's name) and header, and how parameters are sent.

Based on botocore's model of S3. No requests.
"""

from __future__ import annotations

import base64
import calendar
import email.utils
import functools
import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from s3po.checksum import is_combinable
from s3po.errors import ConfigurationError
from s3po.s3.expected import quoted

if TYPE_CHECKING:
    from botocore.model import ServiceModel, Shape

__all__ = [
    'check_extra',
    'check_headers',
    'checksum_type',
    'copy_source_headers',
    'known_extra',
    'known_headers',
    'metadata_headers',
    'quoted_etag',
    'serialized_extra',
    'unknown_headers',
]

METADATA_PREFIX: Final = 'x-amz-meta-'

# Headers that s3po sets itself, and headers that belong to a connection (RFC 9110, section 7.6.1).
OWNED_HEADERS: Final = frozenset(
    {
        'host',
        'content-length',
        'authorization',
        'transfer-encoding',
        'x-amz-date',
        'x-amz-content-sha256',
        'x-amz-security-token',
        'x-amz-decoded-content-length',
        'x-amz-trailer',
        'x-amz-sdk-checksum-algorithm',
        'connection',
        'expect',
        'te',
        'trailer',
        'upgrade',
    }
)
OWNED_HEADER_PREFIX: Final = 'x-amz-checksum-'

# boto3 parameters that s3po sets itself, and what to use instead.
OWNED_EXTRA: Final = {
    'Bucket': 'the argument bucket',
    'Key': 'the argument key',
    'Body': 'the argument source',
    'ContentLength': 'nothing: the length is known from the source',
    'Range': 'the argument byte_range',
    'VersionId': 'the argument version_id',
    'PartNumber': 'nothing: parts are planned from the size',
    'UploadId': 'nothing: s3po creates the multipart upload',
    'MultipartUpload': 'nothing: s3po creates the multipart upload',
    'CopySource': 'the arguments bucket and key',
    'CopySourceRange': 'nothing: parts are planned from the size',
    'CopySourceIfMatch': 'the argument if_match',
    'Delete': 'the argument keys',
    'Prefix': 'the argument prefix',
    'Delimiter': 'the argument delimiter',
    'StartAfter': 'the argument start_after',
    'MaxKeys': 'the argument page_size',
    'ContinuationToken': 'nothing: s3po requests the pages',
    'EncodingType': 'nothing: keys are returned unescaped',
}

# SSE-C keys: raw bytes, as bytes or str, which botocore encodes.
BINARY_EXTRA: Final = frozenset({'SSECustomerKey', 'CopySourceSSECustomerKey'})

# RFC 9110, section 5.6.2: the characters of a header's name.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL: Final = re.compile(r'[\x00-\x1f\x7f]')


@functools.cache
def _model() -> ServiceModel:
    # botocore is imported only if the caller passes such parameters or headers.
    from botocore.loaders import create_loader
    from botocore.model import ServiceModel

    return ServiceModel(create_loader().load_service_model('s3', 'service-2'), 's3')


@functools.cache
def _members(operation: str) -> frozenset[str]:
    shape = _model().operation_model(operation).input_shape
    return frozenset(shape.members if shape is not None else ())


@functools.cache
def _header_members(operation: str) -> Mapping[str, str]:
    """The parameters of an operation that are plain text headers: {header in lower case: parameter}."""
    shape = _model().operation_model(operation).input_shape
    found = {}
    for name, member in (shape.members if shape is not None else {}).items():
        if member.serialization.get('location') == 'header' and member.type_name == 'string':
            found[str(member.serialization['name']).lower()] = name
    return found


@functools.cache
def _all_members() -> frozenset[str]:
    return frozenset().union(*(_members(name) for name in _model().operation_names))


def check_extra(extra: Mapping[str, Any], operations: Iterable[str] | None, argument: str = 'extra') -> None:
    """Reject boto3 parameters that none of the operations takes, and those that s3po sets itself.

    Args:
        extra: The caller's parameters.
        operations: S3's names of the requests that may carry them; None for all requests.
        argument: The argument's name, for the message.

    Raises:
        ConfigurationError: A parameter cannot be sent.
    """
    if not isinstance(extra, Mapping):
        raise ConfigurationError(f"{argument} must be a mapping of boto3's parameter names, not {type(extra).__name__}")
    operations = None if operations is None else tuple(operations)
    known = _all_members() if operations is None else frozenset().union(*map(_members, operations))
    for name, value in extra.items():
        if name in OWNED_EXTRA:
            raise ConfigurationError(f'{argument}: {name} is set by s3po; use {OWNED_EXTRA[name]}')
        if str(name).startswith('Checksum') and name != 'ChecksumMode':
            raise ConfigurationError(f'{argument}: {name} is set by s3po, which computes the checksums')
        if name not in known:
            where = 'any S3 request' if operations is None else ' or '.join(operations)
            raise ConfigurationError(f"{argument}: {name!r} is not a parameter of {where}; see boto3's documentation")
        if name in BINARY_EXTRA:
            if not isinstance(value, str | bytes | bytearray):
                raise ConfigurationError(f'{argument}: {name} must be bytes or a str, not {type(value).__name__}')
        elif _has_control_characters(value):
            raise ConfigurationError(f'{argument}: the value of {name} has control characters; remove them')


def _has_control_characters(value: object) -> bool:
    """Whether a text, or one in a mapping such as Metadata, has control characters; most texts are sent as headers."""
    if isinstance(value, Mapping):
        return any(_has_control_characters(each) for each in value.values())
    return isinstance(value, str) and bool(_CONTROL.search(value))


def check_headers(headers: Mapping[str, str]) -> None:
    """Reject headers that s3po sets itself, and invalid headers.

    Raises:
        ConfigurationError: A header cannot be sent.
    """
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f'headers must be a mapping, not {type(headers).__name__}')
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigurationError(f'headers: names and values must be str, not {name!r}: {type(value).__name__}')
        if not _TOKEN.fullmatch(name):
            raise ConfigurationError(f'headers: {name!r} is not a valid header name')
        if _CONTROL.search(value):
            raise ConfigurationError(f'headers: the value of {name} has control characters; remove them')
        lowered = name.lower()
        if lowered in OWNED_HEADERS or lowered.startswith(OWNED_HEADER_PREFIX):
            raise ConfigurationError(f'headers: {name} is set by s3po; leave it out')


def metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """User-defined metadata as headers.

    Raises:
        ConfigurationError: A name or value cannot be a header.
    """
    if not isinstance(metadata, Mapping):
        raise ConfigurationError(f'metadata must be a mapping, not {type(metadata).__name__}')
    headers = {}
    for name, value in metadata.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError(f'metadata: {name!r} is not a valid header name')
        if not isinstance(value, str):
            raise ConfigurationError(f'metadata: the value of {name} must be str, not {type(value).__name__}')
        if not value.isascii() or _CONTROL.search(value):
            raise ConfigurationError(
                f'metadata: the value of {name} must be printable ASCII (S3 sends it as a header); encode it'
            )
        headers[METADATA_PREFIX + name.lower()] = value
    return headers


def checksum_type(algorithm: str) -> str:
    """The value of x-amz-checksum-type: how the checksum of a multipart object is computed from those of its parts."""
    return 'FULL_OBJECT' if is_combinable(algorithm) else 'COMPOSITE'


def known_extra(operation: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's parameters that the operation takes."""
    known = _members(operation)
    return {name: value for name, value in extra.items() if name in known}


def known_headers(operation: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """The caller's headers for which the operation has parameters, as parameters."""
    by_header = _header_members(operation)
    found: dict[str, Any] = {}
    metadata = {}
    for name, value in headers.items():
        lowered = name.lower()
        if lowered in by_header:
            found[by_header[lowered]] = value
        elif _is_metadata(lowered, value):
            metadata[lowered.removeprefix(METADATA_PREFIX)] = value
    if metadata and 'Metadata' in _members(operation):
        found['Metadata'] = metadata
    return found


def unknown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The caller's headers for which no upload has a parameter; they are sent unchanged."""
    known = {**_header_members('PutObject'), **_header_members('CopyObject')}
    return {
        name: value for name, value in headers.items() if name.lower() not in known and not _is_metadata(name.lower(), value)
    }


def _is_metadata(name: str, value: str) -> bool:
    """Whether botocore accepts a header as metadata: it refuses all but ASCII, which other stores may have."""
    return name.startswith(METADATA_PREFIX) and value.isascii()


def quoted_etag(etag: str) -> str:
    """An ETag in the form of If-Match; '*', lists and quoted ETags are unchanged.

    Raises:
        ConfigurationError: It is not a str, or contains line ends, which would begin another header.
    """
    check_headers({'If-Match': etag})
    return quoted(etag)


def serialized_extra(operation: str, extra: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The caller's parameters that the operation takes, as headers and query; in the form that botocore sends.

    Args:
        operation: S3's name of the request, such as 'PutObject'.
        extra: Parameters by boto3's names.

    Returns:
        Headers with lower-case names, and the query, not escaped; both are new dicts.

    Raises:
        ConfigurationError: A value has the wrong type, is not valid in a header, or is sent neither as header nor in the query.
    """
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    if not extra:
        return headers, query
    shapes = _shapes(operation)
    for name, value in _with_encoded_keys({name: extra[name] for name in extra if name in shapes}).items():
        shape = shapes[name]
        _check_value(operation, name, value, shape)
        location, wire_name = _location(shape), str(shape.serialization.get('name', name))
        if location == 'headers':
            headers.update(metadata_headers(value))
        elif location == 'querystring':
            query[wire_name] = _text(shape, value, 'iso8601')
        elif location != 'header':
            raise ConfigurationError(f'extra: {name} is sent neither as a header nor in the query of {operation}')
        elif value or shape.type_name != 'list':
            headers[wire_name.lower()] = _header_value(name, _text(shape, value, 'rfc822'))
    return headers, query


@functools.cache
def _shapes(operation: str) -> Mapping[str, Shape]:
    shape = _model().operation_model(operation).input_shape
    return {} if shape is None else dict(shape.members)


def _location(shape: Shape) -> str | None:
    location: str | None = shape.serialization.get('location')
    return location


def _with_encoded_keys(extra: dict[str, Any]) -> dict[str, Any]:
    """SSE-C keys encoded in base64, with their MD5; unchanged if the caller passes the MD5 too.

    botocore does the same for all of our requests except ListParts, whose keys it does not encode.
    """
    for name in BINARY_EXTRA.intersection(extra):
        key = extra[name]
        if isinstance(key, str | bytes | bytearray) and f'{name}MD5' not in extra:
            raw = key.encode() if isinstance(key, str) else bytes(key)
            extra[name] = base64.b64encode(raw).decode()
            extra[f'{name}MD5'] = base64.b64encode(hashlib.md5(raw, usedforsecurity=False).digest()).decode()
    return extra


def _check_value(operation: str, name: str, value: object, shape: Any) -> None:
    """Reject a value of a type that botocore does not accept. The message does not show it: it may be a key."""
    if _validator().validate(value, shape).has_errors():
        kind = f'list of {shape.member.type_name}s' if shape.type_name == 'list' else shape.type_name
        raise ConfigurationError(f'extra: the value of {name} must be a {kind} for {operation}, not {type(value).__name__}')


@functools.cache
def _validator() -> Any:
    from botocore.validate import ParamValidator

    return ParamValidator()


def _text(shape: Shape, value: Any, timestamp_format: str) -> str:
    """A value in the form that botocore's serializer for S3 (rest-xml) gives it outside of the body."""
    if shape.type_name == 'timestamp':
        return _timestamp(value, shape.serialization.get('timestampFormat', timestamp_format))
    if shape.type_name == 'boolean':
        return str(value).lower()
    if shape.type_name == 'list':
        return ','.join(map(_list_item, value))
    return str(value)


def _list_item(text: str) -> str:
    if '"' not in text and ',' not in text:
        return text
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'


def _timestamp(value: Any, timestamp_format: str) -> str:
    """A time in whole seconds; without a time zone it is UTC."""
    from botocore.utils import parse_to_aware_datetime

    seconds = calendar.timegm(parse_to_aware_datetime(value).utctimetuple())
    if timestamp_format == 'rfc822':
        return email.utils.formatdate(seconds, usegmt=True)
    return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(seconds))


def _header_value(name: str, text: str) -> str:
    if _CONTROL.search(text):
        raise ConfigurationError(f'extra: the value of {name} has control characters; remove them')
    return text


def copy_source_headers(source: tuple[str, str, str | None], if_match: str) -> dict[str, str]:
    """The headers that name the source of a copy: bucket, key and version id; and the ETag that it must have."""
    bucket, key, version_id = source
    # The form for access points: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    name = f'{bucket}/object/{key}' if bucket.startswith('arn:') else f'{bucket}/{key}'
    named = quote(name, safe='/~') + ('' if version_id is None else f'?versionId={version_id}')
    check_headers({'x-amz-copy-source': named})
    return {'x-amz-copy-source': named, 'x-amz-copy-source-if-match': quoted_etag(if_match)}
