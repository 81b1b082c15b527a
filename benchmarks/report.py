"""The forms of results: tables for a terminal and for documents, and JSON. Nothing is measured or judged here."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import targets
from objects import MIB
from peers import FLOOR, S3PO
from sink import NGINX
from works import Measured, Work, of

_MARKS = ('.. benchmarks: made by `make bench`', '.. benchmarks: end')
# The libraries of the summary, in the order of its columns.
_SUMMARISED = (S3PO, 'obstore', 'opendal', 'awscrt', 'boto3', 's5cmd', 'rclone')
# A smaller difference is noise.
_AHEAD = 1.03


def rate_text(work: Work, value: float) -> str:
    """A rate with its unit."""
    return f'{value / 1e9:.2f} GB/s' if work.is_large else f'{value:,.0f}/s'


def cpu_text(result: Measured) -> str:
    """The client's CPU time with its unit."""
    if result.work.is_large:
        return f'{result.cpu_s:.2f} s/GiB'
    return f'{result.cpu_s * 1e6:,.0f} µs' if result.cpu_s >= 1e-5 else f'{result.cpu_s * 1e6:.1f} µs'


def cell(result: Measured) -> str:
    """The rate and the CPU time, as in `22,300/s (44 µs)`."""
    return f'{rate_text(result.work, result.rate)} ({cpu_text(result)})'


def table(results: list[Measured]) -> str:
    """All works, each with its clients, fastest first."""
    return '\n\n'.join(_work_table(work, results) for work in works_of(results))


def aims(verdicts: list[targets.Verdict]) -> str:
    """The table of aims and measurements."""
    return aligned([targets.HEADINGS, *(verdict.cells() for verdict in verdicts)])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns: the first one to the left, the others to the right."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = (
            text.rjust(width) if n else text.ljust(width) for n, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append('  '.join(['  ' + first, *others]))
    return '\n'.join(lines)


def _work_table(work: Work, results: list[Measured]) -> str:
    heads = ('client', 'rate', 'min to max', 'CPU', 'RSS', 'requests', 's3po / it', 'CPU of s3po / it')
    rows = [heads, *((result.peer, *_cells(result, results)) for result in of(results, work.name))]
    errors = [f'  {each.peer}: {each.error}' for each in results if each.work.name == work.name and each.error]
    return '\n'.join([work.title, aligned(rows), *errors])


def _cells(result: Measured, results: list[Measured]) -> tuple[str, ...]:
    mine = _s3po(results, result.work.name)
    other = mine is not None and mine is not result
    requests = f'{result.requests:.0f}' if result.work.is_large else f'{result.requests:.4g}'
    return (
        rate_text(result.work, result.rate),
        f'{rate_text(result.work, min(result.rates))} to {rate_text(result.work, max(result.rates))}',
        cpu_text(result),
        f'{result.rss_bytes / MIB:.0f} MiB',
        requests,
        f'{median(mine.times(result)):.2f}' if other else '',
        f'{median(mine.cpu_times(result)):.2f}' if other else '',
    )


def _s3po(results: list[Measured], work: str) -> Measured | None:
    return next((each for each in of(results, work) if each.peer == S3PO), None)


def works_of(results: list[Measured]) -> list[Work]:
    """The works, each once, in the order of measurement."""
    return list({result.work.name: result.work for result in results}.values())


def machine() -> dict[str, object]:
    """The machine and its software, on which the figures depend."""
    output = subprocess.run([NGINX, '-v'], capture_output=True, text=True, check=False).stderr
    return {
        'processors': os.cpu_count(),
        'platform': platform.platform(),
        'python': platform.python_version(),
        'store': output.strip().rpartition(' ')[2] + ', one worker, in memory',
        'date': time.strftime('%Y-%m-%d'),
    }


def write_json(path: str, results: list[Measured], verdicts: list[targets.Verdict], facts: dict[str, float]) -> None:
    """Writes all measurements."""
    judged = [
        {
            'work': each.work,
            'quantity': each.text,
            'aim': each.aim,
            'is_limit': each.is_limit,
            'measured': each.measured,
            'figures': each.figures,
            'rounds_met': each.met,
            'result': each.word,
        }
        for each in verdicts
    ]
    values = {'machine': machine(), 'facts': facts, 'results': [each.to_json() for each in results], 'aims': judged}
    Path(path).write_text(json.dumps(values, indent=1) + '\n')


def write_rst(path: str, results: list[Measured], verdicts: list[targets.Verdict]) -> None:
    """Writes a document with all figures."""
    title = 'Benchmarks'
    heading = f'{title}\n{"=" * len(title)}'
    about = (
        'Made by ``make bench``: each client in turn, round after round, each time in a new process, against one nginx worker '
        'that stores in memory on the same machine. Figures are medians, with the minimum and maximum of the rounds in '
        'brackets. CPU is the user and system time of the client per object or per GiB; for s5cmd and rclone that of the '
        'program. Slow clients get fewer small objects. Of a library with several ways of use, a trial selects the quickest '
        'way for each work. The floor sends prepared requests on bare sockets, without signatures and checksums, and parses '
        'only the length of the response. In PUTs of small objects s3po, obstore and boto3 sign the payload (SHA-256), OpenDAL '
        'and awscrt do not; s3po sends a CRC64NVME, these others send no checksum.'
    )
    rows = [['Work', 'Client', 'Rate', 'CPU', 'Peak RSS', 'Requests per object', 's3po / it', 'CPU of s3po / it']]
    for work in works_of(results):
        for result in of(results, work.name):
            rate, spread, *others = _cells(result, results)
            rows.append([work.title, f'{result.peer} {result.version}'.rstrip(), f'{rate} ({spread})', *others])
    paragraphs = [heading, about, summary(results), 'All figures:', _list_table(rows)]
    paragraphs += ['Aims:', _list_table([list(targets.HEADINGS), *(list(verdict.cells()) for verdict in verdicts)])]
    tried = _tried(results)
    if len(tried) > 1:
        paragraphs += ['Ways that were tried, with their rates in the trial:', _list_table(tried)]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text('\n\n'.join(paragraphs) + '\n')


def _tried(results: list[Measured]) -> list[list[str]]:
    rows = [['Work', 'Quickest', 'Rates']]
    for result in results:
        if result.tried:
            rates = ', '.join(f'{name} {rate_text(result.work, rate)}' for name, rate in result.tried.items())
            rows.append([result.work.title, result.peer, rates])
    return rows


def write_into(path: str, results: list[Measured]) -> None:
    """Puts the summary between the marks of a document, which has them on lines of their own.

    Raises:
        ValueError: It has no marks.
    """
    begin, end = _MARKS
    text = Path(path).read_text()
    filled, count = re.subn(
        f'{re.escape(begin)}.*?{re.escape(end)}',
        lambda _: f'{begin}\n\n{summary(results)}\n\n{end}',
        text,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f'{path} needs the lines {begin!r} and {end!r}, once each')
    Path(path).write_text(filled)


def summary(results: list[Measured]) -> str:
    """The summary for documents: a row for each work, a column for each library, and the rows where others beat s3po."""
    libraries = [name for name in _SUMMARISED if any(each.library == name and each.runs for each in results)]
    rows = [['', *libraries]]
    ahead, leaner = [], []
    for work in works_of(results):
        found = {each.library: each for each in of(results, work.name) if each.library in libraries}
        if len(found) < 2:
            continue
        rows.append([work.title, *(cell(found[name]) if name in found else '-' for name in libraries)])
        mine = found.get(S3PO)
        if mine:
            others = [each for each in found.values() if each is not mine]
            ahead += _compared(work, [(each, 1 / median(mine.times(each))) for each in others])
            leaner += _compared(work, [(each, median(mine.cpu_times(each))) for each in others])
    parts = [
        _list_table(rows),
        'Clients with a higher rate than s3po (and the factor):',
        '\n'.join(ahead) or '- none',
        'Clients that use less CPU time than s3po (and the factor):',
        '\n'.join(leaner) or '- none',
        *filter(None, [_floors(results)]),
        _conditions(),
    ]
    return '\n\n'.join(parts)


def _compared(work: Work, ratios: list[tuple[Measured, float]]) -> list[str]:
    """A list item with the clients that are ahead of s3po, or nothing if none is."""
    found = sorted(((ratio, each.peer) for each, ratio in ratios if ratio > _AHEAD), reverse=True)
    names = ', '.join(f'{peer} {ratio:.2f}' for ratio, peer in found)
    return [f'- {work.title}: {names}'] if names else []


def _floors(results: list[Measured]) -> str:
    """The sentence about bare sockets, or '' if they were not measured."""
    texts = [
        f'{cell(result)} for {result.work.title} in {"C" if result.way == "c" else "Python"}'
        for work in works_of(results)
        for result in of(results, work.name)
        if result.library == FLOOR
    ]
    return f'The least that a client can take, bare sockets that send prepared requests: {", ".join(texts)}.' if texts else ''


def _conditions() -> str:
    facts = machine()
    return (
        f'In brackets: the CPU time of the client, per object or per GiB. Measured on {facts["date"]} with Python '
        f'{facts["python"]} on {facts["processors"]} processors, against {facts["store"]}, over loopback; each library in its '
        'quickest way of use.'
    )


def _list_table(rows: list[list[str]]) -> str:
    lines = ['.. list-table::', '   :header-rows: 1', '']
    for row in rows:
        lines += [f'   {"*" if n == 0 else " "} - {text}'.rstrip() for n, text in enumerate(row)]
    return '\n'.join(lines)
