"""The scanner of listings returns the same as expat, for pages of stores and for all others."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s3po.s3 import xml_listings
from s3po.s3.listing_scanner import scan
from s3po.s3.xml_listings import listing_of, parsed_listing_of
from s3po.s3.xml_trees import MAX_TAGS, MalformedAnswer
from tests.fuzz.listings import FRAGMENTS, PAGES, check
from tests.support.store_xml import document, element
from tests.unit.test_xml_as_boto import listings

TAGS = re.compile(r'(<[^>]*>)')
MANY = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def changed_pages(draw: st.DrawFn) -> bytes:
    """Pages of stores with tags and texts replaced, removed, repeated or exchanged, or with damaged bytes."""
    pieces = TAGS.split(draw(st.sampled_from(list(PAGES.values()))))
    fragment = st.one_of(st.sampled_from(FRAGMENTS), st.sampled_from(pieces))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(pieces) - 1))
        stop = draw(st.integers(start, min(start + 24, len(pieces))))
        match draw(st.integers(0, 4)):
            case 0:
                pieces[start:start] = [draw(fragment)]
            case 1:
                pieces[start] = draw(fragment)
            case 2:
                pieces[start:stop] = []
            case 3:
                pieces[stop:stop] = pieces[start:stop]
            case 4:
                # Text around some elements: a comment, CDATA, an element, an attribute.
                pieces[stop:stop] = [draw(fragment)]
                pieces[start:start] = [draw(fragment)]
        pieces = pieces or ['']
    page = ''.join(pieces).encode(errors='surrogatepass')
    if draw(st.integers(0, 3)) == 0:
        where = draw(st.integers(0, len(page)))
        page = page[:where] + draw(st.binary(max_size=2)) + page[where + draw(st.integers(0, 2)) :]
    return page[: draw(st.integers(0, len(page)))] if draw(st.integers(0, 9)) == 0 else page


@MANY
@given(page=changed_pages())
def test_changed_pages(page: bytes) -> None:
    """A page that no store sends is read like expat reads it, or rejected with the same error."""
    check(page)


@given(page=listings())
def test_generated_pages(page: bytes) -> None:
    """Pages with any keys, escaped or not, and with elements in any order are read like expat reads them."""
    check(page)


@pytest.mark.parametrize('store', PAGES)
def test_pages_of_stores(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages of these stores are read without falling back to expat."""
    page = PAGES[store].encode()
    expected = parsed_listing_of(page)
    monkeypatch.setattr(xml_listings, 'parsed_listing_of', None)

    assert listing_of(page) == expected
    assert listing_of(page).entries


@pytest.mark.parametrize('store', PAGES)
def test_cut_pages(store: str) -> None:
    """A truncated page is rejected, wherever it is cut."""
    page = PAGES[store].encode()

    for size in range(len(page)):
        check(page[:size])


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        ('<!--', '-->'),
        ('<![CDATA[', ']]>'),
        ('<Owner>', '</Owner>'),
        ('<?a ', '?>'),
        ('<a b="', '"/>'),
        ('<Contents><Key>k</Key>', '</Contents>'),
        ('<Contents/><!--', '-->'),
        ('<ScannedContents/><!--', '-->'),
    ],
)
def test_hidden_entries(before: str, after: str) -> None:
    """Entries in a comment, CDATA, an attribute or another element are ignored."""
    entry = '<Contents><Key>a</Key><LastModified>2026-11-21T03:05:40.000Z</LastModified><ETag>e</ETag><Size>1</Size></Contents>'
    page = document('ListBucketResult', element('IsTruncated', False), before, entry, after)

    check(page)


@pytest.mark.parametrize('encoding', ['latin-1', 'cp864', 'us-ascii', 'utf-16', 'nonsense'])
@pytest.mark.parametrize('store', ['AWS', 'Ceph'])
def test_other_encodings(store: str, encoding: str) -> None:
    """A page is decoded with its declared encoding, also if its bytes are valid UTF-8 ('%' is another character in cp864)."""
    check(PAGES[store].replace('UTF-8', encoding).encode())


@pytest.mark.parametrize(
    'character', ['\x00', '\x1f', '\ud800', '\ufffe', '\uffff', '\U0001fffe', '\r', '\r\n', '\t', '>', '&']
)
@pytest.mark.parametrize('text', ['d', 'f', 'GLACIER', 'CRC64NVME', 'FULL', 'x'])
def test_special_characters(text: str, character: str) -> None:
    """Characters that XML rejects or changes are handled like expat handles them, in each element of an entry."""
    check(PAGES['AWS'].replace(f'>{text}', f'>{text}{character}').encode(errors='surrogatepass'))


def test_too_long_pages() -> None:
    """A page with too many tags is rejected, also if all of them are known entries."""
    entry = PAGES['GCS'][PAGES['GCS'].index('<Contents>') : PAGES['GCS'].index('</ListBucketResult>')]
    page = document('ListBucketResult', entry * (MAX_TAGS // entry.count('<') + 1))

    with pytest.raises(MalformedAnswer, match='too long'):
        listing_of(page)


def test_hostile_pages() -> None:
    """The scanner needs time in proportion to the size of the page, also if nothing matches."""
    begun = '<Contents><Key>k</Key>'
    pieces = [begun, begun + ' ' * 20, begun + '<Type>t</Type>' * 9, '<Contents>', '<Contents>' + ' ' * 1000, begun[:-6] * 9]
    for piece in pieces:
        page = f'<ListBucketResult>{piece * (1_000_000 // len(piece))}'.encode()
        began = time.process_time()

        assert scan(page) is None
        assert time.process_time() - began < 2
