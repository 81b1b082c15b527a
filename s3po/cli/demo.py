"""`s3po demo`: the main job on real files, with every byte compared, and one part that has to be sent again.

What may live here: calls of the public face, as a user would make them, and the table of what came of them.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from s3po.batch import BatchReport
from s3po.cli.server import DemoServer
from s3po.config import MIB, TransferConfig
from s3po.connection import Connection
from s3po.errors import IntegrityError, S3poError
from s3po.model import TransferResult

__all__ = ['Row', 'run_demo']

BUCKET = 'demo'
LARGE_KEY = 'large'
PART_BYTES = 8 * MIB
REFUSED_PART = 3
REFUSALS = 2

HEADINGS = ('step', 'objects', 'bytes', 'seconds', 'objects/s', 'retries', 'mismatches')
WIDTHS = (14, 9, 14, 9, 11, 9, 12)

SKIPPED_FOLDERS = {'site-packages', '__pycache__'}
HIDDEN_VARIABLES = ('AWS_', 'MOTO_', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY')


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        step: What was done.
        objects: How many objects were moved.
        size_bytes: How many bytes.
        seconds: How long it took.
        retries: How many requests were sent again.
        mismatches: How many objects came back different; None where nothing came back.
    """

    step: str
    objects: int
    size_bytes: int
    seconds: float
    retries: int
    mismatches: int | None = None

    @classmethod
    def of_batch(cls, step: str, report: BatchReport, mismatches: int | None = None) -> Row:
        """What a batch has done."""
        return cls(
            step=step,
            objects=report.succeeded,
            size_bytes=report.size_bytes,
            seconds=report.seconds,
            retries=report.retries,
            mismatches=mismatches,
        )

    @classmethod
    def of_transfer(cls, step: str, result: TransferResult, mismatches: int | None = None) -> Row:
        """What the transfer of one object has done."""
        return cls(
            step=step,
            objects=1,
            size_bytes=result.size_bytes,
            seconds=result.seconds,
            retries=result.attempts - result.parts,
            mismatches=mismatches,
        )

    def __str__(self) -> str:
        rate = self.objects / self.seconds if self.seconds else 0.0
        return _aligned(
            self.step,
            f'{self.objects:,}',
            f'{self.size_bytes:,}',
            f'{self.seconds:.2f}',
            f'{rate:,.0f}' if rate >= 10 else f'{rate:.1f}',
            f'{self.retries:,}',
            '-' if self.mismatches is None else f'{self.mismatches:,}',
        )


def run_demo(*, size: int, objects: int, large_mib: int) -> None:
    """Move files to a server and back, and print what came of it. Blocks until all of it is done.

    Args:
        size: How many calls the batches make at once.
        objects: How many small files to move; fewer if the standard library has fewer.
        large_mib: The size of the large object in MiB, at least that of three parts.

    Raises:
        ConfigurationError: moto's server is not installed.
        IntegrityError: An object came back different.
        S3poError: Something was not moved at all.
    """
    with (
        _without_settings(),
        DemoServer(refuse_part=REFUSED_PART, refuse_times=REFUSALS) as server,
        _connection(server.endpoint_url) as conn,
        _retries_shown(),
    ):
        conn.create_bucket(BUCKET)
        _say(_aligned(*HEADINGS))
        different = _move_small(conn, _library_files(objects), size)
        result, is_same = _move_large(conn, large_mib * MIB)
    _conclude(result, different if is_same else [*different, LARGE_KEY])


def _move_small(conn: Connection, files: dict[str, Path], size: int) -> list[str]:
    """Upload many files and download them again; gives the keys of those that came back different."""
    with conn.batch(size, keep_results=False) as batch:
        for key, path in files.items():
            batch.upload_file(BUCKET, key, path)
    _say(Row.of_batch('upload', batch.report()))

    unproven = dict(files)

    def compare(key: str, body: bytes) -> None:
        if body == files[key].read_bytes():
            del unproven[key]

    with conn.batch(size, keep_results=False) as batch:
        for key in files:
            batch.download(BUCKET, key, callback=functools.partial(compare, key))
    _say(Row.of_batch('download', batch.report(), len(unproven)))
    return list(unproven)


def _move_large(conn: Connection, size_bytes: int) -> tuple[TransferResult, bool]:
    """Upload one large file and download it again; tells how the upload went, and whether the same came back."""
    with tempfile.TemporaryDirectory(prefix='s3po-demo-') as folder:
        source, target = Path(folder, 'source'), Path(folder, 'target')
        with source.open('wb') as file:
            for _ in range(size_bytes // MIB):
                # No two parts are alike, so that one in the place of another would be seen.
                file.write(os.urandom(MIB))
        sent = conn.upload_file(BUCKET, LARGE_KEY, source)
        _say(Row.of_transfer('large upload', sent))
        got = conn.download_file(BUCKET, LARGE_KEY, target)
        is_same = filecmp.cmp(source, target, shallow=False)
        _say(Row.of_transfer('large download', got, int(not is_same)))
    return sent, is_same


def _conclude(large: TransferResult, different: list[str]) -> None:
    """Say what was shown, or raise if it was not."""
    if different:
        raise IntegrityError(f'objects that came back different: {len(different):,}, the first of them {different[0]!r}')
    if large.attempts - large.parts != REFUSALS:
        raise S3poError(f'part {REFUSED_PART} was refused twice, but {large.parts} parts took {large.attempts} attempts')
    _say(
        f'\nEvery byte came back. Part {REFUSED_PART} was refused twice and sent again alone: '
        f'{large.parts} parts, {large.attempts} attempts.'
    )


def _connection(endpoint_url: str) -> Connection:
    """Everything is given, so nothing is looked for."""
    return Connection(
        endpoint_url=endpoint_url,
        region='us-east-1',
        access_key_id='demo',
        secret_access_key='demo',  # noqa: S106  (moto takes any)
        addressing_style='path',
        config=TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES),
    )


def _library_files(limit: int) -> dict[str, Path]:
    """The first `*.py` files of the standard library in order of their paths, by the keys that they get."""
    library = Path(sysconfig.get_path('stdlib'))
    files = {}
    for path in sorted(library.rglob('*.py')):
        relative = path.relative_to(library)
        # is_file: some systems put links there that lead nowhere.
        if SKIPPED_FOLDERS.isdisjoint(relative.parts) and path.is_file():
            files[relative.as_posix()] = path
        if len(files) == limit:
            break
    if not files:
        raise S3poError(f'there are no *.py files below {library} to move')
    return files


@contextlib.contextmanager
def _without_settings() -> Iterator[None]:
    """Hide what the environment and the configuration files say to boto3 and moto, so that the same happens everywhere.

    An AWS_PROFILE that does not exist, or a proxy, would break what needs neither. The server inherits it.
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
    """Print s3po's warnings, of which each retry is one, between the lines of the table."""
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
        _say(f'  {record.getMessage()}')


def _aligned(step: str, *figures: str) -> str:
    first, *others = WIDTHS
    return step.ljust(first) + ''.join(figure.rjust(width) for figure, width in zip(figures, others, strict=True))


def _say(line: object) -> None:
    sys.stdout.write(f'{line}\n')
    sys.stdout.flush()
