"""S3's XML: values from responses, and bodies of requests."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from s3po.model import CompletedPart, ListEntry
from s3po.s3 import ListedUpload, Listing, Stored, xml
from s3po.s3 import xml_requests as xmlbodies
from s3po.s3.xml import Deletion, ErrorBody, ErrorInBody, MalformedAnswer, NotDeleted
from s3po.s3.xml_characters import has_xml_form
from tests.support.store_xml import document, element, parse_delete

ENTRY = element(
    'Contents',
    [
        element('Key', 'a'),
        element('LastModified', '2026-11-21T03:05:40.000Z'),
        element('ETag', '"e"'),
        element('Size', 7),
        element('StorageClass', 'GLACIER'),
    ],
)
ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message>'
    b'<Region>eu-west-1</Region><RequestId>4442587FB7D0A2F9</RequestId></Error>'
)
SLOW_DOWN = ErrorBody(code='SlowDown', message='Reduce your rate.', region='eu-west-1', request_id='4442587FB7D0A2F9')

# --- listings


def test_listing() -> None:
    """Entries have ETags without quotes and times with a time zone; other elements are ignored."""
    body = document(
        'ListBucketResult',
        element('Prefix', 'not one of the common ones'),
        element('NextContinuationToken', 'token+%2B'),
        element('IsTruncated', True),
        ENTRY,
        element('CommonPrefixes', [element('Prefix', 'p/')]),
    )
    modified = datetime.datetime(2026, 11, 21, 3, 5, 40, tzinfo=datetime.UTC)
    entry = ListEntry(key='a', size_bytes=7, etag='e', last_modified=modified, storage_class='GLACIER')

    assert xml.listing_of(body) == Listing(entries=[entry], prefixes=['p/'], is_truncated=True, next_token='token+%2B')


def test_listing_of_little() -> None:
    """Elements that a store omits have default values."""
    body = document('ListBucketResult', element('Contents', [element('Key', 'a')]))

    assert xml.listing_of(body) == Listing(
        entries=[ListEntry(key='a', size_bytes=0)], prefixes=[], is_truncated=False, next_token=None
    )


def test_escaped_keys() -> None:
    """Keys and prefixes are URL-decoded if EncodingType is present; the token never is."""
    names = [
        element('Contents', [element('Key', 'a+b%2B%C3%A4')]),
        element('CommonPrefixes', [element('Prefix', 'p%20+/')]),
        element('NextContinuationToken', 'a+%2B'),
    ]
    escaped = xml.listing_of(document('ListBucketResult', *names, element('EncodingType', 'url')))
    plain = xml.listing_of(document('ListBucketResult', *names))

    assert (escaped.entries[0].key, escaped.prefixes, escaped.next_token) == ('a b+ä', ['p  /'], 'a+%2B')
    assert (plain.entries[0].key, plain.prefixes, plain.next_token) == ('a+b%2B%C3%A4', ['p%20+/'], 'a+%2B')


@pytest.mark.parametrize(
    ('text', 'is_truncated'), [('true', True), (' True\n', True), ('1', True), ('false', False), ('', False), ('0', False)]
)
def test_truncated(text: str, is_truncated: bool) -> None:
    """IsTruncated is recognized in different spellings."""
    body = document('ListBucketResult', element('IsTruncated', text))

    assert xml.listing_of(body).is_truncated is is_truncated


@pytest.mark.parametrize(
    'text',
    [
        '2026-11-21T03:05:40',
        '2026-11-21 03:05:40Z',
        '\n  2026-11-21T03:05:40Z ',
        'Sat, 21 Nov 2026 03:05:40 GMT',
        '1795230340',
        '1795230340.0',
    ],
)
def test_times(text: str) -> None:
    """A time may have any form that botocore reads; one without a time zone is UTC."""
    body = document('ListBucketResult', element('Contents', [element('Key', 'a'), element('LastModified', text)]))

    assert xml.listing_of(body).entries[0].last_modified == datetime.datetime(2026, 11, 21, 3, 5, 40, tzinfo=datetime.UTC)


@pytest.mark.parametrize('text', ['W/"e"', 'W/&quot;e&quot;', '<![CDATA[W/"e"]]>'])
def test_weak_etags(text: str) -> None:
    """A weak ETag is unchanged, as in headers; also where the scanner reads the entries."""
    fields = [element('Key', 'a'), element('LastModified', '2026-11-21T03:05:40Z'), f'<ETag>{text}</ETag>', element('Size', 1)]
    listed = xml.listing_of(document('ListBucketResult', element('Contents', fields)))
    parts = xml.parts_of(document('ListPartsResult', element('Part', [element('PartNumber', 1), f'<ETag>{text}</ETag>'])))

    assert listed.entries[0].etag == parts[0].etag == 'W/"e"'


@pytest.mark.parametrize(
    'told',
    [
        [element('Size', 1)],
        [element('Key', 'a'), element('Size', '')],
        [element('Key', 'a'), element('Size', 'large')],
        [element('Key', 'a'), element('Size', -1)],
        [element('Key', 'a'), element('Size', '9' * 5000)],
        [element('Key', 'a'), element('LastModified', '')],
        [element('Key', 'a'), element('LastModified', 'yesterday')],
    ],
)
def test_garbled_entries(told: list[str]) -> None:
    """An invalid entry makes the page invalid: nothing is guessed, and no key is left out."""
    with pytest.raises(MalformedAnswer):
        xml.listing_of(document('ListBucketResult', element('Contents', told)))


def test_prefix_without_text() -> None:
    """A common prefix without a Prefix element is invalid; the listing's own prefix is not used instead."""
    with pytest.raises(MalformedAnswer, match="a 'CommonPrefixes' without 'Prefix'"):
        xml.listing_of(document('ListBucketResult', element('Prefix', 'p/'), element('CommonPrefixes', [])))


# --- other responses


def test_upload_id() -> None:
    """A response without an upload id is invalid."""
    assert xml.upload_id_of(document('InitiateMultipartUploadResult', element('UploadId', 'id'))) == 'id'
    for told in ([], [element('UploadId', '')]):
        with pytest.raises(MalformedAnswer, match="without 'UploadId'"):
            xml.upload_id_of(document('InitiateMultipartUploadResult', *told))


@pytest.mark.parametrize('name', ['CopyObjectResult', 'CopyPartResult'])
def test_copies(name: str) -> None:
    """The results of CopyObject and UploadPartCopy differ in the root only; of several checksums the strongest is used."""
    body = document(name, element('ETag', '"e"'), element('ChecksumSHA1', 'x='), element('ChecksumCRC32C', 'y='))

    assert xml.copy_result_of(body) == Stored(etag='e', checksum='CRC32C:y=')


def test_completion_with_empty_etag() -> None:
    """A completion without an ETag, as Ceph's gateway sends it, is valid."""
    body = document('CompleteMultipartUploadResult', element('Key', 'a'), '<ETag></ETag>')

    assert xml.complete_result_of(body) == Stored(etag='')


def test_completion_with_another_count() -> None:
    """With another root, an ETag for another number of parts proves nothing; with S3's root it is returned."""
    etag = f'{"0" * 32}-2'
    body = f'<{{0}}><ETag>{etag}</ETag></{{0}}>'

    assert xml.complete_result_of(body.format('Other').encode(), 2).etag == etag
    assert xml.complete_result_of(body.format('Other').encode(), 3).etag == ''
    assert xml.complete_result_of(body.format('CompleteMultipartUploadResult').encode(), 3).etag == etag


def test_uploads() -> None:
    """Keys and the key marker are URL-decoded if EncodingType is present; upload ids never are."""
    told = [
        element('IsTruncated', True),
        element('NextKeyMarker', 'a+b'),
        element('NextUploadIdMarker', 'id+'),
        element('Upload', [element('Key', 'a+b'), element('UploadId', 'id+')]),
    ]
    plain = xml.uploads_of(document('ListMultipartUploadsResult', *told))
    escaped = xml.uploads_of(document('ListMultipartUploadsResult', *told, element('EncodingType', 'url')))

    assert (plain.is_truncated, plain.next_key_marker, plain.next_upload_id_marker) == (True, 'a+b', 'id+')
    assert plain.uploads == [ListedUpload(key='a+b', upload_id='id+', initiated=None)]
    assert (escaped.is_truncated, escaped.next_key_marker, escaped.next_upload_id_marker) == (True, 'a b', 'id+')
    assert escaped.uploads == [ListedUpload(key='a b', upload_id='id+', initiated=None)]


def test_last_page_of_uploads() -> None:
    """The last page has no markers."""
    page = xml.uploads_of(document('ListMultipartUploadsResult'))

    assert (page.uploads, page.is_truncated, page.next_key_marker, page.next_upload_id_marker) == ([], False, '', '')


def test_delete_failures() -> None:
    """An empty version id is None; a response without errors means that all keys were deleted."""
    failure = [element('Key', 'a'), element('VersionId', ''), element('Code', 'AccessDenied'), element('Message', 'no')]
    body = document('DeleteResult', element('Error', failure))

    assert xml.deletion_of(body).failures == [NotDeleted(key='a', version_id=None, code='AccessDenied', message='no')]
    assert xml.deletion_of(document('DeleteResult')) == Deletion(deleted=[], failures=[])


def test_deleted_keys() -> None:
    """The deleted keys of DeleteObjects are returned."""
    deleted = [
        element('Deleted', [element('Key', 'a b')]),
        element('Deleted', [element('Key', 'c'), element('VersionId', 'v')]),
    ]

    assert xml.deletion_of(document('DeleteResult', *deleted)).deleted == [('a b', None), ('c', 'v')]


FORMS = [
    (xml.upload_id_of, 'InitiateMultipartUpload', '<UploadId>id</UploadId>', 'id'),
    (xml.copy_result_of, 'CopyResult', '<ETag>"e"</ETag>', Stored(etag='e')),
    (xml.complete_result_of, 'CompleteMultipartUpload', '<ETag>"e-1"</ETag>', Stored(etag='')),
    (xml.complete_result_of, 'CompleteUpload', f'<ETag>{"0" * 32}-2</ETag>', Stored(etag=f'{"0" * 32}-2')),
    (xml.complete_result_of, 'Complete', '<Location>http://store/bucket/key</Location>', Stored(etag='')),
    (xml.parts_of, 'ListMultipartUploadResult', '<UploadId>id</UploadId>', []),
    (xml.tags_of, 'GetObjectTaggingOutput', '<TagSet/>', ''),
    (xml.deletion_of, 'DeleteObjectsOutput', '<Deleted><Key>a</Key></Deleted>', Deletion(deleted=[('a', None)], failures=[])),
]


@pytest.mark.parametrize('namespace', ['', ' xmlns="http://doc.s3.amazonaws.com/2006-03-01"', ' xmlns="urn:other"'])
@pytest.mark.parametrize(('read', 'root', 'content', 'value'), FORMS, ids=[form[1] for form in FORMS])
def test_other_roots(read: Callable[[bytes], Any], root: str, content: str, value: object, namespace: str) -> None:
    """A response is recognized by S3's elements, whatever its root and namespace; without them it is invalid."""
    assert read(f'<{root}{namespace}>{content}</{root}>'.encode()) == value
    with pytest.raises(MalformedAnswer, match=f'the response is {root!r}'):
        read(f'<{root}{namespace}/>'.encode())


def test_answers_without_a_body() -> None:
    """For responses without a body, a web page is invalid, and an error document is an error."""
    assert xml.nothing_of(b'') is xml.nothing_of(b'<PutObjectResponse/>') is None
    with pytest.raises(MalformedAnswer, match='web page'):
        xml.nothing_of(b'<html xmlns="http://www.w3.org/1999/xhtml"><body/></html>')
    with pytest.raises(ErrorInBody):
        xml.nothing_of(b'<Error><Code>SlowDown</Code></Error>')


@pytest.mark.parametrize(
    ('read', 'body'),
    [
        (xml.parts_of, document('ListPartsResult', element('Part', [element('ETag', 'e')]))),
        (xml.parts_of, document('ListPartsResult', element('Part', [element('PartNumber', 'first')]))),
        (xml.uploads_of, document('ListMultipartUploadsResult', element('Upload', [element('Key', 'a')]))),
        (xml.uploads_of, document('ListMultipartUploadsResult', element('Upload', [element('UploadId', 'a')]))),
        (xml.tags_of, document('Tagging', element('TagSet', [element('Tag', [element('Key', 'a')])]))),
    ],
)
def test_garbled_answers(read: Callable[[bytes], Any], body: bytes) -> None:
    """A response without a required element is invalid."""
    with pytest.raises(MalformedAnswer):
        read(body)


# --- errors


@pytest.mark.parametrize(
    'body',
    [
        ERROR,
        ERROR.replace(b'<Error>', b'<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'),
        b'\n' + ERROR,
        b'<ErrorResponse>%b<RequestId>4442587FB7D0A2F9</RequestId></ErrorResponse>' % ERROR.partition(b'\n')[2],
    ],
)
def test_error_forms(body: bytes) -> None:
    """An error is parsed with and without a namespace, and in the form of AWS's other services."""
    assert xml.error_of(body) == SLOW_DOWN


@pytest.mark.parametrize(
    'body',
    [
        b'',
        b'  ',
        b'Bad Gateway',
        b'<html><body>502</body></html>',
        b'<!DOCTYPE html><html/>',
        ERROR[:-1],
        b'{"Code": "x"}',
        b'\xff',
    ],
)
def test_bodies_without_values(body: bytes) -> None:
    """A body that is empty, truncated or not S3's has no values, and raises nothing."""
    assert xml.error_of(body) == ErrorBody()


# --- requests


def test_what_xml_cannot_hold() -> None:
    """XML can contain three control characters, and neither surrogates nor U+FFFE and U+FFFF."""
    controls = {chr(number) for number in range(0x20)} - set('\t\n\r')
    for character in (*controls, '\ud800', '\udfff', '\ufffe', '\uffff'):
        assert not has_xml_form(f'a{character}b')
        with pytest.raises(ValueError, match='XML cannot contain'):
            xmlbodies.delete_body([(f'a{character}b', None)])
    for character in '\t\n\r \x7f\x85\u2028\ud7ff\ue000\ufffd\U00010000\U0010ffff':
        assert has_xml_form(f'a{character}b')
        assert parse_delete(xmlbodies.delete_body([(f'a{character}b', None)])) == ([f'a{character}b'], False)


def test_delete_body() -> None:
    """Keys are escaped, including line ends; versions are sent if they are passed; the response lists all keys."""
    assert (
        xmlbodies.delete_body([('a&<>\r\n', None), ('"ä"', 'v1')])
        == (
            '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            '<Object><Key>a&amp;&lt;&gt;&#xD;&#xA;</Key></Object>'
            '<Object><Key>"ä"</Key><VersionId>v1</VersionId></Object>'
            '</Delete>'
        ).encode()
    )


def test_complete_body() -> None:
    """ETags are quoted; one that XML cannot contain is rejected."""
    assert xmlbodies.complete_body([CompletedPart(number=1, etag='e&')]) == (
        b'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b'<Part><PartNumber>1</PartNumber><ETag>"e&amp;"</ETag></Part></CompleteMultipartUpload>'
    )
    with pytest.raises(ValueError, match='XML cannot contain'):
        xmlbodies.complete_body([CompletedPart(number=1, etag='\0')])
