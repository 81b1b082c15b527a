"""What `import s3po` does to programs; each runs in a process of its own, with real HTTPS on loopback.

A script reports by its exit code and output. Whether requests ran concurrently is measured by the store, which counts the
connections that are open at once while each response takes a while.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import Runner
from tests.support.servers import Authority, Store

SLOW_GET = {'operation': 'GetObject', 'action': {'delay_s': 0.5}}


@pytest.fixture(scope='module')
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp('authority'))


@pytest.fixture(scope='module')
def running(authority: Authority) -> Iterator[Store]:
    with Store(authority) as store:
        yield store


@pytest.fixture
def store(running: Store) -> Store:
    running.reset()
    return running


@pytest.fixture
def run(authority: Authority, store: Store, tmp_path: Path) -> Runner:
    return Runner(authority, store.endpoint_url, tmp_path)


NARROW = """
    assert all(map(is_patched, ('socket', 'ssl', 'time')))
    assert not any(map(is_patched, ('threading', '_thread', 'queue', 'select', 'selectors', 'os', 'subprocess', 'signal')))
"""
FULL = """
    assert all(map(is_patched, ('socket', 'ssl', 'time', 'threading', 'queue', 'select', 'os', 'subprocess', 'signal')))
"""
GET_SIDE_BY_SIDE = """
    client = make_client()
    client.create_bucket(Bucket='b')
    client.put_object(Bucket='b', Key='k', Body=b'data')
    get_side_by_side(lambda: client.get_object(Bucket='b', Key='k')['Body'].read())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ('first', 'environment', 'expected'),
    [
        ('import s3po', {}, NARROW),
        ('import s3po', {'S3PO_PATCH': 'all'}, FULL),
        ('import s3po; s3po.patch_all(); s3po.patch_all()', {}, FULL),
        ('import s3po; s3po.patch_all()', {'S3PO_PATCH': '0'}, FULL),
        ('from gevent import monkey; monkey.patch_socket(); import s3po; s3po.patch_all()', {}, FULL),
    ],
    ids=['imported', 'all by environment', 'all by call', 'all by call, though opted out', 'all by call, after gevent'],
)
def test_imported_first_it_patches_as_selected_and_warns_of_nothing(
    run: Runner, store: Store, first: str, environment: dict[str, str], expected: str
) -> None:
    store.script(SLOW_GET)

    program = run(f'\n{first}\n', expected, GET_SIDE_BY_SIDE, **environment)

    assert program.warnings == []
    assert store.stats()['peak_open'] >= 20


def test_opted_out_it_patches_nothing(run: Runner) -> None:
    program = run(
        """
        client = make_client()
        client.create_bucket(Bucket='b')
        import s3po, ssl, time, socket
        assert not any(map(is_patched, ('socket', 'ssl', 'threading', 'time', 'queue', 'select')))
        assert ssl.SSLContext.__module__ == 'ssl' and socket.socket.__module__ == 'socket'
        for each in (client, make_client()):
            each.put_object(Bucket='b', Key='k', Body=b'data')
            assert each.get_object(Bucket='b', Key='k')['Body'].read() == b'data'
        """,
        S3PO_PATCH='0',
    )

    assert program.warnings == []


def test_a_program_that_patched_by_itself_is_left_alone(run: Runner) -> None:
    program = run("""
        from gevent import monkey
        monkey.patch_all(queue=False)
        import ssl
        patched = ssl.SSLContext
        client = make_client()
        import s3po
        assert ssl.SSLContext is patched and not is_patched('queue')
        client.create_bucket(Bucket='b')
    """)

    assert program.warnings == []


def test_late_after_boto3_old_and_new_clients_work_and_are_cooperative(run: Runner, store: Store) -> None:
    store.script(SLOW_GET)

    program = run("""
        client = make_client()
        client.create_bucket(Bucket='b')
        client.put_object(Bucket='b', Key='k', Body=b'data')
        import s3po
        assert not is_patched('threading')
        get_side_by_side(lambda: client.get_object(Bucket='b', Key='k')['Body'].read())
        make_client().put_object(Bucket='b', Key='k', Body=b'data')
    """)

    assert program.warnings == []
    assert store.stats()['peak_open'] >= 20


@pytest.mark.slow
@pytest.mark.parametrize('library', ['requests', 'urllib3'])
def test_late_after_requests_or_urllib3_old_and_new_sessions_work_and_are_cooperative(
    run: Runner, store: Store, library: str
) -> None:
    store.script(SLOW_GET)

    program = run(
        f"""
        import {library}
        def make_getter():
            if '{library}' == 'urllib3':
                pool = urllib3.PoolManager(ca_certs=ca)
                return lambda: pool.request('GET', endpoint + '/b/k').data
            session = requests.Session()
            session.verify = ca
            return lambda: session.get(endpoint + '/b/k').content
        """,
        """
        client = make_client()
        client.create_bucket(Bucket='b')
        client.put_object(Bucket='b', Key='k', Body=b'data')
        get = make_getter()
        assert get() == b'data'
        import s3po
        get_side_by_side(get)
        assert make_getter()() == b'data'
        """,
    )

    assert program.warnings == []
    assert store.stats()['peak_open'] >= 20


def test_late_open_connections_wait_without_stopping_greenlets(run: Runner) -> None:
    run("""
        import socket, urllib3
        old, other = socket.socketpair()
        import s3po, gevent
        gevent.spawn(other.sendall, b'data')
        assert old.recv(100) == b'data'
        gevent.spawn(other.sendall, b'data')
        buffer = bytearray(4)
        assert old.recv_into(buffer) == 4 and buffer == b'data'
        for timeout_s, error in ((0.01, TimeoutError), (0, BlockingIOError)):
            old.settimeout(timeout_s)
            try:
                old.recv(100)
            except error:
                pass
            else:
                raise AssertionError(error)
        old.settimeout(None)
        gevent.spawn(other.close)
        assert old.recv(100) == b''
    """)


@pytest.mark.slow
def test_late_contexts_of_all_ages_keep_their_settings_and_class(run: Runner) -> None:
    program = run("""
        import ssl
        from ssl import SSLContext
        class Derived(SSLContext):
            pass
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        import s3po
        def is_right(conn, *rest): pass
        # Callbacks for a server's name cannot be set on clients' contexts.
        for context in (old, ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
                        *(kind(ssl.PROTOCOL_TLS_SERVER) for kind in (SSLContext, ssl.SSLContext, Derived))):
            assert isinstance(context, ssl.SSLContext)
            context.options |= ssl.OP_NO_TICKET
            context.verify_flags |= ssl.VERIFY_X509_STRICT
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
            context._msg_callback = context.sni_callback = is_right
            assert context.options & ssl.OP_NO_TICKET and context.verify_flags & ssl.VERIFY_X509_STRICT
            assert context.verify_mode is ssl.CERT_NONE
            assert context.minimum_version is context.maximum_version is ssl.TLSVersion.TLSv1_2
            assert context._msg_callback is context.sni_callback is is_right
            context._msg_callback = context.sni_callback = None
            assert context._msg_callback is context.sni_callback is None
    """)

    assert program.warnings == []


@pytest.mark.slow
def test_late_servers_choose_their_certificate_by_name_as_before(run: Runner, authority: Authority) -> None:
    run(
        """
        import socket, ssl
        seen = []
        def choose(connection, name, context):
            seen.append(name)
            connection.context = serving
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(os.environ['SERVER'])
        serving.sni_callback = choose
        import s3po, gevent
        listener = socket.create_server(('127.0.0.1', 0))
        def serve():
            with serving.wrap_socket(listener.accept()[0], server_side=True) as connection:
                connection.sendall(connection.recv(100))
        server = gevent.spawn(serve)
        trusting = ssl.create_default_context(cafile=ca)
        with trusting.wrap_socket(socket.create_connection(listener.getsockname()), server_hostname='localhost') as client:
            client.sendall(b'data')
            assert client.recv(100) == b'data'
        server.get()

        # asyncio's TLS knows of no sockets
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting.wrap_bio(incoming, outgoing, server_hostname='localhost')
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        answered = serving.wrap_bio(outgoing, incoming, server_side=True)
        try:
            answered.do_handshake()
        except ssl.SSLWantReadError:
            pass
        assert seen == ['localhost'] * 2
        """,
        SERVER=str(authority.server_pem),
    )


@pytest.mark.slow
@pytest.mark.parametrize('when', ['at import', 'by call'])
def test_full_patch_after_clients_warns(run: Runner, store: Store, when: str) -> None:
    """A full patch after clients were made warns, since their locks stay native; the clients work all the same."""
    store.script(SLOW_GET)

    program = run(
        """
        client = make_client()
        client.create_bucket(Bucket='b')
        client.put_object(Bucket='b', Key='k', Body=b'data')
        import importlib
        """,
        "importlib.import_module('s3po')"
        if when == 'at import'
        else "s3po = importlib.import_module('s3po')\ns3po.patch_all()",
        FULL,
        """
        get_side_by_side(lambda: client.get_object(Bucket='b', Key='k')['Body'].read())
        """,
        S3PO_PATCH='all' if when == 'at import' else '',
    )

    [warning] = program.warnings
    line = re.match(r'.*script\.py:(\d+): ', warning)
    assert line is not None
    at = (run.directory / 'script.py').read_text().splitlines()[int(line[1]) - 1]
    assert ('import_module' if when == 'at import' else 'patch_all') in at
    assert 'S3, ' in warning or 'S3)' in warning
    assert 'S3PO_PATCH=all, or call s3po.patch_all() in the first lines' in warning


@pytest.mark.slow
def test_the_full_patch_after_imports_alone_warns_of_nothing(run: Runner) -> None:
    """A full patch after imports alone does not warn: no object with a native lock exists."""
    program = run("""
        import boto3, urllib3, requests
        import s3po
        s3po.patch_all()
    """)

    assert program.warnings == []


@pytest.mark.slow
def test_the_full_patch_does_not_fail_where_warnings_are_errors(run: Runner) -> None:
    program = run("""
        import logging, warnings, urllib3
        logging.basicConfig()
        warnings.simplefilter('error')
        pool = urllib3.HTTPConnectionPool('localhost')
        import s3po
        s3po.patch_all()
    """)

    assert 'WARNING:s3po.runtime.patching:The full patch came late' in program.err
