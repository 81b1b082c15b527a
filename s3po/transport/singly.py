"""What a list cannot hold, deleted one by one.

What may live here: that one loop, which both transports need.
"""

from __future__ import annotations

from collections.abc import Sequence

from s3po.errors import TransportError
from s3po.model import DeleteFailure
from s3po.transport import Extra, Transport
from s3po.transport.characters import has_xml_form

__all__ = ['delete_odd_keys']

Names = Sequence[tuple[str, str | None]]


def delete_odd_keys(transport: Transport, bucket: str, keys: Names, extra: Extra) -> tuple[list[DeleteFailure], Names]:
    """Delete those of the (key, version id) that XML cannot hold; gives what failed of them, and the others."""
    odd = [(key, version) for key, version in keys if not has_xml_form(key + (version or ''))]
    failures = []
    for key, version_id in odd:
        try:
            transport.delete_object(bucket, key, version_id=version_id, extra=extra)
        except TransportError as error:
            failures.append(DeleteFailure(key=key, error=error, version_id=version_id))
    return failures, [each for each in keys if each not in odd] if odd else keys
