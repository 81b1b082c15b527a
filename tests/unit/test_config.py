"""TransferConfig: errors for values out of range name the setting."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from s3po.config import GIB, KIB, MIB, TransferConfig
from s3po.errors import ConfigurationError


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('multipart_chunksize', 5 * MIB - 1),
        ('multipart_chunksize', 5 * GIB + 1),
        ('multipart_copy_chunksize', 4 * MIB),
        ('multipart_threshold', 5 * GIB + 1),
        ('multipart_threshold', -1),
        ('multipart_threshold', 1.5),
        ('multipart_copy_threshold', 6 * GIB),
        ('max_concurrency', 0),
        ('max_concurrency', True),
        ('max_requests', 0),
        ('connect_timeout_s', 0),
        ('connect_timeout_s', True),
        ('read_timeout_s', -1.0),
        ('read_timeout_s', '5'),
        ('read_timeout_s', float('nan')),
        ('throttle_timeout_s', -1.0),
        ('throttle_timeout_s', None),
        ('requests_per_s', 0),
        ('requests_per_s', '10'),
        ('bandwidth_bytes_per_s', -1),
        ('bandwidth_bytes_per_s', float('nan')),
    ],
)
def test_out_of_range(name: str, value: Any) -> None:
    """The message for a value out of range names the setting."""
    with pytest.raises(ConfigurationError, match=name):
        TransferConfig(**{name: value})


def test_limits_are_allowed() -> None:
    """S3's limits themselves are in range."""
    TransferConfig(multipart_threshold=0, multipart_chunksize=5 * MIB, multipart_copy_chunksize=5 * GIB, max_requests=1)
    TransferConfig(multipart_threshold=5 * GIB, read_timeout_s=0.5, throttle_timeout_s=0)


def test_part_size_error_has_the_limits() -> None:
    """The message contains the allowed range."""
    with pytest.raises(ConfigurationError, match='5 MiB to 5 GiB'):
        TransferConfig(multipart_chunksize=64 * KIB)


def test_pickle_of_an_earlier_version() -> None:
    """A pickle with fewer fields, in which only the first ones are, is loaded with the defaults of the others."""
    config = TransferConfig(max_concurrency=3, requests_per_s=10.0)
    kept = pickle.loads(pickle.dumps(config))
    old = TransferConfig()
    old.__setstate__(config.__getstate__()[:14])  # type: ignore[attr-defined]

    assert kept == config
    assert old == TransferConfig(max_concurrency=3)
