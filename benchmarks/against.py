"""Compares s3po of this checkout with s3po of another one, in turns (A B B A), and prints the ratios.

Both run in this Python environment, so only s3po itself differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

from peers import PEERS, S3PO, Peer
from report import aligned, cpu_text, rate_text, works_of
from works import Measured

_THIS = str(Path(__file__).resolve().parent.parent)


def pair(checkout: str) -> list[Peer]:
    """This checkout's s3po and the other's, as two peers.

    Raises:
        SystemExit: The other directory has no s3po that can be imported.
    """
    mine = next(peer for peer in PEERS if peer.name == S3PO)
    other = os.path.realpath(checkout)
    peers = [replace(mine, name='s3po/this', tree=_THIS), replace(mine, name='s3po/other', tree=other)]
    for peer in peers:
        command = [sys.executable, '-P', '-c', 'import s3po; print(*s3po.__path__)']
        done = subprocess.run(command, env={**os.environ, 'PYTHONPATH': peer.tree}, capture_output=True, text=True, check=False)
        if os.path.realpath(done.stdout.strip()) != os.path.join(peer.tree, 's3po'):
            raise SystemExit(f'cannot import s3po from {peer.tree}: {done.stderr.strip()[-500:] or done.stdout.strip()}')
    return peers


def table(results: list[Measured]) -> str:
    """A row per work: CPU time and rate of both, and the ratios this / other (median, minimum and maximum of the rounds)."""
    rows = [('work', 'CPU this', 'CPU other', 'CPU ratio', 'rate this', 'rate other', 'rate ratio')]
    for work in works_of(results):
        found = {each.way: each for each in results if each.work.name == work.name}
        this, other = found['this'], found['other']
        if not (this.runs and other.runs):
            rows.append((work.title, *(each.error or '' for each in (this, other)), '', '', '', ''))
            continue
        rows.append(
            (
                work.title,
                cpu_text(this),
                cpu_text(other),
                _spread(this.cpu_times(other)),
                rate_text(work, this.rate),
                rate_text(work, other.rate),
                _spread(this.times(other)),
            )
        )
    return aligned(rows)


def _spread(ratios: list[float]) -> str:
    return f'{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})'
