"""Which request knows which parameter, by boto3's names and by HTTP's.

What may live here: questions to botocore's model of S3, and the names that are s3po's own. No requests.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from s3po.errors import ConfigurationError

if TYPE_CHECKING:
    from botocore.model import ServiceModel

__all__ = ['check_extra', 'check_headers', 'known_extra', 'known_headers', 'metadata_headers', 'unknown_headers']

METADATA_PREFIX: Final = 'x-amz-meta-'

# Headers that s3po computes itself, and headers that belong to one connection (RFC 9110, section 7.6.1).
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
        'connection',
        'expect',
        'te',
        'trailer',
        'upgrade',
    }
)
OWNED_HEADER_PREFIX: Final = 'x-amz-checksum-'

# boto3 parameters that s3po sets itself, and what to use in their place.
OWNED_EXTRA: Final = {
    'Bucket': 'the argument bucket',
    'Key': 'the argument key',
    'Body': 'the argument source',
    'ContentLength': 'nothing: the length is known from the source',
    'Range': 'the argument byte_range',
    'VersionId': 'the argument version_id',
    'PartNumber': 'nothing: parts are planned from the size',
    'UploadId': 'nothing: s3po makes the multipart upload',
    'MultipartUpload': 'nothing: s3po makes the multipart upload',
    'CopySource': 'the arguments bucket and key',
    'CopySourceRange': 'nothing: parts are planned from the size',
    'CopySourceIfMatch': 'the argument if_match',
    'Delete': 'the argument keys',
    'Prefix': 'the argument prefix',
    'Delimiter': 'the argument delimiter',
    'StartAfter': 'the argument start_after',
    'MaxKeys': 'the argument page_size',
    'ContinuationToken': 'nothing: s3po turns the pages',
    'EncodingType': 'nothing: keys come unescaped',
}

# Keys for the store to encrypt with: raw bytes, in a str or not, which botocore encodes.
BINARY_EXTRA: Final = frozenset({'SSECustomerKey', 'CopySourceSSECustomerKey'})

# RFC 9110, section 5.6.2: the characters of a header's name.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL: Final = re.compile(r'[\x00-\x1f\x7f]')


@functools.cache
def _model() -> ServiceModel:
    # Only who gives parameters or headers of this kind pays for botocore's import.
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
    """Refuse boto3 parameters that none of the operations knows, and those that s3po sets itself.

    Args:
        extra: The caller's parameters.
        operations: S3's names of the requests that may be made with them; None for all that there are.
        argument: The argument's name, for the message.

    Raises:
        ConfigurationError: One of them cannot be sent.
    """
    if not isinstance(extra, Mapping):
        raise ConfigurationError(f"{argument} must be a mapping of boto3's parameter names, not {type(extra).__name__}")
    operations = None if operations is None else tuple(operations)
    known = _all_members() if operations is None else frozenset().union(*map(_members, operations))
    for name, value in extra.items():
        if name in OWNED_EXTRA:
            raise ConfigurationError(f'{argument}: {name} is set by s3po; use {OWNED_EXTRA[name]}')
        if str(name).startswith('Checksum') and name != 'ChecksumMode':
            raise ConfigurationError(f'{argument}: {name} is set by s3po, which takes care of checksums')
        if name not in known:
            where = 'any S3 request' if operations is None else ' or '.join(operations)
            raise ConfigurationError(f'{argument}: {name!r} is no parameter of {where}; boto3 lists their names')
        if name not in BINARY_EXTRA and _has_control_characters(value):
            raise ConfigurationError(f'{argument}: the value of {name} has control characters; remove them')


def _has_control_characters(value: object) -> bool:
    """Whether a text, or one in a mapping such as Metadata, has any; most are sent as headers."""
    if isinstance(value, Mapping):
        return any(_has_control_characters(each) for each in value.values())
    return isinstance(value, str) and bool(_CONTROL.search(value))


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers that s3po sets itself, and what is no header at all.

    Raises:
        ConfigurationError: One of them cannot be sent.
    """
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f'headers must be a mapping, not {type(headers).__name__}')
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigurationError(f'headers: names and values must be str, not {name!r}: {type(value).__name__}')
        if not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"headers: {name!r} is no header's name")
        if _CONTROL.search(value):
            raise ConfigurationError(f'headers: the value of {name} has control characters; remove them')
        lowered = name.lower()
        if lowered in OWNED_HEADERS or lowered.startswith(OWNED_HEADER_PREFIX):
            raise ConfigurationError(f'headers: {name} is set by s3po; leave it out')


def metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """The user's metadata as headers.

    Raises:
        ConfigurationError: A name or value cannot be a header.
    """
    if not isinstance(metadata, Mapping):
        raise ConfigurationError(f'metadata must be a mapping, not {type(metadata).__name__}')
    headers = {}
    for name, value in metadata.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError(f'metadata: {name!r} cannot be the name of a header')
        if not isinstance(value, str):
            raise ConfigurationError(f'metadata: the value of {name} must be str, not {type(value).__name__}')
        if not value.isascii() or _CONTROL.search(value):
            raise ConfigurationError(
                f'metadata: the value of {name} must be printable ASCII (S3 sends it as a header); encode it'
            )
        headers[METADATA_PREFIX + name.lower()] = value
    return headers


def known_extra(operation: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the caller's parameters that the operation knows."""
    known = _members(operation)
    return {name: value for name, value in extra.items() if name in known}


def known_headers(operation: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Those of the caller's headers that the operation has parameters for, as parameters."""
    by_header = _header_members(operation)
    found: dict[str, Any] = {}
    metadata = {}
    for name, value in headers.items():
        lowered = name.lower()
        if lowered in by_header:
            found[by_header[lowered]] = value
        elif lowered.startswith(METADATA_PREFIX):
            metadata[lowered.removeprefix(METADATA_PREFIX)] = value
    if metadata and 'Metadata' in _members(operation):
        found['Metadata'] = metadata
    return found


def unknown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of the caller's headers that no upload has a parameter for; they are sent as they are."""
    known = {**_header_members('PutObject'), **_header_members('CopyObject')}
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in known and not name.lower().startswith(METADATA_PREFIX)
    }
