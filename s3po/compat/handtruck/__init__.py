"""handtruck's names: `from s3po.compat.handtruck import S3Client` in place of `from handtruck import S3Client`."""

from __future__ import annotations

from typing import Any

from s3po.interfaces import client as s3po_client
from s3po.interfaces.responses import Listed as AwsObjectMeta

__all__ = ['AwsObjectMeta', 'S3Client']


class S3Client(s3po_client.S3Client):
    """s3po's S3Client with the positional arguments of handtruck; the first, an HTTP client, is ignored."""

    def __init__(
        self,
        client: object = None,
        url: object = '',
        secret_access_key: str | None = None,
        access_key_id: str | None = None,
        session_token: str | None = None,
        region: str = '',
        credentials: Any = None,
    ) -> None:
        """The arguments are those of s3po's S3Client."""
        super().__init__(
            url,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
            region=region,
            credentials=credentials,
        )
