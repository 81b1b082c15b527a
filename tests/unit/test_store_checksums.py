"""The store's checksums equal S3's: published values, and recorded responses of AWS."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import store_checksums
from tests.support.store_api import Api
from tests.support.store_checksums import ALGORITHMS, checksum_of, composite_of
from tests.support.store_request import Request
from tests.support.store_state import MIN_PART_BYTES, Store
from tests.support.store_values import COMPOSITE, FULL_OBJECT, Checksum, Part, StoreError

# Parts of 5 MiB of one letter each, which Ceph's s3-tests also send to AWS: their checksums, and those of the object.
PARTS = [letter * MIN_PART_BYTES for letter in (b'A', b'B', b'C')]
OF_PARTS = {
    'CRC64NVME': ['L/E4WYn8v98=', 'xW1l19VobYM=', 'cK5MnNaWrW4='],
    'CRC32': ['JRTCyQ==', 'QoZTGg==', 'YAgjqw=='],
    'SHA1': ['iIaTCGbm+vdVjNqIMF2S0T7ibMk=', 'LS/TJ32bAVKEwRu+sE3X7awh/lk=', '6DDwovUaHwrKNXDMzOGbuvj9kxI='],
    'SHA256': [
        '275VF5loJr1YYawit0XSHREhkFXYkkPKGuoK0x9VKxI=',
        'mrHwOfjTL5Zwfj74F05HOQGLdUb7E5szdCbxgUSq6NM=',
        'Vw7oB/nKQ5xWb3hNgbyfkvDiivl+U+/Dft48nfJfDow=',
    ],
}
OF_OBJECT = [
    ('CRC64NVME', FULL_OBJECT, 'i+6LR0y3eFo='),
    ('CRC32', FULL_OBJECT, 'WgDhBQ=='),
    ('SHA1', COMPOSITE, 'sizjvY4eud3MrcHdZM3cQ/ol39o=-3'),
    ('SHA256', COMPOSITE, 'uWBwpe1dxI4Vw8Gf0X9ynOdw/SS6VBzfWm9giiv1sf4=-3'),
]
ETAG = 'b2add96cc9702bbf4efb0ccdfc6b7747-3'


def refused(code: str, *arguments: Any, by: Callable[..., object] = store_checksums.given_checksum) -> str:
    """The message of the refusal."""
    with pytest.raises(StoreError) as raised:
        by(*arguments)
    assert (raised.value.status, raised.value.code) == (400, code)
    return raised.value.message


@pytest.mark.parametrize(
    ('algorithm', 'value'),
    [  # the CRCs from https://reveng.sourceforge.io/crc-catalogue/ ('check'), the digests as generally known
        ('CRC32', 'cbf43926'),
        ('CRC32C', 'e3069283'),
        ('CRC64NVME', 'ae8b14860a799888'),
        ('SHA1', 'f7c3bc1d808e04732adf679965ccc34ca7ae3441'),
        ('SHA256', '15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225'),
    ],
)
def test_check_values(algorithm: str, value: str) -> None:
    """Each algorithm has its published value for '123456789', in base64 with the most significant byte first."""
    assert base64.b64decode(checksum_of(algorithm, b'123456789')).hex() == value


@pytest.mark.parametrize(
    ('algorithm', 'value'),
    [  # examples of FIPS 180-4; the CRC of an empty message is 0
        ('CRC32', '00000000'),
        ('CRC32C', '00000000'),
        ('CRC64NVME', '0000000000000000'),
        ('SHA1', 'da39a3ee5e6b4b0d3255bfef95601890afd80709'),
        ('SHA256', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'),
    ],
)
def test_values_of_nothing(algorithm: str, value: str) -> None:
    """An empty body has a checksum."""
    assert base64.b64decode(checksum_of(algorithm, b'')).hex() == value


@pytest.mark.parametrize(
    ('algorithm', 'body', 'value'),
    [  # RFC 3720, appendix B.4, whose bytes are in reverse order
        ('CRC32C', bytes(32), '8a9136aa'),
        ('CRC32C', b'\xff' * 32, '62a8ab43'),
        ('CRC32C', bytes(range(32)), '46dd794e'),
        # The NVM Command Set Specification, '64b CRC Test Cases'
        ('CRC64NVME', bytes(4096), '6482d367eb22b64e'),
        ('CRC64NVME', b'\xff' * 4096, 'c0ddba7302eca3ac'),
    ],
)
def test_vectors_of_the_standards(algorithm: str, body: bytes, value: str) -> None:
    """The CRCs equal the examples of their standards."""
    assert base64.b64decode(checksum_of(algorithm, body)).hex() == value


def test_multipart_etag_of_the_documentation() -> None:
    """The ETag equals the example of CompleteMultipartUpload in AWS's API reference: two equal parts."""
    part = 'd8c2eafd90c266e19ab9dcacc479f8af'
    digest = hashlib.md5(bytes.fromhex(part) * 2).hexdigest()
    store = Store()
    store.create_bucket('bucket')
    upload_id = store.create_upload('bucket', 'key', {}, {})
    for number in (1, 2):
        store.upload_part('bucket', 'key', upload_id, number, bytes(MIN_PART_BYTES), etag=part)

    assembled = store.assemble('bucket', 'key', upload_id, [(1, part), (2, part)])

    assert assembled.etag == f'{digest}-2' == '4d9031c7644d8081c2829f4ea23c55f7-2'


@pytest.mark.parametrize(('algorithm', 'kind', 'whole'), OF_OBJECT)
def test_uploads_of_s3_tests(algorithm: str, kind: str, whole: str) -> None:
    """Three parts have the checksums that AWS returns, and so have the checksum and the ETag of the object."""
    store = Store()
    store.create_bucket('bucket')
    api = Api(store)
    header = f'x-amz-checksum-{algorithm.lower()}'
    created = {'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': kind}
    answer = api.carry_out('CreateMultipartUpload', Request('POST', 'bucket', 'key', {'uploads': ''}, created))
    upload_id = store.uploads('bucket')[0].upload_id
    listed = ''
    for number, (body, value) in enumerate(zip(PARTS, OF_PARTS[algorithm], strict=True), 1):
        query = {'uploadId': upload_id, 'partNumber': str(number)}
        part = api.carry_out('UploadPart', Request('PUT', 'bucket', 'key', query, {header: value}, body))
        assert part.headers[header] == value
        listed += f'<Part><PartNumber>{number}</PartNumber><ETag>{part.headers["ETag"]}</ETag>'
        listed += f'<Checksum{algorithm}>{value}</Checksum{algorithm}></Part>'
    document = f'<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>'.encode()
    request = Request('POST', 'bucket', 'key', {'uploadId': upload_id}, {header: whole, 'x-amz-checksum-type': kind}, document)

    done = bytes(api.carry_out('CompleteMultipartUpload', request).body).decode()

    assert created.items() <= answer.headers.items()
    assert f'<Checksum{algorithm}>{whole}</Checksum{algorithm}><ChecksumType>{kind}</ChecksumType>' in done
    assert (store.get('bucket', 'key').etag, store.get('bucket', 'key').checksum) == (ETAG, Checksum(algorithm, whole, kind))


def test_composite_is_of_the_raw_checksums() -> None:
    """A COMPOSITE checksum is that of the parts' raw checksums, not of their base64, with the number of parts."""
    first, second = b'first', b'second'
    raw = hashlib.sha256(hashlib.sha256(first).digest() + hashlib.sha256(second).digest()).digest()

    values = [checksum_of('SHA256', each) for each in (first, second)]

    assert composite_of('SHA256', values) == f'{base64.b64encode(raw).decode()}-2'


@pytest.mark.parametrize(
    'value',
    ['', 'short===', 'shrt', 'toolong=', '^^^^^^==', 'y^/^Q5^J^g==', 'y/Q5Jh==', 'y/Q5Jg', 'cbf43926'],
)
def test_malformed_values(value: str) -> None:
    """A value that is invalid for the algorithm is 400 InvalidRequest, as on AWS, and not a mismatch."""
    message = refused('InvalidRequest', {'x-amz-checksum-crc32': value})

    assert message == 'Value for x-amz-checksum-crc32 header is invalid.'


def test_one_checksum_at_a_time() -> None:
    """Two checksums are refused, even if both are right; so is one that was not announced, or one that is missing."""
    both = {f'x-amz-checksum-{name.lower()}': checksum_of(name, b'') for name in ('CRC32', 'SHA256')}
    message = refused('InvalidRequest', both)
    assert message == 'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.'

    announced = {'x-amz-sdk-checksum-algorithm': 'SHA1'}
    message = refused('InvalidRequest', {**announced, 'x-amz-checksum-crc32': 'AAAAAA=='})
    assert message == 'Value for x-amz-sdk-checksum-algorithm header is invalid.'
    assert 'no corresponding x-amz-checksum-*' in refused('InvalidRequest', announced)


@pytest.mark.parametrize('algorithm', ALGORITHMS)
def test_types_of_algorithms(algorithm: str) -> None:
    """CRC64NVME is FULL_OBJECT only, digests are COMPOSITE only, the other CRCs can be both, with COMPOSITE as default."""
    allowed = {'CRC64NVME': [FULL_OBJECT], 'SHA1': [COMPOSITE], 'SHA256': [COMPOSITE]}.get(algorithm, [COMPOSITE, FULL_OBJECT])
    header = {'x-amz-checksum-algorithm': algorithm}

    assert store_checksums.upload_kind(header) == (algorithm, allowed[0])
    for kind in (COMPOSITE, FULL_OBJECT):
        asked = {**header, 'x-amz-checksum-type': kind}
        if kind in allowed:
            assert store_checksums.upload_kind(asked) == (algorithm, kind)
        else:
            message = refused('InvalidRequest', asked, by=store_checksums.upload_kind)
            assert message == f'The {kind} checksum type cannot be used with the {algorithm.lower()} checksum algorithm.'


@pytest.mark.parametrize(
    ('headers', 'told'),
    [
        ({'x-amz-checksum-type': FULL_OBJECT}, 'can only be used with the x-amz-checksum-algorithm header'),
        ({'x-amz-checksum-algorithm': 'CRC16'}, 'Checksum algorithm provided is unsupported'),
        ({'x-amz-checksum-algorithm': 'CRC32', 'x-amz-checksum-type': 'PARTIAL'}, 'x-amz-checksum-type header is invalid'),
    ],
)
def test_uploads_that_make_no_sense(headers: dict[str, str], told: str) -> None:
    """Combinations that S3 does not support are refused when an upload is created."""
    assert told in refused('InvalidRequest', headers, by=store_checksums.upload_kind)


def test_parts_have_the_checksum_of_the_upload() -> None:
    """A part with another algorithm is refused; a missing checksum is computed for FULL_OBJECT, and refused for COMPOSITE."""
    crc32 = Checksum('CRC32', checksum_of('CRC32', b'part'))
    sha256 = Checksum('SHA256', checksum_of('SHA256', b'part'))
    arranged = store_checksums.part_checksum

    assert arranged('', '', b'part', None) is None
    assert arranged('', '', b'part', sha256) == sha256
    assert arranged('CRC32', FULL_OBJECT, b'part', crc32) == arranged('CRC32', FULL_OBJECT, b'part', None) == crc32
    message = refused('InvalidRequest', 'CRC32', FULL_OBJECT, b'part', sha256, by=arranged)
    assert message == 'Checksum Type mismatch occurred, expected checksum Type: crc32, actual checksum Type: sha256'
    message = refused('InvalidRequest', 'SHA256', COMPOSITE, b'part', None, by=arranged)
    assert message == 'Checksum Type mismatch occurred, expected checksum Type: sha256, actual checksum Type: null'


@pytest.mark.parametrize(
    ('kind', 'listed', 'code'),
    [
        (COMPOSITE, [(1, {'CRC32': 'right'})], None),
        (COMPOSITE, [(1, {'CRC32': 'wrong'})], 'InvalidPart'),
        (COMPOSITE, [(1, {})], 'InvalidRequest'),
        (COMPOSITE, [(1, {'SHA1': 'sha1'})], 'BadDigest'),
        (COMPOSITE, [(1, {'CRC32': 'right', 'SHA1': 'sha1'})], 'InvalidArgument'),
        (COMPOSITE, [(1, {'CRC32': 'no base64'})], 'InvalidArgument'),
        (COMPOSITE, [(2, {'CRC32': 'right'})], 'InvalidPartOrder'),
        (FULL_OBJECT, [(2, {'CRC32': 'right'})], None),
        (FULL_OBJECT, [(1, {})], None),
        (FULL_OBJECT, [(1, {'CRC32': 'wrong'})], 'InvalidPart'),
    ],
)
def test_lists_of_parts(kind: str, listed: list[tuple[int, dict[str, str]]], code: str | None) -> None:
    """The checksums listed in CompleteMultipartUpload must be those of the parts; the error codes are AWS's."""
    values = {'right': checksum_of('CRC32', b'part'), 'wrong': checksum_of('CRC32', b'other'), 'sha1': checksum_of('SHA1', b'')}
    part = Part(b'part', '', Checksum('CRC32', values['right']))
    wanted = [(number, {name: values.get(value, value) for name, value in given.items()}) for number, given in listed]
    arguments = ('CRC32', kind, wanted, {1: part, 2: part})

    if code is None:
        store_checksums.check_part_list(*arguments)
    else:
        refused(code, *arguments, by=store_checksums.check_part_list)


def test_aws_chunked_needs_the_trailer_that_it_announces() -> None:
    """A missing trailer that was announced is an error."""
    headers = {'content-encoding': 'aws-chunked', 'x-amz-trailer': 'x-amz-checksum-crc32'}
    store = Store()
    store.create_bucket('bucket')

    with pytest.raises(StoreError, match='MalformedTrailerError'):
        Api(store).carry_out('PutObject', Request('PUT', 'bucket', 'key', {}, headers, b'1\r\na\r\n0\r\n\r\n'))
