"""Checksums as AWS S3 accepts, verifies and returns them.

No sockets, no state. Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html (algorithms,
FULL_OBJECT and COMPOSITE), API_CreateMultipartUpload.html, API_UploadPart.html and API_CompleteMultipartUpload.html of the API
reference. The error codes and messages, which these do not contain, are those that the tests of OpenStack Swift and LocalStack
recorded from AWS.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from awscrt import checksums as crt

from tests.support.store_values import COMPOSITE, FULL_OBJECT, Checksum, Part, StoreError

__all__ = [
    'ALGORITHMS',
    'check_digests',
    'check_part_list',
    'check_size',
    'checksum_of',
    'composite_of',
    'given_checksum',
    'given_value',
    'invalid_request',
    'mismatch',
    'part_checksum',
    'upload_kind',
    'verified_checksum',
    'whole_checksum',
]

_PREFIX = 'x-amz-checksum-'
_SDK_ALGORITHM = 'x-amz-sdk-checksum-algorithm'
_NO_DIGEST = re.compile('UNSIGNED-PAYLOAD|STREAMING-[A-Z0-9-]+')
_SHA256_HEX = re.compile('[0-9a-fA-F]{64}')

# The algorithms by S3's names, fastest in awscrt first.
ALGORITHMS: Mapping[str, Callable[[bytes], bytes]] = {
    'CRC64NVME': lambda body: crt.crc64nvme(body).to_bytes(8, 'big'),
    'CRC32C': lambda body: crt.crc32c(body).to_bytes(4, 'big'),
    'CRC32': lambda body: zlib.crc32(body).to_bytes(4, 'big'),
    'SHA1': lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    'SHA256': lambda body: hashlib.sha256(body).digest(),
}
_SIZES = {algorithm: len(compute(b'')) for algorithm, compute in ALGORITHMS.items()}
# The types of each algorithm, the default one first.
_TYPES: Mapping[str, Sequence[str]] = {
    'CRC64NVME': (FULL_OBJECT,),
    'CRC32C': (COMPOSITE, FULL_OBJECT),
    'CRC32': (COMPOSITE, FULL_OBJECT),
    'SHA1': (COMPOSITE,),
    'SHA256': (COMPOSITE,),
}


def checksum_of(algorithm: str, body: bytes) -> str:
    """The checksum of some bytes, in base64 as S3 writes it."""
    return base64.b64encode(ALGORITHMS[algorithm](body)).decode()


def composite_of(algorithm: str, values: Iterable[str]) -> str:
    """The COMPOSITE checksum of an object: that of its parts' raw checksums, with their number."""
    raws = [base64.b64decode(value) for value in values]
    return f'{checksum_of(algorithm, b"".join(raws))}-{len(raws)}'


# ---------------------------------------------------------------------- checksums of one body


def check_digests(body: bytes, headers: Mapping[str, str], sent: bytes | None = None) -> None:
    """Compare a body with Content-MD5 and with the signed digest.

    Args:
        body: The body, without AWS's chunked encoding.
        headers: The headers of the request.
        sent: The body as it was signed, if it differs.

    Raises:
        StoreError: BadDigest, XAmzContentSHA256Mismatch; InvalidDigest or InvalidArgument if the value is invalid.
    """
    given = headers.get('content-md5')
    if given is not None:
        if _decoded(given, 16) is None:
            raise StoreError(400, 'InvalidDigest', 'The Content-MD5 you specified was invalid.')
        if given != base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode():
            raise StoreError(400, 'BadDigest', 'The Content-MD5 you specified did not match what we received.')
    signed = headers.get('x-amz-content-sha256')
    if signed is None or _NO_DIGEST.fullmatch(signed):
        return
    if not _SHA256_HEX.fullmatch(signed):
        message = 'x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, or a valid sha256 value.'
        raise StoreError(400, 'InvalidArgument', message)
    if signed.lower() != hashlib.sha256(body if sent is None else sent).hexdigest():
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise StoreError(400, 'XAmzContentSHA256Mismatch', message)


def given_value(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Algorithm and value of the checksum in the headers or trailers, unchecked.

    Raises:
        StoreError: InvalidRequest if there are several.
    """
    found = [(name, headers[header]) for name in ALGORITHMS if (header := _PREFIX + name.lower()) in headers]
    if len(found) > 1:
        raise invalid_request('Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.')
    return found[0] if found else None


def given_checksum(headers: Mapping[str, str]) -> Checksum | None:
    """The checksum of a request, not yet compared with the body.

    Raises:
        StoreError: InvalidRequest if there are several, if the value is invalid, or if it is announced and missing.
    """
    found = given_value(headers)
    announced = headers.get(_SDK_ALGORITHM)
    if found is None:
        if announced is not None:
            raise invalid_request(
                f'{_SDK_ALGORITHM} specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.'
            )
        return None
    algorithm, value = found
    if announced is not None and announced.upper() != algorithm:
        raise invalid_request(f'Value for {_SDK_ALGORITHM} header is invalid.')
    if _decoded(value, _SIZES[algorithm]) is None:
        raise invalid_request(f'Value for {_PREFIX}{algorithm.lower()} header is invalid.')
    return Checksum(algorithm, value)


def verified_checksum(body: bytes, headers: Mapping[str, str]) -> Checksum | None:
    """The checksum of a request after comparison with the body; None if there is none.

    Raises:
        StoreError: As given_checksum(), and BadDigest if it is that of other bytes.
    """
    found = given_checksum(headers)
    if found is not None and found.value != checksum_of(found.algorithm, body):
        raise mismatch(found.algorithm)
    return found


# ---------------------------------------------------------------------- checksums of multipart uploads


def upload_kind(headers: Mapping[str, str]) -> tuple[str, str]:
    """Algorithm and type with which a multipart upload is created; both empty if there is none.

    Raises:
        StoreError: InvalidRequest if S3 does not support one of them, or not both together.
    """
    algorithm = headers.get('x-amz-checksum-algorithm', '').upper()
    kind = headers.get('x-amz-checksum-type', '').upper()
    if not algorithm:
        if kind:
            raise invalid_request('The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.')
        return '', ''
    if algorithm not in ALGORITHMS:
        known = ', '.join(sorted(ALGORITHMS))
        raise invalid_request(
            f'Checksum algorithm provided is unsupported. Please try again with any of the valid types: [{known}]'
        )
    if kind not in ('', COMPOSITE, FULL_OBJECT):
        raise invalid_request('Value for x-amz-checksum-type header is invalid.')
    if kind and kind not in _TYPES[algorithm]:
        raise invalid_request(f'The {kind} checksum type cannot be used with the {algorithm.lower()} checksum algorithm.')
    return algorithm, kind or _TYPES[algorithm][0]


def part_checksum(algorithm: str, kind: str, body: bytes, given: Checksum | None) -> Checksum | None:
    """The checksum with which a part is stored.

    Args:
        algorithm: The algorithm of the upload; if it is empty, the part may have any.
        kind: The type of the upload's checksum.
        body: The part's bytes.
        given: The verified checksum of the request.

    Raises:
        StoreError: InvalidRequest if the upload has another algorithm, or if the client must send the checksum: S3 computes
            only those of FULL_OBJECT uploads.
    """
    if not algorithm or (given is not None and given.algorithm == algorithm):
        return given
    if given is not None or kind == COMPOSITE:
        raise _other_algorithm(algorithm, '' if given is None else given.algorithm)
    return Checksum(algorithm, checksum_of(algorithm, body))


def check_part_list(
    algorithm: str, kind: str, wanted: Sequence[tuple[int, Mapping[str, str]]], parts: Mapping[int, Part]
) -> None:
    """Compare the checksums in CompleteMultipartUpload's list with those of the parts.

    Args:
        algorithm: The algorithm of the upload, or empty.
        kind: The type of its checksum.
        wanted: Number and checksums by algorithm of each part in the list.
        parts: The uploaded parts, which include those of the list.

    Raises:
        StoreError: InvalidRequest if one is missing, InvalidPart if one is another part's, InvalidArgument if one is invalid,
            InvalidPartOrder if there are checksums and the numbers are not 1, 2, 3, …
    """
    if algorithm and kind == COMPOSITE and [number for number, _ in wanted] != list(range(1, len(wanted) + 1)):
        raise StoreError(400, 'InvalidPartOrder', 'The list of parts was not in ascending order, or not from 1 on.')
    for _, given in wanted:
        if len(given) > 1 or any(_decoded(value, _SIZES[name]) is None for name, value in given.items()):
            raise StoreError(400, 'InvalidArgument', 'Invalid Base64 or multiple checksums present in request')
    for number, given in wanted:
        kept = parts[number].checksum
        for name, value in given.items():
            if algorithm and name != algorithm:
                message = f'The {name.lower()} you specified for part {number} did not match what we received.'
                raise StoreError(400, 'BadDigest', message)
            if kept is None or (kept.algorithm, kept.value) != (name, value):
                raise StoreError(400, 'InvalidPart', f'Part {number} could not be found with this checksum.')
        if algorithm and kind == COMPOSITE and not given:
            raise invalid_request(
                f'The upload was created using a {algorithm.lower()} checksum. The complete request must include the '
                f'checksum for each part. It was missing for part {number} in the request.'
            )


def whole_checksum(
    algorithm: str, kind: str, body: bytes, parts: Sequence[Part], headers: Mapping[str, str]
) -> Checksum | None:
    """The checksum of a completed upload, after comparison with the request.

    Args:
        algorithm: The algorithm of the upload; if it is empty, the client may still send a CRC64NVME of all bytes.
        kind: The type of its checksum.
        body: All bytes.
        parts: The parts, in order.
        headers: The headers of the request.

    Raises:
        StoreError: InvalidRequest if algorithm or type are not those of the upload, BadDigest if the value differs.
    """
    given = given_value(headers)
    asked = headers.get('x-amz-checksum-type', '').upper()
    if not algorithm and given is not None and given[0] == 'CRC64NVME':
        algorithm, kind = 'CRC64NVME', FULL_OBJECT
    if asked and asked != kind:
        raise invalid_request(
            f'The upload was created using the {kind or "null"} checksum mode. '
            'The complete request must use the same checksum mode.'
        )
    if given is not None and given[0] != algorithm:
        raise _other_algorithm(algorithm, given[0])
    if not algorithm:
        return None
    if given is not None and _decoded(re.sub(r'-\d+\Z', '', given[1]), _SIZES[algorithm]) is None:
        raise invalid_request(f'Value for {_PREFIX}{algorithm.lower()} header is invalid.')
    if kind == COMPOSITE:
        value = composite_of(algorithm, [part.checksum.value for part in parts if part.checksum is not None])
    else:
        value = checksum_of(algorithm, body)
    if given is not None and given[1] != value:
        raise mismatch(algorithm)
    return Checksum(algorithm, value, kind)


def check_size(size_bytes: int, headers: Mapping[str, str]) -> None:
    """Compare a completed object's size with x-amz-mp-object-size.

    Raises:
        StoreError: InvalidRequest.
    """
    given = headers.get('x-amz-mp-object-size')
    if given is not None and not re.fullmatch('[0-9]+', given):
        raise invalid_request(f"Value for x-amz-mp-object-size header is invalid: '{given}'")
    if given is not None and int(given) != size_bytes:
        raise invalid_request(
            f"The provided 'x-amz-mp-object-size' header value {given} does not match what was computed: {size_bytes}"
        )


# ---------------------------------------------------------------------- refusals


def mismatch(algorithm: str) -> StoreError:
    """The error for a checksum of other bytes."""
    return StoreError(400, 'BadDigest', f'The {algorithm} you specified did not match the calculated checksum.')


def invalid_request(message: str) -> StoreError:
    """The error for invalid headers."""
    return StoreError(400, 'InvalidRequest', message)


def _other_algorithm(expected: str, actual: str) -> StoreError:
    told = f'expected checksum Type: {expected.lower() or "null"}, actual checksum Type: {actual.lower() or "null"}'
    return invalid_request(f'Checksum Type mismatch occurred, {told}')


def _decoded(value: str, size_bytes: int) -> bytes | None:
    """The decoded base64, or None if it has another length or is not in canonical form."""
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error:
        return None
    return raw if len(raw) == size_bytes and base64.b64encode(raw).decode() == value else None
