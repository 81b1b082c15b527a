"""The command line of the benchmarks: reads the options, runs the works, shows what came of it."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import report
import targets
from measure import measure, round_trip_s
from peers import PEERS, Peer
from sink import Sink, SinkError
from works import Bench, Measured

_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.

    Attributes:
        rounds: How often each client has its turn.
        quick: Whether to do little of everything, to see that it works.
        count: How many small objects; None for the full number.
        mib: The size (MiB) of the large object; None for the full size.
        only: Clients, by name or library; all, if empty.
        works: Works, by name; all, if empty.
        json: A file for everything that was measured.
        plot: A file for the chart.
        rst: A file for a document of everything.
        readme: A document with marks, between which the summary goes.
        dir: A memory file system to work in.
    """

    rounds: int
    quick: bool
    count: int | None
    mib: int | None
    only: frozenset[str]
    works: frozenset[str]
    json: str | None
    plot: str | None
    rst: str | None
    readme: str | None
    dir: str


def main(benches: Sequence[Callable[[Options], Bench]], about: str | None) -> None:
    """Runs the benchmarks as the command line says; ends with 1 if a client failed, 2 if there is no server."""
    options = _parse(about)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results: list[Measured] = []
    facts: dict[str, float] = {}
    peers = _installed(options)
    try:
        for make in benches:
            results += _run(make(options), peers, options, facts)
    except SinkError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    verdicts = targets.judge(results, facts)
    print(f'\n{report.table(results)}\n')
    print(*verdicts, sep='\n')
    _write(options, results, verdicts, facts)
    sys.exit(any(result.error for result in results))


def _parse(about: str | None) -> Options:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, help=f'turns of each client (default {_ROUNDS}; 1 with --quick)')
    parser.add_argument('--quick', action='store_true', help='little of everything, to see that it works')
    parser.add_argument('--count', type=int, metavar='N', help='so many small objects')
    parser.add_argument('--mib', type=int, metavar='MIB', help='the size of the large object')
    parser.add_argument('--only', default='', metavar='CLIENT,…', help=f'of {", ".join(peer.name for peer in PEERS)}')
    parser.add_argument('--works', default='', metavar='WORK,…', help='only these works; results name them')
    parser.add_argument('--json', metavar='FILE', help='write everything that was measured')
    parser.add_argument('--plot', metavar='FILE.png', help='draw a chart (needs matplotlib)')
    parser.add_argument('--rst', metavar='FILE', help='write a document of everything')
    parser.add_argument('--readme', metavar='FILE', help='put the summary between the marks of this document')
    parser.add_argument('--dir', default='/dev/shm', help='a memory file system to work in (default %(default)s)')
    values = vars(parser.parse_args())
    for name in ('only', 'works'):
        values[name] = frozenset(filter(None, values[name].split(',')))
    values['rounds'] = values['rounds'] or (1 if values['quick'] else _ROUNDS)
    return Options(**values)


def _installed(options: Options) -> list[Peer]:
    """The clients that are asked for and installed; says which are not."""
    chosen = [peer for peer in PEERS if not options.only or {peer.name, peer.library} & options.only]
    missing = sorted({peer.library for peer in chosen if peer.version() is None})
    for library in missing:
        print(f'{library} is not installed, and left out', file=sys.stderr)
    return [peer for peer in chosen if peer.library not in missing]


def _run(bench: Bench, peers: list[Peer], options: Options, facts: dict[str, float]) -> list[Measured]:
    works = [work for work in bench.works if not options.works or work.name in options.works]
    if not works:
        return []
    results: list[Measured] = []
    with Sink(bench.contents, parent=options.dir) as sink:
        if bench.contents.small:
            facts.update(delay_s=sink.delay_s, round_trip_s=round_trip_s(sink))
        for work in works:
            results += measure(work, peers, sink, options.rounds, _say)
    return results


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(options: Options, results: list[Measured], verdicts: list[targets.Verdict], facts: dict[str, float]) -> None:
    if options.json:
        report.write_json(options.json, results, verdicts, facts)
    if options.rst:
        report.write_rst(options.rst, results, verdicts)
    if options.readme:
        report.write_into(options.readme, results)
    if options.plot:
        import chart  # matplotlib is slow to import, and optional

        chart.draw(options.plot, results)
