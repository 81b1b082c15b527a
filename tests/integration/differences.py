"""Known differences of stores from S3: the tests that must fail with them, and the reason."""

from __future__ import annotations

import os
import re
from typing import Final

import pytest

__all__ = ['is_rclone', 'marks_of']

NO_PART_COPIES: Final = 'it takes an UploadPartCopy for an UploadPart without a body, and answers without an ETag'
NO_CONDITIONS: Final = 'it ignores conditions (If-Match, If-None-Match, x-amz-copy-source-if-match)'
COPIES: Final = 'a CopyObject adds metadata of its own (mtime), and keeps what it is to replace'
ETAGS: Final = 'the ETag of an object that came in parts is the MD5 of all its bytes, not the one that the completion told'
CHECKSUMS: Final = 'it keeps the checksum that came with an object unseen, and does not confirm it'
KEYS: Final = 'keys are paths of files, so empty names, dots and slashes at their ends are refused or changed'
# A pattern of the test's name (the function with its parameters), and the reason.
RCLONE: Final = (
    (r'test_copy_parts|test_copy\[http-in parts|test_copy_with_other_metadata\[http-in parts', NO_PART_COPIES),
    (r'test_move\[|test_odd_keys_in_parts', NO_PART_COPIES),
    (r'test_copy\[|test_copy_with_other_metadata\[', COPIES),
    (r'test_copy_of_tags', 'it has no tags'),
    (r'test_if_none_match|test_copy_of_something_else|test_write_', NO_CONDITIONS),
    (r'test_multipart_etag|test_upload_of_bytes\[http-(8388609|20971520)\]', ETAGS),
    (r'test_checksum\[http-one-(CRC|SHA)', CHECKSUMS),
    (r'test_odd_keys\[http-(dots|slashes|leading slash|trailing slash)\]', KEYS),
    (r'test_odd_keys\[http-(wire|boto)-a//b\]', KEYS),
    (r'test_odd_keys\[http-longest\]', 'rclone refuses names of more than 255 characters or bytes'),
)
# These fail or pass, depending on timing.
RCLONE_RACES: Final = ((r'test_object_that_is_replaced_while_it_is_read', 'an object is empty while it is replaced'),)


def is_rclone() -> bool:
    """Whether the store under test is `rclone serve s3`."""
    return os.environ.get('S3PO_TEST_STORE', '').startswith('rclone-')


def marks_of(test: str) -> list[pytest.MarkDecorator]:
    """The marks of a test for the store in S3PO_TEST_STORE.

    Args:
        test: The name of the test function with its parameters.
    """
    if not is_rclone():
        return []
    known = [pytest.mark.xfail(reason=reason, strict=True) for pattern, reason in RCLONE if re.match(pattern, test)]
    races = [pytest.mark.xfail(reason=reason, strict=False) for pattern, reason in RCLONE_RACES if re.match(pattern, test)]
    return (known + races)[:1]
