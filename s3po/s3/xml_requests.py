"""The XML bodies of S3's requests. No I/O. The bodies of responses are in s3po.s3.xml.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from s3po.model import CompletedPart
from s3po.s3.xml_characters import has_xml_form

__all__ = ['complete_body', 'delete_body']

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


def _escaped(text: str) -> str:
    if not has_xml_form(text):
        raise ValueError(f'XML cannot contain all characters of {text!r}')
    return text.translate(_ESCAPES)
