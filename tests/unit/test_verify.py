"""verify() compares a store, or local files, with the records of jobs, and transfers no data."""

from __future__ import annotations

import dataclasses
import gzip
import pathlib
import pickle
from typing import Any

import pytest

import s3po
from s3po.config import MIB
from s3po.connection import verifying
from s3po.errors import AccessDenied, ConfigurationError, JobError, LocalError, VerifyError
from s3po.model import ObjectRef
from tests.conftest import BUCKET, impatient
from tests.support.faults import Faults
from tests.support.memory import MemoryTransport
from tests.support.noise import noise
from tests.support.store_values import md5

COUNT = 1000


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / 'receipt.jsonl'


def receipt(conn: s3po.Connection, path: pathlib.Path, *calls: tuple[Any, ...], **options: Any) -> None:
    """Run some calls, and save their receipt."""
    with conn.batch(1, receipts=True, on_error='collect', **options) as batch:
        for name, *arguments in calls:
            getattr(batch, name)(*arguments)
            batch.wait()
    batch.report().save(path)


def flip(memory: MemoryTransport, key: str) -> None:
    """Write an object of the same size, with another first byte."""
    found = memory.store.get(BUCKET, key)
    body = bytes([found.body[0] ^ 1]) + found.body[1:]
    memory.store.put(BUCKET, key, dataclasses.replace(found, body=body, etag=md5(body)))


def names(differences: tuple[s3po.Difference, ...]) -> list[str]:
    return [each.key for each in differences]


def test_thousand_objects(memory_conn: s3po.Connection, memory: MemoryTransport, path: pathlib.Path) -> None:
    """Among 1,000 objects it finds one flipped byte, one missing and one extra object, without a GET."""
    with memory_conn.batch(20, receipts=True) as batch:
        for number in range(COUNT):
            batch.upload(BUCKET, f'backup/{number:04}', b'%d' % number)
    batch.report().save(path)
    memory_conn.upload(BUCKET, 'elsewhere', b'not of the backup')
    memory.calls.clear()
    report = memory_conn.verify(path)
    assert (report.checked, report.ok, list(report)) == (COUNT, COUNT, [])
    report.raise_for_differences()
    flip(memory, 'backup/0500')
    memory.store.delete(BUCKET, 'backup/0007')
    memory_conn.upload(BUCKET, 'backup/9999', b'new')
    memory.calls.clear()

    report = memory_conn.verify(path)

    assert (report.checked, report.ok) == (COUNT, COUNT - 2)
    assert [(each.kind, each.key) for each in report] == [
        ('missing', 'backup/0007'),
        ('changed', 'backup/0500'),
        ('extra', 'backup/9999'),
    ]
    assert {name for name, _, _ in memory.calls} == {'HeadObject', 'ListObjectsV2'}
    assert memory.count('HeadObject') == COUNT
    with pytest.raises(
        VerifyError, match='998 of 1,000 as recorded, 1 missing, 1 changed, 1 extra, 0 unproven: missing: s3://'
    ) as e:
        report.raise_for_differences()
    assert pickle.loads(pickle.dumps(e.value)).report == report


@pytest.mark.parametrize(
    ('recorded', 'now', 'kind'),
    [
        ({'etag': 'a'}, {'etag': 'a'}, None),
        ({'etag': '1' * 32}, {'etag': '2' * 32}, 'changed'),
        ({'etag': f'{"1" * 32}-2'}, {'etag': f'{"2" * 32}-2'}, 'changed'),
        ({'etag': f'{"1" * 32}-2'}, {'etag': f'{"2" * 32}-3'}, 'unproven'),
        ({'etag': f'{"1" * 32}-2'}, {'etag': '2' * 32}, 'unproven'),
        ({'etag': 'a'}, {'etag': 'b'}, 'unproven'),
        ({'etag': 'W/"a"'}, {'etag': 'W/"a"'}, 'unproven'),
        ({'etag': ''}, {'etag': 'a'}, 'unproven'),
        ({'etag': 'a', 'size_bytes': 5}, {'etag': 'a'}, 'changed'),
        ({'checksum': 'CRC32:a', 'etag': '1' * 32}, {'checksum': 'CRC32:a', 'etag': f'{"2" * 32}-2'}, None),
        ({'checksum': 'CRC32:a', 'etag': 'a'}, {'checksum': 'CRC32:b', 'etag': 'a'}, 'changed'),
        ({'checksum': 'CRC32:a', 'etag': 'a'}, {'checksum': 'CRC64NVME:b', 'etag': 'b'}, 'unproven'),
        ({'checksum': 'CRC32:a-2', 'etag': 'a'}, {'checksum': 'CRC32:b', 'etag': 'a'}, None),
        ({'etag': '1' * 32}, {'etag': '2' * 32, 'headers': {'x-amz-server-side-encryption': 'aws:kms'}}, 'unproven'),
    ],
)
def test_proofs(
    memory_conn: s3po.Connection,
    path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    recorded: dict[str, Any],
    now: dict[str, Any],
    kind: str | None,
) -> None:
    """A checksum of one kind decides, else an ETag that is equal, or that is made of MD5s; all else is unproven."""
    memory_conn.upload(BUCKET, 'key', b'data')
    info = memory_conn.head(BUCKET, 'key')
    monkeypatch.setattr(MemoryTransport, 'head_object', lambda *_, **__: dataclasses.replace(info, **recorded))
    receipt(memory_conn, path, ('head', BUCKET, 'key'))
    monkeypatch.setattr(MemoryTransport, 'head_object', lambda *_, **__: dataclasses.replace(info, **now))

    report = memory_conn.verify(path)

    assert [each.kind for each in report] == ([] if kind is None else [kind])
    assert report.ok == (kind is None)


def test_what_jobs_have_done(memory_conn: s3po.Connection, path: pathlib.Path) -> None:
    """The last record about an object counts; objects that a job has deleted must not exist."""
    memory_conn.upload(BUCKET, 'a/read', b'data')
    calls = [
        ('upload', BUCKET, 'a/key', b'old'),
        ('upload', BUCKET, 'a/key', b'newer'),
        ('download', BUCKET, 'a/read'),
        ('copy', BUCKET, 'a/read', BUCKET, 'a/copy'),
        ('upload', BUCKET, 'a/moving', b'data'),
        ('move', BUCKET, 'a/moving', BUCKET, 'a/moved'),
        ('upload', BUCKET, 'a/deleted', b'data'),
        ('delete', BUCKET, 'a/deleted'),
        ('upload', BUCKET, 'a/many', b'data'),
        ('delete_many', BUCKET, ['a/many', ObjectRef(bucket=BUCKET, key='a/other')]),
        ('exists', BUCKET, 'a/key'),
        ('list', BUCKET),
    ]
    receipt(memory_conn, path, *calls)

    report = memory_conn.verify(path)
    assert list(report) == []
    assert report.checked == 4
    for key in ('a/moving', 'a/deleted', 'a/many', 'a/other'):
        memory_conn.upload(BUCKET, key, b'again')

    report = memory_conn.verify(path)
    assert names(report.extra) == ['a/deleted', 'a/many', 'a/moving', 'a/other']
    assert {each.reason for each in report.extra} == {'it exists, and was deleted by a job'}


def test_records_of_one_version(memory_conn: s3po.Connection, memory: MemoryTransport, path: pathlib.Path) -> None:
    """A later record of the same version does not hide the checksum of an earlier one."""
    memory.keeps_checksums = True
    receipt(memory_conn, path, ('upload', BUCKET, 'key', b'data'), ('head', BUCKET, 'key'))
    assert 'checksum' not in path.read_text().splitlines()[1]

    found, _ = verifying._found(memory_conn, path)

    assert [stored.checksum for stored in found.values() if stored] == ['CRC64NVME:7a5hQ478J4A=']


def test_nothing_to_verify(memory_conn: s3po.Connection, path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file without a record of an object leads to a warning."""
    receipt(memory_conn, path, ('list', BUCKET))

    assert memory_conn.verify(path).checked == memory_conn.verify(path, local=True).checked == 0
    assert caplog.text.count('nothing was verified') == 2
    with pytest.raises(VerifyError, match='nothing was verified'):
        memory_conn.verify(path).raise_for_differences()


def test_only_deletions(memory_conn: s3po.Connection, path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """A receipt of deletions is verified by the listing of what exists all the same."""
    memory_conn.upload(BUCKET, 'key', b'data')
    receipt(memory_conn, path, ('delete', BUCKET, 'key'))

    report = memory_conn.verify(path)

    assert (report.checked, report.deleted, report.not_done) == (0, 1, 0)
    report.raise_for_differences()
    assert 'nothing was verified' not in caplog.text


def test_failed_jobs(memory_conn: s3po.Connection, memory: MemoryTransport, path: pathlib.Path) -> None:
    """Jobs that failed say nothing about objects, except those whose transfer succeeded and whose callback failed."""
    memory.fault = Faults('PutObject', None, AccessDenied('403', status=403, code='AccessDenied'))
    with memory_conn.batch(1, receipts=True, on_error='collect') as batch:
        batch.upload(BUCKET, 'failed', b'data')
        batch.upload(BUCKET, 'stored', b'data', callback=lambda result: 1 / 0)
    batch.report().save(path)

    report = memory_conn.verify(path)

    assert (report.checked, report.ok, report.not_done) == (1, 1, 1)
    assert str(report).endswith(', 1 jobs not done')
    with pytest.raises(VerifyError, match='1 jobs of the records are not done; conn.retry_failed'):
        report.raise_for_differences()
    memory.fault = None
    again = path.with_name('again.jsonl')
    receipt(memory_conn, again, ('upload', BUCKET, 'failed', b'data'))
    path.write_bytes(path.read_bytes() + again.read_bytes())
    report = memory_conn.verify(path)
    assert (report.checked, report.not_done) == (2, 0)
    report.raise_for_differences()


def test_all_jobs_failed(memory_conn: s3po.Connection, memory: MemoryTransport, path: pathlib.Path) -> None:
    """A receipt of which nothing succeeded is no success, for objects and for files."""

    def fault(operation: str, key: str, part: int | None) -> None:
        raise AccessDenied('403', status=403, code='AccessDenied')

    memory.fault = fault
    source = path.with_name('source')
    source.write_bytes(b'data')
    receipt(memory_conn, path, *(('upload_file', BUCKET, f'key-{number}', source) for number in range(3)))
    memory.fault = None

    for report in (memory_conn.verify(path), memory_conn.verify(path, local=True)):
        assert (report.checked, report.ok, report.not_done) == (0, 0, 3)
        with pytest.raises(VerifyError, match='3 jobs of the records are not done'):
            report.raise_for_differences()


def test_range(memory_conn: s3po.Connection, path: pathlib.Path) -> None:
    """The size of a range is not taken for that of the object."""
    memory_conn.upload(BUCKET, 'key', b'data')
    with memory_conn.batch(1, receipts=True) as batch:
        batch.download(BUCKET, 'key', path.with_name('target'), byte_range=(1, 3))
    batch.report().save(path)

    assert memory_conn.verify(path).ok == 1


@pytest.mark.parametrize(
    ('keys', 'prefixes', 'extra'),
    [
        (['a/b/1', 'a/b/2'], None, ['a/b/x']),
        (['a/b/1', 'a/c/2'], None, ['a/b/x', 'a/x']),
        (['a/b/1', 'c'], None, ['a/b/x', 'a/x', 'x']),
        (['a/b/1', 'c'], ['a/'], ['a/b/x', 'a/x']),
        (['a/b/1', 'c'], ['a/b/', 'a/'], ['a/b/x', 'a/x']),
        (['a/b/1', 'c'], [], []),
        (['ab/1', 'ac/1'], None, ['a/b/x', 'a/x', 'x']),
    ],
)
def test_extra(
    memory_conn: s3po.Connection, path: pathlib.Path, keys: list[str], prefixes: list[str] | None, extra: list[str]
) -> None:
    """Extra objects are looked for in the directory that all keys have in common, or under the given prefixes."""
    for key in ('x', 'a/x', 'a/b/x'):
        memory_conn.upload(BUCKET, key, b'data')
    receipt(memory_conn, path, *(('upload', BUCKET, key, b'data') for key in keys))

    report = memory_conn.verify(path, prefixes=prefixes)

    assert sorted(names(report.extra)) == extra
    assert report.ok == len(keys)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'extra': True}, "extra must be a mapping of boto3's parameters of HeadObject, not bool; to find extra objects"),
        ({'extra': {'Nonsense': 1}}, "'Nonsense' is not a parameter of HeadObject"),
        ({'prefixes': 5}, 'prefixes must be a list of str'),
        ({'prefixes': [b'a/']}, 'prefixes must be a list of str'),
        ({'prefixes': ['a/'], 'local': True}, 'prefixes is for objects'),
        ({'extra': {}, 'local': True}, 'extra is for objects'),
        ({'size': 0}, 'size'),
    ],
)
def test_wrong_arguments(
    memory_conn: s3po.Connection, memory: MemoryTransport, path: pathlib.Path, options: dict[str, Any], message: str
) -> None:
    """A wrong argument is named before anything is sent."""
    receipt(memory_conn, path, ('upload', BUCKET, 'key', b'data'))
    memory.calls.clear()

    with pytest.raises(ConfigurationError, match=message):
        memory_conn.verify(path, **options)

    assert memory.calls == []


def test_report_in_place_of_its_file(memory_conn: s3po.Connection) -> None:
    """A report is not the file of its records; the message names the method that writes one."""
    with memory_conn.batch(1, receipts=True) as batch:
        pass
    report: Any = batch.report()

    with pytest.raises(ConfigurationError, match=r'receipt must be the path .* not BatchReport; batch.report\(\).save'):
        memory_conn.verify(report)


def test_refused_requests(memory_conn: s3po.Connection, memory: MemoryTransport, path: pathlib.Path) -> None:
    """An object that the store does not describe is unproven, with the reason; the others are compared."""
    receipt(memory_conn, path, ('upload', BUCKET, 'a/1', b'data'), ('upload', BUCKET, 'a/2', b'data'))

    def fault(operation: str, key: str, part: int | None) -> None:
        if (operation, key) == ('HeadObject', 'a/1'):
            raise s3po.ServerError('500')

    memory.fault = fault

    report = memory_conn.verify(path, size=1)

    assert (report.ok, names(report.unproven)) == (1, ['a/1'])
    assert 'the request failed' in report.unproven[0].reason
    with pytest.raises(VerifyError):
        report.raise_for_differences()


def connected(memory: MemoryTransport, endpoint: str) -> s3po.Connection:
    return s3po.Connection(transport=memory, endpoint_url=endpoint, region='us-east-1', retry=impatient())


def test_other_stores(memory: MemoryTransport, path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """Records of other stores are left out; if all are of one other store, they are compared all the same, with a warning."""
    other = MemoryTransport()
    other.store.create_bucket(BUCKET)
    one, two = connected(memory, 'https://one.example.com'), connected(other, 'https://two.example.com')
    mirror = connected(other, 'https://mirror.example.com')
    with one.batch(1, receipts=True) as batch:
        batch.upload(BUCKET, 'key', b'data').get()
        batch.copy(BUCKET, 'key', BUCKET, 'copy', to=two)
        batch.move(BUCKET, 'key', BUCKET, 'moved', to=two)
    batch.report().save(path)

    assert (one.verify(path).checked, one.verify(path).missing[0].key) == (1, 'key')
    assert (two.verify(path).checked, two.verify(path).ok) == (2, 2)
    with pytest.raises(ConfigurationError, match='the records are of https://one.example.com, https://two.example.com, and'):
        mirror.verify(path)
    receipt(two, path, ('upload', BUCKET, 'key', b'data'))
    assert mirror.verify(path).ok == 1
    assert 'records are of https://two.example.com, and are compared with https://mirror.example.com' in caplog.text


def test_journal(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """The journal of a batch is read as a receipt is."""
    with memory_conn.batch(1, journal=tmp_path / 'job.s3po') as batch:
        for number in range(3):
            batch.upload(BUCKET, f'a/{number}', b'data')
    flip(memory, 'a/1')

    report = memory_conn.verify(tmp_path / 'job.s3po')

    assert (report.checked, names(report.changed)) == (3, ['a/1'])


def test_bad_files(memory_conn: s3po.Connection, path: pathlib.Path) -> None:
    """A broken line is named; a file that cannot be read is a LocalError; a single prefix is a mistake."""
    receipt(memory_conn, path, ('upload', BUCKET, 'key', b'data'))
    with pytest.raises(ConfigurationError, match='prefixes must be a list'):
        memory_conn.verify(path, prefixes='a/')
    with path.open('a') as file:
        file.write('{broken\n')
    with pytest.raises(JobError, match=r'receipt.jsonl, line 2'):
        memory_conn.verify(path)
    with pytest.raises(LocalError):
        memory_conn.verify(path.with_name('missing'))


def test_retry_failed_with_a_receipt(memory_conn: s3po.Connection, memory: MemoryTransport, path: pathlib.Path) -> None:
    """retry_failed() repeats only the jobs of a receipt that have not succeeded."""
    memory_conn.upload(BUCKET, 'key', b'data')
    memory.fault = Faults('DeleteObject', None, AccessDenied('403', status=403, code='AccessDenied'))
    receipt(memory_conn, path, ('delete', BUCKET, 'key'), ('exists', BUCKET, 'key'), ('list', BUCKET))
    memory.calls.clear()

    memory_conn.retry_failed(path)

    assert [name for name, _, _ in memory.calls] == ['DeleteObject']


# --- local files


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    """A local file."""
    found = tmp_path / 'source'
    found.write_bytes(noise(MIB))
    return found


@pytest.mark.parametrize('checksums', [False, True], ids=['ETags', 'checksums'])
def test_local_files(
    memory_conn: s3po.Connection, memory: MemoryTransport, path: pathlib.Path, source: pathlib.Path, *, checksums: bool
) -> None:
    """Files are compared by size and checksum or MD5; nothing is sent."""
    memory.keeps_checksums = checksums
    targets = [path.with_name(f'target-{number}') for number in range(4)]
    calls = [('download_file', BUCKET, 'key', target) for target in targets]
    receipt(memory_conn, path, ('upload_file', BUCKET, 'key', source), *calls)
    memory.calls.clear()
    assert memory_conn.verify(path, local=True).ok == 5
    data = bytearray(source.read_bytes())
    data[1000] ^= 1
    targets[0].write_bytes(data)
    targets[1].unlink()
    targets[2].write_bytes(data[:-1])

    report = memory_conn.verify(path, local=True)

    assert (report.checked, report.ok) == (5, 2)
    assert [each.path for each in report.missing] == [str(targets[1])]
    assert [each.path for each in report.changed] == [str(targets[0]), str(targets[2])]
    assert str(report.missing[0]) == f'{targets[1]}: it does not exist'
    assert memory.calls == []


def test_coded_files(memory_conn: s3po.Connection, path: pathlib.Path, source: pathlib.Path) -> None:
    """A file that was decompressed or compressed on its way cannot be proved, but its size is compared."""
    target = path.with_name('target')
    memory_conn.upload(BUCKET, 'coded', gzip.compress(b'data'), headers={'Content-Encoding': 'gzip'})
    with memory_conn.batch(1, receipts=True) as batch:
        batch.upload_file(BUCKET, 'key', source, compress='gzip')
        batch.download_file(BUCKET, 'coded', target, decompress=True)
    batch.report().save(path)
    assert target.read_bytes() == b'data'

    report = memory_conn.verify(path, local=True)
    assert sorted(each.path or '' for each in report.unproven) == [str(source), str(target)]
    target.write_bytes(b'dat')

    assert [each.path for each in memory_conn.verify(path, local=True).changed] == [str(target)]


def test_deleted_sources(memory_conn: s3po.Connection, path: pathlib.Path, source: pathlib.Path) -> None:
    """A source that the upload has deleted is not missing."""
    with memory_conn.batch(1, receipts=True) as batch:
        batch.upload_file(BUCKET, 'key', source, delete=True)
    batch.report().save(path)

    assert memory_conn.verify(path, local=True).checked == 0
    assert memory_conn.verify(path).ok == 1
