"""The error tree: retryable or not, exported, and every error pickles."""

from __future__ import annotations

import inspect
import pickle

import pytest

import s3po
from s3po import errors, exceptions
from s3po.retry import is_retryable

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.S3poError)]


def test_all_are_exported() -> None:
    """Every error is exported by the package."""
    for name in errors.__all__:
        assert getattr(s3po, name) is getattr(errors, name)
    assert {kind.__name__ for kind in CLASSES} <= set(errors.__all__)


def test_docstring_draws_the_tree() -> None:
    """The docstring of the module shows every class, indented below its base."""
    drawn: dict[str, tuple[int, str]] = {}
    stack: list[tuple[int, str]] = []
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        name = line.lstrip(' │├└─').split(' ')[0]
        if name in {kind.__name__ for kind in CLASSES}:
            depth = line.index(name)
            stack = [item for item in stack if item[0] < depth]
            drawn[name] = (depth, stack[-1][1] if stack else '')
            stack.append((depth, name))
    for kind in CLASSES:
        bases = [base.__name__ for base in kind.__bases__ if base.__name__ in drawn]
        assert drawn[kind.__name__][1] in (bases or ['']), kind


@pytest.mark.parametrize('kind', CLASSES, ids=lambda kind: kind.__name__)
def test_pickles(kind: type[errors.S3poError]) -> None:
    """An error keeps its message, fields and cause through a pickle."""
    error = kind('what happened')
    for name in inspect.signature(kind.__init__).parameters:
        if name in vars(error) and name != 'failed':
            setattr(error, name, 7)
    error.__cause__ = errors.NetworkError('reset', attempts=2)

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is kind
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert type(copy.__cause__) is errors.NetworkError
    assert copy.__cause__.attempts == 2


def test_foreign_cause_does_not_keep_an_error_from_pickling() -> None:
    """A cause that cannot be pickled is left out."""
    error = errors.NetworkError('reset')
    error.__cause__ = OSError(lambda: None)

    assert pickle.loads(pickle.dumps(error)).__cause__ is None


def test_also_the_standard_librarys() -> None:
    """A wrong argument is a ValueError; an error of the disk is an OSError with its errno."""
    error = errors.LocalError('cannot write x: disk full', errno=28, filename='x')

    assert isinstance(error, OSError)
    assert (error.errno, error.filename, str(error)) == (28, 'x', 'cannot write x: disk full')
    assert (pickle.loads(pickle.dumps(error)).errno, error.filename) == (28, 'x')
    assert issubclass(errors.ConfigurationError, ValueError)


def test_text_counts_attempts() -> None:
    """The text of an error after several attempts contains their number."""
    assert str(errors.NotFound('gone')) == 'gone'
    assert str(errors.NotFound('gone', attempts=3)) == 'gone (after 3 attempts)'


RETRYABLE = {
    'ConnectTimeout',
    'ReadTimeout',
    'NetworkError',
    'IntegrityError',
    'Conflict',
    'Throttled',
    'ServerError',
}


@pytest.mark.parametrize('kind', CLASSES, ids=lambda kind: kind.__name__)
def test_retryable_by_class_alone(kind: type[errors.S3poError]) -> None:
    """The class alone decides whether an error is retryable."""
    assert is_retryable(kind('x')) == (kind.__name__ in RETRYABLE)


def test_upstreams_names() -> None:
    """The error names of the first s3po are aliases or bases of the nearest classes."""
    assert s3po.UploadException is s3po.UploadError
    assert issubclass(s3po.DownloadError, s3po.DownloadException)
    assert issubclass(s3po.NotFound, s3po.DownloadException)
    assert issubclass(s3po.TransferError, s3po.DeleteException)
    assert issubclass(s3po.NotFound, s3po.DeleteException)
    assert not issubclass(s3po.AccessDenied, s3po.DeleteException)
    assert exceptions.S3POException is s3po.S3poError
    assert {getattr(exceptions, name) for name in exceptions.__all__} <= {s3po.S3poError, *CLASSES}
