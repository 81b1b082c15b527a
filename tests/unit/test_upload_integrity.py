"""Checksums of uploads, checks of their responses, and lost responses."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

import s3po
from s3po.checksum import ALGORITHMS, is_combinable, text_of
from s3po.config import MIB
from s3po.errors import (
    IntegrityError,
    InvalidRequest,
    NetworkError,
    NotFound,
    PreconditionFailed,
    ServerError,
    UploadError,
)
from s3po.model import CompletedPart
from s3po.s3 import Stored
from s3po.transfer.completing import ExpectedUpload
from tests.conftest import BUCKET, impatient
from tests.support.faults import Faults
from tests.support.memory import MemoryTransport
from tests.support.noise import noise
from tests.support.store_values import StoredObject, md5

DATA = os.urandom(100_000)
LARGE = noise(11 * MIB + 7)
CRC = 'CRC64NVME'


class Wrong(MemoryTransport):
    """A store with scripted responses to uploads.

    Attributes:
        sent: The checksums of PutObject and UploadPart, in order.
        algorithms: The algorithms of CreateMultipartUpload.
        refusal: The error for requests with a checksum, or None.
        spoils: How many bodies it changes.
        etag: The ETag of every response; None for the right one.
        is_encrypted: Whether its responses have encryption headers.
        lost: Operations whose next response is lost after the work was done.
        silent: For the next completions, whether they are carried out (True) or not, with an empty response.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keeps_checksums = True
        self.sent: list[str | None] = []
        self.algorithms: list[str | None] = []
        self.refusal: Exception | None = None
        self.told: str | None = None
        self.etag: str | None = None
        self.is_encrypted = False
        self.lost: list[str] = []
        self.silent: list[bool] = []
        self.store.create_bucket(BUCKET)

    def _refuse(self, checksum: str | None) -> None:
        # Every store supports Content-MD5.
        if checksum is not None and self.refusal is not None and not checksum.startswith('MD5:'):
            raise self.refusal

    def _lose(self, operation: str) -> None:
        if operation in self.lost:
            self.lost.remove(operation)
            raise NetworkError(f'the answer to {operation} was lost')

    def put_object(self, bucket: str, key: str, chunk: Any, *, checksum: str | None = None, **arguments: Any) -> Stored:
        self.sent.append(checksum)
        self._refuse(checksum)
        stored = super().put_object(bucket, key, chunk, checksum=checksum, **arguments)
        self._lose('PutObject')
        return Stored(
            etag=stored.etag if self.etag is None else self.etag,
            checksum=self.told or stored.checksum,
            is_encrypted=self.is_encrypted,
        )

    def create_multipart_upload(self, bucket: str, key: str, *, algorithm: str | None = None, **arguments: Any) -> str:
        self.algorithms.append(algorithm)
        self._refuse(algorithm)
        upload_id = super().create_multipart_upload(bucket, key, algorithm=algorithm, **arguments)
        self._lose('CreateMultipartUpload')
        return upload_id

    def upload_part(self, bucket: str, key: str, chunk: Any, *, checksum: str | None = None, **arguments: Any) -> CompletedPart:
        self.sent.append(checksum)
        self._refuse(checksum)
        return super().upload_part(bucket, key, chunk, checksum=checksum, **arguments)

    def complete_multipart_upload(
        self, bucket: str, key: str, parts: Sequence[CompletedPart], *, checksum: str | None = None, **arguments: Any
    ) -> Stored:
        self.completed = checksum
        if self.silent and not self.silent.pop(0):
            return Stored(etag='')
        stored = super().complete_multipart_upload(bucket, key, parts, checksum=checksum, **arguments)
        self._lose('CompleteMultipartUpload')
        return stored


@pytest.fixture
def wrong() -> Iterator[Wrong]:
    """The store."""
    made = Wrong()
    yield made
    # The errors of this module keep the frames that they went through, and so the store.
    made.store.reset()


def connected(wrong: MemoryTransport, **config: Any) -> s3po.Connection:
    return s3po.Connection(transport=wrong, retry=impatient(), config=s3po.TransferConfig(**config))


def refusal(status: int, text: str) -> s3po.S3poError:
    kind = ServerError if status >= 500 else InvalidRequest
    return kind(f'PutObject: {status} {text}', status=status, code=text)


# --- checksums


@pytest.mark.parametrize('algorithm', ALGORITHMS)
def test_put(wrong: Wrong, algorithm: str) -> None:
    """The selected checksum is sent with the object, and the result has the checksum that the store confirmed."""
    result = connected(wrong, checksum=algorithm.lower()).upload(BUCKET, 'key', DATA)

    expected = text_of(algorithm, [DATA])
    assert wrong.sent == [expected]
    assert result.checksum == (None if algorithm == 'MD5' else expected)
    assert result.warnings == ()


@pytest.mark.parametrize('algorithm', ALGORITHMS)
@pytest.mark.parametrize('kind', ['bytes', 'path', 'seekable', 'stream'])
@pytest.mark.sampled(6)
def test_parts(wrong: Wrong, algorithm: str, kind: str, tmp_path: Any) -> None:
    """Each part has its checksum; that of the object covers all bytes, or the digests of the parts."""
    (tmp_path / 'source').write_bytes(LARGE)
    source = {
        'bytes': LARGE,
        'path': tmp_path / 'source',
        'seekable': io.BytesIO(LARGE),
        'stream': (LARGE[at : at + MIB] for at in range(0, len(LARGE), MIB)),
    }[kind]

    result = connected(wrong, checksum=algorithm.lower()).upload(BUCKET, 'key', source)

    parts = [LARGE[: 8 * MIB], LARGE[8 * MIB :]]
    assert sorted(map(str, wrong.sent)) == sorted(text_of(algorithm, [part]) for part in parts)
    assert wrong.algorithms == [None if algorithm == 'MD5' else algorithm]
    if algorithm == 'MD5':
        assert (wrong.completed, result.checksum) == (None, None)
    elif is_combinable(algorithm):
        assert wrong.completed == result.checksum == text_of(algorithm, [LARGE])
    else:
        assert wrong.completed == result.checksum
        assert str(result.checksum).endswith('-2')


def test_default(wrong: Wrong) -> None:
    """The default is CRC64NVME."""
    result = connected(wrong).upload(BUCKET, 'key', DATA)

    assert result.checksum == text_of(CRC, [DATA])


def test_none(wrong: Wrong) -> None:
    """With checksum='none' no checksum is sent or compared."""
    wrong.guards, wrong.etag = False, md5(b'something else')

    result = connected(wrong, checksum='none').upload(BUCKET, 'key', DATA)

    assert (wrong.sent, result.checksum, result.warnings) == ([None], None, ())


def test_ignored(wrong: Wrong) -> None:
    """If the store returns no checksum, the result has none."""
    wrong.keeps_checksums = False
    connection = connected(wrong)

    assert connection.upload(BUCKET, 'key', DATA).checksum is None
    assert connection.upload(BUCKET, 'key', LARGE).checksum is None
    assert wrong.completed is None


REFUSALS = [
    refusal(501, 'NotImplemented'),
    refusal(400, 'InvalidArgument: Unsupported header x-amz-checksum-crc64nvme'),
    refusal(400, 'InvalidRequest: unknown checksum algorithm'),
]


@pytest.mark.parametrize('error', REFUSALS)
@pytest.mark.parametrize('data', [DATA, LARGE], ids=['one', 'parts'])
def test_refused(wrong: Wrong, error: s3po.S3poError, data: bytes) -> None:
    """A store that refuses checksums gets none; this is detected once per bucket, within the attempt."""
    wrong.refusal = error
    connection = connected(wrong)

    first = connection.upload(BUCKET, 'first', data)
    second = connection.upload(BUCKET, 'second', data)

    assert (first.checksum, second.checksum) == (None, None)
    assert first.attempts == first.parts
    crc, md5_ = text_of(CRC, [DATA]), text_of('MD5', [DATA])
    # 400 may mean that the bytes do not match, so they are sent again; the MD5 shows that they match.
    expected = [crc, md5_] if '501' in str(error) else [crc, crc, md5_]
    assert [checksum for checksum in wrong.sent + wrong.algorithms if checksum] == (expected if data is DATA else [CRC])
    assert wrong.store.get(BUCKET, 'second').body == data


def test_refused_for_another_reason(wrong: Wrong) -> None:
    """If the request without a checksum fails, too, its error is raised, and checksums are sent further on."""
    wrong.fault = Faults('PutObject', None, *[refusal(400, 'InvalidRequest: not a checksum matter')] * 3)
    connection = connected(wrong)

    with pytest.raises(InvalidRequest, match='not a checksum matter'):
        connection.upload(BUCKET, 'key', DATA)
    connection.upload(BUCKET, 'key', DATA)

    assert wrong.sent[-1] == text_of(CRC, [DATA])


def test_refused_although_named(wrong: Wrong) -> None:
    """A checksum that the caller has selected is required: if it is refused, the upload fails."""
    wrong.refusal = refusal(400, 'InvalidArgument: Unsupported header x-amz-checksum-sha256')

    with pytest.raises(InvalidRequest, match='Unsupported header'):
        connected(wrong, checksum='sha256').upload(BUCKET, 'key', DATA)


GARAGE = InvalidRequest('PutObject: 400 InvalidDigest: Failed to validate checksum', status=400, code='InvalidDigest')


@pytest.mark.parametrize('is_first', [True, False])
@pytest.mark.parametrize('data', [DATA, LARGE], ids=['one', 'parts'])
def test_mismatch_reported_with_another_code(wrong: Wrong, data: bytes, *, is_first: bool) -> None:
    """After one mismatch the bytes are sent again, and later uploads have checksums."""
    connection = connected(wrong)
    if not is_first:
        connection.upload(BUCKET, 'before', DATA)
    wrong.fault = Faults('PutObject' if data is DATA else 'UploadPart', None, GARAGE)

    result = connection.upload(BUCKET, 'key', data)
    connection.upload(BUCKET, 'behind', DATA)

    assert result.checksum == text_of(CRC, [data])
    assert None not in wrong.sent
    assert wrong.sent[-1] == text_of(CRC, [DATA])


@pytest.mark.parametrize('is_first', [True, False])
@pytest.mark.parametrize('checksum', ['auto', 'sha256'])
def test_mismatch_for_ever(wrong: Wrong, checksum: str, *, is_first: bool) -> None:
    """If the bytes never match, the upload raises IntegrityError, and later uploads have checksums."""
    connection = connected(wrong, checksum=checksum)
    if not is_first:
        connection.upload(BUCKET, 'before', DATA)
    wrong.fault = Faults('PutObject', None, *[GARAGE] * 9)

    with pytest.raises(IntegrityError, match='Failed to validate checksum'):
        connection.upload(BUCKET, 'key', DATA)
    wrong.fault = lambda *_: None
    connection.upload(BUCKET, 'behind', DATA)

    assert None not in wrong.sent
    assert wrong.sent[-1] == text_of(CRC if checksum == 'auto' else 'SHA256', [DATA])


def test_refused_where_checksums_were_taken(wrong: Wrong) -> None:
    """If a store has accepted checksums before, a refusal is raised, and checksums are sent further on."""
    connection = connected(wrong)
    connection.upload(BUCKET, 'before', DATA)
    wrong.refusal = refusal(501, 'NotImplemented')

    with pytest.raises(s3po.S3poError, match='NotImplemented'):
        connection.upload(BUCKET, 'key', DATA)
    wrong.refusal = None
    assert connection.upload(BUCKET, 'behind', DATA).checksum == text_of(CRC, [DATA])


def test_no_etag(wrong: Wrong) -> None:
    """Without an ETag, a HEAD with the checksum or the MD5 proves the upload; the size alone does not."""
    wrong.etag = ''
    assert connected(wrong).upload(BUCKET, 'key', DATA).etag == md5(DATA)

    wrong.keeps_checksums = False
    assert connected(wrong).upload(BUCKET, 'key', DATA).etag == md5(DATA)

    wrong.store.put(BUCKET, 'key', StoredObject(body=DATA, etag='opaque'))
    wrong.put_object = lambda *_, **__: Stored(etag='')  # type: ignore[method-assign]
    with pytest.raises(UploadError, match='bytes are stored'):
        connected(wrong).upload(BUCKET, 'key', DATA)
    with pytest.raises(UploadError, match='the object does not exist'):
        connected(wrong).upload(BUCKET, 'missing', DATA)


@pytest.mark.parametrize('data', [DATA, LARGE], ids=['one', 'parts'])
def test_bad_digest(wrong: Wrong, data: bytes) -> None:
    """A part with BadDigest is sent again twice; then the upload fails, and leaves nothing."""
    operation = 'PutObject' if data is DATA else 'UploadPart'
    wrong.fault = Faults(operation, None, IntegrityError('BadDigest'))
    assert connected(wrong).upload(BUCKET, 'key', data).checksum == text_of(CRC, [data])

    wrong.calls.clear()
    wrong.fault = Faults(operation, None if data is DATA else 1, *[IntegrityError('BadDigest')] * 9)
    with pytest.raises(IntegrityError, match=r'BadDigest \(after 3 attempts\)') as caught:
        connected(wrong).upload(BUCKET, 'other', data)

    assert caught.value.__cause__ is not caught.value
    assert len([call for call in wrong.calls if call[0] == operation and call[2] in (None, 1)]) == 3
    assert wrong.store.uploads(BUCKET) == []
    with pytest.raises(NotFound):
        connected(wrong).head(BUCKET, 'other')


def test_echo_differs(wrong: Wrong) -> None:
    """If the store confirms another checksum, it has stored something else: IntegrityError."""
    wrong.told = text_of(CRC, [b'something else'])

    with pytest.raises(IntegrityError, match='the stored bytes are not those that were sent: the store has CRC64NVME'):
        connected(wrong).upload(BUCKET, 'key', DATA)


def test_echo_of_another_kind(wrong: Wrong) -> None:
    """A confirmed checksum of another algorithm is not compared."""
    wrong.told = text_of('SHA256', [b'something else'])

    assert connected(wrong).upload(BUCKET, 'key', DATA).checksum == wrong.told


# --- without a checksum


@pytest.fixture
def bare(wrong: Wrong) -> Wrong:
    """A store that ignores checksums, over plain HTTP with an unsigned payload."""
    wrong.keeps_checksums = wrong.guards = False
    return wrong


def test_etag_compared(bare: Wrong) -> None:
    """An ETag that is an MD5 is compared."""
    assert connected(bare).upload(BUCKET, 'key', DATA).warnings == ()
    assert connected(bare).upload(BUCKET, 'key', LARGE).warnings == ()

    bare.etag = md5(b'something else')
    with pytest.raises(IntegrityError, match='the stored object differs from what was sent: its ETag is'):
        connected(bare).upload(BUCKET, 'key', DATA)


@pytest.mark.parametrize('is_encrypted', [True, False])
def test_nothing_guards(
    bare: Wrong, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, is_encrypted: bool
) -> None:
    """If the ETag is not an MD5, the result has a warning about the unverified upload, which is logged once per process."""
    monkeypatch.setattr('s3po.transfer.attempts._logged', set())
    bare.is_encrypted, bare.etag = is_encrypted, md5(b'key') if is_encrypted else 'opaque-1'
    connection = connected(bare)

    results = [connection.upload(BUCKET, f'key{n}', DATA) for n in range(3)]

    assert ['could not be verified' in result.warnings[0] for result in results] == [True] * 3
    assert len([record for record in caplog.records if 'could not be verified' in record.message]) == 1


def test_md5_wanted(wrong: Wrong) -> None:
    """With checksum='md5' the ETag is compared, also if the upload is protected otherwise."""
    wrong.keeps_checksums, wrong.etag = False, md5(b'something else')

    with pytest.raises(IntegrityError, match='its ETag is'):
        connected(wrong, checksum='md5').upload(BUCKET, 'key', DATA)


# --- lost responses


def test_lost_put(wrong: Wrong) -> None:
    """A PutObject whose response is lost is sent again."""
    wrong.lost = ['PutObject']

    assert connected(wrong).upload(BUCKET, 'key', DATA).attempts == 2
    assert wrong.count('HeadObject') == 0


def test_lost_conditional_put(wrong: Wrong) -> None:
    """If the retry of a conditional PutObject fails, the object of the first attempt is recognized by its hidden id."""
    wrong.lost = ['PutObject']
    connection = connected(wrong)

    result = connection.upload(BUCKET, 'key', DATA, if_none_match='*', metadata={'colour': 'red'})

    assert (result.etag, result.checksum) == (md5(DATA), text_of(CRC, [DATA]))
    assert connection.head(BUCKET, 'key').metadata == {'colour': 'red'}


@pytest.mark.parametrize('data', [DATA, LARGE], ids=['one', 'parts'])
def test_lost_beside_anothers(wrong: Wrong, data: bytes) -> None:
    """If another client has written the object meanwhile, even with the same bytes, the condition has failed."""
    operation = 'PutObject' if data is DATA else 'CompleteMultipartUpload'
    wrong.fault = Faults(operation, None, NetworkError('lost on its way'))
    wrong.store.put(BUCKET, 'key', StoredObject(body=data, etag=md5(data)))

    with pytest.raises(PreconditionFailed):
        connected(wrong).upload(BUCKET, 'key', data, if_none_match='*')

    assert wrong.store.uploads(BUCKET) == []


def test_no_id(wrong: Wrong) -> None:
    """The id is sent only if it is needed, and can be disabled."""
    connected(wrong).upload(BUCKET, 'plain', DATA)
    connected(wrong, sends_id=False).upload(BUCKET, 'off', DATA, if_none_match='*')
    connected(wrong).upload(BUCKET, 'encrypted', LARGE, extra={'ServerSideEncryption': 'aws:kms'})

    has_id = {key: 'x-amz-meta-s3po-id' in wrong.store.get(BUCKET, key).headers for key in ('plain', 'off', 'encrypted')}
    assert has_id == {'plain': False, 'off': False, 'encrypted': True}


@pytest.mark.parametrize('keeps_checksums', [True, False])
@pytest.mark.parametrize('condition', [None, '*'])
def test_lost_complete(wrong: Wrong, *, keeps_checksums: bool, condition: str | None) -> None:
    """If the retry of a completion gets NoSuchUpload, the object is recognized by checksum, id or ETag."""
    wrong.keeps_checksums, wrong.lost = keeps_checksums, ['CompleteMultipartUpload']

    result = connected(wrong).upload(BUCKET, 'key', LARGE, if_none_match=condition)

    assert result.checksum == (text_of(CRC, [LARGE]) if keeps_checksums else None)
    assert (wrong.count('CreateMultipartUpload'), wrong.count('UploadPart')) == (1, 2)
    assert wrong.count('HeadObject') == 1


def vanish(wrong: Wrong, times: int) -> None:
    """Make each completion lose its response and its upload."""

    def fault(operation: str, key: str, part: int | None) -> None:
        nonlocal times
        if operation == 'CompleteMultipartUpload' and times:
            uploads = wrong.store.uploads(BUCKET)
            if uploads:
                times -= 1
                wrong.store.abort_upload(BUCKET, key, uploads[0].upload_id)
                raise NetworkError('lost')

    wrong.fault = fault


def test_vanished(wrong: Wrong) -> None:
    """If neither the upload nor the object exists, the upload is repeated, once."""
    vanish(wrong, 1)
    connection = connected(wrong)

    connection.upload(BUCKET, 'key', LARGE)

    assert wrong.store.get(BUCKET, 'key').body == LARGE
    assert wrong.count('CreateMultipartUpload') == 2

    vanish(wrong, 2)
    with pytest.raises(UploadError, match='so it was in the attempt before'):
        connection.upload(BUCKET, 'other', LARGE)
    assert wrong.store.uploads(BUCKET) == []


def test_vanished_stream(wrong: Wrong) -> None:
    """The upload of a stream, which cannot be read again, fails."""
    vanish(wrong, 1)

    with pytest.raises(UploadError, match='a stream cannot be read again'):
        connected(wrong).upload(BUCKET, 'key', iter([LARGE]))


def test_replaced_by_another(wrong: Wrong) -> None:
    """Another object under the key does not count as the upload, which is repeated."""
    vanish(wrong, 1)
    wrong.store.put(BUCKET, 'key', StoredObject(body=DATA, etag=md5(DATA)))

    connected(wrong).upload(BUCKET, 'key', LARGE)

    assert wrong.store.get(BUCKET, 'key').body == LARGE


def test_no_such_upload_at_once(wrong: Wrong) -> None:
    """NoSuchUpload without a lost response means that another client has aborted the upload: it is not repeated."""
    wrong.fault = Faults('CompleteMultipartUpload', None, NotFound('NoSuchUpload', status=404, code='NoSuchUpload'))

    with pytest.raises(NotFound):
        connected(wrong).upload(BUCKET, 'key', LARGE)

    assert wrong.count('HeadObject') == 0


def test_silent_complete(wrong: Wrong) -> None:
    """A response without an ETag is accepted only if the object exists."""
    wrong.silent = [False, True]

    result = connected(wrong).upload(BUCKET, 'key', LARGE)

    assert result.attempts == 3
    assert wrong.store.get(BUCKET, 'key').body == LARGE


def test_lost_create(wrong: Wrong) -> None:
    """An upload that a lost response may have left is reported in a warning, and no other upload is aborted."""
    wrong.lost = ['CreateMultipartUpload']

    result = connected(wrong).upload(BUCKET, 'key', LARGE)

    assert 'the store may keep an incomplete upload' in result.warnings[0]
    assert len(wrong.store.uploads(BUCKET)) == 1
    assert wrong.count('AbortMultipartUpload') == 0


def test_completion_of_parts_without_md5s() -> None:
    """If the parts' ETags are no MD5s, that of a completion cannot be compared, and is accepted with any number of parts."""
    parts = [CompletedPart(number=number, etag=f'{"e" * 32}-1', size_bytes=1) for number in (1, 2, 3)]

    assert ExpectedUpload(parts, None, has_checksums=False).is_proved_by(Stored(etag='a' * 32 + '-2'))
