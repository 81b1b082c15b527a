"""Many objects at once; none is lost."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import pytest

import s3po

COUNT = 500


def data_of(number: int) -> bytes:
    return random.Random(number).randbytes(number * 37 % 5000)


def test_small_objects(conn: s3po.Connection, bucket: str) -> None:
    """All objects are uploaded and downloaded unchanged, and each callback gets its own object."""
    came: dict[int, bytes] = {}

    def keep(number: int, data: bytes) -> int:
        came[number] = data
        return number

    with conn.batch(50) as up:
        for number in range(COUNT):
            up.upload(bucket, f'key-{number}', data_of(number), callback=lambda result: result.size_bytes)
    with conn.batch(50) as down:
        for number in range(COUNT):
            down.download(bucket, f'key-{number}', callback=functools.partial(keep, number))

    assert up.results() == [len(data_of(number)) for number in range(COUNT)]
    assert down.results() == list(range(COUNT))
    assert came == {number: data_of(number) for number in range(COUNT)}
    assert (up.report().succeeded, down.report().succeeded) == (COUNT, COUNT)


def test_files(conn: s3po.Connection, bucket: str, tmp_path: Path) -> None:
    """Files are downloaded by the callbacks of their uploads."""
    for number in range(50):
        (tmp_path / f'{number}.in').write_bytes(data_of(number))

    with conn.batch(10) as batch:

        def fetch(number: int, _: s3po.TransferResult) -> s3po.Job:
            return batch.download_file(bucket, f'{number}', tmp_path / f'{number}.out')

        for number in range(50):
            batch.upload_file(bucket, f'{number}', tmp_path / f'{number}.in', callback=functools.partial(fetch, number))

    assert batch.report().succeeded == 100
    assert all((tmp_path / f'{number}.out').read_bytes() == data_of(number) for number in range(50))


def test_failures_are_named(conn: s3po.Connection, bucket: str) -> None:
    """A missing key fails its own job, and no other."""
    conn.upload(bucket, 'there', b'data')

    with pytest.raises(s3po.BatchError, match='missing'), conn.batch(5) as batch:
        jobs = [batch.download(bucket, key) for key in ('there', 'missing', 'there')]

    assert [job.successful() for job in jobs] == [True, False, True]
    assert [(job.bucket, job.key) for job in batch.failed] == [(bucket, 'missing')]
    assert isinstance(jobs[1].exception, s3po.NotFound)


def test_the_first_example(conn: s3po.Connection, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first example of s3po's first documentation."""
    # Upload these in a gevent pool
    keys = [f'key.{key}' for key in range(1000)]
    with conn.batch(50) as batch:
        for key in keys:
            batch.upload(bucket, key, 'hello')

    # And now they're all uploaded

    def func(key: str, value: bytes) -> None:
        print(f'Downloaded {value!r} from {key}')

    with conn.batch(50) as batch:
        for key in keys:
            batch.download(bucket, key, callback=functools.partial(func, key))

    told = capsys.readouterr().out.splitlines()
    assert sorted(told) == sorted(f"Downloaded b'hello' from {key}" for key in keys)
