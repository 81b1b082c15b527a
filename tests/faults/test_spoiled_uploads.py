"""Bytes that change during an upload (F47), and stores' own error codes for it (F70)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

import s3po
from s3po.checksum import text_of
from s3po.config import MIB
from s3po.errors import IntegrityError
from tests.conftest import BUCKET
from tests.support.relay import Relay
from tests.support.servers import Store

MARK, SPOILED = b'<this is what changes>', b'<this is what chAnges>'
SMALL = os.urandom(5000) + MARK + os.urandom(5000)
LARGE = os.urandom(7 * MIB) + MARK + os.urandom(4 * MIB)


class Spoiler:
    """A way to the store on which the mark becomes something else.

    Attributes:
        times: How often, still.
    """

    def __init__(self, store: Store) -> None:
        self.times = 0
        self.relay = Relay(store.port, self._spoiled)
        self.relay.open()

    def _spoiled(self, data: bytes) -> bytes:
        # Cut in two by chance, it passes as it is; then the attempt is one that nothing befalls.
        if not self.times or MARK not in data:
            return data
        self.times -= 1
        return data.replace(MARK, SPOILED)


@pytest.fixture
def spoiler(store: Store) -> Iterator[Spoiler]:
    """The way, which spoils nothing at first."""
    made = Spoiler(store)
    yield made
    made.relay.close()


@pytest.fixture
def spoiled(spoiler: Spoiler, conn: s3po.Connection, connect: Callable[..., s3po.Connection]) -> s3po.Connection:
    """A connection that takes it. The tests' store computes a CRC64NVME of short bodies only, so it is a SHA-256."""
    config = s3po.TransferConfig(checksum='sha256', multipart_threshold=6 * MIB, multipart_chunksize=6 * MIB)
    return connect(spoiler.relay.endpoint_url, config=config)


@pytest.mark.fault('F47')
@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['one', 'parts'])
def test_once(spoiled: s3po.Connection, spoiler: Spoiler, store: Store, conn: s3po.Connection, data: bytes) -> None:
    """The store notices, and what was spoiled is sent again: that part alone."""
    spoiler.times = 1

    result = spoiled.upload(BUCKET, 'key', data)

    assert conn.download(BUCKET, 'key') == data
    assert result.attempts == result.parts + 1
    assert 'BadDigest' not in (result.checksum or '')


@pytest.mark.slow
@pytest.mark.fault('F47')
@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['one', 'parts'])
def test_for_ever(spoiled: s3po.Connection, spoiler: Spoiler, conn: s3po.Connection, data: bytes) -> None:
    """Three times are enough: it is never counted as done, and the old object stays."""
    conn.upload(BUCKET, 'key', b'old')
    spoiler.times = 1000

    with pytest.raises(IntegrityError, match='after 3 attempts'):
        spoiled.upload(BUCKET, 'key', data)

    assert conn.download(BUCKET, 'key') == b'old'


@pytest.mark.fault('F47')
def test_default(spoiler: Spoiler, conn: s3po.Connection, connect: Callable[..., s3po.Connection]) -> None:
    """Without a word of the caller's it is noticed as well."""
    spoiler.times = 1

    result = connect(spoiler.relay.endpoint_url).upload(BUCKET, 'key', SMALL)

    assert conn.download(BUCKET, 'key') == SMALL
    assert result.attempts == 2


# As Garage says that bytes do not match their checksum.
MISMATCH = {'status': 400, 'code': 'InvalidDigest', 'message': 'Invalid digest: Failed to validate checksum'}
IN_PARTS = s3po.TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=6 * MIB)


def carried(store: Store, operation: str) -> list[list[str]]:
    """The names of the headers for checking that each request carried."""
    headers = [seen['headers'] for seen in store.log(operation)]
    return [[name for name in each if name.startswith('x-amz-checksum-') or name == 'content-md5'] for each in headers]


@pytest.mark.fault('F70')
@pytest.mark.parametrize('is_first', [True, False], ids=['first', 'later'])
@pytest.mark.parametrize('operation', ['PutObject', 'UploadPart'])
def test_mismatch_in_other_words(
    store: Store, conn: s3po.Connection, connect: Callable[..., s3po.Connection], operation: str, *, is_first: bool
) -> None:
    """The bytes are sent again with their checksum, and every later upload carries one as well."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    data = SMALL if operation == 'PutObject' else LARGE
    if not is_first:
        connection.upload(BUCKET, 'before', data)
    store.script({'operation': operation, 'times': 1, 'action': MISMATCH})

    connection.upload(BUCKET, 'key', data)
    connection.upload(BUCKET, 'behind', data)

    assert conn.download(BUCKET, 'key') == data
    assert {tuple(names) for names in carried(store, operation)} == {('x-amz-checksum-crc64nvme',)}


@pytest.mark.fault('F70')
@pytest.mark.parametrize('is_first', [True, False], ids=['first', 'later'])
@pytest.mark.parametrize('operation', ['PutObject', 'UploadPart'])
def test_mismatch_in_other_words_for_ever(
    store: Store, connect: Callable[..., s3po.Connection], conn: s3po.Connection, operation: str, *, is_first: bool
) -> None:
    """Bytes that never match are never stored without a checksum, and the next upload carries one."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    data = SMALL if operation == 'PutObject' else LARGE
    if not is_first:
        connection.upload(BUCKET, 'before', data)
    store.script({'operation': operation, 'key': 'key', 'times': None, 'action': MISMATCH})

    with pytest.raises(IntegrityError, match='Failed to validate checksum'):
        connection.upload(BUCKET, 'key', data)
    connection.upload(BUCKET, 'behind', data)

    assert not conn.exists(BUCKET, 'key')
    assert [] not in carried(store, operation)
    assert carried(store, operation)[-1] == ['x-amz-checksum-crc64nvme']


@pytest.mark.fault('F70')
@pytest.mark.parametrize('status', [400, 501])
def test_store_that_takes_no_checksums(
    store: Store, connect: Callable[..., s3po.Connection], conn: s3po.Connection, status: int
) -> None:
    """That is found out with an MD5 in the checksum's place, once for a bucket."""
    connection = connect(store.endpoint_url)
    message = 'A header you provided is not known: x-amz-checksum-crc64nvme'
    headers = {'x-amz-checksum-crc64nvme': checksum_of(SMALL)}
    refusal = {'status': status, 'code': 'InvalidArgument' if status == 400 else 'NotImplemented', 'message': message}
    store.script({'operation': 'PutObject', 'headers': headers, 'times': None, 'action': refusal})

    for key in ('first', 'second'):
        connection.upload(BUCKET, key, SMALL)

    assert carried(store, 'PutObject')[-2:] == [['content-md5'], []]
    assert conn.download(BUCKET, 'second') == SMALL


def checksum_of(data: bytes) -> str:
    return text_of('CRC64NVME', [data]).partition(':')[2]
