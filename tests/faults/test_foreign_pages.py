"""Pages of other servers never replace a file (F68)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

import s3po
from tests.conftest import BUCKET, impatient
from tests.support.answering import PAGE, Answering, Reply

Connect = Callable[..., s3po.Connection]

SIGNS: Final = ('ETag', 'Last-Modified', 'x-amz-request-id', 'x-amz-id-2', 'x-amz-version-id')


def reply(body: bytes, **headers: str) -> Reply:
    return Reply(headers={'Content-Length': str(len(body)), **headers}, body=body)


@pytest.mark.fault('F68')
def test_web_page(connect: Connect, tmp_path: Path) -> None:
    """A web page with status 200 and no header of a store is not an object."""
    path = tmp_path / 'file'
    path.write_bytes(b'old')
    with Answering(lambda _: reply(PAGE, **{'Content-Type': 'text/html'})) as server:
        conn = connect(server.endpoint_url, retry=impatient(0))
        with pytest.raises(s3po.S3poError, match='web page'):
            conn.download_file(BUCKET, 'key', path)
        with pytest.raises(s3po.S3poError, match='web page'):
            conn.exists(BUCKET, 'key')
    assert path.read_bytes() == b'old'


@pytest.mark.fault('F68')
@pytest.mark.parametrize('sign', SIGNS)
def test_objects(connect: Connect, sign: str) -> None:
    """One header of a store is enough to accept a response as an object."""
    value = 'Sun, 06 Nov 1994 08:49:37 GMT' if sign == 'Last-Modified' else '"v"'
    with Answering(lambda _: reply(b'data', **{sign: value})) as server:
        conn = connect(server.endpoint_url, retry=impatient(0))
        assert conn.download(BUCKET, 'key') == b'data'
        assert conn.exists(BUCKET, 'key')
