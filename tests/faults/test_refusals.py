"""Refusals of the store (F29, F38 to F41): what is retried, what is reported, and that no listing is silently truncated."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

import s3po
from s3po.config import MIB
from s3po.errors import (
    AccessDenied,
    InvalidRequest,
    ListingError,
    NetworkError,
    NotFound,
    ServerError,
    TransferError,
)
from tests.conftest import BUCKET
from tests.support.servers import Store

Connect = Callable[..., s3po.Connection]

PART = 5 * MIB
IN_PARTS = s3po.TransferConfig(multipart_copy_threshold=PART, multipart_copy_chunksize=PART)
NO_MORE = '<IsTruncated>false</IsTruncated>'


def once(operation: str, times: int | None = 1, **action: Any) -> dict[str, Any]:
    """A rule for the next requests of one operation."""
    return {'operation': operation, 'times': times, 'action': action}


def failed(code: str) -> str:
    """The document of an error that arrives late, with status 200."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>Late.</Message></Error>'


def page(*keys: str, more: str = NO_MORE) -> dict[str, Any]:
    """A response to ListObjectsV2."""
    listed = ''.join(f'<Contents><Key>{key}</Key><Size>1</Size></Contents>' for key in keys)
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult>{more}{listed}</ListBucketResult>'
    return {'status': 200, 'body': body}


def truncated(token: str | None) -> str:
    named = '' if token is None else f'<NextContinuationToken>{token}</NextContinuationToken>'
    return f'<IsTruncated>true</IsTruncated>{named}'


# ---------------------------------------------------------------------- late errors of copies


@pytest.mark.fault('F29')
def test_copy_that_fails_late(conn: s3po.Connection, store: Store) -> None:
    """An error document with status 200 counts as an error and is retried."""
    conn.upload(BUCKET, 'key', b'data')
    store.script(once('CopyObject', status=200, body=failed('SlowDown')))

    result = conn.copy(BUCKET, 'key', BUCKET, 'copy')

    assert (result.attempts, len(store.log('CopyObject'))) == (2, 2)
    assert conn.download(BUCKET, 'copy') == b'data'


@pytest.mark.fault('F29')
def test_copy_in_parts_that_fails_late(store: Store, connect: Connect) -> None:
    """A late error of a part is retried; the other parts are not sent again."""
    conn = connect(store.endpoint_url, config=IN_PARTS)
    store.create_bucket(BUCKET)
    data = bytes(range(256)) * (11 * MIB // 256)
    conn.upload(BUCKET, 'key', data)
    store.script({**once('UploadPartCopy', status=200, body=failed('InternalError')), 'query': {'partNumber': '2'}})

    conn.copy(BUCKET, 'key', BUCKET, 'copy')

    assert sorted(seen['query']['partNumber'] for seen in store.log('UploadPartCopy')) == ['1', '2', '2', '3']
    assert conn.download(BUCKET, 'copy') == data


@pytest.mark.fault('F29')
def test_copy_that_is_refused_late(conn: s3po.Connection, store: Store) -> None:
    """A late error that a retry cannot fix is not retried."""
    conn.upload(BUCKET, 'key', b'data')
    store.script(once('CopyObject', None, status=200, body=failed('AccessDenied')))

    with pytest.raises(AccessDenied, match='Late'):
        conn.copy(BUCKET, 'key', BUCKET, 'copy')

    assert len(store.log('CopyObject')) == 1
    assert not conn.exists(BUCKET, 'copy')


# ---------------------------------------------------------------------- missing and forbidden objects


@pytest.mark.fault('F38')
def test_missing_key(conn: s3po.Connection, store: Store) -> None:
    """A missing object is requested once."""
    with pytest.raises(NotFound, match='NoSuchKey') as caught:
        conn.download(BUCKET, 'absent')

    assert (caught.value.status, caught.value.attempts, len(store.log('GetObject'))) == (404, 1, 1)


@pytest.mark.fault('F38')
@pytest.mark.parametrize('data', [b'data', b''], ids=['some', 'empty'])
def test_head_that_is_forbidden(conn: s3po.Connection, store: Store, data: bytes) -> None:
    """If HEAD is forbidden, a GET of the first byte replaces it."""
    conn.upload(BUCKET, 'key.txt', data, metadata={'a': 'b'})
    etag = conn.head(BUCKET, 'key.txt').etag
    store.script(once('HeadObject', None, status=403))

    info = conn.head(BUCKET, 'key.txt')

    assert (info.key, info.size_bytes, info.etag, info.content_type) == ('key.txt', len(data), etag, 'text/plain')
    assert info.metadata == {'a': 'b'}
    assert conn.exists(BUCKET, 'key.txt')
    assert not conn.exists(BUCKET, 'absent')
    assert store.log('GetObject')[0]['headers']['range'] == 'bytes=0-0'


@pytest.mark.fault('F38')
def test_head_and_get_that_are_forbidden(conn: s3po.Connection, store: Store) -> None:
    """If GET is forbidden, too, the error is the one of the GET, whose body has the reason."""
    conn.upload(BUCKET, 'key', b'data')
    store.script(once('HeadObject', None, status=403), once('GetObject', None, status=403, code='InvalidAccessKeyId'))

    with pytest.raises(AccessDenied, match='InvalidAccessKeyId'):
        conn.head(BUCKET, 'key')

    assert (len(store.log('HeadObject')), len(store.log('GetObject'))) == (1, 1)


@pytest.mark.fault('F39')
def test_archived(conn: s3po.Connection, store: Store) -> None:
    """The download of an archived object is not retried, and the message suggests restoring it."""
    conn.upload(BUCKET, 'key', b'data')
    store.script(once('GetObject', None, status=403, code='InvalidObjectState'))

    with pytest.raises(AccessDenied, match='archived; restore it first') as caught:
        conn.download(BUCKET, 'key')

    assert (caught.value.code, len(store.log('GetObject'))) == ('InvalidObjectState', 1)


@pytest.mark.fault('F31', only='wire')
@pytest.mark.parametrize(('status', 'error'), [(403, AccessDenied), (404, NotFound)])
def test_refusal_that_is_cut(conn: s3po.Connection, store: Store, status: int, error: type[Exception]) -> None:
    """If the body of a refusal is truncated, its status is enough."""
    head = f'HTTP/1.1 {status} No\r\nContent-Length: 500\r\nContent-Type: application/xml\r\n\r\n<Error><Code>Acc'
    store.script(once('GetObject', None, raw=head))

    with pytest.raises(error):
        conn.download(BUCKET, 'key')

    assert len(store.log('GetObject')) == 1


# ---------------------------------------------------------------------- many deletions at once


@pytest.mark.fault('F40')
def test_deletion_that_fails_in_part(conn: s3po.Connection, store: Store) -> None:
    """If 3 of 1,000 deletions fail, only those that a retry can fix are retried, without the other keys."""
    errors = ''.join(
        f'<Error><Key>{key}</Key><Code>{code}</Code><Message>No.</Message></Error>'
        for key, code in (('1', 'InternalError'), ('2', 'AccessDenied'), ('3', 'InternalError'))
    )
    stubborn = '<Error><Key>3</Key><Code>InternalError</Code><Message>No.</Message></Error>'
    document = '<?xml version="1.0" encoding="UTF-8"?>\n<DeleteResult>{}</DeleteResult>'
    store.script(
        once('DeleteObjects', status=200, body=document.format(errors)),
        once('DeleteObjects', 3, status=200, body=document.format(stubborn)),
    )

    report = conn.delete_many(BUCKET, [str(number) for number in range(1000)])

    assert report.deleted == 998
    assert {failure.key: type(failure.error) for failure in report} == {'2': AccessDenied, '3': ServerError}
    sizes = [seen['body_bytes'] for seen in store.log('DeleteObjects')]
    assert len(sizes) == 4
    assert sizes[0] > 10_000
    assert max(sizes[1:]) < 400


@pytest.mark.fault('F40')
def test_deletion_that_fails_for_the_moment(conn: s3po.Connection, store: Store) -> None:
    """A deletion that fails once is retried, and all keys are deleted."""
    for key in ('a', 'b', 'c'):
        conn.upload(BUCKET, key, b'')
    error = '<Error><Key>b</Key><Code>InternalError</Code><Message>No.</Message></Error>'
    store.script(once('DeleteObjects', work=True, status=200, body=f'<DeleteResult>{error}</DeleteResult>'))

    report = conn.delete_many(BUCKET, ['a', 'b', 'c'])

    assert (report.deleted, report.failed, len(store.log('DeleteObjects'))) == (3, (), 2)
    assert list(conn.list(BUCKET)) == []


# ---------------------------------------------------------------------- listings


@pytest.mark.fault('F41')
@pytest.mark.parametrize(
    'tokens', [[None], ['one', 'one'], ['one', 'two', 'one'], ['a', 'b', 'c', 'd', 'b']], ids=['none', 'same', 'two', 'late']
)
def test_listing_that_leads_nowhere(conn: s3po.Connection, store: Store, tokens: list[str | None]) -> None:
    """A truncated page without a continuation token, or a repeated page, is an error, and the listing ends."""
    store.script(
        once('ListObjectsV2', **page('first', more=truncated(tokens[0]))),
        *(
            {**once('ListObjectsV2', None, **page(f'key{at}', more=truncated(after))), 'query': {'continuation-token': token}}
            for at, (token, after) in enumerate({t: a for t, a in itertools.pairwise(tokens) if t}.items())
        ),
    )

    with pytest.raises(ListingError, match='some keys may be missing'):
        list(conn.list(BUCKET))

    assert len(store.log('ListObjectsV2')) < 20


@pytest.mark.fault('F41')
@pytest.mark.parametrize('body', ['<?xml version="1.0"?>\n<ListBucketResult><IsTruncated>false</IsTr', '', '<html></html>'])
def test_invalid_listing_page(conn: s3po.Connection, store: Store, body: str) -> None:
    """A page that is truncated, empty or not S3's is requested again; it never counts as an empty page."""
    conn.upload(BUCKET, 'key', b'')
    store.script(once('ListObjectsV2', 4, status=200, body=body))

    with pytest.raises(TransferError, match='ListObjectsV2') as caught:
        list(conn.list(BUCKET))

    assert type(caught.value.__cause__) in (NetworkError, ServerError)
    assert len(store.log('ListObjectsV2')) == 4
    store.script(once('ListObjectsV2', status=200, body=body))
    assert [entry.key for entry in conn.list(BUCKET)] == ['key']


@pytest.mark.slow
@pytest.mark.fault('F41')
def test_listing_with_empty_pages(conn: s3po.Connection, store: Store) -> None:
    """Pages without keys and with IsTruncated are followed: a bucket with many deleted versions has them."""
    count = 1000
    store.script(
        *(
            {
                **once('ListObjectsV2', **page(more=truncated(str(number + 1)))),
                'query': {'continuation-token': str(number)} if number else {},
            }
            for number in range(count)
        ),
        once('ListObjectsV2', **page('last')),
    )

    assert [entry.key for entry in conn.list(BUCKET)] == ['last']
    assert len(store.log('ListObjectsV2')) == count + 1


@pytest.mark.fault('F41')
def test_listing_that_is_refused(conn: s3po.Connection, store: Store) -> None:
    """If a later page is refused, the listing raises the error instead of ending silently."""
    store.script(
        once('ListObjectsV2', **page('first', more=truncated('next'))),
        once('ListObjectsV2', None, status=400, code='InvalidArgument'),
    )
    listing = conn.list(BUCKET)

    assert next(listing) is not None
    with pytest.raises(InvalidRequest):
        next(listing)


@pytest.mark.fault('F40')
@pytest.mark.parametrize('body', ['', '<html></html>'])
def test_deletion_with_another_answer(conn: s3po.Connection, store: Store, body: str) -> None:
    """An invalid response confirms no deletion; the request is retried."""
    conn.upload(BUCKET, 'key', b'')
    store.script(once('DeleteObjects', status=200, body=body))

    report = conn.delete_many(BUCKET, ['key'])

    assert (report.deleted, report.failed, len(store.log('DeleteObjects'))) == (1, (), 2)
    assert not conn.exists(BUCKET, 'key')
