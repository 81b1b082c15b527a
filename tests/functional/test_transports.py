"""Both transports against a misbehaving store: their requests, checks and retries."""

from __future__ import annotations

import datetime
import email.utils
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import s3po
from s3po.config import MIB
from s3po.errors import (
    AccessDenied,
    Conflict,
    DownloadError,
    IntegrityError,
    ListingError,
    NetworkError,
    ServerError,
    Throttled,
    TransferError,
    TransportError,
    UploadError,
)
from tests.support.kinds import KINDS, WIRE, Kind
from tests.support.servers import Store

BUCKET = 'bucket'
PART = 5 * MIB
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
Connect = Callable[..., s3po.Connection]

ERROR_BODY = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>We failed.</Message></Error>'
COMPLETED_BODY = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<CompleteMultipartUploadResult>'
    '<Bucket>bucket</Bucket><Key>key</Key><ETag></ETag></CompleteMultipartUploadResult>'
)


def once(operation: str, times: int | None = 1, **action: Any) -> dict[str, Any]:
    """A rule for the next request of one operation, or for several."""
    return {'operation': operation, 'times': times, 'action': action}


def sent(store: Store, operation: str) -> list[Mapping[str, str]]:
    """The headers of the requests of one operation."""
    return [seen['headers'] for seen in store.log(operation)]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def parts_conn(store: Store, connect: Connect) -> s3po.Connection:
    """A connection with parts of 5 MiB; the bucket exists."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    store.create_bucket(BUCKET)
    return connection


# ---------------------------------------------------------------------- requests


def test_headers(conn: s3po.Connection, store: Store) -> None:
    """Known headers are sent as boto3's parameters, others unchanged, and all of them are signed."""
    headers = {'Cache-Control': 'no-cache', 'x-custom': 'a  b', 'X-Amz-Acl': 'private', 'x-amz-meta-B': '2'}
    conn.upload(BUCKET, 'key.txt', b'data', headers=headers, metadata={'a': '1'})
    seen = sent(store, 'PutObject')[0]

    assert {name: seen[name] for name in ('cache-control', 'x-amz-acl', 'x-amz-meta-a', 'x-amz-meta-b')} == {
        'cache-control': 'no-cache',
        'x-amz-acl': 'private',
        'x-amz-meta-a': '1',
        'x-amz-meta-b': '2',
    }
    assert (seen['x-custom'], seen['content-type'], seen['content-length']) == ('a  b', 'text/plain', '4')
    signed = seen['authorization'].partition('SignedHeaders=')[2].partition(',')[0].split(';')
    assert {'x-custom', 'x-amz-acl', 'x-amz-meta-a', 'cache-control', 'host', 'x-amz-date'} <= set(signed)


def test_headers_of_one_request_only(conn: s3po.Connection, store: Store) -> None:
    """With concurrent requests, each has its own raw headers and no other's."""
    with conn.batch(10) as batch:
        for number in range(40):
            batch.upload(BUCKET, str(number), b'', headers={'x-custom': str(number)} if number % 2 else None)
    seen = {each['key']: each['headers'].get('x-custom') for each in store.log('PutObject')}

    assert seen == {str(number): str(number) if number % 2 else None for number in range(40)}


def test_headers_of_an_object_in_parts(parts_conn: s3po.Connection, store: Store) -> None:
    """Headers are sent with CreateMultipartUpload, and conditions with CompleteMultipartUpload."""
    headers = {'x-custom': 'c', 'Cache-Control': 'no-cache'}
    parts_conn.upload(BUCKET, 'key', b'x' * (PART + 1), headers=headers, if_none_match='*', extra={'RequestPayer': 'requester'})
    created = sent(store, 'CreateMultipartUpload')[0]

    assert (created['x-custom'], created['cache-control']) == ('c', 'no-cache')
    assert [seen.get('x-custom') for seen in sent(store, 'UploadPart')] == [None, None]
    assert 'x-custom' not in sent(store, 'CompleteMultipartUpload')[0]
    assert sent(store, 'CompleteMultipartUpload')[0]['if-none-match'] == '*'
    operations = ('CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload')
    assert {seen['x-amz-request-payer'] for name in operations for seen in sent(store, name)} == {'requester'}


def test_headers_of_a_copy(conn: s3po.Connection, store: Store) -> None:
    """Headers replace those of the source; without any, the source's are kept."""
    conn.upload(BUCKET, 'key', b'', metadata={'a': '1'})
    conn.copy(BUCKET, 'key', BUCKET, 'same')
    conn.copy(BUCKET, 'key', BUCKET, 'other', headers={'x-custom': 'c'}, content_type='text/x-test')
    same, other = sent(store, 'CopyObject')

    assert 'x-amz-metadata-directive' not in same
    assert (other['x-amz-metadata-directive'], other['x-custom'], other['content-type']) == ('REPLACE', 'c', 'text/x-test')
    assert conn.head(BUCKET, 'same').metadata == {'a': '1'}
    assert conn.head(BUCKET, 'other').metadata == {}


def test_defaults(store: Store, connect: Connect) -> None:
    """default_extra is sent with every request that supports it; the extra of a call takes precedence."""
    connection = connect(store.endpoint_url, default_extra={'ExpectedBucketOwner': '1', 'ACL': 'private'})
    connection.create_bucket(BUCKET)
    connection.upload(BUCKET, 'key', b'', extra={'ACL': 'public-read'})
    connection.head(BUCKET, 'key')
    list(connection.list(BUCKET))

    assert sent(store, 'CreateBucket')[0]['x-amz-acl'] == 'private'
    assert sent(store, 'PutObject')[0]['x-amz-acl'] == 'public-read'
    for operation in ('PutObject', 'HeadObject', 'ListObjectsV2'):
        assert sent(store, operation)[0]['x-amz-expected-bucket-owner'] == '1'


# ---------------------------------------------------------------------- invalid responses

SPOILT: list[tuple[dict[str, Any], type[TransportError], str]] = [
    ({'cut_body_at': 5}, NetworkError, 'ended after 5 of 10 bytes|closed|IncompleteRead'),
    ({'cut_body_at': 5, 'reset': True}, NetworkError, 'reset|ended after'),
    ({'drop_headers': ['Content-Length']}, NetworkError, 'no Content-Length'),
    ({'reset': True}, NetworkError, 'reset|closed'),
    ({'close': True}, NetworkError, 'closed'),
    ({'raw': 'SSH-2.0-OpenSSH_9.2\r\n'}, NetworkError, 'GetObject s3://bucket/key'),
    ({'status': 500}, ServerError, '500 InternalError: scripted'),
    ({'status': 502, 'body': '<html>Bad Gateway</html>'}, ServerError, '502'),
    ({'status': 503, 'code': 'SlowDown'}, Throttled, '503 SlowDown'),
    ({'status': 429, 'code': 'TooManyRequests'}, Throttled, '429'),
    ({'status': 408, 'code': 'RequestTimeout'}, Conflict, '408 RequestTimeout'),
    ({'status': 400, 'code': 'RequestTimeout'}, Conflict, '400 RequestTimeout'),
    ({'status': 409, 'code': 'OperationAborted'}, Conflict, '409 OperationAborted'),
    ({'status': 409, 'body': ''}, Conflict, '409'),
]


# Requests that get no byte of a response.
LOST: list[dict[str, Any]] = [{'reset': True}, {'close': True}]


@pytest.mark.parametrize(('action', 'error', 'text'), SPOILT)
def test_download_is_tried_again(
    connect: Connect, store: Store, kind: Kind, action: dict[str, Any], error: type[Exception], text: str
) -> None:
    """A failed download is retried; if it always fails, the DownloadError has the number of attempts and the last error."""
    # Otherwise refusals because of the load are repeated for 900 s, here without waits.
    conn = connect(store.endpoint_url, config=s3po.TransferConfig(throttle_timeout_s=0))
    store.create_bucket(BUCKET)
    conn.upload(BUCKET, 'key', b'0123456789')
    # The first request of each download uses the connection that was used last.
    resent = int(kind.resends and action in LOST)
    store.script(once('GetObject', **action))
    with conn.batch(1) as batch:
        batch.download(BUCKET, 'key')

    assert batch.results() == [b'0123456789']
    assert batch.report().retries == 1 - resent
    assert len(store.log('GetObject')) == 2
    store.script(once('GetObject', times=None, **action))
    with pytest.raises(DownloadError, match=r'gave up after 3 attempts') as caught:
        conn.download(BUCKET, 'key', retries=2)
    assert caught.value.attempts == 3
    assert type(caught.value.__cause__) is error
    assert pytest.raises(error, match=text).matches(caught.value.__cause__)
    assert len(store.log('GetObject')) == 5 + resent


@pytest.mark.parametrize(
    'action',
    [
        {'ignore_range': True},
        {'add_headers': {'Content-Range': 'bytes 0-3/10'}},
        {'add_headers': {'Content-Range': 'bytes 4-9/10'}},
        {'add_headers': {'Content-Range': 'bytes */10'}},
        {'drop_headers': ['Content-Range']},
    ],
)
def test_range_that_is_another(conn: s3po.Connection, store: Store, action: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """If the response has another range, the range is requested again; if it stays wrong, the download fails."""
    conn.upload(BUCKET, 'key', b'0123456789')
    store.script(once('GetObject', **action))
    assert conn.download(BUCKET, 'key', byte_range=(4, 8)) == b'4567'
    store.script(once('GetObject', times=None, **action))
    with pytest.raises((IntegrityError, DownloadError)) as caught:
        conn.download(BUCKET, 'key', tmp_path / 'file', byte_range=(4, 8))

    # Wrong bytes are requested three times, missing ones as often as after any other failure.
    assert f'{3 if caught.type is IntegrityError else 4} attempts' in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_parts_that_are_the_whole(store: Store, connect: Connect, tmp_path: pathlib.Path) -> None:
    """If a store ignores ranges, the file is never larger than the object, and has no wrong bytes."""
    # One at a time: urllib3 leaves the socket of a greenlet that is killed while it connects to the garbage collector.
    config = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=1)
    parts_conn = connect(store.endpoint_url, config=config)
    store.create_bucket(BUCKET)
    data = os.urandom(2 * PART + 7)
    parts_conn.upload(BUCKET, 'key', data)
    store.script({**once('GetObject', times=2, ignore_range=True), 'skip': 1})
    parts_conn.download(BUCKET, 'key', tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == data
    store.script(once('GetObject', times=None, ignore_range=True))
    result = parts_conn.download(BUCKET, 'key', tmp_path / 'other')
    assert (tmp_path / 'other').read_bytes() == data
    assert result.parts == 1
    # For targets in memory and targets that are written in order, too.
    assert parts_conn.download(BUCKET, 'key') == data
    with (tmp_path / 'ordered').open('wb') as file:
        parts_conn.download(BUCKET, 'key', file)
    assert (tmp_path / 'ordered').read_bytes() == data


# ---------------------------------------------------------------------- retries


@pytest.mark.parametrize(
    'action',
    [{'reset': True}, {'status': 500}, {'early': True, 'status': 503, 'code': 'SlowDown'}, {'work': True, 'close': True}],
)
def test_upload_is_tried_again(conn: s3po.Connection, store: Store, action: dict[str, Any]) -> None:
    """An upload without a response, or with a SlowDown, is sent again from its first byte."""
    store.script(once('PutObject', **action))
    result = conn.upload(BUCKET, 'key', iter([b'01234', b'56789']))

    assert (result.attempts, result.parts) == (2, 1)
    assert conn.download(BUCKET, 'key') == b'0123456789'


def test_retries_of_a_call(conn: s3po.Connection, store: Store) -> None:
    """retries=N means N attempts after the first; the argument of a call precedes that of the connection."""
    store.script(once('PutObject', times=None, status=500))
    for retries, expected in ((0, 1), (1, 2), (5, 6), (None, 4)):
        before = len(store.log('PutObject'))
        with pytest.raises(UploadError) as caught:
            conn.upload(BUCKET, 'key', b'', retries=retries)
        assert len(store.log('PutObject')) - before == caught.value.attempts == expected


def test_every_call_is_tried_again(conn: s3po.Connection, store: Store) -> None:
    """Every request of every call is retried, not only transfers."""
    conn.upload(BUCKET, 'key', b'data')
    calls: dict[str, Callable[[], object]] = {
        'HeadObject': lambda: conn.head(BUCKET, 'key'),
        'ListObjectsV2': lambda: list(conn.list(BUCKET)),
        'CopyObject': lambda: conn.copy(BUCKET, 'key', BUCKET, 'copy'),
        'DeleteObject': lambda: conn.delete(BUCKET, 'copy'),
        'DeleteObjects': lambda: conn.delete_many(BUCKET, ['key']),
        'DeleteBucket': lambda: conn.delete_bucket(BUCKET),
        'CreateBucket': lambda: conn.create_bucket(BUCKET),
        'ListBuckets': conn.list_buckets,
    }
    for operation, call in calls.items():
        before = len(store.log(operation))
        store.script(once(operation, status=503, code='SlowDown'))
        call()
        assert len(store.log(operation)) == before + 2
    store.script(once('HeadObject', times=None, status=500))
    with pytest.raises(TransferError, match='HeadObject s3://bucket/key: 500: Internal Server Error .*gave up after 4'):
        conn.exists(BUCKET, 'key')


def test_list_buckets(conn: s3po.Connection, store: Store) -> None:
    """All buckets are listed, over several pages too; a page that repeats or is none at all is an error."""
    store.create_bucket('another')
    page = '<ListAllMyBucketsResult><Buckets><Bucket><Name>{}</Name></Bucket></Buckets>{}</ListAllMyBucketsResult>'
    token = '<ContinuationToken>next</ContinuationToken>'

    assert sorted(conn.list_buckets()) == ['another', BUCKET]

    store.script(*(once('ListBuckets', status=200, body=page.format(*each)) for each in (('one', token), ('two', ''))))
    assert conn.list_buckets() == ['one', 'two']
    assert store.log('ListBuckets')[-1]['query'] == {'continuation-token': 'next'}

    store.script(*[once('ListBuckets', status=200, body=page.format('one', token))] * 3)
    with pytest.raises(ListingError, match='repeats a continuation token'):
        conn.list_buckets()
    store.script(once('ListBuckets', status=200, body='<html><body>Welcome</body></html>'))
    with pytest.raises(ListingError, match='not a list of buckets'):
        conn.list_buckets()


def test_list_buckets_is_refused(conn: s3po.Connection, store: Store) -> None:
    """A refusal is an error of s3po."""
    store.script(once('ListBuckets', status=403, code='AccessDenied'))

    with pytest.raises(AccessDenied, match='ListBuckets'):
        conn.list_buckets()


def test_retry_after(store: Store, connect: Connect) -> None:
    """A retry waits for Retry-After, plus the jitter."""
    slept: list[float] = []
    connection = connect(store.endpoint_url, retry=s3po.RetryPolicy(retries=2, sleep=slept.append))
    store.create_bucket(BUCKET)
    store.script(once('PutObject', times=2, status=503, code='SlowDown', headers={'Retry-After': '1'}))
    connection.upload(BUCKET, 'key', b'')

    assert len(slept) == 2
    assert all(1 <= seconds <= 2 for seconds in slept)


@pytest.mark.parametrize('code', ['InternalError', 'SlowDown'])
def test_failure_with_status_200(parts_conn: s3po.Connection, store: Store, code: str) -> None:
    """A CompleteMultipartUpload or CopyObject that fails late has its error in the body of a 200, and is retried."""
    for operation in ('CompleteMultipartUpload', 'CopyObject'):
        store.script(once(operation, status=200, body=ERROR_BODY.format(code)))
    result = parts_conn.upload(BUCKET, 'key', b'x' * (PART + 1))
    copied = parts_conn.copy(BUCKET, 'key', BUCKET, 'copy')

    assert (result.attempts, copied.attempts) == (3, 2)
    assert len(store.log('CompleteMultipartUpload')) == len(store.log('CopyObject')) == 2
    assert parts_conn.head(BUCKET, 'copy').size_bytes == PART + 1


def test_completed_without_an_etag(parts_conn: s3po.Connection, store: Store) -> None:
    """If the response to the completion has no ETag, as with some stores, a HEAD returns it."""
    store.script(once('CompleteMultipartUpload', work=True, status=200, body=COMPLETED_BODY))
    result = parts_conn.upload(BUCKET, 'key', b'x' * (PART + 1))

    assert len(store.log('HeadObject')) == 1
    assert result.etag == parts_conn.head(BUCKET, 'key').etag
    assert result.etag.endswith('-2')


def test_part_without_an_etag(parts_conn: s3po.Connection, store: Store) -> None:
    """A part whose response has no ETag is sent again, since the completion needs the ETag."""
    store.script(once('UploadPart', drop_headers=['ETag']))

    assert parts_conn.upload(BUCKET, 'key', b'x' * (PART + 1)).attempts == 3


def skewed(times: int | None, hours: int) -> dict[str, Any]:
    """A rule for a store whose clock is some hours behind."""
    theirs = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours)
    date = email.utils.format_datetime(theirs, usegmt=True)
    return once('PutObject', times=times, status=403, code='RequestTimeTooSkewed', headers={'Date': date})


def test_skewed_clock(conn: s3po.Connection, store: Store, kind: Kind) -> None:
    """A skewed clock is not retried, and the message contains the offset."""
    store.script(skewed(None, 1))
    with pytest.raises(AccessDenied, match=r"this machine's clock is 36\d\d s ahead of the store's; set it") as caught:
        conn.upload(BUCKET, 'key', b'')

    assert caught.value.attempts == 1
    assert len(store.log('PutObject')) == (2 if kind.corrects_clock else 1)


@pytest.mark.parametrize('kind', [WIRE], ids=['wire'])
def test_skewed_clock_is_corrected(conn: s3po.Connection, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The wire transport corrects the offset for all further requests, and logs it once."""
    store.script(skewed(1, 30))
    results = [conn.upload(BUCKET, str(number), b'data') for number in range(3)]
    conn.download(BUCKET, '0')
    dates = [seen['x-amz-date'] for operation in ('PutObject', 'GetObject') for seen in sent(store, operation)]
    moments = [datetime.datetime.strptime(date, '%Y%m%dT%H%M%SZ').replace(tzinfo=datetime.UTC) for date in dates]
    hours = [round((datetime.datetime.now(datetime.UTC) - moment).total_seconds() / 3600) for moment in moments]

    assert hours == [0, 30, 30, 30, 30]
    assert [result.attempts for result in results] == [1, 1, 1]
    assert caplog.text.count("this machine's clock is 1080") == 1


def test_refused_connection(connect: Connect) -> None:
    """A refused connection is retried."""
    with pytest.raises(UploadError, match='gave up after 4 attempts') as caught:
        connect('http://127.0.0.1:9').upload(BUCKET, 'key', b'')

    assert type(caught.value.__cause__) is NetworkError
