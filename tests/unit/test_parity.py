"""Connection's and Batch's signatures are the same, except for callbacks; all public names are documented."""

from __future__ import annotations

import contextlib
import inspect
import pathlib
import re
import typing
from typing import Any

import pytest

import s3po
from s3po.batch.calls import Calls
from s3po.jobs import Call
from s3po.jobs.options import NAMES, ON_BUCKETS
from s3po.model import BucketRef, ObjectRef
from tests.support.memory import MemoryTransport

CALLS = [name for name in vars(Calls) if not name.startswith('_') and name != 'submit']


def test_calls() -> None:
    """The calls that a batch has, too."""
    of_objects = {'upload', 'upload_file', 'download', 'download_file', 'head', 'exists', 'delete', 'copy', 'move'}

    assert set(CALLS) == {*of_objects, 'list', 'delete_many', 'create_bucket', 'delete_bucket'}


def test_names_that_a_batch_does_not_have(memory_conn: s3po.Connection) -> None:
    """The docstring of Batch gives the reason for each name that only a Connection has."""
    reasons = dict(re.findall(r'^ *- ([\w, ]+): (.+)', s3po.Batch.__doc__ or '', re.MULTILINE))
    names = {name for listed in reasons for name in listed.split(', ')}

    assert names == {*dir(memory_conn)} - {*dir(s3po.Batch)}


@pytest.mark.parametrize('name', CALLS)
def test_same_signature(name: str) -> None:
    """Both have the same parameters, with the same order, kinds, defaults and types."""
    of_connection = inspect.signature(getattr(s3po.Connection, name)).parameters
    of_batch = dict(inspect.signature(getattr(s3po.Batch, name)).parameters)

    assert list(of_batch)[-2:] == ['callback', 'errback']
    for added in ('callback', 'errback'):
        assert of_batch.pop(added).kind is inspect.Parameter.KEYWORD_ONLY
    assert of_batch == dict(of_connection)


@pytest.mark.parametrize('name', ['upload', 'download'])
def test_options_of_maps(name: str) -> None:
    """map_upload() and map_download() have the options of upload() and download(), with the same defaults and types."""
    signature = inspect.signature(getattr(s3po.Batch, f'map_{name}'))
    options = {each.name: each for each in signature.parameters.values() if each.kind is each.KEYWORD_ONLY}
    of_one = inspect.signature(getattr(s3po.Batch, name)).parameters.values()

    assert [*signature.parameters][:2] == ['self', 'iterable']
    assert set(options) == {each.name for each in of_one if each.kind is each.KEYWORD_ONLY}
    for each in of_one:
        if each.name in options and each.name not in ('callback', 'errback'):
            assert options[each.name] == each


def test_options_of_retry_failed() -> None:
    """retry_failed() has the options of batch(), with the same defaults and types, and some of its own."""
    of_batch = dict(inspect.signature(s3po.Connection.batch).parameters)
    found = dict(inspect.signature(s3po.Connection.retry_failed).parameters)

    assert list(found)[:3] == ['self', 'failed', 'size']
    assert set(found) - set(of_batch) == {'failed', 'to', 'callback', 'errback'}
    assert {name: found[name] for name in of_batch} == of_batch


OVERLOADED = [
    (owner, name)
    for owner in (s3po.Connection, s3po.Batch)
    for name, method in inspect.getmembers(owner, inspect.isfunction)
    if typing.get_overloads(method)
]


def parameters_of(overload: Any) -> set[str]:
    """The names of the parameters, with those of the options that it takes."""
    hints = typing.get_type_hints(overload)
    (options,) = typing.get_args(hints['options'])
    return {*inspect.signature(overload).parameters, *options.__annotations__} - {'options'}


def test_overloaded_methods() -> None:
    """The methods whose result depends on their arguments have overloads; all of a batch have them, for callbacks."""
    of = {owner: {name for each, name in OVERLOADED if each is owner} for owner in (s3po.Connection, s3po.Batch)}

    assert of[s3po.Connection] == {'upload', 'upload_file', 'download', 'download_file', 'open', 'list'}
    assert of[s3po.Batch] == {*CALLS, 'results'}


@pytest.mark.parametrize(('owner', 'name'), [each for each in OVERLOADED if each[1] != 'results'])
def test_parameters_of_overloads(owner: Any, name: str) -> None:
    """Every overload has the parameters that the signature shows. Those of open() have the ones of their modes."""
    method = getattr(owner, name)
    shown = set(inspect.signature(method).parameters)
    found = [parameters_of(overload) for overload in typing.get_overloads(method)]

    assert set().union(*found) == shown
    assert name == 'open' or all(names == shown for names in found)


class Reading(dict[str, Any]):
    """Options that record which of them were read."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.read.add(str(name))
        return super().__contains__(name)

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize('name', CALLS)
def test_every_option_arrives(memory_conn: s3po.Connection, tmp_path: pathlib.Path, name: str) -> None:
    """The operation reads every option that the method accepts."""
    of_the_ref = {'self', 'bucket', 'key', 'version_id', 'silent', 'prefix'}
    taken = {*inspect.signature(getattr(s3po.Connection, name)).parameters} - of_the_ref
    memory_conn.upload('bucket', 'key', b'data')
    (tmp_path / 'file').write_bytes(b'data')
    given = {'source': b'data', 'path': tmp_path / 'file', 'to_bucket': 'bucket', 'to_key': 'copy', 'if_match': None}
    given['keys'] = ['key']
    # The options that become headers are read only if there is one of them.
    given['content_type'] = 'text/plain'
    ref = BucketRef(bucket='bucket') if name in ON_BUCKETS else ObjectRef(bucket='bucket', key='key')
    read: set[str] = set()
    # A move passes its options to a copy.
    for operation in ['copy', 'move'] if name == 'move' else [name]:
        options = Reading((option, value) for option, value in given.items() if option in NAMES[operation])
        # The requests of these two go through boto3.
        with memory_conn.mock() if operation.endswith('_bucket') else contextlib.nullcontext():
            if operation == 'delete_bucket':
                memory_conn.create_bucket('bucket')
            memory_conn.perform(Call(operation, ref, options))
        read |= options.read

    assert taken <= read


def positional(name: str) -> list[str]:
    """Values for the positional parameters of a method."""
    parameters = inspect.signature(getattr(s3po.Connection, name)).parameters.values()
    return [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD and each.name != 'self']


@pytest.mark.parametrize('name', CALLS)
def test_unknown_option(memory_conn: s3po.Connection, memory: MemoryTransport, name: str) -> None:
    """An unknown or internal option is a TypeError at once, as for any function."""
    with memory_conn.batch(1) as batch:
        for owner in (memory_conn, batch):
            for option in ('retires', 'config'):
                with pytest.raises(TypeError, match=rf"{name}\(\) got an unexpected keyword argument '{option}'"):
                    getattr(owner, name)(*positional(name), **{option: 1})

    assert memory.calls == []


@pytest.mark.parametrize('name', s3po.__all__)
def test_public_names_are_described(name: str) -> None:
    """Every public class, and every public method of it, has a docstring."""
    found = getattr(s3po, name)
    if isinstance(found, str):
        return
    assert inspect.getdoc(found), name
    for method, value in vars(found).items():
        if not method.startswith('_') and inspect.isfunction(value):
            assert inspect.getdoc(value), f'{name}.{method}'
