"""Measures the CPU time that plain boto3 needs to upload and download files, in a process of its own.

    S3PO_PATCH=0 python -m s3po.cli.plain_boto3 ENDPOINT_URL BUCKET

It reads a JSON object of keys and paths from its standard input, and prints two numbers: the seconds of CPU time per upload and
per download. One thread makes one request at a time, because more threads make boto3 use more CPU time. S3PO_PATCH=0 keeps
gevent out of the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from s3po.errors import S3poError

__all__ = ['measure_boto3']

TIMEOUT_S = 300.0


def measure_boto3(endpoint_url: str, bucket: str, files: dict[str, Path]) -> tuple[float, float]:
    """CPU seconds (user and system) per upload and per download with boto3, measured in a new process.

    Args:
        endpoint_url: The server. It accepts all keys.
        bucket: An existing bucket. Objects with the keys of `files` are replaced.
        files: The files to upload, by their keys; at least one.

    Raises:
        S3poError: The process failed; its error is on stderr.
    """
    done = subprocess.run(  # noqa: S603  (our own module, run by the same interpreter)
        # -P: ignore modules in the current directory, such as a user's boto3.py.
        [sys.executable, '-P', '-m', 's3po.cli.plain_boto3', endpoint_url, bucket],
        env={**os.environ, 'S3PO_PATCH': '0'},
        input=json.dumps({key: str(path) for key, path in files.items()}),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        # Ctrl-C at the terminal goes to the command only; `run` then kills this process.
        start_new_session=True,
    )
    if done.returncode:
        raise S3poError('the measurement of boto3 failed')
    upload_s, download_s = map(float, done.stdout.split())
    return upload_s, download_s


def _measure(endpoint_url: str, bucket: str, files: dict[str, str]) -> tuple[float, float]:
    # Imported here: the command imports this module, and needs no boto3 for its arguments.
    import boto3
    from botocore.config import Config

    client: Any = boto3.client(
        's3',
        endpoint_url=endpoint_url,
        region_name='us-east-1',
        aws_access_key_id='demo',
        aws_secret_access_key='demo',  # noqa: S106  (moto accepts all keys)
        config=Config(s3={'addressing_style': 'path'}),
    )
    # The first request loads parts of boto3 and connects.
    client.head_bucket(Bucket=bucket)
    upload_s = _cpu_s(
        lambda item: client.put_object(Bucket=bucket, Key=item[0], Body=Path(item[1]).read_bytes()), files.items()
    )
    download_s = _cpu_s(lambda key: client.get_object(Bucket=bucket, Key=key)['Body'].read(), files)
    return upload_s, download_s


def _cpu_s(call: Callable[[Any], object], items: Iterable[Any]) -> float:
    """CPU seconds of this process per call."""
    count, began_s = 0, time.process_time()
    for count, item in enumerate(items, 1):  # noqa: B007  (the number of the last one is the count)
        call(item)
    return (time.process_time() - began_s) / max(1, count)


def main() -> None:
    """Read the arguments and the standard input, and print the measurement."""
    endpoint_url, bucket = sys.argv[1:]
    sys.stdout.write('{} {}\n'.format(*_measure(endpoint_url, bucket, json.load(sys.stdin))))


if __name__ == '__main__':
    main()
