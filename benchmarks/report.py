"""Shows results: tables for a terminal and for documents, and all of it as JSON.

What may live here: the forms of figures. Nothing is measured or judged here.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from pathlib import Path
from statistics import median

from objects import MIB
from peers import S3PO
from sink import NGINX
from targets import Verdict
from works import Measured, Work, of

_MARKS = ('.. benchmarks: made by `make bench`', '.. benchmarks: end')


def rate(result: Measured, value: float) -> str:
    """A rate with its unit."""
    return f'{value / 1e9:.2f} GB/s' if result.work.is_large else f'{value:,.0f}/s'


def cpu(result: Measured) -> str:
    """CPU time with its unit."""
    return f'{result.cpu_s:.2f} s/GiB' if result.work.is_large else f'{result.cpu_s * 1e6:,.0f} µs'


def requests(result: Measured) -> str:
    """Requests per object: as they are for one, else what is above or below one matters."""
    return f'{result.requests:.0f}' if result.work.is_large else f'{result.requests:.4g}'


def table(results: list[Measured]) -> str:
    """All works, each with its clients, fastest first."""
    return '\n\n'.join(_work_table(work, results) for work in works_of(results))


def _work_table(work: Work, results: list[Measured]) -> str:
    lines = [work.title]
    heads = ('client', 'rate', 'min to max', 'CPU', 'RSS', 'requests', 's3po / it')
    rows = [heads, *(_cells(result, results) for result in of(results, work.name))]
    widths = [max(len(row[n]) for row in rows) for n in range(len(heads))]
    for row in rows:
        cells = [
            cell.ljust(width) if n == 0 else cell.rjust(width) for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append('  ' + '  '.join(cells))
    lines += [f'  {each.peer}: {each.error}' for each in results if each.work.name == work.name and each.error]
    return '\n'.join(lines)


def _cells(result: Measured, results: list[Measured]) -> tuple[str, ...]:
    return (
        result.peer,
        rate(result, result.rate),
        f'{rate(result, min(result.rates))} to {rate(result, max(result.rates))}',
        cpu(result),
        f'{result.rss_bytes / MIB:.0f} MiB',
        requests(result),
        _times(result, results),
    )


def _times(result: Measured, results: list[Measured]) -> str:
    mine = next((each for each in of(results, result.work.name) if each.peer == S3PO), None)
    return f'{median(mine.times(result)):.2f}' if mine and mine is not result else ''


def works_of(results: list[Measured]) -> list[Work]:
    """The works, each once, in the order in which they were measured."""
    return list({result.work.name: result.work for result in results}.values())


def machine() -> dict[str, object]:
    """What the figures depend on, besides the clients."""
    said = subprocess.run([NGINX, '-v'], capture_output=True, text=True, check=False).stderr
    return {
        'processors': os.cpu_count(),
        'platform': platform.platform(),
        'python': platform.python_version(),
        'store': said.strip().rpartition(' ')[2] + ', one worker, in memory',
        'date': time.strftime('%Y-%m-%d'),
    }


def write_json(path: str, results: list[Measured], verdicts: list[Verdict], facts: dict[str, float]) -> None:
    """Writes all that was measured."""
    wanted = [
        {
            'work': each.work,
            'what': each.text,
            'measured': each.measured,
            'wanted': each.wanted,
            'verdict': each.word,
            'figures': each.figures,
            'held': each.held,
        }
        for each in verdicts
    ]
    values = {'machine': machine(), 'facts': facts, 'results': [each.to_json() for each in results], 'wanted': wanted}
    Path(path).write_text(json.dumps(values, indent=1) + '\n')


def write_rst(path: str, results: list[Measured], verdicts: list[Verdict]) -> None:
    """Writes a document of everything."""
    title = 'Benchmarks'
    about = (
        'Made by ``make bench``: every client in turn, round after round, each time in a fresh process, against one nginx '
        'worker that stores in memory on the same machine. Medians; in brackets the least and the greatest of the rounds. '
        'Clients that take long over small objects are given fewer of them.'
    )
    rows = [['Work', 'Client', 'Rate', 'CPU', 'Peak RSS', 'Requests per object', 's3po / it']]
    for work in works_of(results):
        for result in of(results, work.name):
            spread = f'{rate(result, result.rate)} ({rate(result, min(result.rates))} to {rate(result, max(result.rates))})'
            cells = _cells(result, results)
            rows.append([work.title, f'{result.peer} {result.version}', spread, *cells[3:]])
    wanted = '\n'.join(f'- {verdict}' for verdict in verdicts)
    heading = f'{title}\n{"=" * len(title)}'
    paragraphs = (heading, about, summary(results), 'All figures:', _list_table(rows), 'Wanted:', wanted)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text('\n\n'.join(paragraphs) + '\n')


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
    """A table for documents: a row for each work, a column for each library with the best of its ways of use."""
    libraries = list(dict.fromkeys(result.peer.partition('/')[0] for result in results if result.runs))
    rows = [['', *libraries]]
    for work in works_of(results):
        best: dict[str, str] = {}
        for result in reversed(of(results, work.name)):
            best[result.peer.partition('/')[0]] = rate(result, result.rate)
        rows.append([work.title, *(best.get(library, '-') for library in libraries)])
    facts = machine()
    note = (
        f'Measured on {facts["date"]} with Python {facts["python"]} on {facts["processors"]} processors, '
        f'against {facts["store"]}, over loopback; of each library the quickest way to use it.'
    )
    return f'{_list_table(rows)}\n\n{note}'


def _list_table(rows: list[list[str]]) -> str:
    lines = ['.. list-table::', '   :header-rows: 1', '']
    for row in rows:
        lines += [f'   {"*" if n == 0 else " "} - {cell}'.rstrip() for n, cell in enumerate(row)]
    return '\n'.join(lines)
