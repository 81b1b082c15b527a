"""The examples of the documents on which the project is based, against moto's server (tests/support/seeds.py)."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.seeds import EXAMPLES, Place, prepare
from tests.support.servers import MotoServer


@pytest.mark.parametrize('example', EXAMPLES, ids=lambda example: example.__name__)
def test_example(
    example: Callable[[Place], None], moto_server: MotoServer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example runs with the documented result."""
    place = Place(moto_server.endpoint_url, 'bucket', 'key', SECRET_ACCESS_KEY)
    prepare(place, tmp_path, monkeypatch)
    place.conn.create_bucket('bucket')

    example(place)

    place.conn.close()
