"""Web servers whose handlers transfer objects: they respond to all requests in parallel, and end on request."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.neighbours.running import Runner

REQUESTS = 12
SIDE_BY_SIDE = 4
LIMIT_S = 20.0


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket, made first so that requests wait for the server."""
    with socket.create_server(('127.0.0.1', 0)) as made:
        yield made


def ask(listener: socket.socket, name: str) -> str:
    connection = http.client.HTTPConnection(*listener.getsockname(), timeout=LIMIT_S)
    try:
        connection.request('GET', f'/{name}')
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


def check_answers(listener: socket.socket) -> None:
    names = [f'name{number}' for number in range(REQUESTS)]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        assert list(pool.map(lambda name: ask(listener, name), names)) == names


@pytest.mark.parametrize('preload', ['', ' --preload'], ids=['', 'preload'])
@pytest.mark.parametrize('worker', ['sync', 'gthread', 'gevent'])
def test_gunicorn(run: Runner, listener: socket.socket, order: str, worker: str, preload: str) -> None:
    descriptor = listener.fileno()
    server = run.start(
        f'web --bind fd://{descriptor} --worker-class {worker} --workers 2 --threads 4 --log-level warning{preload}',
        order,
        descriptors=[descriptor],
    )
    try:
        check_answers(listener)
    except (OSError, AssertionError, http.client.HTTPException) as error:
        server.kill()
        pytest.fail(f'{error!r}\n{server.output}')
    server.end()
    run.check_transfers()


def test_uvicorn(run: Runner, listener: socket.socket, order: str) -> None:
    descriptor = listener.fileno()
    server = run.start(f'asynchronous_web {descriptor}', order, descriptors=[descriptor])
    assert ask(listener, 'inside') == 'inside'
    check_answers(listener)
    assert server.end().splitlines()[-1:] == ['done']
    run.check_transfers()
