"""A Call is a frozen value with a JSON form for its durable options, and with the same identity in all processes."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import io
import json
import os
import pathlib
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Unpack

import pytest

from s3po.config import TransferConfig
from s3po.errors import JobError
from s3po.jobs import LOST, Call, read_lines
from s3po.jobs.durable import durable, restored
from s3po.jobs.options import NAMES, UploadOptions, shows
from s3po.model import BucketRef, ListEntry, ObjectRef, UnusableRef

REF = ObjectRef(bucket='bucket', key='key', version_id='1')


def call(operation: str = 'upload_file', **options: Any) -> Call:
    return Call(operation, REF, options)


def test_is_frozen() -> None:
    """A Call cannot be changed, and is compared by its fields."""
    one = call(path='/a', retries=1)

    with pytest.raises(dataclasses.FrozenInstanceError):
        one.operation = 'delete'  # type: ignore[misc]
    assert one == call(path='/a', retries=1)
    assert one != call(path='/b', retries=1)
    assert dataclasses.replace(one, options={}).options == {}


def test_pickles() -> None:
    """A Call can be pickled and copied."""
    one = call(path=pathlib.Path('/a'), retries=1)

    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(one) == one


def test_shows_no_options() -> None:
    """repr() and str() omit the options, which may be data or secrets."""
    one = call(metadata={'a': 'hidden'}, path='/a')

    assert repr(one) == '<Call upload_file s3://bucket/key?versionId=1>'
    assert str(one) == 'upload_file s3://bucket/key?versionId=1'


@pytest.mark.parametrize(
    ('operation', 'options'),
    [
        ('upload_file', {'path': pathlib.Path('/a/b'), 'metadata': {'a': '1'}, 'retries': 2, 'timeout_s': 1.5, 'delete': True}),
        ('download', {'target': pathlib.Path('/a/b'), 'byte_range': (1, None), 'decompress': False}),
        ('download', {'target': '/a/b/'}),
        ('copy', {'to_bucket': 'other', 'to_key': 'caf\u00e9', 'headers': {'cache-control': 'no-cache'}}),
        ('delete', {'missing_ok': False}),
        ('head', {}),
        ('exists', {'retries': 1}),
    ],
)
def test_durable_options_come_back(operation: str, options: dict[str, Any]) -> None:
    """Durable options are restored from JSON text."""
    said = json.loads(json.dumps(call(operation, **options).to_json()))

    assert said['lost'] == []
    assert Call.from_json(said) == call(operation, **options)


@pytest.mark.parametrize(
    ('operation', 'key', 'options'),
    [
        ('list', 'prefix/', {'delimiter': '/', 'page_size': 10}),
        ('list', '', {}),
        ('delete_many', '', {'keys': ('a', 'b', ObjectRef(bucket='bucket', key='c', version_id='1'))}),
        ('create_bucket', '', {'extra': {'ACL': 'private'}}),
    ],
)
def test_calls_on_buckets_come_back(operation: str, key: str, options: dict[str, Any]) -> None:
    """A call on a bucket is restored from JSON text, with a BucketRef."""
    one = Call(operation, BucketRef(bucket='bucket', key=key), options)
    again = Call.from_json(json.loads(json.dumps(one.to_json())))

    assert again == one
    assert again.identity == one.identity


class Failing(Iterable[str]):
    """Keys that cannot be read again."""

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError('cannot be read again')


@pytest.mark.parametrize(
    'keys',
    [iter(['a']), ['a', 5], 'a', 5, Failing(), [ObjectRef(bucket='bucket', key='a', version_id=b'1')]],  # type: ignore[arg-type]
)
def test_keys_that_are_not_saved(keys: Any) -> None:
    """Keys of an iterator, and values that are no keys, are listed as lost."""
    said = Call('delete_many', BucketRef(bucket='bucket'), {'keys': keys}).to_json()

    assert said['lost'] == ['keys']
    assert Call.from_json(said).to_json() == said


def test_keys_of_any_iterable() -> None:
    """Keys are saved as texts, whatever the iterable; entries of listings as their keys."""
    for keys in (['a', 'b'], ('a', ListEntry(key='b', size_bytes=1)), {'a': 1, 'b': 2}.keys()):
        said = Call('delete_many', BucketRef(bucket='bucket'), {'keys': keys}).to_json()
        assert said['options'] == {'keys': ['a', 'b']}


@pytest.mark.parametrize(
    ('operation', 'options'),
    [
        ('upload', {'source': b'data'}),
        ('upload', {'source': 'text'}),
        ('upload', {'source': io.BytesIO()}),
        ('download', {'target': io.BytesIO()}),
        ('download_file', {'extra': {'SSECustomerKey': 'hidden'}}),
        ('upload', {'headers': {'Authorization': 'hidden'}}),
        ('upload', {'metadata': {1: 'a', 'b': 'c'}}),
        ('head', {'extra': {'Time': object()}}),
        ('download', {'byte_range': (b'0', 5)}),
    ],
)
def test_other_options_are_named(operation: str, options: dict[str, Any]) -> None:
    """Data, streams, secrets and objects are not in the JSON form, which lists them as lost."""
    said = call(operation, **options).to_json()

    assert said['lost'] == list(options)
    assert 'hidden' not in json.dumps(said)
    loaded = Call.from_json(said)
    assert loaded.options == dict.fromkeys(options, LOST)
    assert loaded.to_json() == said


@pytest.mark.parametrize('name', ['bucket', 'key', 'version_id'])
def test_names_that_are_no_text(name: str) -> None:
    """A call with an invalid name is saved, and the name is listed as lost."""
    said = Call('head', UnusableRef(**{'bucket': 'bucket', 'key': 'key', name: b'bytes'}), {}).to_json()

    assert json.loads(json.dumps(said))['lost'] == [name]


def test_relative_paths(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is saved as an absolute one, since it may be loaded in another directory."""
    monkeypatch.chdir(tmp_path)

    assert call(path='a/b').to_json()['options'] == {'path': {'path': f'{tmp_path}/a/b'}}
    assert call(path=os.fsencode('a')).to_json()['lost'] == ['path']
    assert call(path='a').identity == call(path=pathlib.Path(f'{tmp_path}/a')).identity


def test_relative_path_without_a_working_directory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the working directory was removed, a relative path is lost."""
    gone = tmp_path / 'gone'
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert call(path='a').to_json()['lost'] == ['path']


def test_functions() -> None:
    """A function is durable if it can be imported by its name."""
    assert durable('callback', json.dumps) == {'function': 'json:dumps'}
    assert restored('callback', durable('callback', json.dumps)) is json.dumps
    assert restored('progress', durable('progress', pathlib.Path.exists)) is pathlib.Path.exists
    for other in (lambda: None, io.BytesIO().read, 7):
        assert durable('callback', other) is LOST
    with pytest.raises(JobError, match='no_such_module:f cannot be imported'):
        restored('callback', {'function': 'no_such_module:f'})


def test_file_imports_nothing() -> None:
    """Loading a call imports nothing, whatever the file contains."""
    for option in ('callback', 'progress', 'metadata'):
        options = {option: {'function': 'no_such_module:f'}}

        assert Call.from_json({**call().to_json(), 'options': options}).options == options


def test_mistakes() -> None:
    """mistake() finds an option that the operation does not have, before the call is carried out."""
    assert call(path='/a').mistake() is None
    assert str(call(byte_range=(1, 2)).mistake()) == "upload_file has no option 'byte_range'"
    assert str(Call('remove', REF, {}).mistake()) == "there is no operation 'remove'"


@pytest.mark.parametrize(
    'said',
    [
        [],
        {},
        {**call().to_json(), 'operation': 'remove'},
        {**call().to_json(), 'operation': []},
        {**call().to_json(), 'options': 7},
        {**call().to_json(), 'options': {'path': {}}},
        {**call().to_json(), 'lost': 7},
    ],
)
def test_something_else(said: Any) -> None:
    """The error for invalid data explains the problem."""
    with pytest.raises(JobError, match='not a valid call: '):
        Call.from_json(said)


@pytest.mark.parametrize('line', [b'nonsense', b'\xff\xfe\xfd', b'[' * 100_000, b'', b'{"a": 1}'])
def test_broken_line(tmp_path: pathlib.Path, line: bytes) -> None:
    """The message for an invalid line contains the file and the line number."""
    good = json.dumps(call().to_json()).encode()
    (tmp_path / 'f').write_bytes(b'\n'.join([good, good, line, good]))

    with pytest.raises(JobError, match=r'/f, line 3: '):
        list(read_lines(tmp_path / 'f', Call.from_json))


def test_identity() -> None:
    """The identity consists of operation, object and durable options, without their order, defaults and limits."""
    one = call('download', target='/a', byte_range=(1, 2))

    assert one.identity == call('download', byte_range=(1, 2), target=pathlib.Path('/a')).identity
    assert one.identity == Call.from_json(json.loads(json.dumps(one.to_json()))).identity
    assert one.identity == call('download', target='/a', byte_range=(1, 2), decompress='auto', extra=None).identity
    assert one.identity == call('download', target='/a', byte_range=(1, 2), retries=7, timeout_s=1.0).identity
    others = [
        call('download_file', target='/a', byte_range=(1, 2)),
        call('download', target='/b', byte_range=(1, 2)),
        call('download', target='/a'),
        call('download', target='/a', byte_range=(1, 2), decompress=True),
        Call('download', ObjectRef(bucket='bucket', key='key'), one.options),
    ]
    assert len({one.identity, *(other.identity for other in others)}) == 6


def test_identity_in_another_process() -> None:
    """The identity is the same in another process, since it does not use hash()."""
    script = (
        'from s3po.jobs import Call; from s3po.model import BucketRef, ListEntry, ObjectRef, UnusableRef; '
        "print(Call('delete', ObjectRef(bucket='bucket', key='key', version_id='1'), {'missing_ok': False}).identity)"
    )
    other = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)

    assert other.stdout.strip() == call('delete', missing_ok=False).identity


def test_signature() -> None:
    """The signature shows the options after the method's own arguments."""

    @shows(UploadOptions)
    def upload(bucket: str, **options: Unpack[UploadOptions]) -> int:
        """The docstring."""
        return len(options)

    parameters = inspect.signature(upload).parameters

    assert list(parameters) == ['bucket', *UploadOptions.__annotations__]
    assert str(parameters['retries']) == "retries: 'int | None' = None"
    assert (upload('b', retries=1), upload.__doc__) == (1, 'The docstring.')


def test_names() -> None:
    """Internal options are not options of a caller."""
    assert not any({'config', 'observer'} & names for names in NAMES.values())
    assert NAMES['move'] == NAMES['copy']


def test_internal_options() -> None:
    """Internal options are objects of this process: they are not written to a file, and from a file they are unknown."""
    call = Call('upload', REF, {'source': pathlib.Path('/file'), 'config': TransferConfig(), 'observer': object()})

    assert call.mistake() is None
    assert call.to_json()['options'] == {'source': {'path': '/file'}}
    assert call.to_json()['lost'] == []
    for name in ('config', 'observer'):
        mistake = Call.from_json({**call.to_json(), 'options': {name: 'text'}}).mistake()
        assert str(mistake) == f'upload has no option {name!r}'
