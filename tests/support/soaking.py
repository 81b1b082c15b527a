"""Runs mixed jobs through a faulty proxy for a given time, and looks for leaks and wrong data.

    python -m tests.support.soaking [--seconds N] [--seed N] [--only KIND ...]

A round runs each kind of jobs (tests.support.soak_jobs) once, in a random order. Then it compares every object of the store
with what was uploaded, and looks for multipart uploads and temporary files that were left. Between two kinds, when no job
runs, it counts file descriptors, greenlets, threads, child processes, objects of s3po and memory. The first rounds are for
warming up. At the end it compares the last counts with the first ones; what has grown is printed, with the growth during each
kind.

The store and the proxy are processes of their own. The exit code is 1 if anything was wrong. If it takes LATE_S longer than
the given time, it is ended, and the stacks of all threads are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import gc
import logging
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import gevent
import greenlet
import tenacity

import s3po
from s3po.config import MIB
from tests.support.chaos import FaultyProxy
from tests.support.live import live
from tests.support.servers import Store
from tests.support.soak_jobs import BUCKET, KINDS, Expected, Scene, digest

__all__ = ['Soak', 'grown']

# The probability of each fault.
SHARE: Final = 0.02
STALL_S: Final = 2.5
# Rounds before the first one that counts, and rounds at each end whose counts are compared.
WARM_UP: Final = 2
ENDS: Final = 2
LATE_S: Final = 420.0
# How long clean-up may take behind the jobs, and how long nothing changes when it has ended.
QUIET_S: Final = 30.0
STILL_S: Final = 1.0
# What may be more at the end than at the beginning.
ALLOWED: Final = {
    'descriptors': 2,
    'greenlets': 2,
    'threads': 2,
    'children': 0,
    'batches': 0,
    'jobs': 0,
    'objects of s3po': 20,
    'MiB': 60,
}
EXACT: Final = ('descriptors', 'greenlets', 'threads', 'children', 'batches', 'jobs')
# How many kinds run side by side.
WIDEST: Final = 3

# malloc.h
M_ARENA_MAX: Final = -8

Counts = dict[str, int]


def counts() -> Counts:
    """What this process has now, after a garbage collection."""
    ours = live()
    with open('/proc/self/statm') as file:
        size_bytes = int(file.read().split()[1]) * resource.getpagesize()
    # gevent starts and ends up to ten threads as it needs them; each has two greenlets.
    pool = gevent.get_hub().threadpool.size
    return {
        'descriptors': len(os.listdir('/proc/self/fd')),
        'greenlets': sum(isinstance(each, greenlet.greenlet) and not each.dead for each in gc.get_objects()) - 2 * pool,
        'threads': len(os.listdir('/proc/self/task')) - pool,
        'children': len(Path(f'/proc/self/task/{os.getpid()}/children').read_text().split()),
        'batches': ours['Batch'],
        'jobs': ours['Job'],
        'objects of s3po': ours.total(),
        # Not compared: gevent leaves the hub of each native thread that has ended, about twenty objects.
        'objects': len(gc.get_objects()),
        'MiB': size_bytes // MIB,
    }


def grown(samples: Sequence[Counts]) -> dict[str, tuple[int, int]]:
    """What is more at the end than is allowed: its counts at the beginning and at the end.

    A single sample may be high, because something ends late: the lowest of the last ones counts.

    Args:
        samples: The counts after each round, without those of the warm-up.
    """
    first, last, found = samples[:ENDS], samples[-ENDS:], {}
    for name, allowed in ALLOWED.items():
        begin, end = max(each[name] for each in first), min(each[name] for each in last)
        if end > begin + allowed:
            found[name] = begin, end
    return found


def _play(kind: Callable[[Scene], None], scene: Scene) -> None:
    """Run one kind, and note its error."""
    scene.directory.mkdir()
    try:
        kind(scene)
    except Exception:
        scene.expected.wrong.append(f'{scene.kind}: {traceback.format_exc()}')


class Soak:
    """Rounds of all kinds of jobs.

    Args:
        seed: The seed of the bodies, the order of the kinds, and the faults.
        only: The names of the kinds to run; empty for all.

    Attributes:
        samples: The counts after each round.
        growth: The sums of the growth during each kind, after the warm-up.
        wrong: What was not as expected.
    """

    def __init__(self, seed: int, only: Sequence[str] = ()) -> None:
        self.seed = seed
        self.samples: list[Counts] = []
        self.growth: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.wrong: list[str] = []
        self._kinds = [kind for kind in KINDS if not only or kind.__name__ in only]

    def run(self, seconds: float) -> None:
        """Run rounds for this time, and at least as many as can be compared."""
        end = time.monotonic() + seconds
        with (
            Store() as self._store,
            FaultyProxy(self._store.endpoint_url.removeprefix('http://'), self.seed, STALL_S) as self._proxy,
            FaultyProxy(self._store.endpoint_url.removeprefix('http://'), self.seed, STALL_S) as self._honest_proxy,
            tempfile.TemporaryDirectory(prefix='s3po-soak-') as directory,
        ):
            self._proxy.share(SHARE)
            self._honest_proxy.share(SHARE)
            self._honest_proxy.only('F04', 'F08', 'F23', 'F26', 'F42')
            self._before = counts()
            while time.monotonic() < end or len(self.samples) < WARM_UP + 2 * ENDS:
                began = time.monotonic()
                self._round(Path(directory))
                self.samples.append(self._quiet())
                print(f'round {len(self.samples)}: {time.monotonic() - began:.1f} s, {self.samples[-1]}', flush=True)
                if self.wrong:
                    break
        print(f'faults: {dict(self._faults)}', flush=True)

    def connect(self, *, is_honest: bool = False, **options: Any) -> s3po.Connection:
        """A new connection through a proxy, with many retries and small parts.

        Args:
            is_honest: Through the proxy that flips no bits: for parts of objects, of which stores have no checksums.
            options: Arguments of the connection.
        """
        small = dict.fromkeys(('multipart_threshold', 'multipart_chunksize', 'multipart_copy_threshold'), 5 * MIB)
        return s3po.Connection(
            endpoint_url=(self._honest_proxy if is_honest else self._proxy).endpoint_url,
            region='us-east-1',
            access_key_id='key',
            secret_access_key='secret-key',
            retry=s3po.RetryPolicy(retries=12, wait=tenacity.wait_random_exponential(multiplier=0.05, max=2)),
            config=s3po.TransferConfig(read_timeout_s=2.0, max_concurrency=4, multipart_copy_chunksize=5 * MIB, **small),
            **options,
        )

    def _round(self, directory: Path) -> None:
        """Run each kind once, some side by side, and compare the store."""
        self._store.create_bucket(BUCKET)
        name = f'{self.seed} {len(self.samples)}'
        dice, expected = random.Random(name), Expected(wrong=self.wrong)
        kinds = dice.sample(self._kinds, len(self._kinds))
        last = self._quiet()
        while kinds:
            group = [kinds.pop() for _ in range(min(len(kinds), dice.randint(1, WIDEST)))]
            with self.connect() as conn:
                scenes = [
                    Scene(
                        kind=kind.__name__,
                        conn=conn,
                        connect=self.connect,
                        dice=random.Random(f'{name} {kind.__name__}'),
                        directory=directory / kind.__name__,
                        expected=expected,
                    )
                    for kind in group
                ]
                gevent.joinall([gevent.spawn(_play, kind, scene) for kind, scene in zip(group, scenes, strict=True)])
            for scene in scenes:
                self._remove(scene.directory)
            del scenes, scene, conn
            now = self._quiet()
            for kind in group if len(self.samples) >= WARM_UP else ():
                self.growth[kind.__name__].update({name: now[name] - last[name] for name in now})
            last = now
        self._compare(expected)
        self._faults = Counter(self._proxy.stats()) + Counter(self._honest_proxy.stats())
        self._store.reset()

    def _remove(self, directory: Path) -> None:
        """Remove a kind's directory, and note what is left in it that no job should leave."""
        for path in directory.iterdir():
            if path.name.startswith('.') or path.name.endswith(('.part', '.kept')):
                self.wrong.append(f'{directory.name}: {path.name} was left')
            path.unlink()
        directory.rmdir()

    def _compare(self, expected: Expected) -> None:
        """Compare the store with what was uploaded."""
        stored, uncertain = expected.stored, expected.uncertain
        self._proxy.share(0.0)
        with self.connect() as conn, conn.batch(4, keep_results=False) as batch:
            found: dict[str, str] = {}
            for entry in conn.list(BUCKET):
                batch.download(BUCKET, entry, callback=lambda body, key=entry.key: found.update({key: digest(body)}))
            batch.wait()
            uploads = list(conn._wiring.resolve(BUCKET)[0].list_multipart_uploads(BUCKET, extra={}))
        self._proxy.share(SHARE)
        self.wrong += [f'{key}: lost' for key in stored.keys() - found.keys()]
        self.wrong += [f'{each.key}: an upload was left' for each in uploads]
        for key, content in found.items():
            if key not in stored and key not in uncertain:
                self.wrong.append(f'{key}: should not exist')
            elif content not in {stored.get(key), *uncertain.get(key, ())}:
                self.wrong.append(f'{key}: other bytes')

    def _quiet(self) -> Counts:
        """The counts when they are those of the beginning, or no longer change."""
        now, end = counts(), time.monotonic() + QUIET_S
        still_since = time.monotonic()
        while time.monotonic() < min(end, still_since + STILL_S) and any(now[name] > self._before[name] for name in EXACT):
            gevent.sleep(0.05)
            last, now = now, counts()
            if any(now[name] != last[name] for name in EXACT):
                still_since = time.monotonic()
        return now

    def judge(self) -> bool:
        """Print what has grown, and what was wrong. Returns True if nothing was."""
        for kind, sums in sorted(self.growth.items()):
            print(f'{kind}: {", ".join(f"{name} {sums[name]:+}" for name in ALLOWED if sums[name])}')
        found = grown(self.samples[WARM_UP:]) if len(self.samples) >= WARM_UP + 2 * ENDS else {}
        for name, (begin, end) in found.items():
            most = sorted(self.growth, key=lambda kind: self.growth[kind][name], reverse=True)[:3]
            print(f'{name}: grown from {begin} to {end}, most during {", ".join(most)} and what ran beside them')
        for each in self.wrong[:20]:
            print(f'wrong: {each}')
        return not found and not self.wrong


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=180.0)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--only', nargs='*', default=(), choices=[kind.__name__ for kind in KINDS], metavar='KIND')
    options = parser.parse_args()
    # Without the thousands of retries.
    logging.getLogger('s3po').setLevel(logging.ERROR)
    faulthandler.dump_traceback_later(options.seconds + LATE_S, exit=True)
    # glibc keeps up to 32 MiB of freed memory for each of up to eight threads per core (see docs/memory.rst). That is a limit,
    # but far above ALLOWED, and would hide leaks.
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    soak = Soak(options.seed, options.only)
    print(f'seed {options.seed}', flush=True)
    soak.run(options.seconds)
    is_good = soak.judge()
    print('nothing has grown, nothing is wrong' if is_good else f'to repeat it: --seed {options.seed}')
    sys.exit(not is_good)


if __name__ == '__main__':
    main()
