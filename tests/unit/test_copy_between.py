"""A copy to the store of another connection: its bytes, headers and requests; no slots of both stores are held at once."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import pickle
import urllib.parse
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.errors import (
    AccessDenied,
    ConfigurationError,
    CopyIncomplete,
    CredentialsError,
    IntegrityError,
    InvalidRequest,
    NetworkError,
    NoSuchBucket,
    PreconditionFailed,
    ResponseError,
    S3poError,
    SourceChanged,
    TransferError,
)
from s3po.jobs import LOST, Call, JobRecord
from s3po.memory import Room
from s3po.model import ref_of
from s3po.s3 import Stored
from tests.conftest import BUCKET, impatient
from tests.support.faults import Faults
from tests.support.memory import MemoryAnswer, MemoryTransport
from tests.support.noise import noise
from tests.support.notes import MemoryNotes

PARTS = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)
DATA = noise(20 * MIB + 11)  # five parts


class Other(MemoryTransport):
    """The other store.

    Attributes:
        sent: The headers of each PutObject and CreateMultipartUpload.
        refusal: Raised for requests with tags; None for no such refusal.
        has_tags: Whether it stores the tags of uploads.
        has_later_tags: Whether it accepts tags of objects that exist.
        flips: How many uploads of a whole object get the ETag of other bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.store.create_bucket(BUCKET)
        self.sent: list[dict[str, str]] = []
        self.refusal: Exception | None = None
        self.flips = 0
        self.has_tags = True
        self.has_later_tags = False
        self._tagging: dict[str, str] = {}

    def _tag(self, bucket: str, key: str, tagging: str | None) -> None:
        if tagging and self.has_tags:
            self.store.put_tags(bucket, key, dict(urllib.parse.parse_qsl(tagging)))

    def put_object_tagging(self, bucket: str, key: str, tagging: str, **options: Any) -> None:
        if not self.has_later_tags:
            raise InvalidRequest('501', status=501, code='NotImplemented')
        super().put_object_tagging(bucket, key, tagging, **options)

    def complete_multipart_upload(self, bucket: str, key: str, parts: Any, *, upload_id: str, **options: Any) -> Stored:
        stored = super().complete_multipart_upload(bucket, key, parts, upload_id=upload_id, **options)
        self._tag(bucket, key, self._tagging.pop(upload_id, None))
        return stored

    def _tell(self, headers: Any) -> None:
        self.sent.append({name.lower(): value for name, value in headers.items()})
        if self.refusal is not None and 'x-amz-tagging' in self.sent[-1]:
            raise self.refusal

    def put_object(self, bucket: str, key: str, chunk: Any, **options: Any) -> Stored:
        self._tell(options['headers'])
        stored = super().put_object(bucket, key, chunk, **options)
        self._tag(bucket, key, self.sent[-1].get('x-amz-tagging'))
        if not self.flips:
            return stored
        self.flips -= 1
        found = self.store.get(bucket, key)
        self.store.put(bucket, key, dataclasses.replace(found, etag='0' * 32))
        return dataclasses.replace(stored, etag='0' * 32)

    def create_multipart_upload(self, bucket: str, key: str, **options: Any) -> str:
        self._tell(options['headers'])
        upload_id = super().create_multipart_upload(bucket, key, **options)
        self._tagging[upload_id] = self.sent[-1].get('x-amz-tagging', '')
        return upload_id


@pytest.fixture
def other() -> Other:
    """The transport of the other store."""
    return Other()


@pytest.fixture
def to(other: Other) -> s3po.Connection:
    """The connection to the other store."""
    return s3po.Connection(transport=other, retry=impatient(), config=PARTS)


@pytest.fixture
def conn(memory: MemoryTransport) -> s3po.Connection:
    """The connection to the source's store."""
    return s3po.Connection(transport=memory, retry=impatient(), config=PARTS)


def names(transport: MemoryTransport) -> list[str]:
    return [name for name, _, _ in transport.calls]


def tag(memory: MemoryTransport, key: str = 'key') -> None:
    memory.store.put_tags(BUCKET, key, {'a': '1', 'b': '2'})


@pytest.mark.parametrize('size', [0, 1, 5 * MIB, 5 * MIB + 1, len(DATA)])
def test_bytes(conn: s3po.Connection, to: s3po.Connection, size: int) -> None:
    """The copy has the bytes of the source; in parts, if it is larger than one part of the other connection."""
    conn.upload(BUCKET, 'key', DATA[:size])

    result = conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert to.download(BUCKET, 'copy') == DATA[:size]
    assert (result.bucket, result.key, result.size_bytes) == (BUCKET, 'copy', size)
    assert result.parts == result.attempts == max(1, -(-size // (5 * MIB)))
    assert result.etag == to.head(BUCKET, 'copy').etag


def test_requests_of_a_small_object(
    conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: MemoryTransport
) -> None:
    """A small object takes one GET and one PUT."""
    conn.upload(BUCKET, 'key', b'data')
    memory.calls.clear()

    conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert (names(memory), names(other)) == (['GetObject'], ['PutObject'])


def test_requests_of_a_large_object(
    conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: MemoryTransport
) -> None:
    """Each part takes one GET and one UploadPart; the first GET tells size and version, and is that of part 1."""
    conn.upload(BUCKET, 'key', DATA)
    memory.calls.clear()

    conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert names(memory) == ['GetObject'] * 5
    assert sorted(names(other)) == ['CompleteMultipartUpload', 'CreateMultipartUpload', *['UploadPart'] * 5]


def test_headers_are_kept(conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: Other) -> None:
    """Metadata, content headers and tags are kept, in one request and in parts."""
    kept = {
        'cache-control': 'no-cache',
        'content-disposition': 'attachment',
        'content-encoding': 'identity',
        'content-language': 'de',
        'content-type': 'text/x',
        'expires': 'Wed, 21 Oct 2065 07:28:00 GMT',
        'x-amz-meta-name': 'value',
    }
    for key, data in (('small', b'data'), ('large', DATA)):
        conn.upload(BUCKET, key, data, headers=kept)
        tag(memory, key)

        result = conn.copy(BUCKET, key, BUCKET, 'copy', to=to)

        assert other.sent[-1].items() >= {**kept, 'x-amz-tagging': 'a=1&b=2'}.items()
        assert result.warnings == ()


@pytest.mark.parametrize(
    ('given', 'sent'),
    [
        ({'metadata': {'a': 'b'}}, {'x-amz-meta-a': 'b'}),
        ({'content_type': 'text/y'}, {'content-type': 'text/y'}),
        ({'headers': {'Cache-Control': 'private'}}, {'cache-control': 'private'}),
    ],
)
def test_headers_are_replaced(
    conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: Other, given: Any, sent: dict[str, str]
) -> None:
    """Given headers replace all of the source's, as in a copy within the store; tags are kept unless they are given."""
    conn.upload(BUCKET, 'key', b'data', metadata={'old': '1'}, content_type='text/x')
    tag(memory)

    conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to, **given)
    assert other.sent[-1] == {**sent, 'x-amz-tagging': 'a=1&b=2'}

    conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to, headers={'x-amz-tagging': 'c=3'})
    assert other.sent[-1] == {'x-amz-tagging': 'c=3'}


@pytest.mark.parametrize(
    'refusal',
    [InvalidRequest('501', status=501, code='NotImplemented'), AccessDenied('403', status=403, code='AccessDenied')],
    ids=['not implemented', 'denied'],
)
@pytest.mark.parametrize('size', [4, len(DATA)], ids=['small', 'large'])
def test_tags_are_refused(
    conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: Other, refusal: Exception, size: int
) -> None:
    """A store that does not accept the tags gets the object without them, and the result has a warning."""
    conn.upload(BUCKET, 'key', DATA[:size])
    tag(memory)
    other.refusal = refusal

    result = conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert to.download(BUCKET, 'copy') == DATA[:size]
    assert [warning for warning in result.warnings if 'tags of the source are not copied' in warning]


@pytest.mark.parametrize('size', [4, len(DATA)], ids=['small', 'large'])
def test_tags_are_dropped(conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: Other, size: int) -> None:
    """A store that accepts the tags and drops them leads to a warning, too."""
    conn.upload(BUCKET, 'key', DATA[:size])
    tag(memory)
    other.has_tags = False

    result = conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert result.warnings == ('the tags of the source are not copied: the copy has no tags, and the source 2: 501',)

    other.has_later_tags = True
    assert conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to).warnings == ()
    assert other.store.tags(BUCKET, 'copy') == {'a': '1', 'b': '2'}


def test_tags_are_dropped_within_the_store(memory: MemoryTransport) -> None:
    """The tags of a copy in parts are sent again, if the store has dropped them: Ceph's gateway does."""
    config = dataclasses.replace(PARTS, multipart_copy_threshold=5 * MIB, multipart_copy_chunksize=5 * MIB)
    conn = s3po.Connection(transport=memory, retry=impatient(), config=config)
    conn.upload(BUCKET, 'key', DATA)
    tag(memory)

    result = conn.copy(BUCKET, 'key', BUCKET, 'copy')

    assert (result.parts, result.warnings) == (5, ())
    assert memory.store.tags(BUCKET, 'copy') == {'a': '1', 'b': '2'}


def test_tags_cannot_be_read(conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport) -> None:
    """A source whose tags may not be read is copied without them, and the result has a warning."""
    conn.upload(BUCKET, 'key', b'data')
    tag(memory)

    def fault(operation: str, key: str, part: int | None) -> None:
        if operation == 'GetObjectTagging':
            raise AccessDenied('403', status=403, code='AccessDenied')

    memory.fault = fault

    result = conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert to.download(BUCKET, 'copy') == b'data'
    assert 'tags of the source are not copied' in result.warnings[0]


@pytest.mark.parametrize('parts', [False, True], ids=['to another store', 'within, in parts'])
@pytest.mark.parametrize(
    'refusal',
    [
        s3po.NotFound('404', status=404, code='NoSuchTagSet'),
        InvalidRequest('501', status=501, code='NotImplemented'),
        None,
    ],
    ids=['404', '501', 'sends none'],
)
def test_tags_are_lost(
    memory: MemoryTransport, to: s3po.Connection, monkeypatch: pytest.MonkeyPatch, refusal: Exception | None, *, parts: bool
) -> None:
    """Tags that the source has, and that its store does not send, lead to a warning."""
    config = dataclasses.replace(PARTS, multipart_copy_threshold=5 * MIB, multipart_copy_chunksize=5 * MIB)
    conn = s3po.Connection(transport=memory, retry=impatient(), config=config)
    conn.upload(BUCKET, 'key', DATA)
    tag(memory)
    memory.fault = None if refusal is None else Faults('GetObjectTagging', None, refusal)
    if refusal is None:
        monkeypatch.setattr(MemoryTransport, 'get_object_tagging', lambda *_, **__: '')

    result = conn.copy(BUCKET, 'key', BUCKET, 'copy', **({} if parts else {'to': to}))

    assert [each for each in result.warnings if 'the tags of the source are not ' in each]


@pytest.mark.parametrize(
    ('coding', 'kept'),
    [('aws-chunked', None), ('aws-chunked,gzip', 'gzip'), ('AWS-Chunked, br, gzip', 'br, gzip'), ('br', 'br')],
)
def test_framing_is_not_kept(conn: s3po.Connection, to: s3po.Connection, other: Other, coding: str, kept: str | None) -> None:
    """The framing of the upload, which some stores keep in Content-Encoding, is not that of the copy."""
    conn.upload(BUCKET, 'key', b'data', headers={'Content-Encoding': coding})

    conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert other.sent[-1].get('content-encoding') == kept


def test_other_refusals_are_raised(conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: Other) -> None:
    """A store that refuses the object, too, raises its error."""
    conn.upload(BUCKET, 'key', b'data')
    tag(memory)

    def fault(operation: str, key: str, part: int | None) -> None:
        raise AccessDenied(f'{operation} 403', status=403, code='AccessDenied')

    other.fault = fault

    with pytest.raises(AccessDenied, match='PutObject 403'):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)


def replaced_by(memory: MemoryTransport, times: int, *, deleted: bool = False) -> list[bytes]:
    """Replace the source after each of the first parts that are requested by range. Returns the versions."""
    versions = [DATA]

    def fault(operation: str, key: str, part: int | None) -> None:
        ranges = [name for name in names(memory) if name == 'GetObject']
        if operation == 'GetObject' and len(versions) <= times and len(ranges) >= 2 * len(versions):
            if deleted:
                memory.store.delete(BUCKET, key)
                return
            versions.append(noise(20 * MIB + len(versions)))
            found = memory.store.get(BUCKET, key)
            etag = hashlib.md5(versions[-1]).hexdigest()
            memory.store.put(BUCKET, key, dataclasses.replace(found, body=versions[-1], etag=etag))

    memory.calls.clear()
    memory.fault = fault
    return versions


def test_source_is_replaced(conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: Other) -> None:
    """A source that is replaced half-way is copied again: the copy is of one version, and no upload is left."""
    conn.upload(BUCKET, 'key', DATA)
    versions = replaced_by(memory, 1)

    conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert len(versions) == 2
    assert to.download(BUCKET, 'copy') == versions[-1]
    assert other.list_multipart_uploads(BUCKET, extra={}) == []


def test_source_is_replaced_always(conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: Other) -> None:
    """A source that is replaced during each attempt raises SourceChanged; nothing is published."""
    conn.upload(BUCKET, 'key', DATA)
    replaced_by(memory, 100)

    with pytest.raises(SourceChanged, match=f's3://{BUCKET}/key was replaced 3 times'):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    memory.fault = None
    assert not to.exists(BUCKET, 'copy')
    assert other.list_multipart_uploads(BUCKET, extra={}) == []


def test_source_vanishes(conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: Other) -> None:
    """A source that is deleted half-way raises NotFound; nothing is published."""
    conn.upload(BUCKET, 'key', DATA)
    replaced_by(memory, 1, deleted=True)

    with pytest.raises(s3po.NotFound):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert not to.exists(BUCKET, 'copy')
    assert other.list_multipart_uploads(BUCKET, extra={}) == []


@pytest.mark.parametrize('size', [4, len(DATA)], ids=['small', 'large'])
def test_source_is_corrupted(conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, size: int) -> None:
    """Bytes that differ from the source's checksum are never published."""
    memory.keeps_checksums = True
    conn.upload(BUCKET, 'key', DATA[:size])
    found = memory.store.get(BUCKET, 'key')
    memory.store.put(BUCKET, 'key', dataclasses.replace(found, body=b'?' + found.body[1:]))

    with pytest.raises(IntegrityError):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert not to.exists(BUCKET, 'copy')


def test_copy_differs(conn: s3po.Connection, to: s3po.Connection, other: Other) -> None:
    """A copy whose ETag is another MD5 than the source's is made again; a store that spoils it always raises."""
    conn.upload(BUCKET, 'key', b'data')
    other.guards = True
    other.flips = 1
    assert conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to).attempts == 2
    other.flips = 100

    with pytest.raises(IntegrityError, match='but its source has'):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)


@pytest.mark.parametrize('checksum', ['auto', 'md5', 'sha256'])
def test_digests(memory: MemoryTransport, to: s3po.Connection, other: Other, checksum: str) -> None:
    """A digest of the source is computed over the parts in their order, while several are in flight."""
    memory.keeps_checksums = True
    conn = s3po.Connection(transport=memory, retry=impatient(), config=dataclasses.replace(PARTS, checksum=checksum))
    conn.upload(BUCKET, 'key', DATA, retries=0)
    memory.store.put(BUCKET, 'key', dataclasses.replace(memory.store.get(BUCKET, 'key'), etag=hashlib.md5(DATA).hexdigest()))
    other.delay_s = 0.001

    conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert to.download(BUCKET, 'copy') == DATA


def set_md5(memory: MemoryTransport, body: bytes) -> None:
    """Make the ETag of the source the MD5 of these bytes, without a checksum."""
    found = memory.store.get(BUCKET, 'key')
    memory.store.put(BUCKET, 'key', dataclasses.replace(found, etag=hashlib.md5(body).hexdigest(), checksum=None))


@pytest.mark.parametrize('size', [4, 3 * MIB, len(DATA)])
def test_source_has_another_md5(
    conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: Other, size: int
) -> None:
    """Bytes that are not those of the source's ETag are never published, if it has no checksum."""
    conn.upload(BUCKET, 'key', DATA[:size])
    set_md5(memory, DATA[: size - 1])

    with pytest.raises(IntegrityError, match='the store has MD5:'):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert 'CompleteMultipartUpload' not in names(other)
    assert not to.exists(BUCKET, 'copy')
    assert other.list_multipart_uploads(BUCKET, extra={}) == []
    # ETags that are no MD5s can be left out of account.
    plain = s3po.Connection(transport=memory, retry=impatient(), config=dataclasses.replace(PARTS, checksum='none'))
    plain.copy(BUCKET, 'key', BUCKET, 'copy', to=to)
    assert to.download(BUCKET, 'copy') == DATA[:size]


def test_md5_after_a_lost_upload(conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: Other) -> None:
    """If the upload vanishes before its completion, the second one compares all parts again."""
    conn.upload(BUCKET, 'key', DATA)
    set_md5(memory, DATA)

    def fault(operation: str, key: str, part: int | None) -> None:
        if operation == 'CompleteMultipartUpload' and names(other).count('CompleteMultipartUpload') == 1:
            other.abort_multipart_upload(
                BUCKET, key, upload_id=other.list_multipart_uploads(BUCKET, extra={})[0].upload_id, extra={}
            )
            raise s3po.ServerError('500', status=500, code='InternalError')

    other.fault = fault

    conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert to.download(BUCKET, 'copy') == DATA
    assert names(other).count('UploadPart') == 10


def test_conditions(conn: s3po.Connection, to: s3po.Connection) -> None:
    """if_match is for the source, and if_none_match for the copy."""
    etag = conn.upload(BUCKET, 'key', b'data').etag
    conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to, if_match=etag, if_none_match='*')

    with pytest.raises(PreconditionFailed, match='PutObject'):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to, if_none_match='*')
    with pytest.raises(PreconditionFailed, match='GetObject'):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to, if_match='other')
    with pytest.raises(ConfigurationError, match='if_none_match needs to='):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', if_none_match='*')


def test_wrong_connection(conn: s3po.Connection) -> None:
    """Something else than a Connection is a mistake in the call."""
    with pytest.raises(ConfigurationError, match='to must be an s3po.Connection, that of the other store, not str'):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to='https://example.com')  # type: ignore[arg-type]


def test_move(conn: s3po.Connection, to: s3po.Connection, other: Other) -> None:
    """A move compares the copy by a HEAD, and deletes the source."""
    conn.upload(BUCKET, 'key', DATA)

    result = conn.move(BUCKET, 'key', BUCKET, 'key', to=to)

    assert to.download(BUCKET, 'key') == DATA
    assert result.parts == 5
    assert not conn.exists(BUCKET, 'key')
    assert 'HeadObject' in names(other)


@pytest.mark.parametrize('size', [4, len(DATA)], ids=['small', 'large'])
def test_move_of_tags_that_are_refused(
    conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: Other, tmp_path: pathlib.Path, size: int
) -> None:
    """A move whose copy lacks the tags keeps its source, also in a batch, and in a second run of its journal."""
    conn.upload(BUCKET, 'key', DATA[:size])
    tag(memory)
    other.has_tags = False
    message = f's3://{BUCKET}/key was copied to s3://{BUCKET}/moved, but not deleted, .* the copy has no tags, and the source 2'

    with pytest.raises(CopyIncomplete, match=message):
        conn.move(BUCKET, 'key', BUCKET, 'moved', to=to)
    for _ in range(2):
        with conn.batch(1, on_error='collect', journal=tmp_path / 'job.s3po') as batch:
            batch.move(BUCKET, 'key', BUCKET, 'moved', to=to)
        assert [type(each.error) for each in batch.failed] == [CopyIncomplete]
        assert conn.exists(BUCKET, 'key')
        assert to.download(BUCKET, 'moved') == DATA[:size]
    assert 'DeleteObject' not in names(memory)

    other.has_later_tags = True
    with conn.batch(1, journal=tmp_path / 'job.s3po') as batch:
        batch.move(BUCKET, 'key', BUCKET, 'moved', to=to)
    assert other.store.tags(BUCKET, 'moved') == {'a': '1', 'b': '2'}
    assert not conn.exists(BUCKET, 'key')


def test_move_of_tags_that_cannot_be_read(conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport) -> None:
    """Nor does a move delete a source whose tags it may not read; unless the caller sets the tags of the copy."""
    conn.upload(BUCKET, 'key', b'data')
    tag(memory)

    def fault(operation: str, key: str, part: int | None) -> None:
        if operation == 'GetObjectTagging':
            raise AccessDenied('403', status=403, code='AccessDenied')

    memory.fault = fault

    with pytest.raises(CopyIncomplete, match='403'):
        conn.move(BUCKET, 'key', BUCKET, 'moved', to=to)
    assert conn.exists(BUCKET, 'key')
    conn.move(BUCKET, 'key', BUCKET, 'moved', to=to, extra={'Tagging': 'c=3'})
    assert not conn.exists(BUCKET, 'key')


@pytest.mark.parametrize('size', [4, len(DATA)], ids=['in one piece', 'in parts'])
def test_move_within_a_store_that_drops_tags(memory: MemoryTransport, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Within a store, too, a source with more tags than its copy is kept; one whose tags are kept is deleted."""
    config = dataclasses.replace(PARTS, multipart_copy_threshold=5 * MIB, multipart_copy_chunksize=5 * MIB)
    conn = s3po.Connection(transport=memory, retry=impatient(), config=config)
    look = memory.head_object

    def untagged(bucket: str, key: str, **options: Any) -> Any:
        found = look(bucket, key, **options)
        dropped = () if key != 'moved' or is_whole else ('x-amz-tagging-count',)
        return dataclasses.replace(found, headers={name: found.headers[name] for name in found.headers if name not in dropped})

    monkeypatch.setattr(memory, 'head_object', untagged)
    conn.upload(BUCKET, 'key', DATA[:size])
    tag(memory)
    is_whole = False
    with pytest.raises(CopyIncomplete, match='the copy has no tags, and the source 2'):
        conn.move(BUCKET, 'key', BUCKET, 'moved')
    assert conn.exists(BUCKET, 'key')

    is_whole = True
    conn.move(BUCKET, 'key', BUCKET, 'moved')
    assert not conn.exists(BUCKET, 'key')


def test_move_with_a_key(conn: s3po.Connection, to: s3po.Connection, other: Other) -> None:
    """A copy with a key of the customer in its headers cannot be looked at; its parts were checked when they were sent."""
    conn.upload(BUCKET, 'key', DATA)

    conn.move(BUCKET, 'key', BUCKET, 'moved', to=to, headers={'x-amz-server-side-encryption-customer-key': 'secret'})

    assert 'HeadObject' not in names(other)
    assert not conn.exists(BUCKET, 'key')


def test_move_of_a_changed_source(
    conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: MemoryTransport
) -> None:
    """A source that was replaced after the copy is not deleted."""
    conn.upload(BUCKET, 'key', b'data')

    def fault(operation: str, key: str, part: int | None) -> None:
        if operation == 'PutObject':
            memory.store.put(BUCKET, 'key', dataclasses.replace(memory.store.get(BUCKET, 'key'), etag='new'))

    other.fault = fault
    with pytest.raises(SourceChanged, match='not deleted'):
        conn.move(BUCKET, 'key', BUCKET, 'key', to=to)

    assert conn.exists(BUCKET, 'key')


def test_move_onto_itself(conn: s3po.Connection) -> None:
    """An object cannot be moved onto itself, also not through its own connection."""
    conn.upload(BUCKET, 'key', b'data')

    with pytest.raises(ConfigurationError, match='onto itself'):
        conn.move(BUCKET, 'key', BUCKET, 'key', to=conn)


@pytest.mark.parametrize('size', [0, 4, len(DATA)])
def test_move_onto_itself_by_another_name(conn: s3po.Connection, memory: MemoryTransport, size: int) -> None:
    """Nor through another connection to the same store; an equal object in another store is no hindrance."""
    alias, other = s3po.Connection(transport=memory, config=PARTS), s3po.Connection(transport=Other(), config=PARTS)
    conn.upload(BUCKET, 'key', DATA[:size])

    with pytest.raises(ConfigurationError, match='onto itself'):
        conn.move(BUCKET, 'key', BUCKET, 'key', to=alias)

    assert conn.download(BUCKET, 'key') == DATA[:size]
    other.upload(BUCKET, 'key', b'older')
    conn.move(BUCKET, 'key', BUCKET, 'key', to=other)
    assert other.download(BUCKET, 'key') == DATA[:size]
    assert not conn.exists(BUCKET, 'key')


def test_move_without_the_permission_to_list(conn: s3po.Connection, to: s3po.Connection, other: Other) -> None:
    """A store that answers 403 for an object that does not exist yet is no hindrance for a move under the same name."""
    conn.upload(BUCKET, 'key', b'data')

    def fault(operation: str, key: str, part: int | None) -> None:
        if 'PutObject' not in names(other):
            raise AccessDenied('403', status=403, code='AccessDenied')

    other.fault = fault

    conn.move(BUCKET, 'key', BUCKET, 'key', to=to)

    assert to.download(BUCKET, 'key') == b'data'


def test_closed_connection(conn: s3po.Connection, to: s3po.Connection) -> None:
    """A connection that was closed is opened again by a copy to it."""
    conn.upload(BUCKET, 'key', b'data')
    to.close()

    with conn.batch(2) as batch:
        batch.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert to.download(BUCKET, 'copy') == b'data'


def test_no_slot_of_both_is_held(memory: MemoryTransport, other: Other) -> None:
    """With one slot for each connection, copies in both directions and within one connection end."""
    narrow = dataclasses.replace(PARTS, max_requests=1)
    one = s3po.Connection(transport=memory, retry=impatient(), config=narrow)
    two = s3po.Connection(transport=other, retry=impatient(), config=narrow)
    one.upload(BUCKET, 'key', DATA)
    two.upload(BUCKET, 'key', DATA)

    with gevent.Timeout(60), one.batch(4) as there, two.batch(4) as back:
        for number in range(4):
            there.copy(BUCKET, 'key', BUCKET, f'there-{number}', to=two)
            back.copy(BUCKET, 'key', BUCKET, f'back-{number}', to=one)
            there.copy(BUCKET, 'key', BUCKET, f'same-{number}', to=one)

    assert two.download(BUCKET, 'there-3') == one.download(BUCKET, 'back-3') == one.download(BUCKET, 'same-3') == DATA


def test_width_of_the_other_store(conn: s3po.Connection, to: s3po.Connection, other: MemoryTransport) -> None:
    """The copies of a batch may use as many requests to the other store as there are workers; afterwards no longer."""
    conn.upload(BUCKET, 'key', b'data')
    before = to._wiring.governor().width

    with conn.batch(20) as batch:
        for number in range(100):
            batch.copy(BUCKET, 'key', BUCKET, f'copy-{number}', to=to)

    assert other.peak > before
    assert to._wiring.governor().width == before


def test_parts_in_memory(conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: MemoryTransport) -> None:
    """At most max_concurrency parts are fetched and not yet uploaded."""
    conn.upload(BUCKET, 'key', DATA)
    fetched = uploaded = most = 0

    def fetch(operation: str, key: str, part: int | None) -> None:
        nonlocal fetched, most
        fetched += operation == 'GetObject'
        most = max(most, fetched - uploaded)

    def upload(operation: str, key: str, part: int | None) -> None:
        nonlocal uploaded
        for _ in range(20):
            gevent.sleep(0)
        uploaded += operation == 'UploadPart'

    memory.fault, other.fault = fetch, upload
    conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert most <= PARTS.max_concurrency


@pytest.mark.parametrize(('limit', 'parts'), [(16 * MIB, 3), (11 * MIB, 2), (MIB, 1)])
def test_budget_of_memory(to: s3po.Connection, memory: MemoryTransport, other: MemoryTransport, limit: int, parts: int) -> None:
    """All copies together hold as many parts as max_memory allows, and at least one; at the end none."""
    conn = s3po.Connection(transport=memory, retry=impatient(), config=dataclasses.replace(PARTS, max_memory=limit))
    conn.upload(BUCKET, 'key', DATA)
    fetched = uploaded = most = 0

    def fetch(operation: str, key: str, part: int | None) -> None:
        nonlocal fetched, most
        fetched += operation == 'GetObject'
        # The first response of an object is open while it waits for memory.
        most = max(most, fetched - uploaded)

    def upload(operation: str, key: str, part: int | None) -> None:
        nonlocal uploaded
        gevent.sleep(0)
        uploaded += operation == 'UploadPart'

    memory.fault, other.fault = fetch, upload
    with gevent.Timeout(60), conn.batch(4) as batch:
        for number in range(4):
            batch.copy(BUCKET, 'key', BUCKET, f'copy-{number}', to=to)

    assert most <= parts + 4
    assert to.download(BUCKET, 'copy-3') == DATA
    assert conn.memory_budget().used_bytes == 0


def test_failed_part(conn: s3po.Connection, to: s3po.Connection, memory: MemoryTransport, other: MemoryTransport) -> None:
    """Errors of both stores are retried; after the retries the error names the request, and nothing is left."""
    conn.upload(BUCKET, 'key', DATA)
    failures = 0

    def fault(operation: str, key: str, part: int | None) -> None:
        nonlocal failures
        if operation in ('GetObject', 'UploadPart') and failures < 2:
            failures += 1
            raise s3po.ServerError('500', status=500, code='InternalError')

    memory.fault = fault
    assert conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to).attempts == 7
    to.delete(BUCKET, 'copy')
    failures, memory.fault, other.fault = 0, None, fault
    assert conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to).attempts == 7
    to.delete(BUCKET, 'copy')
    failures = -10_000

    with pytest.raises(s3po.UploadError, match='gave up after 4 attempts'):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert not to.exists(BUCKET, 'copy')
    assert other.list_multipart_uploads(BUCKET, extra={}) == []


# --- under a journal


def run(conn: s3po.Connection, to: s3po.Connection, notes: MemoryNotes) -> Any:
    """One run, with the notes as the last run left them."""
    options = {'to_bucket': BUCKET, 'to_key': 'copy', 'to': to, 'notes': MemoryNotes(notes.file)}
    return conn.perform(Call('copy', ref_of(BUCKET, 'key'), options)).value


@pytest.fixture
def notes(tmp_path: pathlib.Path) -> MemoryNotes:
    return MemoryNotes(tmp_path / 'notes')


@pytest.mark.parametrize('checksums', [False, True], ids=['ETags', 'checksums'])
def test_next_run_continues(
    memory: MemoryTransport, other: Other, to: s3po.Connection, notes: MemoryNotes, *, checksums: bool
) -> None:
    """After a failure under a journal the next run fetches and sends the missing parts only."""
    memory.keeps_checksums = other.keeps_checksums = checksums
    one_at_a_time = dataclasses.replace(PARTS, max_concurrency=1)
    conn = s3po.Connection(transport=memory, retry=impatient())
    to = s3po.Connection(transport=other, retry=impatient(), config=one_at_a_time)
    conn.upload(BUCKET, 'key', DATA)
    other.fault = Faults('UploadPart', 4, *[s3po.ServerError('500')] * 4)
    with pytest.raises(s3po.UploadError):
        run(conn, to, notes)
    memory.calls.clear()
    other.calls.clear()
    other.fault = None

    result = run(conn, to, notes)

    assert to.download(BUCKET, 'copy') == DATA
    assert result.parts == 5
    assert [part for name, _, part in other.calls if name == 'UploadPart'] == [4, 5]
    # The description of the source, and two parts.
    assert names(memory) == ['GetObject'] * 3
    assert other.list_multipart_uploads(BUCKET, extra={}) == []


@pytest.mark.parametrize('is_aborted', [False, True], ids=['continued', 'aborted by a lifecycle rule'])
def test_next_run_with_a_digest(
    conn: s3po.Connection, memory: MemoryTransport, other: Other, to: s3po.Connection, notes: MemoryNotes, *, is_aborted: bool
) -> None:
    """A digest of the source, which needs all parts in order, does not stop a run that lacks the first ones."""
    conn.upload(BUCKET, 'key', DATA)
    set_md5(memory, DATA)
    other.fault = Faults('UploadPart', 4, *[s3po.ServerError('500')] * 4)
    with pytest.raises(s3po.UploadError):
        run(conn, to, notes)
    other.fault = None
    if is_aborted:
        (upload,) = other.list_multipart_uploads(BUCKET, extra={})
        other.abort_multipart_upload(BUCKET, 'copy', upload_id=upload.upload_id, extra={})

    run(conn, to, notes)

    assert to.download(BUCKET, 'copy') == DATA
    assert other.list_multipart_uploads(BUCKET, extra={}) == []


def test_next_run_finds_another_version(
    conn: s3po.Connection, memory: MemoryTransport, other: Other, to: s3po.Connection, notes: MemoryNotes
) -> None:
    """The upload of an earlier run is not continued with the parts of another version of the source."""
    conn.upload(BUCKET, 'key', DATA)
    other.fault = Faults('UploadPart', 4, *[s3po.ServerError('500')] * 4)
    with pytest.raises(s3po.UploadError):
        run(conn, to, notes)
    other.fault = None
    conn.upload(BUCKET, 'key', DATA[::-1])

    run(conn, to, notes)

    assert to.download(BUCKET, 'copy') == DATA[::-1]
    assert other.list_multipart_uploads(BUCKET, extra={}) == []


@pytest.mark.parametrize('times', [1, 100])
def test_replaced_under_a_journal(
    conn: s3po.Connection, memory: MemoryTransport, other: Other, to: s3po.Connection, notes: MemoryNotes, times: int
) -> None:
    """The upload of a version that was replaced is not kept."""
    conn.upload(BUCKET, 'key', DATA)
    replaced_by(memory, times)

    with contextlib.suppress(SourceChanged):
        run(conn, to, notes)

    assert other.list_multipart_uploads(BUCKET, extra={}) == []


def test_corrupted_under_a_journal(
    conn: s3po.Connection, memory: MemoryTransport, other: Other, to: s3po.Connection, notes: MemoryNotes
) -> None:
    """An upload whose bytes differ from the source's checksum is not kept: no later run publishes its parts."""
    memory.keeps_checksums = True
    conn.upload(BUCKET, 'key', DATA)
    found = memory.store.get(BUCKET, 'key')
    memory.store.put(BUCKET, 'key', dataclasses.replace(found, body=b'?' + found.body[1:]))

    with pytest.raises(IntegrityError):
        run(conn, to, notes)

    assert other.list_multipart_uploads(BUCKET, extra={}) == []


# --- failed copies


def test_failed_copy_in_a_file(conn: s3po.Connection, other: Other, to: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """A file of failed jobs does not have the connection: the job fails with the fix, or gets another connection."""
    conn.upload(BUCKET, 'key', b'data')
    other.fault = Faults('PutObject', None, AccessDenied('403', status=403, code='AccessDenied'))
    with conn.batch(1, on_error='collect') as batch:
        batch.copy(BUCKET, 'key', BUCKET, 'copy', to=to)
    batch.failed.save(tmp_path / 'failed.jsonl')
    other.fault = None

    again = conn.retry_failed(tmp_path / 'failed.jsonl', on_error='collect')
    assert str(again.failed[0].error).endswith('of the other store; pass it: retry_failed(…, to=connection)')
    assert not conn.exists(BUCKET, 'copy')

    conn.retry_failed(tmp_path / 'failed.jsonl', to=to)
    assert to.download(BUCKET, 'copy') == b'data'


@pytest.mark.parametrize('endpoint', [None, 'https://other.example.com/'])
def test_record_of_a_copy(endpoint: str | None) -> None:
    """A record names the endpoint of the other store; its copy is never repeated within one store."""
    to = s3po.Connection(endpoint_url=endpoint)
    call = Call('copy', ref_of(BUCKET, 'key'), {'to_bucket': BUCKET, 'to_key': 'copy', 'to': to})

    said = json.loads(json.dumps(JobRecord(call=call).to_json()))

    expected = {} if endpoint is None else {'endpoint': 'https://other.example.com'}
    assert said['to'] == {**expected, 'bucket': BUCKET, 'key': 'copy'}
    assert JobRecord.from_json(said).call.options['to'] is LOST
    within = Call('copy', ref_of(BUCKET, 'key'), {'to_bucket': BUCKET, 'to_key': 'copy'})
    assert call.identity != within.identity
    assert 'to' not in JobRecord.from_json(JobRecord(call=within).to_json()).call.options


# --- stores that answer almost right


class Odd(MemoryTransport):
    """A store whose responses to GETs are changed.

    Attributes:
        change: Changes the response, given whether it is to a request for a range.
    """

    def __init__(self) -> None:
        super().__init__()
        self.store.create_bucket(BUCKET)
        self.change: Callable[[MemoryAnswer, bool], None] = lambda answer, is_range: None

    def get_object(self, *arguments: Any, byte_range: Any = None, **options: Any) -> MemoryAnswer:
        answer = super().get_object(*arguments, byte_range=byte_range, **options)
        self.change(answer, byte_range is not None)
        return answer


@pytest.fixture
def odd() -> Odd:
    return Odd()


def unsized(answer: MemoryAnswer, is_range: bool) -> None:
    """A chunked response without a length."""
    if not is_range:
        answer.size_bytes = answer.whole_bytes = -1


@pytest.mark.parametrize('size', [0, 4, 5 * MIB])
def test_response_without_length(odd: Odd, to: s3po.Connection, size: int) -> None:
    """An object whose size is not known before its end is copied, if it fits into one part; its size is compared by a HEAD."""
    conn = s3po.Connection(transport=odd, retry=impatient(), config=PARTS)
    conn.upload(BUCKET, 'key', DATA[:size])
    odd.change = unsized

    result = conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert (result.size_bytes, to.download(BUCKET, 'copy')) == (size, DATA[:size])
    assert names(odd)[-2:] == ['GetObject', 'HeadObject']


def test_large_response_without_length(odd: Odd, to: s3po.Connection) -> None:
    """A larger one is an error, and nothing is published."""
    conn = s3po.Connection(transport=odd, retry=impatient(), config=PARTS)
    conn.upload(BUCKET, 'key', DATA)
    odd.change = unsized

    with pytest.raises(s3po.DownloadError, match='no Content-Length, so the object cannot be read in parts'):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert not to.exists(BUCKET, 'copy')


@pytest.mark.parametrize('etag', ['', 'W/"weak"'])
def test_no_strong_etag(odd: Odd, to: s3po.Connection, other: Other, etag: str) -> None:
    """Without a strong ETag the parts are of one version, too: another size or time shows a replaced source."""
    conn = s3po.Connection(transport=odd, retry=impatient(), config=PARTS)
    conn.upload(BUCKET, 'key', DATA)
    times = iter(['old', 'old', 'new'])

    def weaken(answer: MemoryAnswer, is_range: bool) -> None:
        answer.etag = etag
        answer.info = dataclasses.replace(answer.info, etag=etag, headers={'last-modified': next(times, 'new')})

    odd.change = weaken

    result = conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert to.download(BUCKET, 'copy') == DATA
    # Once with a part of the other version.
    assert other.count('CreateMultipartUpload') == 2
    assert result.etag


def test_another_range(odd: Odd, to: s3po.Connection) -> None:
    """Bytes from another place than the requested one are never published."""
    conn = s3po.Connection(transport=odd, retry=impatient(), config=PARTS)
    conn.upload(BUCKET, 'key', DATA)

    def shift(answer: MemoryAnswer, is_range: bool) -> None:
        answer.offset += is_range

    odd.change = shift

    with pytest.raises(IntegrityError, match='and the store sent'):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert not to.exists(BUCKET, 'copy')


def test_long_wait_for_memory(
    memory: MemoryTransport, to: s3po.Connection, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that waits long for memory holds no slot and gives its response up, and requests the object again."""
    monkeypatch.setattr('s3po.memory.LONG_WAIT_S', 0.01)
    conn = s3po.Connection(transport=memory, retry=impatient(), config=dataclasses.replace(PARTS, max_memory=5 * MIB))
    conn.upload(BUCKET, 'key', b'x' * MIB)
    memory.calls.clear()
    with Room(conn.memory_budget()) as room:
        room.fit(5 * MIB)
        copy = gevent.spawn(conn.copy, BUCKET, 'key', BUCKET, 'copy', to=to)
        with gevent.Timeout(30):
            while not (conn.memory_budget().queue and memory.calls):
                gevent.sleep(0)
        assert conn._wiring.governor().free.counter == conn._wiring.governor().width
        gevent.sleep(0.05)
    copy.get()

    assert names(memory) == ['GetObject', 'GetObject']
    assert to.download(BUCKET, 'copy') == b'x' * MIB


@pytest.mark.parametrize('operation', ['copy', 'move'])
@pytest.mark.parametrize('is_small', [True, False])
@pytest.mark.parametrize('side', ['source', 'other'])
@pytest.mark.parametrize(
    'error',
    [NoSuchBucket('none', status=404), AccessDenied('refused', status=403), NetworkError('reset'), CredentialsError('x')],
)
def test_errors_name_their_side(
    conn: s3po.Connection,
    to: s3po.Connection,
    memory: MemoryTransport,
    other: Other,
    side: str,
    error: S3poError,
    *,
    operation: str,
    is_small: bool,
) -> None:
    """An error, or its cause, has the attribute `is_of_other_store`, also after pickling."""
    conn.upload(BUCKET, 'key', b'data' if is_small else DATA)
    names = ('put_object', 'create_multipart_upload') if side == 'other' else ('get_object',)

    def fail(*_: Any, **__: Any) -> Any:
        raise type(error)(*error.args, **({'status': 403} if isinstance(error, ResponseError) else {}))

    for name in names:
        setattr(other if side == 'other' else memory, name, fail)
    with pytest.raises(S3poError) as caught:
        getattr(conn, operation)(BUCKET, 'key', BUCKET, 'copy', to=to)

    found = pickle.loads(pickle.dumps(caught.value))
    found = found.__cause__ if isinstance(found, TransferError) else found
    assert type(found) is type(error)
    assert found.is_of_other_store == (side == 'other')
