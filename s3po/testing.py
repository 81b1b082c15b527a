"""For the tests of s3po's users: `pytest_plugins = ['s3po.testing']` in conftest.py provides the fixture `s3po_mock`.

It is not a plugin that pytest loads automatically: that would import s3po, and so patch the runtime, in every test run on a
machine where s3po is installed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from s3po.connection import Connection

__all__ = ['s3po_mock']


@pytest.fixture
def s3po_mock() -> Iterator[Connection]:
    """A connection to an empty fake S3; create buckets with `s3po_mock.create_bucket(name)`."""
    connection = Connection()
    with connection.mock():
        yield connection
