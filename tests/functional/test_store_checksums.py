"""The store verifies and returns checksums as AWS S3 does; tested over plain HTTP, without a client in between."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.servers import Authority, Store
from tests.support.store_checksums import checksum_of, composite_of
from tests.support.store_client import Raw, new_client

PART = 5 * 1024 * 1024
ALGORITHMS = ['CRC64NVME', 'CRC32C', 'CRC32', 'SHA1', 'SHA256']
BODY = b'123456789'
OTHER = b'123456780'


@pytest.fixture
def raw(store: Store) -> Iterator[Raw]:
    with Raw(store) as made:
        made('PUT', '/bucket')
        yield made


def header(algorithm: str, body: bytes = BODY) -> dict[str, str]:
    return {f'x-amz-checksum-{algorithm.lower()}': checksum_of(algorithm, body)}


def told_of(raw: Raw, method: str = 'HEAD', **headers: str) -> dict[str, str]:
    """The checksum headers of the response to a request for the object."""
    asked = {'x-amz-checksum-mode': 'ENABLED', **headers}
    return {name: value for name, value in raw(method, '/bucket/key', headers=asked).headers.items() if 'checksum' in name}


def created(raw: Raw, **headers: str) -> str:
    """The id of a new multipart upload."""
    given = {f'x-amz-checksum-{name}': value for name, value in headers.items()}
    return str(raw('POST', '/bucket/key?uploads', headers=given).text('UploadId'))


def sent(raw: Raw, upload_id: str, number: int, body: bytes, headers: Mapping[str, str] | None = None) -> Any:
    return raw('PUT', f'/bucket/key?uploadId={upload_id}&partNumber={number}', body, headers)


def completed(raw: Raw, upload_id: str, *parts: tuple[int, bytes, str], **headers: str) -> Any:
    """Complete an upload of these parts: number, body, and the algorithm of the checksum to list, or ''."""
    listed = ''
    for number, body, algorithm in parts:
        listed += f'<Part><PartNumber>{number}</PartNumber><ETag>{hashlib.md5(body).hexdigest()}</ETag>'
        listed += f'<Checksum{algorithm}>{checksum_of(algorithm, body)}</Checksum{algorithm}>' if algorithm else ''
        listed += '</Part>'
    document = f'<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>'.encode()
    return raw('POST', f'/bucket/key?uploadId={upload_id}', document, {k.replace('_', '-'): v for k, v in headers.items()})


def chunked(body: bytes, trailer: tuple[str, str]) -> tuple[bytes, dict[str, str]]:
    """A body as botocore sends it over TLS: aws-chunked, with the checksum in a trailer."""
    name, value = trailer
    framed = b'%x\r\n%b\r\n0\r\n%b:%b\r\n\r\n' % (len(body), body, name.encode(), value.encode())
    headers = {
        'content-encoding': 'aws-chunked',
        'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
        'x-amz-decoded-content-length': str(len(body)),
        'x-amz-trailer': name,
    }
    return framed, headers


# ---------------------------------------------------------------------- one body


@pytest.mark.parametrize('operation', ['PutObject', 'UploadPart'])
@pytest.mark.parametrize('algorithm', ALGORITHMS)
@pytest.mark.parametrize('is_trailer', [False, True])
def test_checksums_of_bodies(raw: Raw, operation: str, algorithm: str, *, is_trailer: bool) -> None:
    """A right checksum is returned, a wrong one is BadDigest and stores nothing; in a header or a trailer."""
    target = '/bucket/key' + (f'?uploadId={created(raw)}&partNumber=1' if operation == 'UploadPart' else '')

    def send(value_of: bytes) -> Any:
        headers = header(algorithm, value_of)
        body, headers = chunked(BODY, next(iter(headers.items()))) if is_trailer else (BODY, headers)
        return raw('PUT', target, body, headers)

    wrong = send(OTHER)
    assert (wrong.status, wrong.text('Code')) == (400, 'BadDigest')
    assert wrong.text('Message') == f'The {algorithm} you specified did not match the calculated checksum.'
    if operation == 'UploadPart':
        assert raw('GET', target.rpartition('&')[0]).text('PartNumber') is None
    else:
        assert raw('HEAD', '/bucket/key').status == 404

    right = send(BODY)
    assert right.status == 200
    expected = header(algorithm) | ({'x-amz-checksum-type': 'FULL_OBJECT'} if operation == 'PutObject' else {})
    assert {name: value for name, value in right.headers.items() if 'checksum' in name} == expected


@pytest.mark.parametrize('operation', ['PutObject', 'UploadPart'])
def test_digests_of_bodies(raw: Raw, operation: str) -> None:
    """Content-MD5 and the signed digest are verified; a body that does not match is not stored."""
    target = '/bucket/key' + (f'?uploadId={created(raw)}&partNumber=1' if operation == 'UploadPart' else '')

    def send(of: bytes, name: str) -> Any:
        md5 = base64.b64encode(hashlib.md5(of).digest()).decode()
        value = md5 if name == 'Content-MD5' else hashlib.sha256(of).hexdigest()
        return raw('PUT', target, BODY, {name: value})

    for name, code in (('Content-MD5', 'BadDigest'), ('x-amz-content-sha256', 'XAmzContentSHA256Mismatch')):
        wrong = send(OTHER, name)
        assert (wrong.status, wrong.text('Code')) == (400, code)
        assert raw('HEAD', '/bucket/key').status == 404
    if operation == 'UploadPart':
        assert raw('GET', target.rpartition('&')[0]).text('PartNumber') is None

    for name in ('Content-MD5', 'x-amz-content-sha256'):
        assert send(BODY, name).status == 200


@pytest.mark.parametrize(
    ('name', 'value', 'code'),
    [
        ('x-amz-checksum-crc32', 'shrt', 'InvalidRequest'),
        ('x-amz-checksum-sha256', 'y/Q5Jg==', 'InvalidRequest'),
        ('Content-MD5', 'shrt', 'InvalidDigest'),
        ('x-amz-content-sha256', 'cbf43926', 'InvalidArgument'),
        ('x-amz-sdk-checksum-algorithm', 'CRC32', 'InvalidRequest'),
    ],
)
def test_malformed_headers(raw: Raw, name: str, value: str, code: str) -> None:
    """An invalid checksum header is refused with its own error code, and nothing is stored."""
    answer = raw('PUT', '/bucket/key', BODY, {name: value})

    assert (answer.status, answer.text('Code')) == (400, code)
    assert raw('HEAD', '/bucket/key').status == 404


def test_a_payload_that_is_not_signed_is_not_compared(raw: Raw) -> None:
    """UNSIGNED-PAYLOAD is not compared as a digest."""
    assert raw('PUT', '/bucket/key', BODY, {'x-amz-content-sha256': 'UNSIGNED-PAYLOAD'}).status == 200


def test_which_responses_have_checksums(raw: Raw) -> None:
    """HEAD and GET return the checksum on request; ranges do not, and without x-amz-checksum-mode nothing does."""
    raw('PUT', '/bucket/key', BODY, header('CRC64NVME'))
    expected = {**header('CRC64NVME'), 'x-amz-checksum-type': 'FULL_OBJECT'}

    assert told_of(raw) == told_of(raw, 'GET') == expected
    assert told_of(raw, 'GET', range='bytes=0-') == told_of(raw, 'HEAD', range='bytes=0-3') == {}
    assert told_of(raw, 'GET', **{'x-amz-checksum-mode': ''}) == told_of(raw, **{'x-amz-checksum-mode': ''}) == {}


def test_no_checksum_by_default(raw: Raw) -> None:
    """An object stored without a checksum has none."""
    raw('PUT', '/bucket/key', BODY)

    assert told_of(raw) == {}


def test_what_botocore_sends(authority: Authority) -> None:
    """botocore's trailers over TLS are accepted; if the body was changed, it is refused."""
    config = {'request_checksum_calculation': 'when_supported', 'response_checksum_validation': 'when_supported'}
    with Store(authority) as store:
        client = new_client(store, verify=str(authority.ca_pem), config=config)
        client.create_bucket(Bucket='bucket')
        at = {'Bucket': 'bucket', 'Key': 'key'}
        answer = client.put_object(**at, Body=BODY, ChecksumAlgorithm='CRC64NVME')
        sent = store.log('PutObject')[0]['headers']
        # A byte of the payload, after the line with the chunk's length.
        store.script({'operation': 'PutObject', 'times': 1, 'action': {'flip_received_at': 5}})

        with pytest.raises(client.exceptions.ClientError, match='BadDigest'):
            client.put_object(**at, Body=OTHER, ChecksumAlgorithm='CRC64NVME')

        assert (sent['x-amz-content-sha256'], sent['x-amz-trailer']) == (
            'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
            'x-amz-checksum-crc64nvme',
        )
        assert (answer['ChecksumCRC64NVME'], answer['ChecksumType']) == ('rosUhgp5mIg=', 'FULL_OBJECT')
        assert client.get_object(**at, ChecksumMode='ENABLED')['Body'].read() == BODY
        client.close()


# ---------------------------------------------------------------------- uploads in parts


@pytest.mark.parametrize(
    ('algorithm', 'asked', 'kind'),
    [
        ('CRC64NVME', '', 'FULL_OBJECT'),
        ('CRC32', '', 'COMPOSITE'),
        ('CRC32C', 'FULL_OBJECT', 'FULL_OBJECT'),
        ('SHA256', 'COMPOSITE', 'COMPOSITE'),
    ],
)
def test_an_upload_from_beginning_to_end(raw: Raw, algorithm: str, asked: str, kind: str) -> None:
    """Each step returns algorithm and type; the checksum of the whole is verified, and returned with the object."""
    first, last = b'a' * PART, b'b'
    given = {'x-amz-checksum-algorithm': algorithm, **({'x-amz-checksum-type': asked} if asked else {})}
    answer = raw('POST', '/bucket/key?uploads', headers=given)
    upload_id = answer.text('UploadId')
    for number, body in enumerate((first, last), 1):
        assert sent(raw, upload_id, number, body, header(algorithm, body)).status == 200
    listing = raw('GET', f'/bucket/key?uploadId={upload_id}')
    uploads = raw('GET', '/bucket?uploads')
    values = [checksum_of(algorithm, body) for body in (first, last)]
    whole = composite_of(algorithm, values) if kind == 'COMPOSITE' else checksum_of(algorithm, first + last)
    name = f'x-amz-checksum-{algorithm.lower()}'

    def complete(**headers: str) -> Any:
        return completed(raw, upload_id, (1, first, algorithm), (2, last, algorithm), **headers)

    assert (answer.headers['x-amz-checksum-algorithm'], answer.headers['x-amz-checksum-type']) == (algorithm, kind)
    for each in (listing, uploads):
        assert (each.text('ChecksumAlgorithm'), each.text('ChecksumType')) == (algorithm, kind)
    assert re.findall(f'<Checksum{algorithm}>(.*?)<', listing.body.decode()) == values
    wrong = composite_of(algorithm, values[::-1]) if kind == 'COMPOSITE' else checksum_of(algorithm, last + first)
    for headers, code in [
        ({name: wrong, 'x-amz-checksum-type': kind}, 'BadDigest'),
        ({name: 'shrt'}, 'InvalidRequest'),
        ({'x-amz-checksum-type': 'COMPOSITE' if kind == 'FULL_OBJECT' else 'FULL_OBJECT'}, 'InvalidRequest'),
        ({'x-amz-mp-object-size': str(PART)}, 'InvalidRequest'),
        ({'x-amz-mp-object-size': '-1'}, 'InvalidRequest'),
    ]:
        refusal = complete(**headers)
        assert (refusal.status, refusal.text('Code')) == (400, code)
        assert raw('HEAD', '/bucket/key').status == 404

    done = complete(**{name: whole, 'x-amz-checksum-type': kind, 'x-amz-mp-object-size': str(PART + 1)})

    assert (done.text(f'Checksum{algorithm}'), done.text('ChecksumType')) == (whole, kind)
    assert told_of(raw) == {name: whole, 'x-amz-checksum-type': kind}


def test_composite_uploads_need_the_parts_checksums(raw: Raw) -> None:
    """A composite upload can be completed only with the checksums of its parts; after a refusal it can be completed again."""
    upload_id = created(raw, algorithm='SHA256')
    sent(raw, upload_id, 1, BODY, header('SHA256'))

    missing = completed(raw, upload_id, (1, BODY, ''))
    other = completed(raw, upload_id, (1, BODY, 'CRC32'))
    done = completed(raw, upload_id, (1, BODY, 'SHA256'))

    assert (missing.text('Code'), other.text('Code'), done.status) == ('InvalidRequest', 'BadDigest', 200)
    assert 'It was missing for part 1 in the request.' in str(missing.text('Message'))


def test_a_part_of_another_algorithm(raw: Raw) -> None:
    """A part with another algorithm is refused by UploadPart, and is not listed."""
    upload_id = created(raw, algorithm='CRC64NVME')

    answer = sent(raw, upload_id, 1, BODY, header('CRC32'))

    assert (answer.status, answer.text('Code')) == (400, 'InvalidRequest')
    assert raw('GET', f'/bucket/key?uploadId={upload_id}').text('PartNumber') is None


def test_an_upload_without_algorithm(raw: Raw) -> None:
    """Without an algorithm, parts may have any checksums, which are verified; the object has only the CRC64NVME of Complete."""
    for headers, expected in [({}, {}), (header('CRC64NVME', b'a' * PART + b'b'), {'x-amz-checksum-type': 'FULL_OBJECT'})]:
        upload_id = created(raw)
        sent(raw, upload_id, 1, b'a' * PART, header('CRC32', b'a' * PART))
        sent(raw, upload_id, 2, b'b', header('SHA256', b'b'))
        parts = [(1, b'a' * PART, 'CRC32'), (2, b'b', '')]
        for name in ('CRC64NVME', 'CRC32'):
            code = 'BadDigest' if name == 'CRC64NVME' else 'InvalidRequest'
            assert completed(raw, upload_id, *parts, **header(name)).text('Code') == code

        assert completed(raw, upload_id, *parts, **headers).status == 200
        assert told_of(raw) == {**headers, **expected}


def test_an_upload_of_copied_parts(raw: Raw) -> None:
    """The store computes and returns the checksum of a copied part."""
    raw('PUT', '/bucket/source', b'xx' + BODY)
    upload_id = created(raw, algorithm='SHA256')
    source = {'x-amz-copy-source': '/bucket/source', 'x-amz-copy-source-range': 'bytes=2-10'}

    copied = raw('PUT', f'/bucket/key?uploadId={upload_id}&partNumber=1', headers=source)

    assert (copied.text('ChecksumSHA256'), copied.text('ChecksumType')) == (checksum_of('SHA256', BODY), None)
    assert completed(raw, upload_id, (1, BODY, 'SHA256')).status == 200


# ---------------------------------------------------------------------- copies


def test_copies_keep_the_checksum(raw: Raw) -> None:
    """A copy has its source's checksum, a FULL_OBJECT one in place of a composite one, or the requested one."""
    source = {'x-amz-copy-source': '/bucket/source'}
    raw('PUT', '/bucket/source', BODY, header('CRC32C'))
    plain = raw('PUT', '/bucket/key', headers=source)
    kept = told_of(raw)
    asked = raw('PUT', '/bucket/key', headers={**source, 'x-amz-checksum-algorithm': 'SHA1'})

    assert (plain.text('ChecksumCRC32C'), plain.text('ChecksumType')) == (checksum_of('CRC32C', BODY), 'FULL_OBJECT')
    assert kept == {**header('CRC32C'), 'x-amz-checksum-type': 'FULL_OBJECT'}
    assert asked.text('ChecksumSHA1') == checksum_of('SHA1', BODY)

    upload_id = created(raw, algorithm='SHA256')
    sent(raw, upload_id, 1, BODY, header('SHA256'))
    assert completed(raw, upload_id, (1, BODY, 'SHA256')).status == 200
    assert told_of(raw)['x-amz-checksum-type'] == 'COMPOSITE'
    copy = raw('PUT', '/bucket/copy', headers={'x-amz-copy-source': '/bucket/key'})
    assert (copy.text('ChecksumSHA256'), copy.text('ChecksumType')) == (checksum_of('SHA256', BODY), 'FULL_OBJECT')


def test_deletes_are_checked_too(raw: Raw) -> None:
    """DeleteObjects with a wrong checksum deletes nothing."""
    raw('PUT', '/bucket/key', BODY)
    document = b'<Delete><Object><Key>key</Key></Object></Delete>'

    assert raw('POST', '/bucket?delete', document, header('CRC32')).text('Code') == 'BadDigest'
    assert raw('HEAD', '/bucket/key').status == 200
    assert raw('POST', '/bucket?delete', document, header('CRC32', document)).status == 200
    assert raw('HEAD', '/bucket/key').status == http.client.NOT_FOUND
