"""Fixtures for a real store, which the environment describes.

    S3PO_TEST_ENDPOINT       its URL, over HTTP or HTTPS
    S3PO_TEST_ENDPOINT_TLS   the same store over HTTPS; then every test runs over both
    S3PO_TEST_CA             the certificate authority to trust (a PEM file); by default, the usual ones
    S3PO_TEST_ACCESS_KEY, S3PO_TEST_SECRET_KEY
    S3PO_TEST_STORE          the kind of store, if tests are known to fail there (see differences.py)

`make integration` starts a store and sets the variables. Each test has a bucket of its own with a random name, so the store may
contain other buckets.
"""

from __future__ import annotations

import os
import pathlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gevent
import pytest

import s3po
from tests.integration.differences import is_rclone, marks_of

HERE = pathlib.Path(__file__).parent
ENDPOINTS = [url for url in map(os.environ.get, ('S3PO_TEST_ENDPOINT', 'S3PO_TEST_ENDPOINT_TLS')) if url]
REGION = 'us-east-1'
# How long an abort in the background may take.
CLEANUP_S = 20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that are known to fail with this store."""
    for item in items:
        for mark in marks_of(item.name) if HERE in item.path.parents else ():
            item.add_marker(mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The address and credentials of the store.

    Attributes:
        endpoint_url: Its URL.
        verify: How to verify its certificate, as for Connection.
        access_key_id: The access key.
        secret_access_key: The secret key.
    """

    endpoint_url: str
    verify: bool | str
    access_key_id: str
    secret_access_key: str

    def connect(self, **arguments: Any) -> s3po.Connection:
        """A connection; the arguments are those of Connection."""
        ours: dict[str, Any] = {
            'endpoint_url': self.endpoint_url,
            'region': REGION,
            'verify': self.verify,
            'access_key_id': self.access_key_id,
            'secret_access_key': self.secret_access_key,
        }
        return s3po.Connection(**{**ours, **arguments})


@pytest.fixture(scope='session', params=ENDPOINTS or [''], ids=lambda url: url.partition(':')[0] or 'none')
def place(request: pytest.FixtureRequest) -> Place:
    """The store, over HTTP and over HTTPS."""
    if not request.param:
        reason = 'S3PO_TEST_ENDPOINT names no store to test against; `make integration` starts one'
        if os.environ.get('CI'):
            pytest.fail(reason)
        pytest.skip(reason)
    return Place(
        endpoint_url=request.param,
        verify=os.environ.get('S3PO_TEST_CA') or True,
        access_key_id=os.environ['S3PO_TEST_ACCESS_KEY'],
        secret_access_key=os.environ['S3PO_TEST_SECRET_KEY'],
    )


@pytest.fixture(scope='session')
def conn(place: Place) -> Iterator[s3po.Connection]:
    """A connection to the store."""
    with place.connect() as connection:
        yield connection


@pytest.fixture
def connect(place: Place) -> Iterator[Callable[..., s3po.Connection]]:
    """Makes connections to the store with other settings, and closes them after the test."""
    made: list[s3po.Connection] = []

    def make(**arguments: Any) -> s3po.Connection:
        made.append(place.connect(**arguments))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


@pytest.fixture
def bucket(conn: s3po.Connection) -> Iterator[str]:
    """An empty bucket for the test, which must leave no multipart upload; objects are deleted with the bucket."""
    name = f's3po-test-{secrets.token_hex(8)}'
    conn.create_bucket(name)
    yield name
    left = uploads_left(conn, name)
    for key, upload_id in left:
        conn.conn.abort_multipart_upload(Bucket=name, Key=key, UploadId=upload_id)
    remove(conn, name)
    assert not left


def remove(conn: s3po.Connection, bucket: str) -> None:
    """Delete a bucket with its objects, also those of interrupted requests that the store is still carrying out."""
    until = time.monotonic() + CLEANUP_S
    while True:
        # One by one: some odd keys cannot be represented in the XML of DeleteObjects.
        with conn.batch(20) as batch:
            for entry in conn.list(bucket):
                batch.delete(bucket, entry.key)
        try:
            return conn.delete_bucket(bucket)
        except s3po.InvalidRequest as error:
            if 'BucketNotEmpty' not in str(error):
                raise
            if time.monotonic() > until:
                if is_rclone():
                    # After an interrupted upload, rclone may list an object for minutes that its DELETE does not find.
                    return None
                raise
            gevent.sleep(0.1)


@pytest.fixture(scope='session')
def is_rgw(conn: s3po.Connection) -> bool:
    """Whether the store is Ceph's RADOS Gateway, which differs from S3 in some responses."""
    name = f's3po-test-{secrets.token_hex(8)}'
    conn.create_bucket(name)
    conn.upload(name, 'key', b'')
    headers = conn.head(name, 'key').headers
    conn.delete(name, 'key')
    conn.delete_bucket(name)
    return 'x-rgw-object-type' in headers


def uploads(conn: s3po.Connection, bucket: str) -> list[tuple[str, str]]:
    """The (key, upload id) of every open multipart upload."""
    try:
        said = conn.conn.list_multipart_uploads(Bucket=bucket)
    except conn.conn.exceptions.NoSuchUpload:
        # rclone responds with this error if the bucket never had an upload.
        return []
    return [(upload['Key'], upload['UploadId']) for upload in said.get('Uploads', ())]


def uploads_left(conn: s3po.Connection, bucket: str) -> list[tuple[str, str]]:
    """The open multipart uploads, after aborts in the background have had time to end."""
    for _ in range(CLEANUP_S * 10):
        if not uploads(conn, bucket):
            return []
        gevent.sleep(0.1)
    return uploads(conn, bucket)
