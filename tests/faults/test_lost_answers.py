"""Responses that are lost, late or empty: work that the store has done counts, and nothing is done twice."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import pytest

import s3po
from s3po.config import MIB
from s3po.errors import AccessDenied, IntegrityError, PreconditionFailed
from tests.conftest import BUCKET
from tests.support.noise import noise
from tests.support.servers import Store

PART = 5 * MIB
DATA = noise(11 * MIB + 7)
SMALL = os.urandom(1000)
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=2)
# The store does the work, and resets the connection instead of responding.
LOST = {'work': True, 'reset': True}


@pytest.fixture
def conn(store: Store, connect: Callable[..., s3po.Connection]) -> s3po.Connection:
    """A connection that uploads in parts; the bucket exists."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    store.create_bucket(BUCKET)
    return connection


def once(operation: str, **action: Any) -> dict[str, Any]:
    return {'operation': operation, 'times': 1, 'action': action}


def requests(store: Store, operation: str) -> int:
    return len(store.log(operation))


def open_uploads(conn: s3po.Connection) -> list[str]:
    return [each['UploadId'] for each in conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads', ())]


@pytest.mark.fault('F12')
@pytest.mark.parametrize('condition', [None, '*'])
@pytest.mark.parametrize('checksum', ['auto', 'none'])
def test_lost_complete(conn: s3po.Connection, store: Store, connect: Any, condition: str | None, checksum: str) -> None:
    """If the response to CompleteMultipartUpload is lost and the retry gets NoSuchUpload, the upload still succeeds."""
    conn = connect(store.endpoint_url, config=dataclasses.replace(IN_PARTS, checksum=checksum))
    store.script(once('CompleteMultipartUpload', **LOST))

    result = conn.upload(BUCKET, 'key', DATA, if_none_match=condition)

    assert conn.download(BUCKET, 'key') == DATA
    assert result.etag == conn.head(BUCKET, 'key').etag
    assert (requests(store, 'CreateMultipartUpload'), requests(store, 'UploadPart')) == (1, 3)
    assert requests(store, 'CompleteMultipartUpload') == 2
    assert open_uploads(conn) == []


@pytest.mark.fault('F12')
def test_lost_complete_of_nothing(conn: s3po.Connection, store: Store) -> None:
    """If the retry gets NoSuchUpload and the object does not exist, the whole upload is repeated."""
    gone = {'status': 404, 'code': 'NoSuchUpload'}
    store.script(once('CompleteMultipartUpload', reset=True), once('CompleteMultipartUpload', **gone))

    conn.upload(BUCKET, 'key', DATA)

    assert conn.download(BUCKET, 'key') == DATA
    assert requests(store, 'CreateMultipartUpload') == 2
    assert open_uploads(conn) == []


@pytest.mark.fault('F13')
def test_lost_put(conn: s3po.Connection, store: Store) -> None:
    """A PutObject whose response is lost is sent again: the same bytes replace the object."""
    store.script(once('PutObject', **LOST))

    conn.upload(BUCKET, 'key', SMALL)

    assert conn.download(BUCKET, 'key') == SMALL
    assert requests(store, 'PutObject') == 2


@pytest.mark.fault('F14')
def test_lost_part(conn: s3po.Connection, store: Store) -> None:
    """An UploadPart whose response is lost is sent again with the same number, and the upload completes with the last ETag."""
    store.script({**once('UploadPart', **LOST), 'query': {'partNumber': '2'}})

    conn.upload(BUCKET, 'key', DATA)

    assert conn.download(BUCKET, 'key') == DATA
    assert sorted(each['query']['partNumber'] for each in store.log('UploadPart')) == ['1', '2', '2', '3']
    assert open_uploads(conn) == []


@pytest.mark.fault('F15')
@pytest.mark.parametrize('action', [{}, {'status': 404, 'code': 'NoSuchKey'}])
def test_lost_delete(conn: s3po.Connection, store: Store, action: dict[str, Any]) -> None:
    """A DeleteObject whose response is lost is repeated and succeeds, even if the second response is NoSuchKey."""
    conn.upload(BUCKET, 'key', SMALL)
    store.script(once('DeleteObject', **LOST), *([once('DeleteObject', **action)] if action else []))

    conn.delete(BUCKET, 'key')

    assert not conn.exists(BUCKET, 'key')
    assert requests(store, 'DeleteObject') == 2


@pytest.mark.fault('F16')
def test_lost_if_none_match(conn: s3po.Connection, store: Store) -> None:
    """If the retry of a conditional PutObject fails because the first attempt stored the object, the upload succeeds."""
    store.script(once('PutObject', **LOST))

    result = conn.upload(BUCKET, 'key', SMALL, if_none_match='*')

    assert result.etag == conn.head(BUCKET, 'key').etag
    assert (requests(store, 'PutObject'), conn.head(BUCKET, 'key').metadata) == (2, {})


@pytest.mark.fault('F16')
def test_lost_if_none_match_of_another(conn: s3po.Connection, store: Store) -> None:
    """An object of another writer is neither taken for the lost upload nor overwritten, even if its bytes are the same."""
    conn.upload(BUCKET, 'key', SMALL)
    store.script(once('PutObject', reset=True))

    with pytest.raises(PreconditionFailed):
        conn.upload(BUCKET, 'key', SMALL, if_none_match='*')

    assert conn.download(BUCKET, 'key') == SMALL


@pytest.mark.fault('F17')
@pytest.mark.leaves_upload('its id is unknown, and no other upload is aborted')
def test_lost_create(conn: s3po.Connection, store: Store) -> None:
    """If the response to CreateMultipartUpload is lost, another upload is created; a warning reports the lost one."""
    store.script(once('CreateMultipartUpload', **LOST))

    result = conn.upload(BUCKET, 'key', DATA)

    assert conn.download(BUCKET, 'key') == DATA
    assert 'the store may keep an incomplete upload' in result.warnings[0]
    assert len(open_uploads(conn)) == 1
    assert requests(store, 'AbortMultipartUpload') == 0


ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{0}</Code><Message>late</Message></Error>'


@pytest.mark.fault('F26')
def test_late_error(conn: s3po.Connection, store: Store) -> None:
    """A CompleteMultipartUpload that fails after its 200 is repeated; the parts are not sent again."""
    store.script(once('CompleteMultipartUpload', status=200, body=ERROR.format('InternalError')))

    conn.upload(BUCKET, 'key', DATA)

    assert conn.download(BUCKET, 'key') == DATA
    assert (requests(store, 'CompleteMultipartUpload'), requests(store, 'UploadPart')) == (2, 3)


@pytest.mark.fault('F27')
def test_late_refusal(conn: s3po.Connection, store: Store) -> None:
    """A CompleteMultipartUpload that is refused after its 200 fails the upload, which is aborted."""
    store.script(once('CompleteMultipartUpload', status=200, body=ERROR.format('AccessDenied')))

    with pytest.raises(AccessDenied):
        conn.upload(BUCKET, 'key', DATA)

    assert requests(store, 'CompleteMultipartUpload') == 1
    assert open_uploads(conn) == []
    assert not conn.exists(BUCKET, 'key')


EMPTY = ['', '<?xml version="1.0" encoding="UTF-8"?>\n<CompleteMultipartUplo']


@pytest.mark.fault('F28')
@pytest.mark.parametrize('body', EMPTY, ids=['empty', 'cut'])
@pytest.mark.parametrize('work', [True, False], ids=['done', 'not done'])
def test_empty_answer(conn: s3po.Connection, store: Store, body: str, *, work: bool) -> None:
    """An empty response to CompleteMultipartUpload is not accepted: a HEAD returns the missing values."""
    store.script(once('CompleteMultipartUpload', status=200, body=body, work=work))

    result = conn.upload(BUCKET, 'key', DATA)

    assert conn.download(BUCKET, 'key') == DATA
    assert result.etag == conn.head(BUCKET, 'key').etag
    assert requests(store, 'UploadPart') == 3
    assert open_uploads(conn) == []


BAD_DIGEST = {'status': 400, 'code': 'BadDigest'}


@pytest.mark.fault('F37')
def test_bad_digest(conn: s3po.Connection, store: Store, tmp_path: Any) -> None:
    """A part that is rejected with BadDigest is read from the file again and sent again."""
    (tmp_path / 'file').write_bytes(DATA)
    store.script({**once('UploadPart', **BAD_DIGEST), 'query': {'partNumber': '2'}})

    conn.upload_file(BUCKET, 'key', tmp_path / 'file')

    assert conn.download(BUCKET, 'key') == DATA
    assert requests(store, 'UploadPart') == 4


@pytest.mark.fault('F37')
def test_bad_digest_for_good(conn: s3po.Connection, store: Store) -> None:
    """After three BadDigest responses to one part, the upload fails."""
    store.script({**once('UploadPart', **BAD_DIGEST), 'query': {'partNumber': '2'}, 'times': None})

    with pytest.raises(IntegrityError, match='after 3 attempts'):
        conn.upload(BUCKET, 'key', DATA)

    assert len([each for each in store.log('UploadPart') if each['query']['partNumber'] == '2']) == 3
    assert open_uploads(conn) == []
    assert not conn.exists(BUCKET, 'key')
