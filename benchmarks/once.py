"""Does one piece of work with one client, alone in this process, and prints the measurement as one line of JSON.

    python benchmarks/once.py MODULE:CLASS JOB

Imports, the construction of the client and a few requests to warm up are not measured.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time

from job import Job


def main() -> None:
    try:
        measured = _measure(sys.argv[1], Job.from_json(sys.argv[2]))
    except Exception as error:  # noqa: BLE001  (the parent process reports it)
        measured = {'error': f'{type(error).__name__}: {error}'}
    print(json.dumps(measured), flush=True)


def _measure(target: str, job: Job) -> dict[str, float]:
    module, _, name = target.partition(':')
    # The client is imported first: those under gevent patch the standard library.
    client = getattr(importlib.import_module(module), name)(job)
    client.warm_up()
    work = getattr(client, job.verb)

    connections, requests = _counters(job.status)
    os.unlink(job.ballast)
    cpu_s, began_s = _cpu_s(), time.perf_counter()
    kept = work()
    seconds, cpu_s = time.perf_counter() - began_s, _cpu_s() - cpu_s
    rss_bytes = getattr(client, 'rss_bytes', None) or _rss_bytes()
    connections_now, requests_now = _counters(job.status)

    _check(job, kept)
    return {
        'seconds': seconds,
        'cpu_s': cpu_s,
        'rss_bytes': rss_bytes,
        # The second query of the counter is counted in its own response; the first is not.
        'requests': requests_now - requests - 1,
        'connections': connections_now - connections - 1,
    }


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _rss_bytes() -> int:
    """The peak of this process. On Linux, ru_maxrss includes the parent's size at the fork; VmHWM does not."""
    try:
        with open('/proc/self/status') as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith('VmHWM:'))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _counters(address: tuple[str, int]) -> tuple[int, int]:
    """The numbers of connections and requests that the store has had."""
    import socket  # after gevent has patched it

    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b'GET /status HTTP/1.0\r\n\r\n')
        answer = b''.join(iter(lambda: connection.recv(65536), b''))
    # nginx's stub_status: the third line of the body has accepted and handled connections, and requests.
    accepted, _, requests = answer.partition(b'\r\n\r\n')[2].splitlines()[2].split()
    return int(accepted), int(requests)


def _check(job: Job, kept: object) -> None:
    """Raises if the client returned too few results, or bodies of other sizes."""
    if isinstance(kept, list):
        assert len(kept) == job.count, f'{len(kept)} results of {job.count}'
        if job.verb == 'get':
            sizes = {len(body) for body in kept}
            assert sizes == {job.size_bytes}, f'bodies of {sorted(sizes)[:5]} bytes'
    elif isinstance(kept, int):
        assert kept == job.count, f'{kept} of {job.count}'


if __name__ == '__main__':
    main()
