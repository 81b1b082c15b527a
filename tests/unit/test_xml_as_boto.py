"""S3's XML: each function returns the same values as botocore for the same bytes."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_plus

import boto3
import botocore.parsers
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from s3po.errors import ResponseError
from s3po.model import CompletedPart
from s3po.s3 import xml
from s3po.s3 import xml_requests as xmlbodies
from s3po.s3.expected import is_proof, unquoted
from s3po.s3.xml_characters import survives_xml
from s3po.transport import boto
from s3po.transport.boto_responses import deletion_of
from tests.support.store_xml import document, element, error_document, parse_complete, parse_delete, url_encoded

# Characters that XML can contain, and characters that keys can contain, which are more.
xml_text = st.text(
    st.one_of(
        st.sampled_from('&<>"\'+% \t\n\r/=~]'),
        st.characters(exclude_categories=['Cs', 'Cc'], exclude_characters='\ufffe\uffff'),
    )
)
any_text = st.text(st.one_of(st.sampled_from('&<>"\'+% \t\n\r\x01/=~]'), st.characters(exclude_categories=['Cs'])), min_size=1)
times = st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2200, 1, 1)).flatmap(  # noqa: DTZ001 - the zone is text
    lambda moment: st.sampled_from(
        [
            moment.isoformat(timespec='milliseconds') + 'Z',
            moment.isoformat(timespec='seconds') + 'Z',
            moment.isoformat(timespec='microseconds') + '+02:00',
            moment.isoformat(timespec='microseconds') + '789Z',
        ]
    )
)
checksums = st.dictionaries(
    st.sampled_from(['CRC64NVME', 'CRC32C', 'CRC32', 'SHA256', 'SHA1', 'MD5']), st.sampled_from(['AAAAAA==', 'x-2', ''])
)


def some(**elements: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """Any of these elements, in any order."""
    pairs = [st.tuples(st.just(name), content) for name, content in elements.items()]
    return (
        st.tuples(*[st.one_of(st.none(), pair) for pair in pairs])
        .map(lambda found: [element(*pair) for pair in found if pair is not None])
        .flatmap(st.permutations)
        .map(''.join)
    )


def wrapped(name: str, *content: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """An element with other elements in it."""
    return st.tuples(*content).map(lambda found: f'<{name}>{"".join(found)}</{name}>')


@st.composite
def listings(draw: st.DrawFn) -> bytes:
    """Responses to ListObjectsV2: with keys that are URL-encoded, not encoded, or wrongly encoded."""
    is_escaped = draw(st.booleans())
    names = st.one_of(any_text.map(url_encoded), xml_text) if is_escaped else xml_text
    key = names.map(lambda text: element('Key', text))
    known = some(
        LastModified=times,
        ETag=xml_text.map(lambda text: f'"{text}"'),
        Size=st.integers(0, 2**50),
        StorageClass=xml_text,
        Owner=st.just([element('ID', 'x'), element('Key', 'no key')]),
        ChecksumAlgorithm=st.just('CRC32'),
    )
    prefix = names.map(lambda text: element('Prefix', text))
    content = [
        *draw(st.lists(wrapped('Contents', key, known), max_size=4)),
        *draw(st.lists(wrapped('CommonPrefixes', prefix), max_size=2)),
        draw(some(IsTruncated=st.booleans(), NextContinuationToken=xml_text, Prefix=names, Name=xml_text)),
        element('EncodingType', 'url') if is_escaped else '',
    ]
    return document('ListBucketResult', *draw(st.permutations(content)))


def summed(sums: dict[str, str]) -> list[str]:
    return [element(f'Checksum{name}', value) for name, value in sums.items()]


class Answered:
    """boto3's client with a scripted response: the reference, from the request to the value."""

    def __init__(self) -> None:
        self.answer = b''
        self.request: Any = None
        client = boto3.client(
            's3',
            region_name='us-east-1',
            endpoint_url='http://127.0.0.1:9',
            aws_access_key_id='key',
            aws_secret_access_key='secret',
            config=Config(retries={'total_max_attempts': 1}),
        )
        client.meta.events.register('before-send.s3', self._send)
        self._transport = boto.BotoTransport(client)

    def to(self, answer: bytes) -> boto.BotoTransport:
        """The reference transport, with this response."""
        self.answer = answer
        return self._transport

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        self.request = request
        return AWSResponse(request.url, 200, {}, Raw(self.answer))


class Raw(io.BytesIO):
    """A body as urllib3 returns it."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


@pytest.fixture(scope='module')
def answered() -> Answered:
    return Answered()


@given(body=listings())
def test_listings_as_boto(answered: Answered, body: bytes) -> None:
    """A page is parsed to the same value as by boto."""
    assert xml.listing_of(body) == answered.to(body).list_objects_v2('bucket', extra={})


@given(text=st.text(st.sampled_from('%+0123456789abcdefABCDEF zé€')))
def test_unescaping_as_urllib(text: str) -> None:
    """Invalid and truncated escapes, and text between them, are decoded as by boto."""
    body = document('ListBucketResult', element('EncodingType', 'url'), element('Contents', [element('Key', text)]))

    assert xml.listing_of(body).entries[0].key == unquote_plus(text)


@given(parts=st.lists(st.tuples(st.integers(1, 10_000), xml_text, checksums), max_size=4))
def test_parts_as_boto(answered: Answered, parts: list[tuple[int, str, dict[str, str]]]) -> None:
    """A page of parts is parsed to the same value as by boto."""
    written = [
        element('Part', [element('PartNumber', number), element('ETag', etag), *summed(sums)]) for number, etag, sums in parts
    ]
    body = document('ListPartsResult', element('PartNumberMarker', 0), *written)

    assert xml.parts_of(body) == answered.to(body).list_parts('bucket', 'key', upload_id='id', extra={})


@given(
    uploads=st.lists(
        wrapped(
            'Upload',
            st.builds(element, st.just('Key'), xml_text),
            st.builds(element, st.just('UploadId'), xml_text),
            some(Initiated=times, Initiator=st.just([element('ID', 'x')])),
        ),
        max_size=3,
    )
)
def test_uploads_as_boto(answered: Answered, uploads: list[str]) -> None:
    """A page of uploads is parsed to the same value as by boto, which never requests encoded keys."""
    body = document('ListMultipartUploadsResult', element('IsTruncated', False), *uploads)

    assert xml.uploads_of(body).uploads == answered.to(body).list_multipart_uploads('bucket', extra={})


@given(
    deleted=st.lists(some(Key=xml_text, VersionId=xml_text.filter(bool)).filter(lambda each: '<Key>' in each), max_size=3),
    failures=st.lists(some(Key=xml_text, VersionId=xml_text.filter(bool), Code=xml_text, Message=xml_text), max_size=3),
)
def test_deletions_as_boto(answered: Answered, deleted: list[str], failures: list[str]) -> None:
    """Deleted keys and failures equal boto's for the same bytes."""
    content = [f'<Deleted>{each}</Deleted>' for each in deleted] + [f'<Error>{each}</Error>' for each in failures]
    body = document('DeleteResult', *content)
    transport = answered.to(body)
    said = transport.client.delete_objects(Bucket='bucket', Delete={'Objects': [{'Key': 'a'}]})

    assert xml.deletion_of(body) == deletion_of(said)


@given(etag=xml_text.filter(lambda text: is_proof(unquoted(text))), sums=checksums)
def test_results_as_boto(answered: Answered, etag: str, sums: dict[str, str]) -> None:
    """The result of a copy or a completion equals boto's for the same bytes."""
    copied, completed = (
        document(name, element('ETag', etag), *summed(sums)) for name in ('CopyObjectResult', 'CompleteMultipartUploadResult')
    )

    assert xml.copy_result_of(copied) == answered.to(copied).copy_object(
        ('bucket', 'a', None), 'bucket', 'b', if_match='e', headers={}, extra={}
    )
    assert xml.complete_result_of(completed) == answered.to(completed).complete_multipart_upload(
        'bucket', 'b', [CompletedPart(number=1, etag='e')], upload_id='id', headers={}, extra={}
    )


@given(tags=st.lists(st.tuples(xml_text, xml_text), max_size=3))
def test_tags_as_boto(answered: Answered, tags: list[tuple[str, str]]) -> None:
    """Tags equal the query string of the boto transport."""
    written = [element('Tag', [element('Key', key), element('Value', value)]) for key, value in tags]
    body = document('Tagging', element('TagSet', written))

    assert xml.tags_of(body) == answered.to(body).get_object_tagging('bucket', 'key', extra={})


@given(told=some(Code=xml_text, Message=xml_text, Region=xml_text, Resource=xml_text, Details=st.just([element('Code', 'x')])))
def test_errors_as_boto(told: str) -> None:
    """An error equals botocore's for the same bytes, except that '' replaces missing values."""
    body = f'<Error>{told}</Error>'.encode()
    parsed = botocore.parsers.create_parser('rest-xml').parse({'body': body, 'headers': {}, 'status_code': 400}, None)
    theirs = {name: parsed['Error'].get(name) or '' for name in ('Code', 'Message', 'Region')}
    said = xml.error_of(body)

    assert {'Code': said.code, 'Message': said.message, 'Region': said.region} == theirs


@given(keys=st.lists(st.tuples(any_text, st.one_of(st.none(), xml_text.filter(bool))), min_size=1, max_size=4))
def test_delete_bodies_as_boto(answered: Answered, keys: list[tuple[str, str | None]]) -> None:
    """The body equals botocore's, byte for byte, and a store parses the original keys from it, also with line ends."""
    keys = [each for each in dict.fromkeys(keys) if all(survives_xml(text or '') for text in each)] or [('a\n\tb', None)]
    body = xmlbodies.delete_body(keys)
    answered.to(document('DeleteResult')).delete_objects('bucket', keys, extra={})

    assert body == answered.request.body
    assert parse_delete(body) == ([key for key, _ in keys], False)


@given(parts=st.lists(st.builds(CompletedPart, number=st.integers(1, 10_000), etag=st.text('abc<&>0-')), min_size=1))
def test_complete_bodies_as_boto(answered: Answered, parts: list[CompletedPart]) -> None:
    """The body equals botocore's, byte for byte."""
    body = xmlbodies.complete_body(parts)
    transport = answered.to(document('CompleteMultipartUploadResult', element('ETag', 'e')))
    transport.complete_multipart_upload('bucket', 'key', parts, upload_id='id', headers={}, extra={})

    assert body == answered.request.body
    assert [(number, etag) for number, etag, _ in parse_complete(body)] == [(part.number, part.etag) for part in parts]


def test_errors_in_bodies_as_boto(answered: Answered) -> None:
    """An error document with status 200 is an error for the reference, too."""
    body = error_document('SlowDown', 'Reduce your rate.', '/bucket', 'id')

    with pytest.raises(ResponseError) as caught:
        answered.to(body).list_parts('bucket', 'key', upload_id='id', extra={})
    with pytest.raises(xml.ErrorInBody) as found:
        xml.parts_of(body)
    assert found.value.error.code == caught.value.code == 'SlowDown'
