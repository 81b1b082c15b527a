"""Bytes that are changed during an upload (F47), and the error codes of other stores for it (F70)."""

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
    """A relay to the store that replaces MARK in request bodies.

    Attributes:
        times: How many more times it replaces MARK.
    """

    def __init__(self, store: Store) -> None:
        self.times = 0
        self.relay = Relay(store.port, self._spoiled)
        self.relay.open()

    def _spoiled(self, data: bytes) -> bytes:
        # If a packet boundary cuts the mark in two, it is not found, and this attempt is not spoiled.
        if not self.times or MARK not in data:
            return data
        self.times -= 1
        return data.replace(MARK, SPOILED)


@pytest.fixture
def spoiler(store: Store) -> Iterator[Spoiler]:
    """The relay, which changes nothing at first."""
    made = Spoiler(store)
    yield made
    made.relay.close()


@pytest.fixture
def spoiled(spoiler: Spoiler, conn: s3po.Connection, connect: Callable[..., s3po.Connection]) -> s3po.Connection:
    """A connection through the relay, with SHA-256: the tests' store computes a CRC64NVME of short bodies only."""
    config = s3po.TransferConfig(checksum='sha256', multipart_threshold=6 * MIB, multipart_chunksize=6 * MIB)
    return connect(spoiler.relay.endpoint_url, config=config)


@pytest.mark.fault('F47')
@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['one', 'parts'])
def test_once(spoiled: s3po.Connection, spoiler: Spoiler, store: Store, conn: s3po.Connection, data: bytes) -> None:
    """The store detects the changed bytes, and only the changed part is sent again."""
    spoiler.times = 1

    result = spoiled.upload(BUCKET, 'key', data)

    assert conn.download(BUCKET, 'key') == data
    assert result.attempts == result.parts + 1
    assert 'BadDigest' not in (result.checksum or '')


@pytest.mark.slow
@pytest.mark.fault('F47')
@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['one', 'parts'])
def test_for_ever(spoiled: s3po.Connection, spoiler: Spoiler, conn: s3po.Connection, data: bytes) -> None:
    """After three spoiled attempts the upload fails, and the old object stays."""
    conn.upload(BUCKET, 'key', b'old')
    spoiler.times = 1000

    with pytest.raises(IntegrityError, match='after 3 attempts'):
        spoiled.upload(BUCKET, 'key', data)

    assert conn.download(BUCKET, 'key') == b'old'


@pytest.mark.fault('F47')
def test_default(spoiler: Spoiler, conn: s3po.Connection, connect: Callable[..., s3po.Connection]) -> None:
    """The default options detect changed bytes, too."""
    spoiler.times = 1

    result = connect(spoiler.relay.endpoint_url).upload(BUCKET, 'key', SMALL)

    assert conn.download(BUCKET, 'key') == SMALL
    assert result.attempts == 2


# The response that Garage sends if the bytes do not match their checksum.
MISMATCH = {'status': 400, 'code': 'InvalidDigest', 'message': 'Invalid digest: Failed to validate checksum'}
IN_PARTS = s3po.TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=6 * MIB)


def carried(store: Store, operation: str) -> list[list[str]]:
    """The names of the checksum headers of each request of one operation."""
    headers = [seen['headers'] for seen in store.log(operation)]
    return [[name for name in each if name.startswith('x-amz-checksum-') or name == 'content-md5'] for each in headers]


@pytest.mark.fault('F70')
@pytest.mark.parametrize('is_first', [True, False], ids=['first', 'later'])
@pytest.mark.parametrize('operation', ['PutObject', 'UploadPart'])
def test_mismatch_reported_with_another_code(
    store: Store, conn: s3po.Connection, connect: Callable[..., s3po.Connection], operation: str, *, is_first: bool
) -> None:
    """A mismatch is retried with a checksum, and later uploads have one as well."""
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
def test_endless_mismatch_reported_with_another_code(
    store: Store, connect: Callable[..., s3po.Connection], conn: s3po.Connection, operation: str, *, is_first: bool
) -> None:
    """Bytes that never match are never stored without a checksum, and the next upload has one."""
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
    """If a store supports no x-amz-checksum headers, one request with Content-MD5 confirms it, once per bucket."""
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
