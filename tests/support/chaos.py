"""Uploads and downloads many objects through a faulty proxy, and compares every byte.

    python -m tests.support.chaos --endpoint http://HOST:PORT [--seed N] [--objects N] [--mib N] [--restart COMMAND]

It prints the seed, how many objects were lost, corrupted, transferred twice or left open, the retries per object, and the time
beside that of a run without faults. It exits with 1 unless the first four are all zero. Keys are read from S3PO_TEST_ACCESS_KEY
and S3PO_TEST_SECRET_KEY. The proxy is tests.support.faulty_proxy, in its own process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tenacity

import s3po
from s3po.config import MIB
from tests.support.servers import CHECKOUT, Server

LARGEST_BYTES = 64 * MIB
PART_BYTES = 5 * MIB
LARGE_EACH = 100
WIDTH = 16
RETRIES = 12
# The probability of each fault.
SHARE = 0.05


class FaultyProxy(Server):
    """tests.support.faulty_proxy in front of a store; without faults at first.

    Args:
        to: The store's host and port.
        seed: The seed of the faults.
        stall_s: How long a body stalls.
    """

    def __init__(self, to: str, seed: int, stall_s: float = 3.0) -> None:
        options = ['--to', to, '--seed', str(seed), '--share', '0', '--stall-s', str(stall_s)]
        super().__init__('tests.support.faulty_proxy', None, {}, *options)

    def only(self, *faults: str) -> None:
        """Allow only these faults from now on."""
        self.ask(f'only?{",".join(faults)}')

    def share(self, value: float) -> None:
        """Change the probability of each fault."""
        self.ask(f'share?{value}')

    def stats(self) -> dict[str, int]:
        """The number of each fault, and of exchanges."""
        return dict(self.ask('stats'))

    def ask(self, what: str) -> Any:
        with urllib.request.urlopen(f'{self.endpoint_url}/_proxy/{what}', timeout=30) as answer:
            return json.loads(answer.read())


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The result of a run.

    Attributes:
        objects: The number of objects.
        lost: Objects that are missing or whose jobs failed, each with the reason.
        corrupted: Objects that differ after the download.
        twice: Objects whose callback was called more than once, or that are still listed.
        left: The multipart uploads that are still open.
        retries: The number of requests that were sent again.
        seconds: The duration.
    """

    objects: int
    lost: list[str] = field(default_factory=list)
    corrupted: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    retries: int = 0
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether no object was lost, corrupted, transferred twice or left."""
        return not (self.lost or self.corrupted or self.twice or self.left)

    def __str__(self) -> str:
        return (
            f'{self.objects} objects: {len(self.lost)} lost, {len(self.corrupted)} corrupted, {len(self.twice)} twice, '
            f'{len(self.left)} uploads left open; {self.retries / max(1, self.objects):.2f} retries per object, '
            f'{self.seconds:.1f} s'
        )


def sizes(count: int, total_bytes: int, dice: random.Random) -> list[int]:
    """Log-uniform sizes from 0 to 64 MiB, scaled to a total; one of each hundred keeps a size of several parts.

    (Scaled to 3 GB, the largest of ten thousand would have 5 MiB, and hardly one in three hundred would be uploaded in parts.)
    """
    large = [math.exp(dice.uniform(math.log(PART_BYTES + 1), math.log(LARGEST_BYTES))) for _ in range(count // LARGE_EACH)]
    drawn = [math.expm1(dice.uniform(0, math.log1p(LARGEST_BYTES))) for _ in range(count - len(large))]
    scale = max(0.0, total_bytes - sum(large)) / max(1.0, sum(drawn))
    wanted = [min(LARGEST_BYTES, int(each)) for each in (*large, *(each * scale for each in drawn))]
    dice.shuffle(wanted)
    return wanted


def body_of(seed: int, number: int, size_bytes: int) -> bytes:
    """The bytes of one object."""
    return random.Random(f'{seed}-{number}').randbytes(size_bytes)


def connected(endpoint: str, **config: Any) -> s3po.Connection:
    """A connection with many retries and small parts."""
    wait = tenacity.wait_random_exponential(multiplier=0.05, max=2)
    return s3po.Connection(
        endpoint_url=endpoint,
        region='us-east-1',
        access_key_id=os.environ.get('S3PO_TEST_ACCESS_KEY', 'key'),
        secret_access_key=os.environ.get('S3PO_TEST_SECRET_KEY', 'secret-key'),
        retry=s3po.RetryPolicy(retries=RETRIES, wait=wait),
        config=s3po.TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, read_timeout_s=2.0, max_concurrency=4, **config
        ),
    )


def run(
    conn: s3po.Connection,
    direct: s3po.Connection,
    bucket: str,
    seed: int,
    wanted: list[int],
    *,
    half_way: Callable[[], None] | None,
) -> Outcome:
    """Upload and download the objects.

    Args:
        conn: A connection through the proxy.
        direct: A connection to the store.
        bucket: An empty bucket.
        seed: The seed of the bodies.
        wanted: The sizes of the objects.
        half_way: Called once, in the middle.
    """
    outcome, calls, began = Outcome(objects=len(wanted)), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory(prefix='s3po-chaos-') as directory:

        def compare(key: str, digest: str, path: Path, _: object) -> None:
            calls[key] += 1
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                outcome.corrupted.append(key)
            path.unlink()
            batch.delete(bucket, key)

        def fetch(key: str, digest: str, _: object) -> None:
            path = Path(directory) / key
            batch.download_file(bucket, key, path, callback=lambda result: compare(key, digest, path, result))

        with conn.batch(WIDTH, on_error='collect', keep_results=False) as batch:
            for number, size_bytes in enumerate(wanted):
                if half_way is not None and number == len(wanted) // 2:
                    half_way()
                body, key = body_of(seed, number, size_bytes), f'{number:06d}'
                digest = hashlib.sha256(body).hexdigest()
                batch.upload(bucket, key, body, callback=lambda result, key=key, digest=digest: fetch(key, digest, result))
        outcome.lost += [f'{each.ref}: {each.error}' for each in batch.failed]
        outcome.lost += [key for key in (f'{number:06d}' for number in range(len(wanted))) if not calls[key]]
        outcome.retries = batch.report().retries
    outcome.seconds = time.monotonic() - began
    outcome.twice += [key for key, count in calls.items() if count > 1] + [entry.key for entry in direct.list(bucket)]
    outcome.left += [each.key for each in direct._wiring.resolve(bucket)[0].list_multipart_uploads(bucket, extra={})]
    return outcome


def chaos(
    endpoint: str, *, seed: int, objects: int, total_bytes: int, checksum: str, restart: Callable[[], None] | None = None
) -> tuple[Outcome, Outcome, dict[str, int]]:
    """One run with faults and one without; returns both, and the number of each fault."""
    wanted = sizes(objects, total_bytes, random.Random(seed))
    bucket = f's3po-chaos-{seed}'
    with (
        FaultyProxy(endpoint.removeprefix('http://'), seed) as proxy,
        connected(proxy.endpoint_url, checksum=checksum) as conn,
        connected(endpoint) as direct,
    ):
        direct.create_bucket(bucket)
        proxy.share(SHARE)
        spoiled = run(conn, direct, bucket, seed, wanted, half_way=restart)
        counts = proxy.stats()
        proxy.share(0.0)
        clean = run(conn, direct, bucket, seed, wanted, half_way=None)
        direct.delete_bucket(bucket)
    return spoiled, clean, counts


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--endpoint', default=os.environ.get('S3PO_TEST_ENDPOINT'))
    parser.add_argument('--seed', type=int, action='append')
    parser.add_argument('--objects', type=int, default=10_000)
    parser.add_argument('--mib', type=int, default=3000)
    parser.add_argument('--checksum', default='md5', help="TransferConfig's; a store that keeps none has its ETag compared")
    parser.add_argument(
        '--restart', default=os.environ.get('S3PO_TEST_RESTART'), help='a command that restarts the store, half-way'
    )
    options = parser.parse_args()
    is_clean = True
    for seed in options.seed or [1, 2, 3]:
        restart = None
        if options.restart:
            restart = lambda: subprocess.run(options.restart, shell=True, check=True, cwd=CHECKOUT)  # noqa: E731
        spoiled, clean, counts = chaos(
            options.endpoint,
            seed=seed,
            objects=options.objects,
            total_bytes=options.mib * MIB,
            checksum=options.checksum,
            restart=restart,
        )
        print(f'seed {seed}: {spoiled}; without faults {clean.seconds:.1f} s; {counts}', flush=True)
        for each in (*spoiled.lost, *spoiled.corrupted, *spoiled.twice, *spoiled.left)[:20]:
            print(f'  {each}', flush=True)
        is_clean = is_clean and spoiled.is_clean and clean.is_clean
    sys.exit(not is_clean)


if __name__ == '__main__':
    main()
