"""Listings that contain keys outside of the request or end too early (F68): no key outside of the request is deleted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import s3po
from tests.conftest import BUCKET, impatient
from tests.support.answering import Answering, Asked, Reply

Connect = Callable[..., s3po.Connection]


def reply(body: bytes, **headers: str) -> Reply:
    return Reply(headers={'Content-Length': str(len(body)), **headers}, body=body)


def listed(*keys: str, more: str = '<IsTruncated>false</IsTruncated>') -> Reply:
    entries = ''.join(f'<Contents><Key>{key}</Key><Size>1</Size><ETag>"e"</ETag></Contents>' for key in keys)
    return reply(f'<ListBucketResult>{more}{entries}</ListBucketResult>'.encode())


@pytest.mark.fault('F68')
def test_listing_of_other_keys(connect: Connect) -> None:
    """If a store ignores the prefix or start_after, the listing fails, so that its keys are not deleted by mistake."""
    with Answering(lambda _: listed('dir/a', 'precious')) as server:
        conn = connect(server.endpoint_url, retry=impatient(0))
        with pytest.raises(s3po.ListingError, match='precious'):
            list(conn.list(BUCKET, 'dir/'))
        with pytest.raises(s3po.ListingError, match='dir/a'):
            list(conn.list(BUCKET, start_after='dir/a'))
        assert len(list(conn.list(BUCKET, start_after='dir'))) == 2


@pytest.mark.fault('F68')
def test_listing_that_continues(connect: Connect) -> None:
    """A page without IsTruncated but with a continuation token is not the last one."""

    def answer(asked: Asked) -> Reply:
        is_second = 'continuation-token' in asked.target
        return listed('b') if is_second else listed('a', more='<NextContinuationToken>t</NextContinuationToken>')

    with Answering(answer) as server:
        found = list(connect(server.endpoint_url, retry=impatient(0)).list(BUCKET))
    assert [entry.key for entry in found if isinstance(entry, s3po.ListEntry)] == ['a', 'b']
