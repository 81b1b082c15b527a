"""Transfers that fail half-way: only failed requests are retried, and failed transfers leave everything unchanged."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.kinds import KINDS, Kind
from tests.support.noise import noise
from tests.support.servers import Store

SMALL_PARTS = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
DATA = noise(11 * MIB + 7)  # three parts
OTHER = '0' * 32
SERVER_ERROR = {'status': 500, 'code': 'InternalError'}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def conn(store: Store, connect: Callable[..., s3po.Connection]) -> s3po.Connection:
    """A connection with small parts; the bucket exists."""
    connection = connect(store.endpoint_url, config=SMALL_PARTS)
    store.create_bucket(BUCKET)
    return connection


def parts_sent(store: Store) -> Counter[str]:
    """How often each part was sent, by its number."""
    return Counter(seen['query']['partNumber'] for seen in store.log('UploadPart'))


def ranges_asked(store: Store) -> Counter[str]:
    """How often each range was requested; '' is the whole object."""
    return Counter(seen['headers'].get('range', '') for seen in store.log('GetObject'))


def lost(action: dict[str, object]) -> int:
    """How many of two requests with this action get no response at all."""
    return 2 if ('reset' in action or 'close' in action) and 'cut_body_at' not in action else 0


# --- a failed part is sent again alone


@pytest.mark.parametrize(
    'action',
    [
        SERVER_ERROR,
        {'status': 503, 'code': 'SlowDown'},
        {'reset': True},
        {'reset': True, 'early': True, 'read_bytes': MIB},
        {'close': True},
        {'status': 400, 'code': 'RequestTimeout', 'early': True},
        {'work': True, 'reset': True},
        {'status': 400, 'code': 'BadDigest'},
    ],
    ids=lambda action: '-'.join(map(str, [*action.keys(), action.get('code', '')])),
)
def test_one_part_of_an_upload(conn: s3po.Connection, store: Store, kind: Kind, action: dict[str, object]) -> None:
    """A part that fails twice is sent three times, and the other parts once."""
    store.script({'operation': 'UploadPart', 'query': {'partNumber': '2'}, 'times': 2, 'action': action})

    result = conn.upload(BUCKET, 'key', DATA)

    assert parts_sent(store) == {'1': 1, '2': 3, '3': 1}
    assert result.parts == 3
    assert result.attempts in kind.attempts(5, lost=lost(action))
    assert conn.download(BUCKET, 'key') == DATA
    assert len(store.log('CreateMultipartUpload')) == len(store.log('CompleteMultipartUpload')) == 1


def test_one_part_of_a_file(conn: s3po.Connection, store: Store, tmp_path: Path) -> None:
    """A part that is sent again is read from the file again."""
    (tmp_path / 'source').write_bytes(DATA)
    store.script({'operation': 'UploadPart', 'query': {'partNumber': '2'}, 'times': 2, 'action': SERVER_ERROR})

    result = conn.upload(BUCKET, 'key', tmp_path / 'source')

    assert parts_sent(store) == {'1': 1, '2': 3, '3': 1}
    assert result.attempts == 5
    assert conn.download(BUCKET, 'key') == DATA


def test_one_part_of_a_stream(conn: s3po.Connection, store: Store) -> None:
    """A part of a stream, which cannot be read again, is kept until it is sent."""
    store.script({'operation': 'UploadPart', 'query': {'partNumber': '2'}, 'times': 2, 'action': SERVER_ERROR})

    result = conn.upload(BUCKET, 'key', (DATA[at : at + MIB] for at in range(0, len(DATA), MIB)))

    assert parts_sent(store) == {'1': 1, '2': 3, '3': 1}
    assert result.attempts == 5
    assert conn.download(BUCKET, 'key') == DATA


def test_one_part_of_a_copy(store: Store, connect: Callable[..., s3po.Connection]) -> None:
    """A failed part of a copy is copied again; the other parts are not."""
    config = s3po.TransferConfig(multipart_copy_threshold=5 * MIB, multipart_copy_chunksize=5 * MIB)
    conn = connect(store.endpoint_url, config=config)
    store.create_bucket(BUCKET)
    conn.upload(BUCKET, 'from', DATA)
    rule = {'operation': 'UploadPartCopy', 'query': {'partNumber': '2'}, 'times': 2}
    store.script({**rule, 'action': SERVER_ERROR})

    result = conn.copy(BUCKET, 'from', BUCKET, 'to')

    assert len(store.log('UploadPartCopy')) == result.attempts == 5
    assert conn.download(BUCKET, 'to') == DATA


@pytest.mark.parametrize(
    'action',
    [SERVER_ERROR, {'reset': True}, {'cut_body_at': 1_000_000}, {'cut_body_at': 1_000_000, 'reset': True}],
    ids='-'.join,
)
@pytest.mark.parametrize('makes_target', [lambda path: path, lambda path: None], ids=['path', 'bytes'])
def test_one_part_of_a_download(
    conn: s3po.Connection,
    store: Store,
    kind: Kind,
    tmp_path: Path,
    action: dict[str, object],
    makes_target: Callable[[Path], Path | None],
) -> None:
    """A failed range is requested again, the others are not; a truncated range continues after its last byte."""
    conn.upload(BUCKET, 'key', DATA)
    second = f'bytes={5 * MIB}-{10 * MIB - 1}'
    store.script({'operation': 'GetObject', 'headers': {'range': second}, 'times': 2, 'action': action})

    result = conn.download(BUCKET, 'key', makes_target(tmp_path / 'target'))

    asked = ranges_asked(store)
    others = {'': 1, f'bytes={10 * MIB}-{len(DATA) - 1}': 1}
    if kind.resumes and 'cut_body_at' in action:
        begins = sorted(int(each[len('bytes=') :].partition('-')[0]) for each in asked if each.endswith(f'-{10 * MIB - 1}'))
        # A reset discards bytes that arrived but were not read.
        assert begins[0] == 5 * MIB
        assert begins[1:] == [5 * MIB + 1_000_000] or ('reset' in action and begins[-1] < 5 * MIB + 1_000_000)
        assert asked.items() >= others.items()
    else:
        assert asked == {**others, second: 3}
    if isinstance(result, bytes):
        assert result == DATA
    else:
        assert (tmp_path / 'target').read_bytes() == DATA
        assert result.parts == 3
        assert result.attempts in kind.attempts(sum(ranges_asked(store).values()), lost=lost(action))


def test_part_that_fails_for_good(conn: s3po.Connection, store: Store) -> None:
    """If a part fails in all attempts, the error has its number and the attempts, and the upload is aborted."""
    store.script({'operation': 'UploadPart', 'query': {'partNumber': '3'}, 'action': SERVER_ERROR})

    with pytest.raises(
        s3po.UploadError, match=r'UploadPart 3 of s3://bucket/key: 500 .* \(gave up after 4 attempts\)'
    ) as caught:
        conn.upload(BUCKET, 'key', DATA)

    assert (caught.value.key, caught.value.part_number, caught.value.attempts) == ('key', 3, 4)
    assert isinstance(caught.value.__cause__, s3po.ServerError)
    assert conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads', []) == []
    assert not conn.exists(BUCKET, 'key')


def test_part_of_a_batch_that_fails_for_good(conn: s3po.Connection, store: Store) -> None:
    """The job of such a part is in `failed` with the same error; the other jobs are done."""
    store.script({'operation': 'UploadPart', 'key': 'key-2', 'query': {'partNumber': '3'}, 'action': SERVER_ERROR})

    with pytest.raises(s3po.BatchError, match='key-2'), conn.batch(2) as batch:
        for number in range(4):
            batch.upload(BUCKET, f'key-{number}', DATA)

    (failed,) = batch.failed
    assert (failed.bucket, failed.key, failed.error.part_number) == (BUCKET, 'key-2', 3)
    assert conn.conn.list_multipart_uploads(Bucket=BUCKET).get('Uploads', []) == []
    assert [entry.key for entry in conn.list(BUCKET)] == ['key-0', 'key-1', 'key-3']


# --- the target is unchanged

WHOLE = {'operation': 'GetObject'}
FAILURES = {
    'no such key': ({}, {'key': 'missing'}, s3po.NotFound),
    'no such bucket': ({}, {'bucket': 'missing'}, s3po.NoSuchBucket),
    'no access': ({**WHOLE, 'action': {'status': 403, 'code': 'AccessDenied'}}, {}, s3po.AccessDenied),
    'another ETag': ({}, {'if_match': OTHER}, s3po.PreconditionFailed),
    'server errors': ({**WHOLE, 'action': SERVER_ERROR}, {}, s3po.DownloadError),
    'no answers': ({**WHOLE, 'action': {'close': True}}, {}, s3po.DownloadError),
    'resets in the body': ({**WHOLE, 'action': {'cut_body_at': 100, 'reset': True}}, {}, s3po.DownloadError),
    'short bodies': ({**WHOLE, 'action': {'cut_body_at': 100}}, {}, s3po.DownloadError),
    'another range': ({**WHOLE, 'action': {'ignore_range': True}}, {'byte_range': (10, 90)}, s3po.IntegrityError),
}
# For an object in parts: what happens to the ranges after the first response.
LATER_FAILURES = {
    'another ETag in a part': ({'add_headers': {'ETag': f'"{OTHER}"'}}, s3po.SourceChanged),
    'replaced again and again': ({'status': 412, 'code': 'PreconditionFailed'}, s3po.SourceChanged),
    'gone meanwhile': ({'status': 404, 'code': 'NoSuchKey'}, s3po.NotFound),
    'resets in a part': ({'cut_body_at': 100_000, 'reset': True}, s3po.DownloadError),
    'another range in a part': (
        {'status': 206, 'headers': {'Content-Range': 'bytes 1-5/9', 'ETag': '"e"'}, 'body': 'xxxxx'},
        # The first attempt sees the other ETag.
        s3po.SourceChanged,
    ),
}


def check_survival(conn: s3po.Connection, error: type[Exception], directory: Path, **call: object) -> None:
    """Assert that a path, a binary and a text file object are unchanged by the failed call."""
    arguments = {'bucket': BUCKET, 'key': 'key', **call}
    path = directory / 'target'
    path.write_bytes(b'old')
    file = io.BytesIO(b'before')
    file.seek(6)
    text = io.StringIO()
    text.write('before')

    for target in (path, file, text, None):
        with pytest.raises(error):
            conn.download(target=target, **arguments)

    assert [found.name for found in directory.iterdir()] == ['target']
    assert path.read_bytes() == b'old'
    assert (file.getvalue(), text.getvalue()) == (b'before', 'before')
    with pytest.raises(error):
        conn.download_file(path=directory / 'absent', **arguments)
    assert [found.name for found in directory.iterdir()] == ['target']
    assert repr(conn._wiring.governor()) == '<Governor width=8 free=8>'


@pytest.mark.parametrize('size_bytes', [1000, len(DATA)], ids=['one request', 'in parts'])
@pytest.mark.parametrize('failure', FAILURES)
def test_target(conn: s3po.Connection, store: Store, tmp_path: Path, failure: str, size_bytes: int) -> None:
    """A failed download leaves its target unchanged."""
    rule, call, error = FAILURES[failure]
    conn.upload(BUCKET, 'key', b'x' * size_bytes)
    if rule:
        store.script(rule)

    check_survival(conn, error, tmp_path, **call)


@pytest.mark.parametrize('failure', LATER_FAILURES)
def test_target_of_parts(conn: s3po.Connection, store: Store, tmp_path: Path, failure: str) -> None:
    """A download that fails after most of its bytes have arrived leaves its target unchanged, too."""
    action, error = LATER_FAILURES[failure]
    etag = conn.upload(BUCKET, 'key', b'x' * len(DATA)).etag
    store.script({'operation': 'GetObject', 'headers': {'if-match': f'"{etag}"'}, 'action': action})

    check_survival(conn, error, tmp_path)


def test_target_that_was_absent_is_complete(conn: s3po.Connection, store: Store, tmp_path: Path) -> None:
    """A failed download to a new path leaves no file; a repeated call downloads all of it."""
    conn.upload(BUCKET, 'key', DATA)
    store.script({'operation': 'GetObject', 'times': 1, 'action': {'cut_body_at': 100}})
    with pytest.raises(s3po.DownloadError):
        conn.download(BUCKET, 'key', tmp_path / 'target', retries=0)
    assert list(tmp_path.iterdir()) == []

    conn.download(BUCKET, 'key', tmp_path / 'target')

    assert (tmp_path / 'target').read_bytes() == DATA
