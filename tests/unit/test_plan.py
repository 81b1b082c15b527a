"""Plans: the parts cover the object exactly and satisfy S3's limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3po.config import GIB, MAX_OBJECT_BYTES, MAX_PART_BYTES, MAX_PARTS, MIB, MIN_PART_BYTES, TransferConfig
from s3po.errors import ConfigurationError
from s3po.plan import plan_copy, plan_download, plan_upload, stream_part_bytes

sizes = st.one_of(st.integers(0, 100 * MIB), st.integers(0, MAX_OBJECT_BYTES))
chunks = st.integers(MIN_PART_BYTES, MAX_PART_BYTES)
TIB = 1024 * GIB


@given(size_bytes=sizes, chunk=chunks, threshold=st.integers(0, 5 * GIB))
def test_upload_plans(size_bytes: int, chunk: int, threshold: int) -> None:
    """Parts cover [0, size) without gaps; there are at most 10,000; each but the last is 5 MiB to 5 GiB."""
    config = TransferConfig(multipart_chunksize=chunk, multipart_threshold=threshold)
    plan = plan_upload(size_bytes, config)
    if not plan.is_multipart:
        assert size_bytes <= 5 * GIB
        assert [(part.number, part.offset, part.size_bytes) for part in plan] == [(1, 0, size_bytes)]
        return

    assert 2 <= len(plan) <= MAX_PARTS
    assert MIN_PART_BYTES <= plan.part_bytes <= MAX_PART_BYTES
    offset = 0
    for number, part in enumerate(plan, 1):
        assert (part.number, part.offset) == (number, offset)
        assert 0 < part.size_bytes <= plan.part_bytes
        assert part.size_bytes == plan.part_bytes or number == len(plan)
        offset = part.stop
    assert offset == size_bytes
    assert number == len(plan)


@pytest.mark.parametrize(
    ('size_bytes', 'parts'),
    [(0, 1), (1, 1), (8 * MIB - 1, 1), (8 * MIB, 1), (8 * MIB + 1, 2), (16 * MIB, 2), (20 * MIB, 3)],
)
def test_around_one_part(size_bytes: int, parts: int) -> None:
    """An object of one part's size is one request; one byte more makes two parts."""
    assert len(plan_upload(size_bytes, TransferConfig())) == parts
    assert len(plan_download(size_bytes, TransferConfig())) == parts


def test_ten_thousand_parts() -> None:
    """The parts grow only if 10,000 of them would not be enough."""
    assert plan_upload(MAX_PARTS * 8 * MIB, TransferConfig()).part_bytes == 8 * MIB
    assert plan_upload(MAX_PARTS * 8 * MIB + 1, TransferConfig()).part_bytes == 9 * MIB
    assert len(plan_upload(MAX_OBJECT_BYTES, TransferConfig())) == MAX_PARTS


def test_larger_than_s3_stores() -> None:
    """An object that is larger than S3's limit is rejected."""
    with pytest.raises(ConfigurationError, match='larger than the limit of S3'):
        plan_upload(MAX_OBJECT_BYTES + 1, TransferConfig())
    with pytest.raises(ConfigurationError, match='negative'):
        plan_upload(-1, TransferConfig())


def test_threshold_above_the_part_size() -> None:
    """Up to multipart_threshold an object is sent with one request, even if it is larger than a part."""
    config = TransferConfig(multipart_threshold=64 * MIB)

    assert not plan_upload(64 * MIB, config).is_multipart
    assert len(plan_upload(64 * MIB + 1, config)) == 9


def test_copies_are_cut_above_5_gib() -> None:
    """An object of more than 5 GiB, the limit of CopyObject, is copied in parts."""
    assert not plan_copy(5 * GIB, TransferConfig()).is_multipart
    assert len(plan_copy(5 * GIB + 1, TransferConfig())) == 11


def test_parts_from_the_middle() -> None:
    """parts_from() starts at any part."""
    plan = plan_upload(20 * MIB, TransferConfig())

    assert [part.number for part in plan.parts_from(3)] == [3]
    assert list(plan_upload(5, TransferConfig()).parts_from(2)) == []


def test_streams_never_run_out_of_parts() -> None:
    """The parts of a stream grow, so that 10,000 of them hold more than 5 TiB."""
    config = TransferConfig()
    parts = [stream_part_bytes(number, config) for number in range(1, MAX_PARTS + 1)]

    assert parts[0] == parts[999] == 8 * MIB
    assert parts[1000] == 16 * MIB
    assert parts == sorted(parts)
    assert parts[-1] <= MAX_PART_BYTES
    assert sum(parts) > 5 * TIB
    with pytest.raises(ConfigurationError, match='multipart_chunksize'):
        stream_part_bytes(MAX_PARTS + 1, config)
