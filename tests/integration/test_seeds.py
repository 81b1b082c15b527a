"""The examples of the documents on which the project is based, against a real store (tests/support/seeds.py)."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from tests.integration.conftest import Place
from tests.support import seeds


@pytest.mark.parametrize('example', seeds.EXAMPLES, ids=lambda example: example.__name__)
def test_example(
    example: Callable[[seeds.Place], None],
    place: Place,
    bucket: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The example runs with the documented result."""
    # By default boto3 sends checksums as trailers, which Ceph 16 does not accept over HTTPS.
    monkeypatch.setenv('AWS_REQUEST_CHECKSUM_CALCULATION', 'when_required')
    if isinstance(place.verify, str):
        monkeypatch.setenv('AWS_CA_BUNDLE', place.verify)
    found = seeds.Place(place.endpoint_url, bucket, place.access_key_id, place.secret_access_key)
    seeds.prepare(found, tmp_path, monkeypatch)

    example(found)

    found.conn.close()
