"""Open files as objects of boto3's resources."""

from __future__ import annotations

from typing import Any

from s3po.model import ObjectRef

__all__ = ['boto3_object']


def boto3_object(resource: Any, ref: ObjectRef) -> Any:
    """The Object of a `boto3.resource('s3')`, or the ObjectVersion if the name has a version. Sends no request."""
    if ref.version_id is not None:
        return resource.ObjectVersion(ref.bucket, ref.key, ref.version_id)
    return resource.Object(ref.bucket, ref.key)
