"""The public interface: names, tracebacks, and errors with advice."""

from __future__ import annotations

import configparser
import errno
import logging
import pathlib
import pickle
import re
import traceback
from typing import Any

import pytest

import s3po
from s3po.connection.old_names import OLD_NAMES
from s3po.interfaces.filesystem import S3poFileSystem
from tests.conftest import BUCKET, impatient
from tests.support.kinds import KINDS, Kind
from tests.support.servers import Store

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


def test_names(conn: s3po.Connection) -> None:
    """dir() lists the public methods, and no method for internal use."""
    with conn.batch(1) as batch:
        names, of_batch = dir(conn), dir(batch)

    assert {'upload', 'download', 'batch', 'conn', 'silent'} <= set(names)
    assert {'upload', 'failed', 'pending', 'wait'} <= set(of_batch)
    assert not [name for name in names + of_batch if name.startswith('_')]
    internal = {'observer', 'perform', 'submit', 'cancel_job', 'demand_requests', 'release_requests'}
    assert not internal & {*names, *of_batch}
    assert all(hasattr(conn, name) for name in OLD_NAMES)
    assert not OLD_NAMES & {*names, *of_batch}


def test_positional_arguments() -> None:
    """The error for positional arguments names the keywords, and contains no secret."""
    with pytest.raises(s3po.ConfigurationError, match='access_key_id=') as caught:
        s3po.Connection('AKIA', 'hidden')  # type: ignore[arg-type]

    assert 'hidden' not in str(caught.value)


def test_missing_object_is_a_download_exception(conn: s3po.Connection) -> None:
    """DownloadError is also a DownloadException, which users of the first s3po catch."""
    with pytest.raises(s3po.DownloadException):
        conn.download(BUCKET, 'missing')
    assert issubclass(s3po.DownloadError, s3po.DownloadException)
    assert not issubclass(s3po.UploadError, s3po.DownloadException)


@pytest.mark.parametrize('call', ['download', 'head', 'open', 'list', 'delete_bucket'])
def test_short_traceback(conn: s3po.Connection, kind: Kind, call: str) -> None:
    """The traceback of an error has about a dozen lines, without those of retries and transports."""
    calls: dict[str, Any] = {
        'download': lambda: conn.download(BUCKET, 'missing'),
        'head': lambda: conn.head(BUCKET, 'missing'),
        'open': lambda: conn.open(BUCKET, 'missing'),
        'list': lambda: next(conn.list('no-such-bucket')),
        'delete_bucket': lambda: conn.delete_bucket('no-such-bucket'),
    }
    with pytest.raises(s3po.ResponseError) as caught:
        calls[call]()

    lines = ''.join(traceback.format_exception(caught.value)).splitlines()
    assert len(lines) <= 20
    assert call not in {'download', 'head', 'open'} or isinstance(caught.value, s3po.NotFound)


def test_full_traceback_at_debug(conn: s3po.Connection, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG the full traceback is logged."""
    with caplog.at_level(logging.DEBUG, 's3po.connection.tracebacks'), pytest.raises(s3po.NotFound):
        conn.download(BUCKET, 'missing')

    assert 'fetching.py' in caplog.text


def test_cause_keeps_its_traceback(conn: s3po.Connection) -> None:
    """The traceback of an exception of the caller's own code is not shortened."""

    def source() -> Any:
        yield b'x'
        raise KeyError('mine')

    with pytest.raises(KeyError) as caught:
        conn.upload(BUCKET, 'key', source())

    assert any(frame.name == 'source' for frame in traceback.extract_tb(caught.value.__traceback__))


def test_errors_of_files(store: Store, connect: Any) -> None:
    """An open file raises OSErrors that are also errors of s3po."""
    conn = connect(store.endpoint_url, retry=impatient(0))
    store.create_bucket(BUCKET)
    with pytest.raises(FileNotFoundError, match='NoSuchKey') as caught:
        conn.open(BUCKET, 'missing')
    assert isinstance(caught.value, s3po.NotFound)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, f's3://{BUCKET}/missing')
    with pytest.raises(FileNotFoundError):
        conn.open('no-such-bucket', 'key')
    with conn.open(BUCKET, 'new', 'xb') as file:
        file.write(b'first')
    with pytest.raises(FileExistsError) as exists, conn.open(BUCKET, 'new', 'xb') as file:
        file.write(b'second')
    assert isinstance(exists.value, s3po.PreconditionFailed)
    store.script({'operation': 'GetObject', 'times': 1, 'action': {'status': 403, 'code': 'AccessDenied'}})
    with pytest.raises(PermissionError):
        conn.open(BUCKET, 'new')
    store.script({'operation': 'GetObject', 'times': None, 'action': {'status': 500}})
    with pytest.raises(OSError, match='gave up') as failed:
        conn.open(BUCKET, 'other')
    again = pickle.loads(pickle.dumps(failed.value))
    assert isinstance(again, s3po.DownloadError)
    assert (again.errno, again.filename, again.bucket) == (errno.EIO, f's3://{BUCKET}/other', BUCKET)


def test_errors_of_the_file_system(store: Store, conn: s3po.Connection) -> None:
    """The fsspec file system does so, too, with the path that the caller passed."""
    with pytest.raises(FileNotFoundError) as caught:
        S3poFileSystem(connection=conn, skip_instance_cache=True).cat_file(f'{BUCKET}/missing')

    assert isinstance(caught.value, s3po.NotFound)
    assert caught.value.filename == f'{BUCKET}/missing'


def test_exists_where_it_may_not(conn: s3po.Connection, store: Store) -> None:
    """The error of a forbidden exists() explains that the key may be missing."""
    store.script({'times': None, 'action': {'status': 403, 'code': 'AccessDenied'}})

    with pytest.raises(s3po.AccessDenied, match='s3:ListBucket'):
        conn.exists(BUCKET, 'key')


def test_missing_source(conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """The error for a missing source does not suggest creating a directory; the one for a missing target directory does."""
    with pytest.raises(s3po.LocalError, match='check the spelling') as caught:
        conn.upload_file(BUCKET, 'key', tmp_path / 'missing')
    assert 'create the directory' not in str(caught.value)
    conn.upload(BUCKET, 'key', b'x')
    with pytest.raises(s3po.LocalError, match='create the directory first'):
        conn.download_file(BUCKET, 'key', tmp_path / 'missing' / 'file')


def test_bytes_to_a_text_file(conn: s3po.Connection) -> None:
    """Writing bytes to a text file raises an error that names the right mode, and nothing is published."""
    with pytest.raises(TypeError, match="'wb' for bytes"), conn.open(BUCKET, 'key', 'w') as file:
        file.write(b'bytes')

    assert not conn.exists(BUCKET, 'key')


def test_silent_failures_are_not_shouted(conn: s3po.Connection, caplog: pytest.LogCaptureFixture) -> None:
    """A silent failure is logged at INFO, which is not printed by default."""
    with caplog.at_level(logging.INFO, 's3po'):
        assert conn.download(BUCKET, 'missing', silent=True) is None

    assert [record.levelname for record in caplog.records if 'silently' in record.message] == ['INFO']


def test_extras_name_what_is_imported() -> None:
    """Each extra installs only packages that the package imports."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    code = '\n'.join(path.read_text() for path in (ROOT / 's3po').rglob('*.py'))
    for extra in ('mock', 'cli', 'compress', 'progress', 'telemetry', 'fsspec', 'all'):
        for line in setup['options.extras_require'][extra].split('\n'):
            name = re.match(r'[\w-]*', line.strip())
            module = name.group().replace('-', '_').removesuffix('_api') if name else ''
            assert not module or re.search(rf'(import|from) {module}\b|[\x27"]{module}\b', code), f'{extra}: {module}'
