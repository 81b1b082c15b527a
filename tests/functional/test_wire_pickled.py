"""A Connection is pickled as its arguments, and opens new connections where it is loaded."""

from __future__ import annotations

import copy
import pathlib
import pickle
from collections.abc import Callable
from typing import Any

import boto3
import pytest
import tenacity
from botocore.config import Config

import s3po
from s3po.config import MIB
from s3po.errors import ConfigurationError, UploadError
from tests.conftest import BUCKET
from tests.support.kinds import KINDS, Kind
from tests.support.memory import MemoryTransport
from tests.support.programs import Runner
from tests.support.servers import Authority, Store

Connect = Callable[..., s3po.Connection]

ELSEWHERE = """
    import pickle
    conn = pickle.loads(bytes.fromhex(os.environ['PICKLED']))
    with conn.batch(4) as batch:
        for number in range(20):
            batch.upload('bucket', str(number), str(number))
    assert [conn.download('bucket', str(number), encoding='utf-8') for number in range(20)] == list(map(str, range(20)))
"""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


def sent_again(connection: s3po.Connection) -> s3po.Connection:
    """The connection after pickling and unpickling."""
    arrived = pickle.loads(pickle.dumps(connection))
    assert isinstance(arrived, s3po.Connection)
    return arrived


def test_round_trip(conn: s3po.Connection, store: Store) -> None:
    """A used connection is unpickled without its sockets; both connections work."""
    conn.upload(BUCKET, 'here', b'data')
    before = {seen['connection'] for seen in store.log()}
    arrived = sent_again(conn)
    arrived.upload(BUCKET, 'there', b'data')
    conn.head(BUCKET, 'there')
    used = {seen['key']: seen['connection'] for seen in store.log('PutObject')}

    assert repr(arrived) == repr(conn)
    assert arrived.download(BUCKET, 'here') == b'data'
    assert used['there'] not in before
    assert store.log('HeadObject')[0]['connection'] == used['here']


@pytest.mark.slow
def test_in_another_process(conn: s3po.Connection, store: Store, authority: Authority, tmp_path: pathlib.Path) -> None:
    """An unpickled connection works in another process."""
    Runner(authority, store.endpoint_url, tmp_path)(ELSEWHERE, PICKLED=pickle.dumps(conn).hex())

    assert len(store.log('PutObject')) == 20


def test_all_that_it_was_made_with(store: Store, connect: Connect, tmp_path: pathlib.Path) -> None:
    """Limits, retries, defaults and botocore's Config are pickled, and have the same effect."""
    connect(store.endpoint_url).create_bucket(BUCKET)
    connection = sent_again(
        connect(
            store.endpoint_url,
            config=s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB),
            retry=s3po.RetryPolicy(retries=1, wait=tenacity.wait_none(), stop=tenacity.stop_after_delay(60)),
            client_config=Config(user_agent_extra='theirs/1'),
            default_extra={'RequestPayer': 'requester'},
            delete=True,
        )
    )
    (tmp_path / 'file').write_bytes(bytes(11 * MIB))

    assert connection.upload_file(BUCKET, 'key', tmp_path / 'file').parts == 3
    assert not (tmp_path / 'file').exists()
    headers = store.log('UploadPart')[0]['headers']
    assert headers['x-amz-request-payer'] == 'requester'
    assert headers['user-agent'].endswith('theirs/1')
    store.script({'operation': 'PutObject', 'action': {'status': 500}})
    with pytest.raises(UploadError) as caught:
        connection.upload(BUCKET, 'key', b'')
    assert caught.value.attempts == 2
    assert sent_again(connect(store.endpoint_url, silent=True)).upload(BUCKET, 'key', b'', retries=0) is False


def test_copy(conn: s3po.Connection) -> None:
    """copy.deepcopy() copies a connection, since it can be pickled."""
    conn.upload(BUCKET, 'key', b'data')

    assert copy.deepcopy(conn).download(BUCKET, 'key') == b'data'


def test_defaults() -> None:
    """A connection without arguments can be pickled; credentials are looked up where it is loaded."""
    assert repr(sent_again(s3po.Connection())) == '<Connection s3 region=None>'


@pytest.mark.parametrize('name', ['session', 'client', 'transport'])
def test_what_belongs_to_its_process(conn: s3po.Connection, memory: MemoryTransport, name: str) -> None:
    """Arguments with sockets or refreshable credentials cannot be pickled; the error names them."""
    given: dict[str, Any] = {'session': boto3.session.Session(), 'client': conn.conn, 'transport': memory}
    connection = s3po.Connection(**{name: given[name]})

    with pytest.raises(ConfigurationError, match=f'{name} belongs to this process, so the Connection cannot be pickled'):
        pickle.dumps(connection)
