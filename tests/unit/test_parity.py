"""Connection's and Batch's signatures are the same, but for the callbacks; and all public names are described."""

from __future__ import annotations

import inspect

import pytest

import s3po
from s3po.batch.calls import Calls
from s3po.connection.operations import Operations

CALLS = [name for name in vars(Calls) if not name.startswith('_') and name != 'submit']


def test_calls() -> None:
    """The batch takes these."""
    assert set(CALLS) == {'upload', 'upload_file', 'download', 'download_file', 'head', 'delete', 'copy', 'move'}


@pytest.mark.parametrize('name', CALLS)
def test_same_signature(name: str) -> None:
    """Names, order, kinds, defaults and types."""
    of_connection = inspect.signature(getattr(s3po.Connection, name)).parameters
    of_batch = dict(inspect.signature(getattr(s3po.Batch, name)).parameters)

    assert list(of_batch)[-2:] == ['callback', 'errback']
    for added in ('callback', 'errback'):
        assert of_batch.pop(added).kind is inspect.Parameter.KEYWORD_ONLY
    assert of_batch == dict(of_connection)


@pytest.mark.parametrize('name', CALLS)
def test_every_option_arrives(name: str) -> None:
    """What the facade takes is what the operation takes: none is dropped on the way."""
    taken = set(inspect.signature(getattr(s3po.Connection, name)).parameters)
    taken -= {'self', 'bucket', 'key', 'version_id', 'silent', 'timeout_s'}
    operation = {'delete': '_delete_object'}.get(name, f'_{name}')
    known: set[str] = set()
    for function in [operation, '_copy'] if name == 'move' else [operation, operation.removesuffix('_file')]:
        known |= set(inspect.signature(getattr(Operations, function)).parameters)

    assert taken <= known


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
