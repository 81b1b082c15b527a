"""The command line of the benchmarks: reads the options, runs the works and prints the results."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import against
import report
import targets
from measure import measure, round_trip_s
from peers import PEERS, Peer
from sink import Sink, SinkError
from works import Bench, Measured

# With the last rounds, all of it takes at most 15 minutes.
_MINUTES = 12
# Rounds of a comparison with another checkout, whose differences are small.
_AGAINST_ROUNDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the command line.

    Attributes:
        rounds: The number of runs of each client; None for the number of each bench.
        minutes: The time after which each client has one run of each remaining work.
        quick: Whether to do little of everything, to see that it works.
        count: The number of small objects; None for the full number.
        mib: The size (MiB) of the large object; None for the full size.
        only: Clients, by name or library; empty for the default ones.
        works: Works, by name; empty for all.
        against: Another checkout to compare this one's s3po with; None to compare it with other clients.
        json: A file for all measurements.
        plot: A file for the chart.
        rst: A file for a document with all figures.
        readme: A document with marks to put the summary between.
        dir: The directory for the store, on a memory file system.
    """

    rounds: int | None
    minutes: float
    quick: bool
    count: int | None
    mib: int | None
    only: frozenset[str]
    works: frozenset[str]
    against: str | None
    json: str | None
    plot: str | None
    rst: str | None
    readme: str | None
    dir: str


def main(benches: Sequence[Callable[[Options], Bench]], about: str | None) -> None:
    """Runs the benchmarks; exits with 1 if a client failed, and with 2 if there is no server."""
    options = _parse(about)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began_s = time.monotonic()
    results: list[Measured] = []
    facts: dict[str, float] = {}
    peers = against.pair(options.against) if options.against else _installed(options)
    try:
        for make in benches:
            results += _run(make(options), peers, options, facts, began_s + 60 * options.minutes)
    except SinkError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    _print_progress(f'{(time.monotonic() - began_s) / 60:.1f} minutes')
    if options.against:
        print(f'\nthis: this checkout, other: {options.against}\n\n{against.table(results)}')
    else:
        verdicts = targets.judge(results, facts)
        print(f'\n{report.table(results)}\n\nAims\n{report.aims(verdicts)}')
        _write(options, results, verdicts, facts)
    sys.exit(any(result.error for result in results))


def _parse(about: str | None) -> Options:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, help=f'runs of each client (default 2 or 3; {_AGAINST_ROUNDS} with --against)')
    parser.add_argument(
        '--minutes', type=float, default=_MINUTES, help='after this time, one run of each client (default %(default)s)'
    )
    parser.add_argument('--quick', action='store_true', help='little of everything, to see that it works')
    parser.add_argument('--count', type=int, metavar='N', help='the number of small objects')
    parser.add_argument('--mib', type=int, metavar='MIB', help='the size of the large object')
    parser.add_argument('--only', default='', metavar='CLIENT,…', help=f'of {", ".join(peer.name for peer in PEERS)}')
    parser.add_argument('--works', default='', metavar='WORK,…', help='only these works, by their names in the results')
    parser.add_argument('--against', metavar='CHECKOUT', help='compare s3po of this checkout with that of another one')
    parser.add_argument('--json', metavar='FILE', help='write all measurements')
    parser.add_argument('--plot', metavar='FILE.png', help='draw a chart (needs matplotlib)')
    parser.add_argument('--rst', metavar='FILE', help='write a document with all figures')
    parser.add_argument('--readme', metavar='FILE', help='put the summary between the marks of this document')
    parser.add_argument(
        '--dir', default='/dev/shm', help='the directory for the store, on a memory file system (default %(default)s)'
    )
    values = vars(parser.parse_args())
    for name in ('only', 'works'):
        values[name] = frozenset(filter(None, values[name].split(',')))
    if values['rounds'] is None and (values['quick'] or values['against']):
        values['rounds'] = 1 if values['quick'] else _AGAINST_ROUNDS
    return Options(**values)


def _installed(options: Options) -> list[Peer]:
    """The selected clients that are installed; prints the names of the others."""
    chosen = [
        peer for peer in PEERS if (peer.is_default if not options.only else bool({peer.name, peer.library} & options.only))
    ]
    missing = {peer.name for peer in chosen if peer.version() is None}
    for name in sorted(missing):
        reason = 'there is no C compiler (cc)' if name == 'floor/c' else 'it is not installed'
        _print_progress(f'{name} is left out: {reason}')
    return [peer for peer in chosen if peer.name not in missing]


def _run(bench: Bench, peers: list[Peer], options: Options, facts: dict[str, float], deadline_s: float) -> list[Measured]:
    works = [work for work in bench.works if not options.works or work.name in options.works]
    if not works:
        return []
    results: list[Measured] = []
    with Sink(bench.contents, parent=options.dir) as sink:
        if bench.contents.small:
            facts.update(delay_s=sink.delay_s, round_trip_s=round_trip_s(sink))
        for work in works:
            results += measure(work, peers, sink, options.rounds or bench.rounds, deadline_s, _print_progress)
    return results


def _print_progress(text: str) -> None:
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
