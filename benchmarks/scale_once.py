"""Uploads very many small objects with one batch, alone in this process, and prints the growth as one line of JSON.

    python benchmarks/scale_once.py ENDPOINT OPTIONS

OPTIONS is JSON: `jobs`, `size_bytes`, `width`, and the options of the batch.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from job import ACCESS_KEY, REGION, SECRET_KEY

import s3po

SAMPLES = 100


def main() -> None:
    options = json.loads(sys.argv[2])
    jobs, size_bytes, width = (options.pop(name) for name in ('jobs', 'size_bytes', 'width'))
    conn = s3po.Connection(endpoint_url=sys.argv[1], region=REGION, access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY)
    # The same in each run: a journal compares the bytes.
    body = bytes(size_bytes)
    conn.upload('discard', 'warm', body)

    began_s, cpu_s = time.perf_counter(), _cpu_s()
    samples = []
    with conn.batch(width, keep_results=False, **options) as batch:
        # The first sample is after 1 % of the jobs, when all that is made once has been made.
        for number in range(jobs):
            batch.upload('discard', f'{number:09}', body)
            if (number + 1) % (jobs // SAMPLES) == 0:
                samples.append((number + 1, _rss_bytes(), _cpu_s() - cpu_s))
    seconds, cpu_s = time.perf_counter() - began_s, _cpu_s() - cpu_s
    report = batch.report()
    conn.close()
    done = report.succeeded
    assert done == jobs, f'{done} of {jobs}'
    measured = {
        'samples': samples,
        'seconds': seconds,
        'cpu_s': cpu_s,
        'rss_bytes': _rss_bytes(),
        # Of the worker processes, which have ended.
        'workers_cpu_s': _cpu_s(resource.RUSAGE_CHILDREN),
    }
    print(json.dumps(measured), flush=True)


def _cpu_s(who: int = resource.RUSAGE_SELF) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _rss_bytes() -> int:
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()


if __name__ == '__main__':
    main()
