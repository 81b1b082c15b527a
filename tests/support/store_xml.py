"""Reads and writes S3's XML.

Keys may contain characters that XML 1.0 does not allow. As on S3, such a character is written as a character reference that XML
parsers reject, and clients avoid this with encoding-type=url.
"""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from urllib.parse import quote_plus

from tests.support.store_values import Checksum, StoreError

__all__ = [
    'checksum_elements',
    'document',
    'element',
    'error_document',
    'iso_time',
    'parse_complete',
    'parse_delete',
    'parse_tagging',
    'url_encoded',
]

NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/'


def document(name: str, *content: str) -> bytes:
    """A whole document whose root has S3's namespace; `content` is XML."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{NAMESPACE}">{"".join(content)}</{name}>'.encode()


def element(name: str, content: object) -> str:
    """One element with text, or with a list of elements."""
    inner = ''.join(content) if isinstance(content, list) else _escape(_text(content))
    return f'<{name}>{inner}</{name}>'


def checksum_elements(checksum: Checksum | None, *, with_type: bool = True) -> list[str]:
    """A checksum in a response; nothing for None. S3 sends no type with a part's."""
    if checksum is None:
        return []
    told = [element(f'Checksum{checksum.algorithm}', checksum.value)]
    return [*told, element('ChecksumType', checksum.kind)] if with_type else told


def error_document(code: str, message: str, resource: str, request_id: str) -> bytes:
    """S3's document for a status of 4xx or 5xx; it has no namespace."""
    fields = {'Code': code, 'Message': message, 'Resource': resource, 'RequestId': request_id, 'HostId': 'tests'}
    inner = ''.join(element(name, value) for name, value in fields.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()


def iso_time(seconds: float) -> str:
    """Seconds since the epoch as S3 writes them in XML."""
    return time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds)) + f'.{int(seconds * 1000) % 1000:03d}Z'


def url_encoded(text: str) -> str:
    """A key with encoding-type=url: encoded as in a form, except for the slash."""
    return quote_plus(text, safe='/*-._')


def parse_complete(body: bytes) -> list[tuple[int, str, dict[str, str]]]:
    """CompleteMultipartUpload's parts in the client's order: number, ETag without quotes, checksums by algorithm."""
    try:
        return [(int(part['PartNumber']), part['ETag'].strip('"'), _checksums(part)) for part in _records(_parse(body), 'Part')]
    except (KeyError, ValueError) as error:
        raise _malformed() from error


def parse_delete(body: bytes) -> tuple[list[str], bool]:
    """DeleteObjects' keys, and whether the response must contain errors only."""
    root = _parse(body)
    try:
        keys = [record['Key'] for record in _records(root, 'Object')]
    except KeyError as error:
        raise _malformed() from error
    if not 1 <= len(keys) <= 1000:
        raise _malformed()
    return keys, (root.findtext('Quiet') or '').lower() == 'true'


def parse_tagging(body: bytes) -> Mapping[str, str]:
    """PutObjectTagging's tags."""
    tag_set = _parse(body).find('TagSet')
    if tag_set is None:
        raise _malformed()
    return {record['Key']: record['Value'] for record in _records(tag_set, 'Tag')}


def _checksums(record: Mapping[str, str]) -> dict[str, str]:
    found = {name.removeprefix('Checksum'): value for name, value in record.items() if name.startswith('Checksum')}
    return {name: found[name] for name in ('CRC64NVME', 'CRC32C', 'CRC32', 'SHA1', 'SHA256') if name in found}


def _records(parent: ET.Element, name: str) -> Iterable[dict[str, str]]:
    return [{child.tag: child.text or '' for child in record} for record in parent.findall(name)]


def _parse(body: bytes) -> ET.Element:
    try:
        root = ET.fromstring(body)
    except ET.ParseError as error:
        raise _malformed() from error
    for each in root.iter():
        each.tag = each.tag.rpartition('}')[2]
    return root


def _malformed() -> StoreError:
    return StoreError(400, 'MalformedXML', 'The XML you provided was not well-formed or did not validate')


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _escape(text: str) -> str:
    return re.sub(r'[&<>"\x00-\x1f]', lambda match: f'&#{ord(match.group())};', text)
