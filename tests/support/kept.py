"""Files that users keep between versions of s3po: pickles and failed sets.

write() creates one file for each. Those in tests/data/kept were written before the modules of s3po were moved;
tests/functional/test_kept.py loads them.
"""

from __future__ import annotations

import pathlib
import pickle
from collections.abc import Callable
from typing import Any

import tenacity

import s3po
from s3po import errors
from s3po.credentials import (
    ConfigCredentials,
    EnvironmentCredentials,
    MetadataCredentials,
    StaticCredentials,
    URLCredentials,
    merge_credentials,
)
from s3po.interfaces.filesystem import S3poFileSystem
from s3po.interfaces.storage import S3Storage

# A port on which nothing listens.
ENDPOINT = 'http://127.0.0.1:9'
GIVEN: dict[str, Any] = {'endpoint_url': ENDPOINT, 'region': 'eu-west-1'}
KEYS: dict[str, Any] = {'access_key_id': 'key', 'secret_access_key': 'secret'}


def returned_keys() -> dict[str, Any]:
    """A function that is pickled by its name."""
    return KEYS


def every_error() -> list[errors.S3poError]:
    """One error of each class, with a cause."""
    # DeleteException was another name of TransferError when the files were written.
    kinds = [errors.TransferError if name == 'DeleteException' else getattr(errors, name) for name in errors.__all__]
    made = [kind(f'{kind.__name__}: what happened') for kind in dict.fromkeys(kinds) if issubclass(kind, errors.S3poError)]
    for error in made:
        error.__cause__ = errors.Throttled('slow down', status=503, code='SlowDown', request_id='id', attempts=2)
    return made


# For each name, the function that creates the value.
PICKLES: dict[str, Callable[[], Any]] = {
    'connection': lambda: s3po.Connection(
        **GIVEN,
        **KEYS,
        session_token='token',
        config=s3po.TransferConfig(max_concurrency=3),
        default_extra={'RequestPayer': 'requester'},
    ),
    'connection_policy': lambda: s3po.Connection(
        **GIVEN, anonymous=True, retry=s3po.RetryPolicy(retries=7, wait=tenacity.wait_fixed(2))
    ),
    'connection_static': lambda: s3po.Connection(**GIVEN, credentials=StaticCredentials('key', 'secret')),
    'connection_url': lambda: s3po.Connection(**GIVEN, credentials=URLCredentials('http://key:secret@host')),
    'connection_environment': lambda: s3po.Connection(**GIVEN, credentials=EnvironmentCredentials()),
    'connection_files': lambda: s3po.Connection(**GIVEN, credentials=ConfigCredentials()),
    'connection_metadata': lambda: s3po.Connection(**GIVEN, credentials=MetadataCredentials()),
    'connection_merged': lambda: s3po.Connection(
        **GIVEN, credentials=merge_credentials(MetadataCredentials('here'), EnvironmentCredentials('there'))
    ),
    'connection_function': lambda: s3po.Connection(**GIVEN, credentials=returned_keys),
    'credentials': lambda: [EnvironmentCredentials('here'), ConfigCredentials(region='here'), MetadataCredentials('here')],
    'filesystem': lambda: S3poFileSystem(**GIVEN, **KEYS),
    'storage': lambda: S3Storage('bucket', 'us-east-1', 'key', 'secret', name='other'),
    'errors': every_error,
    'values': lambda: [
        s3po.ObjectRef(bucket='bucket', key='key', version_id='1'),
        s3po.TransferConfig(checksum='md5', max_concurrency=3),
        s3po.RetryPolicy(retries=7),
    ],
    'batch_error': lambda: failed_jobs(pathlib.Path('data')),
}


def failed_jobs(directory: pathlib.Path) -> errors.BatchError:
    """The BatchError of a batch against a port where nothing listens."""
    connection = s3po.Connection(**GIVEN, **KEYS, retries=0, config=s3po.TransferConfig(connect_timeout_s=2))
    with connection.batch(2, on_error='collect') as batch:
        batch.upload('bucket', 'bytes', b'lost', headers={'cache-control': 'no-cache'}, metadata={'a': 'b'})
        batch.upload_file('bucket', 'file', directory / 'file', content_type='text/plain', retries=0)
        batch.download('bucket', 'bytes', byte_range=(3, 9))
        batch.download_file('bucket', 'file', directory / 'target', version_id='1', silent=True)
        batch.delete('bucket', 'gone', missing_ok=False)
        batch.copy('bucket', 'from', 'other', 'to')
        batch.head('bucket', 'head')
    return errors.BatchError('7 jobs failed', failed=batch.failed)


def write(directory: pathlib.Path) -> None:
    """Write all files."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, make in PICKLES.items():
        (directory / f'{name}.pickle').write_bytes(pickle.dumps(make(), protocol=4))
    failed: Any = failed_jobs(pathlib.Path('data')).failed
    failed.save(directory / 'failed.jsonl')
