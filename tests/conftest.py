"""Fixtures of all tests: local servers, and an environment without the settings of the machine."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity

import s3po
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.kinds import AUTO, Kind
from tests.support.memory import MemoryTransport
from tests.support.peak_memory import (
    pytest_runtest_logfinish,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)
from tests.support.quick import pytest_addoption, pytest_collection_modifyitems, pytest_configure
from tests.support.servers import Authority, MotoServer, Store

__all__ = [
    'pytest_addoption',
    'pytest_collection_modifyitems',
    'pytest_configure',
    'pytest_runtest_logfinish',
    'pytest_sessionfinish',
    'pytest_terminal_summary',
    'pytest_testnodedown',
]

# Rewrite the asserts of these modules, too, so that their failures show the values.
pytest.register_assert_rewrite('tests.support.conformance')

BUCKET = 'bucket'


# Return freed buffers to the system: glibc would keep those that are smaller than the largest one so far.
with contextlib.suppress(AttributeError):
    M_MMAP_THRESHOLD = -3  # malloc.h
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 20)


def pytest_collection_finish() -> None:
    """Exclude the objects that exist by now from the thousands of garbage collections."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def _no_environment() -> Iterator[None]:
    """Remove credentials, endpoint and region from the environment, and disable the metadata service."""
    kept = dict(os.environ)
    for name in [name for name in os.environ if name.startswith('AWS_')]:
        del os.environ[name]
    os.environ['AWS_CONFIG_FILE'] = os.environ['AWS_SHARED_CREDENTIALS_FILE'] = os.devnull
    os.environ['AWS_EC2_METADATA_DISABLED'] = 'true'
    yield
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture(scope='session', autouse=True)
def _botocore_reads_once() -> Iterator[None]:
    """Make all botocore sessions share the files that they read (2 MB of JSON, 400 directories), since tests make hundreds."""
    import botocore.regions  # after s3po, which must patch first
    import botocore.session

    create_loader, shared = botocore.session.create_loader, dict[str | None, dict[Any, Any]]()
    new_provider, providers = botocore.regions.EndpointProvider, dict[int, Any]()

    def loader(search_path: str | None = None) -> Any:
        made = create_loader(search_path)
        made._cache = shared.setdefault(search_path, made._cache)
        return made

    def provider(*, ruleset_data: Any, **options: Any) -> Any:
        # The data stays in the shared cache, so its id is not reused.
        if id(ruleset_data) not in providers:
            providers[id(ruleset_data)] = new_provider(ruleset_data=ruleset_data, **options)
        return providers[id(ruleset_data)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, 'create_loader', loader)
        patch.setattr(botocore.regions, 'EndpointProvider', provider)
        yield


@pytest.fixture(scope='session')
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A new certificate authority, which no client trusts by default."""
    return Authority(tmp_path_factory.mktemp('authority'))


@pytest.fixture(scope='session')
def _store_server() -> Iterator[Store]:
    with Store() as server:
        yield server


@pytest.fixture
def store(_store_server: Store) -> Store:
    """The keep-alive store, empty, with nothing scripted."""
    _store_server.reset()
    return _store_server


@pytest.fixture
def own_store() -> Iterator[Store]:
    """A store without other connections."""
    with Store() as server:
        yield server


@pytest.fixture(scope='session')
def _moto_server() -> Iterator[MotoServer]:
    with MotoServer() as server:
        yield server


@pytest.fixture
def moto_server(_moto_server: MotoServer) -> MotoServer:
    """moto's server, empty."""
    _moto_server.reset()
    return _moto_server


def impatient(retries: int = 3) -> s3po.RetryPolicy:
    """The default policy without its waits."""
    return s3po.RetryPolicy(retries=retries, wait=tenacity.wait_none())


@pytest.fixture
def kind() -> Kind:
    """The transport of connections. A test file that runs over both transports has its own fixture `kind`."""
    return AUTO


@pytest.fixture
def connect(kind: Kind) -> Iterator[Callable[..., s3po.Connection]]:
    """Makes connections with keys, region and a retry policy without waits, and closes them after the test."""
    made: list[s3po.Connection] = []

    def make(endpoint_url: str | None = None, **arguments: Any) -> s3po.Connection:
        if not {'profile', 'session', 'client', 'anonymous', 'access_key_id'} & set(arguments):
            arguments = {'access_key_id': 'key', 'secret_access_key': SECRET_ACCESS_KEY, **arguments}
        if 'client' not in arguments:
            arguments = {'region': 'us-east-1', 'endpoint_url': endpoint_url, **arguments}
        made.append(s3po.Connection(**{'retry': impatient(), 'transport': kind.name, **arguments}))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


@pytest.fixture
def conn(store: Store, connect: Callable[..., s3po.Connection]) -> s3po.Connection:
    """A connection to the keep-alive store; the bucket exists."""
    store.create_bucket(BUCKET)
    return connect(store.endpoint_url)


@pytest.fixture
def memory() -> Iterator[MemoryTransport]:
    """A transport in memory; the bucket exists."""
    transport = MemoryTransport()
    transport.store.create_bucket(BUCKET)
    yield transport
    # Connections are in reference cycles: without this, the objects would stay in memory until the next full garbage
    # collection.
    transport.store.reset()


@pytest.fixture
def memory_conn(memory: MemoryTransport) -> s3po.Connection:
    """A connection with the transport in memory."""
    return s3po.Connection(transport=memory, retry=impatient())
