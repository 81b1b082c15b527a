"""Odd arguments, odd files, and forks: the journal neither skips what has changed nor stays locked."""

from __future__ import annotations

import datetime
import os
import pathlib
import random
import signal
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

import s3po
from s3po.errors import ConfigurationError
from s3po.jobs import Call
from s3po.journal import Journal
from s3po.journal.identity import Identity
from s3po.journal.lines import done_line, head_of, line_of, parsed, report_of, result_text, size_of, tail_of
from s3po.model import ObjectRef, TransferResult

BUCKET = 'bucket'
PIECES = ('a', '"', '\\', '\0', '\n', '\r', '\u2028', '\x7f', 'é', '𝄞', ',"state":"done"', ',"result":{', '}')


class Named(str):
    """A key whose str() differs from its characters, as that of a member of an Enum."""

    __slots__ = ()

    def __str__(self) -> str:
        return 'other'


class Bytes(bytes):
    """Data that are no plain bytes object."""


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / 'job.s3po'


def upload(key: str, source: Any, **options: Any) -> Call:
    return Call('upload', ObjectRef(bucket=BUCKET, key=key), {'source': source, **options})


def text(chance: random.Random, most: int) -> str:
    return ''.join(chance.choices(PIECES, k=chance.randint(1, most)))


@pytest.mark.parametrize('seed', range(100))
def test_short_way(seed: int) -> None:
    """Whatever the key, the data and the result, an upload of bytes is identified and written as other data are."""
    chance = random.Random(seed)
    key, data = text(chance, chance.choice([1, 9, 60])), chance.randbytes(chance.choice([0, 1, 100, 5_000]))
    result = TransferResult(
        bucket=BUCKET,
        key=key,
        size_bytes=chance.choice([0, 5, 10**13]),
        etag=text(chance, 9),
        version_id=chance.choice([None, '', text(chance, 9)]),
        checksum=chance.choice([None, text(chance, 9)]),
        parts=chance.randint(0, 3),
        attempts=1,
        seconds=1.0,
    )
    brief, n = Identity(upload(key, data)), chance.choice([0, 1, 123_456])
    for other in (bytearray(data), memoryview(data), Bytes(data)):
        found = Identity(upload(key, other))
        assert (brief.is_brief, found.is_brief) == (True, False)
        assert (found.hash, found.on, found.data_bytes) == (brief.hash, brief.on, brief.data_bytes)
        assert done_line(brief, n, result) == line_of(head_of(found) + result_text(result), 'done', found, n)
    line = done_line(brief, n, result)
    tail = tail_of(line)
    assert tail is not None
    assert (tail.state, tail.hash, tail.n, tail.on) == ('done', brief.hash, n, [brief.on])
    assert (parsed(line)['key'], report_of(line)['result']['etag'], size_of(line)) == (key, result.etag, result.size_bytes)


@pytest.mark.parametrize('source', [b'data', bytearray(b'data')])
def test_key_with_another_text(path: pathlib.Path, memory_conn: s3po.Connection, source: Any) -> None:
    """The journal knows the key that the store gets, not what str() returns."""
    with memory_conn.batch(1, journal=path) as batch:
        batch.upload(BUCKET, Named('key'), source)
    with memory_conn.batch(1, journal=path) as batch:
        batch.upload(BUCKET, 'key', b'data')
        batch.upload(BUCKET, 'other', b'data')

    assert batch.report().skipped == 1
    assert [record.call.ref.key for record in Journal(path).records()] == ['key', 'other']


@pytest.mark.parametrize(
    ('one', 'two'),
    [
        [{'ObjectLockRetainUntilDate': datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)} for year in (2030, 2040)],
        [{'Expires': datetime.date(year, 1, 1)} for year in (2030, 2040)],
        [{'SSECustomerKey': 'secret', 'ACL': acl} for acl in ('private', 'public-read')],
        [MappingProxyType({'ACL': acl}) for acl in ('private', 'public-read')],
    ],
)
def test_other_options_that_are_not_json(one: Mapping[str, Any], two: Mapping[str, Any]) -> None:
    """Dates, and what stands beside a secret, are part of the identity."""
    first, second = (Identity(upload('key', b'data', extra=extra)) for extra in (one, two))

    assert first.hash != second.hash
    assert first.hash == Identity(upload('key', b'data', extra=one)).hash
    assert first.options == second.options == '{"extra": "<lost>"}'


def test_secrets_are_not_compared() -> None:
    first, second = (Identity(upload('key', b'data', extra={'SSECustomerKey': key})) for key in ('one', 'two'))

    assert first.hash == second.hash


@pytest.mark.parametrize('spelled', ['http://STORE.test', 'http://store.test:80/', 'HTTP://store.test'])
def test_spelling_of_the_endpoint(path: pathlib.Path, spelled: str) -> None:
    for url in ('http://store.test', spelled):
        s3po.Connection(access_key_id='key', secret_access_key='secret', endpoint_url=url).batch(1, journal=path).close()


def test_endpoint_that_is_too_long(path: pathlib.Path) -> None:
    """It does not fit into the header, which would be overwritten by the first record."""
    with pytest.raises(ConfigurationError, match='is too long'):
        Journal(path).open(f'http://store.test/{"x" * 500}')


def test_pipe(tmp_path: pathlib.Path) -> None:
    """A pipe is refused at once, also for reading: nobody writes it."""
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    journal = Journal(pipe)
    for use in (journal.report, journal.failed, journal.discard, lambda: journal.open(None)):
        with pytest.raises(ConfigurationError, match='is not a regular file'):
            use()


def test_zeros(path: pathlib.Path) -> None:
    """A new journal whose header a power cut has left as zeros is a new one."""
    path.write_bytes(bytes(512))
    Journal(path).open(None).close()

    assert path.read_bytes().startswith(b'{"s3po_journal"')


def test_directory_that_became_a_file(
    memory_conn: s3po.Connection, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch ends as after a removal."""
    directory = tmp_path / 'directory'
    directory.mkdir()
    with memory_conn.batch(1, journal=directory / 'job.s3po') as batch:
        batch.upload(BUCKET, 'key', b'data')
        directory.rename(tmp_path / 'elsewhere')
        directory.write_bytes(b'')

    assert 'was removed or replaced' in caplog.text


@pytest.mark.parametrize('size_bytes', [0, 600, 10_000])
def test_size_that_changes(
    memory_conn: s3po.Connection, path: pathlib.Path, caplog: pytest.LogCaptureFixture, size_bytes: int
) -> None:
    """A file that another program has cut off or extended during the batch is reported at its end, not only by the next run."""
    with memory_conn.batch(1, journal=path) as batch:
        for key in 'ab':
            batch.upload(BUCKET, key, b'data').get()
        os.truncate(path, size_bytes)
        if not size_bytes:
            batch.upload(BUCKET, 'c', b'data')

    assert 'was changed by another program' in caplog.text


def test_lock_after_a_fork(path: pathlib.Path) -> None:
    """A child that was forked while the journal was open, and lives on, does not hold its lock; nor does its end release it."""
    ledger = Journal(path).open(None)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover  (in the child)
        ledger.close()
        os.write(writer, b'.')
        signal.pause()
        os._exit(1)
    try:
        assert os.read(reader, 1) == b'.'
        with pytest.raises(ConfigurationError, match='is in use'):
            Journal(path).open(None)
        ledger.close()
        Journal(path).open(None).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)


def test_parent_that_dies(path: pathlib.Path) -> None:
    """If the process that wrote the journal dies, and its child does not, the journal is free."""
    reader, writer = os.pipe()
    parent = os.fork()
    if not parent:  # pragma: no cover  (in the children)
        ledger = Journal(path).open(None)
        if os.fork():
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(writer, b'%d' % os.getpid())
        signal.pause()
        ledger.close()
        os._exit(1)
    os.waitpid(parent, 0)
    child = int(os.read(reader, 20))
    try:
        Journal(path).open(None).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(reader)
        os.close(writer)
