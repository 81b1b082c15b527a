"""The request that botocore would send, captured just before it is sent; for comparison with s3po's transport."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ['PreparedRequest', 'prepare']


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRequest:
    """A request that was about to be sent.

    Attributes:
        url: The URL without the query.
        query: The query, unescaped.
        headers: The headers, with names in lower case.
    """

    url: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def scope(self) -> tuple[str, str] | None:
        """The region and service of the signature, or None for an unsigned request."""
        if 'authorization' not in self.headers:
            return None
        _, _, region, service, _ = self.headers['authorization'].partition('Credential=')[2].partition(',')[0].split('/')
        return region, service


class _Stopped(Exception):
    def __init__(self, request: Any) -> None:
        super().__init__()
        self.request = request


def prepare(client: Any, call: Callable[[], object], *answers: Any) -> PreparedRequest:
    """The request that a call of a botocore client would send; nothing is sent.

    Args:
        client: The client.
        call: The call.
        answers: Responses (AWSResponse) to the first requests; the request after these is returned.
    """
    waiting = list(answers)

    def stop(request: Any, **_: Any) -> Any:
        if waiting:
            return waiting.pop(0)
        raise _Stopped(request)

    client.meta.events.register_first('before-send.s3', stop)
    try:
        call()
    except _Stopped as stopped:
        return _read(stopped.request)
    finally:
        client.meta.events.unregister('before-send.s3', stop)
    raise AssertionError('nothing was to be sent')


def _read(request: Any) -> PreparedRequest:
    parts = urllib.parse.urlsplit(request.url)
    return PreparedRequest(
        url=parts._replace(query='').geturl(),
        query=dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True)),
        headers={
            name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
        },
    )
