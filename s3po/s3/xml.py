"""S3's XML bodies of answers. Those of requests are in s3po.s3.xml_requests.

What may live here: bytes to values. No I/O, and nothing of HTTP: whether an answer is an error is known by its
status, so the caller asks error_of() for one and the other functions for all the rest.

The rules that every answer is read by:
- What is not a whole, well-formed document is a MalformedAnswer, never an empty result: a proxy's page with status 200 must not
  look like an empty bucket, nor a cut body like the end of a listing.
- The root may have any name but those of other operations' documents, if the document has elements that S3 sends: stores differ
  in its name, and botocore does not look at it. A document without these elements must have S3's root.
- A DOCTYPE is refused where it begins, so there are no entities but XML's own five, and nothing expands or is fetched.
- Size and tags are bounded before the parser starts. Nothing here recurses.
- Namespaces are ignored: S3 names one, some stores none, and all mean the same.
- Each function but error_of() raises MalformedAnswer, or ErrorInBody when the document is an error's.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NoReturn
from urllib.parse import unquote_to_bytes, urlencode
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from s3po.config import MIB
from s3po.model import CompletedPart, ListEntry
from s3po.s3.protocol import CHECKSUM_ALGORITHMS, ListedUpload, Listing, Stored
from s3po.s3.xml_characters import without_odd_characters

__all__ = [
    'MAX_TAGS',
    'MAX_XML_BYTES',
    'Deletion',
    'ErrorBody',
    'ErrorInBody',
    'MalformedAnswer',
    'NotDeleted',
    'UploadsPage',
    'complete_result_of',
    'copy_result_of',
    'deletion_of',
    'error_of',
    'is_document',
    'listing_of',
    'nothing_of',
    'parts_of',
    'tags_of',
    'upload_id_of',
    'uploads_of',
]

# The longest answer is a page of 1,000 keys: of 1,024 bytes each, three times that when escaped, and half a KiB around it.
MAX_XML_BYTES: Final = 8 * MIB
# No tag without a '<': this bounds the elements of an answer, and their depth. A page of 1,000 keys has 40,000 at most.
MAX_TAGS: Final = 200_000

ERRORS: Final = ('Error', 'ErrorResponse')
# Of each operation's document: S3's name of the root, and the elements of which S3 sends at least one.
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
# A document with S3's root of another operation is that operation's answer, which came late.
ROOTS: Final = frozenset(root for root, _ in DOCUMENTS.values())
# A well-formed page of a proxy's. Where S3's answer has no body, any other document is tolerated.
PAGES: Final = ('html', 'HTML')


class MalformedAnswer(ValueError):
    """The body is not the document that S3 answers with: cut off, garbled, or another's."""


class ErrorInBody(Exception):
    """The body is an error's, under a status that promised something else.

    CopyObject, UploadPartCopy and CompleteMultipartUpload say 200 before they begin, so that is how they fail late.

    Attributes:
        error: What it says.
    """

    def __init__(self, error: ErrorBody) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """What an error's body tells; '' for all that it does not.

    Attributes:
        code: S3's code, such as 'NoSuchKey'.
        message: S3's message.
        region: The bucket's region, where the request went to another one.
        request_id: The store's id of the request.
    """

    code: str = ''
    message: str = ''
    region: str = ''
    request_id: str = ''


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDeleted:
    """One key that DeleteObjects did not delete.

    Attributes:
        key: The key.
        version_id: The version asked for; None for the current one.
        code: Why, as a code; '' when the store does not say.
        message: Why, as a sentence; '' when the store does not say.
    """

    key: str
    version_id: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """What DeleteObjects did, in the store's spelling of the keys.

    Attributes:
        deleted: Key and version id of all that are deleted; empty where the store names only failures.
        failures: Those that are not.
    """

    deleted: Sequence[tuple[str, str | None]] = ()
    failures: Sequence[NotDeleted] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadsPage:
    """One page of ListMultipartUploads.

    Attributes:
        uploads: The uploads under way.
        is_truncated: Whether the store says that there are more.
        next_key_marker: The next page's key-marker; '' when the store names none.
        next_upload_id_marker: The next page's upload-id-marker; '' when the store names none.
    """

    uploads: Sequence[ListedUpload]
    is_truncated: bool
    next_key_marker: str
    next_upload_id_marker: str


def error_of(body: bytes) -> ErrorBody:
    """What an answer with an error's status says; nothing, where its body is empty or something else. Never raises."""
    try:
        root = _tree(without_odd_characters(body))
    except MalformedAnswer:
        return ErrorBody()
    return _error(root) if root.tag in ERRORS else ErrorBody()


def is_document(operation: str, body: bytes) -> bool:
    """Whether a body is the document with which S3 answers an operation. Never raises."""
    try:
        _document(without_odd_characters(body), operation)
    except (MalformedAnswer, ErrorInBody):
        return False
    return True


def nothing_of(body: bytes) -> None:
    """Check an answer that need not have a body: b'', or any document but an error or a web page."""
    if body:
        root = _root(body)
        if root.tag in PAGES:
            raise MalformedAnswer('the answer is a web page')


def listing_of(body: bytes) -> Listing:
    """ListObjectsV2's page. Keys and prefixes are unescaped where the answer says that they are escaped."""
    root = _document(body, 'ListObjectsV2')
    is_escaped = root.findtext('EncodingType') == 'url'
    return Listing(
        entries=[_entry(item, is_escaped=is_escaped) for item in root.findall('Contents')],
        prefixes=[_name(item, 'Prefix', is_escaped=is_escaped) for item in root.findall('CommonPrefixes')],
        is_truncated=_is_truncated(root, 'NextContinuationToken'),
        next_token=root.findtext('NextContinuationToken'),
    )


def upload_id_of(body: bytes) -> str:
    """CreateMultipartUpload's upload id, which is never ''."""
    root = _document(without_odd_characters(body), 'CreateMultipartUpload')
    return _required(root, 'UploadId') or _lacks(root, 'UploadId')


def copy_result_of(body: bytes) -> Stored:
    """CopyObject's and UploadPartCopy's ETag and checksum; the version stands in the headers.

    Raises:
        MalformedAnswer: It is something else, or nothing.
        ErrorInBody: The copy failed.
    """
    return _stored(_document(body, 'CopyObject', 'UploadPartCopy'))


def complete_result_of(body: bytes) -> Stored:
    """CompleteMultipartUpload's ETag and checksum; the version stands in the headers.

    The ETag may be '': Ceph's gateway sends it empty. That of a document with another root proves nothing, and is '' as well.

    Raises:
        MalformedAnswer: It is something else, or nothing: then the upload may be complete or not.
        ErrorInBody: The upload was not completed.
    """
    root = _document(without_odd_characters(body), 'CompleteMultipartUpload')
    stored = _stored(root)
    return stored if root.tag == DOCUMENTS['CompleteMultipartUpload'][0] else replace(stored, etag='')


def parts_of(body: bytes) -> list[CompletedPart]:
    """ListParts' parts."""
    root = _document(without_odd_characters(body), 'ListParts')
    return [CompletedPart(number=_number(_required(part, 'PartNumber')), etag=_etag(part)) for part in root.findall('Part')]


def uploads_of(body: bytes) -> UploadsPage:
    """ListMultipartUploads' page. Keys are unescaped where the answer says that they are escaped; upload ids never are."""
    root = _document(body, 'ListMultipartUploads')
    is_escaped = root.findtext('EncodingType') == 'url'
    next_key = root.findtext('NextKeyMarker', '')
    return UploadsPage(
        uploads=[
            ListedUpload(
                key=_name(item, 'Key', is_escaped=is_escaped),
                upload_id=_required(item, 'UploadId'),
                initiated=_time(item.findtext('Initiated')),
            )
            for item in root.findall('Upload')
        ],
        is_truncated=_is_truncated(root, 'NextKeyMarker'),
        next_key_marker=_unescaped(next_key) if is_escaped else next_key,
        next_upload_id_marker=root.findtext('NextUploadIdMarker', ''),
    )


def tags_of(body: bytes) -> str:
    """GetObjectTagging's tags as a query string ('a=1&b=2'), '' for none."""
    tags = _document(body, 'GetObjectTagging').findall('TagSet/Tag')
    return urlencode([(_required(tag, 'Key'), _required(tag, 'Value')) for tag in tags])


def deletion_of(body: bytes) -> Deletion:
    """What DeleteObjects did.

    Raises:
        MalformedAnswer: It is something else, or nothing: then none is known to be deleted.
        ErrorInBody: It is an error of the whole request.
    """
    root = _document(without_odd_characters(body), 'DeleteObjects')
    failures = [
        NotDeleted(
            key=failure.findtext('Key', ''),
            version_id=failure.findtext('VersionId') or None,
            code=failure.findtext('Code', ''),
            message=failure.findtext('Message', ''),
        )
        for failure in root.findall('Error')
    ]
    deleted = [(_required(item, 'Key'), item.findtext('VersionId') or None) for item in root.findall('Deleted')]
    return Deletion(deleted=deleted, failures=failures)


def _document(body: bytes, *operations: str) -> Element:
    """The root of the document with which S3 answers one of these operations."""
    root = _root(body)
    if not any(_is_form(root, *DOCUMENTS[operation]) for operation in operations):
        raise MalformedAnswer(f'the answer is {root.tag[:60]!r}, not {DOCUMENTS[operations[0]][0]!r}')
    return root


def _is_form(root: Element, name: str, elements: Sequence[str]) -> bool:
    return root.tag == name or (root.tag not in ROOTS and any(root.find(each) is not None for each in elements))


def _root(body: bytes) -> Element:
    """The root of a document that is no error."""
    root = _tree(body)
    if root.tag in ERRORS:
        raise ErrorInBody(_error(root))
    return root


def _tree(body: bytes) -> Element:
    """The root of a document, its elements by their names without namespace.

    pyexpat drives ElementTree's builder, rather than ElementTree's own parser, since it stops where a handler raises: the other
    goes on to the end of what it was given, expanding entities for nobody.
    """
    if len(body) > MAX_XML_BYTES or body.count(b'<') > MAX_TAGS:
        raise MalformedAnswer(f'the answer is too long: {len(body):,} bytes, {body.count(b"<"):,} tags')
    builder, names = TreeBuilder(), dict[str, str]()
    parser = expat.ParserCreate(None, None, names)
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        # A store that keeps the connection alive with white space may begin with it, which XML does not allow.
        parser.Parse(body.lstrip(b' \t\r\n'), True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        # The last two: an encoding that Python does not know, or expat cannot take.
        raise MalformedAnswer(f'the answer is not XML: {error}') from error
    root = builder.close()
    if any(':' in name for name in names):
        for element in root.iter():
            element.tag = element.tag.rpartition(':')[2]
    return root


def _refuse_doctype(*_: object) -> NoReturn:
    raise ValueError('it has a DOCTYPE')


def _error(root: Element) -> ErrorBody:
    """An <Error>, or the <ErrorResponse> around one that AWS's other services send."""
    told = root.find('Error')
    error = root if told is None else told
    return ErrorBody(
        code=error.findtext('Code', ''),
        message=error.findtext('Message', ''),
        region=error.findtext('Region', ''),
        request_id=error.findtext('RequestId', root.findtext('RequestId', '')),
    )


def _entry(item: Element, *, is_escaped: bool) -> ListEntry:
    return ListEntry(
        key=_name(item, 'Key', is_escaped=is_escaped),
        size_bytes=_number(item.findtext('Size', '0')),
        etag=_etag(item),
        last_modified=_time(item.findtext('LastModified')),
        storage_class=item.findtext('StorageClass', 'STANDARD'),
    )


def _stored(said: Element) -> Stored:
    found = [(name, said.findtext(f'Checksum{name}')) for name in CHECKSUM_ALGORITHMS]
    return Stored(etag=_etag(said), checksum=next((f'{name}:{value}' for name, value in found if value), None))


def _etag(said: Element) -> str:
    return said.findtext('ETag', '').strip('"')


def _name(said: Element, name: str, *, is_escaped: bool) -> str:
    text = _required(said, name)
    return _unescaped(text) if is_escaped else text


def _unescaped(text: str) -> str:
    """What botocore's unquote_str gives, and urllib's unquote_plus; in a fraction of the time, a thousand times a page."""
    if '%' not in text and '+' not in text:
        return text
    return unquote_to_bytes(text.replace('+', ' ')).decode(errors='replace')


def _required(said: Element, name: str) -> str:
    text = said.findtext(name)
    return _lacks(said, name) if text is None else text


def _lacks(said: Element, name: str) -> NoReturn:
    raise MalformedAnswer(f'the answer has a {said.tag!r} without {name!r}')


def _is_truncated(root: Element, token: str) -> bool:
    """Whether there is more; also as 'True' and '1', since a page taken for the last one is a listing cut short unnoticed."""
    told = root.findtext('IsTruncated')
    # Where it is not told, a place to go on at tells it.
    return bool(root.findtext(token)) if told is None else told.strip().lower() in ('true', '1')


def _number(text: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise MalformedAnswer(f'the answer has {text[:60]!r} for a number') from error
    if number < 0:
        raise MalformedAnswer(f'the answer has {number}, where nothing is negative')
    return number


def _time(text: str | None) -> datetime.datetime | None:
    """A time as S3 writes it, in ISO 8601; one that names no time zone is UTC's, as S3's are."""
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedAnswer(f'the answer has {text[:60]!r} for a time') from error
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
