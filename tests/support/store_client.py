"""How the tests of the store speak to it: boto3 as it is, and bytes on a socket."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.servers import Store

Connect = Callable[[], http.client.HTTPConnection]


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
    """Status and code of the answer that says no."""
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
