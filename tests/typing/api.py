"""Code as callers write it, which only has to pass the type checker."""

from __future__ import annotations

import pathlib
from functools import partial

import s3po
import s3po.telemetry
from s3po.credentials import ConfigCredentials, EnvironmentCredentials, MetadataCredentials, merge_credentials


def upload_and_download(conn: s3po.Connection) -> None:
    result: s3po.TransferResult = conn.upload('bucket', 'key', b'data', metadata={'a': '1'}, retries=5)
    size: int = result.size_bytes
    body: bytes = conn.download('bucket', 'key')
    text: str = conn.download('bucket', 'key', encoding='utf-8')
    conn.download('bucket', 'key', pathlib.Path('target'), byte_range=(size, None))
    conn.upload_file('bucket', 'key', 'source', compress='zstd')
    conn.download_file('bucket', 'key', 'target', decompress=True, max_decompressed_size=size)
    print(body, text, conn.exists('bucket', 'key'), conn.head('bucket', 'key').metadata)


def options(conn: s3po.Connection, batch: s3po.Batch) -> None:
    """Options are checked by name and type, although the methods take them as keywords of one TypedDict."""
    conn.upload('bucket', 'key', b'', headers={'Cache-Control': 'no-cache'}, silent=True, timeout_s=1)
    conn.upload('bucket', 'key', b'', retires=5)  # type: ignore[call-overload]
    conn.upload('bucket', 'key', b'', retries='5')  # type: ignore[call-overload]
    conn.upload('bucket', 'key', b'', config=s3po.TransferConfig())  # type: ignore[call-overload]
    batch.download('bucket', 'key', encoding='utf-8', callback=print, silent=True)
    batch.download_file('bucket', 'key', 'path', encoding='utf-8')  # type: ignore[call-overload]
    batch.delete('bucket', 'key', missing_ok='no')  # type: ignore[call-overload]


def batch(conn: s3po.Connection, keys: list[str]) -> list[object]:
    def show(key: str, value: bytes) -> int:
        print(key)
        return len(value)

    with conn.batch(50, on_error='collect') as batch:
        for key in keys:
            job: s3po.Job = batch.download('bucket', key, callback=partial(show, key))
            job.cancel()
    report: s3po.BatchReport = batch.report()
    for failed in batch.failed:
        print(failed.bucket, failed.key, failed.error)
    print(report.jobs_per_s)
    conn.retry_failed(batch.failed, on_error='collect')
    return batch.results()


def progress(conn: s3po.Connection) -> None:
    def show(event: s3po.ProgressEvent) -> None:
        done: int = event.bytes_done
        left_s: float | None = event.eta_s
        print(done, event.bytes_total, left_s, event.is_last)

    conn.upload('bucket', 'key', b'', progress=show)
    conn.download_file('bucket', 'key', 'path', progress=True)
    conn.upload('bucket', 'key', b'', progress='yes')  # type: ignore[call-overload]
    with conn.batch(50, progress=show) as batch, conn.open('bucket', 'key', progress=show) as file:
        batch.upload('bucket', 'key', file.read())
    telemetry: s3po.telemetry.Telemetry = s3po.telemetry.instrument(conn)
    conn.observer = telemetry


def maps(batch: s3po.Batch, keys: list[str]) -> int:
    """Items and options are checked too; a callback may take the ref."""

    def show(body: bytes, ref: s3po.ObjectRef) -> None:
        print(ref.key, len(body))

    count: int = batch.map_upload((('bucket', key, pathlib.Path(key)) for key in keys), metadata={'a': '1'}, callback=print)
    count += batch.map_upload([{'bucket': 'bucket', 'key': 'key', 'source': b''}])
    count += batch.map_download([('bucket', 'key'), ('bucket', 'key', 'path')], callback=show)
    batch.map_upload([('bucket', 5, b'')])  # type: ignore[list-item]
    batch.map_download([], retires=5)  # type: ignore[call-arg]
    return batch.mapped


def between_stores(conn: s3po.Connection, other: s3po.Connection) -> None:
    """Copies to another store, and their receipt."""
    result: s3po.TransferResult = conn.copy('bucket', 'key', 'bucket', 'copy', to=other, if_none_match='*')
    with conn.batch(receipts=True) as batch:
        job: s3po.Job[s3po.TransferResult] = batch.move('bucket', 'key', 'bucket', 'moved', to=other)
    batch.report().save('receipt.jsonl')
    report: s3po.VerifyReport = other.verify('receipt.jsonl', prefixes=['a/'])
    differences: list[s3po.Difference] = [*report, *report.unproven]
    print(result, job, differences)
    conn.copy('bucket', 'key', 'bucket', 'copy', to='https://example.com')  # type: ignore[arg-type]


def listing(conn: s3po.Connection) -> list[str]:
    return [entry.key for entry in conn.list('bucket', 'prefix/')]


def mock(conn: s3po.Connection) -> None:
    @conn.mock(buckets=['bucket'])
    def run(number: int) -> int:
        conn.conn.create_bucket(Bucket='other')
        return number

    total: int = run(1)
    print(total)


async def credentials() -> s3po.Connection:
    service = MetadataCredentials(region='us-east-1')
    await service.start()
    await service.stop()
    print(s3po.Connection(credentials=lambda: {'access_key_id': 'key', 'secret_access_key': 'secret', 'expires_at': None}))
    return s3po.Connection(credentials=merge_credentials(EnvironmentCredentials(), ConfigCredentials(), service))
