"""Reads ListObjectsV2's pages: by the scanner if they have the usual form, else by expat alone. The result is the same."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from s3po.model import ListEntry
from s3po.s3 import xml_trees as trees
from s3po.s3.listing_scanner import MARK, scan
from s3po.s3.protocol import Listing

__all__ = ['listing_of', 'parsed_listing_of']


def listing_of(body: bytes) -> Listing:
    """A page of a listing. Keys and prefixes are unescaped if the page says that they are escaped.

    Raises:
        MalformedAnswer: It is another document, or an entry cannot be read.
        ErrorInBody: It is an error's document.
    """
    return _scanned_listing_of(body) or parsed_listing_of(body)


def parsed_listing_of(body: bytes) -> Listing:
    """listing_of() without the scanner."""
    root = trees.document_of(body, 'ListObjectsV2')
    is_escaped = _is_escaped(root)
    return _listing(root, [_entry(item, is_escaped=is_escaped) for item in root.findall('Contents')])


def _scanned_listing_of(body: bytes) -> Listing | None:
    """listing_of() by the scanner; None if the page needs expat."""
    try:
        trees.check_bounds(body)
        page = scan(body)
        if page is None:
            return None
        root = trees.document_of(page.rest, 'ListObjectsV2')
        if root.find('Contents') is not None or root.find(MARK) is None:
            return None
        return _listing(root, page.entries(is_escaped=_is_escaped(root)))
    except (ValueError, trees.ErrorInBody):
        # MalformedAnswer is a ValueError.
        return None


def _listing(root: Element, entries: Sequence[ListEntry]) -> Listing:
    is_escaped = _is_escaped(root)
    return Listing(
        entries=entries,
        prefixes=[trees.name_in(item, 'Prefix', is_escaped=is_escaped) for item in root.findall('CommonPrefixes')],
        is_truncated=trees.has_more(root, 'NextContinuationToken'),
        next_token=root.findtext('NextContinuationToken'),
    )


def _is_escaped(root: Element) -> bool:
    return root.findtext('EncodingType') == 'url'


def _entry(item: Element, *, is_escaped: bool) -> ListEntry:
    return ListEntry(
        key=trees.name_in(item, 'Key', is_escaped=is_escaped),
        size_bytes=trees.number_of(item.findtext('Size', '0')),
        etag=trees.etag_in(item),
        last_modified=trees.time_of(item.findtext('LastModified')),
        storage_class=item.findtext('StorageClass', 'STANDARD'),
    )
