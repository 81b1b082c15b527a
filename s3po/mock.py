"""A pretended S3 under a real connection, by moto.

What may live here: starting and stopping moto. That the connection then speaks to it, and opens no socket, is the connection's
own doing: it looks for an active mock before each call, so the user's own `moto.mock_aws()` works as well.
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

# Calling one of these runs none of its body yet.
RUNS_LATER: Final = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


class Mockable(Protocol):
    """What a mock needs of a connection."""

    def create_bucket(self, bucket: str) -> None:
        """Create a bucket."""
        ...


class Mock:
    """Made by Connection.mock(). Mocks may be nested; the objects are gone when the outermost one stops."""

    def __init__(self, connection: Mockable, buckets: Sequence[str]) -> None:
        """
        Args:
            connection: What to create the buckets with.
            buckets: Created at every start, unless they are there from a mock around this one.

        Raises:
            ConfigurationError: moto is not installed.
        """
        try:
            import moto
        except ImportError as error:
            raise ConfigurationError("mock() needs moto; install it by: pip install 's3po[mock]'") from error
        self._new = moto.mock_aws
        self._connection = connection
        self._buckets = buckets
        self._started: list[Any] = []

    def __repr__(self) -> str:
        return f'<Mock {"started" if self._started else "stopped"}>'

    def start(self) -> Self:
        """Begin to pretend. May be called again before stop(), which then has to be called as often."""
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
        """Stop pretending.

        Raises:
            ConfigurationError: It was not started.
        """
        if not self._started:
            raise ConfigurationError('stop() without start(): this mock is not active')
        self._started.pop().stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def __call__(self, function: F) -> F:
        """Decorate a function or a class; each call, and each test of the class, starts afresh.

        Of a unittest.TestCase it covers setUp and tearDown too (not setUpClass), of other classes the methods whose names
        begin with `test`, and nothing that pytest does around them: for that there is the fixture in s3po.testing.

        Raises:
            ConfigurationError: The function would run after the call that it is decorated for (async, generators).
        """
        if inspect.isclass(function):
            self._decorate_class(function)
            return function
        if any(is_kind(function) for is_kind in RUNS_LATER):
            raise ConfigurationError(
                f'{function.__name__} would run after the mock has stopped; use `with conn.mock():` inside of it'
            )

        @functools.wraps(function)
        def mocked(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return mocked  # type: ignore[return-value]  # it has the signature of what it wraps

    def _decorate_class(self, decorated: type) -> None:
        import unittest  # only who has such classes has imported it

        if issubclass(decorated, unittest.TestCase):
            # What runs one test, with all that belongs to it. A setUp outside of the mock would go to a real store.
            decorated.run = self(decorated.run)  # type: ignore[method-assign]
            return
        for name in dir(decorated):
            member = inspect.getattr_static(decorated, name)
            function = getattr(member, '__func__', member)
            if name.startswith('test') and inspect.isfunction(function):
                mocked = self(function)
                # A staticmethod stays one.
                setattr(decorated, name, mocked if function is member else type(member)(mocked))

    def _create_buckets(self) -> None:
        for bucket in self._buckets:
            try:
                self._connection.create_bucket(bucket)
            except InvalidRequest as error:
                # There from a mock around this one.
                if error.code != 'BucketAlreadyOwnedByYou':
                    raise
