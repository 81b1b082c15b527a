"""The store imitates other stores: one that ignores checksums, rejects them, or accepts any."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import pytest

from tests.support.servers import Store
from tests.support.store_checksums import checksum_of
from tests.support.store_client import Raw

BODY = b'123456789'
RIGHT = {'x-amz-checksum-crc32': checksum_of('CRC32', BODY)}
WRONG = {'x-amz-checksum-crc32': checksum_of('CRC32', b'other')}
ASKED = {'x-amz-checksum-mode': 'ENABLED'}
MESSAGE = 'A header you provided implies functionality that is not implemented'


@pytest.fixture
def raw(store: Store) -> Iterator[Raw]:
    with Raw(store) as made:
        made('PUT', '/bucket')
        yield made


def checksums_in(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if 'checksum' in name}


def upload(raw: Raw, whole: dict[str, str], part: dict[str, str]) -> tuple[dict[str, str], dict[str, str], str]:
    """Carry out an upload of one part. Returns the checksum headers of the responses, and the last document."""
    kind = {'x-amz-checksum-algorithm': 'CRC32', 'x-amz-checksum-type': 'FULL_OBJECT'}
    begun = raw('POST', '/bucket/key?uploads', headers=kind)
    upload_id = begun.text('UploadId')
    sent = raw('PUT', f'/bucket/key?uploadId={upload_id}&partNumber=1', BODY, part)
    listed = f'<Part><PartNumber>1</PartNumber><ETag>{sent.headers["etag"]}</ETag></Part>'
    document = f'<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>'.encode()
    done = raw('POST', f'/bucket/key?uploadId={upload_id}', document, whole)
    assert done.status == 200
    return checksums_in(begun.headers), checksums_in(sent.headers), done.body.decode()


def test_a_store_that_ignores_checksums(store: Store, raw: Raw) -> None:
    """Wrong and invalid checksums are ignored, and not returned; a wrong Content-MD5 is still refused."""
    store.mode(checksums='ignore')

    for headers in (RIGHT, WRONG, {'x-amz-checksum-crc32': 'shrt'}, {'x-amz-sdk-checksum-algorithm': 'CRC32'}):
        answer = raw('PUT', '/bucket/key', BODY, headers)
        assert (answer.status, checksums_in(answer.headers)) == (200, {})
    assert checksums_in(raw('GET', '/bucket/key', headers=ASKED).headers) == {}
    begun, sent, done = upload(raw, WRONG, WRONG)
    assert (begun, sent, 'Checksum' in done) == ({}, {}, False)
    assert raw('PUT', '/bucket/key', BODY, {'Content-MD5': 'AAAAAAAAAAAAAAAAAAAAAA=='}).text('Code') == 'BadDigest'


def test_a_store_that_refuses_checksums(store: Store, raw: Raw) -> None:
    """A request with a checksum or an algorithm is refused with 501 and stores nothing; other requests are served."""
    store.mode(checksums='refuse')

    for headers in (
        RIGHT,
        {'x-amz-sdk-checksum-algorithm': 'CRC32'},
        {'x-amz-checksum-algorithm': 'CRC32'},
        {'x-amz-trailer': 'x-amz-checksum-crc32'},
    ):
        answer = raw('PUT', '/bucket/key', BODY, headers)
        assert (answer.status, answer.text('Code'), answer.text('Message')) == (501, 'NotImplemented', MESSAGE)
        assert raw('POST', '/bucket/key?uploads', headers=headers).status == 501
    assert raw('HEAD', '/bucket/key').status == 404
    assert raw('PUT', '/bucket/key', BODY).status == 200
    got = raw('GET', '/bucket/key', headers=ASKED)
    assert (got.status, got.body, checksums_in(got.headers)) == (200, BODY, {})


def test_checksums_returned_unverified(store: Store, raw: Raw) -> None:
    """The checksum that was sent is returned, right or wrong."""
    store.mode(checksums='blind')

    for given in (WRONG, RIGHT):
        answer = raw('PUT', '/bucket/key', BODY, given)
        assert (answer.status, checksums_in(answer.headers)) == (200, {**given, 'x-amz-checksum-type': 'FULL_OBJECT'})
        assert checksums_in(raw('HEAD', '/bucket/key', headers=ASKED).headers).items() >= given.items()
    begun, sent, done = upload(raw, WRONG, WRONG)
    assert begun == {'x-amz-checksum-algorithm': 'CRC32', 'x-amz-checksum-type': 'FULL_OBJECT'}
    assert sent == WRONG
    assert f'<ChecksumCRC32>{WRONG["x-amz-checksum-crc32"]}</ChecksumCRC32>' in done
    raw('PUT', '/bucket/copy', headers={'x-amz-copy-source': '/bucket/key'})
    assert checksums_in(raw('HEAD', '/bucket/copy', headers=ASKED).headers).items() >= WRONG.items()


def test_a_store_that_adds_checksums(store: Store, raw: Raw) -> None:
    """As on S3, an object, a copy or an upload without a checksum gets a CRC64NVME."""
    store.mode(default_checksum='crc64nvme')
    expected = {'x-amz-checksum-crc64nvme': checksum_of('CRC64NVME', BODY), 'x-amz-checksum-type': 'FULL_OBJECT'}

    assert checksums_in(raw('PUT', '/bucket/key', BODY).headers) == expected
    raw('PUT', '/bucket/copy', headers={'x-amz-copy-source': '/bucket/key'})
    upload_id = raw('POST', '/bucket/parts?uploads').text('UploadId')
    part = raw('PUT', f'/bucket/parts?uploadId={upload_id}&partNumber=1', BODY, RIGHT)
    listed = f'<Part><PartNumber>1</PartNumber><ETag>{part.headers["etag"]}</ETag></Part>'
    document = f'<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>'.encode()
    raw('POST', f'/bucket/parts?uploadId={upload_id}', document)

    for key in ('key', 'copy', 'parts'):
        assert checksums_in(raw('HEAD', f'/bucket/{key}', headers=ASKED).headers) == expected
    assert checksums_in(raw('PUT', '/bucket/key', BODY, RIGHT).headers).items() >= RIGHT.items()


def test_etags_that_are_no_md5(store: Store, raw: Raw) -> None:
    """Opaque ETags look like an MD5, are new for each write, and are the same in all responses."""
    store.mode(etags='opaque')

    first, second = (raw('PUT', '/bucket/key', BODY).headers['etag'] for _ in range(2))
    assert re.fullmatch('"[0-9a-f]{32}"', second)
    assert len({first, second, f'"{hashlib.md5(BODY).hexdigest()}"'}) == 3
    assert raw('HEAD', '/bucket/key').headers['etag'] == second
    assert raw('GET', '/bucket/key', headers={'if-match': second}).status == 200
    copied = raw('PUT', '/bucket/copy', headers={'x-amz-copy-source': '/bucket/key'}).text('ETag')
    assert raw('HEAD', '/bucket/copy').headers['etag'] == copied != second
    upload_id = raw('POST', '/bucket/key?uploads').text('UploadId')
    part = raw('PUT', f'/bucket/key?uploadId={upload_id}&partNumber=1', BODY).headers['etag']
    document = f'<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{part}</ETag></Part></CompleteMultipartUpload>'
    assert raw('POST', f'/bucket/key?uploadId={upload_id}', document.encode()).status == 200
    whole = raw('HEAD', '/bucket/key').headers['etag']
    assert re.fullmatch('"[0-9a-f]{32}-1"', whole)
    assert whole != f'"{hashlib.md5(bytes.fromhex(part.strip(chr(34)))).hexdigest()}-1"'


def test_modes_end_with_a_reset(store: Store, raw: Raw) -> None:
    """Settings that are not passed are unchanged; a reset restores the defaults."""
    store.mode(checksums='ignore')
    store.mode(etags='opaque')
    ignored = raw('PUT', '/bucket/key', BODY, WRONG)
    store.reset()
    raw('PUT', '/bucket')

    assert ignored.status == 200
    assert ignored.headers['etag'] != f'"{hashlib.md5(BODY).hexdigest()}"'
    assert raw('PUT', '/bucket/key', BODY, WRONG).text('Code') == 'BadDigest'
    assert raw('PUT', '/bucket/key', BODY).headers['etag'] == f'"{hashlib.md5(BODY).hexdigest()}"'


@pytest.mark.parametrize('fields', [{'checksum': 'verify'}, {'checksums': 'sometimes'}, {'etags': ''}])
def test_misspelt_modes_are_refused(store: Store, fields: dict[str, str]) -> None:
    """An unknown mode is an error, and changes nothing."""
    with pytest.raises(ValueError, match='a mode has no|cannot be'):
        store.mode(**fields)
