"""boto3: one client for all threads, as its documentation advises; large objects with its managed transfers."""

from __future__ import annotations

import io
import os

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from job import ACCESS_KEY, REGION, SECRET_KEY, Job
from objects import LARGE_KEY, keys

from peers.spread import in_executor, in_threads

_DELETE_KEYS = 1000


def make_client(job: Job) -> object:
    """A client for `width` connections, without the checksums that other clients do not compute; or with all defaults."""
    checksums = (
        {}
        if job.is_default
        else {
            'request_checksum_calculation': 'when_required',
            'response_checksum_validation': 'when_required',
        }
    )
    return boto3.client(
        's3',
        endpoint_url=job.endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        verify=job.ca,
        config=Config(max_pool_connections=max(10, job.width), s3={'addressing_style': 'path'}, **checksums),
    )


class Boto3:
    """The calls for each verb; a subclass makes `width` of them at once."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.client = make_client(job)
        self.body = os.urandom(job.size_bytes) if job.verb == 'put' else b''

    def spread(self, function: object, names: list[str]) -> list:
        """Calls the function with each name, `width` at once."""
        raise NotImplementedError

    def warm_up(self) -> None:
        names = keys(2 * self.job.width)
        if self.job.verb in {'put', 'put_directory'}:
            self.spread(lambda name: self.client.put_object(Bucket=self.job.bucket, Key=name, Body=b'warm'), names)
        elif self.job.verb in {'get', 'get_directory'}:
            self.spread(self._get, names[: self.job.count])
        else:
            self.client.head_bucket(Bucket=self.job.bucket)

    def put(self) -> list:
        return self.spread(self._put, keys(self.job.count))

    def get(self) -> list:
        return self.spread(self._get, keys(self.job.count))

    def _put(self, name: str) -> object:
        return self.client.put_object(Bucket=self.job.bucket, Key=name, Body=self.body)

    def _get(self, name: str) -> bytes:
        return self.client.get_object(Bucket=self.job.bucket, Key=name)['Body'].read()


class Threads(Boto3):
    """From plain threads."""

    def spread(self, function: object, names: list[str]) -> list:
        return in_threads(function, names, self.job.width)

    def put_directory(self) -> list:
        return self.spread(self._put_file, keys(self.job.count))

    def get_directory(self) -> list:
        return self.spread(self._get_file, keys(self.job.count))

    def put_file(self) -> None:
        self.client.upload_file(self.job.path, self.job.bucket, LARGE_KEY, Config=self._transfer())

    def get_file(self) -> None:
        self.client.download_file(self.job.bucket, LARGE_KEY, self.job.path, Config=self._transfer())

    def list(self) -> int:
        pages = self.client.get_paginator('list_objects_v2').paginate(Bucket=self.job.bucket)
        return sum(len(page['Contents']) for page in pages)

    def delete(self) -> int:
        names = keys(self.job.count)
        for start in range(0, len(names), _DELETE_KEYS):
            asked = [{'Key': name} for name in names[start : start + _DELETE_KEYS]]
            self.client.delete_objects(Bucket=self.job.bucket, Delete={'Objects': asked, 'Quiet': True})
        return len(names)

    def _transfer(self) -> TransferConfig | None:
        if self.job.is_default:
            return None
        part = self.job.part_bytes
        return TransferConfig(multipart_threshold=part, multipart_chunksize=part, max_concurrency=self.job.width)

    def _put_file(self, name: str) -> object:
        with open(os.path.join(self.job.path, name), 'rb') as file:
            return self.client.put_object(Bucket=self.job.bucket, Key=name, Body=io.BytesIO(file.read()))

    def _get_file(self, name: str) -> object:
        with open(os.path.join(self.job.path, name), 'wb') as file:
            return file.write(self._get(name))


class Executor(Threads):
    """From an executor's threads."""

    def spread(self, function: object, names: list[str]) -> list:
        return in_executor(function, names, self.job.width)
