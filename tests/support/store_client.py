"""Clients for the tests of the store: boto3, plain HTTP, and bytes on a socket."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.servers import Store

Connect = Callable[[], http.client.HTTPConnection]
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A response as it was received; the headers' names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def text(self, name: str) -> str | None:
        """The text of the first element of this name in the document, or None."""
        found = re.search(f'<{name}>([^<]*)<', self.body.decode())
        return None if found is None else found[1].replace('&#34;', '"').replace('&#38;', '&')


class Raw:
    """Sends requests without additional headers, over one connection."""

    def __init__(self, store: Store) -> None:
        self._connection = http.client.HTTPConnection('127.0.0.1', store.port, timeout=TIMEOUT_S)

    def __call__(self, method: str, target: str, body: bytes = b'', headers: Mapping[str, str] | None = None) -> RawAnswer:
        return RawAnswer(*exchange(self._connection, method, target, body, dict(headers or {})))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._connection.close()


def new_client(store: Store, **options: Any) -> Any:
    config = Config(
        retries={'total_max_attempts': 1},
        s3={'addressing_style': 'path'},
        request_checksum_calculation='when_required',
        response_checksum_validation='when_required',
        read_timeout=10,
    )
    return boto3.client(
        's3',
        endpoint_url=store.endpoint_url,
        region_name='us-east-1',
        aws_access_key_id='access',
        aws_secret_access_key='secret',
        config=config.merge(Config(**options.pop('config', {}))),
        **options,
    )


def put(client: Any, key: str = 'key', body: bytes = b'body', **options: Any) -> Any:
    return client.put_object(Bucket='bucket', Key=key, Body=body, **options)


def get(client: Any, key: str = 'key', **options: Any) -> bytes:
    body: bytes = client.get_object(Bucket='bucket', Key=key, **options)['Body'].read()
    return body


def refused(call: Callable[[], object]) -> tuple[int, str]:
    """Status and code of an error response."""
    with pytest.raises(ClientError) as raised:
        call()
    response = raised.value.response
    return response['ResponseMetadata']['HTTPStatusCode'], response['Error']['Code']


def exchange(connection: http.client.HTTPConnection, *request: Any) -> tuple[int, dict[str, str], bytes]:
    connection.request(*request)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def begin_upload(client: Any, **options: Any) -> dict[str, str]:
    upload_id = client.create_multipart_upload(Bucket='bucket', Key='key', **options)['UploadId']
    return {'Bucket': 'bucket', 'Key': 'key', 'UploadId': upload_id}
