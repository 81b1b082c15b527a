"""Libraries that are used in one program with s3po, before, during and after transfers."""

from __future__ import annotations

import pytest

from tests.neighbours.running import Runner


@pytest.mark.parametrize('kind', ['pipes', 'asyncio'])
def test_threads(run: Runner, order: str, kind: str) -> None:
    run(f'threads {kind}', order)


@pytest.mark.parametrize('library', ['zarr', 'xarray'])
def test_arrays(run: Runner, order: str, library: str) -> None:
    run(f'arrays {library}', order)


def test_s3fs(run: Runner, order: str) -> None:
    run('filesystems', order)


@pytest.mark.parametrize('scheduler', ['threads', 'processes'])
def test_dask(run: Runner, order: str, scheduler: str) -> None:
    run(f'graphs {scheduler}', order)


@pytest.mark.parametrize('workers', ['threads', 'processes'])
def test_distributed(run: Runner, order: str, workers: str) -> None:
    run(f'clusters {workers}', order)


@pytest.mark.parametrize('pool', ['threads', 'processes'])
def test_apscheduler(run: Runner, order: str, pool: str) -> None:
    run(f'schedulers {pool}', order)


def test_xdist(run: Runner, order: str) -> None:
    run('tests_of_others', order)


def test_ipykernel(run: Runner, order: str) -> None:
    run('notebook', order, ignored=['For consistency across implementations'])


@pytest.mark.parametrize('pool', ['prefork', 'threads', 'solo', 'gevent'])
def test_celery(run: Runner, order: str, pool: str) -> None:
    worker = run.start(f'worker {pool}', order, ignored=["You're running the worker with superuser privileges"])
    run('tasks ask', order)
    worker.end()


def test_celery_in_memory(run: Runner, order: str) -> None:
    run('tasks inside', order)
