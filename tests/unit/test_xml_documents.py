"""S3's XML: only the complete, expected document is accepted; everything else is one kind of error."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3po.s3 import Stored, xml
from s3po.s3.xml import ErrorBody, ErrorInBody, MalformedAnswer
from tests.support.store_xml import document, element, error_document

ENTRY = element('Contents', [element('Key', 'a'), element('LastModified', '2026-11-21T03:05:40.000Z'), element('Size', 7)])
EXAMPLES: dict[Callable[[bytes], Any], bytes] = {
    xml.listing_of: document('ListBucketResult', element('IsTruncated', False), ENTRY),
    xml.upload_id_of: document('InitiateMultipartUploadResult', element('UploadId', 'id')),
    xml.copy_result_of: document('CopyObjectResult', element('ETag', '"e"')),
    xml.complete_result_of: document('CompleteMultipartUploadResult', element('ETag', '"e-2"')),
    xml.parts_of: document('ListPartsResult', element('Part', [element('PartNumber', 1), element('ETag', '"e"')])),
    xml.uploads_of: document('ListMultipartUploadsResult', element('Upload', [element('Key', 'a'), element('UploadId', 'id')])),
    xml.tags_of: document('Tagging', element('TagSet', [element('Tag', [element('Key', 'a'), element('Value', '1')])])),
    xml.deletion_of: document('DeleteResult', element('Error', [element('Key', 'a'), element('Code', 'AccessDenied')])),
}
READERS = list(EXAMPLES)
ERROR = error_document('SlowDown', 'Reduce your rate.', '/bucket', 'id')
SLOW_DOWN = ErrorBody(code='SlowDown', message='Reduce your rate.', request_id='id')


@pytest.mark.parametrize('body', [b'', b'  \r\n\t', b'<?xml version="1.0"?>', b'\0'])
@pytest.mark.parametrize('read', READERS)
def test_empty_bodies(read: Callable[[bytes], Any], body: bytes) -> None:
    """A response without a document is an error."""
    with pytest.raises(MalformedAnswer):
        read(body)


@pytest.mark.parametrize('before', [b'', b'\n  \t\r\n'])
@pytest.mark.parametrize('read', READERS)
def test_errors_in_bodies(read: Callable[[bytes], Any], before: bytes) -> None:
    """An error document is an error with every status, also after the blanks that keep the connection alive."""
    with pytest.raises(ErrorInBody) as caught:
        read(before + ERROR)

    assert caught.value.error == SLOW_DOWN
    assert pickle.loads(pickle.dumps(caught.value)).error == SLOW_DOWN


def test_white_space_before_and_within() -> None:
    """White space may precede the document, and may follow its declaration."""
    declaration, newline, root = EXAMPLES[xml.complete_result_of].partition(b'\n')

    assert xml.complete_result_of(b' \n ' + declaration + newline + b'   \n' + root + b'\n') == Stored(etag='e-2')


@pytest.mark.parametrize('read', READERS)
def test_cut_bodies(read: Callable[[bytes], Any]) -> None:
    """A truncated body is an error, wherever it is cut."""
    body = EXAMPLES[read]
    read(body)

    for size in range(len(body)):
        with pytest.raises(MalformedAnswer):
            read(body[:size])


@pytest.mark.parametrize(
    'body',
    [
        b'<html><head><title>Sign in</title></head><body/></html>',
        b'<!DOCTYPE html><html><body>Sign in</body></html>',
        b'<a/><b/>',
        b'<ListBucketResultx/>',
        b'<Result><ListBucketResult/></Result>',
        b'{}',
        b'OK',
    ],
)
@pytest.mark.parametrize('read', READERS)
def test_other_documents(read: Callable[[bytes], Any], body: bytes) -> None:
    """A web page with status 200 is an error, and not an empty result."""
    with pytest.raises(MalformedAnswer):
        read(body)


def test_other_answers() -> None:
    """The document of one request is an error for another one."""
    for read in READERS:
        for other, body in EXAMPLES.items():
            if read is not other:
                with pytest.raises(MalformedAnswer, match='the response is .*, not'):
                    read(body)


@given(body=st.binary())
def test_random_bytes(body: bytes) -> None:
    """Random bytes are an error, and contain no error document."""
    for read in READERS:
        with pytest.raises(MalformedAnswer):
            read(body)
    assert xml.error_of(body) == ErrorBody()


@given(
    data=st.data(),
    junk=st.one_of(st.binary(max_size=4), st.sampled_from([b'<', b'</', b'&#0;', b'<!--', b'<![CDATA[', b'-->'])),
)
def test_damaged_bytes(data: st.DataObject, junk: bytes) -> None:
    """A damaged response is an error or a valid response; nothing else is raised."""
    read = data.draw(st.sampled_from(READERS))
    body = EXAMPLES[read]
    start = data.draw(st.integers(0, len(body)))
    stop = data.draw(st.integers(start, min(start + 4, len(body))))

    with suppress(MalformedAnswer):
        read(body[:start] + junk + body[stop:])


DOCTYPES = {
    'laughs': '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>',
    'external': '<!DOCTYPE x [<!ENTITY c SYSTEM "file:///etc/passwd">]>',
    'parameter': '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x.dtd"> %p;]>',
    'attributes': '<!DOCTYPE x [<!ATTLIST Key a CDATA "b">]>',
    'subset': '<!DOCTYPE x SYSTEM "x.dtd">',
    'bare': '<!DOCTYPE x>',
    'garbage': '<!DOCTYPE x [ & ]>',
}


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
@pytest.mark.parametrize('doctype', DOCTYPES.values(), ids=DOCTYPES.keys())
def test_doctypes(doctype: str, encoding: str) -> None:
    """A DOCTYPE is rejected before anything in it is declared, expanded or fetched."""
    entities = '<ListBucketResult><Contents><Key>&c;</Key></Contents></ListBucketResult>'

    with pytest.raises(MalformedAnswer, match='it has a DOCTYPE'):
        xml.listing_of((doctype + entities).encode(encoding))


def test_undeclared_entities() -> None:
    """XML's own five entities are known, and no other."""
    known = b'<ListBucketResult><Contents><Key>&amp;&lt;&gt;&quot;&apos;&#228;</Key></Contents></ListBucketResult>'

    assert xml.listing_of(known).entries[0].key == '&<>"\'ä'
    with pytest.raises(MalformedAnswer, match='undefined entity'):
        xml.listing_of(known.replace(b'&amp;', b'&eacute;'))


def test_limits() -> None:
    """Size and number of tags are limited; deep nesting needs no stack."""
    long = b'<ListBucketResult>' + b' ' * xml.MAX_XML_BYTES + b'</ListBucketResult>'
    deep = b'<ListBucketResult>' + b'<a>' * 90_000 + b'</a>' * 90_000 + b'</ListBucketResult>'

    assert not xml.listing_of(deep).entries
    for body in (long, b'<a>' * (xml.MAX_TAGS + 1)):
        with pytest.raises(MalformedAnswer, match='too long'):
            xml.listing_of(body)


@pytest.mark.parametrize(
    ('opening', 'closing'),
    [
        ('<{0}>', '</{0}>'),
        ('<{0} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">', '</{0}>'),
        ('<s3:{0} xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/">', '</s3:{0}>'),
    ],
)
def test_namespaces(opening: str, closing: str) -> None:
    """Elements are recognized by their names without a namespace."""

    def tagged(name: str, content: str) -> str:
        return opening.format(name) + content + closing.format(name)

    body = tagged('ListBucketResult', tagged('Contents', tagged('Key', 'a')))

    assert [entry.key for entry in xml.listing_of(body.encode()).entries] == ['a']


@pytest.mark.parametrize('encoding', ['utf-8', 'iso-8859-1', 'utf-16', 'koi8-r'])
def test_encodings(encoding: str) -> None:
    """A document is decoded with its declared encoding."""
    key = 'я' if encoding == 'koi8-r' else 'ä'
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><ListBucketResult><Contents><Key>{key}</Key></Contents></ListBucketResult>'
    )

    assert xml.listing_of(text.encode(encoding)).entries[0].key == key


@pytest.mark.parametrize(
    'encoding', ['none-such', 'hex', 'idna', 'undefined', 'shift_jis', 'utf-7', 'cp037', 'utf-16', 'punycode']
)
def test_encodings_that_cannot_be(encoding: str) -> None:
    """An encoding that Python does not know, or that does not fit the document, is an error."""
    with pytest.raises(MalformedAnswer):
        xml.listing_of(f'<?xml version="1.0" encoding="{encoding}"?><ListBucketResult/>'.encode())


def test_text_in_pieces() -> None:
    """Text is returned completely, whatever it contains and however long it is."""
    key = '&amp;<!-- no -->b<![CDATA[<c>]]>&#13;' + 'd' * 100_000
    body = f'<ListBucketResult><Contents>\n  <Key>{key}</Key>\n</Contents></ListBucketResult>'.encode()

    assert xml.listing_of(body).entries[0].key == '&b<c>\r' + 'd' * 100_000
