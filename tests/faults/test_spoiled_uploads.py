"""Bytes that change on their way up (F47)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

import s3po
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
