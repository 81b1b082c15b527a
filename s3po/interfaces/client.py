"""handtruck's S3Client: objects by name, results that may be awaited.

All calls are synchronous: they return when the result is there, and other greenlets run meanwhile. Awaiting a result returns at
once.
"""

from __future__ import annotations

import os
import urllib.parse
import warnings
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from s3po.checks import is_whole
from s3po.config import GIB, MAX_PAGE_KEYS, MIB, MIN_PART_BYTES, TransferConfig
from s3po.credentials import URLCredentials
from s3po.errors import ConfigurationError, NoSuchBucket, NotFound
from s3po.interfaces.places import Place, Places
from s3po.interfaces.responses import AsyncPieces, Pages, Response, response_of, result_response
from s3po.jobs import Call

__all__ = ['Response', 'S3Client']

Data = Any
Path = str | os.PathLike[str]

PART_BYTES: Final = 5 * MIB
RANGE_BYTES: Final = 8 * MIB
DAY_S: Final = 24 * 3600


class S3Client:
    """A store, or one of its buckets, at a URL. A name is the path after the URL: 'bucket/key', or 'key'."""

    def __init__(
        self,
        url: str,
        *,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        region: str | None = None,
        credentials: Any = None,
        client: object = None,
        bucket_in_host: bool | None = None,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            url: The store's URL; a bucket may be the first label of its host name, or in its path. It may contain the keys
                ('https://key:secret@host'), which sign the requests and are never sent.
            access_key_id: The access key. The keys are taken from these arguments, else from `credentials`, else from the URL,
                else from where boto3 finds them.
            secret_access_key: The secret key.
            session_token: The token of temporary keys.
            region: The store's region.
            credentials: One of s3po.credentials, a boto3 session or a function, as for Connection.
            client: Ignored: s3po has its own HTTP client.
            bucket_in_host: Whether the bucket is the first label of the host name. None detects it: by AWS's host names; for
                other hosts, if a name has no room for a bucket ('key' and a URL without a path).
            connection: Further arguments of Connection, such as {'verify': …, 'retries': …}.

        Raises:
            ConfigurationError: An argument is wrong.
        """
        if client is not None:
            warnings.warn('client= is not needed: s3po has its own HTTP client; leave it out', DeprecationWarning, stacklevel=2)
        bare, keys = _without_keys(url, region)
        given: dict[str, Any] = {'region': region, **(connection or {})}
        if access_key_id is not None or secret_access_key is not None or session_token is not None:
            given |= {
                'access_key_id': access_key_id,
                'secret_access_key': secret_access_key,
                'session_token': session_token,
            }
        elif credentials is not None:
            given['credentials'] = credentials
        elif keys is not None:
            given['credentials'] = keys
        self._places = Places(bare, given, bucket_in_host)
        self.url = bare

    def __repr__(self) -> str:
        return f'<S3Client {self.url}>'

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections. The client may be used again."""
        self._places.close()

    def put(self, name: str, data: Data, *, headers: Mapping[str, str] | None = None) -> Response:
        """Upload an object.

        Args:
            name: The object's name.
            data: Bytes, a str (sent as UTF-8), a pathlib.Path, a file object, or an iterable or async iterable of bytes. An
                async iterable is consumed within this call, by a separate event loop.
            headers: HTTP headers of the object.

        Raises:
            S3poError: As for Connection.upload().
        """
        return self._perform('upload', name, {'source': _source(data), 'headers': headers})

    def put_file(self, name: str, path: Path, *, headers: Mapping[str, str] | None = None) -> Response:
        """Upload the file at a path."""
        return self._perform('upload_file', name, {'path': path, 'headers': headers})

    def put_file_multipart(
        self,
        name: str,
        path: Path,
        *,
        headers: Mapping[str, str] | None = None,
        workers_count: int = 8,
        part_size: int = PART_BYTES,
        part_upload_tries: int = 4,
    ) -> Response:
        """Upload the file at a path in parts; a file of at most one part is sent in one request.

        Args:
            name: The object's name.
            path: The file.
            headers: HTTP headers of the object.
            workers_count: How many parts are sent in parallel.
            part_size: The size of a part, 5 MiB to 5 GiB.
            part_upload_tries: The number of attempts per part.

        Raises:
            ConfigurationError: A number is out of its range.
            UploadError: The attempts for a part were used up. Nothing is published, and no parts are left.
        """
        parts = _Parts(workers_count, part_size, part_upload_tries, 'part_upload_tries')
        return self._perform('upload_file', name, {'path': path, 'headers': headers}, parts)

    def put_multipart(
        self,
        name: str,
        data: Data,
        *,
        headers: Mapping[str, str] | None = None,
        workers_count: int = 8,
        part_size: int = PART_BYTES,
        part_upload_tries: int = 4,
    ) -> Response:
        """Upload an iterable of bytes, sync or async, in parts; the arguments are those of put_file_multipart()."""
        parts = _Parts(workers_count, part_size, part_upload_tries, 'part_upload_tries')
        return self._perform('upload', name, {'source': _source(data), 'headers': headers}, parts)

    def get(self, name: str, *, headers: Mapping[str, str] | None = None) -> Response:
        """Download an object into memory; `content` has its bytes. A missing object returns a Response with status 404.

        Args:
            name: The object's name.
            headers: 'Range' ('bytes=0-99') or 'If-Match'; others are rejected.
        """
        place = self._places.find(name)
        options = _reading(headers)
        try:
            outcome = place.connection.perform(Call('download', place.ref, options))
        except (NotFound, NoSuchBucket) as error:
            return response_of(error)
        assert outcome.described is not None
        assert isinstance(outcome.value, bytes)
        status = HTTPStatus.OK if 'byte_range' not in options else HTTPStatus.PARTIAL_CONTENT
        return Response(status, outcome.described.info.headers, outcome.value)

    def head(self, name: str) -> Response:
        """Return the object's headers in `headers`. A missing object returns a Response with status 404."""
        place = self._places.find(name)
        try:
            info = place.connection.head(place.bucket, place.key)
        except (NotFound, NoSuchBucket) as error:
            return response_of(error)
        return Response(HTTPStatus.OK, info.headers)

    def delete(self, name: str) -> Response:
        """Delete an object; a missing object is no error."""
        place = self._places.find(name)
        place.connection.delete(place.bucket, place.key)
        return Response(HTTPStatus.NO_CONTENT)

    def list_objects_v2(
        self,
        bucket: str = '',
        prefix: str | None = None,
        delimiter: str | None = None,
        max_keys: int | None = None,
        *,
        start_after: str | None = None,
    ) -> Pages:
        """List objects. Returns pages for `for` and `async for`; each is a list of Listed.

        Args:
            bucket: The bucket ('bucket/'); '' if the URL contains it.
            prefix: Return only keys with this prefix.
            delimiter: Keys that contain it after the prefix are grouped in the page's `prefixes`.
            max_keys: The most keys per page, 1 to 1,000; None for 1,000.
            start_after: Return only keys after this one.
        """
        place = self._places.find_bucket(bucket)
        size = MAX_PAGE_KEYS if max_keys is None else max_keys
        found = place.connection.list(place.bucket, prefix or '', delimiter=delimiter, start_after=start_after, page_size=size)
        return Pages(found, size)

    def get_file_parallel(
        self,
        name: str,
        path: Path,
        *,
        workers_count: int = 8,
        range_step: int = RANGE_BYTES,
        range_get_tries: int = 4,
    ) -> Response:
        """Download an object to a path, in parallel ranges of one version (the ETag of the first range).

        Args:
            name: The object's name.
            path: The file: it is unchanged or complete, whatever happens.
            workers_count: How many ranges are fetched in parallel.
            range_step: The size of a range in bytes; values below 5 MiB mean 5 MiB.
            range_get_tries: The number of attempts per range.

        Raises:
            NotFound: The object does not exist.
            SourceChanged: The object was replaced repeatedly during the download.
        """
        if is_whole(range_step, 1, MIN_PART_BYTES):
            range_step = MIN_PART_BYTES
        parts = _Parts(workers_count, range_step, range_get_tries, 'range_get_tries', 'range_step')
        return self._perform('download_file', name, {'path': path}, parts)

    def presign_url(self, method: str, name: str, *, expires: int = DAY_S) -> str:
        """Return a URL that allows anyone one request for an object, for `expires` seconds. Keep it secret."""
        place = self._places.find(name)
        return place.connection.presign(method.upper(), place.bucket, place.key, expires_s=expires)

    def copy(self, name: str, to_name: str, *, headers: Mapping[str, str] | None = None) -> Response:
        """Copy an object within the store; headers replace those of the source."""
        source, target = self._both(name, to_name)
        connection = source.connection
        return result_response(connection.copy(source.bucket, source.key, target.bucket, target.key, headers=headers))

    def rename(self, name: str, to_name: str) -> Response:
        """Copy an object, then delete the source if it has not changed."""
        source, target = self._both(name, to_name)
        return result_response(source.connection.move(source.bucket, source.key, target.bucket, target.key))

    def _both(self, name: str, to_name: str) -> tuple[Place, Place]:
        source, target = self._places.find(name), self._places.find(to_name)
        if source.connection is not target.connection:
            # A name without a bucket shows that the bucket is in the host name.
            source, target = self._places.find_in_host(name), self._places.find_in_host(to_name)
        return source, target

    def _perform(self, operation: str, name: str, options: dict[str, Any], parts: _Parts | None = None) -> Response:
        place = self._places.find(name)
        if parts is not None:
            options |= {'retries': parts.tries - 1, 'config': parts.config(place.connection.config)}
        return result_response(place.connection.perform(Call(operation, place.ref, options)).value)


def _without_keys(url: str, region: str | None) -> tuple[str, URLCredentials | None]:
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


class _Parts:
    """The checked sizes and numbers of one transfer; errors use the caller's argument names."""

    def __init__(self, workers: int, part_bytes: int, tries: int, tries_name: str, size_name: str = 'part_size') -> None:
        for name, value in (('workers_count', workers), (tries_name, tries)):
            if not is_whole(value, 1):
                raise ConfigurationError(f'{name} must be a whole number from 1, not {value!r}')
        if not is_whole(part_bytes, MIN_PART_BYTES, 5 * GIB):
            raise ConfigurationError(f'{size_name} must be 5 MiB to 5 GiB, in bytes, not {part_bytes!r}')
        self.tries = tries
        self._sizes = {'multipart_chunksize': part_bytes, 'multipart_threshold': part_bytes, 'max_concurrency': workers}

    def config(self, config: TransferConfig) -> TransferConfig:
        """The connection's settings with these sizes."""
        return replace(config, **self._sizes)  # type: ignore[arg-type]  # each of them is a whole number


def _reading(headers: Mapping[str, str] | None) -> dict[str, Any]:
    """The options of a download from a GET's headers: a range and a condition."""
    options: dict[str, Any] = {}
    for name, value in (headers or {}).items():
        if name.lower() == 'range':
            options['byte_range'] = _byte_range(value)
        elif name.lower() == 'if-match':
            options['if_match'] = value.strip('"')
        else:
            raise ConfigurationError(f"headers: get() accepts 'Range' and 'If-Match', not {name!r}")
    return options


def _byte_range(text: str) -> tuple[int, int | None]:
    """Parse one range of RFC 9110, section 14.1.2; returns it half-open."""
    unit, _, numbers = text.partition('=')
    first, dash, last = numbers.partition('-')
    if unit.strip() == 'bytes' and dash and first.isdecimal() and (not last or last.isdecimal()):
        return int(first), int(last) + 1 if last else None
    raise ConfigurationError(f"headers: Range must be 'bytes=FIRST-LAST' or 'bytes=FIRST-', not {text!r}")


def _source(data: Data) -> Data:
    if isinstance(data, AsyncIterable) and not isinstance(data, Iterable):
        return AsyncPieces(data)
    return data
