"""Files of older versions of s3po can be loaded: pickles, and failed jobs."""

from __future__ import annotations

import pathlib
import pickle
from typing import Any

import pytest

import s3po
from s3po import errors
from s3po.credentials import ConfigCredentials, EnvironmentCredentials, MetadataCredentials
from tests.support import kept

OLD = pathlib.Path(__file__).parents[1] / 'data' / 'kept'
OPERATIONS = ['copy', 'delete', 'download', 'download_file', 'head', 'upload', 'upload_file']
CONNECTIONS = sorted(name for name in kept.PICKLES if name.startswith('connection'))


def loaded(name: str) -> Any:
    return pickle.loads((OLD / f'{name}.pickle').read_bytes())


def test_all_are_tested() -> None:
    """Each kind of value that users pickle has a file."""
    assert sorted(path.stem for path in OLD.glob('*.pickle')) == sorted(kept.PICKLES)


@pytest.mark.parametrize('name', CONNECTIONS)
def test_connections(name: str) -> None:
    """A Connection of an older version equals a new one."""
    with loaded(name) as old, kept.PICKLES[name]() as new:
        assert repr(old) == repr(new)
        assert old.config == new.config
        assert sorted(old._arguments) == sorted(new._arguments)
        assert type(old._arguments.get('credentials')) is type(new._arguments.get('credentials'))


def test_connection_is_used(conn: s3po.Connection) -> None:
    """A Connection of an older version signs with the keys that it was created with."""
    with loaded('connection_static') as old:
        url = old.presign('GET', 'bucket', 'key')

    assert url.startswith(f'{kept.ENDPOINT}/bucket/key?')
    assert 'X-Amz-Credential=key%2F' in url


def test_credentials() -> None:
    """Credentials that look up their keys do so after loading."""
    found = loaded('credentials')

    assert [type(each) for each in found] == [EnvironmentCredentials, ConfigCredentials, MetadataCredentials]
    assert [each.region for each in found] == ['here'] * 3


def test_interfaces() -> None:
    """The fsspec file system and the storage can be loaded."""
    assert loaded('filesystem') == kept.PICKLES['filesystem']()
    assert loaded('storage').name == 'other'


def test_errors() -> None:
    """Every error of an older version has its class, message, fields and cause."""
    old = loaded('errors')
    kinds = {type(each) for each in old}
    new = [each for each in kept.every_error() if type(each) in kinds]

    assert [type(each) for each in old] == [type(each) for each in new]
    assert [str(each) for each in old] == [str(each) for each in new]
    assert [vars(each) for each in old] == [vars(each) for each in new]
    assert {(type(each.__cause__), each.__cause__.status, each.__cause__.attempts) for each in old} == {
        (errors.Throttled, 503, 2)
    }


def test_values() -> None:
    """References, configurations and policies equal new ones."""
    ref, config, policy = loaded('values')
    new_ref, new_config, new_policy = kept.PICKLES['values']()

    assert (ref, config) == (new_ref, new_config)
    assert (policy.retries, policy.stop) == (new_policy.retries, new_policy.stop)


def test_failed_jobs() -> None:
    """A failed set, from a file or from a pickled BatchError, has the calls and their errors."""
    for failed in (s3po.FailedJobs.load(OLD / 'failed.jsonl'), loaded('batch_error').failed):
        found = {each.operation: each for each in failed}

        assert sorted(found) == OPERATIONS
        assert found['download'].options['byte_range'] == (3, 9)
        assert found['upload_file'].options['path'] == pathlib.Path('data/file')
        assert found['download_file'].ref == s3po.ObjectRef(bucket='bucket', key='file', version_id='1')
        assert found['download_file'].is_silent
        assert type(found['upload'].error) is errors.UploadError
        assert type(found['upload_file'].error) is errors.LocalError


def test_failed_jobs_are_repeated(conn: s3po.Connection, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed jobs of an older version can be retried."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'file').write_bytes(b'data')

    batch = conn.retry_failed(s3po.FailedJobs.load(OLD / 'failed.jsonl'), on_error='collect')

    assert conn.download('bucket', 'file') == b'data'
    assert 'upload_file' not in {each.operation for each in batch.failed}
