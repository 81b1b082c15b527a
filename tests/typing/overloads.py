"""The type that each overload returns. Like `api`, this only has to pass the type checkers."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Iterator
from typing import Any, Literal, assert_type

import s3po
from s3po import DeleteReport, ListEntry, ObjectInfo, Prefix, TransferResult
from s3po.batch import Job
from s3po.files import S3Reader, S3TextReader, S3TextWriter, S3Writer

ENTRY = ListEntry(key='key', size_bytes=1)
PATH = pathlib.Path('target')


def downloads(conn: s3po.Connection, encoding: str | None, target: pathlib.Path | None, *, silent: bool) -> None:
    assert_type(conn.download('bucket', 'key'), bytes)
    assert_type(conn.download('bucket', 'key', None, encoding=None, silent=False), bytes)
    assert_type(conn.download('bucket', 'key', encoding='utf-8'), str)
    assert_type(conn.download('bucket', 'key', encoding=encoding), str | bytes)
    assert_type(conn.download('bucket', 'key', PATH), TransferResult)
    assert_type(conn.download('bucket', 'key', 'target'), TransferResult)
    assert_type(conn.download('bucket', 'key', io.BytesIO()), TransferResult)
    assert_type(conn.download('bucket', 'key', io.StringIO(), retries=1), TransferResult)
    assert_type(conn.download('bucket', 'key', target), TransferResult | bytes)
    assert_type(conn.download('bucket', 'key', silent=True), bytes | None)
    assert_type(conn.download('bucket', 'key', silent=silent), bytes | None)
    assert_type(conn.download('bucket', 'key', encoding='utf-8', silent=True), str | None)
    assert_type(conn.download('bucket', 'key', PATH, silent=None), TransferResult | None)
    assert_type(conn.download_file('bucket', 'key', 'target', silent=False), TransferResult)
    assert_type(conn.download_file('bucket', 'key', PATH, silent=True), TransferResult | None)
    conn.download('bucket', 'key', PATH, encoding='utf-8')  # type: ignore[call-overload]
    conn.download('bucket', 'key', 5)  # type: ignore[call-overload]


def uploads(conn: s3po.Connection) -> None:
    assert_type(conn.upload('bucket', 'key', b''), TransferResult)
    assert_type(conn.upload('bucket', 'key', b'', silent=True), TransferResult | Literal[False])
    assert_type(conn.upload_file('bucket', 'key', 'source', silent=False), TransferResult)
    assert_type(conn.upload_file('bucket', 'key', PATH, silent=None), TransferResult | Literal[False])


def listings(conn: s3po.Connection, delimiter: str | None) -> None:
    assert_type(conn.list('bucket'), Iterator[ListEntry])
    assert_type(conn.list('bucket', None, delimiter=None, start_after='a', page_size=5), Iterator[ListEntry])
    assert_type(conn.list('bucket', delimiter='/'), Iterator[ListEntry | Prefix])
    names = [str(found) for found in conn.list('bucket', 'prefix/', delimiter=delimiter)]
    assert_type(names, list[str])
    assert_type(conn.exists('bucket', 'key'), bool)
    assert_type(conn.delete_many('bucket', conn.list('bucket')), DeleteReport)


def files(conn: s3po.Connection, mode: str) -> None:
    assert_type(conn.open('bucket', 'key'), S3Reader)
    assert_type(conn.open('bucket', 'key', 'rb', version_id='1'), S3Reader)
    assert_type(conn.open('bucket', 'key', 'wb', metadata={}), S3Writer)
    assert_type(conn.open('bucket', 'key', 'xb'), S3Writer)
    assert_type(conn.open('bucket', 'key', 'r', encoding='utf-8', version_id='1').read(), str)
    assert_type(conn.open('bucket', 'key', 'rt'), S3TextReader)
    assert_type(conn.open('bucket', 'key', 'rt').info, ObjectInfo)
    assert_type(conn.open('bucket', 'key', 'w', newline='', content_type='text/plain'), S3TextWriter)
    assert_type(conn.open('bucket', 'key', 'xt'), S3TextWriter)
    assert_type(conn.open('bucket', 'key', mode), Any)


def jobs(batch: s3po.Batch) -> None:
    assert_type(batch.upload('bucket', 'key', b''), Job[TransferResult])
    assert_type(batch.upload('bucket', 'key', b'', callback=lambda result: result.etag), Job[str])
    assert_type(batch.upload('bucket', 'key', b'', silent=True), Job[TransferResult | Literal[False]])
    assert_type(batch.upload_file('bucket', 'key', PATH).get(), TransferResult)
    assert_type(batch.upload_file('bucket', 'key', PATH, callback=str, silent=True).get(), str | Literal[False])
    assert_type(batch.download('bucket', 'key'), Job[bytes])
    assert_type(batch.download('bucket', 'key').value, bytes)
    assert_type(batch.download('bucket', 'key', callback=len), Job[int])
    assert_type(batch.download('bucket', 'key', callback=print, errback=print), Job[None])
    assert_type(batch.download('bucket', 'key', encoding='utf-8'), Job[str])
    assert_type(batch.download('bucket', 'key', encoding='utf-8', callback=str.split), Job[list[str]])
    assert_type(batch.download('bucket', 'key', PATH), Job[TransferResult])
    assert_type(batch.download('bucket', 'key', PATH, callback=lambda result: result.parts), Job[int])
    assert_type(batch.download('bucket', 'key', silent=True), Job[bytes | None])
    assert_type(batch.download('bucket', 'key', silent=True, callback=len).get(), int | None)
    assert_type(batch.download('bucket', 'key', encoding='utf-8', silent=True), Job[str | None])
    assert_type(batch.download('bucket', 'key', PATH, silent=True), Job[TransferResult | None])
    assert_type(batch.download_file('bucket', 'key', PATH), Job[TransferResult])
    assert_type(batch.download_file('bucket', 'key', PATH, callback=repr, silent=True), Job[str | None])
    assert_type(batch.head('bucket', 'key').get(timeout_s=1), ObjectInfo)
    assert_type(batch.head('bucket', 'key', callback=lambda info: info.size_bytes), Job[int])
    assert_type(batch.delete('bucket', 'key'), Job[None])
    assert_type(batch.copy('bucket', 'key', 'bucket', 'copy'), Job[TransferResult])
    assert_type(batch.move('bucket', 'key', 'bucket', 'moved', callback=repr), Job[str])
    assert_type(batch.copy('bucket', ENTRY, 'bucket', ENTRY, callback=repr), Job[str])
    assert_type(batch.move('bucket', ENTRY, 'bucket', ENTRY, callback=repr), Job[str])
    assert_type(batch.exists('bucket', 'key'), Job[bool])
    assert_type(batch.exists('bucket', 'key', callback=str), Job[str])
    assert_type(batch.list('bucket', 'prefix/'), Job[list[ListEntry]])
    assert_type(batch.list('bucket', delimiter='/'), Job[list[ListEntry | Prefix]])
    assert_type(batch.list('bucket', callback=len), Job[int])
    assert_type(batch.list('bucket', callback=lambda entries: entries[0].key), Job[str])
    assert_type(batch.list('bucket', delimiter='/', callback=lambda entries: entries[0]), Job[ListEntry | Prefix])
    assert_type(batch.delete_many('bucket', ['key']), Job[DeleteReport])
    assert_type(batch.delete_many('bucket', [], callback=lambda report: report.deleted), Job[int])
    assert_type(batch.create_bucket('bucket'), Job[None])
    assert_type(batch.delete_bucket('bucket', callback=repr), Job[str])
    batch.download('bucket', 'key', encoding='utf-8', callback=bytes.hex)  # type: ignore[arg-type]


def results(batch: s3po.Batch, keys: list[str]) -> None:
    lengths = [batch.download('bucket', key, callback=len) for key in keys]
    # Without a type argument, it may have any value.
    any_job: s3po.Job = lengths[0]
    assert_type(any_job.value, Any)
    assert_type(batch.results(lengths), list[int | BaseException])
    assert_type(batch.results(), list[Any])
    assert_type(batch.as_completed(), Iterator[Job[Any]])
