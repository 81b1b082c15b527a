"""The examples of the other four documents on which the project is based, against moto's server (tests/support/seeds.py)."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.seeds import EXAMPLES, Place
from tests.support.servers import MotoServer


@pytest.mark.parametrize('example', EXAMPLES, ids=lambda example: example.__name__)
def test_example(
    example: Callable[[Place], None], moto_server: MotoServer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example runs with the documented result."""
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'key')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', SECRET_ACCESS_KEY)
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'us-east-1')
    monkeypatch.setenv('AWS_ENDPOINT_URL_S3', moto_server.endpoint_url)
    place = Place(moto_server.endpoint_url, 'bucket', tmp_path, 'key', SECRET_ACCESS_KEY)
    place.conn.create_bucket('bucket')

    example(place)

    place.conn.close()
