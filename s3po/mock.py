"""An in-process fake S3 (moto) for a connection.

Only starts and stops moto. The connection checks for an active mock before each call, and then uses moto without opening a
socket; so the program's own `moto.mock_aws()` works as well.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from s3po.errors import ConfigurationError, InvalidRequest

__all__ = ['Mock']

F = TypeVar('F', bound=Callable[..., Any])

# Calling one of these does not run its body.
RUNS_LATER: Final = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


class Mockable(Protocol):
    """The part of a connection that a mock needs."""

    def create_bucket(self, bucket: str) -> None:
        """Create a bucket."""
        ...


class Mock:
    """The mock that Connection.mock() returns. Mocks may be nested; the objects are deleted when the outermost one stops."""

    def __init__(self, connection: Mockable, buckets: Sequence[str]) -> None:
        """
        Args:
            connection: Creates the buckets.
            buckets: Created at every start, unless an outer mock has created them.

        Raises:
            ConfigurationError: moto is not installed.
        """
        try:
            import moto
        except ImportError as error:
            raise ConfigurationError("mock() needs moto; install it with: pip install 's3po[mock]'") from error
        self._new = moto.mock_aws
        self._connection = connection
        self._buckets = buckets
        self._started: list[Any] = []

    def __repr__(self) -> str:
        return f'<Mock {"started" if self._started else "stopped"}>'

    def start(self) -> Self:
        """Activate the mock. May be called several times; then stop() must be called as often."""
        mock = self._new()
        mock.start()
        self._started.append(mock)
        try:
            self._create_buckets()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Deactivate the mock.

        Raises:
            ConfigurationError: The mock is not active.
        """
        if not self._started:
            raise ConfigurationError('stop() without start(): this mock is not active')
        self._started.pop().stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def __call__(self, function: F) -> F:
        """Decorate a function or a class; each call, and each test of the class, starts with an empty store.

        For a unittest.TestCase it covers setUp and tearDown too (not setUpClass), for other classes the methods whose names
        begin with `test`; pytest's fixtures are not covered: use the fixture in s3po.testing.

        Raises:
            ConfigurationError: The function runs after its call has returned (async functions, generators).
        """
        if inspect.isclass(function):
            self._decorate_class(function)
            return function
        if any(is_kind(function) for is_kind in RUNS_LATER):
            raise ConfigurationError(
                f'{function.__name__} would run after the mock has stopped; use `with conn.mock():` inside it'
            )

        @functools.wraps(function)
        def mocked(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return mocked  # type: ignore[return-value]  # it has the signature of what it wraps

    def _decorate_class(self, decorated: type) -> None:
        import unittest  # imported only here: a program with such classes has imported it already

        if issubclass(decorated, unittest.TestCase):
            # run() runs one test with its setUp and tearDown. A setUp outside of the mock would use a real store.
            decorated.run = self(decorated.run)  # type: ignore[method-assign]
            return
        for name in dir(decorated):
            member = inspect.getattr_static(decorated, name)
            function = getattr(member, '__func__', member)
            if name.startswith('test') and inspect.isfunction(function):
                mocked = self(function)
                # Keep staticmethods and classmethods.
                setattr(decorated, name, mocked if function is member else type(member)(mocked))

    def _create_buckets(self) -> None:
        for bucket in self._buckets:
            try:
                self._connection.create_bucket(bucket)
            except InvalidRequest as error:
                # An outer mock has created it.
                if error.code != 'BucketAlreadyOwnedByYou':
                    raise
