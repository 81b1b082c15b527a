"""Results of S3Client: responses and pages, which are complete and may be awaited."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from s3po.errors import ResponseError, S3poError, TransferError
from s3po.model import ListEntry, Prefix, TransferResult

if TYPE_CHECKING:
    import asyncio

__all__ = ['AsyncPieces', 'Headers', 'Listed', 'Page', 'Pages', 'Response', 'answered', 'result_response']


class Headers(dict[str, str]):
    """The headers of a response. Their names are in lower case, and are found in any case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a header; the default without it."""
        return super().get(name.lower(), default)


class Response:
    """A response. It equals its status code, and awaiting it returns it at once.

    Attributes:
        status_code: The HTTP status.
        headers: The response headers; names in any case.
        content: The body; of a refused request, the text of its error.
        error: The error of a refused request; None after success.
    """

    def __init__(
        self,
        status_code: int,
        headers: Mapping[str, str] | None = None,
        content: bytes = b'',
        error: S3poError | None = None,
    ) -> None:
        self.status_code = int(status_code)
        self.headers = Headers(headers or {})
        self.content = content
        self.error = error

    def __repr__(self) -> str:
        return (
            f'<Response {self.status_code}, {len(self.content):,} bytes>' if self.error is None else f'<Response {self.error}>'
        )

    def __eq__(self, other: object) -> bool:
        return self.status_code == other if isinstance(other, int) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.status_code)

    def __await__(self) -> Generator[Any, None, Self]:
        return self
        yield  # makes this method a generator, which ends at once

    @property
    def text(self) -> str:
        """The body, decoded as UTF-8; invalid bytes are replaced."""
        return self.content.decode('utf-8', 'replace')

    @property
    def etag(self) -> str:
        """The object's ETag without quotes; '' if there is none."""
        return self.headers['etag'].strip('"') if 'etag' in self.headers else ''

    def json(self) -> Any:
        """Return the body, parsed as JSON."""
        return json.loads(self.content)

    def raise_for_status(self) -> Self:
        """Raise the error of a refused request.

        Returns:
            This response, if the request was not refused.

        Raises:
            S3poError: The request was refused.
        """
        if self.error is not None:
            raise self.error
        return self


class Listed(NamedTuple):
    """One object of a listing.

    Attributes:
        key: The key.
        etag: The ETag without quotes.
        size: The size in bytes.
        last_modified: The time of its last write, with its time zone.
        storage_class: For example 'STANDARD'.
    """

    key: str
    etag: str
    size: int
    last_modified: Any
    storage_class: str


class Page(list[Listed]):
    """The objects of one page.

    Attributes:
        prefixes: The common prefixes of the keys that contain the delimiter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.prefixes: list[str] = []


class Pages:
    """The pages of a listing, to iterate once, with `for` or `async for`."""

    def __init__(self, found: Iterator[ListEntry | Prefix], page_size: int) -> None:
        self._found = found
        self._page_size = page_size

    def __iter__(self) -> Iterator[Page]:
        return self

    def __next__(self) -> Page:
        page = Page()
        for entry in self._found:
            if isinstance(entry, Prefix):
                page.prefixes.append(entry.prefix)
            else:
                page.append(Listed(entry.key, entry.etag, entry.size_bytes, entry.last_modified, entry.storage_class))
            if len(page) + len(page.prefixes) == self._page_size:
                return page
        if page or page.prefixes:
            return page
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[Page]:
        return self

    async def __anext__(self) -> Page:
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None


class AsyncPieces:
    """The pieces of an async iterable, for `for`. A separate event loop runs it, also while another loop is running.

    The running loop is blocked meanwhile, so the iterable must not wait for anything that belongs to that loop.
    """

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        # Imported here: asyncio takes as long to import as all of s3po.
        import asyncio

        loop = asyncio.new_event_loop()
        pieces = aiter(self._pieces)
        try:
            while True:
                try:
                    piece = _run(loop, anext(pieces))
                except StopAsyncIteration:
                    return
                yield piece
        finally:
            close = getattr(pieces, 'aclose', None)
            if close is not None:
                _run(loop, close())
            loop.close()


def _run(loop: asyncio.AbstractEventLoop, awaited: Any) -> Any:
    """Run one step in a separate event loop; the running loop, if any, is set aside meanwhile."""
    from asyncio import events

    async def step() -> Any:
        return await awaited

    # asyncio documents these two for authors of event loops (they are in its __all__), despite the underscore.
    running = events._get_running_loop()  # noqa: SLF001
    events._set_running_loop(None)  # noqa: SLF001
    try:
        return loop.run_until_complete(step())
    finally:
        events._set_running_loop(running)  # noqa: SLF001


def answered(call: Callable[[], Response]) -> Response:
    """Make a call, and convert the error of a refusal to its response."""
    try:
        return call()
    except (ResponseError, TransferError) as error:
        # After all retries, the last refusal is the cause.
        refusal = error if isinstance(error, ResponseError) else error.__cause__
        # (A status below 300 comes with an error in the body: it must not look like success.)
        if not isinstance(refusal, ResponseError) or refusal.status < HTTPStatus.MULTIPLE_CHOICES:
            raise
        headers = {'x-amz-request-id': refusal.request_id} if refusal.request_id else {}
        return Response(refusal.status, headers, str(error).encode(), error)


def result_response(result: object) -> Response:
    """The response for a successful transfer."""
    assert isinstance(result, TransferResult)
    headers = {'etag': f'"{result.etag}"'}
    if result.version_id is not None:
        headers['x-amz-version-id'] = result.version_id
    if result.checksum is not None:
        algorithm, _, value = result.checksum.partition(':')
        headers[f'x-amz-checksum-{algorithm.lower()}'] = value
    return Response(HTTPStatus.OK, headers)
