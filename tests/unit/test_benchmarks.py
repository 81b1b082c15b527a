"""The benchmarks measure the fastest way of each library, and the documents name the clients that are ahead of s3po."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'
MODULES = ('floor', 'floor.c_sockets', 'job', 'measure', 'objects', 'peers', 'report', 'sink', 'targets', 'works')


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of the benchmarks, by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    found = SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES if '.' not in name})
    yield found
    for name in MODULES:
        sys.modules.pop(name, None)


def measured(benchmarks: Any, name: str, peer: str, seconds: float, cpu_s: float) -> Any:
    """A measurement of 1,000 objects in one round."""
    work = benchmarks.works.Work(name=name, title=f'Title of {name}', verb='put', bucket='put', count=1000)
    run = benchmarks.works.Run(
        count=1000, size_bytes=4096, seconds=seconds, cpu_s=cpu_s, rss_bytes=1, requests=1000, connections=0
    )
    return benchmarks.works.Measured(work=work, peer=peer, version='1', runs=[run])


def test_quickest_way_is_measured(benchmarks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a library's ways, the one with the highest rate in the trials is measured and named."""
    seconds = {'obstore/threads': 1.0, 'obstore/executor': 1.5, 'obstore/async': 2.0}

    def run(work: Any, peer: Any, sink: Any, *, compare: bool, share: float = 1.0) -> Any:
        return benchmarks.works.Run(
            count=1000, size_bytes=4096, seconds=seconds[peer.name], cpu_s=1.0, rss_bytes=1, requests=1, connections=0
        )

    monkeypatch.setattr(benchmarks.measure, '_run', run)
    work = benchmarks.works.Work(name='put', title='Puts', verb='put', bucket='put', count=1000)
    peers = [peer for peer in benchmarks.peers.PEERS if peer.library == 'obstore']
    [result] = benchmarks.measure.measure(work, peers, None, 3, float('inf'), lambda line: None)

    assert result.peer == 'obstore/threads'
    assert len(result.runs) == 3
    assert result.tried == {name: 1000 / taken for name, taken in seconds.items()}


def test_rounds_end_with_the_time(benchmarks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the deadline each client has one run of each work."""
    monkeypatch.setattr(
        benchmarks.measure, '_run', lambda *args, **options: measured(benchmarks, 'put', 's3po', 1.0, 1.0).runs[0]
    )
    work = benchmarks.works.Work(name='put', title='Puts', verb='put', bucket='put', count=1000)
    peers = [peer for peer in benchmarks.peers.PEERS if peer.name == 's3po']
    [result] = benchmarks.measure.measure(work, peers, None, 3, 0.0, lambda line: None)

    assert len(result.runs) == 1


def test_summary_names_the_clients_that_are_ahead(benchmarks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary has rate and CPU time of each library, and lists the clients that are ahead of s3po in a row."""
    results = [
        measured(benchmarks, 'put', 's3po', 0.05, 0.05),
        measured(benchmarks, 'put', 'opendal/threads', 0.04, 0.06),
        measured(benchmarks, 'put', 'boto3/threads', 1.0, 1.0),
        measured(benchmarks, 'put', 'floor/gevent', 0.02, 0.02),
    ]
    facts = {'date': '2026-01-01', 'python': '3.11', 'processors': 2, 'store': 'nginx'}
    monkeypatch.setattr(benchmarks.report, 'machine', lambda: facts)
    summary = benchmarks.report.summary(results)

    assert '- 20,000/s (50 µs)' in summary
    assert '- 25,000/s (60 µs)' in summary
    assert '(and the factor):\n\n- Title of put: opendal/threads 1.25\n\nClients that use less CPU time' in summary
    assert '(and the factor):\n\n- none' in summary
    assert '50,000/s (20 µs) for Title of put in Python' in summary


def test_aims(benchmarks: Any) -> None:
    """An aim is met or missed by the median; without a measurement it is not judged."""
    results = [measured(benchmarks, 'put', 's3po', 0.05, 0.05), measured(benchmarks, 'put-wide', 's3po', 0.05, 0.055)]
    verdicts = benchmarks.targets.judge(results, {})
    cells = {verdict.cells()[:2]: verdict.cells()[2:] for verdict in verdicts}

    assert cells['put', 'client CPU'] == ('<= 41 µs', '50 µs', '50 to 50', 'missed')
    assert cells['put-wide', 'client CPU of 50 workers / of 50'] == ('<= 1.2', '1.1', '1.1 to 1.1', 'met')
    assert cells['put', 'rate of s3po / boto3'][1:] == ('-', '', 'not measured')
    assert 'aim' in benchmarks.report.aims(verdicts).splitlines()[0]
