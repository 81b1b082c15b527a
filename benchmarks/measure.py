"""Runs works: each client in turn, round after round (A B A B), each time in a new process against the same store.

Of a library that can be used in several ways, a short trial selects the quickest way first.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import objects
from job import Job
from peers import Peer
from sink import Sink
from works import Measured, Run, Work, rate_of

_ONCE = Path(__file__).with_name('once.py')
_TIMEOUT_S = 300
_ROUND_TRIPS = 300
# The least number of objects for a slow client.
_LEAST_COUNT = 1000
_ERROR_CHARACTERS = 300
# Memory for the client itself and for the kernel's socket buffers.
_CLIENT_BYTES = 256 * objects.MIB
# A trial moves this share of the objects, but at least so many.
_TRIAL_SHARE, _TRIAL_LEAST = 0.25, 500


class MeasurementError(Exception):
    """A client failed or did too little; the message has the reason."""


def measure(
    work: Work, peers: Iterable[Peer], sink: Sink, rounds: int, deadline_s: float, report: Callable[[str], None]
) -> list[Measured]:
    """Runs the work `rounds` times with each library that can do it.

    Args:
        work: The work.
        peers: The installed clients.
        sink: The store.
        rounds: The number of runs of each library.
        deadline_s: The time (of `time.monotonic`) after which no second round begins.
        report: Called with a line for each figure.

    Returns:
        One entry per library; if it failed, the entry has its error, and it was not run again.
    """
    results: dict[str, tuple[Peer, Measured]] = {}
    for ways in _by_choice(work, peers).values():
        peer, tried, error = _quickest(work, ways, sink, report)
        measured = Measured(work=work, peer=peer.name, version=peer.version() or '', is_floor=peer.is_floor, tried=tried)
        measured.error = error
        results[peer.name] = peer, measured
    order = list(results.values())
    for number in range(rounds):
        if number and time.monotonic() > deadline_s:
            report(f'{work.name}: no more rounds, because the time is used up')
            break
        # Each round begins with another client, because the first one of a round may have a disadvantage.
        first = number % len(order) if order else 0
        for peer, result in order[first:] + order[:first]:
            if result.error:
                continue
            try:
                result.runs.append(_run(work, peer, sink, compare=number == 0))
            except MeasurementError as error:
                result.error = str(error)
                report(f'{work.name} {peer.name}: {error}')
            else:
                run = result.runs[-1]
                report(f'{work.name} {peer.name}: {run.seconds:.2f} s, {run.cpu_s:.2f} s of CPU')
    return [measured for _, measured in order]


def _by_choice(work: Work, peers: Iterable[Peer]) -> dict[str, list[Peer]]:
    """The peers that can do the work, grouped by library."""
    found: dict[str, list[Peer]] = {}
    for peer in peers:
        if work.verb in peer.verbs and peer.name not in work.without and work.only in {'', peer.library}:
            found.setdefault(peer.choice, []).append(peer)
    return found


def _quickest(
    work: Work, ways: list[Peer], sink: Sink, report: Callable[[str], None]
) -> tuple[Peer, dict[str, float], str | None]:
    """The way with the highest rate in a trial, the rates of all ways, and an error if none of them succeeded."""
    if len(ways) == 1:
        return ways[0], {}, None
    rates: dict[str, float] = {}
    errors = []
    # One trial is enough if a run is long, or consists mostly of waiting.
    for _ in range(1 if work.is_large or work.endpoint == 'delayed' else 2):
        for peer in ways:
            try:
                run = _run(work, peer, sink, compare=False, share=_TRIAL_SHARE)
            except MeasurementError as error:
                errors.append(f'{peer.name}: {error}')
                report(f'{work.name} {errors[-1]}')
            else:
                rates[peer.name] = max(rates.get(peer.name, 0.0), rate_of(work, run))
    if not rates:
        return ways[0], {}, errors[0]
    best = max(rates, key=rates.__getitem__)
    report(f'{work.name}: {best} is the quickest of {", ".join(rates)}')
    return next(peer for peer in ways if peer.name == best), rates, None


def round_trip_s(sink: Sink) -> float:
    """The median time of a GET of a small object over an open connection, on a bare socket: the time of the store itself."""
    host, port = sink.http.removeprefix('http://').split(':')
    request = f'GET /small/{objects.keys(1)[0]} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n'.encode()
    times_s = []
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for _ in range(_ROUND_TRIPS):
            began = time.perf_counter()
            connection.sendall(request)
            connection.recv(65536)
            times_s.append(time.perf_counter() - began)
    return median(times_s)


def _run(work: Work, peer: Peer, sink: Sink, *, compare: bool, share: float = 1.0) -> Run:
    """One run in a new process; `share` below 1 makes it a trial with fewer small objects."""
    out = sink.directory / 'out'
    count = _count(work, peer, share)
    job = Job(
        verb=work.verb,
        endpoint=getattr(sink, work.endpoint),
        status=sink.status,
        ca=str(sink.ca) if work.endpoint == 'https' else None,
        bucket=work.bucket,
        count=count,
        size_bytes=work.size_bytes,
        width=work.width,
        path=_path(work, sink, out),
        part_bytes=work.part_bytes,
        payload=work.payload,
        ballast=str(sink.ballast),
    )
    try:
        sink.fill_ballast(count * work.size_bytes + _CLIENT_BYTES)
        if work.verb in {'get_directory', 'get_tree'}:
            out.mkdir()
        measured = _once(peer, job)
        _check(job, sink, out, compare=compare)
    finally:
        sink.clear('put')
        _remove(out)
        sink.ballast.unlink(missing_ok=True)
    return Run(count=count, size_bytes=work.size_bytes, **measured)


def _count(work: Work, peer: Peer, share: float) -> int:
    if not work.is_shared:
        return work.count
    count = max(min(work.count, _LEAST_COUNT), round(work.count * peer.share))
    return count if share == 1.0 else max(min(count, _TRIAL_LEAST), round(count * share))


def _path(work: Work, sink: Sink, out: Path) -> str:
    if work.verb == 'put_file':
        return str(sink.large)
    if work.verb in {'put_directory', 'put_tree'}:
        return str(sink.directory / 'store' / 'small')
    return str(out) if work.verb in {'get_file', 'get_directory', 'get_tree'} else ''


def _once(peer: Peer, job: Job) -> dict[str, float]:
    """Runs one process of `once.py`; returns the figures that it printed."""
    child = subprocess.Popen(
        [sys.executable, str(_ONCE), peer.target, job.to_json()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(peer),
        start_new_session=True,
    )
    try:
        out, errors = child.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise MeasurementError(f'not done after {_TIMEOUT_S} s') from None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)  # and a program that it may have started
            child.communicate()
    if child.returncode:
        raise MeasurementError(f'ended with {child.returncode}: {errors.strip()[-_ERROR_CHARACTERS:]}')
    measured = json.loads(out.splitlines()[-1])
    if 'error' in measured:
        raise MeasurementError(' '.join(measured['error'].split())[:_ERROR_CHARACTERS])
    return measured


def _environment(peer: Peer) -> dict[str, str]:
    """The environment of a client: without settings of AWS and proxies, and with the checkout to import s3po from."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith('_proxy')}
    kept = {name: value for name, value in kept.items() if not name.startswith(('AWS_', 'S3_', 'S3PO_'))}
    nothing = {'AWS_CONFIG_FILE': os.devnull, 'AWS_SHARED_CREDENTIALS_FILE': os.devnull}
    tree = {'PYTHONPATH': peer.tree} if peer.tree else {}
    return {**kept, **nothing, **tree, 'AWS_EC2_METADATA_DISABLED': 'true'}


def _check(job: Job, sink: Sink, out: Path, *, compare: bool) -> None:
    """Raises if the client did less than its job. `compare` compares all bytes of a large download."""
    if job.verb.startswith(('put', 'write')):
        files, size_bytes = sink.stored(job.bucket)
        # Some clients send bodies in chunks with signatures or checksums; the store saves these unchanged.
        if files < job.count or size_bytes < job.count * job.size_bytes:
            raise MeasurementError(f'{files} files of {size_bytes} bytes were stored, too few')
    elif job.verb in {'get_directory', 'get_tree'}:
        sizes = [path.stat().st_size for path in out.iterdir()]
        if sizes != [job.size_bytes] * job.count:
            raise MeasurementError(f'{len(sizes)} files of {sum(sizes)} bytes were written')
    elif job.verb == 'get_file' and not _is_same(out, sink.large, compare=compare):
        raise MeasurementError('the downloaded file differs from the object')


def _is_same(path: Path, source: Path, *, compare: bool) -> bool:
    is_as_long = path.exists() and path.stat().st_size == source.stat().st_size
    return is_as_long and (not compare or filecmp.cmp(path, source, shallow=False))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
