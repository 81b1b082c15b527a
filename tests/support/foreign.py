"""Responses that S3 never sends: statuses, headers and bodies of proxies, captive portals and other services.

`foreign_answers('PutObject')` returns responses in the form of `Store.script`; a client must report an error for each of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

__all__ = ['DELETING', 'EVERY_OPERATION', 'PAGES', 'foreign_answers']

DELETING: Final = ('AbortMultipartUpload', 'DeleteBucket', 'DeleteObject')
WITH_DOCUMENT: Final = {
    'CompleteMultipartUpload': 'CompleteMultipartUploadResult',
    'CopyObject': 'CopyObjectResult',
    'CreateMultipartUpload': 'InitiateMultipartUploadResult',
    'DeleteObjects': 'DeleteResult',
    'ListObjectsV2': 'ListBucketResult',
    'UploadPartCopy': 'CopyPartResult',
}
EVERY_OPERATION: Final = (*DELETING, *WITH_DOCUMENT, 'CreateBucket', 'GetObject', 'HeadObject', 'PutObject', 'UploadPart')

STATUSES: Final = (200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 299, 300, 301, 302, 303, 304, 305, 307, 308)
# Statuses other than S3's; 206 is S3's only if a range was requested.
RIGHT: Final = {'GetObject': (200, 206), **dict.fromkeys(DELETING, (200, 204))}
# Web pages, XML pages, and bodies that are neither.
PAGES: Final = (
    '<!DOCTYPE html><html><head><title>Sign in</title></head><body><p>Please sign in<br></body></html>',
    '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Sign in</title></head><body/></html>',
    '<html><body>It works!</body></html>',
    'OK',
    '{"status": "accepted"}',
    '<Result>',
    ' ',
)
NO_DOCUMENTS: Final = ('', '<Accepted/>', '<ListAllMyBucketsResult/>')
HEADERS: Final = (
    {},
    {'Content-Type': 'text/html'},
    {'Content-Type': 'application/xml', 'x-amz-request-id': 'id'},
    {'ETag': '""'},
    {'Location': '/elsewhere'},
)


def foreign_answers(operation: str, seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Random responses to one operation, none of them S3's.

    Args:
        operation: The name of the S3 operation.
        seed: The same seed returns the same responses.
        count: The number of responses.
    """
    found = random.Random(f'{operation} {seed}')
    for _ in range(count):
        status = found.choice((200, *STATUSES))
        if status == 204 and operation in DELETING:
            status = 200
        headers = dict(found.choice(HEADERS))
        if status in RIGHT.get(operation, (200,)):
            # The status is valid, so something else has to be wrong.
            body = found.choice(_bodies(operation, status))
        else:
            body = found.choice((*PAGES, *NO_DOCUMENTS))
            if found.random() < 0.5:
                headers['ETag'] = '"0123456789abcdef0123456789abcdef"'
        if status in (204, 205, 304):
            body = ''
        yield {'status': status, 'headers': headers, 'body': body}


def _bodies(operation: str, status: int) -> tuple[str, ...]:
    if operation in WITH_DOCUMENT:
        others = tuple(f'<{root}/>' for name, root in WITH_DOCUMENT.items() if root != WITH_DOCUMENT[operation])
        return (*PAGES, *NO_DOCUMENTS, *others)
    if operation in ('PutObject', 'UploadPart'):
        return (*PAGES, *NO_DOCUMENTS)
    # No header proves a deletion or a new bucket, so the response is recognized as foreign only if it is a page.
    return PAGES
