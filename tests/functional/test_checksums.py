"""Checksums of uploads and downloads, over both transports, with every kind of store."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest

import s3po
from s3po.checksum import ALGORITHMS, is_combinable, text_of
from s3po.config import MIB
from s3po.errors import InvalidRequest, ServerError
from s3po.transport.wire.response_headers import WireAnswer
from tests.conftest import BUCKET
from tests.support.kinds import KINDS, Kind
from tests.support.noise import noise
from tests.support.servers import Store

Connect = Callable[..., s3po.Connection]

SMALL = os.urandom(10_000)
LARGE = noise(11 * MIB + 7)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


def parts(algorithm: str) -> s3po.TransferConfig:
    return s3po.TransferConfig(checksum=algorithm, multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)


@pytest.mark.parametrize('algorithm', ALGORITHMS)
@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['one', 'parts'])
def test_verified(
    store: Store, connect: Connect, conn: s3po.Connection, tmp_path: pathlib.Path, algorithm: str, data: bytes
) -> None:
    """A store that verifies checksums confirms each part and the whole object, and downloads are compared with the checksum."""
    connection = connect(store.endpoint_url, config=parts(algorithm.lower()))

    result = connection.upload(BUCKET, 'key', data)

    found = connection.download_file(BUCKET, 'key', tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == data
    if is_combinable(algorithm):
        assert result.checksum == found.checksum == text_of(algorithm, [data])
    elif algorithm == 'SHA256':
        assert str(result.checksum).startswith('SHA256:')
        assert found.checksum == (result.checksum if data is SMALL else None)
    else:
        assert result.checksum is None
        assert str(found.checksum).startswith('MD5:')


@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['one', 'parts'])
def test_ignored(store: Store, connect: Connect, conn: s3po.Connection, data: bytes) -> None:
    """If a store ignores checksums, the result contains none."""
    store.mode(checksums='ignore')
    connection = connect(store.endpoint_url, config=parts('auto'))

    assert connection.upload(BUCKET, 'key', data).checksum is None
    assert connection.download(BUCKET, 'key') == data


@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['one', 'parts'])
def test_refused(store: Store, connect: Connect, conn: s3po.Connection, data: bytes) -> None:
    """A store that refuses checksums receives one with one upload per bucket; a required algorithm is an error."""
    store.mode(checksums='refuse')
    connection = connect(store.endpoint_url, config=parts('auto'))

    for number in range(3):
        connection.upload(BUCKET, f'key{number}', data)
        assert connection.download(BUCKET, f'key{number}') == data

    uploads = [each for each in store.log() if each['operation'] in ('PutObject', 'CreateMultipartUpload')]
    assert [each['status'] for each in uploads] == [501, 200, 200, 200]
    with pytest.raises((InvalidRequest, ServerError, s3po.UploadError)):
        connect(store.endpoint_url, config=parts('sha256')).upload(BUCKET, 'other', data)
    assert not conn.exists(BUCKET, 'other')


@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['one', 'parts'])
def test_checksum_returned_unverified(store: Store, connect: Connect, conn: s3po.Connection, data: bytes) -> None:
    """If a store returns the client's checksum unverified, downloads are still compared with it."""
    store.mode(checksums='blind')
    connection = connect(store.endpoint_url, config=parts('auto'))

    connection.upload(BUCKET, 'key', data)

    assert connection.download(BUCKET, 'key') == data
    store.script({'operation': 'GetObject', 'times': 1, 'action': {'flip_byte_at': 77}})
    assert connection.download(BUCKET, 'key') == data


def test_unguarded(store: Store, connect: Connect, conn: s3po.Connection) -> None:
    """Without a signed body and a checksum, an MD5 ETag verifies the upload."""
    store.mode(checksums='ignore', etags='md5')
    config = s3po.TransferConfig(payload_signing='unsigned')
    connection = connect(store.endpoint_url, config=config)

    assert connection.upload(BUCKET, 'key', SMALL).warnings == ()


@pytest.mark.parametrize('algorithm', ['auto', 'md5', 'none'])
def test_no_object_info(store: Store, connect: Connect, conn: s3po.Connection, algorithm: str, kind: Kind) -> None:
    """A plain download parses only the headers that it needs: it builds no ObjectInfo, which would be slow."""
    if kind.name != 'wire':
        pytest.skip('boto3 makes all of them anyway')
    connection = connect(store.endpoint_url, config=parts(algorithm))
    connection.upload(BUCKET, 'key', LARGE)

    def refuse(answer: WireAnswer) -> None:
        raise AssertionError('made')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WireAnswer, 'info', property(refuse))
        assert connection.download(BUCKET, 'key') == LARGE
