"""Responses that resemble S3's and prove nothing (F68): none of them leads to the deletion of the only copy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET, impatient
from tests.support.answering import Answering, Asked, Reply

PART: Final = 5 * MIB
IN_PARTS: Final = s3po.TransferConfig(
    multipart_threshold=PART, multipart_chunksize=PART, multipart_copy_threshold=PART, multipart_copy_chunksize=PART
)
LARGE: Final = bytes(PART + 1)
MD5: Final = f'"{hashlib.md5(b"small").hexdigest()}"'
OTHER_MD5: Final = f'"{hashlib.md5(b"other").hexdigest()}"'
CREATED: Final = b'<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>'

Connect = Callable[..., s3po.Connection]


def reply(headers: Mapping[str, str] | None = None, body: bytes = b'', *, status: int = 200) -> Reply:
    return Reply(status=status, headers={'Content-Length': str(len(body)), **(headers or {})}, body=body)


MISSING: Final = reply(status=404)


def once(connect: Connect, server: Answering) -> s3po.Connection:
    return connect(server.endpoint_url, config=IN_PARTS, retry=impatient(0))


PUTS: Final = {
    'weak': reply({'ETag': 'W/"5-mzNCR1nCEoCzyTlCsEEDbA"'}),
    'two': reply({'ETag': '"x", "a"'}),
    'document': reply({'ETag': MD5}, b'<?xml version="1.0"?><other><ETag>x</ETag></other>'),
}


@pytest.mark.fault('F68')
@pytest.mark.parametrize('name', PUTS)
@pytest.mark.parametrize('found', [MISSING, reply({'ETag': OTHER_MD5}), reply({'ETag': MD5, 'Content-Length': '5'})])
def test_put(connect: Connect, tmp_path: Path, name: str, found: Reply) -> None:
    """A weak ETag, two ETags, or an ETag with a foreign document prove nothing: a HEAD must prove the upload, or it fails."""
    source = tmp_path / 'source'
    source.write_bytes(b'small')
    is_there = found.headers.get('ETag') == MD5
    with Answering(lambda asked: found if asked.method == 'HEAD' else PUTS[name]) as server:
        conn = once(connect, server)
        if is_there:
            assert conn.upload(BUCKET, 'key', source, delete=True).etag == MD5.strip('"')
        else:
            with pytest.raises(s3po.UploadError, match='ETag'):
                conn.upload(BUCKET, 'key', source, delete=True)
    assert source.exists() is not is_there


class Parts:
    """A server with scripted responses to a multipart upload.

    Attributes:
        part: The ETag of each part.
        completed: The response to the completion.
        found: The response to a HEAD after it.
    """

    def __init__(self, part: str, completed: bytes, found: Reply) -> None:
        self.part = part
        self.completed = completed
        self.found = found

    def __call__(self, asked: Asked) -> Reply:
        if asked.method == 'POST':
            return reply(body=CREATED if '?uploads' in asked.target else self.completed)
        if asked.method == 'PUT':
            return reply({'ETag': self.part})
        return self.found if asked.method == 'HEAD' else MISSING


def whole_etag(count: int) -> str:
    """The ETag of a multipart object of `count` parts that all have the ETag MD5."""
    return f'"{hashlib.md5(bytes.fromhex(MD5.strip(chr(34))) * count).hexdigest()}-{count}"'


def completed(etag: str, root: str = 'CompleteMultipartUploadResult') -> bytes:
    return f'<{root}><Key>key</Key><ETag>{etag}</ETag></{root}>'.encode()


def found(etag: str, size_bytes: int = len(LARGE)) -> Reply:
    return reply({'ETag': etag, 'Content-Length': str(size_bytes)})


ODD: Final = f'"{"0" * 32}-2"'
UPLOADS: Final[dict[str, tuple[Parts, bool]]] = {
    'right': (Parts(MD5, completed(whole_etag(2)), MISSING), True),
    'weak parts': (Parts('W/"p"', completed(ODD), found(ODD)), False),
    'other document': (Parts(MD5, completed('"old"', 'whatever'), MISSING), False),
    'other document, stored': (Parts(MD5, completed('"old"', 'whatever'), found(whole_etag(2))), True),
    'weak': (Parts(MD5, completed('W/"old"'), MISSING), False),
    'other ETag, missing': (Parts(MD5, completed(ODD), MISSING), False),
    'other ETag, other size': (Parts(MD5, completed(ODD), found(ODD, 1)), False),
    'other ETag, and another by HEAD': (Parts(MD5, completed(ODD), found(f'"{"1" * 32}-2"')), False),
    'ETag of its own way': (Parts(MD5, completed(ODD), found(ODD)), True),
    'ETag of a form of its own': (Parts(MD5, completed('"own"'), MISSING), True),
}


@pytest.mark.fault('F68')
@pytest.mark.parametrize('name', UPLOADS)
def test_upload_in_parts(connect: Connect, tmp_path: Path, name: str) -> None:
    """A completion is accepted if its response is the right document with the right ETag, or if a HEAD returns that ETag."""
    answer, is_stored = UPLOADS[name]
    source = tmp_path / 'source'
    source.write_bytes(LARGE)
    with Answering(answer) as server:
        conn = once(connect, server)
        if is_stored:
            conn.upload(BUCKET, 'key', source, delete=True)
        else:
            with pytest.raises(s3po.S3poError, match='ETag'):
                conn.upload(BUCKET, 'key', source, delete=True)
    assert source.exists() is not is_stored


class Copies:
    """A server that responds to copies with success; the HEAD of the target shows what was copied.

    Attributes:
        deleted: Whether the source was deleted.
    """

    def __init__(self, source: Reply, target: Reply) -> None:
        self._source = source
        self._target = target
        self.deleted = False

    def __call__(self, asked: Asked) -> Reply:
        if asked.method == 'HEAD' or (asked.method == 'GET' and 'uploadId' not in asked.target):
            return self._source if '/source' in asked.target else self._target
        if asked.method == 'POST':
            return reply(body=CREATED if '?uploads' in asked.target else completed(whole_etag(2)))
        if asked.method == 'DELETE':
            self.deleted = '/source' in asked.target
            return reply(status=204) if self.deleted else MISSING
        root = 'CopyPartResult' if 'partNumber' in asked.target else 'CopyObjectResult'
        return reply(body=f'<{root}><ETag>{MD5}</ETag></{root}>'.encode()) if asked.method == 'PUT' else MISSING


MOVES: Final[dict[str, tuple[Reply, Reply, bool]]] = {
    'whole': (found(MD5, 5), found(MD5, 5), True),
    'missing': (found(MD5, 5), MISSING, False),
    'other size': (found(MD5, 5), found(MD5, 4), False),
    'other MD5': (found(MD5, 5), found(OTHER_MD5, 5), False),
    'encrypted': (
        found(MD5, 5),
        reply({'ETag': OTHER_MD5, 'Content-Length': '5', 'x-amz-server-side-encryption': 'aws:kms'}),
        True,
    ),
    'in parts': (found(ODD), found(ODD), True),
    'in parts, other size': (found(ODD), found(ODD, 2 * len(LARGE)), False),
}


@pytest.mark.fault('F68')
@pytest.mark.parametrize('name', MOVES)
def test_move(connect: Connect, name: str) -> None:
    """move() deletes a source only if the copy has its size (and MD5): some stores ignore x-amz-copy-source, or its range."""
    source, target, is_moved = MOVES[name]
    answer = Copies(source, target)
    with Answering(answer) as server:
        conn = once(connect, server)
        if is_moved:
            conn.move(BUCKET, 'source', BUCKET, 'target')
        else:
            with pytest.raises(s3po.S3poError):
                conn.move(BUCKET, 'source', BUCKET, 'target')
    assert answer.deleted is is_moved


@pytest.mark.fault('F68')
def test_copy_in_parts(connect: Connect) -> None:
    """A copy in parts whose ranges the store ignored is an error; if the target may not be read, the copy is accepted."""
    for target, is_right in ((found(ODD, 2 * len(LARGE)), False), (found(ODD), True), (reply(status=403), True)):
        with Answering(Copies(found(ODD), target)) as server:
            conn = once(connect, server)
            if is_right:
                assert conn.copy(BUCKET, 'source', BUCKET, 'target').parts == 2
            else:
                with pytest.raises(s3po.IntegrityError, match='its source'):
                    conn.copy(BUCKET, 'source', BUCKET, 'target')
