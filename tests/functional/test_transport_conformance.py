"""All transports behave the same: the real ones against two servers, and those in memory that replace them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

import s3po
from s3po.s3 import Transport
from s3po.transport import memory as memory_of_package
from tests.conftest import BUCKET
from tests.support.conformance import *  # noqa: F403  (the tests)
from tests.support.memory import MemoryTransport


@pytest.fixture
def bucket() -> str:
    """The bucket that each transport has."""
    return BUCKET


@pytest.fixture
def shortcomings(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """Tests that moto cannot pass, with the reason."""
    if '[package' in request.node.name:
        return {'test_missing': 'buckets in memory appear on first use'}
    is_moto = '-moto' in request.node.name
    return {'test_copy_of_something_else': 'moto ignores x-amz-copy-source-if-match'} if is_moto else {}


@pytest.fixture(params=['memory', 'package', 'boto-store', 'boto-moto', 'wire-store', 'wire-moto'])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """A transport whose store has an empty bucket."""
    if request.param == 'memory':
        yield request.getfixturevalue('memory')
        return
    if request.param == 'package':
        yield memory_of_package.MemoryTransport()
        return
    kind, _, server_name = request.param.partition('-')
    server = request.getfixturevalue('store' if server_name == 'store' else 'moto_server')
    connection = request.getfixturevalue('connect')(server.endpoint_url, transport=kind)
    server.create_bucket(BUCKET)
    yield connection._wiring.resolve(BUCKET)[0]


def test_default_connection_uses_the_same(connect: Callable[..., s3po.Connection], memory: MemoryTransport) -> None:
    """A connection accepts any object with the methods of a transport."""
    connection = connect(transport=memory)

    connection.upload(BUCKET, 'key', b'x')

    assert memory.calls == [('PutObject', 'key', None)]
