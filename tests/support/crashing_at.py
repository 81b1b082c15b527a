"""A program that moves some objects under a journal, and kills itself at one of its writes.

    python -m tests.support.crashing_at upload|download ENDPOINT DIRECTORY STEP WHEN

STEP is the number of the write, from 1; 0 for none. WHEN is 'before' it, 'within' it (after half of the bytes), or 'after' it.
Without a kill, it prints the number of its writes and of the skipped and failed jobs.
"""

from __future__ import annotations

import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any, Never

import s3po
from s3po.config import MIB

BUCKET = 'bucket'
PART = 5 * MIB
LARGE_BYTES = 2 * PART + 1000
NAMES = ('large', 'small-1', 'moved', 'small-2')
CONFIG = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=2)
STEPS = ('pwrite', 'replace', 'rename', 'unlink', 'ftruncate')


def content(name: str) -> bytes:
    """The bytes of an object. `moved` is large too: its source is deleted after the upload."""
    if name.startswith('small'):
        return name.encode() * 100
    return b''.join(f'{name} {block:09} '.encode().ljust(1000, b'.') for block in range(LARGE_BYTES // 1000))


class Steps:
    """Counts the writes, and kills the process at one of them."""

    def __init__(self, step: int, when: str) -> None:
        self.count = 0
        self._step = step
        self._when = when
        for name in STEPS:
            setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count != self._step:
                return function(*arguments, **options)
            if self._when == 'after':
                function(*arguments, **options)
            elif self._when == 'within' and function.__name__ == 'pwrite':
                descriptor, data, offset = arguments
                function(descriptor, memoryview(data)[: len(data) // 2], offset)
            die()

        return counted


def die() -> Never:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError('SIGKILL')


def main() -> None:
    doing, endpoint_url, place, step, when = sys.argv[1:]
    directory = pathlib.Path(place)
    conn = s3po.Connection(
        access_key_id='key', secret_access_key='secret', endpoint_url=endpoint_url, region='us-east-1', config=CONFIG
    )
    called = open(directory / 'called', 'a', buffering=1)  # noqa: SIM115  (until the end)
    steps = Steps(int(step), when)
    with conn.batch(2, journal=directory / 'journal') as batch:
        for name in NAMES:
            path = directory / 'files' / name

            def callback(_: object, name: str = name) -> None:
                called.write(f'{name}\n')

            if doing == 'upload':
                batch.upload(BUCKET, name, path, delete=name == 'moved', callback=callback)
            else:
                batch.download(BUCKET, name, path, callback=callback)
    report = batch.report()
    print(steps.count, report.skipped, report.failed)


if __name__ == '__main__':
    main()
