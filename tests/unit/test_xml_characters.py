"""Documents with characters that XML does not allow can be parsed, and are otherwise unchanged."""

from __future__ import annotations

import pytest

from s3po.s3 import xml
from s3po.s3.xml_characters import root_of, without_odd_characters


@pytest.mark.parametrize(
    'written', ['&#1;', '&#x1;', '&#X1F;'.lower(), '&#0;', '&#xFFFE;', '&#xD800;', '\x01', '\ufffe', '&#9999999;']
)
def test_odd_characters(written: str) -> None:
    """The other elements of a response that repeats such a key are parsed."""
    key = f'a{written}b'
    created = f'<InitiateMultipartUploadResult><Key>{key}</Key><UploadId>id</UploadId></InitiateMultipartUploadResult>'
    completed = f'<CompleteMultipartUploadResult><Key>{key}</Key><ETag>"e-2"</ETag></CompleteMultipartUploadResult>'
    refused = f'<Error><Code>SlowDown</Code><Key>{key}</Key></Error>'

    assert xml.upload_id_of(created.encode()) == 'id'
    assert xml.complete_result_of(completed.encode()).etag == 'e-2'
    assert xml.error_of(refused.encode()).code == 'SlowDown'
    assert without_odd_characters(key.encode()).decode() == 'a\ufffdb'


@pytest.mark.parametrize('text', ['a&#10;b', 'a&#xd;b&#x9;', 'a\tb\r\n', '&amp;#1;', 'é\U0001f600\ufffd', '&#x1F600;', '&#;'])
def test_other_characters(text: str) -> None:
    """Characters that XML allows are unchanged."""
    assert without_odd_characters(text.encode()) == text.encode()


def test_listings_keep_their_keys() -> None:
    """In a listing the character is part of a key, so the page is rejected: a changed key would be another one."""
    listing = b'<ListBucketResult><Contents><Key>a&#1;b</Key></Contents></ListBucketResult>'
    with pytest.raises(xml.MalformedAnswer):
        xml.listing_of(listing)


@pytest.mark.parametrize(
    ('document', 'root'),
    [
        (b'<?xml version="1.0"?>\n<ListBucketResult xmlns="x">', 'ListBucketResult'),
        (b'<!-- c --><s3:ListBucketResult/>', 'ListBucketResult'),
        (b'<!DOCTYPE html><html>', ''),
        (b'', ''),
        (b'text', ''),
    ],
)
def test_root(document: bytes, root: str) -> None:
    """The name of the root element, whatever precedes it."""
    assert root_of(document) == root
