"""Maps the names of S3Client to buckets and keys.

handtruck sends a request to the URL's host, for the URL's path followed by the name, and does not need to know the bucket. A
Connection does; the requests are the same.
"""

from __future__ import annotations

import ipaddress
import pathlib
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from s3po.connection import Connection
from s3po.errors import ConfigurationError
from s3po.model import ObjectRef

__all__ = ['Name', 'Place', 'Places']

Name = str | pathlib.PurePath

# AWS's host names: https://docs.aws.amazon.com/general/latest/gr/s3.html
_AWS: Final = re.compile(r'(?:(?P<bucket>.+)\.)?s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com(?:\.cn)?')


class Place(NamedTuple):
    """An object, and the connection to its store."""

    connection: Connection
    bucket: str
    key: str

    @property
    def ref(self) -> ObjectRef:
        """The object's bucket and key."""
        return ObjectRef(bucket=self.bucket, key=self.key)


class Places:
    """Maps names to places, for one URL."""

    def __init__(self, url: str, arguments: Mapping[str, Any], is_in_host: bool | None) -> None:  # noqa: FBT001
        """
        Args:
            url: The URL without keys, and without a trailing slash.
            arguments: The Connection's arguments, except endpoint and addressing.
            is_in_host: Whether the bucket is the first label of the host name; None to detect it.
        """
        parts = urllib.parse.urlsplit(url)
        self._arguments = arguments
        self._url = url
        self._path = urllib.parse.unquote(parts.path).strip('/')
        self._root = f'{parts.scheme}://{parts.netloc}'
        aws = _AWS.fullmatch(parts.hostname or '')
        self._leading = aws['bucket'] if aws is not None and aws['bucket'] else parts.netloc.partition('.')[0]
        self._rest = f'{parts.scheme}://{parts.netloc[len(self._leading) + 1 :]}'
        self._is_in_host = _is_in_host(parts.hostname or '') if is_in_host is None else is_in_host
        self._connections: dict[str, Connection] = {}

    def find(self, name: Name) -> Place:
        """The place of a name.

        Raises:
            ConfigurationError: The name has no key, or lacks a bucket.
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

    def find_in_host(self, name: Name) -> Place:
        """The place of a name if the bucket is in the host name."""
        path = self._joined(name)
        if not path:
            raise ConfigurationError(f'name {name!r} is empty; it must be a key of bucket {self._leading}')
        return Place(self._by_host(), self._leading, path)

    def find_bucket(self, name: Name) -> Place:
        """The place of a bucket, with an empty key."""
        path = self._joined(name).strip('/')
        if self._is_in_host is True or (self._is_in_host is None and not path):
            return Place(self._by_host(), self._leading, '')
        if not path or '/' in path:
            raise ConfigurationError(f'bucket {name!r} must be the name of a bucket; {self._url} has none either')
        return Place(self._by_path(), path, '')

    def any_connection(self) -> Connection:
        """A connection, for what concerns no object: its keys and region."""
        return self._by_host() if self._is_in_host else self._by_path()

    def close(self) -> None:
        """Close the kept connections."""
        for connection in list(self._connections.values()):
            connection.close()

    def find_any(self, name: Name) -> Place:
        """The place of a name that may be only that of a bucket; the key is '' then."""
        path = self._joined(name).strip('/')
        is_bucket = not path or (self._is_in_host is False and '/' not in path)
        return self.find_bucket(name) if is_bucket else self.find(name)

    def _joined(self, name: Name) -> str:
        if isinstance(name, pathlib.PurePath):
            name = name.as_posix()
        if not isinstance(name, str):
            raise ConfigurationError(f'object_name must be a str or pathlib.Path, not {type(name).__name__}')
        name = name.removeprefix('/')
        return f'{self._path}/{name}' if self._path else name

    def _by_path(self) -> Connection:
        return self._connection(self._root, 'path')

    def _by_host(self) -> Connection:
        return self._connection(self._rest, 'virtual')

    def _connection(self, endpoint_url: str, style: str) -> Connection:
        found = self._connections.get(style)
        if found is None:
            given = {'addressing_style': style, **self._arguments}
            # One is kept if two threads make it.
            found = self._connections.setdefault(style, Connection(endpoint_url=endpoint_url, **given))
        return found


def _is_in_host(host: str) -> bool | None:
    """Whether the first label of a host name is a bucket; None if only the object's name can show it."""
    aws = _AWS.fullmatch(host)
    if aws is not None:
        return aws['bucket'] is not None
    try:
        ipaddress.ip_address(host.partition('%')[0])
    except ValueError:
        # localhost (RFC 6761) and names without a dot have no label before the host.
        return host.endswith('.localhost') or (None if '.' in host else False)
    return False
