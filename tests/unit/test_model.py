"""Values are validated on creation, immutable, and have a readable text."""

from __future__ import annotations

import base64
import dataclasses
import pickle

import pytest

from s3po.errors import ConfigurationError
from s3po.model import (
    BucketRef,
    DeleteReport,
    ListEntry,
    ObjectInfo,
    ObjectRef,
    Outcome,
    Part,
    Prefix,
    TransferResult,
    check_bucket,
    check_name,
)

# One value of each class, pickled when s3po.model was a single module.
OLD_PICKLE = (
    b'gAJdcQAoY3MzcG8ubW9kZWwKT2JqZWN0UmVmCnEBKYFxAl1xAyhYBgAAAGJ1Y2tldHEEWAQAAABhL8OpcQVYAQAAADdxBmViY3MzcG8ubW9kZWwKVW51'
    b'c2FibGVSZWYKcQcpgXEIXXEJKGgEWAAAAABxCk5lYmNzM3BvLm1vZGVsCkJ1Y2tldFJlZgpxCymBcQxdcQ0oaARYAgAAAHAvcQ5OZWJjczNwby5tb2Rl'
    b'bApMaXN0RW50cnkKcQ8pgXEQXXERKFgBAAAAYXESSwFYAQAAAGVxE2NkYXRldGltZQpkYXRldGltZQpxFGNfY29kZWNzCmVuY29kZQpxFVgLAAAAB8Oo'
    b'AQIAAAAAAABxFlgGAAAAbGF0aW4xcReGcRhScRljZGF0ZXRpbWUKdGltZXpvbmUKcRpjZGF0ZXRpbWUKdGltZWRlbHRhCnEbSwBLAEsAh3EcUnEdhXEe'
    b'UnEfhnEgUnEhWAgAAABTVEFOREFSRHEiZWJjczNwby5tb2RlbApQcmVmaXgKcSMpgXEkXXElWAIAAABhL3EmYWJjczNwby5tb2RlbApPYmplY3RJbmZv'
    b'CnEnKYFxKF1xKShoEksDaApOaCJOfXEqWAEAAAB4cStYAQAAAHlxLHN9cS1YBAAAAGV0YWdxLlgDAAAAImUicS9zWAsAAABDUkM2NE5WTUU6eHEwWAEA'
    b'AAAzcTFlYmNzM3BvLm1vZGVsClBhcnQKcTIpgXEzXXE0KEsCSwpLBWViY3MzcG8ubW9kZWwKQ29tcGxldGVkUGFydApxNSmBcTZdcTcoSwFoE0sFWAEA'
    b'AABjcTiJZWJjczNwby5tb2RlbApUcmFuc2ZlclJlc3VsdApxOSmBcTpdcTsoaARoEksDaBNOTksBSwJHP+AAAAAAAACJWAEAAAB3cTyFcT1lYmNzM3Bv'
    b'Lm1vZGVsCkRlbGV0ZUZhaWx1cmUKcT4pgXE/XXFAKFgBAAAAa3FBY3MzcG8uZXJyb3JzCk5vdEZvdW5kCnFCWAQAAABnb25lcUOFcURScUV9cUYoWAgA'
    b'AABhdHRlbXB0c3FHSwFYBgAAAHN0YXR1c3FISwBYBAAAAGNvZGVxSWgKWAoAAAByZXF1ZXN0X2lkcUpoClgNAAAAcmV0cnlfYWZ0ZXJfc3FLTnViTmVi'
    b'Y3MzcG8ubW9kZWwKRGVsZXRlUmVwb3J0CnFMKYFxTV1xTihLAyllYmNzM3BvLm1vZGVsCk91dGNvbWUKcU8pgXFQXXFRKGgVWAEAAAB4cVJoF4ZxU1Jx'
    b'VEsBSwJOZWJlLg=='
)


def test_ref_as_text() -> None:
    """A reference has the form of the URLs of command line tools."""
    assert str(ObjectRef(bucket='bucket', key='a/b')) == 's3://bucket/a/b'
    assert str(ObjectRef(bucket='bucket', key='a', version_id='7')) == 's3://bucket/a?versionId=7'
    assert str(Prefix(prefix='a/')) == 'a/'
    assert str(BucketRef(bucket='bucket')) == 's3://bucket'
    assert str(BucketRef(bucket='bucket', key='é/')) == 's3://bucket/é/'
    assert str(BucketRef(bucket='bucket', key='\udc80')) == r's3://bucket/\udc80'


def test_values_are_frozen() -> None:
    """Values cannot be changed."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        ListEntry(key='a', size_bytes=1).key = 'b'  # type: ignore[misc]


@pytest.mark.parametrize(
    ('bucket', 'key', 'named'),
    [
        ('bucket', '', 'key is empty'),
        ('bucket', 'x' * 1025, 'key is 1,025 bytes'),
        ('bucket', 'é' * 513, 'key is 1,026 bytes'),
        ('bucket', '\ud800', 'key .* cannot be encoded as UTF-8'),
        ('bucket', None, 'key must be a str, not NoneType'),
        ('bucket', 7, 'key must be a str, not int'),
        ('', 'key', 'bucket'),
        (None, 'key', 'bucket must be a str'),
        ('a', 'key', "bucket 'a'"),
        ('with space', 'key', 'bucket'),
        ('with/slash', 'key', 'bucket'),
        ('../x', 'key', 'bucket'),
        ('buck\net', 'key', 'bucket'),
    ],
)
def test_bad_names(bucket: object, key: object, named: str) -> None:
    """An invalid name is rejected, and the error contains the name of the argument."""
    with pytest.raises(ConfigurationError, match=named):
        check_name(bucket, key)
    with pytest.raises(ConfigurationError, match='to_' + named.split(maxsplit=1)[0]):
        check_name(bucket, key, prefix='to_')


@pytest.mark.parametrize('key', ['x' * 1024, 'é' * 512, '../x', '/', ' ', '\n', 'a//b', '.'])
def test_good_keys(key: str) -> None:
    """Every key that S3 accepts is valid."""
    assert ObjectRef(bucket='bucket', key=key).key == key


@pytest.mark.parametrize(
    'bucket',
    ['abc', 'my.dotted.bucket', 'Old_Upper', 'arn:aws:s3:eu-west-1:123456789012:accesspoint/mine'],
)
def test_good_buckets(bucket: str) -> None:
    """Old bucket names and access points are valid."""
    check_bucket(bucket)


def test_part() -> None:
    """A part has an end, and part numbers start at 1."""
    assert Part(number=2, offset=10, size_bytes=5).stop == 15
    with pytest.raises(ConfigurationError):
        Part(number=0, offset=0, size_bytes=1)


def test_delete_report_iterates_over_what_failed() -> None:
    """A DeleteReport iterates over the failed keys."""
    assert list(DeleteReport(deleted=3)) == []


def test_old_pickles() -> None:
    """Values that were pickled by an older version are loaded as equal values of today's classes."""
    ref, unusable, bucket, entry, prefix, info, part, completed, result, failure, report, outcome = pickle.loads(
        base64.b64decode(OLD_PICKLE)
    )

    assert ref == ObjectRef(bucket='bucket', key='a/é', version_id='7')
    assert bucket == BucketRef(bucket='bucket', key='p/')
    assert prefix == Prefix(prefix='a/')
    assert part == Part(number=2, offset=10, size_bytes=5)
    assert report == DeleteReport(deleted=3)
    assert outcome == Outcome(value=b'x', size_bytes=1, retries=2)
    assert type(info) is ObjectInfo
    assert type(result) is TransferResult
    assert (unusable.key, entry.etag, info.metadata, completed.checksum) == ('', 'e', {'x': 'y'}, 'c')
    assert (result.warnings, str(failure.error)) == (('w',), 'gone')
