"""`s3po demo`: moves real files to a local S3 server and back, and prints a table of the results.

Every byte is compared. The server refuses one part of a large object twice, so s3po must retry it. The demonstration uses
s3po's public interface only.
"""

from __future__ import annotations

import contextlib
import filecmp
import functools
import logging
import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from s3po.batch import BatchReport
from s3po.cli.plain_boto3 import measure_boto3
from s3po.cli.server import DemoServer
from s3po.config import MIB, TransferConfig
from s3po.connection import Connection
from s3po.errors import IntegrityError, S3poError
from s3po.model import TransferResult

__all__ = ['run_demo']

BUCKET = 'demo'
LARGE_KEY = 'large'
PART_BYTES = 8 * MIB
REFUSED_PART = 3
REFUSALS = 2
# boto3 is measured with at most so many of the small files, so that the demonstration stays short.
BOTO3_FILES = 200

HEADINGS = ('step', 'objects', 'bytes', 'seconds', 'objects/s', 'retries', 'mismatches')
WIDTHS = (14, 9, 14, 9, 11, 9, 12)

SKIPPED_FOLDERS = {'site-packages', '__pycache__'}
HIDDEN_VARIABLES = ('AWS_', 'MOTO_', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY')


def run_demo(*, size: int, objects: int, large_mib: int) -> None:
    """Move files to a server and back, and print the results. Blocks until all of it is done.

    Args:
        size: The number of calls that a batch makes at once.
        objects: The number of small files to move; fewer if the standard library has fewer.
        large_mib: The size of the large object in MiB, at least that of three parts.

    Raises:
        ConfigurationError: moto's server is not installed.
        IntegrityError: A downloaded object differs from the original.
        S3poError: A transfer failed.
    """
    files = _library_files(objects)
    with (
        _without_settings(),
        DemoServer(refuse_part=REFUSED_PART, refuse_times=REFUSALS) as server,
        _connection(server.endpoint_url) as conn,
        _retries_shown(),
    ):
        conn.create_bucket(BUCKET)
        _print(_aligned(*HEADINGS))
        different, cpu_s = _move_small(conn, files, size)
        result, is_same = _move_large(conn, large_mib * MIB)
        sample = _sample(files, BOTO3_FILES)
        boto3_cpu_s = measure_boto3(server.endpoint_url, BUCKET, sample)
    _print(_explanation(cpu_s, boto3_cpu_s, len(sample)))
    _conclude(result, different if is_same else [*different, LARGE_KEY])


def _move_small(conn: Connection, files: dict[str, Path], size: int) -> tuple[list[str], tuple[float, float]]:
    """Upload files and download them again.

    Returns:
        The keys of the objects that differ from their files, and this process's CPU seconds per upload and per download.
    """
    began_s = time.process_time()
    with conn.batch(size, keep_results=False) as batch:
        for key, path in files.items():
            batch.upload_file(BUCKET, key, path)
    uploaded_s = time.process_time()
    _print(_row('upload', batch.report()))

    unproven = dict(files)

    def compare(key: str, body: bytes) -> None:
        if body == files[key].read_bytes():
            del unproven[key]

    begins_again_s = time.process_time()
    with conn.batch(size, keep_results=False) as batch:
        for key in files:
            batch.download(BUCKET, key, callback=functools.partial(compare, key))
    downloaded_s = time.process_time()
    _print(_row('download', batch.report(), len(unproven)))
    cpu_s = (uploaded_s - began_s) / len(files), (downloaded_s - begins_again_s) / len(files)
    return list(unproven), cpu_s


def _move_large(conn: Connection, size_bytes: int) -> tuple[TransferResult, bool]:
    """Upload one large file and download it again; returns the upload's result, and whether the download equals the file."""
    with tempfile.TemporaryDirectory(prefix='s3po-demo-') as folder:
        source, target = Path(folder, 'source'), Path(folder, 'target')
        with source.open('wb') as file:
            for _ in range(size_bytes // MIB):
                # All parts differ, so exchanged parts are detected.
                file.write(os.urandom(MIB))
        sent = conn.upload_file(BUCKET, LARGE_KEY, source)
        _print(_row('large upload', _report_of(sent)))
        got = conn.download_file(BUCKET, LARGE_KEY, target)
        is_same = filecmp.cmp(source, target, shallow=False)
        _print(_row('large download', _report_of(got), int(not is_same)))
    return sent, is_same


def _sample(files: dict[str, Path], most: int) -> dict[str, Path]:
    """At most so many of the files, evenly spaced."""
    return dict(list(files.items())[:: -(-len(files) // most)])


def _explanation(s3po_s: tuple[float, float], boto3_s: tuple[float, float], boto3_objects: int) -> str:
    """What limits the rates, and the client's CPU time, which the server does not limit."""
    upload_ms, download_ms = (seconds * 1e3 for seconds in s3po_s)
    boto3_upload_ms, boto3_download_ms = (seconds * 1e3 for seconds in boto3_s)
    return (
        "\nThe objects/s are limited by the demo's own server (moto, which is written in Python), not by s3po.\n"
        'Client CPU time per small object:\n'
        f'  upload: s3po {upload_ms:.2f} ms, boto3 {boto3_upload_ms:.2f} ms\n'
        f'  download: s3po {download_ms:.2f} ms, boto3 {boto3_download_ms:.2f} ms\n'
        f'boto3 moved {boto3_objects:,} of these objects, one at a time. A server this slow leaves the client idle between\n'
        'requests, which makes each of them more expensive; with a fast server s3po needs far less (README.rst, "Speed").'
    )


def _conclude(large: TransferResult, different: list[str]) -> None:
    """Print the conclusion, or raise if a byte differs or the part was not retried."""
    if different:
        raise IntegrityError(
            f'downloaded objects that differ from the original: {len(different):,}, the first is {different[0]!r}'
        )
    if large.attempts - large.parts != REFUSALS:
        raise S3poError(f'part {REFUSED_PART} was refused twice, but {large.parts} parts took {large.attempts} attempts')
    _print(
        f'\nAll bytes are equal. Part {REFUSED_PART} was refused twice, and only that part was sent again: '
        f'{large.parts} parts, {large.attempts} attempts.'
    )


def _connection(endpoint_url: str) -> Connection:
    """A connection with all settings given, so that it reads none from the environment."""
    return Connection(
        endpoint_url=endpoint_url,
        region='us-east-1',
        access_key_id='demo',
        secret_access_key='demo',  # noqa: S106  (moto accepts all keys)
        addressing_style='path',
        config=TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES),
    )


def _library_files(limit: int) -> dict[str, Path]:
    """The first `*.py` files of the standard library in order of their paths, by their keys."""
    library = Path(sysconfig.get_path('stdlib'))
    files = {}
    for path in sorted(library.rglob('*.py')):
        relative = path.relative_to(library)
        # is_file: some systems have dangling links there.
        if SKIPPED_FOLDERS.isdisjoint(relative.parts) and path.is_file():
            files[relative.as_posix()] = path
        if len(files) == limit:
            break
    if not files:
        raise S3poError(f'there are no *.py files below {library} to move')
    return files


@contextlib.contextmanager
def _without_settings() -> Iterator[None]:
    """Hide the settings of boto3 and moto in the environment and in configuration files, for this process and its children.

    An AWS_PROFILE that does not exist, or a proxy, would break the demonstration.
    """
    before = dict(os.environ)
    for name in before:
        if name.upper().startswith(HIDDEN_VARIABLES):
            del os.environ[name]
    os.environ['AWS_CONFIG_FILE'] = os.environ['AWS_SHARED_CREDENTIALS_FILE'] = os.devnull
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _retries_shown() -> Iterator[None]:
    """Print s3po's warnings (each retry is one) between the lines of the table."""
    log = logging.getLogger('s3po')
    lines = _Lines(logging.WARNING)
    log.addHandler(lines)
    try:
        yield
    finally:
        log.removeHandler(lines)


class _Lines(logging.Handler):
    """Prints records as indented lines."""

    def emit(self, record: logging.LogRecord) -> None:
        _print(f'  {record.getMessage()}')


def _report_of(result: TransferResult) -> BatchReport:
    """The figures of the transfer of one object."""
    retries = result.attempts - result.parts
    return BatchReport(submitted=1, succeeded=1, size_bytes=result.size_bytes, seconds=result.seconds, retries=retries)


def _row(step: str, report: BatchReport, mismatches: int | None = None) -> str:
    """A line of the table. mismatches: The number of downloads that differ from the original; None for uploads."""
    return _aligned(
        step,
        f'{report.succeeded:,}',
        f'{report.size_bytes:,}',
        f'{report.seconds:.2f}',
        f'{report.jobs_per_s:,.0f}' if report.jobs_per_s >= 10 else f'{report.jobs_per_s:.1f}',
        f'{report.retries:,}',
        '-' if mismatches is None else f'{mismatches:,}',
    )


def _aligned(step: str, *figures: str) -> str:
    first, *others = WIDTHS
    return step.ljust(first) + ''.join(figure.rjust(width) for figure, width in zip(figures, others, strict=True))


def _print(line: object) -> None:
    sys.stdout.write(f'{line}\n')
    sys.stdout.flush()
