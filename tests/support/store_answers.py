"""Building blocks of S3's responses. Their contents are decided in store_api and store_uploads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.support import store_xml
from tests.support.store_request import Request
from tests.support.store_values import Checksum
from tests.support.store_xml import checksum_elements, document, element

__all__ = ['Answer', 'copied', 'entry', 'key_writer', 'named', 'owner', 'xml']


@dataclass(frozen=True, slots=True)
class Answer:
    """One response; for a HEAD, the body determines the length only."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | memoryview = b''


def xml(name: str, *content: str, headers: Mapping[str, str] | None = None) -> Answer:
    """200 with a document."""
    return Answer(200, {'Content-Type': 'application/xml', **(headers or {})}, document(name, *content))


def named(request: Request) -> list[str]:
    """The elements for bucket and key."""
    return [element('Bucket', request.bucket), element('Key', request.key)]


def owner(name: str) -> str:
    """An owner, as an element of this name."""
    return element(name, [element('ID', 'tests'), element('DisplayName', 'tests')])


def entry(etag: str, size_bytes: int, modified: float) -> list[str]:
    """The elements of an object or a part in listings."""
    return [
        element('LastModified', store_xml.iso_time(modified)),
        element('ETag', f'"{etag}"'),
        element('Size', size_bytes),
        element('StorageClass', 'STANDARD'),
    ]


def copied(etag: str, modified: float, checksum: Checksum | None, *, is_part: bool = False) -> list[str]:
    """The result of a copy."""
    told = [element('LastModified', store_xml.iso_time(modified)), element('ETag', f'"{etag}"')]
    return [*told, *checksum_elements(checksum, with_type=not is_part)]


def key_writer(query: Mapping[str, str]) -> Callable[[str], str]:
    """The function that writes keys in the listing for this query."""
    return store_xml.url_encoded if query.get('encoding-type') == 'url' else str
