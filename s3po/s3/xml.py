"""Reads the XML bodies of S3's responses. Those of requests are in s3po.s3.xml_requests.

Bytes to values, without I/O. The caller knows from the status whether a response is an error, and calls error_of() then. Each
other function raises MalformedAnswer, or ErrorInBody if the document is an error's. The rules for all documents are in
s3po.s3.xml_trees.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode
from xml.etree.ElementTree import Element

from s3po.checksum import multipart_count
from s3po.model import CompletedPart
from s3po.s3 import xml_trees as trees
from s3po.s3.protocol import CHECKSUM_ALGORITHMS, ListedUpload, Stored, listed_upload
from s3po.s3.xml_characters import unescaped, without_odd_characters
from s3po.s3.xml_listings import listing_of
from s3po.s3.xml_trees import ERRORS, MAX_TAGS, MAX_XML_BYTES, ErrorBody, ErrorInBody, MalformedAnswer

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


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDeleted:
    """One key that DeleteObjects did not delete.

    Attributes:
        key: The key.
        version_id: The requested version; None for the current one.
        code: The reason, as a code; '' if the store sent none.
        message: The reason, as a sentence; '' if the store sent none.
    """

    key: str
    version_id: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """What DeleteObjects did, in the store's spelling of the keys.

    Attributes:
        deleted: Key and version id of each deleted object; empty if the store names only failures.
        failures: The keys that were not deleted.
    """

    deleted: Sequence[tuple[str, str | None]] = ()
    failures: Sequence[NotDeleted] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadsPage:
    """One page of ListMultipartUploads.

    Attributes:
        uploads: The uploads under way.
        is_truncated: Whether there are more uploads, as the store reports.
        next_key_marker: The next page's key-marker; '' if the store sent none.
        next_upload_id_marker: The next page's upload-id-marker; '' if the store sent none.
    """

    uploads: Sequence[ListedUpload]
    is_truncated: bool
    next_key_marker: str
    next_upload_id_marker: str


def error_of(body: bytes) -> ErrorBody:
    """The error in the body of an error's response; an empty one if the body is empty or something else. Never raises."""
    try:
        root = trees.tree_of(without_odd_characters(body))
    except MalformedAnswer:
        return ErrorBody()
    return trees.error_in(root) if root.tag in ERRORS else ErrorBody()


def is_document(operation: str, body: bytes) -> bool:
    """Whether a body is the document of S3's response to an operation. Never raises."""
    try:
        trees.document_of(without_odd_characters(body), operation)
    except (MalformedAnswer, ErrorInBody):
        return False
    return True


def nothing_of(body: bytes) -> None:
    """Check a response that need not have a body: b'' and all documents are accepted, except errors and web pages."""
    if body:
        root = trees.root_of_answer(body)
        if root.tag in trees.PAGES:
            raise MalformedAnswer('the response is a web page')


def upload_id_of(body: bytes) -> str:
    """CreateMultipartUpload's upload id, which is never ''."""
    root = trees.document_of(without_odd_characters(body), 'CreateMultipartUpload')
    return trees.required(root, 'UploadId') or trees.lacks(root, 'UploadId')


def copy_result_of(body: bytes) -> Stored:
    """CopyObject's and UploadPartCopy's ETag and checksum; the version is in the response's headers.

    Raises:
        MalformedAnswer: It is another document, or empty.
        ErrorInBody: The copy failed.
    """
    return _stored(trees.document_of(body, 'CopyObject', 'UploadPartCopy'))


def complete_result_of(body: bytes, count: int | None = None) -> Stored:
    """CompleteMultipartUpload's ETag and checksum; the version is in the response's headers.

    The ETag may be '': Ceph's gateway sends it empty. With another root it counts only if it has the form 'MD5-N', which the
    caller compares with the parts' ETags, and the right number of parts; otherwise it proves nothing, and is '' as well.

    Args:
        body: The document.
        count: The number of parts; None for any.

    Raises:
        MalformedAnswer: It is another document, or empty: then the upload may be complete or not.
        ErrorInBody: The upload was not completed.
    """
    root = trees.document_of(without_odd_characters(body), 'CompleteMultipartUpload')
    stored = _stored(root)
    if root.tag == trees.DOCUMENTS['CompleteMultipartUpload'][0]:
        return stored
    count_in_etag = multipart_count(stored.etag)
    return replace(stored, etag='') if count_in_etag is None or count not in (None, count_in_etag) else stored


def parts_of(body: bytes) -> list[CompletedPart]:
    """ListParts' parts."""
    root = trees.document_of(without_odd_characters(body), 'ListParts')
    return [
        CompletedPart(
            number=trees.number_of(trees.required(part, 'PartNumber')),
            etag=trees.etag_in(part),
            size_bytes=trees.number_of(part.findtext('Size', '0')) if part.find('Size') is not None else -1,
            checksum=_checksum_in(part),
        )
        for part in root.findall('Part')
    ]


def uploads_of(body: bytes, now: datetime.datetime | None = None) -> UploadsPage:
    """ListMultipartUploads' page. Keys are unescaped if the document says that they are escaped; upload ids never are.

    Args:
        body: The document.
        now: The time of the response by the store's clock.
    """
    root = trees.document_of(body, 'ListMultipartUploads')
    is_escaped = root.findtext('EncodingType') == 'url'
    next_key = root.findtext('NextKeyMarker', '')
    return UploadsPage(
        uploads=[
            listed_upload(
                trees.name_in(item, 'Key', is_escaped=is_escaped),
                trees.required(item, 'UploadId'),
                trees.time_of(item.findtext('Initiated')),
                now,
            )
            for item in root.findall('Upload')
        ],
        is_truncated=trees.has_more(root, 'NextKeyMarker'),
        next_key_marker=unescaped(next_key) if is_escaped else next_key,
        next_upload_id_marker=root.findtext('NextUploadIdMarker', ''),
    )


def tags_of(body: bytes) -> str:
    """GetObjectTagging's tags as a query string ('a=1&b=2'), '' for none."""
    tags = trees.document_of(body, 'GetObjectTagging').findall('TagSet/Tag')
    return urlencode([(trees.required(tag, 'Key'), trees.required(tag, 'Value')) for tag in tags])


def deletion_of(body: bytes) -> Deletion:
    """What DeleteObjects did.

    Raises:
        MalformedAnswer: It is something else, or nothing: then none is known to be deleted.
        ErrorInBody: It is an error of the whole request.
    """
    root = trees.document_of(without_odd_characters(body), 'DeleteObjects')
    failures = [
        NotDeleted(
            key=failure.findtext('Key', ''),
            version_id=failure.findtext('VersionId') or None,
            code=failure.findtext('Code', ''),
            message=failure.findtext('Message', ''),
        )
        for failure in root.findall('Error')
    ]
    deleted = [(trees.required(item, 'Key'), item.findtext('VersionId') or None) for item in root.findall('Deleted')]
    return Deletion(deleted=deleted, failures=failures)


def _stored(said: Element) -> Stored:
    return Stored(etag=trees.etag_in(said), checksum=_checksum_in(said))


def _checksum_in(said: Element) -> str | None:
    found = [(name, said.findtext(f'Checksum{name}')) for name in CHECKSUM_ALGORITHMS]
    return next((f'{name}:{value}' for name, value in found if value), None)
