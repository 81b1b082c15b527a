"""Shared by all programs: the import of s3po at a given place, and a transfer that verifies itself."""

from __future__ import annotations

import os
import tempfile

BUCKET = 'bucket'
SMALL_OBJECTS = 6
# Two parts, with the smallest part size.
PART_BYTES = 5 * 2**20
LARGE = bytes(range(256)) * 4096 * 6


def import_s3po(place: str) -> None:
    """Import s3po if this run imports it at this place: 'first' or 'second'.

    In a run whose order is 'lazily', transfer() imports it first.
    """
    if os.environ['ORDER'] == place:
        import s3po  # noqa: F401 - imported for its effects


def connect(**options):
    """A connection to the store of the test."""
    import s3po

    return s3po.Connection(**storage_options(), **options)


def storage_options() -> dict[str, str]:
    """The arguments with which Connection reaches the store of the test."""
    return {
        'endpoint_url': os.environ['ENDPOINT'],
        'region': 'us-east-1',
        'access_key_id': 'key',
        'secret_access_key': 'secret',
    }


def transfer(name: str, *, is_large: bool = False) -> str:
    """Upload objects below a prefix, download them and compare; with `is_large`, also a file in parts, with threads.

    Returns:
        The prefix.
    """
    bodies = {f'{name}/{number}': f'{name} {number}\n'.encode() * 1000 for number in range(SMALL_OBJECTS)}
    with connect() as conn:
        with conn.batch(3) as batch:
            for key, body in bodies.items():
                batch.upload(BUCKET, key, body)
        with conn.batch(3) as batch:
            jobs = {key: batch.download(BUCKET, key) for key in bodies}
        assert {key: job.get() for key, job in jobs.items()} == bodies
    if is_large:
        _transfer_large(f'{name}-large')
    return name


def _transfer_large(key: str) -> None:
    import s3po

    config = s3po.TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES)
    with tempfile.TemporaryDirectory() as directory, connect(config=config) as conn:
        path = os.path.join(directory, 'large')
        with open(path, 'wb') as file:
            file.write(LARGE)
        conn.upload_file(BUCKET, key, path)
        conn.download_file(BUCKET, key, path + '.copy')
        with open(path + '.copy', 'rb') as file:
            assert file.read() == LARGE
