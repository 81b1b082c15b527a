"""Responses that are not S3's (F68): a proxy's page, a queue's 202, a 206 to a PUT. None of them counts as success."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET, impatient
from tests.support.foreign import foreign_answers
from tests.support.servers import Store

PART = 5 * MIB
LARGE = os.urandom(PART + 1)
IN_PARTS = s3po.TransferConfig(
    multipart_threshold=PART, multipart_chunksize=PART, multipart_copy_threshold=PART, multipart_copy_chunksize=PART
)
PAGE = '<!DOCTYPE html><html><body>Please sign in</body></html>'
Connect = Callable[..., s3po.Connection]


@pytest.fixture
def once(store: Store, connect: Connect) -> s3po.Connection:
    """A connection that does not retry; the bucket exists."""
    connection = connect(store.endpoint_url, config=IN_PARTS, retry=impatient(0))
    store.create_bucket(BUCKET)
    return connection


def answering(operation: str, **action: Any) -> dict[str, Any]:
    """A rule for all requests of one operation."""
    return {'operation': operation, 'times': None, 'action': action}


ANSWERS = {
    'page': {'status': 200, 'headers': {'Content-Type': 'text/html'}, 'body': PAGE},
    'empty': {'status': 200, 'body': ''},
    'empty ETag': {'status': 200, 'headers': {'ETag': '""'}, 'body': ''},
    **{str(status): {'status': status, 'body': ''} for status in (201, 202, 203, 204, 205, 206)},
    '202 ETag': {'status': 202, 'headers': {'ETag': f'"{"0" * 32}"'}, 'body': ''},
    '206 ETag': {'status': 206, 'headers': {'ETag': f'"{"0" * 32}"'}, 'body': ''},
}


@pytest.mark.fault('F68')
@pytest.mark.parametrize('operation', ['PutObject', 'UploadPart', 'CreateMultipartUpload', 'CompleteMultipartUpload'])
@pytest.mark.parametrize('answer', ANSWERS)
def test_upload(once: s3po.Connection, store: Store, tmp_path: Path, operation: str, answer: str) -> None:
    """Such a response fails the upload; the source file is kept even with delete=True."""
    source = tmp_path / 'source'
    source.write_bytes(b'small' if operation == 'PutObject' else LARGE)
    store.script(answering(operation, **ANSWERS[answer]))

    with pytest.raises(s3po.S3poError):
        once.upload(BUCKET, 'key', source, delete=True)

    assert source.exists()
    assert not once.exists(BUCKET, 'key')


@pytest.mark.fault('F68')
@pytest.mark.parametrize('operation', ['CopyObject', 'UploadPartCopy', 'CreateMultipartUpload', 'CompleteMultipartUpload'])
@pytest.mark.parametrize('answer', ANSWERS)
def test_move(once: s3po.Connection, store: Store, operation: str, answer: str) -> None:
    """Such a response fails the copy, so the source of a move is kept."""
    once.upload(BUCKET, 'from', b'small' if operation == 'CopyObject' else LARGE)
    store.script(answering(operation, **ANSWERS[answer]))

    with pytest.raises(s3po.S3poError):
        once.move(BUCKET, 'from', BUCKET, 'to')

    assert once.exists(BUCKET, 'from')


@pytest.mark.fault('F68')
@pytest.mark.parametrize('answer', ['page', '201', '202', '203', '205', '206'])
def test_deletions(once: s3po.Connection, store: Store, answer: str) -> None:
    """Such a response confirms neither a deletion nor a new bucket."""
    once.upload(BUCKET, 'key', b'')
    store.script(*(answering(name, **ANSWERS[answer]) for name in ('DeleteObject', 'DeleteObjects', 'CreateBucket')))

    with pytest.raises(s3po.S3poError):
        once.delete(BUCKET, 'key')
    with pytest.raises(s3po.S3poError):
        once.create_bucket('another')
    report = once.delete_many(BUCKET, ['key', 'other'])

    assert (report.deleted, [failure.key for failure in report]) == (0, ['key', 'other'])


@pytest.mark.fault('F68')
def test_missing_to_a_proxy(once: s3po.Connection, store: Store) -> None:
    """A proxy's 404 does not prove that a key is gone; a 404 with S3's error code, which some stores send, does."""
    store.script(
        {'operation': 'DeleteObject', 'times': 1, 'action': {'status': 404, 'body': PAGE}},
        {'operation': 'DeleteObject', 'times': 1, 'action': {'status': 404, 'code': 'NoSuchKey'}},
    )

    with pytest.raises(s3po.NotFound):
        once.delete(BUCKET, 'key')
    once.delete(BUCKET, 'key')


@pytest.mark.fault('F68')
@pytest.mark.parametrize('status', [200, 204])
def test_deletions_that_stores_confirm(once: s3po.Connection, store: Store, status: int) -> None:
    """A deletion is confirmed by status 204, which S3 sends, and by 200, which some stores send."""
    store.script(answering('DeleteObject', status=status, body=''))

    once.delete(BUCKET, 'key')


@pytest.mark.fault('F68')
def test_store_without_etags(once: s3po.Connection, store: Store, tmp_path: Path) -> None:
    """If the response to a PUT has no ETag, a HEAD must prove that the object is stored; otherwise the upload fails."""
    source = tmp_path / 'source'
    source.write_bytes(b'new bytes')
    no_etag = {'drop_headers': ['ETag', *(f'x-amz-checksum-{name}' for name in ('crc64nvme', 'crc32', 'crc32c', 'sha256'))]}
    store.script(answering('PutObject', **no_etag))

    result = once.upload(BUCKET, 'key', source, delete=True)

    assert result.etag == once.head(BUCKET, 'key').etag != ''
    assert not source.exists()

    source.write_bytes(b'old bytes')
    store.script(answering('HeadObject', **no_etag))
    with pytest.raises(s3po.UploadError, match='no valid ETag'):
        once.upload(BUCKET, 'key', source, delete=True)
    assert source.exists()


# The number of requests of the operation that each call makes.
PARTS = {'UploadPart': 2, 'UploadPartCopy': 2}
CALLS: dict[str, Callable[[s3po.Connection], object]] = {
    # New content each time: a HEAD may prove that the same content is stored already.
    'PutObject': lambda conn: conn.upload(BUCKET, 'new', os.urandom(8)),
    'UploadPart': lambda conn: conn.upload(BUCKET, 'new', LARGE),
    'CreateMultipartUpload': lambda conn: conn.upload(BUCKET, 'new', LARGE),
    'CompleteMultipartUpload': lambda conn: conn.upload(BUCKET, 'new', LARGE),
    'CopyObject': lambda conn: conn.copy(BUCKET, 'small', BUCKET, 'new'),
    'UploadPartCopy': lambda conn: conn.copy(BUCKET, 'large', BUCKET, 'new'),
    'DeleteObject': lambda conn: conn.delete(BUCKET, 'small'),
    'CreateBucket': lambda conn: conn.create_bucket('another'),
}


@pytest.mark.fault('F68')
@pytest.mark.parametrize('operation', CALLS)
def test_any_other_answer(once: s3po.Connection, store: Store, operation: str) -> None:
    """No call that writes succeeds with a response that S3 does not send, whatever its status, headers and body."""
    once.upload(BUCKET, 'small', b'small')
    if operation == 'UploadPartCopy':
        once.upload(BUCKET, 'large', LARGE)
    count = 10 if 'Part' in operation or 'Multipart' in operation else 40
    for answer in foreign_answers(operation, seed=1, count=count):
        store.script({'operation': operation, 'times': 1, 'action': answer})
        before = len(store.log(operation))
        try:
            CALLS[operation](once)
        except s3po.S3poError:
            continue
        # After some redirects, botocore looks up the bucket's region and sends the request again; then S3's response counts.
        requests = len(store.log(operation)) - before
        assert requests > PARTS.get(operation, 1), f'{operation} succeeded with {answer}'
