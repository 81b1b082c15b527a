"""The arguments of S3Client's methods, converted to those of a Connection."""

from __future__ import annotations

import urllib.parse
from dataclasses import replace

from s3po.checks import is_whole
from s3po.config import GIB, MIN_PART_BYTES, TransferConfig
from s3po.credentials import URLCredentials
from s3po.errors import ConfigurationError

__all__ = ['Parts', 'url_without_keys']


def url_without_keys(url: str, region: str | None) -> tuple[str, URLCredentials | None]:
    """The URL without the keys, and the keys in it."""
    parts, port = None, None
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except (ValueError, AttributeError, TypeError):
        parts = None
    # Raised outside the `except`, and without the URL: parts of a secret may be in the text of the port.
    if parts is None or parts.scheme not in ('http', 'https') or not parts.hostname:
        raise ConfigurationError(
            "url must begin with http:// or https:// and have a host ('https://s3.example.com'); in keys inside the URL, "
            "write '/' as %2F and '@' as %40"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError('url must end with the host, port or path; it has a query or a fragment')
    keys = URLCredentials(url, region=region) if '@' in parts.netloc else None
    host = f'[{parts.hostname}]' if ':' in parts.hostname else parts.hostname
    netloc = host if port is None else f'{host}:{port}'
    return urllib.parse.urlunsplit((parts.scheme, netloc, parts.path.rstrip('/'), '', '')), keys


class Parts:
    """The checked sizes and numbers of one transfer; errors use the caller's argument names."""

    def __init__(
        self,
        workers: int,
        part_bytes: int,
        tries: int,
        tries_name: str,
        size_name: str = 'part_size',
        *,
        max_size: int | None = None,
    ) -> None:
        width = workers if max_size is None else max_size
        for name, value in (('workers_count', workers), (tries_name, tries), ('max_size', width)):
            if not is_whole(value, 1):
                raise ConfigurationError(f'{name} must be a whole number from 1, not {value!r}')
        if not is_whole(part_bytes, MIN_PART_BYTES, 5 * GIB):
            raise ConfigurationError(f'{size_name} must be 5 MiB to 5 GiB, in bytes, not {part_bytes!r}')
        self.tries = tries
        self._sizes = {
            'multipart_chunksize': part_bytes,
            'multipart_threshold': part_bytes,
            'max_concurrency': min(workers, width),
        }

    def config(self, config: TransferConfig) -> TransferConfig:
        """The connection's settings with these sizes."""
        return replace(config, **self._sizes)  # type: ignore[arg-type]  # each of them is a whole number
