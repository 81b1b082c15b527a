"""Which bucket and key a name means, at a URL.

handtruck sends a request to the URL's host, for the URL's path and the name behind it, and does not ask which of these is the
bucket. A Connection does; what it sends is the same.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from s3po.connection import Connection
from s3po.errors import ConfigurationError
from s3po.model import ObjectRef

__all__ = ['Place', 'Places']

# AWS's names of hosts: https://docs.aws.amazon.com/general/latest/gr/s3.html
_AWS: Final = re.compile(r'(?:(?P<bucket>.+)\.)?s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com(?:\.cn)?')


class Place(NamedTuple):
    """An object, and the connection by which it is reached."""

    connection: Connection
    bucket: str
    key: str

    @property
    def ref(self) -> ObjectRef:
        """Its name."""
        return ObjectRef(bucket=self.bucket, key=self.key)


class Places:
    """Finds them."""

    def __init__(self, url: str, arguments: Mapping[str, Any], is_in_host: bool | None) -> None:  # noqa: FBT001
        """
        Args:
            url: Without keys, and without a slash at its end.
            arguments: Of the Connection, but for the endpoint and the addressing.
            is_in_host: Whether the bucket leads the host name; None to find it out.
        """
        parts = urllib.parse.urlsplit(url)
        self._arguments = arguments
        self._url = url
        self._path = urllib.parse.unquote(parts.path).strip('/')
        self._root = f'{parts.scheme}://{parts.netloc}'
        self._leading, _, rest = parts.netloc.partition('.')
        self._rest = f'{parts.scheme}://{rest}'
        self._is_in_host = _is_in_host(parts.hostname or '') if is_in_host is None else is_in_host
        aws = _AWS.fullmatch(parts.hostname or '')
        if aws is not None and aws['bucket']:
            self._leading = aws['bucket']
            self._rest = f'{parts.scheme}://{parts.netloc[len(aws["bucket"]) + 1 :]}'
        self._connections: dict[str, Connection] = {}

    def find(self, name: str) -> Place:
        """The object of a name.

        Raises:
            ConfigurationError: The name holds no key, or no bucket where it has to.
        """
        path = self._joined(name)
        if self._is_in_host is True:
            return self.find_in_host(name)
        bucket, _, key = path.partition('/')
        if key:
            return Place(self._by_path(), bucket, key)
        if self._is_in_host is None and bucket:
            return self.find_in_host(name)
        raise ConfigurationError(f"name {name!r} must be 'bucket/key': neither {self._url} nor the name has both")

    def find_in_host(self, name: str) -> Place:
        """The object of a name at a host that its bucket leads."""
        path = self._joined(name)
        if not path:
            raise ConfigurationError(f'name {name!r} is empty; it must be a key of bucket {self._leading}')
        return Place(self._by_host(), self._leading, path)

    def find_bucket(self, name: str) -> Place:
        """The bucket of a name, with an empty key."""
        path = self._joined(name).strip('/')
        if self._is_in_host is True or (self._is_in_host is None and not path):
            return Place(self._by_host(), self._leading, '')
        if not path or '/' in path:
            raise ConfigurationError(f'bucket {name!r} must be the name of a bucket: neither it nor {self._url} names one')
        return Place(self._by_path(), path, '')

    def close(self) -> None:
        """Close the kept connections."""
        for connection in self._connections.values():
            connection.close()

    def _joined(self, name: str) -> str:
        if not isinstance(name, str):
            raise ConfigurationError(f'name must be a str, not {type(name).__name__}')
        name = name.removeprefix('/')
        return f'{self._path}/{name}' if self._path else name

    def _by_path(self) -> Connection:
        return self._connection(self._root, 'path')

    def _by_host(self) -> Connection:
        return self._connection(self._rest, 'virtual')

    def _connection(self, endpoint_url: str, style: str) -> Connection:
        if style not in self._connections:
            given = {'addressing_style': style, **self._arguments}
            self._connections[style] = Connection(endpoint_url=endpoint_url, **given)
        return self._connections[style]


def _is_in_host(host: str) -> bool | None:
    """Whether a bucket leads a host's name; None where only a name can tell."""
    aws = _AWS.fullmatch(host)
    if aws is not None:
        return aws['bucket'] is not None
    try:
        ipaddress.ip_address(host.partition('%')[0])
    except ValueError:
        # localhost is a whole name (RFC 6761), and what has no dot is one as well.
        return host.endswith('.localhost') or (None if '.' in host else False)
    return False
