"""Reads S3's XML documents into trees, and values out of the trees' elements.

Functions that take bytes raise MalformedAnswer, or ErrorInBody if the document is an error's. The rules for all documents:
- Anything else than a whole, well-formed document is a MalformedAnswer, never an empty result: a proxy's page with status 200
  must not look like an empty bucket, nor a truncated body like the end of a listing.
- The root may have any name but those of other operations' documents, if the document has elements that S3 sends: stores differ
  in its name, and botocore does not look at it. A document without these elements must have S3's root.
- A DOCTYPE is refused where it begins. So there are no entities but XML's own five, and nothing is expanded or fetched.
- Size and tags are bounded before the parser starts. Nothing here recurses.
- Namespaces are ignored: S3 names one, some stores none, and all mean the same.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from s3po.config import MIB
from s3po.s3.expected import unquoted
from s3po.s3.status import moment_of
from s3po.s3.xml_characters import unescaped

__all__ = [
    'DOCUMENTS',
    'ERRORS',
    'MAX_TAGS',
    'MAX_XML_BYTES',
    'PAGES',
    'ErrorBody',
    'ErrorInBody',
    'MalformedAnswer',
    'check_bounds',
    'document_of',
    'error_in',
    'etag_in',
    'has_more',
    'lacks',
    'name_in',
    'number_of',
    'required',
    'root_of_answer',
    'time_of',
    'tree_of',
]

# The longest document is a page of 1,000 keys: each has 1,024 bytes, escaped three times as many, and half a KiB around it.
MAX_XML_BYTES: Final = 8 * MIB
# Each tag has a '<', so this limits the elements of a document, and their depth. A page of 1,000 keys has at most 40,000.
MAX_TAGS: Final = 200_000

ERRORS: Final = ('Error', 'ErrorResponse')
# For each operation's document: S3's name of the root, and elements of which S3 sends at least one.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html (Response Syntax)
PAGE: Final = ('Name', 'IsTruncated', 'MaxKeys', 'KeyCount', 'Contents', 'CommonPrefixes')
DOCUMENTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    'CompleteMultipartUpload': ('CompleteMultipartUploadResult', ('ETag', 'Location', 'Bucket', 'Key')),
    'CopyObject': ('CopyObjectResult', ('ETag',)),
    'CreateMultipartUpload': ('InitiateMultipartUploadResult', ('UploadId',)),
    'DeleteObjects': ('DeleteResult', ('Deleted', 'Error')),
    'GetObjectTagging': ('Tagging', ('TagSet',)),
    'ListMultipartUploads': ('ListMultipartUploadsResult', ('Bucket', 'IsTruncated', 'MaxUploads', 'Upload')),
    'ListObjectsV2': ('ListBucketResult', PAGE),
    'ListParts': ('ListPartsResult', ('UploadId', 'IsTruncated', 'MaxParts', 'Part')),
    'UploadPartCopy': ('CopyPartResult', ('ETag',)),
}
# A document with S3's root of another operation is that operation's response, which arrived late.
ROOTS: Final = frozenset(root for root, _ in DOCUMENTS.values())
# The root of a proxy's well-formed page. If S3's response has no body, any other document is tolerated.
PAGES: Final = ('html', 'HTML')


class MalformedAnswer(ValueError):
    """The body is not the expected document: it is cut off, garbled, or another operation's."""


class ErrorInBody(Exception):
    """The body is an error's, under a status that means success.

    CopyObject, UploadPartCopy and CompleteMultipartUpload send status 200 before they begin, so they fail this way.

    Attributes:
        error: The error in the body.
    """

    def __init__(self, error: ErrorBody) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """The fields of an error's body; '' for those that it lacks.

    Attributes:
        code: S3's code, such as 'NoSuchKey'.
        message: S3's message.
        region: The bucket's region, if the request went to another one.
        request_id: The store's id of the request.
    """

    code: str = ''
    message: str = ''
    region: str = ''
    request_id: str = ''


def document_of(body: bytes, *operations: str) -> Element:
    """The root of a document, which has to be S3's response to one of these operations."""
    root = root_of_answer(body)
    if not any(_is_form(root, *DOCUMENTS[operation]) for operation in operations):
        raise MalformedAnswer(f'the response is {root.tag[:60]!r}, not {DOCUMENTS[operations[0]][0]!r}')
    return root


def _is_form(root: Element, name: str, elements: Sequence[str]) -> bool:
    return root.tag == name or (root.tag not in ROOTS and any(root.find(each) is not None for each in elements))


def root_of_answer(body: bytes) -> Element:
    """The root of any document but an error's."""
    root = tree_of(body)
    if root.tag in ERRORS:
        raise ErrorInBody(error_in(root))
    return root


def tree_of(body: bytes) -> Element:
    """The root of a document. The names of its elements have no namespace.

    This uses pyexpat and not ElementTree's own parser, because pyexpat stops where a handler raises. The other one continues to
    the end of the document, and expands entities on the way.
    """
    check_bounds(body)
    builder, names = TreeBuilder(), dict[str, str]()
    parser = expat.ParserCreate(None, None, names)
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        # A store may send white space first to keep the connection alive. XML does not allow it.
        parser.Parse(body.lstrip(b' \t\r\n'), True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        # The last two: Python does not know the encoding, or expat cannot use it.
        raise MalformedAnswer(f'the response is not XML: {error}') from error
    root = builder.close()
    if any(':' in name for name in names):
        for element in root.iter():
            element.tag = element.tag.rpartition(':')[2]
    return root


def check_bounds(body: bytes) -> None:
    """Refuse a document that is too long to be parsed."""
    if len(body) > MAX_XML_BYTES or body.count(b'<') > MAX_TAGS:
        raise MalformedAnswer(f'the response is too long: {len(body):,} bytes, {body.count(b"<"):,} tags')


def _refuse_doctype(*_: object) -> NoReturn:
    raise ValueError('it has a DOCTYPE')


def error_in(root: Element) -> ErrorBody:
    """The fields of an <Error>, or of the one in an <ErrorResponse>, which AWS's other services send."""
    inner = root.find('Error')
    error = root if inner is None else inner
    return ErrorBody(
        code=error.findtext('Code', ''),
        message=error.findtext('Message', ''),
        region=error.findtext('Region', ''),
        request_id=error.findtext('RequestId', root.findtext('RequestId', '')),
    )


def etag_in(element: Element) -> str:
    """The ETag below an element, without its quotes (a weak one is unchanged); '' if there is none."""
    return unquoted(element.findtext('ETag', ''))


def name_in(element: Element, name: str, *, is_escaped: bool) -> str:
    """A key or a prefix below an element, unescaped if the page has it escaped."""
    text = required(element, name)
    return unescaped(text) if is_escaped else text


def required(element: Element, name: str) -> str:
    """The text below an element; MalformedAnswer if it is missing."""
    text = element.findtext(name)
    return lacks(element, name) if text is None else text


def lacks(element: Element, name: str) -> NoReturn:
    """Raise MalformedAnswer for an element that is missing."""
    raise MalformedAnswer(f'the response has a {element.tag!r} without {name!r}')


def has_more(root: Element, token: str) -> bool:
    """Whether a page is truncated, according to IsTruncated, or else to whether it has the token for the next page.

    'True' and '1' count as well: if a truncated page were taken for the last one, the listing would lack keys without an error.
    """
    text = root.findtext('IsTruncated')
    return bool(root.findtext(token)) if text is None else text.strip().lower() in ('true', '1')


def number_of(text: str) -> int:
    """A size or a number that S3 writes; MalformedAnswer if the text is not one."""
    try:
        number = int(text)
    except ValueError as error:
        raise MalformedAnswer(f'the response has {text[:60]!r} instead of a number') from error
    if number < 0:
        raise MalformedAnswer(f'the response has the negative number {number}')
    return number


def time_of(text: str | None) -> datetime.datetime | None:
    """A time in any form that moment_of() knows; S3 writes ISO 8601. None for None."""
    if text is None:
        return None
    moment = moment_of(text.strip())
    if moment is None:
        raise MalformedAnswer(f'the response has {text[:60]!r} instead of a time')
    return moment
