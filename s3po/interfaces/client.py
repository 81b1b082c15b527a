"""handtruck's S3Client: objects by name, results that may be awaited.

Without a running event loop, calls are synchronous: they return when the result is there, and other greenlets run meanwhile.
Inside an event loop, they return at once: a native thread of the client carries out the request, which begins at the call, and
the response is awaited.

The methods for one request return a Response for every response of the store, also for a refusal: `raise_for_status()` raises
its error. The methods for several requests (multipart, parallel, rename, listings) raise.
"""

from __future__ import annotations

import functools
import os
import pathlib
import urllib.parse
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from s3po.checks import is_whole
from s3po.config import MAX_PAGE_KEYS, MIB, MIN_PART_BYTES
from s3po.connection import (
    NativeWorker,
    check_sha256,
    get_call,
    only_version,
    pieces_of,
    reading,
    running_loop,
    send_raw,
    sign_url,
    wait_until,
)
from s3po.errors import ConfigurationError
from s3po.interfaces.client_arguments import Parts, url_without_keys
from s3po.interfaces.places import Name, Place, Places
from s3po.interfaces.responses import Pages, PendingResponse, Response, answered, result_response
from s3po.jobs import Call
from s3po.model import ObjectRef

__all__ = ['Response', 'S3Client']

Data = Any
Path = str | os.PathLike[str]
Given = Mapping[str, str] | None

PART_BYTES: Final = 5 * MIB
RANGE_BYTES: Final = 8 * MIB
DAY_S: Final = 24 * 3600
# The longest wait of close() for the clean-up of calls that it cancelled, in seconds.
CLOSE_S: Final = 10.0


class S3Client:
    """A store, or one of its buckets, at a URL. A name is the path after the URL: 'bucket/key', or 'key'."""

    # How the tools in s3po.compat differ: what get() decompresses, whether get_file_parallel() fails if the object is replaced,
    # and the class of listings.
    _decompress: bool | str = 'known'
    _pins = False
    _pages = Pages

    def __init__(
        self,
        url: object,
        *,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        region: str | None = None,
        credentials: Any = None,
        client: object = None,
        session: object = None,
        bucket_in_host: bool | None = None,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            url: The store's URL, a str or a URL object. A bucket may be the first label of its host name, or in its path. It
                may contain the keys ('https://key:secret@host'), which sign the requests and are never sent.
            access_key_id: The access key. The keys are taken from these arguments, else from `credentials`, else from the URL,
                else from where boto3 finds them.
            secret_access_key: The secret key.
            session_token: The token of temporary keys.
            region: The store's region.
            credentials: One of s3po.credentials, a boto3 session or a function, as for Connection.
            client: Ignored: s3po has its own HTTP client.
            session: Ignored, as `client`.
            bucket_in_host: Whether the bucket is the first label of the host name. None detects it: by AWS's host names; for
                other hosts, if a name has no room for a bucket ('key' and a URL without a path).
            connection: Further arguments of Connection, such as {'verify': …, 'retries': …}.

        Raises:
            ConfigurationError: An argument is wrong.
        """
        region = region or None
        bare, keys = url_without_keys(str(url), region)
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
        self._worker = NativeWorker(self._places.close)
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
        ended = self._worker.close()
        if ended is not None:
            await ended
        self._places.close()

    def close(self) -> None:
        """Cancel the calls in progress and close the kept connections. The client may be used again."""
        ended = self._worker.close()
        if ended is not None:
            wait_until(ended.ready, CLOSE_S)
        self._places.close()

    def put(
        self,
        object_name: Name,
        content: Data = None,
        *,
        headers: Given = None,
        params: Any = None,
        compress: str | None = None,
        content_sha256: str | None = None,
        data: Data = None,
    ) -> Response:
        """Upload an object.

        Args:
            object_name: The object's name, a str or a pathlib path.
            content: Bytes, a str (sent as UTF-8), a pathlib.Path, a file object, or an iterable or async iterable of bytes. An
                async iterable is consumed by the running event loop; without one, by a separate loop.
            headers: HTTP headers of the object.
            params: Parameters of the query. With them, request() sends the request.
            compress: As for Connection.upload().
            content_sha256: The SHA-256 of bytes or a str; it is compared with the content. It may always be left out.
            data: Another name of `content`.

        Raises:
            S3poError: No response, or wrong arguments; as for Connection.upload().
        """
        content = data if content is None else content
        if content is None:
            raise ConfigurationError("put() needs content; b'' is an empty object")
        check_sha256(content_sha256, content)
        if params:
            if compress is not None:
                raise ConfigurationError('compress cannot be combined with params')
            return self.request('PUT', object_name, headers, params, content)
        options = {'source': _source(content), 'headers': headers, 'compress': compress}
        return self._perform('upload', object_name, options, is_single=True)

    def put_file(
        self,
        object_name: Name,
        file_path: Path,
        *,
        headers: Given = None,
        chunk_size: int | None = None,
        content_sha256: str | None = None,
    ) -> Response:
        """Upload the file at a path. `chunk_size` has no effect; for the other arguments see put()."""
        check_sha256(content_sha256, None)
        return self._perform('upload_file', object_name, {'path': file_path, 'headers': headers}, is_single=True)

    def put_file_multipart(
        self,
        object_name: Name,
        file_path: Path,
        *,
        headers: Given = None,
        part_size: int = PART_BYTES,
        workers_count: int = 8,
        max_size: int | None = None,
        part_upload_tries: int = 4,
        calculate_content_sha256: bool = True,
    ) -> Response:
        """Upload the file at a path in parts; a file of at most one part is sent in one request.

        Args:
            object_name: The object's name.
            file_path: The file.
            headers: HTTP headers of the object.
            part_size: The size of a part, 5 MiB to 5 GiB.
            workers_count: How many parts are sent in parallel.
            max_size: The most parts in memory; None for workers_count.
            part_upload_tries: The number of attempts per part.
            calculate_content_sha256: No effect: the connection's settings select the checksum of parts.

        Raises:
            ConfigurationError: A number is out of its range.
            UploadError: The attempts for a part were used up. Nothing is published, and no parts are left.
        """
        parts = Parts(workers_count, part_size, part_upload_tries, 'part_upload_tries', max_size=max_size)
        return self._perform('upload_file', object_name, {'path': file_path, 'headers': headers}, parts)

    def put_multipart(
        self,
        object_name: Name,
        content: Data = None,
        *,
        headers: Given = None,
        part_size: int = PART_BYTES,
        workers_count: int = 8,
        max_size: int | None = None,
        part_upload_tries: int = 4,
        calculate_content_sha256: bool = True,
        data: Data = None,
    ) -> Response:
        """Upload an iterable of bytes, sync or async, in parts; the arguments are those of put() and put_file_multipart()."""
        parts = Parts(workers_count, part_size, part_upload_tries, 'part_upload_tries', max_size=max_size)
        source = _source(data if content is None else content)
        return self._perform('upload', object_name, {'source': source, 'headers': headers}, parts)

    def get(self, object_name: Name, *, headers: Given = None, params: Any = None) -> Response:
        """Download an object into memory; `content` has its bytes, decompressed if it has a known Content-Encoding.

        Args:
            object_name: The object's name.
            headers: The headers, such as 'Range' ('bytes=0-99', 'bytes=100-' or 'bytes=-100') and 'If-None-Match'. If there are
                others than ranges, conditions, payer, owner and encryption, the request is sent as by request().
            params: Parameters of the query; with others than versionId, the request is sent as by request().
        """
        place, asked, version_id = self._places.find(object_name), reading(headers), only_version(params)
        if (params and version_id is None) or not asked.is_plain:
            return self._requested('GET', object_name, headers, params, decompress=bool(self._decompress))

        ref = ObjectRef(bucket=place.bucket, key=place.key, version_id=version_id)

        def get() -> Response:
            outcome = place.connection.perform(get_call(place.connection, ref, asked, self._decompress))
            assert outcome.described is not None
            assert isinstance(outcome.value, bytes)
            status = HTTPStatus.OK if asked.byte_range is None else HTTPStatus.PARTIAL_CONTENT
            return Response(status, outcome.described.info.headers, outcome.value)

        return self._started(get)

    def head(self, object_name: Name, *, headers: Given = None, params: Any = None) -> Response:
        """Return the object's headers in `headers`. The arguments are those of get()."""
        place, asked = self._places.find(object_name), reading(headers)
        if params or asked.byte_range or not asked.is_plain:
            return self.request('HEAD', object_name, headers, params)
        head = functools.partial(place.connection.head, place.bucket, place.key, extra=asked.head_extra)
        return self._started(lambda: Response(HTTPStatus.OK, head().headers))

    def delete(self, object_name: Name, *, headers: Given = None, params: Any = None) -> Response:
        """Delete an object; a missing object is no error. With headers or params, request() sends the request."""
        place = self._places.find(object_name)
        if headers or params:
            return self.request('DELETE', object_name, headers, params)

        def delete() -> Response:
            place.connection.delete(place.bucket, place.key)
            return Response(HTTPStatus.NO_CONTENT)

        return self._started(delete)

    def post(self, object_name: Name, content: Data = None, *, headers: Given = None, params: Any = None) -> Response:
        """Send a POST request; see request()."""
        return self.request('POST', object_name, headers, params, content)

    def request(
        self,
        method: str,
        path: Name,
        headers: Given = None,
        params: Any = None,
        content: Data = None,
        content_sha256: str | None = None,
    ) -> Response:
        """Send a signed request to an object or a bucket, such as `request('GET', 'bucket', params={'acl': ''})`.

        Args:
            method: The HTTP method. A POST is sent once; other requests are retried.
            path: The name of the object or bucket. A PUT or DELETE of a bucket needs params.
            headers: The headers.
            params: The parameters of the query: a mapping, pairs, or 'name=value&…'.
            content: The body, as for put(); it is read into memory.
            content_sha256: As for put().

        Returns:
            The response with its body in memory (at most 5 GiB).

        Raises:
            ConfigurationError: The connection uses a mock or boto3.
        """
        check_sha256(content_sha256, b'' if content is None else content)
        return self._requested(method, path, headers, params, content)

    def list_objects_v2(
        self,
        object_name: Name = '/',
        prefix: str | pathlib.PurePath | None = None,
        delimiter: str | None = None,
        max_keys: int | None = None,
        *,
        bucket: str | None = None,
        start_after: str | None = None,
    ) -> Pages:
        """List objects. Returns pages for `for` and `async for`; each is a list of Listed.

        Args:
            object_name: The bucket ('bucket/'); '/' if the URL contains it.
            prefix: Return only keys with this prefix.
            delimiter: Keys that contain it after the prefix are grouped in the page's `prefixes`.
            max_keys: The most keys per page, 1 to 1,000; None for 1,000.
            bucket: The bucket, in place of object_name.
            start_after: Return only keys after this one.
        """
        place = self._places.find_bucket(object_name if bucket is None else bucket)
        size = MAX_PAGE_KEYS if max_keys is None else max_keys
        prefix = prefix.as_posix() if isinstance(prefix, pathlib.PurePath) else prefix or ''
        found = functools.partial(
            place.connection.list, place.bucket, prefix, delimiter=delimiter, start_after=start_after, page_size=size
        )
        return self._pages(found, size, self._worker.submit)

    def get_file_parallel(
        self,
        object_name: Name,
        file_path: Path,
        *,
        headers: Given = None,
        range_step: int = RANGE_BYTES,
        workers_count: int = 8,
        range_get_tries: int = 4,
        buffer_size: int | None = None,
    ) -> Response:
        """Download an object to a path, in parallel ranges of one version (the ETag of the first range).

        Args:
            object_name: The object's name.
            file_path: The file: it is unchanged or complete, whatever happens.
            headers: The conditions, and the headers of payer, owner and encryption; others are rejected.
            range_step: The size of a range in bytes; values below 5 MiB mean 5 MiB.
            workers_count: How many ranges are fetched in parallel.
            range_get_tries: The number of attempts per range.
            buffer_size: No effect.

        Raises:
            NotFound: The object does not exist.
            SourceChanged: The object was replaced repeatedly during the download.
        """
        asked = reading(headers)
        if asked.byte_range or not asked.is_plain:
            raise ConfigurationError(
                f'headers: get_file_parallel() accepts conditions, payer, owner and encryption, not {headers!r}'
            )
        if is_whole(range_step, 1, MIN_PART_BYTES):
            range_step = MIN_PART_BYTES
        parts = Parts(workers_count, range_step, range_get_tries, 'range_get_tries', 'range_step')
        options = {'path': file_path, 'extra': asked.extra, 'if_match': asked.if_match}
        return self._perform('download_file', object_name, options, parts)

    def presign_url(
        self,
        method: str,
        url: object,
        headers: Given = None,
        content_sha256: str | None = None,
        expires: int = DAY_S,
    ) -> str:
        """Return a URL that allows anyone one request, for `expires` seconds. Keep it secret.

        Args:
            method: The HTTP method of the request.
            url: The object's name; or an absolute URL of any host (http, https), which is signed with the client's keys and
                region.
            headers: The headers that the request must have.
            content_sha256: None or 'UNSIGNED-PAYLOAD'.
            expires: The validity in seconds, up to seven days.
        """
        check_sha256(content_sha256, None)
        method, name = method.upper(), url
        if not isinstance(name, str | pathlib.PurePath):
            # A URL object's text is escaped; './' marks a relative URL whose first segment has a colon.
            name = str(url)
            name = name if _is_absolute(name) else urllib.parse.unquote(name.removeprefix('./'))
        if isinstance(name, str) and _is_absolute(name):
            return sign_url(self._places.any_connection(), method, name, headers=headers or {}, expires_s=expires)
        place = self._places.find(name)
        return sign_url(place.connection, method, (place.bucket, place.key), headers=headers or {}, expires_s=expires)

    def copy(
        self,
        source: Name,
        destination: Name,
        *,
        headers: Given = None,
        replace_metadata: bool = False,
        content_type: str | None = None,
    ) -> Response:
        """Copy an object within the store.

        Args:
            source: The object's name.
            destination: The name of the copy.
            headers: Headers of the copy; they replace those of the source.
            replace_metadata: Whether the copy has only these headers, also if there are none.
            content_type: The content type of the copy, a further header.
        """
        given = {**(headers or {}), **({} if content_type is None else {'Content-Type': content_type})}
        if replace_metadata and not given:
            given = {'Content-Type': 'application/octet-stream'}
        return self._started(self._copying('copy', source, destination, given or None))

    def rename(self, source: Name, destination: Name, *, headers: Given = None) -> Response:
        """Copy an object, then delete the source if it has not changed. The arguments are those of copy()."""
        return self._started(self._copying('move', source, destination, headers), None, f'move {source}')

    def _requested(
        self, method: str, path: Name, headers: Given, params: Any, content: Data = None, *, decompress: bool = False
    ) -> Response:
        place, source = self._places.find_any(path), _source(content)
        send = functools.partial(send_raw, place.connection, method.upper(), place.bucket, place.key, decompress=decompress)
        return self._started(lambda: Response(*send(params=params, headers=headers, content=source)), source)

    def _copying(self, operation: str, source: Name, destination: Name, headers: Given) -> Callable[[], Response]:
        place, target = self._both(source, destination)
        options = {'to_bucket': target.bucket, 'to_key': target.key, 'headers': headers}
        return lambda: result_response(place.connection.perform(Call(operation, place.ref, options)).value)

    def _both(self, name: Name, to_name: Name) -> tuple[Place, Place]:
        source, target = self._places.find(name), self._places.find(to_name)
        if source.connection is not target.connection:
            # A name without a bucket shows that the bucket is in the host name.
            source, target = self._places.find_in_host(name), self._places.find_in_host(to_name)
        return source, target

    def _perform(
        self, operation: str, name: Name, options: dict[str, Any], parts: Parts | None = None, *, is_single: bool = False
    ) -> Response:
        place = self._places.find(name)
        if parts is not None:
            options |= {'retries': parts.tries - 1, 'config': parts.config(place.connection.config)}

        def call() -> Response:
            if self._pins and operation == 'download_file':
                options['if_match'] = place.connection.head(place.bucket, place.key, extra=options['extra']).etag
            return result_response(place.connection.perform(Call(operation, place.ref, options)).value)

        return self._started(call, options.get('source'), None if is_single else f'{operation} {name}')

    def _started(self, call: Callable[[], Response], source: object = None, doing: str | None = None) -> Response:
        """Make a call, or start it beside the running event loop.

        Args:
            call: The call.
            source: What it uploads.
            doing: Its operation and name, if it sends several requests. None: it sends one, and a refusal is a response.
        """
        if doing is None:
            call = functools.partial(answered, call)
        return call() if running_loop() is None else PendingResponse(self._worker.submit(call), source)


def _is_absolute(url: str) -> bool:
    return url.lower().startswith(('http://', 'https://'))


def _source(content: Data) -> Data:
    if isinstance(content, AsyncIterable) and not isinstance(content, Iterable):
        return pieces_of(content)
    return content
