"""The XML bodies of S3's requests. No I/O. The bodies of responses are in s3po.s3.xml.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl

from s3po.model import CompletedPart
from s3po.s3.xml_characters import has_xml_form

__all__ = ['complete_body', 'delete_body', 'document_headers', 'tagging_body']

NAMESPACE: Final = 'http://s3.amazonaws.com/doc/2006-03-01/'
# Line ends too, which parsers would turn into '\n' (https://www.w3.org/TR/xml/#sec-line-ends). The same escapes as botocore.
_ESCAPES: Final = str.maketrans({'&': '&amp;', '<': '&lt;', '>': '&gt;', '\r': '&#xD;', '\n': '&#xA;'})


def complete_body(parts: Sequence[CompletedPart]) -> bytes:
    """The body of CompleteMultipartUpload.

    Raises:
        ValueError: An ETag has characters that XML cannot contain.
    """
    named = [
        f'<Part><PartNumber>{part.number}</PartNumber><ETag>"{_escaped(part.etag)}"</ETag>{_checksum_element(part)}</Part>'
        for part in parts
    ]
    return f'<CompleteMultipartUpload xmlns="{NAMESPACE}">{"".join(named)}</CompleteMultipartUpload>'.encode()


def _checksum_element(part: CompletedPart) -> str:
    if part.checksum is None:
        return ''
    algorithm, _, value = part.checksum.partition(':')
    return f'<Checksum{algorithm}>{_escaped(value)}</Checksum{algorithm}>'


def delete_body(keys: Sequence[tuple[str, str | None]]) -> bytes:
    """The body of DeleteObjects for (key, version id). Not quiet: the response lists each deleted key.

    Raises:
        ValueError: A key or a version id has characters that XML cannot contain; see has_xml_form().
    """
    named = [
        f'<Object><Key>{_escaped(key)}</Key>'
        + ('' if version_id is None else f'<VersionId>{_escaped(version_id)}</VersionId>')
        + '</Object>'
        for key, version_id in keys
    ]
    return f'<Delete xmlns="{NAMESPACE}">{"".join(named)}</Delete>'.encode()


def tagging_body(tagging: str) -> bytes:
    """The body of PutObjectTagging for tags as a query string.

    Raises:
        ValueError: A tag has characters that XML cannot contain.
    """
    named = [
        f'<Tag><Key>{_escaped(name)}</Key><Value>{_escaped(value)}</Value></Tag>'
        for name, value in parse_qsl(tagging, keep_blank_values=True)
    ]
    return f'<Tagging xmlns="{NAMESPACE}"><TagSet>{"".join(named)}</TagSet></Tagging>'.encode()


def document_headers(body: bytes) -> dict[str, str]:
    """The headers of a document with a digest, which S3 requires for some; every store knows this one."""
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    return {'content-md5': digest, 'content-type': 'application/xml'}


def _escaped(text: str) -> str:
    if not has_xml_form(text):
        raise ValueError(f'XML cannot contain all characters of {text!r}')
    return text.translate(_ESCAPES)
