"""The growth of a batch of very many small objects, in memory and CPU time: `python benchmarks/bench_scale.py --help`.

Each run is a process of its own that uploads objects of 1 KiB to a bucket that keeps nothing, with keep_results=False:

- plain: the batch alone.
- journal: with a journal, in a new file.
- rerun: the same journal once more, so that all jobs are skipped.
- processes: with two worker processes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objects import KIB, MIB
from report import aligned, machine
from sink import Contents, Sink, SinkError

_CHILD = Path(__file__).parent / 'scale_once.py'
_WIDTH = 50
# The options of a batch that each run needs.
_NEEDS = ('plain', 'journal', 'rerun', 'processes')
# The first sample of the memory that counts: after 1 % of the jobs, 10,000 of a million.
_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What one run took.

    Attributes:
        name: The name of the run.
        jobs: The number of jobs.
        samples: After each percent: the number of jobs, the resident memory (bytes) and the CPU time of the process (s).
        seconds: The duration.
        cpu_s: The CPU time of the process.
        workers_cpu_s: The CPU time of its worker processes.
        rss_bytes: The resident memory at the end.
    """

    name: str
    jobs: int
    samples: list[tuple[int, int, float]]
    seconds: float
    cpu_s: float
    workers_cpu_s: float
    rss_bytes: int

    @property
    def grown_mib(self) -> float:
        """The growth of the memory from the first percent to the end."""
        return (self.rss_bytes - self.samples[0][1]) / MIB

    @property
    def cpu_us(self) -> float:
        """The CPU time (µs) per job, of all processes."""
        return (self.cpu_s + self.workers_cpu_s) / self.jobs * 1e6

    @property
    def parent_cpu_us(self) -> float:
        """The CPU time (µs) per job of the process with the batch."""
        return self.cpu_s / self.jobs * 1e6

    @property
    def slowdown(self) -> float:
        """The CPU time of the last tenth of the jobs, relative to that of the first tenth."""
        tenth = max(1, int(len(self.samples) * _SHARE))
        first, last = self.samples[tenth - 1][2], self.samples[-1][2] - self.samples[-1 - tenth][2]
        return last / first


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One aim.

    Attributes:
        text: The measured quantity.
        least: The least value that meets it; None for no least one.
        most: The greatest value that meets it; None for no greatest one.
        measured: The measurement.
    """

    text: str
    least: float | None = None
    most: float | None = None
    measured: float

    def cells(self) -> tuple[str, str, str, str]:
        """The row of a table."""
        aim = f'>= {self.least:,g}' if self.most is None else f'<= {self.most:,g}'
        is_met = (self.least is None or self.measured >= self.least) and (self.most is None or self.measured <= self.most)
        return self.text, aim, f'{self.measured:,.2f}', 'met' if is_met else 'MISSED'


def judge(runs: dict[str, Growth]) -> list[Aim]:
    """The aims whose runs were measured."""
    aims: list[Aim] = []
    plain, journal, rerun, processes = map(runs.get, _NEEDS)
    if plain:
        aims += [
            Aim(text='plain: growth after the first percent of the jobs, MiB', most=10, measured=plain.grown_mib),
            Aim(text='plain: CPU of the last tenth / of the first', most=1.05, measured=plain.slowdown),
        ]
    if plain and journal:
        aims += [
            Aim(text='journal: additional CPU per job, µs', most=6, measured=journal.cpu_us - plain.cpu_us),
            Aim(text='journal: growth after the first percent of the jobs, MiB', most=64, measured=journal.grown_mib),
        ]
    if plain and rerun:
        grown_mib = (rerun.rss_bytes - plain.samples[0][1]) / MIB
        aims += [
            Aim(text='rerun: skipped jobs per second', least=50_000, measured=rerun.jobs / rerun.seconds),
            Aim(text='rerun: memory beyond that of a plain run, MiB', most=64, measured=grown_mib),
        ]
    if plain and processes:
        aims += [
            Aim(text='processes: CPU per job / with one process', most=1.25, measured=processes.cpu_us / plain.cpu_us),
            Aim(text='processes: CPU per job of the parent, µs', most=10, measured=processes.parent_cpu_us),
        ]
    return aims


def measure(jobs: int, names: list[str], parent: str, progress: Callable[[str], object]) -> dict[str, Growth]:
    """Do the runs, one after the other."""
    runs: dict[str, Growth] = {}
    # As in most programs. Otherwise each worker process compiles all modules.
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONDONTWRITEBYTECODE'}
    with Sink(Contents(), parent=parent) as sink, tempfile.TemporaryDirectory(dir=parent) as directory:
        journal = str(Path(directory, 'journal'))
        options: dict[str, dict[str, Any]] = {
            'plain': {},
            'journal': {'journal': journal},
            'rerun': {'journal': journal},
            'processes': {'processes': 2},
        }
        for name in names:
            given = {'jobs': jobs, 'size_bytes': KIB, 'width': _WIDTH, **options[name]}
            command = [sys.executable, str(_CHILD), sink.http, json.dumps(given)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            if done.returncode:
                progress(f'{name}: failed\n{done.stderr[-2000:]}')
                continue
            runs[name] = Growth(name=name, jobs=jobs, **json.loads(done.stdout))
            progress(f'{name}: {jobs / runs[name].seconds:,.0f} jobs/s, {runs[name].cpu_us:.1f} µs of CPU per job')
    return runs


def draw(path: str, runs: dict[str, Growth]) -> None:
    """Draw memory and CPU time over the number of jobs."""
    from matplotlib.figure import Figure  # slow to import, and optional

    figure = Figure(figsize=(11, 4), layout='constrained')
    memory, cpu = figure.subplots(1, 2)
    for run in runs.values():
        numbers = [number for number, _, _ in run.samples]
        memory.plot(numbers, [rss / MIB for _, rss, _ in run.samples], label=run.name)
        spent = [0.0, *(cpu_s for _, _, cpu_s in run.samples)]
        each_us = [(after - before) / numbers[0] * 1e6 for before, after in itertools.pairwise(spent)]
        # Without the first percent, in which a journal is read.
        cpu.plot(numbers[1:], each_us[1:], label=run.name)
    memory.set_title('Resident memory of the process with the batch, MiB', loc='left', fontsize=10)
    cpu.set_title('Its CPU time per job, µs', loc='left', fontsize=10)
    for axes in (memory, cpu):
        axes.set_ylim(bottom=0)
        axes.set_xlabel('jobs')
        axes.xaxis.set_major_formatter('{x:,.0f}')
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Runs the benchmark; exits with 1 if a run failed, and with 2 if there is no server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--jobs', type=int, default=1_000_000, metavar='N', help='jobs of each run (default %(default)s)')
    parser.add_argument('--only', default=','.join(_NEEDS), metavar='RUN,…', help='only these runs (default %(default)s)')
    parser.add_argument('--json', metavar='FILE', help='write all measurements')
    parser.add_argument('--plot', metavar='FILE.png', help='draw a chart (needs matplotlib)')
    parser.add_argument('--dir', default='/dev/shm', help='the directory for the store and the journal (default %(default)s)')
    options = parser.parse_args()
    names = [name for name in _NEEDS if name in options.only.split(',')]
    try:
        runs = measure(max(100, options.jobs), names, options.dir, lambda text: print(text, file=sys.stderr, flush=True))
    except SinkError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(aligned([('quantity', 'aim', 'measured', 'result'), *(aim.cells() for aim in judge(runs))]))
    if options.json:
        values = {'machine': machine(), 'runs': {name: _values(run) for name, run in runs.items()}}
        Path(options.json).write_text(json.dumps(values, indent=1) + '\n')
    if options.plot:
        draw(options.plot, runs)
    sys.exit(len(runs) < len(names))


def _values(run: Growth) -> dict[str, Any]:
    figures = ('jobs', 'samples', 'seconds', 'cpu_us', 'parent_cpu_us', 'rss_bytes', 'grown_mib', 'slowdown')
    return {name: getattr(run, name) for name in figures}


if __name__ == '__main__':
    main()
