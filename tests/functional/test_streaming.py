"""Streams as boto3's file objects: their state along a transfer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

import s3po
from s3po.compat.s3stream import S3StreamingDownload, S3StreamingUpload
from s3po.config import MIB
from s3po.errors import UploadError
from tests.conftest import BUCKET
from tests.support.noise import noise

DATA = noise(20 * MIB + 11)
ONE_THREAD = TransferConfig(use_threads=False)


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_upload(conn: s3po.Connection) -> None:
    """processed counts what boto3 has sent, tell() what it has read."""
    stream, client = S3StreamingUpload(len(DATA), buffer_size=MIB), conn.conn
    upload = in_thread(
        lambda: client.upload_fileobj(stream, BUCKET, 'key', Callback=stream.prune, Config=ONE_THREAD)  # type: ignore[arg-type]
    )
    for offset in range(0, len(DATA), MIB):
        stream.write(DATA[offset : offset + MIB])
        assert stream.processed <= stream.tell() <= offset + MIB
    stream.close()
    upload.join(30)

    assert stream.closed
    assert stream.processed == stream.tell() == len(DATA)
    assert conn.download(BUCKET, 'key') == DATA


def test_failed_download(conn: s3po.Connection) -> None:
    """An error that the reader assigns ends boto3's download."""
    conn.upload(BUCKET, 'key', DATA)
    stream, client, errors = S3StreamingDownload(len(DATA), buffer_size=MIB), conn.conn, list[Exception]()

    def download() -> None:
        with pytest.raises(s3po.DownloadError) as caught:
            client.download_fileobj(BUCKET, 'key', stream, Config=ONE_THREAD)  # type: ignore[arg-type]
        errors.append(caught.value)

    thread = in_thread(download)
    assert stream.read(MIB) == DATA[:MIB]
    assert (stream.tell(), stream.processed) == (MIB, MIB)
    stream.error = cause = ZeroDivisionError()
    thread.join(30)

    assert [error.__cause__ for error in errors] == [cause]


def test_failed_upload(conn: s3po.Connection) -> None:
    """An error that boto3's thread assigns reaches the writer."""
    stream, client = S3StreamingUpload(len(DATA), buffer_size=MIB), conn.conn

    def upload() -> None:
        try:
            client.upload_fileobj(stream, 'missing-bucket', 'key', Config=ONE_THREAD)  # type: ignore[arg-type]
        except client.exceptions.ClientError as error:
            stream.error = error

    thread = in_thread(upload)
    # boto3 reads to the end before it raises.
    for offset in range(0, len(DATA), MIB):
        stream.write(DATA[offset : offset + MIB])
    stream.close()
    thread.join(30)

    assert isinstance(stream.error, client.exceptions.ClientError)
    with pytest.raises(UploadError, match='NoSuchBucket'):
        stream.check_failed()
