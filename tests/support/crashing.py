"""A program that moves many files under a journal, to be killed and started again.

    python -m tests.support.crashing upload|download ENDPOINT DIRECTORY JOURNAL SMALL LARGE

It writes a line when its batch begins, and another one when all is done.
"""

from __future__ import annotations

import logging
import pathlib
import sys
from collections.abc import Iterator

import s3po
from s3po.config import MIB

BUCKET = 'bucket'
LARGE_BYTES = 64 * MIB
WIDTH = 50
# Parts of one object in flight at once.
PARTS = 4
CONFIG = s3po.TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=PARTS)


def names(small: int, large: int) -> Iterator[str]:
    """The names of all files, the large ones among the others."""
    every = max(1, small // max(1, large))
    for number in range(small):
        if number % every == 0 and number // every < large:
            yield f'large/{number // every}'
        yield f'small/{number:05}'


def content(name: str) -> bytes:
    """The bytes of a file."""
    kind, number = name.split('/')
    if kind == 'small':
        return f'{name} '.encode() * (1 + int(number) % 300)
    # Each part differs from all others.
    return b''.join(f'{name} {block:09} '.encode().ljust(1024, b'.') for block in range(LARGE_BYTES // 1024))


def main() -> None:
    doing, endpoint_url, directory, journal, small, large = sys.argv[1:]
    logging.basicConfig(level=logging.ERROR)
    conn = s3po.Connection(
        access_key_id='key', secret_access_key='secret', endpoint_url=endpoint_url, region='us-east-1', config=CONFIG
    )
    with conn.batch(WIDTH, journal=journal) as batch:
        print('begun', flush=True)
        for name in names(int(small), int(large)):
            path = pathlib.Path(directory, name)
            if doing == 'upload':
                batch.upload(BUCKET, name, path)
            else:
                batch.download(BUCKET, name, path)
    report = batch.report()
    print(f'done {report.skipped} {report.failed}', flush=True)


if __name__ == '__main__':
    main()
