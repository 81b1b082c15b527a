"""Runs works: every client in turn, round after round (A B A B), each time in a fresh process against the same store.

What may live here: starting and ending those processes, and checking what they left behind.
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
from works import Measured, Run, Work

_ONCE = Path(__file__).with_name('once.py')
_TIMEOUT_S = 300
_ROUND_TRIPS = 300
# A slow client is given no fewer objects than these.
_LEAST_COUNT = 1000
_ERROR_CHARACTERS = 300
# What a client needs for itself, and the store's kernel buffers.
_CLIENT_BYTES = 256 * objects.MIB


class MeasurementError(Exception):
    """A client failed, or did not do what it was asked to; the message says what."""


def measure(work: Work, peers: Iterable[Peer], sink: Sink, rounds: int, say: Callable[[str], None]) -> list[Measured]:
    """Has each of the peers that can do the work do it, `rounds` times.

    Args:
        work: What to do.
        peers: The installed clients.
        sink: The store.
        rounds: How often each has its turn.
        say: Is told each figure as it comes.

    Returns:
        One entry a peer; one that failed has its error, and was not asked again.
    """
    able = [peer for peer in peers if work.verb in peer.verbs and peer.name not in work.without]
    results = {peer.name: Measured(work=work, peer=peer.name, version=peer.version() or '') for peer in able}
    for number in range(rounds):
        # Each round begins with another one, so that what only the first of a round has to bear is not always the same one's.
        first = number % len(able) if able else 0
        for peer in able[first:] + able[:first]:
            result = results[peer.name]
            if result.error:
                continue
            try:
                result.runs.append(_run(work, peer, sink, compare=number == 0))
            except MeasurementError as error:
                result.error = str(error)
                say(f'{work.name} {peer.name}: {error}')
            else:
                say(f'{work.name} {peer.name}: {result.runs[-1].seconds:.2f} s')
    return list(results.values())


def round_trip_s(sink: Sink) -> float:
    """The median time of a GET of a small object over a kept connection, without a client: what the store itself takes."""
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


def _run(work: Work, peer: Peer, sink: Sink, *, compare: bool) -> Run:
    out = sink.directory / 'out'
    count = max(min(work.count, _LEAST_COUNT), round(work.count * peer.share)) if work.is_shared else work.count
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


def _path(work: Work, sink: Sink, out: Path) -> str:
    if work.verb == 'put_file':
        return str(sink.large)
    if work.verb in {'put_directory', 'put_tree'}:
        return str(sink.directory / 'store' / 'small')
    return str(out) if work.verb in {'get_file', 'get_directory', 'get_tree'} else ''


def _once(peer: Peer, job: Job) -> dict[str, float]:
    """One process of `once.py`, and what it printed."""
    child = subprocess.Popen(
        [sys.executable, str(_ONCE), peer.target, job.to_json()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
        start_new_session=True,
    )
    try:
        out, errors = child.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise MeasurementError(f'not done after {_TIMEOUT_S} s') from None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)  # with a program that it may have started
            child.communicate()
    if child.returncode:
        raise MeasurementError(f'ended with {child.returncode}: {errors.strip()[-_ERROR_CHARACTERS:]}')
    measured = json.loads(out.splitlines()[-1])
    if 'error' in measured:
        raise MeasurementError(' '.join(measured['error'].split())[:_ERROR_CHARACTERS])
    return measured


def _environment() -> dict[str, str]:
    """This process's, without what would make clients look for proxies, accounts or instances."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith('_proxy')}
    kept = {name: value for name, value in kept.items() if not name.startswith(('AWS_', 'S3_', 'S3PO_'))}
    nothing = {'AWS_CONFIG_FILE': os.devnull, 'AWS_SHARED_CREDENTIALS_FILE': os.devnull}
    return {**kept, **nothing, 'AWS_EC2_METADATA_DISABLED': 'true'}


def _check(job: Job, sink: Sink, out: Path, *, compare: bool) -> None:
    """Raises when the client did less than its job; where `compare`, every byte of a large download is looked at."""
    if job.verb.startswith(('put', 'write')):
        files, size_bytes = sink.stored(job.bucket)
        # Some clients wrap bodies in chunks with signatures or checksums, which the store keeps as they came.
        if files < job.count or size_bytes < job.count * job.size_bytes:
            raise MeasurementError(f'{files} files of {size_bytes} bytes were stored, too few')
    elif job.verb in {'get_directory', 'get_tree'}:
        sizes = [path.stat().st_size for path in out.iterdir()]
        if sizes != [job.size_bytes] * job.count:
            raise MeasurementError(f'{len(sizes)} files of {sum(sizes)} bytes were written')
    elif job.verb == 'get_file' and not _is_same(out, sink.large, compare=compare):
        raise MeasurementError('the file is not what the object is')


def _is_same(path: Path, source: Path, *, compare: bool) -> bool:
    is_as_long = path.stat().st_size == source.stat().st_size
    return is_as_long and (not compare or filecmp.cmp(path, source, shallow=False))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
